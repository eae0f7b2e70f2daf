"""Trains the word language model: from options to a trained net on disk."""

from typing import Callable, Optional

import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import optimizers
from iss_rnns.experiments import machine
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments import training
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import options as language_options
from iss_rnns.experiments.language import training as language_training
from iss_rnns.interop import ptb_settings
from iss_rnns.ops import in_place
from ptb import model as model_lib
from ptb import options as options_lib

MIXED = "mixed_bfloat16"


def new_net(
    options: options_lib.Options,
    vocab_size: int,
    sizes: Optional[tasks.Sizes] = None,
) -> model_lib.WordLSTM:
    """A freshly initialised net, of the options' sizes unless others."""
    return model_lib.WordLSTM(
        vocab_size,
        options.config.hidden_size,
        language_options.layer_sizes(sizes or options.sizes),
        keep_prob=options.config.keep_prob,
        init_scale=options.config.init_scale,
        seed=options.seed,
        cell=options.cell,
    )


def compiled(
    net: model_lib.WordLSTM, options: options_lib.Options
) -> language_model.LanguageModel:
    """The net in its trainer, with the options' optimizer."""
    kinds: dict[str, Callable] = {
        "gd": optimizers.GradientDescent,
        # TensorFlow 1's epsilon.
        "adam": lambda rate: tf.keras.optimizers.Adam(rate, epsilon=1e-8),
    }
    optimizer = kinds[options.optimizer](options.config.learning_rate)
    return language_training.compiled(net, options, optimizer)


def sparsity_callbacks(
    net: model_lib.WordLSTM, options: options_lib.Options
) -> list:
    """Penalties, freezing and thresholding that the settings ask for."""
    settings = options.settings
    result = []
    if settings.weight_decay:
        result.append(
            callbacks.WeightPenalty(
                options.regularizer, settings.weight_decay, exclude="embedding"
            )
        )
    penalized = ptb_settings.build_groups(
        settings, net.tf1_views(), net.tf1_cells()
    )
    if penalized and settings.global_decay:
        result.append(callbacks.GroupLasso(penalized, options.lasso))
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
    options: options_lib.Options,
    corpus: corpora.Corpus,
    net: model_lib.WordLSTM,
) -> None:
    """Refuses, before anything is written, what training would refuse.

    Args:
      options: see `options.Options`.
      corpus: to train on.
      net: of the sizes that training begins, or goes on, with.

    Raises:
      UserError: if the training text is too short for a batch, the settings
        name what the model lacks, or blocks are to be cut.
    """
    language_training.training_windows(options, corpus)
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
    options: options_lib.Options,
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
    start = None if resume else net
    if start is not None:
        # The authors' program validates restored weights first, and zeroes.
        in_place.zero_small(start.trainable_variables, options.threshold)
    if not options.mixed_precision:
        return _train(options, corpus, run, resume, start)
    with machine.policy(MIXED):
        trained, metrics = _train(
            options,
            corpus,
            run,
            resume,
            None if start is None else machine.under_policy(start, MIXED),
        )
    # In bfloat16 the shrunk net's outputs could not be proved equal.
    return machine.under_policy(trained, "float32"), metrics


def _train(options, corpus, run, resume, start):
    model, metrics = training.train(
        _Training(options, corpus, start), run, resume
    )
    return model.net, metrics


class _Training(language_training.LanguageTraining):
    """See base class."""

    options: options_lib.Options

    def __init__(self, options, corpus, start):
        super().__init__(options, corpus, start)
        self.warmup_steps = options.warmup_steps
        self.sparsifies_weights = options.sparsifies_weights

    def new_net(self, sizes):
        return new_net(self.options, self.vocab_size, sizes)

    def compiled_net(self, net):
        return compiled(net, self.options)

    def sparsity(self, net):
        return sparsity_callbacks(net, self.options)

    def learning_rate(self, epoch):
        return model_lib.learning_rate(
            self.options.config, epoch, self.options.optimizer
        )
