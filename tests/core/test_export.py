"""Any recurrent model as a file, with what that costs measured."""

import functools

import exported
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns.export import arithmetic
from iss_rnns.export import plans
from iss_rnns.export import reading
from iss_rnns.export import source as source_lib

layers = tf.keras.layers


@pytest.mark.parametrize("name", exported.MODELS)
def test_a_plan_computes_what_its_model_computes(name):
    model = exported.build(name)
    source = source_lib.of(model)
    given = exported.inputs(source)
    plan = reading.read(model)
    found = arithmetic.run(plan, given)
    expected = source.run(given)
    assert list(found) == list(expected) == source.outputs
    for output, array in expected.items():
        np.testing.assert_allclose(found[output], array, atol=2e-6)
    assert plan.weights() == model.count_params() - sum(
        # Four vectors become two.
        2 * layer.input_shape[-1]
        for layer in model.layers
        if isinstance(layer, layers.BatchNormalization)
    ) + sum(
        # Layers without a bias, or with one only, get zeros for both.
        each.arrays["recurrent_bias"].size
        + each.arrays["bias"].size * (not layer.use_bias)
        for layer in model.layers
        if isinstance(layer, layers.GRU) and not layer.reset_after
        for each in plan.recurrent()
        if each.name == layer.name
    )


def test_a_saved_model_runs_for_any_batch_and_length(tmp_path):
    model = wide()
    path = tmp_path / "deep" / "net"
    done = export.export(model, path, "saved_model", batches=[data()[0][0]])
    loaded = export.load(path)
    (name,) = loaded.inputs
    for shape in ((1, 9, 32), (4, 2, 32)):
        x = np.ones(shape, np.float32)
        (found,) = loaded(**{name: x}).values()
        np.testing.assert_allclose(found, model(x), atol=1e-6)
    card = (path / "model_card.md").read_text()
    assert card == done.card
    assert "| weights | float32 |" in card
    assert "| units | gru" in card
    assert done.proof.loss <= 1e-6
    assert loaded.manifest.format == "saved_model"
    # Again, in its place; a folder of something else stays.
    export.export(model, path, "saved_model")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="holds no exported model"):
        export.export(model, other, "saved_model")
    assert (other / "notes.txt").read_text() == "mine"


def test_a_saved_model_with_a_mask_loads(tmp_path):
    model = tf.keras.Sequential(
        [
            layers.Embedding(9, 3, mask_zero=True, input_shape=[None]),
            layers.GRU(4),
        ]
    )
    export.export(model, tmp_path / "net", "saved_model")
    loaded = export.load(tmp_path / "net")
    ids = np.array([[3, 4, 5], [6, 0, 0]], np.int32)
    (found,) = loaded(**{next(iter(loaded.inputs)): ids}).values()
    np.testing.assert_allclose(found, model(ids), atol=1e-6)


def test_the_fused_operator_begins_anew_with_each_call(tmp_path):
    model = exported.build("last")
    path = tmp_path / "net.tflite"
    done = export.export(model, path, "tflite")
    assert "fused LSTM operator" in done.facts["format"]
    loaded = export.load(path)
    assert loaded.runner.fused
    x = np.random.default_rng(0).standard_normal((1, 7, 5)).astype("f")
    name = next(iter(loaded.inputs))
    for _ in range(2):
        (found,) = loaded(**{name: x}).values()
        np.testing.assert_allclose(found, model(x), atol=1e-6)
    assert "fused" in (tmp_path / "net.md").read_text()
    with pytest.raises(errors.UserError, match=r"must be \[1, 7, 5\], got"):
        loaded(**{name: x[:, :3]})
    with pytest.raises(errors.UserError, match="takes .*; got nothing"):
        loaded()


@functools.cache
def wide():
    tf.keras.utils.set_random_seed(2)
    return tf.keras.Sequential(
        [
            layers.GRU(32, return_sequences=True, input_shape=[None, 32]),
            layers.Dense(2),
        ]
    )


def data():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((4, 6, 32)).astype(np.float32)
    return [(x, draw.standard_normal((4, 6, 2)).astype(np.float32))]


def test_a_step_of_8_bits_loses_what_is_told(tmp_path):
    model, path = wide(), tmp_path / "net.tflite"
    done = export.export(
        model,
        path,
        "tflite",
        "int8",
        data(),
        tf.keras.losses.mean_squared_error,
        max_loss=0.1,
        states=True,
    )
    ((x, y),) = data()
    loaded = export.load(path)
    state, found = np.zeros((1, 32), np.float32), []
    (name,) = (n for n in loaded.inputs if not n.endswith("_h"))
    (state_name,) = set(loaded.inputs) - {name}
    for t in range(6):
        made = loaded(**{name: x[:1, t], state_name: state})
        state = made[f"{state_name}_out"]
        found.append(made[next(k for k in made if not k.endswith("_out"))])
    exact = model(x).numpy()
    gap = np.abs(np.stack(found, 1) - exact[:1]).max()
    assert 0 < gap <= done.proof.difference < 0.1
    assert done.proof.before == pytest.approx(np.mean((exact - y) ** 2))
    assert done.proof.loss == done.proof.after - done.proof.before != 0
    assert "mean_squared_error (less is better), model" in done.card


def test_what_loses_too_much_is_not_written(tmp_path):
    model = wide()
    kind = {"format": "c", "dtype": "int8", "batches": data()}
    done = export.export(model, tmp_path / "net", **kind)
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == [
        "manifest.json",
        "model_card.md",
        "net.c",
        "net.h",
    ]
    loss = done.proof.loss
    assert loss == done.proof.difference > 0
    with pytest.raises(
        errors.UserError, match="outputs move by .* nothing is written"
    ):
        export.export(model, tmp_path / "less", max_loss=loss / 2, **kind)
    with pytest.raises(errors.UserError, match="the metric rises by"):
        export.export(
            model,
            tmp_path / "less",
            max_loss=0.0,
            metric=lambda y, outputs: np.abs(outputs - model(data()[0][0])),
            **kind,
        )
    assert not (tmp_path / "less").exists()
    export.export(model, tmp_path / "less", max_loss=loss, **kind)


def test_a_plan_that_is_misread_is_not_written(tmp_path, monkeypatch):
    model = exported.build("last")
    right = reading.read

    def wrong(given):
        plan = right(given)
        next(plan.recurrent()).arrays["bias"][:] += 0.1
        return plan

    monkeypatch.setattr(reading, "read", wrong)
    with pytest.raises(errors.UserError, match="differ from the model's by"):
        export.export(model, tmp_path / "net", "c")
    assert not (tmp_path / "net").exists()


def sequential(*made):
    return tf.keras.Sequential([layers.Input([None, 4]), *made])


REFUSED = {
    "another layer": (
        lambda: sequential(layers.Conv1D(2, 3)),
        {},
        "the layer 'conv1d.*' .Conv1D. cannot be exported",
    ),
    "a function": (
        lambda: sequential(layers.LSTM(2), layers.Lambda(lambda x: x)),
        {},
        "Lambda is not one of the layers known",
    ),
    "an activation": (
        lambda: sequential(layers.LSTM(2, activation=tf.sin)),
        {},
        "its activation sin is not one of",
    ),
    "a stack of cells": (
        lambda: sequential(layers.RNN([layers.LSTMCell(2)])),
        {},
        "its cell is a StackedRNNCells",
    ),
    "no known inputs": (
        lambda: tf.keras.Sequential([layers.LSTM(2)]),
        {},
        "no sequential or functional model of known inputs",
    ),
    "no model": (lambda: 3, {}, "a int cannot be exported"),
    "format": (wide, {"format": "pb"}, "format must be one of saved_model, tf"),
    "dtype": (wide, {"dtype": "int4"}, "dtype must be one of float32, int8"),
    "ending": (wide, {"format": "tflite"}, "ends in .tflite, got .*net"),
    "name": (wide, {"path": "8-bit"}, "'8-bit' cannot be the name of C"),
    "no batches": (wide, {"max_loss": 1.0}, "max_loss needs batches"),
    "an empty list": (wide, {"batches": []}, "batches holds no batch"),
    "no targets": (
        wide,
        {"batches": [data()[0][0]], "metric": max},
        "metric needs targets",
    ),
    "a name for a metric": (
        wide,
        {"batches": data(), "metric": "mse"},
        "metric must be a function",
    ),
    "data of another shape": (
        wide,
        {"batches": [np.zeros((2, 3))]},
        "a batch's input '.*' is float64.2, 3.; the model's is float32",
    ),
    "data with NaN": (
        wide,
        {"batches": [np.full((2, 3, 32), np.nan)]},
        "holds NaN or infinity",
    ),
    "int8 of what has none": (
        wide,
        {"format": "saved_model", "dtype": "int8"},
        "saved_model has weights of float32 only",
    ),
    "stateful": (
        lambda: tf.keras.Sequential(
            [layers.LSTM(2, stateful=True, batch_input_shape=[1, None, 3])]
        ),
        {"format": "saved_model"},
        "is stateful, but a file keeps no state",
    ),
    "backwards": (
        lambda: sequential(layers.LSTM(2, go_backwards=True)),
        {"format": "saved_model", "states": True},
        "runs backwards, so it needs the end",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_one_line(case, tmp_path):
    make, arguments, match = REFUSED[case]
    arguments = {"path": "net", "format": "c", **arguments}
    arguments["path"] = tmp_path / arguments["path"]
    with pytest.raises(errors.UserError, match=match) as caught:
        export.export(make(), **arguments)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.UserError, match="cannot write .*file"):
        export.export(wide(), tmp_path / "file" / "net", "c")
    with pytest.raises(errors.UserError, match="is a file; give the name of"):
        export.export(wide(), tmp_path / "file", "c")


def test_names_become_identifiers_no_two_alike():
    assert reading.unique(["a", "a/b", "a_b", "8", "", "a", "ä"]) == [
        "a",
        "a_b",
        "a_b_2",
        "x8",
        "x",
        "a_2",
        "x_",
    ]


def test_states_come_in_and_go_out():
    plan = reading.read(exported.build("stack"))
    whole = plans.with_states(plan)
    lstm, gru = whole.recurrent()
    assert [each.name for each in whole.inputs[1:]] == [
        *lstm.states,
        *gru.states,
    ]
    assert list(whole.outputs)[1:] == [
        f"{name}_out" for name in (*lstm.states, *gru.states)
    ]
    # A decoder has them already.
    plan = reading.read(exported.build("decoder"))
    assert plans.with_states(plan) == plan
