"""Pruning while training: masks on weights, and the lasso that helps.

The schedules of `iss_rnns.schedules` say how much to prune at a step; here is
what is pruned. Steps count from 0: step s is the one that makes
`optimizer.iterations` s + 1, and its masks are made of the weights that its
update leaves.
"""

from collections.abc import Iterable, Sequence
from typing import Optional, Union
import warnings

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import regularizers
from iss_rnns import schedules
from iss_rnns import thresholding
from iss_rnns.callbacks import checks
from iss_rnns.callbacks import hooks
from iss_rnns.callbacks import penalties

BlockSize = tuple[int, int]
Schedules = Union[schedules.Schedule, Sequence[schedules.Schedule]]

_MASKS = "pruning_masks"  # the model's attribute, and in checkpoints


class GradualPruning(hooks.UpdateHook):
    """Prunes single weights while training (Narang et al. 2017, section 3).

    After every update of the optimizer, each matrix is multiplied by its
    mask. At the schedule's update steps the mask is made anew from the
    weights as the update left them, so that a pruned weight comes back if its
    last update alone is large enough. After the schedule's end the masks stay
    as they are.

    The masks are state of the training, not weights: a `tf.train.Checkpoint`
    of the model holds them (as `pruning_masks`), and a resumed run goes on
    exactly; files of weights and saved models are without them. A model that
    is trained on goes on with the masks that it has for these variables.

    Training that ends before the last update of the schedule leaves the model
    less sparse than was asked for. That is said when training begins, if its
    number of steps is known then, and when it ends.

    Args:
      variables: matrices, or filters of convolutions, to prune.
      schedule: one for all, or one for each variable. Of kind `threshold`:
        prune |w| below it; of kind `sparsity`: of each matrix of n weights
        prune the round(sparsity * n) smallest, of equal ones the first.
      revive: whether pruned weights may come back.
      require_end: whether training must reach the schedule's end. By default
        a warning says that it does not; True refuses to begin, or to end,
        like that; False says nothing, for a training in several parts.

    Raises:
      UserError: without variables, on one that is no matrix, or if there are
        neither one schedule nor as many as variables; in training, if another
        callback of this kind prunes the same model, or see `require_end`.

    Example:
      >>> from iss_rnns import schedules
      >>> kernel = tf.Variable(tf.ones([4, 4]))
      >>> pruning = GradualPruning(
      ...     [kernel], schedules.CubicSparsity(.5, start=0, end=10))
    """

    ranks: Optional[tuple[int, ...]] = None  # of what is pruned; None: above 1

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        schedule: Schedules,
        revive: bool = True,
        require_end: Optional[bool] = None,
    ):
        super().__init__()
        self.variables = _matrices(variables, self.ranks)
        self.schedules = _schedules(schedule, len(self.variables))
        self.revive = revive
        self.require_end = require_end
        self.masks: list[tf.Variable] = []
        self._foreseen = False  # whether this training's end has been

    def set_model(self, model):
        if any(
            isinstance(hook, GradualPruning) and hook is not self
            for hook in _keras.hooks_of(model)
        ):
            raise errors.UserError(
                "another callback prunes this model already, and the model "
                "has masks for one: give it all variables, with a schedule "
                "for each"
            )
        super().set_model(model)
        self.masks = _masks(model, self.variables)
        self._foreseen = False

    def on_epoch_begin(self, epoch, logs=None):
        if self._foreseen:
            return
        self._foreseen = True
        end = self.last_step(epoch)
        if end is not None:
            self._check_end(
                end,
                "training will end after step {step}, before pruning does: "
                "{asked}; train longer, or let the schedule end earlier",
            )

    def on_train_end(self, logs=None):
        super().on_train_end(logs)
        zeros = self.sparsity()
        self._check_end(
            _keras.updates(self.model),
            "training ended after step {step}, before pruning did: {asked}; "
            f"{100 * zeros:.1f} % of the weights are pruned",
        )

    def on_test_begin(self, logs=None):
        # Nobody may have put averages or other weights in their place.
        self._apply_masks()

    def after_update(self):
        """See base class."""
        step = tf.cast(self.model.optimizer.iterations, tf.int64) - 1
        for schedule in dict.fromkeys(self.schedules):
            self._maybe_renew(schedule, step)
        self._apply_masks()

    def zeros(self):
        """See base class."""
        return [
            (variable, tf.logical_not(mask))
            for variable, mask in zip(self.variables, self.masks)
        ]

    def sparsity(self) -> float:
        """Fraction of the weights that the masks prune now."""
        kept = sum(int(tf.math.count_nonzero(mask)) for mask in self.masks)
        return 1.0 - kept / sum(int(tf.size(mask)) for mask in self.masks)

    def scores(self, index: int, value: tf.Tensor) -> tf.Tensor:
        """Magnitudes that are compared, of a variable's value."""
        del index
        return tf.abs(value)

    def spread(self, index: int, keep: tf.Tensor) -> tf.Tensor:
        """The variable's mask from what is kept of the scores."""
        del index
        return keep

    def _apply_masks(self) -> None:
        for variable, mask in zip(self.variables, self.masks):
            variable.assign(variable * tf.cast(mask, variable.dtype))

    def _check_end(self, step: int, message: str) -> None:
        """Says that training of so many steps leaves pruning unfinished."""
        unfinished = [
            schedule
            for schedule in dict.fromkeys(self.schedules)
            if step <= schedule.last_update
        ]
        if not unfinished or self.require_end is False:
            return
        message = message.format(
            step=step, asked=" and ".join(map(_asked, unfinished))
        )
        if self.require_end:
            raise errors.UserError(message)
        warnings.warn(message, stacklevel=2)

    def _maybe_renew(self, schedule, step) -> None:
        def renew():
            amount = schedule(step)
            for i, known in enumerate(self.schedules):
                if known is schedule:
                    self._renew(i, schedule.kind, amount)
            return tf.constant(True)

        # A cond, so that the steps between cost nothing.
        tf.cond(schedule.updates(step), renew, lambda: tf.constant(False))

    def _renew(self, index: int, kind: str, amount: tf.Tensor) -> None:
        mask = self.masks[index]
        value = tf.cast(self.variables[index], tf.float32)
        if not self.revive:
            value = value * tf.cast(mask, value.dtype)
        scores = self.scores(index, value)
        keep = self.spread(
            index,
            (scores >= amount) | tf.math.is_nan(scores)
            if kind == "threshold"
            else thresholding.keep_largest(scores, amount),
        )
        mask.assign(keep if self.revive else tf.logical_and(mask, keep))


class BlockPruning(GradualPruning):
    """Prunes blocks of weights while training (Block-Sparse RNNs, sec. 3).

    As `GradualPruning`, with blocks in the place of weights: a block counts
    as its largest |w|; with a `sparsity` the fraction is that of the blocks.
    Blocks at the lower and right edge may be smaller, as if padded by zeros.
    A threshold should rise faster than that of single weights:
    `NarangThreshold(block_elements=height * width)`.

    Args:
      variables: see `GradualPruning`.
      schedule: see `GradualPruning`.
      block_size: (height, width).
      revive: whether a pruned block may come back. In the paper it stays.
      require_end: see `GradualPruning`.

    Raises:
      UserError: see `GradualPruning`; also on sizes that are not positive.
    """

    ranks = (2,)

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        schedule: Schedules,
        block_size: BlockSize,
        revive: bool = False,
        require_end: Optional[bool] = None,
    ):
        super().__init__(variables, schedule, revive, require_end)
        self.block_size = checks.block_size(block_size)
        self.grids = grids(self.variables, self.block_size)

    def scores(self, index: int, value: tf.Tensor) -> tf.Tensor:
        """See base class."""
        return self.grids[index].max_magnitudes(value)

    def spread(self, index: int, keep: tf.Tensor) -> tf.Tensor:
        """See base class."""
        ((_, mask),) = self.grids[index].spread(keep)
        return mask


class BlockLasso(penalties.GroupLasso):
    """Group lasso on blocks until pruning ends: the "GL" of GLP.

    (Block-Sparse RNNs, section 3.3.) It drives whole blocks towards zero that
    `BlockPruning` then prunes, and releases what is left. From its end on it
    costs nothing: the step is built anew without it.

    Args:
      groups: `BlockGrid` objects, see `grids`.
      strength: the paper's lambda_g, >= 0.
      end: the first step without it.

    Raises:
      UserError: if the strength is negative or not a number.
    """

    def __init__(
        self,
        groups: Sequence[groups_lib.BlockGrid],
        strength: regularizers.Strength,
        end: int,
    ):
        super().__init__(list(groups), strength)
        self.end = end

    def set_model(self, model):
        if _keras.updates(model) < self.end:
            super().set_model(model)
        else:
            tf.keras.callbacks.Callback.set_model(self, model)

    def on_train_batch_end(self, batch, logs=None):
        if _keras.attached(self.model, self) and (
            _keras.updates(self.model) >= self.end
        ):
            _keras.detach(self.model, self)
            _keras.rebuild_step(self.model)


def grids(
    variables: Sequence[tf.Variable], block_size: BlockSize
) -> list[groups_lib.BlockGrid]:
    """Each matrix cut into blocks of one size.

    Raises:
      UserError: if a size is not positive.
    """
    return [groups_lib.BlockGrid.uniform(v, *block_size) for v in variables]


def _matrices(
    variables: Sequence[tf.Variable], ranks: Optional[tuple[int, ...]]
) -> list[tf.Variable]:
    variables = checks.variables(variables)
    if not variables:
        raise errors.UserError("pruning needs at least one variable")
    for variable in variables:
        rank = variable.shape.rank
        if rank not in ranks if ranks else rank < 2:
            raise errors.UserError(
                f"only matrices are pruned{'' if ranks else ', and filters'}, "
                f"got {_keras.name(variable)} with shape {tuple(variable.shape)}"
            )
    if len({_keras.key(v) for v in variables}) < len(variables):
        raise errors.UserError(
            "each variable is pruned once, got one more often: "
            f"{[_keras.name(v) for v in variables]}"
        )
    return variables


def _schedules(given: Schedules, count: int) -> list[schedules.Schedule]:
    result = (
        [given] * count
        if isinstance(given, schedules.Schedule)
        else list(given)
        if isinstance(given, Iterable)
        else [given]
    )
    for each in result:
        if not isinstance(each, schedules.Schedule):
            raise errors.UserError(
                f"the schedule must be one of iss_rnns.schedules, got {each!r}"
            )
    if len(result) != count:
        raise errors.UserError(
            f"give one schedule, or one for each of the {count} variables; "
            f"got {len(result)}"
        )
    return result


def _masks(model, variables: Sequence[tf.Variable]) -> list[tf.Variable]:
    """The model's masks of the variables; new ones where it has none."""
    known = _keras.kept(model, _MASKS)
    masks = {}
    for i, variable in enumerate(variables):
        key = _keras.key(variable)
        masks[key] = (
            known[key]
            if key in known
            else tf.Variable(
                tf.ones(variable.shape, tf.bool),
                trainable=False,
                name=f"pruning_mask_{i}",
            )
        )
    if list(masks) != list(known):
        _keras.keep_in_checkpoints(model, _MASKS, masks)
    return list(masks.values())


def _asked(schedule: schedules.Schedule) -> str:
    last = schedule.last_update
    amount = float(schedule(last))
    asked = (
        f"{100 * amount:.1f} % zeros"
        if schedule.kind == "sparsity"
        else f"a threshold of {amount:.3g}"
    )
    return f"{asked} at step {last + 1}"
