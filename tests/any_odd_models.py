"""More models of the suite: what people's code holds, oddly enough."""

import dataclasses

from any_cases import FEATURES
from any_cases import model
from any_cases import STEPS
from any_cases import SYMBOLS
from any_layouts import at
from any_layouts import BIAS
from any_layouts import CANDIDATE
from any_layouts import columns
from any_layouts import dense
from any_layouts import EITHER
from any_layouts import gru
from any_layouts import lstm
from any_layouts import rows
from any_layouts import scale
from any_layouts import simple
from any_models import both
from any_models import GRU
from any_models import head
from any_models import LSTM
from any_models import SIMPLE
import tensorflow as tf

L = tf.keras.layers
Input = tf.keras.Input
Model = tf.keras.Model
Sequential = tf.keras.Sequential


def _loud(place):
    """A group that is read by weights alone, in a model where others are not."""
    if place.kind == CANDIDATE:
        return dataclasses.replace(place, kind=BIAS)
    return place


def _either(place):
    """Multiplied by what is zero without it."""
    if place.kind == CANDIDATE:
        return dataclasses.replace(place, kind=EITHER)
    return place


def simple_sequences(n, name="a"):
    return L.SimpleRNN(n, return_sequences=True, name=name)


# --- attention as it is written down ---


@model(n=4)
def attention_by_repeat_and_permute():
    """Zhou et al. 2016 as in many notebooks: a weight a step, on all units."""

    def build(n):
        x = Input([STEPS, FEATURES])
        y = L.LSTM(n, return_sequences=True, name="a")(x)
        weights = L.Flatten()(L.Dense(1, "tanh", name="score")(y))
        weights = L.Activation("softmax")(weights)
        weights = L.Permute([2, 1])(L.RepeatVector(n)(weights))
        y = L.Multiply()([y, weights])
        y = L.Lambda(lambda t: tf.reduce_sum(t, axis=1))(y)
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": lstm(m.a.cell, n)
            + rows(m.score.kernel, n)
            + rows(m.out.kernel, n)
        }

    return build, places, {"keras_file": False}


@model(f=3, b=3)
def attention_pooling_by_operators():
    def build(f, b):
        x = Input([None, FEATURES])
        y = both(GRU, f, b, return_sequences=True)(x)
        weights = tf.nn.softmax(L.Dense(1, name="score")(y), axis=1)
        return Model(x, head(tf.reduce_sum(weights * y, axis=1)))

    def places(m, f, b):
        return {
            "f": gru(m.both.forward_layer.cell, f)
            + rows(m.score.kernel, f)
            + rows(m.out.kernel, f),
            "b": gru(m.both.backward_layer.cell, b)
            + rows(m.score.kernel, b, f)
            + rows(m.out.kernel, b, f),
        }

    return build, places


@model(_silent=True, n=4, d=3)
def luong_general():
    """Scores by a matrix between: a Dense layer's columns are the keys'."""

    def build(n, d):
        x, z = Input([None, FEATURES]), Input([None, 2])
        keys = simple_sequences(n, "encoder")(x)
        query = L.GRU(d, return_sequences=True, name="decoder")(z)
        query = L.Dense(n, use_bias=False, name="general")(query)
        scores = tf.nn.softmax(tf.matmul(query, keys, transpose_b=True))
        return Model([x, z], head(tf.matmul(scores, keys)))

    def places(m, n, d):
        return {
            "n": [_either(p) for p in simple(m.encoder.cell, n)]
            + columns(m.general.kernel, n)
            + rows(m.out.kernel, n),
            "d": [_loud(p) for p in gru(m.decoder.cell, d)]
            + rows(m.general.kernel, d),
        }

    return build, places


@model(a=4, b=5)
def feature_attention_over_time():
    """A softmax over time, unit by unit."""

    def build(a, b):
        x = Input([None, FEATURES])
        y = simple_sequences(a)(x)
        y = y * L.Softmax(axis=1)(y)
        return Model(x, head(L.GRU(b, name="b")(y)))

    def places(m, a, b):
        return {
            "a": simple(m.a.cell, a) + rows(m.b.cell.kernel, a),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(_silent=True, n=4)
def manhattan_siamese():
    """MaLSTM (Mueller and Thyagarajan 2016): exp(-|a - b|), summed."""

    def build(n):
        one, other = Input([None], dtype="int32"), Input([None], dtype="int32")
        embedding = L.Embedding(SYMBOLS, 3, mask_zero=True)
        encoder = L.LSTM(n, name="a")
        y = [encoder(embedding(x)) for x in (one, other)]
        y = L.Lambda(
            lambda t: tf.exp(
                -tf.reduce_sum(tf.abs(t[0] - t[1]), axis=1, keepdims=True)
            )
        )(y)
        return Model([one, other], y)

    def places(m, n):
        return {"n": lstm(m.a.cell, n)}

    return build, places, {"keras_file": False}


@model(_silent=True, n=4)
def cosine_by_hand():
    def build(n):
        one, other = Input([None, FEATURES]), Input([None, FEATURES])
        encoder = L.GRU(n, name="a")
        y, z = (tf.nn.l2_normalize(encoder(x), -1) for x in (one, other))
        return Model([one, other], tf.reduce_sum(y * z, -1, keepdims=True))

    def places(m, n):
        return {"n": gru(m.a.cell, n)}

    return build, places


@model(_silent=True, n=4)
def two_towers():
    """Users' sequences by items' embeddings."""

    def build(n):
        x, item = Input([None, FEATURES]), Input([1], dtype="int32")
        user = L.GRU(n, name="a")(x)
        items = L.Flatten()(L.Embedding(SYMBOLS, n, name="items")(item))
        return Model([x, item], L.Dot(axes=1)([user, items]))

    def places(m, n):
        return {
            "n": [_either(p) for p in gru(m.a.cell, n)]
            + columns(m.items.embeddings, n)
        }

    return build, places


@model(n=4)
def squeeze_and_excite():
    def build(n):
        x = Input([None, FEATURES])
        y = simple_sequences(n)(x)
        gate = L.GlobalAveragePooling1D(keepdims=True)(y)
        gate = L.Dense(2, "relu", name="squeeze")(gate)
        gate = L.Dense(n, "sigmoid", name="excite")(gate)
        return Model(x, head(L.Multiply()([y, gate])))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + rows(m.squeeze.kernel, n)
            + dense(m.excite, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(a=3, n=4)
def gated_experts():
    """A softmax says how much of which layer; the layers' units are tied."""

    def build(a, n):
        x = Input([None, FEATURES])
        y = L.SimpleRNN(a, name="gate")(x)
        weights = L.Dense(2, "softmax", name="mix")(y)
        both_ = tf.stack([L.GRU(n, name="b")(x), L.LSTM(n, name="c")(x)], 1)
        return Model(x, head(tf.reduce_sum(both_ * weights[..., None], 1)))

    def places(m, a, n):
        return {
            "a": simple(m.gate.cell, a) + rows(m.mix.kernel, a),
            "n": gru(m.b.cell, n) + lstm(m.c.cell, n) + rows(m.out.kernel, n),
        }

    return build, places


# --- states ---


@model(a=4, n=3)
def bridge_between_states():
    """A Dense layer between encoder and decoder: its columns are units."""

    def build(a, n):
        x, z = Input([None, FEATURES]), Input([None, 2])
        _, h, c = L.LSTM(a, return_state=True, name="encoder")(x)
        state = L.Dense(n, "tanh", name="bridge")(L.Concatenate()([h, c]))
        y = L.GRU(n, return_sequences=True, name="decoder")(
            z, initial_state=state
        )
        return Model([x, z], head(y))

    def places(m, a, n):
        return {
            "a": lstm(m.encoder.cell, a) + rows(m.bridge.kernel, a, 0, a),
            "n": dense(m.bridge, n)
            + gru(m.decoder.cell, n)
            + rows(m.out.kernel, n),
        }

    return build, places


@model(n=3)
def average_of_both_directions_states():
    def build(n):
        x, z = Input([None, FEATURES]), Input([None, 2])
        _, f, b = L.Bidirectional(L.GRU(n, return_state=True), name="encoder")(
            x
        )
        y = L.GRU(n, return_sequences=True, name="decoder")(
            z, initial_state=L.Average()([f, b])
        )
        return Model([x, z], head(y))

    def places(m, n):
        return {
            "n": gru(m.encoder.forward_layer.cell, n)
            + gru(m.encoder.backward_layer.cell, n)
            + gru(m.decoder.cell, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(a=3, b=4)
def states_of_stacked_cells():
    def build(a, b):
        x, z = Input([None, FEATURES]), Input([None, 2])
        encoder = L.RNN(
            [L.GRUCell(a), L.LSTMCell(b)], return_state=True, name="encoder"
        )
        _, *states = encoder(x)
        decoder = L.RNN(
            [L.GRUCell(a), L.LSTMCell(b)],
            return_sequences=True,
            name="decoder",
        )
        return Model([x, z], head(decoder(z, initial_state=states)))

    def places(m, a, b):
        (e, f), (d, g) = m.encoder.cell.cells, m.decoder.cell.cells
        return {
            "a": gru(e, a) + gru(d, a) + rows(f.kernel, a) + rows(g.kernel, a),
            "b": lstm(f, b) + lstm(g, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(n=4)
def captions():
    """An image's features are added to a text's, or begin it."""

    def build(n):
        image, text = Input([5]), Input([None], dtype="int32")
        start = L.Dense(n, "relu", name="image")(image)
        y = L.Embedding(SYMBOLS, 3, mask_zero=True)(text)
        y = L.LSTM(n, name="a")(y, initial_state=[start, start])
        return Model([image, text], head(L.Add()([start, y])))

    def places(m, n):
        return {
            "n": dense(m.image, n) + lstm(m.a.cell, n) + rows(m.out.kernel, n)
        }

    return build, places


class LearnedStart(L.Layer):
    """A first state that is learned."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.start = self.add_weight(name="start", shape=[1, units])
        self.rnn = L.GRU(units, return_sequences=True)

    def call(self, x):
        start = tf.tile(self.start, [tf.shape(x)[0], 1])
        return self.rnn(x, initial_state=start)


@model(n=4)
def a_first_state_that_is_learned():
    def build(n):
        x = Input([None, FEATURES])
        return Model(x, head(LearnedStart(n, name="a")(x)))

    def places(m, n):
        return {
            "n": gru(m.a.rnn.cell, n)
            + columns(m.a.start, n)
            + rows(m.out.kernel, n)
        }

    return build, places, {"keras_file": False}


class Loop(Model):
    """Cells called step by step in Python."""

    def __init__(self, a, b):
        super().__init__()
        self.first, self.second = L.LSTMCell(a), L.GRUCell(b)
        self.out = L.Dense(2)

    def call(self, x):
        batch = tf.shape(x)[0]
        state = self.first.get_initial_state(batch_size=batch, dtype=x.dtype)
        other = self.second.get_initial_state(batch_size=batch, dtype=x.dtype)
        outputs = []
        for t in range(x.shape[1]):
            y, state = self.first(x[:, t], state)
            y, other = self.second(y, other)
            outputs.append(self.out(y))
        return tf.stack(outputs, 1)


@model(_spec=tf.TensorSpec([None, 3, FEATURES]), a=4, b=3)
def cells_in_a_loop():
    def build(a, b):
        model_ = Loop(a, b)
        model_(tf.ones([2, 3, FEATURES]))
        return model_

    def places(m, a, b):
        return {
            "a": lstm(m.first, a) + rows(m.second.kernel, a),
            "b": gru(m.second, b) + rows(m.out.kernel, b),
        }

    return build, places, {"keras_file": False}


class StateWithTheModel(Model):
    """Feeds its own last output back, some steps long."""

    def __init__(self, n):
        super().__init__()
        self.encoder = L.GRU(n, return_state=True)
        self.step = L.GRUCell(n)
        self.out = L.Dense(FEATURES)

    def call(self, x):
        _, state = self.encoder(x)
        y = x[:, -1]
        found = []
        for _ in range(3):
            h, state = self.step(y, state)
            y = self.out(h)
            found.append(y)
        return tf.stack(found, axis=1)


@model(_spec=tf.TensorSpec([None, None, FEATURES]), n=4)
def a_forecast_fed_back():
    def build(n):
        model_ = StateWithTheModel(n)
        model_(tf.ones([2, 4, FEATURES]))
        return model_

    def places(m, n):
        return {
            "n": gru(m.encoder.cell, n) + gru(m.step, n) + rows(m.out.kernel, n)
        }

    return build, places, {"keras_file": False}


# --- parts of units ---


@model(f=3, b=3)
def halves_taken_apart():
    """Slices at the border between both directions."""

    def build(f, b):
        x = Input([None, FEATURES])
        y = both(SIMPLE, f, b, return_sequences=True)(x)
        first, second = y[:, -1, :f], y[:, 0, f:]
        y = L.Concatenate()([head(first), head(second, 3, "other")])
        return Model(x, y)

    def places(m, f, b):
        return {
            "f": simple(m.both.forward_layer.cell, f) + rows(m.out.kernel, f),
            "b": simple(m.both.backward_layer.cell, b)
            + rows(m.other.kernel, b),
        }

    return build, places


@model(a=3, b=2)
def some_units_read_by_others():
    """Layers that read a part each: two groups of one layer."""

    def build(a, b):
        x = Input([None, FEATURES])
        y = L.LSTM(a + b, name="a")(x)
        return Model(
            x, L.Concatenate()([head(y[:, :a]), head(y[:, a:], 3, "other")])
        )

    def places(m, a, b):
        return {
            "a": lstm(m.a.cell, a, 0, width=a + b) + rows(m.out.kernel, a),
            "b": lstm(m.a.cell, b, a, width=a + b) + rows(m.other.kernel, b),
        }

    return build, places


@model(n=4)
def all_units_turned_around():
    def build(n):
        x = Input([None, FEATURES])
        y = L.SimpleRNN(n, name="a")(x)
        return Model(x, head(L.Concatenate()([y, tf.reverse(y, [-1])])))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + rows(m.out.kernel, n)
            + at(m.out.kernel, 0, n, 2 * n - 1, stride=-1)
        }

    return build, places


@model(n=4)
def states_stacked():
    def build(n):
        x = Input([None, FEATURES])
        y, h, c = L.LSTM(n, return_state=True, name="a")(x)
        return Model(x, head(L.Flatten()(tf.stack([y, h, c], axis=1))))

    def places(m, n):
        return {"n": lstm(m.a.cell, n) + rows(m.out.kernel, n, 0, n, 2 * n)}

    return build, places


@model(n=4)
def flattened_the_other_way():
    """Permute before Flatten: a unit's rows stand side by side."""

    def build(n):
        x = Input([STEPS, FEATURES])
        y = L.Permute([2, 1])(simple_sequences(n)(x))
        return Model(x, head(L.Flatten()(y)))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + at(m.out.kernel, 0, n, *range(STEPS), stride=STEPS)
        }

    return build, places


@model(n=4)
def steps_unstacked():
    def build(n):
        x = Input([4, FEATURES])
        y = simple_sequences(n)(x)
        first, _, third, last = tf.unstack(y, axis=1)
        return Model(x, head(L.Concatenate()([first, L.Add()([third, last])])))

    def places(m, n):
        return {"n": simple(m.a.cell, n) + rows(m.out.kernel, n, 0, n)}

    return build, places


# --- layers between ---


@model(a=4, b=3)
def layers_over_time():
    """All sorts of layers that leave the units where they are."""

    def build(a, b):
        x = Input([4, FEATURES])
        y = simple_sequences(a)(x)
        y = L.ZeroPadding1D(1)(y)
        y = L.Cropping1D(1)(y)
        y = L.UpSampling1D(2)(y)
        y = L.TimeDistributed(L.Dropout(0.1))(y)
        y = L.TimeDistributed(L.Activation("elu"))(y)
        y = L.GaussianDropout(0.1)(L.AlphaDropout(0.1)(y))
        y = L.ActivityRegularization(0.01)(y)
        y = L.ThresholdedReLU(0.1)(y)
        return Model(x, head(L.GRU(b, name="b")(y)))

    def places(m, a, b):
        return {
            "a": simple(m.a.cell, a) + rows(m.b.cell.kernel, a),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(n=4)
def slopes_of_prelu():
    def build(n):
        x = Input([None, FEATURES])
        y = L.PReLU(shared_axes=[1], name="slopes")(simple_sequences(n)(x))
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + at(m.slopes.alpha, 1, n, kind=EITHER)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(n=4)
def normalized_over_time_distributed():
    def build(n):
        x = Input([None, FEATURES])
        y = simple_sequences(n)(x)
        y = L.TimeDistributed(L.BatchNormalization(), name="norm")(y)
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + scale(m.norm.layer, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(n=4)
def separable_convolution():
    def build(n):
        x = Input([None, FEATURES])
        y = L.SeparableConv1D(3, 2, padding="same", name="filters")(
            simple_sequences(n)(x)
        )
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + at(m.filters.depthwise_kernel, 1, n)  # [width, in, multiplier]
            + at(m.filters.pointwise_kernel, 1, n)  # [1, in, out]
        }

    return build, places


@model(n=4)
def transposed_convolution():
    def build(n):
        x = Input([None, FEATURES])
        y = L.Conv1DTranspose(3, 2, strides=2, name="filters")(
            simple_sequences(n)(x)
        )
        return Model(x, head(y))

    def places(m, n):
        return {
            # [width, out, in]
            "n": simple(m.a.cell, n) + at(m.filters.kernel, 2, n)
        }

    return build, places


@model(n=4)
def einsum_dense():
    def build(n):
        x = Input([None, FEATURES])
        y = L.EinsumDense("abc,cde->abde", [None, 2, 3], name="mixed")(
            simple_sequences(n)(x)
        )
        return Model(x, head(L.GlobalMaxPooling2D()(y)))

    def places(m, n):
        return {"n": simple(m.a.cell, n) + rows(m.mixed.kernel, n)}

    return build, places


@model(a=4)
def spectrogram():
    """Convolutions over time and frequency, channels side by side."""

    def build(a):
        x = Input([None, 6, 1])
        y = L.Conv2D(2, 3, padding="same", activation="relu")(x)
        y = L.MaxPooling2D([1, 2])(y)
        y = L.Reshape([-1, 6])(y)
        y = L.Bidirectional(L.GRU(a, return_sequences=True), "sum", name="a")(y)
        return Model(x, head(y))

    def places(m, a):
        return {
            "a": gru(m.a.forward_layer.cell, a)
            + gru(m.a.backward_layer.cell, a)
            + rows(m.out.kernel, a)
        }

    return build, places


@model(n=4)
def reshaped_with_an_open_size():
    def build(n):
        x = Input([None, FEATURES])
        y = L.Reshape([-1, 1, n])(simple_sequences(n)(x))
        y = tf.squeeze(y, axis=2)
        return Model(x, head(y))

    def places(m, n):
        return {"n": simple(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places


@model(a=4, b=3)
def dense_net():
    """Every layer reads all before it."""

    def build(a, b):
        x = Input([None, FEATURES])
        y = L.Concatenate()([x, simple_sequences(a)(x)])
        z = L.Concatenate()([y, L.GRU(b, return_sequences=True, name="b")(y)])
        return Model(x, head(z))

    def places(m, a, b):
        return {
            "a": simple(m.a.cell, a)
            + rows(m.b.cell.kernel, a, FEATURES)
            + rows(m.out.kernel, a, FEATURES),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b, FEATURES + a),
        }

    return build, places


@model(a=4)
def samples_of_dropout():
    """One Dense layer behind several dropouts, averaged."""

    def build(a):
        x = Input([None, FEATURES])
        y = L.GRU(a, name="a")(x)
        layer = L.Dense(2, name="out")
        return Model(
            x, L.Average()([layer(L.Dropout(0.1 * i)(y)) for i in range(3)])
        )

    def places(m, a):
        return {"a": gru(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places


@model(a=4)
def activations_of_ones_own():
    def build(a):
        x = Input([None, FEATURES])
        y = L.LSTM(
            a,
            activation=tf.sin,
            recurrent_activation="hard_sigmoid",
            return_sequences=True,
            recurrent_dropout=0.1,
            kernel_regularizer="l2",
            recurrent_constraint="max_norm",
            name="a",
        )(x)
        return Model(x, head(L.Activation(tf.exp)(y)))

    def places(m, a):
        return {"a": lstm(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places, {"keras_file": False}


@model(_silent=True, n=4)
def normalized_before_a_dot():
    """A dead unit is zero behind it if scale and offset are."""

    def build(n):
        x = Input([None, FEATURES])
        y = L.BatchNormalization(name="norm")(L.SimpleRNN(n, name="a")(x))
        return Model(x, head(L.Dot(axes=1)([y, y])))

    def places(m, n):
        norm = m.norm
        return {
            "n": simple(m.a.cell, n)[:-1]
            + at(m.a.cell.bias, 0, n, kind=EITHER)
            + at(norm.gamma, 0, n, kind=EITHER)
            + at(norm.beta, 0, n, kind=CANDIDATE)
            + at(norm.moving_mean, 0, n, kind=EITHER)
            + at(norm.moving_variance, 0, n, kind=BIAS)
        }

    return build, places


# --- models ---


class Words(Model):
    """Dictionaries of layers, arguments of its own, several outputs."""

    def __init__(self, a, b):
        super().__init__()
        self.parts = {"a": L.GRU(a, return_sequences=True), "b": L.LSTM(b)}
        self.stages = [[L.Dense(2)], [L.Dense(3)]]
        self.embedding = L.Embedding(SYMBOLS, 3)

    def call(self, ids, training=False):
        mask = tf.not_equal(ids, 0)
        y = self.parts["a"](self.embedding(ids), mask=mask, training=training)
        z = self.parts["b"](y, mask=mask, training=training)
        return {"each": self.stages[0][0](y), "all": self.stages[1][0](z)}


@model(_spec=tf.TensorSpec([None, None], tf.int32), a=4, b=3)
def layers_in_dictionaries():
    def build(a, b):
        model_ = Words(a, b)
        model_(tf.ones([2, 3], tf.int32))
        return model_

    def places(m, a, b):
        first, second = m.parts["a"].cell, m.parts["b"].cell
        (one,), (other,) = m.stages
        return {
            "a": gru(first, a) + rows(second.kernel, a) + rows(one.kernel, a),
            "b": lstm(second, b) + rows(other.kernel, b),
        }

    return build, places, {"keras_file": False}


class Block(L.Layer):
    """A user's layer that holds Keras layers, as often as asked."""

    def __init__(self, n, **kwargs):
        super().__init__(**kwargs)
        self.rnn = L.GRU(n, return_sequences=True)
        self.drop = L.Dropout(0.1)
        self.n = n

    def call(self, x, training=None):
        return x + self.drop(self.rnn(x), training=training)

    def get_config(self):
        return {**super().get_config(), "n": self.n}


@model(n=4)
def blocks_of_the_user():
    def build(n):
        x = Input([None, FEATURES])
        y = L.Dense(n, name="project")(x)
        for i in range(2):
            y = Block(n, name=f"block_{i}")(y)
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": dense(m.project, n)
            + [
                place
                for block in (m.block_0, m.block_1)
                for place in gru(block.rnn.cell, n)
                + rows(block.rnn.cell.kernel, n)
            ]
            + rows(m.out.kernel, n)
        }

    return build, places, {"keras_file": False}


class TiedLogits(L.Layer):
    """Holds the embedding, whose matrix it reads."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding

    def build(self, shape):
        self.bias = self.add_weight(name="bias", shape=[SYMBOLS])

    def call(self, x):
        matrix = self.embedding.embeddings
        return tf.matmul(x, matrix, transpose_b=True) + self.bias


@model(n=4)
def tied_logits_in_a_layer():
    def build(n):
        x = Input([None], dtype="int32")
        embedding = L.Embedding(SYMBOLS, n, name="embedding")
        y = L.LSTM(n, return_sequences=True, name="a")(embedding(x))
        return Model(x, TiedLogits(embedding, name="logits")(y))

    def places(m, n):
        return {
            "n": columns(m.embedding.embeddings, n)
            + lstm(m.a.cell, n)
            + rows(m.a.cell.kernel, n)
        }

    return build, places, {"keras_file": False}


@model(f=3, b=3)
def text_vectorization():
    """TensorFlow's tutorial: strings in, words looked up inside."""

    def build(f, b):
        vectorize = L.TextVectorization(vocabulary=list("abcde"))
        x = Input([1], dtype="string")
        y = L.Embedding(7, 3, mask_zero=True)(vectorize(x))
        return Model(x, head(both(LSTM, f, b)(y)))

    def places(m, f, b):
        return {
            "f": lstm(m.both.forward_layer.cell, f) + rows(m.out.kernel, f),
            "b": lstm(m.both.backward_layer.cell, b) + rows(m.out.kernel, b, f),
        }

    return build, places


@model(n=4)
def a_layer_nobody_reads():
    def build(n):
        x = Input([None, FEATURES])
        y, z = L.GRU(n, return_state=True, name="a")(x)
        L.LSTM(3, name="unused")(x)
        return Model(x, head(z))

    def places(m, n):
        return {"n": gru(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places


@model(n=4)
def one_layer_for_several_lengths():
    def build(n):
        x, z = Input([4, FEATURES]), Input([6, FEATURES])
        layer = simple_sequences(n)
        y = L.Concatenate(axis=1)([layer(x), layer(z)])
        return Model([x, z], head(L.GlobalMaxPooling1D()(y)))

    def places(m, n):
        return {"n": simple(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places


@model(a=4, b=3)
def a_sum_of_losses():
    """`add_loss` reads units, too; outputs stay."""

    def build(a, b):
        x = Input([None, FEATURES])
        y = simple_sequences(a)(x)
        z = L.SimpleRNN(b, activity_regularizer="l2", name="b")(y)
        model_ = Model(x, head(z))
        model_.add_loss(lambda: tf.reduce_sum(model_.get_layer("b").weights[0]))
        return model_

    def places(m, a, b):
        return {
            "a": simple(m.a.cell, a) + rows(m.b.cell.kernel, a),
            "b": simple(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places, {"keras_file": False}


# --- cells ---


class MinimalCell(L.Layer):
    """A user's cell: minimal gated unit (Zhou et al. 2016), gates apart."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units

    def build(self, shape):
        def add(name, *shape):
            return self.add_weight(name=name, shape=shape)

        n = self.units
        self.w_f, self.w_h = (add(s, shape[-1], n) for s in ("w_f", "w_h"))
        self.u_f, self.u_h = add("u_f", n, n), add("u_h", n, n)
        self.b_f = add("b_f", n)
        super().build(shape)

    def call(self, inputs, states):
        (h,) = states
        f = tf.sigmoid(inputs @ self.w_f + h @ self.u_f + self.b_f)
        new = tf.tanh(inputs @ self.w_h + (f * h) @ self.u_h)
        h = (1.0 - f) * h + f * new
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@model(a=4, b=3)
def a_cell_of_the_user():
    def build(a, b):
        x = Input([None, FEATURES])
        y = L.RNN(MinimalCell(a), return_sequences=True, name="a")(x)
        return Model(x, head(L.GRU(b, name="b")(y)))

    def places(m, a, b):
        cell = m.a.cell
        own = []
        for w in (cell.w_f, cell.w_h, cell.u_f, cell.u_h):
            own += columns(w, a)
        return {
            "a": own
            + rows(cell.u_f, a)
            + rows(cell.u_h, a)
            + at(cell.b_f, 0, a, kind=BIAS)
            + rows(m.b.cell.kernel, a),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places, {"keras_file": False}


class PeepholeCell(L.LSTMCell):
    """A stock cell's subclass that looks at its state, too."""

    def build(self, shape):
        super().build(shape)
        self.peephole = self.add_weight(name="peephole", shape=[self.units])

    def call(self, inputs, states, training=None):
        h, c = states
        z = inputs @ self.kernel + h @ self.recurrent_kernel + self.bias
        i, f, g, o = tf.split(z, 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o + self.peephole * c) * tf.tanh(c)
        return h, [h, c]


@model(n=4)
def a_subclass_of_a_stock_cell():
    def build(n):
        x = Input([None, FEATURES])
        y = L.RNN(PeepholeCell(n), return_sequences=True, name="a")(x)
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": lstm(m.a.cell, n)
            + at(m.a.cell.peephole, 0, n, kind=EITHER)
            + rows(m.out.kernel, n)
        }

    return build, places, {"keras_file": False}


class OwnStep(Model):
    """A functional model whose class trains in its own way."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y))
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return {"loss": loss}


@model(a=4)
def a_train_step_of_ones_own():
    def build(a):
        x = Input([None, FEATURES])
        return OwnStep(x, head(L.SimpleRNN(a, name="a")(x)))

    def places(m, a):
        return {"a": simple(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places, {"keras_file": False}


@model(a=4)
def behind_a_convolutional_recurrence():
    """A layer that is refused stays as it is, and another is cut."""

    def build(a):
        x = Input([3, 5, 5, 1])
        y = L.ConvLSTM2D(2, 3, return_sequences=True)(x)
        y = L.TimeDistributed(L.Flatten())(y)
        return Model(x, head(L.SimpleRNN(a, name="a")(y)))

    def places(m, a):
        return {"a": simple(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places
