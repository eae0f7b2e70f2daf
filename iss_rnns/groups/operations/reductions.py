"""Operations that add up or compare the entries of an axis."""

from typing import Callable

import numpy as np

from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Signal


def _reduction(walk, op, inputs):
    signal = inputs[0]
    over = common.constant(op.inputs[1])
    if over is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
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
    keep = (
        op.get_attr("keep_dims")
        if "keep_dims" in common.attributes(op)
        else False
    )
    axes = [
        None if i in gone else axis
        for i, axis in enumerate(signal.axes)
        if keep or i not in gone
    ]
    return [
        Signal(common.shape(op.outputs[0]), tuple(axes), sizes=signal.sizes)
    ]


def _along(what: str, after: Callable[[Signal, int], Signal]) -> common.Rule:
    """Of an operation that compares or adds up the units of an axis."""

    def rule(walk, op, inputs):
        signal = inputs[0]
        if signal.shape is None:
            return common.unknown(walk, op, inputs)
        over = common.constant_axis(op.inputs[1], len(signal.shape))
        if over is None:
            return common.unknown(walk, op, inputs)
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
    return common.unknown(walk, op, inputs)


RULES: dict[str, common.Rule] = {
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
}
