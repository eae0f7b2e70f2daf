"""Trains the word language model: from options to a trained net on disk."""

import dataclasses
from typing import Dict, List, Optional, Tuple

import numpy as np
import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import corpora
from iss_rnns import errors
from iss_rnns import language_model
from iss_rnns import thresholding
from iss_rnns import training
from iss_rnns.interop import ptb_settings
from ptb import model as model_lib


@dataclasses.dataclass(frozen=True)
class Options:
    """What a run needs, from flags and settings; see the flags' help."""
    config: model_lib.ModelConfig
    hidden_sizes: Tuple[int, ...]
    settings: ptb_settings.Settings
    regularizer: str = "l1"
    optimizer: str = "gd"
    freeze_mode: Optional[str] = None
    epochs: int = 13
    max_train_steps: Optional[int] = None
    checkpoint_every: int = 500
    seed: int = 0

    def describe(self) -> Dict:
        """What must stay the same when a run is resumed."""
        return {"hidden_sizes": list(self.hidden_sizes),
                "config": dataclasses.asdict(self.config),
                "seed": self.seed}


def new_net(options: Options, vocab_size: int) -> model_lib.WordLSTM:
    """A freshly initialised net of the options' sizes."""
    return model_lib.WordLSTM(
        vocab_size, options.config.hidden_size, options.hidden_sizes,
        keep_prob=options.config.keep_prob,
        init_scale=options.config.init_scale, seed=options.seed)


def compiled(net: model_lib.WordLSTM, options: Options
             ) -> language_model.LanguageModel:
    """The net in its trainer, with the options' optimizer."""
    optimizer = {
        "gd": tf.keras.optimizers.SGD,
        # TensorFlow 1's epsilon.
        "adam": lambda rate: tf.keras.optimizers.Adam(rate, epsilon=1e-8),
    }[options.optimizer](options.config.learning_rate)
    model = language_model.LanguageModel(
        net, options.config.batch_size, options.config.max_grad_norm,
        seed=options.seed)
    model.compile(optimizer=optimizer)
    return model


def sparsity_callbacks(net: model_lib.WordLSTM, options: Options) -> List:
    """Penalties, freezing and thresholding that the settings ask for."""
    settings = options.settings
    result = []
    if settings.weight_decay:
        result.append(callbacks.WeightPenalty(options.regularizer,
                                              settings.weight_decay))
    groups = ptb_settings.build_groups(settings, net.tf1_views(),
                                       net.tf1_cells())
    if groups and settings.global_decay:
        result.append(callbacks.GroupLasso(groups, settings.global_decay))
    if options.freeze_mode:
        result.append(callbacks.FreezeZeros(options.freeze_mode,
                                            net.iss_groups()))
    if settings.sparsifies:
        result.append(callbacks.ThresholdZeroing(
            max(thresholding.ZERO_THRESHOLD, 2 * settings.weight_decay)))
    return result


def train(options: Options, corpus: corpora.Corpus,
          run: training.RunDirectory, resume: bool,
          net: Optional[model_lib.WordLSTM] = None
          ) -> Tuple[model_lib.WordLSTM, training.Metrics]:
    """Trains to the last epoch, from scratch, from `net`, or resumed.

    Returns:
      (the trained net, the epochs' metrics).

    Raises:
      UserError: if the data does not fit the batch, a resumed run was made
        with other options, or training broke.
    """
    config = options.config
    x, y = corpora.batches(corpus.train, config.batch_size, config.num_steps)
    valid = corpora.batches(corpus.valid, config.batch_size, config.num_steps)
    checkpoints = training.Checkpoints(run)
    state = {"epoch": 0, "batch": 0, "seconds": 0.,
             "sizes": options.hidden_sizes}
    if resume:
        state = checkpoints.last_state()
        check_same_run(state, options, corpus)
    net = net or new_net(options, len(corpus.symbols))
    if resume:
        net = net.resized(dict(zip([c.name for c in net.lstm_cells],
                                   state["sizes"])))
    model = compiled(net, options)
    if resume:
        checkpoints.restore(model)
        print(f"resumed {run.path} at epoch {state['epoch'] + 1}, step "
              f"{int(model.optimizer.iterations)}", flush=True)
    sparsity = sparsity_callbacks(net, options)
    groups = net.iss_groups()
    metrics = training.Metrics(run.path / "metrics.csv", state["epoch"])
    evaluator = language_model.Evaluator(net)
    clock = training.Clock(config.batch_size * config.num_steps,
                           state["seconds"])

    def describe():
        return {**options.describe(), "corpus": corpus.description,
                "sizes": list(model.net.hidden_sizes),
                "seconds": clock.seconds()}

    training.fit(
        model, x, y, options.epochs, sparsity + [
            training.EpochStart(
                lambda epoch: model_lib.learning_rate(config, epoch,
                                                      options.optimizer),
                state["epoch"] if state["batch"] else None),
            clock,
            callbacks.SparsityLogger(groups),
            training.Progress(len(x), options.epochs, groups, clock,
                              state["batch"]),
            training.EpochEnd(lambda: evaluator.perplexity(*valid), metrics,
                              groups, clock, run.path / "tensorboard"),
            training.SaveCheckpoints(checkpoints, options.checkpoint_every,
                                     len(x), describe, state["batch"]),
        ], epoch=state["epoch"], batch=state["batch"],
        max_steps=options.max_train_steps)
    return model.net, metrics


def check_same_run(state: Dict, options: Options,
                   corpus: corpora.Corpus) -> None:
    """Refuses to resume with other data or hyper-parameters.

    Raises:
      UserError: naming what differs.
    """
    now = {**options.describe(), "corpus": corpus.description}
    for key, value in now.items():
        if np.any(state[key] != value):
            raise errors.UserError(
                f"cannot resume: the run was made with {key} = "
                f"{state[key]}, now it is {value}; give the flags of the "
                "interrupted run (its flags.txt)")
