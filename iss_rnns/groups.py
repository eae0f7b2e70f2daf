"""The one grouping object: which slices of which variables belong to a unit.

Penalties, thresholds, freezing, reports and shrinking all read the same
`Group`, so they cannot disagree about what a unit is.
"""

from collections.abc import Iterable, Sequence
import dataclasses
from typing import Optional

import numpy as np
import tensorflow as tf

Values = dict[object, tf.Tensor]  # variable.ref() -> its value
_PIECE = 1 << 19  # weights whose squares, 2 MB, stay in the cache


@dataclasses.dataclass(frozen=True)
class Slice:
    """Rows or columns of one variable, one per unit of a group.

    Attributes:
      variable: a matrix `[rows, columns]`, or a vector `[rows]`.
      axis: 0 when rows `start:stop` are the units, 1 when columns are.
      start: first row or column.
      stop: one past the last.
      multiplier: weight of this slice inside the square root (the authors'
        `multi` in their RHN and BiDAF settings).
    """

    variable: tf.Variable
    axis: int
    start: int
    stop: int
    multiplier: float = 1.0

    def __post_init__(self):
        shape = self.variable.shape
        if not 0 <= self.axis < len(shape):
            raise ValueError(
                f"Slice of {self.variable.name} with shape {tuple(shape)} has "
                f"no axis {self.axis}."
            )
        if not 0 <= self.start < self.stop <= shape[self.axis]:
            raise ValueError(
                f"Slice {self.start}:{self.stop} does not fit axis "
                f"{self.axis} of {self.variable.name}, which has "
                f"{shape[self.axis]} entries."
            )

    @property
    def size(self) -> int:
        """Number of units."""
        return self.stop - self.start


def whole(variable: tf.Variable, axis: int, multiplier: float = 1.0) -> Slice:
    """All rows (`axis=0`) or all columns (`axis=1`) of a variable."""
    return Slice(variable, axis, 0, variable.shape[axis], multiplier)


def blocks(variable: tf.Variable, axis: int, count: int) -> list[Slice]:
    """`count` equal neighbouring slices of an axis (the gates of an LSTM)."""
    size = variable.shape[axis] // count
    return [
        Slice(variable, axis, i * size, (i + 1) * size) for i in range(count)
    ]


def read(variables: Iterable[tf.Variable]) -> Values:
    """Present values of the variables, to share between groups."""
    return {v.ref(): tf.convert_to_tensor(v) for v in variables}


def unique_variables(groups: Iterable["Group"]) -> list[tf.Variable]:
    """Variables that the groups' norms read, each once, in order."""
    seen = {v.ref(): v for group in groups for v in group.variables}
    return list(seen.values())


class Group:
    """A layer of n units with every slice that reads or writes them.

    Example:
      >>> w = tf.Variable([[3., 0.], [4., 0.]])
      >>> Group("columns", [whole(w, axis=1)]).squared_norms().numpy()
      array([25.,  0.], dtype=float32)

    Attributes:
      name: of the layer, shown in reports and errors.
      slices: counted in the norm. Each has one entry per unit.
      companions: cut with a unit but not counted (biases, as in the authors'
        code).
      multiplier: of the penalty, outside the root (the authors'
        `*_decay_multi`).
    """

    def __init__(
        self,
        name: str,
        slices: Sequence[Slice],
        companions: Sequence[Slice] = (),
        multiplier: float = 1.0,
    ):
        if not slices:
            raise ValueError(f"Group '{name}' needs at least one slice.")
        sizes = {s.size for s in (*slices, *companions)}
        if len(sizes) != 1:
            raise ValueError(
                f"Slices of group '{name}' must have one entry per unit, got "
                f"{sorted(sizes)} entries."
            )
        self.name = name
        self.slices = list(slices)
        self.companions = list(companions)
        self.multiplier = multiplier

    def __repr__(self):
        return f"Group({self.name!r}, units={self.size})"

    @property
    def size(self) -> int:
        """Number of units."""
        return self.slices[0].size

    @property
    def variables(self) -> list[tf.Variable]:
        """Variables the norm reads, each once."""
        return list(
            {s.variable.ref(): s.variable for s in self.slices}.values()
        )

    @property
    def weights_per_unit(self) -> int:
        """Number of weights in one unit's slices."""
        return sum(
            int(np.prod(s.variable.shape)) // s.variable.shape[s.axis]
            for s in self.slices
        )

    def squared_norms(self, values: Optional[Values] = None) -> tf.Tensor:
        """`[n]`: sum over the slices of the squares of unit k's weights.

        An element in two slices (a gate column crossing the recurrent row)
        counts twice, as in the authors' code.
        """
        if values is None:
            values = read(self.variables)
        axes = {}
        for s in self.slices:
            axes.setdefault(s.variable.ref(), set()).add(s.axis)
        sums = {
            reference: _sums_of_squares(values[reference], which)
            for reference, which in axes.items()
        }
        total = 0.0
        for s in self.slices:
            part = sums[s.variable.ref()][s.axis][s.start : s.stop]
            total += part if s.multiplier == 1.0 else s.multiplier * part
        return total

    def alive(self, threshold: float = 0.0) -> tf.Tensor:
        """`[n]` bool: units whose norm exceeds the threshold."""
        return self.squared_norms() > threshold**2

    def spread(
        self, per_unit: tf.Tensor, companions: bool = False
    ) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Lays a number per unit over the variables.

        Args:
          per_unit: `[n]`.
          companions: also over the companions.

        Returns:
          Pairs (variable, tensor that broadcasts to its shape): zero outside
          the slice, `multiplier * per_unit[k]` on unit k's row or column.
        """
        result = []
        for s in self.slices + (self.companions if companions else []):
            length = s.variable.shape[s.axis]
            line = tf.pad(per_unit * s.multiplier, [[s.start, length - s.stop]])
            if s.variable.shape.rank == 2:
                line = tf.expand_dims(line, 1 - s.axis)
            result.append((s.variable, line))
        return result

    def rebind(self, cuts: dict[object, "Cut"]) -> None:
        """Follows its variables into their smaller versions, in place."""
        self.slices = [_rebind_slice(s, cuts) for s in self.slices]
        self.companions = [_rebind_slice(s, cuts) for s in self.companions]


class BlockGrid:
    """A matrix cut into an arbitrary grid of blocks, each one a group.

    Same two views as `Group`, with a matrix `[R, C]` of blocks in the place of
    the vector of units.

    Attributes:
      name: shown in reports.
      row_sizes: heights of the R rows of blocks; they add up to the rows.
      column_sizes: widths of the C columns of blocks.
    """

    def __init__(
        self,
        variable: tf.Variable,
        row_sizes: Sequence[int],
        column_sizes: Sequence[int],
        multiplier: float = 1.0,
    ):
        for axis, sizes in enumerate((row_sizes, column_sizes)):
            if min(sizes, default=0) < 1 or sum(sizes) != variable.shape[axis]:
                raise ValueError(
                    f"Block sizes along axis {axis} of {variable.name} must "
                    f"be positive and add up to {variable.shape[axis]}, got a "
                    f"sum of {sum(sizes)}."
                )
        self.name = variable.name
        self.variable = variable
        self.row_sizes = np.asarray(row_sizes, np.int32)
        self.column_sizes = np.asarray(column_sizes, np.int32)
        self.multiplier = multiplier

    @classmethod
    def uniform(
        cls,
        variable: tf.Variable,
        height: int,
        width: int,
        multiplier: float = 1.0,
    ) -> "BlockGrid":
        """Blocks of one size; the last row and column may be smaller."""
        if height < 1 or width < 1:
            raise ValueError(
                f"Block size must be positive, got {height}x{width}."
            )
        sizes = [
            _equal_sizes(variable.shape[0], height),
            _equal_sizes(variable.shape[1], width),
        ]
        return cls(variable, *sizes, multiplier=multiplier)

    @property
    def variables(self) -> list[tf.Variable]:
        """The matrix."""
        return [self.variable]

    @property
    def size(self) -> int:
        """Number of blocks."""
        return len(self.row_sizes) * len(self.column_sizes)

    def squared_norms(self, values: Optional[Values] = None) -> tf.Tensor:
        """`[R, C]`: sum of squares of each block."""
        value = (
            tf.convert_to_tensor(self.variable)
            if values is None
            else values[self.variable.ref()]
        )
        return self._reduce(tf.square(value), tf.math.segment_sum)

    def max_magnitudes(self, value: Optional[tf.Tensor] = None) -> tf.Tensor:
        """`[R, C]`: largest |w| of each block (Block-Sparse RNNs, sec. 3).

        Args:
          value: instead of the matrix's own.
        """
        value = self.variable if value is None else value
        return self._reduce(tf.abs(value), tf.math.segment_max)

    def alive(self, threshold: float = 0.0) -> tf.Tensor:
        """`[R, C]` bool: blocks whose norm exceeds the threshold."""
        return self.squared_norms() > threshold**2

    def spread(
        self, per_block: tf.Tensor, companions: bool = False
    ) -> list[tuple[tf.Variable, tf.Tensor]]:
        """See `Group.spread`; the tensor has the matrix's full shape."""
        del companions  # a block has none
        rows = tf.repeat(per_block, self.row_sizes, axis=0)
        return [(self.variable, tf.repeat(rows, self.column_sizes, axis=1))]

    def rebind(self, cuts: dict[object, "Cut"]) -> None:
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

    def _reduce(self, matrix: tf.Tensor, segment) -> tf.Tensor:
        for sizes in (self.row_sizes, self.column_sizes):
            ids = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
            matrix = tf.transpose(segment(matrix, ids))
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
                variable,
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
        return tuple(
            1 + max(int(part[axis].max()) for part in self.parts)
            for axis in (1, 2)
        )

    @property
    def size(self) -> int:
        """Number of blocks."""
        return int(np.prod(self.shape))

    def squared_norms(self, values: Optional[Values] = None) -> tf.Tensor:
        """`[R, C]`: sum of squares of each block."""
        values = read(self.variables) if values is None else values
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
        """`[R, C]` bool: blocks whose norm exceeds the threshold."""
        return self.squared_norms() > threshold**2

    def spread(
        self, per_block: tf.Tensor, companions: bool = False
    ) -> list[tuple[tf.Variable, tf.Tensor]]:
        """See `Group.spread`; the tensors have the variables' shapes."""
        del companions  # a block has none
        return [
            (variable, tf.gather(tf.gather(per_block, rows), columns, axis=1))
            for variable, rows, columns in self.parts
        ]

    def rebind(self, cuts: dict[object, "Cut"]) -> None:
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


def _sums_of_squares(
    value: tf.Tensor, axes: Iterable[int]
) -> dict[int, tf.Tensor]:
    """Of each row (axis 0), each column (axis 1): by the axis that stays.

    In pieces whose squares stay in the cache: twice as fast as the squares of
    a large matrix at once, and one pass over it for both axes.
    """
    if value.shape.rank == 1:
        return {0: tf.square(value)}
    rows, columns = value.shape
    height = max(_PIECE // columns, 1)
    heights = [min(height, rows - start) for start in range(0, rows, height)]
    sums = {axis: [] for axis in axes}
    summed = []
    for piece in tf.split(value, heights):
        with tf.control_dependencies(summed):  # not all squares first
            squares = tf.square(piece)
        summed = [tf.reduce_sum(squares, axis=1 - axis) for axis in sums]
        for parts, part in zip(sums.values(), summed):
            parts.append(part)
    return {
        axis: tf.concat(parts, 0) if axis == 0 else tf.add_n(parts)
        for axis, parts in sums.items()
    }


@dataclasses.dataclass(frozen=True)
class Cut:
    """A variable's smaller version and what was kept of each axis (bool)."""

    variable: tf.Variable
    keep: tuple[np.ndarray, ...]


def keep_masks(
    groups: Sequence[Group], alive: Sequence[np.ndarray]
) -> dict[object, list[np.ndarray]]:
    """What remains of each axis of each variable when dead units go.

    Args:
      groups: the layers to cut.
      alive: one `[n]` bool array per group.

    Returns:
      variable.ref() -> one bool array per axis, for each variable that a
      slice or a companion of the groups touches.
    """
    masks = {}
    for group, units in zip(groups, alive):
        for s in group.slices + group.companions:
            axes = masks.setdefault(
                s.variable.ref(),
                [np.ones(length, bool) for length in s.variable.shape],
            )
            axes[s.axis][s.start : s.stop] &= np.asarray(units)
    return masks


def _equal_sizes(total: int, size: int) -> list[int]:
    full, rest = divmod(total, size)
    return [size] * full + ([rest] if rest else [])


def _rebind_slice(s: Slice, cuts: dict[object, Cut]) -> Slice:
    cut = cuts.get(s.variable.ref())
    if cut is None:
        return s
    keep = cut.keep[s.axis]
    return dataclasses.replace(
        s,
        variable=cut.variable,
        start=int(keep[: s.start].sum()),
        stop=int(keep[: s.stop].sum()),
    )
