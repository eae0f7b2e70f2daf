"""Watching a training: sizes, sparsities, and costs that are no numbers."""

from collections.abc import Sequence
import math
from typing import Union

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import thresholding
from iss_rnns.callbacks import checks


class SparsityLogger(tf.keras.callbacks.Callback):
    """Adds sizes and sparsities to the logs at the end of each epoch.

    Logs `units/<group>`: units whose group is not all zero, and
    `<variable>_elt_sparsity`, `_col_sparsity`, `_row_sparsity`: the fractions
    of zeros, named as the authors' scalars; of variables of one name, the
    later get a number.

    Args:
      groups: the groups to count.
    """

    def __init__(self, groups: Sequence):
        super().__init__()
        self.groups = checks.groups(groups)

    def on_epoch_end(self, epoch, logs=None):
        logs.update(
            {
                f"units/{name}": count
                for name, count in alive_units(self.groups).items()
            }
        )
        short = {"element": "elt", "row": "row", "column": "col"}
        variables = _keras.trainable(self.model)
        for name, variable in zip(_keras.unique_names(variables), variables):
            fractions = thresholding.zero_fractions(variable)
            logs.update(
                {
                    f"{name}_{short[kind]}_sparsity": float(value)
                    for kind, value in fractions.items()
                }
            )


def alive_units(groups: Sequence, threshold: float = 0.0) -> dict[str, int]:
    """Units of each group whose norm exceeds the threshold, by name."""
    return {
        g.name: int(tf.math.count_nonzero(g.alive(threshold))) for g in groups
    }


class StopOnNaN(tf.keras.callbacks.Callback):
    """Raises `FloatingPointError`, naming the step, when training broke.

    That is when the cost is NaN or infinite, or so large that the perplexity
    is: weights may then still be finite, but no step mends them.

    Args:
      keys: of the batch logs; those that a model does not log are left out.
    """

    def __init__(
        self, keys: Union[str, Sequence[str]] = ("cost", "perplexity")
    ):
        super().__init__()
        self.keys = checks.names(keys)

    def on_train_batch_end(self, batch, logs=None):
        for key in self.keys:
            value = float(logs.get(key, 0.0))
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the {key} became {value} at step "
                    f"{_keras.updates(self.model)}"
                )
