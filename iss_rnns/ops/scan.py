"""The loop over time of a cell, and its gradient written out."""

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from iss_rnns.ops import gradients
from iss_rnns.ops import products


def scan(
    cell,
    z: tf.Tensor,
    states: Sequence[tf.Tensor],
    weights: Sequence[tf.Tensor],
    training: bool,
    compiled: bool = False,
    lengths: Optional[tf.Tensor] = None,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Runs a cell over the hoisted products.

    Args:
      cell: object with the `scan_*` methods of `iss_rnns.cells`.
      z: `[time, batch, ...]`.
      states: initial states `[batch, n]`.
      weights: of `cell.scan_weights`.
      training: use the written-out gradient, if the cell has one.
      compiled: each loop by XLA.
      lengths: `[batch]` int, steps after which a sequence's states stay as
        they are; None if all go to the end. No gradient may come in by the
        outputs of the steps behind.

    Returns:
      (outputs `[time, batch, n]`, final states).
    """
    states, weights = list(states), list(weights)
    if not (training and hasattr(cell, "scan_backprop")):
        outputs, finals, _ = _forward(cell, z, states, weights, lengths, False)
        return outputs, finals
    forward, backward = _forward, _backward
    # Eagerly, each call would compile them anew; and XLA converts bfloat16
    # products to float32 on a CPU, which takes longer than they do.
    if compiled and not tf.executing_eagerly() and not products.reduced():
        forward, backward = _compiled(_forward), _compiled(_backward)

    count = len(states)

    @gradients.custom_gradient
    def run(z, *rest):
        states, weights = rest[:count], rest[count:]
        outputs, finals, saved = forward(
            cell, z, list(states), list(weights), lengths, True
        )

        def gradient(doutputs, *dfinals):
            dzs, dstates = backward(
                cell,
                doutputs,
                list(dfinals),
                saved,
                cell.backprop_weights(list(weights)),
                z.shape[1:],
                lengths,
            )
            return [
                dzs[0],
                *dstates,
                *cell.scan_weight_gradients(dzs, saved, list(weights)),
            ]

        return [outputs, *finals], gradient

    outputs, *finals = run(z, *states, *weights)
    return outputs, finals


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


def _forward(cell, z, states, weights, lengths, keep: bool):
    """The loop over time; `saved` is empty unless `keep`."""
    time = tf.shape(z)[0]
    z_array = tf.TensorArray(z.dtype, time, element_shape=z.shape[1:])
    z_array = z_array.unstack(z)
    output_shape, saved_shapes = _step_shapes(cell, z, states, weights)
    arrays = [
        tf.TensorArray(z.dtype, time, element_shape=shape)
        for shape in [output_shape] + (saved_shapes if keep else [])
    ]

    def body(t, states, arrays):
        output, new_states, saved = cell.scan_step(
            z_array.read(t), states, weights
        )
        if lengths is not None:
            new_states = _where(t < lengths, new_states, states)
        values = [output] + (saved if keep else [])
        return (
            t + 1,
            new_states,
            [a.write(t, v) for a, v in zip(arrays, values)],
        )

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


def _backward(cell, doutputs, dfinals, saved, weights, dz_shape, lengths):
    """The loop back through time: gradients of z and of the old states."""
    time = tf.shape(doutputs)[0]
    doutput_array = _unstack(doutputs)
    saved_arrays = [_unstack(s) for s in saved]
    dz_arrays = [
        tf.TensorArray(doutputs.dtype, time, element_shape=dz_shape)
        for _ in range(cell.hoisted_parts)
    ]

    def body(t, dstates, dz_arrays):
        if lengths is not None:
            dstates = _where(t == lengths - 1, dfinals, dstates)
        dzs, dstates = cell.scan_backprop(
            doutput_array.read(t),
            dstates,
            [array.read(t) for array in saved_arrays],
            weights,
        )
        return t - 1, dstates, [a.write(t, dz) for a, dz in zip(dz_arrays, dzs)]

    dstates = dfinals
    if lengths is not None:
        # They enter where the sequences end; behind, all gradients are 0.
        dstates = [tf.zeros_like(d) for d in dfinals]
    _, dstates, dz_arrays = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (time - 1, dstates, dz_arrays),
        parallel_iterations=1,
        maximum_iterations=time,
    )
    if lengths is not None:
        dstates = _where(lengths == 0, dfinals, dstates)
    return [array.stack() for array in dz_arrays], dstates


def _where(condition, new, old):
    """By row of `[batch, n]` tensors."""
    return [tf.where(condition[:, None], a, b) for a, b in zip(new, old)]


def _unstack(tensor: tf.Tensor) -> tf.TensorArray:
    array = tf.TensorArray(
        tensor.dtype, tf.shape(tensor)[0], element_shape=tensor.shape[1:]
    )
    return array.unstack(tensor)
