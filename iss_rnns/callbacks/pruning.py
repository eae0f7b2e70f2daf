"""Pruning while training: masks on weights, and the lasso that helps.

The schedules of `iss_rnns.schedules` say how much to prune at a step; here is
what is pruned. Steps count from 0: step s is the one that makes
`optimizer.iterations` s + 1, and its masks are made of the weights that its
update leaves.
"""

from collections.abc import Sequence
from typing import Union

import tensorflow as tf

from iss_rnns import groups as groups_lib
from iss_rnns import regularizers
from iss_rnns import schedules
from iss_rnns import thresholding
from iss_rnns.callbacks import hooks
from iss_rnns.callbacks import penalties

BlockSize = tuple[int, int]
Schedules = Union[schedules.Schedule, Sequence[schedules.Schedule]]


class GradualPruning(hooks.UpdateHook):
    """Prunes single weights while training (Narang et al. 2017, section 3).

    After every update of the optimizer, each matrix is multiplied by its
    mask. At the schedule's update steps the mask is made anew from the
    weights as the update left them, so that a pruned weight comes back if its
    last update alone is large enough. After the schedule's end the masks stay
    as they are.

    The masks are non-trainable variables of the model (`pruning_masks`): a
    checkpoint of the model holds them, and a resumed run goes on exactly. On
    a model that has masks of these shapes already, they are gone on with.

    Args:
      variables: matrices to prune.
      schedule: one for all, or one for each variable. Of kind `threshold`:
        prune |w| below it; of kind `sparsity`: of each matrix of n weights
        prune the round(sparsity * n) smallest, of equal ones the first.
      revive: whether pruned weights may come back.

    Raises:
      ValueError: without variables, on one that is no matrix, or if there are
        neither one schedule nor as many as variables; in training, if another
        callback of this kind prunes the same model.

    Example:
      >>> from iss_rnns import schedules
      >>> kernel = tf.Variable(tf.ones([4, 4]))
      >>> pruning = GradualPruning(
      ...     [kernel], schedules.CubicSparsity(.5, start=0, end=10))
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        schedule: Schedules,
        revive: bool = True,
    ):
        super().__init__()
        self.variables = list(variables)
        if isinstance(schedule, schedules.Schedule):
            schedule = [schedule] * len(self.variables)
        self.schedules = list(schedule)
        self.revive = revive
        self.masks: list[tf.Variable] = []
        if not self.variables:
            raise ValueError("pruning needs at least one variable.")
        for variable in self.variables:
            if variable.shape.rank != 2:
                raise ValueError(
                    f"only matrices are pruned, got {variable.name} with "
                    f"shape {tuple(variable.shape)}."
                )
        if len(self.schedules) != len(self.variables):
            raise ValueError(
                f"give one schedule, or one for each of the "
                f"{len(self.variables)} variables; got "
                f"{len(self.schedules)}."
            )

    def set_model(self, model):
        super().set_model(model)
        if any(
            isinstance(hook, GradualPruning) and hook is not self
            for hook in model.optimizer._iss_hooks
        ):
            raise ValueError(
                "another callback prunes this model already, and the model "
                "has masks for one: give it all variables, with a schedule "
                "for each."
            )
        shapes = [v.shape for v in self.variables]
        known = getattr(model, "pruning_masks", None)
        if known is None or [m.shape for m in known] != shapes:
            # Set as an attribute, they get what a checkpoint that was read
            # before knows of them.
            model.pruning_masks = [
                tf.Variable(
                    tf.ones(shape, tf.bool),
                    trainable=False,
                    name=f"pruning_mask_{i}",
                )
                for i, shape in enumerate(shapes)
            ]
        self.masks = list(model.pruning_masks)

    def after_update(self):
        """See base class."""
        step = tf.cast(self.model.optimizer.iterations, tf.int64) - 1
        for schedule in dict.fromkeys(self.schedules):
            self._maybe_renew(schedule, step)
        for variable, mask in zip(self.variables, self.masks):
            variable.assign(variable * tf.cast(mask, variable.dtype))

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
            scores >= amount
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

    Raises:
      ValueError: see `GradualPruning`; also on sizes that are not positive.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        schedule: Schedules,
        block_size: BlockSize,
        revive: bool = False,
    ):
        super().__init__(variables, schedule, revive)
        self.block_size = tuple(block_size)
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
      ValueError: if the strength is negative or not a number.
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
        if int(model.optimizer.iterations) < self.end:
            super().set_model(model)
        else:
            tf.keras.callbacks.Callback.set_model(self, model)

    def on_train_batch_end(self, batch, logs=None):
        if self._handle is not None and (
            int(self.model.optimizer.iterations) >= self.end
        ):
            self.on_train_end()
            self.model.make_train_function()


def grids(
    variables: Sequence[tf.Variable], block_size: BlockSize
) -> list[groups_lib.BlockGrid]:
    """Each matrix cut into blocks of one size.

    Raises:
      ValueError: if a size is not positive.
    """
    return [groups_lib.BlockGrid.uniform(v, *block_size) for v in variables]
