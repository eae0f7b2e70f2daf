"""Callbacks that act inside each optimizer update, in graph."""

from collections.abc import Iterable
from typing import Optional

import tensorflow as tf

from iss_rnns import _keras


class UpdateHook(tf.keras.callbacks.Callback):
    """Base of callbacks that act inside each optimizer update, in graph.

    From `set_model` to the end of training; if that ends by an exception, to
    the model's next `fit`.
    """

    def before_update(self, gradients: list) -> list:
        """Maps the pairs (gradient, variable) that the optimizer gets."""
        return gradients

    def during_update(self, optimizer) -> Optional[dict]:
        """Has the optimizer do what `after_update` would, which is faster.

        Asked of the first hook only: later ones must not find it done.

        Returns:
          Keyword arguments of the optimizer's `apply_gradients`; None if it
          cannot, and `after_update` is called.
        """
        del optimizer
        return None

    def after_update(self) -> None:
        """Acts on the updated weights."""

    def zeros(self) -> Iterable[tuple[tf.Variable, tf.Tensor]]:
        """What must be zero of the weights, whatever they are replaced by.

        An optimizer with `use_ema` replaces them by their averages, which are
        not zero when training ends.

        Returns:
          Pairs (variable, bool tensor that broadcasts to its shape).
        """
        return ()

    def set_model(self, model):
        super().set_model(model)
        _keras.add_hook(model, self)

    def last_step(self, epoch: int) -> Optional[int]:
        """The optimizer's step at the end of this `fit`; None: not known.

        Args:
          epoch: that begins now, counted from 0.
        """
        steps, epochs = (self.params.get(name) for name in ("steps", "epochs"))
        if not (steps and epochs):
            return None
        # `epochs` counts those before `initial_epoch`, too.
        return _keras.updates(self.model) + steps * (epochs - epoch)

    def attach(self, optimizer) -> None:
        """Puts the hook on an optimizer, behind those already there.

        For training loops of one's own; `fit` does it by itself.
        """
        _keras.hook_optimizer(optimizer, self)

    def on_train_end(self, logs=None):
        _keras.detach(self.model, self)
