"""What the program's flags say together."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any, Optional

from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import size_flags
from iss_rnns.experiments.language import options as language_options
from iss_rnns.interop import group_json
from rhns import configs

ISS = "iss"


@dataclasses.dataclass(frozen=True)
class Options(language_options.LanguageOptions):
    """What a run needs, from flags; see the flags' help.

    Attributes:
      iss: penalize the ISS groups of the model itself.
      group_file: penalize the groups of a file instead.
    """

    iss: bool = False
    group_file: Optional[group_json.GroupFile] = None
    epochs: int = 500
    dataset: Optional[str] = None
    num_test_symbols: int = 5_000_000
    vocab_size: int = 0
    test_batch_size: int = 1
    mc_steps: int = 0
    mc_reject_above: float = 500.0
    mc_max_rejected: int = 100

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "Options":
        """Out of the values of all flags, by name.

        Raises:
          UserError: naming the flag, its value and what would be right.
        """
        config = config_from_flags(values)
        if values["mode"] == "eval_mc" and not values["mc_steps"]:
            raise errors.UserError(
                "--mode=eval_mc needs --mc_steps, the number of samples, e.g. "
                "--mc_steps=100"
            )
        groups, file = values["group_config"], None
        if groups and groups != ISS:
            file = group_json.load(groups)
            if values["compat_first_group_only"]:
                file = file.first_only()
        elif not groups:
            for name in ("structure_wd", "zero_threshold"):
                if getattr(config, name):
                    raise errors.UserError(
                        f"--{name} needs --group_config: 'iss', or a JSON "
                        "file of groups"
                    )
        target = size_flags.SizeGoal.from_flags(
            values, config.structure_wd, "--structure_wd"
        )
        if target and file:
            raise errors.UserError(
                "a size is one of the units of the model itself: with "
                "--target_units and --target_weights leave --group_config "
                "out, or give 'iss'"
            )
        language_options.check_relaxing(
            values, config.structure_wd, "--structure_wd above 0"
        )
        return flags_lib.fill(
            cls,
            values,
            config=config,
            iss=groups == ISS,
            group_file=file,
            pruning=None,
            target=target,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """See base class."""
        return {
            f"rhn_{i}": self.config.hidden_size
            for i in range(self.config.num_layers)
        }

    @property
    def method(self) -> str:
        """See base class."""
        parts = [self.pruning.title] if self.pruning else []
        if self.config.structure_wd:
            parts.append("ISS")
        if self.target:
            parts.append(self.target.method)
        return " + ".join(parts) or self.plain_method

    @property
    def strength(self) -> float:
        """See base class."""
        return self.config.structure_wd

    def describe(self) -> dict[str, Any]:
        """See base class."""
        config = dataclasses.asdict(self.config)
        if self.config.lr_policy != "equal_step":
            # Nothing follows from it but the end: a run may be made longer.
            del config["max_max_epoch"]
        return {
            "config": config,
            "iss": self.iss,
            "group_file": self.group_file and self.group_file.source,
            "groups": self.group_file and self.group_file.digest,
            **super().describe(),
        }


def config_from_flags(values: Mapping[str, Any]) -> configs.ModelConfig:
    """The hyper-parameters, checked.

    Raises:
      UserError: naming the flag, its value and what would be right.
    """
    config = flags_lib.fill(
        configs.ModelConfig, values, max_max_epoch=values["epochs"]
    )
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, float):
            arguments.number(
                f"--{name}",
                value,
                least=-math.inf if name == "init_bias" else 0,
                above=0 if name in ("max_grad_norm", "lr_decay") else None,
            )
    for name in "xiho":
        rate = values[f"drop_{name}"] * config.drop_multi
        if rate >= 1:
            raise errors.UserError(
                f"--drop_{name} times --drop_multi must be below 1, got "
                f"{values[f'drop_{name}']} * {config.drop_multi}"
            )
    return config
