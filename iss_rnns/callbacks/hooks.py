"""Callbacks that act inside each optimizer update, in graph."""

import tensorflow as tf


class UpdateHook(tf.keras.callbacks.Callback):
    """Base of callbacks that act inside each optimizer update, in graph."""

    def before_update(self, gradients: list) -> list:
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
            object.__setattr__(
                optimizer,
                "apply_gradients",
                _hooked(optimizer.apply_gradients, hooks),
            )
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
