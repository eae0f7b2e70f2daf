"""Weights from files of every kind."""

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.experiments import machine
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import options
from ptb import model as model_lib

STATE = {"epoch": 1, "batch": 0, "seconds": 0.0, "sizes": [5, 4]}


def text_in_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "text")


def test_weights_that_cannot_be_read(tmp_path):
    """What else is wrong with a file: see `files`."""
    path = tmp_path / "weights.npz"
    path.write_bytes(b"")
    with pytest.raises(
        errors.UserError,
        match="^cannot read weights .*weights.npz: No data left in file$",
    ):
        restoring.read_arrays(str(path))


def test_what_is_no_array_in_an_archive_is_no_weight(tmp_path):
    text_in_zip(tmp_path / "weights.npz")
    with pytest.raises(errors.UserError, match="it is no file of arrays"):
        restoring.read_arrays(str(tmp_path / "weights.npz"))


@pytest.mark.parametrize("sizes", [[5, 4], {"lstm_0": 5, "lstm_1": 4}])
def test_flags_may_ask_for_the_sizes_that_training_began_with(tmp_path, sizes):
    """A run's own flags name those, though units were cut meanwhile.

    Version 1.0.0 wrote a list.
    """
    net = model_lib.WordLSTM(9, 3, (5, 4))
    run = runs.RunDirectory(tmp_path, "run")
    tf.train.Checkpoint(model=tf.train.Checkpoint(net=net)).write(
        str(run.checkpoints / "model-1")
    )
    (run.checkpoints / "state-1.json").write_text(
        json.dumps({**STATE, "sizes": sizes, "hidden_sizes": [7, 5]})
    )

    def restored(asked):
        return restoring.restore(
            lambda sizes: model_lib.WordLSTM(9, 3, options.layer_sizes(sizes)),
            str(run.path),
            model_lib.sizes_of,
            asked=asked,
        )

    for units in (None, (5, 4), (7, 5)):
        asked = units and dict(zip(("lstm_0", "lstm_1"), units))
        np.testing.assert_array_equal(restored(asked).softmax_w, net.softmax_w)
    with pytest.raises(
        errors.UserError,
        match=r"has layers of \(5, 4\) "
        r"units, but the flags ask for \(9, 9\)",
    ):
        restored({"lstm_0": 9, "lstm_1": 9})


def saved_run(tmp_path, states):
    """A run with a checkpoint for each of the states, by step."""
    run = runs.RunDirectory(tmp_path, "run")
    nets = {}
    for step, state in states.items():
        nets[step] = model_lib.WordLSTM(9, 3, (5, 4), seed=step)
        tf.train.Checkpoint(model=tf.train.Checkpoint(net=nets[step])).write(
            str(run.checkpoints / f"model-{step}")
        )
        (run.checkpoints / f"state-{step}.json").write_text(json.dumps(state))
    return run, nets


def restored(run, **kwargs):
    return restoring.restore(
        lambda sizes: model_lib.WordLSTM(9, 3, options.layer_sizes(sizes)),
        str(run.path),
        model_lib.sizes_of,
        **kwargs,
    )


@pytest.mark.parametrize("damaged", ["state-2.json", "model-2.index"])
def test_a_damaged_newest_checkpoint_gives_way(tmp_path, capsys, damaged):
    """B27, of a run that others start from: it is only read."""
    run, nets = saved_run(tmp_path, {1: STATE, 2: STATE})
    (run.checkpoints / damaged).write_text("{")
    names = sorted(path.name for path in run.checkpoints.iterdir())
    np.testing.assert_array_equal(restored(run).softmax_w, nets[1].softmax_w)
    assert restoring.designed_sizes(str(run.path)) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("; the checkpoint before it, of step 1, is taken")
    assert sorted(path.name for path in run.checkpoints.iterdir()) == names
    with pytest.raises(errors.UserError, match="-2(.json:)? "):
        restored(run, step=2)


def test_brackets_in_a_path_are_named(tmp_path):
    """B16: TensorFlow would say that there is no such file."""
    run, _ = saved_run(tmp_path / "whole", {1: STATE})
    run.path.rename(tmp_path / "run [1]")
    run.path = tmp_path / "run [1]"
    with pytest.raises(
        errors.UserError, match=r"cannot read from .*\[1\]/.* takes \[ for"
    ):
        restored(run)


def without_data(path, name):
    """The data of an array is gone; its header and sums are as before."""
    with zipfile.ZipFile(path) as file:
        start = file.getinfo(f"{name}.npy").header_offset
    data = bytearray(path.read_bytes())
    place = data.index(b"\x93NUMPY", start) + 128
    data[place : place + 40] = bytes(40)
    path.write_bytes(data)


class TestSizesAreComparedBeforeReading:
    """B25: what a file asks for is not what its model has."""

    def restored(self, path):
        return restoring.restore(
            lambda sizes: model_lib.WordLSTM(9, 3, options.layer_sizes(sizes)),
            str(path),
            model_lib.sizes_of,
        )

    def saved(self, path, **arrays):
        net = model_lib.WordLSTM(9, 3, (5, 4))
        values = {n: view.read() for n, view in net.tf1_views().items()}
        np.savez(path, **{**values, **arrays})
        return self.restored(path)

    def test_a_larger_array_is_not_read(self, tmp_path):
        path = tmp_path / "w.npz"
        self.saved(path)
        large = np.arange(1e6, dtype=np.float32)
        with pytest.raises(errors.UserError, match=r"has shape \(1000000,\)"):
            self.saved(path, **{"Model/softmax_b": large})
        without_data(path, "Model/softmax_b")
        with pytest.raises(errors.UserError, match=r"has shape \(1000000,\)"):
            self.restored(path)

    def test_what_the_model_does_not_need_is_not_read(self, tmp_path):
        path = tmp_path / "w.npz"
        self.saved(path, more=np.arange(1e6, dtype=np.float32))
        without_data(path, "more")
        assert self.restored(path).hidden_sizes == (5, 4)
        without_data(path, "Model/softmax_b")
        with pytest.raises(
            errors.UserError,
            match="cannot read weights .*w.npz: Bad CRC.*softmax_b",
        ):
            self.restored(path)

    def test_layers_that_no_file_of_its_size_has(self, tmp_path):
        name = "Model/RNN/multi_rnn_cell/cell_0/basic_lstm_cell/kernel"
        with pytest.raises(
            errors.UserError,
            match=r"w.npz has a layer of 2,000,000 units, but only 8,000,\d+ "
            "weights in all",
        ):
            self.saved(
                tmp_path / "w.npz",
                **{name: np.zeros((1, 8_000_000), np.int8)},
            )

    def test_more_than_the_machine_has(self, tmp_path, monkeypatch):
        monkeypatch.setattr(machine, "memory_bytes", lambda: 1000)
        with pytest.raises(
            errors.UserError, match="holds 0.0 GB of weights, and this machine"
        ):
            self.saved(tmp_path / "w.npz")
