r"""BiDAF with Intrinsic Sparse Structures: answers questions about a text.

    python -m bidaf.cli --mode=train --data_dir=data/squad
    python -m bidaf.cli --mode=train --data_dir=data/squad \
        --restore_path=RUN --structure_wd=0.001 --group_config=iss
    python -m bidaf.cli --mode=eval --data_dir=data/squad --restore_path=RUN
    python -m bidaf.cli --mode=answer --context=TEXT.txt --question="Who?" \
        --restore_path=RUN/saved_model/compressed

bidaf/README.md says more, bidaf/flags/ has flag files.
"""

from collections.abc import Mapping

from absl import flags

from bidaf import configs
from bidaf import model_flags
from bidaf.data import read_data
from iss_rnns.experiments import environment
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags

FLAGS = flags.FLAGS
MODES = {
    **flags_lib.MODES,
    "eval": "print the scores of --restore_path and write its answers",
    "forward": "only write its answers, see --forward_name",
    "answer": "answer one --question about --context",
}


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    model = configs.ModelConfig()
    _define_run_flags()
    with program_flags.group("Data"):
        model_flags.define_data_flags(read_data.DataConfig())
    with program_flags.group("Model"):
        model_flags.define_model_flags(model)
    with program_flags.group("Training"):
        _define_training_flags(model)
    with program_flags.group("Evaluation and answers"):
        _define_evaluation_flags()
    with program_flags.group("Sparsity"):
        _define_sparsity_flags()
    flags_lib.define_target_flags("ModFwd1=40,OutFwd=20", "evaluation")
    flags_lib.define_shrinking_flags("evaluation")
    flags_lib.define_pruning_flags(configs.LAYER_TYPES, configs.LAYER_TYPES)
    flags_lib.define_machine_flags()
    with program_flags.group("Using what was trained"):
        _define_use_flags()


def _define_use_flags() -> None:
    flags.DEFINE_string(
        "context",
        None,
        "With --mode=answer: a file with the text to read. With "
        "--restore_path=RUN/saved_model/compressed, no data is needed.",
    )
    flags.DEFINE_string(
        "question",
        None,
        "With --mode=answer: the question; its answer is a stretch of the "
        "text.",
    )


def _define_run_flags() -> None:
    flags_lib.define_run_flags(
        MODES,
        "eval",
        seed="initial weights, dropout, the order of the questions and "
        "questions that are made up",
    )
    program_flags.former_value("mode", "test", "eval")
    program_flags.authors_default("save_path", "out")
    program_flags.alias("out_base_dir", "save_path")
    program_flags.alias("run_id", "run_name")
    program_flags.alias("plot_weights", "display_weights")
    program_flags.former(
        {"load_path": "restore_path", "load": "restore_path"},
        _restore_path,
        ["load"],
    )
    with program_flags.group("Run"):
        flags.DEFINE_integer(
            "load_step",
            0,
            "Step of the checkpoint to take, where --restore_path is a run "
            "directory; 0: the newest.",
            lower_bound=0,
        )
        flags.DEFINE_bool(
            "load_ema",
            True,
            "Work with the moving averages of restored weights, and not with "
            "the weights as the last step left them.",
        )
        flags.DEFINE_string(
            "shared_path",
            None,
            "Vocabulary that the weights of --restore_path were trained with. "
            "Default: that of the run directory.",
        )
        flags.DEFINE_bool(
            "debug",
            False,
            "Two steps, and two batches of each evaluation, to see whether "
            "all is well.",
        )


def _restore_path(given: Mapping[str, str]) -> list[str]:
    """The authors' --load_path, which --noload switches off."""
    if given.get("load", "true") not in ("true", "t", "1", "yes", "y"):
        return ["--restore_path="]
    path = given.get("load_path")
    return [] if path is None else [f"--restore_path={path}"]


def _length(given: Mapping[str, str]) -> list[str]:
    """The authors' --num_steps and, only if that is 0, --num_epochs."""
    steps = given.get("num_steps")
    if steps is None:
        return []
    if steps.strip() == "0":
        return [
            "--max_train_steps=0",
            f"--epochs={given.get('num_epochs', 12)}",
        ]
    return [f"--max_train_steps={steps}", "--epochs=0"]


def _define_training_flags(model: configs.ModelConfig) -> None:
    flags_lib.define_length_flags(
        0,
        "; 0: as many as --max_train_steps take",
        "; 0: when --epochs are over. Default: 10,000, with --epochs 0",
        1000,
        "evaluation",
    )
    program_flags.former(
        {"num_steps": "max_train_steps", "num_epochs": "epochs"}, _length
    )
    program_flags.alias("save_period", "checkpoint_every")
    flags.DEFINE_integer(
        "max_to_keep",
        20,
        "Checkpoints that are kept, the newest ones.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "batch_size", 60, "Questions of a step.", lower_bound=1
    )
    flags.DEFINE_integer(
        "num_gpus",
        1,
        "--batch_size is multiplied by this: the authors' program gives each "
        "GPU a batch and averages the gradients.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "optimizer",
        "adam",
        ["adam", "gd"],
        "Adam, or gradient descent, whose learning rate falls to a tenth "
        "after each third of the steps.",
    )
    flags.DEFINE_float("learning_rate", 0.001, "Of the first step on.")
    program_flags.alias("init_lr", "learning_rate")
    keep = "Probability that dropout keeps a number that"
    flags_lib.define(
        model,
        input_keep_prob=f"{keep} an LSTM, or the layer that finds the answer, "
        "reads.",
        keep_prob=f"{keep} stands for a character.",
    )
    flags.DEFINE_float(
        "var_decay",
        0.999,
        "Decay of the moving averages of all weights, which are what is "
        "scored and shrunk in the end.",
    )
    flags.DEFINE_float(
        "decay",
        0.9,
        "Decay of the moving average of the training cost that is shown.",
    )
    flags.DEFINE_string(
        "finetuning_config",
        None,
        "JSON file with the names of the only weights to train, as the "
        "authors have it. Default: all are.",
    )
    flags.DEFINE_integer(
        "log_period",
        100,
        "Steps between two points of TensorBoard's curves.",
        lower_bound=1,
    )


def _define_evaluation_flags() -> None:
    flags.DEFINE_integer(
        "eval_period",
        1000,
        "Steps between two evaluations of the dev part.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "val_num_batches",
        0,
        "Batches of these evaluations; 0: all of the part.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "test_num_batches",
        0,
        "Batches of evaluations when training is over, and of --mode=eval; 0: "
        "all of the part.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "th",
        0.5,
        "With --wy: a word is in the answer if that is at least this likely.",
    )
    flags.DEFINE_bool(
        "blank_last_word",
        True,
        "An answer that ends on the last word of its context is written as an "
        "empty one, as by the authors' program.",
    )
    flags.DEFINE_bool(
        "dump_answer",
        True,
        "Write the answers of each evaluation to answers/ in the run's "
        "directory, in the form that SQuAD's script reads.",
    )
    flags.DEFINE_bool(
        "dump_eval",
        True,
        "Write the words that each answer is made of, and their scores, to "
        "eval/ in the run's directory.",
    )
    flags.DEFINE_string(
        "answer_path",
        None,
        "With --mode=eval or forward: file that the answers are written to. "
        "Default: one in answers/ of --restore_path if that is a run "
        "directory, of --save_path if not.",
    )
    flags.DEFINE_string(
        "forward_name",
        "dev",
        "With --mode=forward: part of the data that is answered, e.g. dev.",
    )
    flags.DEFINE_bool(
        "vis",
        False,
        "With --mode=eval or forward: also write each word's probabilities of "
        "beginning and ending the answer, as .npz files in eval/.",
    )


def _define_sparsity_flags() -> None:
    flags.DEFINE_float(
        "structure_wd",
        0.0,
        "Strength of the group lasso on hidden units, the paper's lambda.",
    )
    flags.DEFINE_string(
        "group_config",
        None,
        "What --structure_wd acts on: 'iss', the units of the model itself; "
        "'authors', those of the authors' files, which leave out the weights "
        "that read the attended answer; or one of their JSON files.",
    )
    flags.DEFINE_float(
        "row_col_wd",
        0.0,
        "Strength of a group lasso on rows and columns of the matrices of "
        "LSTMs, attention and answer.",
    )
    flags.DEFINE_bool(
        "coef_scaling",
        False,
        "With --row_col_wd: each row and column counts by the square root of "
        "its length.",
    )
    flags.DEFINE_float(
        "l1wd",
        0.0,
        "Strength of an L1 penalty on weights of LSTMs, attention and answer; "
        "with --structured_sparsity on vectors (biases) only.",
    )
    flags.DEFINE_bool(
        "structured_sparsity",
        True,
        "Penalize matrices by groups, and not weight by weight.",
    )
    flags.DEFINE_float(
        "wd",
        0.0,
        "Strength of an L2 penalty on highway layers and answer; some weights "
        "count several times, as in the authors' code.",
    )
    flags.DEFINE_float(
        "zero_threshold",
        0.0004,
        "Weights of LSTMs, attention and answer that are smaller than this "
        "become exact zeros in each step.",
    )
    flags_lib.define_freeze_flag()


def main(argv):
    """Runs one mode."""
    flags_lib.check_arguments(argv)
    # Now that the flags are right: TensorFlow takes seconds.
    environment.import_tensorflow()
    from bidaf import experiment
    from bidaf import options as options_lib
    from bidaf import using as uses
    from iss_rnns.experiments import distribution
    from iss_rnns.experiments import machine
    from iss_rnns.experiments import program
    from iss_rnns.experiments import using

    values = FLAGS.flag_values_dict()
    choices = options_lib.choices_from_flags(values)
    options = options_lib.Options.from_flags(values)
    machine.prepare_cpu(
        values["threads"],
        values["compute_dtype"],
        lambda: distribution.join(values, options.batch_size),
    )

    def new_task():
        questions = experiment.read_questions(options, choices)
        return experiment.BiDAFTask(options, choices, questions)

    if not using.ran(values, uses.Use, new_task):
        program.run(new_task(), choices, program_flags.text())


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)


if __name__ == "__main__":
    start()
