"""What is on record of each epoch: metrics, best weights, checkpoints."""

from collections.abc import Mapping, Sequence
import math
import pathlib
from typing import Callable

import tensorflow as tf

from iss_rnns import callbacks as callbacks_lib
from iss_rnns import errors
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs


class TensorBoard:
    """Scalars for TensorBoard.

    Training goes on where they cannot be written, and says so once.

    Args:
      folder: of its files.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self._writer = None
        self._failed = False

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds a step's numbers, by name."""
        if self._failed:
            return
        try:
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self.folder))
            with self._writer.as_default(step=step):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
            self._writer.flush()
        except (OSError, tf.errors.OpError) as error:
            self._failed = True
            print(
                f"note: cannot write {self.folder}: {errors.reason(error)}; "
                "training goes on without TensorBoard's curves",
                flush=True,
            )


class EpochEnd(tf.keras.callbacks.Callback):
    """Validates, writes the epoch's row, and prints it as one line.

    Args:
      validate: function of no arguments giving the validation perplexity.
      metrics: the run's `Metrics`.
      groups: their alive units are written as `units/<name>`.
      clock: for words/s.
      tensorboard: of the row's numbers.
      alive_above: norm below which a unit is reported as dead, beside the
        count of exact zeros: dead units bounce a step's length around zero.
      bits: also bits a symbol, the measure of character models.
    """

    def __init__(
        self,
        validate: Callable[[], float],
        metrics: metrics_lib.Metrics,
        groups: Sequence,
        clock: progress.Clock,
        tensorboard: TensorBoard,
        alive_above: float = 0.05,
        bits: bool = False,
    ):
        super().__init__()
        self.validate = validate
        self.metrics = metrics
        self.groups = groups
        self.clock = clock
        self.alive_above = alive_above
        self.bits = bits
        self.tensorboard = tensorboard

    def on_epoch_end(self, epoch, logs=None):
        rate = float(self.model.optimizer.learning_rate.numpy())
        speed = self.clock.words_per_second()
        valid = self.validate()
        row = {
            "epoch": epoch + 1,
            "learning_rate": rate,
            "train_perplexity": float(logs["perplexity"]),
            "valid_perplexity": valid,
            "regularization": float(logs["regularization"]),
            "words_per_second": speed,
            "seconds": self.clock.seconds(),
            # The authors' RHN program reports its cost with all penalties.
            "train_perplexity_with_penalties": float(
                logs["perplexity"] * tf.exp(float(logs["regularization"]))
            ),
        }
        if self.bits:
            row.update(
                {
                    f"{part}_bits": math.log2(row[f"{part}_perplexity"])
                    for part in ("train", "valid")
                }
            )
        row.update(
            {
                key: value
                for key, value in logs.items()
                if "/" in key or key.endswith("_sparsity")
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
        logs["valid_perplexity"] = valid
        self.tensorboard.write(epoch + 1, row)
        units = callbacks_lib.alive_units(self.groups)
        bits = (
            f"({row['train_bits']:.3f} and {row['valid_bits']:.3f} bits)  "
            if self.bits
            else ""
        )
        print(
            f"epoch {epoch + 1}  learning rate {rate:.4g}  "
            f"train {row['train_perplexity']:.2f}  valid {valid:.2f}  "
            f"{bits}units {progress.units_text(units)} (above {self.alive_above:g}: "
            f"{progress.units_text(living)})  {speed:.0f} words/s",
            flush=True,
        )


class KeepBest(tf.keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest valid perplexity.

    Runs after `EpochEnd`, before `SaveCheckpoints`: a run that is killed
    between them does the epoch again. An epoch that was stopped early does
    not count, as it will be gone on with.

    Args:
      run: its directory; the weights go to `runs.BEST` there.
      metrics: the run's; rows of earlier sessions count.
      steps: per epoch.
      start_batch: of the first epoch, where a resumed run goes on.
    """

    def __init__(
        self,
        run: runs.RunDirectory,
        metrics: metrics_lib.Metrics,
        steps: int,
        start_batch: int = 0,
    ):
        super().__init__()
        self.path = run.path / runs.BEST
        self.metrics = metrics
        self.steps = steps
        self.done = start_batch

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1

    def on_epoch_end(self, epoch, logs=None):
        stopped, self.done = self.done < self.steps, 0
        if stopped:
            return
        *before, last = [
            float(row["valid_perplexity"]) for row in self.metrics.rows
        ]
        if all(last < perplexity for perplexity in before):
            restoring.save_weights(self.model.net, self.path)


class SaveCheckpoints(tf.keras.callbacks.Callback):
    """Saves every `every` steps and at each epoch's end.

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
        if (
            self.every
            and self.done % self.every == 0
            and (self.done < self.steps)
        ):
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
