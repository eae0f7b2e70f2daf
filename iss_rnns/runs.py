"""The folder of a run: what stands in it, and going on from there."""

from collections.abc import Sequence
import csv
import json
import os
import pathlib
import re
import reprlib
import shutil
import time
from typing import Optional

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import report
from iss_rnns.interop import tf1

# Weights of the epoch that validated best, where a task asks for them.
BEST = "best.npz"

MAX_NAME_BYTES = 255  # of a folder's name, on the usual file systems


class RunDirectory:
    """The folder of one run: flags, checkpoints, metrics, models, report.

    Args:
      save_path: folder that holds runs.
      name: of the run; None means the time of day.
      resume: go on with an existing run.
      overwrite: remove what an existing run left.
      keep: paths that `overwrite` must not remove; None among them is none.

    Raises:
      UserError: if the name is none of a folder, if the folder is not empty
        and neither `resume` nor `overwrite` is given, if there is nothing to
        resume, if `overwrite` would remove what is no run or is to be kept,
        or if it cannot be read or written. Nothing is touched then.
    """

    def __init__(
        self,
        save_path: str,
        name: Optional[str] = None,
        resume: bool = False,
        overwrite: bool = False,
        keep: Sequence[Optional[str]] = (),
    ):
        if resume and overwrite:
            raise errors.UserError(
                "--resume and --overwrite exclude each other: give one of them"
            )
        name = name or time.strftime("%Y-%m-%d___%H-%M-%S")
        self.path = pathlib.Path(save_path) / _checked_name(name)
        occupied = bool(names_in(self.path))
        if resume and not self.checkpoint_steps():
            raise errors.UserError(
                f"nothing to resume: {self.checkpoints} holds no checkpoint; "
                "give the --save_path and --run_name of the run that was "
                "interrupted, or start anew with --overwrite"
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
        for path in filter(None, keep if overwrite else ()):
            path = pathlib.Path(path).resolve()
            if self.path.resolve() in (path, *path.parents):
                raise errors.UserError(
                    f"--overwrite would remove {path}, which this run reads; "
                    "choose another --run_name"
                )
        aside = self.path.with_name(f".{self.path.name}.replaced")
        replaces = occupied and overwrite
        try:
            if replaces:  # Removed when all else has succeeded.
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(self.path, aside)
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.write_text("")
            probe.unlink()
            shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            if replaces and aside.exists():
                shutil.rmtree(self.path, ignore_errors=True)
                os.replace(aside, self.path)
            raise errors.UserError(
                f"cannot write to run directory {self.path}: "
                f"{tf1.reason(error)}; choose another --save_path"
            ) from None

    def begin(self) -> None:
        """Training begins, or goes on: where a report stands, it is over."""
        (self.path / "report.json").unlink(missing_ok=True)

    def holds_run(self) -> bool:
        """Whether it is one that a program of this project made."""
        return bool(
            {"flags.txt", "checkpoints"}.intersection(names_in(self.path))
        )

    @property
    def checkpoints(self) -> pathlib.Path:
        """Folder of the training checkpoints."""
        return self.path / "checkpoints"

    def checkpoint_steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return checkpoint_steps(self.checkpoints)

    def write_text(self, name: str, text: str) -> None:
        """Writes a file whole or not at all."""
        report.write_atomically(self.path / name, text)


def _checked_name(name: str) -> str:
    if (
        name in (".", "..")
        or set(name) & {"/", os.sep, "\0"}
        or len(os.fsencode(name)) > MAX_NAME_BYTES
    ):
        raise errors.UserError(
            "a run's name is that of one folder below --save_path, without "
            f"{os.sep} and of at most {MAX_NAME_BYTES} bytes; got "
            f"{reprlib.repr(name)}"
        )
    return name


def names_in(folder: pathlib.Path) -> list[str]:
    """Names in a folder; none if there is no folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise errors.UserError(
            f"cannot read folder {folder}: {tf1.reason(error)}"
        ) from None


def checkpoint_steps(folder: pathlib.Path) -> list[int]:
    """Steps of the complete checkpoints of a folder, oldest first.

    Raises:
      UserError: if the folder cannot be read.
    """
    found = (
        re.fullmatch(r"state-(\d+)\.json", name) for name in names_in(folder)
    )
    return sorted(int(match[1]) for match in found if match)


def read_state(folder: pathlib.Path, step: int) -> dict:
    """What was saved with a checkpoint beside its arrays.

    Raises:
      UserError: if it is damaged.
    """
    path = pathlib.Path(folder) / f"state-{step}.json"
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(state, dict) and "epoch" in state:
            return state
    except (OSError, ValueError):
        pass
    raise errors.UserError(
        f"checkpoint state {path} is damaged; remove it to go on from the "
        "checkpoint before it"
    )


class Checkpoints:
    """Checkpoints of a model, its optimizer and where training stood.

    A checkpoint is complete when its `state-<step>.json` exists, which is
    written last; older ones are removed only then.

    Args:
      folder: of the checkpoints.
      keep: how many to keep.
    """

    def __init__(self, folder: pathlib.Path, keep: int = 2):
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps of the complete ones, oldest first."""
        return checkpoint_steps(self.folder)

    def save(self, model: tf.keras.Model, state: dict) -> None:
        """Saves everything that training needs to go on.

        Args:
          model: with its optimizer.
          state: JSON values: epoch, batch, sizes of the layers, metrics.

        Raises:
          FloatingPointError: if a weight is NaN or infinite, before anything
            is written.
          UserError: if there is no space or no permission.
        """
        step = int(model.optimizer.iterations)
        for variable in model.trainable_variables:
            if not tf.reduce_all(tf.math.is_finite(variable)):
                raise FloatingPointError(
                    f"{variable.name} became NaN at step {step}"
                )
        prefix = self.folder / f"model-{step}"
        try:
            tf.train.Checkpoint(model=model).write(str(prefix))
        except (tf.errors.OpError, OSError) as error:
            raise errors.UserError(
                f"cannot write checkpoint {prefix}: {tf1.reason(error)}; "
                f"{self.kept()}"
            ) from None
        report.write_atomically(
            self.folder / f"state-{step}.json", json.dumps(state)
        )
        for old in self.steps()[: -self.keep]:
            (self.folder / f"state-{old}.json").unlink()
            for file in self.folder.glob(f"model-{old}.*"):
                file.unlink()

    def kept(self) -> str:
        """What a run that breaks leaves behind, for errors."""
        return (
            "the last good checkpoint is kept"
            if self.steps()
            else "no checkpoint was saved yet"
        )

    def last_state(self) -> dict:
        """The state saved with the newest checkpoint."""
        return read_state(self.folder, self.steps()[-1])

    def restore(self, model: tf.keras.Model) -> None:
        """Restores the newest checkpoint into a model of its sizes.

        Raises:
          UserError: if the checkpoint is damaged or of other sizes.
        """
        step = self.steps()[-1]
        prefix = str(self.folder / f"model-{step}")
        model.optimizer.build(model.trainable_variables)
        try:
            status = tf.train.Checkpoint(model=model).read(prefix)
            status.assert_existing_objects_matched()
        except tf1.READ_ERRORS + (AssertionError,) as error:
            raise errors.UserError(
                f"checkpoint {prefix} cannot be restored: "
                f"{tf1.reason(error)}; if it is damaged, remove "
                f"state-{step}.json beside it to go on from the checkpoint "
                "before it"
            ) from None


class Metrics:
    """`metrics.csv`: a row per epoch, whole at any time.

    Args:
      path: of the file.
      rows_kept: epochs whose rows stay when a run is resumed.
    """

    def __init__(self, path: pathlib.Path, epochs_kept: int = 0):
        self.path = path
        self.rows: list[dict] = []
        if epochs_kept and path.exists():
            self.rows = [
                row
                for row in self.read(path)
                if int(row["epoch"]) <= epochs_kept
            ]

    @staticmethod
    def read(path: pathlib.Path) -> list[dict]:
        """The rows of a file, values as text.

        Raises:
          UserError: if it is damaged.
        """
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            if all(row.get("epoch", "").isdecimal() for row in rows):
                return rows
        except (OSError, ValueError, csv.Error):
            pass
        raise errors.UserError(
            f"metrics {path} are damaged; expected the rows that training "
            "wrote: remove the file to go on without them"
        )

    def append(self, row: dict) -> None:
        """Adds a row; new columns may appear at any time."""
        self.rows.append(row)
        columns = list(dict.fromkeys(key for r in self.rows for key in r))
        lines = [columns] + [
            [str(r.get(c, "")) for c in columns] for r in self.rows
        ]
        report.write_atomically(
            self.path, "".join(",".join(line) + "\n" for line in lines)
        )
