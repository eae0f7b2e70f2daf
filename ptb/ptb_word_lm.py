"""Word language model with Intrinsic Sparse Structures: the program.

    python -m ptb.ptb_word_lm --data_path=DIR --config_file=SETTINGS.json

Flags keep the authors' names and meanings; see `--help`.
"""

import dataclasses
import math
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# pylint: disable=wrong-import-position
from absl import flags
import tensorflow as tf

from iss_rnns import corpora
from iss_rnns import errors
from iss_rnns import training
from iss_rnns.interop import ptb_settings
from ptb import model as model_lib
from ptb import train as train_lib

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    flags.DEFINE_enum("model", "small", list(model_lib.CONFIGS),
                      "Hyper-parameters by name, exactly the authors'.")
    flags.DEFINE_string("data_path", None, "Folder with ptb.train.txt, "
                        "ptb.valid.txt and ptb.test.txt. Without it, prose "
                        "that comes with Python is used.")
    flags.DEFINE_string("restore_path", None, "Start from these weights: a "
                        "checkpoint of the authors' code (folder or prefix), "
                        "or a run directory or .npz file of this program.")
    flags.DEFINE_string("config_file", None, "The authors' JSON settings: "
                        "learning rate, keep probability, penalties. Without "
                        "it, the model trains dense.")
    flags.DEFINE_bool("display_weights", False, "Write pictures of the "
                      "restored weights' zero patterns into the run.")
    flags.DEFINE_enum("regularizer", "l1_regularizer",
                      ["l1_regularizer", "l2_regularizer"],
                      "What weight_decay of the settings weighs.")
    flags.DEFINE_enum("optimizer", "gd", ["gd", "adam"], "Optimizer.")
    flags.DEFINE_enum("freeze_mode", None, ["element", "group"],
                      "Keep zeros: single weights, or whole dead units.")
    flags.DEFINE_integer("hidden_size1", None, "Units of the first LSTM.")
    flags.DEFINE_integer("hidden_size2", None, "Units of the second LSTM.")
    flags.DEFINE_list("hidden_sizes", None, "Units of every LSTM, e.g. "
                      "373,315: any number of layers. The model's "
                      "hidden_size remains the width of the embedding.")
    flags.DEFINE_enum("mode", "train",
                      ["train", "eval", "shrink", "export", "report"],
                      "train: train, then shrink, export and report. The "
                      "others do their part with --restore_path.")
    flags.DEFINE_string("save_path", None, "Folder of the runs. Defaults to "
                        "the settings' save_path, else 'runs'.")
    flags.DEFINE_string("run_name", None, "The run's folder below "
                        "--save_path. Defaults to the time.")
    flags.DEFINE_bool("resume", False, "Go on with an interrupted run.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing run.")
    flags.DEFINE_integer("seed", 0, "Of weights and dropout.", lower_bound=0)
    flags.DEFINE_integer("epochs", None, "Instead of the model's.",
                         lower_bound=0)
    flags.DEFINE_integer("max_train_steps", None, "Stop after so many steps.",
                         lower_bound=0)
    flags.DEFINE_integer("checkpoint_every", 500, "Steps between checkpoints "
                         "(one more at each epoch's end).", lower_bound=0)
    flags.DEFINE_integer("batch_size", None, "Instead of the model's.",
                         lower_bound=1)
    flags.DEFINE_float("learning_rate", None, "Instead of the settings'.",
                       lower_bound=0.)
    flags.DEFINE_float("keep_prob", None, "Instead of the settings'.")
    flags.DEFINE_float("global_decay", None, "Strength of the group lasso, "
                       "instead of the settings'.")
    flags.DEFINE_integer("threads", 0, "CPU threads; 0 means all.",
                         lower_bound=0)


def settings_from_flags() -> ptb_settings.Settings:
    """The settings file with what flags override."""
    settings = (ptb_settings.load(FLAGS.config_file) if FLAGS.config_file
                else ptb_settings.Settings())
    if FLAGS.global_decay is not None:
        if not (FLAGS.global_decay >= 0 and math.isfinite(FLAGS.global_decay)):
            raise errors.UserError("--global_decay must be a number >= 0, "
                                   f"got {FLAGS.global_decay}")
        if not settings.grouplasso:
            raise errors.UserError("--global_decay needs a --config_file "
                                   "with a group lasso")
        settings = dataclasses.replace(settings,
                                       global_decay=FLAGS.global_decay)
    return settings


def options_from_flags() -> train_lib.Options:
    """One frozen object that the rest reads instead of flags."""
    settings = settings_from_flags()
    changes = {
        "learning_rate": settings.learning_rate,
        "keep_prob": settings.dropout_keep_prob,
    }
    changes.update({name: FLAGS[name].value for name in (
        "learning_rate", "keep_prob", "batch_size")
        if FLAGS[name].value is not None})
    config = dataclasses.replace(
        model_lib.CONFIGS[FLAGS.model],
        **{k: v for k, v in changes.items() if v is not None})
    if not 0 < config.keep_prob <= 1:
        raise errors.UserError("--keep_prob must be in (0, 1], got "
                               f"{config.keep_prob}")
    return train_lib.Options(
        config=config, hidden_sizes=_hidden_sizes(config), settings=settings,
        regularizer=FLAGS.regularizer[:2], optimizer=FLAGS.optimizer,
        freeze_mode=FLAGS.freeze_mode,
        epochs=(config.max_max_epoch if FLAGS.epochs is None
                else FLAGS.epochs),
        max_train_steps=FLAGS.max_train_steps,
        checkpoint_every=FLAGS.checkpoint_every, seed=FLAGS.seed)


def _hidden_sizes(config):
    pair = FLAGS.hidden_size1, FLAGS.hidden_size2
    if FLAGS.hidden_sizes:
        if any(pair):
            raise errors.UserError("give --hidden_sizes or --hidden_size1 "
                                   "and --hidden_size2, not both")
        sizes = FLAGS.hidden_sizes
    elif any(pair):
        # The authors' heterogeneous program always has two layers.
        sizes = [n or 1500 for n in pair]
    else:
        sizes = [config.hidden_size] * config.num_layers
    try:
        sizes = tuple(int(n) for n in sizes)
    except ValueError:
        raise errors.UserError("--hidden_sizes must be whole numbers, e.g. "
                               f"373,315, got {FLAGS.hidden_sizes}") from None
    if min(sizes) < 1:
        raise errors.UserError(f"layer sizes must be positive, got {sizes}")
    return sizes


def main(argv):
    """Runs one mode."""
    if len(argv) > 1:
        raise errors.UserError(f"unknown argument '{argv[1]}'; flags start "
                               "with --, see --help")
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    tf.config.threading.set_inter_op_parallelism_threads(
        1 if FLAGS.threads == 1 else 0)
    options = options_from_flags()
    corpus = (corpora.read_words(FLAGS.data_path) if FLAGS.data_path
              else corpora.embedded("word"))
    print(f"data: {corpus.description}", flush=True)
    run = training.RunDirectory(
        FLAGS.save_path or options.settings.save_path or "runs",
        FLAGS.run_name, FLAGS.resume, FLAGS.overwrite)
    if not FLAGS.resume:
        run.write_text("flags.txt", FLAGS.flags_into_string())
    train_lib.train(options, corpus, run, FLAGS.resume)


if __name__ == "__main__":
    define_flags()
    errors.run_main(main)
