"""Hooks in an optimizer's updates, and on its averages of the weights."""

from collections.abc import Iterable
import functools
from typing import Callable, Optional, Protocol

import tensorflow as tf

from iss_rnns._keras import attributes
from iss_rnns._keras import version
from iss_rnns._keras import weights

_HOOKS = "_iss_hooks"


class Hook(Protocol):
    """What acts inside an optimizer's update; see `callbacks.UpdateHook`."""

    def before_update(self, gradients: list) -> list: ...

    def during_update(self, optimizer) -> Optional[dict]: ...

    def after_update(self) -> None: ...

    def zeros(self) -> Iterable[tuple[tf.Variable, tf.Tensor]]: ...


class _Hooked:
    """Hooks on an optimizer, and what gives it its own methods back."""

    def __init__(self):
        self.hooks: list[Hook] = []
        self.restore: list[Callable[[], None]] = []


def updates(model: tf.keras.Model) -> int:
    """How often the model's optimizer changed its weights, on replicas, too."""
    return int(model.optimizer.iterations.numpy())


def learning_rate(model: tf.keras.Model) -> tf.Tensor:
    """The optimizer's at its present step."""
    optimizer = model.optimizer
    rate = optimizer.learning_rate
    return tf.convert_to_tensor(
        rate(optimizer.iterations) if callable(rate) else rate
    )


def scales(optimizer, variable: tf.Variable) -> Optional[tf.Tensor]:
    """What an adaptive optimizer divides a weight's step by, now.

    Adam's, and of those derived from it, and RMSprop's: the root of its
    (bias-corrected) average of the gradients' squares, with its epsilon.

    Returns:
      A tensor of the variable's shape; None: its steps are not scaled, or in a
      way that is not known here.
    """
    optimizer = inner_optimizer(optimizer)
    kinds = tf.keras.optimizers
    adam = isinstance(optimizer, kinds.Adam)
    if not (adam or isinstance(optimizer, kinds.RMSprop)):
        return None
    place = _place(optimizer, variable)
    if place is None:
        return None
    if adam and optimizer.amsgrad:
        squares = optimizer._velocity_hats[place]
    else:
        squares = optimizer._velocities[place]
    squares = tf.convert_to_tensor(weights.inner(squares))
    if not adam:
        return tf.sqrt(squares + optimizer.epsilon)
    step = tf.cast(tf.convert_to_tensor(optimizer.iterations), squares.dtype)
    unbiased = squares / (
        1.0 - tf.cast(optimizer.beta_2, squares.dtype) ** step
    )
    return tf.sqrt(unbiased) + optimizer.epsilon


def replicas(model: tf.keras.Model) -> int:
    """On how many the model trains, by its `tf.distribute` strategy."""
    strategy = getattr(model, "distribute_strategy", None)
    return 1 if strategy is None else strategy.num_replicas_in_sync


def hooks_of(model: tf.keras.Model) -> list[Hook]:
    """Hooks on the model's updates, in the order in which they act."""
    optimizer = getattr(model, "optimizer", None)
    known = None if optimizer is None else vars(optimizer).get(_HOOKS)
    return [] if known is None else list(known.hooks)


def hook_optimizer(optimizer, hook: Hook) -> None:
    """Puts a hook on an optimizer, behind those already there."""
    known = vars(optimizer).get(_HOOKS)
    if known is None:
        known = _Hooked()
        for name, hooked in (
            ("apply_gradients", _hooked_update),
            ("finalize_variable_values", _hooked_averages),
        ):
            plain = getattr(optimizer, name, None)
            if plain is not None:
                value = hooked(optimizer, plain, known.hooks)
                known.restore.append(attributes.replace(optimizer, name, value))
        attributes.replace(optimizer, _HOOKS, known)
    if hook not in known.hooks:
        known.hooks.append(hook)


def unhook_optimizer(optimizer, hook: Hook) -> None:
    known = vars(optimizer).get(_HOOKS)
    if known is not None and hook in known.hooks:
        known.hooks.remove(hook)
        if not known.hooks:
            for restore in known.restore:
                restore()
            vars(optimizer).pop(_HOOKS)


def replace_optimizer(model: tf.keras.Model, optimizer) -> None:
    """Gives a model in training another optimizer; hooks move over to it."""
    for hook in hooks_of(model):
        unhook_optimizer(model.optimizer, hook)
        hook_optimizer(optimizer, hook)
    model.optimizer = optimizer


def _hooked_update(optimizer, apply_gradients, hooks):
    @functools.wraps(apply_gradients)
    def apply(grads_and_vars, *args, **kwargs):
        pairs = list(grads_and_vars)
        keras = {weights.key(variable): variable for _, variable in pairs}
        gradients = [(g, weights.inner(variable)) for g, variable in pairs]
        for hook in hooks:
            gradients = hook.before_update(gradients)
        after = list(hooks)
        # Hooks behind the first must find the weights as updated.
        fused = after[0].during_update(optimizer) if after else None
        if fused is not None:
            kwargs.update(fused)
            del after[0]
        result = apply_gradients(
            [(g, keras[weights.key(variable)]) for g, variable in gradients],
            *args,
            **kwargs,
        )
        for hook in after:
            hook.after_update()
        return result

    return apply


def _hooked_averages(optimizer, finalize, hooks):
    @functools.wraps(finalize)
    def finalize_with_zeros(var_list):
        """Variables := averages, but what hooks keep zero is zero in both."""
        zeros = (
            [pair for hook in hooks for pair in hook.zeros()]
            if averages_weights(optimizer)
            else []
        )
        finalize(var_list)
        for variable, zero in zeros:
            for each in (variable, _average_of(optimizer, variable)):
                if each is not None:
                    gone = zero & ~tf.math.is_nan(each)
                    each.assign(tf.where(gone, tf.zeros_like(each), each))

    return finalize_with_zeros


def averages_weights(optimizer) -> bool:
    """Whether it ends training with averages of the weights (`use_ema`)."""
    return bool(getattr(optimizer, "use_ema", False))


def _average_of(optimizer, variable: tf.Variable) -> Optional[tf.Variable]:
    optimizer = inner_optimizer(optimizer)
    place = _place(optimizer, variable)
    if place is None:
        return None
    return weights.inner(optimizer._model_variables_moving_average[place])


def _place(optimizer, variable: tf.Variable) -> Optional[int]:
    """Where an optimizer has what it keeps of a variable; None: nowhere."""
    places = getattr(
        optimizer,
        "_index_dict"
        if version.VERSION == 2
        else "_trainable_variables_indices",
        {},
    )
    return places.get(optimizer._var_key(variable))


def inner_optimizer(optimizer):
    """The optimizer below a scaling of the loss (mixed precision)."""
    return getattr(optimizer, "inner_optimizer", optimizer)
