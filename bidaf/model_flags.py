"""Flags of BiDAF's data and of its net."""

from absl import flags

from bidaf import configs
from bidaf.data import read_data


def define_data_flags(preset: read_data.DataConfig) -> None:
    """What the program reads, with the defaults of a preset."""
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


def define_model_flags(preset: configs.ModelConfig) -> None:
    """The net and what it learns, with the defaults of a preset."""
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
