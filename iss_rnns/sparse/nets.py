"""Packs a sparse net, proves it equal, measures it."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import pathlib
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import cells
from iss_rnns import counting
from iss_rnns import sparse
from iss_rnns.sparse import backends

# A net is packed if at least this fraction of some matrix is zero; with less
# a dense product wins everywhere.
LEAST_SPARSITY = 0.5
BATCH_SIZES = sparse.BATCH_SIZES

# Cells of this package and matrices `[in, out]`, by name.
Packable = Mapping[str, Union[tf.keras.layers.Layer, tf.Variable]]


@dataclasses.dataclass(frozen=True)
class Packed:
    """What packing came to, over all products of one step.

    Attributes:
      parts: what was packed, by name: `sparse.PackedLayer` of cells,
        `sparse.PackedMatrix` of matrices.
      dense_bytes: of the same weights, dense.
      seconds: batch size -> (dense, as chosen), of all products one after
        the other; chosen is the faster of packed and dense, matrix by matrix.
      max_difference: largest difference of a packed product from the dense
        one, relative to the largest output.
      matrices: by name: shape, sparsity, and what was chosen.
      folder: of the files, when they are written.
      packed_bytes: of the files, likewise.
    """

    parts: dict[str, Any]
    dense_bytes: int
    seconds: dict[int, Sequence[float]]
    max_difference: float
    matrices: dict[str, str]
    folder: Optional[pathlib.Path] = None
    packed_bytes: int = 0

    def table(self) -> dict[str, str]:
        """For a section of the report."""
        return {
            **self.matrices,
            "largest relative difference of a product": f"{self.max_difference:.2g}",
        }


def matrices(packable: Packable) -> dict[str, np.ndarray]:
    """Every matrix by name."""
    found = {}
    for name, part in packable.items():
        if _keras.is_variable(part):
            found[name] = part.numpy()
        else:
            found.update(
                {
                    f"{name}.{each}": array
                    for each, array in cell_weights(part)[0].items()
                }
            )
    return found


def cell_weights(cell) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(matrices, biases) of a cell, by the names of its packed layer."""
    if isinstance(cell, cells.RHNCell):
        each = [
            (f"{gate}_{d}", gate, d) for d in range(cell.depth) for gate in "ht"
        ]
        return (
            {
                "kernel_h": cell.kernel_h.numpy(),
                "kernel_t": cell.kernel_t.numpy(),
                **{
                    f"recurrent_{name}": getattr(cell, f"recurrent_{gate}")[
                        d
                    ].numpy()
                    for name, gate, d in each
                },
            },
            {
                f"bias_{name}": getattr(cell, f"bias_{gate}")[d].numpy()
                for name, gate, d in each
            },
        )
    return (
        {
            "kernel": cell.kernel.numpy(),
            "recurrent_kernel": cell.recurrent_kernel.numpy(),
        },
        {"bias": cell.bias.numpy()},
    )


def pack_cell(cell, batch_sizes: Sequence[int] = BATCH_SIZES):
    """A cell as a `sparse.PackedLayer`, proved equal.

    Raises:
      UserError: if a packed product or the layer differs from the dense one.
    """
    if isinstance(cell, cells.LSTMCell):
        return sparse.pack_lstm(
            cell.kernel.numpy(),
            cell.recurrent_kernel.numpy(),
            cell.bias.numpy(),
            cell.forget_bias,
            batch_sizes=batch_sizes,
        )
    if isinstance(cell, cells.SimpleRNNCell):
        kind = {"tanh": sparse.PackedSimpleRNN, "relu": sparse.PackedReLURNN}[
            cell.activation
        ]
    else:
        kind = {
            cells.GRUCell: sparse.PackedGRU,
            cells.RHNCell: sparse.PackedRHN,
        }[type(cell)]
    return sparse.pack_layer(kind, *cell_weights(cell), batch_sizes=batch_sizes)


def highest_sparsity(packable: Packable) -> float:
    """Fraction of zeros of the sparsest matrix that is not all zeros.

    Of one alone: where only small matrices were pruned, their products pay
    though most of the net's weights are left. A unit that stands for a layer
    that died has zeros only.
    """
    found = (
        counting.matrix_sparsity(matrix)["element"] or 0.0
        for matrix in matrices(packable).values()
    )
    return max((sparsity for sparsity in found if sparsity < 1.0), default=0.0)


def pack(
    packable: Packable, batch_sizes: Sequence[int] = BATCH_SIZES
) -> Optional[Packed]:
    """Packs, proves layers and products equal, and measures.

    Args:
      packable: see `Packable`.
      batch_sizes: to measure, on one core.

    Returns:
      None if the net is not sparse enough to pay.

    Raises:
      ImportError: if numba is missing.
      UserError: if a packed product differs from the dense one.
    """
    if highest_sparsity(packable) < LEAST_SPARSITY:
        return None
    parts, products = {}, {}
    differences: list[float] = []
    with one_blas_thread():
        for name, part in packable.items():
            if _keras.is_variable(part):
                packed = sparse.pack(part.numpy(), batch_sizes=batch_sizes)
                products[name] = packed
            else:
                packed = pack_cell(part, batch_sizes)
                products.update(
                    {
                        f"{name}.{each}": product
                        for each, product in packed.matrices.items()
                    }
                )
                differences.append(packed.max_difference)
            parts[name] = packed
    dense = matrices(packable)
    return Packed(
        parts,
        sum(m.nbytes for m in dense.values()),
        {batch: _seconds(products.values(), batch) for batch in batch_sizes},
        max([*differences, *(p.max_difference for p in products.values())]),
        {
            name: _describe(product, dense[name], batch_sizes)
            for name, product in products.items()
        },
    )


@contextlib.contextmanager
def one_blas_thread():
    """Dense products on one core, too.

    On a busy machine its second thread can take a thousand times as long.
    """
    before = backends.set_numpy_threads(1)
    try:
        yield
    finally:
        if before:
            backends.set_numpy_threads(before)


def _seconds(products, batch: int) -> Sequence[float]:
    dense = chosen = 0.0
    for product in products:
        choice = product.choice(batch)
        dense += choice.seconds[("dense", 1)]
        chosen += choice.seconds[(choice.name, choice.threads)]
    return dense, chosen


def _describe(product, matrix: np.ndarray, batch_sizes) -> str:
    shape = "x".join(map(str, matrix.shape))
    zeros = counting.matrix_sparsity(matrix)["element"]
    choices = ", ".join(
        f"{product.choice(b).name} at batch {b}" for b in batch_sizes
    )
    return f"{shape}, {zeros:.3f} zeros, {choices}"
