"""What XLA compiles: whether it does here, and for how many shapes."""

from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def compiling() -> bool:
    """True within a `tf.function(jit_compile=True)` that is being traced.

    A few operations XLA does not know; others take longer there. TensorFlow
    asks the same question where it has two ways, but exports no answer.

    Example:
      >>> compiling()
      False
      >>> _ = tf.function(lambda: print(compiling()), jit_compile=True)()
      True
    """
    return control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


def for_few_shapes(function: Callable, most: int = 24) -> Callable:
    """A function that XLA compiles for the first shapes only that it meets.

    What XLA has compiled stays in memory as long as the process lives, some
    0.3 MB for each shape of the smallest function, and a model whose units
    are cut while it trains brings new shapes with each cut. Only for
    functions whose bits are the same either way: a resumed run begins to
    count anew.

    Args:
      function: of tensors of known shapes, in lists or not.
      most: shapes that are compiled.

    Returns:
      A function of the same arguments.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    met: set = set()

    def call(*tensors):
        shapes = tuple(
            (t.dtype, tuple(t.shape)) for t in tf.nest.flatten(tensors)
        )
        if shapes not in met and len(met) == most:
            return function(*tensors)
        met.add(shapes)
        return compiled(*tensors)

    return call
