"""The authors' highway language model: embedding, highway layers, softmax."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Optional, Union

import tensorflow as tf

from iss_rnns import cells
from iss_rnns import groups
from iss_rnns import recurrent
from iss_rnns.interop import tf1
from iss_rnns.ops import products
from rhns import noise as noise_lib

LR_POLICIES = ("quick_start", "equal_step")
# Matrices by type, as pruning asks for them, and what it prunes by default:
# all that multiplies and is no embedding too.
LAYER_TYPES = ("input", "recurrent", "softmax", "embedding")
PRUNED_TYPES = LAYER_TYPES[:3]
NO_NOISE = noise_lib.Rates()


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Hyper-parameters, named and preset as in the authors' code."""

    init_scale: float = 0.04
    init_bias: float = -2.0
    num_layers: int = 1
    depth: int = 4
    learning_rate: float = 0.2
    lr_decay: float = 1.02
    weight_decay: float = 1e-7  # L2 on everything
    max_grad_norm: float = 10.0
    num_steps: int = 35
    hidden_size: int = 1000
    max_epoch: int = 20  # epochs at the first learning rate
    max_max_epoch: int = 500  # epochs in all
    batch_size: int = 20
    drop_x: float = 0.25
    drop_i: float = 0.75
    drop_h: float = 0.25
    drop_o: float = 0.75
    drop_multi: float = 1.0  # multiplies the four rates above
    tied: bool = True
    structure_wd: float = 0.0  # strength of the group lasso
    zero_threshold: float = 0.0
    lr_policy: str = "quick_start"

    @property
    def rates(self) -> noise_lib.Rates:
        """The four rates that hold."""
        return noise_lib.Rates(
            *(
                self.drop_multi * rate
                for rate in (self.drop_x, self.drop_i, self.drop_h, self.drop_o)
            )
        )


def learning_rate(config: ModelConfig, epoch: int) -> float:
    """Learning rate of an epoch, counted from 0, by the config's policy.

    `quick_start` divides it by lr_decay each epoch from `max_epoch` on,
    `equal_step` three times over `max_max_epoch` epochs (a fourth time in the
    rest of that division, as in the authors' code). Infinite where it leaves
    the range of numbers.
    """
    if config.lr_policy == "quick_start":
        power = max(epoch - config.max_epoch + 1, 0)
    elif config.lr_policy == "equal_step":
        power = epoch // max(config.max_max_epoch // 3, 1)
    else:
        raise ValueError(
            f"lr_policy must be one of {', '.join(LR_POLICIES)},"
            f" got {config.lr_policy!r}."
        )
    try:
        return config.learning_rate / config.lr_decay**power
    except ArithmeticError:  # too large a divisor, or one that became 0
        return 0.0 if config.lr_decay > 1.0 else math.inf


class HighwayLM(tf.keras.Model):
    """Embedding -> highway layers -> softmax (Zilly et al. 2016; ISS, 4.1.2).

    Weights: `embedding [V, E]`, per layer those of `cells.RHNCell`,
    `softmax_w [n, V]` unless tied, `softmax_b [V]`; all start uniform in
    (-init_scale, init_scale), but biases t at `init_bias`.

    Args:
      vocab_size: V.
      hidden_sizes: widths of the layers.
      depth: micro-steps of each layer.
      tied: the softmax reads with the transposed embedding, whose width E is
        then that of the last layer.
      embedding_size: E when not tied. None makes it the first layer's width
        and each column of the embedding a part of that layer's unit.
      rates: of the variational noise in training.
      init_scale: of the initial weights.
      init_bias: of the biases t.
      seed: of the initial weights.

    Raises:
      ValueError: if it is tied and an `embedding_size` is given.
    """

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
        super().__init__(**kwargs)
        if tied and embedding_size is not None:
            raise ValueError(
                "A tied embedding has the last layer's width; "
                f"leave out embedding_size={embedding_size}."
            )
        self.vocab_size = vocab_size
        self.hidden_sizes = tuple(hidden_sizes)
        self.depth = depth
        self.tied = tied
        self.embedding_size = embedding_size
        self.rates = rates
        self.init_scale = init_scale
        self.init_bias = init_bias
        self.seed = seed
        seeds = iter(range(1000 * seed, 1000 * seed + 1000))

        def uniform():
            return tf.keras.initializers.RandomUniform(
                -init_scale, init_scale, seed=next(seeds)
            )

        self.layers_ = []
        inputs = self.embedding_width
        self.embedding = self.add_weight(
            name="embedding", shape=(vocab_size, inputs), initializer=uniform()
        )
        for i, size in enumerate(self.hidden_sizes):
            cell = cells.RHNCell(
                size,
                depth,
                forget_bias=init_bias,
                kernel_initializer=uniform(),
                bias_initializer=uniform(),
                name=f"rhn_{i}",
            )
            layer = recurrent.Recurrent(
                cell, time_major=True, jit_compile=True, name=f"recurrent_{i}"
            )
            layer.build(tf.TensorShape([None, None, inputs]))
            self.layers_.append(layer)
            inputs = size
        if not tied:
            self.softmax_w = self.add_weight(
                name="softmax_w",
                shape=(inputs, vocab_size),
                initializer=uniform(),
            )
        self.softmax_b = self.add_weight(
            name="softmax_b", shape=(vocab_size,), initializer=uniform()
        )
        self.built = True

    @property
    def sizes(self) -> dict[str, int]:
        """Units of each layer, by the name of its group."""
        return {cell.name: cell.units for cell in self.cells}

    @property
    def embedding_width(self) -> int:
        """E."""
        if self.tied:
            return self.hidden_sizes[-1]
        return self.embedding_size or self.hidden_sizes[0]

    @property
    def cells(self) -> list[cells.RHNCell]:
        """The layers' cells, first layer first."""
        return [layer.cell for layer in self.layers_]

    @property
    def state_sizes(self) -> list[int]:
        """Widths of the states, one a layer."""
        return list(self.hidden_sizes)

    @property
    def state_names(self) -> list[str]:
        """Names of the states, as signatures show them."""
        return [f"{cell.name}_s" for cell in self.cells]

    @property
    def state_groups(self) -> list[str]:
        """Name of the group whose units each state holds."""
        return [cell.name for cell in self.cells]

    def call(
        self, inputs, states=None, training=None, seed=None, noise=None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Logits of the next symbol at every position.

        Args:
          inputs: `[B, T]` int ids.
          states: `[B, n]` tensors, see `state_sizes`; zeros if None.
          training: with noise, and with what the gradient needs.
          seed: `[2]` int of the noise.
          noise: a `noise.Noise` instead of one drawn from the seed; it holds
            in evaluation too (Monte-Carlo evaluation).

        Returns:
          (logits `[T * B, V]`, time-major: row t * B + b; new states).
        """
        features, finals = self.features(inputs, states, training, seed, noise)
        return self.project(features, training), finals

    def features(
        self,
        inputs,
        states=None,
        training=None,
        seed=None,
        noise=None,
        table=None,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The last layer's outputs `[T, B, n]` and the new states.

        The `table` of `input_table` is for evaluation without noise.
        """
        if states is None:
            batch = tf.shape(inputs)[0]
            states = [tf.zeros([batch, n]) for n in self.state_sizes]
        if noise is None and training:
            noise = self.draw_noise(inputs, seed)
        x = tf.gather(
            self.embedding if table is None else table, tf.transpose(inputs)
        )
        x = tf.cast(x, self.compute_dtype)
        if noise and noise.words is not None:
            x *= tf.cast(tf.transpose(noise.words), x.dtype)[..., None]
        finals = []
        for i, layer in enumerate(self.layers_):
            x, final = layer(
                x,
                initial_state=[states[i]],
                constants=noise.layers[i] if noise else (),
                training=training,
                hoisted=i == 0 and table is not None,
            )
            finals += final
        if noise and noise.outputs is not None:
            x *= tf.cast(noise.outputs, x.dtype)
        return x, finals

    def input_table(self) -> Optional[tf.Tensor]:
        """The first layer's input products; see `recurrent.input_table`.

        None if tied: the softmax needs the embedding itself.
        """
        return (
            None
            if self.tied
            else recurrent.input_table(self.cells[0], self.embedding)
        )

    def step(
        self, inputs, states, table=None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One time step without a loop: `[B]` ids -> (`[B, V]`, states)."""
        x = tf.gather(self.embedding if table is None else table, inputs)
        finals = []
        for i, (cell, state) in enumerate(zip(self.cells, states)):
            z = x if i == 0 and table is not None else cell.hoist(x)
            x, final, _ = cell.scan_step(z, [state], cell.scan_weights())
            finals += final
        return self.project(x), finals

    def project(
        self, features: tf.Tensor, training: Optional[bool] = None
    ) -> tf.Tensor:
        """Logits `[positions, V]` of features `[..., n]`."""
        flat = tf.reshape(features, [-1, self.hidden_sizes[-1]])
        matrix = self.embedding if self.tied else self.softmax_w
        if self.tied and training:
            # As rows, so that this gradient and that of the words looked up
            # count apart in the norm for clipping, as in the authors' code.
            matrix = tf.gather(matrix, tf.range(self.vocab_size))
        logits = products.product(
            flat,
            products.operand(tf.cast(matrix, flat.dtype)),
            transpose_b=self.tied,
        )
        return tf.nn.bias_add(logits, tf.cast(self.softmax_b, flat.dtype))

    def draw_noise(self, ids: tf.Tensor, seed: tf.Tensor) -> noise_lib.Noise:
        """The masks of a batch of ids `[B, T]`; see `noise.draw`."""
        inputs = (self.embedding_width, *self.hidden_sizes[:-1])
        return noise_lib.draw(
            ids, seed, self.rates, list(zip(inputs, self.hidden_sizes))
        )

    def iss_groups(self) -> list[groups.Group]:
        """ISS components of each layer (ISS paper, section 4.1.2).

        Unit k of a layer: its column in every matrix of the layer, its row in
        every recurrent one, and its row in whatever reads the layer. Column k
        of the embedding, with the rows that read it, is one with the unit of
        the last layer if tied, else with that of the first layer; an untied
        embedding of another width is in no group.
        """
        readers = [cell.input_slices() for cell in self.cells[1:]]
        readers.append([] if self.tied else [groups.whole(self.softmax_w, 0)])
        if self.tied or self.embedding_size is None:
            readers[-1 if self.tied else 0] += [
                groups.whole(self.embedding, 1),
                *self.cells[0].input_slices(),
            ]
        return [
            cells.iss_group(cell.name, cell, slices)
            for cell, slices in zip(self.cells, readers)
        ]

    def layer_types(self) -> dict[str, list[tf.Variable]]:
        """The matrices, by the types of `LAYER_TYPES`."""
        return {
            "input": [
                kernel
                for cell in self.cells
                for kernel in (cell.kernel_h, cell.kernel_t)
            ],
            "recurrent": [
                matrix
                for cell in self.cells
                for matrix in (*cell.recurrent_h, *cell.recurrent_t)
            ],
            "softmax": [] if self.tied else [self.softmax_w],
            "embedding": [self.embedding],
        }

    def packable(self) -> dict[str, Union[tf.keras.layers.Layer, tf.Variable]]:
        """What sparse inference multiplies by, first layer first."""
        found = {cell.name: cell for cell in self.cells}
        return found if self.tied else {**found, "softmax_w": self.softmax_w}

    def mult_adds(self) -> int:
        """Multiply-adds a token."""
        inputs = (self.embedding_width, *self.hidden_sizes[:-1])
        layers = sum(
            2 * (width + self.depth * units) * units
            for width, units in zip(inputs, self.hidden_sizes)
        )
        return layers + self.hidden_sizes[-1] * self.vocab_size

    def tf1_views(self) -> dict[str, tf1.View]:
        """The authors' variables, by their name."""
        views = {"model/embedding": tf1.plain(self.embedding)}
        for i, cell in enumerate(self.cells):
            for name, view in tf1.highway_views(cell).items():
                views[f"model/RHN{i}/{name}"] = view
        if not self.tied:
            views["model/softmax_w"] = tf1.plain(self.softmax_w)
        return {**views, "model/softmax_b": tf1.plain(self.softmax_b)}

    def resized(self, sizes: dict[str, int]) -> "HighwayLM":
        """A new net with other sizes of the layers named in `sizes`."""
        config = self.get_config()
        config["hidden_sizes"] = [
            sizes.get(cell.name, cell.units) for cell in self.cells
        ]
        return HighwayLM.from_config(config)

    def get_config(self):
        return {
            "vocab_size": self.vocab_size,
            "hidden_sizes": list(self.hidden_sizes),
            "depth": self.depth,
            "tied": self.tied,
            "embedding_size": self.embedding_size,
            "rates": dataclasses.asdict(self.rates),
            "init_scale": self.init_scale,
            "init_bias": self.init_bias,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{**config, "rates": noise_lib.Rates(**config["rates"])})
