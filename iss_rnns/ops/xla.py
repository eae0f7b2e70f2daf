"""Whether XLA is to compile what is being traced.

A few operations it does not know; others take longer there. TensorFlow asks
the same question where it has two ways, but exports no answer.
"""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util


def compiling() -> bool:
    """True within a `tf.function(jit_compile=True)` that is being traced.

    Example:
      >>> compiling()
      False
      >>> _ = tf.function(lambda: print(compiling()), jit_compile=True)()
      True
    """
    return control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )
