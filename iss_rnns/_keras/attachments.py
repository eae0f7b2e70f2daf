"""What callbacks put on a model in training, and how it leaves again.

Penalties that join the model's loss, and hooks on its optimizer's updates, are
noted on the model: `fit` says when it ends, but not when an exception ends it.
So the model's next `fit` begins by taking away whatever is left, also from an
optimizer that `compile` has replaced.
"""

import functools
from typing import Callable, Optional

import tensorflow as tf

from iss_rnns._keras import attributes
from iss_rnns._keras import optimizers
from iss_rnns._keras import version

_ATTACHED = "_iss_attached"


class _Attached:
    """What was put on a model.

    Attributes:
      undo: what takes it away, by who put it there.
      penalties: those that have joined the loss, as Keras holds them.
      restore: functions that give the model its own methods back.
    """

    def __init__(self):
        self.undo: dict[object, Callable[[], None]] = {}
        self.penalties: list[Callable] = []
        self.restore: list[Callable[[], None]] = []


def attached(model: tf.keras.Model, owner: object) -> bool:
    """Whether a callback has put something on the model."""
    known = _attached_to(model)
    return known is not None and owner in known.undo


def add_penalty(
    model: tf.keras.Model, owner: object, penalty: Callable[[], tf.Tensor]
) -> None:
    """Has a penalty join the model's loss until `detach(model, owner)`.

    Args:
      model: compiled or not.
      owner: of the penalty; what it has joined already does not join again.
      penalty: function of no arguments, evaluated in every step's graph.
    """
    if attached(model, owner):
        return
    # Keras 2 takes functions, and wraps them; Keras 3 does not, see `_note`.
    losses: list[Callable] = []
    joined = penalty
    if version.VERSION == 2:
        model.add_loss(penalty)
        losses = model._callable_losses
        joined = losses[-1]

    def leave():
        known.penalties.remove(joined)
        if joined in losses:
            losses.remove(joined)
        _renew_step(model)

    known = _note(model, owner, leave)
    known.penalties.append(joined)
    _renew_step(model)


def add_hook(model: tf.keras.Model, hook: optimizers.Hook) -> None:
    """Has a hook act in the model's updates until `detach(model, hook)`."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:  # a model that is only evaluated
        return
    optimizers.hook_optimizer(optimizer, hook)
    if attached(model, hook):
        return

    def leave():
        for each in (optimizer, model.optimizer):
            optimizers.unhook_optimizer(each, hook)
        _renew_step(model)

    _note(model, hook, leave)
    _renew_step(model)


def detach(model: tf.keras.Model, owner: object) -> None:
    """Takes away what a callback put on the model, if it did."""
    known = _attached_to(model)
    if known is None:
        return
    undo = known.undo.pop(owner, None)
    if undo is not None:
        undo()
    if not known.undo:
        for restore in known.restore:
            restore()
        vars(model).pop(_ATTACHED)


def _attached_to(model) -> Optional[_Attached]:
    return vars(model).get(_ATTACHED)


def _note(model, owner, undo) -> _Attached:
    known = _attached_to(model)
    if known is None:
        known = _Attached()
        attributes.replace(model, _ATTACHED, known)
        changes = {
            "fit": _cleaning,
            **(
                {"_trackable_children": _saving}
                if version.VERSION == 2
                else {"_get_own_losses": _penalized}
            ),
        }
        for method, change in changes.items():
            changed = change(model, getattr(model, method))
            known.restore.append(attributes.replace(model, method, changed))
    known.undo[owner] = undo
    return known


def _cleaning(model, fit):
    """A model's `fit`, beginning with what its own callbacks ask for."""

    @functools.wraps(fit)
    def clean_fit(*args, **kwargs):
        known = _attached_to(model)
        for owner in list(known.undo) if known else ():
            detach(model, owner)
        return fit(*args, **kwargs)

    return clean_fit


def _penalized(model, own_losses):
    """What a model of Keras 3 itself adds to the loss, with the penalties."""

    @functools.wraps(own_losses)
    def with_penalties():
        known = _attached_to(model)
        penalties = known.penalties if known else []
        return [*own_losses(), *(penalty() for penalty in penalties)]

    return with_penalties


def _saving(model, children):
    """What of a model is saved: in a SavedModel, its loss without penalties.

    They would stay in it for ever.
    """

    @functools.wraps(children)
    def without_penalties(save_type="checkpoint", **kwargs):
        known, losses = _attached_to(model), model._callable_losses
        all_losses = list(losses)
        if known and save_type == "savedmodel":
            losses[:] = [f for f in losses if f not in known.penalties]
        try:
            return children(save_type, **kwargs)
        finally:
            losses[:] = all_losses

    return without_penalties


def _renew_step(model: tf.keras.Model) -> None:
    """Has the next `fit` and `evaluate` build their functions anew."""
    model.train_function = None
    model.test_function = None


def rebuild_step(model: tf.keras.Model) -> None:
    """Builds the train function anew, in the middle of `fit`.

    The functions of evaluation and prediction follow at their next use.
    """
    _renew_step(model)
    model.predict_function = None
    model.make_train_function()
