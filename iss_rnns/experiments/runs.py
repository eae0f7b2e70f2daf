"""The folder of a run: what stands in it, and going on from there."""

from collections.abc import Iterator, Sequence
import contextlib
import os
import pathlib
import re
import reprlib
import time
from typing import Optional

from iss_rnns import errors
from iss_rnns import files
from iss_rnns import paths
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import locking
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import states

# Version 1.0.0 wrote the weights of the epoch that validated best apart.
BEST = "best.npz"

MAX_NAME_BYTES = 255  # of a folder's name, on the usual file systems

_PROBE = ".writable"

# What is written beside its place and then moved there, see `files`.
_UNFINISHED = re.compile(r"\..+\.(partial|replaced)|\.writable")


class RunDirectory:
    """The folder of one run: flags, checkpoints, metrics, models, report.

    While the object lives, no other process gets one of the same folder:
    see `locking.lock`. Reading what stands in it needs none.

    Args:
      save_path: folder that holds runs.
      name: of the run; None means the time of day.
      resume: go on with an existing run.
      overwrite: remove what an existing run left.
      keep: paths that `overwrite` must not remove; None among them is none.
      writes: whether this process writes the run; else it is another's, and
        nothing of it is touched.

    Raises:
      UserError: if the name is none of a folder, if TensorFlow cannot read
        from there, if the folder is not empty and neither `resume` nor
        `overwrite` is given, if there is nothing to resume or its records
        are damaged, if `overwrite` would remove what is no run or is to be
        kept, if another process is at it, or if it cannot be read or
        written. Nothing is touched then.
    """

    def __init__(
        self,
        save_path: str,
        name: Optional[str] = None,
        resume: bool = False,
        overwrite: bool = False,
        keep: Sequence[Optional[str]] = (),
        writes: bool = True,
    ):
        if resume and overwrite:
            raise errors.UserError(
                "--resume and --overwrite exclude each other: give one of them"
            )
        name = name or time.strftime("%Y-%m-%d___%H-%M-%S")
        paths.check_text(os.fspath(save_path), "--save_path")
        self.path = pathlib.Path(save_path) / _checked_name(name)
        paths.check_for_tensorflow(self.path)
        self._aside = self.path.with_name(f".{self.path.name}.replaced")
        self.writes = writes
        if not writes:
            return
        self._check(resume, overwrite, keep)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = locking.lock(self.path)
            # Until now, another process may have been at it.
            self._check(resume, overwrite, keep)
            self._remove_leftovers()
            with self._emptied() if overwrite else contextlib.nullcontext():
                self.checkpoints.mkdir(exist_ok=True)
                probe = self.path / _PROBE
                probe.write_text("")
                probe.unlink()
        except OSError as error:
            raise errors.UserError(
                f"cannot write to run directory {self.path}: "
                f"{errors.reason(error)}; choose another --save_path"
            ) from None

    def _check(
        self, resume: bool, overwrite: bool, keep: Sequence[Optional[str]]
    ) -> None:
        """Refuses what must not be done; writes nothing."""
        occupied = bool(self._contents())
        if resume and not self.checkpoint_steps():
            raise errors.UserError(
                f"nothing to resume: {self.checkpoints} holds no checkpoint; "
                f"{self._others()}give the --save_path and --run_name of the "
                "run that was interrupted, or start anew with --overwrite"
            )
        if occupied and not resume and not self.holds_run():
            raise errors.UserError(
                f"folder {self.path} is not empty and holds no run (neither "
                "flags.txt nor checkpoints), so nothing in it is replaced; "
                "choose another --run_name"
            )
        if occupied and not (resume or overwrite):
            raise errors.UserError(
                f"run directory {self.path} is not empty; continue it with "
                "--resume, replace it with --overwrite, or choose another "
                "--run_name"
            )
        for kept in filter(None, keep if overwrite else ()):
            path = pathlib.Path(kept).resolve()
            if self.path.resolve() in (path, *path.parents):
                raise errors.UserError(
                    f"--overwrite would remove {path}, which this run reads; "
                    "choose another --run_name"
                )
        if resume:  # What the report is made of, when training is over.
            for file, read in (
                ("metrics.csv", metrics_lib.Metrics.read),
                ("cuts.json", states.read_cuts),
            ):
                if (self.path / file).exists():
                    read(self.path / file)

    def _others(self) -> str:
        """Runs beside this one that could be resumed, for a message."""
        folder = self.path.parent
        found = [
            name
            for name in sorted(checkpoints_lib.names_in(folder))
            if name != self.path.name
            and checkpoints_lib.checkpoint_steps(folder / name / "checkpoints")
        ]
        if not found:
            return ""
        more = ", ..." if len(found) > 5 else ""
        return f"{folder} has {', '.join(found[:5])}{more}; "

    def _contents(self) -> list[str]:
        """Names of what a run left in the folder."""
        return [
            name
            for name in checkpoints_lib.names_in(self.path)
            if name not in (locking.FILE, _PROBE)
        ]

    def _remove_leftovers(self) -> None:
        """Removes what a run that was killed had begun to write."""
        files.remove(self._aside)
        for folder, folders, names in os.walk(self.path):
            for name in [*folders, *names]:
                if _UNFINISHED.fullmatch(name):
                    files.remove(pathlib.Path(folder, name))
            folders[:] = [
                name for name in folders if not _UNFINISHED.fullmatch(name)
            ]
        checkpoints_lib.remove_incomplete(self.checkpoints)

    @contextlib.contextmanager
    def _emptied(self) -> Iterator[None]:
        """Sets aside what the folder holds: to be removed, or brought back.

        The folder itself, and the lock in it, stay.
        """
        if not self._contents():
            yield
            return
        self._aside.mkdir()
        moved = []
        try:
            # Killed in between, it is still a run, though not to be resumed.
            for name in sorted(
                self._contents(),
                key=lambda name: (name == "flags.txt", name != "checkpoints"),
            ):
                os.replace(self.path / name, self._aside / name)
                moved.append(name)
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                self.checkpoints.rmdir()  # the new one
            for name in moved:
                os.replace(self._aside / name, self.path / name)
            self._aside.rmdir()
            raise
        files.remove(self._aside)

    def begin(self) -> None:
        """Training begins, or goes on: where a report stands, it is over."""
        if self.writes:
            (self.path / "report.json").unlink(missing_ok=True)

    def holds_run(self) -> bool:
        """Whether it is one that a program of this project made."""
        return bool({"flags.txt", "checkpoints"}.intersection(self._contents()))

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the training checkpoints."""
        return self.path / "checkpoints"

    def checkpoint_steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return checkpoints_lib.checkpoint_steps(self.checkpoints)

    def write_text(self, name: str, text: str) -> None:
        """Writes a file whole or not at all, if the run is this process's."""
        if self.writes:
            files.write_text(self.path / name, text)


def _checked_name(name: str) -> str:
    paths.check_text(name, "a run's name")
    if (
        name in (".", "..")
        or set(name) & {"/", os.sep}
        or len(os.fsencode(name)) > MAX_NAME_BYTES
    ):
        raise errors.UserError(
            "a run's name is that of one folder below --save_path, without "
            f"{os.sep} and of at most {MAX_NAME_BYTES} bytes; got "
            f"{reprlib.repr(name)}"
        )
    return name
