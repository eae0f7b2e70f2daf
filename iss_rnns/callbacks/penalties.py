"""Penalties that join a model's loss while it trains.

`fit` builds its train function between `set_model` and `on_train_begin`, so a
callback that changes the step does it in `set_model`. It undoes the change
when training ends; the next `fit` does, if an exception ended it.
"""

from collections.abc import Sequence
from typing import Any, Callable, Optional, Union

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import regularizers
from iss_rnns.callbacks import checks
from iss_rnns.callbacks import hooks
from iss_rnns.callbacks import sizes
from iss_rnns.callbacks import zeros


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

    With a strength it is `regularizers.group_lasso`, added to the loss; in mode
    `proximal` a step of its own after each update, see
    `callbacks.GroupSoftThreshold`. With a target no strength is needed: the
    training is steered to that size, see `callbacks.SizeTarget`, and logs
    `size_asked` and `size_reached`. The list is read when the train function is
    built, so that shrinking may replace what it holds.

    Args:
      groups: list of groups; of units, but for a strength in mode
        `subgradient`.
      strength: the paper's lambda, >= 0; or a function of the epoch, counted
        from 0, giving it.
      target: instead, the share of the units to stay, or units by group name.
      target_weights: instead, the share of the groups' weights to stay.
      mode: of a strength: `subgradient`, as the authors', or `proximal`.
      **options: of a target, see `callbacks.SizeTarget`: `reach`,
        `multiple_of`, `max_loss`, `steps`.

    Raises:
      UserError: if the strength is negative or not a number; unless there is
        either a strength or a target; see `callbacks.SizeTarget`.

    Example:
      >>> callback = GroupLasso([], strength=0.003)
      >>> released = GroupLasso([], lambda epoch: 0.003 if epoch < 5 else 0.)
    """

    def __init__(
        self,
        groups: Sequence,
        strength: Union[
            None, regularizers.Strength, Callable[[int], float]
        ] = None,
        target: Optional[sizes.Target] = None,
        target_weights: Optional[float] = None,
        mode: str = "subgradient",
        **options: Any,
    ):
        super().__init__(self._lasso)
        self.groups = checks.groups(groups)
        self.schedule = strength if callable(strength) else None
        self.strength: Any = strength
        arguments.one_of("mode", mode, ("subgradient", "proximal"))
        steered = target is not None or target_weights is not None
        if steered == (strength is not None):
            raise errors.UserError(
                "GroupLasso takes either a strength or the size that is "
                f"wanted, got {'both' if steered else 'neither'}: give "
                "strength=0.003, or target=0.4"
            )
        if options and not steered:
            raise errors.UserError(
                f"{next(iter(options))} is an option of a target, and there "
                "is none"
            )
        # What acts instead of a penalty.
        self._hook: Optional[hooks.UpdateHook] = None
        if steered:
            self._hook = sizes.SizeTarget(
                self.groups, target, target_weights, **options
            )
            return
        if self.schedule is None:
            self.strength = regularizers.check_strength(self.strength)
        else:
            first = regularizers.check_strength(self.schedule(0))
            self.strength = tf.Variable(float(first), trainable=False)
        if mode == "proximal":
            self._hook = zeros.GroupSoftThreshold(self.groups, self.strength)

    def _lasso(self) -> tf.Tensor:
        return regularizers.group_lasso(self.groups, self.strength)

    def set_params(self, params):
        super().set_params(params)
        if self._hook:
            self._hook.set_params(params)

    def set_model(self, model):
        if self._hook is None:
            super().set_model(model)
            return
        tf.keras.callbacks.Callback.set_model(self, model)
        self._hook.set_model(model)

    def on_epoch_begin(self, epoch, logs=None):
        if self.schedule:
            self.strength.assign(
                regularizers.check_strength(self.schedule(epoch))
            )
        if self._hook:
            self._hook.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._hook:
            self._hook.on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        if self._hook is None:
            super().on_train_end(logs)
        else:
            self._hook.on_train_end(logs)

    @property
    def stopped_at(self) -> Optional[float]:
        """See `callbacks.SizeTarget`; None without a target."""
        return getattr(self._hook, "stopped_at", None)


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
