"""SQuAD and GloVe files to one store of arrays."""

import collections
from collections.abc import Iterable
import os
import pathlib
import reprlib
import time
from typing import Any, Optional

import numpy as np
import tqdm

from bidaf.data import squad
from bidaf.data import store
from bidaf.data import words as words_lib
from iss_rnns import errors
from iss_rnns import files


def preprocess(
    sources: dict[str, files.PathLike],
    glove: files.PathLike,
    out: files.PathLike,
    splitter: str = "punkt",
    split: bool = False,
    glove_dim: Optional[int] = None,
    overwrite: bool = False,
) -> store.Store:
    """Preprocesses SQuAD files into a store.

    Args:
      sources: part name, such as `train` or `dev`, to SQuAD v1.1 file.
      glove: text file with a word and its numbers, between blanks, on each
        line.
      out: folder of the store.
      splitter: finds the ends of sentences, see `words.Tokenizer`.
      split: whether sentences stay apart in a context.
      glove_dim: how many numbers a word has. Defaults to those of the
        file's first line.
      overwrite: whether a store in `out` may be replaced.

    Returns:
      The store.

    Raises:
      UserError: a source, the vectors or NLTK's data is missing or
        malformed, or there is a store already.
    """
    began = time.time()
    path = pathlib.Path(out) / store.FILE
    if path.exists() and not overwrite:
        raise errors.UserError(
            f"{files.shown(path)} is there already; give another --out, or --overwrite to "
            "replace it"
        )
    # What would be in vain after minutes of work is told now.
    tokenizer = words_lib.Tokenizer(splitter)
    _check_glove(glove, glove_dim)
    store.check_writable(out)
    read = {name: squad.read(source) for name, source in sources.items()}
    word_ids = _WordIds()
    parts = {
        name: _part(source, name, tokenizer, split, word_ids)
        for name, source in read.items()
    }
    vocabulary = list(word_ids)
    glove_words, vectors = read_glove(glove, set(vocabulary), glove_dim)
    if not glove_words:
        raise errors.UserError(
            f"{glove} has a vector for none of the {len(vocabulary):,} words "
            f"of {', '.join(map(str, sources.values()))}; give word vectors "
            "of the same language"
        )
    meta = {
        "sources": {name: str(path) for name, path in sources.items()},
        "glove": str(glove),
        "glove_dim": vectors.shape[1],
        "splitter": splitter,
        "split": split,
    }
    path = store.write(out, meta, vocabulary, glove_words, vectors, parts)
    for name, part in parts.items():
        print(
            f"{name}: {len(part.titles):,} articles, "
            f"{len(part.contexts):,} paragraphs, "
            f"{part.num_questions:,} questions, {len(part.tokens):,} words "
            "of context" + _unanswered(part)
        )
    print(
        f"{len(vocabulary):,} different words, {len(glove_words):,} lines "
        f"of {glove} fit them"
    )
    print(
        f"wrote {path}: {path.stat().st_size / 1e6:.1f} MB after "
        f"{time.time() - began:.0f} s"
    )
    return store.Store(path)


def _unanswered(part: store.Part) -> str:
    """What is said of a part with questions that have no answer."""
    count = int(part.unanswered.sum())
    if not count:
        return ""
    return (
        f"; {count:,} without an answer (SQuAD 2.0), which bidaf.cli leaves "
        "out unless --na is given"
    )


class _WordIds(dict):
    """Word to id; a new word gets the next one."""

    def __missing__(self, word: str) -> int:
        self[word] = len(self)
        return len(self) - 1

    def of(self, words: Iterable[str]) -> list[int]:
        return [self[word] for word in words]


def _part(
    source: squad.Squad,
    name: str,
    tokenizer: words_lib.Tokenizer,
    split: bool,
    word_ids: _WordIds,
) -> store.Part:
    """Cuts all texts of a source into words and finds its answers."""
    columns: dict[str, list] = collections.defaultdict(list)
    sizes: dict[str, list[int]] = collections.defaultdict(list)
    seen: dict[int, None] = {}
    num_paragraphs = sum(len(a.paragraphs) for a in source.articles)
    progress = tqdm.tqdm(
        total=num_paragraphs, desc=name, unit=" paragraphs", disable=None
    )
    with progress:
        for number, article in enumerate(source.articles):
            for paragraph in article.paragraphs:
                _add_paragraph(
                    paragraph, tokenizer, split, word_ids, seen, columns, sizes
                )
                columns["paragraph_articles"].append(number)
                progress.update()
    arrays: dict[str, Any] = {
        **{
            key: _ints(columns[key])
            for key in (
                "tokens",
                "token_starts",
                "paragraph_articles",
                "question_tokens",
                "question_paragraphs",
            )
        },
        **{
            f"{key}_offsets": _ints(np.cumsum([0] + sizes[key]))
            for key in ("sentence", "paragraph", "question", "answer")
        },
        **_counts(seen, columns, len(word_ids)),
    }
    return store.Part(
        titles=[article.title for article in source.articles],
        contexts=columns["contexts"],
        ids=columns["ids"],
        answer_texts=columns["answer_texts"],
        answer_spans=_ints(columns["answer_spans"]).reshape(-1, 2, 2),
        answer_characters=_ints(columns["answer_characters"]).reshape(-1, 2),
        **arrays,
    )


def _add_paragraph(
    paragraph: squad.Paragraph,
    tokenizer: words_lib.Tokenizer,
    split: bool,
    word_ids: _WordIds,
    seen: dict[int, None],
    columns: dict[str, list],
    sizes: dict[str, list],
) -> None:
    """Appends a paragraph and its questions to the columns of a part."""
    context = words_lib.plain_quotes(paragraph.context)
    texts = tokenizer.sentences(context) if split else [context]
    sentences = [tokenizer.words(text) for text in texts]
    words = [word for sentence in sentences for word in sentence]
    if not words:
        raise errors.UserError(f"{paragraph.where}: its context has no words")
    starts = word_starts(words, context, paragraph.where)
    places = _Places(sentences, words, starts)
    ids = word_ids.of(words)
    seen.update(dict.fromkeys(ids))
    for question in paragraph.questions:
        question_ids = word_ids.of(tokenizer.words(question.text))
        if not question_ids:
            raise errors.UserError(f"{question.where}: it has no words")
        seen.update(dict.fromkeys(question_ids))
        columns["question_tokens"] += question_ids
        columns["question_paragraphs"].append(len(columns["contexts"]))
        columns["ids"].append(question.id)
        sizes["question"].append(len(question_ids))
        sizes["answer"].append(len(question.answers))
        for number, answer in enumerate(question.answers, 1):
            span, characters = places.find(
                answer.start,
                answer.start + len(answer.text),
                f"{question.where}, answer {number}",
            )
            columns["answer_spans"].append(span)
            columns["answer_characters"].append(characters)
            columns["answer_texts"].append(answer.text)
    columns["contexts"].append(context)
    columns["tokens"] += ids
    columns["token_starts"] += starts
    columns["repeats"] += [len(paragraph.questions)] * len(ids)
    sizes["sentence"] += map(len, sentences)
    sizes["paragraph"].append(len(sentences))


def word_starts(words: list[str], context: str, where: str) -> list[int]:
    """The character of the context that each of its words begins at."""
    starts = []
    position = 0
    for word in words:
        start = context.find(word, position) if word else position
        if start < 0:
            raise errors.UserError(
                f"{where}: the word {word!r} that the tokenizer found is not "
                f"in the context after character {position}"
            )
        starts.append(start)
        position = start + len(word)
    return starts


class _Places:
    """Finds the words of a paragraph that lie under given characters."""

    def __init__(
        self, sentences: list[list[str]], words: list[str], starts: list[int]
    ):
        self.starts = np.array(starts)
        self.ends = self.starts + [len(word) for word in words]
        self.offsets = np.cumsum([0] + [len(words) for words in sentences])

    def find(
        self, start: int, stop: int, where: str
    ) -> tuple[list[list[int]], list[int]]:
        """Word span and place within the words of characters start:stop."""
        under = np.flatnonzero((self.starts < stop) & (self.ends > start))
        if not len(under):  # Such as the second half of ''.
            raise errors.UserError(
                f"{where}: no word of the context lies at characters "
                f"{start} to {stop}; an answer has to cover one"
            )
        first, last = under[0], under[-1]
        (sentence, word), (last_sentence, last_word) = map(
            self._in_sentence, (first, last)
        )
        return (
            [[sentence, word], [last_sentence, last_word + 1]],
            [start - self.starts[first], stop - self.starts[last] - 1],
        )

    def _in_sentence(self, place: int) -> list[int]:
        sentence = np.searchsorted(self.offsets, place, "right") - 1
        return [sentence, place - self.offsets[sentence]]


def _counts(
    seen: dict[int, None], columns: dict[str, list], num_words: int
) -> dict[str, np.ndarray]:
    """The part's words in the order of occurrence, and how often each is."""
    counts = np.bincount(columns["tokens"], columns["repeats"], num_words)
    counts += np.bincount(columns["question_tokens"], minlength=num_words)
    order = _ints(list(seen))
    return {
        "counted_words": order,
        "word_counts": counts[order].astype(np.int64),
    }


def _ints(values) -> np.ndarray:
    return np.asarray(values, np.int32)


def read_glove(
    path: files.PathLike, words: set[str], dim: Optional[int] = None
) -> tuple[list[str], np.ndarray]:
    """Reads the vectors that words of a text can use.

    A line fits if its word, or the word capitalized, in lower or in upper
    case, is among `words` or among their lower-case forms.

    Args:
      path: text file; each line a word and its numbers, between blanks.
      words: the text's words.
      dim: how many numbers there are. Defaults to those of the first line.

    Returns:
      The words of the lines that fit, in the file's order, and their
      vectors `[len(words), dim]` float32. Of a word given twice the last
      vector counts.

    Raises:
      UserError: missing, empty or malformed file; the line is named.
    """
    dim = _check_glove(path, dim)
    wanted = words | {word.lower() for word in words}
    found: dict[str, np.ndarray] = {}
    progress = tqdm.tqdm(
        total=os.path.getsize(path),
        desc="word vectors",
        unit="B",
        unit_scale=True,
        disable=None,
    )
    with progress, open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            progress.update(len(line))
            if number == 1:
                line = line.removeprefix(files.BYTE_ORDER_MARK)
            if not line or line.isspace():
                continue
            where = f"{files.shown(path)}, line {number}"
            word, numbers = _glove_line(line, dim, where)
            if wanted.isdisjoint(words_lib.variants(word)):
                continue
            found[word] = _numbers(numbers, where)
    vectors = np.array(list(found.values()), np.float32)
    return list(found), vectors.reshape(-1, dim)


def _check_glove(path: files.PathLike, dim: Optional[int]) -> int:
    """How many numbers a line has; fails early on a wrong file."""
    try:
        with open(path, "rb") as file:
            line = file.readline().removeprefix(files.BYTE_ORDER_MARK)
    except (OSError, ValueError) as error:
        raise files.unreadable(
            path,
            "word vectors",
            f"{errors.reason(error)}; give a GloVe text file such as "
            "glove.6B.100d.txt (in glove.6B.zip of "
            "nlp.stanford.edu/projects/glove)",
        ) from None
    columns = line.split()
    path = files.shown(path)
    if len(columns) == 2 and all(column.isdigit() for column in columns):
        raise errors.UserError(
            f"{path}, line 1: it is a header of counts, as word2vec writes; "
            "take the line away, a GloVe file begins with the first word"
        )
    if len(columns) < 2:
        raise errors.UserError(
            f"{path}, line 1: expected a word and its numbers between blanks, "
            f"got {line[:40]!r}"
        )
    if dim and len(columns) != dim + 1:
        raise errors.UserError(
            f"{path} has {len(columns) - 1} numbers per word, --glove_dim "
            f"asks for {dim}"
        )
    return len(columns) - 1


def _glove_line(line: bytes, dim: int, where: str) -> tuple[str, list[bytes]]:
    """Word and numbers of a line, the numbers not yet read."""
    columns = line.split()
    surplus = len(columns) - dim - 1
    # GloVe 840B has a few words with blanks in them, such as ". . .".
    if surplus < 0 or any(map(_is_number, columns[1 : surplus + 1])):
        raise errors.UserError(
            f"{where}: it has {len(columns)} columns, expected {dim + 1}: a "
            f"word and {dim} numbers"
        )
    try:
        return b" ".join(columns[: surplus + 1]).decode(), columns[-dim:]
    except UnicodeDecodeError as error:
        raise errors.UserError(
            f"{where}: its word is not UTF-8 (byte "
            f"0x{error.object[error.start]:02x}); save the file as UTF-8"
        ) from error


def _is_number(column: bytes) -> bool:
    try:
        float(column)
    except ValueError:
        return False
    return True


def _numbers(columns: list[bytes], where: str) -> np.ndarray:
    """The numbers of a line, `[len(columns)]` float32, all finite."""
    with np.errstate(over="ignore"):
        numbers = np.array(
            [float(c) if _is_number(c) else np.nan for c in columns]
        ).astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        column = columns[wrong[0]].decode(errors="replace")
        raise errors.UserError(
            f"{where}: {reprlib.repr(column)} is no finite number of float32; "
            f"expected a word and {len(columns)} numbers"
        )
    return numbers
