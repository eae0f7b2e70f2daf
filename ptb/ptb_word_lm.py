"""Word language model with Intrinsic Sparse Structures: the program.

    python -m ptb.ptb_word_lm --data_path=DIR --config_file=SETTINGS.json

Flags keep the authors' names and meanings; see `--help`.
"""

import dataclasses
import math
from typing import Optional

from absl import flags

from iss_rnns import errors
from iss_rnns import thresholding
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import machine
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import texts as texts_lib
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables
from iss_rnns.interop import ptb_settings
from iss_rnns.ops import in_place
from ptb import model as model_lib
from ptb import train as train_lib

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    flags_lib.define_flags()
    pruning_flags.define_flags(model_lib.LAYER_TYPES, model_lib.PRUNED_TYPES)
    flags.DEFINE_enum(
        "cell", "lstm", list(model_lib.CELLS), "Kind of the recurrent layers."
    )
    flags.DEFINE_enum(
        "model",
        "small",
        list(model_lib.CONFIGS),
        "Hyper-parameters by name, exactly the authors'.",
    )
    flags.DEFINE_string(
        "data_path",
        None,
        "Folder with ptb.train.txt, "
        "ptb.valid.txt and ptb.test.txt. Without it, prose "
        "that comes with Python is used.",
    )
    flags.DEFINE_string(
        "config_file",
        None,
        "The authors' JSON settings: "
        "learning rate, keep probability, penalties. Without "
        "it, the model trains dense.",
    )
    flags.DEFINE_enum(
        "regularizer",
        "l1_regularizer",
        ["l1_regularizer", "l2_regularizer"],
        "What weight_decay of the settings weighs.",
    )
    flags.DEFINE_enum("optimizer", "gd", ["gd", "adam"], "Optimizer.")
    flags.DEFINE_enum(
        "freeze_mode",
        None,
        ["element", "group"],
        "Keep zeros: single weights, or whole dead units.",
    )
    flags.DEFINE_integer("hidden_size1", None, "Units of the first LSTM.")
    flags.DEFINE_integer("hidden_size2", None, "Units of the second LSTM.")
    flags.DEFINE_list(
        "hidden_sizes",
        None,
        "Units of every LSTM, e.g. "
        "373,315: any number of layers. The model's "
        "hidden_size remains the width of the embedding.",
    )
    flags.DEFINE_integer(
        "batch_size", None, "Instead of the model's.", lower_bound=1
    )
    flags.DEFINE_float(
        "learning_rate", None, "Instead of the settings'.", lower_bound=0.0
    )
    flags.DEFINE_float("keep_prob", None, "Instead of the settings'.")
    flags.DEFINE_float(
        "global_decay",
        None,
        "Strength of the group lasso, instead of the settings'.",
    )
    flags.DEFINE_integer(
        "relax_epoch",
        None,
        "From this epoch on, counted "
        "from 1, the group lasso's strength is "
        "--relax_decay: when the sizes are learned, what is "
        "left learns with less pressure.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "relax_decay", 0.0, "See --relax_epoch.", lower_bound=0.0
    )
    flags.DEFINE_integer(
        "max_epoch",
        None,
        "Epochs at the first learning rate, instead of the model's.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "lr_decay",
        None,
        "Factor of the learning rate at each "
        "epoch after --max_epoch, instead of the model's.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_integer(
        "warmup_steps",
        0,
        "Over so many first steps the "
        "learning rate rises to its first value. At full "
        "size, the authors' recipe can break in its first "
        "steps without.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "zero_threshold",
        thresholding.ZERO_THRESHOLD,
        "Weights smaller than this become exact zeros while a "
        "sparsity is learned (twice the weight_decay, if that "
        "is more), and before restored weights are shrunk.",
        lower_bound=0.0,
    )
    flags.DEFINE_bool(
        "mixed_precision",
        False,
        "Train in bfloat16 with "
        "float32 weights (the authors' use_fp16); what follows "
        "training computes in float32.",
    )


def settings_from_flags() -> ptb_settings.Settings:
    """The settings file with what flags override."""
    settings = (
        ptb_settings.load(FLAGS.config_file)
        if FLAGS.config_file
        else ptb_settings.Settings()
    )
    if FLAGS.global_decay is not None:
        if not (FLAGS.global_decay >= 0 and math.isfinite(FLAGS.global_decay)):
            raise errors.UserError(
                "--global_decay must be a number >= 0, "
                f"got {FLAGS.global_decay}"
            )
        if not settings.grouplasso:
            raise errors.UserError(
                "--global_decay needs a --config_file with a group lasso"
            )
        settings = dataclasses.replace(
            settings, global_decay=FLAGS.global_decay
        )
    if FLAGS.relax_epoch is None and FLAGS.relax_decay:
        raise errors.UserError(
            "--relax_decay needs --relax_epoch, the epoch "
            "from which on it holds"
        )
    if FLAGS.relax_epoch is not None and not settings.global_decay:
        raise errors.UserError(
            "--relax_epoch needs a --config_file with a group lasso to relax"
        )
    return settings


def options_from_flags() -> train_lib.Options:
    """One frozen object that the rest reads instead of flags."""
    settings = settings_from_flags()
    changes = {
        "learning_rate": settings.learning_rate,
        "keep_prob": settings.dropout_keep_prob,
    }
    changes.update(
        {
            name: FLAGS[name].value
            for name in (
                "learning_rate",
                "keep_prob",
                "batch_size",
                "max_epoch",
                "lr_decay",
            )
            if FLAGS[name].value is not None
        }
    )
    config = dataclasses.replace(
        model_lib.CONFIGS[FLAGS.model],
        **{k: v for k, v in changes.items() if v is not None},
    )
    if not 0 < config.keep_prob <= 1:
        raise errors.UserError(
            f"--keep_prob must be in (0, 1], got {config.keep_prob}"
        )
    return train_lib.Options(
        config=config,
        settings=settings,
        hidden_sizes=asked_sizes()
        or ((config.hidden_size,) * config.num_layers),
        regularizer=FLAGS.regularizer[:2],
        optimizer=FLAGS.optimizer,
        freeze_mode=FLAGS.freeze_mode,
        epochs=(config.max_max_epoch if FLAGS.epochs is None else FLAGS.epochs),
        max_train_steps=FLAGS.max_train_steps,
        checkpoint_every=FLAGS.checkpoint_every,
        seed=FLAGS.seed,
        zero_threshold=FLAGS.zero_threshold,
        shrink_every_steps=FLAGS.shrink_every_steps,
        dead_below=FLAGS.dead_below,
        dead_checks=FLAGS.dead_checks,
        relax_epoch=FLAGS.relax_epoch,
        relax_decay=FLAGS.relax_decay,
        cell=FLAGS.cell,
        compute_dtype=FLAGS.compute_dtype,
        mixed_precision=FLAGS.mixed_precision,
        warmup_steps=FLAGS.warmup_steps,
    )


def asked_sizes() -> Optional[tuple[int, ...]]:
    """Layer sizes that flags ask for; None if they leave them to the model.

    Raises:
      UserError: if they are no sizes.
    """
    sizes = FLAGS.hidden_sizes
    pair = FLAGS.hidden_size1, FLAGS.hidden_size2
    if pair != (None, None):
        if sizes is not None:
            raise errors.UserError(
                "give --hidden_sizes or --hidden_size1 "
                "and --hidden_size2, not both"
            )
        # The authors' heterogeneous program always has two layers.
        sizes = [1500 if n is None else n for n in pair]
    if sizes is None:
        return None
    try:
        sizes = tuple(int(n) for n in sizes)
    except ValueError:
        sizes = ()
    if not sizes:
        raise errors.UserError(
            "--hidden_sizes must be whole numbers, e.g. "
            "373,315, got "
            f"'{','.join(FLAGS.hidden_sizes)}'"
        )
    if min(sizes) < 1:
        raise errors.UserError(f"layer sizes must be positive, got {sizes}")
    return sizes


def main(argv):
    """Runs one mode."""
    if len(argv) > 1:
        raise errors.UserError(
            f"unknown argument '{argv[1]}'; flags start with --, see --help"
        )
    machine.prepare_cpu(FLAGS.threads, FLAGS.compute_dtype)
    options = options_from_flags()
    values = FLAGS.flag_values_dict()
    values["save_path"] = FLAGS.save_path or options.settings.save_path
    choices = program.Choices.of(values)
    pruning = pruning_flags.Settings.of(values)
    if FLAGS.data_path == "":
        raise errors.UserError(corpora.EMPTY_PATH)
    corpus = (
        corpora.read_words(FLAGS.data_path)
        if FLAGS.data_path
        else corpora.embedded("word")
    )
    print(f"data: {corpus.description}", flush=True)
    texts = texts_lib.Texts.of(
        corpus, options.config.batch_size, options.config.num_steps
    )
    if choices.mode == "train":
        options = dataclasses.replace(
            options,
            pruning=program.pruning_plan(
                pruning,
                choices,
                model_lib,
                lambda sizes: train_lib.new_net(
                    options, len(corpus.symbols), sizes
                ),
                model_lib.sizes_of,
                options.epochs,
                len(
                    corpora.batches(
                        corpus.train,
                        options.config.batch_size,
                        options.config.num_steps,
                        "training text",
                    )[0]
                ),
            ),
        )
    task = program.Task(
        module="ptb.ptb_word_lm",
        title=f"Word language model, {FLAGS.model}",
        texts=texts,
        new_net=lambda sizes: train_lib.new_net(
            options, len(corpus.symbols), sizes
        ),
        sizes_of=model_lib.sizes_of,
        check=lambda net: train_lib.check(options, corpus, net),
        train=lambda run, net: train_lib.train(
            options, corpus, run, FLAGS.resume, net
        ),
        clean=lambda net: in_place.zero_small(
            net.trainable_variables,
            max(options.zero_threshold, 2 * options.settings.weight_decay),
        ),
        paper=paper_columns(),
        method=options.method if choices.mode == "train" else "",
        strength=options.strength if choices.mode == "train" else None,
        asked_sizes=asked_sizes(),
        reads=[FLAGS.config_file, FLAGS.data_path],
    )
    program.run(task, choices, FLAGS.flags_into_string())


def paper_columns() -> list[tables.Column]:
    """ISS paper, Table 1: the dense model and the one as good."""
    return [
        tables.Column(
            f"paper: {row['method']}",
            {
                "units": row["iss"],
                "valid perplexity": row["valid"],
                "test perplexity": row["test"],
                "weights (M)": row["weights_M"],
                "ms per batch": row["time_ms"],
                "speedup": row["speedup"],
                "mult-add reduction": row["multadd_reduction"],
            },
        )
        for row in results.paper_rows("iss_table1_ptb")[:2]
    ]


if __name__ == "__main__":
    define_flags()
    main_lib.run_main(main)
