"""What the callbacks are given, checked in their constructors.

A sequence that can be read once only, or a single thing in a sequence's
place, would do nothing later, without a word.
"""

from collections.abc import Sequence
from typing import Any, Union

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors


def one_replica(model: tf.keras.Model) -> None:
    """Refuses a model that trains on several replicas.

    Raises:
      UserError: if it does; naming what to do instead.
    """
    count = _keras.replicas(model)
    if count > 1:
        raise errors.UserError(
            f"units cannot be cut while a model trains on {count} replicas: "
            "train it with model.fit and the same callbacks, and cut it with "
            "iss_rnns.shrink when training is over"
        )


def groups(given: Any) -> list:
    """A list of groups, units' or blocks'; a list stays the same object.

    Shrinking may replace what it holds.

    Raises:
      UserError: if it is a single group, or holds something else.
    """
    if hasattr(given, "squared_norms"):
        raise errors.UserError(
            f"groups must be a list of groups, got {given!r} alone; give [it]"
        )
    found = given if isinstance(given, list) else list(given)
    for each in found:
        if not hasattr(each, "squared_norms"):
            raise errors.UserError(
                "groups must be a list of Group or BlockGrid objects, got "
                f"{type(each).__name__}"
            )
    return found


def variables(given: Any) -> list[tf.Variable]:
    """A list of variables.

    Raises:
      UserError: if it is a single one, or holds something else.
    """
    if _keras.is_variable(given):
        raise errors.UserError(
            f"variables must be a list, got {_keras.name(given)} alone; give [it]"
        )
    found = [_keras.inner(each) for each in given]
    for each in found:
        if not _keras.is_variable(each):
            raise errors.UserError(
                "variables must be a list of variables, such as layers' "
                f"kernels, got {type(each).__name__}"
            )
    return found


def names(given: Union[str, Sequence[str]]) -> tuple[str, ...]:
    """Names; a single one is one, not its letters."""
    return (given,) if isinstance(given, str) else tuple(given)


def block_size(given: Sequence[int]) -> tuple[int, int]:
    """(height, width); what they must be, the grid of blocks checks.

    Raises:
      UserError: if there are not two.
    """
    if not isinstance(given, Sequence) or len(given) != 2:
        raise errors.UserError(
            f"block_size must be (height, width), got {given!r}"
        )
    height, width = given
    return height, width
