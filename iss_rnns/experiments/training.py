"""One training run of any task: begun or gone on with, cut, on record."""

from collections.abc import Mapping, Sequence
import functools
import json
import math
from typing import Any, Callable, Optional, Protocol

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import callbacks
from iss_rnns import groups as groups_lib
from iss_rnns.callbacks import shrinking
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import distribution
from iss_rnns.experiments import loop
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments import records
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import size_flags
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

    def loss(self, row: Mapping) -> float:
        """Nats of a row, of what is validated."""


def train(
    training: Training, run: runs.RunDirectory, resume: bool
) -> tuple[tf.keras.Model, metrics_lib.Metrics]:
    """Trains to the last epoch, or goes on with an interrupted run.

    The model then has the weights of the epoch that the options name. Of
    several workers that is the chief's; the others have done their part.

    Args:
      training: see `Training`.
      run: its directory.
      resume: from the run's newest checkpoint.

    Returns:
      (the model with the trained net, the epochs' metrics).

    Raises:
      UserError: if a resumed run was made with other options, training
        broke, or a worker is lost.
    """
    workers = distribution.current()
    with workers.together():
        live = _LiveRun(training, run, resume, workers)
        loop.fit_batches(
            live.model,
            training.batches,
            training.steps,
            training.epochs,
            live.all_callbacks(),
            epoch=live.state["epoch"],
            batch=live.state["batch"],
            max_steps=training.max_steps,
        )
    if live.cutter:
        run.write_text("cuts.json", json.dumps(live.cutter.cuts, indent=1))
    model = live.model
    if workers.chief:
        if workers.strategy and live.checkpoints.steps():
            # What follows is for one process, and for variables of its own.
            model = training.compiled(dict(model.net.sizes))
            live.checkpoints.restore(model)
        _take_chosen(run, live.checkpoints, model)
    return model, live.metrics


class _LiveRun:
    """A run in training: its model, what acts on it and what is on record.

    Args:
      training: see `Training`.
      run: its directory.
      resume: from its newest checkpoint.
      workers: that train together.

    Attributes:
      checkpoints: of the run.
      state: of the checkpoint that it goes on from, or of the beginning.
      model: that trains, with the weights of then.
      metrics: a row an epoch.
      groups: whose living units are on record, and are cut.
      steering: brings them to a size; None if the options do not ask.
      cutter: cuts them; None if the options do not ask.
      best: knows the best epoch; None if the last one is to be used.
    """

    def __init__(
        self,
        training: Training,
        run: runs.RunDirectory,
        resume: bool,
        workers: distribution.Workers,
    ):
        self.training = training
        self.run = run
        self.chief = workers.chief
        self.checkpoints = checkpoints_lib.Checkpoints(
            run.checkpoints, training.keep_checkpoints, writes=workers.chief
        )
        self.state: dict[str, Any] = {
            "epoch": 0,
            "batch": 0,
            "seconds": 0.0,
            "sizes": None,
        }
        if resume:
            self.state = self.checkpoints.last_state()
            loop.check_same_run(
                self.state, {**training.fixed, **self._fixed_size()}
            )
        run.begin()
        with workers.scope():
            self.model = training.compiled(self.state["sizes"])
            step = self._restored() if resume else 0
        # A resumed run of an older version may have been cut: then they are
        # lost.
        self._designed = self.state.get("designed_sizes") or dict(
            self.model.net.sizes
        )
        workers.agree("the step to go on from", step)
        workers.watch(self.model)
        over = training.max_steps is not None and step >= training.max_steps
        self.metrics = metrics_lib.Metrics(
            # An epoch that was stopped early has its row, too.
            run.path / "metrics.csv",
            training.epochs if over else self.state["epoch"],
        )
        self.groups = training.groups(self.model.net)
        self._tensorboard = records.TensorBoard(run.path / "tensorboard")
        self._clock = progress_lib.Clock(training.items, self.state["seconds"])
        with workers.scope():
            self.steering = self._new_steering()
            self._sparsity = training.sparsity(self.model.net)
        if self.steering:
            self._sparsity.append(self.steering)
        self._watching = self._watchers()
        self.cutter = self._new_cutter()
        self.best = self._new_best(resume)

    def _restored(self) -> int:
        """Goes back to the newest checkpoint; the steps that were run."""
        self.checkpoints.restore(self.model)
        step = _keras.updates(self.model)
        self._tell(
            f"resumed {self.run.path} at epoch {self.state['epoch'] + 1}, "
            f"step {step}"
        )
        return step

    def _watchers(self) -> list[tf.keras.callbacks.Callback]:
        """What shows and records how it goes, on the chief."""
        training = self.training
        if not self.chief:
            return []
        return [
            callbacks.SparsityLogger(self.groups),
            progress_lib.Progress(
                training.steps,
                training.epochs,
                self.groups,
                self._clock,
                self.state["batch"],
                training.show and functools.partial(training.show, self._clock),
                self._size_shown,
            ),
            records.EpochEvaluation(
                training.row,
                training.line,
                self.metrics,
                self.groups,
                self._clock,
                self._tensorboard,
                size=self._size_shown,
            ),
        ]

    @property
    def _steps(self) -> int:
        """Of the whole training."""
        planned = self.training.steps * self.training.epochs
        return min(planned, self.training.max_steps or planned)

    def _fixed_size(self) -> dict[str, Any]:
        """The size asked for, as what a resumed run must have in common."""
        goal, name = self.training.options.target, size_flags.RECORD
        before = self.state.get(name)
        # When it began, it planned for so many steps, and keeps to that.
        kept = {k: before[k] for k in ("steps", "stopped_at")} if before else {}
        return {name: goal and {**goal.describe(), **kept}}

    def _new_steering(self) -> Optional[callbacks.SizeTarget]:
        goal = self.training.options.target
        if goal is None:
            return None
        planned = self.state.get(size_flags.RECORD) or {"steps": self._steps}
        return goal.steering(self.model.net, planned["steps"], self._designed)

    def _size_shown(self) -> str:
        if self.steering is None:
            return ""
        return f", size {size_flags.shown(self.steering.progress())}"

    def _size_judge(self) -> list[tf.keras.callbacks.Callback]:
        """What ends the steering when it costs too much, by the last row."""
        steering, training = self.steering, self.training
        if steering is None or steering.max_loss is None:
            return []

        def judge(epoch, logs):
            del logs
            row = self.metrics.rows[-1]
            whole = _keras.updates(self.model) % training.steps == 0
            # An epoch that was stopped early will be gone on with.
            if whole and steering.judge(training.loss(row)):
                print(
                    f"epoch {epoch + 1} validates more than "
                    f"--target_max_loss={steering.max_loss:g} nats worse than "
                    "the best one: the sizes stay as they are, at "
                    f"{steering.stopped_at:.3g}",
                    flush=True,
                )

        return [tf.keras.callbacks.LambdaCallback(on_epoch_end=judge)]

    def _new_cutter(self) -> Optional[callbacks.ShrinkWhileTraining]:
        training, options = self.training, self.training.options
        if options.shrink_every_steps is None:
            return None
        cutter = callbacks.ShrinkWhileTraining(
            self.groups,
            training.held_out(),
            options.shrink_every_steps,
            options.dead_below,
            options.dead_checks,
            steps=self._steps,
            items=training.positions or training.items,
            least_gain=options.least_gain,
            keep_one=training.keep_one,
            followers=shrinking.followers(self._sparsity + self._watching),
            epoch_steps=training.steps,
            start_batch=self.state["batch"],
            report=self._tell,
        )
        cutter.restore(self.state.get("shrinking"))
        return cutter

    def _tell(self, line: str) -> None:
        if self.chief:
            print(line, flush=True)

    def _new_best(self, resume: bool) -> Optional[records.KeepBest]:
        training, options = self.training, self.training.options
        if (
            not self.chief
            or options.export_epoch == "last"
            or options.pruning is not None
            or training.sparsifies_weights
        ):
            return None
        best = records.KeepBest(
            self.metrics,
            training.score,
            # The authors' program does not ask how many are left.
            (
                dict
                if options.export_epoch == "best_of_all"
                else functools.partial(
                    callbacks.alive_units, self.groups, options.dead_below
                )
            ),
            training.steps,
            self.state["batch"],
        )
        if resume and "best" not in self.state:
            best.restore(
                _best_of_1_0_0(self.run, self.model.net, training, self.metrics)
            )
        else:
            best.restore(self.state.get("best"))
        return best

    def all_callbacks(self) -> list[tf.keras.callbacks.Callback]:
        """All of them, in the order in which they act."""
        training, state = self.training, self.state
        acting = [
            *self._sparsity,
            *training.epoch_start(state["epoch"] if state["batch"] else None),
            # Cutting is part of what training takes.
            self.cutter,
            self._clock,
            records.StepScalars(self._tensorboard, training.log_every)
            if self.chief and training.log_every
            else None,
            *self._watching,
            *self._size_judge(),
            self.best,
            records.SaveCheckpoints(
                self.checkpoints,
                training.checkpoint_every,
                training.steps,
                self._state_now,
                state["batch"],
            ),
        ]
        return [each for each in acting if each is not None]

    def _state_now(self) -> dict[str, Any]:
        """What stands beside a checkpoint of now; see `states`."""
        training = self.training
        return {
            **training.fixed,
            "sizes": dict(self.model.net.sizes),
            "designed_sizes": self._designed,
            size_flags.RECORD: self.steering
            and {
                **training.options.target.describe(),
                "steps": self.steering.steps,
                "stopped_at": self.steering.stopped_at,
            },
            "seconds": self._clock.seconds(),
            "shrinking": self.cutter and self.cutter.state(),
            "best": self.best and self.best.state(),
        }


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
