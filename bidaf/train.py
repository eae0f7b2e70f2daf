"""Trains BiDAF: from options to a trained net on disk."""

from collections.abc import Sequence
import dataclasses
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import penalties
from bidaf import scoring
from bidaf import step as step_lib
from bidaf.data import feed
from bidaf.data import sources
from bidaf.net import groups as groups_lib
from iss_rnns import _keras
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns.experiments import distribution
from iss_rnns.experiments import machine
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments import training
from iss_rnns.interop import group_json
from iss_rnns.interop import tf1

LR_STEPS = 3  # gradient descent's rate has so many levels


def new_net(
    options: options_lib.Options,
    questions: sources.Questions,
    sizes: Optional[tasks.Sizes] = None,
    known_words: Optional[bool] = None,
) -> model_lib.BiDAF:
    """A freshly initialised net.

    Args:
      options: see `options.Options`, complete for the data.
      questions: to train on.
      sizes: of its directions, instead of those that training begins with.
      known_words: whether these start from their vectors; None: not if sizes
        are given, which is for weights that are restored next.
    """
    vectors = None
    if known_words or (known_words is None and not sizes):
        vectors = feed.embedding_matrix(questions.trained, options.seed)
    return model_lib.BiDAF(options.model, sizes, options.seed, vectors)


def trained_variables(
    net: model_lib.BiDAF, names: Sequence[str]
) -> list[tf.Variable]:
    """The net's variables behind TF1 names.

    Raises:
      UserError: on a name that the net lacks.
    """
    views = net.tf1_views()
    for name in names:
        if tf1.canonical(name) not in views:
            raise errors.UserError(
                f"finetuning_config names '{name}', which the model lacks; "
                f"it has: {', '.join(views)}"
            )
    return [v for name in names for v in views[tf1.canonical(name)].variables]


def penalized_groups(
    net: model_lib.BiDAF, options: options_lib.TrainingOptions
) -> list[groups.Group]:
    """The groups that `structure_wd` acts on; [] without `group_config`."""
    if options.group_config is None:
        return []
    if isinstance(options.group_config, group_json.GroupFile):
        return groups_lib.from_file(net, options.group_config)
    names: Sequence[str] = groups_lib.shrinkable(net)
    if net.config.answer_func == "sum":
        # Says why most of what was asked for cannot be.
        names = groups_lib.PRUNABLE
    return groups_lib.iss_groups(
        net, names, attended=options.group_config == options_lib.ISS
    )


def compiled(
    net: model_lib.BiDAF,
    options: options_lib.TrainingOptions,
    vectors: np.ndarray,
) -> step_lib.Trainer:
    """The net in its trainer, with the options' optimizer."""
    trained = None
    if options.finetuned is not None:
        trained = trained_variables(net, options.finetuned)
    model = step_lib.Trainer(
        net,
        vectors,
        var_decay=options.var_decay,
        threshold=options.threshold,
        wy=options.wy,
        trained=trained,
        decay=options.decay,
        seed=options.seed,
        product_dtype=machine.product_dtype(options.compute_dtype),
    )
    if options.optimizer == "adam":
        # TensorFlow 1's epsilon.
        optimizer = tf.keras.optimizers.Adam(options.init_lr, epsilon=1e-8)
    else:
        optimizer = tf.keras.optimizers.SGD(
            tf.keras.optimizers.schedules.ExponentialDecay(
                options.init_lr,
                max(options.num_steps // LR_STEPS, 1),
                0.1,
                staircase=True,
            )
        )
    model.compile(optimizer=optimizer)
    # Left to the first step, this would have the step traced twice.
    optimizer.build(model.trainable_variables)
    return model


def sparsity_callbacks(
    net: model_lib.BiDAF, options: options_lib.TrainingOptions
) -> list[tf.keras.callbacks.Callback]:
    """Penalties and freezing that the options ask for."""
    result = []
    if options.wd:
        result.append(
            _NetPenalty(
                lambda model: penalties.l2_penalty(model.net, options.wd)
            )
        )
    if not options.structured_sparsity:
        if options.l1wd:
            result.append(
                _NetPenalty(
                    lambda model: penalties.l1_penalty(
                        model.net, options.l1wd, model.value_at_step_start
                    )
                )
            )
    elif options.row_col_wd or options.l1wd:
        result.append(
            _NetPenalty(
                lambda model: penalties.mixed_penalty(
                    penalties.mixed_lasso(model.net, options.coef_scaling),
                    options.row_col_wd,
                    options.l1wd,
                    model.value_at_step_start,
                )
            )
        )
    penalized = penalized_groups(net, options)
    if penalized and options.structure_wd:
        result.append(callbacks.GroupLasso(penalized, options.structure_wd))
    if options.freeze_mode:
        result.append(
            _FreezeFound(options.freeze_mode, penalized or net.iss_groups())
        )
    if options.pruning:
        result += options.pruning.callbacks(net.layer_types())
    return result


class _NetPenalty(callbacks.Penalty):
    """A penalty on the net that trains, which cuts may replace."""

    def __init__(self, formula: Callable[[step_lib.Trainer], tf.Tensor]):
        super().__init__(self._of_model)
        self._formula = formula

    def _of_model(self) -> tf.Tensor:
        return self._formula(self.model)


class _FreezeFound(callbacks.FreezeZeros):
    """Freezes what a step found to be zero, not what it made zero."""

    def __init__(self, mode: str, groups: Sequence):
        # Only what is exactly 0 stays so.
        tiny = float(np.finfo(np.float32).tiny)
        super().__init__(mode, groups, tiny, self._value_at_step_start)

    def _value_at_step_start(self, variable: tf.Variable) -> tf.Tensor:
        return self.model.value_at_step_start(variable)


def train(
    options: options_lib.Options,
    questions: sources.Questions,
    run: runs.RunDirectory,
    resume: bool,
    start: Optional[model_lib.BiDAF] = None,
) -> tuple[step_lib.Trainer, metrics_lib.Metrics]:
    """Trains to the last step, from scratch, from `start`, or resumed.

    Between two evaluations, `eval_period` steps, lies what the records call
    an epoch.

    Args:
      options: see `options.Options`, complete for the data; `model` is also
        that of `start`.
      questions: with both parts.
      run: its directory.
      resume: from the run's newest checkpoint.
      start: net to start from; None means a new one.

    Returns:
      (trainer of the trained net, the evaluations' metrics).

    Raises:
      UserError: see `training.train`.
    """
    return training.train(
        _Training(options, questions, run, None if resume else start),
        run,
        resume,
    )


class _Training(training.Training):
    """See base class."""

    keep_one = True

    def __init__(self, options, questions, run, start):
        self.options = options
        self.questions = questions
        self.run = run
        self.start = start
        self.fixed = {
            "options": options.describe(),
            "model": dataclasses.asdict(options.model),
            "max_word_size": questions.sizes.max_word_size,
            "questions": questions.description,
            "batch_size": options.batch_size,
            "eval_period": options.eval_period,
            "cluster": options.cluster,
            "data": dataclasses.asdict(questions.trained.config),
        }
        if isinstance(options.group_config, group_json.GroupFile):
            self.fixed["groups"] = options.group_config.digest
        self.steps = options.eval_period
        self.epochs = -(-options.num_steps // options.eval_period)
        self.max_steps = options.num_steps
        self.items = options.batch_size
        part = questions.trained.part
        self.positions = self.items * len(part.tokens) // part.num_questions
        self.checkpoint_every = options.checkpoint_every
        self.keep_checkpoints = options.max_to_keep
        self.log_every = options.log_period
        self.sparsifies_weights = bool(options.l1wd or options.row_col_wd)
        self._judged: Any = None
        self._function: Any = None
        self._scores: Any = None

    def compiled(self, sizes):
        net = self.start
        if sizes or net is None:
            net = new_net(self.options, self.questions, sizes)
        else:
            net = distribution.own(net)
        return compiled(net, self.options, self.questions.vectors)

    def sparsity(self, net):
        return sparsity_callbacks(net, self.options)

    def groups(self, net):
        return penalized_groups(net, self.options) or net.iss_groups()

    def batches(self, epoch, batch):
        return sources.training_batches(
            self.questions,
            self.items,
            self.options.seed,
            epoch * self.steps + batch,
            self.max_steps,
            self.options.cluster,
        )

    def held_out(self):
        _, batch = next(
            sources.judged_batches(self.questions, self.items, num_batches=1)
        )
        return batch

    def show(self, clock, logs):
        # Six counts of units follow, in the same 80 columns.
        return (
            f"cost {float(logs['smoothed_cost']):.2f}, "
            f"{clock.words_per_second():.1f} q/s"
        )

    def row(self, model, logs, clock):
        """Scores the weights as they are, and writes the answers."""
        options, judged = self.options, self.questions.judged
        if self._judged is not model.net:  # Cuts replace it.
            self._judged = model.net
            self._function = scoring.net_function(
                model.net, model.vectors, model.wy
            )
        self._scores = scores = scoring.score(
            self._function,
            self.questions,
            self.items,
            options.rules,
            options.val_num_batches,
        )
        step = _keras.updates(model)
        scoring.write_answers(
            scores,
            *options.answer_files(self.run.path, f"{judged.name}-{step:06}"),
        )
        return {
            "step": step,
            "train_cost": float(logs["smoothed_cost"]),
            "regularization": float(logs["regularization"]),
            "dev_cost": scores.cost,
            "dev_exact_match": scores.exact_match,
            "dev_f1": scores.f1,
            "questions_per_second": clock.words_per_second(),
            "seconds": clock.seconds(),
        }

    def score(self, row):
        return -metrics_lib.number(row, "dev_f1")

    def loss(self, row):
        return metrics_lib.number(row, "dev_cost")

    def line(self, row, units, living):
        return (
            f"step {row['step']}  train cost {row['train_cost']:.3f}  "
            f"{self.questions.judged.name}: {self._scores}  units {living}  "
            f"{row['questions_per_second']:.1f} questions/s"
        )
