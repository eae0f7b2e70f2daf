"""The fast sequence layer against stock Keras, gradients included."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import recurrent

pytestmark = pytest.mark.keras3

BATCH, TIME, INPUTS, UNITS = 4, 6, 3, 5


def make(forget_bias=0.0, **kwargs):
    """A `Recurrent` over an LSTM cell, and a stock LSTM with its weights."""
    tf.random.set_seed(0)
    layer = recurrent.Recurrent(
        cells.LSTMCell(UNITS, forget_bias, bias_initializer="random_normal"),
        **kwargs,
    )
    layer.build(tf.TensorShape([None, None, INPUTS]))
    stock = tf.keras.layers.LSTM(
        UNITS,
        return_sequences=True,
        return_state=True,
        unit_forget_bias=False,
        go_backwards=kwargs.get("go_backwards", False),
    )
    stock.build(tf.TensorShape([None, None, INPUTS]))
    cell = layer.cell
    stock.set_weights(
        [
            cell.kernel.numpy(),
            cell.recurrent_kernel.numpy(),
            cell.effective_bias().numpy(),
        ]
    )
    return layer, stock


def normal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=shape).astype(np.float32))


def gradients(run, variables, x, states):
    """Outputs, and gradients of a sum over all that comes out."""
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        outputs, finals = run(x, states)
        total = tf.reduce_sum(outputs * normal(*outputs.shape, seed=7))
        for i, final in enumerate(finals):
            total += tf.reduce_sum(final * normal(*final.shape, seed=8 + i))
    return outputs, finals, tape.gradient(total, [x, *states, *variables])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("graph", [False, True])
def test_equals_the_stock_lstm(training, graph):
    layer, stock = make()
    x, states = (
        normal(BATCH, TIME, INPUTS),
        [normal(BATCH, UNITS, seed=i) for i in (1, 2)],
    )

    def ours(x, states):
        return layer(x, initial_state=states, training=training)

    def theirs(x, states):
        outputs, *finals = stock(x, initial_state=states)
        return outputs, finals

    run = tf.function(ours) if graph else ours
    found = gradients(run, layer.trainable_variables, x, states)
    expected = gradients(theirs, stock.trainable_variables, x, states)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_forget_bias_and_default_state():
    layer, stock = make(forget_bias=1.0)
    x = normal(BATCH, TIME, INPUTS)
    outputs, finals = layer(x, training=True)
    expected, *last = stock(x)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(finals, last, atol=1e-6)


def test_time_major_is_the_transpose():
    layer, _ = make()
    turned, _ = make(time_major=True)
    turned.set_weights(layer.get_weights())
    x = normal(BATCH, TIME, INPUTS)
    outputs, finals = layer(x)
    swapped, same = turned(tf.transpose(x, [1, 0, 2]))
    np.testing.assert_allclose(
        tf.transpose(swapped, [1, 0, 2]), outputs, atol=1e-6
    )
    np.testing.assert_allclose(same, finals, atol=1e-6)


def test_stretches_with_the_state_carried_equal_the_whole():
    layer, _ = make()
    x = normal(BATCH, TIME, INPUTS)
    whole, last = layer(x)
    first, states = layer(x[:, :2])
    second, states = layer(x[:, 2:], initial_state=states)
    np.testing.assert_allclose(tf.concat([first, second], 1), whole, atol=1e-6)
    np.testing.assert_allclose(states, last, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_lengths_both_directions_equal_keras_masking(training):
    """As `Bidirectional` over a masked sequence, one sequence empty."""
    lengths = np.array([6, 2, 0, 5], np.int32)
    x = normal(BATCH, TIME, INPUTS)
    mask = tf.sequence_mask(lengths, TIME)
    for backwards in (False, True):
        layer, stock = make(go_backwards=backwards)
        stock.zero_output_for_mask = True
        states = [normal(BATCH, UNITS, seed=i) for i in (1, 2)]
        outputs, finals = layer(
            x, initial_state=states, lengths=lengths, training=training
        )
        expected, *last = stock(x, mask=mask, initial_state=states)
        if backwards:  # Keras returns it in the order it was computed.
            expected = tf.reverse(expected, [1])
        np.testing.assert_allclose(outputs, expected, atol=1e-6)
        np.testing.assert_allclose(finals, last, atol=1e-6)
        assert not outputs.numpy()[~mask.numpy()].any()


MASK = tf.constant(
    [
        [1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1],
        [0, 1, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    tf.int32,
)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backwards", [False, True])
def test_masked_outputs_states_and_gradients_equal_keras(backwards, training):
    """Whatever the mask; outputs are in the order of the inputs."""
    layer, stock = make(go_backwards=backwards)
    mask = MASK > 0

    def ours(x, states):
        return layer(x, initial_state=states, mask=mask, training=training)

    def theirs(x, states):
        outputs, *finals = stock(x, initial_state=states, mask=mask)
        return tf.reverse(outputs, [1]) if backwards else outputs, finals

    x = normal(BATCH, TIME, INPUTS)
    states = [normal(BATCH, UNITS, seed=i) for i in (1, 2)]
    found = gradients(ours, layer.trainable_variables, x, states)
    expected = gradients(theirs, stock.trainable_variables, x, states)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(a, b, atol=3e-6)


def test_gradients_of_the_final_states_with_lengths():
    """Also of the later states, and of a sequence without a step."""
    layer, stock = make()
    lengths = np.array([6, 2, 0, 5], np.int32)
    mask = tf.sequence_mask(lengths, TIME)

    def ours(x, states):
        _, finals = layer(
            x, initial_state=states, lengths=lengths, training=True
        )
        return finals[1], [finals[0]]

    def theirs(x, states):
        _, h, c = stock(x, initial_state=states, mask=mask)
        return c, [h]

    x = normal(BATCH, TIME, INPUTS)
    states = [normal(BATCH, UNITS, seed=i) for i in (1, 2)]
    found = gradients(ours, layer.trainable_variables, x, states)
    expected = gradients(theirs, stock.trainable_variables, x, states)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(a, b, atol=3e-6)


def test_a_step_counts_if_lengths_and_mask_say_so():
    layer, stock = make()
    stock.zero_output_for_mask = True
    x, lengths = normal(BATCH, TIME, INPUTS), [3, 5, 6, 6]
    outputs, finals = layer(x, lengths=lengths, mask=MASK > 0)
    both = (MASK > 0) & tf.sequence_mask(lengths, TIME)
    expected, *last = stock(x, mask=both)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(finals, last, atol=1e-6)


def test_behind_a_masking_layer():
    """The mask comes by itself and goes on, also in time-major order."""
    layer, stock = make()
    inputs = tf.keras.Input([None, INPUTS])
    masked = tf.keras.layers.Masking()(inputs)
    outputs, finals = layer(masked)
    assert outputs._keras_mask is not None
    assert not any(hasattr(state, "_keras_mask") for state in finals)
    x = normal(BATCH, TIME, INPUTS) * tf.cast(MASK, tf.float32)[..., None]
    found = tf.keras.Model(inputs, [outputs, *finals])(x)
    expected = tf.keras.Model(inputs, stock(masked))(x)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, atol=1e-6)
    turned, _ = make(time_major=True)
    turned.set_weights(layer.get_weights())
    swapped, _ = turned(tf.transpose(x, [1, 0, 2]), mask=tf.transpose(MASK > 0))
    np.testing.assert_allclose(
        tf.transpose(swapped, [1, 0, 2]), expected[0], atol=1e-6
    )


def test_states_that_nobody_asks_for_are_left_out():
    layer, _ = make()
    x, lengths = normal(BATCH, TIME, INPUTS), [6, 2, 0, 5]
    expected, _ = layer(x, lengths=lengths)
    outputs, finals = layer(x, lengths=lengths, return_state=False)
    assert finals == []
    np.testing.assert_array_equal(outputs, expected)


def test_lengths_of_another_batch_are_refused():
    layer, _ = make()
    with pytest.raises(
        ValueError,
        match=r"lengths are for inputs of \(3, 6\) steps, these inputs have "
        r"\(4, 6\)",
    ):
        layer(normal(BATCH, TIME, INPUTS), lengths=[6, 2, 1])


def test_gradients_with_lengths_see_only_valid_steps():
    layer, stock = make(go_backwards=True)
    lengths = np.array([6, 2, 1, 5], np.int32)
    mask = tf.sequence_mask(lengths, TIME)
    x = normal(BATCH, TIME, INPUTS)
    stock.zero_output_for_mask = True

    def ours(x, states):
        outputs, _ = layer(
            x, initial_state=states, lengths=lengths, training=True
        )
        return outputs, []

    def theirs(x, states):
        outputs, *_ = stock(x, mask=mask, initial_state=states)
        return tf.reverse(outputs, [1]), []

    states = [normal(BATCH, UNITS, seed=i) for i in (1, 2)]
    found = gradients(ours, layer.trainable_variables, x, states)
    expected = gradients(theirs, stock.trainable_variables, x, states)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(a, b, atol=2e-6)
    assert not found[2][0].numpy()[~mask.numpy()].any()


def test_backwards_without_lengths():
    layer, stock = make(go_backwards=True)
    x = normal(BATCH, TIME, INPUTS)
    outputs, finals = layer(x)
    expected, *last = stock(x)
    np.testing.assert_allclose(tf.reverse(outputs, [1]), expected, atol=1e-6)
    np.testing.assert_allclose(finals, last, atol=1e-6)


def test_trains_in_a_functional_model_of_any_length():
    inputs = tf.keras.Input([None, INPUTS])
    outputs, _ = recurrent.Recurrent(cells.LSTMCell(UNITS))(inputs)
    model = tf.keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    x, y = normal(16, TIME, INPUTS), normal(16, TIME, UNITS)
    history = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    again = tf.keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    longer = normal(2, 2 * TIME, INPUTS)
    np.testing.assert_allclose(again(longer), model(longer), atol=1e-6)


def test_config_round_trip():
    layer = recurrent.Recurrent(
        cells.LSTMCell(UNITS, 1.0, name="cell"),
        go_backwards=True,
        time_major=True,
        name="layer",
    )
    again = tf.keras.layers.deserialize(tf.keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    assert again.cell.forget_bias == 1.0 and again.go_backwards


def test_bfloat16_policy_stays_near_float32():
    layer, _ = make()
    x = normal(BATCH, TIME, INPUTS)
    policy = tf.keras.mixed_precision.Policy("mixed_bfloat16")
    half = recurrent.Recurrent(
        cells.LSTMCell(UNITS, dtype=policy), dtype=policy
    )
    half.build(tf.TensorShape([None, None, INPUTS]))
    half.set_weights(layer.get_weights())
    with tf.GradientTape() as tape:
        outputs, _ = half(x, training=True)
        total = tf.reduce_sum(tf.cast(outputs, tf.float32))
    assert outputs.dtype == tf.bfloat16
    assert half.cell.kernel.dtype == tf.float32
    found = tape.gradient(total, half.trainable_variables)
    assert [g.dtype for g in found] == [tf.float32] * 3
    np.testing.assert_allclose(
        tf.cast(outputs, tf.float32), layer(x)[0], atol=0.05
    )


@pytest.mark.parametrize("lengths", [None, [6, 2, 0, 5]])
def test_jit_compiled_gives_the_same(lengths):
    layer, _ = make()
    compiled, _ = make(jit_compile=True)
    compiled.set_weights(layer.get_weights())
    x = tf.constant(normal(BATCH, TIME, INPUTS))

    @tf.function
    def step(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs, states = layer(x, lengths=lengths, training=True)
            total = tf.reduce_sum(outputs**2) + tf.reduce_sum(states[1])
        return [
            outputs,
            *states,
            *tape.gradient(total, [x, *layer.trainable_variables]),
        ]

    for found, expected in zip(step(compiled), step(layer)):
        np.testing.assert_allclose(found, expected, atol=1e-5)
