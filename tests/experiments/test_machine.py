"""Nets that compute in bfloat16, wholly or in their products."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns.experiments import machine
from iss_rnns.experiments.language import model as language_model
from ptb import model as ptb_model
from rhns import model as rhns_model

NETS = [
    lambda: ptb_model.WordLSTM(50, 7, [8, 6], seed=3),
    lambda: rhns_model.HighwayLM(50, [8], 2, tied=True, seed=3),
]


@pytest.mark.parametrize("net", NETS)
def test_a_copy_under_a_policy_has_the_same_weights(net):
    plain = net()
    mixed = machine.under_policy(plain, "mixed_bfloat16")
    ids = np.arange(20, dtype=np.int32).reshape(4, 5)
    assert mixed(ids)[0].dtype == tf.bfloat16
    assert {v.dtype for v in mixed.variables} == {tf.float32}
    again = machine.under_policy(mixed, "float32")
    np.testing.assert_array_equal(again(ids)[0], plain(ids)[0])
    assert tf.keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize("net", NETS)
def test_a_model_learns_with_it_and_evaluates_without(net):
    x = np.random.default_rng(0).integers(0, 50, (1, 4, 5)).astype(np.int32)
    y = np.roll(x, 1, axis=2)
    models = {}
    for dtype in (None, tf.bfloat16):
        model = language_model.LanguageModel(net(), 4, 5.0, product_dtype=dtype)
        model.compile(optimizer=tf.keras.optimizers.SGD(1.0))
        costs = [
            float(model.train_step((x[0], y[0]))["cost"]) for _ in range(5)
        ]
        assert costs[-1] < costs[0]
        models[dtype] = model, costs
    assert models[None][1] != models[tf.bfloat16][1]
    np.testing.assert_allclose(
        models[None][1], models[tf.bfloat16][1], rtol=2e-3
    )
    trained = models[tf.bfloat16][0].net
    scored = language_model.Evaluator(trained).perplexity(x, y)
    logits, _ = trained(x[0])
    labels = y[0].T.reshape(-1)
    exact = float(
        tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
    )
    np.testing.assert_allclose(np.log(scored), exact, rtol=1e-6)


def test_names_of_dtypes():
    assert machine.product_dtype("float32") is None
    assert machine.product_dtype("bfloat16") == tf.bfloat16
