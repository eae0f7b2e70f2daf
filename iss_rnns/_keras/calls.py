"""Blocks in which Keras' layers are called in another way."""

from collections.abc import Iterable, Iterator
import contextlib
import functools
from typing import Callable

import tensorflow as tf

from iss_rnns._keras import attributes
from iss_rnns._keras import version


@contextlib.contextmanager
def intercepted_calls(handler: Callable) -> Iterator[None]:
    """Has every call of a Keras layer go through a function, in this block.

    Args:
      handler: `handler(call, layer, args, kwargs)` returns what the layer
        gives; `call(layer, *args, **kwargs)` is Keras' own.
    """
    kind = tf.keras.layers.Layer
    call = kind.__call__

    @functools.wraps(call)
    def intercepted(layer, *args, **kwargs):
        return handler(call, layer, args, kwargs)

    kind.__call__ = intercepted
    try:
        yield
    finally:
        kind.__call__ = call


@contextlib.contextmanager
def sketched(layer: tf.keras.layers.Layer) -> Iterator[None]:
    """A stock recurrent layer's call gives zeros of the right shapes here.

    Of a model that is only looked at: to write down the loop of an LSTM, once
    for each kind of device, takes longer than everything else together.
    """
    layers = tf.keras.layers
    stock = [layers.LSTM, layers.GRU, layers.SimpleRNN, layers.RNN]
    if (
        "call" in vars(layer)
        or not any(
            isinstance(layer, kind) and type(layer).call is kind.call
            for kind in stock
        )
        or not all(
            isinstance(n, int) for n in tf.nest.flatten(layer.cell.state_size)
        )
    ):
        yield
        return

    @tf.autograph.experimental.do_not_convert
    def call(inputs, *args, **kwargs):
        del args, kwargs
        values = tf.nest.flatten(inputs)[0]
        cell = layer.cell
        sizes = tf.nest.flatten(cell.state_size)
        last = getattr(cell, "output_size", None) or sizes[0]
        dynamic = tf.shape(values)
        # Of Keras 2 only.
        time_major = bool(getattr(layer, "time_major", False))
        batch = values.shape[int(time_major)]
        lead = dynamic[:2]
        batch_only = dynamic[1:2] if time_major else dynamic[:1]
        whole = layer.return_sequences
        output = tf.zeros(
            tf.concat([lead if whole else batch_only, [last]], 0),
            layer.compute_dtype,
        )
        output.set_shape(values.shape[:2] + [last] if whole else [batch, last])
        states = []
        for n in sizes:
            state = tf.zeros(
                tf.concat([batch_only, [n]], 0), layer.compute_dtype
            )
            state.set_shape([batch, n])
            states.append(state)
        return [output, *states] if layer.return_state else output

    restore = attributes.replace(layer, "call", call)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def zero_weights() -> Iterator[None]:
    """New weights are zeros in this block, which takes no time to draw."""
    kind = tf.keras.layers.Layer
    add_weight = kind.add_weight
    # What comes before the initializer, and behind it by position.
    before = 3 if version.VERSION == 2 else 1
    behind = () if version.VERSION == 2 else ("initializer", "dtype")

    @functools.wraps(add_weight)
    def add_zeros(layer, *args, **kwargs):
        kwargs.update(zip(behind, args[before:]))
        kwargs["initializer"] = "zeros"
        return add_weight(layer, *args[:before], **kwargs)

    kind.add_weight = add_zeros
    try:
        yield
    finally:
        kind.add_weight = add_weight


@contextlib.contextmanager
def noted_initial_states(
    cells: Iterable[tf.keras.layers.Layer],
    note: Callable[[tf.keras.layers.Layer, list], None],
) -> Iterator[None]:
    """Has a function told of the states that cells make to begin with."""
    restore = []
    for cell in cells:
        make = getattr(cell, "get_initial_state", None)
        if make is None:
            continue

        @functools.wraps(make)
        def noted(*args, _cell=cell, _make=make, **kwargs):
            states = _make(*args, **kwargs)
            note(_cell, tf.nest.flatten(states))
            return states

        restore.append(attributes.replace(cell, "get_initial_state", noted))
    try:
        yield
    finally:
        for undo in restore:
            undo()


@contextlib.contextmanager
def forgotten_calls(layers: Iterable[tf.keras.layers.Layer]) -> Iterator[None]:
    """Symbolic calls of layers in this block leave no trace on them."""
    layers = list(layers)
    before = [
        (len(layer._inbound_nodes), len(layer._outbound_nodes))
        for layer in layers
    ]
    try:
        yield
    finally:
        for layer, (inbound, outbound) in zip(layers, before):
            del layer._inbound_nodes[inbound:]
            del layer._outbound_nodes[outbound:]
