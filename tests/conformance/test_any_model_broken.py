"""The suite of any Keras model fails if a rule of the library is wrong.

Each test breaks a rule, and shows two things: the suite's own checks fail,
before any proof of the library's; and `shrink` refuses to cut what is zero by
the broken groups, so that a wrong rule never becomes a wrong model.
"""

import dataclasses

import any_cases
import any_checks
import any_models  # registers its models
import any_refused
import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import errors
from iss_rnns import thresholding
from iss_rnns.groups import recurrence
from iss_rnns.groups import registry
from iss_rnns.groups import walk
from iss_rnns.shrinking import any_model
from iss_rnns.shrinking import cutting
from iss_rnns.shrinking import equality

BROKEN = {}
assert any_models


def breaks(case):
    """Registers what breaks a rule, and the model that shows it."""

    def register(function):
        BROKEN[function.__name__] = (function, case)
        return function

    return register


def without_ties(patch, where):
    """`Walk.tie` does nothing in some layers."""
    tie = walk.Walk.tie

    def broken(self, *axes, **kwargs):
        if where not in self.where:
            tie(self, *axes, **kwargs)

    patch.setattr(walk.Walk, "tie", broken)


@breaks("merged_by_add")
def no_tie_at_add(patch):
    without_ties(patch, "'add'")


@breaks("stacked-simple")
def a_reader_forgotten(patch):
    without_ties(patch, "'out'")


@breaks("nested-simple")
def a_recurrent_reader_forgotten(patch):
    without_ties(patch, "'b'")


@breaks("stacked-lstm")
def gates_side_by_side_by_unit(patch):
    """As if column 4 k + g were gate g of unit k."""

    def interleaved(start, stop):
        count = stop - start
        return slice(start // count, None, 4)

    patch.setattr(recurrence, "slice", interleaved, raising=False)


@breaks("luong-lstm")
def gates_in_another_order(patch):
    """As if the candidate were the first of them, as in other libraries."""
    kind = registry.cell_kind_of(tf.keras.layers.LSTMCell(2))
    patch.setitem(
        registry._cells, kind.cell, dataclasses.replace(kind, candidate=0)
    )


@breaks("stacked-gru")
def a_gate_forgotten(patch):
    kind = registry.cell_kind_of(tf.keras.layers.GRUCell(2))
    patch.setitem(
        registry._cells, kind.cell, dataclasses.replace(kind, gates=2)
    )


@breaks("encoder_decoder-gru")
def no_tie_of_states(patch):
    patch.setattr(recurrence, "_begin", lambda *args: None)


@breaks("bidirectional-simple")
def directions_swapped(patch):
    kind = registry.kind_of(
        tf.keras.layers.Bidirectional(tf.keras.layers.SimpleRNN(2))
    )

    def rule(walk_, layer, inputs, outputs, **kwargs):
        (result,) = kind.rule(walk_, layer, inputs, outputs, **kwargs)
        axis = result.axes[-1]
        return [
            result.with_axes(
                {-1: axis.take(np.roll(np.arange(len(axis)), len(axis) // 2))}
            )
        ]

    patch.setitem(
        registry._layers, kind.layer, dataclasses.replace(kind, rule=rule)
    )


@breaks("luong-gru")
def sums_over_units_read_nothing(patch):
    """A dead unit's bias moves scores of attention."""
    patch.setattr(walk.Walk, "silence", lambda *args, **kwargs: None)


@breaks("backwards_and_normalized-own_gru")
def an_axis_forgotten(patch):
    """Normalization's parameters stay as they are."""
    without_ties(patch, "'norm'")


@pytest.fixture(autouse=True)
def fresh_names():
    tf.keras.backend.clear_session()


def pytest_generate_tests(metafunc):
    """All of what takes longer with `--long`, else some."""
    if metafunc.function is test_what_is_zero_by_a_broken_rule_is_not_cut:
        some = ["no_tie_at_add", "directions_swapped"]
        long = metafunc.config.getoption("long")
        metafunc.parametrize("name", BROKEN if long else some)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_fails_the_suite(name, monkeypatch):
    function, case = BROKEN[name]
    function(monkeypatch)
    with pytest.raises(AssertionError):
        any_checks.check(any_cases.CASES[case])


def test_what_is_zero_by_a_broken_rule_is_not_cut(name, monkeypatch):
    if name in ("no_tie_at_add", "directions_swapped"):
        pytest.xfail("nothing is zero by it here: the model must be another")
    function, case = BROKEN[name]
    case = any_cases.CASES[case]
    model, _ = any_cases.made(case, dead={})
    function(monkeypatch)
    assert_refused(model, any_cases.batch(case, model))


def assert_refused(model, batch):
    """`shrink` refuses units that are zero by wrong groups."""
    groups = iss_rnns.find_groups(model)
    for group in groups:
        thresholding.zero_units(group, tf.range(group.size) < 1)
    with pytest.raises(errors.UserError):
        iss_rnns.shrink(model, groups, [batch])


@pytest.mark.parametrize(
    "name",
    ["layer_normalization", "softmax_in_a_function", "largest_unit"],
)
def test_what_should_be_refused_is_not_cut_all_the_same(name, monkeypatch):
    model = any_refused.REFUSED[name].build()
    any_cases.randomize(model.variables, np.random.default_rng(0))
    monkeypatch.setattr(walk.Walk, "pin", lambda *args, **kwargs: None)
    assert len(iss_rnns.find_groups(model))  # nothing is refused
    assert_refused(model, tf.random.stateless_normal([2, 5, 3], [1, 2]))


def test_what_is_not_zero_is_not_cut_all_the_same(monkeypatch):
    model = any_refused.REFUSED["sigmoid_before_a_dot"].build()
    any_cases.randomize(model.variables, np.random.default_rng(0))
    monkeypatch.setattr(walk.Walk, "louden", lambda self, axis, reason: axis)
    x = tf.random.stateless_normal([2, 5, 3], [1, 2])
    assert_refused(model, [x, x])


@pytest.fixture(name="unproved")
def fixture_unproved(monkeypatch):
    """The library proves nothing: the suite has to notice by itself."""
    monkeypatch.setattr(
        equality,
        "assert_equal_outputs",
        lambda *args, **kwargs: equality.Difference(0.0, 0.0, 1.0),
    )


def carried_without(statistics):
    """`Smaller.assign` that leaves out some variables."""
    assign = any_model.Smaller.assign

    def broken(self, values=None):
        assign(
            dataclasses.replace(
                self,
                pairs=[p for p in self.pairs if not statistics(p[0])],
            ),
            values,
        )

    return broken


NORMALIZED = "backwards_and_normalized-own_gru"


@pytest.mark.parametrize("left_out", ["moving_mean", "moving_variance", "bias"])
def test_statistics_that_are_not_carried_over_fail_the_suite(
    left_out, monkeypatch, unproved
):
    monkeypatch.setattr(
        any_model.Smaller,
        "assign",
        carried_without(lambda variable: left_out in variable.name),
    )
    with pytest.raises(AssertionError, match="no variable holds"):
        any_checks.check(any_cases.CASES[NORMALIZED])


@pytest.mark.parametrize("left_out", ["moving_mean", "bias"])
def test_statistics_that_are_not_carried_over_fail_the_proof(
    left_out, monkeypatch
):
    monkeypatch.setattr(
        any_model.Smaller,
        "assign",
        carried_without(lambda variable: left_out in variable.name),
    )
    with pytest.raises(errors.UserError, match="outputs differ"):
        any_checks.check(any_cases.CASES[NORMALIZED])


def test_living_units_in_another_order_fail_the_suite(monkeypatch, unproved):
    """The same shapes, wrong rows."""

    def broken(array, keep):
        return array[
            np.ix_(*[k if i else np.sort(k)[::-1] for i, k in enumerate(keep)])
        ]

    monkeypatch.setattr(cutting, "take", broken)
    with pytest.raises(AssertionError):
        any_checks.check(any_cases.CASES["stacked-simple"])
