"""The cost against NumPy, and against TensorFlow's and addons' own."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns.ops import losses

POSITIONS, CLASSES, BATCH = 12, 7, 4


def batch(scale=3.0):
    rng = np.random.default_rng(0)
    logits = scale * rng.normal(size=(POSITIONS, CLASSES))
    labels = rng.integers(0, CLASSES, POSITIONS)
    return tf.constant(logits, tf.float32), tf.constant(labels, tf.int32)


def value_and_gradient(logits, labels, factor=1.0):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        cost = factor * losses.sequence_cost(logits, labels, BATCH)
    return cost, tape.gradient(cost, logits)


@pytest.mark.parametrize("scale", [0.0, 3.0, 500.0])
def test_cost_and_gradient_against_numpy(scale):
    """With large logits too: no overflow."""
    logits, labels = batch(scale)
    exact = logits.numpy().astype(np.float64)
    shifted = exact - exact.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    chosen = log_p[np.arange(POSITIONS), labels.numpy()]
    one_hot = np.eye(CLASSES)[labels.numpy()]
    for run in (value_and_gradient, tf.function(value_and_gradient)):
        cost, gradient = run(logits, labels, 2.0)
        np.testing.assert_allclose(cost, -2 * chosen.sum() / BATCH, rtol=1e-6)
        np.testing.assert_allclose(
            gradient, 2 * (np.exp(log_p) - one_hot) / BATCH, atol=1e-6
        )


def test_equals_tensorflows():
    logits, labels = batch()
    with tf.GradientTape() as tape:
        tape.watch(logits)
        theirs = (
            tf.reduce_sum(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            )
            / BATCH
        )
    expected = tape.gradient(theirs, logits)
    ours, gradient = value_and_gradient(logits, labels)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_equals_the_addons_sequence_loss():
    seq2seq = pytest.importorskip("tensorflow_addons").seq2seq
    logits, labels = batch()
    theirs = tf.reduce_sum(
        seq2seq.sequence_loss(
            tf.reshape(logits, [BATCH, -1, CLASSES]),
            tf.reshape(labels, [BATCH, -1]),
            tf.ones([BATCH, POSITIONS // BATCH]),
            average_across_timesteps=False,
            average_across_batch=True,
        )
    )
    np.testing.assert_allclose(
        losses.sequence_cost(logits, labels, BATCH), theirs, rtol=1e-6
    )


def test_labels_may_be_of_any_integer_type():
    logits, labels = batch()
    np.testing.assert_array_equal(
        losses.sequence_cost(logits, tf.cast(labels, tf.int64), BATCH),
        losses.sequence_cost(logits, labels, tf.constant(BATCH)),
    )
