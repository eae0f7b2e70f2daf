"""What is in a model: layers, units that can be cut, dead ones, zeros.

    iss-rnns inspect model.keras
    iss-rnns inspect runs/mine --out=pictures

Takes a Keras model (a .keras or .h5 file, or a SavedModel that Keras wrote),
the folder of a run, or a compressed model, whose files are compared with its
manifest. Of a Keras model it says which units of recurrent layers `iss-rnns
shrink` could cut, how many of them are dead, and what is refused, and why.
"""

from collections.abc import Iterable, Mapping
import pathlib
import re
from typing import Any

from absl import flags
import numpy as np

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags
from iss_rnns.experiments.commands import keras_version
from iss_rnns.experiments.commands import options
from iss_rnns.experiments.commands import sources
from iss_rnns.experiments.reports import plots
from iss_rnns.experiments.reports import tables

FLAGS = flags.FLAGS

_MANIFEST = "manifest.json"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_NET = "model/net/"  # where a run's checkpoint has the weights


def define_flags() -> None:
    """Flags of the command."""
    with program_flags.group("Model"):
        options.define_trust()
    with program_flags.group("Output"):
        flags.DEFINE_string(
            "out",
            None,
            "Folder for the tables as Markdown, and for a picture of each "
            "matrix with a pixel for each weight. Default: none are written.",
        )


def main(argv):
    """Prints the tables and draws."""
    (path,) = options.paths(argv, "a model or a run", most=1)
    source = sources.read(path)
    keras_version.prepare([source])
    print(f"{source.shown}: {source.kind}, {source.bytes:,} bytes")
    if source.kind == sources.RUN:
        shown, matrices = of_run(source)
    elif source.kind == sources.COMPRESSED:
        shown, matrices = of_compressed(source)
    else:
        shown, matrices = of_keras(source, FLAGS.trust)
    for each in shown:
        print(f"\n{each.text() if isinstance(each, tables.Table) else each}")
    if FLAGS.out:
        for written in write(FLAGS.out, source, shown, matrices):
            print(f"wrote {files.shown(written)}")


# What there is to show: tables and lines, and matrices by name.
Found = tuple[list[Any], Mapping[str, np.ndarray]]


def of_keras(source: sources.Source, trust: bool = False) -> Found:
    """Of a Keras model.

    Raises:
      UserError: see `models.load`.
    """
    from iss_rnns import groups as groups_lib
    from iss_rnns.experiments.commands import models

    model = models.load(source, trust)
    lines: list[Any] = [
        f"{type(model).__name__} '{model.name}', written by Keras "
        f"{source.keras or '(unknown)'}",
        layers_table(model),
    ]
    try:
        lines += units_tables(groups_lib.find_groups(model))
    except errors.UserError as error:
        lines.append(f"units that can be cut are not known: {error}")
    arrays = {
        name: np.asarray(value)
        for name, value in counting.weights_by_name(model).items()
    }
    mult_adds = counting.mult_adds(model)
    return [*lines, *weights_tables(arrays, mult_adds)], arrays


def of_compressed(source: sources.Source) -> Found:
    """Of a compressed model, compared with its manifest.

    Raises:
      UserError: it is damaged, or would run more than computations.
    """
    from iss_rnns import export
    from iss_rnns.export import manifest

    model = export.load(source.path)
    about = getattr(model, "manifest", None)
    lines: list[Any] = []
    if about is None:
        lines.append(f"without {_MANIFEST}: nobody knows whether it is whole")
    else:
        lines.append(
            f"{about.format}, written by iss_rnns {about.library_version}; "
            f"all {len(about.files)} files are as its {manifest.FILE} says"
        )
        rows = {"units": about.sizes, "states": about.states}
        lines += [
            tables.Table([tables.Column(what, values)], title="layers")
            for what, values in rows.items()
            if values
        ]
        lines.append(
            tables.Table(
                [
                    tables.Column(
                        "bytes", {n: d["bytes"] for n, d in about.files.items()}
                    ),
                    tables.Column(
                        "SHA-256",
                        {n: d["sha256"][:12] for n, d in about.files.items()},
                    ),
                ],
                title="files",
            )
        )
    arrays = _stored(source.path)
    return [*lines, *(weights_tables(arrays) if arrays else [])], arrays


def of_run(source: sources.Source) -> Found:
    """Of a run: the weights that it would export, and what it exported.

    Raises:
      UserError: its files are damaged.
    """
    from iss_rnns.experiments import restoring

    lines: list[Any] = []
    arrays: Mapping[str, np.ndarray] = {}
    if restoring.is_run(str(source.path)):
        prefix, state = restoring.find_checkpoint(source.path)
        lines.append(f"weights of {files.shown(prefix)}")
        lines += sizes_tables(state.get("designed_sizes"), state.get("sizes"))
        arrays = _of_checkpoint(prefix, _NET)
    elif (source.path / "final.npz").is_file():
        arrays = files.read_arrays(source.path / "final.npz", "weights")
        lines.append("weights of final.npz")
    else:
        lines.append("no checkpoint yet")
    if arrays:
        lines += weights_tables(arrays)
    export = source.path / sources.COMPRESSED_BELOW
    if export.is_dir():
        lines.append(f"its compressed model, {files.shown(export)}:")
        lines += of_compressed(sources.read(export))[0]
    if (source.path / "report.md").is_file():
        lines.append(f"its report: {files.shown(source.path / 'report.md')}")
    return lines, arrays


def layers_table(model) -> tables.Table:
    """Layers with their classes, weights and bytes."""
    rows = {
        layer.name: (
            type(layer).__name__,
            getattr(layer, "units", None),
            sum(int(np.prod(v.shape)) for v in layer.weights),
        )
        for layer in model.layers
    }
    return _table("layers", ("class", "units", "weights"), rows)


def units_tables(groups) -> list[Any]:
    """What `find_groups` has found, with the dead units, and has refused."""
    rows = {}
    for group, readers in zip(groups, groups.readers):
        norms = np.sqrt(np.asarray(group.squared_norms()))
        broken = int((~np.isfinite(norms)).sum())
        rows[group.name] = (
            group.size,
            int((norms == 0).sum()),
            broken or None,
            group.weights_per_unit,
            ", ".join(readers),
        )
    titles = ("units", "dead", "NaN", "weights a unit", "read by")
    lines: list[Any] = [
        _table("units that can be cut", titles, rows)
        if rows
        else "no units that can be cut"
    ]
    if groups.refused:
        lines.append(
            "\n".join(["refused:", *(f"  {each}" for each in groups.refused)])
        )
    return lines


def sizes_tables(designed: Any, sizes: Any) -> list[tables.Table]:
    """Units of layers as training began and now; none if nobody knows."""
    found = {
        title: values
        if isinstance(values, Mapping)
        else {f"layer {i}": n for i, n in enumerate(values)}
        for title, values in (("as designed", designed), ("now", sizes))
        if values
    }
    if not found:
        return []
    return [
        tables.Table(
            [tables.Column(title, values) for title, values in found.items()],
            title="units",
        )
    ]


def weights_tables(arrays: Mapping[str, np.ndarray], mult_adds=None) -> list:
    """Weights and their zeros, one by one and in all."""
    rows = {}
    for name, array in arrays.items():
        shares = counting.matrix_sparsity(array) if array.size else {}
        rows[name] = (
            " x ".join(map(str, array.shape)) or "1",
            array.nbytes,
            *(
                None if share is None else 100 * share
                for share in map(shares.get, ("element", "row", "column"))
            ),
        )
    titles = ("shape", "bytes", "zeros %", "rows %", "columns %")
    count = sum(array.size for array in arrays.values())
    zeros = count - sum(map(np.count_nonzero, arrays.values()))
    total = (
        f"in all: {count:,} weights, {zeros:,} of them zero "
        f"({100 * zeros / max(count, 1):.1f} %), "
        f"{sum(array.nbytes for array in arrays.values()):,} bytes"
    )
    if mult_adds is not None:
        total += f"; {mult_adds:,} mult-adds a step"
    title = "weights; of them, of rows and of columns: how many are zero"
    return [_table(title, titles, rows), total]


def write(
    folder: str,
    source: sources.Source,
    shown: Iterable[Any],
    arrays: Mapping[str, np.ndarray],
) -> list[pathlib.Path]:
    """Writes the tables and a picture of each matrix; returns the paths.

    Raises:
      UserError: they cannot be written.
    """
    target = files.make_folder(folder)
    parts = [f"# {source.shown}"]
    for each in shown:
        if isinstance(each, tables.Table):
            parts += [f"## {each.title}", each.markdown()]
        else:
            parts.append(each)
    written = [target / "inspect.md"]
    files.write_text(written[0], "\n\n".join(parts) + "\n")
    for name, array in arrays.items():
        if array.ndim == 2 and array.size:
            path = target / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}.png"
            plots.matrix_pattern(path, array)
            written.append(path)
    return written


def _table(title: str, titles, rows: Mapping[str, tuple]) -> tables.Table:
    """One row for each key, a column for each title."""
    return tables.Table(
        [
            tables.Column(each, {name: row[i] for name, row in rows.items()})
            for i, each in enumerate(titles)
            if any(row[i] is not None for row in rows.values())
        ],
        title=title,
    )


def _stored(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Weights of a compressed model; nothing of a TensorFlow Lite file."""
    if path.is_file():
        return {}
    if (path / "variables").is_dir():
        return _of_checkpoint(str(path / "variables" / "variables"), "")
    found = {}
    for file in sorted(path.glob("*.npz")):
        for name, array in files.read_arrays(file, "weights").items():
            found[name if name not in found else f"{file.stem}/{name}"] = array
    return found


def _of_checkpoint(prefix: str, below: str) -> dict[str, np.ndarray]:
    """Floating-point arrays of a checkpoint, without optimizer's slots."""
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(prefix)
        return {
            name[len(below) : -len(_VALUE)]: reader.get_tensor(name)
            for name in sorted(reader.get_variable_to_shape_map())
            if name.startswith(below)
            and name.endswith(_VALUE)
            and ".OPTIMIZER_SLOT" not in name
            and reader.get_variable_to_dtype_map()[name].is_floating
        }
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise files.unreadable(
            prefix, "weights", errors.reason(error)
        ) from None


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)
