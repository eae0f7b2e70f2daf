"""Making weights exactly zero, and keeping them so."""

from collections.abc import Iterable, Sequence
from typing import Callable, Union

import tensorflow as tf

from iss_rnns import optimizers
from iss_rnns import regularizers
from iss_rnns import thresholding
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
      ValueError: if the threshold is negative or not finite.
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
        self._variables = variables
        self._fused = False

    @property
    def variables(self) -> list[tf.Variable]:
        """What is zeroed now."""
        if callable(self._variables):
            return list(self._variables(self.model))
        return list(
            self.model.trainable_variables
            if self._variables is None
            else self._variables
        )

    def attach(self, optimizer) -> None:
        """See base class."""
        super().attach(optimizer)
        # An optimizer that can do it on the way saves a pass over the weights;
        # hooks before this one must still find them as updated.
        self._fused = (
            isinstance(optimizer, optimizers.GradientDescent)
            and self._variables is None
            and optimizer._iss_hooks[0] is self
        )
        if self._fused:
            optimizer.zero_below = self.threshold

    def after_update(self):
        """See base class."""
        if self.threshold and not self._fused:
            in_place.zero_small(self.variables, self.threshold)

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        if self._fused:
            self.model.optimizer.zero_below = 0.0

    def on_test_begin(self, logs=None):
        if self.threshold:
            in_place.zero_small(self.variables, self.threshold)


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
      ValueError: on another mode, or mode 'group' without groups.
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
            raise ValueError(
                f"freeze mode must be 'element' or 'group', got {mode!r}."
            )
        if mode == "group" and not groups:
            raise ValueError("freeze mode 'group' needs groups.")
        self.mode = mode
        self.groups = groups
        self.threshold = threshold
        self.value = value
        self._dead: dict[object, tf.Tensor] = {}

    def before_update(self, gradients):
        """See base class."""
        if self.mode == "element":
            return thresholding.freeze_elements(
                gradients, self.threshold, self.value
            )
        self._dead = thresholding.dead_masks(self.groups)
        return thresholding.freeze_groups(gradients, self._dead)

    def after_update(self):
        """See base class."""
        for reference, dead in self._dead.items():
            variable = reference.deref()
            variable.assign(tf.where(dead, tf.zeros_like(variable), variable))
        self._dead = {}
