"""Cuts any Keras model: from masks on its variables to a smaller model."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.groups import find
from iss_rnns.groups import recurrence
from iss_rnns.groups import registry
from iss_rnns.groups import trace
from iss_rnns.shrinking import cutting
from iss_rnns.shrinking import kept as kept_lib
from iss_rnns.shrinking import rebuild


@dataclasses.dataclass
class Smaller:
    """A smaller model, whose weights are zeros until they are given.

    Attributes:
      source: the model.
      structure: what is known of its units.
      model: the smaller one.
      pairs: (variable, smaller one, what is kept of each axis).
      layers: (layer, smaller one).
    """

    source: Any
    structure: find.Structure
    model: Any
    pairs: list[tuple[Any, Any, tuple[np.ndarray, ...]]]
    layers: list[tuple[Any, Any]]

    def assign(self, values=None) -> None:
        """Gives the smaller model what is left of the weights.

        Args:
          values: by the variables' keys, instead of their present values.
        """
        for old, new, keep in self.pairs:
            if old is new:
                continue
            value = (
                _keras.array(old) if values is None else values[_keras.key(old)]
            )
            new.assign(value if _all(keep) else cutting.take(value, keep))

    def carry_states(self) -> None:
        """Gives stateful layers what is left of the states."""
        for old, new in self.layers:
            states = list(zip(_keras.states_of(old), _keras.states_of(new)))
            if not states or not hasattr(old, "cell"):
                continue
            for (one, other), keep in zip(states, self._units(old)):
                other.assign(np.asarray(one)[:, keep])

    def _units(self, layer) -> list[np.ndarray]:
        masks = {_keras.key(old): keep for old, _, keep in self.pairs}
        found = []
        for cell in recurrence.cells_of(layer):
            kind = registry.cell_kind_of(cell)
            if kind is not None:
                keep = masks[_keras.key(getattr(cell, kind.recurrent))][0]
            elif hasattr(cell, "unit_slices"):
                s = cell.unit_slices()[0]
                keep = masks[_keras.key(s.variable)][s.axis][s.index]
            else:
                return []
            found += [keep] * len(tf.nest.flatten(cell.state_size))
        return found

    def cuts(self) -> dict[object, groups_lib.Cut]:
        """For groups and optimizers, in the order of the variables."""
        return {
            _keras.key(old): groups_lib.Cut(new, keep)
            for old, new, keep in self.pairs
        }


def _all(keep) -> bool:
    return all(k.all() for k in keep)


def cut(
    model,
    groups: Sequence[groups_lib.Group],
    alive: Sequence[np.ndarray],
    batches: Sequence[Any] = (),
) -> Smaller:
    """A smaller model without some units, its weights not yet given.

    Args:
      model: any Keras model.
      groups: of `find_groups`, all of them or some.
      alive: which units stay, one `[n]` bool array per group.
      batches: as the model is called with them.

    Raises:
      UserError: if the groups are not the model's, or it cannot be built.
    """
    if isinstance(groups, find.Groups) and groups.model is model:
        structure = groups.structure
    else:
        structure = find.find_groups(
            model, batches[0] if batches else None
        ).structure
    known = {_keras.key(w.variable) for w in structure.units.weights}
    for group in groups:
        for s in (*group.slices, *group.companions):
            if _keras.key(s.variable) not in known:
                raise errors.UserError(
                    f"{_keras.name(s.variable)}, which the groups cut, is no variable "
                    "of the model: give the groups of its present weights"
                )
    return smaller(model, structure, groups_lib.keep_masks(groups, alive))


def smaller(model, structure: find.Structure, masks: kept_lib.Masks) -> Smaller:
    """A smaller model of one that was walked through.

    Args:
      model: any Keras model.
      structure: what is known of its units.
      masks: by variables' keys, what is kept of each axis.

    Raises:
      UserError: if it cannot be built.
    """
    kept = kept_lib.Kept(structure, masks)
    if _keras.is_graph(model):
        build = rebuild.Rebuild(kept)
        return _result(model, structure, build.model(model), build, masks)
    failure = None
    if _may_expand(model):
        try:
            return _expanded(model, structure, masks)
        except errors.UserError as error:
            failure = error
    build = rebuild.Rebuild(kept)
    try:
        new = build.copied(model, _zeros(structure.inputs))
    except Exception as error:
        raise errors.UserError(
            f"a smaller model cannot be made of {type(model).__name__} "
            f"'{model.name}': {errors.reason(error)}"
            + (f" (as a functional model: {failure})" if failure else "")
        ) from error
    return _result(model, structure, new, build, masks)


def _result(model, structure, new, build: rebuild.Rebuild, masks) -> Smaller:
    pairs: list[Any] = []
    for variable in [*_keras.trainable(model), *_keras.variables(model)]:
        key = _keras.key(variable)
        if key in build.pairs.variables and not any(
            v is variable for v, _, _ in pairs
        ):
            keep = masks.get(key) or [np.ones(n, bool) for n in variable.shape]
            pairs.append((*build.pairs.variables[key], tuple(keep)))
    return Smaller(model, structure, new, pairs, build.pairs.layers)


# Models of a class of one's own.

_CHANGED = (
    "train_step test_step predict_step compute_loss compute_metrics "
    "make_train_function make_test_function make_predict_function fit evaluate "
    "predict"
).split()


def _may_expand(model) -> bool:
    """Whether a functional model would do whatever the model does."""
    return not any(
        getattr(type(model), name, None)
        is not getattr(tf.keras.Model, name, None)
        for name in _CHANGED
    )


def _expanded(model, structure, masks) -> Smaller:
    """By a functional model of the same layers."""
    failure: Exception = errors.UserError("its inputs are not known")
    for specs in _wider(structure):
        try:
            functional = _functional(model, specs)
        except Exception as error:  # whatever the user's code raises
            failure = error
            continue
        found = find.find_groups(functional)
        build = rebuild.Rebuild(kept_lib.Kept(found.structure, masks))
        return _result(model, structure, build.model(functional), build, masks)
    raise errors.UserError(errors.reason(failure)) from failure


def _functional(model, specs):
    args, kwargs = specs
    if kwargs or len(args) != 1:
        raise errors.UserError("it is called with several arguments")
    inputs = tf.nest.map_structure(
        lambda s: tf.keras.Input(batch_shape=tuple(s.shape), dtype=s.dtype),
        args[0],
    )
    layers = [*_keras.all_layers(model)]
    if find.calls(model, structure_inputs(specs), True) != find.calls(
        model, structure_inputs(specs), False
    ):
        raise errors.UserError("it runs other layers while it trains")
    with _keras.forgotten_calls(layers), trace.inlined():
        outputs = model.call(inputs)
        functional = tf.keras.Model(inputs, outputs, name=model.name)
    if any(
        not _keras.is_symbolic(value)
        and (_keras.is_variable(value) or tf.is_tensor(value))
        for step in _keras.steps(functional)
        for value in tf.nest.flatten(step.arguments)
    ):  # which would stay what they are now
        raise errors.UserError("it computes with weights outside its layers")
    ours, theirs = (
        {id(v) for v in each.weights} for each in (model, functional)
    )
    if ours != theirs:
        raise errors.UserError("it has weights outside its layers")
    return functional


def structure_inputs(specs):
    """Specs of fixed sizes."""
    return find.fixed_inputs(specs)


def _wider(structure) -> Sequence[Any]:
    """Specs for any batch, and for any number of steps if that works."""
    args, kwargs = structure.specs

    def wide(spec, steps: bool):
        shape = [None, *spec.shape.as_list()[1:]]
        sequence = len(shape) > 2 or not spec.dtype.is_floating
        if steps and sequence and len(shape) > 1:
            shape[1] = None
        return tf.TensorSpec(shape, spec.dtype)

    result = []
    for steps in (True, False):
        result.append(
            tf.nest.map_structure(lambda s, w=steps: wide(s, w), (args, kwargs))
        )
    return result


def _zeros(inputs):
    return tf.nest.map_structure(
        lambda t: (
            tf.zeros(t.shape, t.dtype)
            if tf.is_tensor(t) and t.dtype != tf.string
            else (tf.fill(t.shape, "") if tf.is_tensor(t) else t)
        ),
        inputs,
    )
