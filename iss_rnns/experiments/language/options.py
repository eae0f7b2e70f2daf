"""What the options of every language model have."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional, Union

from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import tasks


@dataclasses.dataclass(frozen=True)
class LanguageOptions:
    """What a language model's run needs, from flags; see the flags' help.

    A task's has `sizes`, units of each layer by name, `method`, what makes
    the net small, and `strength` of the group lasso, too.

    Attributes:
      config: hyper-parameters of the net and its training, among them
        `batch_size` B, `num_steps` T, `learning_rate` and `max_grad_norm`.
      data_path: of the texts; None: prose that comes with Python.
      text: one file of words instead, see `corpora.read_text`.
      drop_unseen: see `corpora.read_words`.
      shrink_every_steps: 0: each epoch; None: never.
      least_gain: of a cut, see `callbacks.ShrinkWhileTraining`.
      pruning: how weights are pruned while training, or None.
    """

    config: Any
    data_path: Optional[str] = None
    text: Optional[str] = None
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
    export_epoch: str = "best"
    compute_dtype: str = "float32"
    pruning: Optional[pruning_flags.PruningPlan] = None

    def describe(self) -> dict[str, Any]:
        """What must stay the same when a run is resumed; JSON values."""
        return {
            "seed": self.seed,
            "compute_dtype": self.compute_dtype,
            "shrink_every_steps": self.shrink_every_steps,
            "dead_below": self.dead_below,
            "dead_checks": self.dead_checks,
            "pruning": self.pruning and self.pruning.describe(),
        }


def layer_sizes(sizes: Union[tasks.Sizes, Sequence[int]]) -> tuple[int, ...]:
    """Units of each layer, first to last, of sizes by name.

    Checkpoints of version 1.0.0 have the units alone.
    """
    return tuple(sizes.values() if isinstance(sizes, Mapping) else sizes)
