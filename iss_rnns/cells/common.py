"""What the cells share: their checks, products and groups."""

from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns.ops import products

Tensors = list[tf.Tensor]


class KernelCell(tf.keras.layers.Layer):
    """Base of cells whose gates lie side by side in two matrices, as in Keras.

    Weights: `kernel [inputs, gates n]`, `recurrent_kernel [n, gates n]` and
    `bias`, of the subclass' shape. Unit k of the layer is written by column k
    of each gate and read by row k of `recurrent_kernel` and of every
    consumer's matrix.

    Args:
      units: n, the number of hidden units.
      states: number of states, each of width n.
      kernel_initializer: of both kernels.
      recurrent_initializer: of `recurrent_kernel`; defaults to
        `kernel_initializer`, as TensorFlow 1 has one matrix.
      bias_initializer: of `bias`.

    Raises:
      UserError: if `units` is not a positive integer.
    """

    gates: int
    candidate: int  # of the gates: what a step adds to the state
    hoisted_parts = 1  # tensors that `scan_backprop` hands on per step

    def __init__(
        self,
        units: int,
        states: int,
        kernel_initializer,
        recurrent_initializer,
        bias_initializer,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = arguments.integer("units", units, least=1)
        self.kernel_initializer = tf.keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = tf.keras.initializers.get(
            kernel_initializer
            if recurrent_initializer is None
            else recurrent_initializer
        )
        self.bias_initializer = tf.keras.initializers.get(bias_initializer)
        self.state_size = [self.units] * states
        self.output_size = self.units

    @property
    def bias_shape(self) -> Sequence[int]:
        """Of `bias`."""
        return (self.gates * self.units,)

    def build(self, input_shape):
        width = self.gates * self.units
        self.kernel = self.add_weight(
            name="kernel",
            shape=(features(self, input_shape), width),
            initializer=self.kernel_initializer,
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.units, width),
            initializer=self.recurrent_initializer,
        )
        self.bias = self.add_weight(
            name="bias",
            shape=self.bias_shape,
            initializer=self.bias_initializer,
        )
        super().build(input_shape)

    def call(self, inputs, states, training=None):
        output, states, _ = self.scan_step(
            self.hoist(inputs), tf.nest.flatten(states), self.scan_weights()
        )
        return output, states

    def effective_bias(self) -> tf.Tensor:
        """`[gates n]`: what `hoist` adds."""
        return tf.convert_to_tensor(self.bias)

    def hoist(self, inputs: tf.Tensor) -> tf.Tensor:
        """`[..., inputs]` -> `[..., gates n]`, any number of steps at once."""
        kernel = products.operand(tf.cast(self.kernel, self.compute_dtype))
        bias = tf.cast(self.effective_bias(), self.compute_dtype)
        return tf.nn.bias_add(last_axis_matmul(inputs, kernel), bias)

    def scan_weights(self) -> Tensors:
        """Tensors that a time step reads."""
        return [
            products.operand(tf.cast(self.recurrent_kernel, self.compute_dtype))
        ]

    @staticmethod
    def backprop_weights(weights: Tensors) -> Tensors:
        """`scan_weights` as `scan_backprop` reads them: transposed.

        Turned around once, before the loop: without oneDNN, a product with a
        transposed large matrix takes three times as long as with a plain one.
        """
        return [tf.transpose(weights[0]), *weights[1:]]

    def input_slices(self) -> list[groups.Slice]:
        """What reads a unit of the layer's input: its row."""
        return [groups.whole(self.kernel, 0)]

    def unit_slices(self) -> list[groups.Slice]:
        """The cell's own weights of its units: gate columns, state row."""
        return (
            groups.blocks(self.kernel, 1, self.gates)
            + groups.blocks(self.recurrent_kernel, 1, self.gates)
            + [groups.whole(self.recurrent_kernel, 0)]
        )

    def unit_companions(self) -> list[groups.Slice]:
        """What is cut with a unit without counting: its biases."""
        return groups.blocks(self.bias, len(self.bias_shape) - 1, self.gates)

    def candidate_companions(self) -> list[groups.Slice]:
        """Those without which a dead unit's state stays zero."""
        return [self.unit_companions()[self.candidate]]

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """Zeros, `[batch, n]` for each state."""
        return zero_states(self, inputs, batch_size, dtype)

    def get_config(self):
        serialize = tf.keras.initializers.serialize
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": serialize(self.kernel_initializer),
            "recurrent_initializer": serialize(self.recurrent_initializer),
            "bias_initializer": serialize(self.bias_initializer),
        }


def iss_group(
    name: str,
    cell,
    consumers: Sequence[groups.Slice] = (),
    multiplier: float = 1.0,
) -> groups.Group:
    """Intrinsic Sparse Structures of a layer (ISS paper, section 3.1).

    Args:
      name: of the layer.
      cell: built cell with `unit_slices` and `unit_companions`.
      consumers: rows of the matrices that read the layer's output.
      multiplier: of the penalty, outside the root.

    Returns:
      A `Group` of `cell.units` components.

    Raises:
      UserError: if the cell is of another kind or has no weights yet.
    """
    for wanted in ("unit_slices", "unit_companions"):
        if not hasattr(cell, wanted):
            raise errors.UserError(
                f"the cell of group '{name}' must say which weights are unit "
                f"k's, as those of iss_rnns.cells do; {type(cell).__name__} "
                f"has no {wanted}"
            )
    if not getattr(cell, "built", True):
        raise errors.UserError(
            f"the cell of group '{name}' has no weights yet; build it, or "
            f"call its layer, before asking for its group"
        )
    return groups.Group(
        name,
        cell.unit_slices() + list(consumers),
        cell.unit_companions(),
        multiplier,
    )


def features(cell, input_shape: Sequence[Optional[int]]) -> int:
    """Width of a cell's inputs, or a UserError if it is not known."""
    width = input_shape[-1]
    if width is None:
        raise errors.UserError(
            f"the last axis of the inputs of cell '{cell.name}' must have a "
            f"known size, got inputs of shape {tuple(input_shape)}"
        )
    return int(width)


def zero_states(cell, inputs, batch_size, dtype) -> Tensors:
    """Zeros `[batch, n]` for each of a cell's states."""
    if inputs is not None:
        batch_size, dtype = tf.shape(inputs)[0], inputs.dtype
    dtype = dtype or cell.compute_dtype  # Keras 3 gives none
    return [tf.zeros([batch_size, n], dtype) for n in cell.state_size]


def masked(x: tf.Tensor, mask: Optional[tf.Tensor]) -> tf.Tensor:
    """x times a mask, if there is one."""
    return x if mask is None else x * tf.cast(mask, x.dtype)


def last_axis_matmul(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """`[..., rows]` by `[rows, columns]`, as one product."""
    if x.shape.rank == 2:
        return products.product(x, matrix)
    flat = products.product(tf.reshape(x, [-1, matrix.shape[0]]), matrix)
    shape = tf.concat([tf.shape(x)[:-1], tf.shape(matrix)[1:]], 0)
    result = tf.reshape(flat, shape)
    result.set_shape(x.shape[:-1] + matrix.shape[1:])
    return result


def flat_matmul(a: tf.Tensor, b: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`sum over time and batch of a^T b`, as one product, in a dtype."""
    a, b = (tf.cast(tf.reshape(x, [-1, x.shape[-1]]), dtype) for x in (a, b))
    return tf.matmul(a, b, transpose_a=True)
