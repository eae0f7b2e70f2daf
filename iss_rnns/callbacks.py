"""Keras callbacks: they decide when; the formulas live elsewhere.

`fit` builds its train function between `set_model` and `on_train_begin`, so a
callback that changes the step does it in `set_model` and has the function
built anew; it undoes the change when training ends, or a second `fit` would
count it twice.
"""

import math
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Union

import tensorflow as tf

from iss_rnns import optimizers
from iss_rnns import regularizers
from iss_rnns import thresholding


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

    def __init__(self, groups: Sequence, strength: Union[
            regularizers.Strength, Callable[[int], float]]):
        self.groups = groups
        self.schedule = strength if callable(strength) else None
        self.strength = (tf.Variable(self.schedule(0), trainable=False)
                         if self.schedule else strength)
        regularizers.check_strength(strength if self.schedule is None
                                    else self.schedule(0))
        super().__init__(
            lambda: regularizers.group_lasso(self.groups, self.strength))

    def on_epoch_begin(self, epoch, logs=None):
        if self.schedule:
            self.strength.assign(
                regularizers.check_strength(self.schedule(epoch)))


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

    def __init__(self, kind: str, strength: float,
                 exclude: Sequence[str] = ("embedding",)):
        formulas = {"l1": regularizers.l1, "l2": regularizers.l2}
        if kind not in formulas:
            raise ValueError(f"kind must be 'l1' or 'l2', got {kind!r}.")
        regularizers.check_strength(strength)
        self.exclude = tuple(exclude)
        super().__init__(lambda: formulas[kind](self.penalized(), strength))

    def penalized(self) -> List[tf.Variable]:
        """The model's variables that the penalty covers."""
        return [v for v in self.model.trainable_variables
                if not v.name.split(":")[0].endswith(self.exclude)]


class UpdateHook(tf.keras.callbacks.Callback):
    """Base of callbacks that act inside each optimizer update, in graph."""

    def before_update(self, gradients: List) -> List:
        """Maps the pairs (gradient, variable) that the optimizer gets."""
        return gradients

    def after_update(self) -> None:
        """Acts on the updated weights."""

    def set_model(self, model):
        super().set_model(model)
        self.attach(model.optimizer)
        model.train_function = None

    def attach(self, optimizer) -> None:
        """Puts the hook on an optimizer, behind those already there."""
        hooks = getattr(optimizer, "_iss_hooks", None)
        if hooks is None:
            hooks = []
            # Not by plain assignment: Keras would track the list and try to
            # put it into checkpoints.
            object.__setattr__(optimizer, "_iss_hooks", hooks)
            object.__setattr__(optimizer, "apply_gradients",
                               _hooked(optimizer.apply_gradients, hooks))
        if self not in hooks:
            hooks.append(self)

    def on_train_end(self, logs=None):
        hooks = getattr(self.model.optimizer, "_iss_hooks", [])
        if self in hooks:
            hooks.remove(self)
            self.model.train_function = None


def _hooked(apply_gradients, hooks):
    def apply(grads_and_vars, *args, **kwargs):
        gradients = list(grads_and_vars)
        for hook in hooks:
            gradients = hook.before_update(gradients)
        result = apply_gradients(gradients, *args, **kwargs)
        for hook in hooks:
            hook.after_update()
        return result
    return apply


class ThresholdZeroing(UpdateHook):
    """Sets weights with |w| < threshold to exactly 0 after every update.

    As the authors do, on every trainable variable, embedding and biases
    included, and once before an evaluation.

    Args:
      threshold: e.g. max(1e-4, 2 * weight_decay); 0 switches it off.
      variables: None means the model's trainable variables.

    Raises:
      ValueError: if the threshold is negative or not finite.
    """

    def __init__(self, threshold: float = thresholding.ZERO_THRESHOLD,
                 variables: Optional[Iterable[tf.Variable]] = None):
        super().__init__()
        self.threshold = regularizers.check_strength(threshold, "threshold")
        self._variables = variables
        self._fused = False

    @property
    def variables(self) -> List[tf.Variable]:
        """What is zeroed now."""
        return list(self.model.trainable_variables
                    if self._variables is None else self._variables)

    def attach(self, optimizer) -> None:
        """See base class."""
        super().attach(optimizer)
        # An optimizer that can do it on the way saves a pass over the weights;
        # hooks before this one must still find them as updated.
        self._fused = (isinstance(optimizer, optimizers.GradientDescent)
                       and self._variables is None
                       and optimizer._iss_hooks[0] is self)
        if self._fused:
            optimizer.zero_below = self.threshold

    def after_update(self):
        """See base class."""
        if self.threshold and not self._fused:
            thresholding.zero_small(self.variables, self.threshold)

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        if self._fused:
            self.model.optimizer.zero_below = 0.

    def on_test_begin(self, logs=None):
        if self.threshold:
            thresholding.zero_small(self.variables, self.threshold)


class FreezeZeros(UpdateHook):
    """Keeps zeros zero while the rest trains on.

    Args:
      mode: 'element': gradient := 0 where |w| < threshold, after clipping, as
        in the authors' code. 'group': units whose whole group is zero stay
        dead, whatever the optimizer's momentum; living ones move freely.
      groups: of mode 'group'.
      threshold: of mode 'element'.

    Raises:
      ValueError: on another mode, or mode 'group' without groups.
    """

    def __init__(self, mode: str, groups: Sequence = (),
                 threshold: float = thresholding.ZERO_THRESHOLD):
        super().__init__()
        if mode not in ("element", "group"):
            raise ValueError("freeze mode must be 'element' or 'group', got "
                             f"{mode!r}.")
        if mode == "group" and not groups:
            raise ValueError("freeze mode 'group' needs groups.")
        self.mode = mode
        self.groups = groups
        self.threshold = threshold
        self._dead: Dict[object, tf.Tensor] = {}

    def before_update(self, gradients):
        """See base class."""
        if self.mode == "element":
            return thresholding.freeze_elements(gradients, self.threshold)
        self._dead = thresholding.dead_masks(self.groups)
        return thresholding.freeze_groups(gradients, self._dead)

    def after_update(self):
        """See base class."""
        for reference, dead in self._dead.items():
            variable = reference.deref()
            variable.assign(tf.where(dead, tf.zeros_like(variable), variable))
        self._dead = {}


class SparsityLogger(tf.keras.callbacks.Callback):
    """Adds sizes and sparsities to the logs at the end of each epoch.

    Logs `units/<group>`: units whose group is not all zero, and
    `<variable>_elt_sparsity`, `_col_sparsity`, `_row_sparsity`: the fractions
    of zeros, named as the authors' scalars.

    Args:
      groups: the groups to count.
    """

    def __init__(self, groups: Sequence):
        super().__init__()
        self.groups = groups

    def on_epoch_end(self, epoch, logs=None):
        logs.update({f"units/{name}": count
                     for name, count in alive_units(self.groups).items()})
        short = {"element": "elt", "row": "row", "column": "col"}
        for variable in self.model.trainable_variables:
            fractions = thresholding.zero_fractions(variable)
            name = variable.name.split(":")[0]
            logs.update({f"{name}_{short[kind]}_sparsity": float(value)
                         for kind, value in fractions.items()})


def alive_units(groups: Sequence, threshold: float = 0.) -> Dict[str, int]:
    """Units of each group whose norm exceeds the threshold, by name."""
    return {g.name: int(tf.math.count_nonzero(g.alive(threshold)))
            for g in groups}


class StopOnNaN(tf.keras.callbacks.Callback):
    """Raises `FloatingPointError`, naming the step, when training broke.

    That is when the cost is NaN or infinite, or so large that the perplexity
    is: weights may then still be finite, but no step mends them.

    Args:
      keys: of the batch logs; those that a model does not log are left out.
    """

    def __init__(self, keys: Sequence[str] = ("cost", "perplexity")):
        super().__init__()
        self.keys = tuple(keys)

    def on_train_batch_end(self, batch, logs=None):
        for key in self.keys:
            value = float(logs.get(key, 0.))
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the {key} became {value} at step "
                    f"{int(self.model.optimizer.iterations)}")
