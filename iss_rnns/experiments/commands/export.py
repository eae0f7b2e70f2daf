"""Writes a Keras model as a file for its target, and measures the loss.

    iss-rnns export model.keras --format=c --dtype=int8 --data=x.npz --out=meter

What is written is run first: on random inputs, and on the data. Of float32 the
outputs must be the model's; of int8 it is told how far they move and, with
--metric and targets y in the data, by how much that rises. More than --max_loss
is refused, and nothing is written.
"""

from collections.abc import Mapping
from typing import Any, Optional

from absl import flags
import numpy as np

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags
from iss_rnns.experiments.commands import keras_version
from iss_rnns.experiments.commands import options
from iss_rnns.experiments.commands import sources

FLAGS = flags.FLAGS
TARGETS = "y"
# Of `export.FORMATS` and `export.DTYPES`, which need TensorFlow; a test
# compares them.
FORMATS = ("saved_model", "tflite", "onnx", "c")
DTYPES = ("float32", "int8")


def mean_squared_error(y: np.ndarray, outputs: np.ndarray) -> float:
    """Of targets with as many numbers as the outputs have."""
    _check_targets(y, outputs, y.size == outputs.size)
    return float(np.mean((outputs - y.reshape(outputs.shape)) ** 2))


def error_rate(y: np.ndarray, outputs: np.ndarray) -> float:
    """Part of the places whose largest output is not that of the target."""
    _check_targets(y, outputs, y.size * outputs.shape[-1] == outputs.size)
    found = np.argmax(outputs, -1)
    return float(np.mean(found != y.reshape(found.shape)))


METRICS = {each.__name__: each for each in (mean_squared_error, error_rate)}


def _check_targets(y, outputs, fit: bool) -> None:
    if not isinstance(outputs, np.ndarray):
        raise errors.UserError(
            f"--metric is for models of one output, this has {len(outputs)}"
        )
    if not fit:
        raise errors.UserError(
            f"the targets {TARGETS} of a batch have shape {list(y.shape)}, "
            f"the outputs {list(outputs.shape)}: --metric={FLAGS.metric} "
            "cannot compare them"
        )


def define_flags() -> None:
    """Flags of the command."""
    with program_flags.group("Model"):
        options.define_trust()
    with program_flags.group("Target"):
        flags.DEFINE_enum(
            "format",
            None,
            FORMATS,
            "saved_model: a folder for TensorFlow. tflite: a file for "
            "TensorFlow Lite. onnx: a file for ONNX Runtime. c: a folder with "
            "a header and a source file, C99.",
        )
        flags.DEFINE_enum("dtype", "float32", DTYPES, "Of the weights.")
        flags.DEFINE_bool(
            "states",
            False,
            "States of the recurrent layers are inputs and outputs, for "
            "streams: of saved_model and tflite one step a call. C always has "
            "them.",
        )
    with program_flags.group("Measuring"):
        flags.DEFINE_string(
            "data",
            None,
            "File of arrays (np.savez) to measure on, called like the model's "
            "inputs, or x if it has one, and y for targets. Default: random "
            "inputs.",
        )
        flags.DEFINE_integer("batch", 32, "Examples of a batch.", lower_bound=1)
        flags.DEFINE_enum(
            "metric",
            None,
            list(METRICS),
            "What to compare with the targets; error_rate is of those that "
            "are numbers of classes. Default: none, the largest difference of "
            "an output is the loss.",
        )
        flags.DEFINE_float(
            "max_loss",
            None,
            "Most that the metric may rise by, or an output move.",
            lower_bound=0.0,
        )
    with program_flags.group("Output"):
        flags.DEFINE_string(
            "out",
            None,
            "The file (its name ends in .tflite or .onnx) or folder; of c its "
            "name is that of the functions.",
        )
        flags.DEFINE_bool("overwrite", False, "Replace what --out names.")


def main(argv):
    """Exports and tells."""
    (path,) = options.paths(argv, "a model", most=1)
    source = sources.read_of_keras(path)
    if FLAGS.format is None:
        raise errors.UserError(f"--format must be one of {', '.join(FORMATS)}")
    if not FLAGS.out:
        raise errors.UserError("--out must name the file or folder to write")
    options.check_free(FLAGS.out, source.path, FLAGS.overwrite)
    arrays = files.read_arrays(FLAGS.data, "data") if FLAGS.data else None
    keras_version.prepare([source])
    run(source, arrays)


def run(
    source: sources.Source, arrays: Optional[Mapping[str, np.ndarray]]
) -> None:
    """The part that needs TensorFlow.

    Args:
      source: of the model.
      arrays: of the data by name; None: there are none.

    Raises:
      UserError: see `export.export`.
    """
    from iss_rnns import export
    from iss_rnns.experiments.commands import models

    model = models.load(source, FLAGS.trust)
    batches = None if arrays is None else _batches(model, arrays)
    with models.running(source):
        done = export.export(
            model,
            FLAGS.out,
            FLAGS.format,
            FLAGS.dtype,
            batches,
            METRICS.get(FLAGS.metric),
            FLAGS.max_loss,
            FLAGS.states,
        )
    print(done.card)
    print(f"wrote {files.shown(done.path)}")


def _batches(model, arrays: Mapping[str, np.ndarray]) -> list[Any]:
    """Batches of the data, with their targets if there are any."""
    from iss_rnns.experiments.commands import models

    where = files.shown(FLAGS.data)
    inputs = {k: array for k, array in arrays.items() if k != TARGETS}
    # As the model takes them: an array, or a list or dict of them.
    batches = models.Inputs(model).batches(inputs, where, FLAGS.batch)
    plain = [_plain(batch) for batch in batches]
    if FLAGS.metric is None:
        return plain
    targets = arrays.get(TARGETS)
    if targets is None:
        raise errors.UserError(
            f"data {where} has no {TARGETS}, which --metric needs"
        )
    found, start = [], 0
    for batch in plain:
        size = len(batch[0])
        found.append((batch, targets[start : start + size]))
        start += size
    if start > len(targets):
        raise errors.UserError(
            f"data {where} has {len(targets)} targets for {start} examples"
        )
    return found


def _plain(batch) -> list[np.ndarray]:
    import tensorflow as tf

    return [np.asarray(each) for each in tf.nest.flatten(batch)]


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)
