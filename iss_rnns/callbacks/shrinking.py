"""Cutting dead units out of a model while it trains.

Dead units cost as much as living ones until they are gone. Nothing is
restarted: weights, optimizer slots (momentum, Adam's moments, averaged
weights), carried hidden states and groups all move to the smaller shapes,
and the next step of the same `fit` runs on them.
"""

from collections.abc import Callable, Sequence
import logging
import math
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import recurrent
from iss_rnns import shrinking
from iss_rnns.ops import memory
from iss_rnns.ops import replicas

TOLERANCE = 0.01  # of the held-out cost, in nats
# Loops over time that are compiled stay so up to this many cuts. XLA keeps all
# that it compiled, some 3 MB for each loop of each size.
_COMPILED_CUTS = 2
_LOG = logging.getLogger("iss_rnns")
_NEEDED = ("net", "replace_net", "cost_of")  # of the model


class ShrinkWhileTraining(tf.keras.callbacks.Callback):
    """Cuts dead units out of a model in training.

    The model is a `LanguageModel`, or another with its attribute `net` and its
    methods `replace_net` and `cost_of`.

    A unit is dead if its whole group is exactly zero, or if its norm was at
    most `dead_below` at `checks` checks in a row: at a high learning rate
    dead groups bounce a step's length around zero (about 1e-3 with living
    ones at 1 to 30), so that they are seldom all zero at once.

    Each cut's effect on the cost is measured on a held-out batch and
    reported; a cut that changes it by more than `tolerance` is refused.

    Args:
      groups: the ISS groups of the model's net.
      held_out: a batch as the model's `cost_of` takes it.
      every: steps between checks; 0 means at the end of each epoch.
      dead_below: norm; 0 cuts exactly zero groups only.
      checks: how many in a row.
      tolerance: largest change of the cost, in nats (of a language model a
        token, of BiDAF a question).
      least_share: fraction of the units that must be dead for a cut: each cut
        has the training step traced and compiled again.
      steps: of the whole training; None: nothing is known of what is left.
      items: that a step reads (words, positions), for `least_gain`.
      least_gain: with `steps`: a cut waits unless the steps left save at least
        so many times what compiling costs, see `shrinking.worth`.
      followers: callbacks whose `groups` must follow the variables into
        their smaller shapes.
      epoch_steps: of a whole epoch: one that was stopped early has no check.
        None: no epoch is.
      start_batch: of the first epoch, where a resumed run goes on.
      keep_one: of a group whose units are all dead, the strongest stays;
        else that is an error. For nets in which others do its work.
      report: is given a line for each cut, and each that is refused; by
        default it goes to the log `iss_rnns` as information.

    Raises:
      UserError: without groups, or if a number is out of its bounds; in
        training, if the model lacks what is needed to go on with another net,
        or a layer loses all of its units.
      BrokenWeightsError: in training, if a unit's norm is NaN or infinite.
    """

    def __init__(
        self,
        groups: Sequence[groups_lib.Group],
        held_out,
        every: int = 0,
        dead_below: float = 0.0,
        checks: int = 3,
        tolerance: float = TOLERANCE,
        followers: Sequence = (),
        least_share: float = 0.02,
        steps: Optional[int] = None,
        items: int = 1,
        least_gain: float = 0.0,
        keep_one: bool = False,
        epoch_steps: Optional[int] = None,
        start_batch: int = 0,
        report: Callable[[str], object] = _LOG.info,
    ):
        super().__init__()
        self.groups = groups_lib.check_groups(groups)
        self.held_out = held_out
        self.every = arguments.integer("every", every, least=0)
        self.dead_below = arguments.number("dead_below", dead_below, least=0)
        self.checks = arguments.integer("checks", checks, least=1)
        self.tolerance = arguments.number("tolerance", tolerance, least=0)
        self.followers = _checked_followers(followers)
        self.least_share = arguments.number(
            "least_share", least_share, least=0, below=1
        )
        self.steps = (
            None
            if steps is None
            else arguments.integer("steps", steps, least=0)
        )
        self.items = arguments.integer("items", items, least=1)
        self.least_gain = arguments.number("least_gain", least_gain, least=0)
        self.keep_one = keep_one
        self.report = report
        self.epoch_steps = (
            None
            if epoch_steps is None
            else arguments.integer("epoch_steps", epoch_steps, least=1)
        )
        # In this epoch.
        self._done = arguments.integer("start_batch", start_batch, least=0)
        # Step, units left, which of the first ones, change of the cost.
        self.cuts: list[dict] = []
        self._streaks = [np.zeros(g.size, int) for g in self.groups]

    def state(self) -> dict:
        """JSON values that a resumed run goes on with."""
        return {
            "streaks": [streak.tolist() for streak in self._streaks],
            "cuts": self.cuts,
            "least_gain": self.least_gain,
        }

    def restore(self, state: Optional[dict]) -> None:
        """Goes on from a `state`; None is a run's beginning.

        Raises:
          UserError: if it is of other groups.
        """
        if state:
            counts = [len(streak) for streak in state["streaks"]]
            sizes = [group.size for group in self.groups]
            if counts != sizes:
                raise errors.UserError(
                    f"cannot resume: the checkpoint counts dead units of "
                    f"layers of {counts} units, the model has {sizes}: its "
                    "state is damaged, or of another model"
                )
            self._streaks = [np.array(s, int) for s in state["streaks"]]
            self.cuts = list(state["cuts"])
            # As it began: version 1.0.0 cut whatever there was.
            self.least_gain = state.get("least_gain", 0.0)

    def set_model(self, model):
        lacking = [name for name in _NEEDED if not hasattr(model, name)]
        if lacking:
            raise errors.UserError(
                f"{type(model).__name__} cannot be cut while it trains: it "
                f"has no {', '.join(lacking)}; train it whole and cut it with "
                "iss_rnns.shrink, or give it what a LanguageModel has"
            )
        super().set_model(model)
        self._bound_compiling(model.net)

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        step = _keras.updates(self.model)
        if self.every and step % self.every == 0:
            self.check()

    def on_epoch_end(self, epoch, logs=None):
        whole = self.epoch_steps is None or self._done >= self.epoch_steps
        self._done = 0
        if not self.every and whole:
            self.check()

    def check(self) -> None:
        """Counts one check, and cuts if there is something to cut."""
        alive = []
        for i, norms in enumerate(self._norms()):
            below = norms <= self.dead_below
            self._streaks[i] = np.where(below, self._streaks[i] + 1, 0)
            alive.append((norms > 0) & (self._streaks[i] < self.checks))
            if self.keep_one and not alive[-1].any():
                alive[-1][np.argmax(norms)] = True
        if not all(units.any() for units in alive):
            step = _keras.updates(self.model)
            shrinking.check_alive(self.groups, alive, f"at step {step}")
        dead = ~np.concatenate(alive)
        if dead.any() and dead.mean() >= self.least_share:
            gain = self._gain(alive)
            if gain is None or gain >= self.least_gain:
                self._cut(alive, gain)
                memory.free_former_steps()

    def _bound_compiling(self, net) -> None:
        if len(self.cuts) > _COMPILED_CUTS:
            for layer in net.submodules:
                if isinstance(layer, recurrent.Recurrent):
                    layer.jit_compile = False

    def _agreed(self, values: np.ndarray) -> np.ndarray:
        """Cuts must fall alike on all workers that train together."""
        strategy = getattr(self.model, "distribute_strategy", None)
        return replicas.agreed(strategy, values)

    def _norms(self) -> list[np.ndarray]:
        norms = [shrinking.finite_norms(group) for group in self.groups]
        ends = np.cumsum([len(each) for each in norms])
        return np.split(self._agreed(np.concatenate(norms)), ends[:-1])

    def _gain(self, alive: list[np.ndarray]) -> Optional[float]:
        """What a cut saves; None if nobody knows for how many steps."""
        if self.steps is None:
            return None
        weights = sum(
            math.prod(map(len, keep)) - math.prod(int(k.sum()) for k in keep)
            for keep in groups_lib.keep_masks(self.groups, alive).values()
        )
        left = self.steps - _keras.updates(self.model)
        return shrinking.worth(weights, self.items, left)

    def _places(self) -> list[np.ndarray]:
        """Of each group, which units of those before any cut are left."""
        kept = self.cuts[-1].get("kept", {}) if self.cuts else {}
        return [
            np.array(kept.get(g.name, range(g.size)), int) for g in self.groups
        ]

    def _cut(self, alive: list[np.ndarray], gain: Optional[float]) -> None:
        model = self.model
        small, cuts = shrinking.cut(model.net, self.groups, alive)
        change = model.cost_of(small, self.held_out) - model.cost_of(
            model.net, self.held_out
        )
        change = float(self._agreed(np.array([change], np.float64))[0])
        record: dict[str, Any] = {
            "step": _keras.updates(model),
            "units": {g.name: int(a.sum()) for g, a in zip(self.groups, alive)},
            "kept": {
                g.name: place[a].tolist()
                for g, place, a in zip(self.groups, self._places(), alive)
            },
            "cost_change": change,
            **({} if gain is None else {"gain": gain}),
        }
        text = "/".join(str(n) for n in record["units"].values())
        if not abs(change) <= self.tolerance:
            self.report(
                f"step {record['step']}: cut to {text} units refused: it "
                f"would change the held-out cost by {change:+.2g} nats "
                f"(tolerance {self.tolerance:g})"
            )
            # They may be alive after all: let them prove it again.
            self._streaks = [np.zeros(g.size, int) for g in self.groups]
            return
        self.cuts.append(record)
        self._bound_compiling(small)
        self.report(
            f"step {record['step']}: cut to {text} units; held-out cost "
            f"{change:+.2g} nats"
        )
        trained = {v.ref() for v in _keras.trainable(model)}
        optimizer = shrinking.resized_optimizer(
            model.optimizer, {r: c for r, c in cuts.items() if r in trained}
        )
        model.replace_net(
            small, cuts, {g.name: a for g, a in zip(self.groups, alive)}
        )
        _keras.replace_optimizer(model, optimizer)
        followed = {
            id(g): g
            for holder in [self, *self.followers]
            for g in holder.groups
        }
        for group in followed.values():
            group.rebind(cuts)
        self._streaks = [streak[a] for streak, a in zip(self._streaks, alive)]
        _keras.rebuild_step(model)


def _checked_followers(given: Sequence) -> list:
    found = list(given) if isinstance(given, Sequence) else [given]
    for each in found:
        if not hasattr(each, "groups"):
            raise errors.UserError(
                "followers must be a list of callbacks that hold groups, got "
                f"{type(each).__name__}"
            )
    return found


def followers(
    candidates: Sequence[tf.keras.callbacks.Callback],
) -> list[tf.keras.callbacks.Callback]:
    """Those callbacks that hold groups."""
    return [c for c in candidates if getattr(c, "groups", None)]
