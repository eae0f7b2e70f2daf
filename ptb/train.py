"""Trains the word language model: from options to a trained net on disk."""

from collections.abc import Sequence
import dataclasses
from typing import Optional

import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import optimizers
from iss_rnns import thresholding
from iss_rnns.experiments import machine
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import training as language_training
from iss_rnns.interop import ptb_settings
from iss_rnns.ops import in_place
from ptb import model as model_lib

MIXED = "mixed_bfloat16"


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run needs, from flags and settings; see the flags' help."""

    config: model_lib.ModelConfig
    hidden_sizes: tuple[int, ...]
    settings: ptb_settings.Settings
    regularizer: str = "l1"
    optimizer: str = "gd"
    freeze_mode: Optional[str] = None
    epochs: int = 13
    max_train_steps: Optional[int] = None
    checkpoint_every: int = 500
    seed: int = 0
    zero_threshold: float = thresholding.ZERO_THRESHOLD
    shrink_every_steps: Optional[int] = None  # 0: each epoch; None: never
    dead_below: float = 0.0
    dead_checks: int = 3
    relax_epoch: Optional[int] = None  # counted from 1
    relax_decay: float = 0.0
    cell: str = "lstm"
    compute_dtype: str = "float32"
    warmup_steps: int = 0
    mixed_precision: bool = False
    pruning: Optional[pruning_flags.Plan] = None

    @property
    def method(self) -> str:
        """What makes the net small, as tables of runs name it."""
        settings = self.settings
        parts = [self.pruning.title] if self.pruning else []
        if settings.grouplasso and settings.global_decay:
            parts.append("ISS" if settings.learns_structures else "group lasso")
        if settings.weight_decay:
            parts.append(self.regularizer.upper())
        return " + ".join(parts) or "dense"

    @property
    def strength(self) -> float:
        """Of the group lasso."""
        return self.settings.global_decay if self.settings.grouplasso else 0.0

    @property
    def threshold(self) -> float:
        """Below it, training makes weights exact zeros; 0 switches it off."""
        if not self.settings.sparsifies:
            return 0.0
        return max(self.zero_threshold, 2 * self.settings.weight_decay)

    def describe(self) -> dict:
        """What must stay the same when a run is resumed."""
        return {
            "hidden_sizes": list(self.hidden_sizes),
            "config": dataclasses.asdict(self.config),
            "seed": self.seed,
            "optimizer": self.optimizer,
            "freeze_mode": self.freeze_mode,
            "regularizer": self.regularizer,
            "weight_decay": self.settings.weight_decay,
            "global_decay": self.settings.global_decay,
            "grouplasso": self.settings.grouplasso,
            "relax_epoch": self.relax_epoch,
            "relax_decay": self.relax_decay,
            "cell": self.cell,
            "compute_dtype": self.compute_dtype,
            "warmup_steps": self.warmup_steps,
            "mixed_precision": self.mixed_precision,
            "zero_threshold": self.zero_threshold,
            "shrink_every_steps": self.shrink_every_steps,
            "dead_below": self.dead_below,
            "dead_checks": self.dead_checks,
            "pruning": self.pruning and self.pruning.describe(),
        }

    def lasso_strength(self, epoch: int) -> float:
        """Lambda of an epoch, counted from 0."""
        if self.relax_epoch is not None and epoch + 1 >= self.relax_epoch:
            return self.relax_decay
        return self.settings.global_decay


def new_net(
    options: Options,
    vocab_size: int,
    hidden_sizes: Optional[Sequence[int]] = None,
) -> model_lib.WordLSTM:
    """A freshly initialised net, of the options' sizes unless others."""
    return model_lib.WordLSTM(
        vocab_size,
        options.config.hidden_size,
        hidden_sizes or options.hidden_sizes,
        keep_prob=options.config.keep_prob,
        init_scale=options.config.init_scale,
        seed=options.seed,
        cell=options.cell,
    )


def compiled(
    net: model_lib.WordLSTM, options: Options
) -> language_model.LanguageModel:
    """The net in its trainer, with the options' optimizer."""
    optimizer = {
        "gd": optimizers.GradientDescent,
        # TensorFlow 1's epsilon.
        "adam": lambda rate: tf.keras.optimizers.Adam(rate, epsilon=1e-8),
    }[options.optimizer](options.config.learning_rate)
    model = language_model.LanguageModel(
        net,
        options.config.batch_size,
        options.config.max_grad_norm,
        seed=options.seed,
        product_dtype=machine.product_dtype(options.compute_dtype),
    )
    model.compile(optimizer=optimizer)
    # Left to the first step, this would have the step traced twice.
    optimizer.build(model.trainable_variables)
    return model


def sparsity_callbacks(net: model_lib.WordLSTM, options: Options) -> list:
    """Penalties, freezing and thresholding that the settings ask for."""
    settings = options.settings
    result = []
    if settings.weight_decay:
        result.append(
            callbacks.WeightPenalty(options.regularizer, settings.weight_decay)
        )
    penalized = ptb_settings.build_groups(
        settings, net.tf1_views(), net.tf1_cells()
    )
    if penalized and settings.global_decay:
        result.append(
            callbacks.GroupLasso(
                penalized,
                settings.global_decay
                if options.relax_epoch is None
                else options.lasso_strength,
            )
        )
    if options.freeze_mode:
        result.append(
            callbacks.FreezeZeros(options.freeze_mode, net.iss_groups())
        )
    if options.threshold:
        result.append(callbacks.ThresholdZeroing(options.threshold))
    if options.pruning:
        result += options.pruning.callbacks(net.layer_types())
    return result


def check(
    options: Options,
    corpus: corpora.Corpus,
    net: Optional[model_lib.WordLSTM] = None,
) -> None:
    """Refuses, before anything is written, what training would refuse.

    Args:
      options: see `Options`.
      corpus: to train on.
      net: to start from; None means a new one.

    Raises:
      UserError: if the training text is too short for a batch, the settings
        name what the model lacks, or blocks are to be cut.
    """
    corpora.batches(
        corpus.train,
        options.config.batch_size,
        options.config.num_steps,
        "training text",
    )
    if net is None:
        net = new_net(options, len(corpus.symbols))
    added = sparsity_callbacks(net, options)
    if options.shrink_every_steps is not None and any(
        isinstance(group, groups.JoinedGrid)
        for callback in added
        if isinstance(callback, callbacks.GroupLasso)
        for group in callback.groups
    ):
        # The settings lay blocks over whole matrices: a resumed run would lay
        # others over the smaller ones.
        raise errors.UserError(
            "--shrink_every_steps: group lasso on blocks ('block_decay_multi' "
            "in the settings) needs the matrices whole; leave one of the two "
            "out"
        )


def train(
    options: Options,
    corpus: corpora.Corpus,
    run: runs.RunDirectory,
    resume: bool,
    net: Optional[model_lib.WordLSTM] = None,
) -> tuple[model_lib.WordLSTM, metrics_lib.Metrics]:
    """Trains to the last epoch, from scratch, from `net`, or resumed.

    Returns:
      (the trained net, computing in float32; the epochs' metrics).

    Raises:
      UserError: see `training.train`.
    """
    if not options.mixed_precision:
        return _train(options, corpus, run, resume, net)
    with machine.policy(MIXED):
        trained, metrics = _train(
            options,
            corpus,
            run,
            resume,
            None if net is None else machine.under_policy(net, MIXED),
        )
    # In bfloat16 the shrunk net's outputs could not be proved equal.
    return machine.under_policy(trained, "float32"), metrics


def _train(options, corpus, run, resume, net):
    config = options.config

    def model_of(sizes):
        start = net
        if net is None or resume:
            start = new_net(options, len(corpus.symbols), sizes)
        else:
            # The authors' program validates restored weights first, and
            # zeroes.
            in_place.zero_small(net.trainable_variables, options.threshold)
        return compiled(start, options)

    plan = language_training.Plan(
        config.batch_size,
        config.num_steps,
        options.epochs,
        lambda epoch: model_lib.learning_rate(config, epoch, options.optimizer),
        options.describe(),
        options.max_train_steps,
        options.checkpoint_every,
        options.shrink_every_steps,
        options.dead_below,
        options.dead_checks,
        options.warmup_steps,
    )
    return language_training.train(
        plan,
        corpus,
        run,
        resume,
        model_of,
        lambda trained: sparsity_callbacks(trained, options),
    )
