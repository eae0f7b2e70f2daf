"""Groups of Keras models, found; the conformance suite has many more."""

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import thresholding
from iss_rnns.groups import registry

pytestmark = pytest.mark.keras3

keras = tf.keras
L = keras.layers


def places(group):
    """{(variable, axis): the entries of each slice}."""
    found = {}
    for each in group.slices:
        entries = np.arange(each.variable.shape[each.axis])[each.index]
        name = _keras.name(each.variable)
        found.setdefault((name, each.axis), []).append(entries.tolist())
    return found


def two_layers():
    x = keras.Input([3, 2])
    y = L.GRU(2, return_sequences=True, name="a")(x)
    return keras.Model(x, L.Dense(1, name="out")(L.Flatten()(y)))


def test_a_group_has_all_that_writes_and_reads_its_units():
    found = iss_rnns.find_groups(two_layers())
    (group,) = found
    gates = [[0, 1], [2, 3], [4, 5]]
    assert places(group) == {
        ("a/gru_cell/kernel", 1): gates,
        ("a/gru_cell/recurrent_kernel", 0): [[0, 1]],
        ("a/gru_cell/recurrent_kernel", 1): gates,
        ("out/kernel", 0): gates,  # one slice a step
    }
    assert [_keras.name(c.variable) for c in group.companions] == [
        "a/gru_cell/bias"
    ] * 3
    assert not found.refused and found.layers == (("a",),)


def test_the_table_says_who_reads_and_what_is_refused():
    x = keras.Input([None, 2])
    y = L.SimpleRNN(3, return_sequences=True, name="a")(x)
    z = L.SimpleRNN(4, name="b")(y)
    found = iss_rnns.find_groups(keras.Model(x, z))
    assert str(found).splitlines() == [
        "layer  units  weights a unit  read by",
        "a          3              12  b",
        "refused:",
        "  b: 4 units: it is an output of the model: put a Dense layer behind "
        "it, or take it out of the outputs",
    ]
    (refused,) = found.refused
    assert (refused.layer, refused.units) == ("b", 4)
    assert isinstance(found[0], groups.Group) and len(found) == 1


def test_entries_that_are_not_side_by_side_have_indices():
    x = keras.Input([None, 2])
    y = L.SimpleRNN(3, name="a")(x)
    y = L.Lambda(lambda t: tf.reverse(t, [-1]))(y)
    (group,) = iss_rnns.find_groups(keras.Model(x, L.Dense(1, name="out")(y)))
    assert places(group)["out/kernel", 0] == [[2, 1, 0]]
    assert [s.indices for s in group.slices][-1] == (2, 1, 0)


def test_a_model_whose_inputs_are_not_known_asks_for_a_batch():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = L.SimpleRNN(4, name="a")
            self.out = L.Dense(1)

        def call(self, inputs):
            return self.out(self.rnn(inputs))

    with pytest.raises(errors.UserError, match="inputs=batch"):
        iss_rnns.find_groups(Own())
    (group,) = iss_rnns.find_groups(Own(), inputs=np.ones([2, 3, 2], "f"))
    assert group.size == 4


def test_what_is_no_model_is_refused():
    with pytest.raises(errors.UserError, match="takes a Keras model, got int"):
        iss_rnns.find_groups(3)


class Unseen(L.Layer):
    """What it does cannot be seen."""

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=shape[-1:])

    def call(self, x):
        y = tf.numpy_function(np.tanh, [x * self.scale], tf.float32)
        return tf.ensure_shape(y, x.shape)


def test_a_registered_layer_is_no_longer_refused():
    model = keras.Sequential(
        [L.SimpleRNN(4, input_shape=[None, 2]), Unseen(), L.Dense(1)]
    )
    assert "PyFunc" in iss_rnns.find_groups(model).refused[0].reason

    def rule(walk, layer, inputs, outputs):
        units = inputs[0].axes[-1]
        walk.tie(units, walk.weight(layer.scale))
        return [outputs[0].with_axes({-1: units})]

    iss_rnns.register_layer(Unseen, rule)
    try:
        (group,) = iss_rnns.find_groups(model)
        names = [_keras.name(c.variable) for c in group.companions]
        assert "unseen" in names[-1]
        thresholding.zero_units(group, tf.range(4) == 1)
        small, _ = iss_rnns.shrink(
            model, iss_rnns.find_groups(model), [np.ones([2, 3, 2], "f")]
        )
        assert small.layers[1].scale.shape == [3]
    finally:
        registry.forget(Unseen)


class Paired(L.Layer):
    """A cell of two gates that cannot be seen."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units

    def build(self, shape):
        self.kernel = self.add_weight(
            name="kernel", shape=[shape[-1], 2 * self.units]
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=[self.units, 2 * self.units]
        )
        self.bias = None
        self.built = True

    def call(self, inputs, states):
        z = inputs @ self.kernel + states[0] @ self.recurrent_kernel
        gate, new = tf.split(z, 2, 1)
        gate = tf.numpy_function(lambda a: 1 / (1 + a**2), [gate], tf.float32)
        new = tf.ensure_shape(gate, new.shape) * tf.tanh(new)
        return new, [new]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_registered_cell_is_no_longer_refused():
    x = keras.Input([None, 2])
    y = L.RNN(Paired(4), name="a")(x)
    model = keras.Model(x, L.Dense(1)(y))
    assert iss_rnns.find_groups(model).refused[0].layer == "a"
    iss_rnns.register_cell(Paired, gates=2)
    try:
        (group,) = iss_rnns.find_groups(model)
        assert group.size == 4
    finally:
        registry.forget(Paired)
    with pytest.raises(errors.UserError, match="a block from 0 to 1, got 2"):
        iss_rnns.register_cell(Paired, gates=2, candidate=2)
    with pytest.raises(errors.UserError, match="class must be given, got int"):
        iss_rnns.register_layer(3, lambda *args: None)
    with pytest.raises(errors.UserError, match=r"rule\(walk, layer, "):
        iss_rnns.register_layer(Paired, None)


@pytest.mark.skipif(_keras.VERSION == 2, reason="of Keras 3")
def test_operations_of_keras_3_have_sizes_that_stay():
    x = keras.Input([3, 2])
    y = L.SimpleRNN(4, return_sequences=True, name="a")(x)
    for z, reason in (
        (keras.ops.reshape(y, (-1, 12)), "reshapes to fixed sizes"),
        (keras.ops.reshape(y, (-1, 2)), "operation Reshape"),
        (y[:, 0, :2], "takes units at fixed places"),
    ):
        found = iss_rnns.find_groups(keras.Model(x, L.Dense(1)(z)))
        assert not len(found)
        assert reason in found.refused[0].reason
    z = L.Dense(1, name="out")(y[:, -1] + keras.ops.tanh(y[:, 0]))
    (group,) = iss_rnns.find_groups(keras.Model(x, z))
    assert places(group)["out/kernel", 0] == [[0, 1, 2, 3]]


@pytest.mark.skipif(_keras.VERSION == 2, reason="of Keras 3")
def test_models_that_keras_3_cannot_rebuild_are_refused_in_one_line():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.rnn = L.SimpleRNN(4, name="a")
            self.out = L.Dense(1)

        def call(self, inputs):
            return self.out(tf.tanh(self.rnn(inputs)))

    model, batch = Own(), np.ones([2, 3, 2], "f")
    groups_ = iss_rnns.find_groups(model, batch)
    thresholding.zero_units(groups_[0], tf.range(4) == 1)
    with pytest.raises(errors.UserError, match="TF_USE_LEGACY_KERAS=1"):
        iss_rnns.shrink(model, groups_, [batch])
