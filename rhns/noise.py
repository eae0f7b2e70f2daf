"""Variational noise: masks drawn once a sequence, all in graph."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import tensorflow as tf

from iss_rnns.ops import replicas
from rhns import configs

Mask = Optional[tf.Tensor]  # None: nothing is dropped
Rates = configs.Rates


class Noise(NamedTuple):
    """Masks of one batch: 0, or 1 / (probability of keeping).

    See `iss_rnns.experiments.language.net.Noise` for its methods.

    Attributes:
      words: `[B, T]`, or `[B, 1]` for the same in all time steps.
      layers: per layer the masks of its input `[B, in]` and its state
        `[B, n]`, fixed over time.
      outputs: `[B, n]`, fixed over time.
    """

    words: Mask
    layers: Sequence[tuple[Mask, Mask]]
    outputs: Mask

    def on_embedding(self, x: tf.Tensor) -> tf.Tensor:
        """`[T, B, E]`: whole words are dropped."""
        if self.words is None:
            return x
        return x * tf.cast(tf.transpose(self.words), x.dtype)[..., None]

    def constants(self, layer: int) -> tuple[Mask, Mask]:
        """The masks that an `RHNCell` reads."""
        return self.layers[layer]

    def on_output(self, x: tf.Tensor, layer: int) -> tf.Tensor:
        """`[T, B, n]`: of the last layer only."""
        if self.outputs is None or layer + 1 < len(self.layers):
            return x
        return x * tf.cast(self.outputs, x.dtype)


def draw(
    ids: tf.Tensor,
    seed: tf.Tensor,
    rates: Rates,
    widths: Sequence[tuple[int, int]],
) -> Noise:
    """Draws the masks of a batch; the same seed gives the same masks.

    A word keeps its mask wherever it stands in the sequence, as in the
    authors' `get_noise`. Replicas draw those of the whole batch, see
    `iss_rnns.ops.dropout.drop`.

    Args:
      ids: `[B, T]`.
      seed: `[2]` int.
      rates: see `Rates`.
      widths: (input, state) widths of each layer.
    """
    batch = tf.shape(ids)[0]
    purposes = iter(range(2 + 2 * len(widths)))

    def mask(shape, rate):
        fold = tf.random.experimental.stateless_fold_in(seed, next(purposes))
        if not rate:
            return None
        whole = replicas.whole_shape(shape)
        drawn = tf.random.stateless_uniform(whole, fold)
        kept = replicas.own_rows(drawn) >= rate
        return tf.cast(kept, tf.float32) / (1.0 - rate)

    words = mask(tf.shape(ids), rates.words)
    if words is not None:
        words = tf.gather(words, first_occurrences(ids), batch_dims=1)
    layers: list[tuple[Mask, Mask]] = [
        (
            mask([batch, inputs], rates.inputs),
            mask([batch, units], rates.states),
        )
        for inputs, units in widths
    ]
    return Noise(words, layers, mask([batch, widths[-1][1]], rates.outputs))


def concatenate(noises: Sequence[Noise]) -> Noise:
    """The masks of several batches as those of one, row after row."""
    return tf.nest.map_structure(
        lambda *masks: None if masks[0] is None else tf.concat(masks, 0),
        *noises,
    )


def first_occurrences(ids: tf.Tensor) -> tf.Tensor:
    """`[B, T]`: where in its row each id stands first.

    >>> first_occurrences(tf.constant([[7, 3, 7, 3]])).numpy().tolist()
    [[0, 1, 0, 1]]
    """
    same = tf.equal(ids[:, :, tf.newaxis], ids[:, tf.newaxis, :])
    return tf.argmax(tf.cast(same, tf.int8), axis=2, output_type=tf.int32)
