"""BiDAF (Seo et al. 2017) as in the authors' program, with LSTMs of any size.

Characters and words -> highway -> LSTM over question and context -> attention
both ways -> two LSTM layers -> first word of the answer -> one more LSTM
layer -> last word. N questions, M sentences of a context, JX words of a
sentence, JQ of a question, W characters of a word.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from bidaf import configs
from bidaf.net import attention
from bidaf.net import attention_cell
from bidaf.net import authors
from bidaf.net import groups
from bidaf.net import layers
from iss_rnns import cells
from iss_rnns import counting
from iss_rnns import errors
from iss_rnns.interop import tf1

ModelConfig = configs.ModelConfig
LAYER_TYPES = configs.LAYER_TYPES

# Places with dropout; each draws masks of its own.
_SITES = {
    "context characters": 0,
    "question characters": 1,
    "question": 2,
    "modelling 1": 4,
    "modelling 2": 6,
    "answer 1": 8,
    "output": 11,
    "answer 2": 13,
}


class _Seeds:
    """Hands out seeds that nothing else draws with."""

    def __init__(self, first: int):
        self._next = first

    def __call__(self, count: int = 1) -> int:
        """The first of `count` seeds."""
        first = self._next
        self._next += count
        return first


class BiDAF(tf.keras.Model):
    """The network, from ids to probabilities of the answer's ends.

    Args:
      config: see `ModelConfig`.
      sizes: units of LSTM directions by name (`DIRECTIONS`); those left out
        have `hidden_size`.
      seed: of the initial weights.
      word_vectors: `[word_vocab_size, word_emb_size]` initial embedding;
        Glorot-uniform if None.

    Raises:
      UserError: on a size below 1, an unknown direction, or sizes that
        `dynamic_att` cannot have.
    """

    def __init__(
        self,
        config: ModelConfig,
        sizes: Optional[Mapping[str, int]] = None,
        seed: int = 0,
        word_vectors: Optional[np.ndarray] = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.config = config
        self.sizes = _checked_sizes(config, sizes or {})
        self.seed = seed
        seeds = _Seeds(1000 * seed)
        self._make_embeddings(seeds, word_vectors)
        width = config.word_size
        self.highway = [
            _built(layers.Highway(seeds(2), name=f"highway_{i}"), width)
            for i in range(config.highway_num_layers * config.highway)
        ]
        self.question_lstm = self._two_way(groups.PREPROCESSING, width, seeds)
        self.context_lstm = self.question_lstm
        if not config.share_lstm_weights:
            self.context_lstm = self._two_way(
                groups.PREPROCESSING, width, seeds, suffix="_context"
            )
        self.similarity = None
        if not config.dynamic_att and (config.q2c_att or config.c2q_att):
            self.similarity = _built(
                attention.Similarity(
                    config.logit_func,
                    seeds(attention.matrices(config.logit_func)),
                    name="u_logits",
                ),
                self.pre_size,
                self.pre_size,
            )
        attending = config.dynamic_att
        first = self.width(groups.MODELLING_1)
        self.modelling = [
            self._two_way(groups.MODELLING_1, self.p_size, seeds, attending),
            self._two_way(groups.MODELLING_2, first, seeds, attending),
        ]
        self.output_lstm = self._two_way(
            groups.OUTPUT, self.p_size + 3 * self.g_size, seeds
        )
        self.answers = [
            _built(
                attention.AnswerLogits(
                    config.answer_func,
                    config.hidden_size,
                    seeds(attention.matrices(config.answer_func)),
                    name=f"logits{i}",
                ),
                size,
                self.p_size,
            )
            for i, size in ((1, self.g_size), (2, self.width(groups.OUTPUT)))
        ]
        self.na_bias = None
        if config.na:
            self.na_bias = self.add_weight(
                name="na_bias",
                shape=(),
                initializer=tf.keras.initializers.RandomUniform(
                    -(3**0.5), 3**0.5, seeds()
                ),
            )
        self.built = True

    def _make_embeddings(self, seeds, word_vectors) -> None:
        config = self.config
        self.cnns = {}
        if config.use_char_emb:
            self.char_embedding = self.add_weight(
                name="char_embedding",
                initializer=layers.glorot(seeds()),
                shape=(config.char_vocab_size, config.char_emb_size),
            )
            self.cnns = {
                scope: _built(
                    layers.CharCNN(
                        config.heights,
                        config.channels,
                        seeds(2 * len(config.channels)),
                        name=f"char_cnn_{scope}",
                    ),
                    config.char_emb_size,
                )
                for scope in ("xx", "qq")[: 2 - config.share_cnn_weights]
            }
        if config.use_word_emb:
            initial = (
                layers.glorot(seeds())
                if word_vectors is None
                else tf.keras.initializers.Constant(word_vectors)
            )
            self.word_embedding = self.add_weight(
                name="word_embedding",
                initializer=initial,
                shape=(config.word_vocab_size, config.word_emb_size),
            )

    def _two_way(self, names, inputs, seeds, attending=False, suffix=""):
        features = 4 * inputs if attending else inputs
        pair = [
            layers.lstm_cell(
                name + suffix, features, self.sizes[name], seeds(2)
            )
            for name in names
        ]
        if attending:
            pair = [attention_cell.AttentionCell(c, seeds()) for c in pair]
        return _built(
            layers.TwoWay(*pair, name="_".join(names) + suffix), inputs
        )

    def width(self, names: Sequence[str]) -> int:
        """Units of some directions together."""
        return sum(self.sizes[name] for name in names)

    @property
    def pre_size(self) -> int:
        """Features of a word after the preprocessing LSTMs."""
        return self.width(groups.PREPROCESSING)

    @property
    def p_blocks(self) -> int:
        """Blocks of `pre_size` features that the attention hands on."""
        if self.config.dynamic_att:
            return 1
        return 4 if self.config.q2c_att else 3

    @property
    def p_size(self) -> int:
        """Features of a word after the attention."""
        return self.p_blocks * self.pre_size

    @property
    def g_size(self) -> int:
        """Features of a word after the second modelling layer."""
        return self.width(groups.MODELLING_2)

    def call(
        self, inputs, vectors=None, training=None, seed=None
    ) -> dict[str, tf.Tensor]:
        """Scores of every context word.

        Args:
          inputs: dict of `x [N, M, JX]`, `cx [N, M, JX, W]`, `q [N, JQ]`,
            `cq [N, JQ, W]` int32; and, unless 0 is the id of nothing but
            padding, `x_mask`, `q_mask` bool of x's and q's shape.
          vectors: `[words, word_emb_size]`: of ids from `word_vocab_size` on.
          training: with dropout, and with what the gradient needs.
          seed: `[2]` int, of the dropout; needed if a keep probability is
            below 1.

        Returns:
          dict: `start`, `end` `[N, M, JX]` probabilities that the answer
          begins, ends at a word; `words`, that it is in the answer (trained
          by `wy`); `start_logits`, `end_logits` `[N, M * JX]`; with `na`,
          `na_prob [N]`; and what lies between, under the authors' names.
        """
        config = self.config
        x, q = inputs["x"], inputs["q"]
        x_mask = inputs.get("x_mask", x != 0)
        q_mask = inputs.get("q_mask", q != 0)

        def dropped(site, keep_prob=config.input_keep_prob):
            return {
                "training": training,
                "seed": seed,
                "keep_prob": keep_prob,
                "site": _SITES[site],
            }

        xx = self.embed(
            x,
            inputs["cx"],
            "xx",
            vectors,
            dropped("context characters", config.keep_prob),
        )
        qq = self.embed(
            q,
            inputs["cq"],
            "qq",
            vectors,
            dropped("question characters", config.keep_prob),
        )
        lengths = tf.reduce_sum(tf.cast(x_mask, tf.int32), -1)
        # The context runs without dropout, as in the authors' code.
        u = self.question_lstm(
            qq,
            tf.reduce_sum(tf.cast(q_mask, tf.int32), -1),
            **dropped("question"),
        )
        h = by_sentence(self.context_lstm, xx, lengths, training=training)
        tensors = {"xx": xx, "qq": qq, "u": u, "h": h}
        p, constants = self._attend(h, u, x_mask, q_mask, tensors)
        keep = 1.0 if config.dynamic_att else config.input_keep_prob
        g = p
        for i, layer in enumerate(self.modelling):
            g = by_sentence(
                layer,
                g,
                lengths,
                constants=constants,
                **dropped(f"modelling {i + 1}", keep),
            )
        logits = self._answer(0, g, p, x_mask, dropped("answer 1"))
        chosen = tf.linalg.matvec(
            tf.reshape(g, [tf.shape(g)[0], -1, self.g_size]),
            tf.nn.softmax(logits),
            transpose_a=True,
        )[:, None, None]
        g2 = by_sentence(
            self.output_lstm,
            tf.concat(
                [p, g, tf.broadcast_to(chosen, tf.shape(g)), g * chosen], -1
            ),
            lengths,
            **dropped("output"),
        )
        logits2 = self._answer(1, g2, p, x_mask, dropped("answer 2"))
        return {
            **tensors,
            "g1": g,
            "g2": g2,
            **self._probabilities(logits, logits2, tf.shape(x)),
        }

    def embed(self, ids, characters, scope, vectors, dropout):
        """`[..., J]` words, `[..., J, W]` characters -> `[..., J, F]`."""
        features = []
        shape = tf.shape(ids)
        if self.config.use_char_emb:
            flat = tf.reshape(characters, [-1, tf.shape(characters)[-1]])
            embedded = layers.drop(
                tf.gather(self.char_embedding, flat), **dropout
            )
            cnn = self.cnns[scope if scope in self.cnns else "xx"]
            features.append(cnn(embedded))
        if self.config.use_word_emb:
            features.append(self._word_vectors(tf.reshape(ids, [-1]), vectors))
        result = tf.concat(features, -1)
        for layer in self.highway:
            result = layer(result)
        return tf.reshape(
            result, tf.concat([shape, [self.config.word_size]], 0)
        )

    def _word_vectors(self, ids, vectors):
        size = self.config.word_vocab_size
        if vectors is None or vectors.shape[0] == 0:
            return tf.gather(self.word_embedding, ids)
        # Two look-ups: the fixed vectors are many, and joining the tables
        # would copy them in every step.
        trained = tf.gather(self.word_embedding, tf.minimum(ids, size - 1))
        fixed = tf.gather(vectors, tf.maximum(ids - size, 0))
        return tf.where((ids < size)[:, None], trained, fixed)

    def _attend(self, h, u, x_mask, q_mask, tensors):
        """The attention's features, and what the modelling cells look at."""
        if self.config.dynamic_att:
            sentences = tf.shape(h)[1]
            return h, (
                tf.repeat(u, sentences, axis=0),
                tf.repeat(q_mask, sentences, axis=0),
            )
        attended: Any = None
        context: Any = None
        if self.similarity is not None:
            attended, context, tensors["a_u"], tensors["a_h"] = (
                attention.attend(self.similarity, h, u, x_mask, q_mask)
            )
        if not self.config.c2q_att:
            attended = tf.broadcast_to(
                tf.reduce_mean(u, 1)[:, None, None], tf.shape(h)
            )
        blocks = [h, attended, h * attended]
        if self.config.q2c_att:
            blocks.append(h * context[:, :, None])
        return tf.concat(blocks, -1), ()

    def _answer(self, index, g, p, mask, dropout):
        logits = self.answers[index]([g, p], **dropout)
        logits = attention.exp_mask(logits, mask)
        return tf.reshape(logits, [tf.shape(logits)[0], -1])

    def _probabilities(self, logits, logits2, shape):
        result = {
            "start_logits": logits,
            "end_logits": logits2,
            "words": tf.reshape(tf.sigmoid(logits2), shape),
        }
        nothing = []
        for name, each in (("start", logits), ("end", logits2)):
            if self.na_bias is not None:
                each = with_no_answer(self.na_bias, each)
            probabilities = tf.nn.softmax(each)
            if self.na_bias is not None:
                nothing.append(probabilities[:, 0])
                probabilities = probabilities[:, 1:]
            result[name] = tf.reshape(probabilities, shape)
        if nothing:
            result["na_prob"] = nothing[0] * nothing[1]
        return result

    def two_way_layers(self) -> dict[str, layers.TwoWay]:
        """The LSTM layers by the authors' scope."""
        result = {"prepro/u1": self.question_lstm}
        if self.context_lstm is not self.question_lstm:
            result["prepro/h1"] = self.context_lstm
        return {
            **result,
            "main/g0": self.modelling[0],
            "main/g1": self.modelling[1],
            "main/g2": self.output_lstm,
        }

    def weights_by_name(self) -> dict[str, tf.Variable]:
        """The weights, as reports name them: in the order of the data's way.

        Those of LSTM directions by the paper's names (`DIRECTIONS`), e.g.
        `ModFwd1/kernel`.
        """
        named = {}
        if self.config.use_char_emb:
            named["char_embedding"] = self.char_embedding
        if self.config.use_word_emb:
            named["word_embedding"] = self.word_embedding
        two_way = self.two_way_layers().values()
        for layer in [
            *self.cnns.values(),
            *self.highway,
            *(cell for each in two_way for cell in each.cells),
            *([] if self.similarity is None else [self.similarity]),
            *self.answers,
        ]:
            named.update(counting.layer_weights(layer))
        if self.na_bias is not None:
            named["na_bias"] = self.na_bias
        return named

    def tf1_views(self) -> dict[str, tf1.View]:
        """The authors' variables by name, in the order they make them."""
        return authors.views(self)

    def iss_groups(self) -> list:
        """ISS components of the directions that can be shrunk."""
        return groups.iss_groups(self, groups.shrinkable(self))

    def lstm_cells(self) -> dict[str, cells.LSTMCell]:
        """The LSTM cells, by the authors' scope and direction."""
        return {
            f"{scope}/{direction}": cell
            for scope, layer in self.two_way_layers().items()
            for direction, cell in zip(authors.WAYS, layer.lstms)
        }

    def layer_types(self) -> dict[str, list[tf.Variable]]:
        """The matrices that may be pruned, by the types of `LAYER_TYPES`."""
        found = self.lstm_cells().values()
        return {
            "input": [cell.kernel for cell in found],
            "recurrent": [cell.recurrent_kernel for cell in found],
            "highway": [
                matrix
                for layer in self.highway
                for matrix in (layer.trans, layer.gate)
            ],
        }

    def packable(self) -> dict[str, Union[tf.keras.layers.Layer, tf.Variable]]:
        """What sparse inference multiplies by, by name."""
        found = {
            name.replace("/", "."): cell
            for name, cell in self.lstm_cells().items()
        }
        for i, layer in enumerate(self.highway):
            found[f"highway_{i}.trans"] = layer.trans
            found[f"highway_{i}.gate"] = layer.gate
        return found

    def mult_adds(self) -> int:
        """Multiply-adds of the LSTMs for a context word."""
        return sum(
            matrix.shape.num_elements()
            for layer in (self.context_lstm, *self.modelling, self.output_lstm)
            for cell in layer.lstms
            for matrix in (cell.kernel, cell.recurrent_kernel)
        )

    def resized(self, sizes: Mapping[str, int]) -> "BiDAF":
        """A new net with other sizes of the directions named in `sizes`."""
        return BiDAF(self.config, {**self.sizes, **sizes}, self.seed)

    def get_config(self):
        return {
            "config": dataclasses.asdict(self.config),
            "sizes": dict(self.sizes),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(
            ModelConfig(**config["config"]), config["sizes"], config["seed"]
        )


def _built(layer, *widths: int):
    """The layer with its weights made, for inputs of some features each."""
    shapes = [tf.TensorShape([None, None, width]) for width in widths]
    layer.build(shapes if len(shapes) > 1 else shapes[0])
    return layer


def by_sentence(
    layer: layers.TwoWay, features: tf.Tensor, lengths: tf.Tensor, **kwargs
) -> tf.Tensor:
    """Runs a layer over each sentence: `[N, M, JX, F]` -> `[N, M, JX, F']`.

    Args:
      layer: takes `[N * M, JX, F]` and `[N * M]` lengths.
      features: of the words.
      lengths: `[N, M]`; a sentence may be empty.
      **kwargs: of the layer's call.
    """
    shape = tf.shape(features)
    flat = tf.reshape(
        features, [shape[0] * shape[1], shape[2], features.shape[-1]]
    )
    outputs = layer(flat, tf.reshape(lengths, [-1]), **kwargs)
    return tf.reshape(
        outputs, [shape[0], shape[1], shape[2], outputs.shape[-1]]
    )


def with_no_answer(bias: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """`[N, K]` logits with that of "no answer" before them."""
    first = tf.broadcast_to(bias, [tf.shape(logits)[0], 1])
    return tf.concat([first, logits], 1)


def _checked_sizes(
    config: ModelConfig, sizes: Mapping[str, int]
) -> dict[str, int]:
    for name, size in sizes.items():
        if name not in groups.DIRECTIONS or size < 1:
            raise errors.UserError(
                f"size {size} of LSTM direction '{name}': expected at least "
                f"1, and one of {', '.join(groups.DIRECTIONS)}"
            )
    result = {
        name: sizes.get(name, config.hidden_size) for name in groups.DIRECTIONS
    }
    pre, first = (
        sum(result[name] for name in names)
        for names in (groups.PREPROCESSING, groups.MODELLING_1)
    )
    if config.dynamic_att and pre != first:
        raise errors.UserError(
            f"dynamic_att compares words with {first} features with "
            f"questions of {pre}; "
            f"{', '.join(groups.PREPROCESSING + groups.MODELLING_1)} must "
            "keep their sizes"
        )
    return result
