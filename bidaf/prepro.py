r"""SQuAD v1.1 and word vectors, made ready for training once and for all.

    python -m bidaf.prepro --train train-v1.1.json --dev dev-v1.1.json \
        --glove glove.6B.100d.txt --out data/squad

Words, their order and counts, and the answers' word positions are those of
the authors' preprocessing (by default a context is one sentence; `--split`
keeps the sentences apart). What the authors put into a gigabyte of JSON is
one file of arrays here, see bidaf/data/store.py.
"""

from absl import flags

from bidaf.data import preprocess
from bidaf.data import words as words_lib
from iss_rnns import errors
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags


def _define_flags() -> None:
    with program_flags.group("Files"):
        flags.DEFINE_string(
            "train", None, "SQuAD v1.1 file to train on.", required=True
        )
        flags.DEFINE_string(
            "dev", None, "SQuAD v1.1 file to evaluate on.", required=True
        )
        flags.DEFINE_string(
            "test",
            None,
            "Another SQuAD v1.1 file, kept as part 'test'. Without it the "
            "test part is the dev part, as in the authors' code.",
        )
        flags.DEFINE_string(
            "glove", None, "GloVe text file of word vectors.", required=True
        )
        flags.DEFINE_integer(
            "glove_dim",
            None,
            "Numbers of a word vector, which the file must have. Default: as "
            "many as it has.",
            lower_bound=1,
        )
        flags.DEFINE_string(
            "out", None, "Folder that store.npz is written to.", required=True
        )
        flags.DEFINE_bool(
            "overwrite", False, "Replace a store.npz in that folder."
        )
    with program_flags.group("Sentences"):
        flags.DEFINE_enum(
            "sentence_splitter",
            "punkt",
            words_lib.SPLITTERS,
            "What finds the ends of sentences: NLTK's punkt, as the authors "
            "have it, a simple rule, or nothing.",
        )
        flags.DEFINE_bool(
            "split",
            False,
            "Keep the sentences of a context apart. Default: a context is one "
            "sentence, as in the authors' code.",
        )


def main(argv: list[str]) -> None:
    """Runs `preprocess` on the command line's files."""
    options = flags.FLAGS
    if len(argv) > 1:
        raise errors.UserError(
            f"argument '{argv[1]}' has no flag before it; give "
            "files as --train, --dev, --glove"
        )
    sources = {"train": options.train, "dev": options.dev}
    if options.test:
        sources["test"] = options.test
    preprocess.preprocess(
        sources,
        options.glove,
        options.out,
        options.sentence_splitter,
        options.split,
        options.glove_dim,
        options.overwrite,
    )


def start() -> None:
    """The whole program."""
    _define_flags()
    main_lib.run_main(main)


if __name__ == "__main__":
    start()
