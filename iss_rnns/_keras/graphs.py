"""What a functional model is made of."""

from collections.abc import Iterator

import tensorflow as tf

from iss_rnns._keras import version


def input_specs(model: tf.keras.Model):
    """What a model is called with, as (args, kwargs) of specs; None: unknown.

    Sizes that may change from call to call are None.
    """
    if version.VERSION == 3:
        if not is_graph(model):
            return None
        return [tf.nest.map_structure(_spec, ends(model)[0])], {}
    try:
        specs = model.save_spec()
    except AttributeError:
        return None
    if specs is None:
        return None
    args, kwargs = specs
    return list(args), dict(kwargs)


def _spec(tensor):
    """Of a symbolic tensor of Keras 3."""
    kind = tf.SparseTensorSpec if tensor.sparse else tf.TensorSpec
    return kind(tensor.shape, tf.as_dtype(tensor.dtype))


def _functional(model):
    """Of a model of Keras 3, what holds its layers' connections."""
    return getattr(model, "_functional", None) or model


def is_graph(model: tf.keras.layers.Layer) -> bool:
    """Whether a layer is a model whose layers' connections Keras knows."""
    if version.VERSION == 3:
        return hasattr(_functional(model), "_nodes_by_depth")
    return bool(getattr(model, "_is_graph_network", False)) and bool(
        getattr(model, "inputs", None)
    )


def has_declared_inputs(model: tf.keras.Sequential) -> bool:
    """Whether a sequential model was told its inputs, before any came.

    Keras 3 holds it to the shape of the first batch.
    """
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
            if node.is_input:
                continue
            if version.VERSION == 2:
                yield Step(
                    node.layer,
                    (node.call_args, node.call_kwargs),
                    tf.nest.flatten(node.outputs),
                )
            else:
                arguments = node.arguments
                yield Step(
                    node.operation,
                    (tuple(arguments.args), dict(arguments.kwargs)),
                    list(node.outputs),
                )


def is_symbolic(thing: object) -> bool:
    """Whether something is a tensor of a functional model."""
    return hasattr(thing, "_keras_history")


def ends(model: tf.keras.Model):
    """(inputs, outputs) of a functional model, in their structures."""
    if version.VERSION == 3:
        graph = _functional(model)
        return graph._inputs_struct, graph._outputs_struct
    return model._nested_inputs, model._nested_outputs


def input_names(model: tf.keras.Model) -> list[str]:
    """What the inputs of a functional model are called, flat."""
    found = list(getattr(model, "input_names", None) or [])  # of Keras 2
    if found:
        return found
    return [
        tensor._keras_history.operation.name
        for tensor in tf.nest.flatten(ends(model)[0])
    ]


def new_input(tensor, shape):
    """An input of a functional model like another, of another shape.

    Args:
      tensor: the other.
      shape: with the batch.
    """
    if version.VERSION == 3:
        return tf.keras.Input(
            batch_shape=tuple(shape),
            name=tensor._keras_history.operation.name,
            dtype=tensor.dtype,
            sparse=tensor.sparse,
        )
    layer = tensor._keras_history.layer
    return tf.keras.Input(
        batch_shape=tuple(shape),
        name=layer.name,
        dtype=tensor.dtype,
        sparse=layer.sparse,
        ragged=layer.ragged,
    )
