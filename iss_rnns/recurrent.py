"""The sequence layer: runs a cell fast over time.

Everything that does not depend on the state is hoisted out of the time loop
(one product for all steps), and in training the gradient is written out: the
loop back through time holds only the state's own recursion, and each weight's
gradient is one product over all steps after it.
"""

from collections.abc import Sequence
from typing import Callable, Optional

import tensorflow as tf

from iss_rnns.ops import products


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class Recurrent(tf.keras.layers.Layer):
    """Runs a cell of `iss_rnns.cells` over a sequence.

    State goes in and comes out explicitly; nothing is kept between calls.

    Args:
      cell: an `iss_rnns.cells` cell.
      go_backwards: run from the last step to the first; outputs are returned
        in the order of the inputs.
      time_major: inputs and outputs are `[time, batch, ...]` instead of
        `[batch, time, ...]`.
      jit_compile: in training, compile the loops over time with XLA: 1 to 5 %
        of a step of the language models on a CPU. Each new shape is compiled
        anew, so leave it off where lengths vary.

    Call arguments:
      inputs: `[batch, time, features]`.
      initial_state: list of `[batch, n]`, in the cell's order; zeros if None.
      constants: what the cell reads unchanged in every time step, e.g. masks;
        not to be learned: in training no gradient flows back to them.
      lengths: `[batch]` int, valid steps of each sequence. Outputs past a
        sequence's length are 0, and the backward direction starts at its
        last valid step. The first final state (h) is then that of the last
        valid step; later states are not available and returned as None.
      training: keeps what the gradient needs. With False the loop is lighter;
        it is still differentiable, only slower to differentiate.
      hoisted: the inputs are the cell's `hoist` of the features already, e.g.
        rows of an `input_table`.

    Returns:
      (outputs `[batch, time, n]`, list of final states `[batch, n]`).
    """

    def __init__(
        self,
        cell,
        go_backwards: bool = False,
        time_major: bool = False,
        jit_compile: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.cell = cell
        self.go_backwards = go_backwards
        self.time_major = time_major
        self.jit_compile = jit_compile

    def build(self, input_shape):
        if not self.cell.built:
            with tf.name_scope(self.cell.name):
                self.cell.build(tf.TensorShape(input_shape))
        super().build(input_shape)

    def call(
        self,
        inputs,
        initial_state=None,
        lengths=None,
        constants=(),
        training=None,
        hoisted=False,
    ):
        if initial_state is None:
            initial_state = self.cell.get_initial_state(
                batch_size=tf.shape(inputs)[int(self.time_major)],
                dtype=inputs.dtype,
            )
        else:
            initial_state = [tf.cast(s, inputs.dtype) for s in initial_state]
        # A cell's constants are by batch entry, as the loop sees them.
        swapped = bool(constants) and not self.time_major
        if swapped:
            inputs = _swap(inputs)
        z = inputs if hoisted else self.cell.hoist(inputs, *constants)
        z, back = self._in_loop_order(z, lengths, self.time_major or swapped)
        weights = products.loop_weights(
            lambda: self.cell.scan_weights(*constants)
        )
        outputs, states = _scan(
            self.cell,
            z,
            initial_state,
            weights,
            bool(training),
            self.jit_compile,
        )
        if lengths is not None:
            mask = tf.sequence_mask(lengths, tf.shape(outputs)[0])
            outputs *= tf.cast(tf.transpose(mask), outputs.dtype)[..., None]
            last = tf.stack(
                [
                    tf.maximum(lengths - 1, 0),
                    tf.range(tf.shape(outputs)[1], dtype=lengths.dtype),
                ],
                axis=1,
            )
            states = [tf.gather_nd(outputs, last)] + [None] * (len(states) - 1)
        outputs = back(outputs)
        if swapped:
            outputs = _swap(outputs)
        return outputs, states

    def _in_loop_order(
        self, sequence, lengths, time_major
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        """A sequence as the loop reads it, and the function that undoes it."""

        def swap(x):
            return x if time_major else _swap(x)

        if not self.go_backwards:
            return swap(sequence), swap
        if lengths is None:
            return (
                tf.reverse(swap(sequence), [0]),
                lambda x: swap(tf.reverse(x, [0])),
            )
        # Whole rows by number: several times as fast as tf.reverse_sequence
        # and a transposition.
        axes = tf.unstack(tf.shape(sequence)[:2])
        time, batch = axes if time_major else axes[::-1]
        steps, entries = tf.range(time)[:, None], tf.range(batch)
        lengths = tf.cast(lengths, tf.int32)
        turned = tf.where(steps < lengths, lengths - 1 - steps, steps)
        back = turned * batch + entries
        if time_major:
            there = back
        else:
            there, back = entries * time + turned, tf.transpose(back)
        return (_take(sequence, there, back), lambda x: _take(x, back, there))

    def get_config(self):
        return {
            **super().get_config(),
            "cell": tf.keras.layers.serialize(self.cell),
            "go_backwards": self.go_backwards,
            "time_major": self.time_major,
            "jit_compile": self.jit_compile,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        cell = tf.keras.layers.deserialize(config.pop("cell"))
        return cls(cell, **config)


def input_table(cell, embedding: tf.Tensor) -> Optional[tf.Tensor]:
    """What a layer adds up for each symbol, to look up instead of computing.

    Of a narrow layer behind a wide embedding this is the smaller of the two,
    and no input product is left to compute.

    Args:
      cell: the first layer's.
      embedding: `[V, E]`, whose rows are the layer's inputs.

    Returns:
      `cell.hoist(embedding)`, `[V, W]`; None where it would hold more numbers
      than the embedding and the kernel `[E, W]` that it replaces.
    """
    symbols, width = embedding.shape
    columns = cell.hoist(embedding[:1]).shape[-1]
    if symbols * columns > symbols * width + width * columns:
        return None
    return cell.hoist(embedding)


def _scan(
    cell,
    z: tf.Tensor,
    states: Sequence[tf.Tensor],
    weights: Sequence[tf.Tensor],
    training: bool,
    compiled: bool,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs a cell over the hoisted products.

    Args:
      cell: object with the `scan_*` methods of `iss_rnns.cells`.
      z: `[time, batch, ...]`.
      states: initial states `[batch, n]`.
      weights: of `cell.scan_weights`.
      training: use the written-out gradient.
      compiled: each loop by XLA.

    Returns:
      (outputs `[time, batch, n]`, final states).
    """
    states, weights = list(states), list(weights)
    if not training:
        outputs, states, _ = _forward(cell, z, states, weights, False)
        return outputs, states
    forward, backward = _forward, _backward
    # Eagerly, each call would compile them anew; and XLA converts bfloat16
    # products to float32 on a CPU, which takes longer than they do.
    if compiled and not tf.executing_eagerly() and not products.reduced():
        forward, backward = _compiled(_forward), _compiled(_backward)

    @tf.custom_gradient
    def run(z, *rest):
        states, weights = rest[:count], rest[count:]
        outputs, finals, saved = forward(
            cell, z, list(states), list(weights), True
        )

        def gradient(doutputs, *dfinals):
            dzs, dstates = backward(
                cell,
                doutputs,
                list(dfinals),
                saved,
                cell.backprop_weights(list(weights)),
                z.shape[1:],
            )
            return [
                dzs[0],
                *dstates,
                *cell.scan_weight_gradients(dzs, saved, list(weights)),
            ]

        return [outputs, *finals], gradient

    count = len(states)
    outputs, *states = run(z, *states, *weights)
    return outputs, states


def _swap(sequence: tf.Tensor) -> tf.Tensor:
    return tf.transpose(sequence, [1, 0, 2])


def _take(sequence: tf.Tensor, rows: tf.Tensor, back: tf.Tensor) -> tf.Tensor:
    """A sequence's rows in another order.

    Args:
      sequence: `[a, b, n]`.
      rows: `[c, d]`, which of the a * b rows stands at each place.
      back: `[a, b]`, the place of each row: the gradient is taken by it, too.
    """

    def take(x, numbers):
        return tf.gather(tf.reshape(x, [-1, sequence.shape[-1]]), numbers)

    @tf.custom_gradient
    def run(x):
        return take(x, rows), lambda gradient: take(gradient, back)

    return run(sequence)


def _compiled(loop):
    function = tf.function(loop, jit_compile=True, autograph=False)

    def call(*args):
        # The gradient is written out. TensorFlow would prepare its own as
        # well, and make the compiled loop hand out what it cannot.
        return function(
            *tf.nest.map_structure(
                lambda a: tf.stop_gradient(a) if tf.is_tensor(a) else a, args
            )
        )

    return call


def _forward(cell, z, states, weights, keep: bool):
    """The loop over time; `saved` is None unless `keep`."""
    time = tf.shape(z)[0]
    z_array = tf.TensorArray(z.dtype, time, element_shape=z.shape[1:])
    z_array = z_array.unstack(z)
    output_shape, saved_shapes = _step_shapes(cell, z, states, weights)
    arrays = [
        tf.TensorArray(z.dtype, time, element_shape=shape)
        for shape in [output_shape] + (saved_shapes if keep else [])
    ]

    def body(t, states, arrays):
        output, states, saved = cell.scan_step(z_array.read(t), states, weights)
        values = [output] + (saved if keep else [])
        return t + 1, states, [a.write(t, v) for a, v in zip(arrays, values)]

    _, states, arrays = tf.while_loop(
        lambda t, *_: t < time,
        body,
        (0, states, arrays),
        parallel_iterations=1,
        maximum_iterations=time,
    )
    outputs, *saved = [array.stack() for array in arrays]
    return outputs, states, saved


def _step_shapes(cell, z, states, weights):
    """Shapes of a step's output and saved tensors, without running it."""
    with tf.Graph().as_default():
        z, states, weights = tf.nest.map_structure(
            lambda t: tf.compat.v1.placeholder(t.dtype, t.shape),
            (z, states, weights),
        )
        output, _, saved = cell.scan_step(z[0], states, weights)
        return output.shape, [s.shape for s in saved]


def _backward(cell, doutputs, dstates, saved, weights, dz_shape):
    """The loop back through time: gradients of z and of the old states."""
    time = tf.shape(doutputs)[0]
    doutput_array = _unstack(doutputs)
    saved_arrays = [_unstack(s) for s in saved]
    dz_arrays = [
        tf.TensorArray(doutputs.dtype, time, element_shape=dz_shape)
        for _ in range(cell.hoisted_parts)
    ]

    def body(t, dstates, dz_arrays):
        dzs, dstates = cell.scan_backprop(
            doutput_array.read(t),
            dstates,
            [array.read(t) for array in saved_arrays],
            weights,
        )
        return t - 1, dstates, [a.write(t, dz) for a, dz in zip(dz_arrays, dzs)]

    _, dstates, dz_arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (time - 1, dstates, dz_arrays),
        parallel_iterations=1,
        maximum_iterations=time,
    )
    return [array.stack() for array in dz_arrays], dstates


def _unstack(tensor: tf.Tensor) -> tf.TensorArray:
    array = tf.TensorArray(
        tensor.dtype, tf.shape(tensor)[0], element_shape=tensor.shape[1:]
    )
    return array.unstack(tensor)
