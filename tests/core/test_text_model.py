"""Generating and scoring text, beside NumPy on a toy model."""

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns import export

SYMBOLS = ["the", "<eos>", "<unk>", "cat", "sat"]
SIZE = 3


def toy(symbols=SYMBOLS, seed=0):
    """h' = tanh(E[id] + h R), logits = h' W; and how it runs."""
    rng = np.random.default_rng(seed)
    n = len(symbols)
    e, r, w = (
        2 * rng.normal(size=shape).astype(np.float32)
        for shape in ((n, SIZE), (SIZE, SIZE), (SIZE, n))
    )

    def run(ids, states):
        (h,), outputs = states, []
        for column in ids.T:
            h = np.tanh(e[column] + h @ r)
            outputs.append(h @ w)
        return np.stack(outputs, 1), [h]

    vocabulary = export.Vocabulary(symbols)
    return export.TextModel(run, {"layer_h": SIZE}, n, vocabulary)


def log_probabilities(model, ids):
    """Of each id but the first, one step after the other."""
    state, found = np.zeros((1, SIZE), np.float32), []
    for now, following in zip(ids, ids[1:]):
        logits, (state,) = model.run(np.array([[now]]), [state])
        logits = logits[0, 0].astype(np.float64)
        found.append(logits[following] - np.log(np.exp(logits).sum()))
    return np.array(found)


def test_states_are_zeros_and_carry():
    model = toy()
    ids = np.array([[0, 3, 4], [2, 2, 1]])
    logits, states = model(ids)
    assert logits.shape == (2, 3, 5) and states[0].shape == (2, SIZE)
    first, states = model(ids[:, :1])
    rest, _ = model(ids[:, 1:], states)
    np.testing.assert_allclose(np.concatenate([first, rest], 1), logits, 1e-6)


@pytest.mark.parametrize(
    "ids, states, match",
    [
        ([0], None, r"ids must be integers \[batch, time\]"),
        ([[0.5]], None, "ids must be integers"),
        ([[5]], None, r"ids must be in 0 ... 4, got 5"),
        ([[-1]], None, r"ids must be in 0 ... 4, got -1"),
        ([[0]], [], "states must be of the shapes"),
        ([[0]], [np.zeros((2, SIZE))], "states must be of the shapes"),
    ],
)
def test_what_is_no_input(ids, states, match):
    with pytest.raises(ValueError, match=match):
        toy()(np.array(ids), states)


def test_a_score_is_that_of_numpy_sentence_by_sentence():
    model = toy()
    score = model.score("the cat\n\n dog sat the sat\nsat\n")
    ids = [1, 0, 3, 1, 2, 4, 0, 4, 1, 4, 1]
    nats = -log_probabilities(model, ids)
    assert [each.text for each in score.sentences] == [
        "the cat",
        " dog sat the sat",
        "sat",
    ]
    assert [each.tokens for each in score.sentences] == [3, 5, 2]
    assert [each.unknown for each in score.sentences] == [0, 1, 0]
    for each, (a, b) in zip(score.sentences, [(0, 3), (3, 8), (8, 10)]):
        assert each.perplexity == pytest.approx(np.exp(nats[a:b].mean()), 1e-5)
    assert score.perplexity == pytest.approx(np.exp(nats.mean()), 1e-5)
    assert (score.tokens, score.unknown, score.unknown_read) == (10, 1, "<unk>")


def test_long_texts_go_through_in_stretches():
    model = toy()
    words = np.random.default_rng(1).choice(["the", "cat", "sat"], 1000)
    score = model.score(" ".join(words))
    ids = [1, *(SYMBOLS.index(word) for word in words), 1]
    nats = -log_probabilities(model, ids)
    assert score.perplexity == pytest.approx(np.exp(nats.mean()), 1e-5)


def test_without_unk_unknown_words_are_left_out_of_the_score():
    model = toy(["the", "<eos>", "cat", "sat"])
    score = model.score("the dog cat")
    assert (score.tokens, score.unknown, score.unknown_read) == (3, 1, None)
    assert score.perplexity == model.score("the cat").perplexity
    with pytest.raises(errors.UserError, match="no word that the model knows"):
        model.score("a dog")
    with pytest.raises(
        errors.UserError, match="the text to score has no words"
    ):
        model.score(" \n\n")


def test_without_line_ends_the_first_word_is_not_foreseen():
    model = toy(["the", "cat", "sat"])
    nats = -log_probabilities(model, [0, 1, 2, 0])
    score = model.score("the cat\nsat the")
    assert [each.tokens for each in score.sentences] == [1, 2]
    assert score.perplexity == pytest.approx(np.exp(nats.mean()), 1e-5)
    assert np.isnan(model.score("the").perplexity)


def test_the_likeliest_words_follow_at_temperature_0():
    model = toy()
    ids = [1, 0, 3]
    while len(ids) < 3 + 8:
        ids.append(int(np.argmax(model(np.array([ids]))[0][0, -1])))
    expected = model.vocabulary.decode(ids[3:])
    assert model.generate("the cat", 8, temperature=0) == expected
    assert model.generate("the cat", 8, temperature=1e-4, seed=5) == expected


def test_words_are_drawn_as_often_as_they_are_likely():
    model = toy()
    for temperature in (1.0, 2.0):
        logits = model(np.array([[1, 0]]))[0][0, -1] / temperature
        likely = np.exp(logits) / np.exp(logits).sum()
        drawn = [
            model.generate("the", 1, temperature, seed) for seed in range(1500)
        ]
        for symbol, p in zip(SYMBOLS, likely):
            shown = "\n" if symbol == "<eos>" else symbol
            assert abs(drawn.count(shown) / 1500 - p) < 0.05, symbol


def test_the_seed_decides():
    model = toy()
    texts = {model.generate("the cat", 12, seed=seed) for seed in range(4)}
    assert len(texts) > 1
    assert model.generate("the cat", 12, seed=3) in texts


def test_characters_follow_characters():
    model = toy(list("\n abct"))
    text = model.generate("a cat\n", 20, seed=1)
    assert len(text) == 20 and set(text) <= set("\n abct")
    assert model.score("a cat").tokens == 6


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"prompt": "a", "num_words": 0}, "must be at least 1, got 0"),
        ({"prompt": "a", "num_words": 1.5}, "must be at least 1, got 1.5"),
        ({"prompt": "a", "temperature": -1}, "temperature must be .* got -1"),
        ({"prompt": "a", "temperature": np.nan}, "temperature must be .* nan"),
    ],
)
def test_what_nothing_can_be_generated_from(arguments, match):
    with pytest.raises(errors.UserError, match=match):
        toy().generate(**arguments)


def test_unknown_words_of_a_prompt():
    assert toy().generate("the dog", 5) == toy().generate("the <unk>", 5)
    plain = toy(["the", "<eos>", "cat"])
    with pytest.raises(errors.UserError, match="does not know 'a', 'dog', and"):
        plain.generate("a dog a the", 3)


def test_a_model_without_vocabulary_knows_ids_only():
    model = toy()
    model.vocabulary = None
    for use in (model.generate, model.score):
        with pytest.raises(errors.UserError, match="carries no vocabulary"):
            use("the")
    with pytest.raises(errors.UserError, match="4 symbols, the model knows 5"):
        export.TextModel(model.run, {}, 5, export.Vocabulary(SYMBOLS[:4]))
