"""The LSTM cell against NumPy and inside Keras' own RNN."""

import json

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import groups

pytestmark = pytest.mark.keras3

UNITS, INPUTS, BATCH = 3, 5, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_step(cell, x, h, c):
    z = (
        x @ cell.kernel.numpy()
        + h @ cell.recurrent_kernel.numpy()
        + cell.bias.numpy()
    )
    i, f, candidate, o = np.split(z, 4, axis=1)
    c = sigmoid(f + cell.forget_bias) * c + sigmoid(i) * np.tanh(candidate)
    return sigmoid(o) * np.tanh(c), c


@pytest.fixture(name="cell", params=[0.0, 1.0])
def fixture_cell(request):
    tf.random.set_seed(1)
    cell = cells.LSTMCell(
        UNITS, forget_bias=request.param, bias_initializer="random_normal"
    )
    cell.build(tf.TensorShape([None, INPUTS]))
    return cell


@pytest.fixture(name="batch")
def fixture_batch():
    rng = np.random.default_rng(0)
    return [
        rng.normal(size=(BATCH, n)).astype(np.float32)
        for n in (INPUTS, UNITS, UNITS)
    ]


def test_a_step_against_numpy(cell, batch):
    x, h, c = batch
    expected_h, expected_c = numpy_step(cell, x, h, c)
    for run in (cell.call, tf.function(cell.call)):
        output, (new_h, new_c) = run(tf.constant(x), [h, c])
        np.testing.assert_allclose(output, expected_h, atol=1e-6)
        np.testing.assert_allclose(new_h, expected_h, atol=1e-6)
        np.testing.assert_allclose(new_c, expected_c, atol=1e-6)


def test_scan_backprop_is_the_gradient(cell, batch):
    x, h, c = [tf.constant(a) for a in batch]
    doutput, dh, dc = [
        tf.random.stateless_normal([BATCH, UNITS], [i, 0]) for i in range(3)
    ]
    weights = cell.scan_weights()
    z = cell.hoist(x)
    with tf.GradientTape() as tape:
        tape.watch([z, h, c, *weights])
        output, (new_h, new_c), saved = cell.scan_step(z, [h, c], weights)
        total = tf.reduce_sum(output * doutput + new_h * dh + new_c * dc)
    expected = tape.gradient(total, [z, h, c, *weights])
    dzs, (old_h, old_c) = cell.scan_backprop(
        doutput, [dh, dc], saved, cell.backprop_weights(weights)
    )
    kernels = cell.scan_weight_gradients(
        [dz[None] for dz in dzs], [s[None] for s in saved], weights
    )
    assert len(dzs) == cell.hoisted_parts
    for ours, theirs in zip([dzs[0], old_h, old_c, *kernels], expected):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_hoist_takes_any_number_of_steps(cell, batch):
    x = np.stack([batch[0], 2 * batch[0]])
    together = cell.hoist(tf.constant(x))
    assert together.shape == (2, BATCH, 4 * UNITS)
    for step in range(2):
        np.testing.assert_allclose(
            together[step], cell.hoist(tf.constant(x[step])), atol=1e-6
        )


def test_runs_in_a_keras_rnn(cell):
    """Also inside a model that is saved by its config and trained."""
    x = np.random.default_rng(0).normal(size=(BATCH, 6, INPUTS))
    x = x.astype(np.float32)
    layer = tf.keras.layers.RNN(cell, return_sequences=True, return_state=True)
    outputs, last_h, last_c = layer(x)
    h = c = np.zeros([BATCH, UNITS], np.float32)
    for t in range(6):
        h, c = numpy_step(cell, x[:, t], h, c)
        np.testing.assert_allclose(outputs[:, t], h, atol=1e-5)
    np.testing.assert_allclose(last_h, h, atol=1e-5)
    np.testing.assert_allclose(last_c, c, atol=1e-5)
    inputs = tf.keras.Input([6, INPUTS])
    model = tf.keras.Model(inputs, tf.keras.layers.RNN(cell)(inputs))
    clone = tf.keras.Model.from_config(model.get_config())
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone(x), model(x), atol=1e-6)


def test_effective_bias_makes_a_stock_lstm(cell):
    x = np.random.default_rng(0).normal(size=(BATCH, 6, INPUTS))
    x = x.astype(np.float32)
    stock = tf.keras.layers.LSTM(UNITS, unit_forget_bias=False)
    stock.build(tf.TensorShape([None, None, INPUTS]))
    stock.set_weights(
        [
            cell.kernel.numpy(),
            cell.recurrent_kernel.numpy(),
            cell.effective_bias().numpy(),
        ]
    )
    np.testing.assert_allclose(
        stock(x), tf.keras.layers.RNN(cell)(x), atol=1e-5
    )


def test_config_round_trip():
    cell = cells.LSTMCell(
        3,
        forget_bias=0.5,
        name="layer",
        kernel_initializer=tf.keras.initializers.RandomUniform(-1, 1, seed=2),
        bias_initializer="ones",
    )
    again = tf.keras.layers.deserialize(tf.keras.layers.serialize(cell))
    assert isinstance(again, cells.LSTMCell)
    assert again.get_config() == cell.get_config()
    for each in (cell, again):
        each.build(tf.TensorShape([None, 2]))
    np.testing.assert_array_equal(cell.kernel, again.kernel)
    np.testing.assert_array_equal(again.bias, np.ones(12))


def test_recurrent_initializer_defaults_to_the_kernels():
    cell = cells.LSTMCell(2, kernel_initializer="ones")
    cell.build(tf.TensorShape([None, 3]))
    np.testing.assert_array_equal(cell.recurrent_kernel, np.ones([2, 8]))


@pytest.mark.parametrize("units", [0, -1, 2.5, "3", True, None])
def test_units_are_checked(units):
    with pytest.raises(
        errors.UserError,
        match=f"units must be a whole number of at least 1, got {units!r}",
    ):
        cells.LSTMCell(units)


def test_units_may_be_a_number_of_numpy():
    cell = cells.LSTMCell(np.int64(4), forget_bias=np.float32(0.5))
    assert json.loads(json.dumps(cell.get_config()))["units"] == 4
    cell.build(tf.TensorShape([None, 3]))
    assert cell.kernel.shape == (3, 16)


def test_forget_bias_is_checked():
    with pytest.raises(errors.UserError, match="forget_bias must be a finite"):
        cells.LSTMCell(4, forget_bias=np.nan)


def test_inputs_of_unknown_width_are_refused():
    with pytest.raises(
        errors.UserError, match="last axis of the inputs of cell 'wide' must"
    ):
        cells.LSTMCell(4, name="wide").build(tf.TensorShape([None, None]))


def test_a_group_of_a_cell_without_weights_is_refused():
    with pytest.raises(
        errors.UserError, match="cell of group 'lstm' has no weights yet"
    ):
        cells.iss_group("lstm", cells.LSTMCell(4))


def test_a_group_of_another_kind_of_cell_is_refused():
    with pytest.raises(errors.UserError, match="LSTMCell has no unit_slices"):
        cells.iss_group("lstm", tf.keras.layers.LSTMCell(4))


def test_slices_of_a_unit(cell):
    """Unit k: gate columns, own row, the consumer's row; biases beside."""
    consumer = tf.Variable(tf.ones([UNITS, 2]))
    group = cells.iss_group("layer", cell, [groups.whole(consumer, 0)], 0.5)
    kernel, recurrent = cell.kernel.numpy(), cell.recurrent_kernel.numpy()
    for k in range(UNITS):
        columns = [gate * UNITS + k for gate in range(4)]
        expected = (
            (kernel[:, columns] ** 2).sum()
            + (recurrent[:, columns] ** 2).sum()
            + (recurrent[k] ** 2).sum()
            + 2
        )
        np.testing.assert_allclose(
            group.squared_norms()[k], expected, rtol=1e-5
        )
    assert (group.name, group.multiplier) == ("layer", 0.5)
    assert {s.variable.ref() for s in group.companions} == {cell.bias.ref()}


def test_a_unit_of_zeros_is_never_read(cell, batch):
    """Whatever its bias: that is why it can be cut."""
    x, h, c = batch
    group = cells.iss_group("layer", cell)
    dead = tf.constant([0.0, 1.0, 0.0])
    for variable, line in group.spread(dead):
        variable.assign(tf.where(line > 0, tf.zeros_like(variable), variable))
    before, _ = cell(tf.constant(x), [h, c])
    h[:, 1] = 7.0
    after, _ = cell(tf.constant(x), [h, c])
    np.testing.assert_array_equal(after, before)
