"""Units by identity: which entries of which axes stand and fall together.

Every entry of a labelled axis, of a variable or of a tensor, carries a node.
Rules of layers and operations say which nodes are the same unit; what hangs
together in the end is one unit, whose entries are cut together or not at all.

A unit is dead when all weights that write and read it are zero. What is then
left of it in a tensor is not always zero (a bias moves it); each entry knows
whether it is:

- *quiet*: exactly zero, if the biases that it `needs` are zero, too;
- *loud*: something else, for a reason that is noted.

A reader that multiplies by a weight does not care. One that does not (a sum
over units, a dot product) needs a quiet entry, and makes the biases part of
the unit; a loud one pins the unit: it cannot be cut, and the reason is told.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import math
from typing import Any, Optional

import numpy as np

from iss_rnns import _keras

NONE = -1


@dataclasses.dataclass(frozen=True)
class Axis:
    """The units along an axis of a tensor with n entries there.

    Attributes:
      ids: `[n]`: node of each entry. One node may stand in several places.
      loud: `[n]`: number of the reason why a dead unit is not zero there;
        -1 if it is zero.
      needs: `[m, n]`: nodes of biases that must be zero for it; -1 is none.
    """

    ids: np.ndarray
    loud: np.ndarray
    needs: np.ndarray

    def __len__(self):
        return len(self.ids)

    def take(self, index) -> "Axis":
        """The entries at an index, in its order."""
        return Axis(self.ids[index], self.loud[index], self.needs[:, index])

    def quiet(self) -> "Axis":
        """The same units, zero when they are dead."""
        return dataclasses.replace(
            self,
            loud=np.full(len(self), NONE),
            needs=np.zeros([0, len(self)], int),
        )


def concatenated(axes: Sequence[Axis]) -> Axis:
    """Axes one behind the other."""
    rows = max(len(a.needs) for a in axes)
    return Axis(
        np.concatenate([a.ids for a in axes]),
        np.concatenate([a.loud for a in axes]),
        np.concatenate([_padded(a.needs, rows) for a in axes], axis=1),
    )


def sum_of(axes: Sequence[Axis]) -> Axis:
    """The first's units, zero where all of the axes' entries are zero."""
    loud = axes[0].loud
    for axis in axes[1:]:
        loud = np.where(loud == NONE, axis.loud, loud)
    return Axis(axes[0].ids, loud, _joined([a.needs for a in axes]))


def product_of(axes: Sequence[Axis]) -> Axis:
    """The first's units, zero where one of the axes' entries is zero.

    Of several that are, the one that needs least counts.
    """
    order = sorted(axes, key=lambda a: len(a.needs))
    rows = max(len(a.needs) for a in axes)
    loud, needs = order[0].loud, _padded(order[0].needs, rows)
    for axis in order[1:]:
        better = (loud != NONE) & (axis.loud == NONE)
        loud = np.where(better, axis.loud, loud)
        needs = np.where(better, _padded(axis.needs, rows), needs)
    return Axis(axes[0].ids, loud, needs)


def _padded(needs: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate(
        [needs, np.full([rows - len(needs), needs.shape[1]], NONE)]
    )


def _joined(needs: Iterable[np.ndarray]) -> np.ndarray:
    rows = np.concatenate(list(needs))
    return np.unique(rows, axis=0) if len(rows) > 1 else rows


@dataclasses.dataclass(frozen=True)
class Signal:
    """What is known of a tensor.

    Attributes:
      shape: of the traced tensor, all numbers; None if its rank is unknown.
      axes: the units along each axis; None where there are none.
      weight: whether it is a variable, or part of one, and not computed.
      sizes: units whose number has become this tensor's value; of a shape,
        one of each place, None where it is another number.
      dtype: of the tensor.
      source: where it comes from, if it is no computed one.
    """

    shape: Any
    axes: tuple[Optional[Axis], ...] = ()
    weight: bool = False
    sizes: tuple[Optional[Axis], ...] = ()
    dtype: Any = None
    source: str = ""

    def __post_init__(self):
        if not self.axes and self.shape:
            object.__setattr__(self, "axes", (None,) * len(self.shape))

    @property
    def labelled(self) -> bool:
        """Whether any axis has units."""
        return any(axis is not None for axis in self.axes)

    def with_axes(self, axes: dict[int, Optional[Axis]]) -> "Signal":
        """The same with other units along some axes, counted as in NumPy."""
        found = list(self.axes)
        for i, axis in axes.items():
            found[i] = axis
        return dataclasses.replace(self, axes=tuple(found), weight=False)


@dataclasses.dataclass
class Weight:
    """A variable of the model.

    Attributes:
      variable: itself.
      owner: path of the layer that has it.
      counted: whether its entries make a unit alive; biases do not.
      axes: nodes of the entries of each axis, once a rule has asked.
    """

    variable: Any
    owner: str
    counted: bool
    axes: dict[int, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the variable."""
        return tuple(int(n) for n in self.variable.shape)


@dataclasses.dataclass(frozen=True)
class Called:
    """A call of a layer: what is known of what it took and gave."""

    layer: Any
    inputs: list[Signal]
    outputs: list[Signal]


@dataclasses.dataclass(frozen=True)
class Refused:
    """Units that cannot be cut.

    Attributes:
      layer: path of the recurrent layer.
      units: how many of its units.
      reason: what reads or writes them, and the way out.
    """

    layer: str
    units: int
    reason: str

    def __str__(self):
        return f"{self.layer}: {self.units} units: {self.reason}"


class Walk:
    """What the rules of layers and operations write into.

    A rule for a layer of one's own (`register_layer`) uses `weight`, `tie`,
    `pin` and `silence`.

    Attributes:
      weights: by the variables' keys.
      where: what is being walked, for reasons: "layer 'x'".
      paths: of the layers and cells, by their ids.
      fixed_places: whether numbers of units stand in the code that is walked
        through, so that they cannot change.
      reads: (nodes, layer's path) of readers without a weight.
      calls: of layers, in the order in which they ended.
    """

    def __init__(self, weights: Iterable[Weight], paths: dict[int, str]):
        self.paths = paths
        self.weights = {_keras.key(w.variable): w for w in weights}
        self.where = "the model"
        self.fixed_places = False
        self.reads: list[tuple[np.ndarray, str]] = []
        self.calls: list[Called] = []
        self._size = 0
        self._ties: list[tuple[np.ndarray, np.ndarray]] = []
        self._pins: list[tuple[np.ndarray, np.ndarray]] = []
        self._promoted: list[np.ndarray] = []
        self._reasons: list[str] = []
        self._units: dict[str, np.ndarray] = {}
        self._free = np.zeros(0, int)

    def record(self, layer, inputs, outputs) -> None:
        """Notes a call of a layer."""
        self.calls.append(Called(layer, inputs, outputs))

    def path(self, layer) -> str:
        """Names of the layers that lead to a layer, e.g. `encoder/lstm`."""
        return self.paths.get(id(layer), layer.name)

    # What rules ask for.

    def weight(self, variable, axis: int = -1, bias: bool = False):
        """The entries of a variable's axis.

        Args:
          variable: of the model.
          axis: counted as in NumPy.
          bias: it moves a unit, but does not make it alive.
        """
        weight = self.weights.get(_keras.key(variable))
        if weight is None:  # not tracked by the model: stays as it is
            shape = tuple(variable.shape)
            return self.fixed(
                int(shape[axis]),
                f"{self.where} has a weight that Keras "
                "does not know: make it with add_weight",
            )
        if bias:
            weight.counted = False
        axis = axis % len(weight.shape)
        if axis not in weight.axes:
            weight.axes[axis] = self.nodes(weight.shape[axis])
        ids = weight.axes[axis]
        needs = ids[:0] if weight.counted else ids
        return Axis(ids, np.full(len(ids), NONE), needs.reshape(-1, len(ids)))

    def read(self, variable) -> Signal:
        """A variable's value, all its axes labelled."""
        weight = self.weights.get(_keras.key(variable))
        shape = tuple(int(n) for n in variable.shape)
        if weight is None:
            return Signal(shape)
        axes = tuple(
            self.weight(variable, i) if n > 1 else None
            for i, n in enumerate(shape)
        )
        return Signal(shape, axes, weight=True)

    def nodes(self, count: int) -> np.ndarray:
        """New ones."""
        self._size += count
        return np.arange(self._size - count, self._size)

    def units(self, name: str, count: int) -> Axis:
        """New units of a recurrent layer; the same at each call of it."""
        if name not in self._units:
            self._units[name] = self.nodes(count)
            if count == 1:
                self.pin(self._units[name], "it has one unit only")
        ids = self._units[name]
        return Axis(ids, np.full(count, NONE), np.zeros([0, count], int))

    def free(self, count: int, reason: str = "") -> Axis:
        """New entries of equal values, whose number may change.

        Args:
          count: how many.
          reason: why they are not zero; none if they are.
        """
        ids = self.nodes(count)
        self._free = np.concatenate([self._free, ids])
        return Axis(
            ids,
            np.full(count, self._number(reason) if reason else NONE),
            np.zeros([0, count], int),
        )

    def is_free(self, axis: Axis) -> bool:
        """Whether all entries are of `free`."""
        return bool(np.isin(axis.ids, self._free).all())

    def fixed(self, count: int, reason: str) -> Axis:
        """New entries that cannot be cut."""
        ids = self.nodes(count)
        self.pin(ids, reason)
        return Axis(
            ids,
            np.full(count, self._number(reason)),
            np.zeros([0, count], int),
        )

    def tie(self, *axes: Optional[Axis], reason: str = "") -> None:
        """Entries at the same places are the same units.

        Args:
          *axes: of one length; None has no units, and pins the others.
          reason: why, if one has none.
        """
        known = [a for a in axes if a is not None]
        if len(known) < len(axes):
            self.pin(
                known,
                reason
                or f"{self.where} reads it beside something that has no units",
            )
        for axis in known[1:]:
            self._ties.append((known[0].ids, axis.ids))

    def pin(self, axes, reason: str) -> None:
        """Units that cannot be cut, and why.

        Args:
          axes: an `Axis`, a `Signal`, nodes, None, or a list of such.
          reason: told to the user; names the layer, and the way out.
        """
        number = self._number(reason)
        for ids in _ids(axes):
            self._pins.append((ids, np.full(len(ids), number)))

    def silence(self, axes: Sequence[Axis], note: bool = True) -> None:
        """A reader without a weight: what it multiplies must be zero.

        Args:
          axes: what is multiplied entry by entry, then summed; one of each
            entry's must be zero when the unit is dead.
          note: whether this is a reader to be told of.
        """
        if note:
            self.reads.append((axes[0].ids, self.where))
        quiet = [a.loud == NONE for a in axes]
        free = np.zeros(len(axes[0]), bool)
        for axis, q in zip(axes, quiet):
            free |= q & (axis.needs == NONE).all(axis=0)
        for axis, q in zip(axes, quiet):
            self._promoted.append(axis.needs[:, q & ~free].reshape(-1))
        bad = ~np.any(quiet, axis=0)
        if bad.any():
            for number in np.unique(axes[0].loud[bad]):
                at = bad & (axes[0].loud == number)
                self.pin(
                    axes[0].ids[at],
                    f"{self.where} reads it without a weight, and a dead unit "
                    f"is not zero there: {self._reasons[number]}",
                )

    def louden(self, axis: Any, reason: str) -> Any:
        """The same units, not zero any more when they are dead; None of None."""
        if axis is None:
            return None
        number = self._number(reason)
        return Axis(
            axis.ids,
            np.where(axis.loud == NONE, number, axis.loud),
            axis.needs[:0],
        )

    def _number(self, reason: str) -> int:
        if reason not in self._reasons:
            self._reasons.append(reason)
        return self._reasons.index(reason)

    # What comes out.

    def result(self) -> "Units":
        """The units, when all has been walked."""
        return Units(
            weights=list(self.weights.values()),
            unit_of=_components(self._size, self._ties),
            layers=dict(self._units),
            promoted=_unique(self._promoted),
            pins=self._pins,
            reasons=list(self._reasons),
            reads=self.reads,
        )


@dataclasses.dataclass
class Units:
    """What hangs together.

    Attributes:
      weights: of the model.
      unit_of: `[nodes]`: the unit of each node.
      layers: nodes of each recurrent layer's units, by its path.
      promoted: nodes of biases that make a unit alive.
      pins: (nodes, numbers of reasons).
      reasons: by their numbers.
      reads: see `Walk`.
    """

    weights: list[Weight]
    unit_of: np.ndarray
    layers: dict[str, np.ndarray]
    promoted: np.ndarray
    pins: list[tuple[np.ndarray, np.ndarray]]
    reasons: list[str]
    reads: list[tuple[np.ndarray, str]]

    def pinned(self) -> dict[int, str]:
        """Reasons of the units that cannot be cut; the first of each."""
        result: dict[int, str] = {}
        for ids, numbers in self.pins:
            for unit, number in zip(self.unit_of[ids], numbers):
                result.setdefault(int(unit), self.reasons[number])
        return result


def _ids(axes) -> Iterable[np.ndarray]:
    if axes is None:
        return
    if isinstance(axes, Axis):
        yield axes.ids
    elif isinstance(axes, Signal):
        for axis in axes.axes:
            yield from _ids(axis)
        for axis in axes.sizes:
            yield from _ids(axis)
    elif isinstance(axes, np.ndarray):
        yield axes
    else:
        for axis in axes:
            yield from _ids(axis)


def _unique(arrays: Sequence[np.ndarray]) -> np.ndarray:
    found = np.unique(np.concatenate([np.zeros(0, int), *arrays]))
    return found[found != NONE]


def _components(size: int, ties) -> np.ndarray:
    """`[size]`: the smallest node that each node hangs together with."""
    root = np.arange(size)
    if not ties:
        return root
    a = np.concatenate([a for a, _ in ties])
    b = np.concatenate([b for _, b in ties])
    for _ in range(2 * math.ceil(math.log2(size + 1)) + size):
        low = np.minimum(root[a], root[b])
        before = root.copy()
        np.minimum.at(root, root[a], low)
        np.minimum.at(root, root[b], low)
        root = root[root]
        if (root == before).all():
            break
    return root
