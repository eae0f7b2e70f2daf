"""Checkpoints of a run."""

from collections.abc import Mapping
import functools
import os
import pathlib
import re
from typing import Any, Optional

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import files
from iss_rnns import paths
from iss_rnns.experiments import states
from iss_rnns.interop import tf1

_STATE = re.compile(r"state-([0-9]{1,18})\.json")

# What `tf.train.Checkpoint.write` leaves, done or not.
_ARRAYS = re.compile(r"model-([0-9]{1,18})(\.|_temp).*")


def names_in(folder: pathlib.Path) -> list[str]:
    """Names in a folder; none if there is no folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        raise errors.UserError(
            f"cannot read folder {folder}: {errors.reason(error)}"
        ) from None


def checkpoint_steps(folder: pathlib.Path) -> list[int]:
    """Steps of the complete checkpoints of a folder, oldest first.

    Raises:
      UserError: if the folder cannot be read.
    """
    found = (_STATE.fullmatch(name) for name in names_in(folder))
    return sorted(int(match[1]) for match in found if match)


def remove_incomplete(folder: pathlib.Path) -> None:
    """Removes the arrays of checkpoints that were never completed."""
    complete = checkpoint_steps(folder)
    for name in names_in(folder):
        match = _ARRAYS.fullmatch(name)
        if match and int(match[1]) not in complete:
            files.remove(folder / name)


def find(folder: pathlib.Path, step: int = 0) -> tuple[int, dict[str, Any]]:
    """Step and state of the newest checkpoint of a folder that is whole.

    A line tells of each newer one that is damaged.

    Args:
      folder: of the checkpoints.
      step: of the only one that will do; 0 means any.

    Raises:
      UserError: if there is none.
    """
    damage = []
    for each in [step] if step else reversed(checkpoint_steps(folder)):
        try:
            state = read_state(folder, each)
            _check_arrays(folder / f"model-{each}")
        except errors.UserError as error:
            damage.append(str(error))
            continue
        for line in damage:
            _tell(
                f"note: {line}; the checkpoint before it, of step {each}, is "
                "taken"
            )
        return each, state
    if not damage:
        raise errors.UserError(f"{folder} holds no finished checkpoint")
    others = "" if step else ", and no checkpoint beside it is whole"
    raise errors.UserError(damage[0] + others)


def find_best(folder: pathlib.Path) -> tuple[int, dict[str, Any]]:
    """Step and state of the checkpoint whose weights are to be used.

    The newest says which: see `records.KeepBest`. It is the newest itself
    where that says nothing, or where the best one is damaged, which a line
    then tells.

    Raises:
      UserError: if no checkpoint is whole.
    """
    newest, state = find(folder)
    best = (state.get("best") or {}).get("best")
    if not best or best["step"] in (0, newest):
        return newest, state
    try:
        return find(folder, best["step"])
    except errors.UserError as error:
        _tell(
            f"note: the epoch that validated best is lost: {error}; the "
            f"newest checkpoint, of step {newest}, is taken"
        )
        return newest, state


def _best(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What `records.KeepBest` has in a state, so far."""
    return [each for each in (state.get("best") or {}).values() if each]


def read_state(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """What was saved with a checkpoint beside its arrays.

    Raises:
      UserError: if it is damaged.
    """
    return states.read_state(pathlib.Path(folder) / f"state-{step}.json")


def _check_arrays(prefix: pathlib.Path) -> None:
    """Refuses a checkpoint whose arrays cannot be read, all of them."""
    paths.check_for_tensorflow(prefix)
    written = tuple(
        (name, status.st_size, status.st_mtime_ns)
        for name in sorted(names_in(prefix.parent))
        if name.startswith(f"{prefix.name}.")
        for status in [(prefix.parent / name).stat()]
    )
    damage = _damage(str(prefix), written)
    if damage is not None:
        raise errors.UserError(
            f"checkpoint {prefix} cannot be restored: {damage}"
        )


@functools.lru_cache(maxsize=64)
def _damage(prefix: str, written: tuple) -> Optional[str]:
    """What is wrong with files as they were written; None if nothing is.

    TensorFlow compares the checksum of each array that it reads.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except tf1.READ_ERRORS as error:
        return errors.reason(error)
    return None


@functools.cache
def _tell(line: str) -> None:
    """Once, however often a checkpoint is looked for."""
    print(line, flush=True)


class Checkpoints:
    """Checkpoints of a model, its optimizer and where training stood.

    A checkpoint is complete when its `state-<step>.json` exists, which is
    written last; older ones are removed only then.

    Args:
      folder: of the checkpoints.
      keep: how many to keep.
      writes: whether saving writes, or only looks at the weights.
    """

    def __init__(
        self, folder: pathlib.Path, keep: int = 2, writes: bool = True
    ):
        self.folder = folder
        self.keep = keep
        self.writes = writes

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
        step = _keras.updates(model)
        for variable in [
            *model.trainable_variables,
            *model.optimizer.variables,
        ]:
            if variable.dtype.is_floating and not tf.reduce_all(
                tf.math.is_finite(variable)
            ):
                raise FloatingPointError(
                    f"{variable.name} became NaN at step {step}"
                )
        if not self.writes:
            return
        prefix = self.folder / f"model-{step}"
        try:
            tf.train.Checkpoint(model=model).write(str(prefix))
        except (tf.errors.OpError, OSError) as error:
            raise errors.UserError(
                f"cannot write checkpoint {prefix}: {errors.reason(error)}; "
                f"{self.kept()}"
            ) from None
        files.write_json(self.folder / f"state-{step}.json", state)
        steps = self.steps()
        # A later one is what a resumed run found damaged.
        kept = [each for each in steps if each <= step][-self.keep :]
        kept += (best["step"] for best in _best(state))
        for old in set(steps).difference(kept):
            (self.folder / f"state-{old}.json").unlink()
        remove_incomplete(self.folder)

    def kept(self) -> str:
        """What a run that breaks leaves behind, for errors."""
        return (
            "the last good checkpoint is kept"
            if self.steps()
            else "no checkpoint was saved yet"
        )

    def last_state(self) -> dict[str, Any]:
        """The state saved with the newest checkpoint that is whole.

        Raises:
          UserError: if none is.
        """
        return find(self.folder)[1]

    def restore(self, model: tf.keras.Model, step: int = 0) -> None:
        """Restores a checkpoint into a model of its sizes.

        Args:
          model: with its optimizer.
          step: of the checkpoint; 0 means the newest that is whole.

        Raises:
          UserError: if there is none, or it is of other sizes.
        """
        step, _ = find(self.folder, step)
        prefix = str(self.folder / f"model-{step}")
        model.optimizer.build(model.trainable_variables)
        try:
            status = tf.train.Checkpoint(model=model).read(prefix)
            status.assert_existing_objects_matched()
        except tf1.READ_ERRORS + (AssertionError,) as error:
            raise errors.UserError(
                f"checkpoint {prefix} cannot be restored: "
                f"{errors.reason(error)}; give the data and the flags that it "
                "was trained with"
            ) from None
