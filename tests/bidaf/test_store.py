"""Tests of `bidaf.store`: what is written comes back; nothing is lost."""

import dataclasses
import json
import re

import numpy as np
import pytest

from bidaf.data import store
from iss_rnns import errors

WORDS = ["", "a", "über", "日本", "\x00"]
VECTORS = np.array([[0.5, -1.25], [3.0, 4.0]], np.float32)


# Two contexts of two and one sentences, and three questions: the first has
# two answers, the last has none.
FIELDS = {
    "tokens": [1, 0, 2, 1, 3],
    "token_starts": [0, 1, 2, 7, 0],
    "sentence_offsets": [0, 2, 4, 5],
    "paragraph_offsets": [0, 2, 3],
    "paragraph_articles": [0, 0],
    "titles": ["x"],
    "contexts": ["a über a", "日本"],
    "question_tokens": [1, 2, 3, 1],
    "question_offsets": [0, 2, 3, 4],
    "question_paragraphs": [0, 1, 0],
    "ids": ["1", "é 2", "3"],
    "answer_offsets": [0, 2, 3, 3],
    "answer_spans": [
        [[0, 0], [0, 2]],
        [[0, 1], [1, 1]],
        [[0, 0], [0, 1]],
    ],
    "answer_characters": [[0, 0], [0, 3], [0, 1]],
    "answer_texts": ["a", "über", "日本"],
    "counted_words": [1, 0, 2, 3],
    "word_counts": [3, 2, 1, 1],
}


def part(**changes):
    values = {**FIELDS, **changes}
    return store.Part(
        **{
            field.name: values[field.name]
            if field.type == list[str]
            else np.asarray(values[field.name], np.int32)
            for field in dataclasses.fields(store.Part)
        }
    )


def no_questions():
    return part(
        question_tokens=[],
        question_offsets=[0],
        question_paragraphs=[],
        ids=[],
        answer_offsets=[0],
        answer_spans=np.zeros((0, 2, 2)),
        answer_characters=np.zeros((0, 2)),
        answer_texts=[],
    )


def write(folder, words=WORDS, **parts):
    return store.write(
        folder,
        {"glove_dim": 2},
        words,
        ["b", "ü"],
        VECTORS,
        parts or {"train": part(), "dev": no_questions()},
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
    assert train.contexts == ["a über a", "日本"]
    assert (train.num_questions, dev.num_questions) == (3, 0)
    np.testing.assert_array_equal(dev.tokens, FIELDS["tokens"])
    assert dev.tokens.dtype == np.int32


def test_missing_store(tmp_path):
    with pytest.raises(
        errors.UserError,
        match=(
            r"no preprocessed data at .*store\.npz; make it with `python -m "
            "bidaf.prepro --train FILE --dev FILE --glove FILE --out "
        ),
    ):
        store.Store(tmp_path)


def test_missing_part(tmp_path):
    with pytest.raises(
        errors.UserError, match="no part 'test'; it has train, dev$"
    ):
        store.Store(write(tmp_path)).part("test")


@pytest.mark.parametrize("keep", [0, 20, -60])
def test_damaged_store(tmp_path, keep):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        errors.UserError,
        match=(
            r"cannot read preprocessed data .*store\.npz: .*; preprocess it "
            "anew$"
        ),
    ):
        store.Store(path)


def test_a_damaged_array(tmp_path):
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    place = data.index(b"words.npy") + 60
    data[place : place + 30] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(
        errors.UserError, match=r"store\.npz: .*words.*; preprocess"
    ):
        _ = store.Store(path).words


def test_store_of_another_format(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FORMAT", 99)
    path = write(tmp_path)
    monkeypatch.undo()
    with pytest.raises(
        errors.UserError,
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
        errors.UserError,
        match=re.escape(f"cannot write {tmp_path / 'file'}: "),
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


@pytest.mark.parametrize(
    "meta", [b"{", b"\xff", b"[1]", b"3", b"null", b"{}", b"1" * 5000]
)
def test_archive_with_other_content(tmp_path, meta):
    save(tmp_path / store.FILE, meta=np.frombuffer(meta, np.uint8))
    with pytest.raises(
        errors.UserError,
        match=(
            r"^cannot read preprocessed data .*store\.npz: .*; preprocess it "
            "anew$"
        ),
    ):
        store.Store(tmp_path)


def test_a_lone_array(tmp_path):
    with open(tmp_path / store.FILE, "wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(errors.UserError, match="it holds one array"):
        store.Store(tmp_path)


def test_texts_that_are_not_utf8(tmp_path):
    path = write(tmp_path)
    with np.load(path) as arrays:
        arrays = dict(arrays)
    save(
        path,
        **{**arrays, "words": np.full(arrays["words"].shape, 0xFF, np.uint8)},
    )
    with pytest.raises(errors.UserError, match="'words': 'utf-8' codec"):
        _ = store.Store(path).words


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": [1, 0, 2, 1, 5]},
        {"tokens": [1, 0, 2, -1, 3]},
        {"tokens": np.zeros((5, 1))},
        {"token_starts": [0, 1, 2, 7]},
        {"token_starts": [0, 1, 2, 8, 0]},
        {"sentence_offsets": [0, 2, 4, 6]},
        {"sentence_offsets": [0, 3, 2, 5]},
        {"sentence_offsets": []},
        {"paragraph_offsets": [0, 3]},
        {"paragraph_offsets": [0, 0, 3]},
        {"paragraph_articles": [0, 1]},
        {"contexts": ["a über a", "日"]},
        {"contexts": ["a über a"]},
        {"question_tokens": [1, 2, 3]},
        {"question_offsets": [1, 2, 3, 4]},
        {"question_paragraphs": [0, 2, 0]},
        {"ids": ["1"]},
        {"answer_offsets": [0, 2, 3, 4]},
        {"answer_texts": ["a"]},
        {"answer_characters": [[0, 0]]},
        {"answer_spans": [[0, 0]]},
        {
            "answer_spans": [
                [[0, 0], [0, 3]],  # beyond the sentence
                [[0, 1], [1, 1]],
                [[0, 0], [0, 1]],
            ]
        },
        {
            "answer_spans": [
                [[0, 0], [0, 2]],
                [[1, 1], [0, 1]],  # backwards
                [[0, 0], [0, 1]],
            ]
        },
        {
            "answer_spans": [
                [[0, 0], [0, 2]],
                [[0, 1], [1, 1]],
                [[0, 0], [1, 1]],  # beyond the paragraph
            ]
        },
        {"counted_words": [1, 0, 2, 9]},
        {"word_counts": [3, 2, 1]},
    ],
    ids=str,
)
def test_parts_that_disagree_are_refused(tmp_path, changes):
    """B25: reading them would give other words, or an IndexError."""
    path = write(tmp_path, train=part(**changes))
    with pytest.raises(
        errors.UserError,
        match=(
            r"cannot read preprocessed data .*store\.npz: 'train/\w+' does not "
            "fit the rest; preprocess it anew$"
        ),
    ):
        store.Store(path).part("train")


@pytest.mark.parametrize(
    "vectors",
    [
        VECTORS[:1],
        VECTORS.astype(np.float64),
        VECTORS[0],
        np.full((2, 2), np.inf, np.float32),
    ],
)
def test_vectors_that_do_not_fit_their_words(tmp_path, vectors):
    path = write(tmp_path)
    with np.load(path) as arrays:
        arrays = dict(arrays)
    save(path, **{**arrays, "glove_vectors": vectors})
    with pytest.raises(
        errors.UserError, match="'glove_vectors' are no finite numbers for each"
    ):
        _ = store.Store(path).glove_vectors


@pytest.mark.parametrize("sizes", [[1, 2], [-1, 99], [[0, 1, 5, 6, 1]], [0.5]])
def test_texts_that_do_not_fit_their_sizes(tmp_path, sizes):
    path = write(tmp_path)
    with np.load(path) as arrays:
        arrays = dict(arrays)
    save(path, **{**arrays, "words/sizes": np.array(sizes)})
    with pytest.raises(
        errors.UserError, match="'words' does not fit 'words/sizes'"
    ):
        _ = store.Store(path).words


def test_a_missing_array_is_named(tmp_path):
    path = write(tmp_path)
    with np.load(path) as arrays:
        arrays = dict(arrays)
    del arrays["train/tokens"]
    save(path, **arrays)
    with pytest.raises(
        errors.UserError, match="it has no array 'train/tokens'"
    ):
        store.Store(path).part("train")
