"""The authors' highway language model: embedding, highway layers, softmax."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Optional

import tensorflow as tf

from iss_rnns import arguments
from iss_rnns import cells
from iss_rnns.experiments.language import net as net_lib
from iss_rnns.interop import tf1
from rhns import configs
from rhns import noise as noise_lib

ModelConfig = configs.ModelConfig
LR_POLICIES = configs.LR_POLICIES
LAYER_TYPES, PRUNED_TYPES = net_lib.LAYER_TYPES, net_lib.PRUNED_TYPES
NO_NOISE = noise_lib.Rates()


def learning_rate(config: ModelConfig, epoch: int) -> float:
    """Learning rate of an epoch, counted from 0, by the config's policy.

    `quick_start` divides it by lr_decay each epoch from `max_epoch` on,
    `equal_step` three times over `max_max_epoch` epochs (a fourth time in the
    rest of that division, as in the authors' code). Infinite where it leaves
    the range of numbers.
    """
    arguments.one_of("lr_policy", config.lr_policy, LR_POLICIES)
    if config.lr_policy == "quick_start":
        power = max(epoch - config.max_epoch + 1, 0)
    else:
        power = epoch // max(config.max_max_epoch // 3, 1)
    try:
        return config.learning_rate / config.lr_decay**power
    except ArithmeticError:  # too large a divisor, or one that became 0
        return 0.0 if config.lr_decay > 1.0 else math.inf


class HighwayLM(net_lib.LanguageNet):
    """Embedding -> highway layers -> softmax (Zilly et al. 2016; ISS, 4.1.2).

    Weights: see `LanguageNet`, with the cells of `cells.RHNCell`; biases t
    start at `init_bias`, biases h as all the rest.

    Args:
      vocab_size: V.
      hidden_sizes: widths of the layers.
      depth: micro-steps of each layer.
      tied: see `LanguageNet`.
      embedding_size: E when not tied. None makes it the first layer's width
        and each column of the embedding a part of that layer's unit.
      rates: of the variational noise in training.
      init_scale: of the initial weights.
      init_bias: of the biases t.
      seed: of the initial weights.

    Raises:
      ValueError: if it is tied and an `embedding_size` is given.
    """

    state_letters = "s"

    def __init__(
        self,
        vocab_size: int,
        hidden_sizes: Sequence[int],
        depth: int,
        tied: bool = True,
        embedding_size: Optional[int] = None,
        rates: noise_lib.Rates = NO_NOISE,
        init_scale: float = 0.04,
        init_bias: float = -2.0,
        seed: int = 0,
        **kwargs,
    ):
        if tied and embedding_size is not None:
            raise ValueError(
                "A tied embedding has the last layer's width; "
                f"leave out embedding_size={embedding_size}."
            )

        def new_cell(i, units, uniform):
            return cells.RHNCell(
                units,
                depth,
                forget_bias=init_bias,
                kernel_initializer=uniform(),
                bias_initializer=uniform(),
                name=f"rhn_{i}",
            )

        super().__init__(
            vocab_size,
            hidden_sizes[-1] if tied else embedding_size or hidden_sizes[0],
            hidden_sizes,
            new_cell,
            init_scale,
            seed,
            tied,
            **kwargs,
        )
        self.depth = depth
        self.embedding_size = embedding_size
        self.rates = rates
        self.init_bias = init_bias

    @property
    def embedding_layer(self) -> Optional[int]:
        """See base class; an untied embedding of another width has none."""
        if self.tied:
            return -1
        return 0 if self.embedding_size is None else None

    def draw_noise(self, ids: tf.Tensor, seed: tf.Tensor) -> noise_lib.Noise:
        """The masks of a batch of ids `[B, T]`; see `noise.draw`."""
        inputs = (self.embedding_width, *self.hidden_sizes[:-1])
        return noise_lib.draw(
            ids, seed, self.rates, list(zip(inputs, self.hidden_sizes))
        )

    def tf1_views(self) -> dict[str, tf1.View]:
        """The authors' variables, by their name."""
        views = {"model/embedding": tf1.plain(self.embedding)}
        for i, cell in enumerate(self.cells):
            for name, view in tf1.highway_views(cell).items():
                views[f"model/RHN{i}/{name}"] = view
        if not self.tied:
            views["model/softmax_w"] = tf1.plain(self.softmax_w)
        return {**views, "model/softmax_b": tf1.plain(self.softmax_b)}

    def get_config(self):
        return {
            **super().get_config(),
            "depth": self.depth,
            "tied": self.tied,
            "embedding_size": self.embedding_size,
            "rates": dataclasses.asdict(self.rates),
            "init_bias": self.init_bias,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{**config, "rates": noise_lib.Rates(**config["rates"])})
