"""Flags of BiDAF's data and of its net."""

from absl import flags

from bidaf import configs
from bidaf.data import read_data
from iss_rnns.experiments import flags as flags_lib


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
    rare = (
        "must occur more often than this in the questions to train on, or it "
        "counts as unknown."
    )
    flags_lib.define(
        preset,
        0,
        word_count_th=f"A word without a vector of its own in GloVe {rare}",
        char_count_th=f"A character {rare}",
    )
    flags_lib.define(
        preset,
        sent_size_th="Words that are read of a sentence, at most.",
        num_sents_th="Sentences that are read of a context, at most.",
        ques_size_th="Words that are read of a question, at most.",
        word_size_th="Characters that are read of a word, at most.",
        para_size_th="Words that are read of a context, with --squash, at "
        "most.",
    )
    flags_lib.define(
        preset,
        lower_word="Words are read in lower case.",
        finetune="Words that have a vector in GloVe are trained as the others "
        "are.",
        use_glove_for_unk="Words that are not trained keep their vector of "
        "GloVe, and do not count as unknown.",
        known_if_glove="With --finetune: words that have a vector in GloVe are "
        "trained however rare they are.",
        squash="Read a context as one long sentence.",
        single="Read only that sentence of a context that the answer is in.",
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
    flags_lib.define(
        preset,
        len_opt="Batches are no wider than their longest sentence and "
        "question: faster, with the same results.",
        cpu_opt="With --len_opt: nor have they more sentences than their "
        "longest context.",
    )
    flags.DEFINE_bool(
        "cluster",
        False,
        "Batches are of contexts of about the same length: with --len_opt, "
        "several times faster.",
    )


def define_model_flags(preset: configs.ModelConfig) -> None:
    """The net and what it learns, with the defaults of a preset."""
    flags_lib.define(
        preset,
        hidden_size="Units of each LSTM, in each of its two directions.",
        char_emb_size="Numbers that stand for a character.",
        char_out_size="Features that a word gets from its characters; the sum "
        "of --out_channel_dims.",
        out_channel_dims="Features of each of the convolutions over a word's "
        "characters, between commas.",
        filter_heights="Characters that each of these convolutions sees at a "
        "time, between commas.",
        highway="Highway layers mix the features of each word before the first "
        "LSTM.",
        highway_num_layers="With --highway: number of these layers.",
        share_cnn_weights="Context and question have the convolutions over "
        "characters in common.",
        share_lstm_weights="Context and question have the first LSTM in "
        "common.",
        use_char_emb="Words are known by their characters.",
        use_word_emb="Words are known by a vector of their own.",
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
    flags_lib.define(
        preset,
        q2c_att="Attention from the question to the context: what of the "
        "context matters for the question.",
        c2q_att="Attention from the context to the question: what of the "
        "question matters for each word; without it, the question's mean.",
        dynamic_att="Instead of both, the first LSTM behind attends to the "
        "question in each of its steps.",
        na="Learn how likely it is that a question has no answer. Without it, "
        "questions that have none (SQuAD 2.0) are left out.",
    )
    flags.DEFINE_bool(
        "wy",
        False,
        "Learn of each word whether it is in the answer, and not which are "
        "the first and the last.",
    )
