"""A smaller model of the same layers, from what is known of the units.

Sequential and functional models are played again, call by call, with layers
whose configs hold smaller sizes. A model of a class of one's own is expanded
into a functional one, if that computes the same; else it becomes another
object of its class, whose layers are smaller ones. Keras' layers stay Keras'
layers, and the original is not touched.
"""

from collections.abc import Iterator, Mapping
import contextlib
from typing import Any, Callable, Optional

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.groups import registry
from iss_rnns.shrinking import call_arguments
from iss_rnns.shrinking import configs
from iss_rnns.shrinking import kept as kept_lib
from iss_rnns.shrinking import pairing

_SIZES = ("units", "state_size", "output_size", "hidden_size", "num_units")


class Rebuild:
    """Builds smaller layers; the same one for the same layer.

    Args:
      kept: what stays.

    Attributes:
      pairs: the model's variables and layers, and the smaller ones.
    """

    def __init__(self, kept: kept_lib.Kept):
        self.kept = kept
        self.pairs = pairing.Pairs(kept)
        self._classes: dict[str, type] = {}
        self._copying_cells = False

    # Whole models.

    def model(self, old):
        """A smaller model of one that Keras knows the connections of."""
        self._note(old)
        with self._scope():
            new = self._graph(old)
        self.pairs.pair_up(old, new)
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
        self.pairs.pair_up(old, new)
        return new

    def _note(self, old) -> None:
        for layer in _keras.all_layers(old):
            if not _keras.is_stock(layer):
                self._classes[type(layer).__name__] = type(layer)

    @contextlib.contextmanager
    def _scope(self) -> Iterator[None]:
        with tf.keras.utils.custom_object_scope(self._classes):
            with _keras.zero_weights(), _keras.intercepted_calls(_sketch):
                yield

    def _graph(self, old):
        """Plays the calls again."""
        if id(old) in self.pairs.new:
            return self.pairs.new[id(old)]
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
            return self.pairs.keep(
                old, self._sequence(old, flat[0], new_inputs)
            )
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
        return self.pairs.keep(old, new)

    def _argument(self, value, tensors: Mapping[int, Any]):
        """What a layer is called with, in the smaller model."""
        if _keras.is_symbolic(value):
            return tensors.get(id(value), value)
        if _keras.is_variable(value):
            pairs = self.pairs.variables
            return pairs.get(_keras.key(value), (value, value))[1]
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
            state = self.pairs.state()
            new = tf.keras.Sequential(name=old.name)
            new.add(start)
            try:
                for layer in old.layers:
                    if not pairing.is_input(layer):
                        self._call(layer, (new,), {}, added=True)
                return new
            except errors.UserError as error:
                failure = error
                self.pairs.restore(state)
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
        if id(old) in self.pairs.new:
            new = self.pairs.new[id(old)]
            return args[0].add(new) if added else new(*args, **kwargs)
        failures = []
        for make in self._makers(old):
            state = self.pairs.state()
            try:
                new = make()
                if _keras.is_operation(old):
                    args, kwargs = call_arguments.resized(
                        self.kept, old, args, kwargs
                    )
                result = args[0].add(new) if added else new(*args, **kwargs)
                try:
                    self.pairs.pair(old, new)
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
                self.pairs.restore(state)
                continue
            self.pairs.keep(old, new)
            return result
        raise errors.UserError(
            f"layer '{old.name}' ({type(old).__name__}) cannot be built "
            f"smaller: {failures[-1]}; leave the groups out that it reads, or "
            "register it with register_layer"
        )

    def _makers(self, old) -> list[Callable]:
        if id(old) in self.pairs.new:
            return [lambda: self.pairs.new[id(old)]]
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
                lambda c=c: type(old).from_config(c)
                for c in configs.guesses(self.kept, old)
            ]
        return [*makers, lambda: self._copy(old)]

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
            return type(old)(inner, **configs.base(old))
        if isinstance(old, layers.Bidirectional):
            return self._bidirectional(old)
        if isinstance(old, layers.StackedRNNCells):
            config = configs.without(old.get_config(), "cells")
            return type(old)([self._cell(c) for c in old.cells], **config)
        if hasattr(old, "cell"):
            return self._recurrent(old)
        return configs.from_config(old, configs.sizes(self.kept, old))

    def _inner(self, old):
        """A layer inside another; built when that one is."""
        if id(old) in self.pairs.new:
            return self.pairs.new[id(old)]
        failures = []
        for make in self._makers(old):
            try:
                return self.pairs.keep(old, make())
            except (ValueError, TypeError, NotImplementedError) as error:
                failures.append(errors.reason(error))
        raise errors.UserError(
            f"layer '{old.name}' ({type(old).__name__}) cannot be built "
            f"smaller: {failures[-1]}"
        )

    def _cell(self, old):
        if id(old) in self.pairs.new:
            return self.pairs.new[id(old)]
        if isinstance(old, tf.keras.layers.StackedRNNCells):
            return self.pairs.keep(old, self._smaller(old))
        kind = registry.cell_kind_of(old)
        sizes = {}
        if kind is not None:
            sizes["units"] = self.kept.size(getattr(old, kind.recurrent), 0)
        elif hasattr(old, "unit_slices"):
            s = old.unit_slices()[0]
            masks: Any = self.kept.masks(s.variable)
            sizes["units"] = int(masks[s.axis][s.index].sum())
        else:
            changed = configs.guesses(self.kept, old)
            if not changed or self._copying_cells:
                return self.pairs.keep(old, self._copy(old))
            return self.pairs.keep(old, type(old).from_config(changed[-1]))
        return self.pairs.keep(old, configs.from_config(old, sizes))

    def _recurrent(self, old, name: Optional[str] = None):
        changes: dict[str, Any] = {} if name is None else {"name": name}
        config = old.get_config()
        if "cell" not in config:  # Keras' LSTM, GRU, SimpleRNN
            if registry.cell_kind_of(old.cell) is None:
                return configs.from_config(old, changes)
            changes["units"] = self.kept.size(old.cell.recurrent_kernel, 0)
            return configs.from_config(old, changes)
        cell = self._cell(old.cell)
        config = {**configs.without(config, "cell"), **changes}
        constants = config.pop("num_constants", 0)
        new = type(old)(cell, **config)
        if constants:
            raise errors.UserError(
                f"layer '{old.name}' takes constants, and cannot be rebuilt"
            )
        return new

    def _bidirectional(self, old):
        # Keras makes the forward layer, and its cells, once more.
        before = dict(self.pairs.new)
        name = old.layer.name if hasattr(old, "layer") else None  # Keras 2
        forward, backward = (
            self._recurrent(each, name)
            for each in (old.forward_layer, old.backward_layer)
        )
        config = configs.base(old)
        if _keras.equal_directions(old) and (
            forward.cell.state_size != backward.cell.state_size
        ):
            raise errors.UserError(
                f"on Keras 3 both directions of layer '{old.name}' need the "
                "same number of units; set TF_USE_LEGACY_KERAS=1 before "
                "TensorFlow is imported, and cut it on Keras 2"
            )
        given = "backward_layer" in old.get_config()
        shapes = [
            [self.kept.variable_shape(v) for v in each.weights]
            for each in (old.forward_layer, old.backward_layer)
        ]
        if given or shapes[0] != shapes[1]:
            config["backward_layer"] = backward
        new = type(old)(forward, merge_mode=old.merge_mode, **config)
        for one, other in (
            (old.forward_layer, new.forward_layer),
            (old.backward_layer, new.backward_layer),
        ):
            configs.carry(one, other)
        self.pairs.new = before
        return new

    # Objects of a user's class.

    def _copy(self, old):
        """The same object, but smaller layers and weights in it."""
        if id(old) in self.pairs.new:
            return self.pairs.new[id(old)]
        new = (
            _keras.bare_model(old)
            if isinstance(old, tf.keras.Model)
            else _keras.bare_layer(old)
        )
        self.pairs.keep(old, new)
        self._copy_attributes(old, new)
        if _keras.own_weights(old) and not isinstance(old, tf.keras.Model):
            new.built = True
        return new

    def _copy_attributes(self, old, new) -> None:
        changes = self.kept.changes(old)
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
        known = self.pairs.variables.get(_keras.key(old))
        if known is not None:
            return known[1]
        new = tf.Variable(
            tf.zeros(self.kept.variable_shape(old), old.dtype),
            trainable=old.trainable,
            name=old.name.split(":")[0],
        )
        self.pairs.variables[_keras.key(old)] = (old, new)
        return new


def _sketch(call, layer, args, kwargs):
    """Calls while a model is built: only shapes are asked for."""
    with _keras.sketched(layer):
        return call(layer, *args, **kwargs)
