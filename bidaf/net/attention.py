"""Attention between context and question, and logits of the answer.

N questions with I context words and J question words each, D features. No
tensor of shape `[N, I, J, D]` is ever made: every similarity is written as
products of `[N, I, D]` and `[N, J, D]`.
"""

from typing import Optional

import tensorflow as tf

from bidaf import configs
from bidaf.net import layers
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns.interop import tf1

VERY_NEGATIVE = -1e30
SIMILARITIES, ANSWERS = configs.SIMILARITIES, configs.ANSWERS


def exp_mask(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Logits, very negative where the mask is False.

    Where all of a softmax's logits are masked, they are equal: the weights
    are uniform, as in the authors' code.
    """
    return logits + (1.0 - tf.cast(mask, logits.dtype)) * VERY_NEGATIVE


def matrices(function: str) -> int:
    """How many matrices, and so seeds, a function of scores has."""
    return {"dot": 0, "sum": 0, "double": 2}.get(function, 1)


@tf.keras.utils.register_keras_serializable(package="bidaf")
class Similarity(tf.keras.layers.Layer):
    """A logit for each pair of a context word h and a question word u.

        tri_linear  w . [h, u, h u] + b     (BiDAF paper, eq. 1)
        linear      w . [h, u] + b
        mul_linear  w . (h u) + b
        dot         h . u
        proj        (h @ W) . u
        sum         sum(h) + sum(u)

    Args:
      function: one of `SIMILARITIES`.
      seed: of the weights.
    """

    def __init__(self, function: str, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.function = function
        self.seed = seed
        # What the rows of the one column of weights are for, in order.
        self.parts = {
            "tri_linear": ("h", "u", "hu"),
            "linear": ("h", "u"),
            "mul_linear": ("hu",),
        }.get(function, ())

    def build(self, input_shape):
        self.size = input_shape[0][-1]
        if matrices(self.function):
            self.kernel = self.add_weight(
                name="kernel",
                shape=(len(self.parts) * self.size, 1)
                if self.parts
                else (self.size, self.size),
                initializer=layers.glorot(self.seed),
            )
        if self.parts:
            self.bias = self.add_weight(
                name="bias", shape=(1,), initializer="zeros"
            )
        super().build(input_shape)

    def call(self, inputs):
        """`[N, I, D]` and `[N, J, D]` -> `[N, I, J]`."""
        h, u = inputs
        if self.function == "dot":
            return tf.matmul(h, u, transpose_b=True)
        if self.function == "proj":
            return tf.matmul(
                tf.tensordot(h, self.kernel, 1), u, transpose_b=True
            )
        if self.function == "sum":
            return (
                tf.reduce_sum(h, -1)[:, :, None]
                + tf.reduce_sum(u, -1)[:, None, :]
            )
        weights = dict(zip(self.parts, tf.split(self.kernel, len(self.parts))))
        logits = self.bias[0]
        if "h" in weights:
            logits += tf.tensordot(h, weights["h"], 1)
            logits += tf.linalg.matrix_transpose(
                tf.tensordot(u, weights["u"], 1)
            )
        if "hu" in weights:
            logits += tf.matmul(h * weights["hu"][:, 0], u, transpose_b=True)
        return logits

    def tf1_views(self, scope: str) -> dict[str, tf1.View]:
        """The authors' variables below a scope, by name."""
        if self.parts:
            return {
                f"{scope}/first/weights": tf1.plain(self.kernel),
                f"{scope}/first/biases": tf1.plain(self.bias),
            }
        if self.function == "proj":
            return {f"{scope}/weights": tf1.plain(self.kernel)}
        return {}

    def reading_slices(self, start: int, units: int) -> list[groups.Slice]:
        """Where features `start:start + units` of h and of u are read."""
        if not matrices(self.function):
            raise errors.UserError(
                f"logit_func '{self.function}' reads every unit of the "
                "preprocessing LSTMs without a weight, so none can be cut; "
                "leave them whole"
            )
        if self.function == "proj":
            return [
                groups.Slice(self.kernel, axis, start, start + units)
                for axis in (0, 1)
            ]
        return [
            groups.Slice(self.kernel, 0, block + start, block + start + units)
            for block in range(0, len(self.parts) * self.size, self.size)
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "function": self.function,
            "seed": self.seed,
        }


def attend(
    similarity: Similarity,
    h: tf.Tensor,
    u: tf.Tensor,
    h_mask: tf.Tensor,
    u_mask: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Both ways of attention (BiDAF paper, section 2, part 4).

    Args:
      similarity: see `Similarity`.
      h: `[N, M, JX, D]` context; u: `[N, JQ, D]` question.
      h_mask: `[N, M, JX]` bool; u_mask: `[N, JQ]` bool.

    Returns:
      (attended question `[N, M, JX, D]`, attended context of each sentence
      `[N, M, D]`, and their weights `[N, M, JX, JQ]`, `[N, M, JX]`).
    """
    shape = tf.shape(h)
    flat = tf.reshape(h, [shape[0], shape[1] * shape[2], h.shape[-1]])
    mask = tf.reshape(h_mask, [shape[0], -1, 1]) & u_mask[:, None, :]
    logits = exp_mask(similarity([flat, u]), mask)
    question_weights = tf.nn.softmax(logits)
    attended = tf.reshape(tf.matmul(question_weights, u), shape)
    highest = tf.reshape(tf.reduce_max(logits, -1), shape[:3])
    context_weights = tf.nn.softmax(highest)
    context = tf.einsum("nmi,nmid->nmd", context_weights, h)
    return (
        attended,
        context,
        tf.reshape(
            question_weights, tf.concat([shape[:3], tf.shape(u)[1:2]], 0)
        ),
        context_weights,
    )


@tf.keras.utils.register_keras_serializable(package="bidaf")
class AnswerLogits(tf.keras.layers.Layer):
    """A logit for each context word to begin (or end) the answer.

        linear  w . [g, p] + b
        double  v . tanh(W [g, p] + b) + c
        proj    (g @ W) . p
        sum     sum(g) + sum(p)

    Args:
      function: one of `ANSWERS`.
      hidden_size: of `double`.
      seed: of the first matrix; the second draws with the next one.
    """

    def __init__(self, function: str, hidden_size: int, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.function = function
        self.hidden_size = hidden_size
        self.seed = seed

    def build(self, input_shape):
        self.g_size, p_size = (shape[-1] for shape in input_shape)
        both, hidden = self.g_size + p_size, self.hidden_size
        shapes = {
            "linear": [(both, 1)],
            "double": [(both, hidden), (hidden, 1)],
            "proj": [(self.g_size, p_size)],
            "sum": [],
        }[self.function]
        self.kernels, self.biases = [], []
        for i, shape in enumerate(shapes):
            self.kernels.append(
                self.add_weight(
                    name=f"kernel_{i}",
                    shape=shape,
                    initializer=layers.glorot(self.seed + i),
                )
            )
            if self.function != "proj":
                self.biases.append(
                    self.add_weight(
                        name=f"bias_{i}", shape=shape[1:], initializer="zeros"
                    )
                )
        super().build(input_shape)

    def call(
        self,
        inputs,
        training=None,
        keep_prob: float = 1.0,
        seed: Optional[tf.Tensor] = None,
        site: int = 0,
    ):
        """`[..., g_size]`, `[..., p_size]` -> `[...]`.

        Dropout is on each input; see `layers.drop` for its arguments, of
        which three sites are used.
        """
        g, p = inputs
        if self.function == "sum":
            return tf.reduce_sum(g, -1) + tf.reduce_sum(p, -1)
        g = layers.drop(g, keep_prob, training, seed, site)
        if self.function == "proj":
            return tf.reduce_sum(tf.tensordot(g, self.kernels[0], 1) * p, -1)
        p = layers.drop(p, keep_prob, training, seed, site + 1)
        first = self.kernels[0]
        logits = (
            tf.tensordot(g, first[: self.g_size], 1)
            + tf.tensordot(p, first[self.g_size :], 1)
            + self.biases[0]
        )
        if self.function == "double":
            hidden = layers.drop(
                tf.tanh(logits), keep_prob, training, seed, site + 2
            )
            logits = tf.tensordot(hidden, self.kernels[1], 1) + self.biases[1]
        return logits[..., 0]

    def tf1_views(self, scope: str) -> dict[str, tf1.View]:
        """The authors' variables below a scope, by name."""
        if self.function == "proj":
            return {f"{scope}/weights": tf1.plain(self.kernels[0])}
        return {
            f"{scope}/{place}/{kind}": tf1.plain(variables[i])
            for i, place in enumerate(("first", "second")[: len(self.kernels)])
            for kind, variables in (
                ("weights", self.kernels),
                ("biases", self.biases),
            )
        }

    def reading_slices(
        self, start: int, units: int, of_p: bool
    ) -> list[groups.Slice]:
        """Where features `start:start + units` of g, or of p, are read."""
        if self.function == "sum":
            raise errors.UserError(
                "answer_func 'sum' reads every unit without a weight, so "
                "none can be cut; train with --answer_func=linear"
            )
        if self.function == "proj":
            return [
                groups.Slice(self.kernels[0], int(of_p), start, start + units)
            ]
        start += self.g_size if of_p else 0
        return [groups.Slice(self.kernels[0], 0, start, start + units)]

    def get_config(self):
        return {
            **super().get_config(),
            "function": self.function,
            "hidden_size": self.hidden_size,
            "seed": self.seed,
        }
