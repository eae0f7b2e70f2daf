"""Objects like others: models and layers of a user's class, functions."""

import copy
import functools
from typing import Any

import tensorflow as tf

from iss_rnns._keras import graphs
from iss_rnns._keras import version


def bare_model(model: tf.keras.Model, *args, **kwargs) -> tf.keras.Model:
    """A model of another's class, without running the class' `__init__`.

    Args:
      model: the other.
      *args: of `tf.keras.Model`.
      **kwargs: the same.
    """
    version.require_2(
        f"'{model.name}', of the class {type(model).__name__}, can be cut"
    )
    cls: Any = type(model)
    new: Any = cls.__new__(cls, *args, **kwargs)
    bases = [tf.keras.Model]
    if args:  # Keras made the class one of functional models
        bases = [c for c in cls.__mro__ if c.__name__ == "Functional"] + bases
    bases[0].__init__(new, *args, name=model.name, **kwargs)
    return new


def bare_layer(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """A layer of another's class, without running the class' `__init__`."""
    version.require_2(
        f"layer '{layer.name}', whose class {type(layer).__name__} does not "
        "build it from its config, can be cut"
    )
    cls: Any = type(layer)
    new = cls.__new__(cls)
    config = {"name": layer.name, "dtype": layer.dtype}
    base = (
        tf.keras.layers.AbstractRNNCell
        if isinstance(layer, tf.keras.layers.AbstractRNNCell)
        else tf.keras.layers.Layer
    )
    base.__init__(new, **config)
    return new


def copied_function(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """A copy of a layer of which `is_function` holds."""
    if type(layer) is tf.keras.layers.Lambda:
        return tf.keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=layer.name,
            trainable=layer.trainable,
            dtype=layer.dtype_policy
            if hasattr(layer, "dtype_policy")
            else None,
        )
    if version.VERSION == 3:  # an operation, whose sizes cannot be changed
        new = copy.copy(layer)
        new._inbound_nodes, new._outbound_nodes = [], []
        return new
    return type(layer).from_config(layer.get_config())


def own_attributes(layer: tf.keras.layers.Layer) -> dict[str, object]:
    """Attributes that a user's class gave a layer, but for Keras' own."""
    known = set(vars(_blank("layer")))
    if isinstance(layer, tf.keras.Model):
        known |= set(vars(_blank("model")))
    if graphs.is_graph(layer):
        known |= set(vars(_blank("functional")))
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in known and name not in _OF_KERAS
    }


_OF_KERAS = {
    "_auto_config",
    "_auto_get_config",
    "_build_input_shape",
    "_iss_attached",
    "_saved_model_inputs_spec",
    "_saved_model_arg_spec",
    "history",
    "loss",
    "optimizer",
    "train_function",
    "test_function",
    "predict_function",
    "train_tf_function",
    "stop_training",
    "steps_per_execution",
    "_is_compiled",
    "_call_spec",
    "call",
    "_obj_reference_counts_dict",
    "_self_unconditional_checkpoint_dependencies",
    "keras_api_names",
}


@functools.cache
def _blank(kind: str):
    """A layer, or a compiled model, that has Keras' attributes only."""
    if kind == "layer":

        class Blank(tf.keras.layers.Layer):
            pass

        layer = Blank()
        layer(tf.zeros([1, 1]))
        return layer
    if kind == "functional":
        inputs = tf.keras.Input([1])
        functional = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(inputs))
        functional.compile("sgd", "mse")
        return functional

    class BlankModel(tf.keras.Model):
        def call(self, inputs):
            return inputs

    result = BlankModel()
    result.compile("sgd", "mse")
    result(tf.zeros([1, 1]))
    return result


def compile_like(model: tf.keras.Model, source: tf.keras.Model, optimizer):
    """Compiles a model with what another was compiled with.

    Args:
      model: to compile.
      source: the other; its metrics are made anew.
      optimizer: of the model.
    """
    arguments = dict(source._compile_config.config)

    def renewed(thing):
        if isinstance(thing, tf.keras.metrics.Metric):
            return type(thing).from_config(thing.get_config())
        return thing

    for name in ("metrics", "weighted_metrics"):
        if arguments.get(name) is not None:
            arguments[name] = tf.nest.map_structure(renewed, arguments[name])
    model.compile(**{**arguments, "optimizer": optimizer})


def is_compiled(model: tf.keras.Model) -> bool:
    """Whether `compile` was called of a model."""
    if version.VERSION == 3:
        return bool(getattr(model, "compiled", False))
    return getattr(model, "_compile_config", None) is not None
