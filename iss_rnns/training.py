"""What the tasks share while they train: epochs, progress, checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import ctypes
import math
import os
import pathlib
import shlex
import sys
import time
from typing import Callable, Optional

import numpy as np
import tensorflow as tf
import tqdm

from iss_rnns import callbacks as callbacks_lib
from iss_rnns import errors
from iss_rnns import precision
from iss_rnns import restoring
from iss_rnns import runs

# The progress line: seconds between two refreshes, and the share of the time
# that counting units may take.
REFRESH_SECONDS = 2.0
REFRESH_SHARE = 0.002
# A bar would leave no room for the rest in 80 columns; in narrower terminals
# the end is cut off.
_LINE = "{desc}, {remaining} left{postfix}"

# Options of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def prepare_cpu(threads: int, compute_dtype: str = "float32") -> None:
    """Sets what a process must set before it computes.

    Args:
      threads: limit of TensorFlow's CPU threads; 0 leaves it all of them.
      compute_dtype: of `precision.COMPUTE_DTYPES`; a CPU that only emulates
        it is reported.
    """
    if compute_dtype == "bfloat16" and not precision.cpu_has_bfloat16():
        print(
            "note: this CPU has no bfloat16 instructions; "
            "--compute_dtype=float32 is faster on it",
            flush=True,
        )
    _keep_freed_memory()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(
        1 if threads == 1 else 0
    )
    _compile_quietly()


def _keep_freed_memory() -> None:
    # glibc hands buffers of over 32 MB back to the system and has them zeroed
    # anew: a tenth of a step of two LSTMs of 1500.
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in (
            (_M_MMAP_THRESHOLD, 1 << 30),
            (_M_TRIM_THRESHOLD, (1 << 31) - 1),
        ):
            libc.mallopt(option, value)
    except (OSError, AttributeError):
        pass  # another C library: slower, nothing else


def _compile_quietly() -> None:
    # At its first compilation XLA writes two lines to the terminal that no
    # setting silences; they would stand amid the progress line.
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            tf.function(lambda: tf.zeros([]) + 1.0, jit_compile=True)()
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def command_line(module: str) -> str:
    """The command that started this program."""
    return " ".join(
        ["python -m", module] + [shlex.quote(part) for part in sys.argv[1:]]
    )


class EpochStart(tf.keras.callbacks.Callback):
    """Fresh state and this epoch's learning rate at each epoch's start.

    Args:
      learning_rate: function of the epoch, counted from 0.
      resumed_epoch: the epoch that a resumed run is in the middle of: its
        state and totals come from the checkpoint. None if there is none.
      warmup_steps: over so many first steps of a run the learning rate rises
        in a straight line; 0 means it does not.
    """

    def __init__(
        self,
        learning_rate: Callable[[int], float],
        resumed_epoch: Optional[int] = None,
        warmup_steps: int = 0,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.resumed_epoch = resumed_epoch
        self.warmup_steps = warmup_steps
        self._rate = 0.0
        self._warming_up = warmup_steps > 0

    def on_epoch_begin(self, epoch, logs=None):
        self._rate = self.learning_rate(epoch)
        self.model.optimizer.learning_rate.assign(self._rate)
        if epoch != self.resumed_epoch:
            self.model.reset_states()
        self.resumed_epoch = None

    def on_train_batch_begin(self, batch, logs=None):
        if self._warming_up:
            step = int(self.model.optimizer.iterations)
            self._warming_up = step + 1 < self.warmup_steps
            self.model.optimizer.learning_rate.assign(
                self._rate * min((step + 1) / self.warmup_steps, 1.0)
            )


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
        metrics: runs.Metrics,
        groups: Sequence,
        clock: "Clock",
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
            f"{bits}units {units_text(units)} (above {self.alive_above:g}: "
            f"{units_text(living)})  {speed:.0f} words/s",
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
        metrics: runs.Metrics,
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


class Clock(tf.keras.callbacks.Callback):
    """Measures training time, without validation or checkpoints.

    Args:
      words_per_step: B * T.
      seconds_before: of earlier sessions of the same run.
    """

    def __init__(self, words_per_step: int, seconds_before: float = 0.0):
        super().__init__()
        self.words_per_step = words_per_step
        self.total = seconds_before
        self._epoch_seconds = 0.0
        self._epoch_steps = 0
        self._start = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_seconds, self._epoch_steps = 0.0, 0

    def on_train_batch_begin(self, batch, logs=None):
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        seconds = time.perf_counter() - self._start
        self.total += seconds
        self._epoch_seconds += seconds
        self._epoch_steps += 1

    def words_per_second(self) -> float:
        """Of this epoch, so far."""
        return (
            self._epoch_steps
            * self.words_per_step
            / max(self._epoch_seconds, 1e-9)
        )

    def seconds(self) -> float:
        """Training seconds of the whole run."""
        return self.total


@contextlib.contextmanager
def progress_bar(title: str, **kwargs) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal while it lasts; nothing elsewhere.

    Args:
      title: in front of it.
      **kwargs: of `tqdm.tqdm`.

    Yields:
      Function that takes (done, total).
    """
    with tqdm.tqdm(desc=title, disable=None, leave=False, **kwargs) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield show


class Progress(tf.keras.callbacks.Callback):
    """One updating line on a terminal; quiet elsewhere.

    Args:
      steps: per epoch.
      epochs: in all.
      groups: whose living units are shown.
      clock: for words/s.
      start_batch: where a resumed epoch goes on.
      show: what else is shown of a step's logs, as text; by default the
        perplexity and the words/s.
    """

    def __init__(
        self,
        steps: int,
        epochs: int,
        groups: Sequence,
        clock: Clock,
        start_batch: int = 0,
        show: Optional[Callable[[dict], str]] = None,
    ):
        super().__init__()
        self.steps, self.epochs = steps, epochs
        self.groups = groups
        self.clock = clock
        self.start_batch = start_batch
        self.show = show or (
            lambda logs: (
                f"perplexity {short(float(logs['perplexity']))}, "
                f"{clock.words_per_second():.0f} words/s"
            )
        )
        self._bar = None
        self._shown = ""
        self._next = self._next_count = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._bar = tqdm.tqdm(
            total=self.steps * self.epochs,
            disable=None,
            leave=False,
            initial=epoch * self.steps + self.start_batch,
            bar_format=_LINE,
            desc=f"epoch {epoch + 1}/{self.epochs}",
            file=sys.stderr,
        )
        self.start_batch = 0
        self._next = 0.0

    def on_train_batch_end(self, batch, logs=None):
        if self._bar.disable:
            return
        self._bar.update()
        start = time.monotonic()
        if start < self._next:
            return
        self._next = start + REFRESH_SECONDS
        if start >= self._next_count:
            self._shown = units_text(callbacks_lib.alive_units(self.groups, 0.05))
            # Counting reads all weights: of a large model, not so often.
            taken = time.monotonic() - start
            self._next_count = start + taken / REFRESH_SHARE
        self._bar.set_postfix_str(f"{self.show(logs)}, units {self._shown}")

    def on_epoch_end(self, epoch, logs=None):
        self._bar.close()


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
        checkpoints: runs.Checkpoints,
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


def fit(
    model: tf.keras.Model,
    x: np.ndarray,
    y: np.ndarray,
    epochs: int,
    callbacks: Sequence[tf.keras.callbacks.Callback],
    epoch: int = 0,
    batch: int = 0,
    max_steps: Optional[int] = None,
) -> None:
    """Runs `model.fit` over windows in order, from any epoch and batch on.

    Args:
      model: compiled `LanguageModel`.
      x: `[N, B, T]` ids; y: the next ids.
      epochs: in all.
      callbacks: of `fit`.
      epoch: first epoch, counted from 0.
      batch: first batch of that epoch.
      max_steps: stop after so many steps in all; None means no bound.

    Raises:
      UserError: if the cost becomes NaN; the last good checkpoint stays, if
        there is one.
    """
    fit_batches(
        model,
        lambda _, first: _windows(x[first:], y[first:]),
        len(x),
        epochs,
        callbacks,
        epoch,
        batch,
        max_steps,
    )


def fit_batches(
    model: tf.keras.Model,
    batches: Callable[[int, int], tf.data.Dataset],
    steps: int,
    epochs: int,
    callbacks: Sequence[tf.keras.callbacks.Callback],
    epoch: int = 0,
    batch: int = 0,
    max_steps: Optional[int] = None,
) -> None:
    """Runs `model.fit` over any data, from any epoch and batch on.

    Args:
      model: compiled, with `cost` in the logs of its steps.
      batches: `batches(epoch, batch)` -> the data from there on: to the
        epoch's end, if all epochs read the same, or to the very end.
      steps: of an epoch.
      epochs: in all.
      callbacks: of `fit`.
      epoch: first epoch, counted from 0.
      batch: first batch of that epoch.
      max_steps: see `fit`.

    Raises:
      UserError: see `fit`.
    """
    # First: nobody saves or logs a broken step.
    callbacks = [callbacks_lib.StopOnNaN(), *callbacks]
    model.stop_training = False
    if max_steps is not None:
        callbacks.append(_StopAtStep(max_steps))
        if int(model.optimizer.iterations) >= max_steps:
            return
    try:
        if batch:
            model.fit(
                batches(epoch, batch),
                epochs=epoch + 1,
                initial_epoch=epoch,
                steps_per_epoch=steps - batch,
                verbose=0,
                callbacks=callbacks,
            )
            epoch += 1
        if epoch < epochs and not model.stop_training:
            model.fit(
                batches(epoch, 0),
                epochs=epochs,
                initial_epoch=epoch,
                steps_per_epoch=steps,
                verbose=0,
                callbacks=callbacks,
            )
    except FloatingPointError as error:
        kept = [
            callback.checkpoints.kept()
            for callback in callbacks
            if isinstance(callback, SaveCheckpoints)
        ]
        raise errors.UserError(
            "; ".join(
                [f"training stopped: {error}", "lower the learning rate", *kept]
            )
        ) from None


class _StopAtStep(tf.keras.callbacks.Callback):
    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) >= self.steps:
            self.model.stop_training = True


def _windows(x: np.ndarray, y: np.ndarray) -> tf.data.Dataset:
    def pairs():
        return zip(x, y)

    spec = tf.TensorSpec(x.shape[1:], tf.int32)
    windows = tf.data.Dataset.from_generator(
        pairs, output_signature=(spec, spec)
    )
    # With an unknown length Keras runs one step too many, until the data is
    # out; what needs no data in it (step count, Adam's decay) would be done.
    return windows.apply(
        tf.data.experimental.assert_cardinality(len(x))
    ).prefetch(4)


def short(value: float) -> str:
    """A number with as many digits as a glance takes in."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def units_text(units: dict[str, int]) -> str:
    return "/".join(str(n) for n in units.values())
