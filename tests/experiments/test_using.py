"""Modes generate and score, of nets and of their exports."""

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments import using
from iss_rnns.experiments.language import serving
from iss_rnns.experiments.language import using as uses
from ptb import model as model_lib
from rhns import model as highway

SYMBOLS = ["<eos>", "<unk>", *(f"w{i}" for i in range(10))]
NETS = {
    "lstm": lambda: model_lib.WordLSTM(12, 6, [5, 4], keep_prob=0.5, seed=2),
    "rhn": lambda: highway.HighwayLM(
        12, [5, 4], 3, tied=False, embedding_size=6, seed=2
    ),
}
VALUES = {
    "mode": "generate",
    "restore_path": "nowhere",
    "threads": 0,
    "prompt": "w1 w2",
    "num_words": 6,
    "temperature": 1.0,
    "seed": 3,
    "score_text": None,
}


@pytest.fixture(name="net", scope="module", params=NETS)
def fixture_net(request):
    net = NETS[request.param]()
    rng = np.random.default_rng(0)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.7))
    return net


@pytest.fixture(name="saved", scope="module")
def fixture_saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "compressed"
    return serving.save_compressed(net, path, SYMBOLS, {})


class Task:
    """A program's, whose run is the net."""

    def __init__(self, net):
        self.net = net
        self.texts = self.corpus = self
        self.symbols = SYMBOLS

    def start_from(self, path):
        assert path == "nowhere"
        return self.net


def test_a_net_computes_as_without_text(net):
    model = uses.text_model(net, SYMBOLS)
    ids = np.array([[1, 2, 3], [7, 8, 0]])
    logits, states = model(ids)
    expected, finals = net(ids.astype(np.int32), training=False)
    np.testing.assert_allclose(
        logits.swapaxes(0, 1).reshape(6, 12), expected, atol=1e-5
    )
    assert model.state_names == net.state_names
    for ours, theirs in zip(states, finals):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_run_and_its_export_say_the_same(net, saved, tmp_path, capsys):
    (tmp_path / "text").write_text("w1 w2 dog\n\nw3 w4\n")
    score = {"mode": "score", "score_text": str(tmp_path / "text")}
    for more in ({}, {"prompt": "w1 dog w2 cat dog"}, score):
        printed = []
        for path in ("nowhere", str(saved)):
            values = {**VALUES, **more, "restore_path": path}
            assert using.ran(values, uses.Use, lambda: Task(net))
            printed.append(capsys.readouterr())
        assert printed[0] == printed[1]
        if more is score:
            lines = printed[0].out.splitlines()
            assert lines[0].split() == (
                "perplexity words unknown sentence".split()
            )
            found = uses.text_model(net, SYMBOLS).score("w1 w2 dog\nw3 w4")
            assert lines[1].split() == [
                f"{found.sentences[0].perplexity:.3f}",
                *"4 1 w1 w2 dog".split(),
            ]
            assert lines[3:] == [
                "sentences: 2; words, with their ends: 7",
                "words not known to the model, and read as <unk>: 1",
                f"perplexity {found.perplexity:.3f}",
            ]
        elif more:
            assert printed[0].err.endswith("read as <unk>: dog, cat\n")
        else:
            words = printed[0].out.split()
            assert words[:2] == ["w1", "w2"] and not printed[0].err
            assert len(words) <= 8


def test_characters_are_scored_in_bits(net, tmp_path, capsys):
    task = Task(net)
    task.symbols = "\n abcdefghij"
    (tmp_path / "text").write_text("a bad cab")
    values = {**VALUES, "mode": "score", "score_text": str(tmp_path / "text")}
    assert using.ran(values, uses.Use, lambda: task)
    *_, perplexity, bits = capsys.readouterr().out.split("\n")[:-1]
    assert float(bits.split()[1]) == pytest.approx(
        np.log2(float(perplexity.split()[1])), abs=1e-3
    )
    assert using.ran({**VALUES, "prompt": "a cab"}, uses.Use, lambda: task)
    assert len(capsys.readouterr().out) == len("a cab") + 6 + 1


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"prompt": None}, "--mode=generate needs a --prompt"),
        ({"prompt": " "}, "--mode=generate needs a --prompt"),
        ({"mode": "score"}, "--mode=score needs --score_text"),
        (
            {"mode": "score", "score_text": "nowhere"},
            "cannot read text to score nowhere: No such file",
        ),
    ],
)
def test_what_is_lacking_is_told_before_anything_is_read(changes, match):
    with pytest.raises(errors.UserError, match=match):
        using.ran({**VALUES, **changes}, uses.Use, None)


def test_other_modes_are_left_alone():
    assert not using.ran({"mode": "eval"}, uses.Use, None)
