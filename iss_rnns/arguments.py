"""Checks of arguments: what is meant comes back, or one line is raised."""

from collections.abc import Collection
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
    above: Optional[float] = None,
    most: Optional[float] = None,
) -> float:
    """A finite number; one of NumPy becomes Python's.

    Example:
      >>> number("keep_prob", 1.5, above=0, most=1)
      Traceback (most recent call last):
      ...
      iss_rnns.errors.UserError: keep_prob must lie in (0, 1], got 1.5

    Args:
      name: of the argument.
      value: that was given.
      least: bound that it must reach.
      below: bound that it must not reach; None is none.
      above: bound that it must pass, instead of `least`.
      most: bound that it must not pass, instead of `below`.

    Raises:
      UserError: if it is no number, not finite or out of bounds.
    """
    if (
        is_number(value)
        and value >= least
        and (above is None or value > above)
        and (below is None or value < below)
        and (most is None or value <= most)
    ):
        return float(value)
    first = f"[{least:g}" if above is None else f"({above:g}"
    wanted = "be a finite number"
    if below is not None:
        wanted = f"lie in {first}, {below:g})"
    elif most is not None:
        wanted = f"lie in {first}, {most:g}]"
    elif above is not None:
        wanted = f"be a number above {above:g}"
    elif least > -math.inf:
        wanted = f"be a number >= {least:g}"
    raise errors.UserError(f"{name} must {wanted}, got {value!r}")


def one_of(name: str, value: Any, known: Collection[str]) -> str:
    """One of some names.

    Raises:
      UserError: if it is none of them.
    """
    if value not in known:
        raise errors.UserError(
            f"{name} must be one of {', '.join(known)}, got {value!r}"
        )
    return value


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
