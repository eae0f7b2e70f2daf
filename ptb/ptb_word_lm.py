"""Word language model with Intrinsic Sparse Structures.

    python -m ptb.ptb_word_lm --data_path=DIR --config_file=SETTINGS.json
    python -m ptb.ptb_word_lm --mode=eval --restore_path=RUN --data_path=DIR
    python -m ptb.ptb_word_lm --mode=generate --prompt="the" \\
        --restore_path=RUN/saved_model/compressed

ptb/README.md says more, ptb/flags/ has flag files.
"""

from absl import flags

from iss_rnns.experiments import environment
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags
from iss_rnns.experiments.language import flags as language_flags
from ptb import configs

FLAGS = flags.FLAGS
ZERO_THRESHOLD = 1e-4  # the authors' constant


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    language_flags.define_run_flags(
        save_path=None,
        what_save_path=". Default: the save_path of --config_file, else "
        f"{flags_lib.RUNS}",
    )
    with program_flags.group("Data"):
        language_flags.define_text_flags(
            ". Default: prose that comes with Python"
        )
    with program_flags.group("Model"):
        _define_model_flags()
    with program_flags.group("Training"):
        _define_training_flags()
    with program_flags.group("Sparsity"):
        _define_sparsity_flags()
    language_flags.define_size_and_machine_flags("lstm_0=80,lstm_1=120")
    language_flags.define_use_flags()


def _define_model_flags() -> None:
    flags.DEFINE_enum(
        "model",
        "small",
        list(configs.CONFIGS),
        "Hyper-parameters by name, exactly the authors': size, time steps, "
        "learning rate and its decay, epochs, dropout. test is a tiny one.",
    )
    flags.DEFINE_enum(
        "cell",
        "lstm",
        list(configs.CELLS),
        "Kind of the recurrent layers; rnn is the plain one, with tanh.",
    )
    flags.DEFINE_list(
        "hidden_sizes",
        None,
        "Units of each recurrent layer, e.g. 373,315: any number of layers. "
        "The embedding stays as wide as --model says. Default: the model's.",
    )
    program_flags.former(
        {"hidden_size1": "hidden_sizes", "hidden_size2": "hidden_sizes"},
        # The authors' heterogeneous program always has two layers.
        lambda given: [
            f"--hidden_sizes={given.get('hidden_size1', 1500)},"
            f"{given.get('hidden_size2', 1500)}"
        ],
    )


def _define_training_flags() -> None:
    flags_lib.define_length_flags(None, ". Default: the model's")
    flags.DEFINE_enum(
        "optimizer",
        "gd",
        ["gd", "adam"],
        "gd: gradient descent. Adam's learning rate does not decay.",
    )
    flags.DEFINE_integer(
        "batch_size",
        None,
        "Pieces of the text that a step reads side by side. Default: the "
        "model's.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "learning_rate",
        None,
        "Of the first epochs. Default: that of --config_file, else the "
        "model's.",
        lower_bound=0.0,
    )
    flags.DEFINE_integer(
        "max_epoch",
        None,
        "Epochs at the first learning rate. Default: the model's.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "lr_decay",
        None,
        "What the learning rate is multiplied by at each epoch after "
        "--max_epoch. Default: the model's.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_integer(
        "warmup_steps",
        0,
        "Over so many first steps the learning rate rises to its first value. "
        "At full size, the authors' recipe can break in its first steps "
        "without.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "keep_prob",
        None,
        "Probability that dropout keeps a number of the embedding's or a "
        "layer's output. Default: that of --config_file, else the model's.",
    )
    flags.DEFINE_bool(
        "mixed_precision",
        False,
        "Train in bfloat16 throughout, with float32 weights (the authors' "
        "use_fp16); what follows training computes in float32. See "
        "--compute_dtype, too.",
    )
    program_flags.alias("use_fp16", "mixed_precision")


def _define_sparsity_flags() -> None:
    flags.DEFINE_string(
        "config_file",
        None,
        "Settings as the authors have them (JSON): learning rate, keep "
        "probability, folder of the runs, and what is penalized. Without it, "
        "the model trains dense.",
    )
    flags.DEFINE_float(
        "structure_wd",
        None,
        "Strength of the group lasso, the paper's lambda. Default: the "
        "global_decay of --config_file, which says what the groups are.",
    )
    program_flags.alias("global_decay", "structure_wd")
    language_flags.define_relaxing_flags()
    flags.DEFINE_enum(
        "regularizer",
        "l1_regularizer",
        ["l1_regularizer", "l2_regularizer"],
        "What the weight_decay of --config_file is the strength of: the "
        "absolute values of all weights, or half of their squares.",
    )
    flags.DEFINE_float(
        "zero_threshold",
        ZERO_THRESHOLD,
        "Weights smaller than this become exact zeros after each step while a "
        "sparsity is learned (smaller than twice the weight_decay, if that is "
        "more), and before restored weights are shrunk.",
        lower_bound=0.0,
    )
    flags_lib.define_freeze_flag()


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
    from ptb import experiment
    from ptb import options as options_lib

    values = FLAGS.flag_values_dict()
    options = options_lib.Options.from_flags(values)
    machine.prepare_cpu(
        values["threads"],
        values["compute_dtype"],
        lambda: distribution.join(values, options.config.batch_size),
    )
    values["save_path"] = values["save_path"] or options.settings.save_path
    choices = program.Choices.from_flags(values)

    def new_task():
        texts = experiment.read_texts(options)
        return experiment.WordTask(options, choices, texts)

    if not using.ran(values, uses.Use, new_task):
        program.run(new_task(), choices, program_flags.text())


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)


if __name__ == "__main__":
    start()
