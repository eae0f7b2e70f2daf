"""Training that makes a model smaller on its way."""

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import errors
from iss_rnns import thresholding

keras = tf.keras


def new_model(optimizer="adam"):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.layers.GRU(6, return_sequences=True, input_shape=[None, 3]),
            keras.layers.SimpleRNN(5),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def data(count=32):
    random = np.random.default_rng(0)
    x = random.standard_normal((count, 4, 3)).astype(np.float32)
    return x, x.sum(axis=(1, 2))[:, None]


class Dies(keras.callbacks.Callback):
    """Kills units of groups at the end of epochs."""

    def __init__(self, groups, plan):
        super().__init__()
        self.groups = groups
        self.plan = plan

    def on_epoch_end(self, epoch, logs=None):
        for group, unit in self.plan.get(epoch, ()):
            group = self.groups[group]
            # Of those living, so that both trainings kill the same one.
            living = np.flatnonzero(group.alive())[unit]
            thresholding.zero_units(group, tf.range(group.size) == int(living))


PLAN = {0: [(0, 2), (1, 0)], 2: [(0, 1), (0, 3)]}


def callbacks(groups):
    return [
        Dies(groups, PLAN),
        iss_rnns.GroupLasso(groups, 1e-3),
        iss_rnns.FreezeZeros("group", groups),
        iss_rnns.SparsityLogger(groups),
    ]


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(lambda: "adam", marks=pytest.mark.keras3),
        lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    ],
    ids=["adam", "momentum"],
)
def test_losses_are_those_of_training_with_dead_units_frozen(optimizer):
    x, y = data()
    options = {"epochs": 5, "batch_size": 8, "shuffle": False, "verbose": 0}
    dense = new_model(optimizer())
    groups = iss_rnns.find_groups(dense)
    expected = dense.fit(
        x,
        y,
        validation_data=(x, y),
        callbacks=callbacks(groups),
        **options,
    )
    model = new_model(optimizer())
    groups = iss_rnns.find_groups(model)
    small, history = iss_rnns.fit(
        model,
        x,
        y,
        validation_data=(x, y),
        groups=groups,
        callbacks=callbacks(groups),
        **options,
    )
    assert [layer.units for layer in small.layers[:2]] == [3, 4]
    assert [group.size for group in groups] == [3, 4]
    assert groups.model is small
    assert history.epoch == [0, 1, 2, 3, 4]
    for key in ("loss", "mae", "val_loss", "units/gru"):
        np.testing.assert_allclose(
            history.history[key.replace("gru", groups[0].name)],
            expected.history[
                key.replace(
                    "gru", [k for k in expected.history if "/" in k][0][6:]
                )
            ],
            rtol=1e-5,
        )
    np.testing.assert_allclose(
        small.predict(x, verbose=0), dense.predict(x, verbose=0), atol=1e-5
    )
    assert int(small.optimizer.iterations) == 5 * 4


def test_other_callbacks_see_one_training():
    x, y = data()
    model = new_model()
    groups = iss_rnns.find_groups(model)
    seen = []
    watching = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append("begin"),
        on_epoch_end=lambda epoch, logs: seen.append(epoch),
        on_train_end=lambda logs: seen.append("end"),
    )
    stopping = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=3)
    small, history = iss_rnns.fit(
        model,
        x,
        y,
        groups=groups,
        epochs=9,
        verbose=0,
        callbacks=[Dies(groups, PLAN), watching, stopping],
    )
    assert seen == ["begin", 0, 1, 2, 3, "end"]
    assert len(history.history["loss"]) == 4
    assert small.layers[0].units < 6


def test_a_layer_that_died_keeps_a_unit():
    x, y = data()
    model = new_model()
    groups = iss_rnns.find_groups(model)
    plan = {0: [(1, 0)] * 5}
    small, _ = iss_rnns.fit(
        model,
        x,
        y,
        groups=groups,
        epochs=2,
        verbose=0,
        callbacks=[Dies(groups, plan)],
    )
    assert small.layers[1].units == 1


@pytest.mark.keras3
def test_what_cannot_go_on_with_a_smaller_model_is_refused():
    x, y = data()
    model = new_model()
    with pytest.raises(errors.UserError, match="call model.compile"):
        iss_rnns.fit(keras.Sequential([keras.layers.Dense(1)]), x, y)
    for callback, message in (
        (
            keras.callbacks.EarlyStopping(restore_best_weights=True),
            "restore_best_weights=True",
        ),
        (
            iss_rnns.GradualPruning(
                [model.layers[0].cell.kernel],
                iss_rnns.schedules.CubicSparsity(0.5, start=0, end=4),
            ),
            "GradualPruning holds the weights of one model",
        ),
        (3, "must be a list of Keras callbacks, got int"),
    ):
        with pytest.raises(errors.UserError, match=message):
            iss_rnns.fit(model, x, y, callbacks=[callback])
