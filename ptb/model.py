"""The authors' word language model: embedding, stacked LSTMs, softmax.

With GRUs or plain recurrent layers in the place of the LSTMs, too.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re
from typing import Optional, Union

import numpy as np
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import recurrent
from iss_rnns.interop import tf1
from iss_rnns.ops import dropout
from iss_rnns.ops import products

CELLS = {
    "lstm": cells.LSTMCell,
    "gru": cells.GRUCell,
    "rnn": cells.SimpleRNNCell,
}
# What TensorFlow 1 calls them; weights other than the LSTM's keep our layout.
_TF1_NAMES = {
    "lstm": "basic_lstm_cell",
    "gru": "gru_cell",
    "rnn": "basic_rnn_cell",
}
_STATES = {"lstm": "hc", "gru": "h", "rnn": "h"}
# Matrices by type, as pruning asks for them, and what it prunes by default:
# all that multiplies.
LAYER_TYPES = ("input", "recurrent", "softmax", "embedding")
PRUNED_TYPES = LAYER_TYPES[:3]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Hyper-parameters, named as in the authors' code."""

    init_scale: float
    learning_rate: float
    max_grad_norm: float
    num_layers: int
    num_steps: int
    hidden_size: int
    max_epoch: int  # epochs at the first learning rate
    max_max_epoch: int  # epochs in all
    keep_prob: float
    lr_decay: float
    batch_size: int = 20
    decay_by_thirds: bool = False  # `sparselarge`


CONFIGS: dict[str, ModelConfig] = {
    "small": ModelConfig(0.1, 1.0, 5, 2, 20, 200, 4, 13, 1.0, 0.5),
    "medium": ModelConfig(0.05, 1.0, 5, 2, 35, 650, 6, 39, 0.5, 0.8),
    "large": ModelConfig(0.04, 1.0, 10, 2, 35, 1500, 14, 55, 0.35, 1 / 1.15),
    "sparselarge": ModelConfig(
        0.04, 1.0, 10, 2, 35, 1500, 14, 55, 0.60, 0.1, decay_by_thirds=True
    ),
    "validtestlarge": ModelConfig(0.04, 0.0, 10, 2, 35, 1500, 0, 0, 1.0, 1.0),
    "test": ModelConfig(0.1, 1.0, 1, 1, 2, 2, 1, 1, 1.0, 0.5),
}


def learning_rate(config: ModelConfig, epoch: int, optimizer: str) -> float:
    """Learning rate of an epoch, as the authors' program sets it.

    Args:
      config: the model's.
      epoch: counted from 0.
      optimizer: 'gd' or 'adam'; Adam's rate is not decayed.
    """
    if optimizer == "adam":
        return config.learning_rate
    if config.decay_by_thirds:
        # With 55 epochs the last one gets a fourth level, as in the original.
        power = epoch // max(config.max_max_epoch // 3, 1)
    else:
        power = max(epoch + 1 - config.max_epoch, 0)
    return config.learning_rate * config.lr_decay**power


class WordLSTM(tf.keras.Model):
    """Embedding -> LSTM x N -> softmax (Zaremba et al. 2014; ISS, sec. 4.1).

    Weights: `embedding [V, E]`, per layer those of its cell, `softmax_w
    [n_N, V]`, `softmax_b [V]`; all start uniform in (-init_scale,
    init_scale), the cells' biases at 0.

    Args:
      vocab_size: V.
      embedding_size: E.
      hidden_sizes: n_1 .. n_N, any number of layers of any sizes.
      keep_prob: of the dropout on the embedding's and each layer's output;
        the recurrent path has none. New masks for each time step.
      init_scale: of the initial weights.
      seed: of the initial weights.
      cell: of the layers, one of `CELLS`.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int,
        hidden_sizes: Sequence[int],
        keep_prob: float = 1.0,
        init_scale: float = 0.1,
        seed: int = 0,
        cell: str = "lstm",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_sizes = tuple(hidden_sizes)
        self.keep_prob = keep_prob
        self.init_scale = init_scale
        self.seed = seed
        self.cell = cell
        seeds = iter(range(1000 * seed, 1000 * seed + 1000))

        def uniform():
            return tf.keras.initializers.RandomUniform(
                -init_scale, init_scale, seed=next(seeds)
            )

        self.embedding = self.add_weight(
            name="embedding",
            shape=(vocab_size, embedding_size),
            initializer=uniform(),
        )
        self.layers_ = []
        inputs = embedding_size
        for i, size in enumerate(self.hidden_sizes):
            made = CELLS[cell](
                size,
                kernel_initializer=uniform(),
                recurrent_initializer=uniform(),
                name=f"{cell}_{i}",
            )
            layer = recurrent.Recurrent(
                made, time_major=True, jit_compile=True, name=f"recurrent_{i}"
            )
            layer.build(tf.TensorShape([None, None, inputs]))
            self.layers_.append(layer)
            inputs = size
        self.softmax_w = self.add_weight(
            name="softmax_w", shape=(inputs, vocab_size), initializer=uniform()
        )
        self.softmax_b = self.add_weight(
            name="softmax_b", shape=(vocab_size,), initializer=uniform()
        )
        self.built = True

    @property
    def lstm_cells(self) -> list:
        """The layers' cells, first layer first, whatever their kind."""
        return [layer.cell for layer in self.layers_]

    @property
    def sizes(self) -> dict[str, int]:
        """Units of each layer, by the name of its group."""
        return {cell.name: cell.units for cell in self.lstm_cells}

    @property
    def state_sizes(self) -> list[int]:
        """Widths of the states [h_1, c_1, h_2, c_2, ...]; c of LSTMs only."""
        return [n for cell in self.lstm_cells for n in cell.state_size]

    @property
    def state_names(self) -> list[str]:
        """Names of the states, as signatures show them."""
        return [
            f"{cell.name}_{part}"
            for cell in self.lstm_cells
            for part in _STATES[self.cell]
        ]

    @property
    def state_groups(self) -> list[str]:
        """Name of the group whose units each state holds."""
        return [cell.name for cell in self.lstm_cells for _ in cell.state_size]

    def _by_layer(self, states: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
        """The states of each layer."""
        count = len(_STATES[self.cell])
        return [
            list(states[i : i + count]) for i in range(0, len(states), count)
        ]

    def call(
        self, inputs, states=None, training=None, seed=None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Logits of the next word at every position.

        Args:
          inputs: `[B, T]` int ids.
          states: `[B, n]` tensors, see `state_sizes`; zeros if None.
          training: with dropout, and with what the gradient needs.
          seed: `[2]` int of the dropout; needed if `keep_prob` < 1.

        Returns:
          (logits `[T * B, V]`, time-major: row t * B + b; new states).
        """
        features, finals = self.features(inputs, states, training, seed)
        return self.project(features), finals

    def features(
        self, inputs, states=None, training=None, seed=None, table=None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The last layer's outputs `[T, B, n_N]` and the new states.

        With the `table` of `input_table` there is no dropout on the embedding.
        """
        if states is None:
            batch = tf.shape(inputs)[0]
            states = [tf.zeros([batch, n]) for n in self.state_sizes]
        x = tf.gather(
            self.embedding if table is None else table, tf.transpose(inputs)
        )
        x = tf.cast(x, self.compute_dtype)
        if table is None:
            x = self.drop(x, 0, training, seed)
        finals = []
        for i, (layer, state) in enumerate(
            zip(self.layers_, self._by_layer(states))
        ):
            x, final = layer(
                x,
                initial_state=state,
                training=training,
                hoisted=i == 0 and table is not None,
            )
            x = self.drop(x, i + 1, training, seed)
            finals += final
        return x, finals

    def input_table(self) -> Optional[tf.Tensor]:
        """The first layer's input products; see `recurrent.input_table`."""
        return recurrent.input_table(self.lstm_cells[0], self.embedding)

    def step(
        self, inputs, states, table=None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One time step without a loop: `[B]` ids -> (`[B, V]`, states)."""
        x = tf.gather(self.embedding if table is None else table, inputs)
        finals = []
        for i, (cell, state) in enumerate(
            zip(self.lstm_cells, self._by_layer(states))
        ):
            z = x if i == 0 and table is not None else cell.hoist(x)
            x, final, _ = cell.scan_step(z, state, cell.scan_weights())
            finals += final
        return self.project(x), finals

    def project(self, features: tf.Tensor) -> tf.Tensor:
        """Logits `[positions, V]` of features `[..., n_N]`."""
        flat = tf.reshape(features, [-1, self.hidden_sizes[-1]])
        matrix = products.operand(tf.cast(self.softmax_w, flat.dtype))
        logits = products.product(flat, matrix)
        return tf.nn.bias_add(logits, tf.cast(self.softmax_b, flat.dtype))

    def drop(
        self,
        x: tf.Tensor,
        index: int,
        training: Optional[bool],
        seed: Optional[tf.Tensor],
    ) -> tf.Tensor:
        """Inverted dropout of `x [T, B, n]`: the output of layer `index`."""
        if not training or self.keep_prob >= 1.0:
            return x
        return dropout.drop(
            x,
            self.keep_prob,
            tf.random.experimental.stateless_fold_in(seed, index),
        )

    def iss_groups(self) -> list[groups.Group]:
        """ISS components of each layer, the last one coupled to the softmax."""
        kernels = [cell.kernel for cell in self.lstm_cells[1:]]
        kernels.append(self.softmax_w)
        return [
            cells.iss_group(cell.name, cell, [groups.whole(kernel, 0)])
            for cell, kernel in zip(self.lstm_cells, kernels)
        ]

    def layer_types(self) -> dict[str, list[tf.Variable]]:
        """The matrices, by the types of `LAYER_TYPES`."""
        return {
            "input": [cell.kernel for cell in self.lstm_cells],
            "recurrent": [cell.recurrent_kernel for cell in self.lstm_cells],
            "softmax": [self.softmax_w],
            "embedding": [self.embedding],
        }

    def packable(self) -> dict[str, Union[tf.keras.layers.Layer, tf.Variable]]:
        """What sparse inference multiplies by, first layer first."""
        return {
            **{cell.name: cell for cell in self.lstm_cells},
            "softmax_w": self.softmax_w,
        }

    def mult_adds(self) -> int:
        """Multiply-adds a token."""
        return sum(
            v.shape.num_elements()
            for name in PRUNED_TYPES
            for v in self.layer_types()[name]
        )

    def tf1_views(self) -> dict[str, tf1.View]:
        """The authors' variables, by their name (later TF1's form)."""
        views = {"Model/embedding": tf1.plain(self.embedding)}
        for name, cell in self.tf1_cells().items():
            scope = name[: -len("kernel")]
            if self.cell == "lstm":
                views[name] = tf1.lstm_matrix(cell)
                views[f"{scope}bias"] = tf1.lstm_bias(cell)
            else:
                views[name] = tf1.plain(cell.kernel)
                views[f"{scope}recurrent_kernel"] = tf1.plain(
                    cell.recurrent_kernel
                )
                biases = tf1.vectors(cell.bias)
                for bias, view in zip(
                    (f"{scope}bias", f"{scope}recurrent_bias"), biases
                ):
                    views[bias] = view
        return {
            **views,
            "Model/softmax_w": tf1.plain(self.softmax_w),
            "Model/softmax_b": tf1.plain(self.softmax_b),
        }

    def tf1_cells(self) -> dict[str, tf.keras.layers.Layer]:
        """The cell behind each of the authors' LSTM matrices."""
        return {
            f"Model/RNN/multi_rnn_cell/cell_{i}/"
            f"{_TF1_NAMES[self.cell]}/kernel": cell
            for i, cell in enumerate(self.lstm_cells)
        }

    def resized(self, sizes: dict[str, int]) -> "WordLSTM":
        """A new net with other sizes of the layers named in `sizes`."""
        config = self.get_config()
        config["hidden_sizes"] = [
            sizes.get(cell.name, cell.units) for cell in self.lstm_cells
        ]
        return WordLSTM(**config)

    def get_config(self):
        return {
            "vocab_size": self.vocab_size,
            "embedding_size": self.embedding_size,
            "hidden_sizes": list(self.hidden_sizes),
            "keep_prob": self.keep_prob,
            "init_scale": self.init_scale,
            "seed": self.seed,
            "cell": self.cell,
        }


def sizes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Layer sizes, by name, of a model whose weights have TF1 names.

    Raises:
      UserError: naming the array that is no cell's matrix.
    """
    found = []
    for kind, scope in _TF1_NAMES.items():
        gates = CELLS[kind].gates
        for name, array in arrays.items():
            if name.endswith(f"{scope}/kernel"):
                if (
                    array.ndim != 2
                    or not array.size
                    or (array.shape[1] % gates)
                ):
                    raise errors.UserError(
                        f"'{name}' has shape {array.shape}; expected a "
                        f"matrix with {gates} columns a unit"
                    )
                numbers = [int(n) for n in re.findall(r"\d+", name)]
                found.append((numbers, kind, array.shape[1] // gates))
    # Not in the order of the alphabet, which has cell_10 before cell_2.
    return {
        f"{kind}_{i}": units for i, (_, kind, units) in enumerate(sorted(found))
    }
