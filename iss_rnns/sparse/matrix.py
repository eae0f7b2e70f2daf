"""A matrix packed for fast products, with its proof and its file."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any, Callable, Optional, Union

import numpy as np

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.sparse import backends
from iss_rnns.sparse import kernels
from iss_rnns.sparse import panels

FORMAT = "iss_rnns.sparse/1"
PACKED, DENSE_PANELS, DENSE, MKL = "packed", "dense panels", "dense", "mkl"


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a measurement on this machine decided for one batch size.

    Attributes:
      name: `packed`, `dense panels`, `dense` or `mkl`.
      threads: CPU threads; fewer than offered where more do not pay.
      seconds: of one product, for each name and number of threads tried.
    """

    name: str
    threads: int
    seconds: dict[tuple[str, int], float]


class PackedMatrix:
    """A matrix `[in, out]` that stores and multiplies only what is not zero.

    Made by `pack` or `load`.

    Attributes:
      form: the packed weights.
      choices: batch size -> `Choice`, where it was measured.
      max_difference: largest |packed - dense| of the products compared when
        packing, relative to the largest output; None for a loaded one.
    """

    def __init__(self, form: panels.Panels):
        self.form = form
        self.choices: dict[int, Choice] = {}
        self.max_difference: Optional[float] = None
        self._products = {PACKED: form}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PackedMatrix":
        """Out of the arrays of a file; nothing is measured yet.

        Raises:
          UserError: see `panels.Panels.from_arrays`.
        """
        return cls(panels.Panels.from_arrays(arrays))

    def __repr__(self):
        return (
            f"PackedMatrix(shape={self.shape}, width={self.form.width}, "
            f"nbytes={self.nbytes})"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(in, out)."""
        return self.form.shape

    @property
    def nbytes(self) -> int:
        """Bytes in memory, dense copies that the choices need included."""
        return sum(p.nbytes for p in self._products.values())

    def to_dense(self) -> np.ndarray:
        """The matrix `[in, out]`."""
        return self.form.to_dense()

    def matmul(
        self,
        x: np.ndarray,
        threads: Optional[int] = None,
        bias: Optional[np.ndarray] = None,
        backend: Optional[str] = None,
    ) -> np.ndarray:
        """x @ matrix (+ bias).

        Args:
          x: `[batch, in]` float32.
          threads: CPU threads. Defaults to the choice, or 1; BLAS keeps its
            own count.
          bias: `[out]` float32.
          backend: `packed` whatever was measured. Defaults to the choice at
            the largest measured batch size up to x's, see `choice`.

        Returns:
          `[batch, out]` float32.
        """
        x = _checked(x, "x")
        if x.shape[1] != self.shape[0]:
            raise errors.UserError(
                f"x must be [batch, {self.shape[0]}], got {list(x.shape)}"
            )
        if bias is not None and np.shape(bias) != self.shape[1:]:
            raise errors.UserError(
                f"bias must be [{self.shape[1]}], got {list(np.shape(bias))}"
            )
        product, threads = self.product(len(x), threads, backend)
        return product.multiply(x, threads, bias)

    def choice(self, batch: int) -> Choice:
        """What is used at a batch size.

        Between two that were measured, that of the smaller; below all, that of
        the smallest.
        """
        if batch in self.choices:
            return self.choices[batch]
        if not self.choices:
            return Choice(PACKED, 1, {})
        below = [b for b in self.choices if b <= batch]
        return self.choices[max(below) if below else min(self.choices)]

    def product(
        self,
        batch: int,
        threads: Optional[int] = None,
        backend: Optional[str] = None,
    ) -> tuple[Any, int]:
        """(product, threads) used by `matmul`: `Panels`, `Dense` or `MKL`."""
        choice = self.choice(batch)
        backend = choice.name if backend is None else backend
        threads = choice.threads if threads is None else threads
        if backend not in self._products:
            raise errors.UserError(
                f"backend must be one of "
                f"{sorted(self._products)}, got '{backend}'"
            )
        if threads < 1:
            raise errors.UserError(f"threads must be positive, got {threads}")
        return self._products[backend], threads

    def tune(self, batch_sizes: Sequence[int], threads: int = 1) -> None:
        """Measures once on this machine and falls back where dense wins.

        A dense copy is kept in memory only if some batch size needs it.

        Args:
          batch_sizes: to measure.
          threads: CPU threads on offer; one alone is tried as well.
        """
        matrix = self.to_dense()
        candidates: dict[str, Any] = {
            PACKED: self.form,
            DENSE: backends.Dense(matrix),
        }
        if self.form.indices.size * self.form.width < matrix.size:
            candidates[DENSE_PANELS] = panels.Panels.from_dense(
                matrix, kernels.WIDTHS[0], keep_all=True
            )
        if self.form.width == 1 and backends.load_mkl() is not None:
            candidates[MKL] = backends.MKL(matrix)
        runs = {
            (name, count): functools.partial(product.multiply, threads=count)
            for name, product in candidates.items()
            for count in sorted({1, threads}, reverse=True)
            if name != DENSE or count == threads
        }
        measured = backends.measure(runs, self.shape[0], batch_sizes)
        self.choices = {
            batch: Choice(
                *backends.fastest(seconds, (PACKED, threads)), seconds
            )
            for batch, seconds in measured.items()
        }
        used = {PACKED, *(c.name for c in self.choices.values())}
        self._products = {name: candidates[name] for name in used}

    def report(self) -> str:
        """Lines that say what is stored, and what was chosen why."""
        dense = int(np.prod(self.shape)) * 4
        lines = [
            f"{self.shape[0]}x{self.shape[1]}: panels of "
            f"{self.form.width}, {self.form.nbytes:,} bytes packed, "
            f"{dense:,} dense ({dense / self.form.nbytes:.1f}x)"
        ]
        for batch, choice in sorted(self.choices.items()):
            times = ", ".join(
                f"{name} x{threads} {1e3 * s:.3f} ms"
                for (name, threads), s in choice.seconds.items()
            )
            lines.append(
                f"  batch {batch}: {choice.name} x{choice.threads} ({times})"
            )
        return "\n".join(lines)

    def prove(self, matrix: np.ndarray, tolerance: float) -> None:
        """Compares every product in use with the dense matrix.

        Raises:
          UserError: the largest difference, relative to the largest output,
            is above the tolerance.
        """
        if not np.array_equal(self.to_dense(), matrix):
            raise errors.UserError(
                f"the packed {self.shape[0]}x{self.shape[1]} matrix does not "
                f"unpack to the same weights"
            )
        rng = np.random.default_rng(1)
        self.max_difference = 0.0
        for name in self._products:
            for batch in (1, 3):
                x = rng.standard_normal((batch, self.shape[0]), np.float32)
                self._compare(matrix, x, name, tolerance)

    def _compare(self, matrix, x, name, tolerance):
        expected = x.astype(np.float64) @ matrix.astype(np.float64)
        scale = np.abs(expected).max(initial=0.0) or 1.0
        difference = (
            np.abs(self.matmul(x, backend=name) - expected).max(initial=0.0)
            / scale
        )
        if not difference <= tolerance:
            raise errors.UserError(
                f"the product '{name}' of the packed {self.shape[0]}x"
                f"{self.shape[1]} matrix differs from the dense one by "
                f"{difference:.2g} of the largest output; allowed are "
                f"{tolerance:.2g}"
            )
        self.max_difference = max(self.max_difference or 0.0, float(difference))

    def save(self, path: str) -> None:
        """Writes the packed form to one `.npz` file, atomically."""
        write_arrays(path, "matrix", self.form.to_arrays())


def pack(
    matrix: np.ndarray,
    block_shape: Union[panels.BlockShape, str, None] = "auto",
    batch_sizes: Sequence[int] = (1, 4, 16, 64),
    threads: int = 1,
    tolerance: float = 1e-5,
) -> PackedMatrix:
    """Packs a matrix with zeros for fast products, and proves it equal.

    Example:
      >>> matrix = np.diag(np.arange(4, dtype=np.float32))
      >>> pack(matrix, batch_sizes=()).matmul(np.ones((1, 4), np.float32))
      array([[0., 1., 2., 3.]], dtype=float32)

    Args:
      matrix: `[in, out]` float32.
      block_shape: (height, width) of the pruned blocks; None for single
        weights; `auto` finds out from the zeros.
      batch_sizes: batch sizes to measure now, to fall back to a dense product
        where the packed one is slower on this machine. Empty: always packed.
      threads: CPU threads on offer; used where they pay.
      tolerance: largest difference allowed between the packed and the dense
        product, relative to the largest output.

    Raises:
      TypeError: the matrix is not float32.
      UserError: not finite, or a block shape that does not fit, or products
        above the tolerance.
    """
    matrix = _checked(matrix, "matrix")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise errors.UserError(
            f"cannot pack a matrix with {matrix[row, column]} at row {row}, "
            f"column {column}; all weights must be finite"
        )
    width = (
        panels.best_width(matrix)
        if block_shape == "auto"
        else panels.width_of_blocks(_checked_block(block_shape, matrix))
    )
    packed = PackedMatrix(panels.Panels.from_dense(matrix, width))
    if len(batch_sizes):
        packed.tune(batch_sizes, threads)
    packed.prove(matrix, tolerance)
    return packed


def load(
    path: str, batch_sizes: Sequence[int] = (1, 4, 16, 64), threads: int = 1
) -> PackedMatrix:
    """Reads `PackedMatrix.save`; measures again, machines differ.

    Args:
      path: the `.npz` file.
      batch_sizes: see `pack`.
      threads: see `pack`.

    Raises:
      UserError: no such file, damaged, or not one of a packed matrix.
    """
    packed = read(path, {"matrix": PackedMatrix.from_arrays})
    if len(batch_sizes):
        packed.tune(batch_sizes, threads)
    return packed


def write_arrays(path: str, kind: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes a packed matrix or layer: `read` knows it by its kind.

    Compressed: panels wide enough to run fast hold zeros too.
    """
    files.write_arrays(
        path, {"format": np.array(FORMAT), "kind": np.array(kind), **arrays}
    )


def read(path: str, makers: Mapping[str, Callable]):
    """What `write_arrays` wrote, made anew.

    Args:
      path: of the file.
      makers: by kind, functions of its arrays.

    Raises:
      UserError: no such file, damaged, or of another kind.
    """
    arrays = files.read_arrays(path, "packed weights")
    found, kind = str(arrays.pop("format", "")), str(arrays.pop("kind", ""))
    if found != FORMAT or kind not in makers:
        raise errors.UserError(
            f"{path} is not a packed {' or '.join(makers)} ({FORMAT})"
        )
    try:
        return makers[kind](arrays)
    except ValueError as error:
        raise errors.UserError(f"{path}: {error}") from None


def _checked(array, name: str) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype != np.float32:
        raise TypeError(
            f"{name} must be float32, got {array.dtype}; convert "
            f"it with {name}.astype(np.float32)."
        )
    if array.ndim != 2:
        raise errors.UserError(
            f"{name} must have two axes, got shape {list(array.shape)}"
        )
    return array


def _checked_block(block_shape, matrix) -> panels.BlockShape:
    if block_shape is None:
        return 1, 1
    try:
        height, width = (int(n) for n in block_shape)
    except (TypeError, ValueError) as error:
        raise errors.UserError(
            f"block_shape must be (height, width), 'auto' or None, got "
            f"{block_shape!r}"
        ) from error
    if not (1 <= height <= matrix.shape[0] and 1 <= width <= matrix.shape[1]):
        raise errors.UserError(
            f"blocks of {height}x{width} do not fit a matrix of "
            f"{matrix.shape[0]}x{matrix.shape[1]}"
        )
    return height, width
