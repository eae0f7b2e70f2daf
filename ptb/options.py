"""What the program's flags say together."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, Optional

from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import thresholding
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import shipped
from iss_rnns.experiments import size_flags
from iss_rnns.experiments.language import options as language_options
from iss_rnns.interop import ptb_settings
from ptb import configs


@dataclasses.dataclass(frozen=True)
class Options(language_options.LanguageOptions):
    """What a run needs, from flags and settings; see the flags' help.

    Attributes:
      model: name of `config`, one of `configs.CONFIGS`.
      config_file: of `settings`, if any.
      hidden_sizes: of the layers; None: those of `config`.
    """

    model: str = ""
    config_file: Optional[str] = None
    settings: ptb_settings.AuthorsSettings = ptb_settings.AuthorsSettings()
    hidden_sizes: Optional[tuple[int, ...]] = None
    regularizer: str = "l1"
    optimizer: str = "gd"
    freeze_mode: Optional[str] = None
    zero_threshold: float = thresholding.ZERO_THRESHOLD
    cell: str = "lstm"
    warmup_steps: int = 0
    mixed_precision: bool = False

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "Options":
        """Out of the values of all flags, by name.

        Raises:
          UserError: naming the flag, its value and what would be right.
        """
        values = {**values, "config_file": _place(values["config_file"])}
        settings = _settings(values)
        config = configs.CONFIGS[values["model"]]
        changes: dict[str, Any] = {
            "learning_rate": settings.learning_rate,
            "keep_prob": settings.dropout_keep_prob,
        }
        for name in (*changes, "batch_size", "max_epoch", "lr_decay"):
            if values[name] is not None:
                changes[name] = values[name]
        config = dataclasses.replace(
            config, **{k: v for k, v in changes.items() if v is not None}
        )
        arguments.number("--keep_prob", config.keep_prob, above=0, most=1)
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
            target=size_flags.SizeGoal.from_flags(
                values,
                settings.global_decay if settings.grouplasso else 0.0,
                "--structure_wd and the --config_file that it is of",
            ),
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
        if self.target:
            parts.append(self.target.method)
        return " + ".join(parts) or self.plain_method

    @property
    def strength(self) -> float:
        """See base class."""
        return self.settings.global_decay if self.settings.grouplasso else 0.0

    @property
    def sparsifies_weights(self) -> bool:
        """Whether a penalty makes zeros of single weights, rows or columns."""
        settings = self.settings
        return bool(
            (settings.weight_decay and self.regularizer == "l1")
            or (self.strength and not settings.learns_structures)
        )

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
            "cell": self.cell,
            "warmup_steps": self.warmup_steps,
            "mixed_precision": self.mixed_precision,
            "zero_threshold": self.zero_threshold,
        }


def _place(config_file: Optional[str]) -> Optional[str]:
    """Where a settings file lies.

    Those that come with the program are found from any folder. Up to version
    1.0.0 they lay beside the code, and flags of its runs name them there.
    """
    if not config_file or pathlib.Path(config_file).exists():
        return config_file
    path = pathlib.Path(config_file)
    for each in (path, path.with_name("settings") / path.name):
        found = shipped.find(str(each), "ptb", "settings", ".json")
        if pathlib.Path(found).exists():
            return found
    return config_file


def _settings(values: Mapping[str, Any]) -> ptb_settings.AuthorsSettings:
    """The settings file with what flags override."""
    settings = (
        ptb_settings.load(values["config_file"])
        if values["config_file"]
        else ptb_settings.AuthorsSettings()
    )
    strength = values["structure_wd"]
    if strength is not None:
        arguments.number("--structure_wd", strength, least=0)
        if not settings.grouplasso:
            raise errors.UserError(
                "--structure_wd needs a --config_file with a group lasso"
            )
        settings = dataclasses.replace(settings, global_decay=strength)
    if values["from_scratch_of"]:
        settings = dataclasses.replace(settings, grouplasso={})
    language_options.check_relaxing(
        values, settings.global_decay, "a --config_file that has one"
    )
    return settings


def _hidden_sizes(values: Mapping[str, Any]) -> Optional[tuple[int, ...]]:
    """Layer sizes that flags ask for; None if they leave them to the model.

    Raises:
      UserError: if they are no sizes.
    """
    sizes = values["hidden_sizes"]
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
