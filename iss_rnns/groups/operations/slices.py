"""Operations that pick entries of an axis, or reorder them."""

from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal


def _strided_slice(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return common.unknown(walk, op, inputs)
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
            return [Signal(common.shape(op.outputs[0]), sizes=found)]
        return [Signal(common.shape(op.outputs[0]), sizes=signal.sizes)]
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
    return [Signal(common.shape(op.outputs[0]), tuple(axes), signal.weight)]


def _slice(walk, op, inputs):
    signal = inputs[0]
    out = common.shape(op.outputs[0])
    begin = common.constant(op.inputs[1])
    if out is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
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


def _gather(walk, op, inputs):
    """Entries at computed places of an axis."""
    params, indices = inputs[:2]
    out = common.shape(op.outputs[0])
    batch = (
        op.get_attr("batch_dims")
        if "batch_dims" in common.attributes(op)
        else 0
    )
    if len(params.shape or (0, 0)) == 1 and params.sizes:
        index = common.constant(op.inputs[1])
        if index is not None and len(params.sizes) == params.shape[0]:
            found = tuple(params.sizes[int(i)] for i in np.reshape(index, -1))
            if not any(a is not None for a in found):
                found = ()
            return [Signal(out, sizes=found)]
        return [Signal(out, sizes=params.sizes)]
    if out is None or None in (params.shape, indices.shape):
        return common.unknown(walk, op, inputs)
    at = (
        common.constant_axis(op.inputs[2], len(params.shape))
        if op.type == "GatherV2"
        else 0
    )
    if at is None:
        return common.unknown(walk, op, inputs)
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
    out = common.shape(op.outputs[0])
    if out is None or None in (params.shape, indices.shape):
        return common.unknown(walk, op, inputs)
    depth = indices.shape[-1]
    walk.pin(list(params.axes[:depth]), f"{walk.where} looks up single units")
    walk.pin(indices, f"{walk.where} looks up by it")
    axes = (None,) * (len(indices.shape) - 1) + params.axes[depth:]
    return [Signal(out, axes)]


def _reverse(walk, op, inputs):
    signal, over = inputs[0], common.constant(op.inputs[1])
    if over is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
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
    return [Signal(common.shape(op.outputs[0]), inputs[0].axes)]


def _roll(walk, op, inputs):
    over = common.constant(op.inputs[2])
    signal = inputs[0]
    if over is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
    for i in np.reshape(over, -1):
        walk.pin(signal.axes[int(i)], f"{walk.where} rolls the units")
    return [Signal(signal.shape, signal.axes)]


RULES: dict[str, common.Rule] = {
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    **dict.fromkeys(["Gather", "GatherV2"], _gather),
    "GatherNd": _gather_nd,
    "ReverseV2": _reverse,
    "ReverseSequence": _reverse_sequence,
    "Roll": _roll,
}
