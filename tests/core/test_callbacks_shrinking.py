"""Cutting dead units out of a model in training."""

import functools
import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import fitting
import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import optimizers
from iss_rnns import shrinking
from iss_rnns.experiments.language import training

pytestmark = pytest.mark.keras3

DEAD = {"lstm_0": [1, 3, 6], "lstm_1": [0, 5]}


def new_net(scale):
    """Scaled is everything that the groups of DEAD say of their units."""
    net = nets.Net(50, 7, [8, 6], scale=0.1, seed=3)
    nets.scale_units(net, DEAD, scale)
    return net


def windows(count=12):
    x = nets.ids(count, 4, 5, vocabulary=50)
    return x, np.roll(x, 1, axis=0)


class Costs(tf.keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.costs = []

    def on_train_batch_end(self, batch, logs=None):
        self.costs.append(float(logs["cost"]))


def train(optimizer, cut, lasso=0.01, scale=0.0, **kwargs):
    net = new_net(scale)
    model = nets.new_model(net, 4, optimizer())
    groups = net.iss_groups()
    run = [
        callbacks.GroupLasso(groups, lasso),
        callbacks.FreezeZeros("group", groups),
    ]
    costs = Costs()
    x, y = windows()
    cutter = callbacks.ShrinkWhileTraining(
        groups, (x[0], y[0]), every=4, followers=run, **kwargs
    )
    rate = float(model.optimizer.learning_rate.numpy())
    fitting.fit(
        model,
        x,
        y,
        2,
        run
        + ([cutter] if cut else [])
        + [training.EpochStart(lambda epoch: rate), costs],
    )
    return model, np.array(costs.costs), cutter


OPTIMIZERS = {
    "sgd": lambda: tf.keras.optimizers.SGD(0.5),
    "momentum": lambda: tf.keras.optimizers.SGD(0.2, momentum=0.9),
    "adam": lambda: tf.keras.optimizers.Adam(0.01, epsilon=1e-8),
    "ema": lambda: tf.keras.optimizers.Adam(0.01, use_ema=True),
}


@functools.cache
def whole_and_cut(name):
    """(model, costs) of training without and with cutting."""
    return [train(OPTIMIZERS[name], cut)[:2] for cut in (False, True)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_training_with_dead_units_frozen(name):
    (whole, costs), (small, cut_costs) = whole_and_cut(name)
    assert small.net.sizes == (5, 4)
    np.testing.assert_allclose(cut_costs, costs, rtol=1e-5)
    assert costs[-1] != costs[0]
    keep = np.delete(np.arange(6), DEAD["lstm_1"])
    np.testing.assert_allclose(
        small.net.dense.kernel.numpy(),
        whole.net.dense.kernel.numpy()[keep],
        atol=1e-5,
    )
    np.testing.assert_allclose(
        small.carried[-1].numpy(), whole.carried[-1].numpy()[:, keep], atol=1e-5
    )


def test_slots_are_cut_with_their_variables():
    (whole, _), (small, _) = whole_and_cut("ema")
    keep = np.delete(np.arange(6), DEAD["lstm_1"])
    pairs = [
        (a, b)
        for a, b in zip(whole.optimizer.variables, small.optimizer.variables)
        if a.name.endswith("dense/kernel:0")
    ]
    assert len(pairs) == 3  # average, m, v
    for slot, cut in pairs:
        np.testing.assert_allclose(cut.numpy(), slot.numpy()[keep], atol=1e-6)
    assert int(small.optimizer.iterations) == 24


def test_units_that_bounce_below_the_norm_go_after_some_checks():
    lines = []
    model, _, cutter = train(
        OPTIMIZERS["sgd"],
        cut=True,
        scale=1e-3,
        dead_below=0.05,
        checks=2,
        lasso=0.0,
        report=lines.append,
    )
    assert model.net.sizes == (5, 4)
    assert cutter.cuts[0]["step"] == 8
    assert len(lines) == 1 and re.fullmatch(
        r"step 8: cut to 5/4 units; held-out cost [+-]\S+ nats", lines[0]
    )
    assert abs(cutter.cuts[0]["cost_change"]) < 1e-3


def test_resumed_it_counts_the_checks_before():
    model = nets.new_model(new_net(1e-3), 4, optimizers.GradientDescent(0.5))
    x, y = windows()
    state, sizes = None, []
    for stop in (8, 12):  # of steps; the third check is at step 12
        cutter = callbacks.ShrinkWhileTraining(
            model.net.iss_groups(),
            (x[0], y[0]),
            every=4,
            dead_below=0.05,
            checks=3,
        )
        cutter.restore(state)
        fitting.fit(
            model,
            x,
            y,
            2,
            [training.EpochStart(lambda epoch: 0.5), cutter],
            max_steps=stop,
        )
        state = json.loads(json.dumps(cutter.state()))
        sizes.append(model.net.sizes)
    assert sizes == [(8, 6), (5, 4)]
    assert state["cuts"][0]["step"] == 12
    assert [len(s) for s in state["streaks"]] == [5, 4]


def test_a_cut_that_changes_the_cost_is_refused(capsys, caplog):
    caplog.set_level(logging.INFO, "iss_rnns")
    model, _, cutter = train(
        OPTIMIZERS["sgd"],
        cut=True,
        scale=0.3,
        dead_below=0.3,
        checks=1,
        tolerance=1e-9,
    )
    assert model.net.sizes == (8, 6)
    assert not cutter.cuts
    lines = [r.message for r in caplog.records if r.name == "iss_rnns"]
    assert len(lines) == 6 and all("refused: it would" in x for x in lines)
    assert lines[0].startswith("step 4: cut to 5/4 units refused")
    assert capsys.readouterr().out == ""


def test_b8_a_cut_whose_cost_is_nan_is_refused(monkeypatch):
    model = nets.new_model(new_net(0.0), 4, OPTIMIZERS["sgd"]())
    monkeypatch.setattr(model, "cost_of", lambda *_: np.nan)
    lines = []
    cutter = callbacks.ShrinkWhileTraining(
        model.net.iss_groups(), (None, None), report=lines.append
    )
    cutter.set_model(model)
    cutter.check()
    assert model.net.sizes == (8, 6) and not cutter.cuts
    assert lines == [
        "step 0: cut to 5/4 units refused: it would change the held-out cost "
        "by +nan nats (tolerance 0.01)"
    ]


def test_b8_units_that_are_nan_are_not_cut():
    model = nets.new_model(new_net(0.0), 4, OPTIMIZERS["sgd"]())
    readers = model.net.dense.kernel
    readers.assign(readers * np.nan)
    cutter = callbacks.ShrinkWhileTraining(model.net.iss_groups(), (None, None))
    cutter.set_model(model)
    with pytest.raises(
        FloatingPointError, match="6 of the 6 units of layer 'lstm_1' have"
    ):
        cutter.check()
    assert model.net.sizes == (8, 6)


def test_a_model_that_goes_on_with_no_other_net_is_refused():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=[2])])
    model.compile("sgd", "mse")
    group = groups_lib.Group("w", [groups_lib.whole(model.weights[0], 0)])
    cutter = callbacks.ShrinkWhileTraining([group], (None, None))
    with pytest.raises(
        errors.UserError,
        match="Sequential cannot be cut while it trains: it has no net, "
        "replace_net, cost_of; train it whole and cut it with iss_rnns.shrink",
    ):
        model.fit(np.ones([4, 2]), np.ones([4]), callbacks=[cutter], verbose=0)


@pytest.mark.parametrize("least, sizes", [(0.35, (5, 4)), (0.36, (8, 6))])
def test_a_few_dead_units_wait_for_more(least, sizes):
    # 5 of the 14 units are dead.
    model, _, _ = train(OPTIMIZERS["sgd"], cut=True, least_share=least)
    assert model.net.sizes == sizes


def test_a_layer_without_living_units_stops_the_run():
    with pytest.raises(
        errors.UserError,
        match="layer 'lstm_0' lost all of its 8 units at step 4; .* strength",
    ):
        train(OPTIMIZERS["sgd"], cut=True, scale=1.0, dead_below=1e6, checks=1)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"checks": 0}, "checks must be a whole number of at least 1, got 0"),
        ({"least_share": 1.0}, r"least_share must lie in \[0, 1\), got 1.0"),
        ({"dead_below": -1.0}, "dead_below must be a number >= 0, got -1.0"),
        ({"tolerance": np.nan}, "tolerance must be a number >= 0, got nan"),
        ({"every": -1}, "every must be a whole number of at least 0, got -1"),
        ({"every": 2.5}, "every must be a whole number of at least 0, got 2.5"),
        ({"epoch_steps": 0}, "epoch_steps must be a whole number"),
        ({"start_batch": -3}, "start_batch must be a whole number"),
        ({"groups": []}, "groups must hold at least one Group, got none"),
        ({"groups": ["lstm"]}, "list of Group objects, .* got str"),
        (
            {"followers": [3]},
            "followers must be a list of callbacks .* got int",
        ),
    ],
)
def test_refuses_bad_arguments(wrong, message):
    group = groups_lib.Group("w", [groups_lib.whole(tf.Variable([1.0]), 0)])
    with pytest.raises(errors.UserError, match=message):
        callbacks.ShrinkWhileTraining(
            **{"groups": [group], "held_out": (None, None), **wrong}
        )


def test_a_group_alone_is_no_list_of_groups():
    group = groups_lib.Group("w", [groups_lib.whole(tf.Variable([1.0]), 0)])
    with pytest.raises(errors.UserError, match=r"Group\('w', .* give \[it\]"):
        callbacks.ShrinkWhileTraining(group, (None, None))


@pytest.mark.parametrize("gain, sizes", [(1.0, (8, 6)), (1e-9, (5, 4))])
def test_a_cut_waits_until_it_pays(gain, sizes):
    model, _, cutter = train(
        OPTIMIZERS["sgd"], True, steps=24, items=20, least_gain=gain
    )
    assert tuple(g.size for g in model.net.iss_groups()) == sizes
    for cut in cutter.cuts:
        assert 1e-9 <= cut["gain"] < 1.0
    assert cutter.state()["least_gain"] == gain
    json.dumps(cutter.state())


def test_a_run_of_version_1_0_0_goes_on_cutting_whatever_is_dead():
    groups = new_net(0.0).iss_groups()
    cutter = callbacks.ShrinkWhileTraining(groups, None, least_gain=3.0)
    cutter.restore({"streaks": [[0] * 8, [0] * 6], "cuts": []})
    assert cutter.least_gain == 0.0


def test_what_a_cut_is_worth():
    """Of the small LSTM model: a tenth of its units, at 400 words a step."""
    whole, cut = 2 * 400 * 800, 2 * 360 * 720
    assert shrinking.worth(whole - cut, 400, 5000) > 1
    assert shrinking.worth(whole - cut, 400, 500) < 1
    assert shrinking.worth(whole - cut, 400, -1) == 0


def test_b20_a_cut_leaves_next_to_nothing_behind():
    """In a process of its own, the first two cuts compiled.

    Over 40 cuts 538 MB became 572; without compiled loops 530 became 547.
    """
    tests = pathlib.Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, tests / "cutting_memory.py", "7"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{tests.parent}:{tests}"},
    )
    memory, gradients = zip(*json.loads(done.stdout))
    assert len(set(gradients)) == 1
    assert (memory[7] - memory[3]) / 4 < 3
