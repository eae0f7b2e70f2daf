"""Random models, and which of their weights belong to which unit.

What a model's units are is noted while it is built, from Keras' layouts and
without the library: every number along the last axis of a tensor has the name
of its unit; layers that add, multiply or pass on states say of two names that
they are one.
"""

import itertools

import any_cases
from any_cases import FEATURES
from any_cases import STEPS
import any_layouts as layouts
import numpy as np
import tensorflow as tf

L = tf.keras.layers

RECURRENT = {
    # layer, gates, block of the candidate, arguments
    "lstm": (L.LSTM, 4, 2, {}),
    "gru": (L.GRU, 3, 2, {}),
    "gru_reset_before": (L.GRU, 3, 2, {"reset_after": False}),
    "simple": (L.SimpleRNN, 1, 0, {}),
}
WIDTHS = (3, 4)
ACTIVATIONS = ("relu", "tanh", "sigmoid")
MERGES = (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum)


class Units:
    """Names of units, and which are one."""

    def __init__(self):
        self.parent = []
        self.recurrent = set()
        self.pinned = set()

    def new(self, count, recurrent=False):
        first = len(self.parent)
        names = np.arange(first, first + count)
        self.parent += names.tolist()
        if recurrent:
            self.recurrent |= set(names.tolist())
        return names

    def find(self, name):
        while self.parent[name] != name:
            name = self.parent[name]
        return name

    def unite(self, names, others):
        assert len(names) == len(others)
        for one, other in zip(names, others):
            self.parent[self.find(one)] = self.find(other)

    def among(self, names):
        """The units that some names are of."""
        return {self.find(name) for name in names}


class Flow:
    """A tensor.

    Attributes:
      tensor: itself.
      names: of the units along its last axis; None of the model's input.
      needs: numbers of the parts (biases of candidates) that must be zero for
        a dead unit to be zero here; None if it is not zero even then.
    """

    def __init__(self, tensor, names, needs=None):
        self.tensor = tensor
        self.names = names
        self.needs = needs

    @property
    def sequence(self):
        return len(self.tensor.shape) == 3

    @property
    def shape(self):
        return tuple(self.tensor.shape)

    @property
    def width(self):
        return int(self.tensor.shape[-1])


def both_need(one, other):
    """What a sum of two tensors needs."""
    if one.needs is None or other.needs is None:
        return None
    return one.needs | other.needs


class Graph:
    """A model under construction.

    Args:
      draw: `draw(options)` -> one of them.
    """

    def __init__(self, draw):
        self.draw = draw
        self.units = Units()
        self.parts = []  # (variable, axis, names of its entries, kind)
        self.layers = []  # names of each recurrent layer's units
        self.numbers = itertools.count()
        self.input = tf.keras.Input([STEPS, FEATURES])
        self.flows = [Flow(self.input, None)]
        self.used = set()
        self.silent = set()  # parts that count for all that

    # Weights.

    def part(self, variable, axis, names, kind=layouts.WEIGHT):
        if names is not None:
            self.parts.append((variable, axis, np.asarray(names), kind))

    def reader(self, kernel, axis, flow):
        self.part(kernel, axis, flow.names)

    def writer(self, layer, names):
        self.part(layer.kernel, len(layer.kernel.shape) - 1, names)
        self.part(layer.bias, 0, names, layouts.BIAS)

    def cell(self, cell, gates, candidate, flow):
        """A recurrent layer's weights: names of its units, and its needs."""
        names = self.units.new(cell.units, recurrent=True)
        self.layers.append(names)
        tiled = np.tile(names, gates)
        self.reader(cell.kernel, 0, flow)
        self.part(cell.kernel, 1, tiled)
        self.part(cell.recurrent_kernel, 1, tiled)
        self.part(cell.recurrent_kernel, 0, names)
        needs = set()
        for gate in range(gates):
            if gate == candidate:
                needs.add(len(self.parts))
            of = np.full(len(tiled), -1)
            of[gate * len(names) : (gate + 1) * len(names)] = names
            self.part(
                cell.bias,
                len(cell.bias.shape) - 1,
                of,
                layouts.CANDIDATE if gate == candidate else layouts.BIAS,
            )
        return names, needs

    # Choices.

    def name(self, what):
        return f"{what}_{next(self.numbers)}"

    def pick(self, accept):
        """One of the tensors, the newest first; None if none will do."""
        fitting = [flow for flow in reversed(self.flows) if accept(flow)]
        return self.draw(fitting[:4]) if fitting else None

    def push(self, tensor, names, *sources, needs=None):
        self.used |= {id(source) for source in sources}
        self.flows.append(Flow(tensor, names, needs))

    def step(self):
        """One more layer."""
        getattr(
            self,
            self.draw(
                [
                    "recurrent",
                    "recurrent",
                    "recurrent",
                    "bidirectional",
                    "continued",
                    "dense",
                    "convolution",
                    "merge",
                    "merge",
                    "concatenate",
                    "keep",
                    "keep",
                    "normalize",
                    "over_units",
                    "pool",
                    "repeat",
                    "flatten",
                    "attend",
                ]
            ),
        )()

    # Layers.

    def made(self, **kwargs):
        """A recurrent layer and what is known of its cell."""
        kind, gates, candidate, arguments = RECURRENT[
            self.draw(sorted(RECURRENT))
        ]
        layer = kind(self.draw(WIDTHS), **arguments, **kwargs)
        return layer, gates, candidate

    def recurrent(self):
        source = self.pick(lambda flow: flow.sequence)
        layer, gates, candidate = self.made(
            return_sequences=self.draw([True, True, False]),
            go_backwards=self.draw([False, False, True]),
            name=self.name("rnn"),
        )
        y = layer(source.tensor)
        names, needs = self.cell(layer.cell, gates, candidate, source)
        self.push(y, names, source, needs=needs)

    def bidirectional(self):
        source = self.pick(lambda flow: flow.sequence)
        inner, gates, candidate = self.made(
            return_sequences=self.draw([True, False])
        )
        mode = self.draw(["concat", "sum", "mul", "ave"])
        layer = L.Bidirectional(inner, mode, name=self.name("both"))
        y = layer(source.tensor)
        (one, needs), (other, more) = (
            self.cell(each.cell, gates, candidate, source)
            for each in (layer.forward_layer, layer.backward_layer)
        )
        if mode == "concat":
            names = np.concatenate([one, other])
        else:
            self.units.unite(one, other)
            names = one
        self.push(
            y, names, source, needs=None if mode == "mul" else needs | more
        )

    def continued(self):
        """A layer that begins with the last state of another."""
        source = self.pick(lambda flow: flow.sequence)
        target = self.pick(lambda flow: flow.sequence)
        first, gates, candidate = self.made(
            return_state=True, name=self.name("rnn")
        )
        y, *states = first(source.tensor)
        names, needs = self.cell(first.cell, gates, candidate, source)
        second = type(first).from_config(
            {
                **first.get_config(),
                "name": self.name("rnn"),
                "return_state": False,
                "return_sequences": True,
            }
        )
        z = second(target.tensor, initial_state=states)
        others, more = self.cell(second.cell, gates, candidate, target)
        self.units.unite(names, others)
        self.push(y, names, source, needs=needs)
        self.push(z, others, target, needs=needs | more)

    def dense(self):
        source = self.pick(lambda flow: True)
        layer = L.Dense(
            self.draw(WIDTHS),
            self.draw([None, "relu"]),
            name=self.name("dense"),
        )
        y = layer(source.tensor)
        names = self.units.new(layer.units)
        self.reader(layer.kernel, 0, source)
        self.writer(layer, names)
        self.push(y, names, source)

    def convolution(self):
        source = self.pick(lambda flow: flow.sequence)
        layer = L.Conv1D(
            self.draw(WIDTHS), 2, padding="same", name=self.name("conv")
        )
        y = layer(source.tensor)
        names = self.units.new(layer.filters)
        self.reader(layer.kernel, 1, source)
        self.writer(layer, names)
        self.push(y, names, source)

    def merge(self):
        one = self.pick(lambda flow: flow.names is not None)
        if one is None:
            return
        other = self.pick(
            lambda flow: (
                flow is not one
                and flow.names is not None
                and flow.shape == one.shape
            )
        )
        if other is None:
            return
        kind = self.draw(MERGES)
        y = kind(name=self.name("merge"))([one.tensor, other.tensor])
        self.units.unite(one.names, other.names)
        # Of a product one factor is enough, and which is not said here.
        needs = None if kind is L.Multiply else both_need(one, other)
        self.push(y, one.names, one, other, needs=needs)

    def concatenate(self):
        one = self.pick(lambda flow: flow.names is not None)
        if one is None:
            return
        other = self.pick(
            lambda flow: (
                flow.names is not None and flow.shape[:-1] == one.shape[:-1]
            )
        )
        y = L.Concatenate(name=self.name("side"))([one.tensor, other.tensor])
        self.push(
            y,
            np.concatenate([one.names, other.names]),
            one,
            other,
            needs=both_need(one, other),
        )

    def keep(self):
        source = self.pick(lambda flow: flow.names is not None)
        if source is None:
            return
        kind = self.draw(["dropout", "activation", "slope", "noise"])
        if kind == "dropout":
            layer, zero = L.Dropout(0.3), True
        elif kind == "slope":
            layer, zero = L.LeakyReLU(), True
        elif kind == "noise":
            layer, zero = L.GaussianNoise(0.1), True
        else:
            function = self.draw(ACTIVATIONS)
            layer, zero = L.Activation(function), function != "sigmoid"
        self.push(
            layer(source.tensor),
            source.names,
            source,
            needs=source.needs if zero else None,
        )

    def normalize(self):
        source = self.pick(lambda flow: flow.names is not None)
        if source is None:
            return
        layer = L.BatchNormalization(name=self.name("norm"))
        y = layer(source.tensor)
        for variable, kind in (
            (layer.gamma, layouts.EITHER),
            (layer.beta, layouts.BIAS),
            (layer.moving_mean, layouts.BIAS),
            (layer.moving_variance, layouts.BIAS),
        ):
            self.part(variable, 0, source.names, kind)
        # Offsets make a dead unit anything.
        self.push(y, source.names, source)

    def over_units(self):
        """Softmax and alike: pins; numbers behind it are of no unit."""
        source = self.pick(lambda flow: flow.names is not None)
        if source is None:
            return
        layer = self.draw([L.Softmax, L.LayerNormalization])(
            name=self.name("over")
        )
        y = layer(source.tensor)
        self.units.pinned |= set(source.names.tolist())
        names = self.units.new(source.width)
        self.units.pinned |= set(names.tolist())
        self.push(y, names, source)

    def pool(self):
        source = self.pick(
            lambda flow: flow.sequence and flow.names is not None
        )
        if source is None:
            return
        how = self.draw(["max", "mean", "last", "some"])
        if how == "max":
            y = L.GlobalMaxPooling1D()(source.tensor)
        elif how == "mean":
            y = L.GlobalAveragePooling1D()(source.tensor)
        elif how == "last":
            y = source.tensor[:, -1]
        else:
            y = L.AveragePooling1D(2, 1, padding="same")(source.tensor)
        self.push(y, source.names, source, needs=source.needs)

    def repeat(self):
        source = self.pick(lambda flow: not flow.sequence and flow.width <= 12)
        if source is None:
            return
        y = L.RepeatVector(STEPS)(source.tensor)
        self.push(y, source.names, source, needs=source.needs)

    def flatten(self):
        source = self.pick(
            lambda flow: (
                flow.sequence
                and flow.names is not None
                and flow.width <= 8
                and flow.shape[1] == STEPS
            )
        )
        if source is None:
            return
        y = L.Flatten()(source.tensor)
        self.push(y, np.tile(source.names, STEPS), source, needs=source.needs)

    def attend(self):
        """Dot products of what is zero in dead units."""
        keys = self.pick(lambda flow: flow.sequence and flow.needs)
        if keys is None:
            return
        query = self.pick(
            lambda flow: (
                flow.sequence and flow.needs and flow.width == keys.width
            )
        )
        self.units.unite(query.names, keys.names)
        self.silent |= query.needs | keys.needs
        y = L.Attention(name=self.name("attention"))(
            [query.tensor, keys.tensor]
        )
        # Weighted keys are zero where the keys are.
        self.push(y, keys.names, query, keys, needs=keys.needs)

    # The end.

    def finish(self):
        """Every loose end is read by a last layer; returns the model."""
        loose = [
            flow
            for flow in self.flows[1:]
            if id(flow) not in self.used and flow.names is not None
        ]
        if not loose:
            self.recurrent()
            loose = [self.flows[-1]]
        vectors = [
            Flow(L.GlobalAveragePooling1D()(f.tensor), f.names)
            if f.sequence
            else f
            for f in loose
        ]
        names = np.concatenate([flow.names for flow in vectors])
        y = vectors[0].tensor
        if len(vectors) > 1:
            y = L.Concatenate(name="all")([flow.tensor for flow in vectors])
        layer = L.Dense(2, name="out")
        y = layer(y)
        self.part(layer.kernel, 0, names)
        return tf.keras.Model(self.input, y)

    def places(self):
        """{unit: `Place`s} of all recurrent units that can be cut."""
        units = self.units
        recurrent = units.among(units.recurrent)
        pinned = units.among(units.pinned)
        found = {unit: [] for unit in sorted(recurrent - pinned)}
        for number, (variable, axis, names, kind) in enumerate(self.parts):
            if kind == layouts.CANDIDATE:
                counts = number in self.silent
                kind = layouts.WEIGHT if counts else layouts.BIAS
            whose = np.array(
                [units.find(name) if name >= 0 else -1 for name in names]
            )
            for unit in set(whose.tolist()) & set(found):
                found[unit].append(
                    layouts.Place(
                        variable,
                        axis,
                        np.flatnonzero(whose == unit)[:, None],
                        kind,
                    )
                )
        return found

    def dead(self, generator):
        """{unit: `[1]` bool}; every recurrent layer keeps one at least."""
        units = sorted(self.places())
        dead = dict(zip(units, generator.random(len(units)) < 0.4))
        for names in self.layers:
            of = self.units.among(names)
            if all(dead.get(unit, False) for unit in of):
                dead[min(of)] = False
        return {unit: np.array([bool(d)]) for unit, d in dead.items()}


def random_case(draw, steps, seed):
    """A random model with random weights and dead units.

    Returns:
      (`Case`, model, places, dead units), for `any_checks.check_model`; None
      in the place of the case if it has no unit to lose.
    """
    graph = Graph(draw)
    for _ in range(steps):
        graph.step()
    model = graph.finish()
    places = graph.places()
    generator = np.random.default_rng(seed)
    dead = graph.dead(generator)
    case = any_cases.Case(
        f"random {seed}", None, None, dict.fromkeys(places, 1)
    )
    any_cases.randomize(model.variables, generator)
    for unit, found in places.items():
        for place in found:
            if any_cases.counts(place, case):
                any_cases.zero(place, dead[unit])
    return case, model, places, dead
