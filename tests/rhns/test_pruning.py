"""Pruning of highway models: masks, resuming in mid-schedule, the report."""

import dataclasses
import json

import numpy as np
import pytest
import rhn_runs
import tensorflow as tf

from iss_rnns import export
from iss_rnns.experiments import finishing
from iss_rnns.experiments import program
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import texts
from rhns import experiment
from rhns import model as model_lib
from rhns import train as train_lib

pytestmark = pytest.mark.slow

FLAGS = ("pruning", "shrink_every_steps", *pruning_flags._FLAGS)
SPARSITY, START, END = 0.75, 4, 70


def pruned_options(corpus, **flags):
    """Options of a run that is pruned as the program's flags say."""
    options = rhn_runs.new_options(epochs=3)
    net = train_lib.new_net(options, len(corpus.symbols))
    plan = pruning_flags.PruningSettings.from_flags(
        {
            **dict.fromkeys(FLAGS),
            **{
                "target_sparsity": SPARSITY,
                "pruning_start": START,
                "pruning_end": END,
                "pruning_frequency": 5,
            },
            **flags,
        }
    ).plan(
        options.epochs,
        len(corpora.batches(corpus.train, 4, 5)[0]),
        net.layer_types(),
        model_lib.PRUNED_TYPES,
        None,
    )
    return dataclasses.replace(options, pruning=plan)


@pytest.mark.parametrize(
    "flags, title",
    [
        ({"pruning": "gradual"}, "gradual"),
        (
            {"pruning": "glp", "block_size": "2x3", "pruning_lasso": 0.001},
            "glp 2x3",
        ),
    ],
)
def test_resumed_in_mid_schedule_it_ends_with_the_same_weights(
    tmp_path, flags, title
):
    corpus = rhn_runs.new_corpus()
    options = pruned_options(corpus, **flags)
    assert options.method == title
    expected, _ = train_lib.train(
        options, corpus, runs.RunDirectory(tmp_path, "whole"), False
    )
    for stop in ((START + END) // 2, None):
        net, _ = train_lib.train(
            dataclasses.replace(options, max_train_steps=stop),
            corpus,
            runs.RunDirectory(tmp_path, "cut", resume=stop is None),
            stop is None,
        )
    for name, value in rhn_runs.weights_of(expected).items():
        np.testing.assert_array_equal(
            value, rhn_runs.weights_of(net)[name], name
        )
    types = net.layer_types()
    for variable in (*types["input"], *types["recurrent"]):
        assert np.mean(variable.numpy() == 0) == pytest.approx(
            SPARSITY, abs=0.1
        )
    assert np.all(types["embedding"][0].numpy() != 0)
    if flags["pruning"] == "glp":
        for matrix in types["recurrent"]:
            blocks = tf.reshape(matrix, [3, 2, 2, 3]).numpy() != 0
            alive = blocks.any(axis=(1, 3))
            np.testing.assert_array_equal(alive, blocks.all(axis=(1, 3)))


def test_the_report_has_the_sparsity_and_the_packed_products(tmp_path):
    pytest.importorskip("numba")
    corpus = rhn_runs.new_corpus()
    options = pruned_options(corpus, pruning="gradual")
    run = runs.RunDirectory(tmp_path, "run")
    net, metrics = train_lib.train(options, corpus, run, False)
    task = experiment.HighwayTask(
        options,
        program.Choices("train"),
        texts.Texts.from_corpus(corpus, 4, 5),
    )
    finishing.finish(task, run, tasks.Trained(net), metrics.rows)
    report = json.loads((run.path / "report.json").read_text())
    assert report["method"] == "gradual"
    assert report["table"]["shrunk (reloaded)"]["zeros"] > 0.3
    packed = export.read_packed(run.path / "saved_model" / "packed")[0].layers
    assert set(packed) == {"rhn_0"}
    assert set(packed["rhn_0"].matrices) == {
        "kernel_h",
        "kernel_t",
        *(f"recurrent_{gate}_{d}" for gate in "ht" for d in range(2)),
    }
