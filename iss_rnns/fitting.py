"""Training that makes a model smaller on its way, by public means only.

`fit` runs up to the end of an epoch in which units died, the model is cut,
and another `fit` goes on where it stopped: with the optimizer's state, the
number of the epoch and the callbacks.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import callbacks as callbacks_lib
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import shrinking
from iss_rnns.callbacks import checks
from iss_rnns.shrinking import rounding


def fit(
    model: tf.keras.Model,
    x: Any = None,
    y: Any = None,
    *,
    groups: Optional[Sequence[groups_lib.Group]] = None,
    shrink_every: int = 1,
    epochs: int = 1,
    initial_epoch: int = 0,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    batch: Any = None,
    check: bool = False,
    tolerance: float = 1e-4,
    **options: Any,
) -> tuple[tf.keras.Model, tf.keras.callbacks.History]:
    """Trains a model, and cuts dead units out of it on the way.

    As `model.fit`; but at the end of every `shrink_every` epochs, and of the
    training, units that are zero go, and training goes on with what is left:
    weights, optimizer slots (momentum, Adam's moments) and groups. Without
    dropout the losses are those of a training in which dead units stay dead.
    Each cut is proved on a batch; a wrong one ends in an error.

    A unit dies if its whole group is zero: `GroupLasso` drives it there, and
    `ThresholdZeroing` makes it exact. Of a layer that lost all of its units
    the first is kept.

    Args:
      model: compiled, of any kind that `shrink` takes. It is trained until the
        first cut.
      x: see `model.fit`.
      y: see `model.fit`.
      groups: of `find_groups(model)`, and the same that the callbacks hold;
        None finds them. They follow the weights into the smaller models.
      shrink_every: epochs between cuts.
      epochs: number of the last one.
      initial_epoch: where to begin.
      callbacks: as of `model.fit`. Those of this library begin and end with
        each smaller model, all others with the training.
      batch: of inputs, to prove cuts on; None takes the first of `x`.
      check: prove each cut on random weights, too, see `shrink`.
      tolerance: see `shrink`.
      **options: of `model.fit`. What is shuffled is shuffled anew after a cut.

    Returns:
      (the smaller model, compiled; the `History` of all epochs).

    Raises:
      UserError: if the model is not compiled, or trains on several replicas
        (`tf.distribute`); if a cut fails; if a callback cannot go on with a
        smaller model.

    Example:
      >>> from iss_rnns import thresholding
      >>> model = tf.keras.Sequential([
      ...     tf.keras.layers.GRU(8, input_shape=[None, 3]),
      ...     tf.keras.layers.Dense(1)])
      >>> model.compile("adam", "mse")
      >>> groups = iss_rnns.find_groups(model)
      >>> thresholding.zero_units(groups[0], tf.range(8) < 3)
      >>> small, history = iss_rnns.fit(
      ...     model, np.ones([4, 5, 3]), np.ones([4, 1]), groups=groups,
      ...     callbacks=[iss_rnns.FreezeZeros("group", groups)],
      ...     epochs=2, verbose=0)
      >>> small.layers[0].units, len(history.history["loss"])
      (5, 2)
    """
    if not _keras.is_layer(model) or not _keras.is_compiled(model):
        raise errors.UserError(
            "fit takes a compiled Keras model: call model.compile(...) first"
        )
    checks.one_replica(model)
    shrink_every = arguments.integer("shrink_every", shrink_every, least=1)
    epochs = arguments.integer("epochs", epochs, least=1)
    epoch = arguments.integer("initial_epoch", initial_epoch, least=0)
    tolerance = arguments.number("tolerance", tolerance, least=0)
    callbacks = _checked_callbacks(callbacks)
    batch = _first_batch(x, options) if batch is None else batch
    if groups is None:
        groups = groups_lib.find_groups(
            model, None if _keras.input_specs(model) else batch
        )
    history = tf.keras.callbacks.History()
    history.epoch, history.history = [], {}
    passing = [each if _is_ours(each) else _Passing(each) for each in callbacks]
    while True:
        stopper = _StopToCut(groups, shrink_every, epochs)
        part = model.fit(
            x,
            y,
            epochs=epochs,
            initial_epoch=epoch,
            callbacks=[*passing, stopper],
            **options,
        )
        _extend(history, part)
        history.set_model(model)
        epoch += len(part.epoch)
        alive = _living(model, groups)
        dead = not all(units.all() for units in alive)
        ended = epoch >= epochs or not stopper.stopped
        if dead:
            model = _cut(
                model, groups, alive, batch, callbacks, check, tolerance
            )
            history.set_model(model)
        if ended:
            break
    for each in passing:
        if isinstance(each, _Passing):
            each.finish(model)
    return model, history


def _cut(model, groups, alive, batch, callbacks, check, tolerance):
    """The smaller model, compiled; groups and callbacks follow."""
    followers = {
        id(g): g
        for holder in (groups, *(c.groups for c in _with_groups(callbacks)))
        for g in holder
    }
    small, _, cuts = shrinking.cut_and_prove(
        model,
        groups,
        shrinking.living_units(groups, alive),
        () if batch is None else [batch],
        tolerance=tolerance,
        check=check or batch is None,
    )
    trained = {_keras.key(v) for v in model.trainable_variables}
    optimizer = shrinking.resized_optimizer(
        model.optimizer, {k: c for k, c in cuts.items() if k in trained}
    )
    _keras.compile_like(small, model, optimizer)
    for group in followers.values():
        group.rebind(cuts)
    for each in callbacks:
        if hasattr(each, "rebind"):
            each.rebind(cuts)
    if isinstance(groups, groups_lib.Groups):
        groups.follow(small, batch)
    return small


def _living(model, groups) -> list[np.ndarray]:
    """Which units stay: those alive, and one of each layer.

    And what a `Bidirectional` needs, see `rounding.balanced`.
    """
    alive = [np.array(group.alive()) for group in groups]
    for units in alive:
        if not units.any():
            units[0] = True
    return rounding.balanced(model, groups, alive)


class _StopToCut(tf.keras.callbacks.Callback):
    """Stops at the end of an epoch in which units have died."""

    def __init__(self, groups, every: int, epochs: int):
        super().__init__()
        self.groups = groups
        self.every = every
        self.epochs = epochs
        self.stopped = False

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        if done % self.every or done >= self.epochs:
            return
        if self.model.stop_training:  # by another callback, for good
            return
        if not all(units.all() for units in _living(self.model, self.groups)):
            self.stopped = True
            self.model.stop_training = True


class _Passing(tf.keras.callbacks.Callback):
    """A callback for which the parts of a training are one training."""

    def __init__(self, callback: tf.keras.callbacks.Callback):
        super().__init__()
        self.callback = callback
        self.begun = False
        self._logs: Any = None
        for name in dir(tf.keras.callbacks.Callback):
            if name.startswith("on_") and name not in (
                "on_train_begin",
                "on_train_end",
            ):
                setattr(self, name, getattr(callback, name))

    def set_params(self, params):
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model):
        super().set_model(model)
        self.callback.set_model(model)

    def on_train_begin(self, logs=None):
        if not self.begun:
            self.begun = True
            self.callback.on_train_begin(logs)

    def on_train_end(self, logs=None):
        self._logs = logs

    def finish(self, model) -> None:
        """The training has ended."""
        self.callback.set_model(model)
        self.callback.on_train_end(self._logs)


def _is_ours(callback) -> bool:
    return type(callback).__module__.split(".")[0] == __name__.split(".")[0]


def _with_groups(callbacks: Iterable) -> list:
    return [c for c in callbacks if getattr(c, "groups", None)]


def _checked_callbacks(callbacks: Any) -> list:
    found = (
        [callbacks]
        if isinstance(callbacks, tf.keras.callbacks.Callback)
        else list(callbacks or ())
    )
    for each in found:
        if not isinstance(each, tf.keras.callbacks.Callback):
            raise errors.UserError(
                "callbacks must be a list of Keras callbacks, got "
                f"{type(each).__name__}"
            )
        if isinstance(
            each,
            (callbacks_lib.GradualPruning, callbacks_lib.ShrinkWhileTraining),
        ):
            raise errors.UserError(
                f"{type(each).__name__} holds the weights of one model and "
                "cannot go on with a smaller one: use model.fit with it"
            )
        if getattr(each, "restore_best_weights", False):
            raise errors.UserError(
                f"{type(each).__name__}(restore_best_weights=True) would give "
                "a smaller model the weights of a larger one: save the best "
                "with ModelCheckpoint"
            )
    return found


def _first_batch(x, options) -> Any:
    """Inputs to prove cuts on; None if they can be read once only."""
    if x is None:
        return None
    if isinstance(x, tf.data.Dataset):
        first = next(iter(x))
        return first[0] if isinstance(first, tuple) else first
    if isinstance(x, tf.keras.utils.Sequence):
        first = x[0]
        return first[0] if isinstance(first, tuple) else first
    parts = tf.nest.flatten(x)
    if not all(hasattr(part, "shape") for part in parts):
        return None
    size = options.get("batch_size") or 32
    return tf.nest.map_structure(
        lambda part: tf.convert_to_tensor(part[:size]), x
    )


def _extend(history, part) -> None:
    history.epoch += part.epoch
    history.params = part.params
    for key, values in part.history.items():
        history.history.setdefault(key, []).extend(values)
