"""One function that exports, to any format, and measures what that costs."""

from collections.abc import Callable, Iterable
import dataclasses
import pathlib
import tempfile
from typing import Any, Optional

from iss_rnns import arguments
from iss_rnns import files
from iss_rnns.export import arithmetic
from iss_rnns.export import cards
from iss_rnns.export import formats
from iss_rnns.export import proving
from iss_rnns.export import source as source_lib


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
      path: of the file or folder.
      format: its format.
      dtype: of its weights.
      facts: what its card says of it.
      proof: what was measured.
      card: the model card.
    """

    path: pathlib.Path
    format: str
    dtype: str
    facts: dict[str, str]
    proof: proving.Proof
    card: str


def export(
    model: Any,
    path: files.PathLike,
    format: str,
    dtype: str = "float32",
    batches: Optional[Iterable[Any]] = None,
    metric: Optional[Callable[[Any, Any], Any]] = None,
    max_loss: Optional[float] = None,
    states: bool = False,
) -> Exported:
    """Writes a model as a file for its target.

    Formats:

    - `saved_model`: a folder, for TensorFlow Serving and `export.load`; any
      batch and number of steps.
    - `tflite`: a file for TensorFlow Lite (LiteRT); batch 1, by its fused LSTM
      operator where the converter gives it.
    - `onnx`: a file with one LSTM, GRU or RNN node a layer, of any batch and
      number of steps; needs the package `onnx`.
    - `c`: a folder NAME with NAME.h and NAME.c, which read one step a call;
      see `c`.

    What is written is run first, on random inputs and on the batches: ONNX by
    ONNX Runtime, C by the same arithmetic in NumPy. Of float32 the outputs must
    be the model's. Beside a file lies a page with what was measured, in a
    folder it is `model_card.md`.

    Example:
      >>> model = tf.keras.Sequential([
      ...     tf.keras.layers.GRU(4, input_shape=[None, 3]),
      ...     tf.keras.layers.Dense(1)])
      >>> import tempfile
      >>> folder = tempfile.mkdtemp()
      >>> done = export(model, f"{folder}/meter", "c", dtype="int8")
      >>> print(done.facts["bytes of constants (flash, beside the code)"])
      288

    Args:
      model: a sequential or functional Keras model; or one of your own with a
        method `export_source()`, as the nets of this library have it.
      path: of the file or folder; an exported model that is there is replaced.
      format: one of those above.
      dtype: of the weights: "float32", or "int8" (of `tflite`, `onnx`, `c`).
      batches: data to measure on, each x or (x, y): x an array, or a list or
        dict of them for several inputs.
      metric: `metric(y, outputs)` -> a number, or several that are averaged,
        of which less is better, such as a loss of Keras. Without one, the
        largest difference of an output is what counts.
      max_loss: most that the metric may rise by; more is refused.
      states: the states of the recurrent layers are inputs and outputs, so
        that a stream is read piece by piece. Of `saved_model` and `tflite` one
        step a call, of `onnx` any number; `c` always has them.

    Returns:
      What was written.

    Raises:
      UserError: the format does not take the model, the path, or the data; it
        needs what is not installed; or it loses too much. Nothing is written.
    """
    arguments.one_of("format", format, tuple(formats.FORMATS))
    arguments.one_of("dtype", dtype, arithmetic.DTYPES)
    proving.check_arguments(batches, metric, max_loss)
    path = pathlib.Path(path)
    formats.check_path(path, format)
    source = source_lib.of(model)
    with tempfile.TemporaryDirectory(prefix="iss_rnns_") as folder:
        made = formats.FORMATS[format](
            source, path, dtype, states, pathlib.Path(folder)
        )
        proof = proving.prove(
            source, made.run, made.exact, batches, metric, max_loss
        )
        card = cards.text(source, made.facts, proof, _name(metric))
        files.make_folder(path.parent)
        made.write(card)
    return Exported(path, format, dtype, made.facts, proof, card)


def _name(metric: Optional[Callable]) -> str:
    """What a metric is called: a function's name, or that of Keras' objects."""
    if metric is None:
        return ""
    for attribute in ("__name__", "name"):
        if hasattr(metric, attribute):
            return str(getattr(metric, attribute))
    return type(metric).__name__
