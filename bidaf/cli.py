r"""BiDAF with Intrinsic Sparse Structures: answers questions about a text.

    python -m bidaf.cli --mode=train --data_dir=data/squad
    python -m bidaf.cli --mode=train --data_dir=data/squad \
        --restore_path=RUN --structure_wd=0.001 --group_config=iss
    python -m bidaf.cli --mode=eval --data_dir=data/squad --restore_path=RUN

bidaf/README.md says more, bidaf/flags/ has flag files.
"""

from collections.abc import Mapping

from absl import flags

from bidaf import configs
from bidaf.data import read_data
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags

FLAGS = flags.FLAGS
MODES = {
    **flags_lib.MODES,
    "eval": "print the scores of --restore_path and write its answers",
    "forward": "only write its answers, see --forward_name",
}


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    model = configs.ModelConfig()
    _define_run_flags()
    with program_flags.group("Data"):
        _define_data_flags(read_data.DataConfig())
    with program_flags.group("Model"):
        _define_model_flags(model)
    with program_flags.group("Training"):
        _define_training_flags(model)
    with program_flags.group("Evaluation and answers"):
        _define_evaluation_flags()
    with program_flags.group("Sparsity"):
        _define_sparsity_flags()
    flags_lib.define_shrinking_flags("evaluation")
    flags_lib.define_pruning_flags(configs.LAYER_TYPES, configs.LAYER_TYPES)
    flags_lib.define_machine_flags()


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


def _define_data_flags(preset: read_data.DataConfig) -> None:
    flags.DEFINE_string(
        "data_dir",
        "data/squad",
        "Folder that bidaf.prepro wrote; or 'synthetic': questions that the "
        "project makes up itself, kept below --save_path.",
    )
    flags.DEFINE_integer(
        "synthetic_train",
        3000,
        "With --data_dir=synthetic: number of questions to train on.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "synthetic_dev",
        500,
        "With --data_dir=synthetic: number of questions to evaluate on.",
        lower_bound=1,
    )
    for name, what in (
        ("word_count_th", "A word without a vector of its own in GloVe"),
        ("char_count_th", "A character"),
    ):
        flags.DEFINE_integer(
            name,
            getattr(preset, name),
            f"{what} must occur more often than this in the questions to "
            "train on, or it counts as unknown.",
            lower_bound=0,
        )
    for name, what in (
        ("sent_size_th", "Words that are read of a sentence"),
        ("num_sents_th", "Sentences that are read of a context"),
        ("ques_size_th", "Words that are read of a question"),
        ("word_size_th", "Characters that are read of a word"),
        ("para_size_th", "Words that are read of a context, with --squash"),
    ):
        flags.DEFINE_integer(
            name, getattr(preset, name), f"{what}, at most.", lower_bound=1
        )
    flags.DEFINE_bool(
        "lower_word", preset.lower_word, "Words are read in lower case."
    )
    flags.DEFINE_bool(
        "finetune",
        preset.finetune,
        "Words that have a vector in GloVe are trained as the others are.",
    )
    flags.DEFINE_bool(
        "use_glove_for_unk",
        preset.use_glove_for_unk,
        "Words that are not trained keep their vector of GloVe, and do not "
        "count as unknown.",
    )
    flags.DEFINE_bool(
        "known_if_glove",
        preset.known_if_glove,
        "With --finetune: words that have a vector in GloVe are trained "
        "however rare they are.",
    )
    flags.DEFINE_bool(
        "squash", preset.squash, "Read a context as one long sentence."
    )
    flags.DEFINE_bool(
        "single",
        preset.single,
        "Read only that sentence of a context that the answer is in.",
    )
    flags.DEFINE_enum(
        "data_filter",
        preset.data_filter,
        read_data.FILTERS,
        "Which questions are left out of the training. max: whose answer is "
        "not in one sentence that is read up to there; valid: whose context "
        "is not read in full; semi: whose answer is in a sentence that is not "
        "read in full.",
    )
    flags.DEFINE_bool(
        "len_opt",
        preset.len_opt,
        "Batches are no wider than their longest sentence and question: "
        "faster, with the same results.",
    )
    flags.DEFINE_bool(
        "cpu_opt",
        preset.cpu_opt,
        "With --len_opt: nor have they more sentences than their longest "
        "context.",
    )
    flags.DEFINE_bool(
        "cluster",
        False,
        "Batches are of contexts of about the same length: with --len_opt, "
        "several times faster.",
    )


def _define_model_flags(preset: configs.ModelConfig) -> None:
    flags.DEFINE_integer(
        "hidden_size",
        preset.hidden_size,
        "Units of each LSTM, in each of its two directions.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "char_emb_size",
        preset.char_emb_size,
        "Numbers that stand for a character.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "char_out_size",
        preset.char_out_size,
        "Features that a word gets from its characters; the sum of "
        "--out_channel_dims.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "out_channel_dims",
        preset.out_channel_dims,
        "Features of each of the convolutions over a word's characters, "
        "between commas.",
    )
    flags.DEFINE_string(
        "filter_heights",
        preset.filter_heights,
        "Characters that each of these convolutions sees at a time, between "
        "commas.",
    )
    flags.DEFINE_bool(
        "highway",
        preset.highway,
        "Highway layers mix the features of each word before the first LSTM.",
    )
    flags.DEFINE_integer(
        "highway_num_layers",
        preset.highway_num_layers,
        "With --highway: number of these layers.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "share_cnn_weights",
        preset.share_cnn_weights,
        "Context and question have the convolutions over characters in common.",
    )
    flags.DEFINE_bool(
        "share_lstm_weights",
        preset.share_lstm_weights,
        "Context and question have the first LSTM in common.",
    )
    flags.DEFINE_bool(
        "use_char_emb",
        preset.use_char_emb,
        "Words are known by their characters.",
    )
    flags.DEFINE_bool(
        "use_word_emb",
        preset.use_word_emb,
        "Words are known by a vector of their own.",
    )
    flags.DEFINE_enum(
        "logit_func",
        preset.logit_func,
        configs.SIMILARITIES,
        "How alike the attention takes a word h of the context and a word u "
        "of the question to be. tri_linear: by weights for h, u and h*u; "
        "linear: for h and u; mul_linear: for h*u; dot: their dot product; "
        "proj: that of a projected h, and u; sum: the sum of both.",
    )
    flags.DEFINE_enum(
        "answer_func",
        preset.answer_func,
        configs.ANSWERS,
        "How a word's features say that the answer begins or ends there. "
        "linear: by one layer of weights; double: by two; proj: by a "
        "projection of one part on the other; sum: by their sum.",
    )
    flags.DEFINE_bool(
        "q2c_att",
        preset.q2c_att,
        "Attention from the question to the context: what of the context "
        "matters for the question.",
    )
    flags.DEFINE_bool(
        "c2q_att",
        preset.c2q_att,
        "Attention from the context to the question: what of the question "
        "matters for each word; without it, the question's mean.",
    )
    flags.DEFINE_bool(
        "dynamic_att",
        preset.dynamic_att,
        "Instead of both, the first LSTM behind attends to the question in "
        "each of its steps.",
    )
    flags.DEFINE_bool(
        "na",
        preset.na,
        "Learn how likely it is that a question has no answer. Without it, "
        "questions that have none (SQuAD 2.0) are left out.",
    )
    flags.DEFINE_bool(
        "wy",
        False,
        "Learn of each word whether it is in the answer, and not which are "
        "the first and the last.",
    )


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
    flags.DEFINE_float(
        "input_keep_prob",
        model.input_keep_prob,
        "Probability that dropout keeps a number that an LSTM, or the layer "
        "that finds the answer, reads.",
    )
    flags.DEFINE_float(
        "keep_prob",
        model.keep_prob,
        "Probability that dropout keeps a number that stands for a character.",
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
    flags.DEFINE_enum(
        "freeze_mode",
        None,
        ["element", "group"],
        "Keep what is zero as it is while training. element: single weights; "
        "group: whole dead units. Default: zeros may learn again.",
    )


def main(argv):
    """Runs one mode."""
    flags_lib.check_arguments(argv)
    # Now that the flags are right: TensorFlow takes seconds.
    from bidaf import experiment
    from bidaf import options as options_lib
    from iss_rnns.experiments import machine
    from iss_rnns.experiments import program

    values = FLAGS.flag_values_dict()
    machine.prepare_cpu(values["threads"], values["compute_dtype"])
    choices = options_lib.choices_from_flags(values)
    options = options_lib.Options.from_flags(values)
    task = experiment.BiDAFTask(
        options, choices, experiment.read_questions(options, choices)
    )
    program.run(task, choices, program_flags.text())


if __name__ == "__main__":
    define_flags()
    main_lib.run_main(main)
