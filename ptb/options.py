"""The program's flags, and what they say together.

The authors' names and meanings, and flags beyond.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any, Optional

from absl import flags

from iss_rnns import errors
from iss_rnns import thresholding
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments.language import options as language_options
from iss_rnns.interop import ptb_settings
from ptb import model as model_lib


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    flags_lib.define_flags()
    pruning_flags.define_flags(model_lib.LAYER_TYPES, model_lib.PRUNED_TYPES)
    flags.DEFINE_enum(
        "cell", "lstm", list(model_lib.CELLS), "Kind of the recurrent layers."
    )
    flags.DEFINE_enum(
        "model",
        "small",
        list(model_lib.CONFIGS),
        "Hyper-parameters by name, exactly the authors'.",
    )
    flags.DEFINE_string(
        "data_path",
        None,
        "Folder with ptb.train.txt, "
        "ptb.valid.txt and ptb.test.txt. Without it, prose "
        "that comes with Python is used.",
    )
    flags.DEFINE_string(
        "config_file",
        None,
        "The authors' JSON settings: "
        "learning rate, keep probability, penalties. Without "
        "it, the model trains dense.",
    )
    flags.DEFINE_enum(
        "regularizer",
        "l1_regularizer",
        ["l1_regularizer", "l2_regularizer"],
        "What weight_decay of the settings weighs.",
    )
    flags.DEFINE_enum("optimizer", "gd", ["gd", "adam"], "Optimizer.")
    flags.DEFINE_enum(
        "freeze_mode",
        None,
        ["element", "group"],
        "Keep zeros: single weights, or whole dead units.",
    )
    flags.DEFINE_integer("hidden_size1", None, "Units of the first LSTM.")
    flags.DEFINE_integer("hidden_size2", None, "Units of the second LSTM.")
    flags.DEFINE_list(
        "hidden_sizes",
        None,
        "Units of every LSTM, e.g. "
        "373,315: any number of layers. The model's "
        "hidden_size remains the width of the embedding.",
    )
    flags.DEFINE_integer(
        "batch_size", None, "Instead of the model's.", lower_bound=1
    )
    flags.DEFINE_float(
        "learning_rate", None, "Instead of the settings'.", lower_bound=0.0
    )
    flags.DEFINE_float("keep_prob", None, "Instead of the settings'.")
    flags.DEFINE_float(
        "global_decay",
        None,
        "Strength of the group lasso, instead of the settings'.",
    )
    flags.DEFINE_integer(
        "relax_epoch",
        None,
        "From this epoch on, counted "
        "from 1, the group lasso's strength is "
        "--relax_decay: when the sizes are learned, what is "
        "left learns with less pressure.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "relax_decay", 0.0, "See --relax_epoch.", lower_bound=0.0
    )
    flags.DEFINE_integer(
        "max_epoch",
        None,
        "Epochs at the first learning rate, instead of the model's.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "lr_decay",
        None,
        "Factor of the learning rate at each "
        "epoch after --max_epoch, instead of the model's.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    flags.DEFINE_integer(
        "warmup_steps",
        0,
        "Over so many first steps the "
        "learning rate rises to its first value. At full "
        "size, the authors' recipe can break in its first "
        "steps without.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "zero_threshold",
        thresholding.ZERO_THRESHOLD,
        "Weights smaller than this become exact zeros while a "
        "sparsity is learned (twice the weight_decay, if that "
        "is more), and before restored weights are shrunk.",
        lower_bound=0.0,
    )
    flags.DEFINE_bool(
        "mixed_precision",
        False,
        "Train in bfloat16 with "
        "float32 weights (the authors' use_fp16); what follows "
        "training computes in float32.",
    )


@dataclasses.dataclass(frozen=True)
class Options(language_options.LanguageOptions):
    """What a run needs, from flags and settings; see the flags' help.

    Attributes:
      model: name of `config`, one of `model.CONFIGS`.
      config_file: of `settings`, if any.
      hidden_sizes: of the layers; None: those of `config`.
      relax_epoch: counted from 1.
    """

    model: str = ""
    config_file: Optional[str] = None
    settings: ptb_settings.AuthorsSettings = ptb_settings.AuthorsSettings()
    hidden_sizes: Optional[tuple[int, ...]] = None
    regularizer: str = "l1"
    optimizer: str = "gd"
    freeze_mode: Optional[str] = None
    zero_threshold: float = thresholding.ZERO_THRESHOLD
    relax_epoch: Optional[int] = None
    relax_decay: float = 0.0
    cell: str = "lstm"
    warmup_steps: int = 0
    mixed_precision: bool = False

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "Options":
        """Out of the values of all flags, by name.

        Raises:
          UserError: naming the flag, its value and what would be right.
        """
        settings = _settings(values)
        config = model_lib.CONFIGS[values["model"]]
        changes = {
            "learning_rate": settings.learning_rate,
            "keep_prob": settings.dropout_keep_prob,
        }
        for name in (*changes, "batch_size", "max_epoch", "lr_decay"):
            if values[name] is not None:
                changes[name] = values[name]
        config = dataclasses.replace(
            config, **{k: v for k, v in changes.items() if v is not None}
        )
        if not 0 < config.keep_prob <= 1:
            raise errors.UserError(
                f"--keep_prob must be in (0, 1], got {config.keep_prob}"
            )
        epochs = values["epochs"]
        return flags_lib.fill(
            cls,
            values,
            config=config,
            settings=settings,
            hidden_sizes=_hidden_sizes(values),
            regularizer=values["regularizer"][:2],
            epochs=config.max_max_epoch if epochs is None else epochs,
            pruning=None,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """See base class."""
        config = self.config
        units = self.hidden_sizes or (config.hidden_size,) * config.num_layers
        return {f"{self.cell}_{i}": n for i, n in enumerate(units)}

    @property
    def method(self) -> str:
        """See base class."""
        settings = self.settings
        parts = [self.pruning.title] if self.pruning else []
        if settings.grouplasso and settings.global_decay:
            parts.append("ISS" if settings.learns_structures else "group lasso")
        if settings.weight_decay:
            parts.append(self.regularizer.upper())
        return " + ".join(parts) or "dense"

    @property
    def strength(self) -> float:
        """See base class."""
        return self.settings.global_decay if self.settings.grouplasso else 0.0

    @property
    def threshold(self) -> float:
        """Below it, training makes weights exact zeros; 0 switches it off."""
        return self.small if self.settings.sparsifies else 0.0

    @property
    def small(self) -> float:
        """Below it, restored weights become exact zeros before shrinking."""
        return max(self.zero_threshold, 2 * self.settings.weight_decay)

    def describe(self) -> dict[str, Any]:
        """See base class."""
        return {
            "hidden_sizes": list(self.sizes.values()),
            "config": dataclasses.asdict(self.config),
            **super().describe(),
            "optimizer": self.optimizer,
            "freeze_mode": self.freeze_mode,
            "regularizer": self.regularizer,
            "weight_decay": self.settings.weight_decay,
            "global_decay": self.settings.global_decay,
            "grouplasso": self.settings.grouplasso,
            "relax_epoch": self.relax_epoch,
            "relax_decay": self.relax_decay,
            "cell": self.cell,
            "warmup_steps": self.warmup_steps,
            "mixed_precision": self.mixed_precision,
            "zero_threshold": self.zero_threshold,
        }

    def lasso_strength(self, epoch: int) -> float:
        """Lambda of an epoch, counted from 0."""
        if self.relax_epoch is not None and epoch + 1 >= self.relax_epoch:
            return self.relax_decay
        return self.settings.global_decay


def _settings(values: Mapping[str, Any]) -> ptb_settings.AuthorsSettings:
    """The settings file with what flags override."""
    settings = (
        ptb_settings.load(values["config_file"])
        if values["config_file"]
        else ptb_settings.AuthorsSettings()
    )
    if values["global_decay"] is not None:
        if not (
            values["global_decay"] >= 0
            and math.isfinite(values["global_decay"])
        ):
            raise errors.UserError(
                "--global_decay must be a number >= 0, "
                f"got {values['global_decay']}"
            )
        if not settings.grouplasso:
            raise errors.UserError(
                "--global_decay needs a --config_file with a group lasso"
            )
        settings = dataclasses.replace(
            settings, global_decay=values["global_decay"]
        )
    if values["relax_epoch"] is None and values["relax_decay"]:
        raise errors.UserError(
            "--relax_decay needs --relax_epoch, the epoch "
            "from which on it holds"
        )
    if values["relax_epoch"] is not None and not settings.global_decay:
        raise errors.UserError(
            "--relax_epoch needs a --config_file with a group lasso to relax"
        )
    return settings


def _hidden_sizes(values: Mapping[str, Any]) -> Optional[tuple[int, ...]]:
    """Layer sizes that flags ask for; None if they leave them to the model.

    Raises:
      UserError: if they are no sizes.
    """
    sizes = values["hidden_sizes"]
    pair = values["hidden_size1"], values["hidden_size2"]
    if pair != (None, None):
        if sizes is not None:
            raise errors.UserError(
                "give --hidden_sizes or --hidden_size1 "
                "and --hidden_size2, not both"
            )
        # The authors' heterogeneous program always has two layers.
        sizes = [1500 if n is None else n for n in pair]
    if sizes is None:
        return None
    try:
        sizes = tuple(int(n) for n in sizes)
    except ValueError:
        sizes = ()
    if not sizes:
        raise errors.UserError(
            "--hidden_sizes must be whole numbers, e.g. "
            "373,315, got "
            f"'{','.join(values['hidden_sizes'])}'"
        )
    if min(sizes) < 1:
        raise errors.UserError(f"layer sizes must be positive, got {sizes}")
    return sizes
