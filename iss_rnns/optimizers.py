"""Gradient descent in one pass over each weight."""

import tensorflow as tf


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class GradientDescent(tf.keras.optimizers.SGD):
    """w <- w - learning_rate * gradient, without momentum.

    What `tf.keras.optimizers.SGD` computes, by the one operation that updates
    in place. Keras negates, scales and adds in three passes, each with a
    temporary of the gradient's size.

    Args:
      learning_rate: a number or a schedule.

    Example:
      >>> optimizer = GradientDescent(learning_rate=1.0)
    """

    def __init__(self, learning_rate=0.01, name: str = "SGD", **kwargs):
        super().__init__(learning_rate, name=name, **kwargs)

    def update_step(self, gradient, variable):
        """See base class."""
        rate = tf.cast(self.learning_rate, variable.dtype)
        if isinstance(gradient, tf.IndexedSlices):
            variable.scatter_sub(tf.IndexedSlices(
                gradient.values * rate, gradient.indices))
        else:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=variable.handle, alpha=rate, delta=gradient)

    def get_config(self):
        config = super().get_config()
        for fixed in ("momentum", "nesterov"):
            config.pop(fixed)
        return config
