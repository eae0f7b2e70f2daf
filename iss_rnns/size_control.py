"""A wanted size instead of a strength: who is pressed at a step, and how hard.

Pure functions of the weights' norms and of the step, so that a training that
was killed and resumed goes on exactly; they take Python's numbers and tensors
alike, also inside a `tf.function`.

A plan says how many units may be alive at a step: all at first, and from
`reach` of the training on as many as were asked for. Only the weakest units,
those that the plan wants dead within the next tenth of that time, are pressed;
so the size is never missed on the small side, and what stays is trained
without a penalty. Each pressed unit's group is made shorter after every update
(a group soft-threshold), by a share of what living groups of its layer are
long: little while the training keeps up with the plan, more when it lags. To
press only what is to go, and ever more, is the idea of Wang et al. 2021 (Neural
Pruning via Growing Regularization); plan and pressure here are this library's.
"""

from collections.abc import Sequence
from typing import Union

import numpy as np
import tensorflow as tf

Number = Union[int, float, tf.Tensor]

AHEAD = 0.1  # of the time to reach the size: units are pressed so long
ROUNDING = 1e-6  # of a share, in float32
URGENCY = 20.0  # more pressure when nothing of what was planned has died


def planned(asked: Number, step: Number, steps: Number) -> tf.Tensor:
    """Share of the units that may be alive at a step, from 1 to `asked`.

    Args:
      asked: share of the units in the end, in (0, 1].
      step: updates done.
      steps: updates after which the size is to be reached, > 0.

    Example:
      >>> [round(float(planned(0.4, n, 100)), 3) for n in (0, 50, 200)]
      [1.0, 0.7, 0.4]
    """
    passed = _float(step) / tf.maximum(_float(steps), 1.0)
    return 1.0 - (1.0 - asked) * tf.minimum(passed, 1.0)


def pressure(
    asked: Number, reached: Number, step: Number, steps: Number
) -> tf.Tensor:
    """Share of a living group's length that is taken away in an update.

    Enough to bring a unit to zero within `AHEAD` of the steps if its gradient
    does not hold against it; and `1 + URGENCY * lag` times that, with the lag
    behind the plan as a share of what is to die: 0 in time, 1 when nothing
    has.

    Args:
      asked: share of the units in the end, in (0, 1].
      reached: share of the units that are alive.
      step: updates done.
      steps: updates after which the size is to be reached, > 0.

    Returns:
      A share >= 0; 0 once the size is reached.

    Example:
      >>> half_way = dict(asked=0.5, step=50, steps=100)
      >>> round(float(pressure(reached=0.75, **half_way)), 3)  # in time
      0.1
      >>> round(float(pressure(reached=1.0, **half_way)), 3)  # lags by half
      1.1
      >>> float(pressure(reached=0.5, **half_way))  # done
      0.0
    """
    whole = tf.maximum(1.0 - _float(asked), ROUNDING)
    lag = tf.maximum(reached - planned(asked, step, steps), 0.0) / whole
    each = 1.0 / (AHEAD * tf.maximum(_float(steps), 1.0))
    share = each * (1.0 + URGENCY * lag)
    return tf.where(reached <= asked + ROUNDING, 0.0, share)


class Measure:
    """What counts of a number of layers: their units, or their weights.

    A sum over matrices of the product of their axes' lengths, of which each
    dead unit takes entries away. Of units, a vector with an entry for each.

    Args:
      lengths: `[matrices, axes]`.
      taken: `[matrices, axes, units]`, entries that each unit has of each
        axis.
    """

    def __init__(self, lengths: np.ndarray, taken: np.ndarray):
        self._lengths = np.asarray(lengths, np.float32)
        self._taken = np.asarray(taken, np.float32)

    @classmethod
    def of_units(cls, units: int) -> "Measure":
        """Counts each unit as one."""
        return cls(np.array([[units]]), np.ones([1, 1, units]))

    @property
    def whole(self) -> float:
        """What there is while no unit is dead."""
        return float(np.prod(self._lengths.astype(float), 1).sum())

    def left(self, alive: tf.Tensor) -> tf.Tensor:
        """What there is of living units, `[units]` bool, as a scalar."""
        dead = 1.0 - tf.cast(alive, tf.float32)
        return self._product(tf.linalg.matvec(self._taken, dead))

    def left_along(self, order: tf.Tensor) -> tf.Tensor:
        """`[units]`: what is left when one after the other has died.

        Args:
          order: `[units]`, in which they die.
        """
        taken = tf.cumsum(tf.gather(self._taken, order, axis=2), axis=2)
        return self._product(taken)

    def _product(self, taken: tf.Tensor) -> tf.Tensor:
        lengths = self._lengths
        if taken.shape.rank > 2:
            lengths = lengths[..., None]
        left = tf.maximum(lengths - taken, 0.0)
        return tf.reduce_sum(tf.reduce_prod(left, axis=1), axis=0)


def pressed(
    strengths: Sequence[tf.Tensor],
    measure: Measure,
    keep: Number,
    least: int = 1,
    multiple_of: int = 1,
) -> list[tf.Tensor]:
    """The weakest units of all groups, as many as may go.

    Args:
      strengths: of each group its units' strengths, `[n]`; of equal ones the
        first are the weaker.
      measure: of all units, in this order.
      keep: so much of it must be left.
      least: units of each group that are never pressed.
      multiple_of: of each group a multiple of so many is left alone, or all.

    Returns:
      Of each group `[n]` bool.
    """
    sizes = [int(each.shape[0]) for each in strengths]
    strengths = [tf.cast(each, tf.float32) for each in strengths]
    ranks = [
        tf.argsort(tf.argsort(own, stable=True), stable=True)
        for own in strengths
    ]
    # Others go for those that never do.
    joined = tf.concat(
        [
            tf.where(rank < n - least, own, float("inf"))
            for own, rank, n in zip(strengths, ranks, sizes)
        ],
        0,
    )
    order = tf.argsort(joined, stable=True)
    enough = measure.left_along(order) >= keep * (1.0 - ROUNDING)
    weak = tf.scatter_nd(
        order[:, None], tf.cast(enough, tf.int32), joined.shape
    )
    result = []
    for units, rank, n in zip(tf.split(weak, sizes), ranks, sizes):
        kept = tf.maximum(n - tf.reduce_sum(units), min(least, n))
        kept = tf.minimum(-(-kept // multiple_of) * multiple_of, n)
        result.append(rank < n - kept)
    return result


def _float(number: Number) -> tf.Tensor:
    return tf.cast(number, tf.float32)
