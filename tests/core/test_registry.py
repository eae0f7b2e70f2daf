"""Files name classes; Keras must find the right ones, whoever comes first."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import _registry
from iss_rnns import optimizers

UNITS, INPUTS = 5, 3
X = np.random.default_rng(0).standard_normal([2, 4, INPUTS]).astype("float32")
CELLS = [
    lambda: iss_rnns.LSTMCell(UNITS, forget_bias=1.0),
    lambda: iss_rnns.GRUCell(UNITS),
    lambda: iss_rnns.SimpleRNNCell(UNITS, "relu"),
    lambda: iss_rnns.RHNCell(UNITS, depth=2),
    lambda: tf.keras.layers.LSTMCell(UNITS),
    lambda: tf.keras.layers.GRUCell(UNITS),
    lambda: tf.keras.layers.SimpleRNNCell(UNITS),
]
HDF5 = "ignore:You are saving your model as an HDF5"


def model_of(layers):
    inputs = tf.keras.Input([None, INPUTS])
    model = tf.keras.Model(inputs, [layer(inputs) for layer in layers])
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=v.shape) for v in model.variables])
    return model


def cells_of(model):
    layers = [getattr(x, "forward_layer", x) for x in model.layers[1:]]
    return [getattr(x.cell, "cells", [x.cell])[0] for x in layers]


@pytest.mark.filterwarnings(HDF5)
@pytest.mark.parametrize(
    "suffix, makes", [(".h5", CELLS), (".keras", CELLS), ("", CELLS[:1])]
)
def test_b6_each_cell_comes_back_as_it_was(tmp_path, suffix, makes):
    layers = [tf.keras.layers.RNN(make()) for make in makes]
    if suffix == ".h5":
        pair = tf.keras.layers.RNN([CELLS[1](), CELLS[5]()])
        layers.append(tf.keras.layers.Bidirectional(pair))
    model = model_of(layers)
    model.save(tmp_path / f"model{suffix}")
    again = tf.keras.models.load_model(tmp_path / f"model{suffix}")
    for cell, loaded in zip(cells_of(model), cells_of(again), strict=True):
        assert type(loaded) is type(cell)
        assert loaded.get_config() == cell.get_config()
    for outputs, expected in zip(again(X), model(X), strict=True):
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_b6_keras_that_came_first_knows_all_classes(monkeypatch):
    table = tf.keras.utils.get_custom_objects()
    names = [f"iss_rnns>{name}" for name in ("LSTMCell", "RNN")]
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in names:
        monkeypatch.delitem(table, name)
    _registry.enter_when_imported()
    config = iss_rnns.RNN(CELLS[0]()).get_config()
    layer = table[names[1]].from_config(config)
    assert type(layer) is iss_rnns.RNN
    assert layer.cell.forget_bias == 1.0


def test_b6_a_configuration_without_all_of_ours_is_keras_own():
    cell = tf.keras.layers.deserialize(
        {"class_name": "GRUCell", "config": {"units": UNITS}},
        use_legacy_format=True,
    )
    assert type(cell) is tf.keras.layers.GRUCell and cell.units == UNITS


@pytest.mark.filterwarnings(HDF5)
def test_b6_a_new_process_knows_all_classes(tmp_path):
    files = [tmp_path / f"model{suffix}" for suffix in (".keras", ".h5")]
    model = model_of(
        [iss_rnns.RNN(CELLS[0]()), tf.keras.layers.RNN(CELLS[1]())]
    )
    model.compile(optimizers.GradientDescent(), "mse")
    for path in files:
        model.save(path)
    code = "\n".join(
        [
            "import json, sys",
            "import iss_rnns, tensorflow as tf",
            "assert not [m for m in sys.modules if m.startswith('iss_rnns.ce')]",
            "for path in sys.argv[1:]:",
            "  model = tf.keras.models.load_model(path)",
            "  parts = [*model.layers[1:], model.layers[1].cell,",
            "           model.layers[2].cell, model.optimizer]",
            "  print(json.dumps([type(p).__module__ for p in parts]))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )
    stock = tf.keras.layers.RNN.__module__
    for line in done.stdout.splitlines():
        assert json.loads(line) == [
            "iss_rnns.recurrent",
            stock,
            "iss_rnns.cells.lstm",
            "iss_rnns.cells.gru",
            "iss_rnns.optimizers",
        ]
    assert len(done.stdout.splitlines()) == 2


def test_b6_keras_that_is_not_there_is_not_missed():
    code = "\n".join(
        [
            "import sys",
            "sys.path = [p for p in sys.path if 'site-packages' not in p]",
            "import iss_rnns",
            "for name in ('keras', 'keras', 'tf_keras'):",
            "  try: __import__(name)",
            "  except ImportError as error: assert error.name == name",
            "  else: raise AssertionError(name)",
        ]
    )
    subprocess.run([sys.executable, "-c", code], check=True)
