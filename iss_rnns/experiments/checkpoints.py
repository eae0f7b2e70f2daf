"""Checkpoints of a run."""

import os
import pathlib
import re

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import states
from iss_rnns.interop import tf1


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
    found = (
        re.fullmatch(r"state-(\d+)\.json", name) for name in names_in(folder)
    )
    return sorted(int(match[1]) for match in found if match)


def read_state(folder: pathlib.Path, step: int) -> dict:
    """What was saved with a checkpoint beside its arrays.

    Raises:
      UserError: if it is damaged.
    """
    return states.read_state(pathlib.Path(folder) / f"state-{step}.json")


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
                f"cannot write checkpoint {prefix}: {errors.reason(error)}; "
                f"{self.kept()}"
            ) from None
        files.write_json(self.folder / f"state-{step}.json", state)
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
                f"{errors.reason(error)}; if it is damaged, remove "
                f"state-{step}.json beside it to go on from the checkpoint "
                "before it"
            ) from None
