"""Units by identity: what is tied, pinned, quiet and loud."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns.groups import walk as walk_lib

NONE = walk_lib.NONE


def axis(ids, loud=None, needs=()):
    ids = np.asarray(ids)
    return walk_lib.Axis(
        ids,
        np.full(len(ids), NONE) if loud is None else np.asarray(loud),
        np.asarray(needs, int).reshape(-1, len(ids)),
    )


def new_walk(*weights):
    return walk_lib.Walk(
        [walk_lib.Weight(v, name, counted) for v, name, counted in weights], {}
    )


def test_a_sum_is_zero_where_all_are():
    total = walk_lib.sum_of(
        [axis([0, 1, 2], [NONE, 4, NONE], [[7, 7, 7]]), axis([3, 4, 5])]
    )
    assert total.ids.tolist() == [0, 1, 2]
    assert total.loud.tolist() == [NONE, 4, NONE]
    assert total.needs.tolist() == [[7, 7, 7]]


def test_a_product_is_zero_where_one_is_and_needs_the_least():
    one = axis([0, 1], [NONE, 4], [[7, NONE]])
    other = axis([2, 3], [NONE, NONE], [[8, 8], [9, 9]])
    product = walk_lib.product_of([one, other])
    assert product.ids.tolist() == [0, 1]
    assert product.loud.tolist() == [NONE, NONE]
    assert product.needs.T.tolist() == [[7, NONE], [8, 9]]


def test_axes_side_by_side_keep_what_each_needs():
    joined = walk_lib.concatenated(
        [axis([0, 1], needs=[[5, 6]]), axis([2], [3])]
    )
    assert joined.ids.tolist() == [0, 1, 2]
    assert joined.loud.tolist() == [NONE, NONE, 3]
    assert joined.needs.tolist() == [[5, 6, NONE]]
    assert joined.take([2, 0]).ids.tolist() == [2, 0]


def test_what_hangs_together_is_one_unit_however_it_is_tied():
    walk = new_walk()
    a, b, c, d = (walk.units(name, 3) for name in "abcd")
    walk.tie(c, a.take([2, 1, 0]))
    walk.tie(d, c)
    walk.tie(b.take([0]), b.take([1]))
    units = walk.result()
    of = {name: units.unit_of[ids] for name, ids in units.layers.items()}
    np.testing.assert_array_equal(of["c"], of["a"][::-1])
    np.testing.assert_array_equal(of["d"], of["c"])
    assert of["b"][0] == of["b"][1] != of["b"][2]
    assert len(np.unique(units.unit_of)) == 3 + 2
    assert walk.units("a", 3).ids is a.ids  # a layer that is called twice


def test_a_long_chain_of_ties_is_one_unit():
    walk = new_walk()
    axes = [walk.units(str(i), 2) for i in range(200)]
    for i in np.random.default_rng(0).permutation(199):
        walk.tie(axes[i + 1], axes[i])
    units = walk.result()
    assert len(np.unique(units.unit_of)) == 2


def test_pins_hold_for_all_that_is_tied_and_tell_the_first_reason():
    walk = new_walk()
    a, b = walk.units("a", 2), walk.units("b", 2)
    walk.pin(a.take([1]), "first")
    walk.pin([None, a], "second")
    walk.tie(a, b)
    units = walk.result()
    of_b = units.unit_of[units.layers["b"]]
    assert [units.pinned()[int(u)] for u in of_b] == ["second", "first"]


def test_beside_something_without_units_nothing_can_be_cut():
    walk = new_walk()
    a = walk.units("a", 2)
    walk.where = "layer 'add'"
    walk.tie(a, None)
    reasons = set(walk.result().pinned().values())
    assert reasons == {
        "layer 'add' reads it beside something that has no units"
    }


@pytest.fixture(name="layer")
def fixture_layer():
    kernel = tf.Variable(tf.ones([4, 3]))
    bias = tf.Variable(tf.ones([3]))
    return kernel, bias, new_walk((kernel, "d", True), (bias, "d", False))


def test_without_a_weight_between_biases_make_a_unit_alive(layer):
    kernel, bias, walk = layer
    columns = walk.weight(kernel, 1)
    entries = walk.weight(bias, bias=True)
    assert not columns.needs.size
    np.testing.assert_array_equal(entries.needs, [entries.ids])
    out = walk_lib.sum_of([columns, entries])
    walk.tie(columns, entries)
    walk.silence([out])
    np.testing.assert_array_equal(walk.result().promoted, entries.ids)


def test_a_weight_between_asks_for_nothing(layer):
    kernel, bias, walk = layer
    entries = walk.weight(bias, bias=True)
    walk.silence([entries, walk.weight(kernel, 1)])
    assert not walk.result().promoted.size


def test_what_is_loud_cannot_be_read_without_a_weight(layer):
    kernel, _, walk = layer
    out = walk.louden(walk.weight(kernel, 1), "it is a sigmoid")
    walk.where = "layer 'dot'"
    walk.silence([out])
    (reason,) = set(walk.result().pinned().values())
    assert reason.startswith("layer 'dot' reads it without a weight")
    assert reason.endswith("it is a sigmoid")


def test_unknown_weights_stay_as_they_are():
    walk = new_walk()
    found = walk.weight(tf.Variable(tf.ones([2, 3])), 0)
    assert len(found) == 2 and len(walk.result().pinned()) == 2
