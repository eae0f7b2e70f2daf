"""Matrix products in bfloat16, everything else in float32."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import recurrent
from iss_rnns.experiments import machine
from iss_rnns.ops import products

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
