"""How language models train, whatever their net is."""

import math
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.experiments import distribution
from iss_rnns.experiments import machine
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import tasks
from iss_rnns.experiments import training
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import options as options_lib


class LanguageTraining(training.Training):
    """A language model's training; a task's says with what net and penalties.

    Args:
      options: of the task.
      corpus: to train and validate on.
      start: net to start from; None means a new one.

    Raises:
      UserError: if the data does not fit the batch.
    """

    warmup_steps = 0  # see `EpochStart`

    def __init__(
        self,
        options: options_lib.LanguageOptions,
        corpus: corpora.Corpus,
        start: Optional[tasks.LanguageNet] = None,
    ):
        config = options.config
        self.options = options
        self.start = start
        self.vocab_size = len(corpus.symbols)
        self.windows = training_windows(options, corpus)
        self.valid = corpora.batches(
            corpus.valid, config.batch_size, config.num_steps, "valid text"
        )
        self.bits = corpus.unit == "character"
        self.fixed = {**options.describe(), "data": corpus.fingerprint}
        self.steps = len(self.windows[0])
        self.epochs = options.epochs
        self.max_steps = options.max_train_steps
        self.items = config.batch_size * config.num_steps
        self.checkpoint_every = options.checkpoint_every
        self._evaluator: Optional[language_model.Evaluator] = None

    def new_net(self, sizes: Optional[tasks.Sizes]) -> tasks.LanguageNet:
        """See `tasks.Task.new_net`."""
        raise NotImplementedError

    def compiled_net(
        self, net: tasks.LanguageNet
    ) -> language_model.LanguageModel:
        """The net in its trainer; see `compiled`."""
        raise NotImplementedError

    def learning_rate(self, epoch: int) -> float:
        """Of an epoch, counted from 0."""
        raise NotImplementedError

    def compiled(self, sizes):
        """See base class."""
        net = self.start
        if sizes or net is None:
            net = self.new_net(sizes)
        else:
            net = distribution.own(net)
        return self.compiled_net(net)

    def epoch_start(self, resumed_epoch):
        """See base class."""
        return [
            EpochStart(self.learning_rate, resumed_epoch, self.warmup_steps)
        ]

    def batches(self, epoch, batch):
        """See base class."""
        del epoch  # All read the same.
        return window_batches(*(ids[batch:] for ids in self.windows))

    def held_out(self):
        """See base class."""
        return tuple(ids[0] for ids in self.valid)

    def row(self, model, logs, clock):
        """See base class."""
        # Cuts replace the net.
        if self._evaluator is None or self._evaluator.net is not model.net:
            self._evaluator = language_model.Evaluator(model.net)
        penalty = float(logs["regularization"])
        row = {
            "learning_rate": float(model.optimizer.learning_rate.numpy()),
            "train_perplexity": float(logs["perplexity"]),
            "valid_perplexity": self._evaluator.perplexity(*self.valid),
            "regularization": penalty,
            "words_per_second": clock.words_per_second(),
            "seconds": clock.seconds(),
            # The authors' RHN program reports its cost with all penalties.
            "train_perplexity_with_penalties": float(
                logs["perplexity"] * tf.exp(penalty)
            ),
        }
        if self.bits:
            for part in ("train", "valid"):
                row[f"{part}_bits"] = math.log2(row[f"{part}_perplexity"])
        return row

    def score(self, row):
        """See base class."""
        return metrics_lib.number(row, "valid_perplexity")

    def loss(self, row):
        """See base class."""
        return math.log(metrics_lib.number(row, "valid_perplexity"))

    def line(self, row, units, living):
        """See base class."""
        bits = (
            f"({row['train_bits']:.3f} and {row['valid_bits']:.3f} bits)  "
            if self.bits
            else ""
        )
        return (
            f"epoch {row['epoch']}  "
            f"learning rate {row['learning_rate']:.4g}  "
            f"train {row['train_perplexity']:.2f}  "
            f"valid {row['valid_perplexity']:.2f}  "
            f"{bits}units {units} ({living})  "
            f"{row['words_per_second']:.0f} words/s"
        )


def training_windows(
    options: options_lib.LanguageOptions, corpus: corpora.Corpus
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the training text and the next ids, `[N, B, T]` each.

    Raises:
      UserError: if it is too short for a batch.
    """
    config = options.config
    return corpora.batches(
        corpus.train, config.batch_size, config.num_steps, "training text"
    )


def compiled(
    net: tasks.LanguageNet,
    options: options_lib.LanguageOptions,
    optimizer: tf.keras.optimizers.Optimizer,
) -> language_model.LanguageModel:
    """The net in its trainer."""
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


class EpochStart(tf.keras.callbacks.Callback):
    """Fresh state and this epoch's learning rate at each epoch's start.

    Args:
      learning_rate: function of the epoch, counted from 0.
      resumed_epoch: the epoch that a resumed run is in the middle of: its
        state and totals come from the checkpoint. None if there is none.
      warmup_steps: over so many first steps of a run the learning rate rises
        in a straight line; 0 means it does not.
    """

    def __init__(
        self,
        learning_rate: Callable[[int], float],
        resumed_epoch: Optional[int] = None,
        warmup_steps: int = 0,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.resumed_epoch = resumed_epoch
        self.warmup_steps = warmup_steps
        self._rate = 0.0
        self._warming_up = warmup_steps > 0

    def on_epoch_begin(self, epoch, logs=None):
        self._rate = self.learning_rate(epoch)
        self.model.optimizer.learning_rate.assign(self._rate)
        if epoch != self.resumed_epoch:
            self.model.reset_states()
        self.resumed_epoch = None

    def on_train_batch_begin(self, batch, logs=None):
        if self._warming_up:
            step = _keras.updates(self.model)
            self._warming_up = step + 1 < self.warmup_steps
            self.model.optimizer.learning_rate.assign(
                self._rate * min((step + 1) / self.warmup_steps, 1.0)
            )


def window_batches(x: np.ndarray, y: np.ndarray) -> tf.data.Dataset:
    """Windows in order, as `fit` takes them.

    Args:
      x: `[N, B, T]` ids; y: the next ids.
    """

    def pairs():
        return zip(x, y)

    spec = tf.TensorSpec(x.shape[1:], tf.int32)
    windows = tf.data.Dataset.from_generator(
        pairs, output_signature=(spec, spec)
    )
    # With an unknown length Keras runs one step too many, until the data is
    # out; what needs no data in it (step count, Adam's decay) would be done.
    return windows.apply(
        tf.data.experimental.assert_cardinality(len(x))
    ).prefetch(4)
