"""Checks of arguments: what is meant comes back, or one line is raised."""

import math
import numbers
from typing import Any, Optional

from iss_rnns import errors


def integer(name: str, value: Any, least: int) -> int:
    """A whole number; one of NumPy becomes Python's.

    Example:
      >>> import numpy as np
      >>> integer("units", np.int64(4), least=1)
      4

    Args:
      name: of the argument.
      value: that was given.
      least: bound that it must reach.

    Raises:
      UserError: if it is no whole number, or below `least`.
    """
    if not (is_integer(value) and value >= least):
        raise errors.UserError(
            f"{name} must be a whole number of at least {least}, got {value!r}"
        )
    return int(value)


def number(
    name: str,
    value: Any,
    least: float = -math.inf,
    below: Optional[float] = None,
) -> float:
    """A finite number; one of NumPy becomes Python's.

    Args:
      name: of the argument.
      value: that was given.
      least: bound that it must reach.
      below: bound that it must not reach; None is none.

    Raises:
      UserError: if it is no number, not finite or out of bounds.
    """
    if is_number(value) and value >= least and (below is None or value < below):
        return float(value)
    wanted = "be a finite number"
    if below is not None:
        wanted = f"lie in [{least:g}, {below:g})"
    elif least > -math.inf:
        wanted = f"be a number >= {least:g}"
    raise errors.UserError(f"{name} must {wanted}, got {value!r}")


def is_integer(value: Any) -> bool:
    """Whether a value is a whole number, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite real number, and no bool."""
    return (
        isinstance(value, numbers.Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
