"""Penalties that join a model's loss while it trains.

`fit` builds its train function between `set_model` and `on_train_begin`, so a
callback that changes the step does it in `set_model` and has the function
built anew; it undoes the change when training ends, or a second `fit` would
count it twice.
"""

from collections.abc import Sequence
from typing import Callable, Union

import tensorflow as tf

from iss_rnns import regularizers


class Penalty(tf.keras.callbacks.Callback):
    """Adds a penalty to the model's loss while `fit` runs.

    Args:
      penalty: function of no arguments, evaluated in every step's graph,
        giving a scalar in the units of the model's cost.
    """

    def __init__(self, penalty: Callable[[], tf.Tensor]):
        super().__init__()
        self.penalty = penalty
        self._handle = None

    def set_model(self, model):
        super().set_model(model)
        if self._handle is None:
            model.add_loss(self.penalty)
            self._handle = model._callable_losses[-1]
            model.train_function = None

    def on_train_end(self, logs=None):
        if self._handle is not None:
            self.model._callable_losses.remove(self._handle)
            self.model.train_function = None
            self._handle = None


class GroupLasso(Penalty):
    """Group lasso on `Group` or `BlockGrid` objects.

    See `regularizers.group_lasso`. The list is read when the train function
    is built, so that shrinking may replace what it holds.

    Args:
      groups: list of groups.
      strength: the paper's lambda, >= 0; or a function of the epoch, counted
        from 0, giving it.

    Raises:
      ValueError: if the strength is negative or not a number.

    Example:
      >>> callback = GroupLasso([], strength=0.003)
      >>> released = GroupLasso([], lambda epoch: 0.003 if epoch < 5 else 0.)
    """

    def __init__(
        self,
        groups: Sequence,
        strength: Union[regularizers.Strength, Callable[[int], float]],
    ):
        self.groups = groups
        self.schedule = strength if callable(strength) else None
        self.strength = (
            tf.Variable(float(self.schedule(0)), trainable=False)
            if self.schedule
            else strength
        )
        regularizers.check_strength(
            strength if self.schedule is None else self.schedule(0)
        )
        super().__init__(
            lambda: regularizers.group_lasso(self.groups, self.strength)
        )

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
      exclude: names of variables to leave out, compared with the end of each
        variable's name; the authors leave out the embedding.

    Raises:
      ValueError: on an unknown kind or a bad strength.
    """

    def __init__(
        self,
        kind: str,
        strength: float,
        exclude: Sequence[str] = ("embedding",),
    ):
        formulas = {"l1": regularizers.l1, "l2": regularizers.l2}
        if kind not in formulas:
            raise ValueError(f"kind must be 'l1' or 'l2', got {kind!r}.")
        regularizers.check_strength(strength)
        self.exclude = tuple(exclude)
        super().__init__(lambda: formulas[kind](self.penalized(), strength))

    def penalized(self) -> list[tf.Variable]:
        """The model's variables that the penalty covers."""
        return [
            v
            for v in self.model.trainable_variables
            if not v.name.split(":")[0].endswith(self.exclude)
        ]
