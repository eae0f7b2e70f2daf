"""Cutting dead units: the same outputs from smaller arrays."""

import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import shrinking

VOCABULARY, EMBEDDING, SIZES = 13, 4, (6, 5, 3)


def new_net():
    net = nets.Net(VOCABULARY, EMBEDDING, SIZES, scale=0.8, seed=3)
    for cell in net.cells:  # biases of dead units must not matter
        cell.bias.assign(
            tf.random.stateless_uniform(cell.bias.shape, [1, 2], -0.5, 0.5)
        )
    return net


def batches(count=2):
    return list(nets.ids(count, 3, 7, vocabulary=VOCABULARY))


DEAD = {"lstm_0": [0, 4], "lstm_1": [2], "lstm_2": [1]}


def test_outputs_stay_and_arrays_are_the_kept_rows_and_columns():
    net = new_net()
    nets.scale_units(net, DEAD)
    small, report = shrinking.shrink(net, net.iss_groups(), batches())
    assert small.sizes == (4, 4, 2)
    assert report.before == {"lstm_0": 6, "lstm_1": 5, "lstm_2": 3}
    assert report.after == {"lstm_0": 4, "lstm_1": 4, "lstm_2": 2}
    assert report.max_difference < 1e-5 < report.max_output
    for batch in batches():
        expected, states = net(batch)
        found, small_states = small(batch)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        keep = [
            np.setdiff1d(np.arange(n), DEAD[name])
            for n, name in zip(net.state_sizes, net.state_groups)
        ]
        for theirs, ours, kept in zip(states, small_states, keep):
            np.testing.assert_allclose(ours, theirs.numpy()[:, kept], atol=1e-5)
    kept = [1, 2, 3, 5]
    columns = np.concatenate([np.array(kept) + 6 * gate for gate in range(4)])
    first, second = net.cells[0], net.cells[1]
    np.testing.assert_array_equal(
        small.cells[0].kernel, first.kernel.numpy()[:, columns]
    )
    np.testing.assert_array_equal(
        small.cells[0].recurrent_kernel,
        first.recurrent_kernel.numpy()[np.ix_(kept, columns)],
    )
    np.testing.assert_array_equal(
        small.cells[0].bias, first.bias.numpy()[columns]
    )
    second_columns = np.concatenate(
        [np.array([0, 1, 3, 4]) + 5 * gate for gate in range(4)]
    )
    np.testing.assert_array_equal(
        small.cells[1].kernel,
        second.kernel.numpy()[np.ix_(kept, second_columns)],
    )
    np.testing.assert_array_equal(
        small.dense.kernel, net.dense.kernel.numpy()[[0, 2]]
    )
    np.testing.assert_array_equal(
        small.embedding.embeddings, net.embedding.embeddings
    )


def test_weights_are_counted():
    net = new_net()
    nets.scale_units(net, DEAD)
    _, report = shrinking.shrink(net, net.iss_groups())

    def count(sizes):
        total, inputs = VOCABULARY * (EMBEDDING + sizes[-1] + 1), EMBEDDING
        for n in sizes:
            total += 4 * n * (inputs + n + 1)
            inputs = n
        return total

    assert report.weights_before == count(SIZES)
    assert report.weights_after == count((4, 4, 2))
    assert report.max_difference is None and report.max_output is None


def test_nothing_dead_nothing_cut():
    net = new_net()
    small, report = shrinking.shrink(net, net.iss_groups(), batches(1))
    assert report.after == report.before
    assert report.max_difference == 0.0
    for ours, theirs in zip(small.get_weights(), net.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


def test_a_layer_without_units_is_refused():
    net = new_net()
    nets.scale_units(net, {"lstm_1": range(5)})
    with pytest.raises(
        errors.UserError,
        match="layer 'lstm_1' lost all of its 5 units.*lower its strength",
    ):
        shrinking.shrink(net, net.iss_groups(), batches())


def test_living_units_cannot_be_cut():
    """Told to cut what still matters, it finds the outputs to differ."""
    net = new_net()
    alive = [np.arange(n) > 0 for n in SIZES]
    with pytest.raises(
        errors.UserError,
        match="outputs differ from the original's by .* more than 0.0001",
    ):
        shrinking.shrink(net, net.iss_groups(), batches(), alive=alive)


def test_nan_is_no_equality():
    net = new_net()
    net.dense.bias.assign(np.full(VOCABULARY, np.nan))
    with pytest.raises(errors.UserError, match="differ .* by nan"):
        shrinking.shrink(net, net.iss_groups(), batches())


def test_proof_by_another_function():
    net = new_net()
    nets.scale_units(net, DEAD)
    seen = []

    def run(model, batch):
        seen.append(model)
        return [model(batch)[0], tf.constant([1.0])]

    small, report = shrinking.shrink(net, net.iss_groups(), batches(3), run)
    assert seen == [net, small] * 3
    assert report.max_output >= 1.0


def test_cut_tells_where_each_variable_went():
    net = new_net()
    nets.scale_units(net, DEAD)
    small, cuts = shrinking.cut(
        net, net.iss_groups(), [g.alive().numpy() for g in net.iss_groups()]
    )
    group = net.iss_groups()[0]
    norms = group.squared_norms().numpy()
    group.rebind(cuts)
    assert group.variables[0] is small.cells[0].kernel
    np.testing.assert_allclose(
        group.squared_norms(), norms[norms > 0], rtol=1e-5
    )


def test_groups_that_share_an_axis_cut_it_together():
    """Two groups may own parts of one variable's columns."""
    w = tf.Variable(np.arange(12, dtype=np.float32).reshape(2, 6))
    parts = [
        groups.Group("left", [groups.Slice(w, 1, 0, 3)]),
        groups.Group("right", [groups.Slice(w, 1, 3, 6)]),
    ]
    masks = groups.keep_masks(
        parts, [np.array([True, False, True]), np.array([False, True, True])]
    )
    np.testing.assert_array_equal(
        shrinking.take(w.numpy(), masks[w.ref()]), w.numpy()[:, [0, 2, 4, 5]]
    )
