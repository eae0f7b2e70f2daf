"""Operations that pick entries of an axis, or reorder them."""

from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal


class _Places:
    """What `x[...]` takes of each axis, as the operation says it.

    Attributes:
      count: entries between the brackets.
    """

    def __init__(self, op: tf.Operation):
        self._op = op
        self._values: list[Any] = [
            np.reshape(tf.get_static_value(t, partial=True), -1)
            if tf.get_static_value(t, partial=True) is not None
            else [None] * t.shape[0]
            for t in op.inputs[1:4]
        ]
        self.count = len(self._values[0])

    def _bit(self, name: str, i: int) -> bool:
        return bool(self._op.get_attr(f"{name}_mask") >> i & 1)

    def is_ellipsis(self, i: int) -> bool:
        """Whether an entry is `...`."""
        return self._bit("ellipsis", i)

    def is_new_axis(self, i: int) -> bool:
        """Whether an entry is `None`."""
        return self._bit("new_axis", i)

    def is_index(self, i: int) -> bool:
        """Whether an entry is a number, `begin(i)`, that takes the axis away."""
        return self._bit("shrink_axis", i)

    def begin(self, i: int):
        """Where an entry begins; None if that is not known."""
        return self._values[0][i]

    def span(self, i: int) -> Optional[slice]:
        """An entry as a slice; None if it is not known."""
        begin, end, stride = (values[i] for values in self._values)
        free = self._bit("begin", i), self._bit("end", i)
        if stride is None or (
            (begin is None and not free[0]) or (end is None and not free[1])
        ):
            return None
        return slice(
            None if free[0] else begin, None if free[1] else end, stride
        )


def _strided_slice(walk, op, inputs):
    signal = inputs[0]
    if signal.shape is None:
        return common.unknown(walk, op, inputs)
    places = _Places(op)
    if len(signal.shape) == 1 and signal.sizes and not signal.labelled:
        return [
            Signal(common.shape(op.outputs[0]), sizes=_sizes_at(signal, places))
        ]
    axes: list[Optional[Axis]] = []
    at = 0
    for i in range(places.count):
        if places.is_ellipsis(i):
            rest = sum(
                not (places.is_ellipsis(j) or places.is_new_axis(j))
                for j in range(i + 1, places.count)
            )
            stop = len(signal.shape) - rest
            axes += signal.axes[at:stop]
            at = stop
        elif places.is_new_axis(i):
            axes.append(None)
        else:
            axis = signal.axes[at]
            at += 1
            if not places.is_index(i):
                axes.append(_sliced(walk, axis, places.span(i)))
            elif axis is not None:
                index = places.begin(i)
                one = axis if index is None else axis.take([int(index)])
                walk.pin(one, f"{walk.where} takes it out alone")
    axes += signal.axes[at:]
    return [Signal(common.shape(op.outputs[0]), tuple(axes), signal.weight)]


def _sizes_at(signal: Signal, places: _Places) -> tuple:
    """Of a tensor of sizes: those that are taken."""
    place = places.begin(0) if places.is_index(0) else places.span(0)
    if place is None or len(signal.sizes) != signal.shape[0]:
        return signal.sizes
    found = signal.sizes[place]
    found = found if isinstance(found, tuple) else (found,)
    return found if any(a is not None for a in found) else ()


def _sliced(walk, axis: Optional[Axis], place: Optional[slice]):
    if axis is None:
        return None
    if place is None:
        walk.pin(axis, f"{walk.where} takes some of the units")
        return None
    some = range(len(axis))[place] != range(len(axis))
    if some and (
        walk.fixed_places
        or (place.step != 1 and (place.start, place.stop) != (None, None))
        or place.step not in (1, -1)
    ):
        walk.pin(axis, f"{walk.where} takes units at fixed places")
    return axis.take(place)


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
