"""Which words and characters have ids, and which words have vectors."""

from collections.abc import Sequence
import dataclasses

from bidaf.data import store
from bidaf.data import words as words_lib
from iss_rnns import errors
from iss_rnns import files

NULL, UNKNOWN = "-NULL-", "-UNK-"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Ids of the words and characters that have trained embeddings.

    Attributes:
      word2idx: word to id; 0 padding, 1 unknown.
      char2idx: character to id, likewise.
    """

    word2idx: dict[str, int]
    char2idx: dict[str, int]

    @classmethod
    def number(
        cls, words: Sequence[str], characters: Sequence[str]
    ) -> "Vocabulary":
        """Gives ids from 2 on, in the given order."""
        return cls(
            *(
                {
                    **{key: i for i, key in enumerate(keys, 2)},
                    NULL: 0,
                    UNKNOWN: 1,
                }
                for keys in (words, characters)
            )
        )

    def save(self, path: files.PathLike) -> None:
        """Writes the authors' `shared.json`, in one step.

        Raises:
          UserError: it cannot be written.
        """
        files.write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: files.PathLike) -> "Vocabulary":
        """Reads what `save`, or the authors' program, wrote.

        Raises:
          UserError: unreadable file, or no such content.
        """
        content = files.read_json(path, "vocabulary")
        try:
            loaded = cls(content["word2idx"], content["char2idx"])
            for ids in (loaded.word2idx, loaded.char2idx):
                if not all(type(i) is int for i in ids.values()) or (
                    sorted(ids.values()) != list(range(len(ids)))
                ):
                    raise ValueError("ids are not 0, 1, 2, ...")
                if (ids.get(NULL), ids.get(UNKNOWN)) != (0, 1):
                    raise ValueError(
                        f"{NULL} and {UNKNOWN} have not the ids 0 and 1"
                    )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise errors.UserError(
                f"{files.shown(path)} is no vocabulary ({errors.reason(error)}); expected JSON with "
                "word2idx and char2idx, as training writes it"
            ) from error
        return loaded


def word_counts(
    part: store.Part, words: list[str], lower: bool
) -> dict[str, int]:
    """How often each word occurs in a part, in the order of occurrence.

    Args:
      part: the part.
      words: the store's words.
      lower: whether words count in lower case.
    """
    counts: dict[str, int] = {}
    for i, count in zip(part.counted_words.tolist(), part.word_counts.tolist()):
        word = words[i].lower() if lower else words[i]
        counts[word] = counts.get(word, 0) + count
    return counts


def character_counts(part: store.Part, words: list[str]) -> dict[str, int]:
    """How often each character occurs, in the order of occurrence."""
    counts: dict[str, int] = {}
    for word, count in word_counts(part, words, lower=False).items():
        for character in word:
            counts[character] = counts.get(character, 0) + count
    return counts


def vector_rows(
    glove_words: Sequence[str], counts: dict[str, int]
) -> dict[str, int]:
    """Which of the store's vectors a part's words have.

    Each vector goes to the first form of its word that occurs in the part;
    if several go to one word, the last stays.

    Args:
      glove_words: the vectors' words.
      counts: the part's words.

    Returns:
      Word to row, in the order of the vectors.
    """
    rows: dict[str, int] = {}
    for row, glove_word in enumerate(glove_words):
        for word in words_lib.variants(glove_word):
            if word in counts:
                rows[word] = row
                break
    return rows
