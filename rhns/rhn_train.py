"""Highway language model with learned widths: the program.

    python -m rhns.rhn_train --flagfile=rhns/flags/ptb_iss_sota.flags \\
        --data_path=DIR --structure_wd=0.005

Hyper-parameters keep the authors' names and meanings; see `--help`.
"""

from collections.abc import Mapping
import dataclasses
import math

from absl import flags
import numpy as np

from iss_rnns import errors
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import machine
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program
from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import texts as texts_lib
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables
from iss_rnns.interop import group_json
from iss_rnns.ops import in_place
from rhns import model as model_lib
from rhns import monte_carlo
from rhns import train as train_lib

FLAGS = flags.FLAGS
ISS = "iss"
EMBEDDED = {"embedded_words": "word", "embedded_characters": "character"}


def define_flags() -> None:
    """The authors' hyper-parameters, and flags beyond."""
    flags_lib.define_flags(
        flags_lib.MODES[:2] + ("eval_mc",) + flags_lib.MODES[2:]
    )
    pruning_flags.define_flags(model_lib.LAYER_TYPES, model_lib.PRUNED_TYPES)
    preset = model_lib.ModelConfig()
    flags.DEFINE_enum(
        "dataset",
        None,
        ["ptb", "enwik8", "text8", *EMBEDDED],
        "What --data_path holds. embedded_*: prose that comes "
        "with Python. Defaults to ptb with --data_path, to "
        "embedded_words without.",
    )
    flags.DEFINE_string(
        "data_path",
        None,
        "Folder with ptb.train.txt, "
        "ptb.valid.txt and ptb.test.txt, or with the file "
        "enwik8 or text8 (or that file).",
    )
    flags.DEFINE_integer(
        "num_test_symbols",
        5_000_000,
        "enwik8 and text8: characters of the valid and of the test text.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "vocab_size",
        0,
        "Refuse data with another number of symbols; 0 takes any.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "test_batch_size",
        1,
        "Parallel streams of the test text; the authors have 1.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "init_scale",
        preset.init_scale,
        "Weights start uniform between minus and plus this.",
    )
    flags.DEFINE_float(
        "init_bias",
        preset.init_bias,
        "Start of the biases of the gates t; negative carries the state on.",
    )
    flags.DEFINE_integer(
        "num_layers", preset.num_layers, "Highway layers.", lower_bound=1
    )
    flags.DEFINE_integer(
        "depth", preset.depth, "Micro-steps of a layer.", lower_bound=1
    )
    flags.DEFINE_integer(
        "hidden_size",
        preset.hidden_size,
        "Width of the "
        "layers, and of the embedding (but untied with "
        "fewer symbols: as wide as there are symbols).",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "tied", preset.tied, "The softmax reads with the transposed embedding."
    )
    flags.DEFINE_float("learning_rate", preset.learning_rate, "At the start.")
    flags.DEFINE_enum(
        "lr_policy",
        preset.lr_policy,
        list(model_lib.LR_POLICIES),
        "quick_start: divide by "
        "--lr_decay each epoch from --max_epoch on; equal_step:"
        " after each third of --max_max_epoch.",
    )
    flags.DEFINE_float("lr_decay", preset.lr_decay, "See --lr_policy.")
    flags.DEFINE_integer(
        "max_epoch",
        preset.max_epoch,
        "Epochs at the first learning rate.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "max_max_epoch", preset.max_max_epoch, "Epochs.", lower_bound=0
    )
    flags.DEFINE_float(
        "weight_decay", preset.weight_decay, "Strength of L2, on all weights."
    )
    flags.DEFINE_float(
        "max_grad_norm",
        preset.max_grad_norm,
        "Bound on the norm of the gradient.",
    )
    flags.DEFINE_integer(
        "num_steps", preset.num_steps, "Time steps of a batch.", lower_bound=1
    )
    flags.DEFINE_integer(
        "batch_size", preset.batch_size, "Streams.", lower_bound=1
    )
    for name, what in (
        ("x", "a word, in all of a sequence"),
        ("i", "a unit of a layer's input"),
        ("h", "a unit of the state"),
        ("o", "a unit of the output"),
    ):
        flags.DEFINE_float(
            f"drop_{name}",
            getattr(preset, f"drop_{name}"),
            f"Probability of dropping {what}.",
        )
    flags.DEFINE_float(
        "drop_multi", preset.drop_multi, "Multiplies the four drop rates."
    )
    flags.DEFINE_string(
        "group_config",
        None,
        "What --structure_wd and "
        "--zero_threshold act on: 'iss', the units of the "
        "model itself, or one of the authors' JSON files.",
    )
    flags.DEFINE_bool(
        "compat_first_group_only",
        True,
        "Honour the first "
        "group of a JSON file only, as the authors' code does.",
    )
    flags.DEFINE_float(
        "structure_wd",
        preset.structure_wd,
        "Strength of the group lasso, the paper's lambda.",
    )
    flags.DEFINE_float(
        "zero_threshold",
        preset.zero_threshold,
        "Weights of the groups smaller than this become exact zeros.",
    )
    flags.DEFINE_string(
        "load_model", None, "The authors' name of --restore_path."
    )
    flags.DEFINE_integer(
        "mc_steps", 0, "With --mode=eval_mc: samples.", lower_bound=0
    )
    flags.DEFINE_float(
        "mc_reject_above",
        500.0,
        "Samples of this perplexity or more are drawn anew.",
    )
    flags.DEFINE_integer(
        "mc_max_rejected",
        100,
        "Give up after more of these in a row.",
        lower_bound=0,
    )


def config_from_flags() -> model_lib.ModelConfig:
    """The hyper-parameters, checked.

    Raises:
      UserError: naming the flag, its value and what would be right.
    """
    values = {
        field.name: FLAGS[field.name].value
        for field in dataclasses.fields(model_lib.ModelConfig)
    }
    for name, value in values.items():
        if isinstance(value, float):
            if not math.isfinite(value):
                raise errors.UserError(
                    f"--{name} must be a finite number, got {value}"
                )
            if value < 0 and name != "init_bias":
                raise errors.UserError(f"--{name} must be >= 0, got {value}")
            if value == 0 and name in ("max_grad_norm", "lr_decay"):
                raise errors.UserError(f"--{name} must be above 0, got 0")
    config = model_lib.ModelConfig(**values)
    for name in "xiho":
        rate = values[f"drop_{name}"] * config.drop_multi
        if rate >= 1:
            raise errors.UserError(
                f"--drop_{name} times --drop_multi must be below 1, got "
                f"{values[f'drop_{name}']} * {config.drop_multi}"
            )
    return config


def options_from_flags() -> train_lib.Options:
    """One frozen object that the rest reads instead of flags."""
    config = config_from_flags()
    if FLAGS.epochs is not None:
        config = dataclasses.replace(config, max_max_epoch=FLAGS.epochs)
    file = None
    if FLAGS.group_config and FLAGS.group_config != ISS:
        file = group_json.load(FLAGS.group_config)
        if FLAGS.compat_first_group_only:
            file = file.first_only()
    elif not FLAGS.group_config:
        for name in ("structure_wd", "zero_threshold"):
            if getattr(config, name):
                raise errors.UserError(
                    f"--{name} needs --group_config: 'iss', or a JSON file "
                    "of groups"
                )
    return train_lib.Options(
        config=config,
        iss=FLAGS.group_config == ISS,
        group_file=file,
        epochs=config.max_max_epoch,
        max_train_steps=FLAGS.max_train_steps,
        checkpoint_every=FLAGS.checkpoint_every,
        seed=FLAGS.seed,
        shrink_every_steps=FLAGS.shrink_every_steps,
        dead_below=FLAGS.dead_below,
        dead_checks=FLAGS.dead_checks,
        compute_dtype=FLAGS.compute_dtype,
    )


def read_corpus() -> corpora.Corpus:
    """The data that the flags name.

    Raises:
      UserError: if flags contradict each other, or the data is not right.
    """
    if FLAGS.data_path == "":
        raise errors.UserError(corpora.EMPTY_PATH)
    dataset = FLAGS.dataset or ("ptb" if FLAGS.data_path else "embedded_words")
    if dataset in EMBEDDED:
        if FLAGS.data_path:
            raise errors.UserError(
                f"--dataset={dataset} comes with Python and has no "
                f"--data_path; leave out --data_path={FLAGS.data_path}, or "
                "give --dataset=ptb, enwik8 or text8"
            )
        corpus = corpora.embedded(EMBEDDED[dataset])
    elif not FLAGS.data_path:
        raise errors.UserError(
            f"--dataset={dataset} needs --data_path, the folder of its files;"
            " without own data give --dataset=embedded_words or "
            "embedded_characters"
        )
    elif dataset == "ptb":
        corpus = corpora.read_words(FLAGS.data_path)
    else:
        corpus = corpora.read_characters(
            FLAGS.data_path, FLAGS.num_test_symbols, dataset
        )
    if FLAGS.vocab_size not in (0, len(corpus.symbols)):
        raise errors.UserError(
            f"the data has {len(corpus.symbols):,} symbols, --vocab_size "
            f"says {FLAGS.vocab_size:,}: {corpus.description}"
        )
    return corpus


def paper_columns() -> list[tables.Column]:
    """ISS paper, Table 2."""
    return [
        tables.Column(
            f"paper: lambda {row['lam'].value:g}",
            {
                "lambda": row["lam"],
                "units": row["width"],
                "weights (M)": row["params_M"],
                "valid perplexity": row["valid"],
                "test perplexity": row["test"],
            },
        )
        for row in results.paper_rows("iss_table2_rhn")
    ]


def evaluate_mc(net, texts: texts_lib.Texts) -> None:
    """Prints the Monte-Carlo perplexity of the test text."""
    with progress_lib.progress_bar(
        f"{FLAGS.mc_steps} Monte-Carlo samples", unit="symbol", unit_scale=True
    ) as progress:
        result = monte_carlo.evaluate(
            net,
            texts.corpus.test,
            FLAGS.mc_steps,
            FLAGS.seed,
            FLAGS.mc_reject_above,
            FLAGS.mc_max_rejected,
            progress=progress,
        )
    print(
        f"{len(result.samples)} samples, each test perplexity "
        f"{result.samples.min():.3f} to {result.samples.max():.3f}; "
        f"{result.rejected} rejected"
    )
    program.print_scores(
        {"Monte-Carlo test perplexity": result.perplexity}, texts
    )


def sizes_of(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """Layer sizes of a model whose weights are given by TF1 name.

    Raises:
      UserError: naming the array that is no layer's bias.
    """
    names = (f"model/RHN{i}/h_0/Linear/Bias" for i in range(len(arrays)))
    found = {name: arrays[name].shape for name in names if name in arrays}
    for name, shape in found.items():
        if len(shape) != 1 or not shape[0]:
            raise errors.UserError(
                f"'{name}' has shape {shape}; expected a "
                "vector with an entry a unit"
            )
    return [shape[0] for shape in found.values()]


def main(argv):
    """Runs one mode."""
    if len(argv) > 1:
        raise errors.UserError(
            f"unknown argument '{argv[1]}'; flags start with --, see --help"
        )
    machine.prepare_cpu(FLAGS.threads, FLAGS.compute_dtype)
    options = options_from_flags()
    config = options.config
    if FLAGS.mode == "eval_mc" and not FLAGS.mc_steps:
        raise errors.UserError(
            "--mode=eval_mc needs --mc_steps, the number "
            "of samples, e.g. --mc_steps=100"
        )
    values = FLAGS.flag_values_dict()
    if FLAGS.load_model and FLAGS.restore_path not in (None, FLAGS.load_model):
        raise errors.UserError(
            f"--load_model={FLAGS.load_model} and --restore_path="
            f"{FLAGS.restore_path} are two names of one flag; give one"
        )
    values["restore_path"] = FLAGS.restore_path or FLAGS.load_model
    choices = program.Choices.of(values)
    pruning = pruning_flags.Settings.of(values)
    corpus = read_corpus()
    print(f"data: {corpus.description}", flush=True)
    texts = texts_lib.Texts(
        corpus,
        corpora.batches(
            corpus.valid, config.batch_size, config.num_steps, "valid text"
        ),
        corpora.batches(
            corpus.test,
            FLAGS.test_batch_size,
            1,
            "test text (--test_batch_size)",
        ),
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
                sizes_of,
                options.epochs,
                len(
                    corpora.batches(
                        corpus.train,
                        config.batch_size,
                        config.num_steps,
                        "training text",
                    )[0]
                ),
            ),
        )
    task = program.Task(
        module="rhns.rhn_train",
        title=f"Highway language model, depth {config.depth}"
        + (
            f", lambda {config.structure_wd:g}"
            if choices.mode == "train"
            else ""
        ),
        texts=texts,
        new_net=lambda sizes: train_lib.new_net(
            options, len(corpus.symbols), sizes
        ),
        sizes_of=sizes_of,
        check=lambda net: train_lib.check(options, corpus, net),
        train=lambda run, net: train_lib.train(
            options, corpus, run, FLAGS.resume, net
        ),
        clean=lambda net: in_place.zero_small(
            train_lib.zeroed_variables(net, options), config.zero_threshold
        ),
        paper=paper_columns() if corpus.unit == "word" else (),
        method=options.method if choices.mode == "train" else "",
        strength=config.structure_wd if choices.mode == "train" else None,
        reads=[
            FLAGS.data_path,
            options.group_file and options.group_file.source,
        ],
    )
    if FLAGS.mode == "eval_mc":
        evaluate_mc(program.restored(task, choices), texts)
    else:
        program.run(task, choices, FLAGS.flags_into_string())


if __name__ == "__main__":
    define_flags()
    main_lib.run_main(main)
