"""Packs a sparse net's matrices beside its SavedModel, and measures them."""

import contextlib
import ctypes
import dataclasses
import pathlib
from typing import Dict, List, Mapping, Optional, Sequence, Union

import numpy as np
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import report

# A net is packed if at least this fraction of some matrix is zero; with less
# a dense product wins everywhere.
LEAST_SPARSITY = .5
FOLDER = "packed"

Packable = Mapping[str, Union[cells.LSTMCell, tf.Variable]]


@dataclasses.dataclass(frozen=True)
class Packed:
    """What packing came to, over all products of one step.

    Attributes:
      folder: of the files.
      dense_bytes: of the same weights, dense.
      packed_bytes: of the files.
      seconds: batch size -> (dense, as chosen), of all products one after
        the other; chosen is the faster of packed and dense, matrix by matrix.
      max_difference: largest difference of a packed product from the dense
        one, relative to the largest output.
      matrices: by name: shape, sparsity, and what was chosen.
    """
    folder: pathlib.Path
    dense_bytes: int
    packed_bytes: int
    seconds: Dict[int, Sequence[float]]
    max_difference: float
    matrices: Dict[str, str]

    def measures(self) -> Dict[str, float]:
        """For a column of the report."""
        return {"packed bytes": self.packed_bytes, **{
            report.packed_speedup(batch): dense / chosen
            for batch, (dense, chosen) in self.seconds.items()}}

    def table(self) -> Dict[str, str]:
        """For a section of the report."""
        return {**self.matrices, "largest relative difference of a product":
                f"{self.max_difference:.2g}"}


def matrices(packable: Packable) -> Dict[str, np.ndarray]:
    """Every matrix by name."""
    found = {}
    for name, part in packable.items():
        if isinstance(part, tf.Variable):
            found[name] = part.numpy()
        else:
            found[f"{name}.kernel"] = part.kernel.numpy()
            found[f"{name}.recurrent_kernel"] = part.recurrent_kernel.numpy()
    return found


def highest_sparsity(packable: Packable) -> float:
    """Fraction of zeros of the sparsest matrix.

    Of one alone: where only small matrices were pruned, their products pay
    though most of the net's weights are left.
    """
    return max(report.matrix_sparsity(matrix)["element"]
               for matrix in matrices(packable).values())


def pack(packable: Packable, parent: pathlib.Path,
         batch_sizes: Sequence[int] = report.PACKED_BATCHES
         ) -> Optional[Packed]:
    """Packs, proves the products equal, writes a file each, and measures.

    Args:
      packable: LSTM cells and matrices `[in, out]` by name.
      parent: files go into `packed/` below it, in place of older ones;
        `sparse.PackedLSTM.load` and `sparse.load` read them.
      batch_sizes: to measure, on one core.

    Returns:
      None if the net is not sparse enough to pay, or numba is missing (a line
      then says so).

    Raises:
      UserError: if a packed product differs from the dense one, or a file
        cannot be written.
    """
    if highest_sparsity(packable) < LEAST_SPARSITY:
        return None
    try:
        from iss_rnns import sparse  # pylint: disable=import-outside-toplevel
    except errors.UserError as error:
        print(f"not packed: {error}", flush=True)
        return None
    folder = pathlib.Path(parent) / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.npz"):
            old.unlink()
    except OSError as error:
        raise errors.UserError(
            f"cannot write {folder}: {error.strerror}") from None
    products = {}
    differences: List[float] = []
    with _one_blas_thread():
        for name, part in packable.items():
            if isinstance(part, tf.Variable):
                packed = sparse.pack(part.numpy(), batch_sizes=batch_sizes)
                products[name] = packed
            else:
                packed = sparse.pack_lstm(
                    part.kernel.numpy(), part.recurrent_kernel.numpy(),
                    part.bias.numpy(), part.forget_bias,
                    batch_sizes=batch_sizes)
                products[f"{name}.kernel"] = packed.kernel
                products[f"{name}.recurrent_kernel"] = packed.recurrent_kernel
                differences.append(packed.max_difference)
            packed.save(str(folder / f"{name}.npz"))
    dense = matrices(packable)
    return Packed(
        folder, sum(m.nbytes for m in dense.values()),
        sum(file.stat().st_size for file in folder.glob("*.npz")),
        {batch: _seconds(products.values(), batch) for batch in batch_sizes},
        max([*differences, *(p.max_difference for p in products.values())]),
        {name: _describe(product, dense[name], batch_sizes)
         for name, product in products.items()})


def load(folder: pathlib.Path) -> Dict[str, object]:
    """Reads what `pack` wrote: `PackedLSTM` and `PackedMatrix` by name.

    Raises:
      UserError: if there are no such files, or one is damaged.
    """
    # pylint: disable=import-outside-toplevel
    from iss_rnns.sparse import lstm, matrix
    paths = sorted(pathlib.Path(folder).glob("*.npz"))
    if not paths:
        raise errors.UserError(f"{folder} holds no packed weights")
    makers = {"matrix": matrix.PackedMatrix.from_arrays,
              "lstm": lstm.PackedLSTM.from_arrays}
    return {path.stem: matrix.read(str(path), makers) for path in paths}


@contextlib.contextmanager
def _one_blas_thread():
    """Dense products on one core too, if NumPy brought its own OpenBLAS.

    On a busy machine its second thread can take a thousand times as long.
    """
    folder = pathlib.Path(np.__file__).parent.parent / "numpy.libs"
    calls = None
    for path in folder.glob("*openblas*"):
        library = ctypes.CDLL(str(path))
        for ending in ("64_", ""):
            if hasattr(library, f"openblas_set_num_threads{ending}"):
                calls = [getattr(library, f"openblas_{verb}_num_threads"
                                          f"{ending}")
                         for verb in ("get", "set")]
    before = calls[0]() if calls else 0
    try:
        if calls:
            calls[1](1)
        yield
    finally:
        if calls:
            calls[1](before)


def _seconds(products, batch: int) -> Sequence[float]:
    dense = chosen = 0.
    for product in products:
        choice = product.choice(batch)
        dense += choice.seconds[("dense", 1)]
        chosen += choice.seconds[(choice.name, choice.threads)]
    return dense, chosen


def _describe(product, matrix: np.ndarray, batch_sizes) -> str:
    shape = "x".join(map(str, matrix.shape))
    zeros = report.matrix_sparsity(matrix)["element"]
    choices = ", ".join(f"{product.choice(b).name} at batch {b}"
                        for b in batch_sizes)
    return f"{shape}, {zeros:.3f} zeros, {choices}"
