"""An optimizer that goes on with smaller variables."""

import collections
from typing import Optional

import tensorflow as tf

from iss_rnns import groups as groups_lib
from iss_rnns.shrinking import cutting


def resized_optimizer(optimizer, cuts: dict[object, groups_lib.Cut]):
    """A new optimizer for the smaller variables, its slots cut alike.

    Args:
      optimizer: a Keras optimizer (not a legacy one), built.
      cuts: old variable.ref() -> `Cut`, in the order that it was built in.

    Returns:
      The optimizer, with the same hyper-parameters, step and slot values.
    """
    small = type(optimizer).from_config(optimizer.get_config())
    small.build([cut.variable for cut in cuts.values()])
    if isinstance(small.learning_rate, tf.Variable):  # not a schedule
        small.learning_rate.assign(optimizer.learning_rate)
    owners: dict[str, list[groups_lib.Cut]] = {}
    for reference, cut in cuts.items():
        owners.setdefault(reference.deref().name, []).append(cut)
    seen = collections.Counter()
    for old, new in zip(optimizer.variables, small.variables):
        owner = _owner(old.name, owners, seen[old.name])
        seen[old.name] += 1
        new.assign(
            old if owner is None else cutting.take(old.numpy(), owner.keep)
        )
    return small


def _owner(
    slot_name: str, owners: dict[str, list[groups_lib.Cut]], number: int
) -> Optional[groups_lib.Cut]:
    """The cut of the variable whose name a slot's name ends with.

    Args:
      slot_name: of the optimizer's variable.
      owners: cuts of all variables by name; several may share one.
      number: of the slots of this name before it, which belong to the
        variables of the same name before it.
    """
    matches = [
        name
        for name in owners
        if slot_name == name or slot_name.endswith("/" + name)
    ]
    return owners[max(matches, key=len)][number] if matches else None
