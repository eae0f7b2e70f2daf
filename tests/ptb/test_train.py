"""Which of its epochs a training ends with."""

import dataclasses
import json
import re
import shutil
import types

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments import checkpoints
from iss_rnns.experiments import finishing
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress
from iss_rnns.experiments import records
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import size_flags
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.interop import ptb_settings
from ptb import model as model_lib
from ptb import options as options_lib
from ptb import train as train_lib

BATCH, TIME, STEPS = 2, 3, 12
# The third epoch spoils what the first two have learned.
RATES = [1.0, 1.0, 8.0, 1e-4]


class Killed(Exception):
    pass


@pytest.fixture(autouse=True, scope="module")
def fixture_rates():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            model_lib, "learning_rate", lambda config, epoch, *_: RATES[epoch]
        )
        yield


@pytest.fixture(name="whole", scope="module")
def fixture_whole(tmp_path_factory):
    """What `train` gives of a run that nothing interrupts."""
    return train(tmp_path_factory.mktemp("whole"), new_options())


def new_corpus():
    ids = (np.arange(160) * 2 % 9).astype(np.int32)
    return corpora.Corpus(
        "made", "word", ids[:75], ids[75:120], ids[120:], tuple("abcdefghi"),
        "made up",
    )  # fmt: skip


def new_options(**changes):
    config = dataclasses.replace(
        model_lib.CONFIGS["test"],
        batch_size=BATCH,
        num_steps=TIME,
        hidden_size=6,
        init_scale=0.5,
        max_grad_norm=5.0,
    )
    return options_lib.Options(
        config=config,
        epochs=len(RATES),
        checkpoint_every=5,
        **{"hidden_sizes": (5,), **changes},
    )


def train(folder, options, resume=False):
    """(the run, the weights that training gives, perplexities by epoch)."""
    run = runs.RunDirectory(folder, "run", resume=resume)
    net, metrics = train_lib.train(options, new_corpus(), run, resume)
    assert len(train_lib.language_training.training_windows(
        options, new_corpus())[0]) == STEPS  # fmt: skip
    perplexities = [float(row["valid_perplexity"]) for row in metrics.rows]
    return run, net, perplexities


def run_rows(run):
    return metrics_lib.Metrics.read(run.path / "metrics.csv")


def valid_perplexity(net):
    valid = corpora.batches(new_corpus().valid, BATCH, TIME)
    return language_model.Evaluator(net).perplexity(*valid)


def restored(run, options):
    return restoring.restore(
        lambda sizes: train_lib.new_net(options, 9, sizes),
        str(run.path),
        model_lib.sizes_of,
    )


def weights(net):
    return [variable.numpy() for variable in net.trainable_variables]


def test_b14_the_best_epoch_is_used_and_not_the_last(whole):
    run, net, perplexities = whole
    best = int(np.argmin(perplexities))
    assert best == 1 and perplexities[-1] > 2 * perplexities[best]
    assert valid_perplexity(net) == pytest.approx(perplexities[best], rel=1e-6)
    assert restoring.chosen_epoch(str(run.path)) == (
        "of epoch 2, which validated best of those with the final sizes"
    )
    # Its checkpoint is kept beside the newest two, for other modes.
    assert run.checkpoint_steps() == [2 * STEPS, 4 * STEPS - 2, 4 * STEPS]
    restored_weights = weights(restored(run, new_options()))
    for ours, theirs in zip(weights(net), restored_weights):
        np.testing.assert_array_equal(ours, theirs)


def test_steered_to_a_size_and_cut_it_goes_on_from_where_it_was_killed(
    tmp_path, monkeypatch, capsys
):
    """Killed after a cut, when the whole net is gone; bit by bit the same."""
    goal = size_flags.SizeGoal(0.4, reach=0.75, max_loss=50.0)
    options = new_options(
        target=goal,
        hidden_sizes=(10, 5),
        shrink_every_steps=6,
        export_epoch="last",
    )
    run, expected, perplexities = train(tmp_path / "whole", options)
    printed = capsys.readouterr().out
    assert sum(expected.sizes.values()) == 6
    assert re.search(r"epoch 1 .*, size 0\.\d+ \(asked 0.4\)\n", printed)
    assert re.search(r"epoch 4 .*, size 0.4 \(asked 0.4\)\n", printed)
    row = run_rows(run)[-1]
    assert float(row["size_asked"]) == pytest.approx(0.4)
    assert float(row["size_reached"]) == pytest.approx(0.4)

    step_end = progress.Progress.on_train_batch_end

    def kill(self, batch, logs=None):
        step_end(self, batch, logs)
        if int(self.model.optimizer.iterations) == 2 * STEPS + 2:
            raise Killed

    with monkeypatch.context() as context, pytest.raises(Killed):
        context.setattr(progress.Progress, "on_train_batch_end", kill)
        train(tmp_path / "cut", options)
    cut = tmp_path / "cut" / "run"
    _, state = checkpoints.find(cut / "checkpoints")
    assert 6 < sum(state["sizes"].values()) < 15
    assert state["size_target"] == {
        **goal.describe(), "steps": 4 * STEPS, "stopped_at": None
    }  # fmt: skip
    with pytest.raises(errors.UserError, match="cannot resume: .*size_target"):
        train(tmp_path / "cut", dataclasses.replace(options, target=None), True)
    # Longer or not, it keeps to the plan that it began with.
    options = dataclasses.replace(options, max_train_steps=9 * STEPS)
    _, net, resumed = train(tmp_path / "cut", options, resume=True)
    assert resumed == perplexities
    assert net.sizes == expected.sizes
    for ours, theirs in zip(weights(net), weights(expected)):
        np.testing.assert_array_equal(ours, theirs)


def test_a_size_that_costs_too_much_is_not_gone_on_to(tmp_path, capsys):
    goal = size_flags.SizeGoal(0.2, reach=1.0, max_loss=0.0)
    options = new_options(target=goal, hidden_sizes=(10,))
    run, net, perplexities = train(tmp_path, options)
    worse = next(
        i for i in range(1, 4) if perplexities[i] > min(perplexities[:i])
    )
    _, state = checkpoints.find(run.checkpoints)
    stopped = state["size_target"]["stopped_at"]
    assert (
        f"epoch {worse + 1} validates more than --target_max_loss=0 nats"
        in (capsys.readouterr().out)
    )
    rows = run_rows(run)
    assert float(rows[worse]["size_reached"]) == pytest.approx(stopped)
    assert float(rows[-1]["size_reached"]) == pytest.approx(stopped)
    assert stopped > 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill",
    [
        2 * STEPS - 3,  # before the best epoch ends
        "evaluated",  # as it ends: its checkpoint is not there yet
        2 * STEPS + 7,  # after it
        3 * STEPS + 7,  # after the epoch that spoils it
    ],
)
def test_b14_killed_and_resumed_it_takes_the_same_epoch(
    tmp_path, monkeypatch, capsys, whole, kill
):
    options = new_options()
    run, expected, perplexities = whole
    step_end, epoch_end = (
        progress.Progress.on_train_batch_end,
        records.KeepBest.on_epoch_end,
    )

    def kill_at_step(self, batch, logs=None):
        step_end(self, batch, logs)
        if int(self.model.optimizer.iterations) == kill:
            raise Killed

    def kill_at_end(self, epoch, logs=None):
        epoch_end(self, epoch, logs)
        if epoch == 1:
            raise Killed

    with monkeypatch.context() as context, pytest.raises(Killed):
        if kill == "evaluated":
            context.setattr(records.KeepBest, "on_epoch_end", kill_at_end)
        else:
            context.setattr(
                progress.Progress, "on_train_batch_end", kill_at_step
            )
        train(tmp_path / "cut", options)
    cut, net, resumed = train(tmp_path / "cut", options, resume=True)
    assert "the weights are those of epoch 2, which" in capsys.readouterr().out
    assert resumed == perplexities
    for ours, theirs in zip(weights(net), weights(expected)):
        np.testing.assert_array_equal(ours, theirs)
    found = [checkpoints.find(each.checkpoints)[1] for each in (run, cut)]
    assert found[0]["best"] == found[1]["best"]
    assert cut.checkpoint_steps() == run.checkpoint_steps()


def test_b14_of_penalties_on_weights_and_as_asked_the_last(tmp_path):
    settings = ptb_settings.AuthorsSettings(weight_decay=1e-4)
    for changes in (
        {"export_epoch": "last"},
        {"settings": settings},
    ):
        run = runs.RunDirectory(tmp_path, next(iter(changes)))
        net, metrics = train_lib.train(
            new_options(**changes), new_corpus(), run, False
        )
        assert valid_perplexity(net) == pytest.approx(
            float(metrics.rows[-1]["valid_perplexity"]), rel=1e-6
        )
        assert restoring.chosen_epoch(str(run.path)) is None
        _, state = checkpoints.find(run.checkpoints)
        assert state["best"] is None


def test_b14_a_best_checkpoint_that_is_damaged_is_told(tmp_path, capsys, whole):
    run, _, perplexities = whole
    copy = shutil.copytree(run.path, tmp_path / "copy")
    damaged = copy / "checkpoints" / f"model-{2 * STEPS}.index"
    damaged.write_bytes(b"damaged")
    net = restored(types.SimpleNamespace(path=copy), new_options())
    assert valid_perplexity(net) == pytest.approx(perplexities[-1], rel=1e-6)
    assert "note: the epoch that validated best is lost: " in (
        capsys.readouterr().out
    )


def test_b14_a_file_of_version_1_0_0_is_as_good_as_an_epoch(tmp_path):
    """Of a highway run that goes on; its state says nothing of it."""
    options = new_options(max_train_steps=2 * STEPS)
    run, net, perplexities = train(tmp_path, options)
    restoring.save_weights(net, run.path / runs.BEST)
    for path in run.checkpoints.glob("state-*.json"):
        state = json.loads(path.read_text())
        del state["best"]
        path.write_text(json.dumps(state))
    assert restoring.takes_best_file(run.path)
    run, again, _ = train(tmp_path, new_options(), resume=True)
    assert valid_perplexity(again) == pytest.approx(min(perplexities), rel=1e-6)
    _, state = checkpoints.find(run.checkpoints)
    assert state["best"]["best"]["step"] == 0
    assert valid_perplexity(restored(run, new_options())) == pytest.approx(
        min(perplexities), rel=1e-6
    )
    assert finishing.Origin().weights is None
