"""A model's call written down: operations, and calls of layers between them.

The model is called once, in a graph, on inputs of fixed sizes. A layer that
has a rule is a leaf: what it computes inside is hidden. Everything else
(nested models, layers and functions of the user's own) is walked through as
the operations that it is made of.
"""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import inspect
from typing import Any, Callable, Optional

import tensorflow as tf

from iss_rnns import _keras

# Sizes for what may have any: large enough for a stack of poolings, and
# seldom a number of units.
BATCH, LENGTHS = 2, (23, 61, 128)


@dataclasses.dataclass
class Call:
    """A call of a layer.

    Attributes:
      layer: that was called.
      arguments: by the names of its `call`.
      outputs: what it gave.
      start: operations in the graph before it.
      stop: operations in the graph behind it.
      leaf: whether what lies between is hidden.
    """

    layer: Any
    arguments: dict[str, Any]
    outputs: Any
    start: int
    stop: int
    leaf: bool


@dataclasses.dataclass
class Trace:
    """A function written down.

    Attributes:
      graph: of operations.
      inputs: the function's arguments, as it was given them.
      outputs: its results.
      calls: of layers, in the order in which they ended.
      initial: states that cells made to begin with: the cells, by the names
        of the tensors.
    """

    graph: Any
    inputs: Any
    outputs: Any
    calls: list[Call]
    initial: dict[str, Any]

    def names(self) -> list[Optional[Any]]:
        """For each operation the innermost layer that is walked through."""
        found: list[Optional[Any]] = [None] * self.graph_size
        for call in reversed(self.calls):  # outer calls end later
            if not call.leaf:
                found[call.start : call.stop] = [call.layer] * (
                    call.stop - call.start
                )
        return found

    @property
    def graph_size(self) -> int:
        """Number of operations."""
        return len(self.graph.get_operations())


_recorders: list["_Recorder"] = []


class _Recorder:
    """Notes the calls of layers in one graph."""

    def __init__(self, graph, is_leaf: Callable[[Any], bool]):
        self.graph = graph
        self.is_leaf = is_leaf
        self.calls: list[Call] = []
        self.hidden = False
        self.initial: dict[str, Any] = {}

    def note(self, cell, states) -> None:
        """See `_keras.noted_initial_states`."""
        for state in states:
            if not self.hidden and getattr(state, "graph", None) is self.graph:
                self.initial[state.name] = cell

    def handle(self, call, layer, args, kwargs):
        """See `_keras.intercepted_calls`."""
        if self.hidden or tf.compat.v1.get_default_graph() is not self.graph:
            # In a graph within the graph (a loop), whose operation is unknown
            # and pins what it reads, this layer's weights among it.
            if not self.hidden:
                return call(layer, *args, **kwargs)
            with _keras.sketched(layer):
                return call(layer, *args, **kwargs)
        leaf = self.is_leaf(layer)
        arguments = _named(layer, args, kwargs)
        start = self._size()
        self.hidden = leaf
        try:
            if leaf:
                with _keras.sketched(layer):
                    outputs = call(layer, *args, **kwargs)
            else:
                outputs = call(layer, *args, **kwargs)
        finally:
            self.hidden = False
        self.calls.append(
            Call(
                layer,
                arguments,
                outputs,
                start,
                self._size(),
                leaf,
            )
        )
        return outputs

    def _size(self) -> int:
        return len(self.graph.get_operations())


def trace(
    function: Callable,
    inputs: Any,
    is_leaf: Callable[[Any], bool],
    cells: Sequence = (),
) -> Trace:
    """Calls a function on placeholders, and writes down what it does.

    Args:
      function: `function(*args, **kwargs)`.
      inputs: (args, kwargs), with `tf.TensorSpec` of fixed shapes in the
        places of tensors.
      is_leaf: whether a layer is one.
      cells: whose initial states are noted.
    """
    graph = tf.__internal__.FuncGraph("iss_rnns")
    with graph.as_default(), inlined():
        args, kwargs = tf.nest.map_structure(_placeholder, inputs)
        recorder = _Recorder(graph, is_leaf)
        noted = _keras.noted_initial_states(cells, recorder.note)
        with _recording(recorder), noted:
            outputs = function(*args, **kwargs)
    return Trace(
        graph, (args, kwargs), outputs, recorder.calls, recorder.initial
    )


@contextlib.contextmanager
def _recording(recorder: _Recorder) -> Iterator[None]:
    _recorders.append(recorder)
    try:
        if len(_recorders) > 1:
            yield
            return
        with _keras.intercepted_calls(
            lambda *call: _recorders[-1].handle(*call)
        ):
            yield
    finally:
        _recorders.pop()


@contextlib.contextmanager
def inlined() -> Iterator[None]:
    """Functions under `tf.function` are walked through as well."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _placeholder(spec):
    if not isinstance(spec, tf.TensorSpec):
        return spec
    return tf.compat.v1.placeholder(spec.dtype, spec.shape)


def _named(layer, args: Sequence, kwargs: dict) -> dict[str, Any]:
    """Arguments of a call by their names."""
    try:
        bound = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    except TypeError:
        bound = {**{str(i): a for i, a in enumerate(args)}, **kwargs}
    named: dict[str, Any] = {}
    for name, value in bound.items():
        kind = inspect.signature(layer.call).parameters.get(name)
        if kind is not None and kind.kind is kind.VAR_KEYWORD:
            named.update(value)
        else:
            named[name] = value
    return named


def fixed_sizes(specs: Any, length: int) -> Any:
    """Specs in which every size is a number.

    Args:
      specs: any structure, with `tf.TensorSpec` or alike in it.
      length: of axes that may have any but the first, the batch.
    """

    def fixed(spec):
        if not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None:
            return spec
        shape = [
            n if n is not None else (length if i else BATCH)
            for i, n in enumerate(spec.shape)
        ]
        return tf.TensorSpec(shape, spec.dtype)

    return tf.nest.map_structure(fixed, specs)
