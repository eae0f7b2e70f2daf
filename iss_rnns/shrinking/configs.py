"""Configs of layers, in which sizes follow the units that stay."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.groups import registry
from iss_rnns.shrinking import kept as kept_lib

_CALLABLES = ("activation", "recurrent_activation")
_PARTS = ("initializer", "regularizer", "constraint")


def sizes(kept: kept_lib.Kept, old) -> dict[str, Any]:
    """What changes in the config of a layer of Keras or a registered one."""
    kind = registry.kind_of(old)
    if kind is None:
        return {}
    config: dict[str, Any] = {
        key: kept.size(getattr(old, weight), axis)
        for key, (weight, axis) in kind.sizes.items()
    }
    call = kept.call(old)
    noise = old.get_config().get("noise_shape")
    if call is not None and isinstance(noise, (list, tuple)):
        config["noise_shape"] = tuple(
            kept.length(a) if a is not None and n == len(a) else n
            for n, a in zip(noise, call.outputs[0].axes)
        )
    if isinstance(old, tf.keras.layers.MultiHeadAttention):
        last = {c.name: c for c in _keras.children(old)}["attention_output"]
        if len(last.kernel.shape) == 3:
            config["output_shape"] = (kept.size(last.kernel, -1),)
    elif isinstance(old, tf.keras.layers.Reshape) and call is not None:
        axes = call.outputs[0].axes[1:]
        config["target_shape"] = tuple(
            int(n) if n == -1 or a is None else kept.length(a)
            for n, a in zip(old.target_shape, axes)
        )
    elif isinstance(old, tf.keras.layers.RepeatVector) and call is not None:
        axis = call.outputs[0].axes[1]
        if axis is not None:
            config["n"] = kept.length(axis)
    elif isinstance(old, tf.keras.layers.EinsumDense) and call is not None:
        before = old.get_config()["output_shape"]
        before = [before] if isinstance(before, int) else list(before or ())
        axes = call.outputs[0].axes[len(call.outputs[0].axes) - len(before) :]
        config["output_shape"] = tuple(
            n if n is None or a is None else kept.length(a)
            for n, a in zip(before, axes)
        )
    return config


def guesses(kept: kept_lib.Kept, old) -> list[dict]:
    """The config of a user's layer, and with sizes that follow its units."""
    try:
        config = old.get_config()
    except (NotImplementedError, TypeError, ValueError):
        return []
    found = [config]
    changes = kept.changes(old)
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


def from_config(old, changes: Mapping[str, Any]):
    """A layer like another, with changes in its config."""
    config = {
        **without(old.get_config(), "batch_input_shape", "build_config"),
        **changes,
    }
    try:
        new = type(old).from_config(config)
    except (ValueError, TypeError, KeyError):  # functions without a name
        config = {
            key: None if key in _CALLABLES or key.endswith(_PARTS) else value
            for key, value in config.items()
        }
        new = type(old).from_config(config)
    carry(old, new)
    return new


def base(layer) -> dict[str, Any]:
    """What every layer's config holds."""
    config = layer.get_config()
    return {
        key: config[key]
        for key in ("name", "trainable", "dtype")
        if key in config
    }


def without(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The same without some entries."""
    return {k: v for k, v in config.items() if k not in names}


def carry(old, new) -> None:
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
