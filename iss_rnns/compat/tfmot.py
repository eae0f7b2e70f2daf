"""The names of TensorFlow Model Optimization's pruning, on this library.

Code of its guide runs with the import changed:

    from iss_rnns.compat import tfmot

    model = tfmot.prune_low_magnitude(
        model, pruning_schedule=tfmot.PolynomialDecay(0.5, 0.8, 0, 2000))
    model.compile(...)
    model.fit(..., callbacks=[tfmot.UpdatePruningStep()])
    small = tfmot.strip_pruning(model)

What differs from tfmot 0.8:

- Layers are marked, not wrapped: `prune_low_magnitude` gives back what it was
  given, with its layers, names and weights as they were. Masks are state of
  the training: models save, load and clone as any other.
- `Bidirectional`, `TimeDistributed`, `RNN` of any cells and this library's
  layers are pruned, too.
- Masks are made of the weights after a step, not before it: pruning at step s
  acts from step s + 1 on.
- `strip_pruning` cuts out what can be: recurrent units all of whose weights
  are zero. It gives back a smaller model.
- Of a training that ends before its schedule, a warning says so.
- `pruning_policy` and `sparsity_m_by_n` are not there.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import os
from typing import Any, Optional, Union
import warnings
import weakref

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import schedules
from iss_rnns import shrinking
from iss_rnns.callbacks import pruning

PathLike = Union[str, "os.PathLike[str]"]

_POOLINGS = ("AVG", "MAX")
# What a layer's own weights that are pruned are called.
_PRUNED = ("kernel", "recurrent_kernel", "pointwise_kernel", "embeddings")


class PolynomialDecay(schedules.Schedule):
    """A sparsity that rises along a polynomial (Zhu & Gupta 2017).

    With `itr` the last update step,

        s = final + (initial - final)
            * (1 - (itr - begin) / (end - begin)) ** power.

    Args:
      initial_sparsity: at `begin_step`, in [0, 1).
      final_sparsity: from `end_step` on, in [0, 1).
      begin_step: step of the first pruning.
      end_step: of the last.
      power: of the polynomial.
      frequency: steps between updates; one more at the end.

    Raises:
      UserError: the schedule is impossible.
    """

    kind = "sparsity"

    def __init__(
        self,
        initial_sparsity: float,
        final_sparsity: float,
        begin_step: int,
        end_step: int,
        power: float = 3,
        frequency: int = schedules.FREQUENCY,
    ):
        super().__init__(begin_step, end_step, frequency)
        if end_step <= begin_step:
            raise errors.UserError(
                "end_step must be above begin_step, got "
                f"begin_step={begin_step} and end_step={end_step}"
            )
        self.initial_sparsity = arguments.number(
            "initial_sparsity", initial_sparsity, least=0, below=1
        )
        self.final_sparsity = arguments.number(
            "final_sparsity", final_sparsity, least=0, below=1
        )
        self.power = arguments.number("power", power, least=0)

    def __call__(self, step: schedules.Step) -> tf.Tensor:
        """See base class."""
        since = tf.cast(step, tf.int64) - self.start
        length = self.end - self.start
        update = tf.where(
            since >= length,
            tf.cast(length, tf.int64),
            since // self.frequency * self.frequency,
        )
        rest = 1.0 - tf.cast(update, tf.float64) / length
        value = (
            self.final_sparsity
            + (self.initial_sparsity - self.final_sparsity) * rest**self.power
        )
        return tf.cast(tf.where(since >= 0, value, 0.0), tf.float32)

    def updates(self, step: schedules.Step) -> tf.Tensor:
        """See base class."""
        step = tf.cast(step, tf.int64)
        due = (step - self.start) % self.frequency == 0
        inside = (step >= self.start) & (step <= self.end)
        return inside & (due | (step == self.end))

    @property
    def last_update(self) -> int:
        """See base class."""
        return self.end

    def get_config(self) -> dict:
        """See base class."""
        return {
            "initial_sparsity": self.initial_sparsity,
            "final_sparsity": self.final_sparsity,
            "begin_step": self.start,
            "end_step": self.end,
            "power": self.power,
            "frequency": self.frequency,
        }


class ConstantSparsity(schedules.ConstantSparsity):
    """The same sparsity from `begin_step` on.

    Args:
      target_sparsity: in [0, 1).
      begin_step: step of the first pruning.
      end_step: of the last update; -1: none is the last, masks are made anew
        for ever.
      frequency: steps between updates.

    Raises:
      UserError: the schedule is impossible.
    """

    _NEVER = 2**31 - 1

    def __init__(
        self,
        target_sparsity: float,
        begin_step: int,
        end_step: int = -1,
        frequency: int = schedules.FREQUENCY,
    ):
        super().__init__(
            target_sparsity,
            begin_step,
            self._NEVER if end_step == -1 else end_step,
            frequency,
        )

    @property
    def last_update(self) -> int:
        """The last step that training must reach to be as sparse as asked."""
        return self.start if self.end == self._NEVER else self.end

    def get_config(self) -> dict:
        """See base class."""
        return {
            "target_sparsity": self.target,
            "begin_step": self.start,
            "end_step": -1 if self.end == self._NEVER else self.end,
            "frequency": self.frequency,
        }


@dataclasses.dataclass(frozen=True)
class _Settings:
    """How a layer is pruned; see `prune_low_magnitude`."""

    schedule: schedules.Schedule
    block_size: tuple[int, int]
    pooling: str


_marked: "weakref.WeakKeyDictionary[Any, _Settings]" = (
    weakref.WeakKeyDictionary()
)


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: Optional[schedules.Schedule] = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: str = "AVG",
) -> Any:
    """Marks a layer, or all layers of a model, to be pruned in training.

    Args:
      to_prune: Keras layer or model. A layer of one's own that is pruned has a
        method `get_prunable_weights`, as tfmot's `PrunableLayer`.
      pruning_schedule: of this module or of `iss_rnns.schedules`; by default
        half of the weights from the first step on.
      block_size: (height, width) of the blocks of matrices.
      block_pooling_type: what a block counts as: `AVG`, the mean of its
        magnitudes, or `MAX`.

    Returns:
      `to_prune`.

    Raises:
      UserError: if there is nothing to prune in it, or an argument is wrong.
    """
    if not _keras.is_layer(to_prune):
        raise errors.UserError(
            "prune_low_magnitude takes a Keras layer or model, got "
            f"{type(to_prune).__name__}"
        )
    if pruning_schedule is None:
        pruning_schedule = ConstantSparsity(0.5, 0)
    if not isinstance(pruning_schedule, schedules.Schedule):
        raise errors.UserError(
            "pruning_schedule must be a schedule of iss_rnns.compat.tfmot or "
            f"iss_rnns.schedules, got {type(pruning_schedule).__name__}"
        )
    if block_pooling_type not in _POOLINGS:
        raise errors.UserError(
            f"block_pooling_type must be {' or '.join(_POOLINGS)}, got "
            f"{block_pooling_type!r}"
        )
    height, width = (
        arguments.integer("block_size", size, least=1) for size in block_size
    )
    settings = _Settings(pruning_schedule, (height, width), block_pooling_type)
    if isinstance(to_prune, tf.keras.Model):
        for layer in _leaves(to_prune):
            _marked[layer] = settings
    else:
        _marked[to_prune] = settings
    return to_prune


def strip_pruning(model: Any, batches: Iterable = ()) -> Any:
    """What is left of a model when its pruning is over.

    Recurrent units all of whose weights are zero are cut out, which is proved
    on random weights, and on batches if there are any: see `iss_rnns.shrink`.
    Where none can be cut, the model itself is given back.

    Args:
      model: or a layer, which only is no longer marked.
      batches: of real inputs; of a subclassed model at least one.

    Returns:
      A smaller model, or the model itself.

    Raises:
      UserError: see `iss_rnns.shrink`.
    """
    layers = _leaves(model) if isinstance(model, tf.keras.Model) else [model]
    for layer in layers:
        _marked.pop(layer, None)
    if not isinstance(model, tf.keras.Model):
        return model
    batches = list(batches)
    try:
        groups = groups_lib.find_groups(model, *batches[:1])
    except errors.UserError as error:
        warnings.warn(f"no units were cut out: {error}", stacklevel=2)
        return model
    alive = shrinking.living_units(groups)
    if all(units.all() for units in alive):
        return model
    small, _ = shrinking.shrink(model, groups, batches, unproved=not batches)
    return small


class UpdatePruningStep(tf.keras.callbacks.Callback):
    """Prunes what `prune_low_magnitude` marked while a model trains.

    Raises:
      UserError: when training begins, if nothing is marked, or the marked
        layers have no weights yet.
    """

    def __init__(self):
        super().__init__()
        self._pruning: Any = None  # a `_Pruning`, from `set_model` on

    def set_model(self, model):
        super().set_model(model)
        self._pruning = _Pruning(_marked_weights(model))
        self._pruning.set_model(model)

    def set_params(self, params):
        super().set_params(params)
        if self._pruning is not None:
            self._pruning.set_params(params)

    def on_epoch_begin(self, epoch, logs=None):
        self._pruning.on_epoch_begin(epoch, logs)

    def on_test_begin(self, logs=None):
        self._pruning.on_test_begin(logs)

    def on_train_end(self, logs=None):
        self._pruning.on_train_end(logs)


class PruningSummaries(tf.keras.callbacks.Callback):
    """Writes the sparsity of every pruned matrix for TensorBoard.

    Args:
      log_dir: folder; the files lie in its `metrics`.
      update_freq: `epoch`, or a number of steps.

    Raises:
      UserError: if `update_freq` is neither.
    """

    def __init__(
        self, log_dir: PathLike, update_freq: Union[str, int] = "epoch"
    ):
        super().__init__()
        # Steps between two; None: epochs.
        self._every = (
            None
            if update_freq == "epoch"
            else arguments.integer("update_freq", update_freq, least=1)
        )
        self._writer = tf.summary.create_file_writer(
            os.path.join(os.fspath(log_dir), "metrics")
        )

    def on_train_batch_end(self, batch, logs=None):
        step = _keras.updates(self.model)
        if self._every is not None and step % self._every == 0:
            self._write(step)

    def on_epoch_end(self, epoch, logs=None):
        if self._every is None:
            self._write(_keras.updates(self.model))

    def _write(self, step: int) -> None:
        with self._writer.as_default(step=step):
            for variable, _ in _marked_weights(self.model):
                zeros = 1.0 - tf.cast(
                    tf.math.count_nonzero(variable), tf.float32
                ) / tf.cast(tf.size(variable), tf.float32)
                tf.summary.scalar(f"{variable.name}/sparsity", zeros)
        self._writer.flush()


class _Pruning(pruning.GradualPruning):
    """Each weight by its layer's settings.

    Args:
      weights: variables and their settings.
    """

    def __init__(self, weights: Sequence[tuple[tf.Variable, _Settings]]):
        super().__init__(
            [variable for variable, _ in weights],
            [settings.schedule for _, settings in weights],
        )
        self.settings = [settings for _, settings in weights]

    def scores(self, index: int, value: tf.Tensor) -> tf.Tensor:
        """See base class."""
        settings = self.settings[index]
        if not _in_blocks(settings, value):
            return tf.abs(value)
        pool = (
            tf.nn.max_pool2d if settings.pooling == "MAX" else tf.nn.avg_pool2d
        )
        size = settings.block_size
        return pool(tf.abs(value)[None, :, :, None], size, size, "SAME")[
            0, :, :, 0
        ]

    def spread(self, index: int, keep: tf.Tensor) -> tf.Tensor:
        """See base class."""
        variable, settings = self.variables[index], self.settings[index]
        if not _in_blocks(settings, variable):
            return keep
        for axis, size in enumerate(settings.block_size):
            keep = tf.repeat(keep, size, axis)
        return keep[: variable.shape[0], : variable.shape[1]]


def _in_blocks(settings: _Settings, matrix: tf.Tensor) -> bool:
    return settings.block_size != (1, 1) and matrix.shape.rank == 2


def _leaves(model: tf.keras.Model) -> list:
    """The layers that hold the weights to prune, each once."""
    found: dict[int, Any] = {}
    for layer in model.submodules:
        if (
            _keras.is_layer(layer)
            and not isinstance(layer, tf.keras.Model)
            and _own_weights(layer)
        ):
            found[id(layer)] = layer
    return list(found.values())


def _own_weights(layer: Any) -> list[tf.Variable]:
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    weights = [getattr(layer, name, None) for name in _PRUNED]
    return [
        w for w in weights if isinstance(w, tf.Variable) and w.shape.rank > 1
    ]


def _marked_weights(model: Any) -> list[tuple[tf.Variable, _Settings]]:
    """Variables to prune, each once, and their settings."""
    found: dict[object, tuple[tf.Variable, _Settings]] = {}
    for layer in [model, *model.submodules]:
        settings = _marked.get(layer) if _keras.is_layer(layer) else None
        if settings is None:
            continue
        for inner in [layer, *layer.submodules]:
            if _keras.is_layer(inner):
                for variable in _own_weights(inner):
                    found.setdefault(_keras.key(variable), (variable, settings))
    if not found:
        raise errors.UserError(
            "nothing of this model is pruned: mark its layers, or all of it, "
            "with prune_low_magnitude, when they are built"
        )
    return list(found.values())
