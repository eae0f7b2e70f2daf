"""The plain recurrent cell."""

import tensorflow as tf

from iss_rnns import arguments
from iss_rnns.cells import common
from iss_rnns.cells.common import Tensors
from iss_rnns.ops import products

ACTIVATIONS = ("tanh", "relu")


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class SimpleRNNCell(common.KernelCell):
    """The plain recurrent cell (Elman 1990), as in Keras.

        h' = activation(x @ kernel + h @ recurrent_kernel + bias)

    Weights: `kernel [inputs, n]`, `recurrent_kernel [n, n]`, `bias [n]`.
    Inputs `[batch, inputs]`, states `[h]`, `[batch, n]`.

    Unit k of the layer reads through column k of both matrices and is read
    through row k of `recurrent_kernel` and of every consumer's matrix.

    Args:
      units: n, the number of hidden units.
      activation: 'tanh' or 'relu'.
      kernel_initializer: of both kernels.
      recurrent_initializer: of `recurrent_kernel`; defaults to
        `kernel_initializer`.
      bias_initializer: of `bias`.

    Raises:
      UserError: if `units` is not a positive integer or the activation is
        another one.
    """

    gates = 1
    candidate = 0

    def __init__(
        self,
        units: int,
        activation: str = "tanh",
        kernel_initializer="glorot_uniform",
        recurrent_initializer=None,
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(
            units,
            1,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **kwargs,
        )
        self.activation = arguments.one_of(
            "activation", activation, ACTIVATIONS
        )

    def scan_step(
        self, z: tf.Tensor, states: Tensors, weights: Tensors
    ) -> tuple[tf.Tensor, Tensors, Tensors]:
        """See `LSTMCell.scan_step`."""
        (h,) = states
        function = tf.tanh if self.activation == "tanh" else tf.nn.relu
        new_h = function(z + products.product(h, weights[0]))
        return new_h, [new_h], [new_h, h]

    def scan_backprop(
        self,
        doutput: tf.Tensor,
        dstates: Tensors,
        saved: Tensors,
        weights: Tensors,
    ) -> tuple[Tensors, Tensors]:
        """See `LSTMCell.scan_backprop`."""
        new_h, _ = saved
        slope = (
            1.0 - new_h * new_h
            if self.activation == "tanh"
            else tf.cast(new_h > 0.0, new_h.dtype)
        )
        dz = (doutput + dstates[0]) * slope
        return [dz], [products.product(dz, weights[0])]

    @staticmethod
    def scan_weight_gradients(
        dzs: Tensors, saved: Tensors, weights: Tensors
    ) -> Tensors:
        """See `LSTMCell.scan_weight_gradients`."""
        return [common.flat_matmul(saved[-1], dzs[0], weights[0].dtype)]

    def get_config(self):
        return {**super().get_config(), "activation": self.activation}
