"""Keras models as plans: what layers compute, out of what Keras knows of them.

Sequential and functional models of the layers below, models within models
included. What is not known for sure is refused: a layer of one's own class may
compute anything.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import cells as cells_lib
from iss_rnns import errors
from iss_rnns import recurrent
from iss_rnns.export import plans

ACTIVATIONS = (
    "linear",
    "relu",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "softsign",
    "softplus",
    "elu",
    "softmax",
)
# That give what they are given when they do not train.
_IDLE = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
)
_MERGES = {
    "Concatenate": "concatenate",
    "Add": "add",
    "Multiply": "multiply",
    "Average": "average",
}
_MERGE_MODES = {
    "concat": "concatenate",
    "sum": "add",
    "mul": "multiply",
    "ave": "average",
}

# Options of a recurrent layer that gives all steps, in order.
FORWARD: Mapping[str, Any] = {
    "sequences": True,
    "backwards": False,
    "in_time": False,
    "mask": None,
    "zero_masked": False,
    "stateful": False,
    "twin": None,
}


def read(model: tf.keras.Model) -> plans.Plan:
    """The plan of a model.

    Args:
      model: sequential or functional, built.

    Raises:
      UserError: the model is of another kind, or a layer of it is not known.
    """
    if not _keras.is_graph(model):
        raise errors.UserError(
            f"the model '{model.name}' is no sequential or functional model "
            "of known inputs, so nobody knows how its layers are connected"
        )
    reader = _Reader()
    inputs, outputs = (tf.nest.flatten(end) for end in _keras.ends(model))
    names = input_names(model)
    values = [
        reader.new_input(name, tensor) for name, tensor in zip(names, inputs)
    ]
    found = reader.read(model, values)
    return plans.Plan(
        reader.inputs,
        reader.layers,
        dict(zip(output_names(model, len(outputs)), found)),
        reader.widths,
    )


def input_names(model: tf.keras.Model) -> list[str]:
    """What the inputs of a model are called, flat; each is an identifier."""
    return unique(_keras.input_names(model))


def output_names(model: tf.keras.Model, count: int) -> list[str]:
    """What the outputs of a model are called, likewise."""
    names = list(getattr(model, "output_names", None) or [])
    if len(names) != count:
        names = [f"output_{i + 1}" for i in range(count)]
    return unique(names)


def unique(names: Sequence[str]) -> list[str]:
    """Names of ASCII letters, digits and _, no two alike."""
    found: list[str] = []
    for name in names:
        plain = "".join(
            c if c.isascii() and (c.isalnum() or c == "_") else "_"
            for c in str(name)
        )
        plain = plain if plain[:1].isalpha() else f"x{plain}"
        number, new = 1, plain
        while new in found:
            number += 1
            new = f"{plain}_{number}"
        found.append(new)
    return found


class _Reader:
    """Collects layers; values are known by name, masks by the value's."""

    def __init__(self):
        self.inputs: list[plans.Input] = []
        self.layers: list[plans.Layer] = []
        self.widths: dict[str, Optional[int]] = {}
        self._ranks: dict[str, int] = {}
        self._masks: dict[str, Optional[str]] = {}
        self._ids: set[str] = set()
        self._names: list[str] = []

    def new_input(self, name: str, tensor) -> str:
        """An input of the net, as a value."""
        shape = tuple(tensor.shape)
        dtype = tf.as_dtype(tensor.dtype)
        if dtype == tf.string or len(shape) not in (2, 3):
            raise errors.UserError(
                f"the input '{name}' is {dtype.name}{list(shape)}; expected "
                "[batch, features], [batch, time, features] or ids "
                "[batch, time]"
            )
        self.widths[name] = shape[-1]
        self._ranks[name] = len(shape)
        self._masks[name] = None
        self._names.append(name)
        kind = "int32" if dtype.is_integer else "float32"
        self.inputs.append(plans.Input(name, kind, (None, *shape[1:])))
        return name

    def read(self, model, values: Sequence[str]) -> list[str]:
        """The layers of a model on values; returns those of its outputs."""
        inputs, outputs = (tf.nest.flatten(end) for end in _keras.ends(model))
        known = {id(t): value for t, value in zip(inputs, values)}
        for step in _keras.steps(model):
            args, kwargs = step.arguments
            flat = [
                t
                for t in tf.nest.flatten([args, kwargs])
                if _keras.is_symbolic(t)
            ]
            mask = kwargs.get("mask")
            if mask is not None and _keras.is_symbolic(mask):
                raise _refused(step.layer, "its mask is given by hand")
            if _keras.is_operation(step.layer):
                raise _refused(step.layer, "it is a function of TensorFlow")
            read = [known[id(t)] for t in flat]
            made = self._read_layer(step.layer, read)
            known.update(zip(map(id, step.outputs), made))
        return [known[id(t)] for t in outputs]

    def _read_layer(self, layer, read: list[str]) -> list[str]:
        if _keras.is_graph(layer):
            return self.read(layer, read)
        kind = type(layer).__name__
        if isinstance(layer, (recurrent.RNN, recurrent.Recurrent)):
            if type(layer) not in (recurrent.RNN, recurrent.Recurrent):
                raise _refused(layer, "its class is not one that is known")
            return self._recurrent(layer, read)
        if not _keras.is_stock(layer):
            raise _refused(layer, "its class is not one that is known")
        if getattr(layer, "data_format", None) == "channels_first":
            raise _refused(layer, "its channels come first")
        if kind in _IDLE:
            return read
        if kind == "TimeDistributed":
            return self._read_layer(_position(layer), read)
        if kind == "Bidirectional":
            return self._bidirectional(layer, read)
        if kind in ("LSTM", "GRU", "SimpleRNN", "RNN"):
            return self._recurrent(layer, read)
        if kind in _MERGES:
            return [self._merge(layer, _MERGES[kind], read)]
        makers: Mapping[str, Callable[[Any, str], str]] = {
            "Activation": self._activation,
            "BatchNormalization": self._batch_normalization,
            "Dense": self._dense,
            "ELU": self._elu,
            "Embedding": self._embedding,
            "LeakyReLU": self._leaky,
            "Masking": self._masking,
            "ReLU": self._relu,
            "Softmax": self._softmax,
        }
        if kind not in makers:
            raise _refused(layer, f"{kind} is not one of the layers known")
        (x,) = read
        return [makers[kind](layer, x)]

    # Each kind of layer.

    def _embedding(self, layer, x: str) -> str:
        name = self._name(layer.name)
        mask = f"{name}_mask" if layer.mask_zero else None
        if self._ranks[x] != 2:
            raise _refused(layer, "its ids are not [batch, time]")
        # A sequential model's input is float32 if nobody said otherwise.
        self.inputs = [
            dataclasses.replace(each, dtype="int32") if each.name == x else each
            for each in self.inputs
        ]
        return self._add(
            name,
            "embedding",
            [x],
            layer.output_dim,
            {"table": _array(layer.embeddings)},
            {"mask": mask},
            mask,
            rank=3,
        )

    def _masking(self, layer, x: str) -> str:
        name = self._name(layer.name)
        if self._ranks[x] != 3:
            raise _refused(layer, "its input is not [batch, time, features]")
        return self._add(
            name,
            "masking",
            [x],
            self.widths[x],
            {},
            {"mask_value": float(layer.mask_value), "mask": f"{name}_mask"},
            f"{name}_mask",
        )

    def _dense(self, layer, x: str) -> str:
        bias = (
            _array(layer.bias)
            if layer.use_bias
            else np.zeros(layer.units, np.float32)
        )
        return self._add(
            self._name(layer.name),
            "dense",
            [x],
            layer.units,
            {"kernel": _array(layer.kernel), "bias": bias},
            {"activation": _activation(layer, layer.activation)},
        )

    def _activation(self, layer, x: str) -> str:
        return self._apply(layer, x, _activation(layer, layer.activation))

    def _apply(self, layer, x: str, activation: str, alpha: float = 0.0) -> str:
        options = {"activation": activation, "alpha": alpha}
        return self._add(
            self._name(layer.name),
            "activation",
            [x],
            self.widths[x],
            {},
            options,
        )

    def _relu(self, layer, x: str) -> str:
        if layer.max_value is not None or layer.threshold:
            raise _refused(layer, "it has a threshold or a largest value")
        slope = float(layer.negative_slope)
        return self._apply(layer, x, "leaky_relu" if slope else "relu", slope)

    def _leaky(self, layer, x: str) -> str:
        slope = getattr(layer, "alpha", None)
        slope = layer.negative_slope if slope is None else slope
        return self._apply(layer, x, "leaky_relu", float(slope))

    def _elu(self, layer, x: str) -> str:
        if float(layer.alpha) != 1.0:
            raise _refused(layer, "its alpha is not 1")
        return self._apply(layer, x, "elu")

    def _softmax(self, layer, x: str) -> str:
        if layer.axis not in (-1, self._ranks[x] - 1):
            raise _refused(layer, "it is not over the last axis")
        if self._masks[x]:
            raise _refused(layer, "it reads a mask")
        return self._apply(layer, x, "softmax")

    def _batch_normalization(self, layer, x: str) -> str:
        axis = tf.nest.flatten(layer.axis)
        if [each % self._ranks[x] for each in axis] != [self._ranks[x] - 1]:
            raise _refused(layer, "it is not over the last axis")
        mean, variance = map(_array, (layer.moving_mean, layer.moving_variance))
        scale = 1.0 / np.sqrt(variance + np.float32(layer.epsilon))
        if layer.scale:
            scale = scale * _array(layer.gamma)
        offset = -mean * scale
        if layer.center:
            offset = offset + _array(layer.beta)
        return self._add(
            self._name(layer.name),
            "affine",
            [x],
            self.widths[x],
            {"scale": scale.astype("f"), "offset": offset.astype("f")},
            {},
        )

    def _merge(self, layer, kind: str, read: list[str]) -> str:
        rank = self._ranks[read[0]]
        if kind == "concatenate":
            if layer.axis not in (-1, rank - 1):
                raise _refused(layer, "it is not over the last axis")
        return self._merged(layer, self._name(layer.name), kind, read)

    def _merged(self, layer, name: str, kind: str, read: list[str]) -> str:
        masks = {self._masks[x] for x in read}
        widths = [self.widths[x] for x in read]
        if len(masks) > 1:
            raise _refused(layer, "what it reads has different masks")
        if len({self._ranks[x] for x in read}) > 1 or (
            kind != "concatenate" and len(set(widths)) > 1
        ):
            raise _refused(layer, "what it reads has different shapes")
        width = (
            sum(n or 0 for n in widths) if kind == "concatenate" else widths[0]
        )
        return self._add(name, kind, read, width, {}, {}, masks.pop())

    def _recurrent(self, layer, read: list[str]) -> list[str]:
        outputs = self._run(layer, self._name(layer.name), read)
        always = isinstance(layer, recurrent.Recurrent)
        return outputs if always or layer.return_state else outputs[:1]

    def _run(
        self,
        layer,
        name: str,
        read: list[str],
        in_time: bool = False,
        twin: Optional[str] = None,
    ) -> list[str]:
        """A layer that runs a cell; returns y and the final states."""
        own = isinstance(layer, recurrent.Recurrent)
        if getattr(layer, "time_major", False):
            raise _refused(layer, "it is time-major")
        if self._ranks[read[0]] != 3:
            raise _refused(layer, "its input is not [batch, time, features]")
        kind, arrays, options = cell_of(layer)
        states = plans.STATES[kind]
        if len(read) not in (1, 1 + len(states)):
            raise _refused(layer, "it reads constants beside its states")
        sequences = own or layer.return_sequences
        mask = self._masks[read[0]]
        units = layer.cell.units
        options = {
            **FORWARD,
            **options,
            "sequences": sequences,
            "backwards": layer.go_backwards,
            "in_time": in_time or own,
            "mask": mask,
            "zero_masked": bool(getattr(layer, "zero_output_for_mask", False)),
            "stateful": bool(getattr(layer, "stateful", False)),
            "twin": twin,
        }
        outputs = [name, *(f"{name}_final_{letter}" for letter in states)]
        for i, value in enumerate(outputs):
            self.widths[value] = units
            self._ranks[value] = 3 if sequences and not i else 2
            self._masks[value] = mask if sequences and not i else None
        self.layers.append(
            plans.Layer(name, kind, read, outputs, arrays, options)
        )
        return outputs

    def _bidirectional(self, layer, read: list[str]) -> list[str]:
        forward, backward = layer.forward_layer, layer.backward_layer
        if forward.go_backwards or not backward.go_backwards:
            raise _refused(layer, "its directions are the other way round")
        states = read[1:]
        half = len(states) // 2
        base = self._name(layer.name)
        one = self._run(
            forward,
            self._name(f"{base}_forward"),
            [read[0], *states[:half]],
            twin=base,
        )
        other = self._run(
            backward,
            self._name(f"{base}_backward"),
            [read[0], *states[half:]],
            in_time=True,
            twin=base,
        )
        if layer.merge_mode is None:
            merged = [one[0], other[0]]
        else:
            merged = [
                self._merged(
                    layer,
                    self._name(f"{base}_merged"),
                    _MERGE_MODES[layer.merge_mode],
                    [one[0], other[0]],
                )
            ]
        if forward.return_state:
            merged += [*one[1:], *other[1:]]
        return merged

    # Helpers.

    def _name(self, name: str) -> str:
        *_, new = unique([*self._names, name])
        self._names.append(new)
        return new

    def _add(
        self,
        name: str,
        kind: str,
        read: list[str],
        width: Optional[int],
        arrays: Mapping[str, np.ndarray],
        options: Mapping[str, Any],
        mask: Optional[str] = None,
        rank: Optional[int] = None,
    ) -> str:
        """A layer of one output, which keeps the mask of what it reads."""
        self.layers.append(
            plans.Layer(name, kind, read, [name], arrays, options)
        )
        self.widths[name] = width
        self._ranks[name] = rank or self._ranks[read[0]]
        self._masks[name] = mask or self._masks[read[0]]
        return name


def cell_of(layer) -> tuple[str, dict[str, np.ndarray], dict[str, Any]]:
    """(kind, arrays, options) of a recurrent layer's cell.

    Args:
      layer: that has the cell, built.

    Raises:
      UserError: the cell is not one that is known.
    """
    cell = layer.cell
    if type(cell) is cells_lib.RHNCell:
        return "rhn", rhn_arrays(cell), {"depth": cell.depth}
    own = type(cell) in (
        cells_lib.LSTMCell,
        cells_lib.GRUCell,
        cells_lib.SimpleRNNCell,
    )
    if not own and not (
        _keras.is_stock(cell)
        and type(cell).__name__ in ("LSTMCell", "GRUCell", "SimpleRNNCell")
    ):
        raise _refused(layer, f"its cell is a {type(cell).__name__}")
    kind = {
        "LSTMCell": "lstm",
        "GRUCell": "gru",
        "SimpleRNNCell": "rnn",
    }[type(cell).__name__]
    arrays = {
        "kernel": _array(cell.kernel),
        "recurrent_kernel": _array(cell.recurrent_kernel),
    }
    width = arrays["kernel"].shape[1]
    if type(cell) is cells_lib.LSTMCell:
        bias = np.asarray(cell.effective_bias())
    elif own or cell.use_bias:
        bias = _array(cell.bias)
    else:
        bias = np.zeros(width, np.float32)
    reset_after = own or bool(getattr(cell, "reset_after", True))
    if kind == "gru":
        both = bias if bias.ndim == 2 else np.stack([bias, 0 * bias])
        arrays["bias"], arrays["recurrent_bias"] = both
    else:
        arrays["bias"] = bias
    options: dict[str, Any] = {}
    if kind == "rnn":
        options["activation"] = (
            cell.activation if own else _activation(layer, cell.activation)
        )
    elif own:
        options = {"activation": "tanh", "recurrent_activation": "sigmoid"}
    else:
        options = {
            "activation": _activation(layer, cell.activation),
            "recurrent_activation": _activation(
                layer, cell.recurrent_activation
            ),
        }
    if kind == "gru":
        options["reset_after"] = reset_after
    if "softmax" in options.values():
        raise _refused(layer, "its activation is a softmax")
    return kind, arrays, options


def rhn_arrays(cell: cells_lib.RHNCell) -> dict[str, np.ndarray]:
    """Of a recurrent highway cell, h beside t."""

    def joined(h, t):
        return np.concatenate([_array(h), _array(t)], -1)

    arrays = {"kernel": joined(cell.kernel_h, cell.kernel_t)}
    for d in range(cell.depth):
        arrays[f"recurrent_{d}"] = joined(
            cell.recurrent_h[d], cell.recurrent_t[d]
        )
        arrays[f"bias_{d}"] = joined(cell.bias_h[d], cell.bias_t[d])
    return arrays


def _activation(layer, function) -> str:
    name = getattr(function, "__name__", "")
    if name in ACTIVATIONS and tf.keras.activations.get(name) is function:
        return name
    raise _refused(
        layer,
        f"its activation {name or type(function).__name__} is not one of "
        f"{', '.join(ACTIVATIONS)}",
    )


def _position(layer):
    """The layer within a `TimeDistributed` that works on each position."""
    inner = layer.layer
    if type(inner).__name__ not in ("Dense", "Activation", "Dropout"):
        raise _refused(
            layer, f"it holds a {type(inner).__name__}; expected a Dense"
        )
    return inner


def _array(variable) -> np.ndarray:
    return np.asarray(_keras.array(_keras.inner(variable)), np.float32)


def _refused(layer, why: str) -> errors.UserError:
    return errors.UserError(
        f"the layer '{layer.name}' ({type(layer).__name__}) cannot be "
        f"exported: {why}"
    )
