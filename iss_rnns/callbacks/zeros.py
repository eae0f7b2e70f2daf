"""Making weights exactly zero, and keeping them so."""

from collections.abc import Iterable, Sequence
import threading
from typing import Callable, Union

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import regularizers
from iss_rnns import scaled_lasso
from iss_rnns import thresholding
from iss_rnns.callbacks import checks
from iss_rnns.callbacks import hooks
from iss_rnns.ops import in_place


class ThresholdZeroing(hooks.UpdateHook):
    """Sets weights with |w| < threshold to exactly 0 after every update.

    As the authors do, on every trainable variable, embedding and biases
    included, and once before an evaluation.

    Args:
      threshold: e.g. max(1e-4, 2 * weight_decay); 0 switches it off.
      variables: what is zeroed; or a function of the model that gives it, as
        shrinking replaces variables. None means the trainable ones.

    Raises:
      UserError: if the threshold is negative or not finite.
    """

    def __init__(
        self,
        threshold: float = thresholding.ZERO_THRESHOLD,
        variables: Union[
            None,
            Iterable[tf.Variable],
            Callable[[tf.keras.Model], Iterable[tf.Variable]],
        ] = None,
    ):
        super().__init__()
        self.threshold = regularizers.check_strength(threshold, "threshold")
        self._variables = (
            variables
            if variables is None or callable(variables)
            else checks.variables(variables)
        )

    @property
    def variables(self) -> list[tf.Variable]:
        """What is zeroed now."""
        if callable(self._variables):
            return [_keras.inner(v) for v in self._variables(self.model)]
        if self._variables is None:
            return _keras.trainable(self.model)
        return list(self._variables)

    def rebind(self, cuts: dict[object, groups_lib.Cut]) -> None:
        """Follows variables that it was given into their smaller versions."""
        if isinstance(self._variables, list):
            self._variables = [
                cuts[_keras.key(v)].variable if _keras.key(v) in cuts else v
                for v in self._variables
            ]

    def during_update(self, optimizer):
        """See base class."""
        if self._variables is None and getattr(
            optimizer, "zeroes_below", False
        ):
            return {"zero_below": self.threshold}
        return None

    def after_update(self):
        """See base class."""
        if self.threshold:
            in_place.zero_small(self.variables, self.threshold)

    def zeros(self):
        """See base class."""
        if not self.threshold:
            return []
        return [(v, tf.equal(v, tf.zeros([], v.dtype))) for v in self.variables]

    def on_test_begin(self, logs=None):
        if self.threshold:
            in_place.zero_small(self.variables, self.threshold)


class GroupSoftThreshold(hooks.UpdateHook):
    """Group lasso as a proximal step after each of the optimizer's.

    w := w * max(0, 1 - learning_rate * strength * multiplier / |w|) for each
    unit's w: the proximal operator of the group's norm, which solves the lasso's
    part of a step of gradient descent exactly. With Adam and RMSprop it is the
    operator in the metric of their steps, see `scaled_lasso`; with other
    adaptive optimizers it counts with their plain learning rate. Units get to
    zero exactly, with no threshold; dead ones stay so as long as their gradients
    are shorter than the strength.

    Args:
      groups: of units, `Group` objects.
      strength: the paper's lambda, >= 0; a number or a scalar variable.

    Raises:
      UserError: on something else.
    """

    def __init__(
        self,
        groups: Sequence[groups_lib.Group],
        strength: regularizers.Strength,
    ):
        super().__init__()
        groups_lib.check_groups(groups)
        self.groups = checks.groups(groups)
        self.strength = regularizers.check_strength(strength)

    def after_update(self):
        """See base class."""
        rate = tf.cast(_keras.learning_rate(self.model), tf.float32)
        length = rate * self.strength
        variables = groups_lib.unique_variables(self.groups)
        scales = {
            v.ref(): _keras.scales(self.model.optimizer, v) for v in variables
        }
        if any(each is None for each in scales.values()):
            shares = [
                thresholding.shortened(
                    tf.sqrt(group.squared_norms()),
                    tf.fill([group.size], length * group.multiplier),
                )
                for group in self.groups
            ]
            thresholding.scale_units(self.groups, shares)
        else:
            scaled_lasso.shorten(self.groups, scales, length)

    def zeros(self):
        """See base class."""
        return [
            (v, tf.equal(v, tf.zeros([], v.dtype)))
            for v in groups_lib.unique_variables(self.groups)
        ]


class FreezeZeros(hooks.UpdateHook):
    """Keeps zeros zero while the rest trains on.

    Args:
      mode: 'element': gradient := 0 where |w| < threshold, after clipping, as
        in the authors' code. 'group': units whose whole group is zero stay
        dead, whatever the optimizer's momentum; living ones move freely.
      groups: of mode 'group'.
      threshold: of mode 'element'.
      value: function of a variable, of mode 'element': what of it is compared
        with the threshold; by default its value at the update.

    Raises:
      UserError: on another mode, or mode 'group' without groups.
    """

    def __init__(
        self,
        mode: str,
        groups: Sequence = (),
        threshold: float = thresholding.ZERO_THRESHOLD,
        value: Callable[[tf.Variable], tf.Tensor] = tf.convert_to_tensor,
    ):
        super().__init__()
        if mode not in ("element", "group"):
            raise errors.UserError(
                f"freeze mode must be 'element' or 'group', got {mode!r}"
            )
        self.groups = checks.groups(groups)
        if mode == "group" and not self.groups:
            raise errors.UserError("freeze mode 'group' needs groups")
        self.mode = mode
        self.threshold = regularizers.check_strength(threshold, "threshold")
        self.value = value
        # By thread: each replica of a step is traced by one of its own.
        self._dead: dict[int, list[tuple[tf.Variable, tf.Tensor]]] = {}

    def before_update(self, gradients):
        """See base class."""
        if self.mode == "element":
            return thresholding.freeze_elements(
                gradients, self.threshold, self.value
            )
        dead = thresholding.dead_masks(self.groups)
        self._dead[threading.get_ident()] = self._pairs(dead)
        return thresholding.freeze_groups(gradients, dead)

    def after_update(self):
        """See base class."""
        for variable, dead in self._dead.pop(threading.get_ident(), ()):
            variable.assign(tf.where(dead, tf.zeros_like(variable), variable))

    def zeros(self):
        """See base class."""
        if self.mode == "element":
            return [
                (v, tf.equal(v, tf.zeros([], v.dtype)))
                for v in _keras.trainable(self.model)
            ]
        return self._pairs(thresholding.dead_masks(self.groups))

    def _pairs(self, masks) -> list[tuple[tf.Variable, tf.Tensor]]:
        variables = {}
        for group in self.groups:
            companions = [s.variable for s in getattr(group, "companions", ())]
            for variable in (*group.variables, *companions):
                variables[_keras.key(variable)] = variable
        return [(variables[key], mask) for key, mask in masks.items()]
