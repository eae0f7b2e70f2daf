"""Gradient descent equals Keras' own, dense and sparse."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import optimizers

pytestmark = pytest.mark.keras3

START = np.arange(12, dtype=np.float32).reshape(4, 3)
DENSE = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
ROWS = np.array([2, 0, 2])  # a repeated row adds up


def step(optimizer, gradient):
    variable = tf.Variable(START)
    apply = tf.function(
        lambda: optimizer.apply_gradients([(gradient, variable)])
    )
    optimizer.build([variable])
    for _ in range(2):
        apply()
    return variable.numpy()


def test_dense_gradient():
    after = step(optimizers.GradientDescent(0.5), tf.constant(DENSE))
    np.testing.assert_allclose(after, START - 2 * 0.5 * DENSE, rtol=1e-6)


def test_sparse_gradient():
    gradient = tf.IndexedSlices(
        tf.constant(DENSE[:3]), ROWS, tf.constant([4, 3])
    )
    expected = START.copy()
    for values, row in zip(DENSE[:3], ROWS):
        expected[row] -= 2 * 0.5 * values
    after = step(optimizers.GradientDescent(0.5), gradient)
    np.testing.assert_allclose(after, expected, rtol=1e-6)


def test_scale_is_a_factor_of_the_gradients():
    variable = tf.Variable(START)
    optimizer = optimizers.GradientDescent(0.5)
    optimizer.build([variable])
    pairs = [(tf.constant(DENSE), variable)]
    tf.function(
        lambda: optimizer.apply_gradients(pairs, scale=tf.constant(0.3))
    )()
    np.testing.assert_allclose(variable, START - 0.15 * DENSE, rtol=1e-6)
    optimizer.apply_gradients(pairs)
    np.testing.assert_allclose(variable, START - 0.65 * DENSE, rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_small_weights_become_zeros_in_the_same_step(sparse):
    gradient = (
        tf.IndexedSlices(tf.constant(DENSE), np.arange(4), tf.constant([4, 3]))
        if sparse
        else tf.constant(DENSE)
    )
    variable = tf.Variable(START / 4)
    optimizer = optimizers.GradientDescent(0.5)
    optimizer.zero_below = 1.0
    optimizer.build([variable])
    optimizer.apply_gradients([(gradient, variable)])
    expected = START / 4 - 0.5 * DENSE
    assert (np.abs(expected) < 1.0).any() and (np.abs(expected) > 1.0).any()
    expected[np.abs(expected) < 1.0] = 0.0
    np.testing.assert_allclose(variable, expected, rtol=1e-6)


def test_learning_rate_can_change():
    optimizer = optimizers.GradientDescent(0.5)
    variable = tf.Variable(START)
    optimizer.build([variable])
    apply = tf.function(
        lambda: optimizer.apply_gradients([(tf.constant(DENSE), variable)])
    )
    apply()
    optimizer.learning_rate.assign(2.0)
    apply()
    np.testing.assert_allclose(variable, START - 2.5 * DENSE, rtol=1e-6)
    assert int(optimizer.iterations) == 2


def test_config_round_trip():
    optimizer = optimizers.GradientDescent(0.25)
    again = tf.keras.optimizers.deserialize(
        tf.keras.optimizers.serialize(optimizer)
    )
    assert isinstance(again, optimizers.GradientDescent)
    assert float(again.learning_rate) == 0.25


def test_restores_what_keras_sgd_saved(tmp_path):
    saved = tf.keras.optimizers.SGD(0.125)
    saved.build([tf.Variable(START)])
    saved.iterations.assign(7)
    tf.train.Checkpoint(optimizer=saved).write(str(tmp_path / "c"))
    restored = optimizers.GradientDescent(1.0)
    restored.build([tf.Variable(START)])
    tf.train.Checkpoint(optimizer=restored).read(
        str(tmp_path / "c")
    ).assert_existing_objects_matched()
    assert int(restored.iterations) == 7
    assert float(restored.learning_rate) == 0.125


def test_zeroing_of_one_step_is_told_in_its_call():
    variable = tf.Variable(START / 4)
    optimizer = optimizers.GradientDescent(0.5)
    optimizer.build([variable])
    pairs = [(tf.constant(DENSE), variable)]
    optimizer.apply_gradients(pairs, zero_below=1.0)
    expected = START / 4 - 0.5 * DENSE
    expected[np.abs(expected) < 1.0] = 0.0
    np.testing.assert_allclose(variable, expected, rtol=1e-6)
    optimizer.apply_gradients(pairs)
    np.testing.assert_allclose(variable, expected - 0.5 * DENSE, rtol=1e-6)


def test_it_states_what_it_can_do():
    plain = optimizers.GradientDescent(0.5)
    averaging = optimizers.GradientDescent(0.5, use_ema=True)
    assert plain.takes_scale and averaging.takes_scale
    # Averages may overwrite the weights behind the update.
    assert plain.zeroes_below and not averaging.zeroes_below
    assert not hasattr(tf.keras.optimizers.SGD(0.5), "takes_scale")


@pytest.mark.parametrize("graph", [False, True])
def test_averages_are_those_of_keras_sgd(graph):
    ends = []
    for kind in (optimizers.GradientDescent, tf.keras.optimizers.SGD):
        variable = tf.Variable(START)
        optimizer = kind(0.5, use_ema=True, ema_momentum=0.8)

        def apply(optimizer=optimizer, variable=variable):
            optimizer.apply_gradients([(tf.constant(DENSE), variable)])

        run = tf.function(apply) if graph else apply
        for _ in range(3):
            run()
        optimizer.finalize_variable_values([variable])
        ends.append(variable.numpy())
    np.testing.assert_allclose(*ends, rtol=1e-6)
    assert (ends[0] != START).any()


def test_float64_moves_by_all_of_its_digits():
    start = START.astype(np.float64) / 3
    variable = tf.Variable(start)
    optimizer = optimizers.GradientDescent(0.5)
    optimizer.build([variable])
    optimizer.apply_gradients(
        [(tf.constant(DENSE, tf.float64), variable)],
        scale=tf.constant(0.25),
        zero_below=0.3,
    )
    expected = start - 0.125 * DENSE.astype(np.float64)
    expected[np.abs(expected) < 0.3] = 0.0
    np.testing.assert_allclose(variable, expected, rtol=1e-15)


def test_no_slots_are_kept():
    optimizer = optimizers.GradientDescent(0.5)
    optimizer.build([tf.Variable(START)])
    # The step's number, and in Keras 3 the learning rate.
    assert all(v.shape.rank == 0 for v in optimizer.variables)
