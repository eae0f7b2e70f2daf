"""Operations that give entries another shape, or repeat them."""

from typing import Any, Optional

import numpy as np

from iss_rnns.groups import walk as walk_lib
from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk


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
    out = common.shape(op.outputs[0])
    axes = reshaped(walk, inputs[0], out)
    numbers = common.constant(op.inputs[1])
    if walk.fixed_places and numbers is not None:
        for axis, n in zip(axes, np.reshape(numbers, -1)):
            if n != -1:
                walk.pin(axis, f"{walk.where} reshapes to fixed sizes")
    return [Signal(out, tuple(axes), inputs[0].weight)]


def _transpose(walk, op, inputs):
    order = common.constant(op.inputs[1])
    if order is None or inputs[0].shape is None:
        return common.unknown(walk, op, inputs)
    axes = tuple(inputs[0].axes[int(i)] for i in order)
    return [Signal(common.shape(op.outputs[0]), axes, inputs[0].weight)]


def _expand_dims(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return common.unknown(walk, op, inputs)
    at = common.constant_axis(op.inputs[1], len(signal.shape) + 1)
    if at is None:
        return common.unknown(walk, op, inputs)
    axes = signal.axes[:at] + (None,) + signal.axes[at:]
    return [
        Signal(common.shape(op.outputs[0]), axes, signal.weight, signal.sizes)
    ]


def _squeeze(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return common.unknown(walk, op, inputs)
    gone = {i % len(signal.shape) for i in op.get_attr("squeeze_dims")}
    gone = gone or {i for i, n in enumerate(signal.shape) if n == 1}
    axes = tuple(a for i, a in enumerate(signal.axes) if i not in gone)
    return [
        Signal(common.shape(op.outputs[0]), axes, signal.weight, signal.sizes)
    ]


def _tile(walk, op, inputs):
    signal, times = inputs[0], common.constant(op.inputs[1])
    out = common.shape(op.outputs[0])
    if out is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
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
    signal, out = inputs[0], common.shape(op.outputs[0])
    if out is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
    axes = (None,) * (len(out) - len(signal.shape)) + signal.axes
    return [Signal(out, axes)]


def _fill(walk, op, inputs):
    """Of the shape of something with units: units along its axes."""
    out = common.shape(op.outputs[0])
    dims = inputs[0]
    if out is None or len(dims.sizes) != len(out):
        walk.pin(dims.sizes, f"{walk.where} makes something of their number")
        return [Signal(out)]
    zero = common.is_zero(op, 1)
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
    out = common.shape(op.outputs[0])
    if not inputs[0].labelled:
        return [Signal(out)]
    return [Signal(out, sizes=inputs[0].axes)]


def _pad(walk, op, inputs):
    signal, widths = inputs[0], common.constant(op.inputs[1])
    out = common.shape(op.outputs[0])
    if widths is None or out is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
    zero = op.type == "Pad" or (op.type == "PadV2" and common.is_zero(op, 2))
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


RULES: dict[str, common.Rule] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "BroadcastTo": _broadcast_to,
    "Fill": _fill,
    "Shape": _shape,
    **dict.fromkeys(["Pad", "PadV2", "MirrorPad"], _pad),
}
