"""From flags to schedules and callbacks, and the lines for mistakes."""

import json

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import schedules
from iss_rnns.callbacks import pruning
from iss_rnns.experiments import pruning_flags

EPOCHS, STEPS = 20, 50
NAMES = ("pruning", "shrink_every_steps", *pruning_flags._FLAGS)


def layers():
    rng = np.random.default_rng(0)
    return {
        "input": [
            tf.Variable(rng.normal(size=(8, 12)), dtype=tf.float32, name="a")
        ],
        "recurrent": [
            tf.Variable(rng.normal(size=(6, 12)), dtype=tf.float32, name="b")
        ],
        "softmax": [],
    }


def settings(**values):
    return pruning_flags.PruningSettings.from_flags(
        {**dict.fromkeys(NAMES), **values}
    )


def never(path):
    raise AssertionError(path)


def plan(
    dense=never,
    default=("input", "recurrent", "softmax"),
    epochs=EPOCHS,
    recorded=None,
    **values,
):
    return settings(**values).plan(
        epochs, STEPS, layers(), default, dense, recorded
    )


def test_a_resumed_run_needs_no_dense_model():
    """It may be gone, or have been trained further."""
    flags = {"pruning": "gradual", "dense_checkpoint": "dense"}
    made = plan(
        dense=lambda path: {
            "input": [np.arange(9.0)],
            "recurrent": [np.arange(5.0)],
        },
        **flags,
    )
    again = plan(dense=never, recorded=made.describe(), **flags)
    assert again.describe() == made.describe()


def test_a_target_that_is_all_blocks_is_refused():
    """8 x 12 has two blocks of 8 x 6; 80 % of them would round to two."""
    with pytest.raises(
        errors.UserError,
        match="--target_sparsity=0.8 of the "
        r"2 blocks of 6x12 of a \(8x12\) are all of them",
    ):
        plan(pruning="block", target_sparsity=0.8, block_size="6x12")


def test_blocks_must_fit_the_net_that_is_trained():
    """Which may be another than the flags' sizes make."""
    made = plan(pruning="block", target_sparsity=0.5, block_size="4x4")
    small = {
        name: [tf.Variable(tf.ones([3, 12]), name="w")]
        for name in ("input", "recurrent")
    }
    with pytest.raises(errors.UserError, match="blocks of 4x4 do not fit w"):
        made.callbacks(small)


def test_without_the_flag_nothing_is_pruned():
    assert plan() is None


def test_gradual_to_a_target_follows_the_cubic_schedule_and_heuristics():
    made = plan(pruning="gradual", target_sparsity=0.9)
    assert {n: s.get_config() for n, s in made.schedules.items()} == (
        dict.fromkeys(
            ("input", "recurrent"),
            {
                "target": 0.9,
                "start": 50,
                "end": 500,
                "frequency": 45,
                "initial": 0.0,
            },
        )
    )
    (callback,) = made.callbacks(layers())
    assert type(callback) is pruning.GradualPruning and callback.revive
    assert len(callback.variables) == 2


@pytest.mark.parametrize(
    "method, ramp, end, elements",
    [("gradual", 250, 500, 1), ("block", 200, 400, 6), ("glp", 200, 400, 6)],
)
def test_q_is_a_percentile_of_each_type_of_a_dense_model(
    method, ramp, end, elements
):
    weights = {
        "input": [np.arange(-50.0, 51.0)],
        "recurrent": [np.arange(0.0, 5.0), np.arange(5.0, 11.0)],
    }
    paths = []

    def dense(path):
        paths.append(path)
        return weights

    flags = {} if method == "gradual" else {"block_size": "2x3"}
    if method == "glp":
        flags["pruning_lasso"] = 0.01
    made = plan(dense, pruning=method, dense_checkpoint="D", **flags)
    assert paths == ["D"]
    for name, q in (("input", 45.0), ("recurrent", 9.0)):
        config = made.schedules[name].get_config()
        assert config == {
            "q": q,
            "start": 50,
            "ramp": ramp,
            "end": end,
            "frequency": (end - 50) // 10,
            "ramp_multiple": 1.5,
            "block_elements": elements,
            "name": name,
        }
    found = made.callbacks(layers())
    kinds = {
        "gradual": [pruning.GradualPruning],
        "block": [pruning.BlockPruning],
        "glp": [pruning.BlockLasso, pruning.BlockPruning],
    }
    assert [type(each) for each in found] == kinds[method]
    if method == "glp":
        assert found[0].end == end and found[0].strength == 0.01
        assert found[1].block_size == (2, 3) and not found[1].revive
    assert made.title == ("gradual" if method == "gradual" else f"{method} 2x3")


def test_hard_prunes_once_where_gradual_would_end():
    made = plan(pruning="hard", target_sparsity=0.8)
    config = made.schedules["input"].get_config()
    assert (config["start"], config["end"]) == (500, 500)
    made = plan(
        pruning="hard", target_sparsity=0.8, pruning_start=7, block_size="4x4"
    )
    assert made.schedules["input"].get_config()["end"] == 7
    assert type(made.callbacks(layers())[0]) is pruning.BlockPruning
    assert made.title == "hard 4x4"


def test_times_of_the_user_come_first():
    made = plan(
        pruning="block",
        target_sparsity=0.5,
        pruning_start=3,
        pruning_end=33,
        pruning_layers=["recurrent"],
        epochs=1,
    )
    assert list(made.schedules) == ["recurrent"]
    assert made.schedules["recurrent"].get_config() == {
        "target": 0.5,
        "start": 3,
        "end": 33,
        "frequency": 3,
        "initial": 0.0,
    }
    assert made.block_size == (4, 4)
    made = plan(
        lambda _: pruning_flags.arrays(layers()),
        pruning="gradual",
        dense_checkpoint="D",
        pruning_percentile=50.0,
        pruning_ramp=100,
        pruning_frequency=7,
        pruning_ramp_multiple=1.7,
    )
    each = made.schedules["input"]
    assert (each.ramp, each.frequency, each.ramp_multiple) == (100, 7, 1.7)
    np.testing.assert_allclose(
        each.q, np.percentile(np.abs(layers()["input"][0].numpy()), 50)
    )


def test_a_resumed_run_is_compared_by_plain_values():
    import json

    one = plan(pruning="gradual", target_sparsity=0.9)
    two = plan(pruning="gradual", target_sparsity=0.8)
    assert json.loads(json.dumps(one.describe())) == one.describe()
    assert one.describe() != two.describe()
    assert one.describe()["schedules"]["input"]["kind"] == (
        schedules.CubicSparsity.__name__
    )


@pytest.mark.parametrize(
    "values, message",
    [
        (
            {"target_sparsity": 0.9},
            "--target_sparsity needs --pruning, one of "
            "gradual, block, glp, hard",
        ),
        (
            {"pruning": "gradual"},
            "--pruning=gradual needs either "
            "--target_sparsity or --dense_checkpoint, .* "
            "got none",
        ),
        ({"pruning": "hard"}, "--pruning=hard needs --target_sparsity, "),
        (
            {
                "pruning": "block",
                "target_sparsity": 0.5,
                "dense_checkpoint": "D",
            },
            "got target_sparsity and dense_checkpoint",
        ),
        (
            {"pruning": "gradual", "target_sparsity": 0.5, "block_size": "4x4"},
            "--block_size has no meaning with --pruning=gradual",
        ),
        (
            {"pruning": "block", "target_sparsity": 0.5, "block_size": "16"},
            "--block_size must be a height and a width, e.g. 16x16, got '16'",
        ),
        (
            {"pruning": "block", "target_sparsity": 0.5, "block_size": "0x4"},
            "--block_size must be .* got '0x4'",
        ),
        (
            {"pruning": "block", "target_sparsity": 0.5, "block_size": "7x4"},
            "blocks of 7x4 do not fit b, which is 6x12; give a smaller "
            "--block_size",
        ),
        (
            {"pruning": "gradual", "target_sparsity": 1.0},
            r"target sparsity must lie in \[0, 1\), got 1.0",
        ),
        (
            {"pruning": "gradual", "target_sparsity": -0.1},
            r"\[0, 1\), got -0.1",
        ),
        ({"pruning": "gradual", "target_sparsity": float("nan")}, "got nan"),
        (
            {
                "pruning": "gradual",
                "target_sparsity": 0.5,
                "pruning_start": 9,
                "pruning_end": 8,
            },
            "must not end before it starts, got start=9 and end=8",
        ),
        (
            {"pruning": "gradual", "target_sparsity": 0.5, "pruning_ramp": 8},
            "--pruning_ramp belongs to the thresholds of --dense_checkpoint",
        ),
        (
            {"pruning": "glp", "target_sparsity": 0.5},
            "--pruning=glp needs --pruning_lasso, a number above 0, got None",
        ),
        (
            {
                "pruning": "glp",
                "target_sparsity": 0.5,
                "pruning_lasso": float("inf"),
            },
            "--pruning_lasso, a number above 0, got inf",
        ),
        (
            {"pruning": "block", "target_sparsity": 0.5, "pruning_lasso": 0.1},
            "--pruning_lasso has no meaning with --pruning=block",
        ),
        (
            {
                "pruning": "hard",
                "target_sparsity": 0.5,
                "shrink_every_steps": 0,
            },
            "--pruning and --shrink_every_steps exclude each other",
        ),
        (
            {
                "pruning": "gradual",
                "target_sparsity": 0.5,
                "pruning_layers": ["softmax"],
            },
            "--pruning_layers must be of input, recurrent, got 'softmax'",
        ),
        (
            {"pruning": "gradual", "target_sparsity": 0.5, "epochs": 1},
            "1 epochs of 50 steps are too few",
        ),
        (
            {"pruning": "hard", "target_sparsity": 0.5, "pruning_start": 1000},
            "would start at step 1000, but the last step of training is 999; give",
        ),
        (
            {"pruning": "gradual", "target_sparsity": 0.5, "pruning_end": 1000},
            "would go on to step 1000, but the last step of training is 999: less "
            "than asked would be pruned; give a smaller --pruning_end",
        ),
        (
            {
                "pruning": "gradual",
                "target_sparsity": 0.5,
                "pruning_frequency": 0,
            },
            "frequency must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_mistakes(values, message):
    with pytest.raises(errors.UserError, match=message):
        plan(**values)


def test_thresholds_must_end_within_the_training_too():
    def dense(path):
        return pruning_flags.arrays(layers())

    flags = {
        "pruning": "gradual",
        "dense_checkpoint": "D",
        "pruning_frequency": 10,
    }
    # The last update is before the end.
    assert (
        plan(dense, pruning_end=1000, **flags).schedules["input"].last_update
        == 990
    )
    with pytest.raises(errors.UserError, match="would go on to step 1000"):
        plan(dense, pruning_end=1001, **flags)


def test_a_dense_model_of_zeros_gives_no_threshold():
    weights = {"input": [np.ones((2, 2))], "recurrent": [np.zeros((2, 2))]}
    with pytest.raises(
        errors.UserError,
        match="layer recurrent is all zero up to percentile 90",
    ):
        plan(lambda _: weights, pruning="gradual", dense_checkpoint="D")


@pytest.mark.parametrize(
    "values, last, flag",
    [
        ({"pruning": "gradual", "pruning_end": 70}, 70, "end"),
        ({"pruning": "block", "pruning_end": 70}, 70, "end"),
        ({"pruning": "hard", "pruning_start": 33}, 33, "start"),
    ],
)
def test_b11_training_that_ends_before_pruning_is_refused(values, last, flag):
    made = plan(
        target_sparsity=0.5,
        **{
            **({} if flag == "start" else {"pruning_start": 0}),
            **({} if flag == "start" else {"pruning_frequency": 10}),
            **values,
        },
    )
    made.check_reached(last + 1)  # steps count from 0
    with pytest.raises(
        errors.UserError,
        match=f"^training has {last} steps, and the schedule of --pruning="
        rf"{values['pruning']} needs {last + 1}: train longer \(--epochs, "
        rf"--max_train_steps\), or prune earlier \(--pruning_{flag} below "
        rf"{last}\)$",
    ):
        made.check_reached(last)


@pytest.mark.parametrize(
    "values, block_size",
    [
        ({"pruning": "gradual", "target_sparsity": 0.7}, (1, 1)),
        ({"pruning": "hard", "target_sparsity": 0.7}, (1, 1)),
        (
            {
                "pruning": "glp",
                "pruning_lasso": 0.1,
                "target_sparsity": 0.7,
                "block_size": "4x5",
            },
            (4, 5),
        ),
    ],
)
def test_b11_what_is_left_is_counted_against_what_was_asked(values, block_size):
    made = plan(**values)
    weights = layers()
    for found in made.kept(weights).values():
        assert found.blocks == found.total > found.asked and not found.enough
    masked = {
        variable.ref(): variable
        for name in ("input", "recurrent")
        for variable in weights[name]
    }
    for variable in masked.values():
        rows, columns = (-(-n // b) for n, b in zip(variable.shape, block_size))
        keep = np.zeros(rows * columns, bool)
        keep[: rows * columns - round(np.float32(0.7) * rows * columns)] = True
        blocks = np.kron(keep.reshape(rows, columns), np.ones(block_size))
        height, width = variable.shape
        variable.assign(variable * blocks[:height, :width])
    for found in made.kept(weights).values():
        assert found.blocks == found.asked < found.total and found.enough


def test_b11_a_plan_is_read_off_its_description():
    for values in (
        {"pruning": "gradual", "target_sparsity": 0.7},
        {"pruning": "hard", "target_sparsity": 0.7},
        {"pruning": "block", "dense_checkpoint": "dense"},
    ):
        made = plan(
            dense=lambda path: {
                "input": [np.arange(9.0)],
                "recurrent": [np.arange(5.0)],
            },
            **values,
        )
        described = json.loads(json.dumps(made.describe()))
        again = pruning_flags.PruningPlan.from_description(described)
        assert again.describe() == made.describe()
        assert again.block_size == made.block_size
    described["schedules"]["input"]["kind"] = "Sudden"
    with pytest.raises(errors.UserError, match="its pruning is damaged"):
        pruning_flags.PruningPlan.from_description(described)
