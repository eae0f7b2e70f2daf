"""Files of flags, a line each.

absl reads such files, too, but takes a byte order mark for a part of the
first line, and ends with a traceback on what is not UTF-8.
"""

import os

from iss_rnns import files


def read(path: str) -> list[str]:
    """The lines of a file, without blank ones and comments (`#`, `//`).

    Raises:
      UserError: it cannot be read.
    """
    text = files.read_text(os.path.expanduser(path), "flags")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [
        line.strip()
        for line in lines
        if line.strip() and not line.startswith(("#", "//"))
    ]
