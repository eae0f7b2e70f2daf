"""BiDAF as a SavedModel that runs without this package."""

from collections.abc import Mapping
import json
import pathlib

import numpy as np
import tensorflow as tf

from bidaf import model as model_lib
from bidaf.data import sources
from iss_rnns import errors
from iss_rnns import export
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
) -> pathlib.Path:
    """Writes a net with all word vectors, its vocabulary and a card.

    `serving_default` takes padded ids (0 is padding): `context [N, M, JX]`
    words of M sentences, `context_characters [N, M, JX, W]`,
    `question [N, JQ]`, `question_characters [N, JQ, W]`, int32, any N, M, JX
    and JQ. It returns `start` and `end [N, M, JX]`, the probabilities that
    the answer begins and ends at a word; `words`, that a word is in it (of
    nets trained for that); with a no-answer bias, `na_prob [N]`.
    `vocabulary.json` has the ids.

    Args:
      net: the net.
      questions: whose vocabulary and vectors it reads.
      path: of the folder; replaced whole if it exists.
      card: JSON values.

    Raises:
      UserError: if it cannot be written; an older one stays.
    """
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
        {VOCABULARY: json.dumps(vocabulary(questions))},
        tables.plain(card),
        export.Manifest("saved_model", dict(net.sizes), vocabulary=VOCABULARY),
    )


def vocabulary(questions: sources.Questions) -> dict:
    """Ids of words and characters, and how many characters a word has."""
    words = dict(questions.vocabulary.word2idx)
    for word, row in questions.judged.new_word2idx.items():
        words[word] = row + len(questions.vocabulary.word2idx)
    return {
        "words": words,
        "characters": questions.vocabulary.char2idx,
        "characters_of_a_word": questions.sizes.max_word_size,
    }


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
