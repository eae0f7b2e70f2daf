"""Steering a training to a size, see `size_control`."""

from collections.abc import Mapping, Sequence
import threading
from typing import NamedTuple, Optional, Union

import numpy as np
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


class Size(NamedTuple):
    """Where a training stands that is steered to a size.

    Attributes:
      name: of the group; empty if all groups have one size in common.
      asked: share that is wanted, or at which `max_loss` ended the steering.
      reached: share that is there.
    """

    name: str
    asked: float
    reached: float


class _Part:
    """Groups that have one size in common.

    Attributes:
      members: their places among all.
      asked: share that is wanted.
      whole: what there was by design.
      held: at this share by `max_loss`, below which no plan goes.
    """

    def __init__(self, members: Sequence[int], asked: float, whole: float):
        self.members = members
        self.asked = asked
        self.whole = whole
        self.held = tf.Variable(0.0, trainable=False)


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
      target_weights: instead, the share of the weights that is left when what
        is dead is cut, in (0, 1]: of the matrices that the groups lie in.
      reach: share of the training after which the size is reached, in (0, 1].
      multiple_of: units of each group in the end, rounded up to a multiple.
      max_loss: by so much `val_loss` (`loss` in a fit without validation) may
        exceed its lowest value so far at the end of an epoch; when it exceeds
        more, no further unit is pressed, and `stopped_at` says so. None: the
        size is reached at any cost.
      steps: updates of the whole training; None: `fit` knows.
      designed: the groups that shares are of, where the training goes on with
        a model that was cut; None: the groups themselves.

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
        designed: Optional[Sequence[groups_lib.Group]] = None,
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
        self._of_units = target is not None
        design = self.groups if designed is None else list(designed)
        self._parts = (
            _parts_by_name(design, target)
            if isinstance(target, Mapping)
            else [self._all_in_one(design, target, target_weights)]
        )
        self._total_steps = tf.Variable(0.0, trainable=False)
        self._lowest = tf.Variable(float("inf"), trainable=False)
        # As a step found them, by thread: each replica has one of its own.
        self._squared_norms: dict[int, list[tf.Tensor]] = {}

    def _all_in_one(self, design, target, target_weights) -> _Part:
        name, asked = (
            ("target", target)
            if self._of_units
            else ("target_weights", target_weights)
        )
        asked = arguments.number(name, asked, above=0, most=1)
        measure = self._measure(design)
        one_each = np.concatenate([np.arange(g.size) == 0 for g in design])
        least = float(measure.left(one_each)) / measure.whole
        if asked < least:
            raise errors.UserError(
                f"{name}={asked:g} cannot be reached: with one unit in each "
                f"of the {len(design)} groups {least:.3g} is left"
            )
        return _Part(range(len(design)), asked, measure.whole)

    @property
    def stopped_at(self) -> Optional[float]:
        """See class."""
        return max(float(part.held.numpy()) for part in self._parts) or None

    def progress(self) -> list[Size]:
        """What is asked for and what there is, as the weights are now."""
        named = len(self._parts) > 1
        return [
            Size(
                self.groups[part.members[0]].name if named else "",
                max(part.asked, float(part.held.numpy())),
                float(
                    self._reached(
                        part, [g.squared_norms() for g in self._groups_of(part)]
                    )
                ),
            )
            for part in self._parts
        ]

    def judge(self, loss: float) -> bool:
        """Ends the steering if a loss exceeds the lowest by `max_loss`.

        `on_epoch_end` asks this of its logs; who validates otherwise does.

        Args:
          loss: of the whole epoch that ends.

        Returns:
          Whether it ends now.
        """
        if self.max_loss is None:
            return False
        lowest = float(self._lowest.numpy())
        ends = loss > lowest + self.max_loss and self.stopped_at is None
        if ends:
            for part, size in zip(self._parts, self.progress()):
                part.held.assign(size.reached)
        self._lowest.assign(min(loss, lowest))
        return ends

    def set_model(self, model):
        super().set_model(model)
        state = [self._lowest, *(part.held for part in self._parts)]
        _keras.keep_in_checkpoints(model, "size_target", dict(enumerate(state)))

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
        if loss is not None:
            self.judge(float(loss))
        for size in self.progress():
            of = size.name and f"/{size.name}"
            logs[f"size_asked{of}"] = size.asked
            logs[f"size_reached{of}"] = size.reached

    def before_update(self, gradients):
        """See base class.

        The norms that a step begins with serve for all of it: they are as dear
        as a pass over the weights.
        """
        self._squared_norms[threading.get_ident()] = [
            g.squared_norms() for g in self.groups
        ]
        return gradients

    def after_update(self):
        """See base class."""
        norms = self._squared_norms.pop(threading.get_ident())
        shares: dict[int, tf.Tensor] = {}
        for part in self._parts:
            shares.update(
                zip(
                    part.members,
                    self._shares(part, [norms[i] for i in part.members]),
                )
            )
        thresholding.scale_units(
            self.groups, [shares[i] for i in range(len(self.groups))]
        )

    def _shares(self, part: _Part, squared_norms: list) -> list[tf.Tensor]:
        """What an update leaves of each unit; 0 of the dead."""
        groups = self._groups_of(part)
        step = tf.cast(self.model.optimizer.iterations, tf.float32)
        steps = self.reach * self._total_steps
        asked = tf.maximum(part.asked, part.held)
        soon = step + size_control.AHEAD * steps
        norms = [tf.sqrt(each) for each in squared_norms]
        weak = size_control.pressed(
            [n / g.weights_per_unit**0.5 for n, g in zip(norms, groups)],
            self._measure(groups),
            part.whole * size_control.planned(asked, soon, steps),
            multiple_of=self.multiple_of,
        )
        pressure = size_control.pressure(
            asked, self._reached(part, squared_norms), step, steps
        )
        result = []
        for norm, units in zip(norms, weak):
            living = tf.cast(norm > 0.0, norm.dtype)
            mean = tf.reduce_sum(norm) / tf.maximum(tf.reduce_sum(living), 1.0)
            left = thresholding.shortened(
                norm, tf.where(units, pressure * mean, tf.zeros_like(norm))
            )
            result.append(
                tf.where(tf.equal(norm, 0.0), tf.zeros_like(left), left)
            )
        return result

    def _reached(self, part: _Part, squared_norms: list) -> tf.Tensor:
        """Share of a part that is alive, of what it was designed with."""
        alive = [group_lib.not_within(0.0, each) for each in squared_norms]
        measure = self._measure(self._groups_of(part))
        return measure.left(tf.concat(alive, 0)) / part.whole

    def _groups_of(self, part: _Part) -> list[groups_lib.Group]:
        return [self.groups[i] for i in part.members]

    def _measure(self, groups) -> size_control.Measure:
        if self._of_units:
            return size_control.Measure.of_units(sum(g.size for g in groups))
        return _measure_of_weights(groups)


def _parts_by_name(groups, target: Mapping[str, int]) -> list[_Part]:
    """Each group by itself.

    Raises:
      UserError: naming what is no size of a group.
    """
    names = [group.name for group in groups]
    unknown = sorted(set(target) - set(names))
    if unknown:
        raise errors.UserError(
            f"target names the group '{unknown[0]}', which is none of "
            f"{', '.join(names)}"
        )
    parts = []
    for i, group in enumerate(groups):
        units = arguments.integer(
            f"the target of '{group.name}'",
            target.get(group.name, group.size),
            least=1,
        )
        if units > group.size:
            raise errors.UserError(
                f"the target of '{group.name}' is {units} units, and it has "
                f"{group.size}"
            )
        parts.append(_Part([i], units / group.size, group.size))
    return parts


def _measure_of_weights(groups) -> size_control.Measure:
    """Counts the weights of all matrices that units of the groups lie in."""
    variables = groups_lib.unique_variables(groups)
    rank = max(len(v.shape) for v in variables)
    units = sum(group.size for group in groups)
    lengths = np.ones([len(variables), rank])
    taken = np.zeros([len(variables), rank, units])
    places = {v.ref(): i for i, v in enumerate(variables)}
    for variable, own in zip(variables, lengths):
        own[: len(variable.shape)] = variable.shape
    first = 0
    for group in groups:
        for s in group.slices:
            place = places[s.variable.ref()]
            taken[place, s.axis, first : first + group.size] += 1
        first += group.size
    return size_control.Measure(lengths, taken)
