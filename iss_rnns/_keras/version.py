"""Which Keras is there."""

import tensorflow as tf

from iss_rnns import errors

# Of what is called `tf.keras` in this process: TensorFlow's own or tf_keras
# (2), or Keras 3.
VERSION = (
    3 if tf.keras.layers.Layer.__module__.startswith("keras.src.layers") else 2
)


def check_backend(name: str) -> None:
    """Refuses what Keras 3 computes with, if it is not TensorFlow.

    Raises:
      UserError: naming the setting.
    """
    if name != "tensorflow":
        raise errors.UserError(
            "iss-rnns needs Keras on TensorFlow, and this process has Keras "
            f"on {name}: set KERAS_BACKEND=tensorflow before Keras is imported"
        )


if VERSION == 3:
    check_backend(tf.keras.config.backend())


def require_2(what: str) -> None:
    """Refuses Keras 3 for what knows Keras 2 only.

    Raises:
      UserError: saying so.
    """
    if VERSION == 3:
        raise errors.UserError(
            f"{what} on Keras 2 only, and this process has Keras 3: set "
            "TF_USE_LEGACY_KERAS=1 before TensorFlow is imported"
        )
