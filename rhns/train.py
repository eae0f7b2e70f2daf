"""Trains the highway language model: from options to a net on disk."""

import math
from typing import Optional

import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import optimizers
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments import training
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import options as language_options
from iss_rnns.experiments.language import training as language_training
from iss_rnns.interop import group_json
from rhns import model as model_lib
from rhns import options as options_lib


def new_net(
    options: options_lib.Options,
    vocab_size: int,
    sizes: Optional[tasks.Sizes] = None,
) -> model_lib.HighwayLM:
    """A freshly initialised net, of the options' sizes unless others."""
    config = options.config
    # As in the authors' code: few symbols need no wider embedding.
    narrow = not config.tied and vocab_size < config.hidden_size
    return model_lib.HighwayLM(
        vocab_size,
        language_options.layer_sizes(sizes or options.sizes),
        config.depth,
        config.tied,
        embedding_size=vocab_size if narrow else None,
        rates=config.rates,
        init_scale=config.init_scale,
        init_bias=config.init_bias,
        seed=options.seed,
    )


def compiled(
    net: model_lib.HighwayLM, options: options_lib.Options
) -> language_model.LanguageModel:
    """The net in its trainer, with the options' optimizer."""
    return language_training.compiled(
        net,
        options,
        optimizers.GradientDescent(options.config.learning_rate),
    )


def penalized_groups(
    net: model_lib.HighwayLM, options: options_lib.Options
) -> list[groups.Group]:
    """The groups that the group lasso is on."""
    if options.group_file:
        return group_json.build_groups(options.group_file, net.tf1_views())
    return net.iss_groups() if options.iss else []


def zeroed_variables(
    net: model_lib.HighwayLM, options: options_lib.Options
) -> list[tf.Variable]:
    """What small weights are zeroed in: whatever the groups name."""
    if options.group_file:
        return group_json.named_variables(options.group_file, net.tf1_views())
    return groups.unique_variables(penalized_groups(net, options))


def sparsity_callbacks(
    net: model_lib.HighwayLM, options: options_lib.Options
) -> list:
    """Penalties and thresholding that the options ask for."""
    config = options.config
    result = []
    if config.weight_decay:
        result.append(
            callbacks.WeightPenalty("l2", config.weight_decay, exclude=())
        )
    penalized = penalized_groups(net, options)
    if penalized and config.structure_wd:
        result.append(callbacks.GroupLasso(penalized, options.lasso))
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
    options: options_lib.Options,
    corpus: corpora.Corpus,
    net: model_lib.HighwayLM,
) -> None:
    """Refuses, before anything is written, what training would refuse.

    Args:
      options: see `options.Options`.
      corpus: to train on.
      net: of the sizes that training begins, or goes on, with.

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
    language_training.training_windows(options, corpus)
    sparsity_callbacks(net, options)


def train(
    options: options_lib.Options,
    corpus: corpora.Corpus,
    run: runs.RunDirectory,
    resume: bool,
    net: Optional[model_lib.HighwayLM] = None,
) -> tuple[model_lib.HighwayLM, metrics_lib.Metrics]:
    """Trains to the last epoch, from scratch, from `net`, or resumed.

    Returns:
      (the trained net, the epochs' metrics).

    Raises:
      UserError: see `training.train`.
    """
    model, metrics = training.train(
        _Training(options, corpus, None if resume else net), run, resume
    )
    return model.net, metrics


class _Training(language_training.LanguageTraining):
    """See base class."""

    options: options_lib.Options

    def new_net(self, sizes):
        return new_net(self.options, self.vocab_size, sizes)

    def compiled_net(self, net):
        return compiled(net, self.options)

    def sparsity(self, net):
        return sparsity_callbacks(net, self.options)

    def learning_rate(self, epoch):
        return model_lib.learning_rate(self.options.config, epoch)
