"""What a functional model is made of."""

from collections.abc import Iterator

import tensorflow as tf


def input_specs(model: tf.keras.Model):
    """What a model is called with, as (args, kwargs) of specs; None: unknown.

    Sizes that may change from call to call are None.
    """
    try:
        specs = model.save_spec()
    except AttributeError:
        return None
    if specs is None:
        return None
    args, kwargs = specs
    return list(args), dict(kwargs)


def is_graph(model: tf.keras.layers.Layer) -> bool:
    """Whether a layer is a model whose layers' connections Keras knows."""
    return bool(getattr(model, "_is_graph_network", False)) and bool(
        getattr(model, "inputs", None)
    )


def has_declared_inputs(model: tf.keras.Sequential) -> bool:
    """Whether a sequential model was told its inputs, before any came."""
    return bool(getattr(model, "_has_explicit_input_shape", True))


class Step:
    """A layer's place in a functional model.

    Attributes:
      layer: that is called.
      arguments: (args, kwargs), with symbolic tensors in them.
      outputs: symbolic tensors, flat.
    """

    def __init__(self, layer, arguments, outputs):
        self.layer = layer
        self.arguments = arguments
        self.outputs = outputs


def steps(model: tf.keras.Model) -> Iterator[Step]:
    """The calls of a functional model's layers, in an order that works."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                yield Step(
                    node.layer,
                    (node.call_args, node.call_kwargs),
                    tf.nest.flatten(node.outputs),
                )


def is_symbolic(thing: object) -> bool:
    """Whether something is a tensor of a functional model."""
    return hasattr(thing, "_keras_history")


def ends(model: tf.keras.Model):
    """(inputs, outputs) of a functional model, in their structures."""
    return model._nested_inputs, model._nested_outputs


def new_input(tensor, shape):
    """An input of a functional model like another, of another shape.

    Args:
      tensor: the other.
      shape: with the batch.
    """
    layer = tensor._keras_history.layer
    return tf.keras.Input(
        batch_shape=tuple(shape),
        name=layer.name,
        dtype=tensor.dtype,
        sparse=layer.sparse,
        ragged=layer.ragged,
    )
