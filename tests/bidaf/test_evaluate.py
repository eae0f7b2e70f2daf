"""Tests of `bidaf.evaluate`: the official metric, spans, the program."""

import collections
import itertools
import json
import re
import string
import subprocess
import sys

import numpy as np
import pytest

from bidaf import evaluate
from bidaf.data import squad
from iss_rnns import errors


@pytest.mark.parametrize(
    "answer, normalized",
    [
        ("The  Dr. Chen-Wei.", "dr chenwei"),
        ("a an the", ""),
        ("an a-team; THE end!", "ateam end"),
        ("Athens\tan\u00a0Isle", "athens isle"),
        ("“The” 4,500 $", "“ ” 4500"),
        ("theatre and", "theatre and"),
    ],
)
def test_normalize(answer, normalized):
    assert evaluate.normalize(answer) == normalized


def plain_metric(prediction, truths):
    """EM and F1 as the SQuAD v1.1 paper words them."""

    def clean(text):
        text = "".join(
            each for each in text.lower() if each not in string.punctuation
        )
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    best = [0, 0.0]
    for truth in truths:
        predicted, true = clean(prediction), clean(truth)
        common = sum(
            (
                collections.Counter(predicted) & collections.Counter(true)
            ).values()
        )
        best[0] = max(best[0], int(predicted == true))
        if common:
            p, r = common / len(predicted), common / len(true)
            best[1] = max(best[1], 2 * p * r / (p + r))
    return best


def test_score_against_the_definition():
    random = np.random.default_rng(0)
    words = "the a mill Mill, old. “old” an in 1853 1,853".split()

    def text():
        return " ".join(random.choice(words, random.integers(0, 5)))

    truths = {
        str(i): [text() for _ in range(random.integers(1, 4))]
        for i in range(200)
    }
    predictions = {id_: text() for id_ in truths}
    predictions["scores"] = {"0": 0.5}
    each = [plain_metric(predictions[id_], truths[id_]) for id_ in truths]
    exact, f1 = np.mean(each, 0) * 100
    score = evaluate.score(predictions, list(truths.items()))
    assert list(score) == ["exact_match", "f1"]
    assert score["exact_match"] == pytest.approx(exact)
    assert score["f1"] == pytest.approx(f1)
    assert 0 < exact < f1 < 100


def test_unanswered_questions_score_nothing(capsys):
    score = evaluate.score({"a": "mill"}, [("a", ["Mill"]), ("b", ["x"])])
    assert score == {"exact_match": 50.0, "f1": 50.0}
    assert capsys.readouterr().err == (
        "Unanswered question b will receive score 0.\n"
    )


@pytest.mark.parametrize(
    "predictions, truths, message",
    [
        (
            {"a": None},
            [("a", ["x"])],
            "answer to question 'a' is None, expected a",
        ),
        (
            {"a": "x"},
            [("a", [])],
            "question 'a' has no right answer to compare",
        ),
        ({"a": "x"}, [], "no questions to score"),
    ],
)
def test_wrong_answers(predictions, truths, message):
    with pytest.raises(errors.UserError, match=message):
        evaluate.score(predictions, truths)


def test_an_id_that_comes_twice_counts_twice(capsys):
    """B17: as in the official script, question by question."""
    truths = [("a", ["Denver"]), ("a", ["Boston"]), ("b", ["x"]), ("b", ["x"])]
    score = evaluate.score({"a": "Denver"}, truths)
    assert score == {"exact_match": 25.0, "f1": 25.0}
    assert capsys.readouterr().err.count("Unanswered question b") == 2


def plain_best_span(starts, ends):
    """The best of all pairs, sentence by sentence, earliest end first."""
    best, span = 0.0, [[0, 0], [0, 2]]
    for sentence in range(len(starts)):
        for end in range(starts.shape[1]):
            begins = starts[sentence, : end + 1]
            product = begins.max() * ends[sentence, end]
            if product > best:
                best = product
                span = [[sentence, int(begins.argmax())], [sentence, end + 1]]
    return span, best


def test_best_spans_against_all_pairs():
    random = np.random.default_rng(0)
    shapes = itertools.product((1, 3), (1, 2, 7), (np.float32, np.float64))
    for sentences, length, dtype in shapes:
        starts, ends = random.choice(
            [0.0, 0.1, 0.25, 0.5, 0.9], (2, 40, sentences, length)
        ).astype(dtype)
        spans, scores = evaluate.best_spans(starts, ends)
        for i in range(40):
            span, score = plain_best_span(starts[i], ends[i])
            assert spans[i].tolist() == span
            assert scores[i] == score


def test_best_span_of_zeros_is_the_authors():
    zeros = np.zeros((2, 3, 4))
    spans, scores = evaluate.best_spans(zeros, zeros)
    assert spans.tolist() == [[[0, 0], [0, 2]]] * 2 and not scores.any()


@pytest.mark.parametrize(
    "words, threshold, span, mean",
    [
        ([[0.1, 0.6, 0.8, 0.2, 0.7]], 0.5, ((0, 1), (0, 3)), 0.7),
        ([[0.1, 0.6, 0.6, 0.2, 0.7]], 0.5, ((0, 4), (0, 5)), 0.7),
        ([[0.6, 0.6], [0.9, 0.1]], 0.5, ((1, 0), (1, 1)), 0.9),
        ([[0.9, 0.9], [0.9, 0.9]], 0.5, ((0, 0), (0, 2)), 0.9),
        ([[0.1, 0.2], [0.3, 0.2]], 0.5, ((1, 0), (1, 1)), 0.3),
    ],
)
def test_best_run_of_words(words, threshold, span, mean):
    found, score = evaluate.best_span_wy(np.array(words), threshold)
    assert found == span and score == pytest.approx(mean)


def test_f1_of_positions():
    for true, predicted in itertools.product(
        itertools.combinations(range(6), 2), repeat=2
    ):
        common = set(range(*true)) & set(range(*predicted))
        sizes = (true[1] - true[0]) + (predicted[1] - predicted[0])
        assert evaluate.word_f1(true, predicted) == (
            pytest.approx(2 * len(common) / sizes)
        )


DEV = {
    "version": "1.1",
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "c",
                    "qas": [
                        {
                            "id": "é",
                            "question": "q",
                            "answers": [{"text": "The mill"}],
                        },
                        {
                            "id": "2",
                            "question": "q",
                            "answers": [{"text": "x"}],
                        },
                        {
                            "id": "3",
                            "question": "q",
                            "answers": [{"text": "y z"}],
                        },
                    ],
                }
            ],
        }
    ],
}


def command(folder, answers, dev=None, files=("dev.json", "answers.json")):
    (folder / "dev.json").write_text(json.dumps(dev or DEV))
    (folder / "answers.json").write_text(
        answers if isinstance(answers, str) else json.dumps(answers)
    )
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "bidaf.evaluate",
            *(str(folder / name) for name in files),
        ],
        capture_output=True,
        text=True,
    )


def test_program_prints_what_the_official_one_prints(tmp_path):
    done = command(tmp_path, {"é": "mill", "2": "z", "unknown": "x"})
    assert done.stdout == (
        '{"exact_match": 33.333333333333336, "f1": 33.333333333333336}\n'
    )
    assert done.stderr == "Unanswered question 3 will receive score 0.\n"
    assert done.returncode == 0


def test_program_tells_of_another_version(tmp_path):
    done = command(
        tmp_path, {"é": "", "2": "", "3": "y"}, {**DEV, "version": "v2.0"}
    )
    assert done.stderr == (
        "Evaluation expects v-1.1, but got dataset with v-v2.0\n"
    )
    assert json.loads(done.stdout)["f1"] == pytest.approx(200 / 9)


def official(data, predictions):
    """What the official script computes, in its order of looking."""
    scores = []
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                if question["id"] not in predictions:
                    scores.append([0, 0.0])
                    continue
                truths = [answer["text"] for answer in question["answers"]]
                scores.append(plain_metric(predictions[question["id"]], truths))
    exact, f1 = 100 * np.mean(scores, 0)
    return {"exact_match": exact, "f1": f1}


def question(id_, *texts, **more):
    return {"id": id_, "answers": [{"text": text} for text in texts], **more}


@pytest.mark.parametrize(
    "questions",
    [
        [question("a", "Denver"), question("a", "Boston"), question("b", "x")],
        [question("a", "Denver", "x"), {"id": "none"}],
        [question("b", "", " "), question("a", "the Denver", question=3)],
        [question("\ud800", "\udfff x"), question("b", "\x00")],
        [question("gone"), question("a", "denver", is_impossible="perhaps")],
    ],
    ids=["twice", "no answers", "empty", "surrogates", "unanswered"],
)
def test_what_the_official_script_scores(tmp_path, questions):
    """B17: contexts, titles and places of answers are not looked at."""
    predictions = {"a": "Denver", "b": "x", "\ud800": "x", "scores": [1]}
    data = {"version": "1.1", "data": [{"paragraphs": [{"qas": questions}]}]}
    for name, content in ("dev", data), ("answers", predictions):
        (tmp_path / name).write_text(json.dumps(content))
    found = squad.right_answers(tmp_path / "dev")
    score = evaluate.score(
        evaluate.load_answers(tmp_path / "answers"), found.questions
    )
    assert score == pytest.approx(official(data, predictions))
    assert found.version == "1.1"


@pytest.mark.parametrize(
    "answers, files, message",
    [
        (
            {},
            ("dev.json",),
            "got 1 files, expected two: python -m bidaf.evaluate",
        ),
        (
            {},
            ("no.json", "answers.json"),
            "cannot read SQuAD file .*no.json: No",
        ),
        ({}, ("dev.json", "no.json"), "cannot read answers .*no.json: No such"),
        ("[]", ("dev.json", "answers.json"), "answers .* are no JSON object"),
        ("{", ("dev.json", "answers.json"), "read answers .*: it is no JSON: "),
        ({"é": 3}, ("dev.json", "answers.json"), "'é' is 3, expected a text"),
    ],
)
def test_program_fails_with_one_line(tmp_path, answers, files, message):
    done = command(tmp_path, answers, files=files)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(f"error: .*{message}.*\n$", done.stderr)
