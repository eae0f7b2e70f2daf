"""Language models as files that run without this package."""

from collections.abc import Sequence
import pathlib
import shutil
from typing import Optional

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns import paths
from iss_rnns import terminal
from iss_rnns.experiments import tasks
from iss_rnns.experiments.reports import tables
from iss_rnns.ops import products

_ONE_THREAD_BYTES = 1 << 27


def save_compressed(
    net: tasks.LanguageNet,
    path: pathlib.Path,
    symbols: Sequence[str],
    card: dict,
) -> pathlib.Path:
    """Writes a language model as a SavedModel with its vocabulary and card.

    `serving_default` takes `tokens [B, T]` int32 and the hidden states (named
    by `net.state_names`, each `[B, n]`), any B and T, and returns `logits
    [B, T, V]` and the new states under the same names. Plain
    `tf.saved_model.load` runs it, without this package.

    Embedding and first kernel become one table where that is no larger: see
    `recurrent.input_table`. Recurrent matrices of 16 MB and more are constants
    of the graph: see `products.fixed_weights`.

    Args:
      net: see `tasks.LanguageNet`.
      path: of the SavedModel's folder; replaced whole if it exists.
      symbols: the vocabulary in id order, written to `vocabulary.txt`.
      card: JSON values, written to `model_card.json`.

    Returns:
      `path`.

    Raises:
      UserError: if it cannot be written; an older one stays.
    """
    module = tf.Module()
    table = _input_table(net)

    def serve(tokens, **states):
        features, finals = net.features(
            tokens,
            [states[name] for name in net.state_names],
            training=False,
            table=table,
        )
        # Turned around before the softmax: the logits are far wider.
        features = tf.transpose(features, [1, 0, 2])
        logits = tf.reshape(
            net.project(features),
            tf.concat([tf.shape(tokens), [len(symbols)]], 0),
        )
        return {"logits": logits, **dict(zip(net.state_names, finals))}

    with products.fixed_weights():
        signature = tf.function(serve).get_concrete_function(
            tf.TensorSpec([None, None], tf.int32, name="tokens"),
            **{
                name: tf.TensorSpec([None, size], tf.float32, name=name)
                for name, size in zip(net.state_names, net.state_sizes)
            },
        )
    module.weights = export.variables_of(signature)
    # A line each: line ends, which characters have, are written out.
    lines = [
        {"\n": "\\n", "\r": "\\r"}.get(symbol, symbol) for symbol in symbols
    ]
    return export.write_saved_model(
        module,
        signature,
        path,
        {"vocabulary.txt": "\n".join(lines) + "\n"},
        tables.plain(card),
    )


def _input_table(net) -> Optional[tf.Variable]:
    table = net.input_table()
    return (
        None
        if table is None
        else tf.Variable(table, trainable=False, name="input_table")
    )


class ServedLanguageModel:
    """An exported language model, run through its signature.

    It has the face of a net (`state_sizes`, calling it gives time-major
    logits and states), so an `Evaluator` takes it. States are in the order of
    their names.

    Args:
      path: folder of the SavedModel.

    Raises:
      UserError: if there is none or it is no language model.
    """

    def __init__(self, path: pathlib.Path):
        paths.check_for_tensorflow(path)
        try:
            self._loaded = tf.saved_model.load(str(path))
            self._serve = self._loaded.signatures["serving_default"]
            specs = dict(self._serve.structured_input_signature[1])
            specs.pop("tokens")
        except (OSError, KeyError) as error:
            raise errors.UserError(
                f"{path} is no exported language model: {error}"
            ) from None
        self.state_names = sorted(specs)
        self.state_sizes = [specs[name].shape[-1] for name in self.state_names]

    def run(self, tokens, states) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """`[B, T]` ids -> (logits `[B, T, V]`, new states)."""
        outputs = self._serve(
            tokens=tf.convert_to_tensor(tokens, tf.int32),
            **dict(zip(self.state_names, states)),
        )
        return (outputs["logits"], [outputs[name] for name in self.state_names])

    def __call__(self, tokens, states=None, training=None):
        if states is None:
            states = self.zero_states(tf.shape(tokens)[0])
        logits, states = self.run(tokens, states)
        logits = tf.transpose(logits, [1, 0, 2])
        return tf.reshape(logits, [-1, tf.shape(logits)[-1]]), states

    def zero_states(self, batch: int) -> list[tf.Tensor]:
        """States of a text's start."""
        return [tf.zeros([batch, n]) for n in self.state_sizes]


def save_tflite_step(
    net: tasks.LanguageNet, path: pathlib.Path
) -> pathlib.Path:
    """Writes a TensorFlow Lite model of one step of one sequence.

    Its fixed shape (batch 1, 1 step) is what makes it fast: inputs `token
    [1]` int32 and the states `[1, n]`, outputs `logits [1, V]` and the
    states, under the names of the SavedModel. Embedding and first kernel are
    one table where they are there.

    Args:
      net: see `tasks.LanguageNet`.
      path: of the `.tflite` file.

    Raises:
      UserError: if it cannot be written; an older one stays.
    """
    paths.check_for_tensorflow(path)
    module = tf.Module()
    table = _input_table(net)

    def step(token, **states):
        logits, finals = net.step(
            token, [states[n] for n in net.state_names], table
        )
        return {"logits": logits, **dict(zip(net.state_names, finals))}

    module.step = tf.function(step).get_concrete_function(
        tf.TensorSpec([1], tf.int32, name="token"),
        **{
            name: tf.TensorSpec([1, size], tf.float32, name=name)
            for name, size in zip(net.state_names, net.state_sizes)
        },
    )
    module.weights = export.variables_of(module.step)
    # By way of a SavedModel: only then do the names of inputs and outputs
    # survive as a signature.
    folder = path.with_name(f".{path.name}.partial")
    try:
        tf.saved_model.save(module, str(folder), signatures=module.step)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
        with terminal.quiet_stderr():
            model = converter.convert()
        (folder / path.name).write_bytes(model)
        (folder / path.name).replace(path)
    except (OSError, tf.errors.OpError) as error:
        raise errors.UserError(
            f"cannot write {path}: {errors.reason(error)}"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return path


class LatencyRunner:
    """Runs a file of `save_tflite_step`, one token at a time.

    Args:
      path: of the `.tflite` file.
      threads: of the interpreter, at the most: models of less than 128 MB
        get one, as waking the others takes longer than they save.
    """

    def __init__(self, path: pathlib.Path, threads: int = 1):
        if export.bytes_of(path) < _ONE_THREAD_BYTES:
            threads = 1
        interpreter = tf.lite.Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        self._step = interpreter.get_signature_runner()
        details = self._step.get_input_details()
        self.states = {
            name: np.zeros(detail["shape"], np.float32)
            for name, detail in details.items()
            if name != "token"
        }

    def step(self, token: int) -> np.ndarray:
        """Logits `[1, V]` of the next symbol; the state is kept."""
        outputs = self._step(token=np.array([token], np.int32), **self.states)
        logits = outputs.pop("logits")
        self.states = outputs
        return logits
