"""Small nets of the library's own parts, as a user would write them."""

import itertools

import numpy as np
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import groups
from iss_rnns import recurrent
from iss_rnns.experiments.language import model as language_model
from iss_rnns.interop import tf1
from iss_rnns.ops import dropout


class Net(tf.keras.Model):
    """Embedding -> LSTMs -> dense, with dropout in between.

    All matrices and the last bias start uniform in (-scale, scale).
    `new_model` trains it.
    """

    def __init__(
        self,
        vocabulary=9,
        embedding=4,
        sizes=(4,),
        scale=0.5,
        seed=0,
        keep_prob=1.0,
        jit_compile=False,
    ):
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding_size = embedding
        self.sizes = tuple(sizes)
        self.scale = scale
        self.seed = seed
        self.keep_prob = keep_prob
        self.jit_compile = jit_compile
        seeds = itertools.count(1000 * seed)

        def uniform():
            return tf.keras.initializers.RandomUniform(
                -scale, scale, seed=next(seeds)
            )

        self.embedding = tf.keras.layers.Embedding(
            vocabulary, embedding, uniform(), name="embedding"
        )
        self.recurrent = []
        for i, (inputs, units) in enumerate(
            zip([embedding, *self.sizes], self.sizes)
        ):
            layer = recurrent.Recurrent(
                cells.LSTMCell(
                    units,
                    kernel_initializer=uniform(),
                    recurrent_initializer=uniform(),
                    name=f"lstm_{i}",
                ),
                time_major=True,
                jit_compile=jit_compile,
            )
            layer.build(tf.TensorShape([None, None, inputs]))
            self.recurrent.append(layer)
        self.dense = tf.keras.layers.Dense(
            vocabulary,
            kernel_initializer=uniform(),
            bias_initializer=uniform(),
            name="dense",
        )
        for layer, shape in (
            (self.embedding, [None, None]),
            (self.dense, [None, self.sizes[-1]]),
        ):
            with tf.name_scope(layer.name):
                layer.build(shape)
        self.built = True

    @property
    def cells(self):
        return [layer.cell for layer in self.recurrent]

    @property
    def state_sizes(self):
        return [n for cell in self.cells for n in cell.state_size]

    @property
    def state_groups(self):
        return [cell.name for cell in self.cells for _ in cell.state_size]

    def call(self, ids, states=None, training=None, seed=None):
        """Ids `[B, T]` -> (logits `[T * B, V]`, time-major; states)."""

        def drop(x, place):
            if not training or self.keep_prob == 1.0:
                return x
            fold = tf.random.experimental.stateless_fold_in(seed, place)
            return dropout.drop(x, self.keep_prob, fold)

        if states is None:
            states = [tf.zeros([tf.shape(ids)[0], n]) for n in self.state_sizes]
        states, finals = iter(states), []
        x = drop(self.embedding(tf.transpose(ids)), 0)
        for place, layer in enumerate(self.recurrent, 1):
            start = list(itertools.islice(states, len(layer.cell.state_size)))
            x, final = layer(x, initial_state=start, training=training)
            x, finals = drop(x, place), finals + final
        return self.dense(tf.reshape(x, [-1, self.sizes[-1]])), finals

    def iss_groups(self):
        readers = [cell.input_slices() for cell in self.cells[1:]]
        readers.append([groups.whole(self.dense.kernel, 0)])
        return [
            cells.iss_group(cell.name, cell, slices)
            for cell, slices in zip(self.cells, readers)
        ]

    def resized(self, sizes):
        return Net(
            **{
                **self.get_config(),
                "sizes": [sizes.get(c.name, c.units) for c in self.cells],
            }
        )

    def get_config(self):
        return {
            "vocabulary": self.vocabulary,
            "embedding": self.embedding_size,
            "sizes": list(self.sizes),
            "scale": self.scale,
            "seed": self.seed,
            "keep_prob": self.keep_prob,
            "jit_compile": self.jit_compile,
        }

    def tf1_views(self):
        """As the authors' word language model names them."""
        views = {"Model/embedding": tf1.plain(self.embedding.embeddings)}
        for name, cell in self.tf1_cells().items():
            views[name] = tf1.lstm_matrix(cell)
            views[name.replace("kernel", "bias")] = tf1.lstm_bias(cell)
        views["Model/softmax_w"] = tf1.plain(self.dense.kernel)
        views["Model/softmax_b"] = tf1.plain(self.dense.bias)
        return views

    def tf1_cells(self):
        """The cell behind each of their LSTM matrices."""
        return {
            f"Model/RNN/multi_rnn_cell/cell_{i}/basic_lstm_cell/kernel": cell
            for i, cell in enumerate(self.cells)
        }


def scale_units(net, units, factor=0.0):
    """Multiplies what the groups say of some units, `{group: indices}`."""
    for group in net.iss_groups():
        for part in group.slices:
            value = part.variable.numpy()
            for unit in units.get(group.name, ()):
                index = [slice(None)] * value.ndim
                index[part.axis] = part.start + unit
                value[tuple(index)] *= factor
            part.variable.assign(value)


def half_dead(net):
    """The net, every second unit of whose layers has no weight now."""
    scale_units(net, {g.name: range(0, g.size, 2) for g in net.iss_groups()})
    return net


def new_model(
    net, batch=2, optimizer=None, max_grad_norm=5.0, eager=False, **kwargs
):
    """A net in its trainer.

    Args:
      eager: tracing takes longer than a few small steps.
    """
    model = language_model.LanguageModel(net, batch, max_grad_norm, **kwargs)
    optimizer = optimizer or tf.keras.optimizers.SGD(1.0)
    model.compile(optimizer, run_eagerly=eager)
    # Left to the first step, this would have the step traced twice.
    optimizer.build(model.trainable_variables)
    return model


def ids(*shape, vocabulary=9, seed=0):
    """Random int32 ids."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, vocabulary, shape).astype(np.int32)


def logits(net, ids):
    """What shrinking a language model leaves equal: its states get smaller."""
    return net(ids, training=False)[0]
