"""Other ways to multiply, and the one measurement that picks among them."""

from collections.abc import Mapping, Sequence
import ctypes
import functools
import glob
import importlib
import os
import pathlib
import sys
from typing import Callable, Optional

import numpy as np

from iss_rnns import timing

Name = tuple[str, int]  # product, threads

ROUNDS = 5
# Another way must beat the packed one by this much: closer than that is noise.
MARGIN = 1.05


class Dense:
    """The dense product of NumPy's BLAS, with as many threads as that has."""

    def __init__(self, matrix: np.ndarray):
        self.matrix = matrix
        self.nbytes = matrix.nbytes

    def multiply(
        self, x: np.ndarray, threads: int = 1, bias: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """See `panels.Panels.multiply`."""
        del threads
        y = x @ self.matrix
        return y if bias is None else y + bias


class MKL:
    """MKL's CSR product, through `sparse_dot_mkl`."""

    def __init__(self, matrix: np.ndarray):
        sparse = importlib.import_module("scipy.sparse")
        self.rows = sparse.csr_matrix(matrix.T)
        self.nbytes = (
            self.rows.data.nbytes
            + self.rows.indices.nbytes
            + self.rows.indptr.nbytes
        )
        self._library = load_mkl()

    def multiply(
        self, x: np.ndarray, threads: int = 1, bias: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """See `panels.Panels.multiply`."""
        self._library.mkl_set_num_threads(threads)
        y = self._library.dot_product_mkl(
            self.rows, np.ascontiguousarray(x.T)
        ).T
        return y if bias is None else y + bias


def load_mkl():
    """The module `sparse_dot_mkl`, or None when it or MKL is missing."""
    # The wheel `mkl` puts its library where the loader does not look.
    found = glob.glob(
        os.path.join(glob.escape(sys.prefix), "lib", "libmkl_rt.so*")
    )
    if found:
        os.environ.setdefault("MKL_RT", found[0])
    try:
        return importlib.import_module("sparse_dot_mkl")
    except (ImportError, OSError):
        return None


def set_numpy_threads(threads: int) -> Optional[int]:
    """Sets the threads of NumPy's products, if it brought its own OpenBLAS.

    Returns:
      How many it had; None, and nothing is set, with another BLAS.
    """
    folder = pathlib.Path(np.__file__).parent.parent / "numpy.libs"
    for path in folder.glob("*openblas*"):
        library = ctypes.CDLL(str(path))
        for ending in ("64_", ""):
            if hasattr(library, f"openblas_set_num_threads{ending}"):
                before = getattr(library, f"openblas_get_num_threads{ending}")
                setter = getattr(library, f"openblas_set_num_threads{ending}")
                count = before()
                setter(threads)
                return count
    return None


def measure(
    runs: Mapping[Name, Callable], inputs: int, batch_sizes: Sequence[int]
) -> dict[int, dict[Name, float]]:
    """Times products of one matrix side by side.

    Args:
      runs: by name, functions of x.
      inputs: rows of the matrix.
      batch_sizes: rows of x.

    Returns:
      batch size -> name -> seconds, the least of some rounds: what others do
      on the machine only adds to it. Each product is timed right after a run
      of its own, as in a loop over time.
    """
    rng = np.random.default_rng(0)
    seconds = {}
    for batch in batch_sizes:
        x = rng.standard_normal((batch, inputs), np.float32)
        seconds[batch] = _least(
            {name: functools.partial(run, x) for name, run in runs.items()}
        )
    return seconds


def _least(products: Mapping[Name, Callable]) -> dict[Name, float]:
    taken = timing.take_turns(
        products, range(ROUNDS), before=lambda name: products[name]()
    )
    return {name: min(taken[name]) for name in products}


def fastest(seconds: dict[Name, float], preferred: Name) -> Name:
    """The fastest; `preferred` unless beaten by `MARGIN`."""
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] * MARGIN < seconds[preferred] else preferred
