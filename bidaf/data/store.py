"""The preprocessed data: one file of arrays, written in one step.

A store holds the words of all its parts once, the word vectors that some part
can use, and for each part (`train`, `dev`, ...) the texts as word ids. Every
paragraph is kept once, whatever the number of its questions.
"""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import tempfile
from typing import Any, Union

import numpy as np

from iss_rnns import files
from iss_rnns.errors import reason
from iss_rnns.errors import UserError

FILE = "store.npz"
FORMAT = 1  # To be raised with any change of the arrays.
PathLike = Union[str, os.PathLike]

# A lone array is no archive (a TypeError, before Python 3.11 AttributeError);
# JSON and UTF-8 raise ValueErrors.
_DAMAGED = (*files.DAMAGED, TypeError, AttributeError)


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """The paragraphs and questions of one source file.

    `*_offsets` arrays have one entry more than what they number: item i is
    `offsets[i]:offsets[i + 1]`. T words in S sentences of P paragraphs; Q
    questions of U words together; A answers.

    Attributes:
        tokens: `[T]` int32, word ids of the contexts.
        token_starts: `[T]` int32, where each begins, in characters of its
            paragraph's context.
        sentence_offsets: `[S + 1]` int32, in tokens.
        paragraph_offsets: `[P + 1]` int32, in sentences.
        paragraph_articles: `[P]` int32.
        titles: one text per article.
        contexts: P texts; two-sign quotes replaced, lengths unchanged.
        question_tokens: `[U]` int32, word ids of the questions.
        question_offsets: `[Q + 1]` int32.
        question_paragraphs: `[Q]` int32.
        ids: Q texts.
        answer_offsets: `[Q + 1]` int32; a question may have no answer.
        answer_spans: `[A, 2, 2]` int32, (sentence, word in the sentence) of
            the first word and of the one after the last.
        answer_characters: `[A, 2]` int32, where the answer begins in its
            first word and where its last character is in its last word.
        answer_texts: A texts.
        counted_words: `[K]` int32, ids of the part's words, in the order of
            their first occurrence.
        word_counts: `[K]` int64; a context counts once per question.
    """

    tokens: np.ndarray
    token_starts: np.ndarray
    sentence_offsets: np.ndarray
    paragraph_offsets: np.ndarray
    paragraph_articles: np.ndarray
    titles: list[str]
    contexts: list[str]
    question_tokens: np.ndarray
    question_offsets: np.ndarray
    question_paragraphs: np.ndarray
    ids: list[str]
    answer_offsets: np.ndarray
    answer_spans: np.ndarray
    answer_characters: np.ndarray
    answer_texts: list[str]
    counted_words: np.ndarray
    word_counts: np.ndarray

    @property
    def num_questions(self) -> int:
        """Number of questions Q."""
        return len(self.ids)


class Store:
    """A file written by `write`; its arrays are read when asked for.

    Attributes:
        path: the file.
        meta: what was preprocessed, from what, and how.

    Raises:
        UserError: no such store, or a damaged or foreign file.
    """

    def __init__(self, path: PathLike):
        path = pathlib.Path(path)
        self.path = path / FILE if path.is_dir() else path
        if not self.path.exists():
            raise UserError(
                f"no preprocessed data at {self.path}; make it with `python "
                "-m bidaf.prepro --train FILE --dev FILE --glove FILE --out "
                f"{path}`"
            )
        with self._reading("meta"):
            self.meta = dict(json.loads(self._array("meta").tobytes()))
        if self.meta.get("format") != FORMAT:
            raise UserError(
                f"{self.path} has format {self.meta.get('format')}, this "
                f"version reads format {FORMAT}; preprocess it anew"
            )

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order of preprocessing."""
        return tuple(self.meta["parts"])

    @functools.cached_property
    def words(self) -> list[str]:
        """All words, in id order."""
        return self._texts("words")

    @functools.cached_property
    def glove_words(self) -> list[str]:
        """The word vectors' words, in the order of their file."""
        return self._texts("glove_words")

    @functools.cached_property
    def glove_vectors(self) -> np.ndarray:
        """`[len(glove_words), vector size]` float32."""
        return self._array("glove_vectors")

    def part(self, name: str) -> Part:
        """Reads a part.

        Raises:
            UserError: the store has no such part.
        """
        if name not in self.parts:
            raise UserError(
                f"{self.path} has no part '{name}'; it has "
                f"{', '.join(self.parts)}"
            )
        fields = {}
        for field in dataclasses.fields(Part):
            read = self._texts if field.type == list[str] else self._array
            fields[field.name] = read(f"{name}/{field.name}")
        return Part(**fields)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            raise UserError(
                f"{self.path} is damaged or no preprocessed data (reading "
                f"'{name}': {reason(error)}); preprocess it anew"
            ) from error

    def _array(self, name: str) -> np.ndarray:
        with self._reading(name), np.load(self.path) as arrays:
            return arrays[name]

    def _texts(self, name: str) -> list[str]:
        data = self._array(name).tobytes()
        ends = np.cumsum(self._array(f"{name}/sizes"), dtype=np.int64).tolist()
        with self._reading(name):
            return [
                data[start:end].decode() for start, end in zip([0] + ends, ends)
            ]


def write(
    folder: PathLike,
    meta: dict[str, Any],
    words: Sequence[str],
    glove_words: Sequence[str],
    glove_vectors: np.ndarray,
    parts: dict[str, Part],
) -> pathlib.Path:
    """Writes a store; an older one is there until the new one is complete.

    Args:
        folder: where `store.npz` goes; it is made if need be.
        meta: JSON values; `format` and `parts` are added.
        words: all words, in id order.
        glove_words: words of the vectors.
        glove_vectors: `[len(glove_words), size]` float32.
        parts: name to part.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written.
    """
    arrays = {"glove_vectors": np.asarray(glove_vectors, np.float32)}
    meta = {**meta, "format": FORMAT, "parts": list(parts)}
    arrays["meta"] = _bytes(json.dumps(meta, indent=1).encode())
    _add_texts(arrays, "words", words)
    _add_texts(arrays, "glove_words", glove_words)
    for name, part in parts.items():
        for field in dataclasses.fields(Part):
            value = getattr(part, field.name)
            if field.type == list[str]:
                _add_texts(arrays, f"{name}/{field.name}", value)
            else:
                arrays[f"{name}/{field.name}"] = value
    path = pathlib.Path(folder) / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    files.write(path, arrays)
    return path


def check_writable(folder: PathLike) -> None:
    """Checks that `write` could make a store; makes nothing itself.

    Raises:
        UserError: nothing can be written there.
    """
    path = pathlib.Path(folder) / FILE
    place = next(each for each in path.absolute().parents if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def _add_texts(
    arrays: dict[str, np.ndarray], name: str, texts: Sequence[str]
) -> None:
    encoded = [text.encode() for text in texts]
    arrays[name] = _bytes(b"".join(encoded))
    arrays[f"{name}/sizes"] = np.array(
        [len(text) for text in encoded], np.int32
    )
