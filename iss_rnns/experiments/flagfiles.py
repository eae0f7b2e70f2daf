"""Flags out of files, put into the command line before absl parses it.

absl reads such files, too, but takes a byte order mark for a part of the
first line, and ends with a traceback on what is not UTF-8.
"""

from collections.abc import Sequence
import os

from iss_rnns import errors
from iss_rnns import files

_NAMES = ("--flagfile", "-flagfile")


def expand(argv: Sequence[str]) -> list[str]:
    """A command line with the lines of its flagfiles in their places.

    As in absl: a file may name further ones, blank lines and comments (`#`,
    `//`) are left out, nothing is looked at behind `--`.

    Args:
      argv: with `--flagfile=FILE` or `--flagfile FILE` anywhere.

    Raises:
      UserError: a file cannot be read, or includes itself.
    """
    result, rest = [], list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*result, argument, *rest]
        name, given, path = argument.partition("=")
        if name not in _NAMES:
            result.append(argument)
            continue
        if not given:
            if not rest:
                raise errors.UserError(
                    f"{name} has no value; give the file, as {name}=FILE"
                )
            path = rest.pop(0)
        result += _lines(path, ())
    return result


def _lines(path: str, above: tuple[str, ...]) -> list[str]:
    """Flags of a file; `above` are the files that led to it."""
    path = os.path.expanduser(path.strip())
    if not path:
        return []
    if path in above:
        raise errors.UserError(
            f"flags {files.shown(path)} include themselves; take the "
            "--flagfile out that leads back to them"
        )
    result = []
    text = files.read_text(path, "flags")
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition("=")
        if name in _NAMES:
            result += _lines(value, (*above, path))
        elif line.strip() and not line.startswith(("#", "//")):
            result.append(line.strip())
    return result
