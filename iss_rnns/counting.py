"""Counts: weights, mult-adds, fractions of zeros; and what they are of.

Nothing here needs TensorFlow.
"""

from collections.abc import Iterable, Mapping, Sequence
import itertools
import math
from typing import Any, Optional

import numpy as np


def matrix_sparsity(
    array: np.ndarray, designed: Optional[Sequence[int]] = None
) -> dict[str, Optional[float]]:
    """Fractions of exact zeros, as the authors' code logs them.

    Args:
      array: a weight matrix `[rows, columns]`, or a bias vector.
      designed: its shape before rows or columns were cut out, which count
        as zeros; by default, nothing was cut.

    Returns:
      `element`, `row` and `column`: the fraction of elements that are
      zero, of rows and of columns that are zero throughout; the last two
      are None for a vector.
    """
    nonzero = np.asarray(array) != 0
    shape = tuple(designed or nonzero.shape)
    fractions = {
        "element": 1 - int(nonzero.sum()) / math.prod(shape),
        "row": None,
        "column": None,
    }
    if nonzero.ndim == 2:
        rows, columns = (int(nonzero.any(axis=axis).sum()) for axis in (1, 0))
        fractions["row"] = 1 - rows / shape[0]
        fractions["column"] = 1 - columns / shape[1]
    return fractions


def count_weights(net) -> int:
    """Number of trainable weights."""
    return int(sum(np.prod(v.shape) for v in net.trainable_variables))


def mult_adds(model) -> int:
    """Mult-adds of one step of a model: weights that multiply, each once.

    Those of all matrices but embeddings, which are looked up. Of a layer that
    is called more often in a step (a convolution), one call counts.
    """
    return sum(
        math.prod(int(n) for n in variable.shape)
        for name, variable in matrices_by_name(model).items()
        if "embedding" not in name.rpartition("/")[2]
    )


def weights_by_name(model) -> Mapping[str, Any]:
    """A model's trainable weights by the names that reports show.

    Those that it gives itself, if it has a method `weights_by_name`; else
    Keras' paths, e.g. `lstm/lstm_cell/kernel`.
    """
    if hasattr(model, "weights_by_name"):
        return model.weights_by_name()
    return _by_name((_path(v), v) for v in model.trainable_variables)


def layer_weights(layer) -> dict[str, Any]:
    """A layer's trainable weights, e.g. `lstm_0/kernel`.

    For a model's `weights_by_name`: the layer's name and the last part of
    each weight's, whatever lies between.
    """
    return _by_name(
        (f"{layer.name}/{_path(v).rpartition('/')[2]}", v)
        for v in layer.trainable_variables
    )


def matrices_by_name(model) -> dict[str, Any]:
    """Those of `weights_by_name` that multiply or embed: all but vectors.

    Nor is a bias one that has rows, as that of Keras' GRU.
    """
    return {
        name: variable
        for name, variable in weights_by_name(model).items()
        if len(variable.shape) > 1 and "bias" not in name.rpartition("/")[2]
    }


def _path(variable) -> str:
    """A variable's name with its layers', in Keras 3 and before."""
    return getattr(variable, "path", None) or variable.name.partition(":")[0]


def _by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """All the variables, though Keras gives the same name to several."""
    result: dict[str, Any] = {}
    for name, variable in pairs:
        numbered = (f"{name} ({count})" for count in itertools.count(2))
        result[
            next(
                n for n in itertools.chain([name], numbered) if n not in result
            )
        ] = variable
    return result
