"""Files of arrays: what is read, and the line for what is not."""

import struct
import zipfile

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns import files


def broken(path):
    """An archive whose first array is no compressed data any more."""
    np.savez_compressed(path, a=np.zeros(100))
    with zipfile.ZipFile(path) as file:
        start = file.infolist()[0].header_offset
    data = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", data, start + 26)
    data[start + 30 + name + extra] = 0xFF
    path.write_bytes(data)


def encrypted(path):
    np.savez(path, a=np.zeros(3))
    data = bytearray(path.read_bytes())
    for head, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(head) + offset] |= 1
    path.write_bytes(data)


def cut_short(path):
    np.savez(path, a=np.zeros(100))
    path.write_bytes(path.read_bytes()[:-200])


def test_arrays_by_name(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(3), b=np.float32(2))
    found = files.read(path, "weights")
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert found["b"].dtype == np.float32


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes(b""), "No data left in file"),
        (
            lambda path: path.write_text("months of work"),
            "it is no file of arr",
        ),
        (
            lambda path: np.save(path.open("wb"), np.zeros(3)),
            "it holds one arr",
        ),
        (
            lambda path: np.savez(path, a=np.array({})),
            "it is no file of arrays|Object arrays",
        ),
        (broken, "Error -3 while decompressing"),
        (encrypted, ".*is encrypted"),
        (cut_short, "File is not a zip file"),
    ],
)
def test_what_is_no_such_file(tmp_path, write, message):
    path = tmp_path / "x.npz"
    write(path)
    with pytest.raises(
        errors.UserError,
        match=rf"^cannot read weights .*"
        rf"x.npz: ({message})",
    ) as caught:
        files.read(str(path), "weights")
    assert "\n" not in str(caught.value)
