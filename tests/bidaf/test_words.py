"""Tests of `bidaf.words`: Treebank tokens, inner splitting, splitters."""

import builtins
import sys
import types

import pytest

from bidaf.data import words
from iss_rnns import errors


@pytest.mark.parametrize(
    "sentence, tokens",
    [
        (
            "He can't have sold O'Neil's mill.",
            "He ca n't have sold O'Neil 's mill .",
        ),
        (
            "It cost $4,500 (about 3.5%): cheap!",
            "It cost $ 4,500 ( about 3.5 % ) : cheap !",
        ),
        ('"Old Mill" and the "New".', "`` Old Mill '' and the `` New '' ."),
        (
            "In the U.S. they cannot, gonna wait...",
            "In the U.S. they can not , gon na wait ...",
        ),
        (
            "'Tis gone; 'twas John's --they'll see",
            "'T is gone ; 't was John 's -- they 'll see",
        ),
        ("1884–1885 stays", "1884–1885 stays"),
        ("a: b, 12:30, 7:", "a : b , 12:30 , 7 :"),
        ("“Yes,” [he] said.", "“ Yes , ” [ he ] said ."),
        ("A. B. C.", "A. B. C ."),
        ("d'ye gimme more'n wanna go", "d 'ye gim me more ' n wan na go"),
        ("", ""),
        (" \n ", ""),
    ],
)  # As NLTK 3.4.5 cuts them.
def test_treebank_tokens(sentence, tokens):
    assert words.treebank_tokens(sentence) == tokens.split(" ") * bool(tokens)


@pytest.mark.parametrize(
    "token, expected",
    [
        ("1884–1885", ["1884", "–", "1885"]),
        ("12km/7mi", ["12km", "/", "7mi"]),
        ("20°C", ["20", "°", "C"]),
        ("'s", ["", "'", "s"]),
        ('"', ["", '"', ""]),
        ("a-~b", ["a", "-", "", "~", "b"]),
        ("“x”", ["", "“", "x", "”", ""]),
        ("plain", ["plain"]),
        ("−—‘’", ["", "−", "", "—", "", "‘", "", "’", ""]),
    ],
)
def test_tokens_are_split_at_signs(token, expected):
    assert words.split_token(token) == expected


def test_quotes_of_two_signs_keep_the_length():
    assert words.plain_quotes("a ``b'' '''c") == 'a " b"  " \'c'
    assert words.Tokenizer("none").words("``b'' \"c\"") == [
        "",
        '"',
        "",
        "b",
        "",
        '"',
        "",
        "",
        '"',
        "",
        "c",
        "",
        '"',
        "",
    ]


def test_none_keeps_inner_periods():
    tokenizer = words.Tokenizer("none")
    assert tokenizer.sentences("One. Two.") == ["One. Two."]
    assert tokenizer.words("One. Two.") == ["One.", "Two", "."]


def test_simple_splits_before_capitals_and_digits():
    tokenizer = words.Tokenizer("simple")
    text = 'It fell. "Why?" (He ran!) 3 came. no dots e.g. here. Étude'
    assert tokenizer.sentences(text) == [
        "It fell.",
        '"Why?" (He ran!) 3 came. no dots e.g. here. Étude',
    ]
    assert tokenizer.words("It was. They") == ["It", "was", ".", "They"]


def fake_nltk(monkeypatch, **attributes):
    punkt = types.SimpleNamespace(**attributes)
    tokenize = types.ModuleType("nltk.tokenize")
    tokenize.punkt = punkt
    monkeypatch.setitem(sys.modules, "nltk", types.ModuleType("nltk"))
    monkeypatch.setitem(sys.modules, "nltk.tokenize", tokenize)


def test_punkt_is_nltks(monkeypatch):
    def english(language):
        assert language == "english"
        return types.SimpleNamespace(tokenize=lambda text: text.split("|"))

    fake_nltk(monkeypatch, PunktTokenizer=english)
    assert words.Tokenizer().words("One.|Two.") == ["One", ".", "Two", "."]


def test_missing_data_names_the_fix(monkeypatch):
    def english(language):
        raise LookupError("\n Resource punkt_tab not found.\n" * 9)

    fake_nltk(monkeypatch, PunktTokenizer=english)
    with pytest.raises(
        errors.UserError,
        match=(
            r"^NLTK's resource punkt_tab, .* is missing; run `python -m nltk"
            r"\.downloader punkt_tab` or set NLTK_DATA to .* or choose "
            r"--sentence_splitter simple$"
        ),
    ):
        words.Tokenizer()


def test_old_nltk(monkeypatch):
    fake_nltk(monkeypatch)
    with pytest.raises(
        errors.UserError, match="older than 3.9 .*`pip install --upgrade nltk`"
    ):
        words.Tokenizer("punkt")


def test_missing_nltk(monkeypatch):
    plain_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == "nltk":
            raise ImportError(name)
        return plain_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(
        errors.UserError,
        match=(
            "^NLTK, .* is not installed; run `pip install nltk` .*, or "
            "choose --sentence_splitter simple$"
        ),
    ):
        words.Tokenizer()
    assert words.Tokenizer("simple").words("Still here.")[-1] == "."


def test_unknown_splitter():
    with pytest.raises(
        errors.UserError,
        match=("splitter must be one of punkt, simple, none, got 'spacy'"),
    ):
        words.Tokenizer("spacy")
