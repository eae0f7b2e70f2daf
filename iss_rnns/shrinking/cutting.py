"""From a model with dead units to a smaller one with the same outputs."""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from iss_rnns import errors
from iss_rnns import groups as groups_lib


def check_alive(
    groups: Sequence[groups_lib.Group],
    alive: Optional[Sequence[np.ndarray]] = None,
) -> None:
    """Refuses a layer that lost every unit.

    Args:
      groups: the layers.
      alive: see `shrink`.

    Raises:
      UserError: naming the layer.
    """
    if alive is None:
        alive = [g.alive().numpy() for g in groups]
    for group, units in zip(groups, alive):
        if not np.any(units):
            raise errors.UserError(
                f"layer '{group.name}' lost all of its {group.size} units; "
                "the penalty is too strong for it: lower its strength "
                "(global_decay, structure_wd) or the multiplier of "
                f"'{group.name}', or prune less, and train again"
            )


def cut(
    net, groups: Sequence[groups_lib.Group], alive: Sequence[np.ndarray]
) -> tuple[object, dict[object, groups_lib.Cut]]:
    """The smaller net, and what was kept of each of the net's variables.

    Raises:
      UserError: if a layer has no unit left.
    """
    check_alive(groups, alive)
    masks = groups_lib.keep_masks(groups, alive)
    small = net.resized({g.name: int(np.sum(a)) for g, a in zip(groups, alive)})
    cuts = {}
    for old, new in zip(net.trainable_variables, small.trainable_variables):
        keep = masks.get(old.ref()) or [np.ones(n, bool) for n in old.shape]
        new.assign(take(old.numpy(), keep))
        cuts[old.ref()] = groups_lib.Cut(new, tuple(keep))
    return small, cuts


def take(array: np.ndarray, keep: Sequence[np.ndarray]) -> np.ndarray:
    """The kept rows and columns of an array."""
    return array[np.ix_(*keep)]
