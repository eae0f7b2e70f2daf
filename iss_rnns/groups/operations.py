"""What TensorFlow's operations do with units.

A rule gets the operation and what is known of its inputs, writes into the
`Walk`, and says what is known of the outputs. An operation without a rule pins
the units that it reads.
"""

from collections.abc import Sequence
import string
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns.groups import walk as walk_lib
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk

Signals = Sequence[Signal]
Rule = Callable[[Walk, tf.Operation, Signals], list[Signal]]

# Elementwise with f(0) = 0, and others.
_QUIET = (
    "Abs Acosh_ Asin Asinh Atan Atanh Cast Ceil CheckNumerics Elu Erf Expm1 "
    "Floor Identity IsInf IsNan LeakyRelu Log1p Neg PreventGradient Real Imag "
    "Relu Relu6 Rint Round Selu Sign Sin Sinh Softsign Sqrt Square "
    "StopGradient Tan Tanh ZerosLike Snapshot EnsureShape DebugGradientIdentity"
).split()
_LOUD = (
    "Acos Cos Cosh Exp Inv Reciprocal IsFinite Lgamma Digamma Log LogicalNot "
    "OnesLike Rsqrt Sigmoid Softplus Invert Erfc"
).split()
# Two operands; zero where both are, where one is, or seldom.
_SUMS = (
    "Add AddV2 AddN Sub Maximum Minimum SquaredDifference LogicalOr NotEqual "
    "Greater Less Atan2"
).split()
_PRODUCTS = "Mul MulNoNan LogicalAnd BitwiseAnd".split()
_QUOTIENTS = "Div RealDiv DivNoNan TruncateDiv FloorDiv Xdivy FloorMod".split()
_OTHERS = "Equal GreaterEqual LessEqual Pow LogicalXor ApproximateEqual".split()
# Of which only the numbers of their inputs' entries count.
_SOURCES = (
    "Const Placeholder PlaceholderWithDefault Range NoOp Size Rank "
    "RandomUniform RandomStandardNormal RandomUniformInt TruncatedNormal "
    "StatelessRandomUniformV2 StatelessRandomNormalV2 VarHandleOp Assert "
    "StatelessRandomGetKeyCounter StatelessRandomGetAlg Timestamp PrintV2"
).split()
# Operands that say how large something is.
_SHAPERS = (
    "Shape Reshape Fill BroadcastTo Tile Range StridedSlice Slice Pack ConcatV2 "
    "GatherV2 Prod Mul Identity Cast ExpandDims Squeeze Pad PadV2 MirrorPad "
    "RandomUniform RandomStandardNormal Unpack Assert Equal Sub Add AddV2 Sum "
    "StatelessRandomUniformV2 StatelessRandomNormalV2 TruncatedNormal "
    "BroadcastArgs Maximum LogicalAnd All GreaterEqual Less LessEqual Greater "
    "NotEqual EnsureShape"
).split()


def apply(walk: Walk, op: tf.Operation, inputs: Signals) -> list[Signal]:
    """What is known of an operation's outputs.

    Args:
      walk: what is being written.
      op: the operation.
      inputs: of each of its inputs.
    """
    sizes = tuple(a for s in inputs for a in s.sizes if a is not None)
    if sizes and (op.type not in _SHAPERS or _floating(op)):
        walk.pin(sizes, f"{walk.where} computes with the number of its units")
        sizes = ()
    rule = _RULES.get(op.type)
    if rule is None:
        outputs = unknown(walk, op, inputs)
    elif not any(s.labelled or s.sizes for s in inputs):
        outputs = [Signal(shape(t)) for t in op.outputs]
    else:
        outputs = rule(walk, op, inputs)
    if op.type in _SHAPERS and sizes and op.type not in ("Fill", "Reshape"):
        outputs = [
            s
            if s.sizes or op.outputs[i].dtype not in (tf.int32, tf.int64)
            else Signal(s.shape, s.axes, s.weight, sizes)
            for i, s in enumerate(outputs)
        ]
    return [alone(walk, s) for s in outputs]


def unknown(walk: Walk, op: tf.Operation, inputs: Signals) -> list[Signal]:
    """Pins what an operation without a rule reads."""
    if any(s.labelled for s in inputs):
        walk.pin(
            list(inputs),
            f"{walk.where} does something with it that find_groups does not "
            f"know (the operation {op.type})",
        )
    return [Signal(shape(t)) for t in op.outputs]


def alone(walk: Walk, signal: Signal) -> Signal:
    """The same without units on axes of one entry, which broadcast."""
    single: dict[int, Optional[Axis]] = {
        i: None
        for i, axis in enumerate(signal.axes)
        if axis is not None and len(axis) == 1
    }
    if not single:
        return signal
    for i in single:
        walk.pin(signal.axes[i], f"{walk.where} takes it out alone")
    weight = signal.weight
    signal = signal.with_axes(single)
    return Signal(signal.shape, signal.axes, weight, signal.sizes)


def shape(tensor) -> Any:
    """A tensor's sizes; None for an unknown rank."""
    if tensor.shape.rank is None:
        return None
    return tuple(tensor.shape.as_list())


def _floating(op: tf.Operation) -> bool:
    return any(t.dtype.is_floating and not _shaped_by(op) for t in op.outputs)


def _shaped_by(op: tf.Operation) -> bool:
    return (
        op.type
        in (
            "Reshape Fill BroadcastTo Tile StridedSlice Slice Pad PadV2 MirrorPad "
            "RandomUniform RandomStandardNormal TruncatedNormal EnsureShape "
            "StatelessRandomUniformV2 StatelessRandomNormalV2 GatherV2"
        ).split()
        and op.type != "Cast"
    )


def _constant(tensor) -> Optional[np.ndarray]:
    return tf.get_static_value(tensor)


def _constant_axis(tensor, rank: int) -> Optional[int]:
    """The axis a tensor names, counted from the front; None: not known."""
    axis = _constant(tensor)
    return None if axis is None else int(np.reshape(axis, -1)[0]) % rank


# Elementwise.


def broadcast(
    walk: Walk,
    inputs: Signals,
    out: tuple,
    combine: Callable[[list[Axis]], Axis],
    uniform: Callable[[int], bool] = lambda i: False,
    additive: bool = False,
) -> list[Optional[Axis]]:
    """Units of the result of an elementwise operation.

    Args:
      walk: what is being written.
      inputs: operands.
      out: the result's shape.
      combine: the axes of the operands, entry by entry, to the result's.
      uniform: whether an operand is zero where it has no units.
      additive: an operand without units along an axis moves all units.
    """
    result: list[Optional[Axis]] = []
    for back in range(len(out), 0, -1):
        size = out[len(out) - back]
        axes: list[Optional[Axis]] = []
        moved = False
        for i, s in enumerate(inputs):
            if s.shape is None:
                axes.append(None)
            elif len(s.shape) < back or s.shape[-back] == 1:
                moved |= not uniform(i)
            else:
                axes.append(s.axes[-back])
        if size is None or not any(a is not None for a in axes):
            walk.pin(axes, f"{walk.where} has an unknown size")
            result.append(None)
            continue
        walk.tie(*axes, reason=joined_to(walk, inputs))
        known = [a for a in axes if a is not None]
        axis = combine(known)
        if len(known) < len(axes) or (additive and moved):
            axis = walk.louden(axis, f"{walk.where} adds something to it")
        result.append(axis)
    return result


def joined_to(walk: Walk, inputs: Signals) -> str:
    """Why what is computed with a tensor that has no units cannot be cut."""
    sources = [s.source for s in inputs if s.source and not s.labelled]
    if not sources:
        return ""
    return (
        f"{walk.where} computes it with {sources[0]}, whose size is fixed: put "
        "a Dense layer between them"
    )


def _elementwise(loud: bool) -> Rule:
    def rule(walk, op, inputs):
        signal = inputs[0]
        if not loud:
            return [
                Signal(shape(t), signal.axes, signal.weight, signal.sizes)
                for t in op.outputs[:1]
            ] + [Signal(shape(t)) for t in op.outputs[1:]]
        axes = tuple(
            walk.louden(a, f"{walk.where} makes something else of 0")
            for a in signal.axes
        )
        return [Signal(shape(op.outputs[0]), axes)]

    return rule


def _is_zero(op: tf.Operation, i: int) -> bool:
    value = _constant(op.inputs[i])
    return value is not None and value.size > 0 and not np.any(value)


def _sum(walk, op, inputs):
    out = shape(op.outputs[0])
    if out is None:
        return unknown(walk, op, inputs)

    def uniform(i):
        if _is_zero(op, i):
            return True
        value = _constant(op.inputs[i])
        if value is None or value.size == 0 or value.dtype.kind not in "fiu":
            return False
        # max(x, c <= 0) and min(x, c >= 0), x > c >= 0, x < c <= 0
        return {
            "Maximum": np.all(value <= 0),
            "Minimum": np.all(value >= 0),
            "Greater": np.all(value >= 0) and i == 1,
            "Less": np.all(value <= 0) and i == 1,
        }.get(op.type, False)

    axes = broadcast(walk, inputs, out, walk_lib.sum_of, uniform, additive=True)
    return [Signal(out, tuple(axes))]


def _product(walk, op, inputs):
    out = shape(op.outputs[0])
    if out is None:
        return unknown(walk, op, inputs)
    return [
        Signal(out, tuple(broadcast(walk, inputs, out, walk_lib.product_of)))
    ]


def _quotient(walk, op, inputs):
    """Zero where the first operand is, unless the second one is, too."""
    out = shape(op.outputs[0])
    if out is None:
        return unknown(walk, op, inputs)
    above, below = inputs[:2]
    axes = broadcast(walk, inputs[:2], out, lambda axes: axes[0])
    for back in range(1, len(out) + 1):
        axis = axes[-back]
        if axis is None:
            continue
        has = [
            len(s.shape) >= back and s.axes[-back] is not None
            for s in (above, below)
        ]
        if not has[0] or (has[1] and op.type != "DivNoNan"):
            axes[-back] = walk.louden(axis, f"{walk.where} divides by it")
    return [Signal(out, tuple(axes))]


def _other(walk, op, inputs):
    out = shape(op.outputs[0])
    if out is None:
        return unknown(walk, op, inputs)
    axes = broadcast(walk, inputs, out, walk_lib.sum_of)
    if op.type == "Pow":
        power = _constant(op.inputs[1])
        if power is not None and np.all(power > 0):
            return [Signal(out, tuple(axes))]
    return [
        Signal(
            out,
            tuple(
                walk.louden(a, f"{walk.where} makes something else of 0")
                for a in axes
            ),
        )
    ]


def _select(walk, op, inputs):
    """Zero where both choices are."""
    out = shape(op.outputs[0])
    if out is None or inputs[0].shape is None:
        return unknown(walk, op, inputs)
    condition, *choices = inputs
    if op.type == "Select" and len(condition.shape) == 1 < len(out):
        condition = Signal(
            condition.shape + (1,) * (len(out) - 1),
            condition.axes + (None,) * (len(out) - 1),
        )
    # The condition chooses alike for all units, or has units of its own.
    for i, axis in enumerate(condition.axes):
        if axis is None and condition.shape[i] not in (1, None):
            j = i + len(out) - len(condition.shape)
            walk.pin(
                [
                    s.axes[j - len(out)]
                    for s in choices
                    if len(s.shape) >= len(out) - j
                ],
                f"{walk.where} chooses by something that has no units",
            )
    axes = broadcast(
        walk,
        choices,
        out,
        walk_lib.sum_of,
        lambda i: _is_zero(op, i + 1),
        additive=True,
    )
    for back, axis in enumerate(reversed(condition.axes), 1):
        if axis is not None and back <= len(axes):
            walk.tie(axis, axes[-back])
    return [Signal(out, tuple(axes))]


def _softmax(walk, op, inputs):
    signal = inputs[0]
    if signal.axes and signal.axes[-1] is not None:
        walk.pin(
            signal.axes[-1],
            f"{walk.where} is a softmax over the units: put a Dense layer "
            "between them",
        )
    axes = tuple(
        walk.louden(a, f"{walk.where} makes something else of 0")
        for a in signal.axes
    )
    return [Signal(shape(op.outputs[0]), axes)]


# Products of matrices.


def contract(
    walk: Walk, inputs: Signals, letters: Sequence[str], out: str, sizes
) -> list[Optional[Axis]]:
    """Units of a product in Einstein's notation.

    Args:
      walk: what is being written.
      inputs: operands.
      letters: of each operand's axes.
      out: letters of the result.
      sizes: the result's shape.

    Returns:
      The units along each axis of the result.
    """
    found: dict[str, list[tuple[Optional[Axis], bool]]] = {}
    for signal, names in zip(inputs, letters):
        for name, axis, size in zip(names, signal.axes, signal.shape):
            if size != 1:
                found.setdefault(name, []).append((axis, signal.weight))
    for name, parts in found.items():
        axes = [axis for axis, _ in parts]
        if not any(a is not None for a in axes):
            continue
        walk.tie(*axes, reason=joined_to(walk, inputs))
        known = [(a, w) for a, w in parts if a is not None]
        if name not in out and len(known) == len(parts):
            weights = [a for a, w in known if w and (a.loud < 0).all()]
            walk.silence(weights or [a for a, _ in known], not weights)
    result: list[Optional[Axis]] = []
    for name in out:
        factors = [a for a, _ in found.get(name, ()) if a is not None]
        result.append(walk_lib.product_of(factors) if factors else None)
    return result


def _matmul(walk, op, inputs):
    out = shape(op.outputs[0])
    if out is None or None in (inputs[0].shape, inputs[1].shape):
        return unknown(walk, op, inputs)

    def flag(*names):
        return any(op.get_attr(n) for n in names if n in _attributes(op))

    batch = string.ascii_lowercase[: len(out) - 2]
    letters = [
        batch[len(batch) - (len(s.shape) - 2) :] + names
        for s, names in zip(inputs, ("XY", "YZ"))
    ]
    for i, names in enumerate(
        (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
    ):
        if flag(*names):
            letters[i] = letters[i][:-2] + letters[i][:-3:-1]
    axes = contract(walk, inputs[:2], letters, batch + "XZ", out)
    return [Signal(out, tuple(axes))]


def _attributes(op: tf.Operation):
    return op.node_def.attr


def _einsum(walk, op, inputs):
    out = shape(op.outputs[0])
    equation = op.get_attr("equation").decode()
    if out is None or "." in equation or any(s.shape is None for s in inputs):
        return unknown(walk, op, inputs)
    left, right = equation.replace(" ", "").split("->")
    letters = left.split(",")
    if any(len(set(names)) < len(names) for names in letters):
        return unknown(walk, op, inputs)
    return [Signal(out, tuple(contract(walk, inputs, letters, right, out)))]


# Reductions.


def _reduction(walk, op, inputs):
    signal = inputs[0]
    over = _constant(op.inputs[1])
    if over is None or signal.shape is None:
        return unknown(walk, op, inputs)
    rank = len(signal.shape)
    gone = {int(i) % rank for i in np.reshape(over, -1)}
    for i in sorted(gone):
        axis = signal.axes[i]
        if axis is None:
            continue
        if op.type in ("Sum", "Any", "EuclideanNorm"):
            walk.silence([axis])
        else:
            walk.pin(
                axis,
                f"{walk.where} takes the {op.type.lower()} over the units: "
                "put a Dense layer between them",
            )
    keep = op.get_attr("keep_dims") if "keep_dims" in _attributes(op) else False
    axes = [
        None if i in gone else axis
        for i, axis in enumerate(signal.axes)
        if keep or i not in gone
    ]
    return [Signal(shape(op.outputs[0]), tuple(axes), sizes=signal.sizes)]


def _along(what: str, after: Callable[[Signal, int], Signal]) -> Rule:
    """Of an operation that compares or adds up the units of an axis."""

    def rule(walk, op, inputs):
        signal = inputs[0]
        if signal.shape is None:
            return unknown(walk, op, inputs)
        over = _constant_axis(op.inputs[1], len(signal.shape))
        if over is None:
            return unknown(walk, op, inputs)
        walk.pin(signal.axes[over], f"{walk.where} {what}")
        return [after(signal, over)]

    return rule


def _without_axis(signal: Signal, at: int) -> Signal:
    if signal.shape is None:
        return signal
    return Signal(
        signal.shape[:at] + signal.shape[at + 1 :],
        signal.axes[:at] + signal.axes[at + 1 :],
    )


def _top(walk, op, inputs):
    walk.pin(inputs[0].axes[-1:], f"{walk.where} sorts the units")
    return unknown(walk, op, inputs)


# Shapes.


def reshaped(
    walk: Walk, signal: Signal, out: Optional[tuple]
) -> list[Optional[Axis]]:
    """Units of a reshaped tensor."""
    if out is None or signal.shape is None or None in (*out, *signal.shape):
        walk.pin(signal, f"{walk.where} reshapes it to an unknown size")
        return [None] * len(out or ())
    result: list[Optional[Axis]] = [None] * len(out)
    for i, axis in enumerate(signal.axes):
        if axis is None:
            continue
        place = _place(axis, i, signal.shape, out)
        if place is not None and result[place[0]] is not None:
            other = result[place[0]]
            if other is not None and walk.is_free(other):
                walk.pin(other, f"{walk.where} joins it to units")
                result[place[0]] = None
            elif walk.is_free(axis):
                walk.pin(axis, f"{walk.where} joins it to units")
                continue
        if place is None or result[place[0]] is not None:
            walk.pin(
                [axis, result[place[0]] if place else None],
                f"{walk.where} reshapes the units' axis into several: use the "
                "units before it, or put a Dense layer between them",
            )
            continue
        result[place[0]] = axis.take(place[1])
    return result


def _place(axis: Axis, at: int, before: tuple, out: tuple):
    """(the axis of a reshaped tensor along which it varies, index into it)."""
    key = axis.ids * (axis.loud.max() + 2) + axis.loud + 1
    view = [1] * len(before)
    view[at] = len(axis)
    index = np.arange(len(axis)).reshape(view)
    index = np.broadcast_to(index, before).reshape(out)
    varying = []
    for j, size in enumerate(out):
        first = np.take(index, [0], axis=j)
        if size > 1 and (key[index] != key[first]).any():
            varying.append(j)
    if len(varying) != 1:
        return None
    place: list[Any] = [0] * len(out)
    place[varying[0]] = slice(None)
    return varying[0], index[tuple(place)]


def _reshape(walk, op, inputs):
    out = shape(op.outputs[0])
    axes = reshaped(walk, inputs[0], out)
    numbers = _constant(op.inputs[1])
    if walk.fixed_places and numbers is not None:
        for axis, n in zip(axes, np.reshape(numbers, -1)):
            if n != -1:
                walk.pin(axis, f"{walk.where} reshapes to fixed sizes")
    return [Signal(out, tuple(axes), inputs[0].weight)]


def _transpose(walk, op, inputs):
    order = _constant(op.inputs[1])
    if order is None or inputs[0].shape is None:
        return unknown(walk, op, inputs)
    axes = tuple(inputs[0].axes[int(i)] for i in order)
    return [Signal(shape(op.outputs[0]), axes, inputs[0].weight)]


def _expand_dims(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return unknown(walk, op, inputs)
    at = _constant_axis(op.inputs[1], len(signal.shape) + 1)
    if at is None:
        return unknown(walk, op, inputs)
    axes = signal.axes[:at] + (None,) + signal.axes[at:]
    return [Signal(shape(op.outputs[0]), axes, signal.weight, signal.sizes)]


def _squeeze(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return unknown(walk, op, inputs)
    gone = {i % len(signal.shape) for i in op.get_attr("squeeze_dims")}
    gone = gone or {i for i, n in enumerate(signal.shape) if n == 1}
    axes = tuple(a for i, a in enumerate(signal.axes) if i not in gone)
    return [Signal(shape(op.outputs[0]), axes, signal.weight, signal.sizes)]


def _concat(walk, op, inputs):
    at = _constant(op.inputs[-1])
    out = shape(op.outputs[0])
    values = inputs[:-1]
    if at is None or out is None or any(s.shape is None for s in values):
        return unknown(walk, op, inputs)
    if len(out) == 1 and any(s.sizes for s in values):
        return [Signal(out, sizes=_joined_sizes(values))]
    return [
        Signal(
            out,
            tuple(concatenated(walk, values, int(at))),
            all(s.weight for s in values),
        )
    ]


def concatenated(walk: Walk, values: Signals, at: int) -> list[Optional[Axis]]:
    """Units of tensors joined along an axis."""
    rank = len(values[0].shape)
    at %= rank
    result: list[Optional[Axis]] = []
    for i in range(rank):
        axes = [s.axes[i] for s in values]
        if not any(a is not None for a in axes):
            result.append(None)
        elif i != at:
            walk.tie(*axes)
            known = [a for a in axes if a is not None]
            joined = walk_lib.sum_of(known)
            if len(known) < len(axes):
                joined = walk.louden(joined, f"{walk.where} adds to it")
            result.append(joined)
        elif any(s.shape[i] is None for s in values):
            walk.pin(axes, f"{walk.where} has an unknown size")
            result.append(None)
        else:
            result.append(
                walk_lib.concatenated(
                    [
                        walk.fixed(
                            s.shape[i], f"{walk.where} joins it to units"
                        )
                        if a is None
                        else a
                        for s, a in zip(values, axes)
                    ]
                )
            )
    return result


def _joined_sizes(values: Signals):
    found: list = []
    for s in values:
        count = s.shape[0] if s.shape else 1
        if len(s.sizes) == count:
            found += s.sizes
        else:
            found += [s.sizes[0] if s.sizes else None] * count
    return tuple(found)


def _pack(walk, op, inputs):
    out = shape(op.outputs[0])
    if out is None or any(s.shape is None for s in inputs):
        return unknown(walk, op, inputs)
    if len(out) == 1:
        walk.pin(list(inputs), f"{walk.where} takes it out alone")
        return [Signal(out, sizes=_joined_sizes(inputs))]
    at = op.get_attr("axis") % len(out)
    widened = [
        Signal(
            s.shape[:at] + (1,) + s.shape[at:],
            s.axes[:at] + (None,) + s.axes[at:],
        )
        for s in inputs
    ]
    return [
        Signal(
            out,
            tuple(concatenated(walk, widened, at)),
            all(s.weight for s in inputs),
        )
    ]


def _unpack(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return unknown(walk, op, inputs)
    at = op.get_attr("axis") % len(signal.shape)
    if len(signal.shape) == 1 and signal.sizes:
        return [
            Signal(shape(t), sizes=(s,) if s is not None else ())
            for t, s in zip(op.outputs, signal.sizes)
        ]
    walk.pin(signal.axes[at], f"{walk.where} takes the units out one by one")
    axes = signal.axes[:at] + signal.axes[at + 1 :]
    return [Signal(shape(t), axes, signal.weight) for t in op.outputs]


def _split(walk, op, inputs):
    """In parts of equal size, which stay equal: their units are tied."""
    which, signal = (0, inputs[1]) if op.type == "Split" else (2, inputs[0])
    if signal.shape is None:
        return unknown(walk, op, inputs)
    at = _constant_axis(op.inputs[which], len(signal.shape))
    if at is None:
        return unknown(walk, op, inputs)
    sizes = [shape(t)[at] for t in op.outputs]
    axis = signal.axes[at]
    ends = np.cumsum([0, *sizes])
    parts: list = [axis] * len(sizes)
    if axis is not None:
        parts = [axis.take(slice(a, b)) for a, b in zip(ends[:-1], ends[1:])]
        if len(set(sizes)) == 1:
            walk.tie(*parts)
        else:
            walk.pin(axis, f"{walk.where} splits the units at fixed places")
    return [
        Signal(
            shape(t),
            signal.axes[:at] + (part,) + signal.axes[at + 1 :],
            signal.weight,
        )
        for t, part in zip(op.outputs, parts)
    ]


def _strided_slice(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return unknown(walk, op, inputs)
    begin: Any
    end: Any
    strides: Any
    begin, end, strides = (
        np.reshape(tf.get_static_value(t, partial=True), -1)
        if tf.get_static_value(t, partial=True) is not None
        else [None] * t.shape[0]
        for t in op.inputs[1:4]
    )

    def bit(name, i):
        return bool(op.get_attr(name) >> i & 1)

    if len(signal.shape) == 1 and signal.sizes and not signal.labelled:
        index = (
            begin[0]
            if bit("shrink_axis_mask", 0)
            else slice(
                None if bit("begin_mask", 0) else begin[0],
                None if bit("end_mask", 0) else end[0],
                strides[0],
            )
        )
        if len(signal.sizes) == signal.shape[0] and index is not None:
            found = signal.sizes[index]
            found = found if isinstance(found, tuple) else (found,)
            if not any(a is not None for a in found):
                found = ()
            return [Signal(shape(op.outputs[0]), sizes=found)]
        return [Signal(shape(op.outputs[0]), sizes=signal.sizes)]
    count = len(begin)
    special = [
        bit("ellipsis_mask", i) or bit("new_axis_mask", i) for i in range(count)
    ]
    axes: list[Optional[Axis]] = []
    at = 0
    for i in range(count):
        if bit("ellipsis_mask", i):
            rest = sum(not s for s in special[i + 1 :])
            stop = len(signal.shape) - rest
            axes += signal.axes[at:stop]
            at = stop
            continue
        if bit("new_axis_mask", i):
            axes.append(None)
            continue
        axis = signal.axes[at]
        at += 1
        if bit("shrink_axis_mask", i):
            if axis is not None:
                one = axis if begin[i] is None else axis.take([int(begin[i])])
                walk.pin(one, f"{walk.where} takes it out alone")
            continue
        if axis is not None:
            ends: list[Any] = [
                None if bit(f"{name}_mask", i) else values[i]
                for name, values in (("begin", begin), ("end", end))
            ]
            known = all(
                bit(f"{name}_mask", i) or values[i] is not None
                for name, values in (("begin", begin), ("end", end))
            )
            if not known or strides[i] is None:
                walk.pin(axis, f"{walk.where} takes some of the units")
                axis = None
            else:
                place = slice(ends[0], ends[1], strides[i])
                some = range(len(axis))[place] != range(len(axis))
                if some and (
                    walk.fixed_places
                    or (strides[i] != 1 and ends != [None, None])
                    or strides[i] not in (1, -1)
                ):
                    walk.pin(axis, f"{walk.where} takes units at fixed places")
                axis = axis.take(place)
        axes.append(axis)
    axes += signal.axes[at:]
    return [Signal(shape(op.outputs[0]), tuple(axes), signal.weight)]


def _slice(walk, op, inputs):
    signal = inputs[0]
    out = shape(op.outputs[0])
    begin = _constant(op.inputs[1])
    if out is None or signal.shape is None:
        return unknown(walk, op, inputs)
    axes = []
    for i, axis in enumerate(signal.axes):
        if axis is not None and out[i] != signal.shape[i]:
            if begin is None:
                walk.pin(axis, f"{walk.where} takes some of the units")
                axis = None
            else:
                walk.pin(axis, f"{walk.where} takes units at fixed places")
                axis = axis.take(slice(begin[i], begin[i] + out[i]))
        axes.append(axis)
    return [Signal(out, tuple(axes), signal.weight)]


def _tile(walk, op, inputs):
    signal, times = inputs[0], _constant(op.inputs[1])
    out = shape(op.outputs[0])
    if out is None or signal.shape is None:
        return unknown(walk, op, inputs)
    axes = []
    for i, axis in enumerate(signal.axes):
        if axis is not None and out[i] != signal.shape[i]:
            if times is None or out[i] is None:
                walk.pin(axis, f"{walk.where} repeats the units")
                axis = None
            else:
                axis = axis.take(np.tile(np.arange(len(axis)), int(times[i])))
        axes.append(axis)
    return [Signal(out, tuple(axes))]


def _broadcast_to(walk, op, inputs):
    signal, out = inputs[0], shape(op.outputs[0])
    if out is None or signal.shape is None:
        return unknown(walk, op, inputs)
    axes = (None,) * (len(out) - len(signal.shape)) + signal.axes
    return [Signal(out, axes)]


def _fill(walk, op, inputs):
    """Of the shape of something with units: units along its axes."""
    out = shape(op.outputs[0])
    dims = inputs[0]
    if out is None or len(dims.sizes) != len(out):
        walk.pin(dims.sizes, f"{walk.where} makes something of their number")
        return [Signal(out)]
    zero = _is_zero(op, 1)
    axes = tuple(
        None
        if a is None
        else (
            a.quiet()
            if zero
            else walk.louden(a.quiet(), f"{walk.where} fills in a number")
        )
        for a in dims.sizes
    )
    return [Signal(out, axes)]


def _shape(walk, op, inputs):
    out = shape(op.outputs[0])
    if not inputs[0].labelled:
        return [Signal(out)]
    return [Signal(out, sizes=inputs[0].axes)]


def _gather(walk, op, inputs):
    """Entries at computed places of an axis."""
    params, indices = inputs[:2]
    out = shape(op.outputs[0])
    batch = op.get_attr("batch_dims") if "batch_dims" in _attributes(op) else 0
    if len(params.shape or (0, 0)) == 1 and params.sizes:
        index = _constant(op.inputs[1])
        if index is not None and len(params.sizes) == params.shape[0]:
            found = tuple(params.sizes[int(i)] for i in np.reshape(index, -1))
            if not any(a is not None for a in found):
                found = ()
            return [Signal(out, sizes=found)]
        return [Signal(out, sizes=params.sizes)]
    if out is None or None in (params.shape, indices.shape):
        return unknown(walk, op, inputs)
    at = (
        _constant_axis(op.inputs[2], len(params.shape))
        if op.type == "GatherV2"
        else 0
    )
    if at is None:
        return unknown(walk, op, inputs)
    walk.pin(params.axes[at], f"{walk.where} looks up single units")
    walk.pin(indices, f"{walk.where} looks up by it")
    axes = (
        params.axes[:at]
        + (None,) * (len(indices.shape) - batch)
        + params.axes[at + 1 :]
    )
    return [Signal(out, axes)]


def _gather_nd(walk, op, inputs):
    params, indices = inputs
    out = shape(op.outputs[0])
    if out is None or None in (params.shape, indices.shape):
        return unknown(walk, op, inputs)
    depth = indices.shape[-1]
    walk.pin(list(params.axes[:depth]), f"{walk.where} looks up single units")
    walk.pin(indices, f"{walk.where} looks up by it")
    axes = (None,) * (len(indices.shape) - 1) + params.axes[depth:]
    return [Signal(out, axes)]


def _reverse(walk, op, inputs):
    signal, over = inputs[0], _constant(op.inputs[1])
    if over is None or signal.shape is None:
        return unknown(walk, op, inputs)
    return [
        signal.with_axes(
            {
                int(i) % len(signal.shape): axis.take(slice(None, None, -1))
                for i in np.reshape(over, -1)
                if (axis := signal.axes[int(i)]) is not None
            }
        )
    ]


def _reverse_sequence(walk, op, inputs):
    walk.pin(
        [
            inputs[0].axes[op.get_attr("seq_dim")],
            inputs[0].axes[op.get_attr("batch_dim")],
        ],
        f"{walk.where} turns the units around",
    )
    return [Signal(shape(op.outputs[0]), inputs[0].axes)]


def _roll(walk, op, inputs):
    over = _constant(op.inputs[2])
    signal = inputs[0]
    if over is None or signal.shape is None:
        return unknown(walk, op, inputs)
    for i in np.reshape(over, -1):
        walk.pin(signal.axes[int(i)], f"{walk.where} rolls the units")
    return [Signal(signal.shape, signal.axes)]


def _pad(walk, op, inputs):
    signal, widths = inputs[0], _constant(op.inputs[1])
    out = shape(op.outputs[0])
    if widths is None or out is None or signal.shape is None:
        return unknown(walk, op, inputs)
    zero = op.type == "Pad" or (op.type == "PadV2" and _is_zero(op, 2))
    axes = []
    for axis, (before, behind) in zip(signal.axes, widths):
        if axis is not None and (before or behind):
            ends = [
                [walk.fixed(int(n), f"{walk.where} pads the units")]
                if n
                else []
                for n in (before, behind)
            ]
            axis = walk_lib.concatenated([*ends[0], axis, *ends[1]])
        elif axis is not None and not zero and op.type == "PadV2":
            axis = walk.louden(axis, f"{walk.where} pads with a number")
        axes.append(axis)
    return [Signal(out, tuple(axes))]


def _identity_n(walk, op, inputs):
    return [
        Signal(shape(t), s.axes, s.weight, s.sizes)
        for t, s in zip(op.outputs, inputs)
    ]


def _bias_add(walk, op, inputs):
    signal, bias = inputs
    out = shape(op.outputs[0])
    if out is None or signal.shape is None or bias.shape is None:
        return unknown(walk, op, inputs)
    if op.get_attr("data_format") != b"NHWC":
        return unknown(walk, op, inputs)
    axes = broadcast(walk, [signal, bias], out, walk_lib.sum_of, additive=True)
    return [Signal(out, tuple(axes))]


def _convolution(walk, op, inputs):
    """`[..., in]` by `[..., in, out]`."""
    out = shape(op.outputs[0])
    signal, kernel = inputs
    if (
        out is None
        or None in (signal.shape, kernel.shape)
        or op.get_attr("data_format") not in (b"NHWC", b"NDHWC")
        or signal.shape[-1] != kernel.shape[-2]
    ):
        return unknown(walk, op, inputs)
    spatial = [*signal.axes[1:-1], *kernel.axes[:-2]]
    walk.pin(spatial, f"{walk.where} moves a window over the units")
    axes = contract(
        walk,
        [
            Signal(signal.shape[-1:], signal.axes[-1:]),
            Signal(kernel.shape[-2:], kernel.axes[-2:], kernel.weight),
        ],
        ["a", "ab"],
        "b",
        out[-1:],
    )
    return [
        Signal(out, (signal.axes[0],) + (None,) * (len(out) - 2) + tuple(axes))
    ]


def _pool(walk, op, inputs):
    signal, out = inputs[0], shape(op.outputs[0])
    if out is None or signal.shape is None:
        return unknown(walk, op, inputs)
    axes = tuple(
        axis if out[i] == signal.shape[i] else None
        for i, axis in enumerate(signal.axes)
    )
    walk.pin(
        [a for i, a in enumerate(signal.axes) if axes[i] is not a],
        f"{walk.where} moves a window over the units",
    )
    if op.get_attr("data_format") not in (b"NHWC", b"NDHWC"):
        return unknown(walk, op, inputs)
    walk.pin(list(axes[1:-1]), f"{walk.where} moves a window over the units")
    return [Signal(out, axes)]


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_QUIET, _elementwise(loud=False)),
    **dict.fromkeys(_LOUD, _elementwise(loud=True)),
    **dict.fromkeys(_SUMS, _sum),
    **dict.fromkeys(_PRODUCTS, _product),
    **dict.fromkeys(_QUOTIENTS, _quotient),
    **dict.fromkeys(_OTHERS, _other),
    **dict.fromkeys(
        _SOURCES, lambda walk, op, ins: [Signal(shape(t)) for t in op.outputs]
    ),
    **dict.fromkeys(["Select", "SelectV2"], _select),
    **dict.fromkeys(["Softmax", "LogSoftmax"], _softmax),
    **dict.fromkeys(
        ["MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"], _matmul
    ),
    "Einsum": _einsum,
    **dict.fromkeys(
        ["Sum", "Mean", "Max", "Min", "Prod", "Any", "All", "EuclideanNorm"],
        _reduction,
    ),
    **dict.fromkeys(
        ["ArgMax", "ArgMin"],
        _along("takes the largest of the units", _without_axis),
    ),
    **dict.fromkeys(
        ["Cumsum", "Cumprod"],
        _along("adds up the units", lambda signal, at: signal.with_axes({})),
    ),
    "TopKV2": _top,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "ConcatV2": _concat,
    "Pack": _pack,
    "Unpack": _unpack,
    **dict.fromkeys(["Split", "SplitV"], _split),
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Tile": _tile,
    "BroadcastTo": _broadcast_to,
    "Fill": _fill,
    "Shape": _shape,
    **dict.fromkeys(["Gather", "GatherV2"], _gather),
    "GatherNd": _gather_nd,
    "ReverseV2": _reverse,
    "ReverseSequence": _reverse_sequence,
    "Roll": _roll,
    **dict.fromkeys(["Pad", "PadV2", "MirrorPad"], _pad),
    "IdentityN": _identity_n,
    "BiasAdd": _bias_add,
    **dict.fromkeys(["Conv2D", "Conv3D"], _convolution),
    **dict.fromkeys(["MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"], _pool),
}
