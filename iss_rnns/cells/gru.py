"""The GRU cell."""

from collections.abc import Sequence

import tensorflow as tf

from iss_rnns.cells import common
from iss_rnns.cells.common import Tensors
from iss_rnns.ops import products


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class GRUCell(common.KernelCell):
    """GRU cell of Keras' kind, with the reset gate behind the product.

        z, r, c~ = x @ kernel + bias[0]
        z', r', c' = h @ recurrent_kernel + bias[1]
        h' = (1 - Z) * tanh(c~ + R * c') + Z * h,
        Z = sigmoid(z + z'),  R = sigmoid(r + r')

    (Cho et al. 2014 as in Deep Speech 2 and cuDNN: `reset_after=True`.) Gate
    order z, r, c: weights load into a stock `tf.keras.layers.GRU`.

    Weights: `kernel [inputs, 3 n]`, `recurrent_kernel [n, 3 n]`,
    `bias [2, 3 n]`. Inputs `[batch, inputs]`, states `[h]`, `[batch, n]`.

    Unit k of the layer reads through columns k of the three gates and is read
    through row k of `recurrent_kernel` and of every consumer's matrix.

    Args:
      units: n, the number of hidden units.
      kernel_initializer: of both kernels.
      recurrent_initializer: of `recurrent_kernel`; defaults to
        `kernel_initializer`.
      bias_initializer: of `bias`.

    Raises:
      UserError: if `units` is not a positive integer.
    """

    gates = 3
    candidate = 2

    def __init__(
        self,
        units: int,
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

    @property
    def bias_shape(self) -> Sequence[int]:
        """See base class."""
        return (2, 3 * self.units)

    def effective_bias(self) -> tf.Tensor:
        """The input's bias, and the recurrent one where it only adds up."""
        gates = 2 * self.units
        return tf.concat(
            [self.bias[0, :gates] + self.bias[1, :gates], self.bias[0, gates:]],
            0,
        )

    def scan_weights(self) -> Tensors:
        """The recurrent matrix, and the bias that the reset gate scales."""
        return [
            *super().scan_weights(),
            tf.cast(self.bias[1, 2 * self.units :], self.compute_dtype),
        ]

    @staticmethod
    def scan_step(
        z: tf.Tensor, states: Tensors, weights: Tensors
    ) -> tuple[tf.Tensor, Tensors, Tensors]:
        """See `LSTMCell.scan_step`."""
        (h,) = states
        n = h.shape[-1]
        product = products.product(h, weights[0])
        gates = tf.sigmoid(z[:, : 2 * n] + product[:, : 2 * n])
        update, reset = gates[:, :n], gates[:, n:]
        inner = tf.nn.bias_add(product[:, 2 * n :], weights[1])
        candidate = tf.tanh(z[:, 2 * n :] + reset * inner)
        new_h = candidate + update * (h - candidate)
        return new_h, [new_h], [gates, candidate, inner, h]

    @staticmethod
    def scan_backprop(
        doutput: tf.Tensor, dstates: Tensors, saved: Tensors, weights: Tensors
    ) -> tuple[Tensors, Tensors]:
        """See `LSTMCell.scan_backprop`."""
        gates, candidate, inner, h = saved
        n = h.shape[-1]
        update, reset = gates[:, :n], gates[:, n:]
        dh = doutput + dstates[0]
        dcandidate = dh * (1.0 - update) * (1.0 - candidate * candidate)
        dz = tf.concat(
            [
                tf.concat([dh * (h - candidate), dcandidate * inner], 1)
                * gates
                * (1.0 - gates),
                dcandidate,
            ],
            1,
        )
        dproduct = tf.concat([dz[:, : 2 * n], dcandidate * reset], 1)
        dh_old = products.product(dproduct, weights[0])
        return [dz], [dh * update + dh_old]

    @staticmethod
    def scan_weight_gradients(
        dzs: Tensors, saved: Tensors, weights: Tensors
    ) -> Tensors:
        """See `LSTMCell.scan_weight_gradients`."""
        gates, _, _, h = saved
        n = h.shape[-1]
        dinner = dzs[0][..., 2 * n :] * gates[..., n:]
        dproduct = tf.concat([dzs[0][..., : 2 * n], dinner], -1)
        return [
            common.flat_matmul(h, dproduct, weights[0].dtype),
            tf.reduce_sum(dinner, [0, 1]),
        ]
