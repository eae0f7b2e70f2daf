"""What the tasks share while they train: epochs, progress, checkpoints."""

from collections.abc import Mapping, Sequence
import contextlib
import json
import shlex
from typing import Callable, Optional

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import callbacks as callbacks_lib
from iss_rnns import errors
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import distribution
from iss_rnns.experiments import progress
from iss_rnns.experiments import records
from iss_rnns.experiments import stopping


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

    On replicas if the model is of `distribution.current()`.

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
      UserError: see `fit`; or if there is no such batch.
      stopping.Terminated: after a SIGTERM, when a checkpoint is saved.
    """
    if not 0 <= batch < steps:
        raise errors.UserError(
            f"the checkpoint was saved after batch {batch:,} of an epoch, "
            f"which has {steps:,}: give the data of the interrupted run"
        )
    saving = [
        callback
        for callback in callbacks
        if isinstance(callback, records.SaveCheckpoints)
    ]
    workers = distribution.current()
    # First: nobody saves or logs a broken step.
    callbacks = [
        callbacks_lib.StopOnNaN(),
        *workers.callbacks(model),
        *callbacks,
    ]
    model.stop_training = False
    if max_steps is not None:
        callbacks.append(_StopAtStep(max_steps))
        if _keras.updates(model) >= max_steps:
            return
    try:
        # Without checkpoints there is nothing to wait for.
        with (
            stopping.after_the_step(workers.several)
            if saving
            else contextlib.nullcontext()
        ):
            if batch:
                model.fit(
                    workers.batches(batches(epoch, batch)),
                    epochs=epoch + 1,
                    initial_epoch=epoch,
                    steps_per_epoch=steps - batch,
                    verbose=0,
                    callbacks=callbacks,
                )
                epoch += 1
            if epoch < epochs and not model.stop_training:
                model.fit(
                    workers.batches(batches(epoch, 0)),
                    epochs=epochs,
                    initial_epoch=epoch,
                    steps_per_epoch=steps,
                    verbose=0,
                    callbacks=callbacks,
                )
    except FloatingPointError as error:
        raise errors.UserError(
            "; ".join(
                [
                    f"training stopped: {error}",
                    "lower the learning rate",
                    *(_way_on(each.checkpoints, model) for each in saving),
                ]
            )
        ) from None
    finally:
        for callback in callbacks:
            if isinstance(callback, progress.Progress):
                callback.close()


def _way_on(
    checkpoints: checkpoints_lib.Checkpoints, model: tf.keras.Model
) -> str:
    """What is left of a training that broke, and flags that go on from it."""
    run = checkpoints.folder.parent
    rate = float(model.optimizer.learning_rate.numpy()) / 2
    if not ((run / "flags.txt").exists() and rate):
        return checkpoints.kept()
    flags = [f"--flagfile={run / 'flags.txt'}"]
    if checkpoints.steps():
        # A new run: one that is resumed keeps its learning rate.
        start = "a run that goes on from it has the flags"
        flags += [
            f"--restore_path={run}",
            f"--run_name={run.name}-lower",
        ]
    else:
        start = "to start again, give the flags"
        flags += ["--overwrite"]
    flags += [f"--learning_rate={rate:.3g}"]
    return f"{checkpoints.kept()}: {start} {shlex.join(flags)}"


class _StopAtStep(tf.keras.callbacks.Callback):
    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if _keras.updates(self.model) >= self.steps:
            self.model.stop_training = True


def check_same_run(state: Mapping, now: Mapping) -> None:
    """Refuses to resume with other data or hyper-parameters.

    Args:
      state: of the checkpoint.
      now: what should be equal in it.

    Raises:
      UserError: naming what differs.
    """
    for key, value in json.loads(json.dumps(now)).items():
        # A run of an older version knows fewer keys.
        before = state.get(key, value)
        if isinstance(before, dict) and isinstance(value, dict):
            before, value = (  # only what differs
                {
                    name: one[name]
                    for name in one
                    if name not in other or one[name] != other[name]
                }
                for one, other in ((before, value), (value, before))
            )
            if key == "config":  # An older version's run had other fields.
                both = before.keys() & value.keys()
                before, value = (
                    {name: each[name] for name in both}
                    for each in (before, value)
                )
        if before != value:
            raise errors.UserError(
                f"cannot resume: the run was made with {key} = {before}, now "
                f"it is {value}; give the flags of the interrupted run (its "
                "flags.txt)"
            )
