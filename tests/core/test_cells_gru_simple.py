"""The GRU and the plain cell: NumPy, stock Keras, groups, shrinking."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import recurrent
from iss_rnns import shrinking

pytestmark = pytest.mark.keras3

UNITS, INPUTS, BATCH, TIME = 3, 5, 4, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_gru(weights, x, h):
    kernel, recurrent_kernel, bias = weights
    of_x = np.split(x @ kernel + bias[0], 3, axis=1)
    of_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=1)
    update, reset = (sigmoid(of_x[i] + of_h[i]) for i in range(2))
    candidate = np.tanh(of_x[2] + reset * of_h[2])
    return (1 - update) * candidate + update * h


def numpy_simple(function):
    def step(weights, x, h):
        kernel, recurrent_kernel, bias = weights
        return function(x @ kernel + h @ recurrent_kernel + bias)

    return step


def keras_rnn(activation):
    def layer(**kwargs):
        return tf.keras.layers.SimpleRNN(UNITS, activation=activation, **kwargs)

    return layer


CASES = {
    "gru": (
        lambda **kwargs: cells.GRUCell(UNITS, **kwargs),
        numpy_gru,
        lambda **kwargs: tf.keras.layers.GRU(UNITS, **kwargs),
    ),
    "tanh": (
        lambda **kwargs: cells.SimpleRNNCell(UNITS, **kwargs),
        numpy_simple(np.tanh),
        keras_rnn("tanh"),
    ),
    "relu": (
        lambda **kwargs: cells.SimpleRNNCell(UNITS, "relu", **kwargs),
        numpy_simple(lambda x: np.maximum(x, 0)),
        keras_rnn("relu"),
    ),
}


@pytest.fixture(name="case", params=CASES)
def fixture_case(request):
    """(cell with biases, its step in NumPy, the stock layer's maker)."""
    tf.random.set_seed(1)
    make, step, stock = CASES[request.param]
    cell = make(bias_initializer="random_normal")
    cell.build(tf.TensorShape([None, INPUTS]))
    cell.bias.assign(10.0 * cell.bias)
    return cell, step, stock


def normal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=shape).astype(np.float32))


def stock_layer(stock, cell, **kwargs):
    """The stock layer with a cell's weights, in the same layout."""
    layer = stock(return_sequences=True, return_state=True, **kwargs)
    layer.build(tf.TensorShape([None, None, INPUTS]))
    layer.set_weights(cell.get_weights())
    return layer


def gradients(run, variables, x, state):
    """Outputs, and gradients of a sum over all that comes out."""
    with tf.GradientTape() as tape:
        tape.watch([x, state])
        outputs, final = run(x, state)
        total = tf.reduce_sum(
            outputs * normal(*outputs.shape, seed=7)
        ) + tf.reduce_sum(final * normal(*final.shape, seed=8))
    return [outputs, final, *tape.gradient(total, [x, state, *variables])]


def test_a_step_against_numpy(case):
    cell, step, _ = case
    x, h = normal(BATCH, INPUTS), normal(BATCH, UNITS, seed=1)
    expected = step(cell.get_weights(), x.numpy(), h.numpy())
    for run in (cell.call, tf.function(cell.call)):
        output, (new_h,) = run(x, [h])
        np.testing.assert_allclose(output, expected, atol=1e-6)
        np.testing.assert_allclose(new_h, expected, atol=1e-6)


def test_scan_backprop_is_the_gradient(case):
    cell, _, _ = case
    x, h = normal(BATCH, INPUTS), normal(BATCH, UNITS, seed=1)
    doutput, dh = (normal(BATCH, UNITS, seed=i) for i in (2, 3))
    weights = cell.scan_weights()
    z = cell.hoist(x)
    with tf.GradientTape() as tape:
        tape.watch([z, h, *weights])
        output, (new_h,), saved = cell.scan_step(z, [h], weights)
        total = tf.reduce_sum(output * doutput + new_h * dh)
    expected = tape.gradient(total, [z, h, *weights])
    dzs, (old_h,) = cell.scan_backprop(
        doutput, [dh], saved, cell.backprop_weights(weights)
    )
    found = cell.scan_weight_gradients(
        [dz[None] for dz in dzs], [s[None] for s in saved], weights
    )
    assert len(dzs) == cell.hoisted_parts
    found = [dzs[0], old_h, *found]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("graph", [False, True])
def test_a_sequence_equals_stock_keras(case, graph):
    """Outputs and gradients, fast and inside Keras' own RNN."""
    cell, _, stock = case
    fast = recurrent.Recurrent(cell)
    slow = tf.keras.layers.RNN(cell, return_sequences=True, return_state=True)
    reference = stock_layer(stock, cell)

    def ours(x, state):
        outputs, (final,) = fast(x, initial_state=[state], training=True)
        return outputs, final

    def theirs(layer):
        return lambda x, state: layer(x, initial_state=[state])

    x, state = normal(BATCH, TIME, INPUTS), normal(BATCH, UNITS, seed=1)
    expected = gradients(
        theirs(reference), reference.trainable_variables, x, state
    )
    for run in (ours, theirs(slow)):
        found = gradients(
            tf.function(run) if graph else run,
            cell.trainable_variables,
            x,
            state,
        )
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backwards", [False, True])
def test_lengths_equal_keras_masking(case, backwards):
    cell, _, stock = case
    lengths = np.array([6, 2, 1, 5], np.int32)
    mask = tf.sequence_mask(lengths, TIME)
    x = normal(BATCH, TIME, INPUTS)
    outputs, (final,) = recurrent.Recurrent(cell, go_backwards=backwards)(
        x, lengths=lengths, training=True
    )
    reference = stock_layer(stock, cell, go_backwards=backwards)
    reference.zero_output_for_mask = True
    expected, last = reference(x, mask=mask)
    if backwards:
        expected = tf.reverse(expected, [1])
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(final, last, atol=1e-5)


def test_config_round_trip(case):
    cell, _, _ = case
    again = tf.keras.layers.deserialize(tf.keras.layers.serialize(cell))
    assert type(again) is type(cell)
    assert again.get_config() == cell.get_config()
    layer = tf.keras.layers.deserialize(
        tf.keras.layers.serialize(recurrent.Recurrent(cell))
    )
    layer.build(tf.TensorShape([None, None, INPUTS]))
    layer.set_weights(cell.get_weights())
    x = normal(BATCH, TIME, INPUTS)
    np.testing.assert_array_equal(layer(x)[0], recurrent.Recurrent(cell)(x)[0])


def test_a_unit_is_its_columns_its_row_and_its_readers(case):
    cell, _, _ = case
    consumer = tf.Variable(tf.ones([UNITS, 2]))
    group = cells.iss_group("layer", cell, [groups.whole(consumer, 0)])
    kernel, matrix, _ = cell.get_weights()
    for k in range(UNITS):
        columns = [gate * UNITS + k for gate in range(cell.gates)]
        expected = (
            (kernel[:, columns] ** 2).sum()
            + (matrix[:, columns] ** 2).sum()
            + (matrix[k] ** 2).sum()
            + 2
        )
        np.testing.assert_allclose(
            group.squared_norms()[k], expected, rtol=1e-5
        )
    assert {s.variable.ref() for s in group.companions} == {cell.bias.ref()}


class Net(tf.keras.Model):
    """Two layers of a kind and a product; what `shrink` asks of a net."""

    def __init__(self, kind, sizes):
        super().__init__()
        self.kind = kind
        self.parts = []
        for i, (inputs, size) in enumerate(zip((INPUTS, *sizes), sizes)):
            layer = recurrent.Recurrent(kind(size, f"layer_{i}"))
            layer.build(tf.TensorShape([None, None, inputs]))
            self.parts.append(layer)
        self.out = self.add_weight(name="out", shape=(sizes[-1], 2))
        self.built = True

    def call(self, inputs, training=None):
        for layer in self.parts:
            inputs, _ = layer(inputs, training=training)
        return [tf.einsum("bti,io->bto", inputs, self.out)]

    def groups(self):
        first, second = (layer.cell for layer in self.parts)
        return [
            cells.iss_group("layer_0", first, [groups.whole(second.kernel, 0)]),
            cells.iss_group("layer_1", second, [groups.whole(self.out, 0)]),
        ]

    def resized(self, sizes):
        return Net(self.kind, [sizes["layer_0"], sizes["layer_1"]])


@pytest.mark.parametrize(
    "kind",
    [
        lambda n, name: cells.GRUCell(n, bias_initializer="ones", name=name),
        lambda n, name: cells.SimpleRNNCell(
            n, bias_initializer="ones", name=name
        ),
    ],
)
def test_dead_units_are_cut_and_the_outputs_stay(kind):
    """Whatever the dead units' biases."""
    net = Net(kind, [6, 5])
    for group, dead in zip(net.groups(), ([1, 4], [0])):
        line = np.zeros(group.size, np.float32)
        line[dead] = 1.0
        for variable, spread in group.spread(tf.constant(line)):
            variable.assign(
                tf.where(spread > 0, tf.zeros_like(variable), variable)
            )
    small, proof = shrinking.shrink(
        net, net.groups(), [normal(BATCH, TIME, INPUTS)]
    )
    assert proof.after == {"layer_0": 4, "layer_1": 4}
    assert proof.max_difference < 1e-6 < proof.max_output
    np.testing.assert_array_equal(
        small.parts[0].cell.recurrent_kernel.numpy()[:, :4],
        np.delete(
            np.delete(
                net.parts[0].cell.recurrent_kernel.numpy()[:, :6], [1, 4], 0
            ),
            [1, 4],
            1,
        ),
    )
    assert small.parts[1].cell.bias.shape[-1] == 4 * small.parts[1].cell.gates


def test_arguments_are_checked():
    for kind in (cells.GRUCell, cells.SimpleRNNCell):
        with pytest.raises(errors.UserError, match="units must be a whole"):
            kind(0)
    with pytest.raises(
        errors.UserError,
        match="activation must be one of tanh, relu, got 'elu'",
    ):
        cells.SimpleRNNCell(2, "elu")
