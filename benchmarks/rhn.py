"""The highway language model's speed: training, and what shrinking brings.

    python -m benchmarks.rhn --quick --json=rhn.json

Training: whole steps (noise, forward, gradient, clipping, SGD) of the dense
model of the ISS paper's Table 2 (depth 10, width 830, tied, 10,000 words),
with the cell in `recurrent.Recurrent` and the same cell in a stock
`tf.keras.layers.RNN`. Both start from the same weights and masks; their
first updates are compared. Inference: width 830 against the paper's 517,
beside the ratio of multiply-adds.

All models run in one process, in turn; ratios are medians over the rounds.
With one thread the clock is the process's CPU time, else it is wall time.

`--json` writes flat names to numbers:
  train/recurrent_words_per_s, train/keras_rnn_words_per_s, train/speedup,
  train/largest_update_difference (relative to the largest update);
  infer/BxT/830_ms, infer/BxT/517_ms, infer/BxT/ratio; mult_adds/ratio.
"""

import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# pylint: disable=wrong-import-position
import time

from absl import flags
import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import language_model
from iss_rnns import report
from iss_rnns import training
from rhns import model as model_lib

FLAGS = flags.FLAGS
flags.DEFINE_bool("quick", False, "Two rounds only, in under 50 s.")
flags.DEFINE_string("json", "", "File for the numbers, flat names to values.")
flags.DEFINE_integer("threads", 1, "CPU threads.", lower_bound=1)
flags.DEFINE_integer("rounds", 0, "Rounds of each measurement; 0: by --quick.",
                     lower_bound=0)
flags.DEFINE_integer("width", 830, "Of the dense model.", lower_bound=1)
flags.DEFINE_integer("shrunk_width", 517, "Of the small one.", lower_bound=1)
flags.DEFINE_integer("depth", 10, "Micro-steps.", lower_bound=1)
flags.DEFINE_integer("vocab_size", 10_000, "Words.", lower_bound=2)

BATCH, TIME = 20, 35
INFER_BATCH, INFER_TIME = 10, 30  # the paper's setting
TOLERANCE = 1e-4


class StockHighwayLM(model_lib.HighwayLM):
    """The same net with its cells in `tf.keras.layers.RNN`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.stock = [tf.keras.layers.RNN(
            cell, return_sequences=True, return_state=True, time_major=True)
                      for cell in self.cells]

    def features(self, inputs, states=None, training=None, seed=None,
                 noise=None):
        """See base class."""
        noise = self.draw_noise(inputs, seed)
        x = tf.gather(self.embedding, tf.transpose(inputs))
        x *= tf.transpose(noise.words)[..., None]
        finals = []
        for layer, state, masks in zip(self.stock, states, noise.layers):
            x, final = layer(x, initial_state=[state], constants=list(masks),
                             training=training)
            finals.append(final)
        return x * noise.outputs, finals


def new_net(kind, width):
    """A net with the rates of `ptb_sota`, equal weights for equal sizes."""
    config = model_lib.ModelConfig()
    return kind(FLAGS.vocab_size, [width], FLAGS.depth, rates=config.rates)


def new_model(net):
    """The net in its trainer."""
    config = model_lib.ModelConfig()
    model = language_model.LanguageModel(net, BATCH, config.max_grad_norm)
    model.compile(optimizer=tf.keras.optimizers.SGD(config.learning_rate))
    model.optimizer.build(net.trainable_variables)
    return model


def measure(runs, rounds):
    """name -> seconds of each round, in turn; each has run once before."""
    clock = time.process_time if FLAGS.threads == 1 else time.perf_counter
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def update_difference(models, before):
    """Largest |difference| of a weight, relative to the largest update."""
    ours, stock = ([v.numpy() for v in model.trainable_variables]
                   for model in models)
    largest = max(np.abs(a - b).max() for a, b in zip(ours, before))
    return float(max(np.abs(a - b).max()
                     for a, b in zip(ours, stock)) / largest)


def train_speed(rounds):
    """Words per second of both, and their ratio."""
    models = {"recurrent": new_model(new_net(model_lib.HighwayLM,
                                             FLAGS.width)),
              "keras_rnn": new_model(new_net(StockHighwayLM, FLAGS.width))}
    x, y = np.random.default_rng(0).integers(
        0, FLAGS.vocab_size, (2, BATCH, TIME)).astype(np.int32)

    def runner(model):
        step = tf.function(lambda: model.train_step((x, y))["cost"],
                           autograph=False)
        return lambda: float(step())

    before = [v.numpy() for v in models["recurrent"].trainable_variables]
    runs = {name: runner(model) for name, model in models.items()}
    for run in runs.values():
        run()
    difference = update_difference(models.values(), before)
    if not difference < TOLERANCE:
        raise errors.UserError(
            f"the two models' first updates differ by {difference:.3g} of "
            f"the largest, more than {TOLERANCE:g}: no speed to compare")
    seconds = measure(runs, rounds)
    words = BATCH * TIME
    return {
        **{f"train/{name}_words_per_s": words / float(np.median(s))
           for name, s in seconds.items()},
        "train/speedup": float(np.median(seconds["keras_rnn"]
                                         / seconds["recurrent"])),
        "train/largest_update_difference": difference,
    }


def inference_speed(rounds):
    """Milliseconds of a batch at both widths, and the ratios."""
    dense = new_net(model_lib.HighwayLM, FLAGS.width)
    small = dense.resized({dense.cells[0].name: FLAGS.shrunk_width})
    ids = tf.constant(np.random.default_rng(0).integers(
        0, FLAGS.vocab_size, (INFER_BATCH, INFER_TIME)).astype(np.int32))

    def runner(net):
        run = tf.function(lambda: tf.reduce_sum(net(ids, training=False)[0]),
                          autograph=False)
        return lambda: float(run())

    runs = {net.hidden_sizes[0]: runner(net) for net in (dense, small)}
    for run in runs.values():
        run()
    seconds = measure(runs, rounds)
    setting = f"infer/{INFER_BATCH}x{INFER_TIME}"
    return {
        **{f"{setting}/{width}_ms": 1e3 * float(np.median(s))
           for width, s in seconds.items()},
        f"{setting}/ratio": float(np.median(
            seconds[FLAGS.width] / seconds[FLAGS.shrunk_width])),
        "mult_adds/ratio": dense.mult_adds() / small.mult_adds(),
    }


def main(argv):
    """Measures, prints and writes."""
    if len(argv) > 1:
        raise errors.UserError(f"unknown argument '{argv[1]}'; see --help")
    if FLAGS.shrunk_width >= FLAGS.width:
        raise errors.UserError(
            f"--shrunk_width={FLAGS.shrunk_width} must be below "
            f"--width={FLAGS.width}")
    training.prepare_cpu(FLAGS.threads)
    rounds = FLAGS.rounds or (2 if FLAGS.quick else 7)
    print(f"depth {FLAGS.depth}, width {FLAGS.width}, tied, "
          f"{FLAGS.vocab_size:,} words, {FLAGS.threads} thread(s), medians "
          f"of {rounds} rounds", flush=True)
    numbers = train_speed(rounds)
    print(f"training, batch {BATCH} x {TIME}: "
          f"{numbers['train/recurrent_words_per_s']:.0f} words/s; in "
          f"tf.keras.layers.RNN {numbers['train/keras_rnn_words_per_s']:.0f};"
          f" {numbers['train/speedup']:.2f} times as fast (updates equal "
          f"to {numbers['train/largest_update_difference']:.1g})",
          flush=True)
    numbers.update(inference_speed(rounds))
    setting = f"infer/{INFER_BATCH}x{INFER_TIME}"
    print(f"inference, batch {INFER_BATCH} x {INFER_TIME}: width "
          f"{FLAGS.width} "
          f"{numbers[f'{setting}/{FLAGS.width}_ms']:.1f} ms, width "
          f"{FLAGS.shrunk_width} "
          f"{numbers[f'{setting}/{FLAGS.shrunk_width}_ms']:.1f} ms, "
          f"{numbers[f'{setting}/ratio']:.2f} times as fast; mult-adds "
          f"{numbers['mult_adds/ratio']:.2f} times fewer")
    if FLAGS.json:
        report.write_atomically(FLAGS.json, json.dumps(numbers, indent=1))


if __name__ == "__main__":
    errors.run_main(main)
