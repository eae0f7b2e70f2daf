"""A whole LSTM layer on packed matrices, all time steps compiled."""

from typing import Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from iss_rnns import errors
from iss_rnns.sparse import kernels, matrix, panels

State = Tuple[np.ndarray, np.ndarray]


class PackedLSTM:
    """An LSTM layer, for inference.

        i, f, c~, o = x @ kernel + h @ recurrent_kernel + bias
        c = sigmoid(f) * c + sigmoid(i) * tanh(c~)
        h = sigmoid(o) * tanh(c)

    Weights as in Keras. sigmoid and tanh are within 3e-7 of exact.

    Attributes:
      kernel: `[in, 4 n]`, gates in order i, f, c, o.
      recurrent_kernel: `[n, 4 n]`.
      bias: `[4 n]`.
      units: n.
      max_difference: see `pack_lstm`; None for a loaded one.
    """

    def __init__(self, kernel: matrix.PackedMatrix,
                 recurrent_kernel: matrix.PackedMatrix, bias: np.ndarray):
        units = recurrent_kernel.shape[0]
        for name, shape, right in (
                ("recurrent_kernel", recurrent_kernel.shape,
                 (units, 4 * units)),
                ("kernel", kernel.shape, (kernel.shape[0], 4 * units)),
                ("bias", np.shape(bias), (4 * units,))):
            if shape != right:
                raise ValueError(f"{name} of an LSTM with {units} units must "
                                 f"be {list(right)}, got {list(shape)}.")
        self.kernel = kernel
        self.recurrent_kernel = recurrent_kernel
        self.bias = np.asarray(bias, np.float32)
        self.units = units
        self.max_difference: Optional[float] = None

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return (self.kernel.nbytes + self.recurrent_kernel.nbytes
                + self.bias.nbytes)

    def __call__(self, inputs: np.ndarray, state: Optional[State] = None,
                 threads: Optional[int] = None
                 ) -> Tuple[np.ndarray, State]:
        """Runs the layer over a sequence.

        Args:
          inputs: `[batch, time, in]` float32.
          state: (h, c), each `[batch, n]`; zeros if None.
          threads: CPU threads. Defaults to what the matrices chose.

        Returns:
          (outputs `[batch, time, n]`, (h, c)), float32.
        """
        inputs = np.asarray(inputs)
        if inputs.dtype != np.float32:
            raise TypeError(f"inputs must be float32, got {inputs.dtype}.")
        if inputs.ndim != 3 or inputs.shape[2] != self.kernel.shape[0]:
            raise ValueError(f"inputs must be [batch, time, "
                             f"{self.kernel.shape[0]}], got "
                             f"{list(inputs.shape)}.")
        batch = len(inputs)
        if state is None:
            state = np.zeros((2, batch, self.units), np.float32)
        h, c = (np.array(s, np.float32) for s in state)
        if h.shape != (batch, self.units) or c.shape != h.shape:
            raise ValueError(f"state must be two arrays [{batch}, "
                             f"{self.units}], got {list(h.shape)} and "
                             f"{list(c.shape)}.")
        inputs = np.ascontiguousarray(inputs.swapaxes(0, 1))
        form, _ = self.recurrent_kernel.product(batch, threads)
        run = (self._run_panels if isinstance(form, panels.Panels)
               else self._run_steps)
        outputs, h, c = run(inputs, h, c, threads)
        return np.ascontiguousarray(outputs.swapaxes(0, 1)), (h, c)

    def _input_gates(self, inputs, threads):
        time, batch, features = inputs.shape
        flat = inputs.reshape(time * batch, features)
        gates = self.kernel.matmul(flat, threads, self.bias)
        return gates.reshape(time, batch, 4 * self.units)

    def _run_panels(self, inputs, h, c, threads):
        batch = len(h)
        form, count = self.recurrent_kernel.product(batch, threads)
        lanes, tiles = kernels.layout(form.width, batch)
        z = self._gates_in_lanes(inputs, form, lanes, tiles, threads)
        h, c = (panels.to_lanes(a, lanes, tiles) for a in (h, c))
        outputs = np.empty((len(z), *h.shape), np.float32)
        kernels.lstm(form.width, lanes, count > 1)(
            z, *form.operands(count, lanes), h, c, outputs)
        return (panels.from_lanes(a, lanes, batch) for a in (outputs, h, c))

    def _gates_in_lanes(self, inputs, form, lanes, tiles, threads):
        """The input's part of the gates, laid out for the loop over time."""
        time, batch, _ = inputs.shape
        input_form, count = self.kernel.product(time * batch, threads)
        # In narrow panels, one batch row alone has no lanes; all its steps
        # together do.
        if getattr(input_form, "width", None) == form.width and (
                lanes > 1 or form.width >= 8):
            x = panels.to_lanes(inputs, lanes, tiles)
            z = input_form.multiply_tiles(
                x.reshape(time * tiles, x.shape[2]), lanes, count, self.bias)
            return z.reshape(time, tiles, z.shape[1])
        gates = self._input_gates(inputs, threads)
        padding = form.padded_out - gates.shape[2]
        if padding:
            gates = np.pad(gates, [(0, 0), (0, 0), (0, padding)])
        return panels.to_lanes(gates, lanes, tiles)

    def _run_steps(self, inputs, h, c, threads):
        gates = self._input_gates(inputs, threads)
        outputs = np.empty((len(gates), *h.shape), np.float32)
        for z, output in zip(gates, outputs):
            z += self.recurrent_kernel.matmul(h, threads)
            kernels.lstm_gates(z, c, h)
            output[:] = h
        return outputs, h, c

    def report(self) -> str:
        """See `PackedMatrix.report`, of both matrices."""
        return (f"kernel {self.kernel.report()}\n"
                f"recurrent kernel {self.recurrent_kernel.report()}")

    def save(self, path: str) -> None:
        """Writes the layer to one `.npz` file, atomically."""
        arrays = {"bias": self.bias}
        for name in ("kernel", "recurrent_kernel"):
            form = getattr(self, name).form
            arrays.update({f"{name}.{key}": value
                           for key, value in form.to_arrays().items()})
        matrix.write_arrays(path, "lstm", arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PackedLSTM":
        """Out of the arrays of a file; nothing is measured yet.

        Raises:
          UserError: see `panels.Panels.from_arrays`.
          ValueError: the arrays do not fit each other.
        """
        parts = [matrix.PackedMatrix.from_arrays(
            {key.partition(".")[2]: value for key, value in arrays.items()
             if key.startswith(f"{name}.")})
                 for name in ("kernel", "recurrent_kernel")]
        bias = arrays.get("bias", np.zeros(0, np.float32))
        if bias.dtype != np.float32:
            raise ValueError(f"the bias must be float32, got {bias.dtype}.")
        return cls(*parts, bias)

    @classmethod
    def load(cls, path: str, batch_sizes: Sequence[int] = (1, 4, 16, 64),
             threads: int = 1) -> "PackedLSTM":
        """Reads `save`; see `iss_rnns.sparse.load`."""
        layer = matrix.read(path, {"lstm": cls.from_arrays})
        if len(batch_sizes):
            layer.kernel.tune(batch_sizes, threads)
            layer.recurrent_kernel.tune(batch_sizes, threads)
        return layer


def pack_lstm(kernel: np.ndarray, recurrent_kernel: np.ndarray,
              bias: np.ndarray, forget_bias: float = 0.,
              block_shape: Union[panels.BlockShape, str, None] = "auto",
              batch_sizes: Sequence[int] = (1, 4, 16, 64), threads: int = 1,
              tolerance: float = 1e-5) -> PackedLSTM:
    """Packs the weights of a trained LSTM layer, and proves it equal.

    Args:
      kernel: `[in, 4 n]` float32, gates in order i, f, c, o.
      recurrent_kernel: `[n, 4 n]` float32.
      bias: `[4 n]` float32.
      forget_bias: added to the forget gate, as in `cells.LSTMCell`.
      block_shape: see `pack`.
      batch_sizes: see `pack`.
      threads: see `pack`.
      tolerance: of the products as in `pack`, and of the layer's outputs over
        a few steps against a dense layer in float64 (`max_difference`).

    Raises:
      TypeError: a matrix is not float32.
      UserError: see `pack`.
    """
    bias = np.array(bias, np.float32)
    units = len(recurrent_kernel)
    bias[units:2 * units] += forget_bias
    kernel, recurrent_kernel = np.asarray(kernel), np.asarray(recurrent_kernel)
    layer = PackedLSTM(
        *(matrix.pack(m, block_shape, batch_sizes, threads, tolerance)
          for m in (kernel, recurrent_kernel)), bias)
    rng = np.random.default_rng(2)
    inputs = rng.standard_normal((2, 3, len(kernel)), np.float32)
    expected = _dense_lstm(inputs, kernel, recurrent_kernel, bias)
    layer.max_difference = float(np.abs(layer(inputs)[0] - expected).max())
    if not layer.max_difference <= tolerance:
        raise errors.UserError(
            f"the packed LSTM layer differs from the dense one by "
            f"{layer.max_difference:.2g}; allowed are {tolerance:.2g}")
    return layer


def _dense_lstm(inputs, kernel, recurrent_kernel, bias):
    """Outputs of the dense layer in float64."""
    h = c = np.zeros((len(inputs), len(recurrent_kernel)))
    outputs = []
    for x in inputs.astype(np.float64).swapaxes(0, 1):
        z = x @ kernel + h @ recurrent_kernel + bias
        i, f, candidate, o = np.split(z, 4, axis=1)
        i, f, o = (.5 + .5 * np.tanh(gate / 2) for gate in (i, f, o))
        c = f * c + i * np.tanh(candidate)
        h = o * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)
