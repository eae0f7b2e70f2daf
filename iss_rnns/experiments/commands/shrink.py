"""Cuts dead units out of a Keras model, and proves that its outputs stay.

    iss-rnns shrink model.keras --data=x.npz --out=small.keras

The smaller model consists of the same kinds of layers and loads where the
model did. It is proved on the data, and on random weights with units dead at
the same places. Without data there are the random weights, with random inputs,
only. If no unit is dead, or the proof fails, nothing is written.
"""

import pathlib
import shutil
import tempfile
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
ENDINGS = (".keras", ".h5", "")  # the last: a SavedModel's folder


def define_flags() -> None:
    """Flags of the command."""
    with program_flags.group("Model"):
        options.define_trust()
        flags.DEFINE_float(
            "threshold",
            0.0,
            "Weights of units that can be cut count as zero below it, as "
            "those of ThresholdZeroing. How far that alone moves the outputs "
            "on the data is said.",
            lower_bound=0.0,
        )
        flags.DEFINE_integer(
            "multiple_of",
            1,
            "Keep so many of the dead units that each layer's size is a "
            "multiple of it.",
            lower_bound=1,
        )
        flags.DEFINE_list(
            "sizes", [], "The same, so that each size is one of these."
        )
    with program_flags.group("Proof"):
        flags.DEFINE_string(
            "data",
            None,
            "File of arrays (np.savez) to prove it on, called like the "
            "model's inputs, or x if it has one. Others in it do not matter. "
            "Default: random inputs and weights.",
        )
        flags.DEFINE_integer(
            "batch",
            32,
            "Examples of a batch, where the model leaves it open.",
            lower_bound=1,
        )
        flags.DEFINE_float(
            "tolerance",
            1e-4,
            "Largest difference of an output, in proportion to its magnitude.",
            lower_bound=0.0,
        )
    with program_flags.group("Output"):
        flags.DEFINE_string(
            "out",
            None,
            "The smaller model: a name that ends in .keras or .h5, or that of "
            "a folder (SavedModel). Default: nothing is written.",
        )
        flags.DEFINE_bool("overwrite", False, "Replace what --out names.")
        flags.DEFINE_string(
            "pictures",
            None,
            "Folder for a picture of the matrices before and after. Default: "
            "none is drawn.",
        )


def main(argv):
    """Cuts, proves, writes and tells."""
    (path,) = options.paths(argv, "a model", most=1)
    source = sources.read_of_keras(path)
    sizes = wanted_sizes(FLAGS.sizes)
    if FLAGS.out:
        if pathlib.Path(FLAGS.out).suffix not in ENDINGS:
            raise errors.UserError(
                f"--out={files.shown(FLAGS.out)} must end in .keras or .h5, or "
                "be the name of a folder without an ending"
            )
        options.check_free(FLAGS.out, source.path, FLAGS.overwrite)
    arrays = files.read_arrays(FLAGS.data, "data") if FLAGS.data else None
    keras_version.prepare([source])
    run(source, arrays, sizes)


def run(source: sources.Source, arrays: Any, sizes: Any) -> None:
    """The part that needs TensorFlow.

    Args:
      source: of the model.
      arrays: of the data by name; None: there are none.
      sizes: that layers may have; None: any.

    Raises:
      UserError: see `shrinking.shrink`, `models.load` and `Inputs.batches`.
    """
    from iss_rnns import groups as groups_lib
    from iss_rnns import shrinking
    from iss_rnns.experiments.commands import models

    model = models.load(source, FLAGS.trust)
    groups = groups_lib.find_groups(model)
    batches = (
        []
        if arrays is None
        else models.Inputs(model).batches(
            arrays, files.shown(FLAGS.data), FLAGS.batch
        )
    )
    for each in groups.refused:
        print(f"refused: {each}")
    with models.running(source):
        moved = zero_below(model, groups, FLAGS.threshold, batches)
        if all(units.all() for units in shrinking.living_units(groups)):
            print(
                f"no unit of {source.shown} is dead"
                + (", nor one that can be cut" if not len(groups) else "")
                + ": nothing to cut, nothing written"
            )
            return
        small, report = shrinking.shrink(
            model,
            groups,
            batches,
            tolerance=FLAGS.tolerance,
            unproved=not batches,
            multiple_of=FLAGS.multiple_of,
            sizes=sizes,
        )
    if not batches and report.max_random_difference is None:
        raise errors.UserError(
            f"{source.shown} gives NaN on random weights, so nothing is proved "
            "without data: give --data=X.npz"
        )
    # Before anything is written, so that what fails leaves nothing behind.
    shown = compared(model, small, report)
    written = None
    if FLAGS.out:
        inputs = batches or [models.Inputs(model).random(2, 7)]
        written = save(small, FLAGS.out, inputs[0], FLAGS.tolerance)
    for table in shown:
        print(f"\n{table.text()}")
    print()
    for line in proofs(report, len(batches), moved):
        print(line)
    if FLAGS.pictures:
        print(f"wrote {files.shown(draw(FLAGS.pictures, model, small))}")
    if written:
        print(f"wrote {files.shown(written[0])} ({written[1]:,} bytes)")


def wanted_sizes(given: list[str]) -> Any:
    """The numbers of `--sizes`; None if there are none.

    Raises:
      UserError: one is no number.
    """
    try:
        return [int(each) for each in given] or None
    except ValueError:
        raise errors.UserError(
            f"--sizes must be numbers of units, got {','.join(given)}"
        ) from None


def zero_below(model, groups, threshold: float, batches) -> Any:
    """Zeroes small weights of groups; returns by how much outputs moved.

    None without a threshold or without batches.
    """
    from iss_rnns import groups as groups_lib

    if not threshold:
        return None
    before = _outputs(model, batches)
    for variable in groups_lib.unique_variables(groups):
        value = np.array(variable)
        for group in groups:
            for s in group.slices:
                if s.variable is variable:
                    index = (slice(None),) * s.axis + (s.index,)
                    part = value[index]
                    value[index] = np.where(abs(part) < threshold, 0, part)
        variable.assign(value)
    after = _outputs(model, batches)
    return max(
        (
            float(np.max(np.abs(a - b), initial=0.0))
            for one, other in zip(before, after)
            for a, b in zip(one, other)
        ),
        default=None,
    )


def _outputs(model, batches) -> list[list[np.ndarray]]:
    """Of each batch; stateful layers begin and end with zeros."""
    import tensorflow as tf

    _reset(model)
    found = [
        [np.asarray(t) for t in tf.nest.flatten(model(batch, training=False))]
        for batch in batches
    ]
    _reset(model)
    return found


def _reset(model) -> None:
    from iss_rnns import _keras

    for layer in _keras.all_layers(model):
        for state in _keras.states_of(layer):
            state.assign(np.zeros(state.shape))


def compared(model, small, report) -> list[tables.Table]:
    """Units of the layers, and the models' sizes, before and after."""
    columns = [
        ("before", report.before, model),
        ("after", report.after, small),
    ]
    return [
        tables.Table(
            [tables.Column(title, units) for title, units, _ in columns],
            title="units",
        ),
        tables.Table(
            [
                tables.Column(
                    title,
                    {
                        "weights": counting.count_weights(each),
                        "mult-adds a step": counting.mult_adds(each),
                        "bytes of weights": sum(
                            np.asarray(v).nbytes for v in each.weights
                        ),
                    },
                )
                for title, _, each in columns
            ],
            title="the model",
        ),
    ]


def proofs(report, batches: int, moved: Any) -> list[str]:
    """What was proved, and what was not, in lines."""
    lines = []
    if moved is not None:
        lines.append(
            "zeroing the weights below --threshold moved an output by "
            f"{moved:.2g} at most"
        )
    if report.max_difference is not None:
        lines.append(
            f"proved on {batches} batches of the data: outputs differ by "
            f"{report.max_difference:.2g} at most, the largest is "
            f"{report.max_output:.4g}"
        )
    where = "random weights"
    if not batches:
        where += " and random inputs only (without --data)"
    if report.max_random_difference is None:
        lines.append("not tried on random weights, which give NaN")
    else:
        lines.append(
            f"proved on {where}: outputs differ by "
            f"{report.max_random_difference:.2g} at most"
        )
    return lines


def save(small, out: str, batch: Any, tolerance: float) -> tuple[str, int]:
    """Writes the model if it can be read again; returns its place and bytes.

    Raises:
      UserError: it cannot be written, or the file read again does otherwise.
    """
    import tensorflow as tf

    from iss_rnns import shrinking

    path = pathlib.Path(out)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder, "model").with_suffix(path.suffix)
        try:
            small.save(str(place))
            again = tf.keras.models.load_model(
                str(place), compile=False, safe_mode=not FLAGS.trust
            )
        except Exception as error:  # Keras raises whatever it stumbles on
            raise errors.UserError(
                f"the smaller model cannot be saved as {files.shown(path)}: "
                f"{errors.reason(error)}"
            ) from None
        shrinking.assert_equal_outputs(
            lambda each: small(each, training=False),
            lambda each: again(each, training=False),
            [batch],
            tolerance,
            "the saved model's outputs",
        )
        files.make_folder(path.parent)
        if place.is_dir():
            with files.new_folder(path) as new:
                shutil.copytree(place, new, dirs_exist_ok=True)
        else:
            if path.is_dir():
                raise errors.UserError(
                    f"--out={files.shown(path)} is a folder; give another name"
                )
            files.write_bytes(path, place.read_bytes())
    return out, sources.Source(path, "").bytes


def draw(folder: str, model, small) -> pathlib.Path:
    """A picture of all matrices whose size has changed, before and after."""
    target = files.make_folder(folder) / "weights.png"
    pairs = [
        plots.Pair(name, np.asarray(old), np.asarray(new))
        for (name, old), new in zip(
            counting.matrices_by_name(model).items(),
            counting.matrices_by_name(small).values(),
        )
        if len(old.shape) == 2 and old.shape != new.shape
    ]
    plots.weight_pattern(target, pairs)
    return target


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)
