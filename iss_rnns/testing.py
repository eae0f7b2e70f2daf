"""Checks that code of one's own keeps the contracts of this library."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import recurrent
from iss_rnns import shrinking
from iss_rnns import thresholding

BATCH, TIME, INPUTS, CONSUMERS = 3, 4, 5, 2
TOLERANCE = 1e-4  # of the largest at each place


def check_cell(cell: tf.keras.layers.Layer, seed: int = 0) -> None:
    """Proves that a cell says rightly which of its weights belong to a unit.

    Of a cell that keeps this contract, dead units can be cut out with equal
    outputs (ISS paper, section 3.1). The cell must be a Keras cell with
    `units`, whose config holds `units`, too, and with

    - `unit_slices()`: one slice of n entries for each place where its weights
      write or read its n units (the columns of every gate, the row of the
      recurrent matrix);
    - `unit_companions()`: what is cut with a unit without counting (biases).

    What is checked, on random weights and inputs:

    1. the config round trip: equal weights and outputs;
    2. every living unit is alive, and each unit dies by itself;
    3. all gates of a unit go together: what is kept of every weight has the
       shape that the smaller cell has;
    4. dead units are not read: whatever their biases and states, a consumer's
       outputs and the living units' states are the same;
    5. the smaller cell's outputs and states equal those of the cell with dead
       units;
    6. if the cell states its maths in pieces (`scan_step`, see
       `iss_rnns.cells`): `Recurrent` equals `tf.keras.layers.RNN`, gradients
       included.

    Args:
      cell: of at least 4 units. It is not changed; copies of its config are
        checked.
      seed: of the random weights and inputs.

    Raises:
      AssertionError: naming the check that fails, and what is wrong.

    Example:
      >>> import iss_rnns
      >>> check_cell(iss_rnns.LSTMCell(6))
    """
    random = np.random.default_rng(seed)
    units: Any = getattr(cell, "units", None)
    _require(
        isinstance(units, int) and units >= 4,
        f"`units` must be at least 4 to be checked, got {units}",
    )
    inputs = tf.constant(
        random.standard_normal((BATCH, TIME, INPUTS)), tf.float32
    )
    cell = _round_trip(cell, inputs, random)
    consumer = tf.Variable(
        random.standard_normal((units, CONSUMERS)), dtype=tf.float32
    )
    group = cells.iss_group("cell", cell, [groups.whole(consumer, 0)])
    _check_each_unit_dies_alone(group)
    if hasattr(cell, "scan_step"):
        _check_fast_path(cell, inputs)
    dead = np.arange(units) % 3 == 1
    thresholding.zero_units(group, tf.constant(dead))
    for companion in group.companions:
        _refill(companion, random)  # Biases do not die.
    _check_dead_units_are_not_read(cell, group, consumer, dead, inputs, random)
    _check_smaller_equals(cell, group, consumer, dead, inputs)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def _require_equal(one, other, message: str) -> None:
    try:
        shrinking.assert_equal_outputs(
            lambda _: one, lambda _: other, [None], TOLERANCE, "they"
        )
    except errors.UserError as error:
        raise AssertionError(f"{message}: {error}") from None


def _run(cell, inputs: tf.Tensor, states=None) -> tuple[tf.Tensor, list]:
    """(outputs `[batch, time, n]`, final states) by Keras' own loop."""
    layer = tf.keras.layers.RNN(cell, return_sequences=True, return_state=True)
    outputs, *finals = layer(inputs, initial_state=states)
    return outputs, finals


def _round_trip(cell, inputs: tf.Tensor, random: np.random.Generator):
    """A copy of the cell with random weights, proved equal to another one."""
    one, other = (_copy(cell, {}) for _ in range(2))
    for each in (one, other):
        _run(each, inputs)
    shapes = [
        [tuple(v.shape) for v in _keras.variables(each)]
        for each in (one, other)
    ]
    _require(
        bool(shapes[0]) and shapes[0] == shapes[1],
        f"config: two cells of one config have weights {shapes[0]} and "
        f"{shapes[1]}",
    )
    for variable, copied in zip(_keras.variables(one), _keras.variables(other)):
        value = 0.5 * random.standard_normal(variable.shape)
        variable.assign(value.astype(variable.dtype.as_numpy_dtype))
        copied.assign(variable)
    _require_equal(
        _run(one, inputs),
        _run(other, inputs),
        "config: cells of one config and equal weights have other outputs; "
        "`get_config` must hold all arguments",
    )
    return one


def _copy(cell, changes: dict):
    config = cell.get_config()
    _require("units" in config, "config: `get_config` must hold `units`")
    return type(cell).from_config({**config, **changes})


def _check_each_unit_dies_alone(group: groups.Group) -> None:
    _require(
        bool(group.alive().numpy().all()),
        "groups: with random weights some unit counts as dead",
    )
    before = {v.ref(): v.numpy() for v in group.variables}
    for unit in range(group.size):
        thresholding.zero_units(group, tf.range(group.size) == unit)
        alive = group.alive().numpy()
        _require(
            not alive[unit] and alive.sum() == group.size - 1,
            f"groups: with the slices of unit {unit} set to zero, the units "
            f"that count as dead are {np.flatnonzero(~alive).tolist()}",
        )
        for reference, value in before.items():
            reference.deref().assign(value)


def _check_fast_path(cell, inputs: tf.Tensor) -> None:
    variables = _keras.trainable(cell)
    results = []
    for run in (
        lambda: _run(cell, inputs),
        lambda: recurrent.Recurrent(cell)(inputs, training=True),
    ):
        with tf.GradientTape() as tape:
            outputs, finals = run()
            cost = tf.reduce_sum(outputs * outputs) + tf.add_n(
                [tf.reduce_sum(tf.sin(state)) for state in finals]
            )
        gradients = tape.gradient(cost, variables)
        results.append((outputs, [tf.convert_to_tensor(g) for g in gradients]))
    _require_equal(
        results[0][0],
        results[1][0],
        "scan_step: Recurrent and tf.keras.layers.RNN have other outputs",
    )
    _require_equal(
        results[0][1],
        results[1][1],
        "scan_backprop: Recurrent and tf.keras.layers.RNN have other gradients",
    )


def _refill(part: groups.Slice, random: np.random.Generator) -> None:
    value = part.variable.numpy()
    index = [slice(None)] * value.ndim
    index[part.axis] = slice(part.start, part.stop)
    value[tuple(index)] = random.standard_normal(value[tuple(index)].shape)
    part.variable.assign(value)


def _states(cell, dead: Sequence[bool], random: np.random.Generator, fill):
    """Initial states that are alike but for the dead units."""
    values = []
    for size in tf.nest.flatten(cell.state_size):
        value = np.full((BATCH, size), 0.3, np.float32)
        if size == len(dead):
            value[:, dead] = fill * random.standard_normal(value[:, dead].shape)
        values.append(tf.constant(value))
    return values


def _check_dead_units_are_not_read(
    cell, group, consumer, dead, inputs, random
) -> None:
    read = []
    for fill in (0.0, 1.0):
        for companion in group.companions if fill else ():
            _refill_dead(companion, dead, random)
        outputs, finals = _run(cell, inputs, _states(cell, dead, random, fill))
        read.append(
            (
                tf.tensordot(outputs, consumer, 1),
                [
                    np.asarray(s)[:, ~dead]
                    for s in finals
                    if s.shape[-1] == len(dead)
                ],
            )
        )
    _require_equal(
        read[0],
        read[1],
        "groups: something reads units whose slices are all zero; "
        "`unit_slices` must name every row that reads them",
    )


def _refill_dead(part, dead, random) -> None:
    value = part.variable.numpy()
    index = [slice(None)] * value.ndim
    index[part.axis] = part.start + np.flatnonzero(dead)
    value[tuple(index)] = random.standard_normal(value[tuple(index)].shape)
    part.variable.assign(value)


def _check_smaller_equals(cell, group, consumer, dead, inputs) -> None:
    small = _copy(cell, {"units": int((~dead).sum())})
    _run(small, inputs)
    masks = groups.keep_masks([group], [~dead])
    kept = []
    for old, new in zip(_keras.variables(cell), _keras.variables(small)):
        keep = masks.get(old.ref()) or [np.ones(n, bool) for n in old.shape]
        value = old.numpy()[np.ix_(*keep)]
        _require(
            value.shape == tuple(new.shape),
            f"gates: of {_keras.name(old)} {list(value.shape)} would be kept, but a "
            f"cell of {small.units} units has {list(new.shape)}; "
            "`unit_slices` and `unit_companions` must name every gate's "
            "entries",
        )
        kept.append((new, value))
    for new, value in kept:
        new.assign(value)
    outputs, finals = _run(cell, inputs)
    small_outputs, small_finals = _run(small, inputs)
    _require_equal(
        (
            tf.tensordot(outputs, consumer, 1),
            [np.asarray(s)[:, ~dead] for s in finals],
        ),
        (
            tf.tensordot(small_outputs, tf.boolean_mask(consumer, ~dead), 1),
            list(small_finals),
        ),
        "shrinking: the smaller cell differs from the one with dead units",
    )
