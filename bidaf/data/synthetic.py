"""Question answering that the project makes up itself, in SQuAD v1.1 format.

    python -m bidaf.data.synthetic --out data/synthetic --num_train 3000

Paragraphs tell facts of two or three people, buildings, companies or events.
Each relation that is asked for is told of every subject in the paragraph, and
often beside another one with answers of the same kind, in random order: to
answer, one must find the subject and the relation; where the answer is, or of
what kind it is, does not tell. Questions often use other words than the
paragraphs. Every paragraph differs from all others, in both parts.

`write` adds word vectors in GloVe's format, random but for what GloVe has
too: words of one kind, and words of one relation, are alike.
"""

from collections.abc import Iterator, Sequence
import itertools
import json
import pathlib
import random
import re
from typing import Any, NamedTuple
import zlib

from absl import flags
import numpy as np

from bidaf.data import synthetic_facts as facts
from bidaf.data import words as words_lib
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags

QUESTIONS_PER_PARAGRAPH = 4
PARAGRAPHS_PER_ARTICLE = 25
_SAME_KIND = 0.6
_JOINED = 0.25
_SURNAME_ONLY = 0.25
_YEARS = range(1750, 1990)
# Names whose vectors are left out, so that some words are known by their
# characters only.
_WITHOUT_VECTOR = 0.05


class _Fact(NamedTuple):
    subject: str
    value: str
    relation: facts.Relation


def make(
    num_train: int = 3000, num_dev: int = 500, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Makes both parts of a question-answering set.

    Args:
      num_train: questions to train on.
      num_dev: questions to evaluate on, about paragraphs of their own.
      seed: of all random choices.

    Returns:
      `train` and `dev`, each the content of a SQuAD v1.1 JSON file.
      Questions of `dev` for a quantity have the bare number as a second
      right answer.

    Raises:
      UserError: a number of questions below 1.
    """
    for name, number in ("num_train", num_train), ("num_dev", num_dev):
        arguments.integer(name, number, least=1)
    source = random.Random(seed)
    known: set[str] = set()
    return {
        part: _part(part, number, source, known)
        for part, number in (("train", num_train), ("dev", num_dev))
    }


def write(
    folder: files.PathLike,
    num_train: int = 3000,
    num_dev: int = 500,
    seed: int = 0,
    vector_size: int = 50,
) -> dict[str, pathlib.Path]:
    """Writes a set and its word vectors; each file in one step.

    Args:
      folder: where they go; made if need be.
      num_train: see `make`.
      num_dev: see `make`.
      seed: see `make`.
      vector_size: numbers per word.

    Returns:
      Paths of `train`, `dev` and `glove`.

    Raises:
      UserError: a number out of range, or a file cannot be written.
    """
    parts = make(num_train, num_dev, seed)
    texts = {
        part: (f"{part}-v1.1.json", json.dumps(content, indent=1))
        for part, content in parts.items()
    }
    texts["glove"] = (
        f"synthetic.{vector_size}d.txt",
        "".join(
            f"{word} {' '.join(f'{number:.4f}' for number in vector)}\n"
            for word, vector in word_vectors(vector_size, seed).items()
        ),
    )
    folder = files.make_folder(folder)
    for name, text in texts.values():
        files.write_text(folder / name, text)
    return {part: folder / name for part, (name, _) in texts.items()}


def word_vectors(size: int = 50, seed: int = 0) -> dict[str, np.ndarray]:
    """Stand-ins for GloVe vectors of the words that paragraphs can have.

    A vector is normal noise that depends on the word only, plus a part that
    words of one kind (towns, surnames, ...) or of one relation share. Numbers
    but years, and a few names, have none.

    Args:
      size: numbers per word.
      seed: of all vectors.

    Returns:
      Word in lower case to `[size]` float64.

    Raises:
      UserError: `size` is below 1.
    """
    arguments.integer("vector_size", size, least=1)

    def noise(name):
        key = zlib.crc32(f"{seed} {name}".encode())
        return np.random.default_rng(key).standard_normal(size)

    def is_left_out(word):
        return (
            zlib.crc32(f"out {word}".encode()) % 1000 < 1000 * _WITHOUT_VECTOR
        )

    vectors: dict[str, np.ndarray] = {}
    for kind, words in _words_by_kind().items():
        shared = noise(f"kind {kind}") if kind else 0.0
        for word in words:
            if kind in ("surname", "town") and is_left_out(word):
                continue
            vectors.setdefault(word, 0.6 * noise(word) + 0.5 * shared)
    return vectors


def _words_by_kind() -> dict[str, list[str]]:
    """All words of the world; kind "" is what is said of many things."""
    tokenizer = words_lib.Tokenizer("none")

    def words(texts):
        return list(
            dict.fromkeys(
                word.lower()
                for text in texts
                for word in tokenizer.words(text.format(s="", v=""))
                if word
            )
        )

    kinds = {
        "year": list(map(str, _YEARS)),
        "month": words(facts.MONTHS),
        "first name": words(facts.FIRST_NAMES),
        "surname": words(facts.SURNAMES),
        "town": words(facts.TOWNS + list(facts.TOWN_BEGINNINGS)),
        "company": words(facts.COMPANIES),
        "building": words(facts.BUILDINGS),
        "event": words(facts.EVENTS),
        **{kind: words(texts) for kind, texts in facts.VALUES.items()},
    }
    relations = {
        f"{theme}, {name}": words(
            relation.statements + relation.ask_value + relation.ask_subject
        )
        for theme, (_, all_relations) in facts.THEMES.items()
        for name, relation in all_relations.items()
    }
    used = [word for each in relations.values() for word in each]
    common = words(facts.STATEMENT_OPENINGS + facts.QUESTION_OPENINGS) + [
        word for word in dict.fromkeys(used) if used.count(word) > 1
    ]
    common += [".", ",", "?", "and", "dollars", "metres", "people"]
    return {"": common, **relations, **kinds}


def _part(
    name: str, num_questions: int, source: random.Random, known: set
) -> dict[str, Any]:
    """Articles with as many questions as asked for."""
    ids = (f"synthetic-{name}-{number:06d}" for number in itertools.count())
    paragraphs: dict[str, list[Any]] = {theme: [] for theme in facts.THEMES}
    left = num_questions
    while left:
        theme = source.choice(list(facts.THEMES))
        paragraph = _paragraph(
            theme,
            source,
            min(left, QUESTIONS_PER_PARAGRAPH),
            ids,
            alternatives=name == "dev",
        )
        if paragraph["context"] not in known:
            known.add(paragraph["context"])
            paragraphs[theme].append(paragraph)
            left -= len(paragraph["qas"])
    articles = [
        {
            "title": f"{theme} {number + 1}",
            "paragraphs": each[start : start + PARAGRAPHS_PER_ARTICLE],
        }
        for theme, each in paragraphs.items()
        for number, start in enumerate(
            range(0, len(each), PARAGRAPHS_PER_ARTICLE)
        )
    ]
    return {"version": "1.1", "data": articles}


def _paragraph(
    theme: str,
    source: random.Random,
    num_questions: int,
    ids: Iterator[str],
    alternatives: bool,
) -> dict[str, Any]:
    """A context with questions about it."""
    kind, all_relations = facts.THEMES[theme]
    draw = _Drawer(source)
    num_subjects, num_relations = source.choice(((2, 2), (2, 3), (3, 2)))
    subjects = [draw.one(kind) for _ in range(num_subjects)]
    relations = _relations(list(all_relations.values()), num_relations, source)
    told = [
        fact
        for subject in subjects
        for fact in _facts(subject, relations, draw)
    ]
    context, places = _tell(told, source)
    asked = source.sample(
        [(fact, answer) for fact in told for answer in ("subject", "value")],
        num_questions,
    )
    qas = []
    for fact, answer in asked:
        start, stop = places[fact, answer]
        texts = [context[start:stop]]
        if (
            alternatives
            and answer == "value"
            and (fact.relation.kind in _Drawer.QUANTITIES)
        ):
            texts.append(texts[0].split(" ")[0])
        qas.append(
            {
                "id": next(ids),
                "question": _ask(fact, answer, source),
                "answers": [
                    {"text": text, "answer_start": start} for text in texts
                ],
            }
        )
    return {"context": context, "qas": qas}


class _Drawer:
    """Draws names and values, none of them twice."""

    QUANTITIES = {
        "dollars": (200, 90000),
        "metres": (8, 140),
        "people": (20, 9000),
    }
    NAMES = {
        "building": facts.BUILDINGS,
        "company": facts.COMPANIES,
        "event": facts.EVENTS,
        **facts.VALUES,
    }

    def __init__(self, source: random.Random):
        self.source = source
        self.used: set[str] = set()

    def one(self, kind: str) -> str:
        choice = self.source.choice
        if kind == "person":
            return f"{choice(facts.FIRST_NAMES)} {self._new(facts.SURNAMES)}"
        if kind == "town":
            return f"{choice(facts.TOWN_BEGINNINGS)}{self._new(facts.TOWNS)}"
        if kind == "year":
            return str(self._new(_YEARS))
        if kind == "day":
            return f"{self._new(range(1, 29))} {choice(facts.MONTHS)}"
        if kind in self.QUANTITIES:
            number = self._new(range(*self.QUANTITIES[kind]))
            return f"{number:,} {kind}"
        return self._new(self.NAMES[kind])

    def _new(self, choices: Sequence[Any]) -> Any:
        while True:
            drawn = self.source.choice(choices)
            if drawn not in self.used:
                self.used.add(drawn)
                return drawn


def _relations(
    choices: list[facts.Relation], number: int, source: random.Random
) -> list[facts.Relation]:
    """Some relations; often two of one kind, which are easy to confuse."""
    source.shuffle(choices)
    if source.random() < _SAME_KIND:
        twins = [
            pair
            for pair in itertools.combinations(choices, 2)
            if pair[0].kind == pair[1].kind
        ]
        first = source.choice(twins)
        choices = [*first, *(each for each in choices if each not in first)]
    return choices[:number]


def _facts(
    subject: str, relations: list[facts.Relation], draw: _Drawer
) -> list[_Fact]:
    """Something of each relation about a subject; years in a fit order."""
    values = [draw.one(relation.kind) for relation in relations]
    in_order = [
        relation
        for _, theme in facts.THEMES.values()
        for relation in theme.values()
        if relation in relations
    ]
    years = iter(
        sorted(
            value
            for value, relation in zip(values, relations)
            if relation.kind == "year"
        )
    )
    year_of = {
        relation.statements: next(years)
        for relation in in_order
        if relation.kind == "year"
    }
    return [
        _Fact(subject, year_of.get(relation.statements, value), relation)
        for value, relation in zip(values, relations)
    ]


def _tell(
    told: list[_Fact], source: random.Random
) -> tuple[str, dict[tuple[_Fact, str], tuple[int, int]]]:
    """A context that tells some facts.

    Returns:
      The context, and the characters start:stop of each fact's `subject`
      and `value` in it.
    """
    told = source.sample(told, len(told))
    context = ""
    places = {}
    while told:
        fact = told.pop()
        statement = source.choice(fact.relation.statements)
        clauses = [(fact, statement)]
        joinable = [
            (other, each)
            for other in told
            if other.subject == fact.subject
            for each in other.relation.statements
            if each.startswith("{s} ")
        ]
        if (
            joinable
            and statement.startswith("{s} ")
            and source.random() < _JOINED
        ):
            other, second = source.choice(joinable)
            told.remove(other)
            clauses.append((other, second.replace("{s}", " and", 1)))
        opening = source.choice(facts.STATEMENT_OPENINGS)
        context += " " if context else ""
        begin = len(context)
        context += opening
        for clause, template in clauses:
            for piece in re.split(r"(\{[sv]\})", template):
                name = {"{s}": "subject", "{v}": "value"}.get(piece)
                text = getattr(clause, name) if name else piece
                if name:
                    places[clause, name] = (
                        len(context),
                        len(context) + len(text),
                    )
                context += text
            if (fact, "subject") in places:
                places.setdefault((clause, "subject"), places[fact, "subject"])
        context = (
            context[:begin]
            + context[begin].upper()
            + context[begin + 1 :]
            + "."
        )
    return context, places


def _ask(fact: _Fact, answer: str, source: random.Random) -> str:
    """A question for a fact's `subject` or `value`."""
    templates = (
        fact.relation.ask_value
        if answer == "value"
        else fact.relation.ask_subject
    )
    given = fact.subject if answer == "value" else fact.value
    is_person = given.split(" ")[-1] in facts.SURNAMES
    if is_person and source.random() < _SURNAME_ONLY:
        given = given.split(" ")[-1]
    question = source.choice(facts.QUESTION_OPENINGS) + (
        source.choice(templates).format(s=given, v=given)
    )
    return question[0].upper() + question[1:]


def _define_flags() -> None:
    with program_flags.group("Files"):
        flags.DEFINE_string(
            "out", None, "Folder that the files are written to.", required=True
        )
        flags.DEFINE_integer("num_train", 3000, "Questions to train on.")
        flags.DEFINE_integer("num_dev", 500, "Questions to evaluate on.")
        flags.DEFINE_integer("seed", 0, "Of all that is chosen at random.")
        flags.DEFINE_integer("vector_size", 50, "Numbers of a word vector.")


def main(argv: list[str]) -> None:
    """Runs `write` with the command line's numbers."""
    if len(argv) > 1:
        raise errors.UserError(
            f"argument '{argv[1]}' has no flag before it; give "
            "the folder as --out"
        )
    options = flags.FLAGS
    for path in write(
        options.out,
        options.num_train,
        options.num_dev,
        options.seed,
        options.vector_size,
    ).values():
        print(f"wrote {path}")


if __name__ == "__main__":
    _define_flags()
    main_lib.run_main(main)
