"""Flags that are fields of a dataclass."""

import dataclasses

from absl import flags
import pytest

from iss_rnns.experiments import flags as flags_lib


@dataclasses.dataclass(frozen=True)
class Config:
    layers: int = 2
    rate: float = 0.5
    tied: bool = True
    policy: str = "slow"
    rest: int = 7


def test_name_default_and_type_are_the_fields(empty_flags):
    flags_lib.define(
        Config(layers=3),
        layers="How many.",
        rate="How fast.",
        tied="Whether.",
        policy="How.",
    )
    empty_flags(["program", "--layers=4", "--notied"])
    values = empty_flags.flag_values_dict()
    assert flags_lib.fill(Config, values) == Config(4, 0.5, False, "slow", 7)
    assert empty_flags["layers"].default == 3
    assert empty_flags["rate"].help == "How fast."


@pytest.mark.parametrize("least, value", [(1, 0), (0, -1)])
def test_whole_numbers_have_a_least(least, value, empty_flags):
    flags_lib.define(Config(), least, layers="How many.")
    with pytest.raises(flags.Error, match=f"layers=.*{value}"):
        empty_flags(["program", f"--layers={value}"])
    empty_flags(["program", f"--layers={least}"])
