"""From a model with dead units to a smaller one with the same outputs."""

from collections.abc import Sequence
import dataclasses
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups as groups_lib


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
    small, _ = cut(net, groups, alive)
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
        weights_before=count_weights(net),
        weights_after=count_weights(small),
        max_difference=difference,
        max_output=largest,
    )


def check_alive(
    groups: Sequence[groups_lib.Group],
    alive: Optional[Sequence[np.ndarray]] = None,
) -> None:
    """Refuses a layer that lost every unit.

    Args:
      groups: the layers.
      alive: see `shrink`.

    Raises:
      UserError: naming the layer.
    """
    if alive is None:
        alive = [g.alive().numpy() for g in groups]
    for group, units in zip(groups, alive):
        if not np.any(units):
            raise errors.UserError(
                f"layer '{group.name}' lost all of its {group.size} units; "
                "the penalty is too strong for it: lower its strength "
                "(global_decay, structure_wd) or the multiplier of "
                f"'{group.name}', or prune less, and train again"
            )


def cut(
    net, groups: Sequence[groups_lib.Group], alive: Sequence[np.ndarray]
) -> tuple[object, dict[object, groups_lib.Cut]]:
    """The smaller net, and what was kept of each of the net's variables.

    Raises:
      UserError: if a layer has no unit left.
    """
    check_alive(groups, alive)
    masks = groups_lib.keep_masks(groups, alive)
    small = net.resized({g.name: int(np.sum(a)) for g, a in zip(groups, alive)})
    cuts = {}
    for old, new in zip(net.trainable_variables, small.trainable_variables):
        keep = masks.get(old.ref()) or [np.ones(n, bool) for n in old.shape]
        new.assign(take(old.numpy(), keep))
        cuts[old.ref()] = groups_lib.Cut(new, tuple(keep))
    return small, cuts


def take(array: np.ndarray, keep: Sequence[np.ndarray]) -> np.ndarray:
    """The kept rows and columns of an array."""
    return array[np.ix_(*keep)]


def count_weights(net) -> int:
    """Number of trainable weights."""
    return int(sum(np.prod(v.shape) for v in net.trainable_variables))


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
