"""What matrix products compute in, while everything else stays float32.

CPUs with bfloat16 instructions multiply such numbers about twice as fast as
float32 and read half the bytes. Sums inside a product are in float32 there;
the result is rounded to 8 bits of mantissa, as each operand is.
"""

from collections.abc import Iterator
import contextlib
import contextvars
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from iss_rnns.ops import fixed

# Each thread that traces has its own, as replicas do.
_products: contextvars.ContextVar[Optional[tf.DType]] = contextvars.ContextVar(
    "products", default=None
)


@contextlib.contextmanager
def products_in(dtype: Optional[tf.DType]) -> Iterator[None]:
    """What is traced inside multiplies weights in `dtype`.

    Of a training step, so that the evaluation of the same net remains exact.

    Args:
      dtype: e.g. `tf.bfloat16`; None leaves the weights as they are.

    Example:
      >>> with products_in(tf.bfloat16):
      ...   product(tf.ones([1, 2]), operand(tf.fill([2, 1], 1.001)))
      <tf.Tensor: shape=(1, 1), dtype=float32, numpy=array([[2.]], ...
    """
    token = _products.set(dtype)
    try:
        yield
    finally:
        _products.reset(token)


def reduced() -> bool:
    """Whether products are in another dtype than the rest."""
    return _products.get() is not None


def operand(weight: tf.Tensor) -> tf.Tensor:
    """A weight as the products at hand read it."""
    dtype = _products.get()
    return weight if dtype is None else tf.cast(weight, dtype)


def product(
    x: tf.Tensor, weight: Union[tf.Tensor, np.ndarray], **kwargs
) -> tf.Tensor:
    """`tf.matmul(x, weight)` in the weight's dtype, returned in x's.

    An array is a constant, see `fixed.loop_weights`.
    """
    if isinstance(weight, np.ndarray):
        return fixed.convolved(x, weight)
    return tf.cast(
        tf.matmul(tf.cast(x, weight.dtype), weight, **kwargs), x.dtype
    )
