"""Recurrent layers on packed matrices, for inference."""

from collections.abc import Mapping, Sequence
from typing import (
    Any,
    Callable,
    ClassVar,
    Optional,
    TypeVar,
)

import numpy as np

from iss_rnns import errors
from iss_rnns.sparse import matrix

State = Sequence[np.ndarray]
# `multiply(name, x [rows, in]) -> [rows, out]`, with the matrix of that name.
Multiply = Callable[[str, np.ndarray], np.ndarray]


class PackedLayer:
    """Base of the layers.

    Args:
      matrices: by name.
      biases: by name.

    Attributes:
      matrices: by name.
      biases: by name, float32.
      units: n.
      max_difference: see `pack_layer`; None for a loaded one.

    Raises:
      UserError: matrices or biases of shapes that do not fit each other.
    """

    kind: ClassVar[str]  # in files
    title: ClassVar[str]  # in messages
    num_states: ClassVar[int] = 1

    def __init__(
        self,
        matrices: Mapping[str, matrix.PackedMatrix],
        biases: Mapping[str, np.ndarray],
    ):
        self.matrices = dict(matrices)
        self.biases = {
            name: np.asarray(bias, np.float32) for name, bias in biases.items()
        }
        self.units = self.matrices[self.recurrent_name].shape[0]
        self.max_difference: Optional[float] = None
        parts: dict[str, Any] = {**self.matrices, **self.biases}
        found = {name: tuple(part.shape) for name, part in parts.items()}
        for name, shape in self.shapes().items():
            if found.get(name) != shape:
                raise errors.UserError(
                    f"{name} of {self.title} with {self.units} units must be "
                    f"{list(shape)}, got {list(found.get(name, ()))}"
                )

    # What follows describes a kind of layer.

    recurrent_name: ClassVar[str] = "recurrent_kernel"
    input_name: ClassVar[str] = "kernel"

    @classmethod
    def names(cls, arrays: Sequence[str]) -> tuple[list[str], list[str]]:
        """Names of the matrices and of the biases, out of a file's arrays."""
        del arrays
        return ["kernel", "recurrent_kernel"], ["bias"]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all matrices and biases, for n units."""
        raise NotImplementedError

    def hoist(self, inputs: np.ndarray, multiply: Multiply) -> np.ndarray:
        """The input's part: `[rows, in]` -> `[rows, any]`."""
        return multiply("kernel", inputs) + self.biases["bias"]

    def step(self, z: np.ndarray, state: State, multiply: Multiply) -> State:
        """One time step: a row of `hoist` and the state -> the new state.

        The output is the new state's first part.
        """
        raise NotImplementedError

    # The rest is the same for all.

    @property
    def inputs(self) -> int:
        """Width of the input."""
        return self.matrices[self.input_name].shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        parts: list[Any] = [*self.matrices.values(), *self.biases.values()]
        return sum(part.nbytes for part in parts)

    def __call__(
        self,
        inputs: np.ndarray,
        state: Optional[State] = None,
        threads: Optional[int] = None,
    ) -> tuple[np.ndarray, State]:
        """Runs the layer over a sequence.

        Args:
          inputs: `[batch, time, in]` float32.
          state: `num_states` arrays `[batch, n]`; zeros if None.
          threads: CPU threads. Defaults to what the matrices chose.

        Returns:
          (outputs `[batch, time, n]`, the new state), float32.
        """
        inputs = np.asarray(inputs)
        if inputs.dtype != np.float32:
            raise TypeError(f"inputs must be float32, got {inputs.dtype}.")
        if inputs.ndim != 3 or inputs.shape[2] != self.inputs:
            raise errors.UserError(
                f"inputs must be [batch, time, {self.inputs}], "
                f"got {list(inputs.shape)}"
            )
        shape = (len(inputs), self.units)
        if state is None:
            state = [np.zeros(shape, np.float32)] * self.num_states
        state = [np.array(part, np.float32) for part in state]
        if [part.shape for part in state] != [shape] * self.num_states:
            raise errors.UserError(
                f"state must be {self.num_states} of {list(shape)}, got "
                f"{' and '.join(str(list(part.shape)) for part in state)}"
            )
        inputs = np.ascontiguousarray(inputs.swapaxes(0, 1))
        outputs, state = self.run(inputs, state, threads)
        return np.ascontiguousarray(outputs.swapaxes(0, 1)), state

    def run(
        self,
        inputs: np.ndarray,
        state: Sequence[np.ndarray],
        threads: Optional[int],
    ) -> tuple[np.ndarray, State]:
        """As `__call__`, time first, everything checked."""
        return self.scan(
            inputs,
            state,
            lambda name, x: self.matrices[name].matmul(
                np.ascontiguousarray(x), threads
            ),
        )

    def scan(
        self,
        inputs: np.ndarray,
        state: Sequence[np.ndarray],
        multiply: Multiply,
    ) -> tuple[np.ndarray, State]:
        """As `run`, with any products."""
        time, batch, width = inputs.shape
        z = self.hoist(inputs.reshape(time * batch, width), multiply)
        outputs = []
        for each in z.reshape(time, batch, z.shape[1]):
            state = self.step(each, state, multiply)
            outputs.append(state[0])
        empty = np.zeros((0, batch, self.units), np.float32)
        return np.stack(outputs) if outputs else empty, tuple(state)

    def report(self) -> str:
        """See `PackedMatrix.report`, of all matrices."""
        return "\n".join(
            f"{name.replace('_', ' ')} {part.report()}"
            for name, part in self.matrices.items()
        )

    def save(self, path: str) -> None:
        """Writes the layer to one `.npz` file, atomically."""
        arrays = dict(self.biases)
        for name, part in self.matrices.items():
            arrays.update(
                {
                    f"{name}.{key}": value
                    for key, value in part.form.to_arrays().items()
                }
            )
        matrix.write_arrays(path, self.kind, arrays)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "PackedLayer":
        """Out of the arrays of a file; nothing is measured yet.

        Raises:
          UserError: see `panels.Panels.from_arrays`.
          UserError: the arrays do not fit each other.
        """
        matrices, biases = cls.names(list(arrays))
        parts = {
            name: matrix.PackedMatrix.from_arrays(
                {
                    key.partition(".")[2]: value
                    for key, value in arrays.items()
                    if key.startswith(f"{name}.")
                }
            )
            for name in matrices
        }
        found = {}
        for name in biases:
            bias = arrays.get(name, np.zeros(0, np.float32))
            if bias.dtype != np.float32:
                raise errors.UserError(
                    f"the bias must be float32, got {bias.dtype}"
                )
            if not np.isfinite(bias).all():
                raise errors.UserError(
                    f"{name} holds numbers that are not finite"
                )
            found[name] = bias
        return cls(parts, found)

    @classmethod
    def load(
        cls,
        path: str,
        batch_sizes: Sequence[int] = (1, 4, 16, 64),
        threads: int = 1,
    ) -> "PackedLayer":
        """Reads `save`; see `iss_rnns.sparse.load`."""
        layer = matrix.read(path, {cls.kind: cls.from_arrays})
        layer.tune(batch_sizes, threads)
        return layer

    def tune(self, batch_sizes: Sequence[int], threads: int = 1) -> None:
        """See `PackedMatrix.tune`, of all matrices."""
        if len(batch_sizes):
            for part in self.matrices.values():
                part.tune(batch_sizes, threads)


class PackedGRU(PackedLayer):
    """A GRU layer, the reset gate behind the product as in `cells.GRUCell`.

        z, r, c~ = x @ kernel + bias[0]
        z', r', c' = h @ recurrent_kernel + bias[1]
        h = (1 - Z) * tanh(c~ + R * c') + Z * h,
        Z = sigmoid(z + z'),  R = sigmoid(r + r')

    Matrices `kernel [in, 3 n]`, `recurrent_kernel [n, 3 n]`; bias `bias [2,
    3 n]`.
    """

    kind, title = "gru", "a GRU"

    def shapes(self):
        """See base class."""
        n = self.units
        return {
            "kernel": (self.inputs, 3 * n),
            "recurrent_kernel": (n, 3 * n),
            "bias": (2, 3 * n),
        }

    def hoist(self, inputs, multiply):
        """See base class."""
        return multiply("kernel", inputs) + self.biases["bias"][0]

    def step(self, z, state, multiply):
        """See base class."""
        (h,) = state
        n = self.units
        product = multiply("recurrent_kernel", h) + self.biases["bias"][1]
        update = sigmoid(z[:, :n] + product[:, :n])
        reset = sigmoid(z[:, n : 2 * n] + product[:, n : 2 * n])
        candidate = np.tanh(z[:, 2 * n :] + reset * product[:, 2 * n :])
        return (candidate + update * (h - candidate),)


class PackedSimpleRNN(PackedLayer):
    """A plain recurrent layer: tanh(x @ kernel + h @ recurrent_kernel + bias).

    Matrices `kernel [in, n]`, `recurrent_kernel [n, n]`; bias `bias [n]`.
    """

    kind, title = "simple rnn", "a plain layer"
    activation: ClassVar[Callable] = staticmethod(np.tanh)

    def shapes(self):
        """See base class."""
        n = self.units
        return {
            "kernel": (self.inputs, n),
            "recurrent_kernel": (n, n),
            "bias": (n,),
        }

    def step(self, z, state, multiply):
        """See base class."""
        return (self.activation(z + multiply("recurrent_kernel", state[0])),)


class PackedReLURNN(PackedSimpleRNN):
    """The same with max(0, x) in the place of tanh."""

    kind = "relu rnn"
    activation: ClassVar[Callable] = staticmethod(lambda x: np.maximum(x, 0))


class PackedRHN(PackedLayer):
    """A recurrent highway layer; see `cells.RHNCell`.

    Matrices `kernel_h`, `kernel_t` `[in, n]` and, for each micro-step d from
    0, `recurrent_h_d`, `recurrent_t_d` `[n, n]`; biases `bias_h_d`,
    `bias_t_d` `[n]`.
    """

    kind, title = "rhn", "a highway layer"
    recurrent_name, input_name = "recurrent_h_0", "kernel_h"

    @classmethod
    def names(cls, arrays):
        """See base class."""
        depth = sum(name.startswith("bias_h_") for name in arrays)
        each = [f"{gate}_{d}" for d in range(max(depth, 1)) for gate in "ht"]
        return (
            ["kernel_h", "kernel_t", *(f"recurrent_{e}" for e in each)],
            [f"bias_{e}" for e in each],
        )

    @property
    def depth(self) -> int:
        """Number of micro-steps."""
        return len(self.biases) // 2

    def shapes(self):
        """See base class."""
        n = self.units
        matrices, biases = self.names(list(self.biases))
        return {
            **{
                name: (self.inputs if name.startswith("kernel") else n, n)
                for name in matrices
            },
            **dict.fromkeys(biases, (n,)),
        }

    def hoist(self, inputs, multiply):
        """See base class."""
        return np.concatenate(
            [multiply(f"kernel_{gate}", inputs) for gate in "ht"], axis=1
        )

    def step(self, z, state, multiply):
        """See base class."""
        (s,) = state
        for d in range(self.depth):
            h, t = (
                multiply(f"recurrent_{gate}_{d}", s)
                + self.biases[f"bias_{gate}_{d}"]
                for gate in "ht"
            )
            if d == 0:
                h, t = h + z[:, : self.units], t + z[:, self.units :]
            s = (np.tanh(h) - s) * sigmoid(t) + s
        return (s,)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), which does not overflow."""
    half = x.dtype.type(0.5)
    return half + half * np.tanh(half * x)


Layer = TypeVar("Layer", bound=PackedLayer)


def pack_layer(
    kind: type[Layer],
    matrices: Mapping[str, np.ndarray],
    biases: Mapping[str, np.ndarray],
    block_shape="auto",
    batch_sizes: Sequence[int] = (1, 4, 16, 64),
    threads: int = 1,
    tolerance: float = 1e-5,
) -> Layer:
    """Packs the weights of a trained layer, and proves it equal.

    Args:
      kind: of layer, a subclass of `PackedLayer`.
      matrices: float32, by the names that the kind documents.
      biases: likewise.
      block_shape: see `pack`.
      batch_sizes: see `pack`.
      threads: see `pack`.
      tolerance: of the products as in `pack`, and of the layer's outputs over
        a few steps against dense products in float64 (`max_difference`),
        relative to the largest output where that is above 1.

    Raises:
      TypeError: a matrix is not float32.
      UserError: see `pack`.
    """
    matrices = {name: np.asarray(each) for name, each in matrices.items()}
    layer = kind(
        {
            name: matrix.pack(
                each, block_shape, batch_sizes, threads, tolerance
            )
            for name, each in matrices.items()
        },
        biases,
    )
    rng = np.random.default_rng(2)
    inputs = rng.standard_normal((2, 3, layer.inputs), np.float32)
    exact = {name: each.astype(np.float64) for name, each in matrices.items()}
    expected, _ = layer.scan(
        inputs.astype(np.float64).swapaxes(0, 1),
        [np.zeros((2, layer.units))] * layer.num_states,
        lambda name, x: x @ exact[name],
    )
    layer.max_difference = float(
        np.abs(layer(inputs)[0].swapaxes(0, 1) - expected).max()
        / max(1.0, np.abs(expected).max())
    )
    if not layer.max_difference <= tolerance:
        raise errors.UserError(
            f"{layer.title}, packed, differs from the dense one by "
            f"{layer.max_difference:.2g}; allowed are {tolerance:.2g}"
        )
    return layer
