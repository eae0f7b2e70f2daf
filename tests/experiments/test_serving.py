"""Exports load without the package and say the same as the net."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns.experiments.language import serving
from iss_rnns.ops import fixed
from ptb import model as model_lib
from rhns import model as highway

SYMBOLS = [f"w{i}" for i in range(30)]


# Behind the embedding of 24 entries a table of 20 columns is the smaller one.
@pytest.fixture(scope="module", params=[6, 24], ids=["embedding", "table"])
def net(request):
    return model_lib.WordLSTM(30, request.param, [5, 4], keep_prob=0.5, seed=2)


@pytest.fixture(scope="module")
def saved(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "compressed"
    return serving.save_compressed(net, path, SYMBOLS, {"data": "made up"})


def expected(net, tokens, states):
    logits, finals = net(tf.constant(tokens), states, training=False)
    batch, steps = tokens.shape
    logits = np.reshape(logits, [steps, batch, -1]).transpose(1, 0, 2)
    return logits, [f.numpy() for f in finals]


@pytest.mark.parametrize("batch, steps", [(1, 1), (3, 7)])
def test_signature_equals_the_net(net, saved, batch, steps):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 30, (batch, steps)).astype(np.int32)
    states = {
        name: rng.normal(size=(batch, n)).astype(np.float32)
        for name, n in zip(net.state_names, net.state_sizes)
    }
    served = serving.ServedLanguageModel(saved)
    assert served.state_names == [
        "lstm_0_c",
        "lstm_0_h",
        "lstm_1_c",
        "lstm_1_h",
    ]
    logits, finals = served.run(
        tokens, [states[name] for name in served.state_names]
    )
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
        "print(out['logits'].shape)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "(2, 3, 30)"


def test_vocabulary_and_card_lie_beside(saved):
    assert (saved / "vocabulary.txt").read_text().split() == SYMBOLS
    card = json.loads((saved / "model_card.json").read_text())
    assert card == {"data": "made up"}
    assert export.bytes_of(saved) > 1000


@pytest.mark.parametrize(
    "options",
    [{}, {"tied": False, "embedding_size": 12}],
    ids=["tied", "table"],
)
def test_latency_model_of_highway_layers(options, tmp_path):
    net = highway.HighwayLM(30, [5], 3, seed=2, **options)
    assert (net.input_table() is None) != bool(options)
    runner = serving.LatencyRunner(
        serving.save_tflite_step(net, tmp_path / "model.tflite")
    )
    tokens = np.array([[3, 1, 4]], np.int32)
    wanted, _ = expected(net, tokens, [tf.zeros([1, 5])])
    for token, row in zip(tokens[0], wanted[0]):
        np.testing.assert_allclose(runner.step(token)[0], row, atol=1e-5)


def test_latency_model_equals_the_net_step_by_step(net, tmp_path):
    runner = serving.LatencyRunner(
        serving.save_tflite_step(net, tmp_path / "model.tflite")
    )
    tokens = np.array([[3, 1, 4, 1, 5]], np.int32)
    wanted, _ = expected(
        net, tokens, [tf.zeros([1, n]) for n in net.state_sizes]
    )
    for token, row in zip(tokens[0], wanted[0]):
        np.testing.assert_allclose(runner.step(token)[0], row, atol=1e-5)


@pytest.mark.parametrize("cell", sorted(model_lib.CELLS))
def test_a_table_takes_the_place_of_embedding_and_kernel(cell, tmp_path):
    net = model_lib.WordLSTM(30, 24, [5], seed=2, cell=cell)
    for made in net.cells:  # biases start at 0
        made.bias.assign(tf.random.stateless_normal(made.bias.shape, [1, 2]))
    path = serving.save_compressed(net, tmp_path / "m", SYMBOLS, {})
    names = [
        name
        for name, _ in tf.train.list_variables(
            str(path / "variables" / "variables")
        )
        if "weights" in name
    ]
    shapes = sorted(
        tuple(
            tf.train.load_variable(
                str(path / "variables" / "variables"), name
            ).shape
        )
        for name in names
    )
    columns = net.cells[0].kernel.shape[1]
    assert (30, columns) in shapes
    assert (30, 24) not in shapes and (24, columns) not in shapes
    tokens = np.array([[1, 2, 3]], np.int32)
    served = serving.ServedLanguageModel(path)
    logits, _ = served.run(tokens, served.zero_states(1))
    np.testing.assert_allclose(
        logits, expected(net, tokens, None)[0], atol=1e-6
    )


@pytest.mark.parametrize("embedding, table", [(11, None), (12, (30, 20))])
def test_the_table_is_made_where_it_is_no_larger(embedding, table):
    made = model_lib.WordLSTM(30, embedding, [5]).input_table()
    assert (made if made is None else made.shape) == table


@pytest.mark.parametrize(
    "make",
    [
        lambda: model_lib.WordLSTM(30, 6, [5, 4], seed=2),
        lambda: model_lib.WordLSTM(30, 6, [5, 4], seed=2, cell="gru"),
        lambda: highway.HighwayLM(
            30, [5, 4], 3, tied=False, embedding_size=6, seed=2
        ),
    ],
    ids=["lstm", "gru", "rhn"],
)
def test_large_recurrent_weights_are_constants(make, monkeypatch, tmp_path):
    monkeypatch.setattr(fixed, "_FIXED_BYTES", range(1, 1 << 20))
    net = make()
    path = serving.save_compressed(net, tmp_path / "m", SYMBOLS, {})
    shapes = [
        tuple(shape)
        for _, shape in tf.train.list_variables(
            str(path / "variables" / "variables")
        )
    ]
    recurrent = [
        v
        for v in net.trainable_variables
        if v.name.split("/")[-1].startswith("recurrent")
    ]
    assert recurrent and not {tuple(v.shape) for v in recurrent} & set(shapes)
    served = serving.ServedLanguageModel(path)
    for tokens in (
        np.array([[1]], np.int32),
        np.arange(12, dtype=np.int32).reshape(3, 4),
    ):
        states = [
            tf.random.stateless_normal([len(tokens), n], [3, 4])
            for n in served.state_sizes
        ]
        logits, finals = served.run(tokens, states)
        by_name = dict(zip(served.state_names, states))
        wanted, wanted_finals = expected(
            net, tokens, [by_name[name] for name in net.state_names]
        )
        np.testing.assert_allclose(logits, wanted, atol=1e-6)
        for name, final in zip(net.state_names, wanted_finals):
            np.testing.assert_allclose(
                finals[served.state_names.index(name)], final, atol=1e-6
            )


def test_forget_bias_is_part_of_the_export(tmp_path):
    net = model_lib.WordLSTM(30, 6, [5], seed=2)
    net.cells[0].forget_bias = 1.0
    path = serving.save_compressed(net, tmp_path / "m", SYMBOLS, {})
    tokens = np.array([[1, 2, 3]], np.int32)
    served = serving.ServedLanguageModel(path)
    logits, _ = served.run(tokens, served.zero_states(1))
    wanted, _ = expected(net, tokens, None)
    np.testing.assert_allclose(logits, wanted, atol=1e-6)


def test_not_a_model_is_one_clear_line(tmp_path):
    with pytest.raises(errors.UserError, match="is no exported language"):
        serving.ServedLanguageModel(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(
            None,
            None,
            "{{function_node f}} No space left on device; more [Op:SaveV2]",
        ),
    ],
)
def test_a_failed_write_leaves_the_old_model(
    net, saved, monkeypatch, tmp_path, error
):
    def full(*args, **kwargs):
        raise error

    (tmp_path / "old.tflite").write_bytes(b"old")
    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(
        errors.UserError,
        match="^cannot write .*: No space left[^{[]*$",
    ):
        serving.save_compressed(net, saved, SYMBOLS, {})
    with pytest.raises(
        errors.UserError,
        match="^cannot write .*old.tflite: No space left[^{[]*$",
    ):
        serving.save_tflite_step(net, tmp_path / "old.tflite")
    assert serving.ServedLanguageModel(saved).state_sizes == [5, 5, 4, 4]
    assert (tmp_path / "old.tflite").read_bytes() == b"old"
