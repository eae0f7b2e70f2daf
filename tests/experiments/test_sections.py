"""Parts of reports: tables of epochs, cuts and zeros, pictures."""

import json
import sys

import nets
import pytest

from iss_rnns import shrinking
from iss_rnns.experiments import runs
from iss_rnns.experiments.reports import sections


def row(epoch, seconds, units):
    """As `metrics.csv` is read: values are text."""
    return {
        "epoch": str(epoch),
        "seconds": str(seconds),
        "words_per_second": "1000.0",
        "train_perplexity": "90.0",
        "valid_perplexity": "100.0",
        "units/lstm_0": str(units),
        "units/lstm_1": f"{units}.0",
        "units_above_0.05/lstm_0": "1",
    }


def test_the_whole_time_stands_beside_that_at_the_first_speed():
    table = sections.epochs_table(
        [row(1, 600.0, 8), row(2, 780.0, 5), row(3, 900.0, 4)]
    ).as_dict()
    assert table["units"] == {
        "epoch 1": [8, 8],
        "epoch 2": [5, 5],
        "epoch 3": [4, 4],
        "all": None,
        "all, at the first one's speed": None,
    }
    assert table["minutes"] == {
        "epoch 1": 10.0,
        "epoch 2": 3.0,
        "epoch 3": 2.0,
        "all": 15.0,
        "all, at the first one's speed": 30.0,
    }
    assert table["valid perplexity"]["epoch 2"] == 100.0


def test_cuts_while_training(tmp_path):
    run = runs.RunDirectory(str(tmp_path), "run")
    assert sections.cuts_section(run) == {}
    run.write_text(
        "cuts.json",
        json.dumps(
            [{"step": 300, "units": {"a": 5, "b": 4}, "cost_change": -2e-6}]
        ),
    )
    assert sections.cuts_section(run)["cuts"].as_dict() == {
        "units left": {"step 300": [5, 4]},
        "change of the held-out cost, nats": {"step 300": -2e-6},
    }


def test_one_epoch_has_no_sum():
    assert list(sections.epochs_table([row(1, 60.0, 8)]).measures) == [
        "epoch 1"
    ]


def test_sparsity_is_of_the_design_and_of_what_is_left():
    """Whether units were cut while it trained or only afterwards."""
    net = nets.half_dead_net()
    small, _ = shrinking.shrink(net, net.iss_groups(), unproved=True)
    table = sections.sparsity_table(small, net).as_dict()
    kernel = table["cell_0/kernel"]  # [6 + 8, 4 * 8]
    assert kernel == pytest.approx(
        {
            "element": 1 - 10 * 16 / (14 * 32),
            "row": 4 / 14,
            "column": 0.5,
            "element, rest": 0.0,
            "row, rest": 0.0,
            "column, rest": 0.0,
        }
    )
    assert table["softmax_w"]["row"] == 0.5
    assert table["embedding"]["element"] == 0.0
    whole = sections.sparsity_table(net, net).as_dict()
    assert whole["cell_0/kernel"] == pytest.approx(
        {key: kernel[key] for key in ("element", "row", "column")}
    )


def test_without_matplotlib_one_note_and_no_pictures(
    tmp_path, monkeypatch, capsys
):
    for name in [n for n in sys.modules if n.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    net = nets.half_dead_net()
    run = runs.RunDirectory(tmp_path, "run")
    assert sections.draw(run, net, net, [row(1, 60.0, 8)], each=True) == []
    printed = capsys.readouterr().out
    assert printed.startswith("note: plots need matplotlib")
    assert printed.count("\n") == 1


def test_curves_of_characters_are_in_bits():
    words = [row(1, 60.0, 8)]
    assert sections.curves_of(words) == sections.curves_of([]) == {}
    characters = [{**words[0], "train_bits": "2.1", "valid_bits": "2.2"}]
    assert set(sections.curves_of(characters)["measures"]) == {
        "train_bits",
        "valid_bits",
    }


def test_each_matrix_is_drawn_before_and_after(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    net = nets.half_dead_net()
    small, _ = shrinking.shrink(net, net.iss_groups(), unproved=True)
    run = runs.RunDirectory(tmp_path, "run")
    drawn = sections.draw(run, net, small, each=True)
    assert drawn == ["plots/weights.png"]
    folder = run.path / "plots" / "weights"
    assert len(list(folder.iterdir())) == 6
    for when, shape in (("before", (14, 32)), ("after", (10, 16))):
        picture = image.imread(folder / f"cell_0-kernel_{when}.png")
        assert picture.shape[:2] == shape
