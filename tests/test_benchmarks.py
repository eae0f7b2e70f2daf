"""The benchmarks on tiny models: fair rivals, and names as documented."""

import json
import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import bidaf
from benchmarks import harness
from benchmarks import ptb_infer
from benchmarks import ptb_peers
from benchmarks import ptb_train
from benchmarks import rhn
from benchmarks import sparse_infer
from benchmarks.rivals import __main__ as rivals
from benchmarks.rivals import keras_models
from benchmarks.rivals import outcome
from iss_rnns import errors
from ptb import model as model_lib

pytestmark = pytest.mark.slow

README = pathlib.Path(ptb_train.__file__).parent / "README.md"
QUICK = harness.Settings(threads=1, quick=True)
TINY = {
    name: ptb_train.Case(
        case.base,
        tuple(4 + i for i in range(len(case.hidden_sizes))),
        vocab=30,
        quick_rounds=(1, 1),
    )
    for name, case in ptb_train.CASES.items()
}
BIDAF = bidaf.Case(
    words=9,
    fixed=5,
    lengths=(1, 5, 3, 4),
    batch=4,
    quick_batch=3,
    config={
        "char_vocab_size": 7,
        "word_emb_size": 4,
        "hidden_size": 5,
        "char_emb_size": 2,
        "char_out_size": 3,
        "out_channel_dims": "3",
        "highway_num_layers": 1,
    },
    sizes={"iss_4": {"ModFwd1": 2, "OutBwd": 1}},
)
PLACEHOLDERS = {
    "CASE": "small|medium|large|iss",
    "SHAPE": r"10x30|20x35|96x384|96x96",
    "UNITS": "96",
    "BLOCK": r"single|4x4|16x16|32x32",
    "PATTERN": r"single|4x4|16x16|32x32|ISS",
    "batchN": r"batch\d+",
    "SPARSITY": r"0\.\d+",
    "NAME": r"\w+(?:\.\w+)*",
    "SIZE": "dense|iss",
    "RIVAL": "keras|keras_dropout|torch|onnxruntime|bfloat16|bfloat16_products",
    "ROW": "dense|iss_[1-4]",
    "WHICH": "ours|keras|keras_dropout|torch|onnxruntime|bfloat16|bfloat16_products",
}


@pytest.fixture
def few_rounds(monkeypatch):
    """No rounds but those that are run however long they take."""
    take_turns = harness.take_turns
    monkeypatch.setattr(
        harness,
        "take_turns",
        lambda runs, least, most, seconds, threads: take_turns(
            runs, least, least, 0, threads
        ),
    )


@pytest.fixture(scope="module")
def bidaf_predictors():
    return bidaf.predictors(BIDAF, quick=True)


@pytest.fixture(scope="module")
def net():
    return model_lib.WordLSTM(30, 6, [5, 4], init_scale=0.5, seed=3)


@pytest.fixture
def tokens():
    return np.random.default_rng(1).integers(0, 30, (3, 7)).astype(np.int32)


def documented(section):
    """Patterns of the names in a section of the README, by their text."""
    text = re.split(
        r"^## ", README.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    (text,) = [t for t in text if t.startswith(f"`{section}`")]
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


@pytest.mark.usefixtures("few_rounds")
def test_train_names_are_the_documented_ones():
    numbers = ptb_train.measure(QUICK, {"large": TINY["large"]})
    # Not with --quick, of which there is no more in tests.
    case = TINY[ptb_train.PRUNED]
    pruning = ptb_train.pruning_cost(
        case, ptb_train.trainers(case)["ours"], 4.0, QUICK
    )
    assert pruning["pruning_share_percent"] == pytest.approx(
        25 * pruning["pruning_ms"]
    )
    numbers.update({f"{ptb_train.PRUNED}/{k}": v for k, v in pruning.items()})
    check_names("ptb_train", numbers)


@pytest.mark.usefixtures("few_rounds")
def test_infer_names_are_the_documented_ones():
    models = ptb_infer.Models((5, 4), (3, 2), embedding=6, vocab=30)
    numbers = ptb_infer.measure(QUICK, models)
    check_names("ptb_infer", numbers)
    nets = models.nets()
    assert numbers["mult_adds/ratio"] == (
        nets["dense"].mult_adds() / nets["iss"].mult_adds()
    )


@pytest.mark.usefixtures("few_rounds")
def test_sparse_names_are_the_documented_ones(monkeypatch):
    pytest.importorskip("numba")
    for name, value in (
        ("PRODUCTS", ((96, 384), (96, 96))),
        ("LAYERS", (96,)),
        ("QUICK_TIME_STEPS", 3),
        ("QUICK_ROUNDS", 1),
        ("QUICK_SPARSITIES", (0.5,)),
    ):
        monkeypatch.setattr(sparse_infer, name, value)
    saved = []
    numbers = {}
    for sweep in (False, True):
        monkeypatch.setattr(
            sparse_infer,
            "FLAGS",
            types.SimpleNamespace(sweep=sweep, sizes=["96"], sparsity=0.9),
        )
        numbers.update(
            sparse_infer.measure(
                harness.Settings(
                    quick=True, save=lambda now: saved.append(dict(now))
                )
            )
        )
    check_names("sparse_infer", numbers)
    assert numbers["product/96x384/16x16/batch1/numpy_ms"] > 0
    # What was measured is not lost if the rest is not.
    assert 0 < len(saved[0]) < len(saved[1]) < len(numbers)


RHN = rhn.Case(
    width=6,
    shrunk_width=4,
    depth=2,
    vocab=11,
    batch=3,
    steps=4,
    infer_batch=2,
    infer_steps=3,
)


@pytest.mark.usefixtures("few_rounds")
def test_rhn_names_are_the_documented_ones():
    numbers = rhn.measure(QUICK, RHN)
    check_names("rhn", numbers)
    assert numbers["infer/mult_adds_ratio"] > 1


def test_rhn_rivals_that_differ_are_not_timed(monkeypatch):
    monkeypatch.setattr(rhn, "update_difference", lambda *_: 2e-4)
    with pytest.raises(errors.UserError, match="first updates differ"):
        rhn.train_speed(RHN, QUICK)


@pytest.mark.usefixtures("few_rounds")
def test_bidaf_names_are_the_documented_ones(bidaf_predictors, monkeypatch):
    monkeypatch.setattr(bidaf, "predictors", lambda *_: bidaf_predictors)
    check_names("bidaf", bidaf.measure(QUICK, BIDAF))


def test_bidaf_rivals_predict_the_same(bidaf_predictors):
    """From the same weights, words past the ends of passages included."""
    # As many questions as a run has: another number would be traced anew.
    nets, batch = bidaf_predictors, BIDAF.batch_of(1)
    for ours, keras in zip(nets["dense"][1](batch), nets["keras"][1](batch)):
        np.testing.assert_allclose(keras, ours, atol=1e-6)
    assert nets["iss_4"][0].mult_adds() < nets["dense"][0].mult_adds()


def test_bidaf_rivals_that_differ_are_not_timed(monkeypatch):
    costs = iter([3.0, 2.0, 3.0, 2.1, 3.0, 2.0])
    monkeypatch.setattr(
        bidaf,
        "trainers",
        lambda _: {name: lambda _: next(costs) for name in bidaf.KINDS},
    )
    with pytest.raises(errors.UserError, match="costs differ: .*2.1"):
        bidaf.train_speed(BIDAF, QUICK)


def test_bidaf_is_measured_at_the_papers_sizes():
    case = bidaf.Case()
    sizes = case.shrunk_sizes(quick=False)
    assert list(sizes) == ["iss_1", "iss_2", "iss_3", "iss_4"]
    assert tuple(sizes["iss_4"].values()) == (52, 50, 19, 26, 15, 12)
    assert case.shrunk_sizes(quick=True) == {"iss_4": sizes["iss_4"]}
    assert case.new_config().hidden_size == 100


def test_every_trainer_computes_the_same():
    data = ptb_train.batch(TINY["small"])
    costs = {
        name: [step(*data) for _ in range(4)]
        for name, step in ptb_train.trainers(TINY["small"]).items()
    }
    assert costs["ours"][0] > costs["ours"][-1]  # it learns
    for name, values in costs.items():
        np.testing.assert_allclose(
            values, costs["ours"], rtol=1e-4, err_msg=name
        )


def test_bfloat16_trains_close_to_float32():
    data = ptb_train.batch(TINY["small"])
    steps = ptb_train.trainers(TINY["small"], bfloat16=True)
    costs = {
        name: [step(*data) for _ in range(3)] for name, step in steps.items()
    }
    for name in ("bfloat16", "bfloat16_products"):
        assert costs[name] != costs["ours"]
        np.testing.assert_allclose(costs[name], costs["ours"], rtol=1e-2)
    assert tf.keras.mixed_precision.global_policy().name == "float32"


def test_saved_model_and_keras_predict_the_same(net, tokens, tmp_path):
    expected = logits_of(net, tokens)
    for run in (
        ptb_infer.saved_model(net, tmp_path),
        ptb_infer.stock_keras(net),
    ):
        np.testing.assert_allclose(
            run(tokens).transpose(1, 0, 2), expected, atol=1e-5
        )


def test_onnx_model_predicts_the_same(net, tokens):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    np.testing.assert_allclose(
        ptb_peers.onnx_predictor(net, 1)(tokens),
        logits_of(net, tokens),
        atol=1e-5,
    )


@pytest.mark.parametrize("sizes", [(5, 4), (5, 5)])
def test_torch_predicts_the_same(sizes, tokens):
    pytest.importorskip("torch")
    net = model_lib.WordLSTM(30, 6, sizes, init_scale=0.5, seed=3)
    np.testing.assert_allclose(
        ptb_peers.torch_predictor(net)(tokens),
        logits_of(net, tokens),
        atol=1e-5,
    )


def test_turns_alternate_and_count():
    calls = []
    taken = harness.take_turns(
        {n: lambda n=n: calls.append(n) for n in "ab"},
        least=2,
        most=3,
        seconds=60.0,
        threads=1,
    )
    assert "".join(calls) == "abbaab"
    assert {name: len(s) for name, s in taken.items()} == {"a": 3, "b": 3}


def test_turns_stop_when_the_time_is_up():
    taken = harness.take_turns(
        {"a": lambda: None}, least=2, most=9, seconds=0.0, threads=2
    )
    assert len(taken["a"]) == 2


def test_ratio_is_of_each_round():
    slow, fast = np.array([2.0, 30.0, 6.0]), np.array([1.0, 10.0, 2.0])
    assert harness.ratio(slow, fast) == 3.0
    assert harness.milliseconds(slow) == 6000.0


@pytest.mark.parametrize("values", [["0"], ["two"], ["1", "9999"]])
def test_bad_threads_are_refused(values):
    with pytest.raises(errors.UserError, match=f"--threads has '{values[-1]}"):
        harness.thread_counts(values)


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--sparsity=1", r"--sparsity=1.0: must lie in \[0, 1\)"),
        ("--sparsity=-1", "--sparsity=-1"),
        (
            "--sizes=7",
            r"--sizes=\[.7.\]: must name some of 1500, 1760, 2560, 3072",
        ),
        ("--threads=9999", "--threads has '9999', expected numbers from 1"),
    ],
)
def test_bad_flags_of_sparse_products_are_refused(flag, message):
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sparse_infer", flag],
        cwd=README.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and re.search(message, line)


def test_json_that_cannot_be_written(tmp_path):
    with pytest.raises(errors.UserError, match="cannot write --json"):
        harness.write_json(str(tmp_path / "missing" / "a.json"), {})


def test_json_is_flat(tmp_path):
    path = tmp_path / "a.json"
    harness.write_json(str(path), {"a/b_ms": 1.5, **harness.environment()})
    values = json.loads(path.read_text())
    assert values["a/b_ms"] == 1.5
    assert all(isinstance(v, (int, float)) for v in values.values())


def test_half_of_a_models_units_are_cut(monkeypatch):
    monkeypatch.setattr(outcome, "ROUNDS", 2)
    found = keras_models.taken("iss_rnns", "attention")
    assert found["units"] == [2 * outcome.UNITS, outcome.UNITS]
    assert found["difference"] <= outcome.SAME
    assert found["bytes"][1] < 0.4 * found["bytes"][0]


def test_every_library_has_a_cell_for_every_model():
    def take(name):
        if name == "stacked":
            raise ValueError("first | line\nsecond")
        return {
            "units": [8, 4],
            "difference": None if name == "language" else 0.5,
            "bytes": [100, 50],
            "speedup": 1.5,
        }

    lines = rivals.table({"tfmot": outcome.of_each(take)}).splitlines()
    assert len(lines) == 2 + len(outcome.MODELS)
    assert lines[2].endswith("| no: ValueError: first / line |")
    assert "8 -> 4 units, outputs differ by 0.5, file 0.50x" in lines[3]
    assert "outputs of another shape" in lines[-1]


def test_the_environment_is_set_before_tensorflow_is_there():
    """TensorFlow asks when it is imported, which a benchmark does first."""
    code = (
        "import os, sys; os.environ.pop('TF_ENABLE_ONEDNN_OPTS', None); "
        "import benchmarks; assert 'tensorflow' not in sys.modules; "
        "print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=README.parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
