"""Weights of any model by name."""

import tensorflow as tf

from iss_rnns import cells
from iss_rnns import counting
from iss_rnns import recurrent


class Nameless(tf.keras.Model):
    """Gives two matrices one name, and a bias two rows."""

    def __init__(self):
        super().__init__()
        self.both = [self.add_weight(name="w", shape=(2, n)) for n in (3, 4)]
        self.first_bias = self.add_weight(name="bias", shape=(2, 5))
        self.scale = self.add_weight(name="scale", shape=())


def test_no_weight_hides_another_of_its_name():
    model = Nameless()
    found = counting.weights_by_name(model)
    assert list(found) == ["w", "w (2)", "bias", "scale"]
    assert found["w (2)"] is model.both[1]
    assert list(counting.matrices_by_name(model)) == ["w", "w (2)"]


def test_a_model_names_its_weights_itself():
    model = Nameless()
    model.weights_by_name = lambda: {"input": model.both[0], "s": model.scale}
    assert list(counting.matrices_by_name(model)) == ["input"]


def test_a_layers_weights_have_its_name_whatever_is_around_it():
    cell = cells.RHNCell(3, depth=2, name="rhn")
    inputs = tf.keras.Input([4, 5])
    outputs = recurrent.Recurrent(cell, name="sequence")(inputs)
    model = tf.keras.Model(inputs, outputs)
    found = counting.layer_weights(cell)
    assert list(found)[:4] == [
        "rhn/kernel_h",
        "rhn/kernel_t",
        "rhn/recurrent_h_0",
        "rhn/recurrent_h_1",
    ]
    assert len(found) == len(model.trainable_variables) == 10
    assert {v.ref() for v in found.values()} == {
        v.ref() for v in counting.weights_by_name(model).values()
    }
