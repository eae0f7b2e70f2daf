"""Whether XLA compiles what is traced: in every place where it may be asked."""

import numpy as np
import tensorflow as tf

from iss_rnns.ops import xla


def test_known_inside_of_what_is_compiled_only():
    seen = {}

    def ask(name):
        seen[name] = xla.compiling()
        return tf.constant(0)

    @tf.function(autograph=False)
    def inner(name):
        return ask(name)

    def outer(x, name):
        tf.cond(x > 0, lambda: ask(f"{name}, branch"), lambda: 0)
        return ask(name) + inner(f"{name}, function")

    for name, compiled in (("compiled", True), ("graph", False)):
        run = tf.function(
            lambda x, name=name: outer(x, name),
            jit_compile=compiled,
            autograph=False,
        )
        run(tf.constant(1))
    ask("eager")
    assert seen == {
        "compiled": True,
        "compiled, branch": True,
        "compiled, function": True,
        "graph": False,
        "graph, branch": False,
        "graph, function": False,
        "eager": False,
    }


def test_known_in_a_models_step():
    seen = []

    class Asking(tf.keras.layers.Layer):
        def call(self, inputs):
            seen.append(xla.compiling())
            return inputs

    for compiled in (True, False):
        model = tf.keras.Sequential([Asking(), tf.keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=compiled)
        model.fit(np.ones([2, 3]), np.ones([2, 1]), verbose=0)
        assert set(seen) == {compiled}
        seen.clear()


def test_a_function_is_compiled_for_the_first_shapes_only():
    seen = []

    @xla.for_few_shapes
    def count(tensor, more):
        seen.append(xla.compiling())
        return tensor + more[0]

    one_more = tf.function(lambda *args: count(*args), autograph=False)
    for size in range(1, 30):
        sums = one_more(tf.ones([size]), [tf.ones([])])
        np.testing.assert_array_equal(sums, np.full(size, 2.0))
    assert seen == [True] * 24 + [False] * 5
    one_more(tf.ones([1]), [tf.ones([])])
    assert len(seen) == 29
