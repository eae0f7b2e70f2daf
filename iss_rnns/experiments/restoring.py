"""Weights to and from files of every kind that this project writes."""

from collections.abc import Mapping, Sequence
import functools
import os
import pathlib
from typing import Any, Callable, Optional

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import machine
from iss_rnns.experiments import metrics
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import runs
from iss_rnns.experiments import size_flags
from iss_rnns.interop import tf1


def restore(
    net_of: Callable,
    path: str,
    sizes_of: Callable,
    step: int = 0,
    asked: Optional[Mapping[str, int]] = None,
):
    """A net with weights from a file of any kind this project writes.

    Args:
      net_of: `net_of(sizes)` -> net; `sizes` by the layers' names, or as the
        run's checkpoint holds them; None for those that flags give.
      path: a run directory, a `.npz` file, or a TF1 checkpoint.
      sizes_of: sizes from the arrays of a `.npz` file, by TF1 name.
      step: of a run directory's checkpoint; 0: see `find_checkpoint`.
      asked: sizes that flags ask for: those of what is restored, or those
        that a run directory's training began with. None asks for nothing.

    Raises:
      UserError: if there is nothing to read, or it is damaged or of other
        sizes.
    """
    folder = pathlib.Path(path)
    if is_run(path):
        prefix, state = find_checkpoint(folder, step)
        _check_asked(asked, [state["sizes"], state.get("hidden_sizes")], folder)
        if step or not takes_best_file(folder):
            return _restore_checkpoint(net_of(state["sizes"]), folder, prefix)
        folder, asked = folder / runs.BEST, None
        path = str(folder)
    arrays, sizes = read_arrays(path), None
    if folder.suffix == ".npz":
        try:
            sizes = sizes_of(arrays)
        except errors.UserError as error:
            raise errors.UserError(f"{files.shown(path)}: {error}") from None
        check_held(path, arrays, sizes)
        _check_asked(asked, [sizes], path)
    net = net_of(sizes)
    tf1.assign(net.tf1_views(), arrays, path)
    return net


def is_run(path: str) -> bool:
    """Whether a path is a run directory."""
    return os.path.isdir(os.path.join(path, "checkpoints"))


def takes_best_file(folder: files.PathLike) -> bool:
    """Whether a run's weights are in the file that version 1.0.0 wrote.

    A run that has gone on since may have found better ones.
    """
    folder = pathlib.Path(folder)
    _, state = checkpoints_lib.find(folder / "checkpoints")
    best = (state.get("best") or {}).get("best")
    of_file = best["step"] == 0 if best else "best" not in state
    return of_file and (folder / runs.BEST).exists()


def read_arrays(path: str) -> dict[str, files.AnyArray]:
    """Weights by TF1 name, of a `.npz` file or a TF1 checkpoint.

    Those of a `.npz` file are read when they are used, so that their shapes
    can be compared with a model's before they take memory.

    Raises:
      UserError: if there are none or they are damaged.
    """
    if pathlib.Path(path).suffix != ".npz":
        return dict(tf1.read_checkpoint(path))
    return {
        tf1.canonical(name): array
        for name, array in files.stored_arrays(path, "weights").items()
    }


def check_held(
    path: str,
    arrays: Mapping[str, files.AnyArray],
    sizes: Mapping[str, int],
) -> None:
    """Refuses sizes that the arrays they are read off cannot be of.

    A net of them would ask for memory that no model of the file's size has.

    Args:
      path: of the file.
      arrays: its arrays.
      sizes: units of layers, as a model reads them off the arrays.

    Raises:
      UserError: naming both.
    """
    held = sum(array.size for array in arrays.values())
    largest = max(sizes.values(), default=0)
    if largest**2 > held:
        raise errors.UserError(
            f"{files.shown(path)} has a layer of {largest:,} units, but only "
            f"{held:,} weights in all; expected at least units x units"
        )
    memory = machine.memory_bytes()
    if memory and 4 * held > memory:
        raise errors.UserError(
            f"{files.shown(path)} holds {4 * held / 1e9:,.1f} GB of weights, "
            f"and this machine has {memory / 1e9:,.1f} GB of memory"
        )


def chosen_epoch(path: str) -> Optional[str]:
    """Which epoch's weights of a run are used; None if they are the last's."""
    if not is_run(path):
        return None
    _, state = checkpoints_lib.find(pathlib.Path(path) / "checkpoints")
    best = (state.get("best") or {}).get("best")
    rows = past_rows(path)
    if not best or (rows and best["epoch"] == int(rows[-1]["epoch"])):
        return None
    return (
        f"of epoch {best['epoch']}, which validated best of those with the "
        "final sizes"
    )


def pruning_plan(path: str) -> Optional[pruning_flags.PruningPlan]:
    """How a run was pruned that is restored; None if it was not."""
    if not is_run(path):
        return None
    _, state = find_checkpoint(path)
    # BiDAF's is among its options.
    described = state.get("options", state).get("pruning")
    return described and pruning_flags.PruningPlan.from_description(described)


def size_target(path: str) -> Optional[Mapping[str, Any]]:
    """The size that a run was steered to, on record; None if it was not."""
    if not is_run(path):
        return None
    _, state = checkpoints_lib.find(pathlib.Path(path) / "checkpoints")
    return state.get(size_flags.RECORD)


def past_rows(path: str) -> list[dict]:
    """The epochs' metrics of a run that is restored, [] if it has none."""
    file = pathlib.Path(path) / "metrics.csv"
    return metrics.Metrics.read(file) if file.exists() else []


def find_checkpoint(
    folder: files.PathLike, step: int = 0
) -> tuple[str, dict[str, Any]]:
    """Prefix and state of a run's checkpoint.

    Args:
      folder: the run's.
      step: of the checkpoint; 0 means the one whose weights are to be used:
        see `checkpoints.find_best`.

    Raises:
      UserError: if there is none.
    """
    checkpoints = pathlib.Path(folder) / "checkpoints"
    steps = checkpoints_lib.checkpoint_steps(checkpoints)
    if not steps:
        raise errors.UserError(f"{folder} holds no finished checkpoint")
    if step and step not in steps:
        raise errors.UserError(
            f"{folder} holds no checkpoint of step {step}; it has "
            + ", ".join(map(str, steps))
        )
    step, state = (
        checkpoints_lib.find(checkpoints, step)
        if step
        else checkpoints_lib.find_best(checkpoints)
    )
    return str(checkpoints / f"model-{step}"), state


def designed_sizes(path: str) -> Optional[Mapping[str, int]]:
    """The layers' sizes that a run's training began with, before any cut.

    None if nobody knows: of other files, and of runs of older versions. Of
    language models, version 1.0.0 wrote a list.
    """
    if not checkpoints_lib.checkpoint_steps(pathlib.Path(path) / "checkpoints"):
        return None
    return find_checkpoint(path)[1].get("designed_sizes")


def _restore_checkpoint(net, folder: pathlib.Path, prefix: str):
    holder = tf.train.Checkpoint(model=tf.train.Checkpoint(net=net))
    try:
        saved = {
            name[len("model/net/") :]: tuple(shape)
            for name, shape in tf.train.list_variables(prefix)
            if name.startswith("model/net/")
        }
        if len(saved) != len(net.variables):
            raise errors.UserError(
                f"checkpoint {prefix} holds {len(saved)} weight arrays, the "
                f"model has {len(net.variables)}: give the flags of its "
                f"sizes that it was trained with ({folder / 'flags.txt'})"
            )
        for name, shape in saved.items():
            ours = _shape_of(net, name)
            if ours not in (None, shape):
                raise errors.UserError(
                    f"checkpoint {prefix} cannot be restored: its "
                    f"{name.partition('/.')[0]} has shape {shape}, the model "
                    f"needs {ours}: give the data and the flags that it was "
                    f"trained with ({folder / 'flags.txt'})"
                )
        holder.read(prefix).assert_existing_objects_matched().expect_partial()
    except tf1.READ_ERRORS + (AssertionError,) as error:
        raise errors.UserError(
            f"checkpoint {prefix} cannot be restored: {errors.reason(error)}"
        ) from None
    return net


def _check_asked(asked, known: Sequence, path) -> None:
    """Refuses sizes that flags ask for unless they are among the known."""
    if asked is None or not known[0]:
        return
    # Checkpoints of version 1.0.0 have the units without names.
    units = [
        tuple(sizes.values() if isinstance(sizes, Mapping) else sizes)
        for sizes in (asked, *filter(None, known))
    ]
    if units[0] not in units[1:]:
        raise errors.UserError(
            f"{path} has layers of {units[1]} units, but the flags ask for "
            f"{units[0]}; give its sizes, or leave them out"
        )


def _shape_of(net, name: str) -> Optional[tuple[int, ...]]:
    """Shape of what a checkpoint calls `layers/0/kernel/.ATTRIBUTES/...`.

    None if it is not found in that way.
    """
    try:
        return tuple(
            functools.reduce(
                lambda node, key: (
                    node[int(key)] if key.isdecimal() else getattr(node, key)
                ),
                name.partition("/.")[0].split("/"),
                net,
            ).shape
        )
    except (AttributeError, LookupError, TypeError):
        return None


def save_weights(net, path: pathlib.Path) -> None:
    """Weights in the authors' names and layout, as a plain `.npz`.

    Raises:
      UserError: see `files.write_arrays`.
    """
    files.write_arrays(
        path, {name: view.read() for name, view in net.tf1_views().items()}
    )
