"""Where a unit's weights lie, written down from Keras' documentation.

For the suite of models of any kind: what the library must find is said here a
second time, by hand and without the library, as the layouts that
`tf.keras.layers` documents.

    LSTM        kernel [in, 4 n]  recurrent_kernel [n, 4 n]  bias [4 n]
                gates i, f, c, o
    GRU         kernel [in, 3 n]  recurrent_kernel [n, 3 n]
                bias [2, 3 n] with reset_after, [3 n] without; gates z, r, h
    SimpleRNN   kernel [in, n]    recurrent_kernel [n, n]    bias [n]

Unit k is written by entry k of each gate's columns, and read by row k of the
recurrent kernel and of every matrix that its output is multiplied with.
"""

import dataclasses
from typing import Any

import numpy as np

from iss_rnns import _keras

WEIGHT = "weight"  # zero in a dead unit
BIAS = "bias"  # goes with a dead unit, whatever it is
CANDIDATE = "candidate"  # makes the state non-zero: counts if that is seen
EITHER = "either"  # zero in a dead unit; counted or not


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the units of a layer lie on an axis of a variable.

    Attributes:
      variable: of a built layer.
      axis: that the units lie along.
      entries: `[copies, n]`, the entries of unit k are column k.
      kind: one of those above.
    """

    variable: Any
    axis: int
    entries: np.ndarray
    kind: str = WEIGHT


def at(variable, axis, n, *starts, kind=WEIGHT, stride=1):
    """Units at `start + stride * k` for each of the starts."""
    entries = np.add.outer(np.asarray(starts or (0,)), stride * np.arange(n))
    return [Place(_keras.inner(variable), axis, entries, kind)]


def rows(variable, n, *starts):
    """Rows of a matrix that reads the units, from each of the starts."""
    return at(variable, 0, n, *starts)


def columns(variable, n, *starts):
    """Columns of a matrix that writes the units."""
    return at(variable, len(variable.shape) - 1, n, *starts)


def biases(variable, n, *starts):
    """What is added to the units; it does not count."""
    return at(variable, len(variable.shape) - 1, n, *starts, kind=BIAS)


def dense(layer, n, *starts):
    """The units of a Dense, Conv or EinsumDense layer that writes them."""
    found = columns(layer.kernel, n, *starts)
    if layer.use_bias if hasattr(layer, "use_bias") else layer.bias is not None:
        found += biases(layer.bias, n, *starts)
    return found


def scale(layer, n, *starts):
    """BatchNormalization between units and what reads them."""
    return [
        *at(layer.gamma, 0, n, *starts, kind=EITHER),
        *biases(layer.beta, n, *starts),
        *biases(layer.moving_mean, n, *starts),
        *biases(layer.moving_variance, n, *starts),
    ]


def gated(cell, n, gates, candidate, *starts, width=None):
    """A cell whose gates lie side by side in two matrices.

    Args:
      cell: with `kernel`, `recurrent_kernel` and `bias` or none.
      n: units.
      gates: blocks of columns.
      candidate: the block whose bias makes the state of a dead unit non-zero.
      *starts: of the units among those of the layer, defaults to 0.
      width: of the layer, if it has others, too.
    """
    width = n if width is None else width
    starts = starts or (0,)
    each = [width * gate + start for gate in range(gates) for start in starts]
    found = (
        columns(cell.kernel, n, *each)
        + columns(cell.recurrent_kernel, n, *each)
        + rows(cell.recurrent_kernel, n, *starts)
    )
    bias = getattr(cell, "bias", None)
    if bias is not None:
        axis = len(bias.shape) - 1
        for gate in range(gates):
            found += at(
                bias,
                axis,
                n,
                *(width * gate + start for start in starts),
                kind=CANDIDATE if gate == candidate else BIAS,
            )
    return found


def lstm(cell, n, *starts, width=None):
    """Gates i, f, c, o."""
    return gated(cell, n, 4, 2, *starts, width=width)


def gru(cell, n, *starts, width=None):
    """Gates z, r, h; both bias layouts."""
    return gated(cell, n, 3, 2, *starts, width=width)


def simple(cell, n, *starts, width=None):
    """No gate."""
    return gated(cell, n, 1, 0, *starts, width=width)


def highway(cell, n, *starts, width=None):
    """`iss_rnns.RHNCell`: a matrix for each of h and t, and for each depth."""
    del width
    recurrent = [*cell.recurrent_h, *cell.recurrent_t]
    found = []
    for matrix in (cell.kernel_h, cell.kernel_t, *recurrent):
        found += columns(matrix, n, *starts)
    for matrix in recurrent:
        found += rows(matrix, n, *starts)
    for bias in cell.bias_h:
        found += at(bias, 0, n, *starts, kind=CANDIDATE)
    for bias in cell.bias_t:
        found += at(bias, 0, n, *starts, kind=BIAS)
    return found
