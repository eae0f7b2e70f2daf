"""Recurrent cells: their maths, and which weights belong to unit k.

A cell is a Keras cell (`tf.keras.layers.RNN` runs it) and also states its
maths in the pieces that `recurrent.Recurrent` runs fast:

- `hoist(inputs)`: what can be computed for all time steps at once,
- `scan_weights()`: the tensors that the time loop reads,
- `scan_step(z, states, weights)`: one step, and what its gradient needs,
- `scan_backprop(doutput, dstates, saved, weights)`: one step back,
- `scan_weight_gradients(dzs, saved)`: the products left after the loop.
"""

from typing import List, Sequence, Tuple

import tensorflow as tf

from iss_rnns import groups

Tensors = List[tf.Tensor]


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class LSTMCell(tf.keras.layers.Layer):
    """LSTM cell with TensorFlow 1's `BasicLSTMCell` semantics.

        i, f, c~, o = x @ kernel + h @ recurrent_kernel + bias
        c' = sigmoid(f + forget_bias) * c + sigmoid(i) * tanh(c~)
        h' = sigmoid(o) * tanh(c')

    (ISS paper, eq. 1.) Gate order i, f, c, o, as in Keras.

    Weights: `kernel [inputs, 4 n]`, `recurrent_kernel [n, 4 n]`,
    `bias [4 n]`. Inputs `[batch, inputs]`, states `[h, c]`, each `[batch, n]`.

    Unit k of the layer reads through columns k of the four gates and is read
    through row k of `recurrent_kernel` and of every consumer's matrix.

    Args:
      units: n, the number of hidden units.
      forget_bias: constant added to the forget gate, not a weight. 0 in the
        authors' language model, 1 in their BiDAF.
      kernel_initializer: of both kernels.
      recurrent_initializer: of `recurrent_kernel`; defaults to
        `kernel_initializer`, as TensorFlow 1 has one matrix.
      bias_initializer: of `bias`.

    Raises:
      ValueError: if `units` is not a positive integer.
    """

    gates = 4
    hoisted_parts = 1  # tensors that `scan_backprop` hands on per step

    def __init__(self, units: int, forget_bias: float = 0.,
                 kernel_initializer="glorot_uniform",
                 recurrent_initializer=None, bias_initializer="zeros",
                 **kwargs):
        super().__init__(**kwargs)
        _check_units(units)
        self.units = units
        self.forget_bias = forget_bias
        self.kernel_initializer = tf.keras.initializers.get(
            kernel_initializer)
        self.recurrent_initializer = tf.keras.initializers.get(
            kernel_initializer if recurrent_initializer is None
            else recurrent_initializer)
        self.bias_initializer = tf.keras.initializers.get(bias_initializer)
        self.state_size = [units, units]
        self.output_size = units

    def build(self, input_shape):
        width = self.gates * self.units
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], width),
            initializer=self.kernel_initializer)
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(self.units, width),
            initializer=self.recurrent_initializer)
        self.bias = self.add_weight(
            name="bias", shape=(width,), initializer=self.bias_initializer)
        super().build(input_shape)

    def call(self, inputs, states, training=None):
        output, states, _ = self.scan_step(
            self.hoist(inputs), list(states), self.scan_weights())
        return output, states

    def effective_bias(self) -> tf.Tensor:
        """`bias` with `forget_bias` folded in: what a stock LSTM adds."""
        if not self.forget_bias:
            return tf.convert_to_tensor(self.bias)
        i, f, c, o = tf.split(self.bias, 4)
        return tf.concat([i, f + self.forget_bias, c, o], axis=0)

    def hoist(self, inputs: tf.Tensor) -> tf.Tensor:
        """`[..., inputs]` -> `[..., 4 n]`, for any number of steps at once."""
        kernel = tf.cast(self.kernel, self.compute_dtype)
        bias = tf.cast(self.effective_bias(), self.compute_dtype)
        return tf.nn.bias_add(_last_axis_matmul(inputs, kernel), bias)

    def scan_weights(self) -> Tensors:
        """Tensors that a time step reads."""
        return [tf.cast(self.recurrent_kernel, self.compute_dtype)]

    @staticmethod
    def scan_step(z: tf.Tensor, states: Tensors, weights: Tensors
                  ) -> Tuple[tf.Tensor, Tensors, Tensors]:
        """One step from the hoisted product; see the module's docstring.

        Returns:
          (h', [h', c'], saved): saved is what `scan_backprop` needs.
        """
        h, c = states
        z = z + tf.matmul(h, weights[0])
        n = h.shape[-1]
        gates_if = tf.sigmoid(z[:, :2 * n])
        candidate = tf.tanh(z[:, 2 * n:3 * n])
        output_gate = tf.sigmoid(z[:, 3 * n:])
        i, f = gates_if[:, :n], gates_if[:, n:]
        new_c = f * c + i * candidate
        tanh_c = tf.tanh(new_c)
        new_h = output_gate * tanh_c
        saved = [gates_if, candidate, output_gate, tanh_c, c, h]
        return new_h, [new_h, new_c], saved

    @staticmethod
    def scan_backprop(doutput: tf.Tensor, dstates: Tensors, saved: Tensors,
                      weights: Tensors) -> Tuple[Tensors, Tensors]:
        """Gradient of one step.

        Args:
          doutput: `[batch, n]`, of the step's output.
          dstates: of the step's new states.
          saved: of `scan_step`.
          weights: of `scan_weights`.

        Returns:
          (dzs, gradients of the step's old states): `hoisted_parts` tensors
          of z's shape, the first of them the gradient of z.
        """
        gates_if, candidate, output_gate, tanh_c, c, _ = saved
        n = c.shape[-1]
        i, f = gates_if[:, :n], gates_if[:, n:]
        dh = doutput + dstates[0]
        do = dh * tanh_c
        dc = dstates[1] + dh * output_gate * (1. - tanh_c * tanh_c)
        dz = tf.concat([
            tf.concat([dc * candidate, dc * c], 1) * gates_if
            * (1. - gates_if),
            dc * i * (1. - candidate * candidate),
            do * output_gate * (1. - output_gate)], 1)
        dh_old = tf.matmul(dz, weights[0], transpose_b=True)
        return [dz], [dh_old, dc * f]

    @staticmethod
    def scan_weight_gradients(dzs: Tensors, saved: Tensors) -> Tensors:
        """Gradients of `scan_weights`, one product over all time steps.

        Args:
          dzs: of `scan_backprop`, each stacked to `[time, batch, 4 n]`.
          saved: of `scan_step`, each stacked to `[time, batch, ...]`.
        """
        return [_flat_matmul(saved[-1], dzs[0])]

    def unit_slices(self) -> List[groups.Slice]:
        """The cell's own weights of its units: gate columns, state row."""
        return (groups.blocks(self.kernel, 1, self.gates)
                + groups.blocks(self.recurrent_kernel, 1, self.gates)
                + [groups.whole(self.recurrent_kernel, 0)])

    def unit_companions(self) -> List[groups.Slice]:
        """What is cut with a unit without counting: its biases."""
        return groups.blocks(self.bias, 0, self.gates)

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """Zeros `[h, c]`, each `[batch, n]`."""
        if inputs is not None:
            batch_size, dtype = tf.shape(inputs)[0], inputs.dtype
        return [tf.zeros([batch_size, n], dtype) for n in self.state_size]

    def get_config(self):
        serialize = tf.keras.initializers.serialize
        return {
            **super().get_config(),
            "units": self.units,
            "forget_bias": self.forget_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "recurrent_initializer": serialize(self.recurrent_initializer),
            "bias_initializer": serialize(self.bias_initializer),
        }


def iss_group(name: str, cell, consumers: Sequence[groups.Slice] = (),
              multiplier: float = 1.0) -> groups.Group:
    """Intrinsic Sparse Structures of a layer (ISS paper, section 3.1).

    Args:
      name: of the layer.
      cell: built cell with `unit_slices` and `unit_companions`.
      consumers: rows of the matrices that read the layer's output.
      multiplier: of the penalty, outside the root.

    Returns:
      A `Group` of `cell.units` components.
    """
    return groups.Group(name, cell.unit_slices() + list(consumers),
                        cell.unit_companions(), multiplier)


def _check_units(units) -> None:
    if not isinstance(units, int) or units < 1:
        raise ValueError("Received an invalid value for argument `units`, "
                         f"expected a positive integer, got {units}.")


def _last_axis_matmul(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    if x.shape.rank == 2:
        return tf.matmul(x, matrix)
    flat = tf.matmul(tf.reshape(x, [-1, matrix.shape[0]]), matrix)
    shape = tf.concat([tf.shape(x)[:-1], tf.shape(matrix)[1:]], 0)
    result = tf.reshape(flat, shape)
    result.set_shape(x.shape[:-1] + matrix.shape[1:])
    return result


def _flat_matmul(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """`sum over time and batch of a^T b`, as one product."""
    return tf.matmul(tf.reshape(a, [-1, a.shape[-1]]),
                     tf.reshape(b, [-1, b.shape[-1]]), transpose_a=True)
