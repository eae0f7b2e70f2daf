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
from iss_rnns import pipeline
from iss_rnns import report
from iss_rnns import results
from iss_rnns import thresholding
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
    flags.DEFINE_float("zero_threshold", thresholding.ZERO_THRESHOLD,
                       "Weights smaller than this become exact zeros while a "
                       "sparsity is learned (twice the weight_decay, if that "
                       "is more), and before shrinking.", lower_bound=0.)
    flags.DEFINE_integer("shrink_every_steps", None, "Cut dead units out "
                         "while training, checking every so many steps (0: "
                         "at each epoch's end), so that training gets "
                         "faster.", lower_bound=0)
    flags.DEFINE_float("dead_below", 0., "With --shrink_every_steps: a unit "
                       "is also dead if its group's norm stayed below this "
                       "for --dead_checks checks.", lower_bound=0.)
    flags.DEFINE_integer("dead_checks", 3, "See --dead_below.", lower_bound=1)
    flags.DEFINE_string("compare_with", None, "Directory of a finished run to "
                        "show beside this one, e.g. the dense baseline.")
    flags.DEFINE_bool("export_latency", False, "Also export TensorFlow Lite "
                      "models for batch 1 and 1 step.")
    flags.DEFINE_bool("mixed_precision", False, "Compute in bfloat16 with "
                      "float32 weights (the authors' use_fp16).")
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
        checkpoint_every=FLAGS.checkpoint_every, seed=FLAGS.seed,
        zero_threshold=FLAGS.zero_threshold,
        shrink_every_steps=FLAGS.shrink_every_steps,
        dead_below=FLAGS.dead_below, dead_checks=FLAGS.dead_checks)


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
    training.use_threads(FLAGS.threads)
    if FLAGS.mixed_precision:
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    options = options_from_flags()
    if FLAGS.mode != "train" and not FLAGS.restore_path:
        raise errors.UserError(f"--mode={FLAGS.mode} needs --restore_path: a "
                               "checkpoint, a run directory or a .npz file")
    corpus = (corpora.read_words(FLAGS.data_path) if FLAGS.data_path
              else corpora.embedded("word"))
    print(f"data: {corpus.description}", flush=True)
    texts = pipeline.Texts.of(corpus, options.config.batch_size,
                              options.config.num_steps)
    net = None
    if FLAGS.restore_path:
        net = pipeline.restore(
            lambda sizes: train_lib.new_net(options, len(corpus.symbols),
                                            sizes),
            FLAGS.restore_path, model_lib.sizes_of)
    if FLAGS.mode == "eval":
        for name, value in pipeline.evaluate(net, texts).items():
            print(f"{name} {value:.3f}")
        return
    if FLAGS.mode == "train":
        train_lib.check(options, corpus)
    run = training.RunDirectory(
        FLAGS.save_path or options.settings.save_path or "runs",
        FLAGS.run_name, FLAGS.resume, FLAGS.overwrite)
    command = training.command_line("ptb.ptb_word_lm")
    if not FLAGS.resume:
        run.write_text("flags.txt", FLAGS.flags_into_string())
    rows = []
    if FLAGS.mode == "train":
        net, metrics = train_lib.train(options, corpus, run, FLAGS.resume,
                                       net)
        rows = metrics.rows
    else:
        rows = pipeline.past_rows(FLAGS.restore_path)
        thresholding.zero_small(net.trainable_variables,
                                options.zero_threshold)
    if FLAGS.display_weights:
        pipeline.draw(run, net, net, rows)
        print(f"weights: {run.path / 'plots' / 'weights.png'}")
    designed = train_lib.new_net(options, len(corpus.symbols))
    finish(run, net, designed, texts, command, rows)


def finish(run, net, designed, texts, command, rows) -> None:
    """What follows training, as far as the mode goes."""
    if FLAGS.mode == "shrink":
        small, _ = pipeline.shrink_proved(net, texts)
        pipeline.save_weights(small, run.path / "compressed.npz")
        for name, value in pipeline.evaluate(small, texts).items():
            print(f"{name} {value:.3f}")
        print(f"weights: {run.path / 'compressed.npz'}")
    elif FLAGS.mode == "export":
        small, proof = pipeline.shrink_proved(net, texts)
        pipeline.export_both(
            net, small, run, texts,
            {"data": texts.corpus.description, "command": command,
             "units before": proof.before, "units after": proof.after},
            FLAGS.export_latency)
        print(f"exported to {run.path / 'saved_model'}")
    else:
        pipeline.finish(
            run, net, texts, command,
            [report.Column(f"paper: {row['method']}", {
                "units": row["iss"], "valid perplexity": row["valid"],
                "test perplexity": row["test"],
                "weights (M)": row["weights_M"], "ms per batch": row["time_ms"],
                "speedup": row["speedup"],
                "mult-add reduction": row["multadd_reduction"]})
             for row in results.paper_rows("iss_table1_ptb")[:2]],
            rows, designed, FLAGS.compare_with, FLAGS.export_latency,
            title=f"Word language model, {FLAGS.model}")


if __name__ == "__main__":
    define_flags()
    errors.run_main(main)
