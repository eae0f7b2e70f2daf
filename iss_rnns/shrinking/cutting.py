"""A smaller model that holds what is left of another's weights."""

from collections.abc import Iterable, Sequence
import re
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import groups as groups_lib


def check_alive(
    groups: Sequence[groups_lib.Group],
    alive: Optional[Sequence[np.ndarray]] = None,
    when: str = "",
) -> None:
    """Refuses a layer that lost every unit.

    Args:
      groups: the layers.
      alive: see `shrink`.
      when: it did, e.g. "at step 3".

    Raises:
      UserError: naming the layer.
      BrokenWeightsError: see `finite_norms`.
    """
    for group, units in zip(groups, living_units(groups, alive)):
        if not np.any(units):
            raise errors.UserError(
                f"layer '{group.name}' lost all of its {group.size} units"
                f"{when and ' '}{when}; the penalty is too strong for it: "
                "lower the penalty's strength or the multiplier of "
                f"'{group.name}', or prune less, and train again",
                argument="strength",
            )


def finite_norms(group: groups_lib.Group) -> np.ndarray:
    """`[n]`: the norm of each unit.

    Raises:
      BrokenWeightsError: if one is NaN or infinite: such a unit is neither
        dead nor alive. Names the layer, and how many.
    """
    norms = np.sqrt(group.squared_norms().numpy())
    broken = int(np.count_nonzero(~np.isfinite(norms)))
    if broken:
        raise errors.BrokenWeightsError(
            f"{broken} of the {group.size} units of layer '{group.name}' have "
            "weights that are NaN or infinite, since training broke; go back "
            "to weights of before that"
        )
    return norms


def check_layers(
    groups: groups_lib.Groups, alive: Sequence[np.ndarray]
) -> None:
    """The same of groups of which several may be one layer's.

    Raises:
      UserError: naming the layer.
    """
    stay = {each.layer: each.units for each in groups.refused}
    for paths, units in zip(groups.layers, alive):
        for path in paths:
            stay[path] = stay.get(path, 0) + int(np.sum(units))
    for group, paths, units in zip(groups, groups.layers, alive):
        if not all(stay[path] for path in paths):
            check_alive([group], [units])


def living_units(
    groups: Sequence[groups_lib.Group],
    alive: Optional[Sequence[np.ndarray]] = None,
) -> list[np.ndarray]:
    """One `[n]` bool array per group: those given, else what is not zero.

    Raises:
      UserError: if what is given does not fit the groups.
      BrokenWeightsError: see `finite_norms`.
    """
    norms = [finite_norms(group) for group in groups]
    if alive is None:
        return [norm > 0 for norm in norms]
    alive = [np.asarray(units) for units in alive]
    wanted = [(group.size,) for group in groups]
    if [units.shape for units in alive] != wanted or any(
        units.dtype != bool for units in alive
    ):
        raise errors.UserError(
            f"alive must be bool arrays with shapes {wanted}, one per group, "
            f"got {[f'{units.dtype}{units.shape}' for units in alive]}"
        )
    return alive


def cut(
    net, groups: Sequence[groups_lib.Group], alive: Sequence[np.ndarray]
) -> tuple[Any, dict[object, groups_lib.Cut]]:
    """The smaller net, and what was kept of each of the net's variables.

    All of them: trained weights, frozen ones, statistics.

    Args:
      net: see `shrink`.
      groups: the layers to cut.
      alive: one `[n]` bool array per group.

    Returns:
      (the smaller net, variable.ref() -> `Cut`, in the order of
      `net.variables`).

    Raises:
      UserError: if a layer has no unit left, or the smaller net has other
        variables than what is left of the net's.
      BrokenWeightsError: see `finite_norms`.
    """
    check_alive(groups, alive)
    if not hasattr(net, "resized"):
        raise errors.UserError(
            f"{type(net).__name__} cannot be shrunk: it has no method "
            "resized(sizes), which gives an equal model with other sizes of "
            "the named groups"
        )
    masks = groups_lib.keep_masks(groups, alive)
    known = {v.ref() for v in _keras.variables(net)}
    variables = [s.variable for g in groups for s in g.slices + g.companions]
    for variable in variables:
        if variable.ref() not in known:
            raise errors.UserError(
                f"{_keras.name(variable)}, which the groups cut, is no "
                "variable of the model: give the groups of its present weights"
            )
    small = net.resized({g.name: int(np.sum(a)) for g, a in zip(groups, alive)})
    cuts = {}
    for old, new in _pairs(_keras.variables(net), _keras.variables(small)):
        keep = masks.get(old.ref(), [np.ones(n, bool) for n in old.shape])
        value = take(old.numpy(), keep)
        if value.shape != tuple(new.shape) or old.dtype != new.dtype:
            raise errors.UserError(
                f"the smaller model's {_keras.name(new)} is {new.dtype.name} of shape "
                f"{tuple(new.shape)}, but {old.dtype.name} of shape "
                f"{value.shape} is left of {_keras.name(old)}"
            )
        new.assign(value)
        cuts[old.ref()] = groups_lib.Cut(new, tuple(keep))
    return small, cuts


def take(array: np.ndarray, keep: Sequence[np.ndarray]) -> np.ndarray:
    """What is kept of each axis of an array."""
    return array[np.ix_(*keep)] if keep else array


def _pairs(
    variables: Iterable[tf.Variable], others: Iterable[tf.Variable]
) -> list[tuple[tf.Variable, tf.Variable]]:
    """The variables of two models that have the same name.

    Of several with one name, in order. Numbers that Keras gives to names that
    it has seen before do not count, unless the two models agree on them.
    """
    variables, others = list(variables), list(others)
    for spell in (
        _keras.name,
        lambda v: re.sub(r"_\d+(?=/|$)", "", _keras.name(v)),
    ):
        places: dict[str, list[tf.Variable]] = {}
        for other in others:
            places.setdefault(spell(other), []).append(other)
        pairs = [
            (v, places[spell(v)].pop(0))
            for v in variables
            if places.get(spell(v))
        ]
        if len(pairs) == len(variables) == len(others):
            return pairs
    paired = {v.ref() for v, _ in pairs}
    alone = [_keras.name(v) for v in variables if v.ref() not in paired]
    alone += [_keras.name(v) for left in places.values() for v in left]
    raise errors.UserError(
        f"the smaller model has {len(others)} variables, the model "
        f"{len(variables)}; without a counterpart: {', '.join(alone[:3])}"
        f"{', ...' if alone[3:] else ''}"
    )
