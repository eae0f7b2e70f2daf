"""Dense and sparse products and LSTM layers of other libraries.

Each function returns name -> callable without arguments that runs one library
on data it already holds in its own form, and adds what is not installed to
`missing`.
"""

import importlib
import os
import tempfile
from typing import Callable

import numpy as np

from iss_rnns.sparse import backends

Runs = dict[str, Callable]


def find(name: str, install: str, missing: list[str]):
    """A module, or None and a line in `missing`."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        line = f"{name} (pip install {install})"
        if line not in missing:
            missing.append(line)
        return None


def set_threads(threads: int, missing: list[str]) -> None:
    """As `harness.limit_threads`, of the libraries that only this needs."""
    backends.set_numpy_threads(threads)
    numba = find("numba", "numba", missing)
    if numba is not None:
        numba.set_num_threads(threads)
    library = backends.load_mkl()
    if library is None:
        missing.append("MKL (pip install mkl sparse_dot_mkl)")
    else:
        library.mkl_set_num_threads(threads)


def dense_products(
    weights: np.ndarray, x: np.ndarray, missing: list[str]
) -> Runs:
    """x @ weights: weights `[in, out]`, x `[batch, in]`."""
    runs = {"numpy": lambda: x @ weights}
    tf = find("tensorflow", "tensorflow==2.15.1", missing)
    if tf is not None:
        tf_weights, tf_x = tf.constant(weights), tf.constant(x)
        multiply = tf.function(lambda v: tf.matmul(v, tf_weights))
        runs["tensorflow"] = lambda: multiply(tf_x).numpy()
    torch = find("torch", "torch==2.13.0", missing)
    if torch is not None:
        torch_weights, torch_x = torch.from_numpy(weights), torch.from_numpy(x)
        turned = torch_weights.t().contiguous()
        runs["torch"] = lambda: torch_x @ torch_weights
        runs["torch linear"] = lambda: torch.nn.functional.linear(
            torch_x, turned
        )
    return runs


def sparse_products(
    weights: np.ndarray,
    x: np.ndarray,
    block: tuple[int, int],
    missing: list[str],
) -> Runs:
    """The same on weights with zeros; x is turned beforehand for all."""
    turned = np.ascontiguousarray(x.T)
    runs = {}
    scipy = find("scipy.sparse", "scipy", missing)
    if scipy is None:
        return runs
    rows = scipy.csr_matrix(weights.T)
    blocks = None
    fits = all(n % b == 0 for n, b in zip(weights.shape, block))
    if block != (1, 1):
        padded = np.pad(
            weights, [(0, -n % b) for n, b in zip(weights.shape, block)]
        )
        blocks = scipy.bsr_matrix(padded.T, blocksize=block[::-1])
        long = np.pad(turned, [(0, -len(turned) % block[0]), (0, 0)])
        runs["scipy BSR"] = lambda: blocks @ long
    vector = turned[:, 0] if len(x) == 1 else turned
    runs["scipy CSR"] = lambda: rows @ vector
    library = backends.load_mkl()
    if library is not None:
        runs["MKL CSR"] = lambda: library.dot_product_mkl(rows, vector)
    _add_torch(runs, rows, blocks if fits else None, turned, missing)
    tf = find("tensorflow", "tensorflow==2.15.1", missing)
    if tf is not None:
        coordinates = rows.tocoo()
        tensor = tf.sparse.reorder(
            tf.SparseTensor(
                np.stack([coordinates.row, coordinates.col], 1).astype(
                    np.int64
                ),
                coordinates.data,
                coordinates.shape,
            )
        )
        multiply = tf.function(
            lambda v: tf.sparse.sparse_dense_matmul(tensor, v)
        )
        tf_x = tf.constant(turned)
        runs["tf.sparse"] = lambda: multiply(tf_x).numpy()
    return runs


def _add_torch(runs, rows, blocks, turned, missing):
    torch = find("torch", "torch==2.13.0", missing)
    if torch is None:
        return
    x = torch.from_numpy(turned)

    def tensors(matrix):
        return [
            torch.from_numpy(np.ascontiguousarray(a))
            for a in (matrix.indptr, matrix.indices, matrix.data)
        ]

    csr = torch.sparse_csr_tensor(*tensors(rows), rows.shape)
    runs["torch CSR"] = lambda: csr @ x
    if blocks is not None:
        bsr = torch.sparse_bsr_tensor(*tensors(blocks), blocks.shape)
        runs["torch BSR"] = lambda: bsr @ x


def dense_layers(
    kernel: np.ndarray,
    recurrent: np.ndarray,
    bias: np.ndarray,
    x: np.ndarray,
    missing: list[str],
) -> Runs:
    """An LSTM layer over x `[batch, time, in]`; gates in order i, f, c, o."""
    runs = {}
    tf = find("tensorflow", "tensorflow==2.15.1", missing)
    if tf is not None:
        _add_tensorflow_layers(runs, tf, kernel, recurrent, bias, x)
    torch = find("torch", "torch==2.13.0", missing)
    if torch is not None:
        _add_torch_layer(runs, torch, kernel, recurrent, bias, x)
    onnx = find("onnx", "onnx", missing)
    onnxruntime = find("onnxruntime", "onnxruntime", missing)
    if onnx is not None and onnxruntime is not None:
        _add_onnx_layer(runs, onnx, onnxruntime, kernel, recurrent, bias, x)
    return runs


def _add_tensorflow_layers(runs, tf, kernel, recurrent, bias, x):
    from iss_rnns import cells
    from iss_rnns import recurrent as recurrent_lib

    units = len(recurrent)
    tf_x = tf.constant(x)
    # The default orthogonal matrices would take minutes at these sizes.
    start = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}
    layers = {
        "keras LSTM": tf.keras.layers.LSTM(
            units, return_sequences=True, **start
        ),
        "iss_rnns.Recurrent": recurrent_lib.Recurrent(
            cells.LSTMCell(units, **start)
        ),
    }
    for name, layer in layers.items():
        layer.build(tf_x.shape)
        if not layer.cell.built:
            layer.cell.build(tf_x.shape)
        for variable, value in (
            (layer.cell.kernel, kernel),
            (layer.cell.recurrent_kernel, recurrent),
            (layer.cell.bias, bias),
        ):
            variable.assign(value)
        call = tf.function(
            lambda v, layer=layer: tf.nest.flatten(layer(v, training=False))[0]
        )
        runs[name] = lambda call=call: call(tf_x).numpy()


def _add_torch_layer(runs, torch, kernel, recurrent, bias, x):
    layer = torch.nn.LSTM(len(kernel), len(recurrent), batch_first=True)
    torch_x = torch.from_numpy(x)
    with torch.no_grad():
        for parameter, value in (
            (layer.weight_ih_l0, kernel.T),
            (layer.weight_hh_l0, recurrent.T),
            (layer.bias_ih_l0, bias),
            (layer.bias_hh_l0, 0 * bias),
        ):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))

    def run():
        with torch.no_grad():
            return layer(torch_x)[0]

    runs["torch LSTM"] = run


def _add_onnx_layer(runs, onnx, onnxruntime, kernel, recurrent, bias, x):
    def turn(matrix):
        """`[..., i f c o]` -> `[1, i o f c, ...]`."""
        i, f, c, o = np.split(matrix, 4, axis=-1)
        return np.ascontiguousarray(np.concatenate([i, o, f, c], -1).T)[
            np.newaxis
        ]

    turned_bias = turn(bias)
    tensors = {
        "W": turn(kernel),
        "R": turn(recurrent),
        "B": np.concatenate([turned_bias, 0 * turned_bias], -1),
    }
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node(
                "LSTM", ["x", *tensors], ["y"], hidden_size=len(recurrent)
            )
        ],
        "lstm",
        [helper.make_tensor_value_info("x", kind, [None, None, len(kernel)])],
        [helper.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(v, k) for k, v in tensors.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)]
    )
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "lstm.onnx")
        onnx.save(model, path)
        session = onnxruntime.InferenceSession(path, options)
    time_major = np.ascontiguousarray(x.swapaxes(0, 1))
    runs["ONNX Runtime"] = lambda: session.run(None, {"x": time_major})[0][
        :, 0
    ].swapaxes(0, 1)
