"""Grids of blocks: groups of one block of weights each."""

from collections.abc import Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns.groups import group
from iss_rnns.ops import xla


class BlockGrid:
    """A matrix cut into an arbitrary grid of blocks, each one a group.

    Same two views as `Group`, with a matrix `[R, C]` of blocks in the place of
    the vector of units.

    Attributes:
      name: shown in reports.
      row_sizes: heights of the R rows of blocks; they add up to the rows.
      column_sizes: widths of the C columns of blocks.

    Raises:
      UserError: if the variable is no matrix, or the sizes are not positive
        or do not add up to its own.
    """

    def __init__(
        self,
        variable: tf.Variable,
        row_sizes: Sequence[int],
        column_sizes: Sequence[int],
        multiplier: float = 1.0,
    ):
        shape = _matrix_shape(variable)
        self.name = variable.name
        self.variable = _keras.inner(variable)
        for axis, sizes in enumerate((row_sizes, column_sizes)):
            if min(sizes, default=0) < 1 or sum(sizes) != shape[axis]:
                raise errors.UserError(
                    f"block sizes along axis {axis} of {self.name} must "
                    f"be positive and add up to {shape[axis]}, got a sum of "
                    f"{sum(sizes)}"
                )
        self.row_sizes = np.asarray(row_sizes, np.int32)
        self.column_sizes = np.asarray(column_sizes, np.int32)
        self.multiplier = arguments.number(
            f"multiplier of the blocks of {self.name}", multiplier, least=0
        )

    @classmethod
    def uniform(
        cls,
        variable: tf.Variable,
        height: int,
        width: int,
        multiplier: float = 1.0,
    ) -> "BlockGrid":
        """Blocks of one size; the last row and column may be smaller."""
        heights, widths = (
            _equal_sizes(
                total, arguments.integer(f"block {name}", size, least=1)
            )
            for total, name, size in zip(
                _matrix_shape(variable), ("height", "width"), (height, width)
            )
        )
        return cls(variable, heights, widths, multiplier)

    @property
    def variables(self) -> list[tf.Variable]:
        """The matrix."""
        return [self.variable]

    @property
    def size(self) -> int:
        """Number of blocks."""
        return len(self.row_sizes) * len(self.column_sizes)

    def squared_norms(self, values: Optional[group.Values] = None) -> tf.Tensor:
        """`[R, C]`: sum of squares of each block."""
        value = (
            tf.convert_to_tensor(self.variable)
            if values is None
            else values[self.variable.ref()]
        )
        return self._reduce(tf.square(value), "segment_sum")

    def max_magnitudes(self, value: Optional[tf.Tensor] = None) -> tf.Tensor:
        """`[R, C]`: largest |w| of each block (Block-Sparse RNNs, sec. 3).

        Args:
          value: instead of the matrix's own.
        """
        value = self.variable if value is None else value
        return self._reduce(tf.abs(value), "segment_max")

    def alive(self, threshold: float = 0.0) -> tf.Tensor:
        """`[R, C]` bool: see `Group.alive`."""
        return group.not_within(threshold**2, self.squared_norms())

    def spread(
        self, per_block: tf.Tensor, companions: bool = False
    ) -> list[tuple[tf.Variable, tf.Tensor]]:
        """See `Group.spread`; the tensor has the matrix's full shape."""
        del companions  # a block has none
        rows = tf.repeat(per_block, self.row_sizes, axis=0)
        return [(self.variable, tf.repeat(rows, self.column_sizes, axis=1))]

    def rebind(self, cuts: dict[object, group.Cut]) -> None:
        """See `Group.rebind`; blocks left empty disappear."""
        cut = cuts.get(self.variable.ref())
        if cut is None:
            return
        kept = [
            np.add.reduceat(k, np.cumsum(sizes) - sizes)
            for k, sizes in zip(cut.keep, (self.row_sizes, self.column_sizes))
        ]
        self.row_sizes, self.column_sizes = (
            k[k > 0].astype(np.int32) for k in kept
        )
        self.variable = cut.variable

    def _reduce(self, matrix: tf.Tensor, name: str) -> tf.Tensor:
        for sizes in (self.row_sizes, self.column_sizes):
            ids = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
            if xla.compiling():  # it knows no other
                segment = getattr(tf.math, f"unsorted_{name}")
                matrix = segment(matrix, ids, len(sizes))
            else:
                matrix = getattr(tf.math, name)(matrix, ids)
            matrix = tf.transpose(matrix)
        return matrix


class JoinedGrid:
    """A grid of blocks on a matrix that several variables make up.

    Same two views as `BlockGrid`; a block may lie in several variables, and
    in several places of one.

    Attributes:
      name: shown in reports.
      parts: (variable, block of each of its rows, block of each of its
        columns), both counted from 0 in the whole matrix.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[tuple[tf.Variable, Sequence[int], Sequence[int]]],
        multiplier: float = 1.0,
    ):
        self.name = name
        self.parts = [
            (
                _keras.inner(variable),
                np.asarray(rows, np.int32),
                np.asarray(columns, np.int32),
            )
            for variable, rows, columns in parts
        ]
        self.multiplier = multiplier

    @property
    def variables(self) -> list[tf.Variable]:
        """Those that make up the matrix."""
        return [variable for variable, _, _ in self.parts]

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C): number of rows and columns of blocks."""
        rows, columns = (
            1 + max(int(part[axis].max()) for part in self.parts)
            for axis in (1, 2)
        )
        return rows, columns

    @property
    def size(self) -> int:
        """Number of blocks."""
        return int(np.prod(self.shape))

    def squared_norms(self, values: Optional[group.Values] = None) -> tf.Tensor:
        """`[R, C]`: sum of squares of each block."""
        values = group.read(self.variables) if values is None else values
        total = 0.0
        for variable, *ids in self.parts:
            squares = tf.square(values[variable.ref()])
            for blocks_, count in zip(ids, self.shape):
                squares = tf.transpose(
                    tf.math.unsorted_segment_sum(squares, blocks_, count)
                )
            total += squares
        return total

    def alive(self, threshold: float = 0.0) -> tf.Tensor:
        """`[R, C]` bool: see `Group.alive`."""
        return group.not_within(threshold**2, self.squared_norms())

    def spread(
        self, per_block: tf.Tensor, companions: bool = False
    ) -> list[tuple[tf.Variable, tf.Tensor]]:
        """See `Group.spread`; the tensors have the variables' shapes."""
        del companions  # a block has none
        return [
            (variable, tf.gather(tf.gather(per_block, rows), columns, axis=1))
            for variable, rows, columns in self.parts
        ]

    def rebind(self, cuts: dict[object, group.Cut]) -> None:
        """See `Group.rebind`; blocks left empty disappear."""
        parts = []
        for variable, rows, columns in self.parts:
            cut = cuts.get(variable.ref())
            parts.append(
                (variable, rows, columns)
                if cut is None
                else (cut.variable, rows[cut.keep[0]], columns[cut.keep[1]])
            )
        left = [
            np.unique(np.concatenate([part[axis] for part in parts]))
            for axis in (1, 2)
        ]
        self.parts = [
            (
                variable,
                *(
                    np.searchsorted(kept, ids).astype(np.int32)
                    for kept, ids in zip(left, both)
                ),
            )
            for variable, *both in parts
        ]


def _matrix_shape(variable: tf.Variable) -> tuple[int, int]:
    if not hasattr(variable, "assign") or len(variable.shape) != 2:
        raise errors.UserError(
            "only a matrix is cut into blocks, got "
            f"{getattr(variable, 'name', type(variable).__name__)} with shape "
            f"{tuple(getattr(variable, 'shape', ()))}"
        )
    rows, columns = variable.shape
    return int(rows), int(columns)


def _equal_sizes(total: int, size: int) -> list[int]:
    full, rest = divmod(total, size)
    return [size] * full + ([rest] if rest else [])
