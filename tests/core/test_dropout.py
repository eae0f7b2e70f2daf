"""Dropout from sixteen random bits an element."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns.ops import dropout


@pytest.mark.parametrize("keep_prob", [0.8, 0.5, 0.1])
def test_dropout_keeps_so_many_and_the_mean(keep_prob):
    x = tf.ones([31, 7, 333])
    with tf.GradientTape() as tape:
        tape.watch(x)
        dropped = dropout.drop(x, keep_prob, [3, 4])
    values = dropped.numpy()
    kept = values != 0.0
    deviation = (keep_prob * (1 - keep_prob) / values.size) ** 0.5
    assert abs(kept.mean() - keep_prob) < 4 * deviation
    np.testing.assert_allclose(values[kept], 1 / keep_prob, rtol=1e-3)
    np.testing.assert_array_equal(tape.gradient(dropped, x), values)
    np.testing.assert_array_equal(dropped, dropout.drop(x, keep_prob, [3, 4]))
    # Neighbours and other seeds drop apart.
    other = dropout.drop(x, keep_prob, [3, 5]).numpy() != 0.0
    for a, b in (
        (kept[..., :-1], kept[..., 1:]),
        (kept[:-1], kept[1:]),
        (kept, other),
    ):
        assert abs(np.mean(a & b) - keep_prob**2) < 6 * deviation


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_any_shape_and_type(dtype):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], dtype)])
    def dropped(x):
        return dropout.drop(x, 0.5, [1, 2])

    for rows in (0, 1, 4, 5):
        found = dropped(tf.ones([rows, 3], dtype))
        assert found.shape == [rows, 3] and found.dtype == dtype
