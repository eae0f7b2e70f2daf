"""Exact zeros, zero fractions and freezing against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import thresholding
from iss_rnns.ops import in_place

pytestmark = pytest.mark.keras3


def test_zero_small_is_strictly_below_the_threshold():
    for graph in (False, True):
        w = tf.Variable([[1e-5, -9.9e-5, 1e-4], [-1e-4, 2.0, 0.0]])
        b = tf.Variable([0.5, -1e-6])

        def run(w=w, b=b):
            in_place.zero_small([w, b], 1e-4)

        (tf.function(run) if graph else run)()
        np.testing.assert_array_equal(
            w, np.float32([[0, 0, 1e-4], [-1e-4, 2, 0]])
        )
        np.testing.assert_array_equal(b, [0.5, 0.0])


def test_descent_and_zeroing_leave_what_was_read_before():
    """They change the variable in place, but nobody else's numbers."""
    w = tf.Variable(tf.random.stateless_normal([64, 64], [1, 2]))
    start = w.numpy().copy()
    tensor, array = w.read_value(), w.numpy()
    in_place.descend(w, tf.ones_like(w), tf.constant(0.5), tf.constant(0.1))
    expected = start - np.float32(0.5)
    expected[np.abs(expected) < np.float32(0.1)] = 0.0
    np.testing.assert_array_equal(w, expected)

    @tf.function
    def read_and_zero():
        before = tf.convert_to_tensor(w)
        in_place.zero_small([w], 0.9)
        return tf.reduce_sum(before), tf.reduce_sum(w)

    before, after = read_and_zero()
    np.testing.assert_allclose(before, expected.sum(), rtol=1e-4)
    np.testing.assert_allclose(
        after, expected[np.abs(expected) >= 0.9].sum(), rtol=1e-4
    )
    np.testing.assert_array_equal(tensor, start)
    np.testing.assert_array_equal(array, start)


def test_zero_small_with_threshold_zero_changes_nothing():
    w = tf.Variable([1e-30, -1e-30, 0.0])
    in_place.zero_small([w], 0.0)
    np.testing.assert_array_equal(w, np.float32([1e-30, -1e-30, 0.0]))


def test_zero_fractions():
    w = tf.Variable([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 2.0]])
    found = thresholding.zero_fractions(w)
    assert {k: float(v) for k, v in found.items()} == {
        "element": 0.75,
        "row": 0.5,
        "column": 0.5,
    }
    assert {
        k: float(v)
        for k, v in thresholding.zero_fractions(tf.Variable([0.0, 1.0])).items()
    } == {"element": 0.5}


def test_freeze_elements_masks_gradients_of_small_weights():
    w = tf.Variable([[0.0, 9e-5], [1e-4, -1.0]])
    gradient = tf.constant([[1.0, 2.0], [3.0, 4.0]])

    def run():
        ((masked, variable),) = thresholding.freeze_elements([(gradient, w)])
        assert variable is w
        return masked

    for masked in (run(), tf.function(run)()):
        np.testing.assert_array_equal(masked, [[0, 0], [3, 4]])


def test_freeze_elements_of_an_embeddings_rows():
    """Sparse gradients stay sparse, repeated rows apart."""
    w = tf.Variable([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    rows = tf.IndexedSlices(
        tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        tf.constant([1, 0, 1]),
        tf.constant([3, 2]),
    )
    ((masked, _),) = thresholding.freeze_elements([(rows, w)])
    assert isinstance(masked, tf.IndexedSlices)
    np.testing.assert_array_equal(masked.indices, [1, 0, 1])
    np.testing.assert_array_equal(masked.values, [[1, 0], [0, 4], [5, 0]])


def test_no_gradient_stays_none():
    w = tf.Variable([1.0])
    assert thresholding.freeze_elements([(None, w)])[0][0] is None


def dead_column_group():
    w = tf.Variable([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    consumer = tf.Variable([[1.0], [0.0], [3.0]])
    bias = tf.Variable([1.0, 5.0, 1.0])
    group = groups.Group(
        "layer",
        [groups.whole(w, 1), groups.whole(consumer, 0)],
        [groups.whole(bias, 0)],
    )
    return w, consumer, bias, group


def test_dead_masks_cover_whole_dead_units_only():
    """Unit 1 is dead; unit 2 lives through its consumer."""
    w, consumer, bias, group = dead_column_group()
    masks = thresholding.dead_masks([group])
    full = {
        ref: np.broadcast_to(mask, ref.deref().shape)
        for ref, mask in masks.items()
    }
    np.testing.assert_array_equal(full[w.ref()], [[0, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(full[consumer.ref()], [[0], [1], [0]])
    np.testing.assert_array_equal(full[bias.ref()], [0, 1, 0])


def test_dead_masks_of_overlapping_groups_add_up():
    w = tf.Variable([[0.0, 0.0], [0.0, 1.0]])
    masks = thresholding.dead_masks(
        [
            groups.Group("rows", [groups.whole(w, 0)]),
            groups.Group("columns", [groups.whole(w, 1)]),
        ]
    )
    np.testing.assert_array_equal(masks[w.ref()], [[1, 1], [1, 0]])


def test_freeze_groups_lets_living_zeros_move():
    w, consumer, bias, group = dead_column_group()
    other = tf.Variable([0.0])
    ones = [(tf.ones_like(v), v) for v in (w, consumer, bias, other)]
    masked = thresholding.freeze_groups(ones, thresholding.dead_masks([group]))
    np.testing.assert_array_equal(masked[0][0], [[1, 0, 1], [1, 0, 1]])
    np.testing.assert_array_equal(masked[1][0], [[1], [0], [1]])
    np.testing.assert_array_equal(masked[2][0], [1, 0, 1])
    np.testing.assert_array_equal(masked[3][0], [1])
    rows = tf.IndexedSlices(
        tf.ones([2, 1]), tf.constant([2, 1]), tf.constant([3, 1])
    )
    ((sparse, _),) = thresholding.freeze_groups(
        [(rows, consumer)], thresholding.dead_masks([group])
    )
    np.testing.assert_array_equal(sparse.values, [[1], [0]])


def test_b8_weights_that_are_nan_are_neither_small_nor_zeroed():
    w = tf.Variable([[0.0, np.nan, 1.0]])

    def freeze():
        return thresholding.freeze_elements([(tf.ones([1, 3]), w)])[0][0]

    for run in (freeze, tf.function(freeze)):  # graphs are optimized
        np.testing.assert_array_equal(run(), [[0, 1, 1]])
    group = groups.Group("columns", [groups.whole(w, 1)])

    def dead():
        return thresholding.dead_masks([group])[w.ref()]

    for run in (dead, tf.function(dead)):
        np.testing.assert_array_equal(run(), [[True, False, False]])
    in_place.zero_small([w], 0.5)
    np.testing.assert_array_equal(w, [[0, np.nan, 1]])
    consumer = tf.Variable([[np.nan], [0.0], [1.0]])  # reads 0 and 2
    group.slices.append(groups.whole(consumer, 0))
    w.assign([[1.0, 1.0, 1.0]])
    thresholding.zero_unread_units([group])
    np.testing.assert_array_equal(w, [[1, 0, 1]])


def test_dead_blocks_are_frozen():
    w = tf.Variable([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    grid = groups.BlockGrid.uniform(w, 2, 2)
    ((masked, _),) = thresholding.freeze_groups(
        [(tf.ones([2, 3]), w)], thresholding.dead_masks([grid])
    )
    np.testing.assert_array_equal(masked, [[0, 0, 1], [0, 0, 1]])


def dead_filter():
    """Filter 1 of a Conv1D kernel [width, in, out] is dead."""
    kernel = np.ones([2, 3, 4], np.float32)
    kernel[:, :, 1] = 0.0
    kernel, bias = tf.Variable(kernel), tf.Variable(tf.ones([4]))
    group = groups.Group(
        "filters", [groups.whole(kernel, 2)], [groups.whole(bias, 0)]
    )
    return kernel, bias, group


def test_dead_filters_are_frozen():
    kernel, bias, group = dead_filter()
    masked = thresholding.freeze_groups(
        [(tf.ones_like(v), v) for v in (kernel, bias)],
        thresholding.dead_masks([group]),
    )
    np.testing.assert_array_equal(masked[0][0], kernel)
    np.testing.assert_array_equal(masked[1][0], [1, 0, 1, 1])


def test_filters_are_zeroed():
    kernel, bias, group = dead_filter()
    thresholding.zero_units(group, tf.constant([True, False, False, False]))
    assert group.alive().numpy().tolist() == [False, False, True, True]
    np.testing.assert_array_equal(bias, [0, 1, 1, 1])
    assert {
        k: float(v) for k, v in thresholding.zero_fractions(kernel).items()
    } == {"element": 0.5}


def test_unread_units_of_filters_are_not_guessed():
    _, _, group = dead_filter()
    with pytest.raises(
        errors.UserError, match=r"'filters' .* \(2, 3, 4\).* in matrices only"
    ):
        thresholding.zero_unread_units([group])


@pytest.mark.parametrize("graph", [False, True])
def test_units_are_shortened_to_zero_at_most(graph):
    """Columns against NumPy, with a companion; NaN is never short (B8)."""
    start = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
    start[0, 4] = np.nan
    matrix, bias = tf.Variable(start), tf.Variable(tf.ones([5]))
    group = groups.Group(
        "columns",
        [groups.whole(matrix, axis=1)],
        companions=[groups.whole(bias, axis=0)],
    )
    norms = np.linalg.norm(start, axis=0)
    lengths = np.float32([0, 0.5, norms[2], 2 * norms[3], 100])

    def shorten():
        norms = tf.sqrt(group.squared_norms())
        share = thresholding.shortened(norms, tf.constant(lengths))
        thresholding.scale_units([group], [share])

    (tf.function(shorten) if graph else shorten)()
    expected = start * np.maximum(0, 1 - lengths / norms)
    expected[:, 2:4] = 0
    np.testing.assert_allclose(matrix[:, :4], expected[:, :4], atol=1e-6)
    np.testing.assert_array_equal(matrix[:, 2:4], np.zeros([4, 2]))
    np.testing.assert_array_equal(bias, [1, 1, 0, 0, 1])
    np.testing.assert_array_equal(matrix[:, 4], start[:, 4])
