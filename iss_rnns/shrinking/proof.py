"""From a model with dead units to a smaller one with the same outputs."""

from collections.abc import Sequence
import dataclasses
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.shrinking import cutting


@dataclasses.dataclass(frozen=True)
class ShrinkReport:
    """What was cut, and the proof.

    Attributes:
      before: units of each group.
      after: units kept.
      weights_before: trainable weights.
      weights_after: the same of the smaller net.
      max_difference: largest |difference| of an output on the proving batches;
        None if none were given.
      max_output: largest |output| there, to judge the difference by.
    """

    before: dict[str, int]
    after: dict[str, int]
    weights_before: int
    weights_after: int
    max_difference: Optional[float]
    max_output: Optional[float]


def shrink(
    net,
    groups: Sequence[groups_lib.Group],
    inputs: Sequence = (),
    run: Optional[Callable] = None,
    tolerance: float = 1e-4,
    alive: Optional[Sequence[np.ndarray]] = None,
) -> tuple[object, ShrinkReport]:
    """Cuts dead units out of a net and proves that its outputs stay.

    Args:
      net: with `trainable_variables` and `resized(sizes) -> net`, whose
        variables come in the same order.
      groups: the layers to cut; a unit goes if its whole group is zero.
      inputs: real batches to prove the equality on.
      run: `run(net, batch)` -> tensor or list of tensors; defaults to the
        logits of `net(batch)`.
      tolerance: largest |difference| allowed, relative to the largest
        |output| (at least 1).
      alive: one `[n]` bool array per group, instead of what is not zero.

    Returns:
      (smaller net, `ShrinkReport`).

    Raises:
      UserError: if a layer has no unit left, or the outputs differ.
    """
    if alive is None:
        alive = [g.alive().numpy() for g in groups]
    small, _ = cutting.cut(net, groups, alive)
    difference = largest = None
    if len(inputs):
        run = run or (lambda n, batch: n(batch, training=False)[0])
        difference, largest = _compare(net, small, inputs, run)
        if not difference <= tolerance * max(largest, 1.0):
            raise errors.UserError(
                f"the shrunk model's outputs differ from the original's by "
                f"{difference:.3g} (largest output {largest:.3g}), more than "
                f"{tolerance:g} of it; nothing was written"
            )
    return small, ShrinkReport(
        before={g.name: g.size for g in groups},
        after={g.name: int(np.sum(a)) for g, a in zip(groups, alive)},
        weights_before=counting.count_weights(net),
        weights_after=counting.count_weights(small),
        max_difference=difference,
        max_output=largest,
    )


def _compare(net, small, inputs, run) -> tuple[float, float]:
    difference = largest = 0.0
    for batch in inputs:
        for a, b in zip(
            tf.nest.flatten(run(net, batch)), tf.nest.flatten(run(small, batch))
        ):
            a, b = (tf.cast(t, tf.float32).numpy() for t in (a, b))
            # NumPy's maximum: Python's loses a NaN.
            difference = np.maximum(difference, np.abs(a - b).max())
            largest = np.maximum(largest, np.abs(a).max())
    return float(difference), float(largest)
