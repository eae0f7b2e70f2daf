"""Steering a training to a size, see `size_control`."""

from collections.abc import Mapping, Sequence
from typing import Optional, Union

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import size_control
from iss_rnns import thresholding
from iss_rnns.callbacks import zeros
from iss_rnns.groups import group as group_lib

Target = Union[float, Mapping[str, int]]


class SizeTarget(zeros.FreezeZeros):
    """Brings the groups to a wanted size; the formulas are `size_control`'s.

    Dead units stay dead, as with `FreezeZeros("group")`, and what is left
    learns without a penalty. Its state is the weights and the optimizer's step,
    and for `max_loss` two numbers that the model's checkpoints hold: a resumed
    training goes on exactly.

    Args:
      groups: of units, `Group` objects.
      target: share of their units that is to be alive in the end, in (0, 1];
        or units by name of group, those without one stay as they are.
      target_weights: share of the groups' weights instead, in (0, 1].
      reach: share of the training after which the size is reached, in (0, 1].
      multiple_of: units of each group in the end, rounded up to a multiple.
      max_loss: by so much `val_loss` (`loss` in a fit without validation) may
        exceed its lowest value so far at the end of an epoch; when it exceeds
        more, no further unit is pressed, and `stopped_at` says so. None: the
        size is reached at any cost.
      steps: updates of the whole training; None: `fit` knows.

    Attributes:
      stopped_at: share alive at which `max_loss` ended the steering, or None.

    Raises:
      UserError: a size that is none, or cannot be reached; in training if its
        steps are not known.
    """

    def __init__(
        self,
        groups: Sequence[groups_lib.Group],
        target: Optional[Target] = None,
        target_weights: Optional[float] = None,
        reach: float = 0.5,
        multiple_of: int = 1,
        max_loss: Optional[float] = None,
        steps: Optional[int] = None,
    ):
        groups_lib.check_groups(groups)
        super().__init__("group", groups)
        if (target is None) == (target_weights is None):
            raise errors.UserError(
                "give either target, of the units, or target_weights, of "
                "their weights"
            )
        self.reach = arguments.number("reach", reach, above=0, most=1)
        self.multiple_of = arguments.integer("multiple_of", multiple_of, 1)
        if max_loss is not None:
            max_loss = arguments.number("max_loss", max_loss, least=0)
        self.max_loss = max_loss
        if steps is not None:
            steps = arguments.integer("steps", steps, least=1)
        self.steps = steps
        self._costs = [
            group.weights_per_unit if target is None else 1
            for group in self.groups
        ]
        self._designed = [group.size for group in self.groups]
        self._asked = self._checked(target, target_weights)
        # The whole; or each group by itself.
        self._parts = (
            [[i] for i in range(len(self.groups))]
            if isinstance(target, Mapping)
            else [list(range(len(self.groups)))]
        )
        self._total_steps = tf.Variable(0.0, trainable=False)
        # Held at this share by `max_loss`: no plan goes below it.
        self._held = [tf.Variable(0.0, trainable=False) for _ in self._parts]
        self._lowest = tf.Variable(float("inf"), trainable=False)

    def _checked(self, target, target_weights) -> list[float]:
        """The share asked for of each part."""
        if isinstance(target, Mapping):
            names = [group.name for group in self.groups]
            unknown = sorted(set(target) - set(names))
            if unknown:
                raise errors.UserError(
                    f"target names the group '{unknown[0]}', which is none of "
                    f"{', '.join(names)}"
                )
            shares = []
            for group in self.groups:
                units = arguments.integer(
                    f"the target of '{group.name}'",
                    target.get(group.name, group.size),
                    least=1,
                )
                if units > group.size:
                    raise errors.UserError(
                        f"the target of '{group.name}' is {units} units, and "
                        f"it has {group.size}"
                    )
                shares.append(units / group.size)
            return shares
        name, share = (
            ("target", target)
            if target_weights is None
            else ("target_weights", target_weights)
        )
        share = arguments.number(name, share, above=0, most=1)
        whole = sum(c * n for c, n in zip(self._costs, self._designed))
        least = sum(self._costs) / whole
        if share < least:
            raise errors.UserError(
                f"{name}={share:g} cannot be reached: with one unit in each "
                f"of the {len(self.groups)} groups {least:.3g} is left"
            )
        return [share]

    @property
    def stopped_at(self) -> Optional[float]:
        """See class."""
        held = max(float(each.numpy()) for each in self._held)
        return held or None

    def set_model(self, model):
        super().set_model(model)
        _keras.keep_in_checkpoints(
            model,
            "size_target",
            dict(enumerate([self._lowest, *self._held])),
        )

    def on_epoch_begin(self, epoch, logs=None):
        total = self.steps or self.last_step(epoch)
        if total is None:
            raise errors.UserError(
                "the number of steps is not known, so there is no plan for a "
                "size: give fit its steps_per_epoch, or the callback its steps"
            )
        self._total_steps.assign(float(total))

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        loss = logs.get("val_loss", logs.get("loss"))
        if loss is not None and self.max_loss is not None:
            self._hold_if_worse(float(loss), self.max_loss)
        for part, (asked, held) in enumerate(zip(self._asked, self._held)):
            name = "" if len(self._asked) == 1 else f"/{self._name(part)}"
            logs[f"size_asked{name}"] = max(asked, float(held.numpy()))
            logs[f"size_reached{name}"] = float(self._reached(part))

    def _hold_if_worse(self, loss: float, most: float) -> None:
        """Keeps the present sizes, if they cost too much."""
        lowest = float(self._lowest.numpy())
        if loss > lowest + most:
            for part, held in enumerate(self._held):
                if not held.numpy():
                    held.assign(float(self._reached(part)))
        self._lowest.assign(min(loss, lowest))

    def after_update(self):
        """See base class."""
        super().after_update()
        step = self.model.optimizer.iterations
        steps = self.reach * self._total_steps
        for part, members in enumerate(self._parts):
            groups = [self.groups[i] for i in members]
            asked = tf.maximum(self._asked[part], self._held[part])
            norms = [tf.sqrt(group.squared_norms()) for group in groups]
            reached = self._share(
                [
                    tf.cast(group_lib.not_within(0.0, n), tf.float32)
                    for n in norms
                ],
                part,
            )
            ahead = size_control.planned(
                asked,
                tf.cast(step, tf.float32) + size_control.AHEAD * steps,
                steps,
            )
            whole = self._whole(part)
            present = sum(self._costs[i] * self.groups[i].size for i in members)
            weak = size_control.pressed(
                [
                    n / group.weights_per_unit**0.5
                    for n, group in zip(norms, groups)
                ],
                [self._costs[i] for i in members],
                whole * (1.0 - ahead) - (whole - present),
                multiple_of=self.multiple_of,
            )
            share = size_control.pressure(asked, reached, step, steps)
            for group, norm, units in zip(groups, norms, weak):
                living = tf.cast(norm > 0.0, norm.dtype)
                mean = tf.reduce_sum(norm) / tf.maximum(
                    tf.reduce_sum(living), 1.0
                )
                thresholding.shorten_units(
                    group, tf.where(units, share * mean, tf.zeros_like(norm))
                )

    def _share(self, alive, part: int):
        """Share of a part that is alive, of what it was designed with."""
        members = self._parts[part]
        return sum(
            self._costs[i] * tf.reduce_sum(units)
            for i, units in zip(members, alive)
        ) / self._whole(part)

    def _whole(self, part: int) -> float:
        return float(
            sum(self._costs[i] * self._designed[i] for i in self._parts[part])
        )

    def _reached(self, part: int):
        return self._share(
            [
                tf.cast(self.groups[i].alive(), tf.float32)
                for i in self._parts[part]
            ],
            part,
        )

    def _name(self, part: int) -> str:
        return self.groups[self._parts[part][0]].name
