"""Language models as files that run without this package."""

from collections.abc import Sequence
import pathlib
from typing import Optional

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns.experiments import tasks
from iss_rnns.experiments.reports import tables
from iss_rnns.export import vocabulary as vocabulary_lib
from iss_rnns.ops import fixed


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
    of the graph: see `fixed.fixed_weights`.

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

    with fixed.fixed_weights():
        signature = tf.function(serve).get_concrete_function(
            tf.TensorSpec([None, None], tf.int32, name="tokens"),
            **{
                name: tf.TensorSpec([None, size], tf.float32, name=name)
                for name, size in zip(net.state_names, net.state_sizes)
            },
        )
    module.weights = export.variables_of(signature)
    return export.write_saved_model(
        module,
        signature,
        path,
        carried(symbols),
        tables.plain(card),
        about(net, "saved_model", symbols),
    )


def about(
    net: tasks.LanguageNet, format: str, symbols: Optional[Sequence[str]]
) -> export.Manifest:
    """What the manifest of an exported net says.

    Args:
      net: see `tasks.LanguageNet`.
      format: one of `manifest.FORMATS`.
      symbols: see `save_compressed`; None: nothing says what they are.
    """
    return export.Manifest(
        format,
        dict(net.sizes),
        {
            name: [None, size]
            for name, size in zip(net.state_names, net.state_sizes)
        },
        None if symbols is None else vocabulary_lib.FILE,
    )


def carried(symbols: Optional[Sequence[str]]) -> dict[str, str]:
    """The files beside an exported net, by name."""
    if symbols is None:
        return {}
    return {vocabulary_lib.FILE: export.Vocabulary(symbols).text()}


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
    their names. `export.load` gives one that takes and gives text.

    Args:
      path: folder of the SavedModel.

    Raises:
      UserError: if there is none, it is no language model, or not as its
        manifest says; see `export.load`.
    """

    def __init__(self, path: pathlib.Path):
        try:
            self._serve = export.SavedModel(path)
            states = export.as_text_model(self._serve)
        except errors.UserError as error:
            raise errors.UserError(
                f"{path} is no exported language model: {error}"
            ) from None
        sizes = dict(zip(states.state_names, states.state_sizes))
        self.state_names = sorted(sizes)
        self.state_sizes = [sizes[name] for name in self.state_names]

    def run(self, tokens, states) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """`[B, T]` ids -> (logits `[B, T, V]`, new states)."""
        outputs = self._serve(
            tokens=tokens, **dict(zip(self.state_names, states))
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
    net: tasks.LanguageNet,
    path: pathlib.Path,
    symbols: Optional[Sequence[str]] = None,
) -> pathlib.Path:
    """Writes a TensorFlow Lite model of one step of one sequence.

    Its fixed shape (batch 1, 1 step) is what makes it fast: inputs `token
    [1]` int32 and the states `[1, n]`, outputs `logits [1, V]` and the
    states, under the names of the SavedModel. Embedding and first kernel are
    one table where they are there.

    Args:
      net: see `tasks.LanguageNet`.
      path: of the `.tflite` file.
      symbols: the vocabulary in id order, which the file then carries.

    Raises:
      UserError: if it cannot be written; an older one stays.
    """
    module = tf.Module()
    table = _input_table(net)

    def step(token, **states):
        logits, finals = net.step(
            token, [states[n] for n in net.state_names], table
        )
        return {"logits": logits, **dict(zip(net.state_names, finals))}

    signature = tf.function(step).get_concrete_function(
        tf.TensorSpec([1], tf.int32, name="token"),
        **{
            name: tf.TensorSpec([1, size], tf.float32, name=name)
            for name, size in zip(net.state_names, net.state_sizes)
        },
    )
    module.weights = export.variables_of(signature)
    return export.write_tflite(
        module,
        signature,
        path,
        carried(symbols),
        about(net, "tflite", symbols),
    )


class LatencyRunner:
    """Runs a file of `save_tflite_step`, one token at a time.

    Args:
      path: of the `.tflite` file.
      threads: see `export.TFLiteModel`.
    """

    def __init__(self, path: pathlib.Path, threads: int = 1):
        model = export.TFLiteModel(path, threads)
        self._step = model.runner
        self.states = {
            name: np.zeros(shape, np.float32)
            for name, shape in model.inputs.items()
            if name != "token"
        }

    def step(self, token: int) -> np.ndarray:
        """Logits `[1, V]` of the next symbol; the state is kept."""
        outputs = self._step(token=np.array([token], np.int32), **self.states)
        logits = outputs.pop("logits")
        self.states = outputs
        return logits
