"""A variable's name, value and key; the weights of layers and models."""

from collections.abc import Hashable, Iterable, Sequence

import tensorflow as tf

from iss_rnns._keras import version

_PATH = "_iss_path"


def inner(variable) -> tf.Variable:
    """TensorFlow's variable in one of Keras 3; any other as it is."""
    found = getattr(variable, "_value", None)
    if not (hasattr(variable, "path") and isinstance(found, tf.Variable)):
        return variable
    object.__setattr__(found, _PATH, variable.path)
    return found


def name(variable) -> str:
    """A variable's full name: in Keras 3 its path, else without its number."""
    path = getattr(variable, "path", None) or getattr(variable, _PATH, None)
    return path or variable.name.partition(":")[0]


def trainable(model) -> list[tf.Variable]:
    """What gradients change of a model, layer or cell."""
    return [inner(each) for each in model.trainable_variables]


def variables(model) -> list[tf.Variable]:
    """All weights of a model, layer or cell, trained or not.

    Keras 3 has metrics and seeds among its `variables`.
    """
    return [
        inner(each)
        for each in (model.variables if version.VERSION == 2 else model.weights)
    ]


def key(variable: tf.Variable) -> Hashable:
    """What a dict knows a variable by."""
    return inner(variable).ref()


def is_variable(thing: object) -> bool:
    """Whether something is a variable, Keras' or TensorFlow's."""
    return isinstance(inner(thing), tf.Variable)


def array(variable: tf.Variable):
    """A variable's value."""
    return variable.numpy()


def handle(variable: tf.Variable) -> tf.Tensor:
    """What TensorFlow's raw operations know a variable by."""
    return _copies(variable)[0].handle


def handles(variable: tf.Variable) -> list[tf.Tensor]:
    """Of all copies that are to be changed: outside of replicas, theirs."""
    return [each.handle for each in _copies(variable)]


def _copies(variable: tf.Variable) -> Sequence[tf.Variable]:
    own = inner(variable)
    if isinstance(own, tf.distribute.DistributedValues) and not (
        tf.distribute.get_strategy() is own.distribute_strategy
        and not tf.distribute.in_cross_replica_context()
    ):
        # What a graph outside of the replicas reads is the first.
        return own.distribute_strategy.experimental_local_results(own)
    return [own]


def unique_names(variables: Iterable[tf.Variable]) -> list[str]:
    """The variables' names; of equal ones the later get a number."""
    names: dict[str, int] = {}
    result = []
    for variable in variables:
        full = name(variable)
        names[full] = names.get(full, 0) + 1
        result.append(full if names[full] == 1 else f"{full}_{names[full]}")
    return result


def own_weights(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """The weights that a layer holds itself, not those of its layers.

    What has no shape, such as the table of a vocabulary, is none.
    """
    own = (
        [*layer._trainable_weights, *layer._non_trainable_weights]
        if version.VERSION == 2
        else [*layer._trainable_variables, *layer._non_trainable_variables]
    )
    return [
        inner(v) for v in own if hasattr(v, "shape") and hasattr(v, "dtype")
    ]


def states_of(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """The states that a stateful layer carries from batch to batch."""
    if not getattr(layer, "stateful", False) or not hasattr(layer, "states"):
        return []
    return [inner(v) for v in tf.nest.flatten(layer.states) if is_variable(v)]
