"""Proof that a cut is right whatever the weights: on random ones."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.groups import find
from iss_rnns.shrinking import any_model
from iss_rnns.shrinking import equality


def check_structure(
    model,
    small: any_model.Smaller,
    groups: Sequence[groups_lib.Group],
    alive: Sequence[np.ndarray],
    batches: Sequence[Any],
    run: Callable[[Any, Any], Any],
    tolerance: float,
    seed: int = 0,
) -> Optional[float]:
    """Compares the smaller model with the whole one on random weights.

    A copy of the model gets random weights, with zeros where the units that go
    are written and read; biases that do not count are random there, too. Where
    the present weights happen to hide an error of the cut, these do not.

    Args:
      model: not touched.
      small: of the model; gets weights that `assign` must replace.
      groups: of units.
      alive: which of them stay, one `[n]` bool array per group.
      batches: of inputs; without any, random ones are made.
      run: `run(model, batch)` -> outputs.
      tolerance: see `equality.assert_equal_outputs`.
      seed: of the random numbers.

    Returns:
      The largest difference; None if the model breaks on random weights.

    Raises:
      UserError: if outputs differ.
    """
    batches = batches or [random_batch(small.structure, model)]
    whole = any_model.smaller(model, small.structure, {})
    values = _random_values(whole, seed)
    for group, units in zip(groups, alive):
        for s in group.slices:
            key = _keras.key(s.variable)
            if key in values:
                index: list = [slice(None)] * len(s.variable.shape)
                entries = np.arange(s.variable.shape[s.axis])[s.index]
                index[s.axis] = entries[~units]
                values[key][tuple(index)] = 0
    whole.assign(values)
    small.assign(values)
    if not all(_finite(run(whole.model, batch)) for batch in batches):
        return None
    for each in (whole, small):
        _reset(each.model)
    return equality.assert_equal_outputs(
        lambda batch: run(whole.model, batch),
        lambda batch: run(small.model, batch),
        batches,
        tolerance,
        "on random weights, the shrunk model's outputs",
    ).absolute


@contextlib.contextmanager
def fresh_states(small: Optional[any_model.Smaller]) -> Iterator[None]:
    """Stateful layers begin at zero in this block, and go on behind it.

    Those of the model with the states that they had, those of the smaller one
    with what is left of them.
    """
    if small is None:  # a net that carries none
        yield
        return
    states = [s for old, _ in small.layers for s in _keras.states_of(old)]
    before = [state.numpy() for state in states]
    for each in (small.source, small.model):
        _reset(each)
    try:
        yield
    finally:
        for state, value in zip(states, before):
            state.assign(value)
        small.carry_states()


def _reset(model) -> None:
    for layer in _keras.all_layers(model):
        for state in _keras.states_of(layer):
            state.assign(tf.zeros_like(state))


def random_batch(structure: find.Structure, model, seed: int = 0) -> Any:
    """A batch of random inputs, as the model is called with it.

    Raises:
      UserError: if the model takes several arguments.
    """
    args, kwargs = structure.inputs
    if kwargs or len(args) != 1:
        raise errors.UserError(
            "the model is called with several arguments: give batches and run"
        )
    random = np.random.default_rng(seed)
    symbols = [
        layer.input_dim
        for layer in _keras.all_layers(model)
        if isinstance(layer, tf.keras.layers.Embedding)
    ]
    high = min(symbols, default=2)

    def draw(tensor):
        if not tf.is_tensor(tensor):
            return tensor
        dtype, shape = tensor.dtype, tuple(tensor.shape)
        if dtype == tf.string:
            return tf.fill(shape, "a")
        if dtype == tf.bool:
            return tf.constant(random.integers(0, 2, shape), tf.bool)
        if dtype.is_integer:
            return tf.constant(random.integers(0, high, shape), dtype)
        return tf.cast(random.standard_normal(shape), dtype)

    return tf.nest.map_structure(draw, args[0])


def _random_values(whole: any_model.Smaller, seed: int) -> dict[Any, Any]:
    random = np.random.default_rng(seed)
    values = {}
    for old, new, _ in whole.pairs:
        shape = tuple(old.shape)
        dtype = tf.as_dtype(old.dtype)
        if old is new or not dtype.is_floating:
            values[_keras.key(old)] = np.array(_keras.array(old))
            continue
        if "variance" in old.name:
            value = random.uniform(0.5, 1.5, shape)
        else:
            rows = int(np.prod(shape[:-1])) if len(shape) > 1 else 4
            value = random.standard_normal(shape) / np.sqrt(max(rows, 1))
        values[_keras.key(old)] = np.asarray(value).astype(dtype.as_numpy_dtype)
    return values


def _finite(outputs) -> bool:
    return all(
        bool(np.isfinite(np.asarray(tf.cast(t, tf.float32))).all())
        for t in tf.nest.flatten(outputs)
        if tf.is_tensor(t) and t.dtype.is_floating
    )
