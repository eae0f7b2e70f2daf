"""One training run of any task: begun or gone on with, cut, on record."""

from collections.abc import Mapping, Sequence
import functools
import json
import math
from typing import Any, Callable, Optional, Protocol

import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import groups as groups_lib
from iss_rnns.callbacks import shrinking
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import loop
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments import records
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.interop import tf1


class Training(Protocol):
    """How a task trains: what `train` asks for.

    What the records call an epoch is what lies between two evaluations.

    Attributes:
      options: of the task; among them when units are cut.
      fixed: JSON values that must stay the same when a run is resumed.
      steps: of an epoch.
      epochs: in all.
      max_steps: stop after so many steps in all; None means no bound.
      items: words or questions that a step reads.
      positions: that the recurrent layers take in a step, if others.
      checkpoint_every: see `records.SaveCheckpoints`.
      keep_checkpoints: how many.
      sparsifies_weights: whether it makes single weights zero: then only
        the last epoch is as sparse as asked.
      keep_one: see `callbacks.ShrinkWhileTraining`.
      log_every: steps between a step's scalars for TensorBoard; 0: none.
      show: of `progress.Progress`, with the clock before the logs; None
        means as there.
    """

    options: Any
    fixed: Mapping[str, Any]
    steps: int
    epochs: int
    max_steps: Optional[int]
    items: int
    positions: Optional[int] = None
    checkpoint_every: int
    keep_checkpoints: int = 2
    sparsifies_weights: bool = False
    keep_one: bool = False
    log_every: int = 0
    show: Optional[Callable[[progress_lib.Clock, Mapping], str]] = None

    def compiled(self, sizes: Optional[tasks.Sizes]) -> tf.keras.Model:
        """The net in its model, with an optimizer that is built.

        Args:
          sizes: of a checkpoint that is restored next; None: those that
            training begins with.
        """

    def sparsity(self, net: tasks.Net) -> list[tf.keras.callbacks.Callback]:
        """Callbacks that act on the weights: penalties, freezing, zeros."""

    def groups(self, net: tasks.Net) -> Sequence[groups_lib.Group]:
        """Those whose living units are on record, and are cut."""
        return net.iss_groups()

    def epoch_start(
        self, resumed_epoch: Optional[int]
    ) -> list[tf.keras.callbacks.Callback]:
        """What each epoch begins with.

        Args:
          resumed_epoch: the epoch that a resumed run is in the middle of.
        """
        return []

    def batches(self, epoch: int, batch: int) -> tf.data.Dataset:
        """See `loop.fit_batches`."""

    def held_out(self) -> Any:
        """A batch for the model's `cost_of`."""

    def row(
        self, model: tf.keras.Model, logs: Mapping, clock: progress_lib.Clock
    ) -> dict[str, Any]:
        """Evaluates; see `records.EpochEvaluation`."""

    def line(self, row: Mapping, units: str, living: str) -> str:
        """Row and units as text; see `records.EpochEvaluation`."""

    def score(self, row: Mapping) -> float:
        """What of a row says how good an epoch is: the lower, the better."""


def train(
    training: Training, run: runs.RunDirectory, resume: bool
) -> tuple[tf.keras.Model, metrics_lib.Metrics]:
    """Trains to the last epoch, or goes on with an interrupted run.

    The model then has the weights of the epoch that the options name.

    Args:
      training: see `Training`.
      run: its directory.
      resume: from the run's newest checkpoint.

    Returns:
      (the model with the trained net, the epochs' metrics).

    Raises:
      UserError: if a resumed run was made with other options, or training
        broke.
    """
    checkpoints = checkpoints_lib.Checkpoints(
        run.checkpoints, training.keep_checkpoints
    )
    state: dict[str, Any] = {
        "epoch": 0,
        "batch": 0,
        "seconds": 0.0,
        "sizes": None,
    }
    if resume:
        state = checkpoints.last_state()
        loop.check_same_run(state, training.fixed)
    epoch, batch = state["epoch"], state["batch"]
    run.begin()
    model = training.compiled(state["sizes"])
    # A resumed run of an older version may have been cut: then they are lost.
    designed = state.get("designed_sizes") or dict(model.net.sizes)
    step = 0
    if resume:
        checkpoints.restore(model)
        step = int(model.optimizer.iterations)
        print(
            f"resumed {run.path} at epoch {epoch + 1}, step {step}", flush=True
        )
    over = training.max_steps is not None and step >= training.max_steps
    metrics = metrics_lib.Metrics(
        # An epoch that was stopped early has its row, too.
        run.path / "metrics.csv",
        training.epochs if over else epoch,
    )
    groups = training.groups(model.net)
    tensorboard = records.TensorBoard(run.path / "tensorboard")
    clock = progress_lib.Clock(training.items, state["seconds"])
    sparsity = training.sparsity(model.net)
    watching = [
        callbacks.SparsityLogger(groups),
        progress_lib.Progress(
            training.steps,
            training.epochs,
            groups,
            clock,
            batch,
            training.show and functools.partial(training.show, clock),
        ),
        records.EpochEvaluation(
            training.row, training.line, metrics, groups, clock, tensorboard
        ),
    ]
    cutter = _cutter(training, groups, sparsity + watching, state)
    best = _best(training, groups, metrics, state)
    if best and resume and "best" not in state:
        best.restore(_best_of_1_0_0(run, model.net, training, metrics))

    def describe():
        return {
            **training.fixed,
            "sizes": dict(model.net.sizes),
            "designed_sizes": designed,
            "seconds": clock.seconds(),
            "shrinking": cutter and cutter.state(),
            "best": best and best.state(),
        }

    loop.fit_batches(
        model,
        training.batches,
        training.steps,
        training.epochs,
        [
            *sparsity,
            *training.epoch_start(epoch if batch else None),
            # Cutting is part of what training takes.
            *([cutter] if cutter else []),
            clock,
            *(
                [records.StepScalars(tensorboard, training.log_every)]
                if training.log_every
                else []
            ),
            *watching,
            *([best] if best else []),
            records.SaveCheckpoints(
                checkpoints,
                training.checkpoint_every,
                training.steps,
                describe,
                batch,
            ),
        ],
        epoch=epoch,
        batch=batch,
        max_steps=training.max_steps,
    )
    if cutter:
        run.write_text("cuts.json", json.dumps(cutter.cuts, indent=1))
    _take_chosen(run, checkpoints, model)
    return model, metrics


def _take_chosen(run, checkpoints, model) -> None:
    """Restores the epoch that is to be used, if it is not the last."""
    chosen = checkpoints.steps() and restoring.chosen_epoch(str(run.path))
    if not chosen:
        return
    if restoring.takes_best_file(run.path):
        path = str(run.path / runs.BEST)
        tf1.assign(model.net.tf1_views(), restoring.read_arrays(path), path)
    else:
        step, _ = checkpoints_lib.find_best(run.checkpoints)
        checkpoints.restore(model, step)
    print(f"the weights are those {chosen}", flush=True)


def _best(training, groups, metrics, state) -> Optional[records.KeepBest]:
    """Knows the best epoch; None if the last one is to be used."""
    options = training.options
    if (
        options.export_epoch == "last"
        or options.pruning is not None
        or training.sparsifies_weights
    ):
        return None
    best = records.KeepBest(
        metrics,
        training.score,
        # The authors' program does not ask how many are left.
        (
            dict
            if options.export_epoch == "best_of_all"
            else functools.partial(
                callbacks.alive_units, groups, options.dead_below
            )
        ),
        training.steps,
        state["batch"],
    )
    best.restore(state.get("best"))
    return best


def _best_of_1_0_0(run, net, training, metrics) -> Optional[dict]:
    """A state of `records.KeepBest` for the file that version 1.0.0 wrote."""
    path = run.path / runs.BEST
    if not path.exists():
        return None
    shapes = [
        {name: tuple(array.shape) for name, array in arrays.items()}
        for arrays in (restoring.read_arrays(str(path)), net.tf1_views())
    ]
    rows = [row for row in metrics.rows if math.isfinite(training.score(row))]
    if shapes[0] != shapes[1] or not rows:
        return None
    row = min(rows, key=training.score)
    record = {
        "step": 0,
        "epoch": int(row["epoch"]),
        "score": training.score(row),
        "sizes": dict(net.sizes),
        "units": callbacks.alive_units(
            training.groups(net), training.options.dead_below
        ),
    }
    return {"best": record, "whole": record}


def _cutter(
    training, groups, watching, state
) -> Optional[callbacks.ShrinkWhileTraining]:
    """Cuts dead units while it trains; None if the options do not ask."""
    options = training.options
    if options.shrink_every_steps is None:
        return None
    cutter = callbacks.ShrinkWhileTraining(
        groups,
        training.held_out(),
        options.shrink_every_steps,
        options.dead_below,
        options.dead_checks,
        steps=min(
            training.steps * training.epochs,
            training.max_steps or training.steps * training.epochs,
        ),
        items=training.positions or training.items,
        least_gain=options.least_gain,
        keep_one=training.keep_one,
        followers=shrinking.followers(watching),
        epoch_steps=training.steps,
        start_batch=state["batch"],
        report=functools.partial(print, flush=True),
    )
    cutter.restore(state.get("shrinking"))
    return cutter
