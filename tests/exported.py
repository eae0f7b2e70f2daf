"""Small Keras models of every shape that exports are tried on."""

import functools

import tensorflow as tf

import iss_rnns

layers = tf.keras.layers


def stack():
    """Two kinds of layers, dropout and a dense layer a step."""
    return tf.keras.Sequential(
        [
            layers.LSTM(8, return_sequences=True, input_shape=[None, 5]),
            layers.Dropout(0.5),
            layers.GRU(6, return_sequences=True),
            layers.TimeDistributed(layers.Dense(3, activation="tanh")),
        ],
        "stack",
    )


def last():
    """One output of sequences of 7 steps."""
    return tf.keras.Sequential(
        [layers.LSTM(8, input_shape=[7, 5], name="lstm"), layers.Dense(3)],
        "last",
    )


def own():
    """Cells of this library."""
    return tf.keras.Sequential(
        [
            iss_rnns.RNN(
                iss_rnns.RHNCell(6, depth=2),
                return_sequences=True,
                input_shape=[None, 5],
            ),
            iss_rnns.RNN(
                iss_rnns.LSTMCell(4, forget_bias=1.0), return_sequences=True
            ),
            iss_rnns.RNN(iss_rnns.GRUCell(4), return_sequences=True),
            iss_rnns.RNN(iss_rnns.SimpleRNNCell(4, "relu")),
            layers.Dense(3),
        ],
        "own",
    )


def tagger():
    """Both directions, and a mask."""
    ids = tf.keras.Input([None], dtype="int32", name="ids")
    x = layers.Embedding(20, 5, mask_zero=True)(ids)
    x = layers.Bidirectional(layers.GRU(8, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True), "sum")(x)
    return tf.keras.Model(ids, layers.Dense(3, "softmax")(x), name="tagger")


def decoder():
    """A step of a sequence-to-sequence model, its states in and out."""
    token = tf.keras.Input([None], dtype="int32", name="token")
    h, c = (tf.keras.Input([8], name=name) for name in "hc")
    x = layers.Embedding(20, 5)(token)
    x, *states = layers.LSTM(8, return_sequences=True, return_state=True)(
        x, initial_state=[h, c]
    )
    return tf.keras.Model(
        [token, h, c], [layers.Dense(20)(x), *states], name="decoder"
    )


def graph():
    """Branches, a layer that runs backwards, other activations, a mask."""
    x = tf.keras.Input([None, 4], name="x")
    a = layers.Masking(0.0)(x)
    a = layers.LSTM(
        4, return_sequences=True, recurrent_activation="hard_sigmoid"
    )(a)
    b = layers.Add()([x, layers.ReLU()(x)])
    b = layers.SimpleRNN(
        4, return_sequences=True, activation="softsign", go_backwards=True
    )(b)
    b = layers.GRU(5, reset_after=False, activation="elu", use_bias=False)(b)
    a = layers.GRU(5, activation="linear")(a)
    y = layers.Average()([layers.Multiply()([a, b]), b])
    y = layers.LeakyReLU()(layers.BatchNormalization()(y))
    y = layers.Softmax()(layers.Concatenate()([y, layers.ELU()(b)]))
    return tf.keras.Model(x, y, name="graph")


MODELS = {
    each.__name__: each for each in (stack, last, own, tagger, decoder, graph)
}


@functools.cache
def build(name):
    """A model with weights and biases that all matter; nobody changes it."""
    tf.keras.utils.set_random_seed(1)
    model = MODELS[name]()
    for weight in model.weights:
        noise = tf.random.uniform(weight.shape, 0.05, 0.25)
        weight.assign_add(noise)
    return model


def inputs(source):
    """A batch for a model, of which the second example is padded."""
    given = source.random()
    for array in given.values():
        if array.ndim == 3 or array.dtype == "int32":
            array[1, 4:] = 0
    return given
