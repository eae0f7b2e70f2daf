"""What follows of the flags of pruning, the same in every program.

A program calls `PruningSettings.from_flags` on the values of the flags that
`flags.define_pruning_flags` defines, and, when its data is read,
`PruningSettings.plan`; the plan makes the callbacks.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import re
from typing import Any, Callable, cast, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import schedules
from iss_rnns.callbacks import pruning
from iss_rnns.experiments import flags as flags_lib

METHODS = flags_lib.PRUNING_METHODS
BLOCK_SIZE = (4, 4)  # where none is given

Layers = Mapping[str, Sequence[tf.Variable]]  # matrices by type of layer
Weights = Mapping[str, Sequence[np.ndarray]]

# Flag -> (field, methods that take it). Times are in steps.
_FLAGS = {
    "block_size": ("block_size", ("block", "glp", "hard")),
    "target_sparsity": ("target_sparsity", METHODS),
    "dense_checkpoint": ("dense_checkpoint", METHODS[:3]),
    "pruning_percentile": ("percentile", METHODS[:3]),
    "pruning_start": ("start", METHODS),
    "pruning_ramp": ("ramp", METHODS[:3]),
    "pruning_end": ("end", METHODS[:3]),
    "pruning_frequency": ("frequency", METHODS[:3]),
    "pruning_ramp_multiple": ("ramp_multiple", METHODS[:3]),
    "pruning_lasso": ("lasso", ("glp",)),
    "pruning_layers": ("layers", METHODS),
}
_OF_THRESHOLDS = ("pruning_percentile", "pruning_ramp", "pruning_ramp_multiple")


@dataclasses.dataclass(frozen=True)
class PruningSettings:
    """What the user asks for; the flags of these names.

    Attributes:
      method: one of `METHODS`, None for no pruning.
    """

    method: Optional[str] = None
    block_size: tuple[int, int] = (1, 1)
    target_sparsity: Optional[float] = None
    dense_checkpoint: Optional[str] = None
    percentile: Optional[float] = None
    start: Optional[int] = None
    ramp: Optional[int] = None
    end: Optional[int] = None
    frequency: Optional[int] = None
    ramp_multiple: Optional[float] = None
    lasso: Optional[float] = None
    layers: Optional[Sequence[str]] = None

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "PruningSettings":
        """Out of the values of all flags, by name.

        Raises:
          UserError: if flags contradict each other or are out of range.
        """
        method = values["pruning"]
        given = {
            name: values[name]
            for name in _FLAGS
            if values.get(name) is not None
        }
        for name in given:
            if method is None:
                raise errors.UserError(
                    f"--{name} needs --pruning, one of {', '.join(METHODS)}"
                )
            if method not in _FLAGS[name][1]:
                raise errors.UserError(
                    f"--{name} has no meaning with --pruning={method}; leave "
                    "it out, or choose --pruning of "
                    f"{', '.join(_FLAGS[name][1])}"
                )
        if method is None:
            return cls()
        if values.get("shrink_every_steps") is not None:
            raise errors.UserError(
                "--pruning and --shrink_every_steps exclude each other: masks "
                "belong to matrices of one size; dead units are cut when "
                "training is over"
            )
        fields = {_FLAGS[name][0]: value for name, value in given.items()}
        if "block_size" in fields:
            fields["block_size"] = _block_size(fields["block_size"])
        elif method in ("block", "glp"):
            fields["block_size"] = BLOCK_SIZE
        settings = cls(method=method, **fields)
        settings._check(given)
        return settings

    def _check(self, given: Mapping[str, Any]) -> None:
        ways = [
            name
            for name in ("target_sparsity", "dense_checkpoint")
            if name in given
        ]
        if len(ways) != 1:
            choice = (
                "--target_sparsity"
                if self.method == "hard"
                else "either --target_sparsity or --dense_checkpoint"
            )
            raise errors.UserError(
                f"--pruning={self.method} needs {choice}, to know how much "
                f"to prune; got {' and '.join(ways) or 'none'}"
            )
        for name in _OF_THRESHOLDS:
            if name in given and self.dense_checkpoint is None:
                raise errors.UserError(
                    f"--{name} belongs to the thresholds of "
                    "--dense_checkpoint and has no meaning with "
                    "--target_sparsity"
                )
        if self.method == "glp" and not (
            self.lasso is not None
            and self.lasso > 0
            and math.isfinite(self.lasso)
        ):
            raise errors.UserError(
                "--pruning=glp needs --pruning_lasso, a number above 0, got "
                f"{self.lasso}"
            )

    def plan(
        self,
        epochs: float,
        steps_per_epoch: int,
        layers: Layers,
        default: Sequence[str],
        dense: Callable[[str], Weights],
        recorded: Optional[Mapping[str, Any]] = None,
    ) -> Optional["PruningPlan"]:
        """How a run is pruned; None if it is not.

        Args:
          epochs: of the whole training.
          steps_per_epoch: batches.
          layers: matrices of the net to train, by type.
          default: types to prune where the user names none.
          dense: `dense(path)` -> the weights of a dense model, by type.
          recorded: `PruningPlan.describe()` of a run that is resumed; what it
            took from the dense model is taken from there: by now that may be
            gone, or be another.

        Raises:
          UserError: if the schedule is impossible, the dense model has no
            threshold in it, a type of layer is unknown, or blocks do not
            fit.
        """
        if self.method is None:
            return None
        chosen = list(
            dict.fromkeys(
                self.layers or [name for name in default if layers.get(name)]
            )
        )
        for name in chosen:
            if not layers.get(name):
                raise errors.UserError(
                    f"--pruning_layers must be of "
                    f"{', '.join(n for n in layers if layers[n])}, got "
                    f"'{name}'"
                )
        variables = [v for name in chosen for v in layers[name]]
        for variable in variables:
            _check_fits(self.block_size, variable)
        made = self._schedules(
            epochs,
            steps_per_epoch,
            chosen,
            dense,
            (recorded or {}).get("schedules", {}),
        )
        for variable in variables:
            self._check_leaves_some(variable)
        # Steps count from 0.
        first, last = made[chosen[0]], round(epochs * steps_per_epoch) - 1
        if first.start > last:
            raise errors.UserError(
                f"pruning would start at step {first.start}, but the last "
                f"step of training is {last}; give a smaller --pruning_start "
                "or train longer"
            )
        if first.last_update > last:
            raise errors.UserError(
                f"pruning would go on to step {first.last_update}, but the "
                f"last step of training is {last}: less than asked would be "
                "pruned; give a smaller --pruning_end or train longer"
            )
        return PruningPlan(self.method, self.block_size, made, self.lasso)

    def _check_leaves_some(self, variable: tf.Variable) -> None:
        blocks = math.prod(
            -(-n // b) for n, b in zip(variable.shape, self.block_size)
        )
        if self.target_sparsity is not None and (
            round(self.target_sparsity * blocks) >= blocks
        ):
            raise errors.UserError(
                f"--target_sparsity={self.target_sparsity:g} of the {blocks} "
                f"blocks of {_size(self.block_size)} of "
                f"{variable.name.split(':')[0]} ({_size(variable.shape)}) are "
                "all of them: give smaller blocks or prune less"
            )

    def _schedules(
        self, epochs, steps_per_epoch, chosen, dense, recorded
    ) -> dict[str, schedules.Schedule]:
        times = self._times(epochs, steps_per_epoch)
        one: schedules.Schedule
        target = cast(float, self.target_sparsity)  # None with a dense one
        if self.method == "hard":
            one = schedules.ConstantSparsity(
                target,
                times["end"] if self.start is None else self.start,
            )
            return dict.fromkeys(chosen, one)
        if self.dense_checkpoint is None:
            one = schedules.CubicSparsity(
                target,
                times["start"],
                times["end"],
                times["frequency"],
            )
            return dict.fromkeys(chosen, one)
        percentile = 90.0 if self.percentile is None else self.percentile
        found = {
            name: recorded[name]["q"]
            for name in chosen
            if "q" in recorded.get(name, {})
        }
        if set(found) != set(chosen):
            weights = dense(self.dense_checkpoint)
            found = {
                name: schedules.magnitude_percentile(
                    weights[name], percentile, name
                )
                for name in chosen
            }
        return {
            name: schedules.NarangThreshold(
                found[name],
                **times,
                block_elements=math.prod(self.block_size),
                name=name,
            )
            for name in chosen
        }

    def _times(self, epochs, steps_per_epoch) -> dict[str, Any]:
        """Arguments of a schedule: the user's, else the papers'."""
        given = {
            name: getattr(self, name)
            for name in ("start", "ramp", "end", "frequency", "ramp_multiple")
            if getattr(self, name) is not None
        }
        if self.method == "hard":
            needed = {"start"}
        else:
            needed = {"start", "end"} | (
                {"ramp"} if self.dense_checkpoint else set()
            )
        if not needed <= set(given):
            defaults = (
                schedules.block_defaults
                if math.prod(self.block_size) > 1
                else schedules.narang_defaults
            )
            return {**defaults(epochs, steps_per_epoch), **given}
        length = given.get("end", 0) - given["start"]
        return {
            "frequency": min(schedules.FREQUENCY, max(1, length // 10)),
            "ramp_multiple": schedules.RAMP_MULTIPLE,
            **given,
        }


_KINDS = {
    kind.__name__: kind
    for kind in (
        schedules.NarangThreshold,
        schedules.CubicSparsity,
        schedules.ConstantSparsity,
    )
}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What pruning left of a matrix.

    Attributes:
      blocks: that are not zero; of (1, 1), weights.
      total: of all.
      asked: that the schedule leaves in the end; None: it has a threshold,
        and no number.
    """

    blocks: int
    total: int
    asked: Optional[int]

    @property
    def enough(self) -> bool:
        """Whether as much is pruned as was asked for."""
        return self.asked is None or self.blocks <= self.asked

    def __str__(self):
        asked = "" if self.enough else f" (asked for: {self.asked:,})"
        return f"{self.blocks:,} of {self.total:,}{asked}"


@dataclasses.dataclass(frozen=True)
class PruningPlan:
    """Schedules that are fixed; makes the callbacks.

    Attributes:
      method: one of `METHODS`.
      block_size: (height, width), (1, 1) for single weights.
      schedules: by type of layer.
      lasso: strength of the group lasso on blocks, or None.
    """

    method: str
    block_size: tuple[int, int]
    schedules: Mapping[str, schedules.Schedule]
    lasso: Optional[float] = None

    @property
    def title(self) -> str:
        """E.g. `glp 16x16`."""
        single = self.block_size == (1, 1) and self.method in (
            "gradual",
            "hard",
        )
        return self.method + ("" if single else f" {_size(self.block_size)}")

    def check_reached(self, steps: int) -> None:
        """Refuses a training that ends before pruning does.

        Args:
          steps: of the whole training.

        Raises:
          UserError: with the numbers.
        """
        last = max(each.last_update for each in self.schedules.values())
        if steps > last:  # counted from 0
            return
        flag = "start" if self.method == "hard" else "end"
        raise errors.UserError(
            f"training has {steps:,} steps, and the schedule of --pruning="
            f"{self.method} needs {last + 1:,}: train longer (--epochs, "
            f"--max_train_steps), or prune earlier (--pruning_{flag} below "
            f"{steps:,})"
        )

    def describe(self) -> dict[str, Any]:
        """What must stay the same when a run is resumed; JSON values."""
        return {
            "method": self.method,
            "block_size": list(self.block_size),
            "lasso": self.lasso,
            "schedules": {
                name: {"kind": type(each).__name__, **each.get_config()}
                for name, each in self.schedules.items()
            },
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> "PruningPlan":
        """Inverse of `describe`.

        Raises:
          UserError: if it is none.
        """
        try:
            made = {}
            for name, config in described["schedules"].items():
                config = dict(config)
                made[name] = _KINDS[config.pop("kind")].from_config(config)
            height, width = described["block_size"]
            return cls(
                described["method"], (height, width), made, described["lasso"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise errors.UserError(
                f"the run's record of its pruning is damaged: {error!r}"
            ) from None

    def kept(self, layers: Layers) -> dict[object, Kept]:
        """What is not zero of each pruned matrix, by `variable.ref()`."""
        found = {}
        for name, schedule in self.schedules.items():
            for variable in layers[name]:
                blocks = pruning.grids([variable], self.block_size)[0]
                alive = blocks.max_magnitudes().numpy() > 0
                asked = None
                if schedule.kind == "sparsity":
                    fraction = float(schedule(schedule.last_update))
                    asked = alive.size - round(fraction * alive.size)
                found[variable.ref()] = Kept(
                    int(alive.sum()), alive.size, asked
                )
        return found

    def callbacks(self, layers: Layers) -> list[tf.keras.callbacks.Callback]:
        """Callbacks that prune a net with these matrices, by type.

        They belong behind all other callbacks that change weights.

        Raises:
          UserError: if blocks do not fit a matrix.
        """
        pairs = [
            (variable, each)
            for name, each in self.schedules.items()
            for variable in layers[name]
        ]
        variables = [variable for variable, _ in pairs]
        for variable in variables:
            _check_fits(self.block_size, variable)
        made = [each for _, each in pairs]
        if self.block_size == (1, 1) and self.method in ("gradual", "hard"):
            return [pruning.GradualPruning(variables, made, require_end=False)]
        result: list[tf.keras.callbacks.Callback] = []
        if self.lasso:
            result.append(
                pruning.BlockLasso(
                    pruning.grids(variables, self.block_size),
                    self.lasso,
                    max(each.end for each in made),
                )
            )
        # The programs say themselves whether training is long enough: a
        # resumed one is in two parts.
        return result + [
            pruning.BlockPruning(
                variables, made, self.block_size, require_end=False
            )
        ]


def arrays(layers: Layers) -> Weights:
    """Weights of a net's matrices, by type."""
    return {
        name: [variable.numpy() for variable in variables]
        for name, variables in layers.items()
    }


def _block_size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text.strip())
    if not found:
        raise errors.UserError(
            "--block_size must be a height and a width, e.g. 16x16, got "
            f"'{text}'"
        )
    return int(found[1]), int(found[2])


def _check_fits(block_size: tuple[int, int], variable: tf.Variable) -> None:
    if any(b > n for b, n in zip(block_size, variable.shape)):
        raise errors.UserError(
            f"blocks of {_size(block_size)} do not fit "
            f"{variable.name.split(':')[0]}, which is "
            f"{_size(variable.shape)}; give a smaller --block_size, or leave "
            "that type out of --pruning_layers"
        )


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
