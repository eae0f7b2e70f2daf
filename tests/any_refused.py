"""Models with units that cannot be cut, and what the reason must say."""

import dataclasses
from typing import Callable, Optional

from any_cases import FEATURES
from any_cases import STEPS
from any_models import head
import tensorflow as tf

L = tf.keras.layers
Input = tf.keras.Input
Model = tf.keras.Model


@dataclasses.dataclass(frozen=True)
class Refused:
    """A model with a layer that is refused.

    Attributes:
      build: gives the model.
      layers: {name of a refused layer: units that are refused}.
      reason: regular expression, of each.
      found: names of layers whose units can be cut all the same.
    """

    build: Callable
    layers: dict
    reason: str
    found: tuple = ()


REFUSED: dict[str, Refused] = {}


def refused(reason, found=(), **layers):
    """Registers a model."""

    def register(build):
        REFUSED[build.__name__] = Refused(build, layers, reason, found)
        return build

    return register


def between(function, kind: Optional[Callable] = None, steps=None):
    """A recurrent layer 'a' of 4 units, a function, and a Dense layer."""
    x = Input([steps, FEATURES])
    kind = kind or L.SimpleRNN
    y = kind(4, return_sequences=True, name="a")(x)
    return Model(x, head(function(y)))


@refused("output of the model", ("a",), b=4)
def units_are_the_output():
    return tf.keras.Sequential(
        [
            Input([None, FEATURES]),
            L.GRU(4, return_sequences=True, name="a"),
            L.LSTM(4, name="b"),
        ]
    )


@refused("output of the model", a=4)
def states_are_an_output():
    x = Input([None, FEATURES])
    y, state = L.GRU(4, return_state=True, name="a")(x)
    return Model(x, [head(y), state])


@refused("output of the model", forward=3, backward=3)
def both_directions_are_the_output():
    x = Input([None, FEATURES])
    return Model(x, L.Bidirectional(L.SimpleRNN(3), "sum")(x))


@refused("(?i)input|no units", a=FEATURES)
def residual_on_the_input():
    x = Input([None, FEATURES])
    y = L.Add()([x, L.SimpleRNN(FEATURES, return_sequences=True, name="a")(x)])
    return Model(x, head(y))


@refused("(?i)input|no units", a=FEATURES)
def dot_with_the_input():
    x = Input([None, FEATURES])
    y = L.SimpleRNN(FEATURES, return_sequences=True, name="a")(x)
    return Model(x, tf.reduce_max(L.Dot(axes=2)([x, y]), axis=2))


@refused("(?i)softmax", a=4)
def softmax_layer():
    return between(L.Softmax())


@refused("(?i)softmax", a=4)
def softmax_activation():
    return between(L.Activation("softmax"))


@refused("(?i)softmax", a=4)
def softmax_inside_the_recurrence():
    return between(
        lambda y: y,
        lambda units, **kwargs: L.SimpleRNN(
            units, activation="softmax", **kwargs
        ),
    )


@refused("(?i)softmax", a=4)
def softmax_in_a_function():
    return between(L.Lambda(lambda y: tf.nn.softmax(y)))


@refused("(?i)normaliz", a=4)
def layer_normalization():
    return between(L.LayerNormalization())


@refused("(?i)normaliz", a=4)
def group_normalization():
    return between(L.GroupNormalization(2))


@refused("(?i)mean", a=4)
def mean_over_units():
    return between(
        lambda y: tf.concat([y, tf.reduce_mean(y, -1, keepdims=True)], -1)
    )


@refused("(?i)max", a=4)
def largest_unit():
    return between(
        lambda y: tf.concat([y, tf.reduce_max(y, -1, keepdims=True)], -1)
    )


@refused("(?i)cumsum|cumulative|sums? up", a=4)
def running_sum_over_units():
    return between(lambda y: tf.cumsum(y, axis=-1))


@refused("(?i)sort|top", a=4)
def sorted_units():
    return between(lambda y: tf.sort(y, axis=-1))


class Unseen(L.Layer):
    """What it computes cannot be seen."""

    def call(self, x):
        y = tf.numpy_function(lambda a: a[..., ::-1], [x], tf.float32)
        return tf.ensure_shape(y, x.shape)


@refused("Unseen|PyFunc|numpy_function|unseen", ("b",), a=4)
def layer_that_cannot_be_seen():
    x = Input([None, FEATURES])
    y = L.SimpleRNN(4, return_sequences=True, name="a")(x)
    y = Unseen(name="unseen")(y)
    return Model(x, head(L.GRU(3, name="b")(y)))


class UnseenCell(L.Layer):
    """A cell whose step cannot be seen."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units

    def build(self, shape):
        self.kernel = self.add_weight("kernel", [shape[-1], self.units])
        self.recurrent = self.add_weight("recurrent", [self.units] * 2)

    def call(self, inputs, states):
        z = inputs @ self.kernel + states[0] @ self.recurrent
        h = tf.numpy_function(lambda a: a[:, ::-1], [z], tf.float32)
        h = tf.ensure_shape(h, z.shape)
        return h, [h]


@refused("UnseenCell|PyFunc|numpy_function|unseen_cell", ("b",), a=4)
def cell_that_cannot_be_seen():
    x = Input([None, FEATURES])
    y = L.RNN(
        UnseenCell(4, name="unseen_cell"), return_sequences=True, name="a"
    )(x)
    return Model(x, head(L.SimpleRNN(3, name="b")(y)))


@refused("(?i)sigmoid|not 0|not zero", a=4)
def sigmoid_before_a_dot():
    """A dead unit is 0.5 there, and nothing weighs it."""
    x, z = Input([None, FEATURES]), Input([None, FEATURES])
    layer = L.GRU(4, name="a")
    y = L.Activation("sigmoid")(layer(x))
    return Model([x, z], head(L.Dot(axes=1)([y, y])))


@refused("(?i)reshape|units", a=4)
def heads_of_units():
    """Units side by side become another axis: heads of 2 each."""
    return between(
        lambda y: L.Reshape([STEPS, 2])(
            tf.reduce_max(L.Reshape([STEPS, 2, 2])(y), axis=2)
        ),
        steps=STEPS,
    )


@refused("(?i)window|units", a=4)
def convolution_over_units():
    return between(
        lambda y: L.Flatten()(L.Conv2D(2, 2)(L.Reshape([STEPS, 4, 1])(y))),
        steps=STEPS,
    )


@refused("(?i)time|steps|over the units|recurrent", ("b",), a=4)
def units_become_steps():
    x = Input([STEPS, FEATURES])
    y = L.SimpleRNN(4, return_sequences=True, name="a")(x)
    y = L.Permute([2, 1])(y)
    return Model(x, head(L.GRU(3, name="b")(y)))


@refused("(?i)normaliz|preprocess", a=4)
def adapted_normalization():
    return between(L.Normalization(mean=[0.0] * 4, variance=[1.0] * 4))


@refused("(?i)softmax", a=4, b=4)
def a_reason_holds_for_all_that_is_tied():
    x = Input([None, FEATURES])
    a = L.SimpleRNN(4, name="a")(x)
    b = L.GRU(4, name="b")(x)
    y = L.Add()([a, b])
    return Model(x, head(L.Concatenate()([b, L.Softmax()(y)])))


@refused("ConvLSTM", conv=2)
def convolutional_recurrence():
    x = Input([3, 5, 5, 1])
    y = L.ConvLSTM2D(2, 3, name="conv")(x)
    return Model(x, head(L.Flatten()(y)))


@refused("(?i)one unit", a=1)
def a_layer_of_one_unit():
    x = Input([None, FEATURES])
    return Model(x, head(L.SimpleRNN(1, name="a")(x)))


class NormalizingCell(L.LSTMCell):
    """A stock cell's subclass is not a stock cell."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.norm = L.LayerNormalization()

    def call(self, inputs, states, training=None):
        h, states = super().call(inputs, states, training=training)
        h = self.norm(h)
        return h, [h, states[1]]


@refused("(?i)normaliz", a=4)
def normalization_inside_a_cell():
    return between(
        lambda y: y,
        lambda units, **kwargs: L.RNN(NormalizingCell(units), **kwargs),
    )


class Reversed(L.SimpleRNN):
    """A stock layer's subclass is not a stock layer."""

    def call(self, x, **kwargs):
        return tf.cumsum(super().call(x, **kwargs), axis=-1)


@refused("(?i)cumsum|adds up|Reversed", a=4)
def subclass_of_a_stock_layer():
    return between(lambda y: y, Reversed)


@refused("(?i)loop|While|unseen|cannot", a=4)
def units_in_a_loop():
    def twice(y):
        return tf.while_loop(
            lambda i, _: i < 2,
            lambda i, z: (i + 1, tf.reverse(z, [-1])),
            [0, y],
            shape_invariants=[
                tf.TensorShape([]),
                tf.TensorShape([None, None, 4]),
            ],
        )[1]

    return between(L.Lambda(twice))
