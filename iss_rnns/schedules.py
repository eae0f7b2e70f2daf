"""Pruning schedules: pure functions of the training step.

A schedule says how much to prune at a step, as a magnitude threshold (Narang
et al. 2017, Block-Sparse RNNs) or as a sparsity (Zhu & Gupta 2017, constant).
It keeps no state, so a resumed run continues it exactly; it takes Python
integers and tensors alike, also inside a `tf.function`.
"""

from collections.abc import Iterable, Mapping
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from iss_rnns import arguments
from iss_rnns import errors

Step = Union[int, tf.Tensor]

FREQUENCY = 100  # steps between updates in the papers
RAMP_MULTIPLE = 1.5  # the ramp slope over the start slope that reaches q


class Schedule:
    """A value that changes at update steps and holds in between.

    Attributes:
      kind: `threshold`, prune |w| below the value; or `sparsity`, prune that
        fraction of the weights.
      start: no pruning before this step.
      end: after this step nothing changes any more.
      frequency: steps between updates.
    """

    kind: str

    def __init__(self, start: int, end: int, frequency: int):
        self.start = arguments.integer("start", start, least=0)
        self.end = arguments.integer("end", end, least=0)
        self.frequency = arguments.integer("frequency", frequency, least=1)

    def __repr__(self):
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({given})"

    def __call__(self, step: Step) -> tf.Tensor:
        """The value at a step, float32 scalar."""
        raise NotImplementedError

    def updates(self, step: Step) -> tf.Tensor:
        """Whether masks are computed anew at this step; bool scalar."""
        raise NotImplementedError

    @property
    def last_update(self) -> int:
        """The last step at which masks are computed anew."""
        raise NotImplementedError

    def get_config(self) -> dict:
        """Arguments that make an equal schedule."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: Mapping) -> "Schedule":
        """Inverse of `get_config`."""
        return cls(**config)


class NarangThreshold(Schedule):
    """The monotone threshold of Narang et al. 2017, section 3.1.

    With `itr` the last update step, a multiple of `frequency` strictly
    between `start` and `end`:

        theta = 2 q frequency / (2 (ramp - start) + 3 (end - ramp))
        phi   = ramp_multiple * theta
        itr < ramp:  theta (itr - start + 1) / frequency
        otherwise:   (theta (ramp - start + 1) + phi (itr - ramp + 1))
                     / frequency

    and 0 before the first update. From `end` on the threshold stays what it
    was and the masks are frozen. For blocks of N weights, represented by
    their largest |w|, theta is multiplied by N ** (1/4) (Block-Sparse RNNs,
    arXiv 1711.02782, equation 2).

    Example:
      >>> schedule = NarangThreshold(q=.5, start=0, ramp=40, end=80,
      ...                            frequency=10)
      >>> [round(float(schedule(s)), 4) for s in (9, 10, 19, 70, 1000)]
      [0.0, 0.055, 0.055, 0.4375, 0.4375]

    Args:
      q: 90th percentile of |w| of a trained dense model's layers of one type,
        see `magnitude_percentile`.
      start: step before pruning starts (papers: end of the first epoch).
      ramp: step from which the threshold rises faster.
      end: step at which pruning stops.
      frequency: steps between updates.
      ramp_multiple: phi / theta. At 1.5 the threshold ends near q; the papers
        tune it between 1.2 and 2.
      block_elements: N, 1 for single weights.
      name: of the layer type, for errors.

    Raises:
      UserError: the schedule is impossible.
    """

    kind = "threshold"

    def __init__(
        self,
        q: float,
        start: int,
        ramp: int,
        end: int,
        frequency: int = FREQUENCY,
        ramp_multiple: float = RAMP_MULTIPLE,
        block_elements: int = 1,
        name: str = "",
    ):
        super().__init__(start, end, frequency)
        self.ramp = arguments.integer("ramp", ramp, least=0)
        self.block_elements = arguments.integer(
            "block_elements", block_elements, least=1
        )
        if end <= start:
            raise errors.UserError(
                f"pruning must end after it starts, got start={start} and "
                f"end={end}"
            )
        if not start <= ramp <= end:
            raise errors.UserError(
                f"the pruning ramp must lie between start={start} and "
                f"end={end}, got ramp={ramp}"
            )
        if self.start // self.frequency == (self.end - 1) // self.frequency:
            raise errors.UserError(
                f"pruning would never happen: no multiple of frequency="
                f"{frequency} lies between start={start} and end={end}; "
                f"lower the frequency or end later"
            )
        if not (arguments.is_number(ramp_multiple) and ramp_multiple >= 1):
            raise errors.UserError(
                f"ramp_multiple must be at least 1 (the papers use 1.2 to "
                f"2), got {ramp_multiple}"
            )
        _check_q(q, name)
        self.q = float(q)
        self.ramp_multiple = float(ramp_multiple)
        self.name = name
        self.theta = (
            2.0
            * self.q
            * self.frequency
            * self.block_elements**0.25
            / (2 * (self.ramp - self.start) + 3 * (self.end - self.ramp))
        )
        self.phi = self.ramp_multiple * self.theta

    def __call__(self, step: Step) -> tf.Tensor:
        """See base class."""
        step = tf.minimum(tf.cast(step, tf.int64), self.end - 1)
        update = step // self.frequency * self.frequency
        itr = tf.cast(update, tf.float64)
        early = self.theta * (itr - (self.start - 1))
        late = self.theta * (self.ramp - self.start + 1) + self.phi * (
            itr - (self.ramp - 1)
        )
        value = tf.where(update < self.ramp, early, late) / self.frequency
        return tf.cast(tf.where(update > self.start, value, 0.0), tf.float32)

    def updates(self, step: Step) -> tf.Tensor:
        """See base class."""
        step = tf.cast(step, tf.int64)
        return (
            (step > self.start)
            & (step < self.end)
            & (step % self.frequency == 0)
        )

    @property
    def last_update(self) -> int:
        """See base class."""
        return (self.end - 1) // self.frequency * self.frequency

    def get_config(self) -> dict:
        """See base class."""
        return {
            "q": self.q,
            "start": self.start,
            "ramp": self.ramp,
            "end": self.end,
            "frequency": self.frequency,
            "ramp_multiple": self.ramp_multiple,
            "block_elements": self.block_elements,
            "name": self.name,
        }


class _Sparsity(Schedule):
    """Updates at `start`, every `frequency` steps after it, and at `end`."""

    kind = "sparsity"

    def __init__(self, target: float, start: int, end: int, frequency: int):
        super().__init__(start, end, frequency)
        if end < start:
            raise errors.UserError(
                f"pruning must not end before it starts, got start={start} "
                f"and end={end}"
            )
        self.target = arguments.number(
            "the target sparsity", target, least=0, below=1
        )

    def updates(self, step: Step) -> tf.Tensor:
        """See base class."""
        step = tf.cast(step, tf.int64)
        return (
            (step >= self.start)
            & (step <= self.end)
            & (((step - self.start) % self.frequency == 0) | (step == self.end))
        )

    @property
    def last_update(self) -> int:
        """See base class."""
        return self.end

    def get_config(self) -> dict:
        """See base class."""
        return {
            "target": self.target,
            "start": self.start,
            "end": self.end,
            "frequency": self.frequency,
        }


class CubicSparsity(_Sparsity):
    """A sparsity that rises fast at first (Zhu & Gupta 2017, equation 1).

    With `itr` the last update step,

        s = target + (initial - target)
            * (1 - (itr - start) / (end - start)) ** 3,

    0 before `start`, `target` from `end` on.

    Args:
      target: final sparsity, in [0, 1).
      start: step of the first pruning.
      end: step at which the target is reached.
      frequency: steps between updates.
      initial: sparsity at `start`, in [0, target].

    Raises:
      UserError: the schedule is impossible.
    """

    def __init__(
        self,
        target: float,
        start: int,
        end: int,
        frequency: int = FREQUENCY,
        initial: float = 0.0,
    ):
        super().__init__(target, start, end, frequency)
        if end == start:
            raise errors.UserError(
                f"a cubic schedule must end after it starts, got start="
                f"end={start}; a constant one prunes at once"
            )
        self.initial = arguments.number(
            "the initial sparsity", initial, least=0, below=1
        )
        if initial > target:
            raise errors.UserError(
                f"the initial sparsity must not exceed the target, got "
                f"initial={initial} and target={target}"
            )

    def __call__(self, step: Step) -> tf.Tensor:
        """See base class."""
        since = tf.cast(step, tf.int64) - self.start
        update = tf.where(
            since >= self.end - self.start,
            tf.cast(self.end - self.start, tf.int64),
            since // self.frequency * self.frequency,
        )
        rest = 1.0 - tf.cast(update, tf.float64) / (self.end - self.start)
        value = self.target + (self.initial - self.target) * rest**3
        return tf.cast(tf.where(since >= 0, value, 0.0), tf.float32)

    def get_config(self) -> dict:
        """See base class."""
        return {**super().get_config(), "initial": self.initial}


class ConstantSparsity(_Sparsity):
    """The same sparsity from `start` on, masks anew until `end`.

    Args:
      target: the sparsity, in [0, 1).
      start: step of the first pruning.
      end: step of the last update. Defaults to `start`: hard pruning, all at
        once and frozen from then on.
      frequency: steps between updates.

    Raises:
      UserError: the schedule is impossible.
    """

    def __init__(
        self,
        target: float,
        start: int = 0,
        end: Optional[int] = None,
        frequency: int = FREQUENCY,
    ):
        super().__init__(
            target, start, start if end is None else end, frequency
        )

    def __call__(self, step: Step) -> tf.Tensor:
        """See base class."""
        return tf.where(
            tf.cast(step, tf.int64) >= self.start,
            tf.constant(self.target, tf.float32),
            0.0,
        )


def narang_defaults(epochs: float, steps_per_epoch: int) -> dict:
    """Heuristics of Narang et al. 2017 for `NarangThreshold`.

    Start with the second epoch, ramp at 25 % of the epochs, end at 50 %.

    Args:
      epochs: of the whole training.
      steps_per_epoch: batches.

    Returns:
      `start`, `ramp`, `end`, `frequency` and `ramp_multiple`. The frequency
      is the paper's 100, or a tenth of the pruning in a run too short for it.

    Raises:
      UserError: too few epochs for the heuristics.
    """
    return _heuristics(epochs, steps_per_epoch, 0.25, 0.5)


def block_defaults(epochs: float, steps_per_epoch: int) -> dict:
    """Heuristics of Block-Sparse RNNs: ramp at 20 % of the epochs, end 40 %.

    See `narang_defaults`.
    """
    return _heuristics(epochs, steps_per_epoch, 0.2, 0.4)


def magnitude_percentile(
    weights: Iterable, percentile: float = 90.0, name: str = ""
) -> float:
    """q of `NarangThreshold`: a percentile of |w|, over all weights given.

    Example:
      >>> magnitude_percentile([np.arange(-10, 11)], 90.)
      9.0

    Args:
      weights: matrices of one layer type of a trained dense model.
      percentile: in percent, in (0, 100].
      name: of the layer type, for errors.

    Raises:
      UserError: no weights, not finite, or so many zeros that q is 0.
    """
    if not (arguments.is_number(percentile) and 0 < percentile <= 100):
        raise errors.UserError(
            f"the percentile must lie in (0, 100], got {percentile}"
        )
    magnitudes = [np.abs(np.asarray(w)).ravel() for w in weights]
    if not sum(m.size for m in magnitudes):
        raise errors.UserError(f"{_layer(name)} has no weights to prune")
    q = float(np.percentile(np.concatenate(magnitudes), percentile))
    _check_q(q, name, percentile)
    return q


def _heuristics(epochs, steps_per_epoch, ramp, end) -> dict:
    steps_per_epoch = arguments.integer(
        "steps_per_epoch", steps_per_epoch, least=1
    )
    if not (arguments.is_number(epochs) and epochs > 0):
        raise errors.UserError(f"epochs must be positive, got {epochs}")
    start = steps_per_epoch
    steps = epochs * steps_per_epoch
    ramp, end = max(start, round(ramp * steps)), round(end * steps)
    if end < start + 2:
        raise errors.UserError(
            f"{epochs:.4g} epochs of {steps_per_epoch} steps are too few for "
            f"the papers' pruning schedule: it would start at step {start} "
            f"and end at step {end}; train longer, or give start, ramp and "
            "end"
        )
    return {
        "start": start,
        "ramp": min(ramp, end),
        "end": end,
        "frequency": min(FREQUENCY, max(1, (end - start) // 10)),
        "ramp_multiple": RAMP_MULTIPLE,
    }


def _check_q(q, name: str, percentile: float = 90.0) -> None:
    if not (arguments.is_number(q) and q >= 0):
        raise errors.UserError(
            f"{_layer(name)}: q must be a positive number, got {q}; are the "
            f"weights of the dense model finite?"
        )
    if q == 0:
        raise errors.UserError(
            f"{_layer(name)} is all zero up to percentile {percentile:g} of "
            f"|w|, so no pruning threshold follows from it; take q from a "
            f"trained dense model"
        )


def _layer(name: str) -> str:
    return f"layer {name}" if name else "the layer"
