"""Packed products and LSTM layers against dense NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns import sparse
from iss_rnns.sparse import backends
from iss_rnns.sparse import kernels
from iss_rnns.sparse import matrix
from iss_rnns.sparse import panels


def pruned(shape, block=(1, 1), density=0.3, seed=0):
    """A random matrix with blocks of zeros, cut off at the edges."""
    rng = np.random.default_rng(seed)
    grid = [-(-n // b) for n, b in zip(shape, block)]
    mask = np.kron(rng.random(grid) < density, np.ones(block))
    weights = rng.standard_normal(shape) * mask[: shape[0], : shape[1]]
    return weights.astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(x, h, c, kernel, recurrent, bias):
    """The layer in float64, gate by gate: [batch, time, in]."""
    x, h, c, kernel, recurrent, bias = (
        a.astype(np.float64) for a in (x, h, c, kernel, recurrent, bias)
    )
    n = h.shape[1]
    outputs = []
    for t in range(x.shape[1]):
        z = x[:, t] @ kernel + h @ recurrent + bias
        c = sigmoid(z[:, n : 2 * n]) * c + sigmoid(z[:, :n]) * np.tanh(
            z[:, 2 * n : 3 * n]
        )
        h = sigmoid(z[:, 3 * n :]) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1), h, c


@pytest.mark.parametrize(
    "block",
    [
        None,
        (4, 4),
        (8, 8),
        (16, 16),
        (32, 32),
        (12, 2),
        (2, 12),
        (5, 7),
        (1, 16),
        (16, 1),
        (3, 24),
    ],
)
@pytest.mark.parametrize("shape", [(70, 99), (33, 64)])
def test_products_equal_dense(shape, block):
    weights = pruned(shape, block or (1, 1))
    packed = sparse.pack(weights, block, batch_sizes=())
    np.testing.assert_array_equal(packed.to_dense(), weights)
    assert packed.max_difference < 1e-6
    rng = np.random.default_rng(1)
    bias = rng.standard_normal(shape[1], np.float32)
    # 57 rows need every height of a tile; at these widths no more lanes.
    for batch in (1, 4, 57 if packed.form.width >= 8 else 3):
        x = rng.standard_normal((batch, shape[0]), np.float32)
        y = packed.matmul(x)
        assert y.shape == (batch, shape[1]) and y.dtype == np.float32
        np.testing.assert_allclose(y, x @ weights, atol=2e-5)
        np.testing.assert_allclose(
            packed.matmul(x, bias=bias), x @ weights + bias, atol=2e-5
        )


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("batch", [20, 75])
def test_narrow_panels_at_every_batch(width, batch):
    weights = pruned((50, 41), (1, width))
    form = panels.Panels.from_dense(weights, width)
    x = np.random.default_rng(1).standard_normal((batch, 50), np.float32)
    np.testing.assert_allclose(form.multiply(x), x @ weights, atol=2e-5)


def test_more_rows_than_one_block():
    weights = pruned((40, 48), (8, 8))
    form = panels.Panels.from_dense(weights, 8)
    x = np.random.default_rng(1).standard_normal((423, 40), np.float32)
    np.testing.assert_allclose(form.multiply(x), x @ weights, atol=2e-5)


def test_more_inputs_than_short_indices():
    weights = np.zeros((70000, 3), np.float32)
    weights[[0, 65535, 65536, 69999], [0, 1, 2, 0]] = 1, 2, 3, 4
    packed = sparse.pack(weights, None, batch_sizes=())
    x = np.arange(70000, dtype=np.float32)[np.newaxis]
    np.testing.assert_array_equal(
        packed.matmul(x), [[4 * 69999, 2 * 65535, 3 * 65536]]
    )


@pytest.mark.parametrize("width", [1, 16])
def test_two_threads_equal_one(width):
    weights = pruned((60, 90), (1, width))
    form = panels.Panels.from_dense(weights, width)
    x = np.random.default_rng(1).standard_normal((4, 60), np.float32)
    np.testing.assert_array_equal(form.multiply(x, threads=2), form.multiply(x))


def test_panels_without_any_weight():
    packed = sparse.pack(np.zeros((8, 20), np.float32), batch_sizes=(1,))
    np.testing.assert_array_equal(
        packed.matmul(np.ones((3, 8), np.float32)), np.zeros((3, 20))
    )


@pytest.mark.parametrize("block", [(1, 1), (16, 16)])
def test_nothing_to_multiply(block):
    weights = pruned((16, 64), block)
    packed = sparse.pack(weights, block, batch_sizes=())
    assert packed.matmul(np.zeros((0, 16), np.float32)).shape == (0, 64)
    layer = sparse.PackedLSTM(
        {"kernel": packed, "recurrent_kernel": packed}, {"bias": np.zeros(64)}
    )
    for shape in ((0, 3, 16), (3, 0, 16), (1, 0, 16)):
        outputs, (h, _) = layer(np.zeros(shape, np.float32))
        assert outputs.shape == shape and h.shape == (shape[0], 16)


def test_rows_of_x_need_not_be_contiguous():
    weights = pruned((30, 32), (16, 16), 0.5)
    packed = sparse.pack(weights, (16, 16), batch_sizes=())
    x = np.random.default_rng(1).standard_normal((30, 8), np.float32)
    np.testing.assert_allclose(
        packed.matmul(x.T[::2]), x.T[::2] @ weights, atol=1e-5
    )


@pytest.mark.parametrize("block", [(1, 1), (4, 4), (8, 8), (16, 16), (12, 2)])
def test_auto_finds_the_blocks(block):
    weights = pruned((128, 160), block, 0.1)
    packed = sparse.pack(weights, batch_sizes=())
    assert packed.form.width == block[1]


@pytest.mark.parametrize("block,index_bytes", [(None, 0.5), ((16, 16), 0.04)])
def test_packed_size_follows_the_sparsity(tmp_path, block, index_bytes):
    weights = pruned((320, 640), block or (1, 1), 0.1)
    packed = sparse.pack(weights, block, batch_sizes=())
    alive = np.count_nonzero(weights) * 4
    assert packed.nbytes < alive * (1 + index_bytes) + 8 * 642
    path = tmp_path / "w.npz"
    packed.save(str(path))
    assert path.stat().st_size < packed.nbytes + 3000


def test_saves_and_loads(tmp_path):
    path = str(tmp_path / "w.npz")
    weights = pruned((30, 50), (4, 4))
    sparse.pack(weights, (4, 4), batch_sizes=()).save(path)
    loaded = sparse.load(path, batch_sizes=())
    np.testing.assert_array_equal(loaded.to_dense(), weights)
    assert os.listdir(tmp_path) == ["w.npz"]


def test_falls_back_to_dense_where_sparse_is_slower(monkeypatch):
    weights = pruned((40, 60), (1, 1), 0.9)

    def slow(runs, inputs, batch_sizes):
        assert inputs == 40
        seconds = {
            ("packed", 1): 1.0,
            ("dense panels", 1): 0.9,
            ("dense", 1): 0.5,
        }
        assert {r for r in runs if r[0] != "mkl"} == set(seconds)
        faster = {**seconds, ("packed", 1): 0.51}
        return {b: seconds if b == 1 else faster for b in batch_sizes}

    monkeypatch.setattr(backends, "measure", slow)
    packed = sparse.pack(weights, None, batch_sizes=(1, 8))
    # At 8 the dense product is faster by less than the margin of noise.
    assert [packed.choice(b).name for b in (1, 2, 7, 8, 100)] == [
        "dense",
        "dense",
        "dense",
        "packed",
        "packed",
    ]
    assert packed.nbytes == packed.form.nbytes + weights.nbytes
    x = np.random.default_rng(1).standard_normal((2, 40), np.float32)
    np.testing.assert_array_equal(packed.matmul(x), x @ weights)
    assert "batch 1: dense x1 (packed x1 1000.000 ms" in packed.report()


@pytest.mark.parametrize("two,threads", [(0.9, 2), (1.2, 1)])
def test_threads_are_used_where_they_pay(monkeypatch, two, threads):
    monkeypatch.setattr(
        backends,
        "measure",
        lambda runs, inputs, batch_sizes: {
            b: {
                **dict.fromkeys(runs, 9.0),
                ("packed", 1): 1.0,
                ("packed", 2): two,
            }
            for b in batch_sizes
        },
    )
    packed = sparse.pack(pruned((20, 20)), batch_sizes=(1,), threads=2)
    choice = packed.choice(1)
    assert (choice.name, choice.threads) == ("packed", threads)
    assert packed.product(1) == (packed.form, threads)
    assert packed.product(1, threads=3) == (packed.form, 3)


def test_measures_for_real():
    packed = sparse.pack(pruned((64, 64), (16, 16)), batch_sizes=(1,))
    choice = packed.choice(1)
    assert {("packed", 1), ("dense", 1)} <= set(choice.seconds)
    assert all(0 < s < 1 for s in choice.seconds.values())
    assert (choice.name, choice.threads) == backends.fastest(
        choice.seconds, ("packed", 1)
    )


def test_refuses_a_product_that_differs(monkeypatch):
    right = panels.Panels.multiply

    def wrong(self, x, threads=1, bias=None):
        return right(self, x, threads, bias) * 1.001

    monkeypatch.setattr(panels.Panels, "multiply", wrong)
    with pytest.raises(
        errors.UserError, match="differs from the dense one by 0.001"
    ):
        sparse.pack(pruned((20, 20)), batch_sizes=())


@pytest.mark.parametrize(
    "weights,block,message",
    [
        (np.full((4, 4), np.nan), None, "nan at row 0, column 0"),
        (np.eye(4), (5, 1), "blocks of 5x1 do not fit a matrix of 4x4"),
        (np.eye(4), (0, 1), "blocks of 0x1 do not fit"),
        (np.eye(4), (1, 2, 3), r"must be \(height, width\)"),
        (np.eye(4), "16x16", r"must be \(height, width\), 'auto' or None"),
    ],
)
def test_cannot_pack(weights, block, message):
    with pytest.raises(errors.UserError, match=message):
        sparse.pack(weights.astype(np.float32), block, batch_sizes=())


def test_wrong_types_and_shapes():
    with pytest.raises(TypeError, match="matrix must be float32, got float64"):
        sparse.pack(np.eye(4))
    with pytest.raises(errors.UserError, match="two axes"):
        sparse.pack(np.ones(4, np.float32))
    packed = sparse.pack(np.eye(4, dtype=np.float32), batch_sizes=())
    with pytest.raises(TypeError, match="x must be float32, got int64"):
        packed.matmul(np.ones((1, 4), np.int64))
    with pytest.raises(errors.UserError, match=r"x must be \[batch, 4\]"):
        packed.matmul(np.ones((1, 5), np.float32))
    with pytest.raises(errors.UserError, match=r"bias must be \[4\]"):
        packed.matmul(np.ones((1, 4), np.float32), bias=np.ones(3))
    with pytest.raises(errors.UserError, match="threads must be positive"):
        packed.matmul(np.ones((1, 4), np.float32), threads=0)
    with pytest.raises(errors.UserError, match="backend must be one of"):
        packed.matmul(np.ones((1, 4), np.float32), backend="mkl")


def test_damaged_files(tmp_path):
    path = str(tmp_path / "w.npz")
    with pytest.raises(
        errors.UserError, match="cannot read packed weights .*w.npz: No such"
    ):
        sparse.load(path)
    np.savez(path, a=np.ones(3))
    with pytest.raises(errors.UserError, match="w.npz is not a packed matrix"):
        sparse.load(path)
    packed = sparse.pack(pruned((30, 50)), None, batch_sizes=())
    packed.save(path)
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(
        errors.UserError, match="cannot read packed weights .*w.npz: File is"
    ):
        sparse.load(path)
    with pytest.raises(errors.UserError, match="cannot write .*No such"):
        packed.save(str(tmp_path / "missing" / "w.npz"))


@pytest.mark.parametrize(
    "name,change",
    [
        ("indices", lambda a: a + np.uint16(30)),
        ("indptr", lambda a: a[::-1].copy()),
        ("indptr", lambda a: a[:-1]),
        ("values", lambda a: a[:-1]),
        ("indptr", lambda a: a[:0]),
        ("shape", lambda a: a - 60),
        ("shape", lambda a: a.astype(str)),
        ("width", lambda a: a + 2),
        ("width", lambda a: np.float64("nan")),
        ("values", lambda a: a * np.float32("inf")),
    ],
)
def test_indices_out_of_bounds_are_refused(name, change):
    arrays = panels.Panels.from_dense(pruned((30, 50)), 1).to_arrays()
    arrays[name] = change(arrays[name])
    with pytest.raises(errors.UserError, match="damaged"):
        panels.Panels.from_arrays(arrays)


@pytest.mark.parametrize("bias", [np.zeros(3, np.float32), np.zeros(48, "S1")])
def test_a_layer_with_another_bias_is_refused(tmp_path, bias):
    path = str(tmp_path / "lstm.npz")
    weights = pruned((12, 48))
    layer = sparse.pack_lstm(weights, weights, np.zeros(48), batch_sizes=())
    layer.biases["bias"] = bias
    layer.save(path)
    with pytest.raises(errors.UserError, match="lstm.npz: .*bias"):
        sparse.PackedLSTM.load(path)


@pytest.mark.parametrize("sparsity", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("block", [(1, 1), (4, 4), (16, 16)])
def test_files_are_smaller_by_the_sparsity(tmp_path, sparsity, block):
    """Also where panels that run faster hold zeros beside the weights."""
    weights = pruned((320, 640), block, 1 - sparsity)
    path = tmp_path / "w.npz"
    sparse.pack(weights, batch_sizes=()).save(str(path))
    left = np.count_nonzero(weights) / weights.size
    assert path.stat().st_size < weights.nbytes * (left + 0.12)


@pytest.mark.parametrize("block", [(16, 16), (4, 4), (1, 1)])
@pytest.mark.parametrize("batch", [1, 5])
def test_lstm_equals_dense(block, batch):
    n, features = 22, 13
    kernel = pruned((features, 4 * n), block, seed=1)
    recurrent = pruned((n, 4 * n), block, seed=2)
    rng = np.random.default_rng(3)
    bias = rng.standard_normal(4 * n, np.float32)
    forget = np.repeat([0, 1, 0, 0], n).astype(np.float32)
    layer = sparse.pack_lstm(
        kernel,
        recurrent,
        bias,
        forget_bias=1.0,
        block_shape="auto",
        batch_sizes=(),
    )
    assert layer.max_difference < 1e-6
    x = rng.standard_normal((batch, 6, features), np.float32) * 3
    h, c = rng.standard_normal((2, batch, n), np.float32)
    outputs, (last_h, last_c) = layer(x, (h, c))
    right = lstm_by_hand(x, h, c, kernel, recurrent, bias + forget)
    for ours, theirs in zip((outputs, last_h, last_c), right):
        np.testing.assert_allclose(ours, theirs, atol=3e-6)
    # The state carries: two halves equal the whole.
    first, state = layer(x[:, :2], (h, c))
    second, _ = layer(x[:, 2:], state)
    np.testing.assert_allclose(
        np.concatenate([first, second], 1), outputs, atol=1e-6
    )


def test_lstm_of_mixed_widths_and_backends():
    n = 10
    kernel, recurrent = pruned((9, 40), (4, 4)), pruned((n, 40), seed=2)
    bias = np.zeros(40, np.float32)
    x = np.random.default_rng(3).standard_normal((3, 5, 9), np.float32)
    zeros = np.zeros((3, n), np.float32)
    right = lstm_by_hand(x, zeros, zeros, kernel, recurrent, bias)[0]
    mixed = sparse.PackedLSTM(
        {
            "kernel": sparse.pack(kernel, (4, 4), batch_sizes=()),
            "recurrent_kernel": sparse.pack(recurrent, None, batch_sizes=()),
        },
        {"bias": bias},
    )
    np.testing.assert_allclose(mixed(x)[0], right, atol=2e-6)
    dense = backends.Dense(recurrent)
    mixed.recurrent_kernel._products["dense"] = dense
    mixed.recurrent_kernel.choices = {1: matrix.Choice("dense", 1, {})}
    np.testing.assert_allclose(mixed(x)[0], right, atol=2e-6)


def test_lstm_on_two_threads():
    weights = pruned((12, 48), (8, 8))
    layer = sparse.pack_lstm(
        weights,
        weights,
        np.zeros(48, np.float32),
        block_shape=(8, 8),
        batch_sizes=(),
    )
    x = np.random.default_rng(3).standard_normal((3, 4, 12), np.float32)
    np.testing.assert_allclose(layer(x, threads=2)[0], layer(x)[0], atol=1e-6)


def test_lstm_saturates_without_overflow():
    layer = sparse.pack_lstm(
        np.full((1, 4), 1e4, np.float32),
        np.zeros((1, 4), np.float32),
        np.zeros(4, np.float32),
        batch_sizes=(),
    )
    x = np.array([1.0, -1.0], np.float32).reshape(1, 2, 1)
    outputs, (_, c) = layer(x)
    np.testing.assert_allclose(outputs[0, :, 0], [np.tanh(1.0), 0.0], atol=1e-6)
    assert abs(c[0, 0]) < 1e-6
    x[0, 1, 0] = np.nan
    assert np.isnan(layer(x)[0][0, 1, 0])


def test_lstm_saves_and_loads(tmp_path):
    path = str(tmp_path / "lstm.npz")
    weights = pruned((12, 48), (4, 4))
    layer = sparse.pack_lstm(
        weights, weights, np.ones(48, np.float32), batch_sizes=()
    )
    layer.save(path)
    loaded = sparse.PackedLSTM.load(path, batch_sizes=())
    x = np.random.default_rng(3).standard_normal((2, 4, 12), np.float32)
    np.testing.assert_array_equal(loaded(x)[0], layer(x)[0])
    with pytest.raises(errors.UserError, match="not a packed matrix"):
        sparse.load(path)
    sparse.pack(weights, batch_sizes=()).save(path)
    with pytest.raises(errors.UserError, match="lstm.npz is not a packed lstm"):
        sparse.PackedLSTM.load(path)


def test_lstm_wrong_shapes():
    square = np.eye(12, 48, dtype=np.float32)
    with pytest.raises(
        errors.UserError, match="kernel of an LSTM with 12 units"
    ):
        sparse.pack_lstm(square[:, :47], square, np.zeros(48), batch_sizes=())
    layer = sparse.pack_lstm(square, square, np.zeros(48), batch_sizes=())
    with pytest.raises(
        errors.UserError, match=r"inputs must be \[batch, time, 12"
    ):
        layer(np.zeros((1, 2, 13), np.float32))
    with pytest.raises(TypeError, match="inputs must be float32"):
        layer(np.zeros((1, 2, 12)))
    with pytest.raises(errors.UserError, match=r"state must be 2 of \[1, 12\]"):
        layer(np.zeros((1, 2, 12), np.float32), np.zeros((2, 1, 11)))


def test_compiled_gates_are_accurate():
    x = np.linspace(-30, 30, 20001, dtype=np.float32)
    zero, high = np.zeros_like(x), np.full_like(x, 40)
    # c = sigmoid(i) * tanh(c~), with one of the two factors saturated.
    for gates, exact in (
        ([x, zero, high, high], sigmoid(x.astype(float))),
        ([high, zero, x, high], np.tanh(x.astype(float))),
    ):
        h, c = np.zeros((2, 1, len(x)), np.float32)
        kernels.lstm_gates(np.concatenate(gates)[np.newaxis], c, h)
        assert np.abs(c[0] - exact).max() < 3e-7


def test_says_that_numba_is_missing():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from iss_rnns import sparse\n"
        "try:\n    sparse.pack\n"
        "except ImportError as error:\n    print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'iss-rnns[sparse]'" in run.stdout


@pytest.mark.skipif(backends.load_mkl() is None, reason="needs MKL")
@pytest.mark.parametrize("batch", [1, 5])
def test_mkl_equals_dense(batch):
    weights = pruned((30, 50))
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, 30), np.float32)
    bias = rng.standard_normal(50, np.float32)
    np.testing.assert_allclose(
        backends.MKL(weights).multiply(x, 1, bias),
        x @ weights + bias,
        atol=1e-5,
    )
