"""A whole LSTM layer on packed matrices, all time steps compiled."""

from collections.abc import Sequence
from typing import Union

import numpy as np

from iss_rnns.sparse import kernels
from iss_rnns.sparse import layers
from iss_rnns.sparse import matrix
from iss_rnns.sparse import panels


class PackedLSTM(layers.PackedLayer):
    """An LSTM layer, for inference; its state is (h, c).

        i, f, c~, o = x @ kernel + h @ recurrent_kernel + bias
        c = sigmoid(f) * c + sigmoid(i) * tanh(c~)
        h = sigmoid(o) * tanh(c)

    Matrices `kernel [in, 4 n]` and `recurrent_kernel [n, 4 n]` as in Keras,
    gates in order i, f, c, o; bias `bias [4 n]`. sigmoid and tanh are within
    3e-7 of exact.
    """

    kind, title = "lstm", "an LSTM"
    num_states = 2

    def shapes(self):
        """See base class."""
        n = self.units
        return {
            "recurrent_kernel": (n, 4 * n),
            "kernel": (self.inputs, 4 * n),
            "bias": (4 * n,),
        }

    @property
    def kernel(self) -> matrix.PackedMatrix:
        """Of the input."""
        return self.matrices["kernel"]

    @property
    def recurrent_kernel(self) -> matrix.PackedMatrix:
        """Of the state."""
        return self.matrices["recurrent_kernel"]

    def step(self, z, state, multiply):
        """See base class."""
        h, c = state
        z = z + multiply("recurrent_kernel", h)
        i, f, candidate, o = np.split(z, 4, axis=1)
        c = layers.sigmoid(f) * c + layers.sigmoid(i) * np.tanh(candidate)
        return layers.sigmoid(o) * np.tanh(c), c

    def run(self, inputs, state, threads):
        """See base class."""
        form, _ = self.recurrent_kernel.product(inputs.shape[1], threads)
        run = (
            self._run_panels
            if isinstance(form, panels.Panels)
            else self._run_steps
        )
        h, c = state
        outputs, h, c = run(inputs, h, c, threads)
        return outputs, (h, c)

    def _input_gates(self, inputs, threads):
        time, batch, features = inputs.shape
        flat = inputs.reshape(time * batch, features)
        gates = self.kernel.matmul(flat, threads, self.biases["bias"])
        return gates.reshape(time, batch, 4 * self.units)

    def _run_panels(self, inputs, h, c, threads):
        batch = len(h)
        form, count = self.recurrent_kernel.product(batch, threads)
        lanes, tiles = kernels.layout(form.width, batch)
        z = self._gates_in_lanes(inputs, form, lanes, tiles, threads)
        h, c = (panels.to_lanes(a, lanes, tiles) for a in (h, c))
        outputs = np.empty((len(z), *h.shape), np.float32)
        kernels.lstm(form.width, lanes, count > 1)(
            z, *form.operands(count, lanes), h, c, outputs
        )
        return (panels.from_lanes(a, lanes, batch) for a in (outputs, h, c))

    def _gates_in_lanes(self, inputs, form, lanes, tiles, threads):
        """The input's part of the gates, laid out for the loop over time."""
        time, batch, _ = inputs.shape
        input_form, count = self.kernel.product(time * batch, threads)
        # In narrow panels, one batch row alone has no lanes; all its steps
        # together do.
        if getattr(input_form, "width", None) == form.width and (
            lanes > 1 or form.width >= 8
        ):
            x = panels.to_lanes(inputs, lanes, tiles)
            z = input_form.multiply_tiles(
                x.reshape(time * tiles, x.shape[2]),
                lanes,
                count,
                self.biases["bias"],
            )
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


def pack_lstm(
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray,
    forget_bias: float = 0.0,
    block_shape: Union[panels.BlockShape, str, None] = "auto",
    batch_sizes: Sequence[int] = (1, 4, 16, 64),
    threads: int = 1,
    tolerance: float = 1e-5,
) -> PackedLSTM:
    """Packs the weights of a trained LSTM layer, and proves it equal.

    Args:
      kernel: `[in, 4 n]` float32, gates in order i, f, c, o.
      recurrent_kernel: `[n, 4 n]` float32.
      bias: `[4 n]` float32.
      forget_bias: added to the forget gate, as in `cells.LSTMCell`.
      block_shape: see `pack`.
      batch_sizes: see `pack`.
      threads: see `pack`.
      tolerance: see `pack_layer`.

    Raises:
      TypeError: a matrix is not float32.
      UserError: see `pack`.
    """
    bias = np.array(bias, np.float32)
    units = len(recurrent_kernel)
    bias[units : 2 * units] += forget_bias
    return layers.pack_layer(
        PackedLSTM,
        {"kernel": kernel, "recurrent_kernel": recurrent_kernel},
        {"bias": bias},
        block_shape,
        batch_sizes,
        threads,
        tolerance,
    )
