"""The models of the suite: each kind of recurrent layer in each kind of model.

Of each, by hand: where the units of its layers lie (see `any_layouts`).
"""

import dataclasses
from typing import Callable

import any_cases
from any_cases import FEATURES
from any_cases import model
from any_cases import STEPS
from any_cases import SYMBOLS
from any_layouts import at
from any_layouts import columns
from any_layouts import dense
from any_layouts import gru
from any_layouts import highway
from any_layouts import lstm
from any_layouts import rows
from any_layouts import scale
from any_layouts import simple
import tensorflow as tf

import iss_rnns

L = tf.keras.layers
Input = tf.keras.Input
Model = tf.keras.Model
Sequential = tf.keras.Sequential


@dataclasses.dataclass(frozen=True)
class Kind:
    """A recurrent layer.

    Attributes:
      name: of the kind.
      layer: `layer(units, **kwargs)`.
      own: `own(cell, n, *starts, width=None)` -> its own weights' places.
    """

    name: str
    layer: Callable
    own: Callable

    def __call__(self, units, **kwargs):
        return self.layer(units, **kwargs)

    def sequences(self, units, **kwargs):
        return self.layer(units, return_sequences=True, **kwargs)


def reads(cell, n, *starts):
    """What of a cell reads its layer's input."""
    if hasattr(cell, "kernel_h"):
        return [
            place
            for kernel in (cell.kernel_h, cell.kernel_t)
            for place in rows(kernel, n, *starts)
        ]
    return rows(cell.kernel, n, *starts)


def of_cell(cell, layer=L.RNN, **options):
    return lambda units, **kwargs: layer(cell(units, **options), **kwargs)


def of(layer, **options):
    return lambda units, **kwargs: layer(units, **options, **kwargs)


KINDS = [
    Kind("lstm", L.LSTM, lstm),
    Kind("gru", L.GRU, gru),
    Kind("simple", L.SimpleRNN, simple),
    Kind("gru_reset_before", of(L.GRU, reset_after=False), gru),
    Kind("lstm_cell", of_cell(L.LSTMCell), lstm),
    Kind("gru_cell", of_cell(L.GRUCell), gru),
    Kind("simple_cell", of_cell(L.SimpleRNNCell), simple),
    Kind("own_lstm", of_cell(iss_rnns.LSTMCell, iss_rnns.RNN), lstm),
    Kind("own_gru", of_cell(iss_rnns.GRUCell, iss_rnns.RNN), gru),
    Kind("own_simple", of_cell(iss_rnns.SimpleRNNCell, iss_rnns.RNN), simple),
    Kind(
        "own_highway", of_cell(iss_rnns.RHNCell, iss_rnns.RNN, depth=2), highway
    ),
    Kind("lstm_no_bias", of(L.LSTM, use_bias=False), lstm),
    Kind("gru_no_bias", of(L.GRU, use_bias=False), gru),
    Kind(
        "lstm_plain",
        of(L.LSTM, implementation=1, activation="relu", unit_forget_bias=False),
        lstm,
    ),
]
LSTM, GRU, SIMPLE = KINDS[:3]


def per_kind(_silent=False, **sizes):
    """Registers a model for each kind."""

    def register(function):
        for kind in KINDS:
            build, places, *options = function(kind)
            options = options[0] if options else {}
            any_cases.add(
                function.__name__ + "-" + kind.name,
                sizes,
                build,
                places,
                silent=_silent,
                **options,
            )
        return function

    return register


def both(kind, f, b, merge_mode="concat", name="both", **kwargs):
    """`Bidirectional`; of unequal sizes with its own backward layer."""
    if f == b:
        return L.Bidirectional(kind(f, **kwargs), merge_mode, name=name)
    backward = kind(b, go_backwards=True, **kwargs)
    return L.Bidirectional(
        kind(f, **kwargs), merge_mode, backward_layer=backward, name=name
    )


def head(x, units=2, name="out"):
    return L.Dense(units, name=name)(x)


# --- each kind of layer in each kind of model ---


@per_kind(a=5, b=4)
def stacked(kind):
    def build(a, b):
        return Sequential(
            [
                Input([None, FEATURES]),
                kind.sequences(a, name="a"),
                kind(b, name="b"),
                L.Dense(2, name="out"),
            ]
        )

    def places(m, a, b):
        return {
            "a": kind.own(m.a.cell, a) + reads(m.b.cell, a),
            "b": kind.own(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@per_kind(f=4, b=4)
def bidirectional(kind):
    def build(f, b):
        x = Input([None, FEATURES])
        y = both(kind, f, b, return_sequences=True)(x)
        return Model(x, head(y))

    def places(m, f, b):
        return {
            "f": kind.own(m.both.forward_layer.cell, f) + rows(m.out.kernel, f),
            "b": kind.own(m.both.backward_layer.cell, b)
            + rows(m.out.kernel, b, f),
        }

    return build, places


@per_kind(a=4, b=5)
def masked(kind):
    def build(a, b):
        x = Input([None], dtype="int32")
        y = L.Embedding(SYMBOLS, 3, mask_zero=True)(x)
        y = kind.sequences(a, name="a")(y)
        return Model(x, head(kind(b, name="b")(y)))

    def places(m, a, b):
        return {
            "a": kind.own(m.a.cell, a) + reads(m.b.cell, a),
            "b": kind.own(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@per_kind(n=5)
def residual(kind):
    def build(n):
        inputs = Input([None, FEATURES])
        x = L.Dense(n, name="project")(inputs)
        x = L.Add()([x, kind.sequences(n, name="a")(x)])
        x = L.Add()([x, kind.sequences(n, name="b")(x)])
        return Model(inputs, head(x))

    def places(m, n):
        return {
            "n": dense(m.project, n)
            + [
                place
                for cell in (m.a.cell, m.b.cell)
                for place in kind.own(cell, n) + reads(cell, n)
            ]
            + rows(m.out.kernel, n)
        }

    return build, places


@per_kind(n=4)
def encoder_decoder(kind):
    def build(n):
        source, target = Input([None, FEATURES]), Input([None, 2])
        _, *states = kind(n, return_state=True, name="encoder")(source)
        decoder = kind.sequences(n, name="decoder")
        y = decoder(target, initial_state=states)
        return Model(
            [source, target], L.TimeDistributed(L.Dense(2), name="out")(y)
        )

    def places(m, n):
        return {
            "n": kind.own(m.encoder.cell, n)
            + kind.own(m.decoder.cell, n)
            + rows(m.out.layer.kernel, n)
        }

    return build, places


@per_kind(n=5)
def shared(kind):
    def build(n):
        one, other = Input([None, FEATURES]), Input([None, FEATURES])
        encoder = kind(n, name="a")
        apart = L.Subtract()([encoder(one), encoder(other)])
        return Model([one, other], head(L.Lambda(tf.abs)(apart)))

    def places(m, n):
        return {"n": kind.own(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places, {"keras_file": False}


@per_kind(a=4, b=3)
def nested(kind):
    def build(a, b):
        x = Input([None, FEATURES])
        inside = Input([None, FEATURES])
        y = kind.sequences(a, name="a")(inside)
        inner = Model(inside, L.Dropout(0.5)(y), name="inner")
        return Model(x, head(kind(b, name="b")(inner(x))))

    def places(m, a, b):
        inner = any_cases.Layers(m.inner)
        return {
            "a": kind.own(inner.a.cell, a) + reads(m.b.cell, a),
            "b": kind.own(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@per_kind(_silent=True, n=4)
def luong(kind):
    """Encoder and decoder, tied and read by Dot."""

    def build(n):
        source, target = Input([None, FEATURES]), Input([None, 2])
        keys = kind.sequences(n, name="encoder")(source)
        query = kind.sequences(n, name="decoder")(target)
        scores = L.Softmax()(L.Dot(axes=2)([query, keys]))
        context = L.Dot(axes=(2, 1))([scores, keys])
        y = L.Concatenate()([context, query])
        return Model([source, target], head(y))

    def places(m, n):
        return {
            "n": kind.own(m.encoder.cell, n)
            + kind.own(m.decoder.cell, n)
            + rows(m.out.kernel, n, 0, n)
        }

    return build, places


@per_kind(n=5)
def stateful(kind):
    def build(n):
        x = Input([None, FEATURES], batch_size=2)
        y = kind.sequences(n, stateful=True, name="a")(x)
        return Model(x, head(y))

    def places(m, n):
        return {"n": kind.own(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places


@per_kind(n=5)
def backwards_and_normalized(kind):
    def build(n):
        x = Input([None, FEATURES])
        y = kind.sequences(n, go_backwards=True, name="a")(x)
        y = L.BatchNormalization(name="norm")(y)
        y = L.GlobalAveragePooling1D()(L.ReLU()(y))
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": kind.own(m.a.cell, n)
            + scale(m.norm, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@per_kind(n=4)
def unrolled(kind):
    def build(n):
        x = Input([STEPS, FEATURES])
        y = kind.sequences(n, unroll=True, name="a")(x)
        return Model(x, head(L.Flatten()(y)))

    def places(m, n):
        starts = [n * step for step in range(STEPS)]
        return {"n": kind.own(m.a.cell, n) + rows(m.out.kernel, n, *starts)}

    return build, places


@per_kind(n=5)
def subclassed(kind):
    class Tagger(Model):
        def __init__(self, n):
            super().__init__()
            self.embedding = L.Embedding(SYMBOLS, 4, mask_zero=True)
            self.rnn = kind.sequences(n)
            self.out = L.Dense(3)

        def call(self, ids, training=None):
            return self.out(self.rnn(self.embedding(ids), training=training))

    def build(n):
        tagger = Tagger(n)
        tagger(tf.ones([2, STEPS], tf.int32))
        return tagger

    def places(m, n):
        return {"n": kind.own(m.rnn.cell, n) + rows(m.out.kernel, n)}

    return (
        build,
        places,
        {
            "spec": tf.TensorSpec([None, None], tf.int32),
            "keras_file": False,
        },
    )


# --- the layers themselves ---


def merged(mode):
    """Units k of both directions are one where they are not side by side."""

    def build(n):
        x = Input([None, FEATURES])
        y = L.Bidirectional(L.GRU(n, return_sequences=True), mode, name="both")(
            x
        )
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": gru(m.both.forward_layer.cell, n)
            + gru(m.both.backward_layer.cell, n)
            + rows(m.out.kernel, n)
        }

    return build, places


for _mode in ("sum", "mul", "ave"):
    any_cases.add(f"bidirectional_{_mode}", {"n": 4}, *merged(_mode))


@model(f=4, b=4)
def bidirectional_apart():
    """`merge_mode=None`: two outputs, read by layers of their own."""

    def build(f, b):
        x = Input([None, FEATURES])
        forward, backward = both(SIMPLE, f, b, merge_mode=None)(x)
        y = L.Concatenate()([head(forward), head(backward, 3, "other")])
        return Model(x, y)

    def places(m, f, b):
        return {
            "f": simple(m.both.forward_layer.cell, f) + rows(m.out.kernel, f),
            "b": simple(m.both.backward_layer.cell, b)
            + rows(m.other.kernel, b),
        }

    return build, places


@model(f=5, b=3, a=4)
def bidirectional_with_its_own_backward_layer():
    def build(f, b, a):
        return Sequential(
            [
                Input([None, FEATURES]),
                L.Bidirectional(
                    L.LSTM(f, return_sequences=True),
                    backward_layer=L.GRU(
                        b, return_sequences=True, go_backwards=True
                    ),
                    name="both",
                ),
                L.SimpleRNN(a, name="a"),
                L.Dense(2, name="out"),
            ]
        )

    def places(m, f, b, a):
        kernel = m.a.cell.kernel
        return {
            "f": lstm(m.both.forward_layer.cell, f) + rows(kernel, f),
            "b": gru(m.both.backward_layer.cell, b) + rows(kernel, b, f),
            "a": simple(m.a.cell, a) + rows(m.out.kernel, a),
        }

    return build, places


@model(f=4, b=4, g=3, h=3)
def bidirectional_stacked_and_masked():
    def build(f, b, g, h):
        x = Input([None], dtype="int32")
        y = L.Embedding(SYMBOLS, 3, mask_zero=True)(x)
        y = both(GRU, f, b, name="first", return_sequences=True)(y)
        return Model(x, head(both(LSTM, g, h, name="second")(y)))

    def places(m, f, b, g, h):
        first, second = m.first, m.second
        readers = (second.forward_layer.cell, second.backward_layer.cell)
        return {
            "f": gru(first.forward_layer.cell, f)
            + [p for cell in readers for p in rows(cell.kernel, f)],
            "b": gru(first.backward_layer.cell, b)
            + [p for cell in readers for p in rows(cell.kernel, b, f)],
            "g": lstm(readers[0], g) + rows(m.out.kernel, g),
            "h": lstm(readers[1], h) + rows(m.out.kernel, h, g),
        }

    return build, places


@model(f=3, b=3)
def bidirectional_encoder_of_a_decoder():
    """Both directions' states side by side are the decoder's first state."""

    def build(f, b):
        source, target = Input([None, FEATURES]), Input([None, 2])
        encoder = both(LSTM, f, b, name="encoder", return_state=True)
        _, fh, fc, bh, bc = encoder(source)
        state = [L.Concatenate()([fh, bh]), L.Concatenate()([fc, bc])]
        decoder = L.LSTM(f + b, return_sequences=True, name="decoder")
        return Model(
            [source, target], head(decoder(target, initial_state=state))
        )

    def places(m, f, b):
        decoder, width = m.decoder.cell, f + b
        return {
            "f": lstm(m.encoder.forward_layer.cell, f)
            + lstm(decoder, f, 0, width=width)
            + rows(m.out.kernel, f, 0),
            "b": lstm(m.encoder.backward_layer.cell, b)
            + lstm(decoder, b, f, width=width)
            + rows(m.out.kernel, b, f),
        }

    return build, places


def _list_of_cells(stacked):
    def build(a, b):
        cells = [L.LSTMCell(a), L.GRUCell(b)]
        x = Input([None, FEATURES])
        layer = L.RNN(
            L.StackedRNNCells(cells) if stacked else cells,
            return_sequences=True,
            name="a",
        )
        return Model(x, head(layer(x)))

    def places(m, a, b):
        first, second = m.a.cell.cells
        return {
            "a": lstm(first, a) + rows(second.kernel, a),
            "b": gru(second, b) + rows(m.out.kernel, b),
        }

    return build, places


for _name, _stacked in (("list_of_cells", False), ("stacked_cells", True)):
    any_cases.add(_name, {"a": 4, "b": 5}, *_list_of_cells(_stacked))


@model(a=4, b=3)
def time_major():
    def build(a, b):
        x = Input([None, FEATURES])  # [time, batch, features]
        y = L.RNN(
            L.GRUCell(a), time_major=True, return_sequences=True, name="a"
        )(x)
        y = L.SimpleRNN(b, time_major=True, return_sequences=True, name="b")(y)
        return Model(x, head(y))

    def places(m, a, b):
        return {
            "a": gru(m.a.cell, a) + rows(m.b.cell.kernel, a),
            "b": simple(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(a=4)
def zero_output_for_mask():
    def build(a):
        x = Input([None, FEATURES])
        y = L.Masking()(x)
        y = L.SimpleRNN(
            a, return_sequences=True, zero_output_for_mask=True, name="a"
        )(y)
        return Model(x, head(L.GlobalMaxPooling1D()(y)))

    def places(m, a):
        return {"a": simple(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places, {"masked": True}


@model(a=4, f=3, b=3)
def masking_and_tagging():
    def build(a, f, b):
        x = Input([None, FEATURES])
        y = L.Masking()(x)
        y = L.GRU(a, return_sequences=True, dropout=0.2, name="a")(y)
        y = both(SIMPLE, f, b, return_sequences=True)(y)
        y = L.TimeDistributed(L.Dense(3, "softmax"), name="out")(y)
        return Model(x, y)

    def places(m, a, f, b):
        forward, backward = (
            m.both.forward_layer.cell,
            m.both.backward_layer.cell,
        )
        kernel = m.out.layer.kernel
        return {
            "a": gru(m.a.cell, a)
            + rows(forward.kernel, a)
            + rows(backward.kernel, a),
            "f": simple(forward, f) + rows(kernel, f),
            "b": simple(backward, b) + rows(kernel, b, f),
        }

    return build, places, {"masked": True}


@model(a=4)
def pooled_with_a_mask():
    def build(a):
        x = Input([None], dtype="int32")
        y = L.Embedding(SYMBOLS, 3, mask_zero=True)(x)
        y = L.SimpleRNN(a, return_sequences=True, name="a")(y)
        return Model(x, head(L.GlobalAveragePooling1D()(y)))

    def places(m, a):
        return {"a": simple(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places


@model(a=4)
def mask_given_as_an_argument():
    def build(a):
        x, mask = Input([None, FEATURES]), Input([None], dtype="bool")
        y = L.GRU(a, name="a")(x, mask=mask)
        return Model([x, mask], head(y))

    def places(m, a):
        return {"a": gru(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places


@model(a=4, b=3)
def own_recurrent_layers():
    """`iss_rnns.Recurrent`: outputs and a list of states."""

    def build(a, b):
        x = Input([None, FEATURES])
        y, (state,) = iss_rnns.Recurrent(iss_rnns.GRUCell(a), name="a")(x)
        z, _ = iss_rnns.Recurrent(
            iss_rnns.LSTMCell(b), go_backwards=True, name="b"
        )(y)
        z = L.GlobalAveragePooling1D()(z)
        return Model(x, head(L.Concatenate()([state, z])))

    def places(m, a, b):
        return {
            "a": gru(m.a.cell, a)
            + rows(m.b.cell.kernel, a)
            + rows(m.out.kernel, a),
            "b": lstm(m.b.cell, b) + rows(m.out.kernel, b, a),
        }

    return build, places


@model(a=4, b=3)
def time_distributed_recurrence():
    """Words of sentences of a document."""

    def build(a, b):
        x = Input([3, None, FEATURES])
        y = L.TimeDistributed(L.LSTM(a), name="words")(x)
        return Model(x, head(L.SimpleRNN(b, name="sentences")(y)))

    def places(m, a, b):
        return {
            "a": lstm(m.words.layer.cell, a) + rows(m.sentences.cell.kernel, a),
            "b": simple(m.sentences.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(a=4)
def images_over_time():
    def build(a):
        x = Input([None, 6, 6, 1])
        y = L.TimeDistributed(L.Conv2D(2, 3, activation="relu"))(x)
        y = L.TimeDistributed(L.MaxPooling2D())(y)
        y = L.TimeDistributed(L.Flatten())(y)
        return Model(x, head(L.LSTM(a, name="a")(y)))

    def places(m, a):
        return {"a": lstm(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places


@model(a=5, b=4)
def convolutions_around():
    def build(a, b):
        x = Input([None, FEATURES])
        y = L.Conv1D(4, 3, padding="same", activation="relu")(x)
        y = L.MaxPooling1D(2, padding="same")(y)
        y = L.SpatialDropout1D(0.1)(
            L.SimpleRNN(a, return_sequences=True, name="a")(y)
        )
        y = L.Conv1D(3, 2, padding="causal", name="filters")(y)
        y = L.GRU(b, return_sequences=True, name="b")(L.LeakyReLU()(y))
        y = L.AveragePooling1D(2, padding="same")(y)
        return Model(x, head(L.GlobalMaxPooling1D()(y)))

    def places(m, a, b):
        return {
            # [width, in, out]
            "a": simple(m.a.cell, a) + at(m.filters.kernel, 1, a),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


# --- how units meet ---


def _merging(layer, **options):
    def build(n):
        x = Input([None, FEATURES])
        y = layer(**options)(
            [
                L.SimpleRNN(n, return_sequences=True, name="a")(x),
                L.SimpleRNN(n, return_sequences=True, name="b")(x),
            ]
        )
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + simple(m.b.cell, n)
            + rows(m.out.kernel, n)
        }

    return build, places


for _layer in (
    L.Add,
    L.Subtract,
    L.Multiply,
    L.Average,
    L.Maximum,
    L.Minimum,
):
    any_cases.add(
        "merged_by_" + _layer.__name__.lower(),
        {"n": 4},
        *_merging(_layer),
    )
any_cases.add("joined_in_time", {"n": 4}, *_merging(L.Concatenate, axis=1))


@model(a=4, b=3)
def a_layer_in_two_groups():
    """Units of a layer of 7 are tied to 4 of one layer and 3 of another."""

    def build(a, b):
        x = Input([None, FEATURES])
        side = L.Concatenate()(
            [
                L.LSTM(a, return_sequences=True, name="a")(x),
                L.GRU(b, return_sequences=True, name="b")(x),
            ]
        )
        y = L.LSTM(a + b, return_sequences=True, name="c")(x)
        return Model(x, head(L.Add()([side, y])))

    def places(m, a, b):
        return {
            "a": lstm(m.a.cell, a)
            + lstm(m.c.cell, a, 0, width=a + b)
            + rows(m.out.kernel, a, 0),
            "b": gru(m.b.cell, b)
            + lstm(m.c.cell, b, a, width=a + b)
            + rows(m.out.kernel, b, a),
        }

    return build, places


@model(n=4)
def residual_on_an_embedding():
    def build(n):
        x = Input([None], dtype="int32")
        y = L.Embedding(SYMBOLS, n, mask_zero=True, name="embedding")(x)
        y = L.Add()([y, L.GRU(n, return_sequences=True, name="a")(y)])
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": columns(m.embedding.embeddings, n)
            + gru(m.a.cell, n)
            + rows(m.a.cell.kernel, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(n=4)
def residual_by_operators():
    def build(n):
        x = Input([None, FEATURES])
        y = L.SimpleRNN(n, return_sequences=True, name="a")(x)
        y = y + L.SimpleRNN(n, return_sequences=True, name="b")(y)
        y = tf.nn.relu(0.5 * y - 0.1)
        return Model(x, head(y[:, -1]))

    def places(m, n):
        return {
            "n": simple(m.a.cell, n)
            + simple(m.b.cell, n)
            + rows(m.b.cell.kernel, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(n=4)
def highway_gate():
    """A gate computed from the units decides between them and their input."""

    def build(n):
        x = Input([None, FEATURES])
        x_ = L.Dense(n, name="project")(x)
        y = L.LSTM(n, return_sequences=True, name="a")(x_)
        gate = L.Dense(n, "sigmoid", name="gate")(x_)
        y = L.Lambda(lambda t: t[0] * t[1] + (1.0 - t[0]) * t[2])([gate, y, x_])
        return Model(x, head(y))

    def places(m, n):
        return {
            "n": dense(m.project, n)
            + lstm(m.a.cell, n)
            + rows(m.a.cell.kernel, n)
            + dense(m.gate, n)
            + rows(m.gate.kernel, n)
            + rows(m.out.kernel, n)
        }

    return build, places, {"keras_file": False}


@model(a=4, b=5)
def concatenated_with_what_has_no_units():
    def build(a, b):
        words, data = Input([None], dtype="int32"), Input([2])
        y = L.Embedding(SYMBOLS, 3)(words)
        y = L.LSTM(a, name="a")(y)
        z = L.GRU(b, name="b")(L.Embedding(SYMBOLS, 2)(words))
        y = L.Concatenate()([data, y, L.Dense(3)(data), z])
        return Model([words, data], head(y))

    def places(m, a, b):
        return {
            "a": lstm(m.a.cell, a) + rows(m.out.kernel, a, 2),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b, 2 + a + 3),
        }

    return build, places


@model(n=4)
def a_state_beside_the_output():
    """h, c and the sequence are read by layers of their own."""

    def build(n):
        x = Input([None, FEATURES])
        y, h, c = L.LSTM(n, return_sequences=True, return_state=True, name="a")(
            x
        )
        y = L.GlobalMaxPooling1D()(y)
        return Model(x, head(L.Concatenate()([y, c, h])))

    def places(m, n):
        return {"n": lstm(m.a.cell, n) + rows(m.out.kernel, n, 0, n, 2 * n)}

    return build, places


@model(a=4, b=3)
def an_autoencoder():
    def build(a, b):
        x = Input([STEPS, FEATURES])
        y = L.LSTM(a, name="a")(x)
        y = L.RepeatVector(STEPS)(y)
        y = L.LSTM(b, return_sequences=True, name="b")(y)
        return Model(x, L.TimeDistributed(L.Dense(FEATURES), name="out")(y))

    def places(m, a, b):
        return {
            "a": lstm(m.a.cell, a) + rows(m.b.cell.kernel, a),
            "b": lstm(m.b.cell, b) + rows(m.out.layer.kernel, b),
        }

    return build, places


@model(a=4, b=3)
def two_steps_at_once():
    """A pyramid: pairs of steps are read as one of twice the width."""

    def build(a, b):
        x = Input([4, FEATURES])
        y = L.SimpleRNN(a, return_sequences=True, name="a")(x)
        y = L.Reshape([2, 2 * a])(y)
        return Model(x, head(L.GRU(b, name="b")(y)))

    def places(m, a, b):
        return {
            "a": simple(m.a.cell, a) + rows(m.b.cell.kernel, a, 0, a),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(n=4)
def permuted_and_back():
    def build(n):
        x = Input([STEPS, FEATURES])
        y = L.SimpleRNN(n, return_sequences=True, name="a")(x)
        y = L.Permute([2, 1])(y)
        y = L.Activation("tanh")(y)
        return Model(x, head(L.Permute([2, 1])(y)))

    def places(m, n):
        return {"n": simple(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places


@model(n=4)
def steps_read_by_a_dense_layer():
    """Over time, unit by unit: the units are read only behind it."""

    def build(n):
        x = Input([STEPS, FEATURES])
        y = L.SimpleRNN(n, return_sequences=True, name="a")(x)
        y = L.Permute([2, 1])(y)
        y = L.Dense(2)(y)  # [n, 2]
        return Model(x, head(L.Permute([2, 1])(y)))

    def places(m, n):
        return {"n": simple(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places


# --- attention ---


@model(_silent=True, n=4)
def attention_layer():
    def build(n):
        source, target = Input([None], dtype="int32"), Input([None, 2])
        y = L.Embedding(SYMBOLS, 3, mask_zero=True)(source)
        keys, *state = L.LSTM(
            n, return_sequences=True, return_state=True, name="encoder"
        )(y)
        query = L.LSTM(n, return_sequences=True, name="decoder")(
            target, initial_state=state
        )
        y = L.Concatenate()([query, L.Attention()([query, keys])])
        return Model([source, target], head(y))

    def places(m, n):
        return {
            "n": lstm(m.encoder.cell, n)
            + lstm(m.decoder.cell, n)
            + rows(m.out.kernel, n, 0, n)
        }

    return build, places


@model(n=4)
def additive_attention():
    def build(n):
        x, z = Input([None, FEATURES]), Input([None, 2])
        keys = L.GRU(n, return_sequences=True, name="encoder")(x)
        query = L.GRU(n, return_sequences=True, name="decoder")(z)
        context = L.AdditiveAttention(name="attention")([query, keys])
        return Model([x, z], head(context))

    def places(m, n):
        return {
            "n": gru(m.encoder.cell, n)
            + gru(m.decoder.cell, n)
            + rows(m.attention.scale, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(a=5, b=4)
def multi_head_attention():
    """Its output has the query's width unless told otherwise."""

    def build(a, b):
        x, z = Input([None, FEATURES]), Input([None, 2])
        keys = L.GRU(a, return_sequences=True, name="encoder")(x)
        query = L.GRU(b, return_sequences=True, name="decoder")(z)
        y = L.MultiHeadAttention(
            2, 3, output_shape=None if b == 4 else 4, name="attention"
        )(query, keys)
        return Model([x, z], head(y))

    def places(m, a, b):
        return {
            "a": gru(m.encoder.cell, a)
            + at(m.attention._key_dense.kernel, 0, a)  # [in, heads, size]
            + at(m.attention._value_dense.kernel, 0, a),
            "b": gru(m.decoder.cell, b)
            + at(m.attention._query_dense.kernel, 0, b),
        }

    return build, places


@model(n=4)
def self_attention_with_a_residual():
    def build(n):
        x = Input([None, FEATURES])
        y = L.SimpleRNN(n, return_sequences=True, name="a")(x)
        y = L.Add()([y, L.MultiHeadAttention(2, 3, name="attention")(y, y)])
        return Model(x, head(y))

    def places(m, n):
        attention = m.attention
        return {
            "n": simple(m.a.cell, n)
            + at(attention._query_dense.kernel, 0, n)
            + at(attention._key_dense.kernel, 0, n)
            + at(attention._value_dense.kernel, 0, n)
            + dense(_with_bias(attention._output_dense), n)
            + rows(m.out.kernel, n)
        }

    return build, places


def _with_bias(layer):
    layer.use_bias = True  # as a Dense layer says it
    return layer


class Bahdanau(L.Layer):
    """Of TensorFlow's tutorial on translation: layers of a user."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.query = L.Dense(units)
        self.keys = L.Dense(units)
        self.score = L.Dense(1)

    def call(self, query, keys):
        hidden = tf.nn.tanh(
            self.query(tf.expand_dims(query, 1)) + self.keys(keys)
        )
        weights = tf.nn.softmax(self.score(hidden), axis=1)
        return tf.reduce_sum(weights * keys, axis=1), weights


@model(a=5, b=4)
def bahdanau_attention():
    def build(a, b):
        x, z = Input([None, FEATURES]), Input([None, 2])
        keys = L.GRU(a, return_sequences=True, name="encoder")(x)
        query = L.GRU(b, name="decoder")(z)
        context, _ = Bahdanau(3, name="attention")(query, keys)
        return Model([x, z], head(L.Concatenate()([context, query])))

    def places(m, a, b):
        return {
            "a": gru(m.encoder.cell, a)
            + rows(m.attention.keys.kernel, a)
            + rows(m.out.kernel, a),
            "b": gru(m.decoder.cell, b)
            + rows(m.attention.query.kernel, b)
            + rows(m.out.kernel, b, a),
        }

    return build, places, {"keras_file": False}


# --- shared, nested, subclassed ---


@model(f=3, b=3)
def shared_bidirectional():
    def build(f, b):
        one, other = Input([None, FEATURES]), Input([None, FEATURES])
        encoder = both(GRU, f, b, name="encoder")
        y = L.Multiply()([encoder(one), encoder(other)])
        return Model([one, other], head(y))

    def places(m, f, b):
        return {
            "f": gru(m.encoder.forward_layer.cell, f) + rows(m.out.kernel, f),
            "b": gru(m.encoder.backward_layer.cell, b)
            + rows(m.out.kernel, b, f),
        }

    return build, places


@model(n=4)
def a_layer_that_reads_itself():
    """The same layer twice, one after the other: its inputs are its units."""

    def build(n):
        x = Input([None, FEATURES])
        y = L.Dense(n, name="project")(x)
        layer = L.GRU(n, return_sequences=True, name="a")
        return Model(x, head(layer(layer(y))))

    def places(m, n):
        return {
            "n": dense(m.project, n)
            + gru(m.a.cell, n)
            + rows(m.a.cell.kernel, n)
            + rows(m.out.kernel, n)
        }

    return build, places


@model(_silent=True, n=4)
def shared_submodel_and_cosine_of_it():
    def build(n):
        inside = Input([None, FEATURES])
        y = L.SimpleRNN(n, return_sequences=True, name="a")(inside)
        encoder = Model(inside, L.GlobalMaxPooling1D()(y), name="encoder")
        one, other = Input([None, FEATURES]), Input([None, FEATURES])
        y = L.Dot(axes=1, normalize=True)([encoder(one), encoder(other)])
        return Model([one, other], head(y))

    def places(m, n):
        return {"n": simple(m.encoder.get_layer("a").cell, n)}

    return build, places


@model(a=4, b=3)
def nested_twice():
    def build(a, b):
        innermost = Sequential(
            [
                Input([None, FEATURES]),
                L.GRU(a, return_sequences=True, name="a"),
            ],
            name="innermost",
        )
        inner = Sequential(
            [
                innermost,
                L.BatchNormalization(name="norm"),
                L.SimpleRNN(b, name="b"),
            ],
            name="inner",
        )
        x = Input([None, FEATURES])
        return Model(x, head(inner(x)))

    def places(m, a, b):
        inner = m.inner
        cell = inner.get_layer("innermost").get_layer("a").cell
        return {
            "a": gru(cell, a)
            + scale(inner.get_layer("norm"), a)
            + rows(inner.get_layer("b").cell.kernel, a),
            "b": simple(inner.get_layer("b").cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(a=4, b=3)
def a_model_over_time():
    def build(a, b):
        words = Sequential(
            [Input([None, FEATURES]), L.SimpleRNN(a, name="a"), L.Dropout(0.2)],
            name="words",
        )
        x = Input([3, None, FEATURES])
        y = L.TimeDistributed(words, name="each")(x)
        return Model(x, head(L.GRU(b, name="b")(y)))

    def places(m, a, b):
        return {
            "a": simple(m.each.layer.get_layer("a").cell, a)
            + rows(m.b.cell.kernel, a),
            "b": gru(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


@model(a=4, b=3)
def two_outputs():
    def build(a, b):
        x = Input([None, FEATURES], name="x")
        y = L.SimpleRNN(a, return_sequences=True, name="a")(x)
        z = L.SimpleRNN(b, name="b")(y)
        return Model(
            {"x": x}, {"tags": head(y, name="tags"), "all": head(z, name="out")}
        )

    def places(m, a, b):
        return {
            "a": simple(m.a.cell, a)
            + rows(m.tags.kernel, a)
            + rows(m.b.cell.kernel, a),
            "b": simple(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places


class TiedLanguageModel(Model):
    """Embedding and logits share a matrix."""

    def __init__(self, n):
        super().__init__()
        self.embedding = L.Embedding(SYMBOLS, n)
        self.a = L.LSTM(n, return_sequences=True)
        self.b = L.LSTM(n, return_sequences=True)

    def call(self, ids):
        h = self.b(self.a(self.embedding(ids)))
        return tf.matmul(h, self.embedding.embeddings, transpose_b=True)


@model(_spec=tf.TensorSpec([None, None], tf.int32), n=4, a=5)
def tied_embeddings():
    def build(n, a):
        model_ = TiedLanguageModel(n)
        model_.a = L.LSTM(a, return_sequences=True)
        model_(tf.ones([2, 3], tf.int32))
        return model_

    def places(m, n, a):
        return {
            "n": columns(m.embedding.embeddings, n)
            + rows(m.a.cell.kernel, n)
            + lstm(m.b.cell, n),
            "a": lstm(m.a.cell, a) + rows(m.b.cell.kernel, a),
        }

    return build, places, {"keras_file": False}


class Translator(Model):
    """Layers in a list, a submodel and a variable of its own."""

    def __init__(self, a, b):
        super().__init__()
        self.encoders = [
            L.GRU(a, return_sequences=True),
            L.GRU(b, return_sequences=True, return_state=True),
        ]
        self.decoder = L.GRU(b, return_sequences=True)
        self.logits = self.add_weight(name="logits", shape=[b, 3])

    def call(self, inputs, training=None):
        x, z = inputs
        x = self.encoders[0](x)
        _, state = self.encoders[1](x)
        y = self.decoder(z, initial_state=state)
        if training:
            y = tf.nn.dropout(y, 0.2)
        return tf.einsum("btn,no->bto", y, self.logits)


_TWO = (
    tf.TensorSpec([None, None, FEATURES], tf.float32),
    tf.TensorSpec([None, None, 2], tf.float32),
)


@model(_spec=_TWO, a=4, b=5)
def subclassed_encoder_decoder():
    def build(a, b):
        model_ = Translator(a, b)
        model_((tf.ones([2, 4, FEATURES]), tf.ones([2, 3, 2])))
        return model_

    def places(m, a, b):
        first, second = m.encoders
        return {
            "a": gru(first.cell, a) + rows(second.cell.kernel, a),
            "b": gru(second.cell, b)
            + gru(m.decoder.cell, b)
            + rows(m.logits, b),
        }

    return build, places, {"keras_file": False}


class Compiled(Model):
    """Its call is a graph function, as tutorials write it."""

    def __init__(self, n):
        super().__init__()
        self.a = L.SimpleRNN(n, return_sequences=True)
        self.out = L.Dense(2)

    @tf.function
    def call(self, x):
        y = self.a(x)
        return self.out(tf.reduce_max(y, axis=1))


@model(_spec=tf.TensorSpec([None, None, FEATURES]), n=4)
def call_of_a_graph_function():
    def build(n):
        model_ = Compiled(n)
        model_(tf.ones([2, 3, FEATURES]))
        return model_

    def places(m, n):
        return {"n": simple(m.a.cell, n) + rows(m.out.kernel, n)}

    return build, places, {"keras_file": False}


class Project(L.Layer):
    """A user's layer with a matrix of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=[shape[-1], self.units])
        self.b = self.add_weight(name="b", shape=[self.units])

    def call(self, x):
        return tf.nn.relu(x @ self.w + self.b)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@model(a=4, b=3)
def a_layer_of_the_user():
    def build(a, b):
        x = Input([None, FEATURES])
        y = L.SimpleRNN(a, return_sequences=True, name="a")(x)
        y = Project(3, name="project")(y)
        return Model(x, head(L.SimpleRNN(b, name="b")(y)))

    def places(m, a, b):
        return {
            "a": simple(m.a.cell, a) + rows(m.project.w, a),
            "b": simple(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places, {"keras_file": False}


# --- numbers ---


@model(a=4, b=4)
def mixed_precision():
    def build(a, b):
        x = Input([None, FEATURES])
        y = L.GRU(a, return_sequences=True, dtype="mixed_bfloat16", name="a")(x)
        y = L.SimpleRNN(b, dtype="mixed_bfloat16", name="b")(y)
        return Model(x, L.Dense(2, dtype="float32", name="out")(y))

    def places(m, a, b):
        return {
            "a": gru(m.a.cell, a) + rows(m.b.cell.kernel, a),
            "b": simple(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places, {"tolerance": 2e-2}


@model(a=4)
def double_precision():
    def build(a):
        x = Input([None, FEATURES], dtype="float64")
        y = L.LSTM(a, dtype="float64", name="a")(x)
        return Model(x, L.Dense(2, dtype="float64", name="out")(y))

    def places(m, a):
        return {"a": lstm(m.a.cell, a) + rows(m.out.kernel, a)}

    return build, places


@model(a=4, b=3)
def frozen_and_shared_data():
    """Weights that do not train, and the adapted state of Normalization."""

    def build(a, b):
        x = Input([None, FEATURES])
        normalize = L.Normalization(
            mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]
        )
        y = L.GRU(a, return_sequences=True, trainable=False, name="a")(
            normalize(x)
        )
        return Model(x, head(L.SimpleRNN(b, name="b")(y)))

    def places(m, a, b):
        return {
            "a": gru(m.a.cell, a) + rows(m.b.cell.kernel, a),
            "b": simple(m.b.cell, b) + rows(m.out.kernel, b),
        }

    return build, places
