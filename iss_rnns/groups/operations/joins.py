"""Operations that join tensors, or take one apart."""

from typing import Optional

import numpy as np

from iss_rnns.groups import walk as walk_lib
from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk


def concatenated(
    walk: Walk, values: common.Signals, at: int
) -> list[Optional[Axis]]:
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


def _concat(walk, op, inputs):
    at = common.constant(op.inputs[-1])
    out = common.shape(op.outputs[0])
    values = inputs[:-1]
    if at is None or out is None or any(s.shape is None for s in values):
        return common.unknown(walk, op, inputs)
    if len(out) == 1 and any(s.sizes for s in values):
        return [Signal(out, sizes=_joined_sizes(values))]
    return [
        Signal(
            out,
            tuple(concatenated(walk, values, int(at))),
            all(s.weight for s in values),
        )
    ]


def _joined_sizes(values: common.Signals):
    found: list = []
    for s in values:
        count = s.shape[0] if s.shape else 1
        if len(s.sizes) == count:
            found += s.sizes
        else:
            found += [s.sizes[0] if s.sizes else None] * count
    return tuple(found)


def _pack(walk, op, inputs):
    out = common.shape(op.outputs[0])
    if out is None or any(s.shape is None for s in inputs):
        return common.unknown(walk, op, inputs)
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
        return common.unknown(walk, op, inputs)
    at = op.get_attr("axis") % len(signal.shape)
    if len(signal.shape) == 1 and signal.sizes:
        return [
            Signal(common.shape(t), sizes=(s,) if s is not None else ())
            for t, s in zip(op.outputs, signal.sizes)
        ]
    walk.pin(signal.axes[at], f"{walk.where} takes the units out one by one")
    axes = signal.axes[:at] + signal.axes[at + 1 :]
    return [Signal(common.shape(t), axes, signal.weight) for t in op.outputs]


def _split(walk, op, inputs):
    """In parts of equal size, which stay equal: their units are tied."""
    which, signal = (0, inputs[1]) if op.type == "Split" else (2, inputs[0])
    if signal.shape is None:
        return common.unknown(walk, op, inputs)
    at = common.constant_axis(op.inputs[which], len(signal.shape))
    if at is None:
        return common.unknown(walk, op, inputs)
    sizes = [common.shape(t)[at] for t in op.outputs]
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
            common.shape(t),
            signal.axes[:at] + (part,) + signal.axes[at + 1 :],
            signal.weight,
        )
        for t, part in zip(op.outputs, parts)
    ]


RULES: dict[str, common.Rule] = {
    "ConcatV2": _concat,
    "Pack": _pack,
    "Unpack": _unpack,
    **dict.fromkeys(["Split", "SplitV"], _split),
}
