"""The laws that steer a training to a size, against NumPy and by hand."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import size_control


def test_the_plan_falls_in_a_line_and_stays_at_what_was_asked():
    shares = [float(size_control.planned(0.25, s, 80)) for s in (0, 20, 80, 99)]
    np.testing.assert_allclose(shares, [1.0, 0.8125, 0.25, 0.25], atol=1e-6)
    assert float(size_control.planned(1.0, 7, 80)) == 1.0


def test_who_keeps_up_with_the_plan_is_pressed_the_least():
    steps = 50
    in_time, late, later = (
        float(size_control.pressure(0.4, reached, 25, steps))
        for reached in (0.7, 0.85, 1.0)
    )
    assert in_time == pytest.approx(1 / (0.1 * steps))
    # Half of what is to die is planned for now; a quarter, half of it lag.
    assert late == pytest.approx(in_time * (1 + 20 * 0.25))
    assert later == pytest.approx(in_time * (1 + 20 * 0.5))
    assert float(size_control.pressure(0.4, 0.2, 25, steps)) == 0.0


def test_in_graph_it_is_the_same():
    graph = tf.function(size_control.pressure)
    for reached in (0.3, 0.6, 0.9):
        np.testing.assert_allclose(
            graph(0.4, reached, tf.constant(7), 31),
            size_control.pressure(0.4, reached, 7, 31),
            rtol=1e-5,
        )


def new_measure(rng, sizes):
    """Two matrices: all units lie on the axes of one or both."""
    units = sum(sizes)
    taken = np.zeros([2, 2, units])
    taken[0, 0, : sizes[0]] = 1
    taken[0, 1, sizes[0] :] = 2
    taken[1, 1] = 1
    lengths = taken.sum(2) + rng.integers(1, 4, [2, 2])
    return size_control.Measure(lengths, taken), lengths, taken


def left_by_hand(lengths, taken, alive):
    return (lengths - taken @ (1 - alive)).prod(1).sum()


def test_what_is_left_of_matrices_is_a_product_of_their_axes():
    rng = np.random.default_rng(0)
    measure, lengths, taken = new_measure(rng, (4, 3))
    assert measure.whole == lengths.prod(1).sum()
    alive = rng.random(7) < 0.5
    assert float(measure.left(alive)) == left_by_hand(lengths, taken, alive)
    order = rng.permutation(7)
    found = measure.left_along(tf.constant(order))
    alive = np.ones(7)
    for unit, left in zip(order, found):
        alive[unit] = 0
        assert float(left) == left_by_hand(lengths, taken, alive)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("of_weights", [False, True])
def test_the_weakest_of_all_groups_are_pressed(seed, of_weights):
    rng = np.random.default_rng(seed)
    sizes = (4, 7, 5)
    strengths = [rng.random(n).astype(np.float32) for n in sizes]
    measure = size_control.Measure.of_units(16)
    if of_weights:
        measure, _, _ = new_measure(rng, sizes)
    keep = rng.uniform(0.1, 0.9) * measure.whole
    found = size_control.pressed(
        [tf.constant(s) for s in strengths], measure, keep
    )
    # The strongest of each group never goes: another one does.
    order = np.argsort(
        np.concatenate([np.where(s == s.max(), np.inf, s) for s in strengths]),
        kind="stable",
    )
    alive = np.ones(16, bool)
    for unit in order:
        without = alive.copy()
        without[unit] = False
        if float(measure.left(without)) < keep:
            break
        alive = without
    expected = np.split(~alive, np.cumsum(sizes)[:-1])
    for i, units in enumerate(expected):
        if units.all():  # one stays
            units[np.argmax(strengths[i])] = False
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


def test_a_weak_group_keeps_one_unit_and_others_go_instead():
    strengths = [tf.constant([0.1, 0.2, 0.3]), tf.range(5.0) + 1.0]
    measure = size_control.Measure.of_units(8)
    found = size_control.pressed(strengths, measure, 4)
    assert [int(np.sum(f)) for f in found] == [2, 2]
    np.testing.assert_array_equal(found[0], [True, True, False])


def test_sizes_are_rounded_up_to_a_multiple():
    strengths = [tf.range(10.0), tf.range(6.0) + 100.0]
    measure = size_control.Measure.of_units(16)
    found = size_control.pressed(strengths, measure, 11, multiple_of=4)
    assert [int(np.sum(f)) for f in found] == [2, 0]  # 8 and all 6 stay
    np.testing.assert_array_equal(np.flatnonzero(found[0]), [0, 1])


def test_of_equal_units_the_first_are_the_weaker():
    measure = size_control.Measure.of_units(5)
    (found,) = size_control.pressed([tf.zeros([5])], measure, 3)
    np.testing.assert_array_equal(found, [True, True, False, False, False])
