"""The proximal step in the metric of adaptive optimizers, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import _keras
from iss_rnns import groups
from iss_rnns import scaled_lasso


def reference(weights, scales, length):
    """One unit's minimum, by bisection for its norm."""
    if np.linalg.norm(scales * weights) <= length:
        return np.zeros_like(weights)
    low, high = 0.0, np.linalg.norm(weights)
    for _ in range(200):
        norm = (low + high) / 2
        found = weights * norm / (norm + length / scales)
        low, high = (
            (norm, high) if np.linalg.norm(found) > norm else (low, norm)
        )
    return found


@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_each_unit_gets_to_the_minimum_of_its_step(spread):
    """Scales that are equal, and that differ by factors of up to 10^8."""
    rng = np.random.default_rng(int(spread))
    start = rng.normal(size=(6, 5)).astype(np.float32)
    scales = (10.0 ** rng.uniform(-spread, spread, (6, 5))).astype(np.float32)
    matrix, bias = tf.Variable(start), tf.Variable(tf.ones([5]))
    group = groups.Group(
        "columns",
        [groups.whole(matrix, axis=1)],
        companions=[groups.whole(bias, axis=0)],
    )
    length = 0.9 * float(np.median(np.linalg.norm(scales * start, axis=0)))
    tf.function(scaled_lasso.shorten)(
        [group], {matrix.ref(): tf.constant(scales)}, tf.constant(length)
    )
    expected = np.stack(
        [
            reference(w, d, length)
            for w, d in zip(start.T.astype(float), scales.T.astype(float))
        ],
        1,
    )
    np.testing.assert_allclose(matrix, expected, rtol=2e-4, atol=1e-6)
    alive = expected.any(0)
    assert 0 < alive.sum() < 5
    np.testing.assert_array_equal(matrix.numpy().any(0), alive)
    np.testing.assert_array_equal(bias, alive.astype(float))


def test_of_equal_scales_it_is_the_soft_threshold_of_all_slices():
    """Rows of one matrix and columns of another, weighted in the norm."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(4, 4)).astype(np.float32) for _ in range(2))
    first, second = tf.Variable(a), tf.Variable(b)
    group = groups.Group(
        "units",
        [groups.whole(first, 0), groups.whole(second, 1)],
        multiplier=0.5,
    )
    scales = {v.ref(): tf.fill([4, 4], 2.0) for v in (first, second)}
    scaled_lasso.shorten([group], scales, tf.constant(4.0))
    norms = np.sqrt((a**2).sum(1) + (b**2).sum(0))
    share = np.maximum(0, 1 - 0.5 * 4.0 / 2.0 / norms)
    np.testing.assert_allclose(first, a * share[:, None], rtol=1e-5)
    np.testing.assert_allclose(second, b * share, rtol=1e-5)


def test_a_strength_of_0_leaves_all_as_it_is():
    start = np.float32([[1, 0], [2, 0]])
    matrix = tf.Variable(start)
    group = groups.Group("columns", [groups.whole(matrix, 1)])
    scaled_lasso.shorten(
        [group], {matrix.ref(): tf.ones([2, 2])}, tf.constant(0.0)
    )
    np.testing.assert_array_equal(matrix, start)


OPTIMIZERS = {
    "Adam": lambda: tf.keras.optimizers.Adam(0.05),
    "amsgrad": lambda: tf.keras.optimizers.Adam(0.05, amsgrad=True),
    "RMSprop": lambda: tf.keras.optimizers.RMSprop(0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scales_are_what_the_optimizer_divides_by(name):
    """Of a first step, whose momentum is the gradient: known by its length."""
    weights = tf.Variable([1.0, 2.0, 3.0])
    gradient = np.float32([0.5, -0.1, 2.0])
    optimizer = OPTIMIZERS[name]()
    optimizer.build([weights])
    optimizer.apply_gradients([(tf.constant(gradient), weights)])
    step = np.float32([1, 2, 3]) - weights.numpy()
    np.testing.assert_allclose(
        0.05 * gradient / _keras.scales(optimizer, weights), step, rtol=1e-3
    )
    other = tf.keras.optimizers.SGD(0.05)
    other.build([weights])
    assert _keras.scales(other, weights) is None


def test_a_step_of_adam_and_the_lassos_part_of_it():
    """Against NumPy; in a first step Adam's scale is the gradient's size."""
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=(2, 3, 5)).astype(np.float32)
    rate = 0.01

    class Linear(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.matrix = self.add_weight(
                name="matrix",
                shape=start.shape,
                initializer=tf.constant_initializer(start),
            )
            self.built = True

        def call(self, inputs):
            return tf.reduce_sum(inputs * self.matrix, [1, 2])

    model = Linear()
    model.compile(tf.keras.optimizers.Adam(rate), lambda _, y: tf.reduce_sum(y))
    group = groups.Group("columns", [groups.whole(model.matrix, 1)])
    moved = start - rate * np.sign(gradients)
    scales = np.abs(gradients)
    strength = 0.9 * np.median(np.linalg.norm(scales * moved, axis=0)) / rate
    model.fit(
        gradients[None],
        np.zeros(1),
        verbose=0,
        callbacks=[iss_rnns.GroupLasso([group], strength, mode="proximal")],
    )
    expected = np.stack(
        [
            reference(w, d, rate * strength)
            for w, d in zip(moved.T.astype(float), scales.T.astype(float))
        ],
        1,
    )
    assert 0 < expected.any(0).sum() < 5
    np.testing.assert_allclose(model.matrix, expected, rtol=1e-3, atol=1e-5)
