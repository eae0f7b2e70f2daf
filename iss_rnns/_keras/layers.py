"""What a layer is, what is in it, and how it is called."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from iss_rnns._keras import graphs
from iss_rnns._keras import version


def is_layer(thing: object) -> bool:
    """Whether something is a layer or model of Keras."""
    return isinstance(thing, tf.keras.layers.Layer)


def is_stock(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer's class is one of Keras'."""
    root = tf.keras.layers.Layer.__module__.split(".")[0]
    return type(layer).__module__.split(".")[0] == root


def is_lambda(layer: Any) -> bool:
    """Whether a layer is a `Lambda`, whose numbers cannot be changed."""
    return type(layer) is tf.keras.layers.Lambda


def is_operation(layer: Any) -> bool:
    """Whether Keras made a layer, or the like, of a function that it met."""
    if version.VERSION == 3:
        return not is_layer(layer)
    return type(layer).__module__.endswith(".tf_op_layer")


def has_fixed_sizes(layer: Any) -> bool:
    """Whether sizes stand in what a layer or model itself computes.

    Of a `Lambda`, and of a model of Keras 3, which has operations with numbers
    in them between its layers.
    """
    return is_lambda(layer) or (version.VERSION == 3 and graphs.is_graph(layer))


def equal_directions(layer: Any) -> bool:
    """Whether both directions of a `Bidirectional` need the same units.

    Keras 3 takes the forward layer's output for the backward one's, when it
    asks for the shape.
    """
    return version.VERSION == 3 and isinstance(
        layer, tf.keras.layers.Bidirectional
    )


def is_function(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer is a function of TensorFlow, or a `Lambda`."""
    return is_operation(layer) or type(layer) is tf.keras.layers.Lambda


def children(layer: tf.keras.layers.Layer) -> list[tf.keras.layers.Layer]:
    """The layers that a layer or model holds itself, in order."""
    return list(layer._flatten_layers(recursive=False, include_self=False))


def all_layers(
    model: tf.keras.layers.Layer,
) -> Iterator[tf.keras.layers.Layer]:
    """A model, and every layer in it, each once."""
    seen: set[int] = set()

    def visit(layer):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer
            for child in children(layer):
                yield from visit(child)

    yield from visit(model)


def rnn_inputs(layer: tf.keras.layers.RNN, inputs, initial_state, constants):
    """What a Keras layer runs its cell on.

    Args:
      layer: the layer.
      inputs: of its call; a list, if states and constants come with it.
      initial_state: of its call, or None.
      constants: of its call, or None.

    Returns:
      (inputs, initial states, constants): those given, those that a stateful
      layer carries, or zeros.
    """
    if version.VERSION == 2:
        return layer._process_inputs(inputs, initial_state, constants)
    if initial_state is None:
        initial_state = (
            layer.states
            if layer.stateful
            else layer.get_initial_state(batch_size=tf.shape(inputs)[0])
        )
    return inputs, tf.nest.flatten(initial_state), constants


def compile_on_request(layer: tf.keras.layers.Layer) -> None:
    """Has a model with this layer run without XLA, unless it is asked for.

    Keras 3 asks for it by default, but not with a stock LSTM either.
    """
    if version.VERSION == 3:
        layer.supports_jit = False


def replace_layer(model: tf.keras.Model, name: str, layer) -> None:
    """Gives a model another layer in an attribute's place.

    Keras 3 would go on to count the weights of the one that was there.
    """
    if version.VERSION == 2:
        setattr(model, name, layer)
        return
    tracker = model._tracker
    tracker.untrack(getattr(model, name))
    locked, tracker.locked = tracker.locked, False  # once a model is built
    setattr(model, name, layer)
    tracker.locked = locked
