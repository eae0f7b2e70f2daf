"""Gradient descent in one pass over each weight."""

import tensorflow as tf

from iss_rnns.ops import in_place


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class GradientDescent(tf.keras.optimizers.SGD):
    """w <- w - learning_rate * gradient, without momentum.

    What `tf.keras.optimizers.SGD` computes, by the one operation that updates
    in place. Keras negates, scales and adds in three passes, each with a
    temporary of the gradient's size.

    Args:
      learning_rate: a number or a schedule.

    Attributes:
      zero_below: weights smaller than this become exact zeros in the same
        pass; 0 leaves all as they are. `callbacks.ThresholdZeroing` sets it.

    Example:
      >>> optimizer = GradientDescent(learning_rate=1.0)
    """

    def __init__(self, learning_rate=0.01, name: str = "SGD", **kwargs):
        super().__init__(learning_rate, name=name, **kwargs)
        self.zero_below = 0.0
        self._scale = 1.0

    def build(self, var_list):
        """See base class; without slots for a momentum."""
        super(tf.keras.optimizers.SGD, self).build(var_list)
        self.momentums = []

    def apply_gradients(self, grads_and_vars, *args, scale=1.0, **kwargs):
        """See base class.

        Args:
          grads_and_vars: pairs (gradient, variable).
          *args: of the base class.
          scale: scalar factor of all gradients, e.g. that of clipping: it
            joins the learning rate, which saves a pass over the gradients.
          **kwargs: of the base class.
        """
        self._scale = scale
        try:
            return super().apply_gradients(grads_and_vars, *args, **kwargs)
        finally:
            self._scale = 1.0

    def update_step(self, gradient, variable):
        """See base class."""
        rate = tf.cast(self.learning_rate * self._scale, variable.dtype)
        if isinstance(gradient, tf.IndexedSlices):
            variable.scatter_sub(
                tf.IndexedSlices(gradient.values * rate, gradient.indices)
            )
            if self.zero_below:
                in_place.zero_small([variable], self.zero_below)
        elif self.zero_below:
            in_place.descend(
                variable,
                gradient,
                rate,
                tf.cast(self.zero_below, variable.dtype),
            )
        else:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=variable.handle, alpha=rate, delta=gradient
            )

    def get_config(self):
        config = super().get_config()
        for fixed in ("momentum", "nesterov"):
            config.pop(fixed)
        return config
