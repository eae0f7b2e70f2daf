"""Tests of `bidaf.store`: what is written comes back; nothing is lost."""

import dataclasses
import json
import re

import numpy as np
import pytest

from bidaf.data import store
from iss_rnns.errors import UserError

WORDS = ["", "a", "über", "日本", "\x00"]
VECTORS = np.array([[0.5, -1.25], [3.0, 4.0]], np.float32)


def part(**changes):
    fields = {
        field.name: ["x", "é y"]
        if field.type == list[str]
        else np.arange(4, dtype=np.int32)
        for field in dataclasses.fields(store.Part)
    }
    return store.Part(**{**fields, **changes})


def write(folder, words=WORDS, **parts):
    return store.write(
        folder,
        {"glove_dim": 2},
        words,
        ["b", "ü"],
        VECTORS,
        parts or {"train": part(), "dev": part(ids=[])},
    )


def test_everything_comes_back(tmp_path):
    path = write(tmp_path / "new" / "folder")
    for place in (path, path.parent):
        read = store.Store(place)
        assert read.path == path
        assert read.meta["glove_dim"] == 2
        assert read.parts == ("train", "dev")
        assert read.words == WORDS
        assert read.glove_words == ["b", "ü"]
        np.testing.assert_array_equal(read.glove_vectors, VECTORS)
    train, dev = map(read.part, read.parts)
    assert train.contexts == ["x", "é y"]
    assert (train.num_questions, dev.num_questions) == (2, 0)
    np.testing.assert_array_equal(dev.tokens, np.arange(4))
    assert dev.tokens.dtype == np.int32


def test_missing_store(tmp_path):
    with pytest.raises(
        UserError,
        match=(
            r"no preprocessed data at .*store\.npz; make it with `python -m "
            "bidaf.prepro --train FILE --dev FILE --glove FILE --out "
        ),
    ):
        store.Store(tmp_path)


def test_missing_part(tmp_path):
    with pytest.raises(UserError, match="no part 'test'; it has train, dev$"):
        store.Store(write(tmp_path)).part("test")


@pytest.mark.parametrize("keep", [0, 20, -60])
def test_damaged_store(tmp_path, keep):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        UserError,
        match=(
            r"store\.npz is damaged or no preprocessed data \(reading 'meta'"
            r".*\); preprocess it anew$"
        ),
    ):
        store.Store(path)


def test_a_damaged_array(tmp_path):
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.index(b"words.npy") + 60
    data[place : place + 30] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged .*reading 'words'"):
        _ = store.Store(path).words


def test_store_of_another_format(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FORMAT", 99)
    path = write(tmp_path)
    monkeypatch.undo()
    with pytest.raises(
        UserError,
        match=(
            "has format 99, this version reads format 1; preprocess it anew"
        ),
    ):
        store.Store(path)


def test_old_store_stays_until_the_new_one_is_complete(tmp_path, monkeypatch):
    path = write(tmp_path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store.np, "savez_compressed", fail)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, words=["other"])
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    monkeypatch.undo()
    write(tmp_path, words=["other"])
    assert store.Store(path).words == ["other"]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        UserError,
        match=re.escape(f"cannot write {tmp_path / 'file' / 'store.npz'}: "),
    ):
        write(tmp_path / "file")


def test_meta_is_json(tmp_path):
    with np.load(write(tmp_path)) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
    assert meta == {
        "glove_dim": 2,
        "format": store.FORMAT,
        "parts": ["train", "dev"],
    }


def save(path, **arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize("meta", [b"{", b"\xff", b"[1]", b"3", b"null"])
def test_archive_with_other_content(tmp_path, meta):
    save(tmp_path / store.FILE, meta=np.frombuffer(meta, np.uint8))
    with pytest.raises(
        UserError,
        match=(
            r"is damaged or no preprocessed data \(reading 'meta': [^\n]*\); "
            "preprocess it anew$"
        ),
    ):
        store.Store(tmp_path)


def test_a_lone_array(tmp_path):
    with open(tmp_path / store.FILE, "wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(UserError, match="reading 'meta'"):
        store.Store(tmp_path)


def test_texts_that_are_not_utf8(tmp_path):
    path = write(tmp_path)
    with np.load(path) as arrays:
        arrays = dict(arrays)
    save(
        path,
        **{**arrays, "words": np.full(arrays["words"].shape, 0xFF, np.uint8)},
    )
    with pytest.raises(UserError, match="reading 'words': 'utf-8' codec"):
        _ = store.Store(path).words
