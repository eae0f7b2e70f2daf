"""Answers of a net to all questions of a data set, and how good they are."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf
import tqdm

from bidaf import evaluate
from bidaf import penalties
from bidaf.data import sources
from iss_rnns import files

ANSWERS, EVAL = "answers", "eval"  # folders below a run's
NetFunction = Callable[[Mapping[str, Any]], Mapping[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a net reached.

    Attributes:
      exact_match: of the official metric, in percent.
      f1: likewise.
      cost: mean cross entropy of a question, nats; None if not computed.
      answers: question id to text, as the official script reads it.
      questions: number of questions.
      unscored: how many of them have no right answer to be scored by.
      details: of each question: `id`, `span`, `score`, and with `na` `na`.
    """

    exact_match: float
    f1: float
    cost: Optional[float]
    answers: dict[str, str]
    questions: int
    details: list[dict]
    unscored: int = 0

    def __str__(self):
        cost = "" if self.cost is None else f", cost {self.cost:.4f}"
        unscored = (
            f", {self.unscored:,} without an answer not scored"
            if self.unscored
            else ""
        )
        return (
            f"exact match {self.exact_match:.2f}, F1 {self.f1:.2f}"
            f"{cost} ({self.questions:,} questions{unscored})"
        )


@dataclasses.dataclass(frozen=True)
class Rules:
    """How answers are read off a net's scores.

    Attributes:
      wy: by the words' own probabilities, not by the ends'.
      threshold: of `wy`.
      blank_last_word: answers that end on a context's last word become "",
        as in the authors' code.
    """

    wy: bool = False
    threshold: float = 0.5
    blank_last_word: bool = True


def net_function(net, vectors: np.ndarray, wy: bool = False) -> NetFunction:
    """A net as a function of a batch: `start`, `end`, `words` and `cost`.

    Traced once, at the first batch, for batches of any shape.
    """
    vectors = tf.constant(vectors, tf.float32)

    @tf.function(autograph=False)
    def run(batch):
        outputs = net(batch, vectors, training=False)
        kept = {
            name: outputs[name]
            for name in ("start", "end", "words", "na_prob")
            if name in outputs
        }
        kept["cost"] = tf.add_n(
            penalties.answer_costs(outputs, batch, wy, net.na_bias)
        )
        return kept

    traced: list[Callable] = []

    def function(batch):
        types = sources.specs(batch["cx"].shape[-1], "sentence" in batch)
        if not traced:
            traced.append(run.get_concrete_function(types))
        return traced[0]({name: batch[name] for name in types})

    return function


def score(
    function: NetFunction,
    questions: sources.Questions,
    batch_size: int,
    rules: Rules = Rules(),
    num_batches: int = 0,
    title: str = "",
) -> Scores:
    """Answers the questions that are judged, and scores the answers.

    Args:
      function: of `net_function`, or of an exported model.
      questions: see `sources.Questions`.
      batch_size: of the pass.
      rules: how answers are read off.
      num_batches: only so many; 0 means all questions.
      title: of the progress line.
    """
    data_set = questions.judged
    total = -(-data_set.num_examples // batch_size)
    answers, truths, details, costs = {}, [], [], []
    batches = sources.judged_batches(questions, batch_size, num_batches)
    with tqdm.tqdm(
        batches,
        total=min(total, num_batches or total),
        desc=title or data_set.name,
        disable=None,
        leave=False,
        unit="batch",
    ) as progress:
        for indices, batch in progress:
            outputs = function(batch)
            outputs = {
                name: np.asarray(value) for name, value in outputs.items()
            }
            if "cost" in outputs:
                costs.append(float(outputs["cost"]) * len(indices))
            found = read_off(outputs, rules)
            sentences = batch.get("sentence", np.zeros(len(indices), int))
            for row, (index, (span, value)) in enumerate(zip(indices, found)):
                id_ = data_set.part.ids[index]
                answers[id_] = data_set.phrase(
                    index, span, int(sentences[row]), rules.blank_last_word
                )
                if data_set.answer_texts(index):
                    truths.append((id_, data_set.answer_texts(index)))
                details.append({"id": id_, "span": span, "score": value})
                if "na_prob" in outputs:
                    details[-1]["na"] = float(outputs["na_prob"][row])
    # Those without a right answer, as in SQuAD 2.0, the metric does not know.
    # Without a bias for them they have no label, and their cost is 0.
    rated = len(answers if "na_prob" in outputs or rules.wy else truths)
    result = (
        evaluate.score(answers, truths)
        if truths
        else {"exact_match": float("nan"), "f1": float("nan")}
    )
    return Scores(
        result["exact_match"],
        result["f1"],
        sum(costs) / max(rated, 1) if costs else None,
        answers,
        len(answers),
        details,
        len(answers) - len(truths),
    )


def read_off(outputs: Mapping[str, np.ndarray], rules: Rules) -> list:
    """(span, score) of each row, spans as in `DataSet.answer_spans`."""
    if rules.wy:
        return [
            evaluate.best_span_wy(words, rules.threshold)
            for words in outputs["words"]
        ]
    spans, values = evaluate.best_spans(outputs["start"], outputs["end"])
    return [
        (tuple(map(tuple, span)), value)
        for span, value in zip(spans.tolist(), values.tolist())
    ]


def write_answers(
    scores: Scores,
    answers: Optional[pathlib.Path],
    details: Optional[pathlib.Path],
) -> list[pathlib.Path]:
    """Writes answers as the official script reads them, and their details.

    Args:
      scores: see `Scores`.
      answers: file of the answers; None: none is written.
      details: file of the details; likewise.

    Returns:
      The files.

    Raises:
      UserError: if they cannot be written.
    """
    contents = {answers: scores.answers, details: scores.details}
    written = [path for path in contents if path is not None]
    for path in written:
        files.make_folder(path.parent)
        files.write_json(path, contents[path])
    return written


def write_probabilities(
    function: NetFunction,
    questions: sources.Questions,
    batch_size: int,
    path: pathlib.Path,
    num_batches: int = 0,
) -> pathlib.Path:
    """Writes every word's probabilities, question by question.

    Args:
      function: see `score`.
      questions: likewise; batch_size and num_batches too.
      path: of the file, without its `.npz`.

    Returns:
      The file: for each question id `<id>/start` and `<id>/end`
      `[sentences, words]`.

    Raises:
      UserError: if it cannot be written.
    """
    arrays = {}
    part = questions.judged.part
    for indices, batch in sources.judged_batches(
        questions, batch_size, num_batches
    ):
        outputs = function(batch)
        for name in ("start", "end"):
            arrays.update(
                {
                    f"{part.ids[index]}/{name}": row
                    for index, row in zip(indices, np.asarray(outputs[name]))
                }
            )
    path = files.make_folder(path.parent) / f"{path.name}.npz"
    files.write_arrays(path, arrays)
    return path
