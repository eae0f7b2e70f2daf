"""SQuAD JSON: reading, with mistakes told by article and question.

Version 1.1 and, as far as it is the same, 2.0: a question may have no answer.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any, Optional

from iss_rnns import errors
from iss_rnns import files

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
    """The content of one file, to train on or to answer."""

    version: Any
    articles: tuple[Article, ...]


@dataclasses.dataclass(frozen=True)
class RightAnswers:
    """What the metric needs of a file: of each question id and answers.

    In the file's order; an id may come more than once, and then counts as
    often.
    """

    version: Any
    questions: tuple[tuple[str, list[str]], ...]


def read(path: files.PathLike) -> Squad:
    """Reads and checks a file in the format of SQuAD v1.1.

    Args:
      path: the JSON file.

    Returns:
      Its articles. A question without an answer, as in SQuAD 2.0, has none
      in `answers`.

    Raises:
      UserError: unreadable file, no JSON, a missing or wrong field, text
        that is not UTF-8, an answer that is not where it should be, two
        questions of one id. Article, paragraph and question are named.
    """
    content, damage = _parse(path)
    try:
        articles = _list(content, "data", files.shown(path))
        reader = _Reader()
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


def right_answers(path: files.PathLike) -> RightAnswers:
    """Reads what the metric needs, and looks at nothing else.

    Whatever the official script scores is read: ids that come twice, answers
    that are not in their context, contexts and questions that are missing,
    and texts with halves of surrogate pairs.

    Args:
      path: the JSON file.

    Raises:
      UserError: unreadable file, no JSON, or a missing or wrong field of
        those that count.
    """
    content, found = files.read_json(path, _WHAT), []
    try:
        articles = _list(content, "data", files.shown(path))
        for a, article in enumerate(articles, 1):
            where = f"{files.shown(path)}: article {a}"
            for paragraph, place in _each(
                article, "paragraphs", where, "paragraph"
            ):
                found += [
                    _right(*each)
                    for each in _each(paragraph, "qas", place, "question")
                ]
    except _Shape as error:
        raise errors.UserError(f"{error}; {_SHAPE}") from None
    return RightAnswers(content.get("version"), tuple(found))


def _right(question: Any, where: str) -> tuple[str, list[str]]:
    id_ = _get(question, "id", str, where, encodable=False)
    where += f" {id_!r}"
    return id_, [
        _get(answer, "text", str, f"{where}, answer {number}", encodable=False)
        for number, answer in enumerate(
            _get(question, "answers", list, where, default=[]), 1
        )
    ]


class _Shape(Exception):
    """The JSON has not the fields of SQuAD."""


def _parse(path: files.PathLike) -> tuple[Any, Optional[errors.UserError]]:
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

    def __init__(self):
        self.ids = {}

    def article(self, article: Any, where: str) -> Article:
        title = _get(article, "title", str, where, "")
        where += f" '{title}'" if title else ""
        return Article(
            title,
            tuple(
                self.paragraph(*each)
                for each in _each(article, "paragraphs", where, "paragraph")
            ),
        )

    def paragraph(self, paragraph: Any, where: str) -> Paragraph:
        context = _get(paragraph, "context", str, where)
        return Paragraph(
            context,
            tuple(
                self.question(question, context, place)
                for question, place in _each(
                    paragraph, "qas", where, "question"
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
                self.answer(answer, context, place)
                for answer, place in _each(question, "answers", where, "answer")
            ),
            where,
        )

    def answer(self, answer: Any, context: str, where: str) -> Answer:
        text = _get(answer, "text", str, where)
        start = _get(answer, "answer_start", int, where)
        if not text.strip():
            raise errors.UserError(
                f"{where}: its text is empty; expected a passage of the context"
            )
        found = context[start : start + len(text)] if start >= 0 else ""
        if found != text:
            raise errors.UserError(
                f"{where}: its text {_short(text)} is not at answer_start "
                f"{_short(start)}, where the context has {_short(found)}; "
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
    mapping: Any,
    name: str,
    kind: type,
    where: str,
    default: Any = None,
    encodable: bool = True,
) -> Any:
    """A field of a JSON object, checked; text by default for UTF-8, too."""
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
    if isinstance(value, str) and encodable:
        _check_text(value, name, where)
    return value


def _list(mapping: Any, name: str, where: str) -> list:
    return _get(mapping, name, list, where)


def _each(
    mapping: Any, name: str, where: str, what: str
) -> Iterator[tuple[Any, str]]:
    """Elements of a list, and the place of each."""
    for number, element in enumerate(_list(mapping, name, where), 1):
        yield element, f"{where}, {what} {number}"


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
