"""The only module that knows tensorflow-addons, and equals without it.

tensorflow-addons is the heir of the authors' `tf.contrib`, but it is
end-of-life and imports up to TensorFlow 2.15 only. Whatever is used of it has
an equal here, so that nothing depends on it.
"""

from collections.abc import Iterable

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments


def _load():
    """tensorflow-addons, or None where it is missing or does not import."""
    try:
        import tensorflow_addons
    except ImportError:
        return None
    return tensorflow_addons


def sequence_loss(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Cross entropy, summed over time and averaged over the batch.

    What the authors' language models minimise. `losses.sequence_cost` is the
    same with a faster gradient; this is what it is checked against.

    Args:
      logits: `[batch, time, classes]`.
      targets: `[batch, time]` int.

    Returns:
      A scalar, in nats.
    """
    addons = _load()
    if addons is not None:
        weights = tf.ones(tf.shape(targets), logits.dtype)
        return tf.reduce_sum(
            addons.seq2seq.sequence_loss(
                logits,
                targets,
                weights,
                average_across_timesteps=False,
                average_across_batch=True,
            )
        )
    costs = tf.keras.losses.sparse_categorical_crossentropy(
        targets, logits, from_logits=True
    )
    return tf.reduce_sum(costs) / tf.cast(tf.shape(targets)[0], logits.dtype)


class MovingAverages(tf.Module):
    """Exponential moving averages of variables, each with its own shadow.

        average <- average - (1 - decay) * (average - variable)

    The same averages as `tfa.optimizers.MovingAverage`, but updated when the
    caller says so. The authors' program updates them first in a step, with
    the weights as the previous step left them, whether or not a variable is
    being trained; the optimizer of tensorflow-addons does it after its own
    update, for trained variables only, and takes only legacy optimizers.

    Args:
      variables: what to average; averages start equal to them.
      decay: in [0, 1], e.g. 0.999.

    Raises:
      ValueError: if `decay` is not in [0, 1].

    Example:
      >>> weight = tf.Variable(0.)
      >>> averages = MovingAverages([weight], decay=0.9)
      >>> _ = weight.assign(1.)
      >>> averages.update()
      >>> round(float(averages.average_of(weight)), 6)
      0.1
    """

    def __init__(self, variables: Iterable[tf.Variable], decay: float):
        super().__init__(name="averages")
        self.decay = arguments.number("decay", decay, least=0, most=1)
        variables = [_keras.inner(v) for v in variables]
        self.shadows: list[tf.Variable] = [
            tf.Variable(
                v, trainable=False, name=v.name.split(":")[0] + "/average"
            )
            for v in variables
        ]
        # References, not the variables: they belong to somebody else's
        # checkpoint.
        self._places = {v.ref(): i for i, v in enumerate(variables)}

    @property
    def _pairs(self) -> list[tuple[tf.Variable, tf.Variable]]:
        return [
            (reference.deref(), self.shadows[i])
            for reference, i in self._places.items()
        ]

    def update(self) -> None:
        """One step towards the variables' present values, in graph."""
        for variable, shadow in self._pairs:
            rate = tf.constant(1.0 - self.decay, shadow.dtype)
            shadow.assign_sub((shadow - variable) * rate)

    def reset(self) -> None:
        """Averages := variables, as after loading weights."""
        for variable, shadow in self._pairs:
            shadow.assign(variable)

    def assign_to_variables(self) -> None:
        """Variables := averages."""
        for variable, shadow in self._pairs:
            variable.assign(shadow)

    def average_of(self, variable: tf.Variable) -> tf.Variable:
        """The average of a variable."""
        return self.shadows[self._places[_keras.key(variable)]]
