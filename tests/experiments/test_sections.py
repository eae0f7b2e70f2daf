"""Parts of reports: tables of epochs, cuts and zeros, pictures."""

import json
import sys

import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import shrinking
from iss_rnns.experiments import runs
from iss_rnns.experiments.reports import plots
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.sparse import nets as sparse_nets


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
    net = nets.half_dead(nets.Net(9, 6, [8]))
    small, _ = shrinking.shrink(net, net.iss_groups(), unproved=True)
    table = sections.sparsity_table(small, net).as_dict()
    half_dead = {
        "embedding/embeddings": (0.0, 0.0, 0.0),
        "lstm_0/kernel": (0.5, 0.0, 0.5),
        "lstm_0/recurrent_kernel": (0.75, 0.5, 0.5),
        "dense/kernel": (0.5, 0.5, 0.0),
    }
    kinds = ("element", "row", "column")
    for kind, wanted in zip(kinds, zip(*half_dead.values())):
        assert table[kind] == dict(zip(half_dead, wanted))
        assert table[f"{kind}, rest"] == dict.fromkeys(half_dead, 0.0)
    whole = sections.sparsity_table(net, net).as_dict()
    assert whole == {kind: table[kind] for kind in kinds}


def test_measures_of_packed_products(tmp_path):
    packed = sparse_nets.Packed(
        {}, 400, {1: (3.0, 2.0), 16: (1.0, 1.0)}, 0.0, {}, tmp_path, 100
    )
    assert sections.packed_measures(packed) == {
        "packed bytes": 100,
        tables.packed_speedup(1): 1.5,
        tables.packed_speedup(16): 1.0,
    }


def test_any_keras_model_is_reported(tmp_path):
    pytest.importorskip("matplotlib")
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Conv1D(4, 3, name="conv"),
            tf.keras.layers.Bidirectional(
                tf.keras.layers.GRU(5, name="gru"), name="two_way"
            ),
            tf.keras.layers.Dense(2, name="dense"),
        ]
    )
    model.build([None, 7, 3])
    kernel = model.layers[2].kernel
    kernel.assign(kernel * np.arange(10)[:, None] // 4 * 4.0)
    zeros = float(np.mean(kernel.numpy() == 0.0))
    table = sections.sparsity_table(model, model).as_dict()
    assert list(table["element"]) == [
        "conv/kernel",
        "two_way/forward_gru/gru_cell/kernel",
        "two_way/forward_gru/gru_cell/recurrent_kernel",
        "two_way/backward_gru/gru_cell/kernel",
        "two_way/backward_gru/gru_cell/recurrent_kernel",
        "dense/kernel",
    ]
    assert table["element"]["dense/kernel"] == pytest.approx(zeros)
    assert table["row"]["conv/kernel"] is None
    run = runs.RunDirectory(tmp_path, "run")
    sections.draw(run, model, model, each=True)
    pictures = {p.name for p in (run.path / "plots" / "weights").iterdir()}
    assert len(pictures) == 10 and "dense-kernel_after.png" in pictures


def test_without_matplotlib_one_note_and_no_pictures(
    tmp_path, monkeypatch, capsys
):
    for name in [n for n in sys.modules if n.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    net = nets.half_dead(nets.Net(9, 6, [8]))
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
    net = nets.half_dead(nets.Net(9, 6, [8]))
    small, _ = shrinking.shrink(net, net.iss_groups(), unproved=True)
    run = runs.RunDirectory(tmp_path, "run")
    drawn = sections.draw(run, net, small, each=True)
    assert drawn == ["plots/weights.png"]
    folder = run.path / "plots" / "weights"
    assert len(list(folder.iterdir())) == 8
    for when, shape in (("before", (8, 32)), ("after", (4, 16))):
        picture = image.imread(folder / f"lstm_0-recurrent_kernel_{when}.png")
        assert picture.shape[:2] == shape


def test_what_was_cut_while_training_stands_where_it_was(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    designed = nets.Net(9, 6, [4])
    net = designed.resized({"lstm_0": 2})
    run = runs.RunDirectory(tmp_path, "run")
    run.path.mkdir(parents=True, exist_ok=True)
    record = {"step": 5, "units": {"lstm_0": 2}, "cost_change": 0.0}

    def columns(**more):
        run.write_text("cuts.json", json.dumps([{**record, **more}]))
        sections.draw(run, net, net, designed=designed, each=True)
        picture = image.imread(
            run.path / "plots" / "weights" / "lstm_0-kernel_before.png"
        )
        assert picture.shape[:2] == (6, 16)
        grey = np.abs(picture[..., :3] - np.array(plots.CUT)) < 0.01
        return grey.all(axis=(0, 2)).reshape(4, 4).tolist()

    assert columns(kept={"lstm_0": [0, 2]}) == [[False, True] * 2] * 4
    # As version 1.0.0 wrote it, and a record of other units.
    assert columns() == [[False] * 2 + [True] * 2] * 4
    assert columns(kept={"lstm_0": [0]}) == [[False] * 2 + [True] * 2] * 4


def packed(dense_bytes, packed_bytes, dense, chosen):
    return sparse_nets.Packed(
        {}, dense_bytes, {1: (dense, chosen)}, 0.0, {}, None, packed_bytes
    )


@pytest.mark.parametrize(
    "what, pays",
    [
        (packed(400, 100, 1.0, 1.0), True),
        (packed(100, 400, 2.0, 1.0), True),
        (packed(100, 400, 1.0, 1.0), False),
    ],
)
def test_packing_that_does_not_pay_is_not_recommended(what, pays, capsys):
    sections.packed_section(what)
    assert ("use the SavedModel" in capsys.readouterr().out) != pays


def test_weights_cut_and_zeros_are_apart():
    net = nets.half_dead(nets.Net(9, 6, [8]))
    small, _ = shrinking.shrink(net, net.iss_groups(), unproved=True)
    whole, left = (sections.weights_left(each, net) for each in (net, small))
    assert whole["weights cut"] == 0.0
    assert whole["nonzero weights (M)"] == left["nonzero weights (M)"]
    cut, zeros = left["weights cut"], left["zeros"]
    assert 0.0 < cut < whole["zeros"]
    assert (1.0 - cut) * (1.0 - zeros) == pytest.approx(1.0 - whole["zeros"])
