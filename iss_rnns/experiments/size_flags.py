"""What follows of the flags of a size, the same in every program.

A program calls `SizeGoal.from_flags` on the values of the flags that
`flags.define_target_flags` defines; the harness steers its training.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re
from typing import Any, Optional, Union

from iss_rnns import arguments
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.experiments import tasks

RECORD = "size_target"  # in the state of a checkpoint
_OPTIONS = ("target_reach", "target_multiple_of", "target_max_loss")
_UNITS = re.compile(r"([^=,]+)=([0-9]{1,9})")


@dataclasses.dataclass(frozen=True)
class SizeGoal:
    """The size that a training is steered to; see `callbacks.SizeTarget`.

    Attributes:
      units: share of the units, or units by layer.
      weights: share of the weights instead.
    """

    units: Union[None, float, Mapping[str, int]] = None
    weights: Optional[float] = None
    reach: float = 0.5
    multiple_of: int = 1
    max_loss: Optional[float] = None

    @classmethod
    def from_flags(
        cls, values: Mapping[str, Any], strength: float, source: str
    ) -> Optional["SizeGoal"]:
        """Out of the values of all flags, by name; None if none is asked for.

        Args:
          values: of all flags.
          strength: of a group lasso that is asked for, too.
          source: of the strength: where it can be taken out.

        Raises:
          UserError: if flags contradict each other or are out of range.
        """
        units, weights = values["target_units"], values["target_weights"]
        if units is None and weights is None:
            for name in _OPTIONS:
                if values[name] is not None:
                    raise errors.UserError(
                        f"--{name} needs a size: --target_units or "
                        "--target_weights"
                    )
            return None
        if units is not None and weights is not None:
            raise errors.UserError(
                "--target_units and --target_weights exclude each other: one "
                "follows from the other"
            )
        flag = "target_weights" if units is None else "target_units"
        if strength:
            raise errors.UserError(
                f"--{flag} needs no strength of a group lasso, and there is "
                f"one, {strength:g}: leave out {source}, or --{flag}"
            )
        if weights is not None:
            weights = arguments.number(
                "--target_weights", weights, above=0, most=1
            )
        given = {
            name.partition("_")[2]: values[name]
            for name in _OPTIONS
            if values[name] is not None
        }
        if "reach" in given:
            arguments.number("--target_reach", given["reach"], above=0, most=1)
        if "max_loss" in given:
            arguments.number("--target_max_loss", given["max_loss"], least=0)
        return cls(None if units is None else _units(units), weights, **given)

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> "SizeGoal":
        """Inverse of `describe`; other keys may stand beside."""
        return cls(
            **{f.name: described[f.name] for f in dataclasses.fields(cls)}
        )

    def describe(self) -> dict[str, Any]:
        """What must stay the same when a run is resumed; JSON values."""
        return dataclasses.asdict(self)

    def __str__(self):
        """E.g. `0.4 of the units`."""
        if isinstance(self.units, Mapping):
            return ", ".join(f"{k}={n}" for k, n in self.units.items())
        if self.units is None:
            return f"{self.weights:g} of the weights"
        return f"{self.units:g} of the units"

    @property
    def method(self) -> str:
        """What makes the net small, as tables of runs name it."""
        return f"ISS to {self}"

    def steering(
        self,
        net: tasks.Net,
        steps: Optional[int] = None,
        designed: Optional[tasks.Sizes] = None,
    ) -> callbacks.SizeTarget:
        """What steers the training of a net.

        Args:
          net: to train.
          steps: of the whole training.
          designed: its sizes before anything was cut; None: its own.

        Raises:
          UserError: if the size cannot be reached.
        """
        if designed and dict(designed) != dict(net.sizes):
            design: Sequence[groups_lib.Group] = net.resized(
                designed
            ).iss_groups()
        else:
            design = net.iss_groups()
        try:
            return callbacks.SizeTarget(
                net.iss_groups(),
                self.units,
                self.weights,
                self.reach,
                self.multiple_of,
                self.max_loss,
                steps,
                design,
            )
        except errors.UserError as error:
            flag = "target_weights" if self.units is None else "target_units"
            raise errors.UserError(f"--{flag}: {error}") from None


def outcome(
    record: Mapping[str, Any], net: tasks.Net, designed: tasks.Net
) -> str:
    """What was asked for, and what a training came to, in words.

    Args:
      record: of the run's state.
      net: without its dead units.
      designed: of the sizes that training began with.
    """
    goal = SizeGoal.from_description(record)
    reached = ", ".join(
        f"{size.name}={net.sizes[size.name]}"
        if size.name
        else f"{size.reached:.3g}"
        for size in goal.steering(net, designed=designed.sizes).progress()
    )
    text = f"asked for {goal}, reached {reached}"
    if record["stopped_at"] is not None:
        text += (
            f": no unit was pressed below {record['stopped_at']:.3g}, as that "
            f"cost more than {goal.max_loss:g} nats"
        )
    return text


def shown(progress: Sequence[callbacks.Size]) -> str:
    """Where a training stands, e.g. `0.62 (asked 0.4)`."""
    reached, asked = (
        "/".join(f"{getattr(size, name):.3g}" for size in progress)
        for name in ("reached", "asked")
    )
    return f"{reached} (asked {asked})"


def _units(text: str) -> Union[float, dict[str, int]]:
    """A share of the units, or units by layer.

    Raises:
      UserError: if it is neither.
    """
    try:
        share = float(text)
    except ValueError:
        parts = [_UNITS.fullmatch(part.strip()) for part in text.split(",")]
        if not all(parts):
            raise errors.UserError(
                "--target_units must be a share of the units, e.g. 0.4, or "
                f"units by layer, e.g. lstm_0=80,lstm_1=120, got '{text}'"
            ) from None
        return {part[1]: int(part[2]) for part in parts if part}
    return arguments.number("--target_units", share, above=0, most=1)
