"""What the rules of all operations share."""

from collections.abc import Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk

Signals = Sequence[Signal]


Rule = Callable[[Walk, tf.Operation, Signals], list[Signal]]


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


def constant(tensor) -> Optional[np.ndarray]:
    return tf.get_static_value(tensor)


def constant_axis(tensor, rank: int) -> Optional[int]:
    """The axis a tensor names, counted from the front; None: not known."""
    axis = constant(tensor)
    return None if axis is None else int(np.reshape(axis, -1)[0]) % rank


def attributes(op: tf.Operation):
    return op.node_def.attr


def is_zero(op: tf.Operation, i: int) -> bool:
    value = constant(op.inputs[i])
    return value is not None and value.size > 0 and not np.any(value)


def joined_to(walk: Walk, inputs: Signals) -> str:
    """Why what is computed with a tensor that has no units cannot be cut."""
    sources = [s.source for s in inputs if s.source and not s.labelled]
    if not sources:
        return ""
    return (
        f"{walk.where} computes it with {sources[0]}, whose size is fixed: put "
        "a Dense layer between them"
    )
