"""A smaller model of the same layers, from what is known of the units.

Sequential and functional models are played again, call by call, with layers
whose configs hold smaller sizes. A model of a class of one's own is expanded
into a functional one, if that computes the same; else it becomes another
object of its class, whose layers are smaller ones. Keras' layers stay Keras'
layers, and the original is not touched.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.groups import find
from iss_rnns.groups import registry
from iss_rnns.groups import walk

_CALLABLES = ("activation", "recurrent_activation")
_SIZES = ("units", "state_size", "output_size", "hidden_size", "num_units")
_PARTS = ("initializer", "regularizer", "constraint")

Masks = Mapping[Any, Sequence[np.ndarray]]


class Kept:
    """What stays of each axis, when some units go.

    Args:
      structure: of the model.
      masks: by variables' keys, what is kept of each axis.

    Raises:
      UserError: if the masks cut some entries of a unit, but not all.
    """

    def __init__(self, structure: find.Structure, masks: Masks):
        self.structure = structure
        units = structure.units
        self._dead = np.zeros(len(units.unit_of) + 1, bool)
        for weight in units.weights:
            given = masks.get(_keras.key(weight.variable))
            for axis, ids in weight.axes.items():
                if given is None:
                    break
                self._dead[units.unit_of[ids[~given[axis]]]] = True
        self._check(masks)

    def _check(self, masks: Masks) -> None:
        units = self.structure.units
        pinned = units.pinned()
        for unit in np.flatnonzero(self._dead):
            if int(unit) in pinned:
                raise errors.UserError(
                    f"the groups cut units that cannot be cut: {pinned[unit]}"
                )
        for weight in units.weights:
            given = masks.get(_keras.key(weight.variable))
            for axis, n in enumerate(weight.shape):
                found = (
                    self.of(weight.axes[axis])
                    if axis in weight.axes
                    else np.ones(n, bool)
                )
                wanted = given[axis] if given else np.ones(n, bool)
                if not np.array_equal(found, wanted):
                    raise errors.UserError(
                        f"the groups do not say all that belongs to a unit: "
                        f"{weight.variable.name} along axis {axis}; take them "
                        "from find_groups"
                    )
                if not found.any():
                    raise errors.UserError(
                        f"nothing would be left of {weight.variable.name} "
                        f"along axis {axis}: all of its units are dead"
                    )

    def of(self, ids: np.ndarray) -> np.ndarray:
        """`[n]` bool: which entries stay."""
        return ~self._dead[self.structure.units.unit_of[ids]]

    def masks(self, variable) -> Optional[list[np.ndarray]]:
        """What is kept of each axis of a variable; None: of another model."""
        for weight in self.structure.units.weights:
            if weight.variable is variable:
                return [
                    self.of(weight.axes[axis])
                    if axis in weight.axes
                    else np.ones(n, bool)
                    for axis, n in enumerate(weight.shape)
                ]
        return None

    def length(self, axis) -> int:
        """Entries that stay of an axis with units."""
        return int(self.of(axis.ids).sum())

    def shape(self, signal, shape: Sequence) -> tuple:
        """A shape, with the units that stay."""
        return tuple(
            n if axis is None else self.length(axis)
            for n, axis in zip(shape, signal.axes)
        )

    def call(self, layer) -> Optional[walk.Called]:
        """A layer's first call."""
        for call in self.structure.calls:
            if call.layer is layer:
                return call
        return None


class Rebuild:
    """Builds smaller layers; the same one for the same layer.

    Args:
      kept: what stays.

    Attributes:
      pairs: the model's variables and the smaller ones, by the former's keys.
      layers: the model's layers and the smaller ones.
    """

    def __init__(self, kept: Kept):
        self.kept = kept
        self.pairs: dict[Any, tuple[Any, Any]] = {}
        self.layers: list[tuple[Any, Any]] = []
        self.new: dict[int, Any] = {}
        self._olds: list[Any] = []  # so that no id is given twice
        self._classes: dict[str, type] = {}
        self._copying_cells = False

    # Whole models.

    def model(self, old):
        """A smaller model of one that Keras knows the connections of."""
        self._note(old)
        with self._scope():
            new = self._graph(old)
        self._pair_up(old, new)
        return new

    def copied(self, old, inputs):
        """A smaller object of the model's own class.

        Args:
          old: the model.
          inputs: (args, kwargs) to call it with, so that it is built.
        """
        self._note(old)
        with self._scope():
            new = self._copy(old)
            args, kwargs = inputs
            new(*args, **kwargs)
        self._pair_up(old, new)
        return new

    def _note(self, old) -> None:
        def visit(layer, seen):
            if id(layer) in seen:
                return
            seen.add(id(layer))
            if not _keras.is_stock(layer):
                self._classes[type(layer).__name__] = type(layer)
            for child in _keras.children(layer):
                visit(child, seen)

        visit(old, set())

    @contextlib.contextmanager
    def _scope(self) -> Iterator[None]:
        with tf.keras.utils.custom_object_scope(self._classes):
            with _keras.zero_weights(), _keras.intercepted_calls(_sketch):
                yield

    def _keep(self, old, new):
        self.new[id(old)] = new
        self._olds.append(old)
        return new

    def _graph(self, old):
        """Plays the calls again."""
        if id(old) in self.new:
            return self.new[id(old)]
        inputs, outputs = _keras.ends(old)
        call = self.kept.call(old)
        tensors: dict[int, Any] = {}
        flat = tf.nest.flatten(inputs)
        for i, tensor in enumerate(flat):
            shape = tuple(tensor.shape)
            if call is not None and i < len(call.inputs):
                shape = self.kept.shape(call.inputs[i], shape)
            tensors[id(tensor)] = _keras.new_input(tensor, shape)
        new_inputs = tf.nest.map_structure(lambda t: tensors[id(t)], inputs)
        if isinstance(old, tf.keras.Sequential):
            return self._keep(old, self._sequence(old, flat[0], new_inputs))
        for step in _keras.steps(old):
            args, kwargs = tf.nest.map_structure(
                lambda t: self._argument(t, tensors),
                step.arguments,
            )
            result = self._call(step.layer, args, kwargs)
            for before, after in zip(step.outputs, tf.nest.flatten(result)):
                tensors[id(before)] = after
        new_outputs = tf.nest.map_structure(lambda t: tensors[id(t)], outputs)
        if _keras.is_stock(old):
            new = tf.keras.Model(new_inputs, new_outputs, name=old.name)
        else:
            new = _keras.bare_model(old, new_inputs, new_outputs)
            self._copy_attributes(old, new)
        return self._keep(old, new)

    def _argument(self, value, tensors: Mapping[int, Any]):
        """What a layer is called with, in the smaller model."""
        if _keras.is_symbolic(value):
            return tensors.get(id(value), value)
        if _keras.is_variable(value):
            return self.pairs.get(_keras.key(value), (value, value))[1]
        return value

    def _sequence(self, old, before, inputs):
        """The same for a `Sequential`, whose class is not kept.

        One that took its inputs' shape from the first batch takes others, too.
        """
        (given,) = tf.nest.flatten(inputs)
        starts = [given]
        if not _keras.has_declared_inputs(old):
            shape = [None, *given.shape[1:]]
            if len(shape) > 2 or (len(shape) == 2 and given.dtype.is_integer):
                shape[1] = None
            starts.insert(0, _keras.new_input(before, shape))
        failure: Optional[errors.UserError] = None
        for start in starts:
            kept = dict(self.pairs), dict(self.new)
            new = tf.keras.Sequential(name=old.name)
            new.add(start)
            try:
                for layer in old.layers:
                    if not _is_input(layer):
                        self._call(layer, (new,), {}, added=True)
                return new
            except errors.UserError as error:
                failure = error
                self.pairs, self.new = kept
        assert failure is not None
        raise failure

    # Single layers.

    def _call(self, old, args, kwargs, added: bool = False):
        """Calls the smaller layer, and checks that it has the right sizes.

        Args:
          old: the layer.
          args: of the call.
          kwargs: of the call.
          added: the only argument is a `Sequential`, to add it to.
        """
        if id(old) in self.new:
            new = self.new[id(old)]
            return args[0].add(new) if added else new(*args, **kwargs)
        failures = []
        for make in self._makers(old):
            before = dict(self.pairs), dict(self.new)
            try:
                new = make()
                if _keras.is_operation(old):
                    args, kwargs = self._fixed(old, args, kwargs)
                result = args[0].add(new) if added else new(*args, **kwargs)
                try:
                    self._pair(old, new)
                except errors.UserError:
                    if added:
                        args[0].pop()
                    raise
            except (
                ValueError,
                TypeError,
                AttributeError,
                KeyError,
                NotImplementedError,
                tf.errors.OpError,
            ) as error:
                failures.append(errors.reason(error))
                self.pairs, self.new = before
                continue
            self._keep(old, new)
            return result
        raise errors.UserError(
            f"layer '{old.name}' ({type(old).__name__}) cannot be built "
            f"smaller: {failures[-1]}; leave the groups out that it reads, or "
            "register it with register_layer"
        )

    def _makers(self, old) -> list[Callable]:
        if id(old) in self.new:
            return [lambda: self.new[id(old)]]
        kind = registry.kind_of(old)
        if kind is not None and kind.shared:
            return [lambda: old]
        if _keras.is_function(old):
            return [lambda: _keras.copied_function(old)]
        if _keras.is_graph(old):
            return [lambda: self._graph(old)]
        if _keras.is_stock(old) or (kind is not None):
            makers: list[Callable] = [lambda: self._smaller(old)]
            if hasattr(old, "cell"):
                makers.append(lambda: self._with_copied_cells(old))
            return makers
        makers = []
        if not isinstance(old, tf.keras.Model):
            makers += [
                lambda c=c: type(old).from_config(c) for c in self._configs(old)
            ]
        return [*makers, lambda: self._copy(old)]

    def _configs(self, old) -> list[dict]:
        """The config of a user's layer, and with sizes that follow its units."""
        try:
            config = old.get_config()
        except (NotImplementedError, TypeError, ValueError):
            return []
        found = [config]
        changes = self._changes(old)
        if changes:
            found.append(
                {
                    key: changes[value]
                    if isinstance(value, int)
                    and not isinstance(value, bool)
                    and value in changes
                    else value
                    for key, value in config.items()
                }
            )
        return found

    def _changes(self, old) -> dict[int, int]:
        """Sizes of a layer's own weights, and what they become."""
        changes: dict[int, int] = {}
        for variable in _keras.own_weights(old):
            for n, keep in zip(variable.shape, self.kept.masks(variable) or ()):
                if int(keep.sum()) != n:
                    changes[int(n)] = int(keep.sum())
        return changes

    def _with_copied_cells(self, old):
        """The same, with cells that are not made from their configs."""
        self._copying_cells = True
        try:
            return self._smaller(old)
        finally:
            self._copying_cells = False

    def _smaller(self, old):
        """A layer of Keras, of this library or a registered one, not built."""
        layers = tf.keras.layers
        if isinstance(old, layers.TimeDistributed):
            inner = self._inner(old.layer)
            return type(old)(inner, **_base_config(old))
        if isinstance(old, layers.Bidirectional):
            return self._bidirectional(old)
        if isinstance(old, layers.StackedRNNCells):
            config = _without(old.get_config(), "cells")
            return type(old)([self._cell(c) for c in old.cells], **config)
        if hasattr(old, "cell"):
            return self._recurrent(old)
        return self._from_config(old, self._sizes(old))

    def _inner(self, old):
        """A layer inside another; built when that one is."""
        if id(old) in self.new:
            return self.new[id(old)]
        failures = []
        for make in self._makers(old):
            try:
                return self._keep(old, make())
            except (ValueError, TypeError, NotImplementedError) as error:
                failures.append(errors.reason(error))
        raise errors.UserError(
            f"layer '{old.name}' ({type(old).__name__}) cannot be built "
            f"smaller: {failures[-1]}"
        )

    def _cell(self, old):
        if id(old) in self.new:
            return self.new[id(old)]
        if isinstance(old, tf.keras.layers.StackedRNNCells):
            return self._keep(old, self._smaller(old))
        kind = registry.cell_kind_of(old)
        sizes = {}
        if kind is not None:
            sizes["units"] = self._length(getattr(old, kind.recurrent), 0)
        elif hasattr(old, "unit_slices"):
            s = old.unit_slices()[0]
            masks: Any = self.kept.masks(s.variable)
            sizes["units"] = int(masks[s.axis][s.index].sum())
        else:
            changed = self._configs(old)
            if not changed or self._copying_cells:
                return self._keep(old, self._copy(old))
            return self._keep(old, type(old).from_config(changed[-1]))
        return self._keep(old, self._from_config(old, sizes))

    def _recurrent(self, old, name: Optional[str] = None):
        changes: dict[str, Any] = {} if name is None else {"name": name}
        config = old.get_config()
        if "cell" not in config:  # Keras' LSTM, GRU, SimpleRNN
            if registry.cell_kind_of(old.cell) is None:
                return self._from_config(old, changes)
            changes["units"] = self._length(old.cell.recurrent_kernel, 0)
            return self._from_config(old, changes)
        cell = self._cell(old.cell)
        config = {**_without(config, "cell"), **changes}
        constants = config.pop("num_constants", 0)
        new = type(old)(cell, **config)
        if constants:
            raise errors.UserError(
                f"layer '{old.name}' takes constants, and cannot be rebuilt"
            )
        return new

    def _bidirectional(self, old):
        # Keras makes the forward layer, and its cells, once more.
        before = dict(self.new)
        name = old.layer.name
        forward, backward = (
            self._recurrent(each, name)
            for each in (old.forward_layer, old.backward_layer)
        )
        config = _base_config(old)
        given = "backward_layer" in old.get_config()
        shapes = [
            [self._shape(v) for v in each.weights]
            for each in (old.forward_layer, old.backward_layer)
        ]
        if given or shapes[0] != shapes[1]:
            config["backward_layer"] = backward
        new = type(old)(forward, merge_mode=old.merge_mode, **config)
        for one, other in (
            (old.forward_layer, new.forward_layer),
            (old.backward_layer, new.backward_layer),
        ):
            _carry(one, other)
        self.new = before
        return new

    def _sizes(self, old) -> dict[str, Any]:
        kind = registry.kind_of(old)
        if kind is None:
            return {}
        config: dict[str, Any] = {
            key: self._length(getattr(old, weight), axis)
            for key, (weight, axis) in kind.sizes.items()
        }
        call = self.kept.call(old)
        noise = old.get_config().get("noise_shape")
        if call is not None and isinstance(noise, (list, tuple)):
            config["noise_shape"] = tuple(
                self.kept.length(a) if a is not None and n == len(a) else n
                for n, a in zip(noise, call.outputs[0].axes)
            )
        if isinstance(old, tf.keras.layers.MultiHeadAttention):
            last = {c.name: c for c in _keras.children(old)}["attention_output"]
            if len(last.kernel.shape) == 3:
                config["output_shape"] = (self._length(last.kernel, -1),)
        elif isinstance(old, tf.keras.layers.Reshape) and call is not None:
            axes = call.outputs[0].axes[1:]
            config["target_shape"] = tuple(
                int(n) if n == -1 or a is None else self.kept.length(a)
                for n, a in zip(old.target_shape, axes)
            )
        elif isinstance(old, tf.keras.layers.RepeatVector) and call is not None:
            axis = call.outputs[0].axes[1]
            if axis is not None:
                config["n"] = self.kept.length(axis)
        elif isinstance(old, tf.keras.layers.EinsumDense) and call is not None:
            before = old.get_config()["output_shape"]
            before = [before] if isinstance(before, int) else list(before or ())
            axes = call.outputs[0].axes[
                len(call.outputs[0].axes) - len(before) :
            ]
            config["output_shape"] = tuple(
                n if n is None or a is None else self.kept.length(a)
                for n, a in zip(before, axes)
            )
        return config

    def _from_config(self, old, changes: Mapping[str, Any]):
        config = {
            **_without(old.get_config(), "batch_input_shape", "build_config"),
            **changes,
        }
        try:
            new = type(old).from_config(config)
        except (ValueError, TypeError, KeyError):  # functions without a name
            config = {
                key: None
                if key in _CALLABLES or key.endswith(_PARTS)
                else value
                for key, value in config.items()
            }
            new = type(old).from_config(config)
        _carry(old, new)
        return new

    def _fixed(self, old, args, kwargs):
        """Sizes in the arguments of a TensorFlow function, as they become."""
        call = self.kept.call(old)
        if call is None or not call.outputs:
            return args, kwargs
        name = str(getattr(old, "symbol", None) or old.name)
        if "__getitem__" in name or "getitem" in old.name:
            (signal, *_) = call.inputs
            rest = [self._fixed_slices(a, signal) for a in args[1:]]
            return (args[0], *rest), {
                key: self._fixed_slices(value, signal)
                for key, value in kwargs.items()
            }
        if name.endswith("reshape"):
            axes = call.outputs[0].axes

            def fixed(shape):
                if not isinstance(shape, (list, tuple)):
                    return shape
                return [
                    self.kept.length(a)
                    if a is not None and isinstance(n, int) and n != -1
                    else n
                    for n, a in zip(shape, axes)
                ]

            return (
                tuple(a if _keras.is_symbolic(a) else fixed(a) for a in args),
                {
                    key: fixed(value) if key == "shape" else value
                    for key, value in kwargs.items()
                },
            )
        return args, kwargs

    def _fixed_slices(self, spec, signal):
        """Bounds of slices of units."""
        if not isinstance(spec, (list, tuple)):
            spec = (spec,)
        wide = sum(s is not Ellipsis and s is not None for s in spec)
        result, at = [], 0
        for part in spec:
            if part is Ellipsis:
                at += len(signal.axes) - wide
            elif part is not None:
                axis = signal.axes[at]
                at += 1
                if axis is not None and isinstance(part, (dict, slice)):
                    part = self._bounds(part, axis)
            result.append(part)
        return tuple(result)

    def _bounds(self, part, axis):
        is_dict = isinstance(part, dict)
        start, stop, step = (
            (part["start"], part["stop"], part["step"])
            if is_dict
            else (part.start, part.stop, part.step)
        )
        keep = self.kept.of(axis.ids)
        whole = slice(start, stop, step).indices(len(keep))
        if step in (None, 1):
            start, stop = (
                None if given is None else int(keep[:bound].sum())
                for given, bound in zip((start, stop), whole)
            )
        return (
            {"start": start, "stop": stop, "step": step}
            if is_dict
            else slice(start, stop, step)
        )

    # Objects of a user's class.

    def _copy(self, old):
        """The same object, but smaller layers and weights in it."""
        if id(old) in self.new:
            return self.new[id(old)]
        new = (
            _keras.bare_model(old)
            if isinstance(old, tf.keras.Model)
            else _keras.bare_layer(old)
        )
        self._keep(old, new)
        self._copy_attributes(old, new)
        if _keras.own_weights(old) and not isinstance(old, tf.keras.Model):
            new.built = True
        return new

    def _copy_attributes(self, old, new) -> None:
        changes = self._changes(old)
        for name, value in _keras.own_attributes(old).items():
            swapped = self._swapped(_keras.plain(value))
            if name in _SIZES and changes:
                swapped = tf.nest.map_structure(
                    lambda n: changes.get(n, n) if type(n) is int else n,
                    swapped,
                )
            try:
                setattr(new, name, swapped)
            except AttributeError:  # a property of the class
                continue

    def _swapped(self, value):
        if isinstance(value, tf.keras.metrics.Metric):
            return type(value).from_config(value.get_config())
        if isinstance(value, tf.keras.layers.Layer):
            return self._inner(value)
        if _keras.is_variable(value):
            return self._variable(value)
        if isinstance(value, dict):
            return {k: self._swapped(_keras.plain(v)) for k, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._swapped(_keras.plain(v)) for v in value)
        return value

    def _variable(self, old):
        known = self.pairs.get(_keras.key(old))
        if known is not None:
            return known[1]
        masks = self.kept.masks(old)
        shape = (
            tuple(old.shape)
            if masks is None
            else tuple(int(k.sum()) for k in masks)
        )
        new = tf.Variable(
            tf.zeros(shape, old.dtype),
            trainable=old.trainable,
            name=old.name.split(":")[0],
        )
        self.pairs[_keras.key(old)] = (old, new)
        return new

    # Weights.

    def _length(self, variable, axis: int) -> int:
        masks = self.kept.masks(variable)
        if masks is None:
            return int(variable.shape[axis])
        return int(masks[axis].sum())

    def _shape(self, variable) -> tuple[int, ...]:
        masks = self.kept.masks(variable)
        if masks is None:
            return tuple(variable.shape)
        return tuple(int(k.sum()) for k in masks)

    def _pair(self, old, new) -> None:
        """Notes which variable became which, in a layer and those inside."""
        if old is new:
            return
        ours, theirs = _keras.own_weights(old), _keras.own_weights(new)
        if len(ours) != len(theirs):
            raise errors.UserError(
                f"layer '{old.name}' has {len(ours)} weights, the smaller one "
                f"{len(theirs)}"
            )
        for one, other in zip(ours, theirs):
            wanted = self._shape(one)
            known = self.pairs.get(_keras.key(one))
            if known is not None and known[1] is not other:
                names = [n for n, v in vars(old).items() if v is one]
                if names:  # assigned to the layer: weights tied by hand
                    setattr(new, names[0], known[1])
                    continue
                raise errors.UserError(
                    f"{one.name} is shared with another layer, but not in the "
                    "smaller one"
                )
            if tuple(other.shape) != wanted or other.dtype != one.dtype:
                raise errors.UserError(
                    f"the smaller {other.name} has shape "
                    f"{tuple(other.shape)}, expected {wanted}"
                )
            self.pairs[_keras.key(one)] = (one, other)
        ours, theirs = (
            [c for c in _keras.children(each) if not _is_input(c)]
            for each in (old, new)
        )
        if len(ours) != len(theirs):
            raise errors.UserError(
                f"layer '{old.name}' holds {len(ours)} layers, the smaller "
                f"one {len(theirs)}"
            )
        self.layers.append((old, new))
        matched = []
        for one in ours:
            other = self.new.get(id(one))
            if other is not None and not any(other is c for c in theirs):
                raise errors.UserError(
                    f"layer '{one.name}' is shared with another layer, but "
                    "not in the smaller one"
                )
            if other is not None:
                matched.append((one, other))
        taken = {id(other) for _, other in matched}
        found = {id(one) for one, _ in matched}
        matched += zip(
            [c for c in ours if id(c) not in found],
            [c for c in theirs if id(c) not in taken],
        )
        for one, other in matched:
            if other is not one and one.trainable != other.trainable:
                other.trainable = one.trainable
            self._pair(one, other)

    def _pair_up(self, old, new) -> None:
        if new.trainable != old.trainable:
            new.trainable = old.trainable
        self._pair(old, new)
        variables = [
            v
            for v in old.weights
            if hasattr(v, "shape") and hasattr(v, "dtype")
        ]
        missing = [v for v in variables if _keras.key(v) not in self.pairs]
        shared = {id(v) for v in new.weights}
        missing = [v for v in missing if id(v) not in shared]
        if missing or len(old.weights) != len(new.weights):
            raise errors.UserError(
                f"the smaller model has {len(new.weights)} weights, the model "
                f"{len(old.weights)}"
                + (f"; {missing[0].name} has none" if missing else "")
            )


def _base_config(layer) -> dict[str, Any]:
    """What every layer's config holds."""
    config = layer.get_config()
    return {
        key: config[key]
        for key in ("name", "trainable", "dtype")
        if key in config
    }


def _without(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in names}


def _sketch(call, layer, args, kwargs):
    """Calls while a model is built: only shapes are asked for."""
    with _keras.sketched(layer):
        return call(layer, *args, **kwargs)


def _is_input(layer) -> bool:
    return isinstance(layer, tf.keras.layers.InputLayer)


def _carry(old, new) -> None:
    """Functions that a config cannot hold: the layer's own objects."""
    old, new = getattr(old, "cell", old), getattr(new, "cell", new)
    for name in old.get_config():
        if name not in _CALLABLES and not name.endswith(_PARTS):
            continue
        value, present = (getattr(each, name, None) for each in (old, new))
        if type(present) is not type(value) or (
            name in _CALLABLES and present is not value
        ):
            setattr(new, name, value)
