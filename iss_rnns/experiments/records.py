"""What is on record of each epoch: metrics, best weights, checkpoints."""

from collections.abc import Mapping, Sequence
import importlib
import pathlib
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import callbacks as callbacks_lib
from iss_rnns import errors
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress
from iss_rnns.experiments import states
from iss_rnns.experiments import stopping

# Norm of a unit that training shows as dead, beside those that are zero.
ALIVE_ABOVE = 0.05


class TensorBoard:
    """Scalars for TensorBoard.

    Training goes on where they cannot be written, and says so once. Numbers
    beyond the range of float32 become infinite, which is not drawn.

    Args:
      folder: of its files.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._writer: Any = None
        self._failed = False

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds a step's numbers, by name."""
        if self._failed:
            return
        try:
            if self._writer is None:
                # What `tf.summary` is made of; not all TensorFlows bring it.
                importlib.import_module("tensorboard.summary.v2")
                self._writer = tf.summary.create_file_writer(str(self.folder))
            with self._writer.as_default(step=step), np.errstate(over="ignore"):
                for name, value in scalars.items():
                    tf.summary.scalar(name, np.float32(value))
            self._writer.flush()
        except (ImportError, OSError, tf.errors.OpError) as error:
            self._failed = True
            print(
                f"note: cannot write {self.folder}: {errors.reason(error)}; "
                "training goes on without TensorBoard's curves",
                flush=True,
            )


class StepScalars(tf.keras.callbacks.Callback):
    """A step's numbers for TensorBoard, every so many steps.

    Args:
      tensorboard: where.
      every: steps between two.
    """

    def __init__(self, tensorboard: TensorBoard, every: int):
        super().__init__()
        self.tensorboard = tensorboard
        self.every = every

    def on_train_batch_end(self, batch, logs=None):
        step = _keras.updates(self.model)
        if step % self.every == 0:
            self.tensorboard.write(
                step, {f"train/{key}": value for key, value in logs.items()}
            )


class EpochEvaluation(tf.keras.callbacks.Callback):
    """Evaluates at an epoch's end, writes its row, and prints it as a line.

    Args:
      row: `row(model, logs, clock)` -> numbers by name, in the order of the
        columns; `step` is that of TensorBoard's curves, else the epoch is.
      line: `line(row, units, living)` -> what is printed; `units` is e.g.
        `16/15`, those that are not all zero, `living` `above 0.05: 14/15`.
      metrics: the run's.
      groups: their living units are written as `units_above_.../<name>`.
      clock: of training.
      tensorboard: of the row's numbers.
      alive_above: norm below which a unit is reported as dead, beside the
        count of exact zeros: dead units bounce a step's length around zero.
      size: function of no arguments: what the line ends with.
    """

    def __init__(
        self,
        row: Callable[[tf.keras.Model, Mapping, progress.Clock], dict],
        line: Callable[[Mapping, str, str], str],
        metrics: metrics_lib.Metrics,
        groups: Sequence,
        clock: progress.Clock,
        tensorboard: TensorBoard,
        alive_above: float = ALIVE_ABOVE,
        size: Callable[[], str] = lambda: "",
    ):
        super().__init__()
        self.size = size
        self.row = row
        self.line = line
        self.metrics = metrics
        self.groups = groups
        self.clock = clock
        self.tensorboard = tensorboard
        self.alive_above = alive_above

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **self.row(self.model, logs, self.clock)}
        row.update(
            {
                key: value
                for key, value in logs.items()
                if "/" in key
                or key.startswith("size_")
                or key.endswith("_sparsity")
            }
        )
        living = callbacks_lib.alive_units(self.groups, self.alive_above)
        row.update(
            {
                f"units_above_{self.alive_above:g}/{name}": count
                for name, count in living.items()
            }
        )
        self.metrics.append(row)
        self.tensorboard.write(row.get("step", epoch + 1), row)
        units = callbacks_lib.alive_units(self.groups)
        print(
            self.line(
                row,
                progress.units_text(units),
                f"above {self.alive_above:g}: {progress.units_text(living)}",
            )
            + self.size(),
            flush=True,
        )


class KeepBest(tf.keras.callbacks.Callback):
    """Knows the epoch that scored best, whose checkpoint is kept.

    Of the last epochs in a row with the sizes, and the living units, that the
    layers have now: a better score of a larger net is no alternative to a
    smaller one. Runs after `EpochEvaluation`, before `SaveCheckpoints`: a run
    that is killed between them does the epoch again.

    What is left of an epoch that was stopped early counts while training does
    not go on with it, and no longer.

    Args:
      metrics: the run's.
      score: `score(row)` of it; the lowest is the best.
      units: function of no arguments -> living units by name of the layer.
      steps: per epoch.
      start_batch: of the first epoch, where a resumed run goes on.
    """

    def __init__(
        self,
        metrics: metrics_lib.Metrics,
        score: Callable[[Mapping], float],
        units: Callable[[], Mapping[str, int]],
        steps: int,
        start_batch: int = 0,
    ):
        super().__init__()
        self.metrics = metrics
        self.score = score
        self.units = units
        self.steps = steps
        self.done = start_batch
        self._whole: Optional[dict] = None  # of whole epochs
        self._best: Optional[dict] = None

    def state(self) -> dict[str, Optional[dict]]:
        """JSON values; `best` is the epoch to take if training ends here."""
        return {
            name: record
            # An epoch before a cut is forgotten.
            if record and record["sizes"] == dict(self.model.net.sizes)
            else None
            for name, record in (("best", self._best), ("whole", self._whole))
        }

    def restore(self, state: Optional[Mapping]) -> None:
        """Goes on from a `state`; None is a run's beginning."""
        self._best = self._whole = state["whole"] if state else None

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1

    def on_epoch_end(self, epoch, logs=None):
        found = {
            "step": _keras.updates(self.model),
            "epoch": epoch + 1,
            "score": self.score(self.metrics.rows[-1]),
            "sizes": dict(self.model.net.sizes),
            "units": dict(self.units()),
        }
        self._best = _better(self._whole, found)
        # An epoch that was stopped early will be gone on with.
        if self.done >= self.steps:
            self._whole = self._best
        self.done = 0


def _better(known: Optional[dict], found: dict) -> Optional[dict]:
    """Which of two epochs is the best so far; of equal scores, the known one.

    A NaN is below nothing, and nothing is below it.
    """
    if known and any(known[name] != found[name] for name in ("sizes", "units")):
        known = None
    if not abs(found["score"]) <= states.MOST_NUMBER:
        return known
    if known is None or found["score"] < known["score"]:
        return found
    return known


class SaveCheckpoints(tf.keras.callbacks.Callback):
    """Saves every `every` steps, at each epoch's end, and at a SIGTERM.

    After a SIGTERM training ends with the next checkpoint that can be saved:
    see `stopping`.

    Args:
      checkpoints: where.
      every: steps between two checkpoints; 0 means at epoch ends only.
      steps: per epoch.
      describe: function of no arguments: what else `--resume` must know.
      start_batch: of the first epoch, where a resumed run goes on.
    """

    def __init__(
        self,
        checkpoints: checkpoints_lib.Checkpoints,
        every: int,
        steps: int,
        describe: Callable[[], dict],
        start_batch: int = 0,
    ):
        super().__init__()
        self.checkpoints = checkpoints
        self.every = every
        self.steps = steps
        self.describe = describe
        self.epoch = 0
        self.done = start_batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        # The last step's is saved when the epoch's end has validated: it says
        # that the next epoch begins.
        due = self.every and self.done % self.every == 0
        if (due or stopping.asked()) and self.done < self.steps:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        # An epoch that was stopped early is not over.
        if self.done >= self.steps:
            self.epoch, self.done = epoch + 1, 0
        self._save()

    def _save(self) -> None:
        self.checkpoints.save(
            self.model,
            {"epoch": self.epoch, "batch": self.done, **self.describe()},
        )
        stopping.end_if_asked(
            f" at step {_keras.updates(self.model)}, which is saved"
        )
