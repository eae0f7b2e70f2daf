"""The recurrent highway cell."""

import itertools
from typing import Optional

import tensorflow as tf

from iss_rnns import arguments
from iss_rnns import groups
from iss_rnns.cells import common
from iss_rnns.cells.common import Tensors
from iss_rnns.ops import products


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class RHNCell(tf.keras.layers.Layer):
    """Recurrent highway cell with coupled gates (Zilly et al. 2016, eq. 7-9).

    `depth` micro-steps d on the state s, the input x in the first one only:

        h = tanh(s m_s @ recurrent_h_d + bias_h_d [+ x m_x @ kernel_h])
        t = sigmoid(s m_s @ recurrent_t_d + bias_t_d [+ x m_x @ kernel_t])
        s <- (h - s) * t + s

    Variational noise: the masks m_x `[batch, inputs]` and m_s `[batch, n]`
    are the same in all time steps and micro-steps. They come as Keras
    `constants=(m_x, m_s)`, either of them None for no mask, and get no
    gradient.

    Weights: `kernel_h`, `kernel_t` `[inputs, n]`; for each d `recurrent_h_d`,
    `recurrent_t_d` `[n, n]` and `bias_h_d`, `bias_t_d` `[n]`. States `[s]`.

    Unit k is written by column k of every matrix and read by row k of every
    recurrent matrix and of every consumer's.

    Args:
      units: n, the number of hidden units.
      depth: number of micro-steps.
      forget_bias: initial value of every `bias_t_d`; negative ones carry the
        state on. The authors' init_bias: -2 for words, -4 for characters.
      kernel_initializer: of all matrices, drawn anew for each.
      bias_initializer: of every `bias_h_d`.

    Raises:
      UserError: if `units` or `depth` is not a positive integer.
    """

    def __init__(
        self,
        units: int,
        depth: int = 1,
        forget_bias: float = 0.0,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = arguments.integer("units", units, least=1)
        self.depth = arguments.integer("depth", depth, least=1)
        self.forget_bias = arguments.number("forget_bias", forget_bias)
        self.kernel_initializer = tf.keras.initializers.get(kernel_initializer)
        self.bias_initializer = tf.keras.initializers.get(bias_initializer)
        self.state_size = [self.units]
        self.output_size = self.units

    @property
    def hoisted_parts(self) -> int:
        """Tensors that `scan_backprop` hands on per step."""
        return self.depth

    def build(self, input_shape):
        def add(name, rows, initializer):
            return self.add_weight(
                name=name, shape=rows + (self.units,), initializer=initializer
            )

        drawn = itertools.count()
        inputs = (common.features(self, input_shape),)
        units = (self.units,)
        steps = range(self.depth)
        self.kernel_h, self.kernel_t = (
            add(
                f"kernel_{gate}",
                inputs,
                _reseeded(self.kernel_initializer, next(drawn)),
            )
            for gate in "ht"
        )
        self.recurrent_h, self.recurrent_t = (
            [
                add(
                    f"recurrent_{gate}_{d}",
                    units,
                    _reseeded(self.kernel_initializer, next(drawn)),
                )
                for d in steps
            ]
            for gate in "ht"
        )
        self.bias_h = [
            add(
                f"bias_h_{d}", (), _reseeded(self.bias_initializer, next(drawn))
            )
            for d in steps
        ]
        self.bias_t = [
            add(
                f"bias_t_{d}",
                (),
                tf.keras.initializers.Constant(self.forget_bias),
            )
            for d in steps
        ]
        super().build(input_shape)

    def call(self, inputs, states, constants=None, training=None):
        input_mask, state_mask = constants or (None, None)
        (state,) = tf.nest.flatten(states)
        inputs = common.masked(inputs, input_mask)
        for d in range(self.depth):
            seen = common.masked(state, state_mask)
            h = tf.matmul(seen, self.recurrent_h[d]) + self.bias_h[d]
            t = tf.matmul(seen, self.recurrent_t[d]) + self.bias_t[d]
            if d == 0:
                h += tf.matmul(inputs, self.kernel_h)
                t += tf.matmul(inputs, self.kernel_t)
            state = (tf.tanh(h) - state) * tf.sigmoid(t) + state
        return state, [state]

    def hoist(
        self, inputs: tf.Tensor, input_mask=None, state_mask=None
    ) -> tf.Tensor:
        """`[..., batch, inputs]` -> the first micro-step's `[..., 2 n]`."""
        del state_mask
        return tf.nn.bias_add(
            common.last_axis_matmul(
                common.masked(inputs, input_mask),
                products.operand(self._join(self.kernel_h, self.kernel_t)),
            ),
            self._join(self.bias_h[0], self.bias_t[0]),
        )

    def scan_weights(self, input_mask=None, state_mask=None) -> Tensors:
        """Joined (h, t) matrices, biases but the first, and m_s if any."""
        del input_mask
        return (
            [
                products.operand(self._join(h, t))
                for h, t in zip(self.recurrent_h, self.recurrent_t)
            ]
            + list(map(self._join, self.bias_h[1:], self.bias_t[1:]))
            + ([] if state_mask is None else [state_mask])
        )

    def scan_step(
        self, z: tf.Tensor, states: Tensors, weights: Tensors
    ) -> tuple[tf.Tensor, Tensors, Tensors]:
        """See `LSTMCell.scan_step`; saves s, h and t of each micro-step."""
        (state,) = states
        matrices, biases, mask = self._parts(weights)
        saved = []
        for d, matrix in enumerate(matrices):
            product = products.product(common.masked(state, mask), matrix)
            z = tf.nn.bias_add(product, biases[d - 1]) if d else product + z
            h = tf.tanh(z[:, : self.units])
            t = tf.sigmoid(z[:, self.units :])
            saved += [state, h, t]
            state = (h - state) * t + state
        return state, [state], saved

    def backprop_weights(self, weights: Tensors) -> Tensors:
        """See `KernelCell.backprop_weights`."""
        return [
            tf.transpose(matrix) for matrix in weights[: self.depth]
        ] + list(weights[self.depth :])

    def scan_backprop(
        self,
        doutput: tf.Tensor,
        dstates: Tensors,
        saved: Tensors,
        weights: Tensors,
    ) -> tuple[Tensors, Tensors]:
        """See `LSTMCell.scan_backprop`; a dz `[batch, 2 n]` per micro-step."""
        dstate = doutput + dstates[0]
        matrices, _, mask = self._parts(weights)
        dzs: Tensors = []
        for d in reversed(range(self.depth)):
            state, h, t = saved[3 * d : 3 * d + 3]
            dh = dstate * t * (1.0 - h * h)
            dt = dstate * (h - state) * t * (1.0 - t)
            dz = tf.concat([dh, dt], 1)
            dzs.insert(0, dz)
            dseen = products.product(dz, matrices[d])
            dstate = dstate * (1.0 - t) + common.masked(dseen, mask)
        return dzs, [dstate]

    def scan_weight_gradients(
        self, dzs: Tensors, saved: Tensors, weights: Tensors
    ) -> Tensors:
        """See `LSTMCell.scan_weight_gradients`; None for the mask."""
        matrices, _, mask = self._parts(weights)
        return (
            [
                common.flat_matmul(
                    common.masked(state, mask), dz, matrices[0].dtype
                )
                for state, dz in zip(saved[::3], dzs)
            ]
            + [tf.reduce_sum(dz, [0, 1]) for dz in dzs[1:]]
            + ([] if mask is None else [None])
        )

    def _join(self, h: tf.Variable, t: tf.Variable) -> tf.Tensor:
        return tf.concat(
            [tf.cast(h, self.compute_dtype), tf.cast(t, self.compute_dtype)], -1
        )

    def _parts(
        self, weights: Tensors
    ) -> tuple[Tensors, Tensors, Optional[tf.Tensor]]:
        """Matrices, biases and mask of `scan_weights`."""
        bias_end = 2 * self.depth - 1
        mask = weights[bias_end] if len(weights) > bias_end else None
        return weights[: self.depth], weights[self.depth : bias_end], mask

    def input_slices(self) -> list[groups.Slice]:
        """What reads a unit of the layer's input: its rows."""
        return [
            groups.whole(kernel, 0) for kernel in (self.kernel_h, self.kernel_t)
        ]

    def unit_slices(self) -> list[groups.Slice]:
        """The cell's own weights of its units: all columns, state rows."""
        recurrent = [*self.recurrent_h, *self.recurrent_t]
        return [
            groups.whole(matrix, 1)
            for matrix in (self.kernel_h, self.kernel_t, *recurrent)
        ] + [groups.whole(matrix, 0) for matrix in recurrent]

    def unit_companions(self) -> list[groups.Slice]:
        """What is cut with a unit without counting: its biases."""
        return [groups.whole(bias, 0) for bias in (*self.bias_h, *self.bias_t)]

    def candidate_companions(self) -> list[groups.Slice]:
        """See `KernelCell.candidate_companions`."""
        return [groups.whole(bias, 0) for bias in self.bias_h]

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """Zeros `[s]`, `[batch, n]`."""
        return common.zero_states(self, inputs, batch_size, dtype)

    def get_config(self):
        serialize = tf.keras.initializers.serialize
        return {
            **super().get_config(),
            "units": self.units,
            "depth": self.depth,
            "forget_bias": self.forget_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "bias_initializer": serialize(self.bias_initializer),
        }


def _reseeded(initializer, offset: int):
    """A copy that draws other numbers; a Keras initializer repeats its own."""
    if not hasattr(initializer, "get_config"):
        return initializer
    config = initializer.get_config()
    if config.get("seed") is not None:
        # Far from the seeds that a model may count through.
        config["seed"] += 100_003 * offset
    return type(initializer).from_config(config)
