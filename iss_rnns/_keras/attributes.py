"""Attributes that Keras does not track, or has wrapped to track them."""

from typing import Callable

import tensorflow as tf


def replace(thing, name: str, value) -> Callable[[], None]:
    """Sets an attribute, and gives what sets it back.

    Not by plain assignment: Keras would track the value, and try to put it
    into checkpoints.
    """
    attributes = vars(thing)
    before = {name: attributes[name]} if name in attributes else {}
    object.__setattr__(thing, name, value)

    def restore():
        if attributes.get(name) is value:
            del attributes[name]
            attributes.update(before)

    return restore


def plain(value: object) -> object:
    """What a list or dict was before Keras wrapped it to track it."""
    if isinstance(value, tf.__internal__.tracking.AutoTrackable):
        return value
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, tuple) and hasattr(value, "__wrapped__"):
        return value.__wrapped__
    return value
