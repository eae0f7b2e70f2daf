"""What follows training, as far as the programs' tests leave it out."""

import dataclasses
import json
import types

import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns.experiments import finishing
from iss_rnns.experiments import program
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import serving
from iss_rnns.experiments.language import texts as texts_lib
from ptb import experiment
from ptb import model as model_lib
from ptb import options as options_lib
from ptb import train as train_lib


def new_corpus(unit="word"):
    ids = np.random.default_rng(0).integers(0, 9, 400).astype(np.int32)
    return corpora.Corpus(
        "made", unit, ids, ids[:100], ids[:30], tuple("abcdefghi"), "made up"
    )


def half_dead_net():
    return nets.half_dead(model_lib.WordLSTM(9, 6, [8], init_scale=0.5))


def new_task(corpus, **changes):
    return experiment.WordTask(
        small_options(**changes),
        program.Choices("train"),
        texts_lib.Texts.from_corpus(corpus, 2, 3),
    )


def test_the_card_has_sizes_scores_and_the_command():
    net = half_dead_net()
    task = new_task(new_corpus("character"))
    small, proof = finishing.shrink_proved(task, net)
    scores = {"valid perplexity": 8.0, "test perplexity": 4.0}
    card = finishing.model_card(task, net, net, proof, scores)
    assert card["units before"] == {"lstm_0": 8}
    assert card["units after"] == {"lstm_0": 4}
    assert card["weights before"] == counting.count_weights(net)
    assert card["weights after"] == counting.count_weights(small)
    assert card["test bits"] == 2.0 and card["command"].startswith(
        "python -m ptb.ptb_word_lm"
    )
    assert card["valid perplexity"] == 8.0 and card["data"] == "made up"


def small_options(**changes):
    config = dataclasses.replace(
        model_lib.CONFIGS["test"],
        batch_size=2,
        num_steps=3,
        hidden_size=6,
        num_layers=1,
    )
    return options_lib.Options(
        **{
            **{
                "config": config,
                "hidden_sizes": (8,),
                "max_train_steps": 2,
                "epochs": 1,
            },
            **changes,
        }
    )


def test_the_design_of_a_run_outlives_its_cuts(tmp_path):
    """Nobody knows it of older runs and of other files."""
    assert restoring.designed_sizes(tmp_path / "none.npz") is None
    options = small_options(shrink_every_steps=1)
    run = runs.RunDirectory(tmp_path, "run")
    assert restoring.designed_sizes(run.path) is None
    net, _ = train_lib.train(options, new_corpus(), run, False, half_dead_net())
    assert net.hidden_sizes == (4,)
    assert restoring.designed_sizes(run.path) == {"lstm_0": 8}
    again = runs.RunDirectory(tmp_path, "run", resume=True)
    train_lib.train(
        dataclasses.replace(options, max_train_steps=3),
        new_corpus(),
        again,
        True,
    )
    assert run.checkpoint_steps()[-1] == 3
    assert restoring.designed_sizes(run.path) == {"lstm_0": 8}
    for path in run.checkpoints.glob("state-*.json"):
        state = json.loads(path.read_text())
        del state["designed_sizes"]
        path.write_text(json.dumps(state))
    assert restoring.designed_sizes(run.path) is None


def test_a_run_of_version_1_0_0_goes_on(tmp_path):
    """Its checkpoints hold the units of the layers as lists."""
    options = small_options(shrink_every_steps=1)
    run = runs.RunDirectory(tmp_path, "run")
    train_lib.train(options, new_corpus(), run, False, half_dead_net())
    for path in run.checkpoints.glob("state-*.json"):
        state = json.loads(path.read_text())
        for key in ("sizes", "designed_sizes"):
            state[key] = list(state[key].values())
        path.write_text(json.dumps(state))
    net, _ = train_lib.train(
        dataclasses.replace(options, max_train_steps=3),
        new_corpus(),
        runs.RunDirectory(tmp_path, "run", resume=True),
        True,
    )
    assert net.hidden_sizes == (4,) and run.checkpoint_steps()[-1] == 3
    sizes = restoring.designed_sizes(run.path)
    assert finishing.designed_net(net, sizes).hidden_sizes == (8,)


def test_what_bfloat16_trained_is_shrunk_in_float32(tmp_path):
    """In bfloat16 the outputs differ by more than the proof allows."""
    options = small_options(mixed_precision=True, freeze_mode="group")
    run = runs.RunDirectory(tmp_path, "run")
    net, _ = train_lib.train(options, new_corpus(), run, False, half_dead_net())
    assert net.compute_dtype == "float32"
    assert not np.array_equal(net.softmax_b.numpy(), half_dead_net().softmax_b)
    small, proof = finishing.shrink_proved(new_task(new_corpus()), net)
    assert small.hidden_sizes == (4,) and proof.max_difference < 1e-5


@pytest.mark.parametrize(
    "reloaded, expected",
    [(np.nan, 4.0), (4.0, np.nan), (np.nan, np.nan), (np.inf, 4.0), (4.1, 4.0)],
)
def test_b8_a_reloaded_perplexity_that_differs_is_refused(
    monkeypatch, reloaded, expected
):
    monkeypatch.setattr(serving, "ServedLanguageModel", lambda path: path)
    monkeypatch.setattr(
        language_model,
        "Evaluator",
        lambda net: types.SimpleNamespace(perplexity=lambda *_: reloaded),
    )
    judged = tasks.Judged(None, {"test perplexity": expected})
    with pytest.raises(errors.UserError, match="the export is not faithful"):
        new_task(new_corpus()).check_reloaded("m", judged)


def test_b12_weak_units_go_with_proof_and_both_scores(capsys):
    """The masked net's and those before; shrinking is exact again."""
    net = half_dead_net()
    (group,) = net.iss_groups()
    alive = group.alive().numpy()
    weak = np.flatnonzero(alive)[0]
    for variable, line in group.spread(
        tf.cast(np.arange(8) == weak, tf.float32), companions=True
    ):
        variable.assign(tf.where(line > 0, 0.03 * variable, variable))
    task = new_task(new_corpus(), dead_below=0.2)
    judged = task.judge(tasks.Trained(net))
    assert judged.as_trained["test perplexity"] == pytest.approx(
        judged.scores["test perplexity"], rel=1e-3
    )
    assert judged.as_trained != judged.scores and judged.kept == {}
    small, proof = finishing.shrink_proved(task, net)
    assert small.hidden_sizes == (3,) and proof.max_difference < 1e-5
    assert "1 become zero (lstm_0 1): held-out cost " in capsys.readouterr().out
    # As theirs: exact zeros only.
    task = new_task(new_corpus())
    judged = task.judge(tasks.Trained(half_dead_net()))
    assert judged.as_trained is None
