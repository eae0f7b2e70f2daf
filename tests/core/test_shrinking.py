"""Cutting dead units: the same outputs from smaller arrays."""

import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import shrinking
from iss_rnns import thresholding

pytestmark = pytest.mark.keras3

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
    small, report = shrinking.shrink(
        net, net.iss_groups(), batches(), nets.logits
    )
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
    _, report = shrinking.shrink(net, net.iss_groups(), unproved=True)

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
    small, report = shrinking.shrink(
        net, net.iss_groups(), batches(1), nets.logits
    )
    assert report.after == report.before
    assert report.max_difference == 0.0
    for ours, theirs in zip(small.get_weights(), net.get_weights()):
        np.testing.assert_array_equal(ours, theirs)


def test_a_layer_without_units_is_refused():
    net = new_net()
    nets.scale_units(net, {"lstm_1": range(5)})
    with pytest.raises(
        errors.UserError,
        match="layer 'lstm_1' lost all of its 5 units; .* penalty's strength",
    ) as refused:
        shrinking.shrink(net, net.iss_groups(), batches(), nets.logits)
    assert refused.value.argument == "strength"  # whose flag a program names


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("given", [False, True])
def test_b8_units_that_are_nan_are_broken_not_dead(count, given):
    net = new_net()
    kernel = net.cells[1].recurrent_kernel
    value = kernel.numpy()
    value[range(count), range(count)] = np.nan  # no other unit's
    kernel.assign(value)
    alive = [np.arange(n) > 0 for n in SIZES] if given else None
    for call in (
        lambda: shrinking.check_alive(net.iss_groups(), alive),
        lambda: shrinking.shrink(
            net, net.iss_groups(), alive=alive, unproved=True
        ),
    ):
        with pytest.raises(
            errors.BrokenWeightsError,
            match=f"{count} of the 5 units of layer 'lstm_1' have weights that "
            "are NaN or infinite, .*; go back to weights of before that",
        ) as refused:
            call()
        assert isinstance(refused.value, errors.UserError)
        assert isinstance(refused.value, FloatingPointError)


def test_living_units_cannot_be_cut():
    """Told to cut what still matters, it finds the outputs to differ."""
    net = new_net()
    alive = [np.arange(n) > 0 for n in SIZES]
    with pytest.raises(
        errors.UserError,
        match="outputs differ from the original's by .* more than 0.0001",
    ):
        shrinking.shrink(
            net, net.iss_groups(), batches(), nets.logits, alive=alive
        )


def test_nan_is_no_equality():
    net = new_net()
    net.dense.bias.assign(np.full(VOCABULARY, np.nan))
    with pytest.raises(errors.UserError, match="differ .* by nan"):
        shrinking.shrink(net, net.iss_groups(), batches(), nets.logits)


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


class Stock(tf.keras.Model):
    """Stock layers: statistics, a frozen matrix, outputs in a dict."""

    def __init__(self, units):
        super().__init__()
        self.units = units
        self.make = Stock  # what `resized` calls
        self.hidden = tf.keras.layers.Dense(units)
        self.norm = tf.keras.layers.BatchNormalization()
        self.frozen = tf.keras.layers.Dense(3, trainable=False)
        self(tf.zeros([1, 4]))

    def call(self, inputs, training=None):
        x = self.norm(self.hidden(inputs), training=training)
        return {"sum": tf.reduce_sum(x, -1), "out": self.frozen(x)}

    def iss_groups(self):
        return [
            groups.Group(
                "hidden",
                [
                    groups.whole(self.hidden.kernel, 1),
                    groups.whole(self.norm.gamma, 0),
                    groups.whole(self.frozen.kernel, 0),
                ],
                [
                    groups.whole(v, 0)
                    for v in (
                        self.hidden.bias,
                        self.norm.beta,
                        self.norm.moving_mean,
                        self.norm.moving_variance,
                    )
                ],
            )
        ]

    def resized(self, sizes):
        return self.make(sizes["hidden"])


def stock_with_dead_units():
    net = Stock(6)
    rng = np.random.default_rng(0)
    for variable in net.variables:
        variable.assign(rng.uniform(0.5, 2.0, variable.shape))
    (group,) = net.iss_groups()
    dead = tf.constant([False, True, False, False, True, False])
    thresholding.zero_units(group, dead)
    return net, rng.normal(size=[5, 4]).astype(np.float32)


def test_statistics_and_frozen_weights_go_along():
    """Whatever the model's outputs are; with nothing dead, too."""
    net, x = stock_with_dead_units()
    small, report = shrinking.shrink(net, net.iss_groups(), [x])
    assert report.after == {"hidden": 4} and report.max_difference < 1e-5
    keep = [0, 2, 3, 5]
    for ours, theirs in (
        (small.norm.moving_mean, net.norm.moving_mean.numpy()[keep]),
        (small.norm.moving_variance, net.norm.moving_variance.numpy()[keep]),
        (small.frozen.kernel, net.frozen.kernel.numpy()[keep]),
        (small.frozen.bias, net.frozen.bias),
    ):
        np.testing.assert_array_equal(ours, theirs)
    again, report = shrinking.shrink(small, small.iss_groups(), [x])
    assert report.after == {"hidden": 4} and report.max_difference == 0.0
    np.testing.assert_array_equal(again(x)["out"], small(x)["out"])


def test_a_smaller_model_with_other_variables_is_refused():
    net, x = stock_with_dead_units()
    more = Stock(4)
    more.extra = tf.Variable([1.0], name="extra")
    net.make = lambda units: more
    with pytest.raises(
        errors.UserError, match="has 9 variables, the model 8; .* extra"
    ):
        shrinking.shrink(net, net.iss_groups(), [x])


def test_a_smaller_model_of_other_sizes_is_refused():
    net, x = stock_with_dead_units()
    net.make = lambda units: Stock(units + 1)
    with pytest.raises(
        errors.UserError,
        match=r"kernel is float32 of shape \(4, 5\), but .* \(4, 4\) is left",
    ):
        shrinking.shrink(net, net.iss_groups(), [x])


def test_what_is_no_keras_model_and_has_no_resized_is_refused():
    net = tf.Module()
    net.kernel = tf.Variable(tf.ones([2, 3]))
    group = groups.Group("dense", [groups.whole(net.kernel, 1)])
    with pytest.raises(
        errors.UserError,
        match=r"Module cannot be shrunk: .* resized\(sizes",
    ):
        shrinking.shrink(net, [group], [np.ones([1, 2])])


def test_units_that_are_outputs_are_not_cut_though_a_group_says_so():
    net = tf.keras.Sequential([tf.keras.layers.Dense(3, input_shape=[2])])
    kernel = net.layers[0].kernel
    kernel.assign(np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]))
    group = groups.Group(
        "dense",
        [groups.whole(kernel, 1)],
        [groups.whole(net.layers[0].bias, 0)],
    )
    with pytest.raises(errors.UserError, match="is an output of the model"):
        shrinking.shrink(net, [group], [np.ones([1, 2])])


def test_groups_of_other_weights_are_refused():
    net, x = stock_with_dead_units()
    with pytest.raises(errors.UserError, match="is no variable of the model"):
        shrinking.shrink(net, stock_with_dead_units()[0].iss_groups(), [x])


def test_without_batches_nothing_is_cut_unless_it_is_said():
    net, x = stock_with_dead_units()
    for none in ({}, {"batches": []}, {"batches": iter(())}):
        with pytest.raises(errors.UserError, match="or say unproved=True"):
            shrinking.shrink(net, net.iss_groups(), **none)
    with pytest.raises(errors.UserError, match="leave out one of the two"):
        shrinking.shrink(net, net.iss_groups(), [x], unproved=True)
    small, report = shrinking.shrink(net, net.iss_groups(), unproved=True)
    assert small.units == 4 and report.max_difference is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batches": {"x": 1}}, r"list of batches, got dict: give \[it\]"),
        ({"batches": 3}, "list of batches, got int"),
        ({"tolerance": np.nan}, "tolerance must be a number >= 0, got nan"),
        ({"groups": []}, "at least one Group"),
        ({"groups": None}, "list of Group objects, .* got NoneType"),
        ({"alive": [np.ones(5, bool)]}, r"shapes \[\(6,\)\], .*'bool\(5,\)'"),
        ({"alive": [np.ones(6)]}, r"float64\(6,\)"),
        ({"alive": []}, r"one per group, got \[\]"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    net, x = stock_with_dead_units()
    arguments = {"groups": net.iss_groups(), "batches": [x], **wrong}
    with pytest.raises(errors.UserError, match=message):
        shrinking.shrink(net, **arguments)


def test_names_that_keras_numbers_are_matched():
    """The second model of a process has other numbers in its names."""
    tf.keras.backend.clear_session()
    net, x = stock_with_dead_units()
    Stock(2)
    small, _ = shrinking.shrink(net, net.iss_groups(), [x])
    assert [v.name for v in net.variables] != [v.name for v in small.variables]
