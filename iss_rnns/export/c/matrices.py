"""How a matrix lies in C: dense or in blocks, with the diagonal beside it.

Columns are cut into panels of `width`, whose sums stay in registers. A dense
panel has all rows, one after the other. In a panel of blocks stand those of
its blocks of `height` rows that are not all zero; a list of 16-bit numbers
says, for each panel, how many there are and at which rows they begin. That is
the layout of Opus and RNNoise. Entries `[i, i + k n]` of a recurrent matrix,
which those projects' pruning keeps, may stand in an array of their own, so that
they keep no block alive.
"""

from collections.abc import Iterator
import dataclasses
from typing import Optional

import numpy as np

WIDTHS = (16, 8, 4, 2, 1)
HEIGHTS = (8, 4, 2, 1)
INDEX_BYTES = 2
MOST_ROWS = 2**16 - 1
# Blocks must save at least this part of the dense bytes.
_LEAST_GAIN = 0.1


@dataclasses.dataclass(frozen=True)
class Stored:
    """A matrix `[rows, columns]` as C has it.

    Attributes:
      rows: inputs.
      columns: outputs.
      width: of the panels.
      height: of the blocks; 0: it is dense.
      values: of all panels, one after the other, flat.
      index: 16-bit numbers, see the module; empty if dense.
      diagonal: `[columns]`; None: it is among the values.
    """

    rows: int
    columns: int
    width: int
    height: int
    values: np.ndarray
    index: np.ndarray
    diagonal: Optional[np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        diagonal = 0 if self.diagonal is None else self.diagonal.nbytes
        return self.values.nbytes + INDEX_BYTES * self.index.size + diagonal

    @property
    def described(self) -> str:
        """The layout, in a few words."""
        kind = (
            f"blocks of {self.height}x{self.width}" if self.height else "dense"
        )
        return kind + ("" if self.diagonal is None else ", with the diagonal")


def store(matrix: np.ndarray, recurrent: bool = False) -> Stored:
    """The layout that takes the fewest bytes.

    Args:
      matrix: `[rows, columns]`, float32 or int8.
      recurrent: whether entries `[i, i + k rows]` may stand apart.
    """
    rows, columns = matrix.shape
    width = next(w for w in WIDTHS if columns % w == 0)
    dense = Stored(
        rows, columns, width, 0, _panels(matrix, width), _index([]), None
    )
    most = (1 - _LEAST_GAIN) * dense.nbytes
    if np.count_nonzero(matrix) * matrix.itemsize >= most:
        return dense
    apart = matrix.copy()
    places = np.arange(columns) % rows, np.arange(columns)
    apart[places] = 0
    found = [
        (_block_bytes(whole, *shape) + extra, whole, shape, diagonal)
        for whole, extra, diagonal in (
            (matrix, 0, None),
            *(
                [(apart, columns * matrix.itemsize, matrix[places])]
                if recurrent
                else []
            ),
        )
        for shape in _shapes(rows, columns)
    ]
    # Of equal ones the first, with the largest blocks.
    best = min(found, key=lambda each: each[0], default=None)
    if best is None or best[0] >= most:
        return dense
    return _blocks(best[1], *best[2], best[3])


def to_dense(stored: Stored) -> np.ndarray:
    """The matrix again."""
    matrix = np.zeros((stored.rows, stored.columns), stored.values.dtype)
    values, index = stored.values, list(stored.index)
    for start in range(0, stored.columns, stored.width):
        columns = slice(start, start + stored.width)
        height = stored.height or stored.rows
        begins = [0]
        if stored.height:
            count = index.pop(0)
            begins, index = index[:count], index[count:]
        for begin in begins:
            block, values = np.split(values, [height * stored.width])
            matrix[begin : begin + height, columns] = block.reshape(
                height, stored.width
            )
    if stored.diagonal is not None:
        places = np.arange(stored.columns)
        matrix[places % stored.rows, places] = stored.diagonal
    return matrix


def _shapes(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    if rows > MOST_ROWS:
        return
    for width in WIDTHS:
        for height in HEIGHTS:
            if columns % width == 0 and rows % height == 0:
                yield height, width


def _panels(matrix: np.ndarray, width: int) -> np.ndarray:
    rows, columns = matrix.shape
    panels = matrix.reshape(rows, columns // width, width).swapaxes(0, 1)
    return np.ascontiguousarray(panels).reshape(-1)


def _kept(matrix: np.ndarray, height: int, width: int):
    """(blocks `[panel, place, height, width]`, which are not all zero)."""
    rows, columns = matrix.shape
    blocks = matrix.reshape(rows // height, height, columns // width, width)
    blocks = blocks.transpose(2, 0, 1, 3)
    return blocks, blocks.any((2, 3))


def _block_bytes(matrix: np.ndarray, height: int, width: int) -> int:
    kept = _kept(matrix, height, width)[1]
    count, panels = int(kept.sum()), len(kept)
    return (
        count * height * width * matrix.itemsize
        + (count + panels) * INDEX_BYTES
    )


def _blocks(
    matrix: np.ndarray,
    height: int,
    width: int,
    diagonal: Optional[np.ndarray],
) -> Stored:
    blocks, kept = _kept(matrix, height, width)
    index: list[int] = []
    for panel in kept:
        places = np.flatnonzero(panel)
        index += [len(places), *(places * height)]
    rows, columns = matrix.shape
    return Stored(
        rows,
        columns,
        width,
        height,
        blocks[kept].reshape(-1),
        _index(index),
        diagonal,
    )


def _index(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.uint16)
