"""What a process sets before it computes, and how it was started."""

from collections.abc import Iterator
import contextlib
import ctypes
import os
import pathlib
import shlex
import sys
from typing import Callable, Optional

import tensorflow as tf

from iss_rnns import terminal


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers itself.

    Elsewhere they are converted back and forth, slower than float32.
    """
    try:
        words = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def memory_bytes() -> int:
    """Of the machine; 0 where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


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
      net: with `variables` and `resized(sizes)`, see `shrinking.shrink`.
      name: of a Keras policy, e.g. 'float32'.
    """
    with policy(name):
        copy = net.resized({})
    for new, old in zip(copy.variables, net.variables):
        new.assign(old)
    return copy


def product_dtype(compute_dtype: str) -> Optional[tf.DType]:
    """What `products_in` takes for one of `flags.COMPUTE_DTYPES`."""
    return (
        None
        if compute_dtype == "float32"
        else tf.dtypes.as_dtype(compute_dtype)
    )


# Options of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def prepare_cpu(
    threads: int,
    compute_dtype: str = "float32",
    join: Callable[[], object] = lambda: None,
) -> None:
    """Sets what a process must set before it computes.

    Args:
      threads: limit of TensorFlow's CPU threads; 0 leaves it all of them.
      compute_dtype: of `flags.COMPUTE_DTYPES`; a CPU that only emulates
        it is reported.
      join: called when the threads are set, before anything is computed: see
        `distribution`.
    """
    if compute_dtype == "bfloat16" and not cpu_has_bfloat16():
        print(
            "note: this CPU has no bfloat16 instructions; "
            "--compute_dtype=float32 is faster on it",
            flush=True,
        )
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(
        1 if threads == 1 else 0
    )
    join()
    _compile_quietly()
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    # glibc hands buffers of over 32 MB back to the system and has them zeroed
    # anew: a tenth of a step of two LSTMs of 1500.
    # TensorFlow 2.21 lowers the second of these at its first dataset of a
    # generator, once in a process: that one comes before.
    if not tf.__version__.startswith("2.15."):
        list(
            tf.data.Dataset.from_generator(
                lambda: iter(()), output_signature=tf.TensorSpec([])
            )
        )
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in (
            (_M_MMAP_THRESHOLD, 1 << 30),
            (_M_TRIM_THRESHOLD, (1 << 31) - 1),
        ):
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass  # another C library: slower, nothing else


def _compile_quietly() -> None:
    # At its first compilation XLA writes two lines; they would stand amid the
    # progress line.
    with terminal.quiet_stderr():
        tf.function(lambda: tf.zeros([]) + 1.0, jit_compile=True)()


def command_line(module: str) -> str:
    """The command that started this program."""
    return " ".join(
        ["python -m", module] + [shlex.quote(part) for part in sys.argv[1:]]
    )
