"""What matrix products compute in, while everything else stays float32.

CPUs with bfloat16 instructions multiply such numbers about twice as fast as
float32 and read half the bytes. Sums inside a product are in float32 there;
the result is rounded to 8 bits of mantissa, as each operand is.

And how a finished model multiplies by large weights: see `fixed_weights`.
"""

from collections.abc import Iterator
import contextlib
import contextvars
from typing import Callable, Optional, Union

import numpy as np
import tensorflow as tf

# Below it packing takes no time that counts, and a graph's file may not exceed
# 2 GB.
_FIXED_BYTES = range(1 << 24, 1 << 28)

# Each thread that traces has its own, as replicas do.
_products: contextvars.ContextVar[Optional[tf.DType]] = contextvars.ContextVar(
    "products", default=None
)
_fixed = contextvars.ContextVar("fixed", default=False)


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


@contextlib.contextmanager
def fixed_weights() -> Iterator[None]:
    """What is traced inside holds the large weights of its loops as constants.

    Of a model that only computes outputs from now on. A few rows times a large
    matrix take oneDNN less time than packing the matrix before each product;
    the constant filter of a convolution it packs once.
    """
    token = _fixed.set(True)
    try:
        yield
    finally:
        _fixed.reset(token)


def loop_weights(
    read: Callable[[], list[tf.Tensor]],
) -> list[Union[tf.Tensor, np.ndarray]]:
    """What `read` gives; arrays within `fixed_weights`, if any is large."""
    if _fixed.get():
        with tf.init_scope():
            weights = [weight.numpy() for weight in read()]
        if any(weight.nbytes in _FIXED_BYTES for weight in weights):
            return weights
    return read()


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

    An array, of `loop_weights`, is the filter of a convolution.
    """
    if isinstance(weight, np.ndarray):
        return _convolved(x, weight)
    return tf.cast(
        tf.matmul(tf.cast(x, weight.dtype), weight, **kwargs), x.dtype
    )


def _convolved(x: tf.Tensor, weight: np.ndarray) -> tf.Tensor:
    rows, columns = weight.shape
    # A row of zeros more: of a single row oneDNN takes longer than of two.
    image = tf.reshape(tf.pad(x, [[0, 1], [0, 0]]), [1, 1, -1, rows])
    result = tf.nn.conv2d(image, weight[None, None], 1, "VALID")
    return tf.reshape(result, [-1, columns])[:-1]
