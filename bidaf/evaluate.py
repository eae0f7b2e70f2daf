"""Answers against right answers: the official SQuAD v1.1 metric, and spans.

    python -m bidaf.evaluate dev-v1.1.json answers.json

prints what the official script prints: exact match and F1 in percent.
"""

import collections
from collections.abc import Mapping, Sequence
import json
import re
import reprlib
import string
import sys
from typing import Any

import numpy as np

from bidaf.data import squad
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import main as main_lib

VERSION = "1.1"
Span = tuple[tuple[int, int], tuple[int, int]]
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalize(answer: str) -> str:
    """Takes off case, punctuation, articles and surplus blanks.

    >>> normalize("The  Dr. Chen-Wei.")
    'dr chenwei'
    """
    bare = answer.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def exact_match(prediction: str, truth: str) -> bool:
    """Whether two answers are equal once normalized."""
    return normalize(prediction) == normalize(truth)


def f1(prediction: str, truth: str) -> float:
    """F1 of the words of two normalized answers, each word as often as it is.

    >>> f1("1918 and more", "in 1918")
    0.4
    """
    predicted, true = normalize(prediction).split(), normalize(truth).split()
    common = collections.Counter(predicted) & collections.Counter(true)
    num_common = sum(common.values())
    if not num_common:
        return 0.0
    precision = num_common / len(predicted)
    recall = num_common / len(true)
    return 2 * precision * recall / (precision + recall)


def score(
    predictions: Mapping[str, str],
    truths: Sequence[tuple[str, Sequence[str]]],
) -> dict[str, float]:
    """The official metric.

    Args:
      predictions: question id to answer. Other ids are ignored; a question
        without a prediction gets 0, which is told on stderr.
      truths: of each question its id and its right answers, of which the
        best one counts. A question of an id that was there before is one
        more question, as in the official script.

    Returns:
      `exact_match` and `f1`, in percent of all questions of `truths`.

    Raises:
      UserError: a prediction is no text, there are no questions, or one
        has no right answer.
    """
    if not truths:
        raise errors.UserError("there are no questions to score answers of")
    total_exact, total_f1 = 0, 0.0
    for id_, right in truths:
        if id_ not in predictions:
            print(
                f"Unanswered question {id_} will receive score 0.",
                file=sys.stderr,
            )
            continue
        if not isinstance(predictions[id_], str):
            raise errors.UserError(
                f"the answer to question {id_!r} is "
                f"{reprlib.repr(predictions[id_])}, "
                "expected a text"
            )
        if not right:
            raise errors.UserError(
                f"question {id_!r} has no right answer to compare with; the "
                "SQuAD v1.1 metric needs at least one"
            )
        total_exact += max(exact_match(predictions[id_], t) for t in right)
        total_f1 += max(f1(predictions[id_], truth) for truth in right)
    return {
        "exact_match": 100.0 * total_exact / len(truths),
        "f1": 100.0 * total_f1 / len(truths),
    }


def best_spans(
    starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable answers within a sentence.

    The best pair start <= end has the largest product of probabilities; of
    equal ones the first end in the first sentence is taken. Without any
    positive product it is word 0 to 1 of sentence 0, as in the authors' code.

    Args:
      starts: `[N, M, JX]`, probability that the answer begins here.
      ends: likewise, that it ends here.

    Returns:
      Spans `[N, 2, 2]` int64, (sentence, word) of the first word and of the
      one after the last; and their products, `[N]` float64.
    """
    starts, ends = np.asarray(starts), np.asarray(ends)
    count, _, length = starts.shape
    highest = np.maximum.accumulate(starts, -1)
    is_new = np.ones(starts.shape, bool)
    is_new[..., 1:] = starts[..., 1:] > highest[..., :-1]
    first = np.maximum.accumulate(np.where(is_new, np.arange(length), 0), -1)
    products = (highest * ends).reshape(count, -1)
    best = products.argmax(-1)
    rows = np.arange(count)
    scores = products[rows, best].astype(np.float64)
    sentences, last = np.divmod(best, length)
    spans = np.stack(
        [sentences, first.reshape(count, -1)[rows, best], sentences, last + 1],
        -1,
    )
    hopeless = ~(scores > 0)
    spans[hopeless], scores[hopeless] = (0, 0, 0, 2), 0.0
    return spans.reshape(count, 2, 2), scores


def best_span_wy(words: np.ndarray, threshold: float) -> tuple[Span, float]:
    """The run of words above a threshold with the highest mean.

    Args:
      words: `[M, JX]`, probability of each word to be in the answer.
      threshold: lowered to the highest probability if that is smaller.

    Returns:
      The span, as ((sentence, word), (sentence, word after the last)), and
      its mean; of equal runs the first.
    """
    words = np.asarray(words)
    threshold = min(threshold, words.max())
    runs = []
    for sentence, row in enumerate(words):
        edges = np.flatnonzero(
            np.diff(np.concatenate([[False], row >= threshold, [False]]))
        )
        for start, stop in edges.reshape(-1, 2).tolist():
            # One after the other in double precision, as the authors add.
            mean = sum(map(float, row[start:stop])) / (stop - start)
            runs.append((((sentence, start), (sentence, stop)), mean))
    return max(runs, key=lambda run: run[1])


def word_f1(true: tuple[int, int], predicted: tuple[int, int]) -> float:
    """F1 of the positions of two word spans start:stop.

    >>> word_f1((2, 5), (3, 4))
    0.5
    """
    common = min(true[1], predicted[1]) - max(true[0], predicted[0])
    if common <= 0:
        return 0.0
    precision = common / (predicted[1] - predicted[0])
    recall = common / (true[1] - true[0])
    return 2 * precision * recall / (precision + recall)


def load_answers(path: files.PathLike) -> Mapping[str, Any]:
    """Reads the answers that a model wrote: JSON, question id to text.

    Raises:
      UserError: unreadable, or not of that form.
    """
    answers = files.read_json(path, "answers")
    if not isinstance(answers, dict):
        raise errors.UserError(
            f"answers {files.shown(path)} are no JSON object; expected question ids with "
            'an answer each, {"id": "text", ...}'
        )
    return answers


def main(argv: list[str]) -> None:
    """Prints the metric of the files that the command line names."""
    if len(argv) != 3:
        raise errors.UserError(
            f"got {len(argv) - 1} files, expected two: python -m "
            "bidaf.evaluate DEV.json ANSWERS.json"
        )
    data = squad.right_answers(argv[1])
    if data.version != VERSION:
        print(
            f"Evaluation expects v-{VERSION}, but got dataset with "
            f"v-{data.version}",
            file=sys.stderr,
        )
    print(json.dumps(score(load_answers(argv[2]), data.questions)))


if __name__ == "__main__":
    main_lib.run_main(main)
