"""Counts what was exported: that nothing pruned or cut is there, or missing."""

import pathlib
from typing import Optional

import numpy as np

from iss_rnns import errors
from iss_rnns import sparse
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import restoring
from iss_rnns.experiments import tasks
from iss_rnns.sparse import nets


def kept_blocks(
    plan: Optional[pruning_flags.PruningPlan], net: tasks.Net, finished: bool
) -> dict[str, str]:
    """What pruning left of each matrix, for a section of the report.

    Args:
      plan: how it pruned; None: it did not.
      net: trained; before dead units are cut.
      finished: whether training has just come to its end.

    Raises:
      UserError: if that training left more than was asked for. Who exports a
        run that was interrupted gets a line.
    """
    if plan is None:
        return {}
    kept = {}
    names: dict[object, str] = {
        variable.ref(): name for name, variable in net.weights_by_name().items()
    }
    for reference, each in plan.kept(net.layer_types()).items():
        kept[names[reference]] = each
    lacking = {name: each for name, each in kept.items() if not each.enough}
    if lacking:
        line = "less is pruned than was asked for: " + ", ".join(
            f"of {name} there are {each}" for name, each in lacking.items()
        )
        if finished:
            raise errors.UserError(line)
        print(f"note: {line}; the run was not trained to its end", flush=True)
    height, width = plan.block_size
    what = "weights" if height == width == 1 else f"blocks of {height}x{width}"
    return {name: f"{each} {what}" for name, each in kept.items()}


def check_weights(net: tasks.Net, path: pathlib.Path) -> None:
    """Proves that a file of weights holds a net's units, and all its zeros.

    Raises:
      UserError: if it does not.
    """
    arrays = restoring.read_arrays(str(path))
    for name, view in net.tf1_views().items():
        expected, found = view.read(), np.asarray(arrays[name])
        _check_counts(
            f"{path}: {name}",
            (found.shape, np.count_nonzero(found)),
            (expected.shape, np.count_nonzero(expected)),
        )


def check_packed(net: tasks.Net, packed: nets.Packed) -> None:
    """Proves that packed files hold all of a net's weights that are not zero.

    Raises:
      UserError: if they do not.
    """
    if packed.folder is None:
        return  # It does not pay, so it was not written.
    read = {}
    for name, part in packed.parts.items():
        path = str(packed.folder / f"{name}.npz")
        if hasattr(part, "matrices"):
            for each, product in type(part).load(path, ()).matrices.items():
                read[f"{name}.{each}"] = product
        else:
            read[name] = sparse.load(path, ())
    for name, matrix in nets.matrices(net.packable()).items():
        dense = read[name].to_dense()
        _check_counts(
            f"{packed.folder}: {name}",
            (dense.shape, np.count_nonzero(dense)),
            (matrix.shape, np.count_nonzero(matrix)),
        )


def _check_counts(name: str, found: tuple, expected: tuple) -> None:
    if found != expected:
        raise errors.UserError(
            f"{name} has shape {found[0]} and {found[1]:,} weights that are "
            f"not zero, the net {expected[0]} and {expected[1]:,}: the export "
            "is not faithful"
        )
