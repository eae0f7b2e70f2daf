"""The LSTM cell."""

import tensorflow as tf

from iss_rnns import arguments
from iss_rnns.cells import common
from iss_rnns.cells.common import Tensors
from iss_rnns.ops import products


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class LSTMCell(common.KernelCell):
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
      UserError: if `units` is not a positive integer.
    """

    gates = 4
    candidate = 2

    def __init__(
        self,
        units: int,
        forget_bias: float = 0.0,
        kernel_initializer="glorot_uniform",
        recurrent_initializer=None,
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(
            units,
            2,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **kwargs,
        )
        self.forget_bias = arguments.number("forget_bias", forget_bias)

    def effective_bias(self) -> tf.Tensor:
        """`bias` with `forget_bias` folded in: what a stock LSTM adds."""
        if not self.forget_bias:
            return tf.convert_to_tensor(self.bias)
        i, f, c, o = tf.split(self.bias, 4)
        return tf.concat([i, f + self.forget_bias, c, o], axis=0)

    @staticmethod
    def scan_step(
        z: tf.Tensor, states: Tensors, weights: Tensors
    ) -> tuple[tf.Tensor, Tensors, Tensors]:
        """One step from the hoisted product; see `iss_rnns.cells`.

        Returns:
          (h', [h', c'], saved): saved is what `scan_backprop` needs.
        """
        h, c = states
        z = z + products.product(h, weights[0])
        n = h.shape[-1]
        gates_if = tf.sigmoid(z[:, : 2 * n])
        candidate = tf.tanh(z[:, 2 * n : 3 * n])
        output_gate = tf.sigmoid(z[:, 3 * n :])
        i, f = gates_if[:, :n], gates_if[:, n:]
        new_c = f * c + i * candidate
        tanh_c = tf.tanh(new_c)
        new_h = output_gate * tanh_c
        saved = [gates_if, candidate, output_gate, tanh_c, c, h]
        return new_h, [new_h, new_c], saved

    @staticmethod
    def scan_backprop(
        doutput: tf.Tensor, dstates: Tensors, saved: Tensors, weights: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Gradient of one step.

        Args:
          doutput: `[batch, n]`, of the step's output.
          dstates: of the step's new states.
          saved: of `scan_step`.
          weights: of `backprop_weights`.

        Returns:
          (dzs, gradients of the step's old states): `hoisted_parts` tensors
          of z's shape, the first of them the gradient of z.
        """
        gates_if, candidate, output_gate, tanh_c, c, _ = saved
        n = c.shape[-1]
        i, f = gates_if[:, :n], gates_if[:, n:]
        dh = doutput + dstates[0]
        do = dh * tanh_c
        dc = dstates[1] + dh * output_gate * (1.0 - tanh_c * tanh_c)
        dz = tf.concat(
            [
                tf.concat([dc * candidate, dc * c], 1)
                * gates_if
                * (1.0 - gates_if),
                dc * i * (1.0 - candidate * candidate),
                do * output_gate * (1.0 - output_gate),
            ],
            1,
        )
        dh_old = products.product(dz, weights[0])
        return [dz], [dh_old, dc * f]

    @staticmethod
    def scan_weight_gradients(
        dzs: Tensors, saved: Tensors, weights: Tensors
    ) -> Tensors:
        """Gradients of `scan_weights`, one product over all time steps.

        Args:
          dzs: of `scan_backprop`, each stacked to `[time, batch, 4 n]`.
          saved: of `scan_step`, each stacked to `[time, batch, ...]`.
          weights: of `scan_weights`.
        """
        return [common.flat_matmul(saved[-1], dzs[0], weights[0].dtype)]

    def get_config(self):
        return {**super().get_config(), "forget_bias": self.forget_bias}
