"""Tests of `bidaf.prepro`: texts to arrays, word vectors, mistakes."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from bidaf.data import preprocess
from bidaf.data import store as store_lib
from bidaf.data import words as words_lib
from iss_rnns import errors

GLOVE = "the 0.5 1\nmill -2 3e-1\nANNA 1 1\nunused 4 4\n? 7 8\n"
CONTEXTS = [
    "Anna built the ``Old Mill'' in 1853-54. The  mill's wheel broke.",
    "“Übung” isn't 20°C/hot.",
    "No questions here.",
]
QUESTIONS = [
    ["Who built it?", "What broke?", 'Isn\'t it "old"?'],
    ["How hot?"],
    [],
]
ANSWERS = [
    [["Anna"], ["The  mill's wheel", "wheel"], ["Old Mill"]],
    [["20°C"]],
    [],
]


def squad_data(contexts=CONTEXTS, questions=QUESTIONS, answers=ANSWERS):
    paragraphs = []
    for p, context in enumerate(contexts):
        paragraphs.append(
            {
                "context": context,
                "qas": [
                    {
                        "id": f"{p}-{q}",
                        "question": question,
                        "answers": [
                            {"text": text, "answer_start": context.index(text)}
                            for text in answers[p][q]
                        ],
                    }
                    for q, question in enumerate(questions[p])
                ],
            }
        )
    return {
        "version": "1.1",
        "data": [
            {"title": "One", "paragraphs": paragraphs[:1]},
            {"title": "Two", "paragraphs": paragraphs[1:]},
        ],
    }


@pytest.fixture
def files(tmp_path):
    paths = {
        "train": tmp_path / "train.json",
        "dev": tmp_path / "dev.json",
        "glove": tmp_path / "glove.txt",
        "out": tmp_path / "out",
    }
    for name in ("train", "dev"):
        paths[name].write_text(json.dumps(squad_data()))
    paths["glove"].write_text(GLOVE)
    return paths


def run(files, splitter="simple", **options):
    return preprocess.preprocess(
        {"train": files["train"], "dev": files["dev"]},
        files["glove"],
        files["out"],
        splitter,
        **options,
    )


def words_of(store, ids):
    return [store.words[i] for i in ids]


def test_contexts_and_questions(files, capsys):
    store = run(files)
    part = store.part("train")
    tokenizer = words_lib.Tokenizer("simple")
    assert part.titles == ["One", "Two"]
    assert part.contexts[0] == (
        'Anna built the " Old Mill"  in 1853-54. The  mill\'s wheel broke.'
    )
    assert part.contexts[1:] == CONTEXTS[1:]
    assert part.paragraph_articles.tolist() == [0, 1, 1]
    assert part.paragraph_offsets.tolist() == [0, 1, 2, 3]
    for p, context in enumerate(part.contexts):
        tokens = slice(*part.sentence_offsets[p : p + 2])
        words = words_of(store, part.tokens[tokens])
        assert words == tokenizer.words(context)
        for word, start in zip(words, part.token_starts[tokens]):
            assert context[start : start + len(word)] == word
    questions = sum(QUESTIONS, [])
    for q, question in enumerate(questions):
        tokens = part.question_tokens[slice(*part.question_offsets[q : q + 2])]
        assert words_of(store, tokens) == tokenizer.words(question)
    assert part.question_paragraphs.tolist() == [0, 0, 0, 1]
    assert part.ids == ["0-0", "0-1", "0-2", "1-0"]
    assert part.answer_texts == [
        "Anna",
        "The  mill's wheel",
        "wheel",
        "Old Mill",
        "20°C",
    ]
    assert part.answer_offsets.tolist() == [0, 1, 3, 4, 5]
    printed = capsys.readouterr().out
    assert "train: 2 articles, 3 paragraphs, 4 questions" in printed
    assert "MB after" in printed


def naive_span(sentences, context, start, stop):
    """The authors' rule: all words that overlap the characters."""
    position, under = 0, []
    for s, sentence in enumerate(sentences):
        for w, word in enumerate(sentence):
            begin = context.index(word, position)
            position = begin + len(word)
            if begin < stop and position > start:
                under.append((s, w, begin))
    (s, w, begin), (s2, w2, begin2) = under[0], under[-1]
    return [[s, w], [s2, w2 + 1]], [start - begin, stop - begin2 - 1]


@pytest.mark.parametrize("split", [False, True])
def test_answers_are_the_words_under_them(tmp_path, files, split):
    source = random.Random(5)
    pieces = [
        "mill",
        "Anna",
        "3-4",
        "'s",
        '"',
        "``",
        "end.",
        "«x»",
        "(a)",
        "The",
        ",",
        "1850–60",
        "can't",
        "''",
    ]
    contexts, answers = [], []
    for _ in range(40):
        context = " ".join(source.choices(pieces, k=source.randint(3, 15)))
        texts = []
        while len(texts) < 4:
            start, stop = sorted(source.sample(range(len(context) + 1), 2))
            if words_lib.plain_quotes(context)[start:stop].strip():
                texts.append(context[start:stop])
        contexts.append(context)
        answers.append([texts])
    files["train"].write_text(
        json.dumps(squad_data(contexts, [["Why?"]] * 40, answers))
    )
    store = run(files, split=split)
    part = store.part("train")
    tokenizer = words_lib.Tokenizer("simple")
    number = 0
    for text, (texts,) in zip(contexts, answers):
        context = words_lib.plain_quotes(text)
        parts = tokenizer.sentences(context) if split else [context]
        sentences = [tokenizer.words(each) for each in parts]
        for answer in texts:
            start = text.index(answer)
            span, characters = naive_span(
                sentences, context, start, start + len(answer)
            )
            assert part.answer_spans[number].tolist() == span
            assert part.answer_characters[number].tolist() == characters
            number += 1
    assert number == len(part.answer_spans) == 160


def test_answer_that_covers_no_word(files):
    data = squad_data(["A ``mill''."], [["What?"]], [[["mill"]]])
    data["data"][0]["paragraphs"][0]["qas"][0]["answers"] += [
        {"text": "'", "answer_start": 9}
    ]
    files["train"].write_text(json.dumps(data))
    with pytest.raises(
        errors.UserError,
        match=(
            r"paragraph 1, question 1 '0-0', answer 2: no word of the context"
            " lies at characters 9 to 10"
        ),
    ):
        run(files)


def test_split_keeps_sentences_apart(files):
    store = run(files, split=True)
    part = store.part("dev")
    assert part.paragraph_offsets.tolist() == [0, 2, 3, 4]
    first = part.sentence_offsets[1]
    assert words_of(store, part.tokens[first - 1 : first + 1]) == [".", "The"]
    assert part.answer_spans[2].tolist() == [[1, 5], [1, 6]]
    assert store.meta["split"] is True


def test_counts_go_by_question_in_order_of_occurrence(files):
    store = run(files)
    part = store.part("train")
    tokenizer = words_lib.Tokenizer("simple")
    counts = {}
    for context, questions in zip(CONTEXTS, QUESTIONS):
        words = tokenizer.words(words_lib.plain_quotes(context))
        for text_words, times in [(words, len(questions))] + [
            (tokenizer.words(question), 1) for question in questions
        ]:
            for word in text_words:
                counts[word] = counts.get(word, 0) + times
    assert counts["here"] == 0 and counts["?"] == 4
    assert list(
        zip(words_of(store, part.counted_words), part.word_counts.tolist())
    ) == list(counts.items())


def test_parts_share_words_and_have_their_own_counts(files):
    files["dev"].write_text(
        json.dumps(
            squad_data(["Mill Boats float."], [["Boats?"]], [[["Boats"]]])
        )
    )
    store = run(files)
    dev = store.part("dev")
    assert words_of(store, dev.counted_words) == [
        "Mill",
        "Boats",
        "float",
        ".",
        "?",
    ]
    assert dev.counted_words[0] < len(store.words) - 2
    assert len(set(store.words)) == len(store.words)


def test_question_without_answers(files, capsys):
    data = squad_data()
    data["data"][1]["paragraphs"][0]["qas"][0]["answers"] = []
    files["train"].write_text(json.dumps(data))
    assert run(files).part("train").answer_offsets.tolist() == [0, 1, 3, 4, 4]
    printed = capsys.readouterr().out
    assert (
        printed.count("; 1 without an answer (SQuAD 2.0), which bidaf.cli") == 1
    )


def test_vectors_that_fit(files):
    store = run(files)
    assert store.glove_words == ["the", "mill", "ANNA", "?"]
    np.testing.assert_array_equal(
        store.glove_vectors,
        np.array([[0.5, 1], [-2, 0.3], [1, 1], [7, 8]], np.float32),
    )
    assert store.meta["glove_dim"] == 2


def test_read_glove_forms_and_repeats(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(
        "Cat 1\nb 2\n\nNEW 3\n. . 4\nb 5\nzoo 6\n\u00e9t\u00e9 7 \nisbn 8\n",
        "utf-8",
    )
    found, vectors = preprocess.read_glove(
        path, {"cat", "B", "new", "Été", "ISBN", "."}
    )
    assert found == ["Cat", "b", "NEW", "été", "isbn"]
    assert vectors.tolist() == [[1.0], [5.0], [3.0], [7.0], [8.0]]
    found, vectors = preprocess.read_glove(path, {"nothing"})
    assert found == [] and vectors.shape == (0, 1)


def test_a_byte_order_mark_costs_no_vector(files):
    """B5: it is no part of the first word, "the"."""
    expected = run(files)
    for name in ("train", "dev", "glove"):
        files[name].write_bytes(b"\xef\xbb\xbf" + files[name].read_bytes())
    found = run(files, overwrite=True)
    assert found.glove_words == ["the", "mill", "ANNA", "?"]
    np.testing.assert_array_equal(found.glove_vectors, expected.glove_vectors)
    assert found.words == expected.words


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "the 1 2\nmill 3\n",
            "line 2: it has 2 columns, expected 3: a word and 2 numbers$",
        ),
        ("the 1 2\nmill 3 4 5\n", "line 2: it has 4 columns, expected 3"),
        (
            "the 1 2\nmill 3 x\n",
            "line 2: 'x' is no finite number of float32; expected a word and 2 "
            "numbers$",
        ),
        ("the 1 2\nmill 3 nan\n", "line 2: 'nan' is no finite number"),
        ("the 1 2\nmill 3 -1e39\n", "line 2: '-1e39' is no finite number of"),
        ("the 1 " + "9" * 5000, "line 1: '99.*99' is no finite number of floa"),
        ("\ufeff", "line 1: expected a word and its numbers betw"),
        ("400000 100\nthe 1 2\n", "line 1: it is a header of counts"),
        ("", "line 1: expected a word and its numbers between blanks, got b''"),
        ("the\n", "line 1: expected a word and its numbers"),
        (
            b"the 1\nm\xfchle 2\n",
            r"line 2: its word is not UTF-8 \(byte 0xfc\)",
        ),
        (
            "zebra 1 2\n",
            "has a vector for none of the .* words of .*train.json, "
            ".*dev.json; give word vectors of the same language",
        ),
    ],
)
def test_malformed_vectors(files, text, message):
    data = text if isinstance(text, bytes) else text.encode()
    files["glove"].write_bytes(data)
    with pytest.raises(errors.UserError, match=message):
        run(files)
    assert not files["out"].exists()


def test_size_of_vectors_is_checked(files):
    with pytest.raises(
        errors.UserError,
        match=(r"glove\.txt has 2 numbers per word, --glove_dim asks for 100$"),
    ):
        run(files, glove_dim=100)
    assert run(files, glove_dim=2).meta["glove_dim"] == 2


def test_missing_vectors(files):
    files["glove"].unlink()
    with pytest.raises(
        errors.UserError,
        match=(
            r"cannot read word vectors .*glove\.txt: No such file .*; give a "
            r"GloVe text file such as glove\.6B\.100d\.txt"
        ),
    ):
        run(files)


@pytest.mark.parametrize(
    "context, question, message",
    [
        (" ", "Why?", "article 1 'One', paragraph 1: its context has no words"),
        ("A mill.", " ", r"paragraph 1, question 1 '0-0': it has no words"),
    ],
)
def test_texts_without_words(files, context, question, message):
    files["dev"].write_text(
        json.dumps(squad_data([context], [[question]], [[[]]]))
    )
    with pytest.raises(errors.UserError, match=r"dev\.json: .*" + message):
        run(files)


def test_a_store_is_replaced_only_if_asked(files):
    run(files)
    before = (files["out"] / store_lib.FILE).read_bytes()
    with pytest.raises(
        errors.UserError,
        match=(
            r"store\.npz is there already; give another --out, or "
            "--overwrite"
        ),
    ):
        run(files)
    files["glove"].write_text("broken\n")
    with pytest.raises(errors.UserError, match="line 1"):
        run(files, overwrite=True)
    assert (files["out"] / store_lib.FILE).read_bytes() == before
    files["glove"].write_text("the 3\n")
    assert run(files, overwrite=True).glove_words == ["the"]


def test_folder_that_cannot_be_made_is_told_before_the_work(files, monkeypatch):
    files["out"].write_text("a file")
    monkeypatch.setattr(preprocess.squad, "read", lambda source: 1 / 0)
    with pytest.raises(
        errors.UserError, match=r"cannot write .*out/store\.npz: "
    ):
        run(files)


def command(files, *more, **changes):
    files = {**files, **changes}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "bidaf.prepro",
            "--sentence_splitter=simple",
            *(f"--{name}={path}" for name, path in files.items()),
            *more,
        ],
        capture_output=True,
        text=True,
    )


def test_command(files):
    done = command(files, "--glove_dim=2", test=files["dev"])
    assert (done.returncode, done.stderr) == (0, "")
    assert store_lib.Store(files["out"]).parts == ("train", "dev", "test")
    assert "test: 2 articles" in done.stdout


@pytest.mark.parametrize(
    "more, changes, message",
    [
        (
            [],
            {"train": "nowhere.json"},
            "cannot read SQuAD file nowhere.json: No",
        ),
        (["--glove_dim=3"], {}, "--glove_dim asks for 3"),
        (["--sentence_splitter=spacy"], {}, "<punkt|simple|none>"),
        (["stray"], {}, "argument 'stray' has no flag before it"),
    ],
)
def test_command_fails_with_one_line(files, more, changes, message):
    done = command(files, *more, **changes)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1
