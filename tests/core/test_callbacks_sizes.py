"""Trainings that are steered to a size, and the proximal group lasso."""

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups as groups_lib

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 5, 3)).astype(np.float32)
Y = X.sum((1, 2))[:, None]


def new_model(optimizer=None, units=(10, 6)):
    tf.keras.utils.set_random_seed(3)
    *below, last = units
    model = tf.keras.Sequential(
        [
            tf.keras.Input([5, 3]),
            *(
                tf.keras.layers.SimpleRNN(n, return_sequences=True)
                for n in below
            ),
            tf.keras.layers.SimpleRNN(last),
            tf.keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer or tf.keras.optimizers.Adam(0.01), "mse")
    return model, iss_rnns.find_groups(model)


def train(model, callback, epochs=4, **options):
    return model.fit(
        X,
        Y,
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[callback],
        **options,
    ).history


def living(groups):
    return [int(group.alive().numpy().sum()) for group in groups]


@pytest.mark.parametrize(
    "new_optimizer",
    [
        lambda: tf.keras.optimizers.Adam(0.01),
        lambda: tf.keras.optimizers.SGD(0.05, momentum=0.9),
    ],
    ids=["adam", "momentum"],
)
def test_the_share_asked_for_is_reached_and_kept(new_optimizer):
    model, groups = new_model(new_optimizer())
    history = train(model, iss_rnns.GroupLasso(groups, target=0.5))
    # Half of the training is the plan's, which is steps behind in mid-epoch.
    assert history["size_reached"] == [0.75, 0.5, 0.5, 0.5]
    assert history["size_asked"] == [0.5] * 4
    assert sum(living(groups)) == 8
    small, report = iss_rnns.shrink(model, groups, [X])
    assert report.max_difference < 1e-5
    assert [small.layers[i].units for i in (0, 1)] == living(groups)


def test_sizes_of_each_group_are_reached():
    model, groups = new_model()
    names = [group.name for group in groups]
    train(model, iss_rnns.GroupLasso(groups, target={names[0]: 3}))
    assert living(groups) == [3, 6]


def test_a_share_of_the_weights_is_reached():
    """Those of the matrices that a cut leaves, and no unit fewer."""
    model, groups = new_model()
    matrices = groups_lib.unique_variables(groups)
    whole = sum(int(tf.size(v)) for v in matrices)
    history = train(model, iss_rnns.GroupLasso(groups, target_weights=0.4))
    small, _ = iss_rnns.shrink(model, groups, [X])
    of_small = [w for w in small.get_weights() if w.ndim == 2]
    assert len(of_small) == len(matrices)
    left = sum(w.size for w in of_small) / whole
    assert history["size_reached"][-1] == pytest.approx(left)
    # One more unit of the first layer: 3 + 9 + 9 weights, and those behind it.
    assert 0.4 <= left < 0.4 + (3 + 2 * 10 + 6) / whole


def test_multiples_that_the_hardware_likes():
    model, groups = new_model(units=(10,))
    train(model, iss_rnns.GroupLasso(groups, target=0.5, multiple_of=4))
    assert living(groups) == [8]


def test_what_stays_is_not_pressed_and_learns():
    """Units that nobody wants dead have the gradients they would have."""
    model, groups = new_model()
    train(model, iss_rnns.GroupLasso(groups, target=1.0))
    plain, _ = new_model()
    train(plain, tf.keras.callbacks.Callback())
    for a, b in zip(model.get_weights(), plain.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_a_training_that_goes_on_from_a_checkpoint_is_the_same(tmp_path):
    whole, groups = new_model()
    train(whole, iss_rnns.GroupLasso(groups, target=0.4, max_loss=10.0))
    first, groups = new_model()
    train(
        first,
        iss_rnns.GroupLasso(groups, target=0.4, max_loss=10.0, steps=32),
        epochs=1,
    )
    checkpoint = tf.train.Checkpoint(first).write(str(tmp_path / "state"))
    second, groups = new_model()
    callback = iss_rnns.GroupLasso(groups, target=0.4, max_loss=10.0)
    callback.set_model(second)
    second.optimizer.build(second.trainable_variables)
    tf.train.Checkpoint(second).read(checkpoint).assert_consumed()
    train(second, callback, initial_epoch=1)
    for a, b in zip(whole.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_it_stops_where_the_size_costs_too_much():
    model, groups = new_model(tf.keras.optimizers.SGD(0.0))
    callback = iss_rnns.GroupLasso(groups, target=0.2, reach=1.0, max_loss=0.01)
    own = model.predict(X, verbose=0)
    history = train(model, callback, epochs=6, validation_data=(X, own))
    reached, losses = history["size_reached"], history["val_loss"]
    # What is cut changes the outputs, and nothing learns.
    stop = next(e for e in range(1, 6) if losses[e] > min(losses[:e]) + 0.01)
    assert stop < 5
    assert callback.stopped_at == reached[stop] > 0.2
    assert reached[stop:] == [reached[stop]] * (6 - stop)
    assert history["size_asked"][stop:] == pytest.approx(reached[stop:])


def test_cutting_on_the_way_reaches_the_same_size():
    model, groups = new_model()
    small, _ = iss_rnns.fit(
        model,
        X,
        Y,
        groups=groups,
        batch_size=8,
        epochs=4,
        verbose=0,
        callbacks=[iss_rnns.GroupLasso(groups, target=0.5)],
    )
    assert sum(living(groups)) == 8
    assert sum(small.layers[i].units for i in (0, 1)) == 8


def test_the_proximal_step_is_the_soft_threshold():
    """Against NumPy, after an update that the optimizer does by SGD."""
    rate, strength = 0.5, 0.3
    weights = RANDOM.normal(size=(3, 4)).astype(np.float32)
    gradients = RANDOM.normal(size=(3, 4)).astype(np.float32)

    class Linear(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.matrix = self.add_weight(
                name="matrix",
                shape=(3, 4),
                initializer=tf.constant_initializer(weights),
            )
            self.built = True

        def call(self, inputs):
            return tf.reduce_sum(inputs * self.matrix, [1, 2])

    model = Linear()
    model.compile(tf.keras.optimizers.SGD(rate), lambda _, y: tf.reduce_sum(y))
    group = groups_lib.Group(
        "columns", [groups_lib.Slice(model.matrix, 1, 0, 4)]
    )
    model.fit(
        gradients[None],
        np.zeros(1),
        verbose=0,
        callbacks=[iss_rnns.GroupLasso([group], strength, mode="proximal")],
    )
    moved = weights - rate * gradients
    norms = np.linalg.norm(moved, axis=0)
    expected = moved * np.maximum(0, 1 - rate * strength / norms)
    np.testing.assert_allclose(model.matrix, expected, atol=1e-6)


def test_the_proximal_step_gives_exact_zeros_without_a_threshold():
    model, groups = new_model(tf.keras.optimizers.SGD(0.05))
    train(model, iss_rnns.GroupLasso(groups, 0.9, mode="proximal"), epochs=6)
    proximal = living(groups)
    assert 0 < sum(proximal) < 16
    model, groups = new_model(tf.keras.optimizers.SGD(0.05))
    train(model, iss_rnns.GroupLasso(groups, 0.9), epochs=6)
    assert sum(living(groups)) == 16  # small, and not zero


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either a strength or the size that is wanted, got neither"),
        (
            {"strength": 0.1, "target": 0.4},
            "either a strength or the size that is wanted, got both",
        ),
        ({"target": 0.0}, r"target must lie in \(0, 1\], got 0.0"),
        ({"target": 1.5}, r"target must lie in \(0, 1\], got 1.5"),
        ({"target": "half"}, r"target must lie in \(0, 1\], got 'half'"),
        ({"target_weights": -1}, r"target_weights must lie in \(0, 1\]"),
        ({"target": 0.01}, "target=0.01 cannot be reached: with one unit in"),
        ({"target": 0.4, "target_weights": 0.4}, "give either target, of the"),
        ({"target": {"moon": 3}}, "names the group 'moon', which is none of"),
        ({"target": {"gru": 11}}, "target of 'gru' is 11 units, and it has 10"),
        ({"target": {"gru": 0}}, "target of 'gru' must be a whole number"),
        ({"strength": 0.1, "mode": "other"}, "mode must be"),
        ({"strength": 0.1, "reach": 0.5}, "reach is an option of a target"),
        ({"target": 0.4, "reach": 0.0}, r"reach must lie in \(0, 1\]"),
        ({"target": 0.4, "max_loss": -1}, "max_loss must be a number >= 0"),
        ({"target": 0.4, "multiple_of": 0}, "multiple_of must be a whole"),
        ({"target": 0.4, "steps": 0}, "steps must be a whole number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_mistakes_get_one_line(arguments, message):
    groups = [
        groups_lib.Group(
            name, [groups_lib.Slice(tf.Variable(tf.ones([3, n])), 1, 0, n)]
        )
        for name, n in (("gru", 10), ("gru_1", 6))
    ]
    with pytest.raises(errors.UserError, match=message) as caught:
        iss_rnns.GroupLasso(groups, **arguments)
    assert "\n" not in str(caught.value)


def test_without_a_number_of_steps_there_is_no_plan():
    model, groups = new_model()
    data = tf.data.Dataset.from_generator(
        lambda: iter([(X[:8], Y[:8])] * 3),
        output_signature=(
            tf.TensorSpec([8, 5, 3]),
            tf.TensorSpec([8, 1]),
        ),
    )
    with pytest.raises(errors.UserError, match="number of steps is not known"):
        model.fit(
            data,
            verbose=0,
            callbacks=[iss_rnns.GroupLasso(groups, target=0.5)],
        )
    model.fit(
        data,
        verbose=0,
        callbacks=[callbacks.SizeTarget(groups, 0.5, steps=10)],
    )
