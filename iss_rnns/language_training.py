"""From a compiled language model and a text to a trained net on disk."""

from collections.abc import Sequence
import dataclasses
import json
from typing import Callable, Optional

import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import corpora
from iss_rnns import errors
from iss_rnns import language_model
from iss_rnns import runs
from iss_rnns import training
from iss_rnns.callbacks import shrinking


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
      warmup_steps: see `training.EpochStart`.
      dead_below: see `callbacks.ShrinkWhileTraining`, as `dead_checks`.
      keep_best: see `training.KeepBest`.
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
) -> tuple[object, runs.Metrics]:
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
    checkpoints = runs.Checkpoints(run.checkpoints)
    state = {"epoch": 0, "batch": 0, "seconds": 0.0, "sizes": None}
    if resume:
        state = checkpoints.last_state()
        check_same_run(state, fixed)
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
    metrics = runs.Metrics(run.path / "metrics.csv", state["epoch"])
    evaluators = {}

    def validate():
        if model.net not in evaluators:
            evaluators.clear()
            evaluators[model.net] = language_model.Evaluator(model.net)
        return evaluators[model.net].perplexity(*valid)

    clock = training.Clock(plan.batch_size * plan.num_steps, state["seconds"])

    def describe():
        return {
            **fixed,
            "sizes": list(model.net.hidden_sizes),
            "designed_sizes": designed,
            "seconds": clock.seconds(),
            "shrinking": cutter and cutter.state(),
        }

    logger = callbacks.SparsityLogger(groups)
    progress = training.Progress(
        len(x), plan.epochs, groups, clock, state["batch"]
    )
    epoch_end = training.EpochEnd(
        validate,
        metrics,
        groups,
        clock,
        training.TensorBoard(run.path / "tensorboard"),
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
    training.fit(
        model,
        x,
        y,
        plan.epochs,
        sparsity
        + [
            training.EpochStart(
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
                [training.KeepBest(run, metrics, len(x), state["batch"])]
                if plan.keep_best
                else []
            ),
            training.SaveCheckpoints(
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


def check_same_run(state: dict, now: dict) -> None:
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
