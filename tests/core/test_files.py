"""Files: what is read, and the line for what is not; whole or not at all."""

import io
import json
import os
import pathlib
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


def shaped(shape):
    return (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    ).encode()


def header(path, text):
    """An archive whose array `a` has a header of its own."""
    text = text + b" " * (-len(text) % 64) + b"\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "a.npy",
            np.lib.format.magic(1, 0)
            + struct.pack("<H", len(text))
            + text
            + bytes(40),
        )


def larger_than_it_can_be(path):
    """Header and directory agree on 2 GB; the file has a few bytes."""
    count = 2_000_000_000
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": (count,)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", head.getvalue())
    data = bytearray(path.read_bytes())
    place = data.find(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", len(head.getvalue()) + count)
    path.write_bytes(data)


def test_arrays_by_name(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(3), b=np.float32(2))
    found = files.read_arrays(path, "weights")
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert found["b"].dtype == np.float32


def one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


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
        (one_array, "it holds one arr"),
        (
            lambda path: np.savez(path, a=np.array({})),
            "it is no file of arrays|Object arrays",
        ),
        (broken, ".*Error -3 while decompressing"),
        (encrypted, ".*is encrypted"),
        (cut_short, "File is not a zip file"),
        (lambda path: header(path, b"{'descr': '<f4', 'x"), ".*"),
        (lambda path: header(path, shaped("(3,")), ".*"),
        (lambda path: header(path, shaped("(1 << 40,)")), ".*"),
        (lambda path: header(path, shaped("(-2, -5)")), "'a.npy' is damaged"),
        (
            lambda path: header(path, shaped("(999999999999,)")),
            r"'a.npy' is damaged: a float32 array of shape \(999999999999,\) "
            "does not take the [0-9]+ bytes that it has",
        ),
        (
            lambda path: header(path, shaped(f"({'9' * 5000},)")),
            ".*",
        ),
        (larger_than_it_can_be, "'a.npy' is damaged: a uint8 array of shape"),
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
        files.read_arrays(str(path), "weights")
    assert "\n" not in str(caught.value)


def test_stored_arrays_are_read_when_asked_for(tmp_path):
    path = tmp_path / "x.npz"
    values = np.arange(6.0).reshape(2, 3)
    np.savez(path, **{"a/b": values, "s": np.float32(2)})
    found = files.stored_arrays(path, "weights")
    assert (found["a/b"].shape, found["a/b"].ndim, found["a/b"].size) == (
        (2, 3),
        2,
        6,
    )
    assert (found["s"].shape, found["s"].dtype) == ((), np.float32)
    np.testing.assert_array_equal(found["a/b"], values)
    path.unlink()
    with pytest.raises(errors.UserError, match="cannot read weights .*No such"):
        np.asarray(found["s"])


MARK = "\ufeff".encode()


@pytest.mark.parametrize("mark", [b"", MARK])
def test_byte_order_marks_do_not_count(tmp_path, mark):
    """B5."""
    path = tmp_path / "x"
    path.write_bytes(mark + '{"a": "\ufeffé"}'.encode())
    assert files.read_text(path, "text") == '{"a": "\ufeffé"}'
    assert files.read_json(path, "settings") == {"a": "\ufeffé"}


@pytest.mark.parametrize("mark", [b"", MARK])
def test_text_that_is_not_utf8(tmp_path, mark):
    path = tmp_path / "x"
    path.write_bytes(mark + b"a\nb\xe9c")
    with pytest.raises(
        errors.UserError,
        match=(
            "^cannot read text .*/x: it is not UTF-8: byte 0xe9 at offset "
            f"{3 + len(mark)}, line 2; save it as UTF-8$"
        ),
    ):
        files.read_text(path, "text")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_named(tmp_path, encoding):
    path = tmp_path / "x"
    path.write_bytes("\ufeff{}".encode(encoding)[-6:])
    with pytest.raises(
        errors.UserError, match="x: it is UTF-16; save it as UTF-8$"
    ):
        files.read_json(path, "settings")


@pytest.mark.parametrize(
    "content, why",
    [
        ('{"a": 1,}', "it is no JSON: .* at line 1, column 9$"),
        ("", "it is no JSON: .* at line 1, column 1$"),
        ("[" * 100_000, "it is nested too deeply"),
        ("[" + "9" * 5000 + "]", "it holds a number of too many digits"),
    ],
)
def test_json_that_cannot_be_read(tmp_path, content, why):
    """B25: integers of 5,000 digits, too."""
    path = tmp_path / "x"
    path.write_text(content)
    with pytest.raises(
        errors.UserError, match=f"^cannot read settings .*/x: {why}"
    ):
        files.read_json(path, "settings")


def test_keys_that_are_there_twice(tmp_path):
    path = tmp_path / "x"
    path.write_text('{"b": {"a": 1, "a": 2}}')
    assert files.read_json(path, "answers") == {"b": {"a": 2}}
    with pytest.raises(errors.UserError, match="the key 'a' twice in one obj"):
        files.read_json(path, "settings", unique_keys=True)


@pytest.mark.parametrize(
    "name, shown",
    [
        ("é b", "é b"),
        (b"\xff.txt", r"'\udcff.txt'"),
        ("a\nb", r"'a\nb'"),
    ],
)
def test_paths_are_shown_on_one_line(name, shown):
    assert files.shown(name) == shown


@pytest.mark.parametrize("name", [b"gone\xff", b"two\nlines", b"a\0b", b""])
def test_odd_paths_get_one_line(tmp_path, name):
    """B26."""
    path = os.path.join(tmp_path, os.fsdecode(name))
    for read in files.read_text, files.read_json, files.read_arrays:
        with pytest.raises(errors.UserError, match="cannot read it ") as caught:
            read(path, "it")
        assert str(caught.value).isprintable()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1}, indent=1)
    assert json.loads(path.read_text()) == {"a": 1}

    def fail(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    for write in (
        lambda: files.write_text(path, "new"),
        lambda: files.write_arrays(path, {"a": np.zeros(3)}),
    ):
        with pytest.raises(
            errors.UserError,
            match=r"^cannot write .*x\.json: No space left on device; expected",
        ):
            write()
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("name", ["gone/x", "a\0b", ""])
def test_files_that_cannot_be_written(tmp_path, name):
    path = f"{tmp_path}/{name}" if name else ""
    with pytest.raises(errors.UserError, match="^cannot write ") as caught:
        files.write_text(path, "text")
    assert str(caught.value).isprintable()
    assert not os.listdir(tmp_path)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "up" / "model"
    with files.new_folder(path) as folder:
        (folder / "old").write_text("old")
        assert not path.exists()
    with files.new_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "new").write_text("new")
        assert os.listdir(path) == ["old"]
    assert os.listdir(path) == ["deep"]
    for error, expected in (
        (OSError(28, "No space left on device"), errors.UserError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ZeroDivisionError(), ZeroDivisionError),
    ):
        with pytest.raises(expected):
            with files.new_folder(path) as folder:
                (folder / "half").write_text("half")
                raise error
        assert os.listdir(path) == ["deep"]
    assert os.listdir(path.parent) == ["model"]


def test_a_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path, monkeypatch
):
    path = tmp_path / "model"
    with files.new_folder(path) as folder:
        (folder / "old").write_text("old")
    replace = os.replace

    def fail(source, target):
        if str(source).endswith(".partial"):
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(errors.UserError, match="Input/output error"):
        with files.new_folder(path) as folder:
            (folder / "new").write_text("new")
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["model"]


def test_folders(tmp_path):
    assert files.make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.UserError, match="^cannot write .*file/x: Not a"):
        files.make_folder(tmp_path / "file" / "x")
    assert isinstance(files.make_folder(str(tmp_path)), pathlib.Path)
