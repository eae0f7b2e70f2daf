"""The authors' word language model: embedding, stacked LSTMs, softmax.

With GRUs or plain recurrent layers in the place of the LSTMs, too.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import re
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns.experiments.language import net as net_lib
from iss_rnns.interop import tf1
from iss_rnns.ops import dropout
from ptb import configs

CELLS: dict[str, Any] = {
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
LAYER_TYPES, PRUNED_TYPES = net_lib.LAYER_TYPES, net_lib.PRUNED_TYPES
ModelConfig = configs.ModelConfig
CONFIGS = configs.CONFIGS


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


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Inverted dropout of the embedding's and each layer's output.

    The recurrent path has none (Zaremba et al. 2014). New masks for each time
    step.

    Attributes:
      keep_prob: of each element.
      seed: `[2]` int; each place draws masks of its own.
    """

    keep_prob: float
    seed: tf.Tensor

    def on_embedding(self, x: tf.Tensor) -> tf.Tensor:
        """`[T, B, E]`."""
        return self._drop(x, 0)

    def on_output(self, x: tf.Tensor, layer: int) -> tf.Tensor:
        """`[T, B, n]`."""
        return self._drop(x, layer + 1)

    def constants(self, layer: int) -> tuple:
        """A cell reads none."""
        del layer
        return ()

    def _drop(self, x, place):
        fold = tf.random.experimental.stateless_fold_in(self.seed, place)
        return dropout.drop(x, self.keep_prob, fold, rows=1)


class WordLSTM(net_lib.LanguageNet):
    """Embedding -> LSTM x N -> softmax (Zaremba et al. 2014; ISS, sec. 4.1).

    Weights: see `LanguageNet`; the cells' biases start at 0.

    Args:
      vocab_size: V.
      embedding_size: E.
      hidden_sizes: n_1 .. n_N, any number of layers of any sizes.
      keep_prob: see `Dropout`.
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
        def new_cell(i, units, uniform):
            return CELLS[cell](
                units,
                kernel_initializer=uniform(),
                recurrent_initializer=uniform(),
                name=f"{cell}_{i}",
            )

        super().__init__(
            vocab_size,
            embedding_size,
            hidden_sizes,
            new_cell,
            init_scale,
            seed,
            **kwargs,
        )
        self.embedding_size = embedding_size
        self.keep_prob = keep_prob
        self.cell = cell
        self.state_letters = _STATES[cell]

    def draw_noise(self, ids: tf.Tensor, seed: tf.Tensor) -> Optional[Dropout]:
        """See base class."""
        del ids
        return None if self.keep_prob >= 1.0 else Dropout(self.keep_prob, seed)

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
        """The cell behind each of the authors' cells' matrices."""
        return {
            f"Model/RNN/multi_rnn_cell/cell_{i}/"
            f"{_TF1_NAMES[self.cell]}/kernel": cell
            for i, cell in enumerate(self.cells)
        }

    def get_config(self):
        return {
            **super().get_config(),
            "embedding_size": self.embedding_size,
            "keep_prob": self.keep_prob,
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
