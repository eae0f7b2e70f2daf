"""Finds the groups of any Keras model."""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any, overload, Union

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.groups import group as group_lib
from iss_rnns.groups import recurrence
from iss_rnns.groups import through
from iss_rnns.groups import trace
from iss_rnns.groups import walk as walk_lib

Refused = walk_lib.Refused


@dataclasses.dataclass(frozen=True)
class Structure:
    """What is known of a model's units.

    Attributes:
      units: see `walk.Units`.
      calls: of all layers, in the order in which they ended.
      inputs: (args, kwargs) of specs that the model was walked with.
      specs: the same with None for sizes that may change; None if unknown.
    """

    units: walk_lib.Units
    calls: list[walk_lib.Called]
    inputs: Any
    specs: Any


class Groups(Sequence):
    """The groups of a model, and what is refused; see `find_groups`.

    A sequence of `Group`, for whatever takes a list of them. `print` shows a
    table.

    Attributes:
      model: that they were found in.
      refused: a `Refused` (layer, units, reason) for each reason why units of
        a layer cannot be cut.
      layers: for each group the paths of the recurrent layers that it spans.
      readers: for each group the paths of the layers that read it.
      structure: for `shrink`.
    """

    def __init__(self, model, groups, refused, layers, readers, structure):
        self.model = model
        self.refused: tuple[Refused, ...] = tuple(refused)
        self.layers: tuple[tuple[str, ...], ...] = tuple(layers)
        self.readers: tuple[tuple[str, ...], ...] = tuple(readers)
        self.structure: Structure = structure
        self._groups: list[group_lib.Group] = list(groups)

    @overload
    def __getitem__(self, index: int) -> group_lib.Group: ...

    @overload
    def __getitem__(self, index: slice) -> list[group_lib.Group]: ...

    def __getitem__(self, index: Union[int, slice]):
        return self._groups[index]

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[group_lib.Group]:
        return iter(self._groups)

    def follow(self, model, batch=None) -> None:
        """Follows the groups to a smaller model, whose weights they hold.

        Args:
          model: the smaller one.
          batch: of inputs, if its inputs are not known.
        """
        known = _keras.input_specs(model) is not None
        self.structure = find_groups(model, None if known else batch).structure
        self.model = model

    def __repr__(self):
        inside = ", ".join(repr(g) for g in self)
        return f"Groups([{inside}], refused={len(self.refused)})"

    def __str__(self):
        rows = [("layer", "units", "weights a unit", "read by")] + [
            (g.name, str(g.size), f"{g.weights_per_unit:,}", ", ".join(read))
            for g, read in zip(self, self.readers)
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [
            f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  "
            f"{row[2]:>{widths[2]}}  {row[3]}".rstrip()
            for row in rows
        ]
        if not len(self):
            lines = ["no units that can be cut"]
        if self.refused:
            lines += ["refused:"] + [f"  {each}" for each in self.refused]
        return "\n".join(lines)


def find_groups(model: tf.keras.Model, inputs: Any = None) -> Groups:
    """Finds the units of a model's recurrent layers that can be cut.

    A group is what units have in common: all weights that write and read
    them, wherever their values go. Units that are added to each other, or
    passed on as states, are the same units, and die together. What cannot be
    cut with equal outputs is refused, with the reason.

    Args:
      model: a Keras model: sequential, functional, or of a class of one's own.
      inputs: a batch as the model is called with it, for models that Keras
        does not know the inputs of: those that were not called yet.

    Returns:
      `Groups`: a sequence of `Group`, which the callbacks and `shrink` take.

    Raises:
      UserError: if the inputs are not known, or the model cannot be called.

    Example:
      >>> model = tf.keras.Sequential([
      ...     tf.keras.layers.LSTM(8, input_shape=[None, 3], name="lstm"),
      ...     tf.keras.layers.Dense(1)])
      >>> find_groups(model)
      Groups([Group('lstm', units=8)], refused=0)
    """
    if not isinstance(model, tf.keras.layers.Layer):
        raise errors.UserError(
            f"find_groups takes a Keras model, got {type(model).__name__}"
        )
    specs, fixed = _specs(model, inputs)
    paths = _paths(model)
    walk = walk_lib.Walk(_weights(model, paths), paths)
    traced = _trace(model, specs, fixed)
    outputs = through.follow(walk, traced)
    walk.pin(
        outputs,
        "it is an output of the model: put a Dense layer behind it, or take "
        "it out of the outputs",
    )
    structure = Structure(walk.result(), walk.calls, traced.inputs, specs)
    return _groups(model, structure, paths)


def _specs(model, inputs):
    """What the model is called with: as declared, and the batch given."""
    if inputs is None:
        specs = _keras.input_specs(model)
        if specs is None:
            raise errors.UserError(
                f"the inputs of {type(model).__name__} '{model.name}' are not "
                "known before it is called: give a batch, "
                "find_groups(model, inputs=batch)"
            )
        return specs, None
    specs = ([tf.nest.map_structure(_spec, inputs)], {})
    if not model.built or not model.weights:
        model(tf.nest.map_structure(tf.convert_to_tensor, inputs))
    return specs, specs


def _spec(value):
    value = tf.convert_to_tensor(value)
    return tf.TensorSpec(value.shape, value.dtype)


def _trace(model, specs, fixed) -> trace.Trace:
    def call(*args, **kwargs):
        return model(*args, **{**kwargs, "training": False})

    for value in tf.nest.flatten(specs):
        if isinstance(value, (tf.RaggedTensorSpec, tf.SparseTensorSpec)):
            raise errors.UserError(
                f"the model's input {value} is ragged or sparse; only dense "
                "inputs can be analysed: pad them, and mask the padding"
            )
    failure: Exception = ValueError()
    for length in trace.LENGTHS:
        inputs = fixed or trace.fixed_sizes(specs, length)
        try:
            return trace.trace(
                call, inputs, through.is_leaf, recurrence.cells_in(model)
            )
        except (ValueError, TypeError, IndexError, tf.errors.OpError) as error:
            failure = failure if failure.args else error
        if fixed or not _open(specs):
            break
    raise errors.UserError(
        f"model '{model.name}' cannot be called on inputs like "
        f"{_described(specs)}: {errors.reason(failure)}"
        + ("" if fixed else "; give a batch, find_groups(model, inputs=batch)")
    ) from failure


def fixed_inputs(specs):
    """Specs in which every size is a number."""
    return trace.fixed_sizes(specs, trace.LENGTHS[0])


def calls(model, inputs, training: bool) -> list[tuple[str, int]]:
    """The layers that a model calls, by their names, in order.

    Args:
      model: the model.
      inputs: (args, kwargs) of specs of fixed sizes.
      training: whether it trains.
    """

    def call(*args, **kwargs):
        return model(*args, **{**kwargs, "training": training})

    traced = trace.trace(call, inputs, through.is_leaf)
    return [(c.layer.name, id(c.layer)) for c in traced.calls]


def _open(specs) -> bool:
    return any(
        isinstance(s, tf.TensorSpec)
        and s.shape.rank
        and None in s.shape.as_list()[1:]
        for s in tf.nest.flatten(specs)
    )


def _described(specs) -> str:
    return ", ".join(
        str(s.shape) if isinstance(s, tf.TensorSpec) else repr(s)
        for s in tf.nest.flatten(specs)
        if s is not None
    )


def _paths(model) -> dict[int, str]:
    """Names of the layers that lead to each layer and cell, by its id."""
    paths: dict[int, str] = {}

    def visit(layer, prefix):
        for child in _keras.children(layer):
            if id(child) in paths:
                continue
            path = f"{prefix}/{child.name}" if prefix else child.name
            paths[id(child)] = path
            cell = getattr(child, "cell", None)
            if cell is not None and id(cell) not in paths:
                paths[id(cell)] = path
                cells = recurrence.cells_of(child)
                for each in cells if cells != [cell] else ():
                    paths.setdefault(id(each), f"{path}/{each.name}")
                visit(cell, path)
            visit(child, path)

    visit(model, "")
    return paths


def _weights(model, paths) -> list[walk_lib.Weight]:
    found: dict[Any, walk_lib.Weight] = {}

    def visit(layer, seen):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        owner = paths.get(id(layer), layer.name)
        for variable in _keras.own_weights(layer):
            name = _keras.name(variable).rpartition("/")[2]
            counted = len(variable.shape) > 1 and "bias" not in name
            found.setdefault(
                _keras.key(variable),
                walk_lib.Weight(variable, owner, counted),
            )
        for child in _keras.children(layer):
            visit(child, seen)

    visit(model, set())
    return list(found.values())


# From units to groups.


def _groups(model, structure: Structure, paths) -> Groups:
    units = structure.units
    layers_of, refused = _layers_of_units(units)
    refused += _unknown(model, structure, paths)
    members = _members(units, set(layers_of))
    alike: dict[tuple, list[int]] = {}
    for unit, layers in layers_of.items():
        places = members.get(unit, {})
        key = tuple(sorted((place, len(at)) for place, at in places.items()))
        alike.setdefault((key, tuple(layers)), []).append(unit)
    found, spans, readers = [], [], []
    used: dict[str, int] = {}
    for (key, span), those in alike.items():
        slices: dict[bool, list[group_lib.Slice]] = {True: [], False: []}
        for (number, axis, counted), count in key:
            entries = np.array(
                [members[u][number, axis, counted] for u in those]
            )
            slices[counted] += [
                group_lib.Slice.of(
                    units.weights[number].variable, axis, entries[:, j].tolist()
                )
                for j in range(count)
            ]
        shown = [p for p in span if " (state" not in p] or list(span)
        name = " + ".join(shown)
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:
            name += f" ({used[name]})"
        found.append(group_lib.Group(name, slices[True], slices[False]))
        spans.append(tuple(span))
        owners = [
            units.weights[number].owner
            for (number, _, counted), _ in key
            if counted
        ]
        readers.append(
            tuple(
                dict.fromkeys(
                    [each for each in owners if each not in span]
                    + _readers_without_weights(units, those)
                )
            )
        )
    return Groups(model, found, refused, spans, readers, structure)


def _layers_of_units(
    units: walk_lib.Units,
) -> tuple[dict[int, list[str]], list[Refused]]:
    """Of each unit that may go the layers that write it; and which may not."""
    pinned = units.pinned()
    layers_of: dict[int, list[str]] = {}
    refused: list[Refused] = []
    for path, ids in units.layers.items():
        reasons: dict[str, int] = {}
        for unit in map(int, units.unit_of[ids]):
            if unit in pinned:
                reason = pinned[unit]
                reasons[reason] = reasons.get(reason, 0) + 1
                continue
            names = layers_of.setdefault(unit, [])
            if path not in names:
                names.append(path)
        if " (state" in path and (
            not reasons or any(r.layer == path.split(" (")[0] for r in refused)
        ):
            continue
        refused += [Refused(path, n, reason) for reason, n in reasons.items()]
    return layers_of, refused


def _readers_without_weights(
    units: walk_lib.Units, those: Sequence[int]
) -> list[str]:
    """Who reads some units and has no weights to cut."""
    at = set(those)
    return [
        f"{where.split(chr(39))[1] if chr(39) in where else where} "
        "(without weights)"
        for ids, where in units.reads
        if at & set(units.unit_of[ids].tolist())
    ]


def _members(
    units: walk_lib.Units, wanted: set[int]
) -> dict[int, dict[tuple[int, int, bool], list[int]]]:
    """Of each unit its entries: (weight, axis, counted) -> places."""
    result: dict[int, dict[tuple[int, int, bool], list[int]]] = {}
    chosen = np.array(sorted(wanted), int)
    for number, weight in enumerate(units.weights):
        for axis, ids in weight.axes.items():
            of = units.unit_of[ids]
            promoted = np.isin(ids, units.promoted)
            for place in np.flatnonzero(np.isin(of, chosen)):
                counted = bool(weight.counted or promoted[place])
                result.setdefault(int(of[place]), {}).setdefault(
                    (number, axis, counted), []
                ).append(int(place))
    return result


def _unknown(model, structure: Structure, paths) -> list[Refused]:
    """Recurrent layers that no rule has met."""
    found = []
    for layer in _keras.all_layers(model):
        if not hasattr(layer, "cell") or not hasattr(layer, "return_sequences"):
            continue
        names = [paths.get(id(cell), "") for cell in recurrence.cells_of(layer)]
        if any(name in structure.units.layers for name in names):
            continue
        size = getattr(layer.cell, "units", None) or getattr(
            layer.cell, "filters", 0
        )
        found.append(
            Refused(
                paths.get(id(layer), layer.name),
                int(size or 0),
                f"{type(layer).__name__} is not known, or is not run by the "
                "model's call where it can be seen: register_layer says what "
                "it does",
            )
        )
    return found
