"""Sizes that the target's hardware likes."""

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import thresholding
from iss_rnns.shrinking import rounding


def group(*norms):
    variable = tf.Variable(np.array([norms], np.float32))
    return groups.Group("a", [groups.whole(variable, 1)])


def rounded(norms, alive, **options):
    (units,) = rounding.rounded_up(
        [group(*norms)], [np.array(alive, bool)], **options
    )
    return units.astype(int).tolist()


def test_the_strongest_dead_units_stay():
    norms, alive = [5, 1, 0, 3, 4, 2], [1, 0, 0, 0, 1, 0]
    assert rounded(norms, alive) == alive
    assert rounded(norms, alive, multiple_of=4) == [1, 0, 0, 1, 1, 1]
    assert rounded(norms, alive, multiple_of=2) == alive
    assert rounded(norms, alive, sizes=[5, 3]) == [1, 0, 0, 1, 1, 0]


def test_of_equal_ones_the_first_stay():
    assert rounded([1, 0, 0, 0], [1, 0, 0, 0], multiple_of=3) == [1, 1, 1, 0]


def test_no_layer_gets_larger_than_it_was():
    norms, alive = [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]
    assert rounded(norms, alive, multiple_of=8) == [1] * 5
    assert rounded(norms, alive, sizes=[1, 8]) == [1] * 5
    assert rounded([1, 1], [1, 1], sizes=[1]) == [1, 1]


def test_groups_of_one_layer_are_rounded_together():
    class OfLayers(list):
        layers = (("a",), ("a", "b"))
        refused = (groups.Refused("a", 1, "an output"),)

    both = OfLayers([group(1, 0, 0), group(1, 0.5)])
    alive = [np.array([True, False, False]), np.array([True, False])]
    first, second = rounding.rounded_up(both, alive, multiple_of=4)
    # Layer a keeps 1 + 1 + 1 refused: one more; b has its 2 of 2 then.
    assert first.tolist() == [True, False, False]
    assert second.tolist() == [True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multiple_of": 0}, "multiple_of must be a whole number"),
        ({"sizes": []}, "sizes must be a list of numbers of units"),
        ({"sizes": 8}, "sizes must be a list of numbers of units"),
        ({"sizes": [8, 0]}, "each of sizes must be a whole number"),
        ({"sizes": [8], "multiple_of": 4}, "either multiple_of or sizes"),
    ],
)
def test_bad_sizes_are_refused(options, message):
    with pytest.raises(errors.UserError, match=message):
        rounded([1, 0], [1, 0], **options)


@pytest.mark.keras3
def test_both_directions_keep_as_many_units_where_keras_needs_it():
    layers = tf.keras.layers
    x = tf.keras.Input([None, 2])
    y = layers.Bidirectional(layers.SimpleRNN(4))(x)
    model = tf.keras.Model(x, layers.Dense(1)(y))
    found = iss_rnns.find_groups(model)
    thresholding.zero_units(found[0], tf.constant([True, False, True, True]))
    thresholding.zero_units(found[1], tf.constant([False, True, False, False]))
    small, report = iss_rnns.shrink(model, found, [np.ones([2, 3, 2], "f")])
    forward = 1 if _keras.VERSION == 2 else 3
    assert list(report.after.values()) == [forward, 3]
    assert small.layers[-1].kernel.shape[0] == forward + 3
