"""Whole language models packed: equal, read again, and refused."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import sparse
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import packed as packed_lib
from iss_rnns.export import packed as packed_export
from iss_rnns.sparse import nets
from ptb import model as ptb_model
from rhns import model as rhn_model

pytest.importorskip("numba")


NETS = {
    "lstm": lambda: ptb_model.WordLSTM(30, 8, [12, 9], seed=1),
    "gru": lambda: ptb_model.WordLSTM(30, 8, [12, 9], seed=1, cell="gru"),
    "rnn": lambda: ptb_model.WordLSTM(30, 8, [12, 9], seed=1, cell="rnn"),
    "tied rhn": lambda: rhn_model.HighwayLM(30, [8, 8], depth=2, tied=True),
    "rhn": lambda: rhn_model.HighwayLM(30, [8], depth=2, tied=False),
}


@pytest.fixture(name="whole", params=NETS)
def fixture_whole(request, tmp_path):
    """A net four fifths of whose matrices are zero, and its packed model."""
    net = NETS[request.param]()
    rng = np.random.default_rng(0)
    for name, matrix in nets.matrices(net.packable()).items():
        assert matrix.size, name
    for part in net.packable().values():
        for v in (
            [part]
            if isinstance(part, tf.Variable)
            else (part.trainable_weights)
        ):
            if v.shape.rank == 2 and "bias" not in v.name:
                v.assign(v * (rng.random(v.shape) < 0.2) * 5)
    packed = packed_lib.pack_language_model(net, tmp_path, batch_sizes=(1,))
    return net, packed


def test_a_whole_model_computes_the_same(whole):
    net, packed = whole
    assert packed_lib.is_language_model(str(packed.folder))
    model = packed_lib.load_language_model(str(packed.folder))
    assert model.state_sizes == net.state_sizes
    ids = np.random.default_rng(1).integers(0, 30, (2, 6))
    logits, states = model(ids)
    expected, finals = net(tf.constant(ids, tf.int32))
    np.testing.assert_allclose(
        logits.swapaxes(0, 1).reshape(12, 30), expected, atol=1e-5
    )
    for ours, theirs in zip(states, finals):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # The state carries.
    _, half = model(ids[:, :4])
    np.testing.assert_allclose(
        model(ids[:, 4:], half)[0], logits[:, 4:], atol=1e-5
    )
    windows = (
        np.random.default_rng(2).integers(0, 30, (2, 4, 2, 5)).astype(np.int32)
    )
    np.testing.assert_allclose(
        packed_lib.Evaluator(model, 20).perplexity(*windows),
        language_model.Evaluator(net, 20).perplexity(*windows),
        rtol=1e-5,
    )
    assert packed.dense_bytes == 4 * sum(
        v.shape.num_elements() for v in net.trainable_variables
    )
    assert packed.packed_bytes == sum(
        path.stat().st_size for path in packed.folder.glob("*.npz")
    )


def test_a_packed_model_refuses(tmp_path):
    packed = packed_lib.pack_language_model(
        pruned_lstm(), tmp_path, batch_sizes=()
    )
    model = packed_lib.load_language_model(
        str(packed.folder / packed_export.MODEL_FILE)
    )
    for ids, message in (
        ([[0, 30]], r"ids must be in 0 \.\.\. 29, got 0"),
        ([0], r"ids must be integers \[batch, time\]"),
        ([[0.5]], "ids must be integers"),
    ):
        with pytest.raises(ValueError, match=message):
            model(np.array(ids))
    with pytest.raises(ValueError, match="expected 4 states, got 1"):
        model(np.zeros((1, 1), int), [np.zeros((1, 12), np.float32)])


def pruned_lstm():
    net = NETS["lstm"]()
    net.softmax_w.assign(np.eye(9, 30))
    return net


@pytest.mark.parametrize(
    "logits, message",
    [
        (
            np.zeros((1, 1, 30)),
            r"have shape \(1, 1, 30\), the net's \(3, 12, 30",
        ),
        (np.full((3, 12, 30), np.nan), "differ from the net's by nan"),
    ],
)
def test_b8_packed_logits_that_are_fewer_or_nan_are_refused(
    tmp_path, monkeypatch, logits, message
):
    class Model:
        def __init__(self, *args):
            pass

        def __call__(self, ids):
            return logits, None

    monkeypatch.setattr(sparse, "PackedLanguageModel", Model, raising=False)
    with pytest.raises(errors.UserError, match=message):
        packed_lib.pack_language_model(pruned_lstm(), tmp_path, batch_sizes=())
    assert not (tmp_path / "packed" / packed_export.MODEL_FILE).exists()


def test_a_packed_model_that_lacks_a_part(tmp_path):
    packed = packed_lib.pack_language_model(
        pruned_lstm(), tmp_path, batch_sizes=()
    )
    folder = packed.folder
    (folder / "manifest.json").unlink()  # as of version 1.0.0
    (folder / "lstm_1.npz").rename(folder / "lstm_0.npz")
    with pytest.raises(errors.UserError, match="lstm_1.npz: No such file"):
        load_as_of_1_0_0(folder)
    (folder / "lstm_1.npz").write_bytes((folder / "lstm_0.npz").read_bytes())
    with pytest.raises(
        errors.UserError, match="lstm_0 reads 12 units, but what it reads has 8"
    ):
        load_as_of_1_0_0(folder)


def load_as_of_1_0_0(folder):
    with pytest.warns(UserWarning, match="has no manifest.json"):
        return packed_lib.load_language_model(str(folder))


@pytest.mark.parametrize(
    "name, array, message",
    [
        (
            "embedding",
            np.zeros((30, 8)),
            r"expected 'embedding' with 2 axes of "
            r"float32, got float64 \[30, 8\]",
        ),
        ("embedding", np.zeros(30, np.float32), r"got float32 \[30\]"),
        (
            "softmax_b",
            np.full(30, np.nan, np.float32),
            "'softmax_b' holds numbers that are not finite",
        ),
        ("softmax_b", None, "expected 'softmax_b' with 1 axes"),
        ("parts", np.array("lstm_0"), "expected 'parts' with 1 axes of str_"),
        ("parts", np.array(["../x"]), "x.npz: No such file"),
        (
            "softmax_b",
            np.zeros(29, np.float32),
            r"the softmax must be \[9, 30\]",
        ),
    ],
)
def test_a_damaged_packed_model(name, array, message, tmp_path):
    packed = packed_lib.pack_language_model(
        pruned_lstm(), tmp_path, batch_sizes=()
    )
    path = packed.folder / packed_export.MODEL_FILE
    with np.load(path) as file:
        arrays = dict(file)
    del arrays[name]
    np.savez(path, **arrays, **({} if array is None else {name: array}))
    (packed.folder / "manifest.json").unlink()  # as of version 1.0.0
    with pytest.raises(errors.UserError, match=message) as caught:
        load_as_of_1_0_0(packed.folder)
    assert "\n" not in str(caught.value)


def test_a_packed_model_that_differs_is_refused(tmp_path, monkeypatch):
    net = pruned_lstm()
    monkeypatch.setattr(
        net,
        "packable",
        lambda: {
            **{cell.name: cell for cell in net.cells},
            "softmax_w": tf.Variable(2 * net.softmax_w),
        },
    )
    with pytest.raises(errors.UserError, match="logits differ from the net's"):
        packed_lib.pack_language_model(net, tmp_path, batch_sizes=())
