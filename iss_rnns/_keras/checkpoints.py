"""Training state in a model's checkpoints that is no weight of it."""

from collections.abc import Hashable

import tensorflow as tf

from iss_rnns._keras import attributes


class _State(tf.Module):
    """Variables in checkpoints, as a list's, but in no saved model."""

    def __init__(self, variables: dict[Hashable, tf.Variable]):
        super().__init__()
        for i, variable in enumerate(variables.values()):
            setattr(self, str(i), variable)
        # Plain: nothing of them is to be tracked twice.
        attributes.replace(self, "by_key", dict(variables))

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        if save_type != "checkpoint":
            return {}
        return super()._trackable_children(save_type, **kwargs)


def keep_in_checkpoints(
    model: tf.keras.Model, name: str, variables: dict[Hashable, tf.Variable]
) -> None:
    """Makes variables part of the model's `tf.train.Checkpoint`, no more.

    They become the model's attribute `name`, and `<model>/<name>/<number>` in
    a checkpoint, as if a list of them had been assigned; one that was read
    before fills them. The model's weights, its files of weights and its saved
    models are without them.

    Args:
      model: the model.
      name: see above.
      variables: by what `kept` finds them by.
    """
    state = _State(variables)
    model._track_trackable(state, name, overwrite=True)
    attributes.replace(model, name, list(variables.values()))


def kept(model: tf.keras.Model, name: str) -> dict[Hashable, tf.Variable]:
    """What `keep_in_checkpoints` was given; nothing before it."""
    state = model._lookup_dependency(name)
    return state.by_key if isinstance(state, _State) else {}
