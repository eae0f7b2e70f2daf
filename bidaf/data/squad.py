"""SQuAD v1.1 JSON: reading, with mistakes told by article and question."""

import dataclasses
import os
from typing import Any, Optional, Union

from iss_rnns import errors
from iss_rnns import files

PathLike = Union[str, os.PathLike]
_WHAT = "SQuAD file"
_SHAPE = (
    "expected SQuAD v1.1: data > paragraphs > context, qas > id, "
    "question, answers > text, answer_start"
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer's text, and the character of the context where it starts."""

    text: str
    start: int


@dataclasses.dataclass(frozen=True)
class Question:
    """A question; `where` says in a message which one it is."""

    id: str
    text: str
    answers: tuple[Answer, ...]
    where: str


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A context with its questions."""

    context: str
    questions: tuple[Question, ...]
    where: str


@dataclasses.dataclass(frozen=True)
class Article:
    """A titled list of paragraphs."""

    title: str
    paragraphs: tuple[Paragraph, ...]


@dataclasses.dataclass(frozen=True)
class Squad:
    """The content of one file."""

    version: Any
    articles: tuple[Article, ...]

    def answer_texts(self) -> dict[str, list[str]]:
        """Right answers of each question, by its id, in the file's order."""
        return {
            question.id: [answer.text for answer in question.answers]
            for article in self.articles
            for paragraph in article.paragraphs
            for question in paragraph.questions
        }


def read(path: PathLike, spans: bool = True) -> Squad:
    """Reads and checks a file in the format of SQuAD v1.1.

    Args:
        path: the JSON file.
        spans: whether the answers' places in the context are needed. Without
            them `answer_start` may be missing or wrong, and is 0.

    Returns:
        Its articles. A question without an answer has none in `answers`.

    Raises:
        UserError: unreadable file, no JSON, a missing or wrong field, text
            that is not UTF-8, an answer that is not where it should be, two
            questions of one id. Article, paragraph and question are named.
    """
    content, damage = _parse(path)
    try:
        articles = _list(content, "data", files.shown(path))
        reader = _Reader(spans)
        read_articles = tuple(
            reader.article(article, f"{files.shown(path)}: article {number}")
            for number, article in enumerate(articles, 1)
        )
    except _Shape as error:
        raise errors.UserError(f"{error}; {_SHAPE}") from None
    if damage:
        raise damage
    if not reader.ids:
        raise errors.UserError(
            f"{files.shown(path)} has no questions; {_SHAPE}"
        )
    return Squad(content.get("version"), read_articles)


class _Shape(Exception):
    """The JSON has not the fields of SQuAD."""


def _parse(path: PathLike) -> tuple[Any, Optional[errors.UserError]]:
    """The JSON content, and what is to be said of its encoding at the end.

    Bytes that are not UTF-8 become lone surrogates, so that the text they
    stand in can be named.
    """
    data, damage = files.read_bytes(path, _WHAT), None
    try:
        text = files.decode(data, path, _WHAT)
    except errors.UserError as error:
        damage, text = error, data.decode("utf-8-sig", "surrogateescape")
    try:
        return files.parse_json(text, path, _WHAT), damage
    except errors.UserError as error:
        raise damage or error from None


class _Reader:
    """Turns parsed JSON into the classes above."""

    def __init__(self, spans: bool):
        self.spans = spans
        self.ids = {}

    def article(self, article: Any, where: str) -> Article:
        title = _get(article, "title", str, where, "")
        where += f" '{title}'" if title else ""
        return Article(
            title,
            tuple(
                self.paragraph(paragraph, f"{where}, paragraph {number}")
                for number, paragraph in enumerate(
                    _list(article, "paragraphs", where), 1
                )
            ),
        )

    def paragraph(self, paragraph: Any, where: str) -> Paragraph:
        context = _get(paragraph, "context", str, where)
        return Paragraph(
            context,
            tuple(
                self.question(question, context, f"{where}, question {number}")
                for number, question in enumerate(
                    _list(paragraph, "qas", where), 1
                )
            ),
            where,
        )

    def question(self, question: Any, context: str, where: str) -> Question:
        id_ = _get(question, "id", str, where)
        where += f" '{id_}'"
        if self.ids.setdefault(id_, where) != where:
            raise errors.UserError(
                f"{where}: its id was given before, to {self.ids[id_]}; "
                "every question needs an id of its own"
            )
        text = _get(question, "question", str, where)
        return Question(
            id_,
            text,
            tuple(
                self.answer(answer, context, f"{where}, answer {number}")
                for number, answer in enumerate(
                    _list(question, "answers", where), 1
                )
            ),
            where,
        )

    def answer(self, answer: Any, context: str, where: str) -> Answer:
        text = _get(answer, "text", str, where)
        if not self.spans:
            return Answer(text, 0)
        start = _get(answer, "answer_start", int, where)
        if not text.strip():
            raise errors.UserError(
                f"{where}: its text is empty; expected a passage of the context"
            )
        found = context[start : start + len(text)] if start >= 0 else ""
        if found != text:
            raise errors.UserError(
                f"{where}: its text {_short(text)} is not at answer_start "
                f"{start}, where the context has {_short(found)}; "
                f"{_occurrences(text, context)}"
            )
        return Answer(text, start)


def _occurrences(text: str, context: str) -> str:
    start = context.find(text)
    if start < 0:
        return "it does not occur in the context"
    return f"it occurs at {start}"


def _short(value: Any, most: int = 40) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[:most] + "...")
    shown = repr(value)
    return shown if len(shown) <= most else shown[:most] + "..."


_KINDS = {str: "a text", int: "a whole number", list: "a list"}


def _get(
    mapping: Any, name: str, kind: type, where: str, default: Any = None
) -> Any:
    """A field of a JSON object, checked."""
    if not isinstance(mapping, dict):
        raise _Shape(f"{where} is no object with fields")
    if name not in mapping:
        if default is not None:
            return default
        raise _Shape(f"{where}: field '{name}' is missing")
    value = mapping[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Shape(
            f"{where}: field '{name}' is {_short(value)}, expected "
            f"{_KINDS[kind]}"
        )
    if kind is str:
        _check_text(value, name, where)
    return value


def _list(mapping: Any, name: str, where: str) -> list:
    return _get(mapping, name, list, where)


def _check_text(text: str, name: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        sign = (
            f"byte 0x{code - 0xDC00:02x}"
            if 0xDC80 <= code <= 0xDCFF
            else f"lone surrogate \\u{code:04x}"
        )
        raise errors.UserError(
            f"{where}: field '{name}' is not UTF-8: {sign} after "
            f"{_short(text[max(error.start - 20, 0) : error.start])}; "
            "save the file as UTF-8"
        ) from None
