"""Symbols to ids, and back, and as a file."""

import pytest

from iss_rnns import errors
from iss_rnns import export

WORDS = export.Vocabulary(["the", "<eos>", "<unk>", "cat", "sat"])
LATIN = export.Vocabulary(list("\n\r abct\xc3\xa9"))


def test_unknown_words_and_line_ends():
    assert WORDS.unit == "word" and len(WORDS) == 5
    assert WORDS.encode("the  dog\ncat sat") == [0, 2, 1, 3, 4]
    assert WORDS.missing("the dog\nthe dog Cat") == ["dog", "dog", "Cat"]
    assert WORDS.decode([0, 2, 1, 3, 1]) == "the <unk>\ncat\n"


def test_without_unk_unknown_words_are_left_out():
    plain = export.Vocabulary(["the", "cat"])
    assert (plain.unknown, plain.end) == (None, None)
    assert plain.encode("the dog\ncat") == [0, 1]
    assert plain.missing("the dog\ncat") == ["dog"]


def test_characters_are_the_bytes_of_a_text():
    assert LATIN.unit == "character" and LATIN.end == 0
    ids = LATIN.encode("act \xe9\n")
    assert [LATIN.symbols[i] for i in ids] == list("act \xc3\xa9\n")
    assert LATIN.decode(ids) == "act \xe9\n"
    assert LATIN.missing("tzat") == ["z"]
    assert LATIN.decode([LATIN.ids["\xc3"]]) == "\ufffd"


def test_a_blank_ends_lines_where_no_line_end_is():
    text8 = export.Vocabulary(list(" abc"))
    assert text8.encode("a\nb") == [1, 0, 2]
    assert not text8.missing("a\nb")


@pytest.mark.parametrize("vocabulary", [WORDS, LATIN], ids=["words", "bytes"])
def test_a_file_holds_the_same(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_bytes(vocabulary.text().encode())
    assert export.Vocabulary.read(path).symbols == vocabulary.symbols


def test_words_may_look_like_line_ends():
    words = export.Vocabulary(["a", "\\n", "<eos>"])
    assert export.Vocabulary.parse(words.text(), "x").symbols == words.symbols


@pytest.mark.parametrize(
    "text, match",
    [
        ("", "needs symbols"),
        ("a\nbb\na\n", "the vocabulary has 'a' twice"),
    ],
)
def test_what_is_no_vocabulary(text, match, tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_text(text)
    with pytest.raises(errors.UserError, match=match):
        export.Vocabulary.read(path)
