"""What activation functions do with units."""

from typing import Any

import tensorflow as tf

from iss_rnns.groups import through
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk

# Of Keras, by their names: f(0) = 0, or not; or over all units.
_QUIET = (
    "linear tanh relu elu selu gelu swish silu softsign relu6 leaky_relu mish "
    "hard_tanh celu tanh_shrink hard_shrink soft_shrink hard_silu hard_swish "
    "squareplus_"
).split()
_LOUD = "sigmoid hard_sigmoid softplus exponential log_sigmoid".split()
_OVER = "softmax log_softmax sparsemax".split()


def activated(walk: Walk, function, signal: Signal) -> Signal:
    """A signal behind an activation function.

    Args:
      walk: what is being written.
      function: an activation of Keras, or of the user's own; None is none.
      signal: before it.
    """
    if function is None or not signal.labelled:
        return signal
    name = _name(function)
    if name in _QUIET:
        return signal
    if name in _LOUD:
        return Signal(
            signal.shape,
            tuple(
                walk.louden(a, f"the activation of {walk.where} is not 0 at 0")
                for a in signal.axes
            ),
            dtype=signal.dtype,
        )
    if name in _OVER:
        walk.pin(
            signal.axes[-1],
            f"{walk.where} has a {name} over the units: put a Dense layer "
            "behind it",
        )
        return signal.with_axes({-1: None})
    (result,) = through.through(walk, function, [signal])
    return result


def activated_axis(walk: Walk, function, axis: Axis) -> Any:
    """The same of units alone, along the last axis of a matrix."""
    signal = Signal((2, len(axis)), (None, axis), dtype=tf.float32)
    return activated(walk, function, signal).axes[-1]


def _name(function) -> str:
    """Of an activation of Keras; of any other, nothing."""
    if isinstance(function, tf.keras.layers.Layer):
        return ""
    name = getattr(function, "__name__", "")
    known = getattr(tf.keras.activations, name, None)
    same = getattr(known, "__wrapped__", known) is getattr(
        function, "__wrapped__", function
    )
    return name if known is not None and same else _ALIASES.get(function, "")


_ALIASES = {
    tf.nn.tanh: "tanh",
    tf.nn.relu: "relu",
    tf.tanh: "tanh",
    tf.sigmoid: "sigmoid",
    tf.nn.sigmoid: "sigmoid",
    tf.nn.softmax: "softmax",
}
