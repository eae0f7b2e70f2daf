"""The benchmarks on tiny models: fair rivals, and names as documented."""

import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import harness
from benchmarks import ptb_infer
from benchmarks import ptb_peers
from benchmarks import ptb_train
from iss_rnns import errors
from ptb import model as model_lib

README = pathlib.Path(ptb_train.__file__).parent / "README.md"
QUICK = harness.Settings(threads=1, quick=True)
TINY = {name: ptb_train.Case(case.base, tuple(
    4 + i for i in range(len(case.hidden_sizes))), vocab=30,
                             quick_rounds=(1, 1))
        for name, case in ptb_train.CASES.items()}
PLACEHOLDERS = {
    "CASE": "small|medium|large|iss",
    "SHAPE": r"10x30|20x35",
    "SIZE": "dense|iss",
    "RIVAL": "keras|torch|onnxruntime|bfloat16",
    "WHICH": "ours|keras|torch|onnxruntime|bfloat16",
}


@pytest.fixture(scope="module")
def net():
    return model_lib.WordLSTM(30, 6, [5, 4], init_scale=0.5, seed=3)


@pytest.fixture
def tokens():
    return np.random.default_rng(1).integers(0, 30, (3, 7)).astype(np.int32)


def documented(section):
    """Patterns of the names in a section of the README, by their text."""
    text = re.split(r"^## ", README.read_text(encoding="utf-8"),
                    flags=re.MULTILINE)
    text, = [t for t in text if t.startswith(f"`{section}`")]
    names = re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)
    patterns = {}
    for name in names:
        pattern = re.escape(name)
        for word, choices in PLACEHOLDERS.items():
            pattern = pattern.replace(word, f"(?:{choices})")
        patterns[name] = re.compile(pattern)
    return patterns


def check_names(section, numbers):
    patterns = documented(section)
    for name, value in numbers.items():
        assert np.isfinite(value), name
        assert any(p.fullmatch(name) for p in patterns.values()), name
    for text, pattern in patterns.items():
        if "onnxruntime" in text and not harness.find("onnxruntime"):
            continue
        assert any(pattern.fullmatch(n) for n in numbers), text


def logits_of(net, tokens):
    logits, _ = net(tf.constant(tokens), training=False)
    return np.reshape(logits, [tokens.shape[1], len(tokens), -1])


def test_train_names_are_the_documented_ones():
    check_names("ptb_train", ptb_train.measure(
        QUICK, {"large": TINY["large"]}))


def test_infer_names_are_the_documented_ones():
    models = ptb_infer.Models((5, 4), (3, 2), embedding=6, vocab=30)
    numbers = ptb_infer.measure(QUICK, models)
    check_names("ptb_infer", numbers)
    nets = models.nets()
    assert numbers["mult_adds/ratio"] == (nets["dense"].mult_adds()
                                          / nets["iss"].mult_adds())


def test_every_trainer_computes_the_same():
    data = ptb_train.batch(TINY["small"])
    costs = {name: [step(*data) for _ in range(4)]
             for name, step in ptb_train.trainers(TINY["small"]).items()}
    assert costs["ours"][0] > costs["ours"][-1]  # it learns
    for name, values in costs.items():
        np.testing.assert_allclose(values, costs["ours"], rtol=1e-4,
                                   err_msg=name)


def test_bfloat16_trains():
    case = TINY["small"]
    step = ptb_train.graph_step(ptb_train.bfloat16_model(case), case)
    data = ptb_train.batch(case)
    first = step(*data)
    assert step(*data) < first
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_saved_model_and_keras_predict_the_same(net, tokens, tmp_path):
    expected = logits_of(net, tokens)
    for run in (ptb_infer.saved_model(net, tmp_path),
                ptb_infer.stock_keras(net)):
        np.testing.assert_allclose(run(tokens).transpose(1, 0, 2), expected,
                                   atol=1e-5)


def test_onnx_model_predicts_the_same(net, tokens):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    np.testing.assert_allclose(
        ptb_peers.onnx_predictor(net, 1)(tokens), logits_of(net, tokens),
        atol=1e-5)


@pytest.mark.parametrize("sizes", [(5, 4), (5, 5)])
def test_torch_predicts_the_same(sizes, tokens):
    pytest.importorskip("torch")
    net = model_lib.WordLSTM(30, 6, sizes, init_scale=0.5, seed=3)
    np.testing.assert_allclose(ptb_peers.torch_predictor(net)(tokens),
                               logits_of(net, tokens), atol=1e-5)


def test_turns_alternate_and_count():
    calls = []
    taken = harness.take_turns({n: lambda n=n: calls.append(n) for n in "ab"},
                               least=2, most=3, seconds=60., threads=1)
    assert "".join(calls) == "abbaab"
    assert {name: len(s) for name, s in taken.items()} == {"a": 3, "b": 3}


def test_turns_stop_when_the_time_is_up():
    taken = harness.take_turns({"a": lambda: None}, least=2, most=9,
                               seconds=0., threads=2)
    assert len(taken["a"]) == 2


def test_ratio_is_of_each_round():
    slow, fast = np.array([2., 30., 6.]), np.array([1., 10., 2.])
    assert harness.ratio(slow, fast) == 3.
    assert harness.milliseconds(slow) == 6000.


@pytest.mark.parametrize("values", [["0"], ["two"], ["1", "9999"]])
def test_bad_threads_are_refused(values):
    with pytest.raises(errors.UserError, match=f"--threads has '{values[-1]}"):
        harness.thread_counts(values)


def test_json_that_cannot_be_written(tmp_path):
    with pytest.raises(errors.UserError, match="cannot write --json"):
        harness.write_json(str(tmp_path / "missing" / "a.json"), {})


def test_json_is_flat(tmp_path):
    path = tmp_path / "a.json"
    harness.write_json(str(path), {"a/b_ms": 1.5, **harness.environment()})
    values = json.loads(path.read_text())
    assert values["a/b_ms"] == 1.5
    assert all(isinstance(v, (int, float)) for v in values.values())
