"""Gradient descent in one pass over each weight."""

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.ops import in_place


@tf.keras.utils.register_keras_serializable(package="iss_rnns")
class GradientDescent(tf.keras.optimizers.SGD):
    """w <- w - learning_rate * gradient, without momentum.

    What `tf.keras.optimizers.SGD` computes, by the one operation that updates
    in place. Keras negates, scales and adds in three passes, each with a
    temporary of the gradient's size.

    Args:
      learning_rate: a number or a schedule.

    Two capabilities are stated for who applies gradients: `takes_scale`, that
    `apply_gradients` takes `scale`; `zeroes_below`, that it takes
    `zero_below` and what is zero by it stays so until the step ends.

    Attributes:
      zero_below: weights smaller than this become exact zeros in the same
        pass; 0 leaves all as they are. Of steps that do not say otherwise.

    Example:
      >>> optimizer = GradientDescent(learning_rate=1.0)
    """

    takes_scale = True

    def __init__(self, learning_rate=0.01, name: str = "SGD", **kwargs):
        super().__init__(learning_rate, name=name, **kwargs)
        self.zero_below = 0.0
        self._scale = 1.0
        self._zero_below = None

    @property
    def zeroes_below(self) -> bool:
        """Whether zeros of a step are final: averages may overwrite them."""
        return not _keras.averages_weights(self)

    def build(self, var_list):
        """See base class; without slots for a momentum."""
        super(tf.keras.optimizers.SGD, self).build(var_list)
        self.momentums = []
        if _keras.averages_weights(self):
            # Else each step would start them anew.
            _keras.mark_built(self)

    def apply_gradients(
        self, grads_and_vars, *args, scale=1.0, zero_below=None, **kwargs
    ):
        """See base class.

        Args:
          grads_and_vars: pairs (gradient, variable).
          *args: of the base class.
          scale: scalar factor of all gradients, e.g. that of clipping: it
            joins the learning rate, which saves a pass over the gradients.
          zero_below: of this step, instead of the attribute.
          **kwargs: of the base class.
        """
        self._scale = scale
        self._zero_below = zero_below
        try:
            return super().apply_gradients(grads_and_vars, *args, **kwargs)
        finally:
            self._scale = 1.0
            self._zero_below = None

    def update_step(self, gradient, variable, learning_rate=None):
        """See base class."""
        variable = _keras.inner(variable)
        rate = tf.convert_to_tensor(self.learning_rate)
        rate = tf.cast(rate * tf.cast(self._scale, rate.dtype), variable.dtype)
        threshold = (
            self.zero_below if self._zero_below is None else self._zero_below
        )
        if isinstance(gradient, tf.IndexedSlices):
            variable.scatter_sub(
                tf.IndexedSlices(gradient.values * rate, gradient.indices)
            )
            if threshold:
                in_place.zero_small([variable], threshold)
        elif threshold:
            in_place.descend(variable, gradient, rate, threshold)
        else:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=_keras.handle(variable), alpha=rate, delta=gradient
            )

    def get_config(self):
        config = super().get_config()
        for fixed in ("momentum", "nesterov"):
            config.pop(fixed, None)
        return config
