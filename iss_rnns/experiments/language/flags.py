"""Flags that every program of a language model has."""

from collections.abc import Mapping

from absl import flags

from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import program_flags

# Matrices by type, as pruning asks for them, and what it prunes by default:
# all that multiplies and is no embedding too.
LAYER_TYPES = ("input", "recurrent", "softmax", "embedding")
PRUNED_TYPES = LAYER_TYPES[:3]
# Modes beside those of every program: see `using`.
USES = {
    "generate": "go on with --prompt",
    "score": "print how well --score_text is foreseen, sentence by sentence",
}


def define_run_flags(
    modes: Mapping[str, str] = flags_lib.MODES, **others
) -> None:
    """What a run does, see `flags.define_run_flags`."""
    flags_lib.define_run_flags(
        {**modes, **USES},
        restore_path="; with --mode=eval, generate and score also a "
        "compressed model: saved_model/compressed of a run, its .tflite file, "
        "or saved_model/packed, which computes sparsely",
        **others,
    )
    with program_flags.group("Run"):
        flags.DEFINE_bool(
            "export_latency",
            False,
            "Also export, and measure, TensorFlow Lite models that read one "
            "symbol of one text at a time.",
        )


def define_text_flags(data_path: str) -> None:
    """The texts; one of one's own, see `corpora.read_text`; what is unknown.

    Args:
      data_path: of what the folder may hold besides, and the default.
    """
    flags.DEFINE_string(
        "data_path",
        None,
        "Folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt"
        f"{data_path}.",
    )
    flags.DEFINE_integer(
        "train_words",
        None,
        "Of the prose that comes with Python: train on so many words only. A "
        "short text is quick, and soon learned by heart.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "text",
        None,
        "Instead of --data_path: one text file, words between blanks, a "
        "sentence a line. 90 % of it is trained on, 5 % are the valid text, "
        "the last 5 % the test text.",
    )
    flags.DEFINE_integer(
        "vocab_limit",
        10_000,
        "With --text: most words of the vocabulary, the most frequent ones; "
        "the others are <unk>.",
        lower_bound=3,
    )
    flags.DEFINE_integer(
        "min_count",
        2,
        "With --text: words that are trained on less often are <unk>.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "drop_unseen",
        False,
        "With --data_path: leave words of the valid and the test text out that "
        "the training text lacks, as where that has no <unk>; otherwise they "
        "count as <unk>.",
    )
    program_flags.authors_default("drop_unseen", True)


def define_relaxing_flags() -> None:
    """When the group lasso lets go, see `options.LanguageOptions`."""
    flags.DEFINE_integer(
        "relax_epoch",
        None,
        "From this epoch on, counted from 1, the group lasso's strength is "
        "--relax_decay: when the sizes are learned, what is left learns with "
        "less pressure.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "relax_decay",
        0.0,
        "With --relax_epoch: the strength from then on.",
        lower_bound=0.0,
    )


def define_use_flags() -> None:
    """What a trained model is used for, see `using.Use`."""
    with program_flags.group("Using what was trained"):
        flags.DEFINE_string(
            "prompt",
            None,
            "With --mode=generate: the text to go on from. What the model "
            "does not know counts as <unk>.",
        )
        flags.DEFINE_integer(
            "num_words",
            100,
            "With --mode=generate: so many words (characters, of a model of "
            "those) follow the prompt; --seed decides which.",
            lower_bound=1,
        )
        flags.DEFINE_float(
            "temperature",
            1.0,
            "With --mode=generate: below 1, likely words get likelier; 0: the "
            "likeliest one each time.",
            lower_bound=0.0,
        )
        flags.DEFINE_string(
            "score_text",
            None,
            "With --mode=score: a file of sentences, one a line, in the form "
            "of the training text.",
        )


def define_size_and_machine_flags(layers: str) -> None:
    """What makes a net smaller, and what it runs on.

    Args:
      layers: see `flags.define_target_flags`.
    """
    flags_lib.define_target_flags(layers)
    flags_lib.define_shrinking_flags()
    flags_lib.define_pruning_flags(LAYER_TYPES, PRUNED_TYPES)
    flags_lib.define_machine_flags()
