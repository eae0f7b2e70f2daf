"""How a finished model multiplies by large weights: as by constants.

A few rows times a large matrix take oneDNN less time than packing the matrix
before each product; the constant filter of a convolution it packs once.
"""

from collections.abc import Iterator
import contextlib
import contextvars
from typing import Callable, Union

import numpy as np
import tensorflow as tf

# Below it packing takes no time that counts, and a graph's file may not exceed
# 2 GB.
_FIXED_BYTES = range(1 << 24, 1 << 28)

_fixed = contextvars.ContextVar("fixed", default=False)


@contextlib.contextmanager
def fixed_weights() -> Iterator[None]:
    """What is traced inside holds the large weights of its loops as constants.

    Of a model that only computes outputs from now on.
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


def convolved(x: tf.Tensor, weight: np.ndarray) -> tf.Tensor:
    """`tf.matmul(x, weight)`, the weight as the filter of a convolution."""
    rows, columns = weight.shape
    # A row of zeros more: of a single row oneDNN takes longer than of two.
    image = tf.reshape(tf.pad(x, [[0, 1], [0, 0]]), [1, 1, -1, rows])
    result = tf.nn.conv2d(image, weight[None, None], 1, "VALID")
    return tf.reshape(result, [-1, columns])[:-1]
