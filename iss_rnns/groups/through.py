"""Walks through a function: its leaves by their rules, the rest as operations."""

from collections.abc import Sequence
import dataclasses
import inspect
from typing import Any, Callable, Optional

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.groups import operations
from iss_rnns.groups import registry
from iss_rnns.groups import trace as trace_lib
from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk


def through(walk: Walk, function: Callable, inputs: Sequence[Signal]):
    """Walks through a function of tensors.

    Args:
      walk: what is being written.
      function: of tensors.
      inputs: what is known of them; all sizes must be known.

    Returns:
      A list of what is known of its results.
    """
    specs = [tf.TensorSpec(s.shape, s.dtype or tf.float32) for s in inputs]
    where = walk.where
    traced = trace_lib.trace(function, (specs, {}), is_leaf)
    outputs = follow(walk, traced, inputs)
    walk.where = where
    return outputs


def is_leaf(layer: Any) -> bool:
    """Whether a layer has a rule."""
    return registry.rule_of(layer) is not None


def follow(
    walk: Walk,
    traced: trace_lib.Trace,
    inputs: Optional[Sequence[Signal]] = None,
) -> list[Signal]:
    """Walks through what has been traced, in its order.

    Args:
      walk: what is being written.
      traced: what is walked through.
      inputs: of the placeholders; without them they have no units.

    Returns:
      A list of what is known of its results.
    """
    return _Follower(walk, traced, inputs).run()


class _Follower:
    def __init__(self, walk, traced, inputs):
        self.walk = walk
        self.traced = traced
        self.operations = traced.graph.get_operations()
        self.starts: dict[int, int] = {}  # of leaves, to their ends
        for call in traced.calls:
            if call.leaf:
                self.starts[call.start] = max(
                    call.stop, self.starts.get(call.start, 0)
                )
        self.signals: dict[str, Signal] = {}
        self.hidden: dict[str, trace_lib.Call] = {}
        tensors = [t for t in tf.nest.flatten(traced.inputs) if tf.is_tensor(t)]
        for tensor, signal in zip(tensors, inputs or ()):
            self._set(tensor, signal)
        for i, tensor in enumerate(tensors if inputs is None else ()):
            self._set(
                tensor,
                Signal(
                    common.shape(tensor),
                    source="the model's input"
                    + (f" {i + 1}" if len(tensors) > 1 else ""),
                ),
            )
        handles = {
            id(_keras.handle(w.variable)): w.variable
            for w in walk.weights.values()
        }
        self.variables = {
            internal.name: handles[id(external)]
            for external, internal in traced.graph.captures
            if id(external) in handles
        }

    def run(self) -> list[Signal]:
        traced = self.traced
        calls = sorted(traced.calls, key=lambda call: call.stop)
        owners = traced.names()
        hidden_until = 0
        position = 0
        for at, op in enumerate(self.operations):
            while position < len(calls) and calls[position].stop <= at:
                self._call(calls[position])
                position += 1
            hidden_until = max(hidden_until, self.starts.get(at, 0))
            if at >= hidden_until:
                self._operation(op, owners[at])
        for call in calls[position:]:
            self._call(call)
        self.walk.where = "the model"
        return [
            self._get(t)
            for t in tf.nest.flatten(traced.outputs)
            if tf.is_tensor(t)
        ]

    def _set(self, tensor, signal: Signal) -> None:
        cell = self.traced.initial.get(tensor.name)
        if cell is not None and len(signal.shape or ()) == 2:
            units = self.walk.units(self.walk.path(cell), signal.shape[1])
            signal = common.alone(
                self.walk, Signal(signal.shape, (None, units))
            )
        self.signals[tensor.name] = dataclasses.replace(
            signal, dtype=tensor.dtype
        )

    def _get(self, tensor) -> Signal:
        if not hasattr(tensor, "graph"):  # a value computed before
            return Signal(common.shape(tensor), dtype=tensor.dtype)
        found = self.signals.get(tensor.name)
        if found is None:
            found = Signal(common.shape(tensor), dtype=tensor.dtype)
            self._leaked(tensor)
        return found

    def _leaked(self, tensor) -> None:
        """Something from inside a leaf: its units might be in it."""
        if tensor.dtype == tf.bool or tensor.dtype == tf.resource:
            return
        call = self.hidden.get(tensor.name.split(":")[0])
        if call is None or tensor.name in self.signals:
            return
        inside = {_keras.key(v) for v in _keras.variables(call.layer)}
        for weight in self.walk.weights.values():
            if _keras.key(weight.variable) in inside:
                self.walk.pin(
                    [
                        self.walk.weight(weight.variable, i)
                        for i in range(len(weight.shape))
                    ],
                    f"something inside layer '{self.walk.path(call.layer)}' "
                    "is used outside",
                )

    def _operation(self, op, owner) -> None:
        if op.outputs and op.outputs[0].name in self.signals:
            return  # an input
        walk = self.walk
        walk.fixed_places = _keras.has_fixed_sizes(owner)
        walk.where = (
            f"the operation {op.type}"
            if owner is None
            else f"the operation {op.type} in layer '{walk.path(owner)}'"
        )
        if op.type in _READS:
            if self._variable_operation(op):
                return
        if any(t.dtype == tf.resource for t in op.inputs):
            for t in op.inputs:  # pins the weights that it is given
                if t.name in self.variables:
                    self._set(t, walk.read(self.variables[t.name]))
        if op.type in ("Const", "Fill") and self._alike(op):
            return
        inputs = [self._get(t) for t in op.inputs]
        for tensor, signal in zip(
            op.outputs, operations.apply(walk, op, inputs)
        ):
            self._set(tensor, signal)

    def _alike(self, op) -> bool:
        """Zeros or ones of the shape of something, which is fixed here."""
        name = op.name.rpartition("/")[2]
        out = common.shape(op.outputs[0])
        if not name.startswith(("zeros_like", "ones_like")) or not out:
            return False
        if None in out or out[-1] < 2:
            return False
        reason = "" if name.startswith("zeros") else f"{self.walk.where} is 1"
        units = self.walk.free(out[-1], reason)
        self._set(
            op.outputs[0],
            Signal(out, (None,) * (len(out) - 1) + (units,)),
        )
        return True

    def _variable_operation(self, op) -> bool:
        walk = self.walk
        variable = self.variables.get(op.inputs[0].name)
        if variable is None:
            for tensor in op.outputs:
                self._set(tensor, Signal(common.shape(tensor)))
            if op.type.startswith("Assign"):
                walk.pin(
                    [self._get(t) for t in op.inputs[1:]],
                    f"{walk.where} keeps it for later",
                )
            return True
        value = walk.read(variable)
        if op.type == "ReadVariableOp":
            self._set(op.outputs[0], value)
        elif op.type == "ResourceGather":
            indices = self._get(op.inputs[1])
            walk.pin(indices, f"{walk.where} looks up by it")
            walk.pin(value.axes[0], f"{walk.where} looks up single units")
            out = common.shape(op.outputs[0])
            axes = (None,) * (len(out) - len(value.axes) + 1) + value.axes[1:]
            self._set(op.outputs[0], common.alone(walk, Signal(out, axes)))
        elif op.type == "VariableShape":
            self._set(
                op.outputs[0],
                Signal(common.shape(op.outputs[0]), sizes=value.axes),
            )
        else:  # an assignment
            new = self._get(op.inputs[1])
            for one, other in zip(value.axes, new.axes):
                if one is not None or other is not None:
                    walk.tie(one, other)
        return True

    def _call(self, call: trace_lib.Call) -> None:
        walk = self.walk
        outputs = [t for t in tf.nest.flatten(call.outputs) if tf.is_tensor(t)]
        arguments = tf.nest.map_structure(self._argument, call.arguments)
        first: Any = next(iter(arguments.values()), [])
        inputs = [s for s in tf.nest.flatten(first) if isinstance(s, Signal)]
        if call.leaf:
            walk.where = f"layer '{walk.path(call.layer)}'"
            blank = [Signal(common.shape(t), dtype=t.dtype) for t in outputs]
            for op in self.operations[call.start : call.stop]:
                self.hidden[op.name] = call
            rest = dict(list(arguments.items())[1:])
            found = list(apply_rule(walk, call.layer, inputs, blank, rest))
            for tensor, signal in zip(outputs, found):
                self._set(tensor, common.alone(walk, signal))
        walk.record(call.layer, inputs, [self._get(t) for t in outputs])

    def _argument(self, thing):
        return self._get(thing) if tf.is_tensor(thing) else thing


def apply_rule(walk: Walk, layer, inputs, outputs, arguments: dict):
    """What is known of a leaf's outputs."""
    rule: Any = registry.rule_of(layer)
    accepted = inspect.signature(rule).parameters
    if any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        return rule(walk, layer, inputs, outputs, **arguments)
    return rule(walk, layer, inputs, outputs)


_READS = (
    "ReadVariableOp ResourceGather VariableShape AssignVariableOp "
    "AssignAddVariableOp AssignSubVariableOp"
).split()
