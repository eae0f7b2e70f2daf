"""Files of flags, a line each.

absl reads such files, too, but takes a byte order mark for a part of the
first line, and ends with a traceback on what is not UTF-8.
"""

import os
import pathlib
import re
from typing import Optional

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import shipped

OF_RUN = "flags.txt"  # in a run's folder
# What says where that is, in names of older versions, too.
_PLACE = ("--save_path=", "--run_name=", "--out_base_dir=", "--run_id=")


def find(path: str, package: Optional[str]) -> str:
    """Where a flag file is: see `shipped.find`.

    Args:
      path: as the user names it.
      package: the program's.
    """
    return shipped.find(path, package, "flags", ".flags")


def read(path: str) -> list[str]:
    """The lines of a file, without blank ones and comments (`#`, `//`).

    Where a run keeps its flags, the run is the one that they lie in.

    Raises:
      UserError: it cannot be read.
    """
    path = os.path.expanduser(path)
    text = files.read_text(path, "flags")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _of_place(
        pathlib.Path(path),
        [
            line.strip()
            for line in lines
            if line.strip() and not line.startswith(("#", "//"))
        ],
    )


def heading(module: str) -> str:
    """First line of a run's flags: which program's run it is."""
    return f"# A run of python -m {module}\n"


def check_program(folder: files.PathLike, module: str) -> None:
    """Refuses another program's run.

    Args:
      folder: of a run; others, and runs of version 1.0.0, say nothing.
      module: of the program that is to read it.

    Raises:
      UserError: naming both.
    """
    path = pathlib.Path(folder) / OF_RUN
    found: Optional[re.Match] = None
    if path.is_file():
        found = re.match(
            re.escape(heading("")[:-1]) + r"(\S+)",
            files.read_text(path, "flags"),
        )
    if found and found[1] != module:
        raise errors.UserError(
            f"{files.shown(folder)} is a run of {found[1]}, not of {module}: "
            f"use python -m {found[1]}, or give a run of this program"
        )


def _of_place(path: pathlib.Path, lines: list[str]) -> list[str]:
    """The flags that a run has on record are those of the run they lie in.

    It may have been copied or moved since they were written.
    """
    folder = path.parent
    if path.name != OF_RUN or not (folder / "checkpoints").is_dir():
        return lines
    if folder.name in ("", ".."):
        folder = folder.resolve()
    return [
        *(line for line in lines if not line.startswith(_PLACE)),
        f"--save_path={folder.parent}",
        f"--run_name={folder.name}",
    ]
