"""Tests of `iss_rnns.corpora`: readers, their errors, batches."""

import collections
import os
import re

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import options

TRAIN = " b a c \n b <unk> N \n b d \n"


def write_words(folder, train=TRAIN, valid=" b a \n", test=" a b \n"):
    folder.mkdir(exist_ok=True)
    texts = {"train": train, "valid": valid, "test": test}
    for part, text in texts.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / f"ptb.{part}.txt").write_bytes(data)
    return folder


def words_of(corpus, part):
    return [corpus.symbols[i] for i in getattr(corpus, part)]


def test_vocabulary_goes_by_count_then_alphabet(tmp_path):
    corpus = corpora.read_words(write_words(tmp_path / "little"))
    assert corpus.symbols == ("<eos>", "b", "<unk>", "N", "a", "c", "d")
    assert corpus.train.dtype == np.int32
    assert corpus.train.tolist() == [1, 4, 5, 0, 1, 2, 3, 0, 1, 6, 0]
    assert (corpus.name, corpus.unit) == ("little", "word")
    assert corpus.description == (
        f"words of {tmp_path / 'little'}: 11 / 3 / 3 train / valid / test, "
        "vocabulary 7"
    )


def test_words_against_a_plain_count(tmp_path):
    random = np.random.default_rng(1)
    text = (
        "\n".join(
            f" {' '.join(random.choice(list('abcdefgh'), 5))} "
            for _ in range(50)
        )
        + "\n"
    )
    corpus = corpora.read_words(write_words(tmp_path, text, text, text))
    expected = text.replace("\n", "<eos>").split()
    assert words_of(corpus, "train") == expected
    assert words_of(corpus, "test") == expected
    counts = collections.Counter(expected)
    order = [(-counts[word], word) for word in corpus.symbols]
    assert order == sorted(order) and len(order) == len(counts)


def test_words_unknown_to_the_training_text_are_dropped(tmp_path):
    folder = write_words(tmp_path, valid=" b new a \n new \n", test=" a ö \n")
    corpus = corpora.read_words(folder)
    assert words_of(corpus, "valid") == ["b", "a", "<eos>", "<eos>"]
    assert words_of(corpus, "test") == ["a", "<eos>"]
    assert "(3 not in the training text left out)" in corpus.description


def test_unseen_words_count_as_unk_where_there_is_one(tmp_path):
    folder = write_words(tmp_path, valid=" b new a \n new \n", test=" a ö \n")
    corpus = corpora.read_words(folder, drop_unseen=False)
    assert words_of(corpus, "valid") == ("b <unk> a <eos> <unk> <eos>".split())
    assert words_of(corpus, "test") == ["a", "<unk>", "<eos>"]
    assert "(3 not in the training text read as <unk>)" in corpus.description
    plain = write_words(tmp_path, " b a \n", " b new \n", " a \n")
    corpus = corpora.read_words(plain, drop_unseen=False)
    assert words_of(corpus, "valid") == ["b", "<eos>"]
    assert "(1 not in the training text left out)" in corpus.description


def own_text(tmp_path):
    """40 lines of 4 words and an end: 200 tokens, of which 180 train."""
    lines = [f"a b {'c' if i % 2 else 'd'} w{i}" for i in range(40)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(lines) + "\n\n \n", encoding="utf-8")
    return path, " <eos> ".join([*lines, ""]).split()


def test_an_own_text_is_split_and_rare_words_are_unk(tmp_path):
    path, words = own_text(tmp_path)
    corpus = corpora.read_text(path)
    assert (corpus.name, corpus.unit) == ("book", "word")
    # By count, then alphabetically; each w is rare.
    assert corpus.symbols == ("<eos>", "<unk>", "a", "b", "c", "d")
    expected = ["<unk>" if word[0] == "w" else word for word in words]
    assert len(words) == 200
    assert words_of(corpus, "train") == expected[:180]
    assert words_of(corpus, "valid") == expected[180:190]
    assert words_of(corpus, "test") == expected[190:]
    assert "(40 rare ones are <unk>): 180 / 10 / 10" in corpus.description


def test_the_vocabulary_of_an_own_text_has_a_limit(tmp_path):
    path, words = own_text(tmp_path)
    corpus = corpora.read_text(path, vocab_limit=4)
    assert set(corpus.symbols) == {"<eos>", "<unk>", "a", "b"}
    whole = corpora.read_text(path, min_count=1)
    # Those that only the valid and the test text have are unseen.
    assert len(whole.symbols) == 6 + 36
    assert words_of(whole, "train") == words[:180]
    assert words_of(whole, "valid")[3] == "<unk>"
    assert corpora.read_text(path, 4).fingerprint == corpus.fingerprint


def test_unk_is_in_the_vocabulary_though_no_word_is_rare(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf" + b"the cat sat\r\n" * 100)
    corpus = corpora.read_text(path)
    assert corpus.symbols == ("<eos>", "cat", "sat", "the", "<unk>")
    assert max(corpus.train) == 3


@pytest.mark.parametrize(
    "text, arguments, message",
    [
        (b"", {}, "text file .* is empty; expected text"),
        (b" \n \n", {}, "has 0 words; expected enough to split them 90 : 5"),
        (b"a b c\n", {}, "has 3 words; expected enough to split them"),
        (b"\xff" * 9, {}, "it is not UTF-8: byte 0xff"),
        (
            b"a b c d\n" * 50,
            {"min_count": 999},
            "no word stands 999 times in the training part",
        ),
        (
            b"a b c d\n" * 50,
            {"vocab_limit": 2},
            "a vocabulary of 2 has no place",
        ),
    ],
)
def test_what_is_no_own_text(text, arguments, message, tmp_path):
    (tmp_path / "text").write_bytes(text)
    with pytest.raises(errors.UserError, match=message):
        corpora.read_text(tmp_path / "text", **arguments)
    with pytest.raises(errors.UserError, match="nowhere: No such file"):
        corpora.read_text(tmp_path / "nowhere", **arguments)


def test_options_name_one_text(tmp_path):
    path, _ = own_text(tmp_path)
    folder = write_words(tmp_path / "folder", valid=" b new \n")
    assert corpora.own_words(options.LanguageOptions(None)) is None
    for text, data_path, message in (
        (str(path), str(folder), "are two texts; give one of them"),
        (None, "", "--data_path is empty"),
    ):
        with pytest.raises(errors.UserError, match=message):
            corpora.own_words(
                options.LanguageOptions(None, data_path, text=text)
            )
    with pytest.raises(errors.UserError, match="--train_words=9 is of the"):
        corpora.own_words(
            options.LanguageOptions(None, str(folder), train_words=9)
        )
    found = corpora.own_words(
        options.LanguageOptions(None, text=str(path), vocab_limit=4)
    )
    assert len(found.symbols) == 4
    for drop, length in ((False, 3), (True, 2)):
        found = corpora.own_words(
            options.LanguageOptions(None, str(folder), drop_unseen=drop)
        )
        assert len(found.valid) == length


def test_lines_without_blanks_around_are_not_glued(tmp_path):
    blank = corpora.read_words(write_words(tmp_path / "a", " b a \n c \n"))
    glued = corpora.read_words(write_words(tmp_path / "b", "b a\r\nc\n"))
    assert glued.symbols == blank.symbols
    assert glued.train.tolist() == blank.train.tolist()


def test_missing_folder(tmp_path):
    message = (
        r"nowhere does not exist; expected a folder with ptb\.train\."
        r"txt, ptb\.valid\.txt, ptb\.test\.txt$"
    )
    with pytest.raises(errors.UserError, match=message):
        corpora.read_words(tmp_path / "nowhere")
    (tmp_path / "file").write_text("a")
    with pytest.raises(errors.UserError, match="file is no folder; expected"):
        corpora.read_words(tmp_path / "file")


def test_missing_files_are_named(tmp_path):
    write_words(tmp_path)
    (tmp_path / "ptb.valid.txt").unlink()
    (tmp_path / "ptb.test.txt").unlink()
    with pytest.raises(
        errors.UserError, match=r"has no ptb\.valid\.txt, ptb\.test\.txt; exp"
    ):
        corpora.read_words(tmp_path)


def test_file_that_cannot_be_read(tmp_path):
    write_words(tmp_path)
    (tmp_path / "ptb.test.txt").unlink()
    (tmp_path / "ptb.test.txt").mkdir()
    with pytest.raises(
        errors.UserError, match=r"cannot read .*ptb\.test\.txt: Is a directory"
    ):
        corpora.read_words(tmp_path)


@pytest.mark.parametrize("part", corpora.PARTS)
def test_empty_file(tmp_path, part):
    write_words(tmp_path, **{part: ""})
    with pytest.raises(errors.UserError, match=rf"ptb\.{part}\.txt is empty"):
        corpora.read_words(tmp_path)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"train": " \n \n"}, r"ptb\.train\.txt has no word \("),
        ({"valid": " x y \n"}, r"ptb\.valid\.txt has no word of ptb\.train"),
        ({"test": " x"}, r"ptb\.test\.txt has no word of ptb\.train"),
    ],
)
def test_text_without_words(tmp_path, arguments, message):
    with pytest.raises(errors.UserError, match=message):
        corpora.read_words(write_words(tmp_path, **arguments))


def test_not_utf8_names_file_offset_and_line(tmp_path):
    write_words(tmp_path, valid=" b \n a \n caf\xe9 \n".encode("latin-1"))
    message = (
        r"ptb\.valid\.txt: it is not UTF-8: byte 0xe9 at offset 12, "
        "line 3; save it as UTF-8$"
    )
    with pytest.raises(errors.UserError, match=message) as error:
        corpora.read_words(tmp_path)
    assert "\n" not in str(error.value)


def test_a_byte_order_mark_is_no_word_and_no_character(tmp_path):
    """B5."""
    expected = corpora.read_words(write_words(tmp_path))
    mark = "\ufeff"
    write_words(tmp_path, mark + TRAIN, mark + " b a \n", mark + " a b \n")
    found = corpora.read_words(tmp_path)
    assert found.symbols == expected.symbols
    assert found.fingerprint == expected.fingerprint
    (tmp_path / "plain").write_bytes(b"abcabcabc")
    (tmp_path / "marked").write_bytes(mark.encode() + b"abcabcabc")
    plain, marked = (
        corpora.read_characters(tmp_path / name, 2)
        for name in ("plain", "marked")
    )
    assert marked.symbols == plain.symbols == ("a", "b", "c")
    assert marked.fingerprint == plain.fingerprint
    for text in mark, mark * 2:
        write_words(tmp_path, valid=text)
        with pytest.raises(
            errors.UserError, match=r"is empty|has no word of ptb"
        ):
            corpora.read_words(tmp_path)


@pytest.mark.parametrize("name", [b"\xff", b"two\nlines"])
def test_paths_that_are_not_utf8_or_have_line_ends(tmp_path, name):
    """B26: they work, and can be printed on one line."""
    folder = tmp_path / os.fsdecode(name)
    corpus = corpora.read_words(write_words(folder))
    for text in corpus.name, corpus.description:
        assert text.isprintable()
    (folder / os.fsdecode(name)).write_bytes(b"abcabc")
    corpus = corpora.read_characters(folder / os.fsdecode(name), 2)
    for text in corpus.name, corpus.description:
        assert text.isprintable()
    (folder / "ptb.test.txt").unlink()
    for path in folder, folder / "gone", folder / "ptb.train.txt":
        with pytest.raises(errors.UserError) as caught:
            corpora.read_words(path)
        assert str(caught.value).isprintable()


def test_characters_are_byte_classes(tmp_path):
    data = "haß\nab\0cabba".encode()
    (tmp_path / "text8").write_bytes(data)
    corpus = corpora.read_characters(tmp_path / "text8", 3)
    assert (corpus.name, corpus.unit) == ("text8", "character")
    assert corpus.symbols == tuple(
        bytes([byte]).decode("latin-1") for byte in sorted(set(data))
    )
    assert len(corpus.valid) == len(corpus.test) == 3
    assert corpus.train.dtype == np.int32
    text = "".join(
        words_of(corpus, "train")
        + words_of(corpus, "valid")
        + words_of(corpus, "test")
    )
    assert text.encode("latin-1") == data
    same = corpora.read_characters(tmp_path, 3, name="text8")
    assert same.description == corpus.description
    assert corpus.description.endswith(
        "text8: 7 / 3 / 3 train / valid / test, vocabulary 8"
    )


@pytest.mark.parametrize(
    "size, asked, message",
    [
        (
            10,
            5,
            "num_test_symbols 5 does not suit the 10 bytes of .* between 1 "
            "and 4$",
        ),
        (10, 0, "num_test_symbols 0 .* between 1 and 4$"),
        (2, 1, "give a longer file$"),
        (0, 1, "enwik8 is empty"),
    ],
)
def test_too_few_characters(tmp_path, size, asked, message):
    (tmp_path / "enwik8").write_bytes(b"x" * size)
    with pytest.raises(errors.UserError, match=message):
        corpora.read_characters(tmp_path / "enwik8", asked)


def test_missing_character_file(tmp_path):
    with pytest.raises(
        errors.UserError, match="cannot read .*enwik8: No such file"
    ):
        corpora.read_characters(tmp_path, name="enwik8")


@pytest.mark.parametrize(
    "tokens, batch_size, num_steps",
    [(100, 3, 7), (101, 1, 1), (64, 4, 5), (8, 4, 1), (12, 2, 5)],
)
def test_batches_against_the_definition(tokens, batch_size, num_steps):
    ids = np.random.default_rng(tokens).integers(0, 50, tokens)
    x, y = corpora.batches(ids, batch_size, num_steps)
    length = tokens // batch_size
    assert (
        x.shape == y.shape == ((length - 1) // num_steps, batch_size, num_steps)
    )
    assert x.dtype == y.dtype == np.int32
    for n, b, t in np.ndindex(*x.shape):
        position = b * length + n * num_steps + t
        assert x[n, b, t] == ids[position]
        assert y[n, b, t] == ids[position + 1]


@pytest.mark.parametrize(
    "tokens, batch_size, num_steps",
    [(100, 20, 35), (30, 1, 30), (35, 2, 17), (5, 10, 3), (2, 3, 4), (0, 1, 1)],
)
def test_batch_too_large_says_what_fits(tokens, batch_size, num_steps):
    ids = np.zeros(tokens, np.int32)
    message = (
        f"^batch too large for the text: batch_size {batch_size} x "
        f"num_steps {num_steps} needs "
        f"{batch_size * (num_steps + 1)} tokens, the text has {tokens};"
        " .* would fit$"
    )
    with pytest.raises(errors.UserError, match=message) as error:
        corpora.batches(ids, batch_size, num_steps)
    sizes = {"batch_size": batch_size, "num_steps": num_steps}
    offers = re.findall(r"(\w+) up to (\d+)", str(error.value))
    assert bool(offers) != ("a longer text" in str(error.value))
    for name, most in offers:
        corpora.batches(ids, **{**sizes, name: int(most)})
        with pytest.raises(errors.UserError, match="too large"):
            corpora.batches(ids, **{**sizes, name: int(most) + 1})


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((0, 3), "batch_size must be a whole number of at least 1, got 0"),
        ((2, -1), "num_steps must be a whole number of at least 1, got -1"),
    ],
)
def test_batch_sizes_are_positive(sizes, message):
    with pytest.raises(errors.UserError, match=message):
        corpora.batches(np.arange(50), *sizes)
