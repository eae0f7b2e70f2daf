"""Packed products beside a SavedModel: equal, smaller, and measured."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import packing
from iss_rnns import report

pytest.importorskip("numba")


def packable(sparsity):
    """An LSTM and a matrix with that fraction of zeros."""
    rng = np.random.default_rng(0)
    cell = cells.LSTMCell(32, forget_bias=1., name="lstm",
                          bias_initializer="random_normal")
    cell.build(tf.TensorShape([None, 24]))
    matrix = tf.Variable(rng.normal(size=(32, 50)).astype(np.float32))
    for variable in (cell.kernel, cell.recurrent_kernel, matrix):
        variable.assign(variable * (rng.random(variable.shape) >= sparsity))
    return {"lstm": cell, "out": matrix}


def test_packed_files_hold_the_same_weights(tmp_path):
    parts = packable(.9)
    old = tmp_path / packing.FOLDER / "old.npz"
    old.parent.mkdir()
    old.write_bytes(b"of an earlier run")
    packed = packing.pack(parts, tmp_path)
    assert not old.exists()
    found = packing.load(packed.folder)
    assert set(found) == {"lstm", "out"}
    np.testing.assert_array_equal(found["out"].to_dense(), parts["out"])
    cell = parts["lstm"]
    np.testing.assert_array_equal(found["lstm"].recurrent_kernel.to_dense(),
                                  cell.recurrent_kernel)
    x = np.random.default_rng(1).normal(size=(2, 5, 24)).astype(np.float32)
    expected = tf.keras.layers.RNN(cell, return_sequences=True)(x)
    np.testing.assert_allclose(found["lstm"](x)[0], expected, atol=1e-5)
    assert packed.max_difference < 1e-5
    assert packed.packed_bytes < packed.dense_bytes == 4 * (
        24 * 128 + 32 * 128 + 32 * 50)


def test_measures_never_choose_what_is_slower(tmp_path):
    packed = packing.pack(packable(.9), tmp_path)
    measures = packed.measures()
    for batch in report.PACKED_BATCHES:
        dense, chosen = packed.seconds[batch]
        # `packed` is kept unless another is faster by more than noise.
        assert 0 < chosen <= 1.06 * dense
        assert measures[report.packed_speedup(batch)] == dense / chosen
    assert measures["packed bytes"] == packed.packed_bytes
    assert set(packed.matrices) == {"lstm.kernel", "lstm.recurrent_kernel",
                                    "out"}
    assert packed.matrices["out"].startswith("32x50, 0.")


def test_a_small_sparse_matrix_is_enough(tmp_path):
    """Most of the net's weights may be left."""
    parts = packable(.0)
    parts["out"].assign(np.eye(32, 50))
    packed = packing.pack(parts, tmp_path)
    assert set(packing.load(packed.folder)) == {"lstm", "out"}
    assert packed.matrices["lstm.kernel"].startswith("24x128, 0.000 zeros")


def test_what_cannot_be_loaded(tmp_path):
    with pytest.raises(errors.UserError, match="holds no packed weights"):
        packing.load(tmp_path)
    np.savez(tmp_path / "a.npz", kind="lstm")
    with pytest.raises(errors.UserError,
                       match="a.npz is not a packed matrix or lstm"):
        packing.load(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(errors.UserError, match="packed weights .*a.npz: No "):
        packing.load(tmp_path)


def test_a_net_that_is_not_sparse_is_left_alone(tmp_path):
    parts = packable(.3)
    assert packing.highest_sparsity(parts) == pytest.approx(.3, abs=.05)
    assert packing.pack(parts, tmp_path) is None
    assert not list(tmp_path.iterdir())
