"""Counts: weights, mult-adds, fractions of zeros; and what they are of.

Nothing here needs TensorFlow.
"""

from collections.abc import Iterable, Mapping, Sequence
import itertools
import math
from typing import Any, Optional

import numpy as np


def lstm_mult_adds(inputs: int, units: int) -> int:
    """Mult-adds of one LSTM step, which is also its number of weights.

    Biases and element-wise work are left out, as in the papers.
    """
    return 4 * (inputs + units) * units


def lstm_lm_mult_adds(
    embedding: int, sizes: Sequence[int], vocabulary: int
) -> int:
    """Mult-adds per token of embedding -> stacked LSTMs -> softmax.

    Two LSTMs of 1500 against (373, 315), embedding 1500 and 10,000 words:
    7.487 times as many (ISS paper, Table 1).

    Args:
        embedding: width of the embedding.
        sizes: units of each LSTM, first to last.
        vocabulary: number of words.
    """
    widths = [embedding, *sizes]
    stack = sum(map(lstm_mult_adds, widths[:-1], widths[1:]))
    return stack + widths[-1] * vocabulary


def lstm_lm_weights(
    embedding: int, sizes: Sequence[int], vocabulary: int
) -> int:
    """Weights of that model, embedding included, biases left out."""
    mult_adds = lstm_lm_mult_adds(embedding, sizes, vocabulary)
    return vocabulary * embedding + mult_adds


def rhn_lm_mult_adds(
    width: int, depth: int, vocabulary: int, layers: int = 1
) -> int:
    """Mult-adds per token of embedding -> highway layers -> softmax.

    Each layer has an input matrix and `depth` recurrent ones, for h and t.
    """
    return layers * 2 * (depth + 1) * width**2 + width * vocabulary


def rhn_lm_weights(
    width: int, depth: int, vocabulary: int, layers: int = 1, tied: bool = True
) -> int:
    """Weights of that model, biases left out.

    Args:
        tied: whether the softmax shares the embedding's weights.
    """
    mult_adds = rhn_lm_mult_adds(width, depth, vocabulary, layers)
    return mult_adds + (0 if tied else vocabulary * width)


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
