"""Exports load without the package and say the same as the net."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from ptb import model as model_lib

SYMBOLS = [f"w{i}" for i in range(30)]


@pytest.fixture(scope="module")
def net():
    return model_lib.WordLSTM(30, 6, [5, 4], keep_prob=0.5, seed=2)


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "compressed"
    return export.save_compressed(net, path, SYMBOLS, {"data": "made up"})


def expected(net, tokens, states):
    logits, finals = net(tf.constant(tokens), states, training=False)
    batch, steps = tokens.shape
    logits = np.reshape(logits, [steps, batch, -1]).transpose(1, 0, 2)
    return logits, [f.numpy() for f in finals]


@pytest.mark.parametrize("batch, steps", [(1, 1), (3, 7)])
def test_signature_equals_the_net(net, saved, batch, steps):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 30, (batch, steps)).astype(np.int32)
    states = {name: rng.normal(size=(batch, n)).astype(np.float32)
              for name, n in zip(net.state_names, net.state_sizes)}
    served = export.Served(saved)
    assert served.state_names == ["lstm_0_c", "lstm_0_h", "lstm_1_c",
                                  "lstm_1_h"]
    logits, finals = served.run(
        tokens, [states[name] for name in served.state_names])
    wanted, wanted_finals = expected(net, tokens, list(states.values()))
    np.testing.assert_allclose(logits, wanted, atol=1e-6)
    finals = dict(zip(served.state_names, finals))
    for name, final in zip(net.state_names, wanted_finals):
        np.testing.assert_allclose(finals[name], final, atol=1e-6)


def test_loads_without_the_package(saved, tmp_path):
    script = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"model = tf.saved_model.load({str(saved)!r})\n"
        "serve = model.signatures['serving_default']\n"
        "z = {f'lstm_{i}_{p}': tf.zeros([2, 5 - i]) for i in (0, 1)"
        " for p in 'hc'}\n"
        "out = serve(tokens=tf.zeros([2, 3], tf.int32), **z)\n"
        "assert 'iss_rnns' not in sys.modules\n"
        "print(out['logits'].shape)\n")
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path,
                            capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "(2, 3, 30)"


def test_vocabulary_and_card_lie_beside(saved):
    assert (saved / "vocabulary.txt").read_text().split() == SYMBOLS
    card = json.loads((saved / "model_card.json").read_text())
    assert card == {"data": "made up"}
    assert export.bytes_of(saved) > 1000


def test_latency_model_equals_the_net_step_by_step(net, tmp_path):
    runner = export.LatencyRunner(
        export.save_latency(net, tmp_path / "model.tflite"))
    tokens = np.array([[3, 1, 4, 1, 5]], np.int32)
    wanted, _ = expected(net, tokens,
                         [tf.zeros([1, n]) for n in net.state_sizes])
    for token, row in zip(tokens[0], wanted[0]):
        np.testing.assert_allclose(runner.step(token)[0], row, atol=1e-5)


def test_forget_bias_is_part_of_the_export(tmp_path):
    net = model_lib.WordLSTM(30, 6, [5], seed=2)
    net.lstm_cells[0].forget_bias = 1.
    path = export.save_compressed(net, tmp_path / "m", SYMBOLS, {})
    tokens = np.array([[1, 2, 3]], np.int32)
    served = export.Served(path)
    logits, _ = served.run(tokens, served.zero_states(1))
    wanted, _ = expected(net, tokens, None)
    np.testing.assert_allclose(logits, wanted, atol=1e-6)


def test_not_a_model_is_one_clear_line(tmp_path):
    with pytest.raises(errors.UserError, match="is no exported language"):
        export.Served(tmp_path)


@pytest.mark.parametrize("error", [
    OSError(28, "No space left on device"),
    tf.errors.ResourceExhaustedError(
        None, None, "{{function_node f}} No space left on device; more "
        "[Op:SaveV2]")])
def test_a_failed_write_leaves_the_old_model(net, saved, monkeypatch,
                                             tmp_path, error):
    def full(*args, **kwargs):
        raise error

    (tmp_path / "old.tflite").write_bytes(b"old")
    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(errors.UserError, match="^cannot write SavedModel .*: "
                                               "No space left[^{[]*$"):
        export.save_compressed(net, saved, SYMBOLS, {})
    with pytest.raises(errors.UserError, match="^cannot write .*old.tflite: "
                                               "No space left[^{[]*$"):
        export.save_latency(net, tmp_path / "old.tflite")
    assert export.Served(saved).state_sizes == [5, 5, 4, 4]
    assert (tmp_path / "old.tflite").read_bytes() == b"old"
