"""Operations that compute an entry from those at the same place."""

from typing import Callable, Optional

import numpy as np

from iss_rnns.groups import walk as walk_lib
from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk

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


def broadcast(
    walk: Walk,
    inputs: common.Signals,
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
        walk.tie(*axes, reason=common.joined_to(walk, inputs))
        known = [a for a in axes if a is not None]
        axis = combine(known)
        if len(known) < len(axes) or (additive and moved):
            axis = walk.louden(axis, f"{walk.where} adds something to it")
        result.append(axis)
    return result


def _elementwise(loud: bool) -> common.Rule:
    def rule(walk, op, inputs):
        signal = inputs[0]
        if not loud:
            return [
                Signal(
                    common.shape(t), signal.axes, signal.weight, signal.sizes
                )
                for t in op.outputs[:1]
            ] + [Signal(common.shape(t)) for t in op.outputs[1:]]
        axes = tuple(
            walk.louden(a, f"{walk.where} makes something else of 0")
            for a in signal.axes
        )
        return [Signal(common.shape(op.outputs[0]), axes)]

    return rule


def _sum(walk, op, inputs):
    out = common.shape(op.outputs[0])
    if out is None:
        return common.unknown(walk, op, inputs)

    def uniform(i):
        if common.is_zero(op, i):
            return True
        value = common.constant(op.inputs[i])
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
    out = common.shape(op.outputs[0])
    if out is None:
        return common.unknown(walk, op, inputs)
    return [
        Signal(out, tuple(broadcast(walk, inputs, out, walk_lib.product_of)))
    ]


def _quotient(walk, op, inputs):
    """Zero where the first operand is, unless the second one is, too."""
    out = common.shape(op.outputs[0])
    if out is None:
        return common.unknown(walk, op, inputs)
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
    out = common.shape(op.outputs[0])
    if out is None:
        return common.unknown(walk, op, inputs)
    axes = broadcast(walk, inputs, out, walk_lib.sum_of)
    if op.type == "Pow":
        power = common.constant(op.inputs[1])
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
    out = common.shape(op.outputs[0])
    if out is None or inputs[0].shape is None:
        return common.unknown(walk, op, inputs)
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
        lambda i: common.is_zero(op, i + 1),
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
    return [Signal(common.shape(op.outputs[0]), axes)]


def _bias_add(walk, op, inputs):
    signal, bias = inputs
    out = common.shape(op.outputs[0])
    if out is None or signal.shape is None or bias.shape is None:
        return common.unknown(walk, op, inputs)
    if op.get_attr("data_format") != b"NHWC":
        return common.unknown(walk, op, inputs)
    axes = broadcast(walk, [signal, bias], out, walk_lib.sum_of, additive=True)
    return [Signal(out, tuple(axes))]


def _identity_n(walk, op, inputs):
    return [
        Signal(common.shape(t), s.axes, s.weight, s.sizes)
        for t, s in zip(op.outputs, inputs)
    ]


RULES: dict[str, common.Rule] = {
    **dict.fromkeys(_QUIET, _elementwise(loud=False)),
    **dict.fromkeys(_LOUD, _elementwise(loud=True)),
    **dict.fromkeys(_SUMS, _sum),
    **dict.fromkeys(_PRODUCTS, _product),
    **dict.fromkeys(_QUOTIENTS, _quotient),
    **dict.fromkeys(_OTHERS, _other),
    **dict.fromkeys(["Select", "SelectV2"], _select),
    **dict.fromkeys(["Softmax", "LogSoftmax"], _softmax),
    "IdentityN": _identity_n,
    "BiasAdd": _bias_add,
}
