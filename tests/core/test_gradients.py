"""Written-out gradients, and that they go with their graphs (B20)."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from iss_rnns.ops import gradients


@gradients.custom_gradient
def cube(x, y):
    """x^3 + y; its gradients are written 7 times as large."""
    return x**3 + y, lambda dy: [21.0 * x**2 * dy, 7.0 * dy]


def taped(function, *args):
    with tf.GradientTape() as tape:
        tape.watch(args)
        result = function(*args)
    return result, tape.gradient(result, args)


def looped(x, y):
    """Twice, by a loop whose body holds the written-out gradient."""
    return tf.while_loop(
        lambda i, _: i < 2,
        lambda i, z: [i + 1, cube(z, y)],
        [0, x],
        maximum_iterations=2,
    )[1]


def held():
    gc.collect()
    return len(ops.gradient_registry._registry)


X, Y = tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0])


@pytest.mark.parametrize(
    "way",
    [
        lambda: taped(cube, X, Y),
        lambda: tf.function(lambda: taped(cube, X, Y))(),
        lambda: taped(tf.function(cube), X, Y),
        lambda: tf.function(lambda: taped(tf.function(cube), X, Y))(),
    ],
    ids=["eager", "graph", "function", "function in a graph"],
)
def test_the_gradient_is_as_written(way):
    result, (dx, dy) = way()
    np.testing.assert_allclose(result, X**3 + Y)
    np.testing.assert_allclose(dx, 21 * X**2)
    np.testing.assert_allclose(dy, [7, 7])


@pytest.mark.parametrize(
    "way",
    [
        lambda: taped(looped, X, Y),
        lambda: tf.function(lambda: taped(looped, X, Y))(),
        lambda: taped(tf.function(looped), X, Y),
    ],
    ids=["eager", "graph", "function"],
)
def test_the_gradient_is_as_written_in_loops(way):
    result, (dx, dy) = way()
    first = X**3 + Y
    np.testing.assert_allclose(result, first**3 + Y)
    np.testing.assert_allclose(dx, 21 * first**2 * 21 * X**2)
    np.testing.assert_allclose(dy, 7 + 21 * first**2 * 7)


def test_b20_what_is_traced_anew_leaves_nothing_behind():
    before, weights = held(), []
    for n in range(3):
        w = tf.Variable(tf.ones([n + 2]))
        weights.append(weakref.ref(w))

        @tf.function
        def step(w=w):
            return taped(looped, tf.identity(w), tf.identity(w))

        step()
        assert held() > before
        del w, step
    assert held() == before
    assert [reference() for reference in weights] == [None] * 3


def test_b20_an_inner_function_outlives_the_one_that_traced_it():
    inner = tf.function(looped)
    expected = taped(looped, X, Y)[1]
    for _ in range(2):
        outer = tf.function(lambda: taped(inner, X, Y))
        for found, right in zip(outer()[1], expected):
            np.testing.assert_allclose(found, right)
        del outer
        gc.collect()
