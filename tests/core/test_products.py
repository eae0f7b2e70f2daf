"""Matrix products in bfloat16, everything else in float32."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import recurrent
from iss_rnns.experiments import machine
from iss_rnns.experiments.language import model as language_model
from iss_rnns.ops import products
from ptb import model as ptb_model
from rhns import model as rhns_model

CELLS = [
    lambda: cells.LSTMCell(6),
    lambda: cells.GRUCell(6),
    lambda: cells.SimpleRNNCell(6),
    lambda: cells.RHNCell(6, depth=3),
]


def rounded(x):
    """float32 values that bfloat16 holds exactly."""
    return tf.cast(tf.cast(x, tf.bfloat16), tf.float32)


def test_a_product_rounds_its_operands_and_its_result():
    x, w = tf.random.normal([3, 40]), tf.random.normal([40, 5])
    with products.products_in(tf.bfloat16):
        found = products.product(x, products.operand(w))
    assert found.dtype == tf.float32
    expected = rounded(x).numpy() @ rounded(w).numpy()
    # CPUs that only emulate bfloat16 round sums inside the product, too.
    rtol = 2**-8 if machine.cpu_has_bfloat16() else 2**-6
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-5)
    np.testing.assert_array_equal(found, rounded(found))


def test_outside_nothing_is_rounded():
    with products.products_in(tf.bfloat16):
        assert products.reduced()
        with products.products_in(None):
            assert not products.reduced()
    w = tf.constant([[1.001]])
    assert products.operand(w) is w


def test_an_error_inside_ends_it():
    with pytest.raises(KeyError):
        with products.products_in(tf.bfloat16):
            raise KeyError
    assert not products.reduced()


@pytest.mark.parametrize("make", CELLS)
def test_gradients_are_those_of_float32_to_rounding(make):
    layer = recurrent.Recurrent(make(), jit_compile=True)
    x = tf.random.stateless_normal([4, 7, 5], [1, 2])
    layer(x)

    def gradients(dtype):
        @tf.function
        def step():
            with tf.GradientTape() as tape:
                tape.watch(x)
                with products.products_in(dtype):
                    outputs, _ = layer(x, training=True)
                total = tf.reduce_sum(outputs * tf.cos(outputs))
            return tape.gradient(total, [x, *layer.trainable_variables])

        return step()

    for exact, found in zip(gradients(None), gradients(tf.bfloat16)):
        assert found.dtype == tf.float32
        error = tf.norm(found - exact) / tf.norm(exact)
        assert 0.0 < float(error) < 0.03


@pytest.mark.parametrize(
    "net",
    [
        lambda: ptb_model.WordLSTM(50, 7, [8, 6], seed=3),
        lambda: rhns_model.HighwayLM(50, [8], 2, tied=True, seed=3),
    ],
)
def test_a_copy_under_a_policy_has_the_same_weights(net):
    plain = net()
    mixed = machine.under_policy(plain, "mixed_bfloat16")
    ids = np.arange(20, dtype=np.int32).reshape(4, 5)
    assert mixed(ids)[0].dtype == tf.bfloat16
    assert {v.dtype for v in mixed.variables} == {tf.float32}
    again = machine.under_policy(mixed, "float32")
    np.testing.assert_array_equal(again(ids)[0], plain(ids)[0])
    assert tf.keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize(
    "net",
    [
        lambda: ptb_model.WordLSTM(50, 7, [8, 6], seed=3),
        lambda: rhns_model.HighwayLM(50, [8], 2, tied=True, seed=3),
    ],
)
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
