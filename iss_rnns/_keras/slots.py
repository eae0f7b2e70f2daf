"""Whose slots an optimizer's variables are."""

from collections.abc import Hashable, Iterator, Sequence
import contextlib
import functools
from typing import Optional

import tensorflow as tf

from iss_rnns._keras import attributes
from iss_rnns._keras import optimizers
from iss_rnns._keras import version
from iss_rnns._keras import weights

# What `add_variable_from_reference` calls the variable that a slot is of.
_OWNER = "model_variable" if version.VERSION == 2 else "reference_variable"


def mark_built(optimizer) -> None:
    """Notes that an optimizer has made its variables."""
    if version.VERSION == 2:
        optimizer._built = True
    else:
        optimizer.built = True


def build_slots(
    optimizer, variables: Sequence[tf.Variable]
) -> list[Optional[tf.Variable]]:
    """Builds an optimizer, and says whose slots its variables are.

    Args:
      optimizer: not built yet.
      variables: what it will update.

    Returns:
      For each of `optimizer.variables` the one that it belongs to; None of
      the step's number, the learning rate and the like.
    """
    owners: dict[Hashable, tf.Variable] = {}
    with _recorded_slots(optimizers.inner_optimizer(optimizer), owners):
        optimizer.build(variables)
    return [owners.get(weights.key(each)) for each in optimizer.variables]


@contextlib.contextmanager
def _recorded_slots(optimizer, owners) -> Iterator[None]:
    add = optimizer.add_variable_from_reference

    @functools.wraps(add)
    def recorded(*args, **kwargs):
        owner = args[0] if args else kwargs[_OWNER]
        slot = add(*args, **kwargs)
        owners[weights.key(slot)] = weights.inner(owner)
        return slot

    restore = attributes.replace(
        optimizer, "add_variable_from_reference", recorded
    )
    try:
        yield
    finally:
        restore()
