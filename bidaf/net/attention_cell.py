"""The cell of `dynamic_att`: it looks at the question in every time step."""

from typing import Optional

import tensorflow as tf

from bidaf.net import attention
from bidaf.net import layers
from iss_rnns import cells
from iss_rnns import groups
from iss_rnns.interop import tf1


@tf.keras.utils.register_keras_serializable(package="bidaf")
class AttentionCell(tf.keras.layers.Layer):
    """LSTM cell that reads its input x beside an attended question q.

        a = softmax over j of w . [x, c, h, u_j] + b
        q = sum_j a_j u_j
        h', c' = LSTM([x, q, x q, |x - q|], h, c)

    It has the pieces that `Recurrent` runs without a written-out gradient
    (`training=False`); constants are the question `u [batch, J, D]` and its
    mask `[batch, J]` bool.

    Weights: those of `cells.LSTMCell`, `controller [2 D + 2 n, 1]` with rows
    for x, c, h and u, `controller_bias [1]`.

    Args:
      lstm: `LSTMCell` of n units, not yet built.
      seed: of `controller`.
      name: of the cell; the LSTM's if None.
    """

    def __init__(
        self,
        lstm: cells.LSTMCell,
        seed: int,
        name: Optional[str] = None,
        **kwargs,
    ):
        super().__init__(name=name or lstm.name, **kwargs)
        self.lstm = lstm
        self.seed = seed
        self.units = lstm.units
        self.state_size = lstm.state_size
        self.output_size = lstm.units

    def build(self, input_shape):
        size = input_shape[-1]
        self.lstm.build(tf.TensorShape([None, 4 * size]))
        self.controller = self.add_weight(
            name="controller",
            shape=(2 * size + 2 * self.units, 1),
            initializer=layers.glorot(self.seed),
        )
        self.controller_bias = self.add_weight(
            name="controller_bias", shape=(1,), initializer="zeros"
        )
        super().build(input_shape)

    def call(self, inputs, states, constants, training=None):
        """`[batch, D]`, `[h, c]` and the constants -> (`[batch, n]`, states)."""
        output, states, _ = self.scan_step(
            self.hoist(inputs, *constants),
            tf.nest.flatten(states),
            self.scan_weights(*constants),
        )
        return output, states

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        """Zeros `[h, c]`, each `[batch, n]`."""
        return self.lstm.get_initial_state(inputs, batch_size, dtype)

    def hoist(self, inputs, u, mask):
        """Each step reads all of its input."""
        del u, mask
        return inputs

    def scan_weights(self, u, mask) -> list[tf.Tensor]:
        """What a step reads; the question's share of the logits is ready."""
        of_question = tf.tensordot(u, self.controller[-u.shape[-1] :], 1)
        question_logits = attention.exp_mask(
            of_question[..., 0] + self.controller_bias, mask
        )
        return [
            u,
            question_logits,
            self.controller[: -u.shape[-1]],
            tf.convert_to_tensor(self.lstm.kernel),
            self.lstm.effective_bias(),
            *self.lstm.scan_weights(),
        ]

    @staticmethod
    def scan_step(x, states, weights):
        """One step; see the class."""
        h, c = states
        u, question_logits, controller, kernel, bias, recurrent = weights
        logits = question_logits + tf.concat([x, c, h], 1) @ controller
        q = tf.einsum("bj,bjd->bd", tf.nn.softmax(logits), u)
        seen = tf.concat([x, q, x * q, tf.abs(x - q)], 1)
        return cells.LSTMCell.scan_step(
            seen @ kernel + bias, [h, c], [recurrent]
        )

    def tf1_views(self, scope: str) -> dict[str, tf1.View]:
        """The authors' variables below a scope, by name."""
        scope += "/AttentionCell"
        return {
            f"{scope}/Linear/weights": tf1.plain(self.controller),
            f"{scope}/Linear/biases": tf1.plain(self.controller_bias),
            f"{scope}/basic_lstm_cell/kernel": tf1.lstm_matrix(self.lstm),
            f"{scope}/basic_lstm_cell/bias": tf1.lstm_bias(self.lstm),
        }

    def unit_slices(self) -> list[groups.Slice]:
        """The LSTM's own, and where the controller reads its states."""
        start = (
            self.controller.shape[0]
            - 2 * self.units
            - (self.lstm.kernel.shape[0] // 4)
        )
        return self.lstm.unit_slices() + [
            groups.Slice(
                self.controller,
                0,
                start + i * self.units,
                start + (i + 1) * self.units,
            )
            for i in range(2)
        ]

    def unit_companions(self) -> list[groups.Slice]:
        """The LSTM's biases."""
        return self.lstm.unit_companions()

    def get_config(self):
        return {
            **super().get_config(),
            "lstm": tf.keras.layers.serialize(self.lstm),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        lstm = tf.keras.layers.deserialize(config["lstm"])
        return cls(**{**config, "lstm": lstm})
