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
    """Zeroes weak units, in place, as far as the held-out cost stays.

    Where it would not without all of them, the weakest go, as many as it
    allows: so many are found by halving.

    Args:
      groups: of a net, of which some units may be exactly zero.
      weak: which units count as dead, by name of the group.
      cost: of the net on a held-out batch, in nats.
      zero: sets units to zero, with all that reads them.
      dead_below: that they are weak by.
    """
    groups = [group for group in groups if group.name in weak]
    norms = [np.sqrt(group.squared_norms().numpy()) for group in groups]
    flat = np.concatenate([np.zeros(0), *norms])
    chosen = np.concatenate(
        [np.zeros(0, bool), *(weak[group.name] for group in groups)]
    )
    order = np.flatnonzero(chosen & (flat > 0))
    order = order[np.argsort(flat[order], kind="stable")]
    if not order.size:
        return Cleared({}, _kept(groups, 0.0, dead_below))
    ends = np.cumsum([len(each) for each in norms])[:-1]
    variables = {
        s.variable.ref(): s.variable
        for g in groups
        for s in g.slices + g.companions
    }
    before = {ref: tf.identity(v) for ref, v in variables.items()}
    cost_before = cost()

    def units(count: int) -> dict[str, np.ndarray]:
        dead = np.isin(np.arange(flat.size), order[:count])
        return {g.name: part for g, part in zip(groups, np.split(dead, ends))}

    def change_without(count: int) -> float:
        for ref, variable in variables.items():
            variable.assign(before[ref])
        if not count:
            return 0.0
        zero(units(count))
        return cost() - cost_before

    change = change_of_all = change_without(order.size)
    least, most = 0, order.size
    # A NaN is within nothing.
    if abs(change) <= TOLERANCE:
        least = most
    while most - least > 1:
        middle = (least + most) // 2
        if abs(change_without(middle)) <= TOLERANCE:
            least = middle
        else:
            most = middle
    if least < order.size:
        change = change_without(least)
    zeroed = {name: int(each.sum()) for name, each in units(least).items()}
    _tell(zeroed, order.size, change, change_of_all, dead_below)
    return Cleared(
        {name: count for name, count in zeroed.items() if count},
        _kept(groups, change_of_all, dead_below),
    )


def _tell(
    zeroed: Mapping[str, int],
    weak: int,
    change: float,
    change_of_all: float,
    dead_below: float,
) -> None:
    count = sum(zeroed.values())
    text = ", ".join(f"{name} {n}" for name, n in zeroed.items() if n)
    line = f"of {weak:,} units with a norm of at most {dead_below:g}"
    if count:
        line += (
            f" {count:,} become zero ({text}): held-out cost {change:+.2g} nats"
        )
    if count < weak:
        line += (
            f"{';' if count else ''} {weak - count:,} stay: without all it "
            f"would change by {change_of_all:+.2g} (tolerance {TOLERANCE:g})"
        )
    print(line, flush=True)


def _kept(
    groups: Sequence[groups_lib.Group], change: float, dead_below: float
) -> dict[str, str]:
    """How many units are still below a threshold, and why.

    Args:
      groups: as they are now.
      change: of the held-out cost without all that are weak.
      dead_below: see `clear`.
    """
    # What each epoch's line shows as dead counts, if it is more.
    shown = max(dead_below, records.ALIVE_ABOVE)
    kept = {}
    for group in groups:
        alive = group.alive().numpy()
        small = alive & ~group.alive(shown).numpy()
        if small.any():
            if not (small & ~group.alive(dead_below).numpy()).any():
                why = f"--dead_below={dead_below:g} counts none as dead"
            elif abs(change) <= TOLERANCE:
                why = "a layer keeps its strongest unit"
            else:
                why = (
                    "without them the held-out cost would change by "
                    f"{change:+.2g} nats (tolerance {TOLERANCE:g})"
                )
            kept[group.name] = (
                f"{small.sum():,} of {alive.size:,} have a norm of at most "
                f"{shown:g}; kept: {why}"
            )
    return kept
