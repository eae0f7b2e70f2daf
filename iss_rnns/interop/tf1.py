"""TensorFlow 1 variables as views of ours, and TF1 checkpoints.

TensorFlow 1's LSTM has one matrix with rows [input; hidden] and gates i, c,
f, o; ours follow Keras: two matrices, gates i, f, c, o. That permutation is
here and nowhere else.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import files
from iss_rnns import groups
from iss_rnns.interop import checkpoint_files

_NUMBER = re.compile(r"\d+")
_GATES = (0, 2, 1, 3)  # our gate blocks in TF1's order; its own inverse

# What TensorFlow raises on a damaged checkpoint.
READ_ERRORS = checkpoint_files.READ_ERRORS


@dataclasses.dataclass(frozen=True)
class Piece:
    """A rectangle of a TF1 array and where it lies in one of our variables.

    Attributes:
      variable: ours.
      ours: one slice per axis of `variable`.
      theirs: one slice per axis of the TF1 array.
    """

    variable: tf.Variable
    ours: tuple[slice, ...]
    theirs: tuple[slice, ...]

    def __post_init__(self):
        object.__setattr__(self, "variable", _keras.inner(self.variable))


class View:
    """One TF1 array, made of pieces of our variables.

    Args:
      shape: of the TF1 array.
      pieces: they cover it without overlap.
    """

    def __init__(self, shape: Sequence[int], pieces: Sequence[Piece]):
        self.shape = tuple(shape)
        self.pieces = list(pieces)

    @property
    def variables(self) -> list[tf.Variable]:
        """Ours that it is made of, each once."""
        return list(
            {p.variable.ref(): p.variable for p in self.pieces}.values()
        )

    def read(self) -> np.ndarray:
        """The array in TF1's layout."""
        return self.gather({v.ref(): v.numpy() for v in self.variables})

    def gather(self, values: Mapping[object, np.ndarray]) -> np.ndarray:
        """The TF1 array from arrays shaped like our variables."""
        result = np.zeros(self.shape, np.float32)
        for p in self.pieces:
            result[p.theirs] = values[p.variable.ref()][p.ours]
        return result

    def assign(self, array: np.ndarray) -> None:
        """Writes an array of TF1's layout into our variables.

        Raises:
          ValueError: on another shape.
        """
        if tuple(array.shape) != self.shape:
            raise ValueError(
                f"has shape {tuple(array.shape)}, the model needs {self.shape}"
            )
        for p in self.pieces:
            # A scalar becomes an array, too.
            value = np.array(p.variable.numpy())
            value[p.ours] = array[p.theirs]
            p.variable.assign(value)

    def unit_slices(
        self, axis: int, start: int, stop: int, multiplier: float = 1.0
    ) -> list[groups.Slice]:
        """Slices of our variables for rows or columns of the TF1 array.

        Args:
          axis: 0 when rows `start:stop` are the units, 1 when columns are.
          start: first unit's row or column in the TF1 array.
          stop: one past the last.
          multiplier: of the slices.

        Raises:
          UserError: if the range straddles blocks (layers' inputs, gates)
            that are stored apart.
        """
        found = {}
        for p in self.pieces:
            theirs, ours = p.theirs[axis], p.ours[axis]
            if theirs.start <= start and stop <= theirs.stop:
                shift = ours.start - theirs.start
                found[p.variable.ref()] = groups.Slice(
                    p.variable, axis, start + shift, stop + shift, multiplier
                )
            elif theirs.start < stop and start < theirs.stop:
                raise errors.UserError(
                    f"{'rows' if axis == 0 else 'columns'} {start}:{stop} "
                    f"cross the border at {theirs.start}:{theirs.stop}; a "
                    "group must lie within one block (input rows, hidden "
                    "rows, or one gate)"
                )
        if not found:
            raise errors.UserError(
                f"{'rows' if axis == 0 else 'columns'} {start}:{stop} are "
                f"outside the matrix of shape {self.shape}"
            )
        return list(found.values())


def plain(variable: tf.Variable) -> View:
    """A variable that TF1 stores as we do."""
    everything = tuple(slice(0, n) for n in variable.shape)
    return View(variable.shape, [Piece(variable, everything, everything)])


def vectors(variable: tf.Variable) -> list[View]:
    """A view of a vector, or one of each row of a matrix."""
    if variable.shape.rank == 1:
        return [plain(variable)]
    rows, length = variable.shape
    everything = slice(0, length)
    return [
        View(
            [length],
            [Piece(variable, (slice(row, row + 1), everything), (everything,))],
        )
        for row in range(rows)
    ]


def lstm_matrix(cell) -> View:
    """`basic_lstm_cell/kernel` `[inputs + n, 4 n]` of an `LSTMCell`."""
    n, inputs = cell.units, cell.kernel.shape[0]
    pieces = [
        Piece(
            variable,
            (slice(0, rows), slice(gate * n, (gate + 1) * n)),
            (slice(top, top + rows), slice(place * n, (place + 1) * n)),
        )
        for variable, top, rows in (
            (cell.kernel, 0, inputs),
            (cell.recurrent_kernel, inputs, n),
        )
        for place, gate in enumerate(_GATES)
    ]
    return View([inputs + n, 4 * n], pieces)


def lstm_bias(cell) -> View:
    """`basic_lstm_cell/bias` `[4 n]` of an `LSTMCell`."""
    n = cell.units
    return View(
        [4 * n],
        [
            Piece(
                cell.bias,
                (slice(gate * n, (gate + 1) * n),),
                (slice(place * n, (place + 1) * n),),
            )
            for place, gate in enumerate(_GATES)
        ],
    )


def row_groups(
    name: str, view: View, multiplier: float = 1.0
) -> list[groups.Group]:
    """Every row of a TF1 matrix a group.

    One `Group` per variable: rows of [input; hidden] lie in two.
    """
    return [
        groups.Group(
            f"rows of {name} ({_keras.name(v)})",
            [groups.whole(v, 0)],
            multiplier=multiplier,
        )
        for v in view.variables
    ]


def column_group(
    name: str, view: View, multiplier: float = 1.0
) -> groups.Group:
    """Every column of a TF1 matrix a group; it may span our variables."""
    return groups.Group(
        f"columns of {name}",
        [groups.whole(v, 1) for v in view.variables],
        multiplier=multiplier,
    )


def block_grid(
    name: str, view: View, height: int, width: int, multiplier: float = 1.0
) -> groups.JoinedGrid:
    """A TF1 matrix cut into blocks; the last of an axis may be smaller."""
    ids = {
        v.ref(): [np.zeros(n, np.int32) for n in v.shape]
        for v in view.variables
    }
    sizes = [min(n, size) for n, size in zip(view.shape, (height, width))]
    for p in view.pieces:
        for blocks, ours, theirs, size in zip(
            ids[p.variable.ref()], p.ours, p.theirs, sizes
        ):
            blocks[ours] = np.arange(theirs.start, theirs.stop) // size
    return groups.JoinedGrid(
        f"blocks of {name}",
        [(v, *ids[v.ref()]) for v in view.variables],
        multiplier,
    )


def highway_views(cell) -> dict[str, View]:
    """`{h,t}_<d>/Linear/{Matrix,Bias}` of an `RHNCell`.

    The first micro-step's matrix has rows [input; state], the others' have
    rows [state].
    """
    views = {}
    n, inputs = cell.units, cell.kernel_h.shape[0]
    columns = slice(0, n)
    for d in range(cell.depth):
        for gate, kernel, matrix, bias in (
            ("h", cell.kernel_h, cell.recurrent_h[d], cell.bias_h[d]),
            ("t", cell.kernel_t, cell.recurrent_t[d], cell.bias_t[d]),
        ):
            top = inputs if d == 0 else 0
            pieces = [
                Piece(
                    matrix,
                    (slice(0, n), columns),
                    (slice(top, top + n), columns),
                )
            ]
            if d == 0:
                rows = slice(0, inputs)
                pieces.insert(
                    0, Piece(kernel, (rows, columns), (rows, columns))
                )
            views[f"{gate}_{d}/Linear/Matrix"] = View([top + n, n], pieces)
            views[f"{gate}_{d}/Linear/Bias"] = plain(bias)
    return views


def canonical(name: str) -> str:
    """TF1's later name of a cell's weight: `.../weights` -> `.../kernel`.

    TensorFlow 1.0 and 1.1 wrote `weights` and `biases`, later ones `kernel`
    and `bias`; both are read.
    """
    for old, new in (
        ("cell/weights", "cell/kernel"),
        ("cell/biases", "cell/bias"),
    ):
        if name.endswith(old):
            return name[: -len(old)] + new
    return name


def read_checkpoint(path: files.PathLike) -> dict[str, np.ndarray]:
    """All arrays of a TF1 checkpoint, by canonical name.

    Args:
      path: the prefix (`.../model.ckpt-13`), one of its files, or the folder;
        see `checkpoint_files.find`.

    Raises:
      UserError: if there is none or it is damaged.
    """
    return {
        canonical(name): array
        for name, array in checkpoint_files.read(path).items()
    }


def assign(
    views: Mapping[str, View],
    arrays: Mapping[str, files.AnyArray],
    source: str,
) -> None:
    """Writes named TF1 arrays into a model; all of them or none.

    Args:
      views: the model's, by canonical name.
      arrays: may hold more than the model needs (optimizer, step). Stored
        ones are read only if all that the model needs have its shapes.
      source: named in errors.

    Raises:
      UserError: if an array is missing, of another shape, or does not hold
        finite numbers, or if there are more layers or micro-steps than the
        model has.
    """
    kinds = {_NUMBER.sub("#", name) for name in views}
    for name in arrays:
        if name not in views and (
            _NUMBER.sub("#", name) in kinds
            # A tied model would do without.
            or name.endswith("/softmax_w")
        ):
            raise errors.UserError(
                f"{source} has '{name}', more than the model: it must have "
                "the sizes (and tied weights or not) that it was trained with"
            )
    for name, view in views.items():
        if name not in arrays:
            raise errors.UserError(
                f"{source} has no variable '{name}'; it has: "
                + ", ".join(sorted(arrays)[:8])
            )
        if tuple(arrays[name].shape) != view.shape:
            raise errors.UserError(
                f"'{name}' in {source} has shape "
                f"{tuple(arrays[name].shape)}, but the model needs "
                f"{view.shape}: it must have the sizes, and read the data, "
                "that it was trained with"
            )
    numbers = {
        name: _float32(arrays[name], f"'{name}' in {source}") for name in views
    }
    for name, view in views.items():
        view.assign(numbers[name])


def _float32(array, what: str) -> np.ndarray:
    if not np.can_cast(array.dtype, np.float32, "same_kind"):
        raise errors.UserError(
            f"{what} is of type {array.dtype}; weights are real numbers"
        )
    with np.errstate(over="ignore"):
        array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise errors.UserError(
            f"{what} holds NaN or infinite numbers; restore weights from "
            "before training broke"
        )
    return array
