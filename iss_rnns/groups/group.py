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
