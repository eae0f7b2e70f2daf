"""Layers of BiDAF: character CNN, highway network, two-way LSTM.

Weights that the authors' program stores as they are keep its shapes and the
order of its blocks, so that its names and group files fit.
"""

from collections.abc import Sequence
import math
from typing import Optional

import tensorflow as tf

from iss_rnns import cells
from iss_rnns import recurrent
from iss_rnns.interop import tf1
from iss_rnns.ops import dropout

FORGET_BIAS = 1.0

glorot = tf.keras.initializers.GlorotUniform


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


@tf.keras.utils.register_keras_serializable(package="bidaf")
class CharCNN(tf.keras.layers.Layer):
    """A vector for each word from its characters (Kim 2014).

    Per filter: convolution over the characters' embeddings, the largest value
    over the places, ReLU. Weights `filter [1, height, size, channels]` and
    `bias [channels]` of each.

    Args:
      heights: of the filters, in characters.
      channels: of each filter; one with 0 is left out, as in the authors'
        code.
      seed: of the first filter; its bias, the next filter and so on draw
        with the seeds after it.
    """

    def __init__(
        self,
        heights: Sequence[int],
        channels: Sequence[int],
        seed: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.heights = [h for h, c in zip(heights, channels) if c]
        self.channels = [c for c in channels if c]
        self.seed = seed

    def build(self, input_shape):
        self.filters, self.biases = [], []
        for i, (height, count) in enumerate(zip(self.heights, self.channels)):
            self.filters.append(
                self.add_weight(
                    name=f"filter_{height}",
                    shape=(1, height, input_shape[-1], count),
                    initializer=glorot(self.seed + 2 * i),
                )
            )
            self.biases.append(
                self.add_weight(
                    name=f"bias_{height}",
                    shape=(count,),
                    initializer=glorot(self.seed + 2 * i + 1),
                )
            )
        super().build(input_shape)

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

    def get_config(self):
        return {
            **super().get_config(),
            "heights": list(self.heights),
            "channels": list(self.channels),
            "seed": self.seed,
        }


@tf.keras.utils.register_keras_serializable(package="bidaf")
class Highway(tf.keras.layers.Layer):
    """One highway layer (Srivastava et al. 2015): y = g relu(t) + (1 - g) x.

    t = x @ trans + trans_bias, g = sigmoid(x @ gate + gate_bias).

    Args:
      seed: of `trans`; `gate` draws with the next one.
    """

    def __init__(self, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed

    def build(self, input_shape):
        size = input_shape[-1]

        def add(name, seed):
            return (
                self.add_weight(
                    name=name, shape=(size, size), initializer=glorot(seed)
                ),
                self.add_weight(
                    name=f"{name}_bias", shape=(size,), initializer="zeros"
                ),
            )

        self.trans, self.trans_bias = add("trans", self.seed)
        self.gate, self.gate_bias = add("gate", self.seed + 1)
        super().build(input_shape)

    def call(self, x):
        """`[words, size]` -> `[words, size]`."""
        changed = tf.nn.relu(x @ self.trans + self.trans_bias)
        gate = tf.sigmoid(x @ self.gate + self.gate_bias)
        return gate * changed + (1.0 - gate) * x

    def tf1_views(self, scope: str) -> dict[str, tf1.View]:
        """The authors' variables below a scope, by name."""
        return {
            f"{scope}/trans/weights": tf1.plain(self.trans),
            f"{scope}/trans/biases": tf1.plain(self.trans_bias),
            f"{scope}/gate/weights": tf1.plain(self.gate),
            f"{scope}/gate/biases": tf1.plain(self.gate_bias),
        }

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def lstm_cell(name: str, inputs: int, units: int, seed: int) -> cells.LSTMCell:
    """A cell whose two matrices start as the authors' one would.

    The second one draws with the seed after the first one's.
    """
    limit = math.sqrt(6.0 / (inputs + units + 4 * units))
    uniform = tf.keras.initializers.RandomUniform
    return cells.LSTMCell(
        units,
        forget_bias=FORGET_BIAS,
        kernel_initializer=uniform(-limit, limit, seed),
        recurrent_initializer=uniform(-limit, limit, seed + 1),
        name=name,
    )


@tf.keras.utils.register_keras_serializable(package="bidaf")
class TwoWay(tf.keras.layers.Layer):
    """A cell in each direction over sequences of different lengths.

    Args:
      forward_cell: reads from the first word to the last; not yet built.
      backward_cell: from the last to the first. Both may have any sizes.
    """

    def __init__(self, forward_cell, backward_cell, **kwargs):
        super().__init__(**kwargs)
        self.directions = [
            recurrent.Recurrent(forward_cell, name=forward_cell.name),
            recurrent.Recurrent(
                backward_cell, go_backwards=True, name=backward_cell.name
            ),
        ]

    def build(self, input_shape):
        for direction in self.directions:
            direction.build(input_shape)
        super().build(input_shape)

    @property
    def cells(self):
        """(forward cell, backward cell)."""
        return [direction.cell for direction in self.directions]

    @property
    def lstms(self) -> list:
        """The cells, or the LSTMs inside them."""
        return [getattr(cell, "lstm", cell) for cell in self.cells]

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

    def get_config(self):
        forward, backward = map(tf.keras.layers.serialize, self.cells)
        return {
            **super().get_config(),
            "forward_cell": forward,
            "backward_cell": backward,
        }

    @classmethod
    def from_config(cls, config):
        read = {
            name: tf.keras.layers.deserialize(config[name])
            for name in ("forward_cell", "backward_cell")
        }
        return cls(**{**config, **read})
