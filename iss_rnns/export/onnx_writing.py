"""Plans as ONNX: one LSTM, GRU or RNN node a layer, any batch and time.

ONNX Runtime's nodes read sequences time-major, Keras' layers batch-major.
Sequences are turned around once on their way into a stack of recurrent layers
and once behind it: before a dense layer, whose outputs may be far wider.

A mask becomes the sequences' lengths, so what it hides must stand at their
ends. A recurrent highway layer, which ONNX has no node for, is a Scan.
"""

from collections.abc import Sequence
import contextlib
import hashlib
import importlib
import logging
import pathlib
import tempfile
from typing import Any, Optional, Union

import numpy as np

import iss_rnns
from iss_rnns import errors
from iss_rnns.export import plans

OPSET = 17
_IR_VERSION = 8
_NODES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}
# ONNX's order of the gates, as places in the plan's.
_GATES = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2), "rnn": (0,)}
# Of nodes, and as ONNX's recurrent nodes call them.
_ACTIVATIONS = {
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "hard_sigmoid": "HardSigmoid",
    "softsign": "Softsign",
    "softplus": "Softplus",
    "elu": "Elu",
    "softmax": "Softmax",
    "linear": "Affine",
}
# alpha and beta, of those that have them.
_NUMBERS = {"Affine": (1.0, 0.0), "HardSigmoid": (0.2, 0.5), "Elu": (1.0,)}
_TIME, _BATCH = "time", "batch"  # which axis comes first


def package(name: str = "onnx") -> Any:
    """The package `onnx`, or another that it comes with.

    Raises:
      UserError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.UserError(
            f"the format onnx needs {name.partition('.')[0]}: pip install "
            f"'iss-rnns[onnx]' ({errors.reason(error)})"
        ) from None


def to_onnx(plan: plans.Plan) -> bytes:
    """A plan as a model, checked by the package `onnx`.

    Inputs and outputs are called as in the plan and are batch-major.

    Raises:
      UserError: the package is missing, or a layer has no node.
    """
    return _Writer(plan).model()


def quantised(model: bytes) -> bytes:
    """The model with weights of 8 bits, by ONNX Runtime's own quantiser.

    Only ONNX Runtime runs it. Products and LSTMs are quantised; its version
    of today leaves GRU and RNN nodes in float32. Weights have 7 of the 8 bits:
    with all of them, sums of pairs overflow on x86 machines without VNNI, and
    outputs there are off by a third without a word.

    Raises:
      UserError: a package is missing.
    """
    onnx = package()
    quantization = package("onnxruntime.quantization")
    with tempfile.TemporaryDirectory(prefix="iss_rnns_") as folder:
        path = pathlib.Path(folder, "model.onnx")
        with _quiet_logging():
            quantization.quantize_dynamic(
                onnx.load_from_string(model),
                path,
                weight_type=quantization.QuantType.QInt8,
                reduce_range=True,
            )
        return path.read_bytes()


@contextlib.contextmanager
def _quiet_logging():
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class _Writer:
    def __init__(self, plan: plans.Plan):
        self._onnx = package()
        self._plan = plan
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._constants: dict[Any, str] = {}
        self._count = 0
        self._names: dict[tuple[str, Optional[str]], str] = {}
        self._sequences: set[str] = set()
        self._lengths: dict[str, str] = {}
        self._done: set[str] = set()

    def model(self) -> bytes:
        """Writes all of it."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        inputs, outputs = [], []
        for each in self._plan.inputs:
            sequence = len(each.shape) == 3 or each.dtype == "int32"
            shape = [
                size or ("batch" if i == 0 else "time")
                for i, size in enumerate(each.shape)
            ]
            kind = types.INT32 if each.dtype == "int32" else types.FLOAT
            inputs.append(helper.make_tensor_value_info(each.name, kind, shape))
            self._names[each.name, _BATCH if sequence else None] = each.name
            if sequence:
                self._sequences.add(each.name)
        for layer in self._plan.layers:
            if layer.name not in self._done:
                self._layer(layer)
        for name, value in self._plan.outputs.items():
            self._node("Identity", [self._get(value, _BATCH)], [name])
            sequence = value in self._sequences
            width = self._plan.widths[value]
            shape = ["batch", *(["time"] if sequence else []), width or "any"]
            outputs.append(
                helper.make_tensor_value_info(name, types.FLOAT, shape)
            )
        model = helper.make_model(
            helper.make_graph(
                self._nodes, "iss_rnns", inputs, outputs, self._weights
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="iss_rnns",
            producer_version=iss_rnns.__version__,
        )
        self._onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)

    # Names.

    def _new(self, what: str) -> str:
        self._count += 1
        return f"{what}.{self._count}"  # inputs and layers have no dots

    def _node(
        self,
        kind: str,
        read: Sequence[str],
        made: Union[Sequence[str], int] = 1,
        **attributes,
    ) -> list[str]:
        if isinstance(made, int):
            made = [self._new(kind.lower()) for _ in range(made)]
        self._nodes.append(
            self._onnx.helper.make_node(kind, read, list(made), **attributes)
        )
        return list(made)

    def _constant(self, array: np.ndarray, what: str = "constant") -> str:
        array = np.ascontiguousarray(array)
        digest = hashlib.sha256(array.tobytes()).digest()
        key = (array.dtype.str, array.shape, digest)
        if key not in self._constants:
            name = self._constants[key] = self._new(what)
            self._weights.append(
                self._onnx.numpy_helper.from_array(array, name)
            )
        return self._constants[key]

    def _axes(self, *axes: int) -> str:
        return self._constant(np.array(axes, np.int64), "axes")

    # Values.

    def _get(self, value: str, major: str) -> str:
        """A value's name; of a sequence with that axis first."""
        if value not in self._sequences:
            return self._names[value, None]
        if (value, major) not in self._names:
            other = _BATCH if major == _TIME else _TIME
            ids = self._plan.widths[value] is None or value in {
                each.name for each in self._plan.inputs if each.dtype == "int32"
            }
            (self._names[value, major],) = self._node(
                "Transpose",
                [self._names[value, other]],
                perm=[1, 0] if ids else [1, 0, 2],
            )
        return self._names[value, major]

    def _set(self, value: str, name: str, major: Optional[str]) -> None:
        self._names[value, major] = name
        if major is not None:
            self._sequences.add(value)

    def _best(self, value: str) -> str:
        """Which axis of a value should come first: time, if a loop reads it."""
        for reader in self._plan.readers(value):
            if reader.kind in plans.RECURRENT:
                if value == reader.inputs[0]:
                    return _TIME
            elif self._best(reader.outputs[0]) == _TIME:
                return _TIME
        return _BATCH

    # Layers.

    def _layer(self, layer: plans.Layer) -> None:
        if layer.kind == "rhn":
            self._highway(layer)
            return
        if layer.kind in plans.RECURRENT:
            twin = self._twin(layer)
            self._recurrent([layer] if twin is None else [layer, twin])
            return
        value = layer.outputs[0]
        major = self._best(value)
        read = [self._get(each, major) for each in layer.inputs]
        sequence = layer.inputs[0] in self._sequences
        name = getattr(self, f"_{layer.kind}")(layer, read, major)
        self._set(value, name, major if sequence else None)

    def _embedding(self, layer, read, major):
        table = self._constant(layer.arrays["table"], layer.name)
        mask = layer.options["mask"]
        if mask is not None:
            # `[batch, time]` or `[time, batch]`, as the ids.
            hidden = self._node(
                "Equal", [*read, self._constant(np.array(0, np.int32))]
            )
            self._mask(mask, self._node("Not", hidden)[0], major)
        return self._node("Gather", [table, *read])[0]

    def _masking(self, layer, read, major):
        value = np.array(layer.options["mask_value"], np.float32)
        same = self._node("Equal", [*read, self._constant(value)])
        (other,) = self._node("Not", same)
        cast = self._node("Cast", [other], to=self._onnx.TensorProto.FLOAT)
        seen = self._node("ReduceMax", cast, axes=[2], keepdims=1)
        (flat,) = self._node("Squeeze", [*seen, self._axes(2)])
        (flat,) = self._node("Cast", [flat], to=self._onnx.TensorProto.BOOL)
        self._mask(layer.options["mask"], flat, major)
        return self._node("Mul", [*read, *seen])[0]

    def _mask(self, mask: str, seen: str, major: str) -> None:
        """Keeps a mask: its lengths, and itself as floats `[T, B, 1]`."""
        types = self._onnx.TensorProto
        cast = self._node("Cast", [seen], to=types.INT32)
        axis = 1 if major == _BATCH else 0
        (self._lengths[mask],) = self._node(
            "ReduceSum", [*cast, self._axes(axis)], keepdims=0
        )
        if major == _BATCH:
            (seen,) = self._node("Transpose", [seen], perm=[1, 0])
        floats = self._node("Cast", [seen], to=types.FLOAT)
        (self._names[mask, _TIME],) = self._node(
            "Unsqueeze", [*floats, self._axes(2)]
        )

    def _dense(self, layer, read, major):
        kernel, bias = (
            self._constant(layer.arrays[name], f"{layer.name}/{name}")
            for name in ("kernel", "bias")
        )
        if layer.inputs[0] in self._sequences:
            product = self._node("MatMul", [*read, kernel])
            (made,) = self._node("Add", [*product, bias])
        else:
            (made,) = self._node("Gemm", [*read, kernel, bias])
        return self._apply(layer.options["activation"], made)

    def _activation(self, layer, read, major):
        options = layer.options
        return self._apply(options["activation"], read[0], options["alpha"])

    def _apply(self, name: str, read: str, alpha: float = 0.0) -> str:
        if name == "linear":
            return read
        numbers: dict[str, dict[str, Any]] = {
            "leaky_relu": {"alpha": alpha},
            "hard_sigmoid": {"alpha": 0.2, "beta": 0.5},
            "softmax": {"axis": -1},
        }
        attributes = numbers.get(name, {})
        return self._node(_ACTIVATIONS[name], [read], **attributes)[0]

    def _affine(self, layer, read, major):
        scale, offset = (
            self._constant(layer.arrays[name], f"{layer.name}/{name}")
            for name in ("scale", "offset")
        )
        product = self._node("Mul", [*read, scale])
        return self._node("Add", [*product, offset])[0]

    def _concatenate(self, layer, read, major):
        return self._node("Concat", read, axis=-1)[0]

    def _add(self, layer, read, major):
        return self._fold("Add", read)

    def _multiply(self, layer, read, major):
        return self._fold("Mul", read)

    def _average(self, layer, read, major):
        return self._node("Mean", read)[0]

    def _fold(self, kind: str, read: Sequence[str]) -> str:
        total, *others = read
        for other in others:
            (total,) = self._node(kind, [total, other])
        return total

    # Recurrent layers.

    def _twin(self, layer: plans.Layer) -> Optional[plans.Layer]:
        """The other direction, where both make one node."""
        twin = layer.options["twin"]
        for other in self._plan.recurrent():
            if (
                other is not layer
                and twin is not None
                and other.options["twin"] == twin
                and other.kind == layer.kind
                and other.inputs[0] == layer.inputs[0]
                and len(other.inputs) == len(layer.inputs)
                and other.units == layer.units
                and other.options.get("reset_after")
                == layer.options.get("reset_after")
            ):
                return other
        return None

    def _recurrent(self, layers: Sequence[plans.Layer]) -> None:
        """One node: of a layer, or of both directions of one."""
        layer = layers[0]
        self._done.update(each.name for each in layers)
        options, kind = layer.options, layer.kind
        mask = options["mask"]
        if mask is not None and any(
            each.options["zero_masked"] and not each.options["sequences"]
            for each in layers
        ):
            raise errors.UserError(
                f"the layer '{layer.name}' gives 0 where the mask hides the "
                "last step, which ONNX's nodes do not: export it with "
                "zero_output_for_mask=False"
            )
        read = [
            self._get(layer.inputs[0], _TIME),
            *(self._packed(layers, what) for what in "WRB"),
            "" if mask is None else self._lengths[mask],
        ]
        if len(layer.inputs) > 1:
            for i in range(1, len(layer.inputs)):
                starts = [
                    self._node(
                        "Unsqueeze",
                        [self._get(one.inputs[i], _BATCH), self._axes(0)],
                    )[0]
                    for one in layers
                ]
                if len(starts) > 1:
                    starts = self._node("Concat", starts, axis=0)
                read += starts
        while read[-1] == "":
            read.pop()
        attributes: dict[str, Any] = {
            "hidden_size": layer.units,
            "direction": "bidirectional"
            if len(layers) > 1
            else "reverse"
            if options["backwards"]
            else "forward",
            "activations": [a for each in layers for a in _functions(each)],
        }
        # Each function that has such numbers takes the next one.
        for i, which in enumerate(("alpha", "beta")):
            numbers = [
                _NUMBERS[name][i]
                for name in attributes["activations"]
                if len(_NUMBERS.get(name, ())) > i
            ]
            if numbers:
                attributes[f"activation_{which}"] = numbers
        if kind == "gru":
            attributes["linear_before_reset"] = int(options["reset_after"])
        y, *finals = self._node(
            _NODES[kind],
            read,
            [self._new(layer.name) for _ in range(1 + len(layer.states))],
            name=layer.name,
            **attributes,
        )
        # y is [T, directions, B, n], finals [directions, B, n].
        for i, name in enumerate(finals):
            for each, part in zip(layers, self._parted(name, layers, 0)):
                self._set(each.outputs[1 + i], part, None)
        wanted = [each for each in layers if each.options["sequences"]]
        parts = self._parted(y, layers, 1) if wanted else [y] * len(layers)
        for each, part in zip(layers, parts):
            last = self._names[each.outputs[1], None]
            if each.options["sequences"]:
                self._steps(each, part, last)
            else:
                self._set(each.outputs[0], last, None)

    def _parted(
        self, name: str, layers: Sequence[plans.Layer], axis: int
    ) -> list[str]:
        """What both directions made, apart, without the axis of directions."""
        parts = [name]
        if len(layers) > 1:
            parts = self._node("Split", [name], len(layers), axis=axis)
        return [
            self._node("Squeeze", [part, self._axes(axis)])[0] for part in parts
        ]

    def _steps(self, layer: plans.Layer, y: str, last: str) -> None:
        """Outputs of all steps as Keras has them, where a mask hides some.

        What it hides is at the end, where ONNX gives 0. So does Keras running
        backwards, as no step came before; forward it repeats the last output.
        """
        options = layer.options
        mask = options["mask"]
        if mask is not None and not (
            options["zero_masked"] or options["backwards"]
        ):
            one = self._constant(np.array(1, np.float32))
            hidden = self._node("Sub", [one, self._names[mask, _TIME]])
            filled = self._node("Mul", [*hidden, last])
            (y,) = self._node("Add", [y, *filled])
        if options["backwards"] and not options["in_time"]:
            low = np.iinfo(np.int64).min
            (y,) = self._node(
                "Slice",
                [
                    y,
                    self._axes(-1),
                    self._axes(low),
                    self._axes(0),
                    self._axes(-1),
                ],
            )
        self._set(layer.outputs[0], y, _TIME)

    def _packed(self, layers: Sequence[plans.Layer], what: str) -> str:
        """W, R or B of a node: `[directions, gates n, ...]`."""
        found = []
        for layer in layers:
            a = layer.arrays
            if what == "B":
                bias = a["bias"]
                found.append(
                    np.concatenate(
                        [
                            _gates(layer, bias),
                            _gates(layer, a.get("recurrent_bias", 0 * bias)),
                        ]
                    )
                )
            else:
                name = "kernel" if what == "W" else "recurrent_kernel"
                found.append(_gates(layer, a[name]).T)
        return self._constant(np.stack(found), f"{layers[0].name}/{what}")

    def _highway(self, layer: plans.Layer) -> None:
        """A Scan over time; each step goes through all micro-steps."""
        helper, types = self._onnx.helper, self._onnx.TensorProto
        options, a, n = layer.options, layer.arrays, layer.units
        if options["mask"] is not None:
            raise errors.UserError(
                f"the recurrent highway layer '{layer.name}' reads a mask, "
                "which an ONNX Scan does not know"
            )
        x = self._get(layer.inputs[0], _TIME)
        product = self._node("MatMul", [x, self._constant(a["kernel"])])
        (z,) = self._node("Add", [*product, self._constant(a["bias_0"])])
        if len(layer.inputs) > 1:
            start = self._get(layer.inputs[1], _BATCH)
        else:
            shape = self._node("Shape", [x], start=1, end=2)
            size = self._node("Concat", [*shape, self._axes(n)], axis=0)
            zero = self._constant(np.zeros(1, np.float32))
            (start,) = self._node("Expand", [zero, *size])
        outer, self._nodes = self._nodes, []
        state, row, new = (self._new(f"{layer.name}.{x}") for x in "szn")
        value = state
        for d in range(options["depth"]):
            product = self._node(
                "MatMul", [value, self._constant(a[f"recurrent_{d}"])]
            )
            other = row if d == 0 else self._constant(a[f"bias_{d}"])
            gates = self._node("Add", [*product, other])
            h, t = self._node("Split", gates, 2, axis=1)
            h, t = *self._node("Tanh", [h]), *self._node("Sigmoid", [t])
            change = self._node("Sub", [h, value])
            change = self._node("Mul", [*change, t])
            (value,) = self._node("Add", [*change, value])
        output = self._new(f"{layer.name}.y")
        self._node("Identity", [value], [new])
        self._node("Identity", [value], [output])
        body = helper.make_graph(
            self._nodes,
            "step",
            [
                helper.make_tensor_value_info(
                    name, types.FLOAT, ["batch", width]
                )
                for name, width in ((state, n), (row, 2 * n))
            ],
            [
                helper.make_tensor_value_info(name, types.FLOAT, ["batch", n])
                for name in (new, output)
            ],
        )
        self._nodes = outer
        back = int(options["backwards"])
        final, y = self._node(
            "Scan",
            [start, z],
            2,
            name=layer.name,
            body=body,
            num_scan_inputs=1,
            scan_input_directions=[back],
            scan_output_directions=[back and int(options["in_time"])],
        )
        self._set(layer.outputs[1], final, None)
        if options["sequences"]:
            self._set(layer.outputs[0], y, _TIME)
        else:
            self._set(layer.outputs[0], final, None)


def _gates(layer: plans.Layer, array: np.ndarray) -> np.ndarray:
    """`[..., gates n]` in ONNX's order of gates."""
    order = _GATES[layer.kind]
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[i] for i in order], -1)


def _functions(layer: plans.Layer) -> list[str]:
    """Activations of a node, in ONNX's order."""
    inner = _ACTIVATIONS[layer.options["activation"]]
    if layer.kind == "rnn":
        return [inner]
    gate = _ACTIVATIONS[layer.options["recurrent_activation"]]
    return [gate, inner, inner] if layer.kind == "lstm" else [gate, inner]
