"""What matrix products compute in, while everything else stays float32.

CPUs with bfloat16 instructions multiply such numbers about twice as fast as
float32 and read half the bytes. Sums inside a product are in float32 there;
the result is rounded to 8 bits of mantissa, as each operand is.
"""

import contextlib
import pathlib
from typing import Iterator, Optional

import tensorflow as tf

COMPUTE_DTYPES = ("float32", "bfloat16")

_products: Optional[tf.DType] = None


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers itself.

    Elsewhere they are converted back and forth, slower than float32.
    """
    try:
        words = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


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
    global _products  # pylint: disable=global-statement
    before, _products = _products, dtype
    try:
        yield
    finally:
        _products = before


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Keras layers made inside compute as a mixed-precision policy says."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def under_policy(net, name: str):
    """A copy of a net that computes as a policy says; weights are float32.

    Args:
      net: with `variables` and `resized(sizes)`, see `shrink.shrink`.
      name: of a Keras policy, e.g. 'float32'.
    """
    with policy(name):
        copy = net.resized({})
    for new, old in zip(copy.variables, net.variables):
        new.assign(old)
    return copy


def product_dtype(compute_dtype: str) -> Optional[tf.DType]:
    """What `products_in` takes for one of `COMPUTE_DTYPES`."""
    return None if compute_dtype == "float32" else tf.dtypes.as_dtype(
        compute_dtype)


def reduced() -> bool:
    """Whether products are in another dtype than the rest."""
    return _products is not None


def operand(weight: tf.Tensor) -> tf.Tensor:
    """A weight as the products at hand read it."""
    return tf.cast(weight, _products) if reduced() else weight


def product(x: tf.Tensor, weight: tf.Tensor, **kwargs) -> tf.Tensor:
    """`tf.matmul(x, weight)` in the weight's dtype, returned in x's."""
    return tf.cast(tf.matmul(tf.cast(x, weight.dtype), weight, **kwargs),
                   x.dtype)
