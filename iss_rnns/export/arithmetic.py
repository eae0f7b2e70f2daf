"""Plans run with NumPy: the arithmetic that exported C code has, and its int8.

Weights of 8 bits are defined here. Column j of a matrix (one output unit) has
one scale:

    s_j = max_i |W_ij| / 127,   Q_ij = round(W_ij / s_j)

A product quantises each row of its input when it runs:

    a = max_i |x_i| / 127,   q_i = round(x_i * (127 / max_i |x_i|))
    y_j = (sum_i q_i Q_ij) * (a * s_j)

with the sum in 32-bit integers, everything else in float32, halves rounded to
even; a row below 1e-30 counts as zeros. Biases, states and activations are
float32. An embedding's row is Q_i * s. The C code does the same operations in
the same order, so that its integers and floats are these, bit for bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from iss_rnns import errors
from iss_rnns.export import plans

DTYPES = ("float32", "int8")
LEVELS = 127
SMALLEST_ROW = np.float32(1e-30)
# So many products of two 8-bit numbers fit a sum of 32 bits.
MOST_INPUTS = (2**31 - 1) // LEVELS**2

# tanh as a quotient of polynomials (Eigen's), within 3e-7: only operations
# that every machine rounds alike.
TANH_BOUND = 7.90531110763549805
TANH_ODD = (
    -2.76076847742355e-16,
    2.00018790482477e-13,
    -8.60467152213735e-11,
    5.12229709037114e-08,
    1.48572235717979e-05,
    6.37261928875436e-04,
    4.89352455891786e-03,
)
TANH_EVEN = (
    1.19825839466702e-06,
    1.18534705686654e-04,
    2.26843463243900e-03,
    4.89352518554385e-03,
)

Arrays = Mapping[str, np.ndarray]
_F = np.float32


def quantise(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix `[in, out]` as (int8 `[in, out]`, scale of each column).

    Raises:
      UserError: a column is too long for sums of 32 bits.
    """
    if len(matrix) > MOST_INPUTS:
        raise errors.UserError(
            f"a matrix of {len(matrix):,} inputs is too long for int8: sums of "
            f"32 bits hold {MOST_INPUTS:,}"
        )
    matrix = matrix.astype(_F)
    scale = np.abs(matrix).max(0, initial=0) / _F(LEVELS)
    safe = np.where(scale > 0, scale, _F(1))
    return np.rint(matrix / safe).astype(np.int8), scale


def quantise_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[rows, in]` as (int8, scale `[rows, 1]`)."""
    largest = np.abs(x).max(-1, keepdims=True, initial=0).astype(_F)
    zero = largest < SMALLEST_ROW
    safe = np.where(zero, _F(1), largest)
    quantised = np.rint(x.astype(_F) * (_F(LEVELS) / safe))
    scale = np.where(zero, _F(0), safe / _F(LEVELS))
    return np.where(zero, 0, quantised).astype(np.int8), scale


class Products:
    """The products of a plan, in float32 or with weights of 8 bits.

    Args:
      dtype: one of `DTYPES`.
    """

    def __init__(self, dtype: str = "float32"):
        self.dtype = dtype
        self._quantised: dict[int, tuple[Any, np.ndarray, np.ndarray]] = {}

    def weights(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `quantise`; each matrix is quantised once."""
        if id(matrix) not in self._quantised:
            # The matrix stays, so that no other gets its id.
            self._quantised[id(matrix)] = (matrix, *quantise(matrix))
        return self._quantised[id(matrix)][1:]

    def add(
        self,
        z: np.ndarray,
        x: np.ndarray,
        matrix: np.ndarray,
        columns: slice = slice(None),
    ) -> np.ndarray:
        """`z + x @ matrix[:, columns]`, of rows `[rows, in]`."""
        if self.dtype == "float32":
            return z + x.astype(_F) @ matrix[:, columns]
        weights, scale = self.weights(matrix)
        quantised, row_scale = quantise_rows(x)
        total = _integer_product(quantised, weights[:, columns])
        return z + total.astype(_F) * (row_scale * scale[columns])

    def rows(self, table: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Rows of an embedding's table."""
        if self.dtype == "float32":
            return table[ids]
        weights, scale = self.weights(table)
        return weights[ids].astype(_F) * scale


def _integer_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of int8 matrices, exactly: doubles hold whole numbers up to 2^53."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int32)


def activate(name: str, x: np.ndarray, alpha: float = 0.0) -> np.ndarray:
    """An activation in float32, in the order of operations of the C code."""
    x = x.astype(_F)
    if name == "linear":
        return x
    if name == "relu":
        return np.maximum(x, _F(0))
    if name == "leaky_relu":
        return np.where(x > 0, x, _F(alpha) * x)
    if name == "tanh":
        return _tanh(x)
    if name == "sigmoid":
        return _F(0.5) * _tanh(_F(0.5) * x) + _F(0.5)
    if name == "hard_sigmoid":
        return np.clip(_F(0.2) * x + _F(0.5), _F(0), _F(1))
    if name == "softsign":
        return x / (_F(1) + np.abs(x))
    if name == "softplus":
        return np.maximum(x, _F(0)) + np.log1p(np.exp(-np.abs(x)))
    if name == "elu":
        return np.where(x > 0, x, np.exp(np.minimum(x, _F(0))) - _F(1))
    if name == "softmax":
        exponents = np.exp(x - x.max(-1, keepdims=True))
        return exponents / exponents.sum(-1, keepdims=True, dtype=_F)
    raise AssertionError(name)


def _tanh(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, _F(-TANH_BOUND), _F(TANH_BOUND))
    square = x * x
    odd = np.full_like(x, TANH_ODD[0])
    for factor in TANH_ODD[1:]:
        odd = odd * square + _F(factor)
    even = np.full_like(x, TANH_EVEN[0])
    for factor in TANH_EVEN[1:]:
        even = even * square + _F(factor)
    return x * odd / even


def step(
    layer: plans.Layer,
    x: np.ndarray,
    states: Sequence[np.ndarray],
    products: Products,
) -> list[np.ndarray]:
    """One time step of a recurrent layer.

    Args:
      layer: the layer.
      x: `[batch, in]`.
      states: `[batch, n]` each.
      products: see `Products`.

    Returns:
      The new states; the first is the output.
    """
    a, n = layer.arrays, layer.units
    if layer.kind == "rhn":
        return [_highway(layer, x, states[0], products)]
    h = states[0]
    bias = np.broadcast_to(a["bias"], (len(x), len(a["bias"])))
    z = products.add(bias, x, a["kernel"])
    inner = layer.options["activation"]
    if layer.kind == "rnn":
        return [activate(inner, products.add(z, h, a["recurrent_kernel"]))]
    gate = layer.options["recurrent_activation"]
    if layer.kind == "lstm":
        z = products.add(z, h, a["recurrent_kernel"])
        i, f, c, o = np.split(z, 4, axis=1)
        carried = activate(gate, f) * states[1]
        cell = carried + activate(gate, i) * activate(inner, c)
        return [activate(gate, o) * activate(inner, cell), cell]
    bias = np.broadcast_to(a["recurrent_bias"], (len(x), 3 * n))
    kernel = a["recurrent_kernel"]
    if layer.options["reset_after"]:
        y = products.add(bias, h, kernel)
        gates = activate(gate, z[:, : 2 * n] + y[:, : 2 * n])
        update, reset = gates[:, :n], gates[:, n:]
        new = activate(inner, z[:, 2 * n :] + reset * y[:, 2 * n :])
    else:
        both, last = slice(2 * n), slice(2 * n, None)
        y = products.add(bias[:, both], h, kernel, both)
        gates = activate(gate, z[:, : 2 * n] + y)
        update, reset = gates[:, :n], gates[:, n:]
        y = products.add(bias[:, last], reset * h, kernel, last)
        new = activate(inner, z[:, 2 * n :] + y)
    return [new + update * (h - new)]


def _highway(layer, x, s, products):
    a, n = layer.arrays, layer.units
    for d in range(layer.options["depth"]):
        bias = a[f"bias_{d}"]
        z = np.broadcast_to(bias, (len(x), len(bias)))
        if d == 0:
            z = products.add(z, x, a["kernel"])
        z = products.add(z, s, a[f"recurrent_{d}"])
        h, t = activate("tanh", z[:, :n]), activate("sigmoid", z[:, n:])
        s = (h - s) * t + s
    return s


def run(
    plan: plans.Plan, inputs: Arrays, dtype: str = "float32"
) -> dict[str, np.ndarray]:
    """Outputs of a plan, by name.

    Args:
      plan: the plan.
      inputs: of the plan, by name.
      dtype: one of `DTYPES`.
    """
    products = Products(dtype)
    values: dict[str, np.ndarray] = {
        name: np.asarray(array) for name, array in inputs.items()
    }
    for layer in plan.layers:
        read = [values[name] for name in layer.inputs]
        if layer.kind in plans.RECURRENT:
            mask = layer.options["mask"]
            made = _sequence(
                layer, read, None if mask is None else values[mask], products
            )
        else:
            made = [_apply(layer, read, products)]
            _make_mask(layer, read[0], values)
        values.update(zip(layer.outputs, made))
    return {name: values[value] for name, value in plan.outputs.items()}


def _make_mask(layer, x, values) -> None:
    mask = layer.options.get("mask")
    if mask is not None:
        values[mask] = (
            x != 0
            if layer.kind == "embedding"
            else np.any(x != _F(layer.options["mask_value"]), -1)
        )


def _apply(layer, read, products):
    x, *_ = read
    a, options = layer.arrays, layer.options
    if layer.kind == "embedding":
        return products.rows(a["table"], x)
    if layer.kind == "masking":
        seen = np.any(x != _F(options["mask_value"]), -1, keepdims=True)
        return x * seen.astype(_F)
    if layer.kind == "dense":
        rows = x.reshape(-1, x.shape[-1])
        bias = np.broadcast_to(a["bias"], (len(rows), len(a["bias"])))
        z = products.add(bias, rows, a["kernel"])
        y = activate(options["activation"], z)
        return y.reshape(*x.shape[:-1], y.shape[-1])
    if layer.kind == "activation":
        return activate(options["activation"], x, options["alpha"])
    if layer.kind == "affine":
        return x * a["scale"] + a["offset"]
    if layer.kind == "concatenate":
        return np.concatenate(read, -1)
    total = read[0]
    for other in read[1:]:
        total = total * other if layer.kind == "multiply" else total + other
    return total / _F(len(read)) if layer.kind == "average" else total


def _sequence(
    layer: plans.Layer,
    read: Sequence[np.ndarray],
    mask: Optional[np.ndarray],
    products: Products,
) -> list[np.ndarray]:
    """A recurrent layer over `[batch, time, in]`: y and the final states."""
    x, *states = read
    options = layer.options
    batch, time = x.shape[:2]
    if not states:
        zeros = np.zeros((batch, layer.units), _F)
        states = [zeros] * len(layer.states)
    order = range(time)[:: -1 if options["backwards"] else 1]
    output, outputs = np.zeros((batch, layer.units), _F), {}
    for t in order:
        new = step(layer, x[:, t], states, products)
        if mask is None:
            states = new
            output = new[0]
        else:
            seen = mask[:, t, np.newaxis]
            states = [np.where(seen, b, a) for a, b in zip(states, new)]
            old = 0 * output if options["zero_masked"] else output
            output = np.where(seen, new[0], old)
        outputs[t] = output
    if not options["sequences"]:
        return [output, *states]
    in_order = sorted(order) if options["in_time"] else order
    found = [outputs[t] for t in in_order]
    empty = np.zeros((batch, 0, layer.units), _F)
    return [np.stack(found, 1) if found else empty, *states]
