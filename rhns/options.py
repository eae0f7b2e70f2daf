"""The program's flags, and what they say together.

The authors' names and meanings, and flags beyond.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any, Optional

from absl import flags

from iss_rnns import errors
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments.language import options as language_options
from iss_rnns.interop import group_json
from rhns import model as model_lib

ISS = "iss"
EMBEDDED = {"embedded_words": "word", "embedded_characters": "character"}


def define_flags() -> None:
    """The authors' hyper-parameters, and flags beyond."""
    flags_lib.define_flags(
        flags_lib.MODES[:2] + ("eval_mc",) + flags_lib.MODES[2:]
    )
    pruning_flags.define_flags(model_lib.LAYER_TYPES, model_lib.PRUNED_TYPES)
    preset = model_lib.ModelConfig()
    flags.DEFINE_enum(
        "dataset",
        None,
        ["ptb", "enwik8", "text8", *EMBEDDED],
        "What --data_path holds. embedded_*: prose that comes "
        "with Python. Defaults to ptb with --data_path, to "
        "embedded_words without.",
    )
    flags.DEFINE_string(
        "data_path",
        None,
        "Folder with ptb.train.txt, "
        "ptb.valid.txt and ptb.test.txt, or with the file "
        "enwik8 or text8 (or that file).",
    )
    flags.DEFINE_integer(
        "num_test_symbols",
        5_000_000,
        "enwik8 and text8: characters of the valid and of the test text.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "vocab_size",
        0,
        "Refuse data with another number of symbols; 0 takes any.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "test_batch_size",
        1,
        "Parallel streams of the test text; the authors have 1.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "init_scale",
        preset.init_scale,
        "Weights start uniform between minus and plus this.",
    )
    flags.DEFINE_float(
        "init_bias",
        preset.init_bias,
        "Start of the biases of the gates t; negative carries the state on.",
    )
    flags.DEFINE_integer(
        "num_layers", preset.num_layers, "Highway layers.", lower_bound=1
    )
    flags.DEFINE_integer(
        "depth", preset.depth, "Micro-steps of a layer.", lower_bound=1
    )
    flags.DEFINE_integer(
        "hidden_size",
        preset.hidden_size,
        "Width of the "
        "layers, and of the embedding (but untied with "
        "fewer symbols: as wide as there are symbols).",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "tied", preset.tied, "The softmax reads with the transposed embedding."
    )
    flags.DEFINE_float("learning_rate", preset.learning_rate, "At the start.")
    flags.DEFINE_enum(
        "lr_policy",
        preset.lr_policy,
        list(model_lib.LR_POLICIES),
        "quick_start: divide by "
        "--lr_decay each epoch from --max_epoch on; equal_step:"
        " after each third of --max_max_epoch.",
    )
    flags.DEFINE_float("lr_decay", preset.lr_decay, "See --lr_policy.")
    flags.DEFINE_integer(
        "max_epoch",
        preset.max_epoch,
        "Epochs at the first learning rate.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "max_max_epoch", preset.max_max_epoch, "Epochs.", lower_bound=0
    )
    flags.DEFINE_float(
        "weight_decay", preset.weight_decay, "Strength of L2, on all weights."
    )
    flags.DEFINE_float(
        "max_grad_norm",
        preset.max_grad_norm,
        "Bound on the norm of the gradient.",
    )
    flags.DEFINE_integer(
        "num_steps", preset.num_steps, "Time steps of a batch.", lower_bound=1
    )
    flags.DEFINE_integer(
        "batch_size", preset.batch_size, "Streams.", lower_bound=1
    )
    for name, what in (
        ("x", "a word, in all of a sequence"),
        ("i", "a unit of a layer's input"),
        ("h", "a unit of the state"),
        ("o", "a unit of the output"),
    ):
        flags.DEFINE_float(
            f"drop_{name}",
            getattr(preset, f"drop_{name}"),
            f"Probability of dropping {what}.",
        )
    flags.DEFINE_float(
        "drop_multi", preset.drop_multi, "Multiplies the four drop rates."
    )
    flags.DEFINE_string(
        "group_config",
        None,
        "What --structure_wd and "
        "--zero_threshold act on: 'iss', the units of the "
        "model itself, or one of the authors' JSON files.",
    )
    flags.DEFINE_bool(
        "compat_first_group_only",
        True,
        "Honour the first "
        "group of a JSON file only, as the authors' code does.",
    )
    flags.DEFINE_float(
        "structure_wd",
        preset.structure_wd,
        "Strength of the group lasso, the paper's lambda.",
    )
    flags.DEFINE_float(
        "zero_threshold",
        preset.zero_threshold,
        "Weights of the groups smaller than this become exact zeros.",
    )
    flags.DEFINE_string(
        "load_model", None, "The authors' name of --restore_path."
    )
    flags.DEFINE_integer(
        "mc_steps", 0, "With --mode=eval_mc: samples.", lower_bound=0
    )
    flags.DEFINE_float(
        "mc_reject_above",
        500.0,
        "Samples of this perplexity or more are drawn anew.",
    )
    flags.DEFINE_integer(
        "mc_max_rejected",
        100,
        "Give up after more of these in a row.",
        lower_bound=0,
    )


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
        if values["epochs"] is not None:
            config = dataclasses.replace(config, max_max_epoch=values["epochs"])
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
        return flags_lib.fill(
            cls,
            values,
            config=config,
            iss=groups == ISS,
            group_file=file,
            epochs=config.max_max_epoch,
            pruning=None,
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
        return " + ".join(parts) or "dense"

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


def config_from_flags(values: Mapping[str, Any]) -> model_lib.ModelConfig:
    """The hyper-parameters, checked.

    Raises:
      UserError: naming the flag, its value and what would be right.
    """
    config = flags_lib.fill(model_lib.ModelConfig, values)
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, float):
            if not math.isfinite(value):
                raise errors.UserError(
                    f"--{name} must be a finite number, got {value}"
                )
            if value < 0 and name != "init_bias":
                raise errors.UserError(f"--{name} must be >= 0, got {value}")
            if value == 0 and name in ("max_grad_norm", "lr_decay"):
                raise errors.UserError(f"--{name} must be above 0, got 0")
    for name in "xiho":
        rate = values[f"drop_{name}"] * config.drop_multi
        if rate >= 1:
            raise errors.UserError(
                f"--drop_{name} times --drop_multi must be below 1, got "
                f"{values[f'drop_{name}']} * {config.drop_multi}"
            )
    return config
