"""Updates of weights in place, one pass over each."""

from collections.abc import Iterable
from typing import Union

import tensorflow as tf

from iss_rnns import _keras


def zero_small(variables: Iterable[tf.Variable], threshold: float) -> None:
    """Sets every weight with |w| < threshold to exactly 0, in graph."""
    for variable in variables:
        for handle in _keras.handles(variable):
            _zero(handle, _like(variable, threshold))


def descend(
    variable: tf.Variable,
    gradient: tf.Tensor,
    rate: tf.Tensor,
    threshold: Union[float, tf.Tensor],
) -> None:
    """w <- w - rate * gradient, small results exactly 0: one pass for both.

    Args:
      variable: w.
      gradient: of its shape.
      rate: scalar of its dtype.
      threshold: below which |w| is small, of any dtype.
    """
    _descend(
        _keras.handle(variable), gradient, rate, _like(variable, threshold)
    )


def _like(variable: tf.Variable, number) -> tf.Tensor:
    if tf.is_tensor(number):
        return tf.cast(number, variable.dtype)
    # Cast, it would have the digits of a float32.
    return tf.constant(number, variable.dtype)


# Compiled, either is one pass over the weights, which are changed in place
# since the variable itself goes in: as an operation each, zeroing alone is
# four passes and six times as long.
@tf.function(jit_compile=True, autograph=False)
def _zero(handle: tf.Tensor, threshold: tf.Tensor) -> None:
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=threshold.dtype)
    _store(handle, value, threshold)


@tf.function(jit_compile=True, autograph=False)
def _descend(
    handle: tf.Tensor,
    gradient: tf.Tensor,
    rate: tf.Tensor,
    threshold: tf.Tensor,
) -> None:
    value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=gradient.dtype)
    _store(handle, value - rate * gradient, threshold)


def _store(handle: tf.Tensor, value: tf.Tensor, threshold: tf.Tensor) -> None:
    tf.raw_ops.AssignVariableOp(
        resource=handle,
        value=tf.where(
            tf.abs(value) < threshold, tf.zeros([], value.dtype), value
        ),
    )
