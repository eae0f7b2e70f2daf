"""From a compiled language model and a text to a trained net on disk."""

from collections.abc import Sequence
import dataclasses
import json
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns.callbacks import shrinking
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import loop
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments import records
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a language model trains, whatever its net is.

    Attributes:
      batch_size: number of parallel streams B.
      num_steps: time steps T of a batch.
      epochs: in all.
      learning_rate: function of the epoch, counted from 0.
      fixed: JSON values that must stay the same when a run is resumed.
      max_train_steps: stop after so many steps; None means no bound.
      checkpoint_every: steps between checkpoints (one more at each epoch's
        end); 0 means at epoch ends only.
      shrink_every_steps: cut dead units so often; 0 means each epoch, None
        never.
      warmup_steps: see `EpochStart`.
      dead_below: see `callbacks.ShrinkWhileTraining`, as `dead_checks`.
      keep_best: see `records.KeepBest`.
    """

    batch_size: int
    num_steps: int
    epochs: int
    learning_rate: Callable[[int], float]
    fixed: dict
    max_train_steps: Optional[int] = None
    checkpoint_every: int = 500
    shrink_every_steps: Optional[int] = None
    dead_below: float = 0.0
    dead_checks: int = 3
    warmup_steps: int = 0
    keep_best: bool = False


def train(
    plan: Plan,
    corpus: corpora.Corpus,
    run: runs.RunDirectory,
    resume: bool,
    model_of: Callable[[Optional[Sequence[int]]], language_model.LanguageModel],
    sparsity_of: Callable[[object], list[tf.keras.callbacks.Callback]],
) -> tuple[object, metrics_lib.Metrics]:
    """Trains to the last epoch, or goes on with an interrupted run.

    Args:
      plan: see `Plan`.
      corpus: to train and validate on.
      run: its directory.
      resume: from the run's newest checkpoint.
      model_of: `model_of(sizes)` -> compiled model with layers of the sizes
        that a checkpoint has, or of its own if they are None.
      sparsity_of: `sparsity_of(net)` -> penalties, freezing, thresholding.

    Returns:
      (the trained net, the epochs' metrics).

    Raises:
      UserError: if the data does not fit the batch, a resumed run was made
        with other options, or training broke.
    """
    x, y = corpora.batches(
        corpus.train, plan.batch_size, plan.num_steps, "training text"
    )
    valid = corpora.batches(
        corpus.valid, plan.batch_size, plan.num_steps, "valid text"
    )
    fixed = {**plan.fixed, "data": corpus.fingerprint}
    checkpoints = checkpoints_lib.Checkpoints(run.checkpoints)
    state = {"epoch": 0, "batch": 0, "seconds": 0.0, "sizes": None}
    if resume:
        state = checkpoints.last_state()
        loop.check_same_run(state, fixed)
    run.begin()
    model = model_of(state["sizes"])
    # A resumed run of an older version may have been cut: then they are lost.
    designed = state.get("designed_sizes") or list(model.net.hidden_sizes)
    if resume:
        checkpoints.restore(model)
        print(
            f"resumed {run.path} at epoch {state['epoch'] + 1}, step "
            f"{int(model.optimizer.iterations)}",
            flush=True,
        )
    sparsity = sparsity_of(model.net)
    groups = model.net.iss_groups()
    metrics = metrics_lib.Metrics(run.path / "metrics.csv", state["epoch"])
    evaluators = {}

    def validate():
        if model.net not in evaluators:
            evaluators.clear()
            evaluators[model.net] = language_model.Evaluator(model.net)
        return evaluators[model.net].perplexity(*valid)

    clock = progress_lib.Clock(
        plan.batch_size * plan.num_steps, state["seconds"]
    )

    def describe():
        return {
            **fixed,
            "sizes": list(model.net.hidden_sizes),
            "designed_sizes": designed,
            "seconds": clock.seconds(),
            "shrinking": cutter and cutter.state(),
        }

    logger = callbacks.SparsityLogger(groups)
    progress = progress_lib.Progress(
        len(x), plan.epochs, groups, clock, state["batch"]
    )
    epoch_end = records.EpochEnd(
        validate,
        metrics,
        groups,
        clock,
        records.TensorBoard(run.path / "tensorboard"),
        bits=corpus.unit == "character",
    )
    cutter = None
    if plan.shrink_every_steps is not None:
        cutter = callbacks.ShrinkWhileTraining(
            groups,
            (valid[0][0], valid[1][0]),
            plan.shrink_every_steps,
            plan.dead_below,
            plan.dead_checks,
            followers=shrinking.followers(
                sparsity + [logger, progress, epoch_end]
            ),
            epoch_steps=len(x),
            start_batch=state["batch"],
        )
        cutter.restore(state.get("shrinking"))
    fit(
        model,
        x,
        y,
        plan.epochs,
        sparsity
        + [
            EpochStart(
                plan.learning_rate,
                state["epoch"] if state["batch"] else None,
                plan.warmup_steps,
            ),
            # Cutting is part of what training takes.
            *([cutter] if cutter else []),
            clock,
            logger,
            progress,
            epoch_end,
            *(
                [records.KeepBest(run, metrics, len(x), state["batch"])]
                if plan.keep_best
                else []
            ),
            records.SaveCheckpoints(
                checkpoints,
                plan.checkpoint_every,
                len(x),
                describe,
                state["batch"],
            ),
        ],
        epoch=state["epoch"],
        batch=state["batch"],
        max_steps=plan.max_train_steps,
    )
    if cutter:
        run.write_text("cuts.json", json.dumps(cutter.cuts, indent=1))
    return model.net, metrics


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
    loop.fit_batches(
        model,
        lambda _, first: _windows(x[first:], y[first:]),
        len(x),
        epochs,
        callbacks,
        epoch,
        batch,
        max_steps,
    )


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
