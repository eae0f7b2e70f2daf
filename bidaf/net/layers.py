"""Layers of BiDAF: character CNN, highway network, two-way LSTM.

Weights that the authors' program stores as they are keep its shapes and the
order of its blocks, so that its names and group files fit.
"""

from collections.abc import Sequence
import math
from typing import Callable, Optional

import tensorflow as tf

from iss_rnns import cells
from iss_rnns import recurrent
from iss_rnns.interop import tf1
from iss_rnns.ops import dropout

Seeds = Callable[[], int]  # a new seed at each call
FORGET_BIAS = 1.0


def drop(
    x: tf.Tensor,
    keep_prob: float,
    training: Optional[bool],
    seed: Optional[tf.Tensor],
    site: int,
) -> tf.Tensor:
    """Inverted dropout of every element, if training.

    Args:
      x: any shape.
      keep_prob: 1 switches it off.
      training: whether to drop.
      seed: `[2]` int, of the step.
      site: number of the place in the network; each draws its own mask.
    """
    if not training or keep_prob >= 1.0:
        return x
    return dropout.drop(
        x, keep_prob, tf.random.experimental.stateless_fold_in(seed, site)
    )


class CharCNN(tf.keras.layers.Layer):
    """A vector for each word from its characters (Kim 2014).

    Per filter: convolution over the characters' embeddings, the largest value
    over the places, ReLU. Weights `filter [1, height, size, channels]` and
    `bias [channels]` of each.

    Args:
      heights: of the filters, in characters.
      channels: of each filter; one with 0 is left out, as in the authors'
        code.
      embedding_size: of a character.
      seeds: of the weights.
    """

    def __init__(
        self,
        heights: Sequence[int],
        channels: Sequence[int],
        embedding_size: int,
        seeds: Seeds,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.heights = [h for h, c in zip(heights, channels) if c]
        self.filters, self.biases = [], []
        for height, count in zip(heights, channels):
            if not count:
                continue
            shape = (1, height, embedding_size, count)
            self.filters.append(
                self.add_weight(
                    name=f"filter_{height}",
                    shape=shape,
                    initializer=tf.keras.initializers.GlorotUniform(seeds()),
                )
            )
            self.biases.append(
                self.add_weight(
                    name=f"bias_{height}",
                    shape=(count,),
                    initializer=tf.keras.initializers.GlorotUniform(seeds()),
                )
            )
        self.built = True

    def call(self, characters):
        """Embedded characters `[words, W, size]` -> `[words, channels]`."""
        # Words are at least as long as the widest filter.
        missing = tf.maximum(max(self.heights) - tf.shape(characters)[1], 0)
        characters = tf.pad(characters, [[0, 0], [0, missing], [0, 0]])
        # ReLU and bias after the maximum: the same, on fewer numbers.
        return tf.concat(
            [
                tf.nn.relu(
                    tf.reduce_max(
                        tf.nn.conv1d(characters, kernel[0], 1, "VALID"), axis=1
                    )
                    + bias
                )
                for kernel, bias in zip(self.filters, self.biases)
            ],
            axis=-1,
        )

    def tf1_views(self, scope: str) -> dict[str, tf1.View]:
        """The authors' variables below a scope, by name."""
        views = {}
        for height, kernel, bias in zip(
            self.heights, self.filters, self.biases
        ):
            views[f"{scope}/conv1d_{height}/filter"] = tf1.plain(kernel)
            views[f"{scope}/conv1d_{height}/bias"] = tf1.plain(bias)
        return views


class Highway(tf.keras.layers.Layer):
    """One highway layer (Srivastava et al. 2015): y = g relu(t) + (1 - g) x.

    t = x @ trans + trans_bias, g = sigmoid(x @ gate + gate_bias).

    Args:
      size: of inputs and outputs.
      seeds: of the weights.
    """

    def __init__(self, size: int, seeds: Seeds, **kwargs):
        super().__init__(**kwargs)
        for part in ("trans", "gate"):
            setattr(
                self,
                part,
                self.add_weight(
                    name=part,
                    shape=(size, size),
                    initializer=tf.keras.initializers.GlorotUniform(seeds()),
                ),
            )
            setattr(
                self,
                f"{part}_bias",
                self.add_weight(
                    name=f"{part}_bias", shape=(size,), initializer="zeros"
                ),
            )
        self.built = True

    def call(self, x):
        """`[words, size]` -> `[words, size]`."""
        changed = tf.nn.relu(x @ self.trans + self.trans_bias)
        gate = tf.sigmoid(x @ self.gate + self.gate_bias)
        return gate * changed + (1.0 - gate) * x

    def tf1_views(self, scope: str) -> dict[str, tf1.View]:
        """The authors' variables below a scope, by name."""
        return {
            f"{scope}/{part}/{kind}": tf1.plain(variable)
            for part in ("trans", "gate")
            for kind, variable in (
                ("weights", getattr(self, part)),
                ("biases", getattr(self, f"{part}_bias")),
            )
        }


def lstm_cell(
    name: str, inputs: int, units: int, seeds: Seeds
) -> cells.LSTMCell:
    """A cell whose two matrices start as the authors' one would."""
    limit = math.sqrt(6.0 / (inputs + units + 4 * units))
    uniform = tf.keras.initializers.RandomUniform
    return cells.LSTMCell(
        units,
        forget_bias=FORGET_BIAS,
        kernel_initializer=uniform(-limit, limit, seeds()),
        recurrent_initializer=uniform(-limit, limit, seeds()),
        name=name,
    )


class TwoWay(tf.keras.layers.Layer):
    """A cell in each direction over sequences of different lengths.

    Args:
      forward_cell: reads from the first word to the last; not yet built.
      backward_cell: from the last to the first. Both may have any sizes.
      inputs: features of a word.
    """

    def __init__(self, forward_cell, backward_cell, inputs: int, **kwargs):
        super().__init__(**kwargs)
        self.directions = [
            recurrent.Recurrent(forward_cell, name=forward_cell.name),
            recurrent.Recurrent(
                backward_cell, go_backwards=True, name=backward_cell.name
            ),
        ]
        for direction in self.directions:
            direction.build(tf.TensorShape([None, None, inputs]))
        self.built = True

    @property
    def cells(self):
        """(forward cell, backward cell)."""
        return [direction.cell for direction in self.directions]

    def call(
        self,
        inputs,
        lengths,
        constants=(),
        training=None,
        keep_prob: float = 1.0,
        seed=None,
        site: int = 0,
    ):
        """Runs both directions; each drops elements of its own.

        Args:
          inputs: `[batch, time, features]`.
          lengths: `[batch]` int, words of each sequence; may be 0.
          constants: see `Recurrent`.
          training: with dropout, and with the cell's written-out gradient,
            if it has one.
          keep_prob: of the dropout on the inputs, new in each time step.
          seed: `[2]` int, of the dropout.
          site: see `drop`; `site + 1` is used too.

        Returns:
          `[batch, time, forward units + backward units]`, 0 past the lengths.
        """
        outputs = [
            direction(
                drop(inputs, keep_prob, training, seed, site + i),
                lengths=lengths,
                constants=constants,
                training=training,
                return_state=False,
            )[0]
            for i, direction in enumerate(self.directions)
        ]
        return tf.concat(outputs, axis=-1)
