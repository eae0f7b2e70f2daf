"""What the language models' nets share: embedding, recurrent layers, softmax.

A task completes `LanguageNet`: it makes the cells, says what noise training
draws, and which names the authors gave the weights.
"""

from collections.abc import Iterator, Mapping, Sequence
import itertools
from typing import Callable, Optional, Protocol, Union

import tensorflow as tf

from iss_rnns import cells as cells_lib
from iss_rnns import counting
from iss_rnns import groups
from iss_rnns import recurrent
from iss_rnns.experiments.language import exporting
from iss_rnns.experiments.language import flags as flags_lib
from iss_rnns.export import source as source_lib
from iss_rnns.ops import products

LAYER_TYPES, PRUNED_TYPES = flags_lib.LAYER_TYPES, flags_lib.PRUNED_TYPES

NewInitializer = Callable[[], tf.keras.initializers.Initializer]


class Noise(Protocol):
    """What a batch's activations are multiplied by, and where."""

    def on_embedding(self, x: tf.Tensor) -> tf.Tensor:
        """`[T, B, E]`: the embedded symbols."""

    def constants(self, layer: int) -> Sequence[Optional[tf.Tensor]]:
        """What a layer's cell reads unchanged in every time step."""

    def on_output(self, x: tf.Tensor, layer: int) -> tf.Tensor:
        """`[T, B, n]`: a layer's output."""


class LanguageNet(tf.keras.Model):
    """Embedding -> recurrent layers -> softmax.

    Weights: `embedding [V, E]`, per layer those of its cell, `softmax_w
    [n_N, V]` unless tied, `softmax_b [V]`; all but the cells' biases start
    uniform in (-init_scale, init_scale).

    A subclass says what its states are called (`state_letters`), what noise
    it trains with (`draw_noise`), and completes `get_config`.

    Args:
      vocab_size: V.
      embedding_size: E.
      hidden_sizes: n_1 .. n_N, any number of layers of any sizes.
      new_cell: `new_cell(i, n, uniform)` -> the cell of layer i with n units,
        not yet built; each call of `uniform()` gives the initializer of
        another weight.
      init_scale: of the initial weights.
      seed: of the initial weights.
      tied: the softmax reads with the transposed embedding (Press & Wolf
        2017), whose width E is then that of the last layer.
    """

    state_letters: str  # one a state of each layer, as signatures show them

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int,
        hidden_sizes: Sequence[int],
        new_cell: Callable[[int, int, NewInitializer], tf.keras.layers.Layer],
        init_scale: float,
        seed: int,
        tied: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_sizes = tuple(hidden_sizes)
        self.init_scale = init_scale
        self.seed = seed
        self.tied = tied
        seeds = itertools.count(1000 * seed)

        def uniform():
            return tf.keras.initializers.RandomUniform(
                -init_scale, init_scale, seed=next(seeds)
            )

        # Checkpoints know the weights by the names of these attributes.
        self.embedding = self.add_weight(
            name="embedding",
            shape=(vocab_size, embedding_size),
            initializer=uniform(),
        )
        self.layers_ = []
        inputs = embedding_size
        for i, size in enumerate(self.hidden_sizes):
            layer = recurrent.Recurrent(
                new_cell(i, size, uniform),
                time_major=True,
                jit_compile=True,
                name=f"recurrent_{i}",
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
    def cells(self) -> list[tf.keras.layers.Layer]:
        """The layers' cells, first layer first."""
        return [layer.cell for layer in self.layers_]

    @property
    def sizes(self) -> dict[str, int]:
        """Units of each layer, by the name of its group."""
        return {cell.name: cell.units for cell in self.cells}

    @property
    def embedding_width(self) -> int:
        """E."""
        return self.embedding.shape[1]

    @property
    def embedding_layer(self) -> Optional[int]:
        """The layer whose unit k column k of the embedding is a part of.

        A tied softmax makes it the last one (-1); None: no layer's.
        """
        return -1 if self.tied else None

    @property
    def state_sizes(self) -> list[int]:
        """Widths of the states, e.g. [h_1, c_1, h_2, c_2] of two LSTMs."""
        return [n for cell in self.cells for n in cell.state_size]

    @property
    def state_names(self) -> list[str]:
        """Names of the states, as signatures show them."""
        return [
            f"{cell.name}_{letter}"
            for cell in self.cells
            for letter in self.state_letters
        ]

    @property
    def state_groups(self) -> list[str]:
        """Name of the group whose units each state holds."""
        return [cell.name for cell in self.cells for _ in cell.state_size]

    def _by_layer(
        self, states: Sequence[tf.Tensor]
    ) -> Iterator[list[tf.Tensor]]:
        """The states of each layer."""
        rest = iter(states)
        for cell in self.cells:
            yield list(itertools.islice(rest, len(cell.state_size)))

    def call(
        self,
        inputs,
        states=None,
        training=None,
        seed=None,
        noise=None,
        matrix=None,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Logits of the next symbol at every position.

        Args:
          inputs: `[B, T]` int ids.
          states: `[B, n]` tensors, see `state_sizes`; zeros if None.
          training: with noise, and with what the gradient needs.
          seed: `[2]` int of the noise; needed where there is some.
          noise: see `Noise`, instead of that drawn from the seed; it holds
            in evaluation too (Monte-Carlo evaluation).
          matrix: `[V, E]`, what a tied softmax reads instead of the
            embedding, for a gradient of its own.

        Returns:
          (logits `[T * B, V]`, time-major: row t * B + b; new states).
        """
        features, finals = self.features(inputs, states, training, seed, noise)
        return self.project(features, training, matrix), finals

    def features(
        self,
        inputs,
        states=None,
        training=None,
        seed=None,
        noise=None,
        table=None,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The last layer's outputs `[T, B, n_N]` and the new states.

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
        if noise is not None:
            x = noise.on_embedding(x)
        finals = []
        for i, (layer, state) in enumerate(
            zip(self.layers_, self._by_layer(states))
        ):
            x, final = layer(
                x,
                initial_state=state,
                constants=() if noise is None else noise.constants(i),
                training=training,
                hoisted=i == 0 and table is not None,
            )
            if noise is not None:
                x = noise.on_output(x, i)
            finals += final
        return x, finals

    def draw_noise(self, ids: tf.Tensor, seed: tf.Tensor) -> Optional[Noise]:
        """That of a training step on ids `[B, T]`; None: there is none.

        The same seed, `[2]` int, gives the same noise.
        """
        del ids, seed
        return None

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
        for i, (cell, state) in enumerate(
            zip(self.cells, self._by_layer(states))
        ):
            z = x if i == 0 and table is not None else cell.hoist(x)
            x, final, _ = cell.scan_step(z, state, cell.scan_weights())
            finals += final
        return self.project(x), finals

    def project(
        self,
        features: tf.Tensor,
        training: Optional[bool] = None,
        matrix: Optional[tf.Tensor] = None,
    ) -> tf.Tensor:
        """Logits `[positions, V]` of features `[..., n_N]`; see `call`."""
        flat = tf.reshape(features, [-1, self.hidden_sizes[-1]])
        own = matrix is None
        if matrix is None:
            matrix = self.embedding if self.tied else self.softmax_w
        if self.tied and training and own:
            # As rows, so that this gradient and that of the words looked up
            # count apart in the norm for clipping, as in the authors' code.
            matrix = tf.gather(matrix, tf.range(self.vocab_size))
        logits = products.product(
            flat,
            products.operand(tf.cast(matrix, flat.dtype)),
            transpose_b=self.tied,
        )
        return tf.nn.bias_add(logits, tf.cast(self.softmax_b, flat.dtype))

    def iss_groups(self) -> list[groups.Group]:
        """ISS components of each layer (ISS paper, sections 3.1 and 4.1).

        Unit k of a layer: what its cell says (`unit_slices`), and its row in
        whatever reads the layer: the next layer's matrices, of the last one
        the softmax. Column k of the embedding, with the rows that read it, is
        one with the unit of `embedding_layer`.
        """
        readers = [cell.input_slices() for cell in self.cells[1:]]
        readers.append([] if self.tied else [groups.whole(self.softmax_w, 0)])
        if self.embedding_layer is not None:
            readers[self.embedding_layer] += [
                groups.whole(self.embedding, 1),
                *self.cells[0].input_slices(),
            ]
        return [
            cells_lib.iss_group(cell.name, cell, slices)
            for cell, slices in zip(self.cells, readers)
        ]

    def weights_by_name(self) -> dict[str, tf.Variable]:
        """The weights, as reports name them: in the order of the data's way."""
        named = {"embedding": self.embedding}
        for cell in self.cells:
            named.update(counting.layer_weights(cell))
        if not self.tied:
            named["softmax/kernel"] = self.softmax_w
        return {**named, "softmax/bias": self.softmax_b}

    def layer_types(self) -> dict[str, list[tf.Variable]]:
        """The matrices, by the types of `LAYER_TYPES`."""
        return {
            "input": [
                s.variable for cell in self.cells for s in cell.input_slices()
            ],
            # What has a row for each unit.
            "recurrent": [
                s.variable
                for cell in self.cells
                for s in cell.unit_slices()
                if s.axis == 0
            ],
            "softmax": [] if self.tied else [self.softmax_w],
            "embedding": [self.embedding],
        }

    def packable(self) -> dict[str, Union[tf.keras.layers.Layer, tf.Variable]]:
        """What sparse inference multiplies by, first layer first."""
        found = {cell.name: cell for cell in self.cells}
        return found if self.tied else {**found, "softmax_w": self.softmax_w}

    def export_source(self) -> source_lib.Source:
        """What `export.export` takes the net as."""
        return exporting.source(self)

    def mult_adds(self) -> int:
        """Multiply-adds a token."""
        return (
            self.hidden_sizes[-1] * self.vocab_size + self.recurrent_mult_adds()
        )

    def recurrent_mult_adds(self) -> int:
        """Multiply-adds of the recurrent layers a token."""
        types = self.layer_types()
        return sum(
            v.shape.num_elements()
            for v in (*types["input"], *types["recurrent"])
        )

    def resized(self, sizes: Mapping[str, int]) -> "LanguageNet":
        """A new net with other sizes of the layers named in `sizes`."""
        config = self.get_config()
        config["hidden_sizes"] = [
            sizes.get(cell.name, cell.units) for cell in self.cells
        ]
        return type(self).from_config(config)

    def get_config(self):
        return {
            "vocab_size": self.vocab_size,
            "hidden_sizes": list(self.hidden_sizes),
            "init_scale": self.init_scale,
            "seed": self.seed,
        }
