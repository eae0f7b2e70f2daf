"""What recurrent layers, their cells and their wrappers do with units."""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.groups import activations
from iss_rnns.groups import layers
from iss_rnns.groups import registry
from iss_rnns.groups import through
from iss_rnns.groups import walk as walk_lib
from iss_rnns.groups.operations import joins
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk

Signals = Sequence[Signal]
keras = tf.keras.layers

_BATCH = 2  # of what cells are walked with
_STATE = "its states' activation is not 0 at 0"


def cells_of(layer) -> list:
    """The cells that a recurrent layer runs, one behind the other."""
    cell = layer.cell
    return list(getattr(cell, "cells", [cell]))


def cells_in(model) -> list:
    """Cells of a model whose states are its units."""
    found = {}
    for layer in _keras.all_layers(model):
        for cell in cells_of(layer) if hasattr(layer, "cell") else [layer]:
            if registry.cell_kind_of(cell) or hasattr(cell, "unit_slices"):
                found[id(cell)] = cell
    return list(found.values())


def units_of(cell) -> Optional[tuple[Any, int]]:
    """A variable and its axis that a cell's units lie along; None: unknown."""
    kind = registry.cell_kind_of(cell)
    if kind is not None:
        return getattr(cell, kind.recurrent), 0
    if hasattr(cell, "unit_slices"):
        first = cell.unit_slices()[0]
        return first.variable, first.axis
    return None


def recurrent(
    walk: Walk,
    layer,
    inputs: Signals,
    outputs: Signals,
    initial_state=None,
    constants=None,
    hoisted=False,
    **unused,
):
    """A layer that runs a cell, or several, over a sequence."""
    del unused
    signal, *states = inputs
    states += _signals(initial_state)
    layers.only_last(walk, signal)
    cells = cells_of(layer)
    counts = [len(_sizes(cell)) for cell in cells]
    given: list[Optional[Signal]] = list(states[: sum(counts)])
    rest = states[sum(counts) :] + _signals(constants)
    axis = signal.axes[-1]
    if rest or hoisted:
        walk.pin(
            [*inputs, *rest],
            f"{walk.where} is given constants, which have no units",
        )
        for cell in cells:
            for v in cell.weights:
                walk.pin(
                    [walk.weight(v, i) for i in range(len(v.shape))],
                    f"{walk.where} is given constants, which have no units",
                )
        for cell, (size, *_) in zip(cells, map(_sizes, cells)):
            walk.pin(
                walk.units(walk.path(cell), size),
                f"{walk.where} is given constants, which have no units: leave "
                "them out",
            )
        return outputs
    given += [None] * (sum(counts) - len(given))
    finals: list[Optional[Axis]] = []
    for cell, count in zip(cells, counts):
        initial, given = given[:count], given[count:]
        axis, new = step(walk, cell, axis, signal, initial)
        finals += new
    lasts = [axis, *finals]
    return [
        Signal(out.shape, (None,) * (len(out.shape) - 1) + (last,))
        for out, last in zip(outputs, lasts)
    ]


def _signals(thing) -> list[Signal]:
    return [s for s in tf.nest.flatten(thing) if isinstance(s, Signal)]


def _sizes(cell) -> list[int]:
    found = tf.nest.flatten(cell.state_size)
    return [int(n) if isinstance(n, int) else int(n[-1]) for n in found]


def step(
    walk: Walk,
    cell,
    axis: Optional[Axis],
    signal: Signal,
    initial: Sequence[Optional[Signal]],
) -> tuple[Optional[Axis], list[Optional[Axis]]]:
    """What a cell does with its inputs' units, and with its own.

    Args:
      walk: what is being written.
      cell: built.
      axis: the units of its inputs.
      signal: the inputs' dtype.
      initial: its states; None are zeros.

    Returns:
      (the units of its output, those of its states).
    """
    kind = registry.cell_kind_of(cell)
    if kind is not None:
        own = _blocks(walk, cell, kind, axis)
    elif hasattr(cell, "unit_slices"):
        own = _slices(walk, cell, axis)
    else:
        return _walked(walk, cell, axis, signal, initial)
    states = [own] * len(_sizes(cell))
    for i, state in enumerate(initial):
        if state is not None:
            _begin(walk, own, state)
            if state.axes[-1] is not None:
                states[i] = walk_lib.sum_of([own, state.axes[-1]])
    # A state may be what the others become.
    joined = walk_lib.sum_of([own, *states])
    return joined, [joined] * len(states)


def _begin(walk: Walk, own: Axis, state: Signal) -> None:
    walk.tie(
        own,
        state.axes[-1],
        reason=f"{walk.where} begins with a state that has no units, such as "
        "an input of the model or zeros of a fixed size: leave the initial "
        "state out, or compute it by a Dense layer",
    )


def _blocks(walk: Walk, cell, kind: registry.CellKind, axis) -> Axis:
    """Gates side by side, as in Keras."""
    kernel, matrix = getattr(cell, kind.kernel), getattr(cell, kind.recurrent)
    bias = getattr(cell, kind.bias, None)
    count = int(matrix.shape[0])
    own = walk.units(walk.path(cell), count)
    rows = walk.weight(kernel, 0)
    if len(rows) > 1:
        walk.tie(axis, rows)
    walk.tie(own, walk.weight(matrix, 0))
    for gate in range(kind.gates):
        block = slice(gate * count, (gate + 1) * count)
        for weights in (kernel, matrix):
            walk.tie(own, walk.weight(weights, 1).take(block))
        if bias is not None:
            entries = walk.weight(bias, -1, bias=True).take(block)
            walk.tie(own, entries)
            if gate == kind.candidate:
                own = walk_lib.sum_of([own, entries])
    if kind.candidate is None:
        return walk.louden(
            own,
            f"of cell {type(cell).__name__} it is not "
            "known what makes its state 0",
        )
    for i, name in enumerate(kind.activations):
        function = getattr(cell, name, None)
        if function is not None:
            result = activations.activated_axis(walk, function, own)
            if result is None:  # over all units: pinned
                result = walk.louden(own, _STATE)
            own = result if i == 0 else own
    return own


def _slices(walk: Walk, cell, axis) -> Axis:
    """Cells that say which weights are unit k's, as those of this library."""
    own = walk.units(walk.path(cell), int(cell.units))
    for s in cell.input_slices():
        rows = walk.weight(s.variable, s.axis).take(slice(s.start, s.stop))
        if len(rows) > 1:
            walk.tie(axis, rows)
    for s in cell.unit_slices():
        walk.tie(
            own, walk.weight(s.variable, s.axis).take(slice(s.start, s.stop))
        )
    candidates = [
        (_keras.key(s.variable), s.start)
        for s in getattr(cell, "candidate_companions", list)()
    ]
    for s in cell.unit_companions():
        entries = walk.weight(s.variable, s.axis, bias=True).take(
            slice(s.start, s.stop)
        )
        walk.tie(own, entries)
        if (_keras.key(s.variable), s.start) in candidates:
            own = walk_lib.sum_of([own, entries])
    if not hasattr(cell, "candidate_companions"):
        return walk.louden(
            own,
            f"of cell {type(cell).__name__} it is not "
            "known what makes its state 0",
        )
    return own


def _walked(walk: Walk, cell, axis, signal, initial):
    """Any other cell: one step of it, operation by operation."""
    name = walk.path(cell)
    own = [
        walk.units(name if i == 0 else f"{name} (state {i + 1})", size)
        for i, size in enumerate(_sizes(cell))
    ]
    width = int(signal.shape[-1]) if axis is None else len(axis)

    def run(inputs, *states):
        nested = tf.nest.is_nested(cell.state_size)
        output, new = cell(
            inputs,
            tf.nest.pack_sequence_as(cell.state_size, states)
            if nested
            else list(states),
        )
        return [output, *tf.nest.flatten(new)]

    where = walk.where
    result: list[Any] = []
    for _ in range(2):  # what moves a state is known after the first step
        states = result[1:] or own
        given = [Signal((_BATCH, width), (None, axis), dtype=signal.dtype)]
        for one, state in zip(own, states):
            units = state if len(one) > 1 else None
            given.append(
                Signal((_BATCH, len(one)), (None, units), dtype=signal.dtype)
            )
        output, *new = through.through(walk, run, given)
        walk.where = where
        result = _after(walk, own, output, new, initial)
    return result[0], result[1:]


def _after(walk: Walk, own, output: Signal, new: Signals, initial):
    """The output and the states behind a step, which may be those before it.

    A state is zero in the next step, if all that it is made of is; what moves
    one of them moves whatever reads it.
    """
    for one, state, first in zip(own, new, initial):
        if len(one) > 1:
            walk.tie(one, state.axes[-1])
        if first is not None:
            _begin(walk, one, first)
    parts = [s.axes[-1] for s in (output, *new)]
    known = [
        a
        for a in (*parts, *[s.axes[-1] for s in initial if s is not None])
        if a is not None
    ]
    ids = [parts[0].ids if parts[0] is not None else None]
    ids += [one.ids for one in own]
    if known and len({len(a) for a in (*known, *own)}) == 1:
        joined = walk_lib.sum_of(known)
        return [
            None if i is None else Axis(i, joined.loud, joined.needs)
            for i in ids
        ]
    return [
        None
        if i is None
        else walk.louden(
            Axis(i, np.full(len(i), walk_lib.NONE), np.zeros([0, len(i)], int)),
            f"the states of {walk.where} have several sizes",
        )
        for i in ids
    ]


def cell_layer(
    walk: Walk, layer, inputs: Signals, outputs: Signals, states=None, **unused
):
    """A cell that is called by itself, in a loop of the user's own."""
    del unused
    signal, *rest = inputs
    initial = rest + _signals(states)
    axis, new = step(walk, layer, signal.axes[-1], signal, initial)
    # It need not be the same loop: a state may come from anywhere.
    return [
        Signal(out.shape, (None,) * (len(out.shape) - 1) + (a,))
        for out, a in zip(outputs, [axis, *new])
    ]


def bidirectional(
    walk: Walk, layer, inputs: Signals, outputs: Signals, **arguments
):
    """Two layers, the second backwards, and their outputs joined."""
    signal, *states = inputs
    states += _signals(arguments.get("initial_state"))
    states += _signals(arguments.get("constants"))
    half = len(states) // 2
    results = []
    where = walk.where
    for one, given in (
        (layer.forward_layer, states[:half]),
        (layer.backward_layer, states[half:]),
    ):
        rule = registry.rule_of(one)
        if rule is None or not hasattr(one, "cell"):
            walk.pin(
                list(inputs),
                f"{walk.where} holds a {type(one).__name__}, of which nothing "
                "is known: register_layer says what it does",
            )
            return outputs
        count = 1 + sum(len(_sizes(c)) for c in cells_of(one))
        parts = [Signal(_shape(one, signal, i)) for i in range(count)]
        results.append(rule(walk, one, [signal, *given], parts))
    walk.where = where
    (forward, *states), (backward, *others) = results
    axes = [forward.axes[-1], backward.axes[-1]]
    mode = layer.merge_mode
    if mode is None:
        firsts = list(axes)
    elif mode == "concat":
        firsts = joins.concatenated(
            walk,
            [
                Signal((2, s.shape[-1]), (None, s.axes[-1]))
                for s in (forward, backward)
            ],
            1,
        )[1:]
    else:
        known = [a for a in axes if a is not None]
        if known:
            walk.tie(*axes)
            join = walk_lib.product_of if mode == "mul" else walk_lib.sum_of
            firsts = [join(known)]
        else:
            firsts = [None]
    lasts = firsts + [s.axes[-1] for s in (*states, *others)]
    return [
        Signal(out.shape, (None,) * (len(out.shape) - 1) + (last,))
        for out, last in zip(outputs, lasts)
    ]


def _shape(layer, signal: Signal, i: int) -> tuple:
    """Of a recurrent layer's output 0, or state i - 1."""
    cells = cells_of(layer)
    states = [n for cell in cells for n in _sizes(cell)]
    last = getattr(cells[-1], "output_size", None)
    size = states[i - 1] if i else (last or _sizes(cells[-1])[0])
    return (signal.shape[0], int(size))


def time_distributed(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """The layer inside, on each step by itself."""
    (signal,) = inputs
    walk.pin(signal.axes[1:2], f"{walk.where} goes along the units")
    inner = Signal(
        signal.shape[:1] + signal.shape[2:],
        signal.axes[:1] + signal.axes[2:],
        dtype=signal.dtype,
    )
    found = through.through(
        walk,
        lambda x: (
            layer.layer(x, training=False)
            if _takes_training(layer.layer)
            else layer.layer(x)
        ),
        [inner],
    )
    return [
        Signal(out.shape, s.axes[:1] + (None,) + s.axes[1:])
        for out, s in zip(outputs, found)
    ]


def _takes_training(layer: Any) -> bool:
    return isinstance(layer, tf.keras.Model)


def unknown_recurrent(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """A recurrent layer whose class has a `call` of its own."""
    reason = (
        f"{walk.where} is a {type(layer).__name__}, which computes something "
        "of its own: register_layer says what"
    )
    walk.pin(list(inputs), reason)
    for variable in layer.weights:
        for axis in range(len(variable.shape)):
            walk.pin(walk.weight(variable, axis), reason)
    cell = cells_of(layer)[0]
    size: Any = getattr(cell, "units", None) or getattr(cell, "filters", 1)
    walk.pin(walk.units(walk.path(layer), int(size)), reason)
    return outputs


def register_recurrent(cls: type) -> None:
    """Registers a layer that runs `cell`, and whose outputs are its."""
    registry.add_kind(registry.Kind(cls, recurrent))


def _register() -> None:
    for name, gates, candidate in (
        ("LSTMCell", 4, 2),
        ("GRUCell", 3, 2),
        ("SimpleRNNCell", 1, 0),
    ):
        registry.add_cell_kind(
            registry.CellKind(getattr(keras, name), gates, candidate)
        )
    for name in ("RNN", "LSTM", "GRU", "SimpleRNN"):
        register_recurrent(getattr(keras, name))
    registry.add_fallback(
        lambda layer: (
            registry.cell_kind_of(layer) is not None
            or hasattr(layer, "unit_slices")
        ),
        cell_layer,
    )
    registry.add_fallback(
        lambda layer: isinstance(layer, keras.RNN), unknown_recurrent
    )
    registry.add_kind(registry.Kind(keras.Bidirectional, bidirectional))
    registry.add_kind(registry.Kind(keras.TimeDistributed, time_distributed))


_register()
