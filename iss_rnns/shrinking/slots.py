"""An optimizer that goes on with smaller variables."""

from iss_rnns import _keras
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
    owners = _keras.build_slots(small, [c.variable for c in cuts.values()])
    if _keras.is_variable(small.learning_rate):  # not a schedule
        small.learning_rate.assign(optimizer.learning_rate)
    keeps = {_keras.key(c.variable): c.keep for c in cuts.values()}
    for old, new, owner in zip(optimizer.variables, small.variables, owners):
        new.assign(
            old
            if owner is None
            else cutting.take(old.numpy(), keeps[_keras.key(owner)])
        )
    return small
