"""Cost of the language models, with its gradient written out."""

import tensorflow as tf

from iss_rnns.ops import gradients


def sequence_cost(
    logits: tf.Tensor, labels: tf.Tensor, batch_size: tf.Tensor
) -> tf.Tensor:
    """Sum of cross entropies over all positions, divided by the batch size.

    The authors' cost: a sum over time steps, a mean over the batch, so that
    penalty strengths relate to it as in their settings. Equal to
    `tfa.seq2seq.sequence_loss` with `sum_over_timesteps`; written out because
    TensorFlow's own op and its gradient pass over the logits about twice as
    often, and with a vocabulary of 10,000 that is a fifth of a small model's
    step.

    Args:
      logits: `[positions, classes]`.
      labels: `[positions]` int.
      batch_size: number of sequences.

    Returns:
      A scalar, in nats.
    """
    labels = tf.cast(labels, tf.int32)
    scale = 1.0 / tf.cast(batch_size, logits.dtype)
    positions = tf.stack([tf.range(tf.shape(labels)[0]), labels], axis=1)

    @gradients.custom_gradient
    def cost(logits):
        top = tf.reduce_max(logits, axis=1, keepdims=True)
        exponentials = _exponentials(logits, top)
        sums = tf.reduce_sum(exponentials, axis=1, keepdims=True)
        chosen = tf.gather_nd(logits, positions)
        total = tf.reduce_sum(tf.math.log(sums[:, 0]) + top[:, 0] - chosen)

        def gradient(upstream):
            share = upstream * scale
            return _softmax_gradient(exponentials, share / sums, labels, share)

        return total * scale, gradient

    return cost(logits)


# By XLA, each in one pass over the logits.
@tf.function(jit_compile=True, autograph=False)
def _exponentials(logits: tf.Tensor, top: tf.Tensor) -> tf.Tensor:
    return tf.exp(logits - top)


@tf.function(jit_compile=True, autograph=False)
def _softmax_gradient(
    exponentials: tf.Tensor,
    factors: tf.Tensor,
    labels: tf.Tensor,
    share: tf.Tensor,
) -> tf.Tensor:
    classes = tf.range(tf.shape(exponentials)[1])
    chosen = tf.equal(classes, labels[:, tf.newaxis])
    return exponentials * factors - tf.where(chosen, share, 0.0)
