"""The highway cell: maths, masks, written-out gradient, groups."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import recurrent

pytestmark = pytest.mark.keras3

BATCH, TIME, INPUTS, UNITS = 3, 4, 5, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def new_cell(depth=3, **options):
    cell = cells.RHNCell(
        UNITS,
        depth,
        forget_bias=-1.5,
        kernel_initializer=tf.keras.initializers.RandomNormal(0.0, 0.5, seed=3),
        bias_initializer=tf.keras.initializers.RandomNormal(0.0, 0.5, seed=4),
        **options,
    )
    cell.build(tf.TensorShape([None, INPUTS]))
    return cell


def new_data(seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(BATCH, TIME, INPUTS))
    state = random.normal(size=(BATCH, UNITS))
    masks = [(random.random((BATCH, n)) < 0.6) / 0.6 for n in (INPUTS, UNITS)]
    return [a.astype(np.float32) for a in (x, state, *masks)]


def reference(cell, x, state, input_mask=None, state_mask=None):
    """The docstring's equations in float64."""
    w = {
        v.name.split(":")[0]: v.numpy().astype(np.float64)
        for v in cell.trainable_variables
    }
    input_mask = 1.0 if input_mask is None else input_mask
    state_mask = 1.0 if state_mask is None else state_mask
    outputs, s = [], state.astype(np.float64)
    for t in range(x.shape[1]):
        for d in range(cell.depth):
            h, gate = (
                (s * state_mask) @ w[f"recurrent_{g}_{d}"] + w[f"bias_{g}_{d}"]
                for g in "ht"
            )
            if d == 0:
                h += (x[:, t] * input_mask) @ w["kernel_h"]
                gate += (x[:, t] * input_mask) @ w["kernel_t"]
            s = (np.tanh(h) - s) * sigmoid(gate) + s
        outputs.append(s)
    return np.stack(outputs, 1), s


MASKS = {
    "no_masks": (False, False),
    "input_mask": (True, False),
    "state_mask": (False, True),
    "both_masks": (True, True),
}


def constants_of(kind, masks):
    return tuple(
        mask if used else None for mask, used in zip(masks, MASKS[kind])
    )


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("training", [False, True], ids=["infer", "train"])
def test_recurrent_computes_the_equations(depth, kind, graph, training):
    cell = new_cell(depth)
    x, state, *masks = new_data()
    constants = constants_of(kind, masks)
    layer = recurrent.Recurrent(cell)

    def run(x, state):
        return layer(
            x, initial_state=[state], constants=constants, training=training
        )

    outputs, states = (tf.function(run) if graph else run)(x, state)
    expected, final = reference(cell, x, state, *constants)
    np.testing.assert_allclose(outputs, expected, atol=2e-6)
    np.testing.assert_allclose(states[0], final, atol=2e-6)


@pytest.mark.parametrize("kind", ["no_masks", "both_masks"])
def test_runs_inside_keras_rnn(kind):
    cell = new_cell()
    x, state, *masks = new_data()
    constants = constants_of(kind, masks)
    layer = tf.keras.layers.RNN(cell, return_sequences=True, return_state=True)
    options = (
        {"constants": [tf.constant(mask) for mask in constants]}
        if any(MASKS[kind])
        else {}
    )
    outputs, final = layer(
        tf.constant(x), initial_state=[tf.constant(state)], **options
    )
    expected, last = reference(cell, x, state, *constants)
    np.testing.assert_allclose(outputs, expected, atol=2e-6)
    np.testing.assert_allclose(final, last, atol=2e-6)


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_written_gradient_equals_autodiff(depth, kind):
    cell = new_cell(depth)
    x, state, *masks = new_data()
    constants = constants_of(kind, masks)
    weights = tf.random.stateless_normal([BATCH, TIME, UNITS], [1, 2])
    x, state = tf.constant(x), tf.constant(state)
    layer = recurrent.Recurrent(cell)

    def plain():
        s, outputs = [state], []
        for t in range(TIME):
            output, s = cell(x[:, t], s, constants=constants)
            outputs.append(output)
        return tf.stack(outputs, 1), s

    def fast():
        return layer(
            x, initial_state=[state], constants=constants, training=True
        )

    gradients = []
    for run in (plain, fast):
        with tf.GradientTape() as tape:
            tape.watch([x, state])
            outputs, final = run()
            cost = tf.reduce_sum(outputs * weights) + tf.reduce_sum(
                tf.square(final[0])
            )
        gradients.append(
            tape.gradient(cost, [x, state] + cell.trainable_variables)
        )
    for expected, gradient in zip(*gradients):
        np.testing.assert_allclose(gradient, expected, atol=5e-6)


def test_gradient_in_graph_with_a_mask_drawn_in_graph():
    """The mask of a training step is a tensor of the same graph."""
    cell = new_cell()
    x, state, *_ = new_data()
    layer = recurrent.Recurrent(cell)

    @tf.function
    def gradients(x):
        mask = (
            tf.cast(
                tf.random.stateless_uniform([BATCH, UNITS], [1, 2]) < 0.5,
                tf.float32,
            )
            * 2.0
        )
        with tf.GradientTape() as tape:
            outputs, _ = layer(
                x, initial_state=[state], constants=(None, mask), training=True
            )
            cost = tf.reduce_sum(outputs)
        return mask, outputs, tape.gradient(cost, cell.trainable_variables)

    mask, outputs, result = gradients(x)
    expected, _ = reference(cell, x, state, None, mask.numpy())
    np.testing.assert_allclose(outputs, expected, atol=2e-6)
    assert all(np.any(g.numpy()) for g in result)
    # A unit whose mask is 0 in the whole batch would read nothing: its row's
    # gradient is 0; the others' is not.
    for matrix, gradient in zip(cell.trainable_variables, result):
        if matrix.name.startswith("recurrent"):
            np.testing.assert_array_equal(
                np.any(gradient.numpy(), 1), np.any(mask.numpy(), 0)
            )


def test_lengths_and_both_directions():
    cell = new_cell()
    x, _, *_ = new_data()
    lengths = np.array([4, 2, 1], np.int32)
    forward, final = recurrent.Recurrent(cell)(x, lengths=lengths)
    backward, first = recurrent.Recurrent(cell, go_backwards=True)(
        x, lengths=lengths
    )
    for b, length in enumerate(lengths):
        zero = np.zeros([1, UNITS])
        expected, last = reference(cell, x[b : b + 1, :length], zero)
        np.testing.assert_allclose(forward[b, :length], expected[0], atol=2e-6)
        np.testing.assert_allclose(final[0][b], last[0], atol=2e-6)
        expected, last = reference(cell, x[b : b + 1, :length][:, ::-1], zero)
        np.testing.assert_allclose(
            backward[b, :length], expected[0][::-1], atol=2e-6
        )
        np.testing.assert_allclose(first[0][b], last[0], atol=2e-6)
        assert not np.any(forward[b, length:].numpy())


def test_initial_weights():
    cell = new_cell(depth=3)
    for bias in cell.bias_t:
        np.testing.assert_array_equal(bias, np.full(UNITS, -1.5, np.float32))
    matrices = [
        m.numpy()
        for m in [cell.kernel_h[: UNITS - 1], cell.kernel_t[: UNITS - 1]]
        + [m[: UNITS - 1] for m in cell.recurrent_h + cell.recurrent_t]
    ]
    for i, a in enumerate(matrices):
        for b in matrices[:i]:
            assert np.abs(a - b).max() > 0.1, "two matrices start equal"
    again = new_cell(depth=3)
    for a, b in zip(cell.trainable_variables, again.trainable_variables):
        np.testing.assert_array_equal(a, b)


def test_unseeded_initializers_draw_every_matrix_anew():
    cell = cells.RHNCell(UNITS, 2)
    cell.build(tf.TensorShape([None, UNITS]))
    kernels = [
        cell.kernel_h,
        cell.kernel_t,
        *cell.recurrent_h,
        *cell.recurrent_t,
    ]
    assert len({m.numpy().tobytes() for m in kernels}) == len(kernels)


@pytest.mark.parametrize("depth", [1, 3])
def test_group_norms_count_columns_and_state_rows(depth):
    cell = new_cell(depth)
    group = cells.iss_group("rhn", cell)
    expected = np.zeros(UNITS)
    for kernel in (cell.kernel_h, cell.kernel_t):
        expected += np.square(kernel.numpy()).sum(0)
    for matrix in cell.recurrent_h + cell.recurrent_t:
        expected += np.square(matrix.numpy()).sum(0)
        expected += np.square(matrix.numpy()).sum(1)
    np.testing.assert_allclose(group.squared_norms(), expected, rtol=1e-5)
    assert group.weights_per_unit == 2 * INPUTS + 4 * depth * UNITS
    assert len(group.companions) == 2 * depth


def test_a_unit_with_a_zero_group_is_read_by_nobody():
    """Its state still moves with its biases; the others must not see it."""
    cell = new_cell()
    x, state, *_ = new_data()
    for matrix in cell.recurrent_h + cell.recurrent_t:
        value = matrix.numpy()
        value[2], value[:, 2] = 0.0, 0.0
        matrix.assign(value)
    layer = recurrent.Recurrent(cell)
    before, _ = layer(x, initial_state=[state])
    state[:, 2] += 5.0
    after, _ = layer(x, initial_state=[state])
    others = [k for k in range(UNITS) if k != 2]
    np.testing.assert_array_equal(
        before.numpy()[..., others], after.numpy()[..., others]
    )
    assert np.any(before.numpy()[..., 2] != after.numpy()[..., 2])


def test_config_round_trip_through_the_layer():
    layer = recurrent.Recurrent(new_cell(depth=2, name="highway"))
    copy = recurrent.Recurrent.from_config(layer.get_config())
    assert copy.cell.get_config() == layer.cell.get_config()
    assert (copy.cell.depth, copy.cell.forget_bias) == (2, -1.5)


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("units", (0,)),
        ("units", (2.5,)),
        ("depth", (4, 0)),
        ("depth", (4, "2")),
    ],
)
def test_bad_sizes(name, arguments):
    with pytest.raises(
        errors.UserError,
        match=f"{name} must be a whole number .* got {arguments[-1]!r}",
    ):
        cells.RHNCell(*arguments)
