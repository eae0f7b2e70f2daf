"""Arguments that several of the subcommands take."""

from collections.abc import Sequence
import os
from typing import Optional

from absl import flags

from iss_rnns import errors
from iss_rnns import files


def define_trust() -> None:
    """Defines `--trust`."""
    flags.DEFINE_bool(
        "trust",
        False,
        "Load a file although it holds Python code (Lambda layers) or names "
        "code of other modules, which then runs. For files of people whom "
        "you trust.",
    )


def paths(
    argv: Sequence[str], what: str, least: int = 1, most: Optional[int] = None
) -> list[str]:
    """The arguments of a command that are no flags.

    Args:
      argv: the program, then they.
      what: each of them is, for errors.
      least: how many there must be.
      most: how many there may be; None: any number.

    Raises:
      UserError: there are fewer or more.
    """
    given = list(argv[1:])
    if len(given) < least:
        raise errors.UserError(f"name {what}; --help shows how")
    if most is not None and len(given) > most:
        raise errors.UserError(
            f"name {what}, only {most}: got {' '.join(map(files.shown, given))}"
        )
    return given


def check_free(path: str, source: files.PathLike, overwrite: bool) -> None:
    """Refuses a place to write to that something else has.

    Args:
      path: that `--out` says.
      source: must not be written over, whatever else is said.
      overwrite: whether something else may.

    Raises:
      UserError: naming it.
    """
    if not os.path.lexists(path):
        return
    if os.path.exists(path) and os.path.samefile(path, source):
        raise errors.UserError(
            f"--out={files.shown(path)} is the model itself; give another name"
        )
    if not overwrite:
        raise errors.UserError(
            f"--out={files.shown(path)} exists already; give another name, or "
            "--overwrite"
        )
    if os.path.isdir(path) and not any(
        os.path.isfile(os.path.join(path, name))
        for name in ("saved_model.pb", "manifest.json")
    ):
        raise errors.UserError(
            f"--out={files.shown(path)} is a folder, but of no SavedModel: not "
            "overwritten; give another name"
        )
