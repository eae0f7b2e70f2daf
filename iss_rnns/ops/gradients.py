"""Written-out gradients that go when what uses them goes.

TensorFlow enters the gradient of each `tf.custom_gradient` that is traced into
a registry, and for ever: with it stay the graph and all variables that the
graph reads, among them the weights that shrinking has replaced.
"""

import functools
from typing import Any, Callable
import weakref

import tensorflow as tf
from tensorflow.python.framework import ops

_KEPT = "_iss_rnns_gradients"


def custom_gradient(function: Callable) -> Callable:
    """`tf.custom_gradient`, whose gradient goes with its graph.

    Args:
      function: see `tf.custom_gradient`; gives tensors.

    Returns:
      The same of tensors, without keyword arguments.

    Example:
      >>> double = custom_gradient(lambda x: (2.0 * x, lambda dy: 2.0 * dy))
      >>> double(tf.constant(3.0)).numpy()
      6.0
    """
    registering = tf.custom_gradient(function)

    @functools.wraps(function)
    def run(*args):
        result = registering(*args)
        operation = getattr(tf.nest.flatten(result)[0], "op", None)
        if not tf.executing_eagerly():
            _tie_to_graph(operation)
        return result

    return run


def _tie_to_graph(operation: tf.Operation) -> None:
    """Has the registry hold an operation's gradient by its graph only."""
    registry = ops.gradient_registry._registry
    name = operation.get_attr("_gradient_op_type").decode()
    entry, graph = registry[name], tf.compat.v1.get_default_graph()
    _kept_by(graph)[name] = entry["type"]
    reference = weakref.ref(graph)
    entry["type"] = lambda *args: _kept_by(reference())[name](*args)
    weakref.finalize(graph, registry.pop, name, None).atexit = False
    # An outer function is differentiated by way of those inside of it.
    outer = graph
    while hasattr(outer, "outer_graph"):
        _kept_by(outer).setdefault(id(graph), graph)
        outer = outer.outer_graph


def _kept_by(graph: tf.Graph) -> dict[Any, Any]:
    if not hasattr(graph, _KEPT):
        setattr(graph, _KEPT, {})
    return getattr(graph, _KEPT)
