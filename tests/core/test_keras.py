"""What `_keras` puts on models and optimizers, and takes away again."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import callbacks
from iss_rnns import errors

pytestmark = pytest.mark.keras3


def dense_model(optimizer="sgd"):
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=[3])])
    model.compile(optimizer, "mse", run_eagerly=True)
    return model


class Once(callbacks.UpdateHook):
    """Weights := 1 after each update."""

    def after_update(self):
        for variable in self.model.trainable_variables:
            variable.assign(tf.ones_like(variable))


def gradients_of(model):
    return [(tf.ones_like(v), v) for v in model.trainable_variables]


def test_the_last_hook_gives_the_optimizer_its_own_method_back():
    model = dense_model()
    optimizer, hooks = model.optimizer, [Once(), Once()]
    before = set(vars(optimizer)), set(vars(model))
    for hook in hooks:
        hook.set_model(model)
    assert _keras.hooks_of(model) == hooks
    assert vars(optimizer)["apply_gradients"]
    optimizer.apply_gradients(gradients_of(model))
    assert all((w == 1).all() for w in model.get_weights())
    for hook in hooks:
        hook.on_train_end()
    assert _keras.hooks_of(model) == []
    assert {"apply_gradients", "finalize_variable_values"} & set(
        vars(optimizer)
    ) == set()
    assert not {"fit"} & (set(vars(model)) - before[1])
    optimizer.apply_gradients(gradients_of(model))
    assert not any((w == 1).all() for w in model.get_weights())


def test_a_wrapper_of_somebody_else_stays():
    """Around ours or below it."""
    model = dense_model()
    optimizer, calls = model.optimizer, []

    def counting(plain):
        def apply(*args, **kwargs):
            calls.append(plain)
            return plain(*args, **kwargs)

        return apply

    optimizer.apply_gradients = below = counting(optimizer.apply_gradients)
    hook = Once()
    hook.set_model(model)
    optimizer.apply_gradients(gradients_of(model))
    assert len(calls) == 1
    hook.on_train_end()
    assert vars(optimizer)["apply_gradients"] is below
    hook.set_model(model)
    optimizer.apply_gradients = above = counting(optimizer.apply_gradients)
    hook.on_train_end()
    assert vars(optimizer)["apply_gradients"] is above
    optimizer.apply_gradients(gradients_of(model))
    assert len(calls) == 3
    assert not all((w == 1).all() for w in model.get_weights())


def test_hooks_move_over_to_another_optimizer():
    model = dense_model()
    first, hook = model.optimizer, Once()
    hook.set_model(model)
    second = tf.keras.optimizers.SGD(0.1)
    _keras.replace_optimizer(model, second)
    assert model.optimizer is second and _keras.hooks_of(model) == [hook]
    assert "apply_gradients" not in vars(first)
    hook.on_train_end()
    assert "apply_gradients" not in vars(second)


def test_a_penalty_joins_once_and_leaves_at_the_next_fit():
    model = dense_model()
    penalty = callbacks.Penalty(lambda: tf.constant(3.0))
    for _ in range(2):
        penalty.set_model(model)
    assert [float(loss) for loss in model.losses] == [3.0]
    model.fit(np.ones([2, 3]), np.ones([2, 2]), verbose=0)
    assert model.losses == [] and "fit" not in vars(model)


def test_a_model_that_is_saved_in_training_is_saved_without_penalties(
    tmp_path,
):
    """In whatever format; the training goes on with them."""
    model = dense_model(tf.keras.optimizers.SGD(0.0))
    x, y = np.ones([2, 3]), np.ones([2, 2])
    plain = model.evaluate(x, y, verbose=0)
    # Keras 3 saves no folders in training.
    names = ["model.keras", "folder"][: 4 - _keras.VERSION]
    paths = [str(tmp_path / name) for name in names]
    losses = model.fit(
        x,
        y,
        epochs=2,
        verbose=0,
        callbacks=[
            callbacks.Penalty(lambda: tf.constant(3.0)),
            *map(tf.keras.callbacks.ModelCheckpoint, paths),
        ],
    ).history["loss"]
    np.testing.assert_allclose(losses, 2 * [plain + 3.0], rtol=1e-6)
    for path in paths:
        loaded = tf.keras.models.load_model(path)
        assert loaded.losses == []
        np.testing.assert_allclose(
            loaded.evaluate(x, y, verbose=0), plain, rtol=1e-6
        )


def test_validation_counts_what_training_counts():
    """Whatever was evaluated before: no function of before is kept."""
    model = dense_model(tf.keras.optimizers.SGD(0.0))
    x, y = np.ones([2, 3]), np.ones([2, 2])
    plain = model.evaluate(x, y, verbose=0)
    penalty = callbacks.Penalty(lambda: tf.constant(3.0))
    for run_eagerly in (True, False):
        model.compile(
            tf.keras.optimizers.SGD(0.0), "mse", run_eagerly=run_eagerly
        )
        assert model.evaluate(x, y, verbose=0) == plain
        history = model.fit(
            x, y, validation_data=(x, y), verbose=0, callbacks=[penalty]
        ).history
        np.testing.assert_allclose(history["loss"], [plain + 3.0], rtol=1e-6)
        np.testing.assert_allclose(
            history["val_loss"], [plain + 3.0], rtol=1e-6
        )
        assert model.evaluate(x, y, verbose=0) == plain


@pytest.mark.parametrize(
    "optimizer, owned",
    [
        (lambda: tf.keras.optimizers.SGD(0.1), 0),
        (lambda: tf.keras.optimizers.SGD(0.1, momentum=0.9), 1),
        (lambda: tf.keras.optimizers.Adam(0.1, use_ema=True), 3),
        (
            lambda: tf.keras.mixed_precision.LossScaleOptimizer(
                tf.keras.optimizers.Adam(0.1)
            ),
            2,
        ),
    ],
)
def test_slots_know_their_variables_whatever_the_names(optimizer, owned):
    variables = [tf.Variable(tf.zeros([n]), name="same") for n in (2, 3)]
    optimizer = optimizer()
    owners = _keras.build_slots(optimizer, variables)
    slots = list(optimizer.variables)
    assert len(owners) == len(slots)
    for variable in variables:
        shapes = [s.shape for s, o in zip(slots, owners) if o is variable]
        # That of Keras 2 has a slot for a momentum of 0, too.
        least = 1 if _keras.VERSION == 2 else 0
        assert shapes == [variable.shape] * max(owned, least)
    others = [s for s, o in zip(slots, owners) if o is None]
    assert others[0].dtype == tf.int64  # the step's number
    assert all(other.shape.rank == 0 for other in others)


def test_names_of_one_kind_are_told_apart():
    variables = [tf.Variable(0.0, name=n) for n in ("a", "b", "a", "a")]
    assert _keras.unique_names(variables) == ["a", "b", "a_2", "a_3"]


def test_kept_in_checkpoints_and_nowhere_else(tmp_path):
    model = dense_model()
    weights = len(model.weights)
    state = {name: tf.Variable(name == "x") for name in "xy"}
    assert _keras.kept(model, "state") == {}
    _keras.keep_in_checkpoints(model, "state", state)
    assert _keras.kept(model, "state") == state
    assert model.state == list(state.values())
    assert len(model.weights) == weights
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
    saved = {name for name, _ in tf.train.list_variables(path)}
    suffix = ".ATTRIBUTES/VARIABLE_VALUE"
    assert {f"model/state/{i}/{suffix}" for i in range(2)} <= saved
    # Read before it is there, as after: it gets what was saved.
    again = dense_model()
    status = tf.train.Checkpoint(model=again).read(path)
    new = {name: tf.Variable(False) for name in "xy"}
    _keras.keep_in_checkpoints(again, "state", new)
    status.assert_existing_objects_matched()
    assert [bool(v.numpy()) for v in again.state] == [True, False]


def test_a_variable_is_known_by_what_is_in_it():
    """Keras 3 wraps TensorFlow's variables; Keras 2 hands them out."""
    layer = tf.keras.layers.Dense(2, name="read_out")
    layer.build([None, 3])
    inner = _keras.plain(layer.kernel)
    assert isinstance(inner, tf.Variable)
    assert _keras.plain(inner) is inner
    assert _keras.key(layer.kernel) == _keras.key(inner) == inner.ref()
    assert _keras.is_variable(layer.kernel) and _keras.is_variable(inner)
    assert not _keras.is_variable(tf.zeros([2])) and not _keras.is_variable(3)
    assert _keras.name(layer.kernel) == _keras.name(inner)
    assert _keras.name(inner).endswith("kernel")
    assert [v.ref() for v in _keras.trainable(layer)] == [
        _keras.key(layer.kernel),
        _keras.key(layer.bias),
    ]


def test_variables_of_one_name_are_told_apart_by_their_layers():
    layers = [tf.keras.layers.Dense(2, name=n) for n in ("one", "other")]
    model = tf.keras.Sequential([tf.keras.Input([3]), *layers])
    names = _keras.unique_names(_keras.trainable(model))
    assert [name.split("/")[-2:] for name in names] == [
        [layer, weight]
        for layer in ("one", "other")
        for weight in ("kernel", "bias")
    ]


def test_another_backend_is_refused():
    _keras.check_backend("tensorflow")
    with pytest.raises(
        errors.UserError, match="Keras on torch: set KERAS_BACKEND=tensorflow"
    ):
        _keras.check_backend("torch")


def test_another_backend_is_refused_before_anything_is_computed():
    if _keras.VERSION == 2:
        pytest.skip("Keras 2 has one backend")
    done = subprocess.run(
        [sys.executable, "-c", "import iss_rnns; iss_rnns.LSTMCell(2)"],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "iss_rnns.errors.UserError: iss-rnns needs Keras on TensorFlow, and "
        "this process has Keras on numpy"
    )


def test_a_replaced_layer_counts_no_more():
    class Holder(tf.keras.Model):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def call(self, x):
            return self.net(x)

    first, second = tf.keras.layers.Dense(2), tf.keras.layers.Dense(4)
    for layer in (first, second):
        layer.build([None, 3])
    model = Holder(first)
    model(tf.zeros([1, 3]))
    _keras.replace_layer(model, "net", second)
    assert [_keras.key(v) for v in model.trainable_variables] == [
        _keras.key(second.kernel),
        _keras.key(second.bias),
    ]
    assert model(tf.zeros([1, 3])).shape == [1, 4]
