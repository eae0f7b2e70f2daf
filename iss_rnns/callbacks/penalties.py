"""Penalties that join a model's loss while it trains.

`fit` builds its train function between `set_model` and `on_train_begin`, so a
callback that changes the step does it in `set_model`. It undoes the change
when training ends; the next `fit` does, if an exception ended it.
"""

from collections.abc import Sequence
from typing import Any, Callable, Union

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import regularizers
from iss_rnns.callbacks import checks


class Penalty(tf.keras.callbacks.Callback):
    """Adds a penalty to the model's loss while `fit` runs.

    As with Keras' own regularizers the loss of a validation in `fit` counts
    it, too; that of `evaluate` after it does not. If `fit` ended by an
    exception, `evaluate` counts it until the next `fit`.

    Args:
      penalty: function of no arguments, evaluated in every step's graph,
        giving a scalar in the units of the model's cost.
    """

    def __init__(self, penalty: Callable[[], tf.Tensor]):
        super().__init__()
        self.penalty = penalty

    def set_model(self, model):
        super().set_model(model)
        _keras.add_penalty(model, self, self.penalty)

    def on_train_end(self, logs=None):
        _keras.detach(self.model, self)


class GroupLasso(Penalty):
    """Group lasso on `Group` or `BlockGrid` objects.

    See `regularizers.group_lasso`. The list is read when the train function
    is built, so that shrinking may replace what it holds.

    Args:
      groups: list of groups.
      strength: the paper's lambda, >= 0; or a function of the epoch, counted
        from 0, giving it.

    Raises:
      UserError: if the strength is negative or not a number.

    Example:
      >>> callback = GroupLasso([], strength=0.003)
      >>> released = GroupLasso([], lambda epoch: 0.003 if epoch < 5 else 0.)
    """

    def __init__(
        self,
        groups: Sequence,
        strength: Union[regularizers.Strength, Callable[[int], float]],
    ):
        self.groups = checks.groups(groups)
        self.schedule = strength if callable(strength) else None
        self.strength: Any
        if self.schedule is None:
            self.strength = regularizers.check_strength(strength)
        else:
            first = regularizers.check_strength(self.schedule(0))
            self.strength = tf.Variable(float(first), trainable=False)
        super().__init__(self._lasso)

    def _lasso(self) -> tf.Tensor:
        return regularizers.group_lasso(self.groups, self.strength)

    def on_epoch_begin(self, epoch, logs=None):
        if self.schedule:
            self.strength.assign(
                regularizers.check_strength(self.schedule(epoch))
            )


class WeightPenalty(Penalty):
    """L1 or L2 on all trainable variables but some.

    Args:
      kind: 'l1' (strength * sum |w|) or 'l2' (strength * sum w^2 / 2).
      strength: >= 0.
      exclude: names of variables to leave out, or one, compared with the end
        of each variable's name; the authors leave out the embedding.

    Raises:
      UserError: on an unknown kind or a bad strength.
    """

    def __init__(
        self,
        kind: str,
        strength: float,
        exclude: Union[str, Sequence[str]] = ("embedding",),
    ):
        formulas = {"l1": regularizers.l1, "l2": regularizers.l2}
        if kind not in formulas:
            raise errors.UserError(f"kind must be 'l1' or 'l2', got {kind!r}")
        self._formula = formulas[kind]
        self._strength = regularizers.check_strength(strength)
        self.exclude = checks.names(exclude)
        super().__init__(self._of_weights)

    def _of_weights(self) -> tf.Tensor:
        return self._formula(self.penalized(), self._strength)

    def penalized(self) -> list[tf.Variable]:
        """The model's variables that the penalty covers."""
        return [
            v
            for v in _keras.trainable(self.model)
            if not _keras.name(v).endswith(self.exclude)
        ]
