"""Mode answer: one question about one text, words in and words out."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Optional

import numpy as np

from bidaf import scoring
from bidaf.data import preprocess
from bidaf.data import sources
from bidaf.data import words as words_lib
from iss_rnns import errors
from iss_rnns import files

UNKNOWN = 1  # id of a word, or a character, that has no other
_WHAT = "vocabulary"


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a net reads texts: `vocabulary.json` of an export.

    Attributes:
      words: ids of words.
      characters: ids of characters.
      characters_of_a_word: how many are read of a word.
      trained_words: words of ids below this are trained; the rest have the
        vectors that they had. None: nobody knows.
      splitter: see `words.Tokenizer`.
      split: whether a context's sentences stay apart.
      squash: whether it is then read as one all the same.
      wy: whether the net judges each word, and not the answer's ends.
    """

    words: Mapping[str, int]
    characters: Mapping[str, int]
    characters_of_a_word: int
    trained_words: Optional[int] = None
    splitter: str = "simple"
    split: bool = False
    squash: bool = False
    wy: bool = False

    @classmethod
    def of(cls, questions: sources.Questions, wy: bool = False) -> "Reading":
        """As some questions are read.

        Args:
          questions: whose vocabulary counts.
          wy: see the class.
        """
        vocabulary, judged = questions.vocabulary, questions.judged
        words = dict(vocabulary.word2idx)
        for word, row in judged.new_word2idx.items():
            words[word] = row + len(vocabulary.word2idx)
        return cls(
            words,
            vocabulary.char2idx,
            questions.sizes.max_word_size,
            len(vocabulary.word2idx),
            squash=judged.config.squash,
            wy=wy,
            **questions.splitting,
        )

    @classmethod
    def read(cls, path: files.PathLike) -> "Reading":
        """Reads a `vocabulary.json`; that of version 1.0.0 has ids only.

        Raises:
          UserError: it cannot be read, or is none.
        """
        content = files.read_json(path, _WHAT)
        content = content if isinstance(content, dict) else {}
        for field in dataclasses.fields(cls):
            if field.default is not dataclasses.MISSING:
                content.setdefault(field.name, field.default)
        for name, check in _CHECKS.items():
            if not check(content.get(name)):
                raise files.unreadable(
                    path, _WHAT, f"'{name}' is missing or no such thing"
                )
        return cls(**{name: content[name] for name in _CHECKS})

    def word_id(self, word: str) -> int:
        """See `read_data.DataSet.word_id`."""
        forms = (word, word.lower(), word.capitalize(), word.upper())
        found = [self.words[form] for form in forms if form in self.words]
        trained = [i for i in found if i < (self.trained_words or 0)]
        return (trained or found or [UNKNOWN])[0]

    def character_ids(self, word: str) -> np.ndarray:
        """Ids of a word's first characters, 0 where it is shorter."""
        width = self.characters_of_a_word
        ids = [self.characters.get(each, UNKNOWN) for each in word[:width]]
        return np.array(ids + [0] * (width - len(ids)), np.int32)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a net takes for the answer.

    Attributes:
      text: a stretch of the context.
      start: the character that it begins at.
      score: the net's, of this stretch.
      no_answer: how likely it is that there is no answer; None: the net was
        not trained to say so.
      unknown: words of the context and the question that the net knows by
        their characters only.
    """

    text: str
    start: int
    score: float
    no_answer: Optional[float]
    unknown: tuple[str, ...]


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 1


def _are_ids(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(i) is int and i >= 0 for i in value.values()
    )


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "words": _are_ids,
    "characters": _are_ids,
    "characters_of_a_word": _is_size,
    "trained_words": lambda value: value is None or _is_size(value),
    "splitter": lambda value: value in words_lib.SPLITTERS,
    **dict.fromkeys(
        ("split", "squash", "wy"), lambda value: isinstance(value, bool)
    ),
}


class Answerer:
    """A net with what it takes to read a text.

    Args:
      function: arrays `x`, `cx`, `q` and `cq` of `feed.make_batch` -> outputs
        by name, see `serving.save`.
      reading: as it was trained.

    Raises:
      UserError: the splitter that the net was trained with is missing.
    """

    def __init__(
        self, function: Callable[[Mapping[str, Any]], Any], reading: Reading
    ):
        self._function = function
        self._reading = reading
        self._tokenizer = words_lib.Tokenizer(reading.splitter)

    def answer(self, context: str, question: str) -> Answer:
        """Finds the answer to a question in a text.

        Raises:
          UserError: one of them has no words.
        """
        reading = self._reading
        plain = words_lib.plain_quotes(context)
        texts = self._tokenizer.sentences(plain) if reading.split else [plain]
        sentences = [self._tokenizer.words(text) for text in texts]
        words = [word for sentence in sentences for word in sentence]
        asked = self._tokenizer.words(question)
        for what, found in (("context", words), ("question", asked)):
            if not any(found):
                raise errors.UserError(
                    f"the {what} is empty; expected some words"
                )
        starts = preprocess.word_starts(words, plain, "the context")
        fed = [words] if reading.squash else [s for s in sentences if s]
        outputs = {
            name: np.asarray(value)
            for name, value in self._function(self._arrays(fed, asked)).items()
        }
        rules = scoring.Rules(wy=reading.wy, blank_last_word=False)
        ((((j, k), (j2, k2)), score),) = scoring.read_off(outputs, rules)
        offsets = np.cumsum([0, *map(len, fed)])
        first, last = offsets[j] + k, offsets[j2] + k2 - 1
        stop = starts[last] + len(words[last])
        return Answer(
            context[starts[first] : stop],
            starts[first],
            float(score),
            float(outputs["na_prob"][0]) if "na_prob" in outputs else None,
            tuple(
                dict.fromkeys(
                    word
                    for word in [*words, *asked]
                    if word and reading.word_id(word) == UNKNOWN
                )
            ),
        )

    def _arrays(self, fed, asked) -> dict[str, np.ndarray]:
        """One question's `x`, `cx`, `q` and `cq`."""
        longest = max(map(len, fed))
        width = self._reading.characters_of_a_word
        x = np.zeros((1, len(fed), longest), np.int32)
        cx = np.zeros((1, len(fed), longest, width), np.int32)
        for row, sentence in enumerate(fed):
            x[0, row, : len(sentence)], cx[0, row, : len(sentence)] = self._ids(
                sentence
            )
        q, cq = self._ids(asked)
        return {"x": x, "cx": cx, "q": q[np.newaxis], "cq": cq[np.newaxis]}

    def _ids(self, words) -> tuple[np.ndarray, np.ndarray]:
        """Ids of words `[n]` and of their characters `[n, W]`."""
        reading = self._reading
        return (
            np.array([reading.word_id(word) for word in words], np.int32),
            np.stack([reading.character_ids(word) for word in words]),
        )
