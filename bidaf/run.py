"""One training run of BiDAF: the loop, its records, and going on with it."""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
from typing import Optional

import tensorflow as tf

from bidaf import model as model_lib
from bidaf import scoring
from bidaf import train as train_lib
from bidaf import trainer as trainer_lib
from bidaf.data import feed
from bidaf.data import sources
from iss_rnns import callbacks
from iss_rnns import files
from iss_rnns.callbacks import shrinking
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import loop
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments import records
from iss_rnns.experiments import runs
from iss_rnns.interop import group_json

ANSWERS, EVAL = "answers", "eval"  # folders below a run's


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a run goes, beside what training needs; see the flags' help."""

    batch_size: int = 60
    eval_period: int = 1000
    save_period: int = 1000
    log_period: int = 100
    max_to_keep: int = 20
    val_num_batches: int = 0
    cluster: bool = False
    dump_answer: bool = True
    dump_eval: bool = True
    rules: scoring.Rules = scoring.Rules()


def fresh_net(
    config: model_lib.ModelConfig,
    questions: sources.Questions,
    seed: int,
    sizes: Optional[dict[str, int]] = None,
) -> model_lib.BiDAF:
    """A net with initial weights: known words start from their vectors."""
    return model_lib.BiDAF(
        config, sizes, seed, feed.embedding_matrix(questions.train, seed)
    )


def train(
    net: model_lib.BiDAF,
    options: train_lib.Options,
    plan: Plan,
    questions: sources.Questions,
    run: runs.RunDirectory,
    resume: bool,
) -> tuple[trainer_lib.Trainer, list[dict]]:
    """Trains to the last step, or goes on with an interrupted run.

    Between two evaluations, `eval_period` steps, lies what the records call
    an epoch.

    Args:
      net: to start from; its weights are replaced when a run is resumed.
      options: see `train.Options`.
      plan: see `Plan`.
      questions: with both parts.
      run: its directory.
      resume: from the run's newest checkpoint.

    Returns:
      (trainer of the trained net, rows of `metrics.csv`).

    Raises:
      UserError: if a resumed run was made with other options, or training
        broke.
    """
    checkpoints = checkpoints_lib.Checkpoints(run.checkpoints, plan.max_to_keep)
    fixed = {
        "options": json.loads(json.dumps(options.describe())),
        "model": dataclasses.asdict(net.config),
        "max_word_size": questions.sizes.max_word_size,
        "questions": questions.description,
        "batch_size": plan.batch_size,
        "eval_period": plan.eval_period,
        "cluster": plan.cluster,
        "data": dataclasses.asdict(questions.train.config),
    }
    if isinstance(options.group_config, group_json.GroupFile):
        fixed["groups"] = options.group_config.digest
    state = {"epoch": 0, "batch": 0, "seconds": 0.0}
    if resume:
        state = checkpoints.last_state()
        loop.check_same_run(state, fixed)
    run.begin()
    trainer = train_lib.compiled(net, options, questions.vectors)
    if resume:
        checkpoints.restore(trainer)
        print(
            f"resumed {run.path} at step {int(trainer.optimizer.iterations)}",
            flush=True,
        )
    else:
        questions.vocabulary.save(run.path / sources.VOCABULARY)
    # A resumed run of an older version was never cut.
    designed = state.get("designed_sizes") or dict(net.sizes)
    groups = train_lib.penalized_groups(net, options) or net.iss_groups()
    clock = progress_lib.Clock(plan.batch_size, state["seconds"])
    epochs = -(-options.num_steps // plan.eval_period)
    finished = int(trainer.optimizer.iterations) >= options.num_steps
    metrics = metrics_lib.Metrics(
        run.path / "metrics.csv", epochs if finished else state["epoch"]
    )
    tensorboard = records.TensorBoard(run.path / "tensorboard")
    sparsity = train_lib.sparsity_callbacks(net, options)
    logger = callbacks.SparsityLogger(groups)
    progress = progress_lib.Progress(
        plan.eval_period,
        epochs,
        groups,
        clock,
        state["batch"],
        # Six counts of units follow, in the same 80 columns.
        lambda logs: (
            f"cost {float(logs['smoothed_cost']):.2f}, "
            f"{clock.words_per_second():.1f} q/s"
        ),
    )
    judge = Judge(questions, plan, run, metrics, groups, clock, tensorboard)
    cutter = None
    if options.shrink_every_steps is not None:
        _, held_out = next(
            sources.judged_batches(questions, plan.batch_size, num_batches=1)
        )
        cutter = callbacks.ShrinkWhileTraining(
            groups,
            held_out,
            options.shrink_every_steps,
            options.dead_below,
            options.dead_checks,
            keep_one=True,
            followers=shrinking.followers(sparsity + [logger, progress, judge]),
            epoch_steps=plan.eval_period,
            start_batch=state["batch"],
        )
        cutter.restore(state.get("shrinking"))
    loop.fit_batches(
        trainer,
        lambda epoch, batch: sources.training_batches(
            questions,
            plan.batch_size,
            options.seed,
            epoch * plan.eval_period + batch,
            options.num_steps,
            plan.cluster,
        ),
        plan.eval_period,
        epochs,
        sparsity
        + [
            # Cutting is part of what training takes.
            *([cutter] if cutter else []),
            clock,
            _Scalars(tensorboard, plan.log_period),
            logger,
            progress,
            judge,
            records.SaveCheckpoints(
                checkpoints,
                plan.save_period,
                plan.eval_period,
                lambda: {
                    **fixed,
                    "sizes": dict(trainer.net.sizes),
                    "designed_sizes": designed,
                    "seconds": clock.seconds(),
                    "shrinking": cutter and cutter.state(),
                },
                state["batch"],
            ),
        ],
        epoch=state["epoch"],
        batch=state["batch"],
        max_steps=options.num_steps,
        flag_names=loop.FlagNames("load_path", "init_lr"),
    )
    if cutter:
        run.write_text("cuts.json", json.dumps(cutter.cuts, indent=1))
    return trainer, metrics.rows


class Judge(tf.keras.callbacks.Callback):
    """Scores the weights as they are, and writes the epoch's row.

    Args:
      questions: to judge on.
      plan: see `Plan`.
      run: its directory, for answers.
      metrics: the run's.
      groups: whose living units are printed.
      clock: of training.
      tensorboard: of the row's numbers.
      alive_above: norm below which a unit is shown as dead, beside the count
        of exact zeros: dead units bounce a step's length around zero.
    """

    def __init__(
        self,
        questions: sources.Questions,
        plan: Plan,
        run: runs.RunDirectory,
        metrics: metrics_lib.Metrics,
        groups: Sequence,
        clock: progress_lib.Clock,
        tensorboard: records.TensorBoard,
        alive_above: float = 0.05,
    ):
        super().__init__()
        self.questions = questions
        self.plan = plan
        self.run = run
        self.metrics = metrics
        self.groups = groups
        self.clock = clock
        self.tensorboard = tensorboard
        self.alive_above = alive_above
        self._judged: Optional[model_lib.BiDAF] = None
        self._function: Optional[scoring.NetFunction] = None

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.optimizer.iterations)
        speed = self.clock.words_per_second()
        if self._judged is not self.model.net:  # Cuts replace it.
            self._judged = self.model.net
            self._function = scoring.net_function(
                self.model.net, self.model.vectors, self.model.wy
            )
        scores = scoring.score(
            self._function,
            self.questions,
            self.plan.batch_size,
            self.plan.rules,
            self.plan.val_num_batches,
        )
        row = {
            "epoch": epoch + 1,
            "step": step,
            "train_cost": float(logs["smoothed_cost"]),
            "regularization": float(logs["regularization"]),
            "dev_cost": scores.cost,
            "dev_exact_match": scores.exact_match,
            "dev_f1": scores.f1,
            "questions_per_second": speed,
            "seconds": self.clock.seconds(),
        }
        row.update(
            {
                key: value
                for key, value in logs.items()
                if "/" in key or key.endswith("_sparsity")
            }
        )
        living = callbacks.alive_units(self.groups, self.alive_above)
        row.update(
            {
                f"units_above_{self.alive_above:g}/{name}": count
                for name, count in living.items()
            }
        )
        self.metrics.append(row)
        self.tensorboard.write(step, row)
        dump(
            scores,
            self.run.path,
            f"{self.questions.judged.name}-{step:06}",
            self.plan,
        )
        units = "/".join(map(str, living.values()))
        print(
            f"step {step}  train cost {row['train_cost']:.3f}  "
            f"{self.questions.judged.name}: {scores}  units above "
            f"{self.alive_above:g}: {units}  {speed:.1f} questions/s",
            flush=True,
        )


def dump(
    scores: scoring.Scores,
    folder: pathlib.Path,
    name: str,
    plan: Plan,
    answer_path: Optional[str] = None,
) -> list[pathlib.Path]:
    """Writes answers as the official script reads them, and their details.

    Args:
      scores: see `scoring.Scores`.
      folder: `answers/` and `eval/` below it are used.
      name: of the files.
      plan: says which of them.
      answer_path: file of the answers, instead.

    Returns:
      The files.
    """
    written = []
    for wanted, place, content in (
        (plan.dump_answer, ANSWERS, scores.answers),
        (plan.dump_eval, EVAL, scores.details),
    ):
        if not wanted:
            continue
        path = pathlib.Path(folder) / place / f"{name}.json"
        if place == ANSWERS and answer_path:
            path = pathlib.Path(answer_path)
        files.make_folder(path.parent)
        files.write_json(path, content)
        written.append(path)
    return written


class _Scalars(tf.keras.callbacks.Callback):
    """Cost and penalty for TensorBoard, every so many steps."""

    def __init__(self, tensorboard: records.TensorBoard, period: int):
        super().__init__()
        self.tensorboard = tensorboard
        self.period = period

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.optimizer.iterations)
        if step % self.period == 0:
            self.tensorboard.write(
                step, {f"train/{key}": value for key, value in logs.items()}
            )
