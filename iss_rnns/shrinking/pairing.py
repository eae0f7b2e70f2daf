"""Which variable, and which layer, became which in the smaller model."""

from typing import Any

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.shrinking import kept as kept_lib


class Pairs:
    """What became of a model's variables and layers.

    Args:
      kept: what stays.

    Attributes:
      variables: (variable, smaller one), by the former's keys.
      layers: (layer, smaller one), those inside included.
      new: the smaller layers, by the ids of those that they are made of.
    """

    def __init__(self, kept: kept_lib.Kept):
        self.kept = kept
        self.variables: dict[Any, tuple[Any, Any]] = {}
        self.layers: list[tuple[Any, Any]] = []
        self.new: dict[int, Any] = {}
        self._olds: list[Any] = []  # so that no id is given twice

    def keep(self, old, new):
        """Notes what a layer became, and gives it."""
        self.new[id(old)] = new
        self._olds.append(old)
        return new

    def state(self) -> tuple[dict, dict]:
        """What `restore` goes back to, when something was tried."""
        return dict(self.variables), dict(self.new)

    def restore(self, state: tuple[dict, dict]) -> None:
        """Forgets what was noted since `state`."""
        self.variables, self.new = state

    def pair(self, old, new) -> None:
        """Notes which variable became which, in a layer and those inside."""
        if old is new or not _keras.is_layer(old):
            return
        self._pair_weights(old, new)
        inner = self._inner_layers(old, new)
        self.layers.append((old, new))
        for one, other in inner:
            if other is not one and one.trainable != other.trainable:
                other.trainable = one.trainable
            self.pair(one, other)

    def _pair_weights(self, old, new) -> None:
        """The same of the weights that a layer holds itself."""
        ours, theirs = _keras.own_weights(old), _keras.own_weights(new)
        if len(ours) != len(theirs):
            raise errors.UserError(
                f"layer '{old.name}' has {len(ours)} weights, the smaller one "
                f"{len(theirs)}"
            )
        for one, other in zip(ours, theirs):
            known = self.variables.get(_keras.key(one))
            if known is not None and known[1] is not other:
                names = [n for n, v in vars(old).items() if v is one]
                if names:  # assigned to the layer: weights tied by hand
                    setattr(new, names[0], known[1])
                    continue
                raise errors.UserError(
                    f"{_keras.name(one)} is shared with another layer, but not in the "
                    "smaller one"
                )
            wanted = self.kept.variable_shape(one)
            if tuple(other.shape) != wanted or other.dtype != one.dtype:
                raise errors.UserError(
                    f"the smaller {_keras.name(other)} has shape "
                    f"{tuple(other.shape)}, expected {wanted}"
                )
            self.variables[_keras.key(one)] = (one, other)

    def _inner_layers(self, old, new) -> list[tuple[Any, Any]]:
        """The layers that two layers hold: those known to belong, then rest."""
        ours, theirs = (
            [c for c in _keras.children(each) if not is_input(c)]
            for each in (old, new)
        )
        if len(ours) != len(theirs):
            raise errors.UserError(
                f"layer '{old.name}' holds {len(ours)} layers, the smaller "
                f"one {len(theirs)}"
            )
        matched = []
        for one in ours:
            other = self.new.get(id(one))
            if other is None:
                continue
            if not any(other is c for c in theirs):
                raise errors.UserError(
                    f"layer '{one.name}' is shared with another layer, but "
                    "not in the smaller one"
                )
            matched.append((one, other))
        taken = {id(other) for _, other in matched}
        found = {id(one) for one, _ in matched}
        return matched + list(
            zip(
                [c for c in ours if id(c) not in found],
                [c for c in theirs if id(c) not in taken],
            )
        )

    def pair_up(self, old, new) -> None:
        """Notes the same of a whole model, and checks that nothing is left."""
        if new.trainable != old.trainable:
            new.trainable = old.trainable
        self.pair(old, new)
        variables = [
            _keras.inner(v)
            for v in old.weights
            if hasattr(v, "shape") and hasattr(v, "dtype")
        ]
        missing = [v for v in variables if _keras.key(v) not in self.variables]
        shared = {id(_keras.inner(v)) for v in new.weights}
        missing = [v for v in missing if id(v) not in shared]
        if missing or len(old.weights) != len(new.weights):
            raise errors.UserError(
                f"the smaller model has {len(new.weights)} weights, the model "
                f"{len(old.weights)}"
                + (f"; {_keras.name(missing[0])} has none" if missing else "")
            )


def is_input(layer) -> bool:
    """Whether a layer is an input of a functional model, no layer proper."""
    return isinstance(layer, tf.keras.layers.InputLayer)
