"""Callbacks: on language models and on ordinary Keras models."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import callbacks
from iss_rnns import cells
from iss_rnns import groups
from iss_rnns import regularizers

pytestmark = pytest.mark.keras3

BATCH, TIME, INPUTS, UNITS = 8, 4, 3, 5


def keras_model(optimizer=None, graph=False):
    """A functional model: RNN(LSTMCell) -> Dense, and its ISS group.

    Tracing it for a graph takes seconds: only where it matters.
    """
    tf.keras.utils.set_random_seed(0)
    inputs = tf.keras.Input([TIME, INPUTS])
    cell = cells.LSTMCell(UNITS)
    hidden = tf.keras.layers.RNN(cell)(inputs)
    dense = tf.keras.layers.Dense(2, name="dense")
    model = tf.keras.Model(inputs, dense(hidden))
    model.compile(
        optimizer or tf.keras.optimizers.SGD(0.1), "mse", run_eagerly=not graph
    )
    return model, cells.iss_group("lstm", cell, [groups.whole(dense.kernel, 0)])


def data(count=BATCH):
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(count, TIME, INPUTS)).astype(np.float32),
        rng.normal(size=(count, 2)).astype(np.float32),
    )


def fit(model, *hooks, epochs=1):
    return model.fit(
        *data(),
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=list(hooks),
    ).history


def kill(group, units):
    """Zeroes units of a group, companions too."""
    dead = np.zeros(group.size, np.float32)
    dead[units] = 1.0
    for variable, line in group.spread(dead, companions=True):
        variable.assign(tf.where(line > 0, tf.zeros_like(variable), variable))


class TestPenalties:
    def test_group_lasso_joins_the_loss_of_a_keras_model(self):
        model, group = keras_model()
        plain = model.evaluate(*data(), verbose=0)
        penalty = float(regularizers.group_lasso([group], 0.3))
        loss = fit(model, callbacks.GroupLasso([group], 0.3))["loss"][0]
        np.testing.assert_allclose(loss, plain + penalty, rtol=1e-5)

    def test_it_changes_the_update_by_its_gradient(self):
        weights = []
        for strength in (None, 0.3):
            model, group = keras_model()
            before = model.get_weights()
            fit(
                model,
                *(
                    []
                    if strength is None
                    else [callbacks.GroupLasso([group], strength)]
                ),
            )
            weights.append(model.get_weights())
        model, group = keras_model()
        for ours, start in zip(model.get_weights(), before):
            np.testing.assert_array_equal(ours, start)
        with tf.GradientTape() as tape:
            penalty = regularizers.group_lasso([group], 0.3)
        gradients = tape.gradient(penalty, model.trainable_variables)
        for plain, penalized, gradient in zip(*weights, gradients):
            expected = 0.0 if gradient is None else -0.1 * gradient.numpy()
            np.testing.assert_allclose(
                penalized - plain, expected + np.zeros_like(plain), atol=1e-6
            )

    def test_a_strength_by_epoch_holds_from_its_epoch_on(self):
        model, group = keras_model(tf.keras.optimizers.SGD(0.0))
        plain = fit(model)["loss"][0]
        penalty = float(regularizers.group_lasso([group], 1.0))
        lasso = callbacks.GroupLasso([group], lambda epoch: [0.3, 0.1][epoch])
        losses = fit(model, lasso, epochs=2)["loss"]
        np.testing.assert_allclose(
            losses, [plain + 0.3 * penalty, plain + 0.1 * penalty], rtol=1e-5
        )

    @pytest.mark.parametrize("graph", [False, True])
    def test_a_second_fit_does_not_count_it_twice(self, graph):
        model, group = keras_model(tf.keras.optimizers.SGD(0.0), graph)
        callback = callbacks.GroupLasso([group], 0.3)
        first = fit(model, callback)["loss"][0]
        assert model.losses == []
        second = fit(model, callback)["loss"][0]
        third = fit(model, callbacks.GroupLasso([group], 0.3))["loss"][0]
        without = fit(model)["loss"][0]
        assert first == second == third
        assert without < first

    def test_two_penalties_add_up_and_leave_together(self):
        model, group = keras_model(tf.keras.optimizers.SGD(0.0))
        plain = fit(model)["loss"][0]
        lasso = callbacks.GroupLasso([group], 0.3)
        l1 = callbacks.WeightPenalty("l1", 0.2)
        loss = fit(model, lasso, l1)["loss"][0]
        np.testing.assert_allclose(
            loss,
            plain
            + regularizers.group_lasso([group], 0.3)
            + regularizers.l1(model.trainable_variables, 0.2),
            rtol=1e-5,
        )
        assert fit(model)["loss"][0] == plain

    @pytest.mark.parametrize("kind", ["l1", "l2"])
    def test_weight_penalty_leaves_out_by_name(self, kind):
        model, _ = keras_model(tf.keras.optimizers.SGD(0.0))
        plain = fit(model)["loss"][0]
        loss = fit(
            model,
            callbacks.WeightPenalty(
                kind, 0.2, exclude=("dense/kernel", "dense/bias")
            ),
        )["loss"][0]
        covered = [
            v for v in model.trainable_variables if "dense" not in v.name
        ]
        assert len(covered) == 3
        np.testing.assert_allclose(
            loss - plain, getattr(regularizers, kind)(covered, 0.2), rtol=1e-4
        )

    def test_arguments_are_checked(self):
        with pytest.raises(
            ValueError, match="strength must be a number >= 0, got -1"
        ):
            callbacks.GroupLasso([], -1)
        with pytest.raises(ValueError, match="got nan"):
            callbacks.WeightPenalty("l1", float("nan"))
        with pytest.raises(
            ValueError, match="kind must be 'l1' or 'l2', got 'l3'"
        ):
            callbacks.WeightPenalty("l3", 1.0)


class TestThresholdZeroing:
    @pytest.mark.parametrize("graph", [False, True])
    def test_after_every_update_on_all_trainable_variables(self, graph):
        model, _ = keras_model(graph=graph)
        threshold = 0.1
        seen = []

        class Look(tf.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                for v in self.model.trainable_variables:
                    value = abs(v.numpy())
                    seen.append(((value > 0) & (value < threshold)).sum())

        fit(model, callbacks.ThresholdZeroing(threshold), Look(), epochs=3)
        assert seen and not any(seen)
        values = np.concatenate(
            [v.numpy().ravel() for v in model.trainable_variables]
        )
        assert (values == 0).any() and (values != 0).any()

    def test_is_gone_after_training(self):
        model, _ = keras_model()
        fit(model, callbacks.ThresholdZeroing(10.0))
        assert not any(w.any() for w in model.get_weights())
        fit(model)
        assert any(w.any() for w in model.get_weights())

    def test_given_variables_only(self):
        model, _ = keras_model()
        kernel, *others = model.trainable_variables
        fit(model, callbacks.ThresholdZeroing(10.0, [kernel]))
        assert not kernel.numpy().any()
        assert all(v.numpy().any() for v in others)

    def test_before_an_evaluation(self):
        model, _ = keras_model()
        callback = callbacks.ThresholdZeroing(10.0)
        model.evaluate(*data(), verbose=0, callbacks=[callback])
        assert not any(w.any() for w in model.get_weights())

    def test_threshold_zero_is_off(self):
        weights = []
        for hooks in ([], [callbacks.ThresholdZeroing(0.0)]):
            model, _ = keras_model()
            fit(model, *hooks)
            weights.append(model.get_weights())
        for plain, hooked in zip(*weights):
            np.testing.assert_array_equal(plain, hooked)

    def test_checked(self):
        with pytest.raises(ValueError, match="threshold must be a number"):
            callbacks.ThresholdZeroing(-1.0)


class TestFreezeZeros:
    def test_elements_stay_zero(self):
        model, _ = keras_model()
        zeros = []
        rng = np.random.default_rng(0)
        for v in model.trainable_variables:
            zeros.append(rng.random(v.shape) < 0.5)
            v.assign(np.where(zeros[-1], 0.0, v + 1.0))
        before = model.get_weights()
        fit(model, callbacks.FreezeZeros("element"), epochs=3)
        for v, zero, old in zip(model.trainable_variables, zeros, before):
            assert not v.numpy()[zero].any()
            assert (v.numpy()[~zero] != old[~zero]).any()

    @pytest.mark.parametrize(
        "optimizer, graph", [("adam", True), ("adam", False), ("sgd", False)]
    )
    def test_dead_groups_stay_dead_whatever_the_momentum(
        self, optimizer, graph
    ):
        """Living units move, from exact zeros too."""
        model, group = keras_model(optimizer, graph)
        fit(model, epochs=3)  # gathers momentum
        kill(group, [1, 3])
        lone_zero = model.trainable_variables[0]  # kernel, unit 0 is alive
        lone_zero.assign(
            tf.tensor_scatter_nd_update(lone_zero, [[0, 0]], [0.0])
        )
        fit(model, callbacks.FreezeZeros("group", [group]), epochs=3)
        assert group.alive().numpy().tolist() == [
            True,
            False,
            True,
            False,
            True,
        ]
        for s in group.companions:  # biases of dead units too
            assert not s.variable.numpy()[[s.start + 1, s.start + 3]].any()
        assert lone_zero.numpy()[0, 0] != 0.0
        # Without the callback an active unit's reader would wake it up.
        bias = group.companions[0].variable
        bias.assign(tf.ones_like(bias))
        fit(model)
        assert group.alive().numpy().all()

    def test_arguments_are_checked(self):
        with pytest.raises(ValueError, match="'element' or 'group', got 'row'"):
            callbacks.FreezeZeros("row")
        with pytest.raises(ValueError, match="'group' needs groups"):
            callbacks.FreezeZeros("group")
        with pytest.raises(ValueError, match="threshold must be a number"):
            callbacks.FreezeZeros("element", threshold=-1.0)


class Failing(tf.keras.callbacks.Callback):
    """Ends a training by an exception."""

    def on_train_batch_end(self, batch, logs=None):
        raise KeyboardInterrupt


class TestB2FitThatDoesNotEnd:
    """What its callbacks attached is gone in the next one."""

    @pytest.mark.parametrize("graph", [False, True])
    def test_penalties_count_once_after_ctrl_c(self, graph):
        model, group = keras_model(tf.keras.optimizers.SGD(0.0), graph)
        plain = fit(model)["loss"][0]
        first = fit(model, callbacks.GroupLasso([group], 0.3))["loss"][0]
        with pytest.raises(KeyboardInterrupt):
            fit(model, callbacks.GroupLasso([group], 0.3), Failing())
        second = fit(model, callbacks.GroupLasso([group], 0.3))["loss"][0]
        assert second == first > plain
        with pytest.raises(KeyboardInterrupt):
            fit(model, callbacks.GroupLasso([group], 0.3), Failing())
        model.compile(tf.keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
        assert fit(model)["loss"][0] == plain

    def test_after_an_error_in_the_data(self):
        model, group = keras_model(tf.keras.optimizers.SGD(0.0))
        plain = fit(model)["loss"][0]

        def batches():
            yield data()
            raise OSError("disk gone")

        with pytest.raises(Exception, match="disk gone"):
            model.fit(
                batches(),
                verbose=0,
                callbacks=[callbacks.GroupLasso([group], 0.3)],
            )
        assert fit(model)["loss"][0] == plain

    def test_hooks_too_on_whatever_optimizer(self):
        model, _ = keras_model()
        first = model.optimizer
        with pytest.raises(KeyboardInterrupt):
            fit(model, callbacks.ThresholdZeroing(10.0), Failing())
        model.compile(tf.keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        model.set_weights([w + 1.0 for w in model.get_weights()])
        fit(model)
        assert all(w.any() for w in model.get_weights())
        for thing in (first, model.optimizer, model):
            assert not {"apply_gradients", "fit"} & set(vars(thing))

    def test_one_callback_goes_on_with_another_model(self):
        model, group = keras_model(tf.keras.optimizers.SGD(0.0))
        held = [group]
        lasso = callbacks.GroupLasso(held, 0.3)
        expected = fit(model, lasso)["loss"][0]
        with pytest.raises(KeyboardInterrupt):
            fit(model, lasso, Failing())
        model, held[0] = keras_model(tf.keras.optimizers.SGD(0.0))
        assert fit(model, lasso)["loss"][0] == expected


class TestB3AveragingOptimizers:
    """Zeros hold when the averages of the weights replace them."""

    def trained(self, added, scaled=False, **kwargs):
        optimizer = tf.keras.optimizers.SGD(0.05, ema_momentum=0.9, **kwargs)
        if scaled:
            optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
        model, group = keras_model(optimizer)
        kill(group, [1])
        bias = group.companions[0].variable
        bias.assign(tf.ones_like(bias))
        hooks = added(group)
        fit(model, *hooks, epochs=4)
        return model, group

    @pytest.mark.parametrize("scaled", [False, True])
    @pytest.mark.parametrize(
        "added",
        [
            lambda group: [
                callbacks.GroupLasso([group], 5.0),
                callbacks.ThresholdZeroing(0.2),
            ],
            lambda group: [callbacks.FreezeZeros("group", [group])],
        ],
        ids=["zeroing", "freezing"],
    )
    def test_the_same_weights_are_zero_with_and_without(self, added, scaled):
        plain, _ = self.trained(added)
        model, group = self.trained(added, scaled, use_ema=True)
        different = False
        for v, p in zip(model.trainable_variables, plain.get_weights()):
            np.testing.assert_array_equal(v.numpy() == 0, p == 0, v.name)
            different |= (v.numpy() != p).any()
        assert different  # they are averages
        assert not group.alive().numpy().all()

    def test_again_after_training_they_hold_still(self):
        """Averages are zero as well: who takes them once more gets zeros."""
        model, _ = self.trained(
            lambda _: [callbacks.ThresholdZeroing(0.2)], use_ema=True
        )
        zeros = [v.numpy() == 0 for v in model.trainable_variables]
        assert any(z.any() for z in zeros)
        model.optimizer.finalize_variable_values(model.trainable_variables)
        for v, zero in zip(model.trainable_variables, zeros):
            np.testing.assert_array_equal(v.numpy() == 0, zero)

    def test_when_averages_come_in_at_every_step(self):
        model, _ = self.trained(
            lambda _: [callbacks.ThresholdZeroing(0.2)],
            use_ema=True,
            ema_overwrite_frequency=1,
        )
        values = np.concatenate([w.ravel() for w in model.get_weights()])
        assert (values == 0).any()
        assert not ((values != 0) & (abs(values) < 0.2)).any()


class TestSparsityLogger:
    def test_logs_units_and_fractions(self):
        model, group = keras_model(tf.keras.optimizers.SGD(0.0))
        kill(group, [2])
        history = fit(model, callbacks.SparsityLogger([group]))
        assert history["units/lstm"] == [UNITS - 1]
        dense = model.layers[-1].kernel.name[:-2]
        np.testing.assert_allclose(
            [
                history[f"{dense}_{kind}_sparsity"][0]
                for kind in ("elt", "row", "col")
            ],
            [1 / UNITS, 1 / UNITS, 0.0],
        )
        assert f"{model.layers[-1].bias.name[:-2]}_elt_sparsity" in history

    def test_alive_units_above_a_norm(self):
        _, group = keras_model()
        kill(group, [0])
        assert callbacks.alive_units([group]) == {"lstm": UNITS - 1}
        assert callbacks.alive_units([group], 1e9) == {"lstm": 0}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda g: callbacks.GroupLasso(g, 0.1), r"got Group\(.* alone; give"),
        (lambda g: callbacks.SparsityLogger([3]), "Group or BlockGrid .* int"),
        (
            lambda g: callbacks.GroupLasso([g], "0.1"),
            "strength must be a number >= 0, got '0.1'",
        ),
        (lambda g: callbacks.GroupLasso([g], np.float32(-1)), "got -1.0"),
        (lambda g: callbacks.GroupLasso([g], lambda e: -1), "got -1"),
        (
            lambda g: callbacks.ThresholdZeroing(0.1, g.companions[0].variable),
            "got .*bias alone; give",
        ),
        (
            lambda g: callbacks.ThresholdZeroing(0.1, ["kernel"]),
            "such as layers' kernels, got str",
        ),
    ],
)
def test_b19_what_would_do_nothing_is_refused(make, message):
    _, group = keras_model()
    with pytest.raises(ValueError, match=message):
        make(group)


def test_b19_what_is_meant_is_done():
    """NumPy's numbers, generators, and one name for a list of one."""
    model, group = keras_model(tf.keras.optimizers.SGD(0.0))
    plain = fit(model)["loss"][0]
    lasso = callbacks.GroupLasso((g for g in [group]), np.float32(0.5))
    for _ in range(2):  # the step is built twice
        loss = fit(model, lasso)["loss"][0]
        np.testing.assert_allclose(
            loss - plain, regularizers.group_lasso([group], 0.5), rtol=1e-4
        )
    l1 = callbacks.WeightPenalty("l1", np.float64(0.5), exclude="bias")
    fit(model, l1)
    names = [_keras.name(v) for v in l1.penalized()]
    assert [name.rpartition("/")[2] for name in names] == [
        "kernel",
        "recurrent_kernel",
        "kernel",
    ]
    zeroing = callbacks.ThresholdZeroing(
        np.float32(10), (v for v in model.trainable_variables)
    )
    for _ in range(2):
        model.set_weights([w + 1.0 for w in model.get_weights()])
        fit(model, zeroing)
        assert not any(w.any() for w in model.get_weights())
    stop = callbacks.StopOnNaN("loss")
    stop.set_model(model)
    with pytest.raises(FloatingPointError, match="the loss became nan"):
        stop.on_train_batch_end(0, {"loss": np.nan})


def test_nan_stops_with_the_step():
    model, _ = keras_model()
    x, y = data()
    x[5] = np.nan
    with pytest.raises(FloatingPointError, match="became nan at step 2$"):
        model.fit(
            x,
            y,
            batch_size=4,
            shuffle=False,
            verbose=0,
            callbacks=[callbacks.StopOnNaN(["loss"])],
        )


def test_hooks_run_in_order_and_see_the_gradients():
    model, _ = keras_model(tf.keras.optimizers.SGD(1.0))
    before = model.get_weights()

    class Half(callbacks.UpdateHook):
        def before_update(self, gradients):
            return [(0.5 * g, v) for g, v in gradients]

    class Add(callbacks.UpdateHook):
        def before_update(self, gradients):
            return [(g + 1.0, v) for g, v in gradients]

    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(data()[0]) - data()[1]) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    fit(model, Half(), Add())
    for new, old, gradient in zip(model.get_weights(), before, gradients):
        np.testing.assert_allclose(
            new, old - (0.5 * gradient.numpy() + 1.0), atol=1e-5
        )
