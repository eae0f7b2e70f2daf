"""Tests of `bidaf.squad`: what is read, and what mistakes are told."""

import copy
import json

import pytest

from bidaf.data import squad
from iss_rnns import errors

CONTEXT = "Anna built the Old Mill in 1853. The Old Mill burned."
DATA = {
    "version": "1.1",
    "data": [
        {
            "title": "Mills",
            "paragraphs": [
                {"context": "Nothing.", "qas": []},
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "a",
                            "question": "Who?",
                            "answers": [{"text": "Anna", "answer_start": 0}],
                        },
                        {
                            "id": "b",
                            "question": "What burned?",
                            "answers": [
                                {"text": "Old Mill", "answer_start": 37},
                                {"text": "The Old Mill", "answer_start": 33},
                            ],
                        },
                    ],
                },
            ],
        }
    ],
}
WHERE = r"file\.json: article 1 'Mills', paragraph 2, question 2 'b'"
SHAPE = "; expected SQuAD v1.1: data > paragraphs > context, qas > id, "


def write(folder, data):
    path = folder / "file.json"
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    path.write_bytes(data)
    return path


def changed(*keys, **values):
    """The data with an object at `keys` updated; None takes a field away."""
    data = copy.deepcopy(DATA)
    place = data
    for key in keys:
        place = place[key]
    place.update(values)
    for key in [key for key, value in values.items() if value is None]:
        del place[key]
    return data


QUESTION = ("data", 0, "paragraphs", 1, "qas", 1)
ANSWER = (*QUESTION, "answers", 0)


def test_content(tmp_path):
    read = squad.read(write(tmp_path, DATA))
    (article,) = read.articles
    assert (read.version, article.title) == ("1.1", "Mills")
    empty, paragraph = article.paragraphs
    assert (empty.context, empty.questions) == ("Nothing.", ())
    assert paragraph.context == CONTEXT
    second = paragraph.questions[1]
    assert (second.id, second.text) == ("b", "What burned?")
    assert second.answers == (
        squad.Answer("Old Mill", 37),
        squad.Answer("The Old Mill", 33),
    )
    metric = squad.right_answers(write(tmp_path, DATA))
    assert metric.version == "1.1"
    assert metric.questions == (
        ("a", ["Anna"]),
        ("b", ["Old Mill", "The Old Mill"]),
    )


def test_byte_order_mark_and_missing_title(tmp_path):
    data = changed("data", 0, title=None)
    path = write(tmp_path, b"\xef\xbb\xbf" + json.dumps(data).encode())
    assert squad.read(path).articles[0].title == ""


@pytest.mark.parametrize(
    "keys, field, message",
    [
        ((), "data", r"file\.json: field 'data' is missing"),
        (("data", 0), "paragraphs", "article 1 'Mills': field 'paragraphs' is"),
        (
            ("data", 0, "paragraphs", 1),
            "context",
            "article 1 'Mills', paragraph 2: field 'context' is missing",
        ),
        (
            ("data", 0, "paragraphs", 1),
            "qas",
            "paragraph 2: field 'qas' is mis",
        ),
        (QUESTION, "id", "paragraph 2, question 2: field 'id' is missing"),
        (QUESTION, "question", WHERE + ": field 'question' is missing"),
        (QUESTION, "answers", WHERE + ": field 'answers' is missing"),
        (ANSWER, "text", WHERE + ", answer 1: field 'text' is missing"),
        (ANSWER, "answer_start", WHERE + ", answer 1: field 'answer_start' is"),
    ],
)
def test_missing_field(tmp_path, keys, field, message):
    path = write(tmp_path, changed(*keys, **{field: None}))
    with pytest.raises(errors.UserError, match=message + ".*" + SHAPE):
        squad.read(path)


@pytest.mark.parametrize(
    "keys, values, message",
    [
        (
            ("data", 0, "paragraphs", 1),
            {"context": 7},
            "field 'context' is 7, expected a text",
        ),
        (
            QUESTION,
            {"answers": {}},
            WHERE + ": field 'answers' is .*, expected a list",
        ),
        (
            ANSWER,
            {"answer_start": "37"},
            "answer_start' is .*, expected a whole",
        ),
        (
            ANSWER,
            {"answer_start": True},
            "answer_start' is .*, expected a whole",
        ),
        (("data", 0), {"paragraphs": ["x"]}, "paragraph 1 is no object"),
    ],
)
def test_wrong_field(tmp_path, keys, values, message):
    with pytest.raises(errors.UserError, match=message):
        squad.read(write(tmp_path, changed(*keys, **values)))


@pytest.mark.parametrize("content", [b"[1]", b'"x"', b"3"])
def test_json_of_another_kind(tmp_path, content):
    with pytest.raises(
        errors.UserError, match=r"file\.json is no object" + ".*" + SHAPE
    ):
        squad.read(write(tmp_path, content))


@pytest.mark.parametrize(
    "answer, message",
    [
        (
            {"text": "Old Mill", "answer_start": 36},
            ", answer 1: its text 'Old Mill' is not at answer_start 36, where the "
            "context has ' Old Mil'; it occurs at 15$",
        ),
        (
            {"text": "New Mill", "answer_start": 15},
            "where the context has 'Old Mill'; it does not occur in the context$",
        ),
        ({"text": "Anna", "answer_start": -4}, "at answer_start -4, "),
        (
            {"text": "Anna", "answer_start": 999},
            "where the context has ''; it ",
        ),
        ({"text": " ", "answer_start": 4}, "its text is empty"),
    ],
)
def test_broken_span(tmp_path, answer, message):
    path = write(tmp_path, changed(*ANSWER, **answer))
    with pytest.raises(errors.UserError, match=WHERE + ".*" + message):
        squad.read(path)
    assert squad.right_answers(path).questions[1][0] == "b"


def test_the_metric_needs_texts_only(tmp_path):
    for keys, field in (
        (ANSWER, "answer_start"),
        (QUESTION, "question"),
        (("data", 0, "paragraphs", 1), "context"),
        (("data", 0), "title"),
        ((), "version"),
    ):
        path = write(tmp_path, changed(*keys, **{field: None}))
        assert len(squad.right_answers(path).questions) == 2


@pytest.mark.parametrize(
    "keys, field, message",
    [
        ((), "data", r"file\.json: field 'data' is missing"),
        (("data", 0), "paragraphs", "article 1: field 'paragraphs' is missing"),
        (
            ("data", 0, "paragraphs", 1),
            "qas",
            "paragraph 2: field 'qas' is mis",
        ),
        (QUESTION, "id", "paragraph 2, question 2: field 'id' is missing"),
        (ANSWER, "text", "question 2 'b', answer 1: field 'text' is missing"),
    ],
)
def test_fields_that_the_metric_misses(tmp_path, keys, field, message):
    path = write(tmp_path, changed(*keys, **{field: None}))
    with pytest.raises(errors.UserError, match=message + ".*" + SHAPE):
        squad.right_answers(path)


def test_two_questions_of_one_id(tmp_path):
    path = write(tmp_path, changed(*QUESTION, id="a"))
    with pytest.raises(
        errors.UserError,
        match=(
            "question 2 'a': its id was given before, to .*paragraph 2, "
            "question 1 'a'; every question needs an id of its own"
        ),
    ):
        squad.read(path)


def test_no_question_at_all(tmp_path):
    path = write(tmp_path, {"version": "1.1", "data": []})
    with pytest.raises(errors.UserError, match=r"file\.json has no questions"):
        squad.read(path)


def test_bad_utf8_names_the_question(tmp_path):
    data = json.dumps(DATA).encode().replace(b"What burned", b"What b\xfcrned")
    with pytest.raises(
        errors.UserError,
        match=(
            WHERE + ": field 'question' is not UTF-8: byte 0xfc after 'What "
            "b'; save the file as UTF-8$"
        ),
    ):
        squad.read(write(tmp_path, data))


def test_bad_utf8_elsewhere(tmp_path):
    data = json.dumps(DATA, indent=0).encode().replace(b'"1.1"', b'"\xe9"')
    with pytest.raises(
        errors.UserError,
        match=(
            r"file\.json: it is not UTF-8: byte 0xe9 at offset \d+, line 2; "
        ),
    ):
        squad.read(write(tmp_path, data))


def test_lone_surrogate(tmp_path):
    path = write(tmp_path, changed(*QUESTION, question="Who \ud800?"))
    with pytest.raises(
        errors.UserError, match=r"not UTF-8: lone surrogate \\ud800"
    ):
        squad.read(path)


def test_no_json(tmp_path):
    path = write(tmp_path, b'{"data": [\n  {"title" "x"}]}')
    with pytest.raises(
        errors.UserError,
        match=(
            r"SQuAD file .*file\.json: it is no JSON: .* at line 2, column 12"
        ),
    ):
        squad.read(path)


def test_nested_too_deeply(tmp_path):
    with pytest.raises(errors.UserError, match="nested too deeply"):
        squad.read(write(tmp_path, b"[" * 10**6))


def test_missing_file(tmp_path):
    with pytest.raises(
        errors.UserError,
        match=(r"cannot read SQuAD file .*file\.json: No such file"),
    ):
        squad.read(tmp_path / "file.json")
