"""The authors' JSON files: reading them, and checking what they hold."""

from collections.abc import Mapping, Sequence
import json
import math
import reprlib
from typing import Any

from iss_rnns import errors


def read(path: str, what: str) -> Any:
    """The contents of a JSON file.

    Args:
      path: of the file.
      what: plural that names it in errors, e.g. "settings".

    Raises:
      UserError: if it cannot be read or is not JSON, with the place, or if
        an object has a key twice.
    """

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise errors.UserError(
                    f"{what} {path} have the key {key!r} twice in one object;"
                    " name it once"
                )
            found[key] = value
        return found

    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file, object_pairs_hook=checked)
    except errors.UserError:
        raise
    except OSError as error:
        raise errors.UserError(
            f"cannot read {what} {path}: {error.strerror}"
        ) from None
    except UnicodeDecodeError as error:
        raise errors.UserError(
            f"{what} {path} are not UTF-8 (byte {error.start})"
        ) from None
    except RecursionError:
        raise errors.UserError(
            f"{what} {path} are nested too deeply; expected the authors' form"
        ) from None
    except json.JSONDecodeError as error:
        raise errors.UserError(
            f"{what} {path} are not JSON: line {error.lineno}, column "
            f"{error.colno}: {error.msg}"
        ) from None
    except ValueError:  # Python's limit on the digits of an integer
        raise errors.UserError(
            f"{what} {path} hold a number of too many digits; expected "
            "numbers of the usual size"
        ) from None


def check_keys(
    data: Mapping, known: Sequence[str], source: str, where: str = ""
) -> None:
    """Raises UserError on a key that is not among the known ones."""
    for key in data:
        if key not in known:
            place = f" in '{where}'" if where else ""
            raise errors.UserError(
                f"{source}: unknown key '{key}'{place}; "
                f"known: {', '.join(known)}"
            )


def number(value: Any, source: str, key: str) -> float:
    """A number >= 0 that is finite, or UserError naming file and key."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise errors.UserError(
            f"{source}: '{key}' must be a number, got {value!r}"
        )
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond floating point
        finite = False
    if not finite or value < 0:
        raise errors.UserError(
            f"{source}: '{key}' must be >= 0 and finite, got "
            f"{reprlib.repr(value)}"
        )
    return value
