"""What stands in for tensorflow-addons equals it, with it and without."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import averages as averages_lib
from iss_rnns.ops import losses

BATCH, TIME, CLASSES = 3, 5, 7


@pytest.fixture(params=["with", "without"])
def presence(request, monkeypatch):
    """Both worlds: tensorflow-addons there (if installed), and missing."""
    if request.param == "without":
        monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
        assert averages_lib._load() is None
    elif averages_lib._load() is None:
        pytest.skip("tensorflow-addons is not installed")


def batch():
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=[BATCH, TIME, CLASSES]).astype(np.float32),
        rng.integers(0, CLASSES, [BATCH, TIME]).astype(np.int32),
    )


def test_sequence_loss_against_numpy(presence):
    logits, targets = batch()
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    expected = -np.take_along_axis(logs, targets[..., None], -1).sum() / BATCH
    np.testing.assert_allclose(
        averages_lib.sequence_loss(logits, targets), expected, rtol=1e-6
    )


def test_sequence_cost_equals_it_in_value_and_gradient(presence):
    logits, targets = batch()
    logits = tf.constant(logits)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        theirs = averages_lib.sequence_loss(logits, targets)
        ours = losses.sequence_cost(
            tf.reshape(logits, [-1, CLASSES]), targets.reshape(-1), BATCH
        )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(ours, logits), tape.gradient(theirs, logits), atol=1e-7
    )


def test_averages_against_numpy():
    rng = np.random.default_rng(1)
    weight = tf.Variable(rng.normal(size=[4, 2]).astype(np.float32))
    averages = averages_lib.MovingAverages([weight], decay=0.9)
    expected = weight.numpy()
    for _ in range(6):
        weight.assign_add(rng.normal(size=[4, 2]).astype(np.float32))
        averages.update()
        expected = 0.9 * expected + 0.1 * weight.numpy()
        np.testing.assert_allclose(
            averages.average_of(weight), expected, atol=1e-6
        )


def test_averages_in_graph_equal_those_outside():
    weight = tf.Variable([1.0, 2.0])
    eager = averages_lib.MovingAverages([weight], decay=0.5)
    graph = averages_lib.MovingAverages([weight], decay=0.5)
    weight.assign([3.0, -2.0])
    eager.update()
    tf.function(graph.update)()
    np.testing.assert_array_equal(
        eager.average_of(weight), graph.average_of(weight)
    )
    np.testing.assert_allclose(eager.average_of(weight), [2.0, 0.0])


def test_averages_equal_those_of_the_addons_optimizer():
    """One step apart: theirs are updated last, ours first."""
    tfa = averages_lib._load()
    if tfa is None:
        pytest.skip("tensorflow-addons is not installed")
    decay, start = 0.8, [1.0, -2.0, 0.5]
    theirs, ours = tf.Variable(start), tf.Variable(start)
    legacy = tfa.optimizers.MovingAverage(
        tf.keras.optimizers.legacy.Adam(0.1), average_decay=decay
    )
    adam = tf.keras.optimizers.Adam(0.1)
    averages = averages_lib.MovingAverages([ours], decay)
    for _ in range(5):
        averages.update()
        adam.apply_gradients([(2 * ours - 1.0, ours)])
        legacy.apply_gradients([(2 * theirs - 1.0, theirs)])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    averages.update()
    np.testing.assert_allclose(
        averages.average_of(ours), legacy.get_slot(theirs, "average"), atol=1e-5
    )


def test_reset_and_give():
    weight = tf.Variable([1.0])
    averages = averages_lib.MovingAverages([weight], decay=0.9)
    weight.assign([5.0])
    averages.assign_to_variables()
    np.testing.assert_array_equal(weight, [1.0])
    weight.assign([7.0])
    averages.reset()
    np.testing.assert_array_equal(averages.average_of(weight), [7.0])


@pytest.mark.parametrize("decay", [-0.1, 1.5, float("nan")])
def test_bad_decay(decay):
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\]"):
        averages_lib.MovingAverages([tf.Variable(0.0)], decay)


def test_checkpointed_with_the_model(tmp_path):
    weight = tf.Variable([1.0])
    averages = averages_lib.MovingAverages([weight], decay=0.5)
    weight.assign([3.0])
    averages.update()
    path = tf.train.Checkpoint(averages=averages).write(str(tmp_path / "a"))
    other = averages_lib.MovingAverages([tf.Variable([0.0])], decay=0.5)
    tf.train.Checkpoint(averages=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.shadows[0], [2.0])
