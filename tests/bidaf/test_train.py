"""BiDAF's training step in the authors' order, and what options change."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import penalties
from bidaf import train as train_lib
from bidaf.net import groups as groups_lib
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import regularizers
from iss_rnns import shrinking as shrinking_lib
from iss_rnns import thresholding
from iss_rnns.callbacks import shrinking
from iss_rnns.interop import group_json

WORDS, CHARACTERS, SIZE = 7, 6, 3
N, JX, JQ, W = 3, 5, 3, 4
CONFIG = model_lib.ModelConfig(
    WORDS,
    CHARACTERS,
    SIZE,
    hidden_size=3,
    char_emb_size=2,
    char_out_size=2,
    out_channel_dims="2",
    filter_heights="3",
    highway_num_layers=1,
    keep_prob=1.0,
    input_keep_prob=1.0,
)
VECTORS = np.random.default_rng(5).normal(size=[2, SIZE]).astype(np.float32)


def batch(seed=0):
    rng = np.random.default_rng(seed)
    x_mask = np.arange(JX) < np.array([JX, 3, 4])[:, None, None]
    q_mask = np.arange(JQ) < np.array([2, JQ, 1])[:, None]
    result = {
        "x": rng.integers(1, WORDS + 2, [N, 1, JX]) * x_mask,
        "cx": rng.integers(1, CHARACTERS, [N, 1, JX, W]) * x_mask[..., None],
        "q": rng.integers(1, WORDS + 2, [N, JQ]) * q_mask,
        "cq": rng.integers(1, CHARACTERS, [N, JQ, W]) * q_mask[..., None],
    }
    result = {
        name: tf.constant(array, tf.int32) for name, array in result.items()
    }
    begin = np.zeros([N, 1, JX], bool)
    begin[range(N), 0, rng.integers(0, 3, N)] = True
    return {
        **result,
        "x_mask": tf.constant(x_mask),
        "q_mask": tf.constant(q_mask),
        "y": tf.constant(begin),
        "y2": tf.constant(begin),
        "wy": tf.constant(begin),
        "na": tf.zeros([N], bool),
    }


def new_trainer(config=CONFIG, **options):
    """A trainer at random weights, with the options' callbacks."""
    options = options_lib.Options(**options)
    net = model_lib.BiDAF(config)
    rng = np.random.default_rng(2)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.3))
    trainer = train_lib.compiled(net, options, VECTORS)
    trainer.sparsity = train_lib.sparsity_callbacks(net, options)
    for callback in trainer.sparsity:
        callback.set_model(trainer)
    trainer.averages.reset()
    return trainer


def weights_of(net):
    return {v.ref(): v.numpy() for v in net.trainable_variables}


def test_a_step_averages_zeroes_and_then_moves():
    """In the authors' order; the gradient is that of the zeroed weights."""
    options = {
        "optimizer": "gd",
        "init_lr": 0.1,
        "num_steps": 100,
        "zero_threshold": 0.05,
        "var_decay": 0.9,
        "structure_wd": 0.02,
        "group_config": "iss",
    }
    trainer, by_hand = new_trainer(**options), new_trainer(**options)
    averages = weights_of(trainer.net)
    for step in range(2):
        before = weights_of(trainer.net)
        averages = {
            key: 0.9 * average + 0.1 * before[key]
            for key, average in averages.items()
        }
        values = dict(before)
        for view in penalties.sparse_views(trainer.net).values():
            for v in view.variables:
                small = np.abs(before[v.ref()]) < 0.05
                values[v.ref()] = np.where(small, 0.0, before[v.ref()])
        for v, value in zip(by_hand.net.trainable_variables, values.values()):
            v.assign(value)
        with tf.GradientTape() as tape:
            outputs = by_hand.net(batch(step), VECTORS, training=True)
            cost = tf.add_n(penalties.answer_costs(outputs, batch(step), False))
            total = cost + regularizers.group_lasso(
                by_hand.net.iss_groups(), 0.02
            )
        gradients = tape.gradient(total, by_hand.net.trainable_variables)
        logs = trainer.train_step(batch(step))
        np.testing.assert_allclose(logs["cost"], cost, rtol=1e-5)
        np.testing.assert_allclose(
            logs["cost"] + logs["regularization"], total, rtol=1e-5
        )
        for v, gradient, value in zip(
            trainer.net.trainable_variables, gradients, values.values()
        ):
            np.testing.assert_allclose(
                v,
                value - 0.1 * tf.convert_to_tensor(gradient).numpy(),
                atol=1e-6,
                err_msg=v.name,
            )
            np.testing.assert_allclose(
                trainer.averages.average_of(v), averages[v.ref()], atol=1e-6
            )


def test_smoothed_cost_starts_with_the_first():
    trainer = new_trainer(decay=0.75)
    costs, smoothed = zip(
        *[
            (float(logs["cost"]), float(logs["smoothed_cost"]))
            for logs in map(trainer.train_step, [batch(0), batch(1)])
        ]
    )
    np.testing.assert_allclose(
        smoothed, [costs[0], 0.75 * costs[0] + 0.25 * costs[1]], rtol=1e-6
    )


def test_only_the_named_weights_move():
    names = ("main/logits1/first/weights", "main/g2/fw/basic_lstm_cell/biases")
    trainer = new_trainer(finetuned=names, zero_threshold=0.0)
    before = weights_of(trainer.net)
    trainer.train_step(batch())
    moved = {
        v.ref()
        for v in trainer.net.trainable_variables
        if np.any(v.numpy() != before[v.ref()])
    }
    expected = {
        v.ref() for v in train_lib.trained_variables(trainer.net, names)
    }
    assert moved == expected and len(moved) == 2


def test_dead_units_stay_dead_whatever_adams_momentum():
    """With --freeze_mode=group; without it they come back."""
    for mode in ("group", None):
        trainer = new_trainer(
            freeze_mode=mode, init_lr=0.05, zero_threshold=0.0
        )
        trainer.train_step(batch(0))
        group = trainer.net.iss_groups()[0]
        dead = np.array([True, False, False])
        thresholding.zero_units(group, tf.constant(dead))
        trainer.train_step(batch(1))
        assert group.alive().numpy().tolist() == [mode is None, True, True]


def test_frozen_elements_stay_zero():
    """Those that a step finds zero, not those that it makes zero."""
    trainer = new_trainer(
        freeze_mode="element", optimizer="gd", init_lr=0.5, zero_threshold=0.1
    )
    weights = trainer.net.output_lstm.trainable_weights
    small = [np.abs(v) < 0.1 for v in weights]
    found = [
        mask & (np.arange(mask.size).reshape(mask.shape) % 2 == 0)
        for mask in small
    ]
    for v, zero in zip(weights, found):
        v.assign(np.where(zero, 0.0, v))
    trainer.train_step(batch())
    for v, zero, mask in zip(weights, found, small):
        assert zero.any() and not np.any(v.numpy()[zero])
        assert np.any(v.numpy()[mask & ~zero])
        assert np.any(v.numpy()[~mask])


def test_l1_has_the_signs_that_the_step_found():
    """As recorded from the authors' program, which zeroes in between."""
    trainer = new_trainer(
        l1wd=0.1,
        structured_sparsity=False,
        optimizer="gd",
        init_lr=1e-3,
        zero_threshold=0.1,
    )
    before = weights_of(trainer.net)
    trainer.clean()
    plain = trainer.gradients(batch(), tf.constant([0, 0]))["gradients"]
    for v in trainer.net.trainable_variables:
        v.assign(before[v.ref()])
    trainer.train_step(batch())
    sparse = {
        v.ref()
        for view in penalties.sparse_views(trainer.net).values()
        for v in view.variables
    }
    for v, gradient in zip(trainer.net.trainable_variables, plain):
        if v.ref() in sparse:
            value = before[v.ref()]
            zeroed = np.where(np.abs(value) < 0.1, 0.0, value)
            # `plain` has the sign of what zeroing left.
            gradient = tf.convert_to_tensor(gradient) + 0.1 * (
                np.sign(value) - np.sign(zeroed)
            )
            np.testing.assert_allclose(
                v, zeroed - 1e-3 * gradient, atol=1e-6, err_msg=v.name
            )


def test_gradient_descents_rate_falls_by_thirds():
    """Of a weight whose gradient is always 1."""
    trainer = new_trainer(optimizer="gd", init_lr=0.5, num_steps=9)
    weight = trainer.net.trainable_variables[0]
    moved = []
    for _ in range(9):
        before = weight.numpy()
        trainer.optimizer.apply_gradients([(tf.ones_like(weight), weight)])
        moved.append(float(np.mean(before - weight.numpy())))
    np.testing.assert_allclose(
        moved, [0.5] * 3 + [0.05] * 3 + [0.005] * 3, rtol=1e-3
    )


def test_penalties_follow_the_options():
    """Which of them a set of options adds, and how strong."""
    for options, expected in (
        ({}, lambda net: 0.0),
        ({"wd": 0.1}, lambda net: penalties.l2_penalty(net, 0.1)),
        (
            {"l1wd": 0.1, "structured_sparsity": False},
            lambda net: penalties.l1_penalty(net, 0.1),
        ),
        (
            {"l1wd": 0.1, "row_col_wd": 0.2, "coef_scaling": True},
            lambda net: penalties.mixed_penalty(
                penalties.mixed_lasso(net, True), 0.2, 0.1
            ),
        ),
        (
            {"structure_wd": 0.3, "group_config": "authors"},
            lambda net: regularizers.group_lasso(
                groups_lib.iss_groups(net, attended=False), 0.3
            ),
        ),
        (
            {"structure_wd": 0.3, "group_config": "iss", "wd": 0.1},
            lambda net: (
                regularizers.group_lasso(net.iss_groups(), 0.3)
                + penalties.l2_penalty(net, 0.1)
            ),
        ),
    ):
        trainer = new_trainer(**options)
        np.testing.assert_allclose(
            tf.add_n([0.0, *trainer.losses]), expected(trainer.net), rtol=1e-6
        )


def test_threshold_follows_l1():
    """The authors' max(zero_threshold, 2 * l1wd * init_lr)."""
    assert options_lib.Options(zero_threshold=4e-4).threshold == 4e-4
    assert options_lib.Options(l1wd=0.5, init_lr=0.01).threshold == 0.01


def test_what_a_resumed_run_is_compared_by_is_json():
    file = group_json.parse(
        {
            "groups": [
                [
                    {
                        "var_name": "main/g1/fw/basic_lstm_cell/weights",
                        "multi": 1.0,
                        "axis": 1,
                        "start": 0,
                        "end": 3,
                    }
                ]
            ]
        },
        "groups.json",
    )
    options = options_lib.Options(group_config=file, finetuned=("a", "b"))
    described = json.loads(json.dumps(options.describe()))
    assert described["group_config"] == "groups.json"
    assert described["finetuned"] == ["a", "b"]
    fields = {f.name for f in dataclasses.fields(options_lib.TrainingOptions)}
    # Other runs are described as before there was either.
    assert set(described) == fields - {
        "pruning",
        "compute_dtype",
        "shrink_every_steps",
        "dead_below",
        "dead_checks",
        "least_gain",
        "num_steps",
        "target",
        "from_scratch_of",
    }


def test_a_run_can_be_made_longer_where_its_rate_does_not_depend_on_that():
    for optimizer, same in (("adam", True), ("gd", False)):
        short, long = (
            options_lib.Options(optimizer=optimizer, num_steps=steps).describe()
            for steps in (10, 20)
        )
        assert (short == long) is same


@pytest.mark.parametrize(
    "content",
    ['["main"]', '{"names": []}', '{"var_names": []}', '{"var_names": [3]}'],
)
def test_bad_finetuning_files(content, tmp_path):
    path = tmp_path / "vars.json"
    path.write_text(content)
    with pytest.raises(
        errors.UserError, match='vars.json: expected {"var_names": '
    ):
        options_lib.load_finetuning(str(path))


def test_finetuning_of_what_the_model_lacks():
    with pytest.raises(
        errors.UserError,
        match="names 'main/h9/weights', which the model lacks; it has: emb/",
    ):
        new_trainer(finetuned=("main/h9/weights",))


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
def test_cutting_dead_units_changes_nothing_but_the_sizes(optimizer):
    """Costs, averages and weights are those with dead units frozen."""
    dead = {
        "ModFwd1": [True, False, False],
        "ModBwd2": [False, True, True],
        "OutBwd": [False, False, True],
    }
    costs, trainers = [], []
    for cut in (False, True):
        trainer = new_trainer(
            optimizer=optimizer,
            init_lr=0.01,
            group_config="iss",
            structure_wd=0.02,
            freeze_mode="group",
            wd=0.01,
            row_col_wd=0.01,
            zero_threshold=0.0,
            var_decay=0.9,
            shrink_every_steps=2,
        )
        for group in trainer.net.iss_groups():
            if group.name in dead:
                thresholding.zero_units(group, tf.constant(dead[group.name]))
        trainer.averages.reset()
        cutter = callbacks.ShrinkWhileTraining(
            trainer.net.iss_groups(),
            batch(9),
            every=2,
            followers=shrinking.followers(trainer.sparsity),
        )
        cutter.set_model(trainer)
        costs.append([])
        for step in range(5):
            logs = trainer.train_step(batch(step))
            costs[-1].append(
                [float(logs["cost"]), float(logs["regularization"])]
            )
            if cut:
                cutter.on_train_batch_end(step)
        trainers.append(trainer)
    # A dead row's norm still counts as its root of 1e-8 in the penalty.
    np.testing.assert_allclose(costs[1], costs[0], rtol=2e-4)
    whole, small = trainers
    left = {name: 3 - sum(units) for name, units in dead.items()}
    assert {name: small.net.sizes[name] for name in dead} == left
    assert cutter.cuts[0]["step"] == 2 and len(cutter.cuts) == 1
    assert abs(cutter.cuts[0]["cost_change"]) < 1e-6
    expected, _ = shrinking_lib.shrink(
        whole.net, whole.net.iss_groups(), unproved=True
    )
    for ours, theirs in zip(
        small.net.trainable_variables, expected.trainable_variables
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-5, err_msg=ours.name)
    kernel = small.net.answers[0].kernels[0]
    assert small.averages.average_of(kernel).shape == kernel.shape
    assert np.abs(small.averages.average_of(kernel) - kernel).max() > 1e-4


def test_a_direction_that_dies_whole_keeps_one_unit():
    """Training goes on, with the strongest; the next check cuts nothing."""
    trainer = new_trainer(group_config="iss", zero_threshold=0.0)
    (group,) = groups_lib.iss_groups(trainer.net, ["OutBwd"])
    strongest = int(np.argmax(group.squared_norms()))
    kernel = trainer.net.output_lstm.cells[1].kernel.numpy()
    cutter = callbacks.ShrinkWhileTraining(
        [group],
        batch(9),
        dead_below=1e6,
        checks=1,
        tolerance=1e6,
        keep_one=True,
    )
    cutter.set_model(trainer)
    for _ in range(2):
        cutter.check()
    assert trainer.net.sizes["OutBwd"] == 1 and len(cutter.cuts) == 1
    np.testing.assert_array_equal(
        trainer.net.output_lstm.cells[1].kernel,
        kernel.reshape(-1, 4, 3)[..., strongest],
    )
    assert np.isfinite(trainer.train_step(batch())["cost"])
