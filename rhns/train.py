"""Trains the highway language model: from options to a net on disk."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Optional

import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import optimizers
from iss_rnns.experiments import machine
from iss_rnns.experiments import metrics
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import training as language_training
from iss_rnns.interop import group_json
from rhns import model as model_lib


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run needs, from flags; see the flags' help.

    Attributes:
      iss: penalize the ISS groups of the model itself.
      group_file: penalize the groups of a file instead.
    """

    config: model_lib.ModelConfig
    iss: bool = False
    group_file: Optional[group_json.GroupFile] = None
    epochs: int = 500
    max_train_steps: Optional[int] = None
    checkpoint_every: int = 500
    seed: int = 0
    shrink_every_steps: Optional[int] = None  # 0: each epoch; None: never
    dead_below: float = 0.0
    dead_checks: int = 3
    compute_dtype: str = "float32"
    pruning: Optional[pruning_flags.Plan] = None

    @property
    def method(self) -> str:
        """What makes the net small, as tables of runs name it."""
        parts = [self.pruning.title] if self.pruning else []
        if self.config.structure_wd:
            parts.append("ISS")
        return " + ".join(parts) or "dense"

    def describe(self) -> dict:
        """What must stay the same when a run is resumed."""
        config = dataclasses.asdict(self.config)
        if self.config.lr_policy != "equal_step":
            # Nothing follows from it but the end: a run may be made longer.
            del config["max_max_epoch"]
        return {
            "config": config,
            "iss": self.iss,
            "group_file": self.group_file and self.group_file.source,
            "groups": self.group_file and self.group_file.digest,
            "seed": self.seed,
            "compute_dtype": self.compute_dtype,
            "shrink_every_steps": self.shrink_every_steps,
            "dead_below": self.dead_below,
            "dead_checks": self.dead_checks,
            "pruning": self.pruning and self.pruning.describe(),
        }


def new_net(
    options: Options,
    vocab_size: int,
    hidden_sizes: Optional[Sequence[int]] = None,
) -> model_lib.HighwayLM:
    """A freshly initialised net, of the options' sizes unless others."""
    config = options.config
    # As in the authors' code: few symbols need no wider embedding.
    narrow = not config.tied and vocab_size < config.hidden_size
    return model_lib.HighwayLM(
        vocab_size,
        hidden_sizes or [config.hidden_size] * config.num_layers,
        config.depth,
        config.tied,
        embedding_size=vocab_size if narrow else None,
        rates=config.rates,
        init_scale=config.init_scale,
        init_bias=config.init_bias,
        seed=options.seed,
    )


def compiled(
    net: model_lib.HighwayLM, options: Options
) -> language_model.LanguageModel:
    """The net in its trainer, with the options' optimizer."""
    model = language_model.LanguageModel(
        net,
        options.config.batch_size,
        options.config.max_grad_norm,
        seed=options.seed,
        product_dtype=machine.product_dtype(options.compute_dtype),
    )
    model.compile(
        optimizer=optimizers.GradientDescent(options.config.learning_rate)
    )
    # Variables made within the first step would have it traced twice.
    model.optimizer.build(net.trainable_variables)
    return model


def penalized_groups(
    net: model_lib.HighwayLM, options: Options
) -> list[groups.Group]:
    """The groups that the group lasso is on."""
    if options.group_file:
        return group_json.build_groups(options.group_file, net.tf1_views())
    return net.iss_groups() if options.iss else []


def zeroed_variables(
    net: model_lib.HighwayLM, options: Options
) -> list[tf.Variable]:
    """What small weights are zeroed in: whatever the groups name."""
    if options.group_file:
        return group_json.named_variables(options.group_file, net.tf1_views())
    return groups.unique_variables(penalized_groups(net, options))


def sparsity_callbacks(net: model_lib.HighwayLM, options: Options) -> list:
    """Penalties and thresholding that the options ask for."""
    config = options.config
    result = []
    if config.weight_decay:
        result.append(
            callbacks.WeightPenalty("l2", config.weight_decay, exclude=())
        )
    penalized = penalized_groups(net, options)
    if penalized and config.structure_wd:
        result.append(callbacks.GroupLasso(penalized, config.structure_wd))
    if penalized and config.zero_threshold:
        # Of the groups' variables only, not of biases.
        result.append(
            callbacks.ThresholdZeroing(
                config.zero_threshold,
                lambda model: zeroed_variables(model.net, options),
            )
        )
    if options.pruning:
        result += options.pruning.callbacks(net.layer_types())
    return result


def check(
    options: Options,
    corpus: corpora.Corpus,
    net: Optional[model_lib.HighwayLM] = None,
) -> None:
    """Refuses, before anything is written, what training would refuse.

    Args:
      options: see `Options`.
      corpus: to train on.
      net: to start from; None means a new one.

    Raises:
      UserError: if the training text is too short for a batch, the file of
        groups does not fit the model, or the learning rate leaves the range
        of numbers.
    """
    if options.group_file and options.shrink_every_steps is not None:
        raise errors.UserError(
            "--shrink_every_steps needs --group_config=iss: the columns that "
            "a file names are those of the whole model"
        )
    if not math.isfinite(
        model_lib.learning_rate(options.config, max(options.epochs - 1, 0))
    ):
        raise errors.UserError(
            f"--lr_decay={options.config.lr_decay:g} makes the learning rate "
            f"overflow by epoch {options.epochs}; it is divided by it each "
            "epoch from --max_epoch on, so expected a number of 1 or more, "
            "e.g. 1.02"
        )
    corpora.batches(
        corpus.train,
        options.config.batch_size,
        options.config.num_steps,
        "training text",
    )
    if net is None:
        net = new_net(options, len(corpus.symbols))
    sparsity_callbacks(net, options)


def train(
    options: Options,
    corpus: corpora.Corpus,
    run: runs.RunDirectory,
    resume: bool,
    net: Optional[model_lib.HighwayLM] = None,
) -> tuple[model_lib.HighwayLM, metrics.Metrics]:
    """Trains to the last epoch, from scratch, from `net`, or resumed.

    Returns:
      (the trained net, the epochs' metrics).

    Raises:
      UserError: see `training.train`.
    """
    config = options.config

    def model_of(sizes):
        start = (
            net
            if net is not None and not resume
            else new_net(options, len(corpus.symbols), sizes)
        )
        return compiled(start, options)

    plan = language_training.Plan(
        config.batch_size,
        config.num_steps,
        options.epochs,
        lambda epoch: model_lib.learning_rate(config, epoch),
        options.describe(),
        options.max_train_steps,
        options.checkpoint_every,
        options.shrink_every_steps,
        options.dead_below,
        options.dead_checks,
        # As the authors' program does; pruned weights are the last ones'.
        keep_best=options.pruning is None,
    )
    return language_training.train(
        plan,
        corpus,
        run,
        resume,
        model_of,
        lambda trained: sparsity_callbacks(trained, options),
    )
