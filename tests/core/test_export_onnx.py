"""ONNX with native nodes, run by ONNX Runtime where it is installed."""

import importlib

import exported
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns.export import onnx_writing
from iss_rnns.export import source as source_lib

NODES = {
    "stack": ["GRU", "LSTM"],
    "last": ["LSTM"],
    "own": ["GRU", "LSTM", "RNN", "Scan"],
    "tagger": ["GRU", "LSTM"],  # both directions in one
    "decoder": ["LSTM"],
    "graph": ["GRU", "GRU", "LSTM", "RNN"],
}


@pytest.fixture(name="onnx")
def fixture_onnx():
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return onnx


@pytest.mark.parametrize("name", NODES)
def test_one_node_a_layer_gives_the_same_outputs(onnx, name, tmp_path):
    model, path = exported.build(name), tmp_path / "net.onnx"
    source = source_lib.of(model)
    given = exported.inputs(source)
    batches = [list(given.values())]
    done = export.export(model, path, "onnx", batches=batches)
    assert done.proof.difference < 1e-5
    nodes = onnx.load(path).graph.node
    kinds = [n.op_type for n in nodes]
    assert sorted(set(kinds) & {"GRU", "LSTM", "RNN", "Scan", "Loop"}) == (
        sorted(set(NODES[name]))
    )
    assert sum(k in ("GRU", "LSTM", "RNN", "Scan") for k in kinds) == len(
        NODES[name]
    )
    loaded = export.ONNXModel(path)
    assert loaded.manifest.format == "onnx"
    shorter = {
        key: array[:1, :4]
        if array.ndim == 3 or array.dtype == "int32"
        else array[:1]
        for key, array in given.items()
    }
    if name == "last":  # its length is fixed
        return
    expected = source.run(shorter)
    for key, array in loaded(**shorter).items():
        np.testing.assert_allclose(array, expected[key], atol=1e-5)


def test_states_carry_a_stream_on(onnx, tmp_path):
    model, path = exported.build("stack"), tmp_path / "net.onnx"
    export.export(model, path, "onnx", states=True)
    loaded = export.ONNXModel(path)
    x = np.random.default_rng(0).standard_normal((2, 9, 5)).astype("f")
    (name,) = (n for n in loaded.inputs if n.endswith("_input"))
    states = {
        key: np.zeros((2, shape[1]), np.float32)
        for key, shape in loaded.inputs.items()
        if key != name
    }
    found = []
    for piece in (x[:, :4], x[:, 4:5], x[:, 5:]):
        made = loaded(**{name: piece}, **states)
        states = {key: made[f"{key}_out"] for key in states}
        found.append(made[loaded.outputs[0]])
    np.testing.assert_allclose(np.concatenate(found, 1), model(x), atol=1e-5)
    with pytest.raises(errors.UserError, match="takes .*; got nothing"):
        loaded()
    with pytest.raises(errors.UserError, match=r"must be \[None, None, 5\]"):
        loaded(**{name: x[..., :2]}, **states)


def test_the_runtimes_quantiser_makes_it_smaller(onnx, tmp_path):
    pytest.importorskip("onnxruntime.quantization")
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [layers.LSTM(32, input_shape=[None, 32]), layers.Dense(40)]
    )
    x = np.random.default_rng(0).standard_normal((3, 6, 32)).astype("f")
    whole, small = (
        export.export(model, tmp_path / f"{dtype}.onnx", "onnx", dtype, [x])
        for dtype in ("float32", "int8")
    )
    assert small.path.stat().st_size < 0.5 * whole.path.stat().st_size
    assert 1e-4 < small.proof.loss < 0.1
    assert "ONNX Runtime's quantiser" in small.card


def test_a_damaged_file_is_refused(onnx, tmp_path):
    path = tmp_path / "net.onnx"
    export.export(exported.build("last"), path, "onnx")
    data = path.read_bytes()
    for damaged in (
        data[:100],
        b"none",
        data.replace(b"iss_rnns", b"iss_rnnt", 1),
    ):
        path.write_bytes(damaged)
        with pytest.raises(errors.UserError) as caught:
            export.ONNXModel(path)
        assert "\n" not in str(caught.value)


def test_a_masked_highway_layer_is_refused(onnx, tmp_path):
    import iss_rnns

    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Embedding(9, 4, mask_zero=True, input_shape=[None]),
            iss_rnns.RNN(iss_rnns.RHNCell(3)),
        ]
    )
    with pytest.raises(errors.UserError, match="reads a mask, which an ONNX"):
        export.export(model, tmp_path / "net.onnx", "onnx")


def test_a_missing_package_is_one_line(monkeypatch, tmp_path):
    def missing(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(onnx_writing.importlib, "import_module", missing)
    with pytest.raises(
        errors.UserError, match="needs onnx: pip install 'iss-rnns.onnx.'"
    ):
        export.export(exported.build("last"), tmp_path / "net.onnx", "onnx")
    assert importlib.import_module is missing
