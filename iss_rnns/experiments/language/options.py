"""What the options of every language model have."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, Optional, Union

from iss_rnns import errors
from iss_rnns.experiments import from_scratch
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import size_flags
from iss_rnns.experiments import tasks


@dataclasses.dataclass(frozen=True)
class LanguageOptions:
    """What a language model's run needs, from flags; see the flags' help.

    A task's has `sizes`, units of each layer by name, and `method`, what makes
    the net small, too.

    Attributes:
      config: hyper-parameters of the net and its training, among them
        `batch_size` B, `num_steps` T, `learning_rate` and `max_grad_norm`.
      data_path: of the texts; None: prose that comes with Python.
      text: one file of words instead, see `corpora.read_text`.
      train_words: see `corpora.embedded`.
      drop_unseen: see `corpora.read_words`.
      shrink_every_steps: 0: each epoch; None: never.
      least_gain: of a cut, see `callbacks.ShrinkWhileTraining`.
      relax_epoch: first epoch, counted from 1, of which `relax_decay` is the
        strength of the group lasso; None: all have the same.
      pruning: how weights are pruned while training, or None.
      target: the size that training is steered to, or None.
    """

    config: Any
    data_path: Optional[str] = None
    text: Optional[str] = None
    train_words: Optional[int] = None
    vocab_limit: int = 10_000
    min_count: int = 2
    drop_unseen: bool = False
    epochs: int = 13
    max_train_steps: Optional[int] = None
    checkpoint_every: int = 500
    seed: int = 0
    shrink_every_steps: Optional[int] = None
    dead_below: float = 0.0
    dead_checks: int = 3
    least_gain: float = 0.0
    relax_epoch: Optional[int] = None
    relax_decay: float = 0.0
    export_epoch: str = "best"
    compute_dtype: str = "float32"
    pruning: Optional[pruning_flags.PruningPlan] = None
    target: Optional[size_flags.SizeGoal] = None
    from_scratch_of: Optional[str] = None

    @property
    def plain_method(self) -> str:
        """What `method` is where nothing makes the net small."""
        return from_scratch.METHOD if self.from_scratch_of else "dense"

    @property
    def strength(self) -> float:
        """Of the group lasso, before it is relaxed; 0: there is none."""
        raise NotImplementedError

    @property
    def lasso(self) -> Union[float, Callable[[int], float]]:
        """Strength of the group lasso, by epoch if it is relaxed."""
        return self.strength if self.relax_epoch is None else self._strength

    def _strength(self, epoch: int) -> float:
        """Of an epoch, counted from 0."""
        assert self.relax_epoch is not None
        relaxed = epoch + 1 >= self.relax_epoch
        return self.relax_decay if relaxed else self.strength

    def describe(self) -> dict[str, Any]:
        """What must stay the same when a run is resumed; JSON values."""
        return {
            "seed": self.seed,
            "compute_dtype": self.compute_dtype,
            "shrink_every_steps": self.shrink_every_steps,
            "dead_below": self.dead_below,
            "dead_checks": self.dead_checks,
            "relax_epoch": self.relax_epoch,
            "relax_decay": self.relax_decay,
            "pruning": self.pruning and self.pruning.describe(),
        }


def check_relaxing(
    values: Mapping[str, Any], strength: float, remedy: str
) -> None:
    """Refuses to relax what is not there.

    Args:
      values: of all flags, by name.
      strength: of the group lasso.
      remedy: what gives one.

    Raises:
      UserError: naming the flag that is missing.
    """
    if values["relax_epoch"] is None:
        if values["relax_decay"]:
            raise errors.UserError(
                "--relax_decay needs --relax_epoch, the epoch "
                "from which on it holds"
            )
    elif not strength:
        raise errors.UserError(
            f"--relax_epoch needs {remedy}: there is no group lasso to relax"
        )


def layer_sizes(sizes: Union[tasks.Sizes, Sequence[int]]) -> tuple[int, ...]:
    """Units of each layer, first to last, of sizes by name.

    Checkpoints of version 1.0.0 have the units alone.
    """
    return tuple(sizes.values() if isinstance(sizes, Mapping) else sizes)
