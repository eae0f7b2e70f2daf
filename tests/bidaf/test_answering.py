"""Mode answer: texts in, an answer out, as in an evaluation."""

import dataclasses
import json

import bidaf_questions
import numpy as np
import pytest

from bidaf import answering
from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import scoring
from bidaf import serving
from bidaf import train as train_lib
from bidaf import using as uses
from bidaf.data import sources
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import using

RULES = scoring.Rules(blank_last_word=False)


@pytest.fixture(name="questions", scope="module")
def fixture_questions(tmp_path_factory):
    return bidaf_questions.read_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(name="net", scope="module")
def fixture_net(questions):
    config = model_lib.ModelConfig(
        hidden_size=4,
        char_emb_size=2,
        char_out_size=3,
        out_channel_dims="3",
        highway_num_layers=1,
        na=True,
    )
    options = options_lib.Options(model=config, seed=5)
    net = train_lib.new_net(options.for_data(questions), questions)
    rng = np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
    return net


@pytest.fixture(name="saved", scope="module")
def fixture_saved(net, questions, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    return serving.save(net, questions, path, {})


def asked(questions, index):
    """Context and question in words, between blanks."""
    part, words = questions.judged.part, questions.judged._words
    start, stop = part.question_offsets[index : index + 2]
    question = " ".join(words[i] for i in part.question_tokens[start:stop])
    return part.contexts[part.question_paragraphs[index]], question


def test_a_text_becomes_the_arrays_of_an_evaluation(questions):
    fed = []
    answerer = answering.Answerer(
        lambda arrays: fed.append(arrays) or 1 / 0,
        answering.Reading.of(questions),
    )
    for index in questions.judged.valid_idxs[:5]:
        with pytest.raises(ZeroDivisionError):
            answerer.answer(*asked(questions, index))
        batch = sources.judged_batch(questions, [index])
        for name, array in fed.pop().items():
            wanted = batch[name]
            # No more sentences or words than there are.
            wanted = wanted[tuple(slice(n) for n in array.shape)]
            np.testing.assert_array_equal(array, wanted, err_msg=name)
            assert batch[name].sum() == array.sum()


@pytest.mark.parametrize("kind", ["net", "export"])
def test_answers_are_those_of_an_evaluation(kind, questions, net, saved):
    answerer = (
        serving.load(saved)
        if kind == "export"
        else answering.Answerer(
            serving.function_of(net, questions.vectors),
            answering.Reading.of(questions),
        )
    )
    function = scoring.net_function(net, questions.vectors)
    scores = scoring.score(function, questions, 1, RULES)
    details = {each["id"]: each for each in scores.details}
    for index in questions.judged.valid_idxs[:6]:
        id_ = questions.judged.part.ids[index]
        context, question = asked(questions, index)
        answer = answerer.answer(context, question)
        assert answer.text == scores.answers[id_]
        assert answer.text == context[answer.start :][: len(answer.text)]
        assert answer.score == pytest.approx(details[id_]["score"], rel=1e-4)
        assert answer.no_answer == pytest.approx(details[id_]["na"], rel=1e-4)


def test_words_without_a_vector_are_named(saved):
    answer = serving.load(saved).answer("Xyzzy met Plugh.", "Who met Xyzzy?")
    assert {"Xyzzy", "Plugh"} <= set(answer.unknown)
    assert answer.unknown.count("Xyzzy") == 1
    assert answer.text in "Xyzzy met Plugh."


def test_quotes_and_dashes_keep_the_places_of_characters(saved):
    text = "He said ''1884-1885'' (or so). ``Yes,'' she said -- twice."
    answer = serving.load(saved).answer(text, "When?")
    assert text[answer.start :].startswith(answer.text) and answer.text


@pytest.mark.parametrize(
    "context, question, match",
    [
        ("", "Who?", "the context is empty"),
        (" \n", "Who?", "the context is empty"),
        ("The cat sat.", " ", "the question is empty"),
    ],
)
def test_nothing_to_read(context, question, match, saved):
    with pytest.raises(errors.UserError, match=match):
        serving.load(saved).answer(context, question)


def test_a_trained_word_comes_before_a_fixed_vector():
    reading = answering.Reading(
        {"-NULL-": 0, "-UNK-": 1, "the": 2, "The": 3}, {}, 4, trained_words=3
    )
    assert reading.word_id("The") == 2
    assert dataclasses.replace(reading, trained_words=None).word_id("The") == 3
    assert reading.word_id("THE") == 2 and reading.word_id("a") == 1
    assert reading.character_ids("abcdef").tolist() == [1, 1, 1, 1]
    assert reading.character_ids("ab").tolist() == [1, 1, 0, 0]


def test_the_vocabulary_of_1_0_0_has_ids_only(tmp_path):
    path = tmp_path / "vocabulary.json"
    content = {"words": {"a": 0}, "characters": {}, "characters_of_a_word": 3}
    path.write_text(json.dumps(content))
    assert answering.Reading.read(path).splitter == "simple"
    for name, value in (
        ("words", None),
        ("words", {"a": "0"}),
        ("characters_of_a_word", 0),
        ("splitter", "none at all"),
        ("squash", 1),
    ):
        path.write_text(json.dumps({**content, name: value}))
        with pytest.raises(errors.UserError, match=f"'{name}' is missing or"):
            answering.Reading.read(path)
    path.write_text("[]")
    with pytest.raises(errors.UserError, match="'words' is missing"):
        answering.Reading.read(path)


def test_the_mode_prints_it(saved, tmp_path, capsys):
    (tmp_path / "text").write_text("The cat sat on the mat with Xyzzy.")
    values = {
        "mode": "answer",
        "context": str(tmp_path / "text"),
        "question": "Who sat?",
        "restore_path": str(saved),
    }
    assert using.ran(values, uses.Use, None)
    printed = capsys.readouterr()
    assert printed.out.startswith("answer: ")
    assert "probability that there is none: 0." in printed.out
    assert "by their characters only: " in printed.err
    assert "Xyzzy" in printed.err
    assert not using.ran({"mode": "eval"}, uses.Use, None)


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"context": None}, "needs --context, a file with a text to read"),
        ({"question": " "}, "needs a --question"),
        ({"context": "nowhere"}, "cannot read context nowhere: No such file"),
        ({"context": "empty"}, "context empty is empty"),
    ],
)
def test_what_the_mode_needs(changes, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_text("empty", "\n")
    files.write_text("text", "The cat sat.")
    values = {"mode": "answer", "context": "text", "question": "Who sat?"}
    with pytest.raises(errors.UserError, match=match):
        using.ran({**values, **changes}, uses.Use, None)
