"""`RNN` against `tf.keras.layers.RNN` around the same cell."""

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import cells
from iss_rnns.ops import scan

pytestmark = pytest.mark.keras3

BATCH, TIME, INPUTS, UNITS = 4, 5, 3, 4
MASKS = {
    "none": None,
    "right": [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0],
    ],
    "left": [
        [0, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
        [0, 0, 0, 0, 1],
        [0, 0, 1, 1, 1],
    ],
    "gaps": [
        [1, 0, 1, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 1],
        [0, 1, 1, 0, 0],
    ],
}
EVERYTHING = {"return_sequences": True, "return_state": True}


@pytest.fixture(name="mask", params=MASKS)
def fixture_mask(request):
    return made_mask(request.param)


def made_mask(name):
    mask = MASKS[name]
    return mask if mask is None else tf.constant(mask) > 0


def normal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(size=shape).astype(np.float32))


X = normal(BATCH, TIME, INPUTS)
# As `Masking` expects it.
MASKED_X = X * tf.cast(made_mask("gaps"), tf.float32)[..., None]
STATES = [normal(BATCH, UNITS, seed=i) for i in (1, 2)]


def lstm(**kwargs):
    return cells.LSTMCell(
        UNITS, 1.0, bias_initializer="random_normal", **kwargs
    )


def pair(cell=None, **kwargs):
    """Our layer and Keras', around one cell, seeded and built."""
    tf.keras.utils.set_random_seed(0)
    cell = cell or lstm()
    layers = [
        kind(cell, **kwargs) for kind in (iss_rnns.RNN, tf.keras.layers.RNN)
    ]
    for layer in layers:
        layer.build(tf.TensorShape([None, None, INPUTS]))
    return layers


def with_gradients(layer, x, states, **kwargs):
    """What a layer returns, and gradients of a sum over all of it."""
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        found = layer(x, initial_state=states, **kwargs)
        total = tf.add_n(
            [
                tf.reduce_sum(y * normal(*y.shape, seed=7 + i))
                for i, y in enumerate(tf.nest.flatten(found))
            ]
        )
    return found, tape.gradient(
        total, [x, *states, *layer.cell.trainable_variables]
    )


def assert_equal(found, expected, atol=3e-6):
    found, expected = tf.nest.flatten(found), tf.nest.flatten(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(
            tf.cast(a, tf.float64), tf.cast(b, tf.float64), atol=atol
        )


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_outputs_states_and_gradients(mask, backwards, sequences):
    ours, stock = pair(
        return_sequences=sequences, return_state=True, go_backwards=backwards
    )
    assert_equal(
        with_gradients(ours, X, STATES, mask=mask, training=True),
        with_gradients(stock, X, STATES, mask=mask),
    )


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_zero_output_for_masked_steps(backwards, sequences):
    ours, stock = pair(
        return_sequences=sequences,
        go_backwards=backwards,
        zero_output_for_mask=True,
    )
    mask = made_mask("gaps")
    assert_equal(
        with_gradients(ours, X, STATES, mask=mask, training=True),
        with_gradients(stock, X, STATES, mask=mask),
    )


@pytest.mark.parametrize(
    "cell",
    [lambda: cells.GRUCell(UNITS), lambda: cells.RHNCell(UNITS, 2), lstm],
)
@pytest.mark.parametrize("training", [True, False])
def test_every_cell_in_both_loops(cell, training):
    """Without training the gradient is TensorFlow's, through the same loop."""
    ours, stock = pair(cell(), **EVERYTHING)
    states = STATES[: len(ours.cell.state_size)]
    mask = made_mask("gaps")
    assert_equal(
        with_gradients(ours, X, states, mask=mask, training=training),
        with_gradients(stock, X, states, mask=mask),
    )


@pytest.mark.parametrize("sequences", [False, True])
def test_gradients_when_only_the_outputs_are_read(sequences):
    """The loop then lets the states run on behind a sequence's end."""
    ours, stock = pair(return_sequences=sequences)
    mask = made_mask("left")
    assert_equal(
        with_gradients(ours, X, STATES, mask=mask, training=True),
        with_gradients(stock, X, STATES, mask=mask),
    )


def test_one_output_by_default_and_states_on_demand():
    assert pair()[0](X).shape == (BATCH, UNITS)
    assert pair(return_sequences=True)[0](X).shape == (BATCH, TIME, UNITS)
    output, *states = pair(return_state=True)[0](X)
    assert [s.shape for s in (output, *states)] == [(BATCH, UNITS)] * 3
    np.testing.assert_array_equal(output, states[0])


def test_it_is_the_fast_loop(monkeypatch):
    calls = []
    run = scan.scan
    monkeypatch.setattr(
        scan, "scan", lambda *args: calls.append(args) or run(*args)
    )
    ours, _ = pair()
    ours(X, mask=made_mask("gaps"), training=True)
    assert len(calls) == 1


def test_time_major():
    ours, stock = pair(time_major=True, go_backwards=True, **EVERYTHING)
    x = tf.transpose(X, [1, 0, 2])
    for mask in (None, tf.transpose(made_mask("gaps"))):
        assert_equal(ours(x, mask=mask), stock(x, mask=mask))


def test_constants_are_the_highway_cells_noise():
    mask = made_mask("gaps")
    ours, stock = pair(cells.RHNCell(UNITS, 2), go_backwards=True, **EVERYTHING)
    rng = np.random.default_rng(3)
    noise = [
        tf.constant(2.0 * rng.integers(0, 2, [BATCH, n]), tf.float32)
        for n in (INPUTS, UNITS)
    ]
    assert_equal(
        ours(X, mask=mask, constants=noise, training=True),
        stock(X, mask=mask, constants=noise),
    )


@pytest.mark.parametrize(
    "mode, sequences",
    [
        ("concat", True),
        ("concat", False),
        ("sum", True),
        ("mul", True),
        ("ave", True),
        (None, True),
    ],
)
def test_bidirectional(mode, sequences):
    both = [
        tf.keras.layers.Bidirectional(layer, merge_mode=mode)
        for layer in pair(return_sequences=sequences, return_state=True)
    ]
    mask = made_mask("gaps")
    for layer in both:
        layer.build(tf.TensorShape([None, None, INPUTS]))
    both[0].set_weights(both[1].get_weights())
    assert isinstance(both[0].backward_layer, iss_rnns.RNN)
    found, expected = (
        layer(X, mask=mask, initial_state=STATES + STATES) for layer in both
    )
    assert_equal(found, expected)


def test_time_distributed_over_sequences_of_their_own_lengths():
    x = tf.stack([X, X[::-1]], 1)
    mask = tf.stack([made_mask("gaps"), made_mask("left")], 1)
    found, expected = (
        tf.keras.layers.TimeDistributed(layer)(x, mask=mask) for layer in pair()
    )
    assert_equal(found, expected)


def test_training_behind_an_embedding_that_masks():
    """The layer passes the mask on, so it reaches the loss, too."""
    words = np.random.default_rng(0).integers(0, 3, [BATCH, TIME])
    results = []
    for layer in pair(return_sequences=True):
        model = tf.keras.Sequential(
            [
                tf.keras.layers.Embedding(3, INPUTS, "ones", mask_zero=True),
                layer.from_config(layer.get_config()),
                tf.keras.layers.Dense(1, kernel_initializer="ones"),
            ]
        )
        model.build([None, None])
        model.layers[1].set_weights(layer.get_weights())
        model.compile("sgd", "mse", run_eagerly=True)
        losses = [
            model.train_on_batch(words, np.ones([BATCH, TIME, 1]))
            for _ in range(2)
        ]
        results.append(losses + model.get_weights())
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_compiled_by_xla_with_a_mask():
    ours, _ = pair(return_sequences=True)
    mask = made_mask("gaps")

    def run(x, *states):
        return with_gradients(ours, x, list(states), mask=mask, training=True)

    compiled = tf.function(run, jit_compile=True)
    assert_equal(compiled(X, *STATES), run(X, *STATES), atol=1e-5)


def test_initial_states_as_keras_tensors_and_in_a_list_of_inputs():
    inputs = [tf.keras.Input([None, INPUTS])] + [
        tf.keras.Input([UNITS]) for _ in STATES
    ]
    ours, stock = pair(**EVERYTHING)
    masked = tf.keras.layers.Masking()(inputs[0])
    results = [
        tf.keras.Model(inputs, outputs)([MASKED_X, *STATES])
        for outputs in (
            ours(masked, initial_state=inputs[1:]),
            ours([masked, *inputs[1:]]),
            stock(masked, initial_state=inputs[1:]),
        )
    ]
    assert_equal(results[0], results[2])
    assert_equal(results[1], results[2])


def test_first_called_with_initial_states_as_keras_tensors():
    inputs = tf.keras.Input([None, INPUTS])
    states = [tf.keras.Input([UNITS]) for _ in STATES]
    ours = iss_rnns.RNN(lstm(), **EVERYTHING)
    outputs = ours(inputs, initial_state=states)
    assert ours.cell.kernel.shape == (INPUTS, 4 * UNITS)
    stock = tf.keras.layers.RNN(ours.cell, **EVERYTHING)
    assert_equal(
        tf.keras.Model([inputs, *states], outputs)([X, *STATES]),
        stock(X, initial_state=STATES),
    )


def test_stateful_goes_on_where_the_last_batch_ended():
    mask = made_mask("left")
    ours, stock = (
        kind(lstm_cell, stateful=True, **EVERYTHING)
        for lstm_cell in [lstm()]
        for kind in (iss_rnns.RNN, tf.keras.layers.RNN)
    )
    run = tf.function(lambda: ours(X, mask=mask, training=True))
    first = run()
    assert_equal(first, stock(X, mask=mask))
    assert_equal(run(), stock(X, mask=mask))
    ours.reset_states()
    assert_equal(run(), first)
    for layer in (ours, stock):
        layer.reset_states([state.numpy() for state in STATES])
    assert_equal(run(), stock(X, mask=mask))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_saved_and_loaded(tmp_path, suffix):
    inputs = tf.keras.Input([None, INPUTS])
    hidden = tf.keras.layers.Bidirectional(
        iss_rnns.RNN(lstm(), return_sequences=True)
    )(tf.keras.layers.Masking()(inputs))
    outputs = iss_rnns.RNN(cells.GRUCell(UNITS), zero_output_for_mask=True)(
        hidden
    )
    model = tf.keras.Model(inputs, outputs)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    again = tf.keras.models.load_model(path)
    assert_equal(again(MASKED_X), model(MASKED_X))
    *_, both, last = again.layers
    assert type(last) is iss_rnns.RNN and type(last.cell) is cells.GRUCell
    assert last.zero_output_for_mask
    for layer in (both.forward_layer, both.backward_layer):
        # In HDF5 files a wrapped layer has no package to its name.
        assert type(layer) is iss_rnns.RNN or suffix == ".h5"
        assert type(layer.cell) is cells.LSTMCell
        assert layer.cell.forget_bias == 1.0


def test_saved_model(tmp_path):
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Masking(input_shape=[None, INPUTS]),
            iss_rnns.RNN(lstm()),
        ]
    )
    model.save(tmp_path, save_format="tf")
    expected = model(MASKED_X)
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert_equal(serve(MASKED_X), expected)
    again = tf.keras.models.load_model(tmp_path)
    assert type(again.layers[-1]) is iss_rnns.RNN
    assert_equal(again(MASKED_X), expected)


def test_clones_in_sequential_models_of_any_length():
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Masking(input_shape=[None, INPUTS]),
            iss_rnns.RNN(lstm(), return_sequences=True),
            iss_rnns.RNN(cells.SimpleRNNCell(2)),
        ]
    )
    clone = tf.keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for x in (X, X[:2, :3]):
        assert_equal(clone(x), model(x))


def test_shapes_and_masks_are_known_while_building():
    ours, stock = pair(**EVERYTHING)
    for shape in ([TIME, INPUTS], [None, INPUTS]):
        masked = tf.keras.layers.Masking()(tf.keras.Input(shape))
        found, expected = ours(masked), stock(masked)
        assert [y.shape for y in found] == [y.shape for y in expected]
        assert found[0]._keras_mask.shape == masked._keras_mask.shape
        assert not any(hasattr(s, "_keras_mask") for s in found[1:])
    names = [w.name.split("/", 1)[1] for w in ours.weights]
    assert names == [w.name.split("/", 1)[1] for w in stock.weights]


@pytest.mark.parametrize(
    "policy, atol",
    [("float64", 1e-12), ("mixed_bfloat16", 0.05), ("mixed_float16", 0.005)],
)
def test_precisions(policy, atol):
    policy = tf.keras.mixed_precision.Policy(policy)
    ours, stock = pair(lstm(dtype=policy), dtype=policy, **EVERYTHING)
    mask = made_mask("gaps")
    found = ours(X, mask=mask, training=True)
    assert found[0].dtype == policy.compute_dtype
    assert_equal(found, stock(X, mask=mask), atol)


class Halved(cells.LSTMCell):
    """Changes what a step returns in `call` alone."""

    def call(self, inputs, states, training=None):
        output, states = super().call(inputs, states)
        return 0.5 * output, states


@pytest.mark.parametrize(
    "cell, kwargs",
    [
        (lambda: tf.keras.layers.LSTMCell(UNITS), {}),
        (lambda: Halved(UNITS), {}),
        (lambda: [lstm(), cells.GRUCell(2)], {}),
        (lstm, {"unroll": True}),
    ],
    ids=["stock cell", "own call", "stack", "unroll"],
)
def test_what_has_no_fast_loop_runs_in_keras_own(cell, kwargs):
    kwargs = {"return_sequences": True, **kwargs}
    ours, stock = pair(cell(), **kwargs)
    stock.cell = ours.cell
    mask = made_mask("gaps")
    assert_equal(ours(X, mask=mask), stock(X, mask=mask))


def test_ragged_inputs():
    ours, stock = pair(return_sequences=True)
    ragged = tf.RaggedTensor.from_tensor(X, lengths=[5, 3, 1, 4])
    assert_equal(ours(ragged).to_tensor(), stock(ragged).to_tensor())


def test_what_does_not_fit_is_refused():
    ours, _ = pair()
    with pytest.raises(
        ValueError,
        match=r"for inputs of \(4, 3\) steps, these inputs have \(4, 5\)",
    ):
        ours(X, mask=made_mask("gaps")[:, :3])
    with pytest.raises(ValueError, match="2 states but was passed 1 initial"):
        ours(X, initial_state=STATES[:1])
    with pytest.raises(ValueError, match="does not support constants"):
        ours(X, constants=[STATES[0]])

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.bool)])
    def unknown_shape(mask):
        return ours(X, mask=mask)

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[4,3\]"):
        unknown_shape(made_mask("gaps")[:, :3])
