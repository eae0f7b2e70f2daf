"""Highway language model that learns its width.

    python -m rhns.rhn_train --flagfile=rhns/flags/ptb_iss_sota.flags \\
        --data_path=DIR --structure_wd=0.005
    python -m rhns.rhn_train --flagfile=RUN/flags.txt --mode=eval \\
        --restore_path=RUN
    python -m rhns.rhn_train --mode=generate --prompt="the" \\
        --restore_path=RUN/saved_model/compressed

rhns/README.md says more, rhns/flags/ has flag files.
"""

from absl import flags

from iss_rnns.experiments import environment
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags
from iss_rnns.experiments.language import flags as language_flags
from rhns import configs

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The authors' hyper-parameters, and flags beyond."""
    preset = configs.ModelConfig()
    language_flags.define_run_flags(
        {
            **flags_lib.MODES,
            "eval_mc": "print the test perplexity of the mean of --mc_steps "
            "noisy predictions",
        }
    )
    program_flags.alias("load_model", "restore_path")
    with program_flags.group("Data"):
        _define_data_flags()
    with program_flags.group("Model"):
        _define_model_flags(preset)
    with program_flags.group("Training"):
        _define_training_flags(preset)
    with program_flags.group("Sparsity"):
        _define_sparsity_flags(preset)
    language_flags.define_size_and_machine_flags("rhn_0=400")
    with program_flags.group("Monte-Carlo evaluation"):
        _define_monte_carlo_flags()
    language_flags.define_use_flags()


def _define_data_flags() -> None:
    flags.DEFINE_enum(
        "dataset",
        None,
        ["ptb", "enwik8", "text8", *configs.EMBEDDED],
        "What --data_path holds: words (ptb) or characters of Wikipedia; or "
        "prose that comes with Python (embedded_*), by words or characters. "
        "Default: ptb with --data_path, embedded_words without.",
    )
    program_flags.authors_default("dataset", "ptb")
    language_flags.define_text_flags(
        ", or with the file enwik8 or text8 (or that file)"
    )
    flags.DEFINE_integer(
        "num_test_symbols",
        5_000_000,
        "Of enwik8 and text8: so many characters at the end are the test "
        "text, and as many before them the valid text.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "vocab_size",
        0,
        "Refuse data with another number of different symbols; 0: take any.",
        lower_bound=0,
    )


def _define_model_flags(preset: configs.ModelConfig) -> None:
    flags_lib.define(
        preset,
        hidden_size="Units of each layer, and width of the embedding (but "
        "--notied with fewer symbols: as wide as there are symbols).",
        num_layers="Recurrent highway layers.",
        depth="Micro-steps that a layer takes in each time step.",
        tied="The softmax's weights are the embedding, transposed, and not "
        "weights of their own.",
        init_scale="Weights start at random, uniform between minus and plus "
        "this.",
        init_bias="Biases of the transform gates t start at this; the lower, "
        "the more of the state is carried on.",
    )


def _define_training_flags(preset: configs.ModelConfig) -> None:
    flags_lib.define_length_flags(
        preset.max_max_epoch, authors_epoch="best_of_all"
    )
    program_flags.alias("max_max_epoch", "epochs")
    flags_lib.define(
        preset,
        batch_size="Pieces of the text that a step reads side by side.",
        num_steps="Symbols of each piece that a step reads (time steps).",
    )
    flags.DEFINE_integer(
        "test_batch_size",
        1,
        "Pieces of the test text that are read side by side; more is faster, "
        "and loses what each piece could know of the one before.",
        lower_bound=1,
    )
    flags_lib.define(preset, learning_rate="Of the first epochs.")
    flags.DEFINE_enum(
        "lr_policy",
        preset.lr_policy,
        list(configs.LR_POLICIES),
        "When the learning rate is divided by --lr_decay. quick_start: at "
        "each epoch from --max_epoch on; equal_step: after each third of "
        "--epochs.",
    )
    flags_lib.define(
        preset,
        0,
        lr_decay="What the learning rate is divided by, see --lr_policy.",
        max_epoch="Epochs at the first learning rate, with "
        "--lr_policy=quick_start.",
        weight_decay="Strength of the L2 penalty on all weights, biases "
        "included.",
        max_grad_norm="A gradient whose norm is larger is scaled down to it.",
    )
    drop = "Probability of dropping"
    flags_lib.define(
        preset,
        drop_x=f"{drop} a word, wherever it stands in a sequence.",
        drop_i=f"{drop} a number of a layer's input, all through a sequence.",
        drop_h=f"{drop} a unit of a layer's state, all through a sequence.",
        drop_o=f"{drop} a unit of the last layer's output, all through a "
        "sequence.",
    )
    flags_lib.define(
        preset, drop_multi="The four probabilities are multiplied by this."
    )


def _define_sparsity_flags(preset: configs.ModelConfig) -> None:
    flags_lib.define(
        preset, structure_wd="Strength of the group lasso, the paper's lambda."
    )
    language_flags.define_relaxing_flags()
    flags.DEFINE_string(
        "group_config",
        None,
        "What --structure_wd and --zero_threshold act on: 'iss', the units of "
        "the model itself, or one of the authors' JSON files.",
    )
    flags.DEFINE_bool(
        "compat_first_group_only",
        True,
        "Of several groups in such a file only the first one counts, as in "
        "the authors' program.",
    )
    flags_lib.define(
        preset,
        zero_threshold="Weights of the groups that are smaller than this "
        "become exact zeros after each step, and before restored weights are "
        "shrunk.",
    )


def _define_monte_carlo_flags() -> None:
    flags.DEFINE_integer(
        "mc_steps",
        0,
        "With --mode=eval_mc: number of noisy predictions of the test text.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "mc_reject_above",
        500.0,
        "Predictions of this perplexity or more are made anew.",
    )
    flags.DEFINE_integer(
        "mc_max_rejected",
        100,
        "Give up after more of these in a row.",
        lower_bound=0,
    )


def main(argv):
    """Runs one mode."""
    flags_lib.check_arguments(argv)
    # Now that the flags are right: TensorFlow takes seconds.
    environment.import_tensorflow()
    from iss_rnns.experiments import distribution
    from iss_rnns.experiments import machine
    from iss_rnns.experiments import program
    from iss_rnns.experiments import using
    from iss_rnns.experiments.language import using as uses
    from rhns import experiment
    from rhns import options as options_lib

    values = FLAGS.flag_values_dict()
    options = options_lib.Options.from_flags(values)
    machine.prepare_cpu(
        values["threads"],
        values["compute_dtype"],
        lambda: distribution.join(values, options.config.batch_size),
    )
    choices = program.Choices.from_flags(values)

    def new_task():
        texts = experiment.read_texts(options)
        return experiment.HighwayTask(options, choices, texts)

    if not using.ran(values, uses.Use, new_task):
        program.run(new_task(), choices, program_flags.text())


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)


if __name__ == "__main__":
    start()
