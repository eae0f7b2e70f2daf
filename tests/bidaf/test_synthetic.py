"""Tests of `bidaf.data.synthetic`: right, varied, and not solved by tricks."""

import collections
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from bidaf.data import preprocess
from bidaf.data import squad
from bidaf.data import synthetic
from bidaf.data import synthetic_facts as facts
from bidaf.data import words as words_lib
from iss_rnns import errors


@pytest.fixture(scope="module")
def parts():
    return synthetic.make(1500, 300, seed=3)


def paragraphs(part):
    return [
        paragraph
        for article in part["data"]
        for paragraph in article["paragraphs"]
    ]


def questions(part):
    return [
        (paragraph["context"], qa)
        for paragraph in paragraphs(part)
        for qa in paragraph["qas"]
    ]


def test_numbers_and_answers(parts):
    ids = set()
    for name, number in ("train", 1500), ("dev", 300):
        found = questions(parts[name])
        assert len(found) == number
        assert parts[name]["version"] == "1.1"
        for context, qa in found:
            ids.add(qa["id"])
            assert qa["question"][0].isupper() and qa["question"][-1] == "?"
            for answer in qa["answers"]:
                start = answer["answer_start"]
                assert answer["text"] and context[start:].startswith(
                    answer["text"]
                )
    assert len(ids) == 1800
    assert {len(qa["answers"]) for _, qa in questions(parts["train"])} == {1}
    assert {len(qa["answers"]) for _, qa in questions(parts["dev"])} == {1, 2}


def test_seed_decides(parts):
    assert synthetic.make(1500, 300, seed=3) == parts
    assert synthetic.make(1500, 300, seed=4) != parts


def test_paragraphs_differ_within_and_between_parts(parts):
    contexts = [
        paragraph["context"]
        for part in parts.values()
        for paragraph in paragraphs(part)
    ]
    assert len(set(contexts)) == len(contexts) > 400


def test_contexts_are_short(parts):
    tokenizer = words_lib.Tokenizer("simple")
    sizes = [
        len(tokenizer.words(paragraph["context"]))
        for paragraph in paragraphs(parts["train"])
    ]
    assert 20 < min(sizes) and max(sizes) < 100
    assert 45 < np.median(sizes) < 70


def test_simple_splitter_is_enough(parts):
    tokenizer = words_lib.Tokenizer("simple")
    for paragraph in paragraphs(parts["dev"]):
        words = tokenizer.words(paragraph["context"])
        assert not any(word.endswith(".") and len(word) > 1 for word in words)


def test_all_themes_relations_and_wordings_come(parts):
    text = "\n".join(qa["question"] for _, qa in questions(parts["train"]))
    assert {
        article["title"].split()[0] for article in parts["train"]["data"]
    } == set(facts.THEMES)
    missing = []
    wordings = [
        wordings
        for _, relations in facts.THEMES.values()
        for relation in relations.values()
        for wordings in (relation.ask_value, relation.ask_subject)
    ]
    for asked in wordings:
        fixed = [
            max(re.split(r"\{[sv]\}", wording), key=len)[1:].strip()
            for wording in asked
        ]
        assert any(each in text for each in fixed)
        missing += [each for each in fixed if each not in text]
    assert len(missing) < 0.1 * sum(map(len, wordings))
    beginnings = collections.Counter(
        line.split()[0] for line in text.splitlines()
    )
    assert {
        "Who",
        "Where",
        "When",
        "What",
        "Why",
        "How",
        "Which",
        "Whose",
    } <= set(beginnings)
    assert max(beginnings.values()) < 0.4 * 1500


def test_neither_place_nor_sentence_tells_the_answer(parts):
    tokenizer = words_lib.Tokenizer("simple")
    places, sentences = collections.Counter(), collections.Counter()
    for context, qa in questions(parts["train"]):
        before = context[: qa["answers"][0]["answer_start"]]
        places[len(tokenizer.words(before))] += 1
        sentences[before.count(". ")] += 1
    assert max(places.values()) < 0.12 * 1500
    assert max(sentences.values()) < 0.3 * 1500


def kind_of(text):
    """What kind of thing a text is, as one sees without its context."""
    last = text.split()[-1]
    if last in facts.SURNAMES:
        return "person"
    if last.isdigit() and len(last) == 4:
        return "year"
    if last in facts.TOWNS:
        return "town"
    if last in ("dollars", "metres", "people"):
        return last
    if last in facts.MONTHS:
        return "day"
    for kind, names in {
        **facts.VALUES,
        "building": facts.BUILDINGS,
        "company": facts.COMPANIES,
        "event": facts.EVENTS,
    }.items():
        if text.lower() in [name.lower() for name in names]:
            return kind
    raise AssertionError(text)


def test_the_kind_of_the_answer_does_not_tell_it(parts):
    """Someone who knows the right kind has to choose among several."""
    names = {}
    for kind in ("building", "company", "event"):
        names[kind] = getattr(
            facts,
            {
                "building": "BUILDINGS",
                "company": "COMPANIES",
                "event": "EVENTS",
            }[kind],
        )
    names.update(facts.VALUES)
    alone = chance = 0.0
    found = questions(parts["train"])
    for context, qa in found:
        kind = kind_of(qa["answers"][0]["text"])
        if kind in ("person", "town"):
            last = {"person": facts.SURNAMES, "town": facts.TOWNS}[kind]
            candidates = sum(name in context for name in last)
        elif kind == "year":
            candidates = len(
                {
                    word
                    for word in context.replace(".", " ").split()
                    if word.isdigit() and len(word) == 4
                }
            )
        elif kind in ("dollars", "metres", "people"):
            candidates = context.count(f" {kind}")
        elif kind == "day":
            candidates = sum(
                context.count(f" {month}") for month in facts.MONTHS
            )
        else:
            candidates = sum(
                name.lower() in context.lower() for name in names[kind]
            )
        assert candidates >= 1
        alone += candidates == 1
        chance += 1 / candidates
    assert alone == 0
    assert chance / len(found) < 0.4


def test_questions_rarely_copy_the_statement(parts):
    """Without names, half of a question's words are not in the context."""
    tokenizer = words_lib.Tokenizer("simple")
    shared = total = 0
    common = {"the", "of", "in", "by", "to", "was", "is", "did", "for", "a"}
    for context, qa in questions(parts["dev"]):
        words = {word.lower() for word in tokenizer.words(context)}
        for word in tokenizer.words(qa["question"])[1:-1]:
            if word.islower() and word not in common:
                total += 1
                shared += word in words
    assert shared / total < 0.5


def test_years_are_in_order():
    founded = facts.COMPANY_RELATIONS["founded"]
    closed = facts.COMPANY_RELATIONS["closed"]
    source = synthetic.random.Random(0)
    for relations in [founded, closed], [closed, founded]:
        for _ in range(20):
            told = synthetic._facts("x", relations, synthetic._Drawer(source))
            years = {fact.relation: int(fact.value) for fact in told}
            assert years[founded] < years[closed]


def test_vectors_know_kinds_and_relations():
    vectors = synthetic.word_vectors(40, seed=1)

    def likeness(first, second):
        a, b = vectors[first], vectors[second]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    pairs = [
        ("graydale", "lakeford"),
        ("1853", "1900"),
        ("baker", "nurse"),
        ("occupation", "profession"),
        ("adler", "kovar"),
    ]
    strangers = [
        ("graydale", "1853"),
        ("baker", "adler"),
        ("occupation", "1900"),
        ("the", "kovar"),
    ]
    assert np.mean([likeness(*pair) for pair in pairs]) > 0.2 + np.mean(
        [likeness(*pair) for pair in strangers]
    )
    again = synthetic.word_vectors(40, seed=1)
    assert all((vectors[word] == again[word]).all() for word in vectors)
    assert (synthetic.word_vectors(40, seed=2)["the"] != vectors["the"]).all()
    left_out = {name.lower() for name in facts.SURNAMES + facts.TOWNS} - set(
        vectors
    )
    assert 0 < len(left_out) < 12


def test_files_go_through_preprocessing(tmp_path):
    paths = synthetic.write(tmp_path, 60, 20, seed=1, vector_size=7)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "dev-v1.1.json",
        "synthetic.7d.txt",
        "train-v1.1.json",
    ]
    assert len(squad.right_answers(paths["train"]).questions) == 60
    store = preprocess.preprocess(
        {"train": paths["train"], "dev": paths["dev"]},
        paths["glove"],
        tmp_path / "store",
        "simple",
        glove_dim=7,
    )
    known = {word.lower() for word in store.glove_words}
    words = {word.lower() for word in store.words if word}
    unknown = words - known - {str(n) for n in range(10**4)}
    assert len(unknown) < 0.15 * len(words)
    part = store.part("dev")
    assert part.num_questions == 20
    for text, (start, _), context in zip(
        part.answer_texts,
        part.answer_characters,
        np.repeat(part.question_paragraphs, np.diff(part.answer_offsets)),
    ):
        assert start == 0 and text in part.contexts[context]


@pytest.mark.parametrize(
    "numbers, message",
    [
        (
            {"num_train": 0},
            "num_train must be a whole number of at least 1, got 0",
        ),
        (
            {"num_dev": -2},
            "num_dev must be a whole number of at least 1, got -2",
        ),
        (
            {"vector_size": 0},
            "vector_size must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_wrong_numbers(tmp_path, numbers, message):
    with pytest.raises(errors.UserError, match=message):
        synthetic.write(tmp_path, **{"num_train": 5, "num_dev": 5, **numbers})


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.UserError, match="cannot write .*file: "):
        synthetic.write(tmp_path / "file", 5, 5)


def test_command(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bidaf.data.synthetic",
            f"--out={tmp_path}",
            "--num_train=9",
            "--num_dev=5",
            "--vector_size=3",
        ],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("wrote ") == 3
    train = json.loads((tmp_path / "train-v1.1.json").read_text())
    assert len(questions(train)) == 9
