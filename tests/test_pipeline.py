"""What follows training, as far as the programs' tests leave it out."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from iss_rnns import corpora
from iss_rnns import pipeline
from iss_rnns import restoring
from iss_rnns import runs
from iss_rnns import shrink
from iss_rnns.interop import ptb_settings
from ptb import model as model_lib
from ptb import train as train_lib


def row(epoch, seconds, units):
    """As `metrics.csv` is read: values are text."""
    return {"epoch": str(epoch), "seconds": str(seconds),
            "words_per_second": "1000.0", "train_perplexity": "90.0",
            "valid_perplexity": "100.0", "units/lstm_0": str(units),
            "units/lstm_1": f"{units}.0", "units_above_0.05/lstm_0": "1"}


def test_the_whole_time_stands_beside_that_at_the_first_speed():
    table = pipeline.epochs_table([row(1, 600., 8), row(2, 780., 5),
                                   row(3, 900., 4)]).as_dict()
    assert table["units"] == {
        "epoch 1": [8, 8], "epoch 2": [5, 5], "epoch 3": [4, 4],
        "all": None, "all, at the first one's speed": None}
    assert table["minutes"] == {
        "epoch 1": 10., "epoch 2": 3., "epoch 3": 2., "all": 15.,
        "all, at the first one's speed": 30.}
    assert table["valid perplexity"]["epoch 2"] == 100.


def test_cuts_while_training(tmp_path):
    run = runs.RunDirectory(str(tmp_path), "run")
    assert pipeline.cuts_section(run) == {}
    run.write_text("cuts.json", json.dumps([
        {"step": 300, "units": {"a": 5, "b": 4}, "cost_change": -2e-6}]))
    assert pipeline.cuts_section(run)["cuts"].as_dict() == {
        "units left": {"step 300": [5, 4]},
        "change of the held-out cost, nats": {"step 300": -2e-6}}


def test_one_epoch_has_no_sum():
    assert list(pipeline.epochs_table([row(1, 60., 8)]).measures) == [
        "epoch 1"]


def half_dead_net():
    """Every second of 8 units has no weight."""
    net = model_lib.WordLSTM(9, 6, [8], init_scale=.5)
    for group in net.iss_groups():
        for part in group.slices:
            index = [slice(None)] * len(part.variable.shape)
            index[part.axis] = slice(part.start, part.start + 8, 2)
            value = part.variable.numpy()
            value[tuple(index)] = 0.
            part.variable.assign(value)
    return net


def new_corpus(unit="word"):
    ids = np.random.default_rng(0).integers(0, 9, 400).astype(np.int32)
    return corpora.Corpus("made", unit, ids, ids[:100], ids[:30],
                          tuple("abcdefghi"), "made up")


def texts(corpus):
    return pipeline.Texts.of(corpus, 2, 3)


def test_sparsity_is_of_the_design_and_of_what_is_left():
    """Whether units were cut while it trained or only afterwards."""
    net = half_dead_net()
    small, _ = shrink.shrink(net, net.iss_groups())
    table = pipeline.sparsity_table(small, net).as_dict()
    kernel = table["cell_0/kernel"]  # [6 + 8, 4 * 8]
    assert kernel == pytest.approx({
        "element": 1 - 10 * 16 / (14 * 32), "row": 4 / 14, "column": .5,
        "element, rest": 0., "row, rest": 0., "column, rest": 0.})
    assert table["softmax_w"]["row"] == .5
    assert table["embedding"]["element"] == 0.
    whole = pipeline.sparsity_table(net, net).as_dict()
    assert whole["cell_0/kernel"] == pytest.approx({
        key: kernel[key] for key in ("element", "row", "column")})


def test_without_matplotlib_one_note_and_no_pictures(tmp_path, monkeypatch,
                                                     capsys):
    for name in [n for n in sys.modules if n.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    net = half_dead_net()
    run = runs.RunDirectory(tmp_path, "run")
    assert pipeline.draw(run, net, net, [row(1, 60., 8)], each=True) == []
    printed = capsys.readouterr().out
    assert printed.startswith("note: plots need matplotlib")
    assert printed.count("\n") == 1


def test_curves_of_characters_are_in_bits():
    words = [row(1, 60., 8)]
    assert pipeline.curves_of(words) == pipeline.curves_of([]) == {}
    characters = [{**words[0], "train_bits": "2.1", "valid_bits": "2.2"}]
    assert set(pipeline.curves_of(characters)["measures"]) == {
        "train_bits", "valid_bits"}


def test_each_matrix_is_drawn_before_and_after(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    net = half_dead_net()
    small, _ = shrink.shrink(net, net.iss_groups())
    run = runs.RunDirectory(tmp_path, "run")
    drawn = pipeline.draw(run, net, small, each=True)
    assert drawn == ["plots/weights.png"]
    folder = run.path / "plots" / "weights"
    assert len(list(folder.iterdir())) == 6
    for when, shape in (("before", (14, 32)), ("after", (10, 16))):
        picture = image.imread(folder / f"cell_0-kernel_{when}.png")
        assert picture.shape[:2] == shape


def test_the_card_has_sizes_scores_and_the_command():
    net = half_dead_net()
    small, proof = pipeline.shrink_proved(net, texts(new_corpus()))
    scores = {"valid perplexity": 8., "test perplexity": 4.}
    card = pipeline.model_card(net, proof, texts(new_corpus("character")),
                               scores, "python -m x")
    assert card["units before"] == {"lstm_0": 8}
    assert card["units after"] == {"lstm_0": 4}
    assert card["weights before"] == shrink.count_weights(net)
    assert card["weights after"] == shrink.count_weights(small)
    assert card["test bits"] == 2. and card["command"] == "python -m x"
    assert card["valid perplexity"] == 8. and card["data"] == "made up"


def small_options(**changes):
    config = dataclasses.replace(
        model_lib.CONFIGS["test"], batch_size=2, num_steps=3, hidden_size=6,
        num_layers=1)
    return train_lib.Options(**{**dict(
        config=config, hidden_sizes=(8,), settings=ptb_settings.Settings(),
        max_train_steps=2, epochs=1), **changes})


def test_the_design_of_a_run_outlives_its_cuts(tmp_path):
    """Nobody knows it of older runs and of other files."""
    assert restoring.designed_sizes(tmp_path / "none.npz") is None
    options = small_options(shrink_every_steps=1)
    run = runs.RunDirectory(tmp_path, "run")
    assert restoring.designed_sizes(run.path) is None
    net, _ = train_lib.train(options, new_corpus(), run, False,
                             half_dead_net())
    assert net.hidden_sizes == (4,)
    assert restoring.designed_sizes(run.path) == [8]
    again = runs.RunDirectory(tmp_path, "run", resume=True)
    train_lib.train(dataclasses.replace(options, max_train_steps=3),
                    new_corpus(), again, True)
    assert run.checkpoint_steps()[-1] == 3
    assert restoring.designed_sizes(run.path) == [8]
    for path in run.checkpoints.glob("state-*.json"):
        state = json.loads(path.read_text())
        del state["designed_sizes"]
        path.write_text(json.dumps(state))
    assert restoring.designed_sizes(run.path) is None


def test_what_bfloat16_trained_is_shrunk_in_float32(tmp_path):
    """In bfloat16 the outputs differ by more than the proof allows."""
    options = small_options(mixed_precision=True, freeze_mode="group")
    run = runs.RunDirectory(tmp_path, "run")
    net, _ = train_lib.train(options, new_corpus(), run, False,
                             half_dead_net())
    assert net.compute_dtype == "float32"
    assert not np.array_equal(net.softmax_b.numpy(), half_dead_net().softmax_b)
    small, proof = pipeline.shrink_proved(net, texts(new_corpus()))
    assert small.hidden_sizes == (4,) and proof.max_difference < 1e-5
