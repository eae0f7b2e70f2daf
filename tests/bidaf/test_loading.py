"""BiDAF's weights from disk, and how averages lose what is dead."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from bidaf import loading
from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import train as train_lib
from bidaf.net import groups as groups_lib
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import shrinking
from iss_rnns import thresholding
from iss_rnns.experiments import checkpoints
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs

CONFIG = model_lib.ModelConfig(
    6,
    5,
    3,
    hidden_size=3,
    char_emb_size=2,
    char_out_size=2,
    out_channel_dims="2",
    filter_heights="3",
    highway_num_layers=1,
)
SIZES = {"ModFwd1": 2, "OutBwd": 4}
OPTIONS = options_lib.Options(
    zero_threshold=0.01, group_config="iss", structure_wd=0.1
)


@pytest.fixture(name="trainer")
def fixture_trainer():
    """Weights apart from their averages; one dead unit, not on average."""
    net = model_lib.BiDAF(CONFIG, SIZES)
    trainer = train_lib.compiled(net, OPTIONS, np.zeros([0, 3], np.float32))
    rng = np.random.default_rng(3)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
        trainer.averages.average_of(variable).assign(
            variable + rng.normal(size=variable.shape, scale=0.1)
        )
    (group,) = groups_lib.iss_groups(net, ["OutBwd"])
    thresholding.zero_units(
        groups.Group("g", group.slices),
        tf.constant([False, True, False, False]),
    )
    trainer.optimizer.iterations.assign(7)
    return trainer


@pytest.fixture(name="run")
def fixture_run(trainer, tmp_path):
    directory = runs.RunDirectory(tmp_path, "run")
    checkpoints.Checkpoints(directory.checkpoints).save(
        trainer,
        {
            "epoch": 0,
            "batch": 0,
            "seconds": 0.0,
            "model": dataclasses.asdict(CONFIG),
            "sizes": dict(trainer.net.sizes),
            "max_word_size": 4,
        },
    )
    return str(directory.path)


def load(run):
    return loading.load(run, loading.config_of(run, 0, lambda: None))


def test_a_run_gives_weights_averages_and_sizes(trainer, run):
    loaded = load(run)
    assert loaded.step == 7 and loading.word_size_of(run, 0) == 4
    assert loaded.net.config == CONFIG
    assert loaded.net.sizes == trainer.net.sizes
    for ours, theirs in zip(
        loaded.net.trainable_variables, trainer.net.trainable_variables
    ):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(
            loaded.averages.average_of(ours),
            trainer.averages.average_of(theirs),
        )


def test_settling_masks_dead_units_in_the_averages(trainer, run):
    loaded = load(run)
    weak = loading.finalize_weights(loaded, OPTIONS, use_averages=True)
    counts = {
        group.name: int(group.alive().numpy().sum())
        for group in loaded.net.iss_groups()
    }
    assert {name: int((~units).sum()) for name, units in weak.items()} == counts
    assert counts == {
        **dict.fromkeys(groups_lib.PRUNABLE, 3),
        "ModFwd1": 2,
        "OutBwd": 3,
    }
    (group,) = groups_lib.iss_groups(loaded.net, ["OutBwd"])
    np.testing.assert_array_equal(group.alive(), [True, False, True, True])
    kernel = loaded.net.answers[0].kernels[0]
    average = trainer.averages.average_of(
        trainer.net.answers[0].kernels[0]
    ).numpy()
    np.testing.assert_array_equal(
        kernel, np.where(np.abs(average) < 0.01, 0.0, average)
    )
    bias = loaded.net.output_lstm.cells[1].bias.numpy().reshape(4, 4)
    assert not bias[:, 1].any() and bias[:, [0, 2, 3]].all()


def test_settling_without_averages(trainer, run):
    loaded = load(run)
    loading.finalize_weights(loaded, OPTIONS, use_averages=False)
    kernel = trainer.net.answers[0].kernels[0].numpy()
    np.testing.assert_array_equal(
        loaded.net.answers[0].kernels[0],
        np.where(np.abs(kernel) < 0.01, 0.0, kernel),
    )


def test_b12_weak_units_are_told_and_left(run):
    loaded = load(run)
    norms = {
        group.name: np.sqrt(group.squared_norms())
        for group in loaded.net.iss_groups()
    }
    below = float(np.sort(norms["ModFwd2"])[0]) + 1e-3
    weak = loading.finalize_weights(loaded, OPTIONS, False, below)
    assert weak["ModFwd2"].sum() == 1
    for group in loaded.net.iss_groups():
        np.testing.assert_array_equal(
            weak[group.name], norms[group.name] <= below
        )
        np.testing.assert_array_equal(
            group.alive(), norms[group.name] > 0, group.name
        )


def test_weights_without_a_run(trainer, tmp_path):
    """A .npz file has the sizes, but neither averages nor hyper-parameters."""
    path = tmp_path / "weights.npz"
    restoring.save_weights(trainer.net, path)
    config = loading.config_of(str(path), 0, lambda: CONFIG)
    loaded = loading.load(str(path), config)
    assert loaded.averages is None and loaded.step == 0
    assert loaded.net.sizes == trainer.net.sizes
    for ours, theirs in zip(
        loaded.net.trainable_variables, trainer.net.trainable_variables
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_authors_averages_are_found_by_their_names(trainer):
    arrays = {
        name: view.read() for name, view in trainer.net.tf1_views().items()
    }
    averages = {
        f"{name}{loading.AVERAGE}": array + 1 for name, array in arrays.items()
    }
    found = loading.averaged_arrays({**arrays, **averages})
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, arrays[name] + 1)


def test_a_step_that_was_not_kept(run):
    with pytest.raises(
        errors.UserError, match="run holds no checkpoint of step 3; it has 7"
    ):
        loading.config_of(run, 3, lambda: None)


def test_a_direction_without_living_units_keeps_a_silent_one(trainer, run):
    """Penalties that kill a whole direction do not cost the run its end."""
    loaded = load(run)
    (group,) = groups_lib.iss_groups(loaded.net, ["OutBwd"])
    thresholding.zero_units(group, tf.fill([4], True))
    groups_of_net = loaded.net.iss_groups()
    alive = groups_lib.kept_units(groups_of_net)
    assert [units.sum() for units in alive] == [
        loaded.net.sizes[name] for name in groups_lib.PRUNABLE[:5]
    ] + [1]
    small, _ = shrinking.cut(loaded.net, groups_of_net, alive)
    assert small.sizes["OutBwd"] == 1
    assert not small.output_lstm.cells[1].kernel.numpy().any()


def test_damaged_averages_are_told_in_one_line(trainer, run):
    """The averages lie in a part of the file that the weights do not read."""
    prefix, _ = restoring.find_checkpoint(run)
    data = pathlib.Path(f"{prefix}.data-00000-of-00001")
    average = trainer.averages.average_of(
        trainer.net.answers[1].kernels[0]
    ).numpy()
    content = bytearray(data.read_bytes())
    place = content.index(average.tobytes())
    content[place : place + 4] = bytes(4)
    data.write_bytes(content)
    with pytest.raises(
        errors.UserError,
        match="^checkpoint .*model-7 cannot be restored: .*",
    ) as caught:
        load(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"model": {"vocab_size": 3}},
        {"model": {**dataclasses.asdict(CONFIG), "hidden_size": -1}},
        {"max_word_size": None},
        {"sizes": [4, 4]},
        {"options": {"pruning": {"schedules": {"lstm": {"q": 1.0}}}}},
    ],
)
def test_a_run_of_another_program(run, changes):
    path = pathlib.Path(run) / "checkpoints" / "state-7.json"
    state = {**json.loads(path.read_text()), **changes}
    path.write_text(
        json.dumps(
            {key: value for key, value in state.items() if value is not None}
        )
    )
    with pytest.raises(
        errors.UserError,
        match=(
            "run is no run of this version of bidaf.cli: the state beside "
            ".*model-7 does not say what model it is"
        ),
    ):
        loading.config_of(run, 0, lambda: None)


def test_nothing_at_a_path(tmp_path):
    with pytest.raises(
        errors.UserError,
        match=(
            "there is nothing at --restore_path=.*/typo; give a run directory"
        ),
    ):
        loading.vocabulary_of(str(tmp_path / "typo"), None)
