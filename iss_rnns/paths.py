"""What a path may look like where this project, or TensorFlow, uses it."""

import os
import re
from typing import Union
import unicodedata

from iss_rnns import errors

# Characters that end a line in a file of flags, or move a terminal's cursor;
# surrogates are what Python makes of bytes that are not UTF-8.
_CONTROL = ("Cc", "Zl", "Zp")
_NOT_TEXT = "Cs"


def check_text(text: str, what: str) -> None:
    """Refuses a name or path that cannot stand on a line of a text file.

    Args:
      text: to look at.
      what: it is, for errors.

    Raises:
      UserError: on control characters, and on what is not UTF-8.
    """
    for character in text:
        category = unicodedata.category(character)
        if category == _NOT_TEXT:
            wrong = "is not UTF-8"
        elif category in _CONTROL:
            wrong = f"holds the control character {character!r}"
        else:
            continue
        raise errors.UserError(
            f"{what} {wrong}: {_short(text)}; expected printable characters, "
            "in UTF-8"
        )


def check_for_tensorflow(path: Union[str, os.PathLike]) -> None:
    r"""Refuses a path that TensorFlow writes to, but cannot read from.

    Its readers of checkpoints and SavedModels take `[` and `\` for parts of
    a pattern, which does not match the path itself; they cannot be escaped.
    A relative path counts as it is given.

    Raises:
      UserError: naming the character.
    """
    path = os.fspath(path)
    found = set(re.findall(r"[\[\\]", path)) - {os.sep}
    if found:
        raise errors.UserError(
            f"TensorFlow cannot read from {path}: it takes "
            f"{' and '.join(sorted(found))} for a pattern; give a path "
            "without, e.g. by renaming the folder, or by a symbolic link to it"
        )


def _short(text: str, most: int = 80) -> str:
    text = repr(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."
