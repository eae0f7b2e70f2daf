"""Packed products beside a SavedModel: equal, smaller, and measured."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import export
from iss_rnns.sparse import nets

pytest.importorskip("numba")


def packable(sparsity):
    """An LSTM and a matrix with that fraction of zeros."""
    rng = np.random.default_rng(0)
    cell = cells.LSTMCell(
        32, forget_bias=1.0, name="lstm", bias_initializer="random_normal"
    )
    cell.build(tf.TensorShape([None, 24]))
    matrix = tf.Variable(rng.normal(size=(32, 50)).astype(np.float32))
    for variable in (cell.kernel, cell.recurrent_kernel, matrix):
        variable.assign(variable * (rng.random(variable.shape) >= sparsity))
    return {"lstm": cell, "out": matrix}


def written(packed, path):
    return export.write_packed(
        packed, path, export.Manifest("packed", {"lstm": 32})
    )


def test_packed_files_hold_the_same_weights(tmp_path):
    parts = packable(0.9)
    old = tmp_path / "packed" / "old.npz"
    old.parent.mkdir()
    old.write_bytes(b"of an earlier run")
    packed = written(nets.pack(parts), old.parent)
    assert not old.exists()
    found, about = export.read_packed(packed.folder)
    assert about.sizes == {"lstm": 32}
    assert set(found) == {"lstm", "out"}
    np.testing.assert_array_equal(found["out"].to_dense(), parts["out"])
    cell = parts["lstm"]
    np.testing.assert_array_equal(
        found["lstm"].recurrent_kernel.to_dense(), cell.recurrent_kernel
    )
    x = np.random.default_rng(1).normal(size=(2, 5, 24)).astype(np.float32)
    expected = tf.keras.layers.RNN(cell, return_sequences=True)(x)
    np.testing.assert_allclose(found["lstm"](x)[0], expected, atol=1e-5)
    assert packed.max_difference < 1e-5
    assert (
        packed.packed_bytes
        < packed.dense_bytes
        == 4 * (24 * 128 + 32 * 128 + 32 * 50)
    )


def test_nothing_slower_is_chosen():
    packed = nets.pack(packable(0.9))
    for batch in nets.BATCH_SIZES:
        dense, chosen = packed.seconds[batch]
        # `packed` is kept unless another is faster by more than noise.
        assert 0 < chosen <= 1.06 * dense
    assert set(packed.matrices) == {
        "lstm.kernel",
        "lstm.recurrent_kernel",
        "out",
    }
    assert packed.matrices["out"].startswith("32x50, 0.")


def test_a_small_sparse_matrix_is_enough():
    """Most of the net's weights may be left."""
    parts = packable(0.0)
    parts["out"].assign(np.eye(32, 50))
    packed = nets.pack(parts)
    assert set(packed.parts) == {"lstm", "out"}
    assert packed.matrices["lstm.kernel"].startswith("24x128, 0.000 zeros")


def test_a_silent_unit_is_no_sparse_matrix():
    parts = packable(0.0)
    parts["out"].assign(np.zeros([32, 50]))
    assert nets.highest_sparsity(parts) == 0.0
    assert nets.pack(parts) is None


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(errors.UserError, match="holds no packed weights"):
        export.read_packed(tmp_path)
    np.savez(tmp_path / "a.npz", kind="lstm")
    with pytest.warns(UserWarning, match="has no manifest.json"):
        with pytest.raises(
            errors.UserError, match="a.npz is not a packed lstm or .* matrix"
        ):
            export.read_packed(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match="has no manifest.json"):
        with pytest.raises(
            errors.UserError, match="packed weights .*a.npz: No "
        ):
            export.read_packed(tmp_path)


def test_a_net_that_is_not_sparse_is_left_alone():
    parts = packable(0.3)
    assert nets.highest_sparsity(parts) == pytest.approx(0.3, abs=0.05)
    assert nets.pack(parts) is None


def sparse_cell(cell, inputs):
    """A built cell with random biases and four fifths of its matrices 0."""
    cell.build(tf.TensorShape([None, inputs]))
    rng = np.random.default_rng(0)
    for variable in cell.trainable_weights:
        value = rng.normal(size=variable.shape)
        if "bias" not in variable.name:
            value *= rng.random(variable.shape) < 0.2
        variable.assign(value)
    return cell


@pytest.mark.parametrize(
    "cell",
    [
        cells.LSTMCell(10, forget_bias=1.0),
        cells.GRUCell(10),
        cells.SimpleRNNCell(10),
        cells.SimpleRNNCell(10, activation="relu"),
        cells.RHNCell(10, depth=3),
    ],
    ids=lambda cell: cell.name,
)
def test_every_cell_becomes_a_layer(cell, tmp_path):
    sparse_cell(cell, 7)
    packed = written(
        nets.pack({"layer": cell}, batch_sizes=(1,)), tmp_path / "packed"
    )
    layer = export.read_packed(packed.folder)[0]["layer"]
    x = np.random.default_rng(1).normal(size=(3, 5, 7)).astype(np.float32)
    # Of a plain layer with max(0, x) the state grows.
    (*expected,) = tf.keras.layers.RNN(
        cell, return_sequences=True, return_state=True
    )(x)
    outputs, state = layer(x)
    for ours, theirs in zip([outputs, *state], expected):
        theirs = theirs.numpy()
        np.testing.assert_allclose(
            ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max()
        )
    # The state carries: two halves equal the whole.
    _, half = layer(x[:, :2])
    np.testing.assert_allclose(
        layer(x[:, 2:], half)[0], outputs[:, 2:], rtol=1e-4, atol=1e-5
    )
    assert (
        0
        < packed.parts["layer"].max_difference
        < 1e-5 * max(1, np.abs(outputs).max())
    )


def test_without_numba_it_says_so(monkeypatch):
    def missing(name):
        raise ImportError("sparse inference needs numba")

    monkeypatch.setattr(nets.sparse, "__getattr__", missing)
    with pytest.raises(ImportError, match="needs numba"):
        nets.pack(packable(0.9))
