"""What a model of the suite is, and how its dead units are put in."""

import dataclasses
from typing import Callable, Optional
import zlib

import any_layouts as layouts
import numpy as np
import tensorflow as tf

from iss_rnns import _keras

FEATURES = 3  # of float inputs
SYMBOLS = 7  # of ids; 0 is padding
STEPS = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with units to lose.

    Attributes:
      name: of the model.
      build: `build(**sizes)` -> a built model; called with smaller sizes it is
        what must be left.
      places: `places(layers, **sizes)` -> {group: `Place`s}, by hand. `layers`
        has the model's layers as attributes.
      sizes: units of each group.
      silent: groups whose state is read without a weight, so that the biases
        of its candidate must be zero in a dead unit.
      spec: of the inputs as `tf.TensorSpec`s, where the model does not say.
      masked: pads float inputs with steps of zeros.
      tolerance: of outputs, in proportion to the largest.
      keras_file: its source can be saved as `.keras` and loaded without the
        classes of the suite.
    """

    name: str
    build: Callable
    places: Callable
    sizes: dict
    silent: bool = False
    spec: Optional[object] = None
    masked: bool = False
    tolerance: float = 1e-5
    keras_file: bool = True

    def __str__(self):
        return self.name


CASES: dict[str, Case] = {}


def add(name, sizes, build, places, **options):
    """Registers a model."""
    assert name not in CASES, name
    CASES[name] = Case(name, build, places, sizes, **options)


def model(_silent=False, _spec=None, **sizes):
    """Registers what a function gives: build, places, and options if any."""

    def register(function):
        build, places, *options = function()
        add(
            function.__name__,
            sizes,
            build,
            places,
            silent=_silent,
            spec=_spec,
            **(options[0] if options else {}),
        )
        return function

    return register


class Layers:
    """A model's layers as attributes, wherever it keeps them."""

    def __init__(self, owner):
        self._owner = owner

    def __getattr__(self, name):
        if hasattr(self._owner, name):
            return getattr(self._owner, name)
        return self._owner.get_layer(name)


def rng(case, *more):
    """Random numbers that belong to a model."""
    return np.random.default_rng(
        zlib.crc32("/".join(map(str, (case.name, *more))).encode())
    )


def dead_units(case):
    """{group: `[n]` bool}: at least one unit of each is dead, one is not."""
    found = {}
    for group, n in case.sizes.items():
        order = rng(case, group).permutation(n)
        found[group] = np.isin(np.arange(n), order[: max(n // 2, 1)])
    return found


def randomize(variables, generator):
    """Values that no symmetry hides an error behind."""
    for variable in map(_keras.inner, variables):
        if variable.dtype not in (tf.float32, tf.float16, tf.float64):
            continue
        low, high = (0.5, 1.5) if "variance" in variable.name else (-0.7, 0.7)
        variable.assign(
            generator.uniform(low, high, variable.shape).astype(
                tf.as_dtype(variable.dtype).as_numpy_dtype
            )
        )


def zero(place, dead):
    """Zeros of the dead units' entries of a variable."""
    index = [slice(None)] * len(place.variable.shape)
    index[place.axis] = place.entries[:, dead].ravel()
    value = np.array(place.variable)
    value[tuple(index)] = 0.0
    place.variable.assign(value)


def counts(place, case):
    """Whether an entry must be zero in a dead unit."""
    return place.kind in (layouts.WEIGHT, layouts.EITHER) or (
        place.kind == layouts.CANDIDATE and case.silent
    )


def made(case, dead=None):
    """The model with random weights, and its dead units.

    Returns:
      (model, {group: `Place`s}).
    """
    found = case.build(**case.sizes)
    randomize(found.variables, rng(case, "weights"))
    places = case.places(Layers(found), **case.sizes)
    assert set(places) == set(case.sizes), case.name
    for group, units in (dead_units(case) if dead is None else dead).items():
        for place in places[group]:
            if counts(place, case):
                zero(place, units)
    return found, places


def batch(case, model_, size=2, steps=STEPS, seed=0):
    """Random inputs; ids are padded, and steps of zeros where that is masked."""
    generator = rng(case, size, steps, seed)
    spec = case.spec if case.spec is not None else _keras.ends(model_)[0]

    def draw(each):
        shape = [size if each.shape[0] is None else each.shape[0]]
        shape += [steps if n is None else n for n in each.shape[1:]]
        dtype = tf.as_dtype(each.dtype)  # text, in Keras 3
        if dtype == tf.string:
            words = generator.choice(list("abcdef"), [size, 1, steps])
            return tf.constant([[" ".join(w) for w in row] for row in words])
        if dtype.is_integer:
            value = generator.integers(1, SYMBOLS, shape)
            padded = case.masked or len(shape) > 1
        else:
            value = generator.normal(size=shape)
            padded = case.masked
        if padded and len(shape) > 1:
            lengths = generator.integers(1, shape[1] + 1, shape[0])
            lengths[0] = shape[1]
            valid = np.arange(shape[1]) < lengths[:, None]
            value *= valid.reshape(valid.shape + (1,) * (len(shape) - 2))
        return tf.constant(value, dtype)

    return tf.nest.map_structure(draw, spec)


def keep_masks(places, dead):
    """variable.ref() -> [bool array per axis], and the variables by ref."""
    masks, variables = {}, {}
    for group, units in dead.items():
        for place in places[group]:
            reference = place.variable.ref()
            variables[reference] = place.variable
            axes = masks.setdefault(
                reference, [np.ones(n, bool) for n in place.variable.shape]
            )
            axes[place.axis][place.entries[:, units].ravel()] = False
    return masks


def left(variable, masks):
    """What must be left of a variable."""
    value = np.array(variable)
    keep = masks.get(_keras.key(variable))
    return value if keep is None else value[np.ix_(*keep)]


def small_by_hand(case, model_, places):
    """The smaller model, built anew and filled by hand.

    For the suite's own test: with it, no code of the library says that the
    units which the suite calls dead are.
    """
    dead = dead_units(case)
    small = case.build(**{g: int((~d).sum()) for g, d in dead.items()})
    masks = keep_masks(places, dead)
    assert len(small.weights) == len(model_.weights)
    for old, new in zip(model_.weights, small.weights):
        new.assign(left(old, masks))
    return small
