"""Recurrent cells: their maths, and which weights belong to unit k.

A cell is a Keras cell (`tf.keras.layers.RNN` runs it) and also states its
maths in the pieces that `recurrent.Recurrent` runs fast:

- `hoist(inputs, *constants)`: what can be computed for all time steps at
  once,
- `scan_weights(*constants)`: the tensors that the time loop reads,
- `scan_step(z, states, weights)`: one step, and what its gradient needs,
- `backprop_weights(weights)`: what the loop back reads of them,
- `scan_backprop(doutput, dstates, saved, weights)`: one step back,
- `scan_weight_gradients(dzs, saved, weights)`: the products left after the
  loop.

Constants are tensors that stay the same over time (`RHNCell`'s masks).
"""

import itertools
from typing import List, Optional, Sequence, Tuple

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
        _check_positive("units", units)
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
    def backprop_weights(weights: Tensors) -> Tensors:
        """`scan_weights` as `scan_backprop` reads them: transposed.

        Turned around once, before the loop: without oneDNN, a product with a
        transposed large matrix takes three times as long as with a plain one.
        """
        return [tf.transpose(weights[0])]

    @staticmethod
    def scan_backprop(doutput: tf.Tensor, dstates: Tensors, saved: Tensors,
                      weights: Tensors) -> Tuple[Tensors, Tensors]:
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
        dc = dstates[1] + dh * output_gate * (1. - tanh_c * tanh_c)
        dz = tf.concat([
            tf.concat([dc * candidate, dc * c], 1) * gates_if
            * (1. - gates_if),
            dc * i * (1. - candidate * candidate),
            do * output_gate * (1. - output_gate)], 1)
        dh_old = tf.matmul(dz, weights[0])
        return [dz], [dh_old, dc * f]

    @staticmethod
    def scan_weight_gradients(dzs: Tensors, saved: Tensors,
                              weights: Tensors = ()) -> Tensors:
        """Gradients of `scan_weights`, one product over all time steps.

        Args:
          dzs: of `scan_backprop`, each stacked to `[time, batch, 4 n]`.
          saved: of `scan_step`, each stacked to `[time, batch, ...]`.
          weights: of `scan_weights`.
        """
        del weights  # the products need none of them
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
        return _zero_states(self, inputs, batch_size, dtype)

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
      ValueError: if `units` or `depth` is not a positive integer.
    """

    def __init__(self, units: int, depth: int = 1, forget_bias: float = 0.,
                 kernel_initializer="glorot_uniform",
                 bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        _check_positive("units", units)
        _check_positive("depth", depth)
        self.units = units
        self.depth = depth
        self.forget_bias = forget_bias
        self.kernel_initializer = tf.keras.initializers.get(
            kernel_initializer)
        self.bias_initializer = tf.keras.initializers.get(bias_initializer)
        self.state_size = [units]
        self.output_size = units

    @property
    def hoisted_parts(self) -> int:
        """Tensors that `scan_backprop` hands on per step."""
        return self.depth

    def build(self, input_shape):
        def add(name, rows, initializer):
            return self.add_weight(name=name, shape=rows + (self.units,),
                                   initializer=initializer)

        drawn = itertools.count()
        inputs, units = (input_shape[-1],), (self.units,)
        steps = range(self.depth)
        self.kernel_h, self.kernel_t = (
            add(f"kernel_{gate}", inputs,
                _reseeded(self.kernel_initializer, next(drawn)))
            for gate in "ht")
        self.recurrent_h, self.recurrent_t = (
            [add(f"recurrent_{gate}_{d}", units,
                 _reseeded(self.kernel_initializer, next(drawn)))
             for d in steps] for gate in "ht")
        self.bias_h = [add(f"bias_h_{d}", (),
                           _reseeded(self.bias_initializer, next(drawn)))
                       for d in steps]
        self.bias_t = [add(f"bias_t_{d}", (), tf.keras.initializers.Constant(
            self.forget_bias)) for d in steps]
        super().build(input_shape)

    def call(self, inputs, states, constants=None, training=None):
        input_mask, state_mask = constants or (None, None)
        state, = tf.nest.flatten(states)
        inputs = _masked(inputs, input_mask)
        for d in range(self.depth):
            seen = _masked(state, state_mask)
            h = tf.matmul(seen, self.recurrent_h[d]) + self.bias_h[d]
            t = tf.matmul(seen, self.recurrent_t[d]) + self.bias_t[d]
            if d == 0:
                h += tf.matmul(inputs, self.kernel_h)
                t += tf.matmul(inputs, self.kernel_t)
            state = (tf.tanh(h) - state) * tf.sigmoid(t) + state
        return state, [state]

    def hoist(self, inputs: tf.Tensor, input_mask=None, state_mask=None
              ) -> tf.Tensor:
        """`[..., batch, inputs]` -> the first micro-step's `[..., 2 n]`."""
        del state_mask
        return tf.nn.bias_add(
            _last_axis_matmul(_masked(inputs, input_mask),
                              self._join(self.kernel_h, self.kernel_t)),
            self._join(self.bias_h[0], self.bias_t[0]))

    def scan_weights(self, input_mask=None, state_mask=None) -> Tensors:
        """Joined (h, t) matrices, biases but the first, and m_s if any."""
        del input_mask
        return (list(map(self._join, self.recurrent_h, self.recurrent_t))
                + list(map(self._join, self.bias_h[1:], self.bias_t[1:]))
                + ([] if state_mask is None else [state_mask]))

    def scan_step(self, z: tf.Tensor, states: Tensors, weights: Tensors
                  ) -> Tuple[tf.Tensor, Tensors, Tensors]:
        """See `LSTMCell.scan_step`; saves s, h and t of each micro-step."""
        state, = states
        matrices, biases, mask = self._parts(weights)
        saved = []
        for d, matrix in enumerate(matrices):
            product = tf.matmul(_masked(state, mask), matrix)
            z = tf.nn.bias_add(product, biases[d - 1]) if d else product + z
            h = tf.tanh(z[:, :self.units])
            t = tf.sigmoid(z[:, self.units:])
            saved += [state, h, t]
            state = (h - state) * t + state
        return state, [state], saved

    def backprop_weights(self, weights: Tensors) -> Tensors:
        """See `LSTMCell.backprop_weights`."""
        return ([tf.transpose(matrix) for matrix in weights[:self.depth]]
                + list(weights[self.depth:]))

    def scan_backprop(self, doutput: tf.Tensor, dstates: Tensors,
                      saved: Tensors, weights: Tensors
                      ) -> Tuple[Tensors, Tensors]:
        """See `LSTMCell.scan_backprop`; a dz `[batch, 2 n]` per micro-step."""
        dstate = doutput + dstates[0]
        matrices, _, mask = self._parts(weights)
        dzs = []
        for d in reversed(range(self.depth)):
            state, h, t = saved[3 * d:3 * d + 3]
            dh = dstate * t * (1. - h * h)
            dt = dstate * (h - state) * t * (1. - t)
            dz = tf.concat([dh, dt], 1)
            dzs.insert(0, dz)
            dseen = tf.matmul(dz, matrices[d])
            dstate = dstate * (1. - t) + _masked(dseen, mask)
        return dzs, [dstate]

    def scan_weight_gradients(self, dzs: Tensors, saved: Tensors,
                              weights: Tensors) -> Tensors:
        """See `LSTMCell.scan_weight_gradients`; None for the mask."""
        *_, mask = self._parts(weights)
        return ([_flat_matmul(_masked(state, mask), dz)
                 for state, dz in zip(saved[::3], dzs)]
                + [tf.reduce_sum(dz, [0, 1]) for dz in dzs[1:]]
                + ([] if mask is None else [None]))

    def _join(self, h: tf.Variable, t: tf.Variable) -> tf.Tensor:
        return tf.concat([tf.cast(h, self.compute_dtype),
                          tf.cast(t, self.compute_dtype)], -1)

    def _parts(self, weights: Tensors
               ) -> Tuple[Tensors, Tensors, Optional[tf.Tensor]]:
        """Matrices, biases and mask of `scan_weights`."""
        bias_end = 2 * self.depth - 1
        mask = weights[bias_end] if len(weights) > bias_end else None
        return weights[:self.depth], weights[self.depth:bias_end], mask

    def input_slices(self) -> List[groups.Slice]:
        """What reads a unit of the layer's input: its rows."""
        return [groups.whole(kernel, 0)
                for kernel in (self.kernel_h, self.kernel_t)]

    def unit_slices(self) -> List[groups.Slice]:
        """The cell's own weights of its units: all columns, state rows."""
        recurrent = [*self.recurrent_h, *self.recurrent_t]
        return ([groups.whole(matrix, 1) for matrix in
                 (self.kernel_h, self.kernel_t, *recurrent)]
                + [groups.whole(matrix, 0) for matrix in recurrent])

    def unit_companions(self) -> List[groups.Slice]:
        """What is cut with a unit without counting: its biases."""
        return [groups.whole(bias, 0)
                for bias in (*self.bias_h, *self.bias_t)]

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """Zeros `[s]`, `[batch, n]`."""
        return _zero_states(self, inputs, batch_size, dtype)

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


def _check_positive(name: str, value) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"Received an invalid value for argument `{name}`, "
                         f"expected a positive integer, got {value}.")


def _zero_states(cell, inputs, batch_size, dtype) -> Tensors:
    if inputs is not None:
        batch_size, dtype = tf.shape(inputs)[0], inputs.dtype
    return [tf.zeros([batch_size, n], dtype) for n in cell.state_size]


def _reseeded(initializer, offset: int):
    """A copy that draws other numbers; a Keras initializer repeats its own."""
    if not hasattr(initializer, "get_config"):
        return initializer
    config = initializer.get_config()
    if config.get("seed") is not None:
        # Far from the seeds that a model may count through.
        config["seed"] += 100_003 * offset
    return type(initializer).from_config(config)


def _masked(x: tf.Tensor, mask: Optional[tf.Tensor]) -> tf.Tensor:
    return x if mask is None else x * tf.cast(mask, x.dtype)


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
