"""The sequence layers: they run a cell fast over time.

Everything that does not depend on the state is hoisted out of the time loop
(one product for all steps), and in training the gradient is written out: the
loop back through time holds only the state's own recursion, and each weight's
gradient is one product over all steps after it.
"""

from collections.abc import Sequence
import inspect
from typing import Optional, Union

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.groups import recurrence
from iss_rnns.ops import fixed
from iss_rnns.ops import scan
from iss_rnns.ops import steps

_PIECES = ("hoist", "scan_weights", "scan_step")

_flat = tf.nest.flatten


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class RNN(tf.keras.layers.RNN):
    """`tf.keras.layers.RNN` with a faster loop for cells of `iss_rnns.cells`.

    Takes its place everywhere: same arguments, weights, outputs and gradients,
    for any mask, in functional, sequential and subclassed models, inside
    `Bidirectional` and `TimeDistributed`. The inputs' product is computed for
    all steps at once, and with `training=True` the gradient is written out.

    Cells without the pieces that this takes (see `iss_rnns.cells`), lists of
    cells, ragged inputs and `unroll=True` run in Keras' own loop.

    Args:
      cell: an `iss_rnns.cells` cell, or any Keras cell.
      return_sequences: return the outputs of all steps, not the last one only.
      return_state: return the final states, too.
      go_backwards: run from the last step to the first; with
        `return_sequences`, outputs come in that order.
      stateful: each batch starts from the final states of the one before, see
        `reset_states`.
      unroll: write each step into the graph instead of a loop.
      time_major: inputs, mask and outputs are `[time, batch, ...]` instead of
        `[batch, time, ...]`; of Keras 2 only.
      zero_output_for_mask: masked steps give 0; if False, the output of the
        step before, 0 where there is none.
      **kwargs: of a Keras layer.

    Call arguments:
      inputs: `[batch, time, features]`; or a list of it and the initial
        states.
      mask: `[batch, time]` bool, False for steps to leave out: they keep the
        states. Layers such as `Masking` and `Embedding(mask_zero=True)` pass
        it on by themselves.
      training: keeps what the gradient needs. With False the loop is lighter;
        it is still differentiable, only slower to differentiate.
      initial_state: list of `[batch, n]`, in the cell's order; zeros if None.
      constants: what the cell reads unchanged in every step; of `RHNCell`,
        its masks, which get no gradient.

    Returns:
      Outputs `[batch, time, n]`, or the last one `[batch, n]`; with
      `return_state`, a list of that and the final states `[batch, n]`.

    Raises:
      ValueError: if the mask does not fit the inputs, the number of initial
        states is not the cell's, or the cell takes no constants.

    Example:
      >>> import iss_rnns
      >>> layer = iss_rnns.RNN(iss_rnns.LSTMCell(5), return_sequences=True)
      >>> layer(tf.zeros([2, 7, 3])).shape
      TensorShape([2, 7, 5])
      >>> both = tf.keras.layers.Bidirectional(layer)
      >>> both(tf.keras.layers.Masking()(tf.zeros([2, 7, 3]))).shape
      TensorShape([2, 7, 10])
    """

    def build(self, input_shape):
        """See base class."""
        # Read from a file a shape is a list, which Keras takes for several.
        if isinstance(input_shape, list) and all(
            n is None or isinstance(n, int) for n in input_shape
        ):
            input_shape = tuple(input_shape)
        super().build(input_shape)
        _keras.compile_on_request(self)

    def compute_output_shape(self, input_shape):
        """See base class."""
        # Keras 3 gives more than one shape by the names of `call`'s arguments.
        return super().compute_output_shape(input_shape)

    def call(
        self,
        inputs,
        mask=None,
        training=None,
        initial_state=None,
        constants=None,
    ):
        """See base class."""
        if (
            self.unroll
            or any(isinstance(x, tf.RaggedTensor) for x in _flat(inputs))
            or not _runs_fast(self.cell, bool(constants))
        ):
            return super().call(
                inputs,
                mask=mask,
                training=training,
                initial_state=initial_state,
                # Keras 3 knows none.
                **({} if constants is None else {"constants": constants}),
            )
        time_major = getattr(self, "time_major", False)  # not of Keras 3
        inputs, initial_state, constants = _keras.rnn_inputs(
            self, inputs, initial_state, constants
        )
        outputs, finals, order = _run(
            self.cell,
            inputs,
            initial_state,
            constants or (),
            # Of a list of inputs, the states have no mask.
            _loop_mask(_flat(mask)[0], inputs, time_major),
            go_backwards=self.go_backwards,
            time_major=time_major,
            training=training,
            finals=self.return_state or self.stateful,
        )
        if self.stateful:
            for kept, final in zip(_flat(self.states), finals):
                kept.assign(tf.cast(final, kept.dtype))
        zero = self.zero_output_for_mask
        if self.return_sequences:
            output = order.leave(outputs, time_major, as_run=True, zero=zero)
            output.set_shape(inputs.shape[:2] + outputs.shape[2:])
        else:
            output = order.last(outputs, zero=zero)
        return [output, *finals] if self.return_state else output

    def get_config(self):
        """See base class."""
        # For `Bidirectional`, which HDF5 files give a stock `RNN` to wrap.
        return _cell_by_full_name(super().get_config())

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """See base class."""
        return super().from_config(_cell_by_full_name(config), custom_objects)


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class Recurrent(tf.keras.layers.Layer):
    """Runs a cell of `iss_rnns.cells` over a sequence, all states in the open.

    State goes in and comes out with every call; nothing is kept between calls.
    `RNN` is the same behind the interface of `tf.keras.layers.RNN`.

    Args:
      cell: an `iss_rnns.cells` cell.
      go_backwards: run from the last step to the first; outputs are returned
        in the order of the inputs.
      time_major: inputs, mask and outputs are `[time, batch, ...]` instead of
        `[batch, time, ...]`.
      jit_compile: in training, compile the loops over time with XLA: 1 to 5 %
        of a step of the language models on a CPU. Each new shape is compiled
        anew, so leave it off where lengths vary. `ShrinkWhileTraining` turns it
        off at its third cut.

    Call arguments:
      inputs: `[batch, time, features]`.
      initial_state: list of `[batch, n]`, in the cell's order; zeros if None.
      constants: what the cell reads unchanged in every time step, e.g. masks;
        not to be learned: in training no gradient flows back to them.
      lengths: `[batch]` int, valid steps of each sequence. Outputs past a
        sequence's length are 0, and the backward direction starts at its
        last valid step.
      training: keeps what the gradient needs. With False the loop is lighter;
        it is still differentiable, only slower to differentiate.
      hoisted: the inputs are the cell's `hoist` of the features already, e.g.
        rows of an `input_table`.
      return_state: with False, the list of final states is empty, and the
        loop over sequences with lengths or a mask is lighter.
      mask: `[batch, time]` bool, False for steps to leave out: they keep the
        states, and their output is that of the step before (of the one after,
        if `go_backwards`), 0 where there is none; as in
        `tf.keras.layers.RNN`. Layers such as `Masking` and
        `Embedding(mask_zero=True)` pass it on by themselves, and so does this
        one. Given lengths, too, a step is valid if both say so, and the
        outputs of all others are 0.

    Returns:
      (outputs `[batch, time, n]`, list of final states `[batch, n]`). Outputs
      are in the order of the inputs. States are those of each sequence's last
      valid step; of a sequence without any, its initial states.

    Raises:
      ValueError: if mask or lengths do not fit the inputs.

    Example:
      >>> import iss_rnns
      >>> layer = iss_rnns.Recurrent(iss_rnns.LSTMCell(5))
      >>> outputs, (h, c) = layer(tf.zeros([2, 7, 3]), lengths=[7, 4])
      >>> outputs.shape, h.shape
      (TensorShape([2, 7, 5]), TensorShape([2, 5]))
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
        self.supports_masking = True

    def build(self, input_shape):
        if not self.cell.built:
            with tf.name_scope(self.cell.name):
                self.cell.build(tf.TensorShape(input_shape))
        super().build(input_shape)
        _keras.compile_on_request(self)

    def call(
        self,
        inputs,
        initial_state=None,
        lengths=None,
        constants=(),
        training=None,
        hoisted=False,
        return_state=True,
        mask=None,
    ):
        """See the class."""
        if initial_state is None:
            initial_state = self.cell.get_initial_state(
                batch_size=tf.shape(inputs)[int(self.time_major)],
                dtype=inputs.dtype,
            )
        if lengths is not None:
            time = tf.shape(inputs)[int(not self.time_major)]
            valid = tf.sequence_mask(lengths, time)
            valid = tf.transpose(valid) if self.time_major else valid
            mask = valid if mask is None else valid & mask
        outputs, finals, order = _run(
            self.cell,
            inputs,
            initial_state,
            constants,
            _loop_mask(mask, inputs, self.time_major),
            go_backwards=self.go_backwards,
            time_major=self.time_major,
            training=training,
            finals=return_state,
            hoisted=hoisted,
            compiled=self.jit_compile,
        )
        outputs = order.leave(
            outputs, self.time_major, as_run=False, zero=lengths is not None
        )
        outputs.set_shape(inputs.shape[:2] + outputs.shape[2:])
        return outputs, finals

    def compute_mask(self, inputs, mask=None):
        """The outputs' mask is that of the inputs; the states have none."""
        return [_flat(mask)[0]] + [None] * len(_flat(self.cell.state_size))

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
        config = _cell_by_full_name(config)
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


def _run(
    cell,
    inputs: tf.Tensor,
    initial_state: Sequence[tf.Tensor],
    constants: Sequence[tf.Tensor],
    mask: Optional[tf.Tensor],
    *,
    go_backwards: bool,
    time_major: bool,
    training: Optional[bool],
    finals: bool,
    hoisted: bool = False,
    compiled: bool = False,
) -> tuple[tf.Tensor, list[tf.Tensor], Union[steps.Whole, steps.Masked]]:
    """Runs a cell over a sequence.

    Args:
      cell: see `Recurrent`.
      inputs: see `Recurrent`.
      initial_state: see `Recurrent`.
      constants: see `Recurrent`.
      mask: `[time, batch]` bool, the steps that count; None for all.
      go_backwards: see `Recurrent`.
      time_major: see `Recurrent`.
      training: see `Recurrent`.
      finals: whether final states are asked for.
      hoisted: see `Recurrent`.
      compiled: see `Recurrent`.

    Returns:
      (outputs `[time, batch, n]` by the loop's steps, final states or an empty
      list, what turns the outputs into the layer's).
    """
    order = (
        steps.Whole(go_backwards)
        if mask is None
        else steps.Masked(mask, go_backwards)
    )
    # A cell's constants are by batch entry, as the loop sees them.
    if constants and not time_major:
        inputs, time_major = steps.swap(inputs), True
    z = inputs if hoisted else cell.hoist(inputs, *constants)
    outputs, states = scan.scan(
        cell,
        order.enter(z, time_major),
        [tf.cast(state, inputs.dtype) for state in initial_state],
        fixed.loop_weights(lambda: cell.scan_weights(*constants)),
        bool(training),
        compiled,
        order.lengths if finals else None,
    )
    return outputs, states if finals else [], order


def _loop_mask(
    mask: Optional[tf.Tensor], inputs: tf.Tensor, time_major: bool
) -> Optional[tf.Tensor]:
    """A Keras mask as `[time, batch]` bool."""
    if mask is None:
        return None
    mask = tf.cast(mask, tf.bool)
    if mask.shape.rank == 3:  # Keras takes a column for each sequence, too.
        mask = mask[..., 0]
    if not mask.shape.is_compatible_with(inputs.shape[:2]):
        raise ValueError(
            f"The mask or the lengths are for inputs of {mask.shape} steps, "
            f"these inputs have {inputs.shape[:2]}."
        )
    mask = tf.broadcast_to(mask, tf.shape(inputs)[:2])
    return mask if time_major else tf.transpose(mask)


def _runs_fast(cell, constants: bool) -> bool:
    """Whether a cell's pieces say what its `call` does with such arguments."""
    kind = type(cell)
    if not all(hasattr(kind, piece) for piece in _PIECES):
        return False
    if constants and "constants" not in inspect.signature(kind.call).parameters:
        return False

    def depth(name):
        """Of the class that defines a method: 0 is the cell's own."""
        return [name in vars(c) for c in kind.__mro__].index(True)

    # A class that changes only `call` means what it writes there.
    return depth("call") >= depth("scan_step")


def _cell_by_full_name(config: dict) -> dict:
    """A layer's configuration whose cell Keras finds in every file format.

    In HDF5 files it looks for classes by their short names, and has cells of
    its own that are called the same.
    """
    cell = dict(config["cell"])
    cell["class_name"] = cell.get("registered_name") or cell["class_name"]
    return {**config, "cell": cell}


for _layer in (RNN, Recurrent):
    recurrence.register_recurrent(_layer)
