"""Which units of a trained net go, and which only could.

A unit counts as dead if its norm is at most `--dead_below`. Exact zeros change
nothing when they are cut. Of what is only small, the cut is tried first, as
cuts in training are: on a held-out batch, whose cost must stay.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Callable

import numpy as np
import tensorflow as tf

from iss_rnns import groups as groups_lib
from iss_rnns.callbacks import shrinking
from iss_rnns.experiments import records

TOLERANCE = shrinking.TOLERANCE  # of the held-out cost, in nats

# Units of each layer by name, `[n]` bool.
Dead = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Cleared:
    """What became of small units.

    Attributes:
      zeroed: how many were set to zero, by name of the layer; those that were
        zero do not count.
      kept: what else could be cut, by name of the layer: how many, and why
        they stay.
    """

    zeroed: Mapping[str, int]
    kept: Mapping[str, str]


def weak_units(
    groups: Sequence[groups_lib.Group], dead_below: float
) -> dict[str, np.ndarray]:
    """Units with a norm of at most `dead_below`.

    The strongest of a layer is not weak: a layer that small units are all of
    does something yet.
    """
    found = {}
    for group in groups:
        norms = np.sqrt(group.squared_norms().numpy())
        weak = norms <= dead_below
        if weak.all():
            weak[np.argmax(norms)] = False
        found[group.name] = weak
    return found


def clear(
    groups: Sequence[groups_lib.Group],
    weak: Dead,
    cost: Callable[[], float],
    zero: Callable[[Dead], None],
    dead_below: float,
) -> Cleared:
    """Zeroes weak units, in place, where the held-out cost stays.

    Args:
      groups: of a net, of which some units may be exactly zero.
      weak: which units count as dead, by name of the group.
      cost: of the net on a held-out batch, in nats.
      zero: sets units to zero, with all that reads them.
      dead_below: that they are weak by.
    """
    more = {
        g.name: weak[g.name] & g.alive().numpy()
        for g in groups
        if g.name in weak
    }
    counts = {name: int(units.sum()) for name, units in more.items()}
    counts = {name: count for name, count in counts.items() if count}
    if not counts:
        return Cleared({}, _kept(groups, {}, dead_below))
    variables = {
        s.variable.ref(): s.variable
        for g in groups
        for s in g.slices + g.companions
    }
    before = {ref: tf.identity(v) for ref, v in variables.items()}
    cost_before = cost()
    zero(more)
    change = cost() - cost_before
    # A NaN is within nothing.
    small = abs(change) <= TOLERANCE
    print(
        f"units with a norm of at most {dead_below:g} that "
        f"{'become zero' if small else 'stay'}: "
        + ", ".join(f"{name} {count}" for name, count in counts.items())
        + f"; without them the held-out cost changes by {change:+.2g} nats"
        + ("" if small else f" (tolerance {TOLERANCE:g})"),
        flush=True,
    )
    if small:
        return Cleared(counts, _kept(groups, {}, dead_below))
    for ref, variable in variables.items():
        variable.assign(before[ref])
    why = (
        "without all that are so small the held-out cost would change by "
        f"{change:+.2g} nats (tolerance {TOLERANCE:g})"
    )
    return Cleared({}, _kept(groups, dict.fromkeys(counts, why), dead_below))


def _kept(
    groups: Sequence[groups_lib.Group],
    why: Mapping[str, str],
    dead_below: float,
) -> dict[str, str]:
    """How many units are still below a threshold, and why."""
    # That which each epoch's line tells of counts where no larger one does.
    shown = max(dead_below, records.ALIVE_ABOVE)
    kept = {}
    for group in groups:
        alive = group.alive().numpy()
        count = int((alive & ~group.alive(shown).numpy()).sum())
        if count:
            reason = why.get(
                group.name,
                f"--dead_below={dead_below:g} does not count them as dead"
                if shown > dead_below
                else "a layer keeps its strongest unit",
            )
            kept[group.name] = (
                f"{count:,} of {len(alive):,} have a norm of at most "
                f"{shown:g}; kept: {reason}"
            )
    return kept
