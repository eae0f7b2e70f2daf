"""The packed form of a matrix: panels of neighbouring columns.

See `kernels` for how they multiply.
"""

from collections.abc import Mapping
import dataclasses
from typing import Optional

import numpy as np

from iss_rnns import errors
from iss_rnns.sparse import kernels

BlockShape = tuple[int, int]

_MOST_ROWS = 1 << 32  # that indices can name
# Time per stored weight against panels of 16 columns, measured at batch 1 to
# 16 on AVX2; decides the width of an unknown sparsity pattern.
_COST = {16: 1.0, 8: 1.3, 4: 1.8, 2: 2.8, 1: 4.0}


@dataclasses.dataclass(frozen=True)
class Panels:
    """A matrix `[in, out]` without its zero rows of `width` columns.

    Attributes:
      shape: (in, out).
      width: columns of a panel; the last panel is padded with zeros.
      indptr: `[panels + 1]` int64, where each panel's rows start.
      indices: `[rows]` unsigned, the row in the matrix.
      values: `[rows, width]` float32.
    """

    shape: tuple[int, int]
    width: int
    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    _operands: dict[tuple[int, int], tuple] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def from_dense(
        cls, matrix: np.ndarray, width: int, keep_all: bool = False
    ) -> "Panels":
        """Packs a matrix.

        Args:
          matrix: `[in, out]` float32.
          width: columns of a panel.
          keep_all: keep zero rows too: the dense product, but laid out so
            that small batches run faster than in a BLAS.
        """
        by_panel = _by_panel(matrix, width)
        alive = (
            np.ones(by_panel.shape[:2], bool)
            if keep_all
            else by_panel.any(axis=2)
        )
        panel, row = np.nonzero(alive.T)
        indptr = np.zeros(alive.shape[1] + 1, np.int64)
        np.cumsum(alive.sum(axis=0), out=indptr[1:])
        index_type = np.uint16 if len(matrix) <= 1 << 16 else np.uint32
        rows, columns = matrix.shape
        return cls(
            (rows, columns),
            width,
            indptr,
            row.astype(index_type),
            by_panel[row, panel],
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weights and their indices."""
        return self.indptr.nbytes + self.indices.nbytes + self.values.nbytes

    @property
    def padded_out(self) -> int:
        """Columns including the last panel's padding."""
        return (len(self.indptr) - 1) * self.width

    def to_dense(self) -> np.ndarray:
        """The matrix `[in, out]`."""
        rows, columns = self.shape
        dense = np.zeros((rows, len(self.indptr) - 1, self.width), np.float32)
        panel = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        dense[self.indices, panel] = self.values
        return np.ascontiguousarray(
            dense.reshape(rows, self.padded_out)[:, :columns]
        )

    def operands(self, threads: int, lanes: int) -> tuple:
        """What the kernels take; panels shared out by weight."""
        key = threads, lanes
        if key not in self._operands:
            shares = np.linspace(0, self.indptr[-1], threads + 1)
            bounds = np.searchsorted(self.indptr[:-1], shares)
            bounds[0], bounds[-1] = 0, len(self.indptr) - 1
            self._operands[key] = (
                self.indptr,
                self.indices,
                self.values.reshape(-1),
                bounds.astype(np.int64),
                max(1, kernels.row_block(self.values.nbytes) // lanes),
            )
        return self._operands[key]

    def multiply(
        self, x: np.ndarray, threads: int = 1, bias: Optional[np.ndarray] = None
    ) -> np.ndarray:
        """x @ matrix (+ bias): `[batch, in]` -> `[batch, out]`, float32."""
        batch = len(x)
        lanes, tiles = kernels.layout(self.width, batch)
        y = self.multiply_tiles(to_lanes(x, lanes, tiles), lanes, threads, bias)
        return from_lanes(y, lanes, batch)[:, : self.shape[1]]

    def multiply_tiles(
        self,
        x: np.ndarray,
        lanes: int,
        threads: int = 1,
        bias: Optional[np.ndarray] = None,
    ) -> np.ndarray:
        """The same in the kernels' layout, see `to_lanes`.

        Args:
          x: `[tiles, in * lanes]`.
          lanes: batch rows side by side.
          threads: CPU threads.
          bias: `[out]`.

        Returns:
          `[tiles, padded_out * lanes]`.
        """
        y = np.zeros((len(x), self.padded_out, lanes), np.float32)
        if bias is not None:
            y[:, : self.shape[1]] = bias[:, np.newaxis]
        y = y.reshape(len(x), self.padded_out * lanes)
        kernels.product(self.width, lanes, threads > 1)(
            x, *self.operands(threads, lanes), y
        )
        return y

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name, for a file."""
        return {
            "shape": np.array(self.shape, np.int64),
            "width": np.array(self.width, np.int64),
            "indptr": self.indptr,
            "indices": self.indices,
            "values": self.values,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Panels":
        """Inverse of `to_arrays`.

        Raises:
          UserError: something is missing or does not fit together; the
            kernels check no bounds, so this is where it is caught.
        """
        try:
            shape, width, indptr, indices, values = (
                arrays[k]
                for k in ("shape", "width", "indptr", "indices", "values")
            )
        except KeyError as error:
            raise errors.UserError(
                f"the packed matrix lacks its {error.args[0]}"
            ) from error
        fits = (
            shape.dtype == width.dtype == indptr.dtype == np.int64
            and shape.shape == (2,)
            and shape.min() >= 0
            and shape[0] <= _MOST_ROWS
            and width.shape == ()
            and int(width) in kernels.WIDTHS
            and indices.dtype in (np.uint16, np.uint32)
            and values.dtype == np.float32
            and indptr.shape == (-(-int(shape[1]) // int(width)) + 1,)
            and indptr[0] == 0
            and np.all(np.diff(indptr) >= 0)
            and indices.shape == (indptr[-1],)
            and values.shape == (indptr[-1], int(width))
            and (not indices.size or indices.max() < shape[0])
            and np.isfinite(values).all()
        )
        if not fits:
            raise errors.UserError(
                "the packed matrix is damaged: its indices do not fit its "
                "shape, or its weights are no finite numbers"
            )
        return cls(
            (int(shape[0]), int(shape[1])), int(width), indptr, indices, values
        )


def best_width(matrix: np.ndarray) -> int:
    """The panel width that should multiply a matrix fastest."""
    costs = {
        w: _COST[w] * w * int(_by_panel(matrix, w).any(axis=2).sum())
        for w in kernels.WIDTHS
    }
    return min(costs, key=costs.__getitem__)


def width_of_blocks(block_shape: BlockShape) -> int:
    """The widest panel that blocks (height, width) divide into."""
    return next(w for w in kernels.WIDTHS if block_shape[1] % w == 0)


def to_lanes(rows: np.ndarray, lanes: int, tiles: int) -> np.ndarray:
    """`[..., batch, n]` -> `[..., tiles, n * lanes]`, contiguous."""
    if lanes == 1:
        return np.ascontiguousarray(rows)
    *outer, batch, n = rows.shape
    padded = np.zeros((*outer, tiles * lanes, n), rows.dtype)
    padded[..., :batch, :] = rows
    return np.ascontiguousarray(
        padded.reshape(*outer, tiles, lanes, n).swapaxes(-1, -2)
    ).reshape(*outer, tiles, n * lanes)


def from_lanes(tiles: np.ndarray, lanes: int, batch: int) -> np.ndarray:
    """`[..., tiles, n * lanes]` -> `[..., batch, n]`."""
    if lanes == 1:
        return tiles
    *outer, count, size = tiles.shape
    rows = tiles.reshape(*outer, count, size // lanes, lanes).swapaxes(-1, -2)
    return rows.reshape(*outer, count * lanes, size // lanes)[..., :batch, :]


def _by_panel(matrix: np.ndarray, width: int) -> np.ndarray:
    """`[in, panels, width]`."""
    rows, columns = matrix.shape
    panels = -(-columns // width)
    if columns % width:
        matrix = np.pad(matrix, [(0, 0), (0, panels * width - columns)])
    return matrix.reshape(rows, panels, width)
