"""The one grouping object: which slices of which variables belong to a unit.

Penalties, thresholds, freezing, reports and shrinking all read the same
`Group`, so they cannot disagree about what a unit is.
"""

from collections.abc import Iterable, Sequence
import dataclasses
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import errors

Values = dict[object, tf.Tensor]  # variable.ref() -> its value
_PIECE = 1 << 19  # weights whose squares, 2 MB, stay in the cache


@dataclasses.dataclass(frozen=True)
class Slice:
    """A stretch of one axis of one variable, an entry per unit of a group.

    Of a matrix, rows (axis 0) or columns (axis 1). Unit k has all the weights
    at its place on the axis: of `Conv1D` with a kernel `[width, in, out]`, the
    filter k is axis 2; of `MultiHeadAttention` with a kernel `[in, heads,
    size]`, the head k is axis 1.

    Attributes:
      variable: of any shape but a scalar's.
      axis: that the units lie along, from 0.
      start: first entry.
      stop: one past the last.
      multiplier: weight of this slice inside the square root (the authors'
        `multi` in their RHN and BiDAF settings), >= 0.
      indices: the units' entries one by one, where they do not stand side by
        side in order; all from `start` to before `stop`.

    Raises:
      UserError: if the variable has no such rows or columns.
    """

    variable: tf.Variable
    axis: int
    start: int
    stop: int
    multiplier: float = 1.0
    indices: Optional[tuple[int, ...]] = None

    def __post_init__(self):
        object.__setattr__(self, "variable", _keras.inner(self.variable))
        length = _length(self.variable, self.axis)
        for name in ("start", "stop"):
            bound = arguments.integer(
                f"{name} of a slice of {_keras.name(self.variable)}",
                getattr(self, name),
                least=0,
            )
            object.__setattr__(self, name, bound)
        if not self.start < self.stop <= length:
            raise errors.UserError(
                f"slice {self.start}:{self.stop} does not fit axis "
                f"{self.axis} of {_keras.name(self.variable)}, which has {length} "
                "entries"
            )
        arguments.number(
            f"multiplier of a slice of {_keras.name(self.variable)}",
            self.multiplier,
            least=0,
        )
        if self.indices is not None:
            indices = tuple(int(i) for i in self.indices)
            object.__setattr__(self, "indices", indices)
            bounds = (min(indices, default=0), max(indices, default=-1) + 1)
            if bounds != (self.start, self.stop) or len(set(indices)) != len(
                indices
            ):
                raise errors.UserError(
                    f"indices of a slice of {self.variable.name} must differ "
                    f"from each other and reach from {self.start} to before "
                    f"{self.stop}, got {indices}"
                )

    @classmethod
    def of(
        cls,
        variable: tf.Variable,
        axis: int,
        entries: Sequence[int],
        multiplier: float = 1.0,
    ) -> "Slice":
        """The slice of some entries of an axis, one for each unit."""
        places = np.asarray(entries, int)
        start, stop = int(places.min()), int(places.max()) + 1
        whole_ = np.array_equal(places, np.arange(start, stop))
        indices = None if whole_ else tuple(places.tolist())
        return cls(variable, axis, start, stop, multiplier, indices)

    @property
    def size(self) -> int:
        """Number of units."""
        if self.indices is not None:
            return len(self.indices)
        return self.stop - self.start

    @property
    def index(self) -> Union[slice, np.ndarray]:
        """The units' entries, as what indexes an array along the axis."""
        if self.indices is not None:
            return np.array(self.indices, np.int32)
        return slice(self.start, self.stop)

    def line(self, per_unit: tf.Tensor) -> tf.Tensor:
        """Lays a number per unit, `[n]`, along the axis, with zeros elsewhere.

        The result broadcasts to the variable's shape: it has its rank, and 1
        for all axes but this one.
        """
        length = self.variable.shape[self.axis]
        line = (
            tf.pad(per_unit, [[self.start, length - self.stop]])
            if self.indices is None
            else tf.scatter_nd(
                np.reshape(self.indices, [-1, 1]), per_unit, [length]
            )
        )
        shape = [1] * len(self.variable.shape)
        shape[self.axis] = length
        return tf.reshape(line, shape)


def whole(variable: tf.Variable, axis: int, multiplier: float = 1.0) -> Slice:
    """All entries of an axis of a variable: its rows (0), columns (1), ..."""
    return Slice(variable, axis, 0, _length(variable, axis), multiplier)


def blocks(variable: tf.Variable, axis: int, count: int) -> list[Slice]:
    """`count` equal neighbouring slices of an axis (the gates of an LSTM).

    Raises:
      UserError: if the axis does not divide into so many.
    """
    length = _length(variable, axis)
    size, rest = divmod(length, arguments.integer("count", count, least=1))
    if rest:
        raise errors.UserError(
            f"axis {axis} of {_keras.name(variable)} has {length} entries, which do "
            f"not divide into {count} equal blocks"
        )
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
        `*_decay_multi`), >= 0.

    Raises:
      UserError: without slices, or if they have different numbers of entries.
    """

    def __init__(
        self,
        name: str,
        slices: Sequence[Slice],
        companions: Sequence[Slice] = (),
        multiplier: float = 1.0,
    ):
        self.name = name
        self.slices = _checked_slices(name, "slices", slices)
        self.companions = _checked_slices(name, "companions", companions)
        self.multiplier = arguments.number(
            f"multiplier of group '{name}'", multiplier, least=0
        )
        if not self.slices:
            raise errors.UserError(f"group '{name}' needs at least one slice")
        sizes = {s.size for s in (*self.slices, *self.companions)}
        if len(sizes) != 1:
            raise errors.UserError(
                f"slices of group '{name}' must have one entry per unit, got "
                f"{sorted(sizes)} entries"
            )

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
        axes: dict[object, set[int]] = {}
        for s in self.slices:
            axes.setdefault(s.variable.ref(), set()).add(s.axis)
        sums = {
            reference: _sums_of_squares(values[reference], which)
            for reference, which in axes.items()
        }
        total = 0.0
        for s in self.slices:
            part = sums[s.variable.ref()][s.axis]
            part = (
                part[s.start : s.stop]
                if s.indices is None
                else tf.gather(part, s.indices)
            )
            total += part if s.multiplier == 1.0 else s.multiplier * part
        return total

    def alive(self, threshold: float = 0.0) -> tf.Tensor:
        """`[n]` bool: units whose norm is not within the threshold.

        A NaN is not: such a unit is broken, and not dead.
        """
        return not_within(threshold**2, self.squared_norms())

    def spread(
        self, per_unit: tf.Tensor, companions: bool = False
    ) -> list[tuple[tf.Variable, tf.Tensor]]:
        """Lays a number per unit over the variables.

        Args:
          per_unit: `[n]`.
          companions: also over the companions.

        Returns:
          Pairs (variable, tensor that broadcasts to its shape): zero outside
          the slice, `multiplier * per_unit[k]` on unit k's entries. The
          tensor has the variable's rank, and 1 for all axes but the slice's.
        """
        return [
            (s.variable, s.line(per_unit * s.multiplier))
            for s in self.slices + (self.companions if companions else [])
        ]

    def rebind(self, cuts: dict[object, "Cut"]) -> None:
        """Follows its variables into their smaller versions, in place."""
        self.slices = [_rebind_slice(s, cuts) for s in self.slices]
        self.companions = [_rebind_slice(s, cuts) for s in self.companions]


def not_within(limit: float, numbers: tf.Tensor) -> tf.Tensor:
    """bool: numbers above the limit, and those that are NaN.

    Not `tf.logical_not(numbers <= limit)`, which in a graph TensorFlow takes
    for `numbers > limit`.
    """
    return (numbers > limit) | tf.math.is_nan(numbers)


def check_groups(groups: Iterable[Group]) -> list[Group]:
    """A list of groups of units, as what cuts units needs them.

    Raises:
      UserError: if there is none, or something else among them.
    """
    if isinstance(groups, Group):
        raise errors.UserError(
            f"groups must be a list of Group objects, got {groups!r} alone; "
            "give [it]"
        )
    found = list(groups) if isinstance(groups, Iterable) else [groups]
    for each in found:
        if not isinstance(each, Group):
            raise errors.UserError(
                "groups must be a list of Group objects, as iss_group makes "
                f"them, got {type(each).__name__}"
            )
    if not found:
        raise errors.UserError("groups must hold at least one Group, got none")
    return found


def _length(variable: tf.Variable, axis: int) -> int:
    """Entries of an axis of a variable that is one and has such an axis."""
    if not hasattr(variable, "assign"):
        raise errors.UserError(
            "a slice must be of a variable, of a built layer, got "
            f"{type(variable).__name__}"
        )
    shape = tuple(variable.shape)
    if not (arguments.is_integer(axis) and 0 <= axis < len(shape)):
        raise errors.UserError(
            f"slice of {_keras.name(variable)} with shape {shape} has no axis {axis!r}"
        )
    return int(shape[axis])


def _checked_slices(
    name: str, what: str, slices: Iterable[Slice]
) -> list[Slice]:
    found: list = (
        list(slices)
        if isinstance(slices, Iterable) and not hasattr(slices, "assign")
        else [None]
    )
    for each in found:
        if not isinstance(each, Slice):
            raise errors.UserError(
                f"{what} of group '{name}' must be a list of Slice objects, "
                f"got {type(slices if each is None else each).__name__}"
            )
    return found


def _sums_of_squares(
    value: tf.Tensor, axes: Iterable[int]
) -> dict[int, tf.Tensor]:
    """Of the entries of each axis: sums over all other axes, by axis.

    Of a matrix in pieces whose squares stay in the cache: twice as fast as the
    squares of a large one at once, and one pass over it for both axes.
    """
    rank = value.shape.rank
    if rank != 2:
        squares = tf.square(value)
        others = {axis: [i for i in range(rank) if i != axis] for axis in axes}
        return {
            axis: tf.reduce_sum(squares, over) if over else squares
            for axis, over in others.items()
        }
    rows, columns = value.shape
    height = max(_PIECE // columns, 1)
    heights = [min(height, rows - start) for start in range(0, rows, height)]
    sums: dict[int, list] = {axis: [] for axis in axes}
    summed: list[tf.Tensor] = []
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
    masks: dict[object, list[np.ndarray]] = {}
    for group, units in zip(groups, alive):
        for s in group.slices + group.companions:
            axes = masks.setdefault(
                s.variable.ref(),
                [np.ones(length, bool) for length in s.variable.shape],
            )
            axes[s.axis][s.index] &= np.asarray(units)
    return masks


def _rebind_slice(s: Slice, cuts: dict[object, Cut]) -> Slice:
    cut = cuts.get(s.variable.ref())
    if cut is None:
        return s
    keep = cut.keep[s.axis]
    if s.indices is not None:
        places = np.cumsum(keep) - 1
        return Slice.of(
            cut.variable,
            s.axis,
            [places[i] for i in s.indices if keep[i]],
            s.multiplier,
        )
    return dataclasses.replace(
        s,
        variable=cut.variable,
        start=int(keep[: s.start].sum()),
        stop=int(keep[: s.stop].sum()),
    )
