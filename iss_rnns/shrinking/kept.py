"""What stays of a model's variables and tensors, when some units go."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.groups import find
from iss_rnns.groups import walk

Masks = Mapping[Any, Sequence[np.ndarray]]


class Kept:
    """What stays of each axis, when some units go.

    Args:
      structure: of the model.
      masks: by variables' keys, what is kept of each axis.

    Raises:
      UserError: if the masks cut some entries of a unit, but not all.
    """

    def __init__(self, structure: find.Structure, masks: Masks):
        self.structure = structure
        units = structure.units
        self._dead = np.zeros(len(units.unit_of) + 1, bool)
        for weight in units.weights:
            given = masks.get(_keras.key(weight.variable))
            for axis, ids in weight.axes.items():
                if given is None:
                    break
                self._dead[units.unit_of[ids[~given[axis]]]] = True
        self._check(masks)

    def _check(self, masks: Masks) -> None:
        units = self.structure.units
        pinned = units.pinned()
        for unit in np.flatnonzero(self._dead):
            if int(unit) in pinned:
                raise errors.UserError(
                    f"the groups cut units that cannot be cut: {pinned[unit]}"
                )
        for weight in units.weights:
            given = masks.get(_keras.key(weight.variable))
            for axis, n in enumerate(weight.shape):
                found = (
                    self.of(weight.axes[axis])
                    if axis in weight.axes
                    else np.ones(n, bool)
                )
                wanted = given[axis] if given else np.ones(n, bool)
                if not np.array_equal(found, wanted):
                    raise errors.UserError(
                        f"the groups do not say all that belongs to a unit: "
                        f"{_keras.name(weight.variable)} along axis {axis}; take them "
                        "from find_groups"
                    )
                if not found.any():
                    raise errors.UserError(
                        f"nothing would be left of {_keras.name(weight.variable)} "
                        f"along axis {axis}: all of its units are dead"
                    )

    def of(self, ids: np.ndarray) -> np.ndarray:
        """`[n]` bool: which entries stay."""
        return ~self._dead[self.structure.units.unit_of[ids]]

    def masks(self, variable) -> Optional[list[np.ndarray]]:
        """What is kept of each axis of a variable; None: of another model."""
        own = _keras.inner(variable)
        for weight in self.structure.units.weights:
            if weight.variable is own:
                return [
                    self.of(weight.axes[axis])
                    if axis in weight.axes
                    else np.ones(n, bool)
                    for axis, n in enumerate(weight.shape)
                ]
        return None

    def length(self, axis) -> int:
        """Entries that stay of an axis with units."""
        return int(self.of(axis.ids).sum())

    def shape(self, signal, shape: Sequence) -> tuple:
        """A shape, with the units that stay."""
        return tuple(
            n if axis is None else self.length(axis)
            for n, axis in zip(shape, signal.axes)
        )

    def call(self, layer) -> Optional[walk.Called]:
        """A layer's first call."""
        for call in self.structure.calls:
            if call.layer is layer:
                return call
        return None

    def size(self, variable, axis: int) -> int:
        """Entries that stay of a variable's axis."""
        masks = self.masks(variable)
        if masks is None:
            return int(variable.shape[axis])
        return int(masks[axis].sum())

    def variable_shape(self, variable) -> tuple[int, ...]:
        """A variable's shape in the smaller model."""
        masks = self.masks(variable)
        if masks is None:
            return tuple(variable.shape)
        return tuple(int(k.sum()) for k in masks)

    def changes(self, old) -> dict[int, int]:
        """Sizes of a layer's own weights, and what they become."""
        changes: dict[int, int] = {}
        for variable in _keras.own_weights(old):
            for n, keep in zip(variable.shape, self.masks(variable) or ()):
                if int(keep.sum()) != n:
                    changes[int(n)] = int(keep.sum())
        return changes
