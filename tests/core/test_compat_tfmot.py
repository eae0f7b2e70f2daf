"""tfmot's names: its guide's code runs, and prunes what it says."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.compat import tfmot

SCHEDULE = tfmot.PolynomialDecay(0.2, 0.75, 0, 8, frequency=4)


def images():
    rng = np.random.default_rng(0)
    return rng.random((24, 8, 8)).astype("float32"), rng.integers(0, 3, 24)


def zeros(variable):
    return float(np.mean(variable.numpy() == 0))


def test_polynomial_decay_is_tfmots():
    schedule = tfmot.PolynomialDecay(0.5, 0.8, 10, 110, power=2, frequency=10)
    for step in range(130):
        update = min(max(step - 10, 0) // 10 * 10, 100)
        expected = 0.8 + (0.5 - 0.8) * (1 - update / 100) ** 2
        assert float(schedule(step)) == pytest.approx(
            expected if step >= 10 else 0.0
        )
        assert bool(schedule.updates(step)) == (
            10 <= step <= 110 and step % 10 == 0
        )
    again = tfmot.PolynomialDecay(**schedule.get_config())
    assert repr(again) == repr(schedule)


def test_constant_sparsity_may_never_end():
    schedule = tfmot.ConstantSparsity(0.5, 3, frequency=2)
    assert [bool(schedule.updates(s)) for s in (2, 3, 4, 5, 10**6 + 1)] == [
        False,
        True,
        False,
        True,
        True,
    ]
    assert schedule.last_update == 3
    assert schedule.get_config()["end_step"] == -1
    assert tfmot.ConstantSparsity(0.5, 3, 9).last_update == 9


def test_the_guides_model_is_pruned_whole(tmp_path):
    """Conv2D and Dense, as in tfmot's Keras example."""
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Reshape((8, 8, 1), input_shape=(8, 8)),
            tf.keras.layers.Conv2D(4, 3, activation="relu"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(3),
        ]
    )
    pruned = tfmot.prune_low_magnitude(model, pruning_schedule=SCHEDULE)
    assert pruned is model
    pruned.compile(
        "adam",
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x, y = images()
    pruned.fit(
        x,
        y,
        batch_size=4,
        epochs=2,
        verbose=0,
        callbacks=[
            tfmot.UpdatePruningStep(),
            tfmot.PruningSummaries(tmp_path / "logs"),
        ],
    )
    for layer in (model.layers[1], model.layers[3]):
        assert zeros(layer.kernel) == pytest.approx(0.75, abs=0.02)
    assert list((tmp_path / "logs" / "metrics").iterdir())
    assert tfmot.strip_pruning(pruned) is model


def test_bidirectional_is_pruned_and_loses_dead_units():
    layer = tf.keras.layers.Bidirectional(tf.keras.layers.LSTM(4))
    model = tf.keras.Sequential(
        [tf.keras.Input([5, 3]), layer, tf.keras.layers.Dense(2)]
    )
    tfmot.prune_low_magnitude(layer, SCHEDULE)
    for cell in (layer.forward_layer.cell, layer.backward_layer.cell):
        for variable in (cell.kernel, cell.recurrent_kernel):
            value = variable.numpy()
            value[:, 0::4] *= 1e-6  # unit 0 of every gate
            variable.assign(value)
        value = cell.recurrent_kernel.numpy()
        value[0] *= 1e-6
        cell.recurrent_kernel.assign(value)
    model.compile(tf.keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    x = np.ones([12, 5, 3], "float32")
    model.fit(
        x,
        np.ones([12, 2]),
        batch_size=1,
        verbose=0,
        callbacks=[tfmot.UpdatePruningStep()],
    )
    cell = layer.forward_layer.cell
    assert zeros(cell.kernel) == zeros(cell.recurrent_kernel) == 0.75
    assert zeros(model.layers[-1].kernel) == 0.0  # was not marked
    kernel = model.layers[-1].kernel
    kernel.assign(kernel * np.array([[0], [1], [1], [1]] * 2))
    small = tfmot.strip_pruning(model, [x[:2]])
    assert small.layers[0].forward_layer.units == 3
    np.testing.assert_allclose(small(x[:2]), model(x[:2]), atol=1e-6)


@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
def test_blocks_count_as_their_mean_or_largest(pooling):
    layer = tf.keras.layers.Dense(4, use_bias=False)
    model = tf.keras.Sequential([tf.keras.Input([4]), layer])
    layer.kernel.assign(
        [[4.0, 0.1, 2, 2], [0.1, 0.1, 2, 2], [1, 1, 0, 0], [1, 1, 0, 0]]
    )
    tfmot.prune_low_magnitude(
        layer, tfmot.ConstantSparsity(0.75, 0), (2, 2), pooling
    )
    model.compile(tf.keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    model.fit(
        np.ones([2, 4]),
        np.ones([2, 4]),
        verbose=0,
        callbacks=[tfmot.UpdatePruningStep()],
    )
    kept = layer.kernel.numpy() != 0
    row = slice(0, 2)
    column = slice(2, 4) if pooling == "AVG" else slice(0, 2)
    assert kept[row, column].all() and kept.sum() == 4


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: tfmot.prune_low_magnitude(3), "layer or model, got int"),
        (
            lambda: tfmot.prune_low_magnitude(tf.keras.layers.Dense(2), 0.5),
            "pruning_schedule must be a schedule",
        ),
        (
            lambda: tfmot.prune_low_magnitude(
                tf.keras.layers.Dense(2), block_pooling_type="SUM"
            ),
            "must be AVG or MAX, got 'SUM'",
        ),
        (
            lambda: tfmot.PolynomialDecay(0.1, 0.5, 8, 8),
            "end_step must be above begin_step",
        ),
        (
            lambda: tfmot.PruningSummaries("x", "batch"),
            "update_freq must be",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(errors.UserError, match=message):
        call()


def test_a_model_of_which_nothing_is_marked_is_refused():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=[3])])
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(errors.UserError, match="nothing of this model is pru"):
        model.fit(
            np.ones([2, 3]),
            np.ones([2, 2]),
            verbose=0,
            callbacks=[tfmot.UpdatePruningStep()],
        )
