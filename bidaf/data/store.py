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
import pathlib
import reprlib
import tempfile
from typing import Any, Optional

import numpy as np

from iss_rnns import errors
from iss_rnns import files

FILE = "store.npz"
FORMAT = 1  # To be raised with any change of the arrays.

_WHAT = "preprocessed data"
_AXES = {"answer_spans": (2, 2), "answer_characters": (2,)}  # beyond the first


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

    @property
    def unanswered(self) -> np.ndarray:
        """`[Q]` bool: which questions have no answer, as in SQuAD 2.0."""
        return np.diff(self.answer_offsets) == 0


class Store:
    """A file written by `write`; its arrays are read when asked for.

    Attributes:
      path: the file.
      meta: what was preprocessed, from what, and how.

    Raises:
      UserError: no such store, or a damaged or foreign file.
    """

    def __init__(self, path: files.PathLike):
        path = pathlib.Path(path)
        self.path = path / FILE if path.is_dir() else path
        if not self.path.exists():
            raise errors.UserError(
                f"no preprocessed data at {files.shown(self.path)}; make it "
                "with `python -m bidaf.prepro --train FILE --dev FILE --glove "
                f"FILE --out {files.shown(path)}`"
            )
        self._parts: dict[str, Part] = {}
        with self._reading():
            self._stored = files.stored_arrays(self.path, _WHAT)
        try:
            self.meta = json.loads(self._array("meta").tobytes())
        except (ValueError, RecursionError):
            raise self._damaged("'meta' is no JSON") from None
        if not isinstance(self.meta, dict) or "format" not in self.meta:
            raise self._damaged("'meta' does not say what is in it")
        if self.meta["format"] != FORMAT:
            raise errors.UserError(
                f"{files.shown(self.path)} has format "
                f"{reprlib.repr(self.meta['format'])}, this version reads "
                f"format {FORMAT}; preprocess it anew"
            )
        names = self.meta.get("parts")
        if not isinstance(names, list) or not all(
            isinstance(name, str) for name in names
        ):
            raise self._damaged("'meta' does not name its parts")

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
        vectors = self._array("glove_vectors")
        if (
            vectors.dtype != np.float32
            or vectors.ndim != 2
            or len(vectors) != len(self.glove_words)
            or not vectors.shape[1]
            or not np.isfinite(vectors).all()
        ):
            raise self._damaged(
                f"'glove_vectors' are no finite numbers for each of its "
                f"{len(self.glove_words):,} 'glove_words'"
            )
        return vectors

    def part(self, name: str) -> Part:
        """A part, which is read once.

        Raises:
          UserError: the store has no such part, or its arrays do not fit
            each other.
        """
        if name not in self.parts:
            raise errors.UserError(
                f"{files.shown(self.path)} has no part '{name}'; it has "
                f"{', '.join(self.parts)}"
            )
        if name not in self._parts:
            columns: dict[str, Any] = {
                field.name: (
                    self._texts if field.type == list[str] else self._array
                )(f"{name}/{field.name}")
                for field in dataclasses.fields(Part)
            }
            part = Part(**columns)
            wrong = misfit(part, self.words)
            if wrong:
                raise self._damaged(f"'{name}/{wrong}' does not fit the rest")
            self._parts[name] = part
        return self._parts[name]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except errors.UserError as error:
            raise errors.UserError(f"{error}; preprocess it anew") from None

    def _damaged(self, why: str) -> errors.UserError:
        return files.unreadable(self.path, _WHAT, f"{why}; preprocess it anew")

    def _array(self, name: str) -> np.ndarray:
        if name not in self._stored:
            raise self._damaged(f"it has no array '{name}'")
        with self._reading():
            return np.asarray(self._stored[name])

    def _texts(self, name: str) -> list[str]:
        data, sizes = self._array(name), self._array(f"{name}/sizes")
        if (
            data.dtype != np.uint8
            or sizes.ndim != 1
            or sizes.dtype.kind not in "iu"
            or sizes.min(initial=0) < 0
            or sizes.sum() != data.size
        ):
            raise self._damaged(f"'{name}' does not fit '{name}/sizes'")
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        text = data.tobytes()
        try:
            return [
                text[start:end].decode() for start, end in zip([0] + ends, ends)
            ]
        except UnicodeDecodeError as error:
            raise self._damaged(f"'{name}': {error}") from None


def misfit(part: Part, words: Sequence[str]) -> Optional[str]:
    """The first field of a part that does not fit the others, or None.

    What is compared are lengths and bounds: all that `read_data` and `feed`
    look up without asking.

    Args:
      part: to check.
      words: of its store.
    """
    # One after the other: what is found first keeps the next from failing.
    for check in (_not_whole, _no_offsets, _no_ids, _beyond_texts):
        wrong = check(part, words)
        if wrong:
            return wrong
    return None


def _not_whole(part: Part, words: Sequence[str]) -> Optional[str]:
    """What are no whole numbers, or has other axes."""
    del words
    for field in dataclasses.fields(Part):
        if field.type == list[str]:
            continue
        array = getattr(part, field.name)
        axes = _AXES.get(field.name, ())
        if (
            array.dtype.kind not in "iu"
            or not array.ndim
            or array.shape[1:] != axes
        ):
            return field.name
    return None


def _no_offsets(part: Part, words: Sequence[str]) -> Optional[str]:
    """Offsets that do not rise from 0 to what they number."""
    del words
    sentences = len(part.sentence_offsets) - 1
    questions = part.num_questions
    for name, count, numbered, least in (
        ("sentence_offsets", sentences, len(part.tokens), 0),
        ("paragraph_offsets", len(part.contexts), sentences, 1),
        ("question_offsets", questions, len(part.question_tokens), 1),
        ("answer_offsets", questions, len(part.answer_texts), 0),
    ):
        offsets = getattr(part, name).astype(np.int64)
        if (
            not len(offsets)
            or len(offsets) != count + 1
            or offsets[0] != 0
            or offsets[-1] != numbered
            or np.diff(offsets).min(initial=least) < least
        ):
            return name
    return None


def _no_ids(part: Part, words: Sequence[str]) -> Optional[str]:
    """Ids of nothing, or too few or too many of them."""
    for name, length, limit in (
        ("tokens", len(part.token_starts), len(words)),
        ("question_tokens", len(part.question_tokens), len(words)),
        ("counted_words", len(part.word_counts), len(words)),
        ("paragraph_articles", len(part.contexts), len(part.titles)),
        ("question_paragraphs", part.num_questions, len(part.contexts)),
        ("answer_spans", len(part.answer_texts), None),
        ("answer_characters", len(part.answer_texts), None),
    ):
        ids = getattr(part, name).astype(np.int64)
        if len(ids) != length:
            return name
        if limit is not None and (
            ids.min(initial=0) < 0 or ids.max(initial=-1) >= limit
        ):
            return name
    return None


def _beyond_texts(part: Part, words: Sequence[str]) -> Optional[str]:
    """Words outside of their context, and answers outside of its words."""
    starts, offsets, first, spans = (
        getattr(part, name).astype(np.int64)
        for name in (
            "token_starts",
            "sentence_offsets",
            "paragraph_offsets",
            "answer_spans",
        )
    )
    sizes = np.diff(offsets)
    lengths = np.array([len(word) for word in words], np.int64)
    ends = starts + lengths[part.tokens]
    limits = np.repeat(
        [len(context) for context in part.contexts], np.diff(offsets[first])
    )
    if starts.min(initial=0) < 0 or (ends > limits).any():
        return "token_starts"
    # Every answer begins and ends at a word of its context, in this order.
    asked = np.repeat(part.question_paragraphs, np.diff(part.answer_offsets))
    (start, word), (stop, last) = np.moveaxis(spans, 0, -1)
    if (
        (start < 0) | (start > stop) | (stop >= np.diff(first)[asked])
    ).any() or (
        (word < 0)
        | (word >= sizes[first[asked] + start])
        | (last < 1)
        | (last > sizes[first[asked] + stop])
        | ((start == stop) & (word >= last))
    ).any():
        return "answer_spans"
    return None


def write(
    folder: files.PathLike,
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
    path = files.make_folder(folder) / FILE
    files.write_arrays(path, arrays)
    return path


def check_writable(folder: files.PathLike) -> None:
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
        raise errors.UserError(
            f"cannot write {path}: {error.strerror}"
        ) from error


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
