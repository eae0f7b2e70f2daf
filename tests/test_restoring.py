"""Weights from files of every kind."""

import json
import struct
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import restoring
from iss_rnns import runs
from ptb import model as model_lib


def broken_zip(path):
    """An archive whose first array is no compressed data any more."""
    np.savez_compressed(path, a=np.zeros(100))
    with zipfile.ZipFile(path) as file:
        start = file.infolist()[0].header_offset
    data = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", data, start + 26)
    data[start + 30 + name + extra] = 0xff
    path.write_bytes(data)


def text_in_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "text")


@pytest.mark.parametrize("write, message", [
    (lambda path: path.write_bytes(b""), "No data left in file"),
    (lambda path: np.save(path.open("wb"), np.zeros(3)),
     "it holds one array; expected those of a model by name"),
    (broken_zip, "Error -3 while decompressing data"),
    (lambda path: path.write_text("text"), "."),
    (lambda path: None, "No such file or directory")])
def test_weights_that_cannot_be_read(tmp_path, write, message):
    path = tmp_path / "weights.npz"
    write(path)
    with pytest.raises(errors.UserError,
                       match=f"cannot read weights .*weights.npz: {message}"
                       ) as caught:
        restoring.read_arrays(str(path))
    assert "\n" not in str(caught.value)


def test_what_is_no_array_in_an_archive_is_no_weight(tmp_path):
    text_in_zip(tmp_path / "weights.npz")
    array, = restoring.read_arrays(str(tmp_path / "weights.npz")).values()
    assert array.dtype.kind == "S"


def test_flags_may_ask_for_the_sizes_that_training_began_with(tmp_path):
    """A run's own flags name those, though units were cut meanwhile."""
    net = model_lib.WordLSTM(9, 3, (5, 4))
    run = runs.RunDirectory(tmp_path, "run")
    tf.train.Checkpoint(model=tf.train.Checkpoint(net=net)).write(
        str(run.checkpoints / "model-1"))
    (run.checkpoints / "state-1.json").write_text(json.dumps(
        {"epoch": 1, "sizes": [5, 4], "hidden_sizes": [7, 5]}))

    def restored(asked):
        return restoring.restore(
            lambda sizes: model_lib.WordLSTM(9, 3, sizes), str(run.path),
            model_lib.sizes_of, asked=asked)

    for asked in (None, (5, 4), (7, 5)):
        np.testing.assert_array_equal(restored(asked).softmax_w,
                                      net.softmax_w)
    with pytest.raises(errors.UserError, match=r"has layers of \(5, 4\) "
                       r"units, but the flags ask for \(9, 9\)"):
        restored((9, 9))
