"""Any Keras model: what `find_groups` finds, and `shrink` cuts.

`make test` runs some of the models, each kind of layer and of model once;
`pytest tests/conformance/test_any_model.py --long` all of them.
"""

import dataclasses
import re

import any_cases
from any_cases import FEATURES
import any_checks
import any_layouts as layouts
import any_models  # registers its models
import any_odd_models
import any_refused
import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import errors

L = tf.keras.layers
CASES = any_cases.CASES

# What `make test` runs: every kind of layer, and of model, once.
SHORT = (
    "stacked-lstm",
    "bidirectional-gru_reset_before",
    "masked-own_gru",
    "residual-simple_cell",
    "encoder_decoder-gru",
    "shared-own_highway",
    "nested-simple",
    "luong-lstm_cell",
    "stateful-own_simple",
    "backwards_and_normalized-own_lstm",
    "subclassed-gru_cell",
    "unrolled-lstm_no_bias",
    "bidirectional_sum",
    "list_of_cells",
    "masking_and_tagging",
    "convolutions_around",
    "a_layer_in_two_groups",
    "residual_by_operators",
    "a_state_beside_the_output",
    "multi_head_attention",
    "a_model_over_time",
    "tied_embeddings",
    "two_outputs",
    "a_cell_of_the_user",
)
# Of SHORT, those that have passed on Keras 3, too.
KERAS3 = (
    "stacked-lstm",
    "bidirectional-gru_reset_before",
    "masked-own_gru",
    "residual-simple_cell",
    "encoder_decoder-gru",
    "shared-own_highway",
    "nested-simple",
    "luong-lstm_cell",
    "stateful-own_simple",
    "backwards_and_normalized-own_lstm",
    "unrolled-lstm_no_bias",
    "bidirectional_sum",
    "list_of_cells",
    "convolutions_around",
    "a_layer_in_two_groups",
    "a_state_beside_the_output",
    "multi_head_attention",
)
SHORT_REFUSED = (
    "units_are_the_output",
    "residual_on_the_input",
    "softmax_in_a_function",
    "layer_normalization",
    "layer_that_cannot_be_seen",
    "sigmoid_before_a_dot",
    "units_become_steps",
    "normalization_inside_a_cell",
    "subclass_of_a_stock_layer",
)
TRAINED = (
    "residual-simple",
    "bidirectional-lstm",
    "masked-gru",
    "encoder_decoder-own_gru",
    "backwards_and_normalized-simple",
    "tied_embeddings",
    "two_outputs",
    "multi_head_attention",
)
SAVED = ("two_outputs", "stacked-lstm", "bidirectional-gru", "residual-simple")
assert any_models and any_odd_models


def pytest_generate_tests(metafunc):
    """All models with `--long`, else some."""
    long = metafunc.config.getoption("long")
    names = {
        "test_dead_units_are_found_and_cut": (SHORT, CASES),
        "test_what_the_suite_calls_dead_is": (SHORT[:1], CASES),
        "test_what_cannot_be_cut_is_refused_with_the_reason": (
            SHORT_REFUSED,
            any_refused.REFUSED,
        ),
        "test_a_smaller_model_is_a_saved_model": (SAVED[:1], SAVED),
        "test_a_training_that_shrinks_has_the_losses_of_frozen_zeros": (
            TRAINED[:1],
            TRAINED,
        ),
    }.get(metafunc.function.__name__)
    if names:
        metafunc.parametrize(
            "name",
            [
                pytest.param(
                    name,
                    marks=[pytest.mark.keras3] if name in KERAS3 else [],
                )
                if names[0] is SHORT
                else name
                for name in names[long]
            ],
        )


@pytest.fixture(autouse=True)
def fresh_names():
    """Keras numbers layers anew."""
    tf.keras.backend.clear_session()


def test_dead_units_are_found_and_cut(name, tmp_path):
    any_checks.check(CASES[name], tmp_path)


def test_what_the_suite_calls_dead_is(name):
    """Without the library: a smaller model is built and filled by hand."""
    case = CASES[name]
    model, places = any_cases.made(case)
    small = any_cases.small_by_hand(case, model, places)
    assert small.count_params() < model.count_params()
    any_checks.check_outputs(case, model, small)


def test_what_cannot_be_cut_is_refused_with_the_reason(name):
    wanted = any_refused.REFUSED[name]
    groups = iss_rnns.find_groups(wanted.build())
    for layer, units in wanted.layers.items():
        records = [r for r in groups.refused if layer in r.layer]
        assert sum(r.units for r in records) == units, groups.refused
        for record in records:
            assert re.search(wanted.reason, record.reason), record
            assert record.layer in str(groups)
            assert record.reason in str(groups)
    assert len(groups) == len(wanted.found), groups
    for layer, group in zip(wanted.found, groups):
        assert layer in group.name


def test_a_smaller_model_is_a_saved_model(name, tmp_path):
    case = CASES[name]
    model, _ = any_cases.made(case)
    groups = iss_rnns.find_groups(model)
    small, _ = iss_rnns.shrink(model, groups, [any_cases.batch(case, model)])
    any_checks.check_file(case, small, tmp_path, suffix="")


def test_a_training_that_shrinks_has_the_losses_of_frozen_zeros(name):
    case = CASES[name]

    def trained(fit, groups_of):
        tf.keras.backend.clear_session()
        model, _ = any_cases.made(case)
        groups = iss_rnns.find_groups(model)
        model.compile("adam", "mse", run_eagerly=True)
        x = any_cases.batch(case, model, size=4)
        y = tf.nest.map_structure(tf.ones_like, model(x))
        history, smaller = fit(
            model,
            x,
            y,
            epochs=3,
            batch_size=2,
            shuffle=False,
            verbose=0,
            callbacks=[iss_rnns.FreezeZeros("group", groups)],
            **groups_of(groups),
        )
        return history.history["loss"], smaller, x

    def whole(model, *args, **kwargs):
        return model.fit(*args, **kwargs), model

    def shrinking(model, *args, **kwargs):
        return iss_rnns.fit(model, *args, shrink_every=1, **kwargs)[::-1]

    losses, model, x = trained(whole, lambda groups: {})
    found, small, _ = trained(shrinking, lambda groups: {"groups": groups})
    assert len(found) == 3 and losses[0] > losses[2]
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert small.count_params() < model.count_params()
    any_checks.compare(
        dataclasses.replace(case, tolerance=1e-4), model, small, x
    )


@pytest.mark.parametrize("kind", ["lstm", "gru", "simple", "own_highway"])
def test_a_state_read_without_weights_must_be_zero(kind):
    """A bias of the candidate keeps a unit alive; one of a gate does not."""
    case = CASES[f"luong-{kind}"]
    model, places = any_cases.made(case)
    biases = {
        role: [p for p in places["n"] if p.kind == role]
        for role in (layouts.BIAS, layouts.CANDIDATE)
    }
    assert all(np.array(p.variable).any() for p in biases[layouts.BIAS])
    (group,) = iss_rnns.find_groups(model)
    dead = any_cases.dead_units(case)["n"]
    assert np.sum(group.alive()) == np.sum(~dead)
    unit = int(np.flatnonzero(dead)[0])
    place = biases[layouts.CANDIDATE][-1]
    value = np.array(place.variable)
    value[..., place.entries[0, unit]] = 0.1
    place.variable.assign(value)
    assert np.sum(group.alive()) == np.sum(~dead) + 1


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru_reset_before"])
def test_any_weight_of_a_unit_keeps_it_alive(kind):
    case = CASES[f"stacked-{kind}"]
    model, places = any_cases.made(case)
    groups = {g.name: g for g in iss_rnns.find_groups(model)}
    dead = any_cases.dead_units(case)
    for name, group in groups.items():
        unit = int(np.flatnonzero(dead[name])[0])
        np.testing.assert_array_equal(group.alive(), ~dead[name])
        for place in places[name]:
            if place.kind != layouts.WEIGHT:
                continue
            for entry in place.entries[:, unit]:
                value = np.array(place.variable)
                index = [0, 0]
                index[place.axis] = entry
                value[tuple(index)] = 0.1
                before = np.array(place.variable)
                place.variable.assign(value)
                assert np.asarray(group.alive())[unit], (place, entry)
                place.variable.assign(before)
        np.testing.assert_array_equal(group.alive(), ~dead[name])


def test_nothing_dead_nothing_lost():
    case = CASES["stacked-gru"]
    model, _ = any_cases.made(case, dead={})
    groups = iss_rnns.find_groups(model)
    batch = any_cases.batch(case, model)
    small, report = iss_rnns.shrink(model, groups, [batch])
    assert report.before == report.after == {"a": 5, "b": 4}
    assert small.count_params() == model.count_params()
    np.testing.assert_allclose(small(batch), model(batch), rtol=1e-6)


def test_a_layer_without_any_living_unit_is_refused_by_name():
    case = CASES["stacked-simple"]
    model, _ = any_cases.made(
        case, dead={"a": np.zeros(5, bool), "b": np.ones(4, bool)}
    )
    groups = iss_rnns.find_groups(model)
    with pytest.raises(errors.UserError, match="'b' lost all of its 4 units"):
        iss_rnns.shrink(model, groups, [any_cases.batch(case, model)])


def test_the_table_names_layers_units_and_readers():
    model = CASES["two_outputs"].build(a=4, b=3)
    lines = str(iss_rnns.find_groups(model)).splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    # Kernel [3, 4] and [4, 4], columns and rows; rows of b's and tags'.
    assert rows["a"][1:3] == ["4", str(3 + 4 + 4 + 3 + 2)]
    assert {"b", "tags"} <= {name.strip(",") for name in rows["a"][3:]}
    assert rows["b"][1:3] == ["3", str(4 + 3 + 3 + 2)]
    assert rows["b"][3:] == ["out"]


class NeverCalled(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.a = L.GRU(4, name="a")
        self.out = L.Dense(2)

    def call(self, x):
        return self.out(self.a(x))


def test_a_model_without_known_inputs_asks_for_a_batch():
    with pytest.raises(errors.UserError, match=r"inputs=batch"):
        iss_rnns.find_groups(NeverCalled())
    model = NeverCalled()
    groups = iss_rnns.find_groups(model, inputs=np.ones([2, 5, 3], "float32"))
    assert [g.size for g in groups] == [4]
    assert model.built


# --- what cannot be seen ---


class Doubled(L.Layer):
    """Twice its input, by what cannot be seen."""

    def call(self, x):
        y = tf.numpy_function(lambda a: 2 * a, [x], tf.float32)
        return tf.ensure_shape(y, x.shape)


@pytest.fixture(name="registered")
def fixture_registered(monkeypatch):
    """What is registered here is gone afterwards."""
    from iss_rnns.groups import registry

    for name in ("_layers", "_cells"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def test_a_layer_is_known_once_it_is_registered(registered):
    def build(a):
        x = tf.keras.Input([None, FEATURES])
        y = L.SimpleRNN(a, return_sequences=True, name="a")(x)
        return tf.keras.Model(x, L.Dense(2, name="out")(Doubled()(y)))

    def places(m, a):
        return {
            "a": layouts.simple(m.a.cell, a) + layouts.rows(m.out.kernel, a)
        }

    case = any_cases.Case("doubled", build, places, {"a": 4})
    assert not iss_rnns.find_groups(build(4))
    iss_rnns.register_layer(
        Doubled,
        lambda walk, layer, inputs, outputs: [
            outputs[0].with_axes({-1: inputs[0].axes[-1]})
        ],
    )
    any_checks.check(case)


class UnseenGates(any_refused.UnseenCell):
    """Two gates side by side; what it does with them cannot be seen."""

    def build(self, shape):
        n = self.units
        self.kernel = self.add_weight("kernel", [shape[-1], 2 * n])
        self.recurrent_kernel = self.add_weight("recurrent", [n, 2 * n])
        self.bias = self.add_weight("bias", [2 * n])
        self.built = True

    def call(self, inputs, states):
        z = inputs @ self.kernel + states[0] @ self.recurrent_kernel
        z += self.bias
        f, c = tf.split(z, 2, axis=1)
        h = tf.numpy_function(
            lambda h, f, c: h * (f > 0) + np.tanh(c),
            [states[0], f, c],
            tf.float32,
        )
        h = tf.ensure_shape(h, f.shape)
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_cell_is_known_once_it_is_registered(registered):
    def build(a):
        x = tf.keras.Input([None, FEATURES])
        y = L.RNN(UnseenGates(a), return_sequences=True, name="a")(x)
        scores = L.Attention()([y, y])
        return tf.keras.Model(x, L.Dense(2, name="out")(scores))

    def places(m, a):
        return {
            "a": layouts.gated(m.a.cell, a, 2, 1)
            + layouts.rows(m.out.kernel, a)
        }

    case = any_cases.Case("gates", build, places, {"a": 4}, silent=True)
    assert not iss_rnns.find_groups(build(4))
    iss_rnns.register_cell(UnseenGates, gates=2, candidate=1)
    model, places = any_cases.made(case)
    groups = iss_rnns.find_groups(model)
    any_checks.check_units(groups, places, case)
    small, _ = iss_rnns.shrink(model, groups, [any_cases.batch(case, model)])
    any_checks.check_outputs(case, model, small)
