"""Packed language models: written, proved equal, read and scored."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns.experiments import tasks
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import serving
from iss_rnns.export import packed as packed_export
from iss_rnns.sparse import nets


def pack_language_model(
    net: tasks.LanguageNet,
    parent: pathlib.Path,
    batch_sizes: Sequence[int] = nets.BATCH_SIZES,
    tolerance: float = 1e-4,
    symbols: Optional[Sequence[str]] = None,
) -> Optional[nets.Packed]:
    """As `nets.pack`, and the whole is a `sparse.PackedLanguageModel`.

    Args:
      net: see `tasks.LanguageNet`.
      parent: `packed/` below it gets the files, in place of older ones.
      batch_sizes: see `nets.pack`.
      tolerance: largest difference of a logit from the net's, relative to the
        largest logit, over a few random ids.
      symbols: the vocabulary in id order, which is written beside.

    Returns:
      See `nets.pack`; its bytes are those of the whole model.

    Raises:
      UserError: see `nets.pack`; or if the logits differ, or a file cannot be
        written.
    """
    packed = nets.pack(net.packable(), batch_sizes)
    if packed is None:
        return None
    from iss_rnns import sparse

    rest = net.embedding.numpy(), net.softmax_b.numpy()
    model = sparse.PackedLanguageModel(rest[0], packed.parts, rest[1])
    ids = np.random.default_rng(0).integers(0, len(rest[1]), (3, 12))
    logits, _ = model(ids)
    expected = net(tf.constant(ids, tf.int32))[0].numpy()  # time-major
    expected = expected.reshape(12, 3, -1).swapaxes(0, 1)
    if logits.shape != expected.shape:
        raise errors.UserError(
            f"the packed model's logits have shape {logits.shape}, the net's "
            f"{expected.shape}"
        )
    difference = float(np.abs(logits - expected).max() / np.abs(expected).max())
    if not difference <= tolerance:
        raise errors.UserError(
            f"the packed model's logits differ from the net's by "
            f"{difference:.2g} of the largest; allowed are {tolerance:.2g}"
        )
    packed = dataclasses.replace(
        packed,
        dense_bytes=sum(v.numpy().nbytes for v in net.trainable_variables),
        max_difference=max(packed.max_difference, difference),
    )
    return export.write_packed(
        packed,
        pathlib.Path(parent) / packed_export.FOLDER,
        serving.about(net, "packed", symbols),
        serving.carried(symbols),
        model,
    )


def is_language_model(path: Union[str, pathlib.Path]) -> bool:
    """Whether a path is what `pack_language_model` wrote, or its folder."""
    return (
        pathlib.Path(path).name == packed_export.MODEL_FILE
        or (pathlib.Path(path) / packed_export.MODEL_FILE).exists()
    )


def load_language_model(path: Union[str, pathlib.Path]):
    """Reads a path of which `is_language_model` is true.

    Raises:
      UserError: see `export.read_packed`.
    """
    return export.read_packed(path)[0]


class Evaluator(language_model.Evaluator):
    """Perplexity of a `sparse.PackedLanguageModel`."""

    compiled = False

    def stretch(self, x, y, states):
        """See base class."""
        logits, states = self.net(x, states)
        costs = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        return tf.reduce_sum(costs) / len(x), states
