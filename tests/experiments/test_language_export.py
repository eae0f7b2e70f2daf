"""The language models' nets in the formats of `export.export`."""

import pytest

from iss_rnns import export
from iss_rnns.export import plans
from ptb import model as ptb_model
from rhns import model as rhn_model


@pytest.mark.parametrize(
    "net",
    [
        ptb_model.WordLSTM(30, 6, [5, 4], init_scale=0.5),
        rhn_model.HighwayLM(30, [6], 3, init_scale=0.5),
    ],
    ids=["lstm", "tied highway"],
)
def test_a_net_is_exported_as_its_states_are_called(net, tmp_path):
    source = net.export_source()
    whole = plans.with_states(source.read())
    assert [each.name for each in whole.inputs] == ["tokens", *net.state_names]
    done = export.export(net, tmp_path / "words", "c", "int8")
    assert 0 < done.proof.random_difference < 0.1
    assert "int32_t token" in (tmp_path / "words" / "words.h").read_text()
    # Proved equal to the net, or it would not be written.
    export.export(net, tmp_path / "exact", "c")
    path = tmp_path / "net.tflite"
    export.export(net, path, "tflite", states=True)
    loaded = export.load(path)
    assert set(loaded.inputs) == {"tokens", *net.state_names}
    export.export(net, tmp_path / "saved", "saved_model")
    assert set(export.load(tmp_path / "saved").inputs) == {"tokens"}


def test_a_net_as_onnx_has_a_node_a_layer(tmp_path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    net = ptb_model.WordLSTM(30, 6, [5, 4], init_scale=0.5)
    export.export(net, tmp_path / "net.onnx", "onnx", states=True)
    import onnx

    nodes = onnx.load(tmp_path / "net.onnx").graph.node
    assert [n.op_type for n in nodes].count("LSTM") == 2
    assert not {"Loop", "Scan"} & {n.op_type for n in nodes}
    net = rhn_model.HighwayLM(30, [6], 3, init_scale=0.5)
    export.export(net, tmp_path / "net.onnx", "onnx")
