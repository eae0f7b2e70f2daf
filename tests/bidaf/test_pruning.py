"""Pruning of BiDAF: masks, averages, resuming in mid-schedule."""

import bidaf_questions
import numpy as np
import pytest

from bidaf import loading
from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import train as train_lib
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import runs

FLAGS = ("pruning", "shrink_every_steps", *pruning_flags._FLAGS)
STEPS, PERIOD, STOP, SPARSITY = 12, 6, 8, 0.75


CONFIG = model_lib.ModelConfig(
    hidden_size=4,
    char_emb_size=2,
    char_out_size=3,
    out_channel_dims="3",
    highway_num_layers=1,
)


def new_net(questions):
    options = options_lib.Options(model=CONFIG, seed=5)
    return train_lib.new_net(options.for_data(questions), questions)


def train(questions, folder, resume=False):
    """A run with a group lasso on 2x4 blocks, of which 75 % go."""
    net = new_net(questions)
    plan = pruning_flags.PruningSettings.from_flags(
        {
            **dict.fromkeys(FLAGS),
            **{
                "pruning": "glp",
                "block_size": "2x4",
                "pruning_lasso": 0.001,
                "target_sparsity": SPARSITY,
                "pruning_start": 2,
                "pruning_end": 10,
                "pruning_frequency": 3,
            },
        }
    ).plan(STEPS / 10, 10, net.layer_types(), model_lib.LAYER_TYPES, None)
    options = options_lib.Options(
        init_lr=0.01,
        var_decay=0.8,
        num_steps=STEPS,
        seed=2,
        pruning=plan,
        model=CONFIG,
        batch_size=6,
        eval_period=PERIOD,
        checkpoint_every=2,
        dump_answer=False,
        dump_eval=False,
        cluster=True,
    ).for_data(questions)
    assert options.method == "glp 2x4"
    run = runs.RunDirectory(folder, "run", resume=resume)
    trainer, _ = train_lib.train(options, questions, run, resume, net)
    return trainer, tuple(plan.schedules)


def test_resumed_in_mid_schedule_it_ends_with_the_same_weights(tmp_path):
    questions = bidaf_questions.read_questions(tmp_path)
    whole, _ = train(questions, tmp_path)
    # As if it had been killed before its newer checkpoints were written.
    for path in (tmp_path / "run" / "checkpoints").glob("state-*.json"):
        if int(path.stem.partition("-")[2]) > STOP:
            path.unlink()
    resumed, pruned = train(questions, tmp_path, resume=True)
    for expected, found in zip(whole.net.variables, resumed.net.variables):
        np.testing.assert_array_equal(found, expected, expected.name)
    loaded = loading.Loaded(resumed.net, resumed.averages, STEPS, pruned)
    zeros = [v.numpy() == 0 for v in matrices(loaded.net)]
    for each in zeros:
        assert each.mean() == pytest.approx(SPARSITY, abs=0.1)
    # Averages never reach zero by themselves.
    loaded.assign_averages()
    for each, variable in zip(zeros, matrices(loaded.net)):
        np.testing.assert_array_equal(variable.numpy() == 0, each)


def matrices(net):
    return [v for found in net.layer_types().values() for v in found]
