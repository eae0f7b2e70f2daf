"""`testing.check_cell`: right cells pass, each kind of mistake is told."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import groups
from iss_rnns import testing

pytestmark = pytest.mark.keras3


@pytest.mark.parametrize(
    "cell",
    [
        cells.LSTMCell(6, forget_bias=1.0),
        cells.GRUCell(5),
        cells.SimpleRNNCell(6, "relu"),
        cells.RHNCell(6, depth=2),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_our_own_cells_pass(cell):
    testing.check_cell(cell)


class OwnCell(tf.keras.layers.Layer):
    """A minimal gated cell of a user: h' = g * tanh(c), one matrix."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units

    def build(self, input_shape):
        rows = input_shape[-1] + self.units
        self.kernel = self.add_weight(
            name="kernel", shape=(rows, 2 * self.units)
        )
        self.bias = self.add_weight(name="bias", shape=(2 * self.units,))
        super().build(input_shape)

    def call(self, inputs, states):
        z = tf.concat([inputs, states[0]], 1) @ self.kernel + self.bias
        gate, candidate = tf.split(z, 2, axis=1)
        h = tf.sigmoid(gate) * tf.tanh(candidate)
        return h, [h]

    def unit_slices(self):
        rows = self.kernel.shape[0]
        return [
            *groups.blocks(self.kernel, 1, 2),
            groups.Slice(self.kernel, 0, rows - self.units, rows),
        ]

    def unit_companions(self):
        return groups.blocks(self.bias, 0, 2)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_right_cell_of_a_user_passes():
    testing.check_cell(OwnCell(7))


class ForgetsTheRow(OwnCell):
    def unit_slices(self):
        return super().unit_slices()[:2]


class ForgetsAGate(OwnCell):
    def unit_slices(self):
        return [super().unit_slices()[0], super().unit_slices()[2]]


class ForgetsTheBias(OwnCell):
    def unit_companions(self):
        return []


class ReadsOtherRows(OwnCell):
    def unit_slices(self):
        columns = super().unit_slices()[:2]
        return [*columns, groups.Slice(self.kernel, 0, 0, self.units)]


class SwapsUnits(OwnCell):
    """Writes its units in reverse order, which its slices do not say."""

    def call(self, inputs, states):
        h, _ = super().call(inputs, states)
        h = tf.reverse(h, [1])
        return h, [h]


class ForgetsItsUnits(OwnCell):
    def get_config(self):
        config = super().get_config()
        del config["units"]
        return config


class ForgetsAnArgument(OwnCell):
    def __init__(self, units, scale=None, **kwargs):
        super().__init__(units, **kwargs)
        self.scale = scale

    made = 0

    def call(self, inputs, states):
        # What a config does not hold differs from copy to copy.
        if self.scale is None:
            type(self).made += 1
            self.scale = float(type(self).made)
        h, _ = super().call(inputs, states)
        return self.scale * h, [self.scale * h]


@pytest.mark.parametrize(
    "kind, message",
    [
        (ForgetsTheRow, "groups: something reads units"),
        (ForgetsAGate, "gates: of .*kernel"),
        (ForgetsTheBias, "gates: of .*bias"),
        (ReadsOtherRows, "groups: something reads units"),
        (SwapsUnits, "groups: something reads units|shrinking: the smaller"),
        (ForgetsItsUnits, "config: `get_config` must hold `units`"),
        (ForgetsAnArgument, "config: cells of one config"),
    ],
)
def test_each_mistake_is_told(kind, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_cell(kind(7))


class GivesNaN(OwnCell):
    def call(self, inputs, states):
        h, _ = super().call(inputs, states)
        return h * np.nan, [h]


def test_b8_outputs_that_are_nan_are_not_equal():
    with pytest.raises(AssertionError, match="config: .* differ .* by nan"):
        testing.check_cell(GivesNaN(7))


def test_few_units_cannot_be_checked():
    with pytest.raises(AssertionError, match="at least 4"):
        testing.check_cell(OwnCell(2))


def test_a_wrong_gradient_is_told():
    class Wrong(cells.GRUCell):
        @staticmethod
        def scan_backprop(doutput, dstates, saved, weights):
            dzs, dstates = cells.GRUCell.scan_backprop(
                doutput, dstates, saved, weights
            )
            return [1.1 * dzs[0]], dstates

    with pytest.raises(AssertionError, match="scan_backprop"):
        testing.check_cell(Wrong(5))
