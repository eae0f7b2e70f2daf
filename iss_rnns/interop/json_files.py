"""Checks of what the authors' JSON files hold; `files.read_json` reads them."""

from collections.abc import Mapping, Sequence
import reprlib
from typing import Any

import numpy as np

from iss_rnns import errors

_LARGEST = float(np.finfo(np.float32).max)


def check_keys(
    data: Mapping, known: Sequence[str], source: str, where: str = ""
) -> None:
    """Raises UserError on a key that is not among the known ones."""
    for key in data:
        if key not in known:
            place = f" in {where!r}" if where else ""
            raise errors.UserError(
                f"{source}: unknown key {key!r}{place}; "
                f"known: {', '.join(known)}"
            )


def number(value: Any, source: str, key: str) -> float:
    """A number >= 0 that float32 can hold, or UserError naming file and key."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise errors.UserError(
            f"{source}: {key!r} must be a number, got {reprlib.repr(value)}"
        )
    # What is computed with is float32, which ends long before Python's numbers.
    if not 0 <= value <= _LARGEST:
        raise errors.UserError(
            f"{source}: {key!r} must be >= 0 and finite in float32, got "
            f"{reprlib.repr(value)}"
        )
    return value
