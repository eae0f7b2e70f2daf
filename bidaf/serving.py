"""BiDAF as a SavedModel that runs without this package."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib

import numpy as np
import tensorflow as tf

from bidaf import answering
from bidaf import model as model_lib
from bidaf.data import sources
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import files
from iss_rnns.experiments.reports import tables

INPUTS = {
    "x": "context",
    "cx": "context_characters",
    "q": "question",
    "cq": "question_characters",
}
VOCABULARY = "vocabulary.json"
OUTPUTS = ("start", "end", "words", "na_prob")


def save(
    net: model_lib.BiDAF,
    questions: sources.Questions,
    path: pathlib.Path,
    card: Mapping,
    wy: bool = False,
) -> pathlib.Path:
    """Writes a net with all word vectors, its vocabulary and a card.

    `serving_default` takes padded ids (0 is padding): `context [N, M, JX]`
    words of M sentences, `context_characters [N, M, JX, W]`,
    `question [N, JQ]`, `question_characters [N, JQ, W]`, int32, any N, M, JX
    and JQ. It returns `start` and `end [N, M, JX]`, the probabilities that
    the answer begins and ends at a word; `words`, that a word is in it (of
    nets trained for that); with a no-answer bias, `na_prob [N]`.
    `vocabulary.json` says how texts become ids, see `answering.Reading`.

    Args:
      net: the net.
      questions: whose vocabulary and vectors it reads.
      path: of the folder; replaced whole if it exists.
      card: JSON values.
      wy: whether the net judges each word; see `answering.Reading`.

    Raises:
      UserError: if it cannot be written; an older one stays.
    """
    reading = dataclasses.asdict(answering.Reading.of(questions, wy))
    module = tf.Module()
    module.weights = list(net.trainable_variables)
    module.vectors = tf.Variable(questions.vectors, trainable=False)
    word_size = questions.sizes.max_word_size

    def serve(**inputs):
        outputs = net(
            {short: inputs[name] for short, name in INPUTS.items()},
            module.vectors,
            training=False,
        )
        return {name: outputs[name] for name in OUTPUTS if name in outputs}

    specs = sources.specs(word_size, labels=False)
    signature = tf.function(serve, autograph=False).get_concrete_function(
        **{
            name: tf.TensorSpec(specs[short].shape, tf.int32, name=name)
            for short, name in INPUTS.items()
        }
    )
    return export.write_saved_model(
        module,
        signature,
        path,
        {VOCABULARY: json.dumps(reading)},
        tables.plain(card),
        export.Manifest("saved_model", dict(net.sizes), vocabulary=VOCABULARY),
    )


def function_of(net: model_lib.BiDAF, vectors: np.ndarray):
    """A net as what `ServedBiDAF` is of its export.

    Args:
      net: the net.
      vectors: of `sources.Questions`.
    """
    vectors = tf.constant(vectors, tf.float32)

    @tf.function(autograph=False, reduce_retracing=True)
    def run(batch):
        outputs = net(batch, vectors, training=False)
        return {name: outputs[name] for name in OUTPUTS if name in outputs}

    return lambda batch: run(
        {name: tf.constant(batch[name]) for name in INPUTS}
    )


def load(path: files.PathLike) -> answering.Answerer:
    """An exported net, ready to answer questions.

    `load(path).answer(context, question).text` is a stretch of the context.

    Args:
      path: folder of the SavedModel.

    Raises:
      UserError: see `ServedBiDAF`; or its vocabulary is damaged.
    """
    path = pathlib.Path(path)
    served = ServedBiDAF(path)
    return answering.Answerer(served, answering.Reading.read(path / VOCABULARY))


class ServedBiDAF:
    """An exported net, as a function of a batch of `feed.make_batch`.

    Args:
      path: folder of the SavedModel.

    Raises:
      UserError: if there is none or it is another kind of model.
    """

    def __init__(self, path: pathlib.Path):
        try:
            self._serve = export.SavedModel(path)
            if set(self._serve.inputs) != set(INPUTS.values()):
                raise errors.UserError(
                    f"it takes {', '.join(self._serve.inputs)}"
                )
        except errors.UserError as error:
            raise errors.UserError(
                f"{path} is no exported BiDAF: {error}"
            ) from None

    def __call__(self, batch: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
        return self._serve(
            **{name: batch[short] for short, name in INPUTS.items()}
        )
