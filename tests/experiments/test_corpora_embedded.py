"""Tests of the embedded text: what counts as prose, its form, its cache."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import corpora_embedded


@pytest.fixture(scope="module")
def texts():
    return corpora_embedded.extract()


@pytest.fixture
def extract_once(monkeypatch, texts):
    """Counts extractions, each of which gives the texts of the fixture."""
    calls = []

    def extract():
        calls.append(None)
        return dict(texts)

    monkeypatch.setattr(corpora_embedded, "extract", extract)
    return calls


@pytest.mark.parametrize(
    "sentence, words",
    [
        ("He's sure (it isn't 5.)", "he 's sure it is n't N"),
        (
            "We're using utf-8, e.g. for 3.14, 0x7f and 1,000 files.",
            "we 're using utf-8 e.g. for N N and N files",
        ),
        (
            "Call os.path.join() or the 's' flag; 50% of it.",
            "call os.path.join or the s flag N % of it",
        ),
    ],
)
def test_tokenize(sentence, words):
    assert corpora_embedded.tokenize(sentence) == words.split()


def test_prose_is_taken_and_code_is_left_out():
    text = """Return the *name* of the :class:`Thing`, e.g. a ``str``.  It
    isn’t changed by the caller (which is a well-
    known rule).  Use this:

        >>> thing.name(1) # the output of it is not prose
        'it is the name of the thing'

        for x in y: print(x)

    name ::= "the" thing of it

    - an item of the list
      that goes on here
    - the second item of it

    socket  create the end of a line
    close   destroy the end of a line
    ==========  =======
    """
    assert list(corpora_embedded.sentences_of(text)) == [
        "Return the name of the Thing, e.g. a str.",
        "It isn't changed by the caller (which is a well-known rule).",
        "an item of the list that goes on here",
        "the second item of it",
        "socket create the end of a line",
        "close destroy the end of a line",
    ]


def test_two_interpreters_extract_the_same(texts):
    own = hashlib.sha256(repr(texts).encode()).hexdigest()
    program = (
        "import hashlib\n"
        "from iss_rnns.experiments.language import corpora_embedded as e\n"
        "print(hashlib.sha256(repr(e.extract()).encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PYTHONHASHSEED": "7",
            "PYTHONPATH": ":".join(path for path in sys.path if path),
        },
    )
    assert other.stdout.strip() == own


def test_texts_have_the_form_of_ptb(texts):
    words = {part: texts[part].split() for part in corpora.PARTS}
    total = sum(map(len, words.values()))
    assert total > 150_000
    assert 0.85 < len(words["train"]) / total < 0.95
    for part in corpora.PARTS:
        assert len(words[part]) / total > 0.03
        for line in texts[part].splitlines():
            assert re.fullmatch(r" (\S+ )+", line)
            assert len(line.split()) >= 3
        assert texts[part].replace("<unk>", "").replace("N", "").islower()
        assert 0.01 < words[part].count("<unk>") / len(words[part]) < 0.08
        assert set(words[part]) <= set(words["train"])
        assert not any(re.match(r"\d", word) for word in words[part])
    assert len(set(words["train"])) < corpora_embedded.MAX_VOCABULARY
    counts = dict.fromkeys(words["train"], 0)
    for word in words["train"]:
        counts[word] += 1
    assert min(counts.values()) >= corpora_embedded.MIN_COUNT


def test_no_sentence_is_in_two_parts(texts):
    lines = {
        part: {line for line in texts[part].splitlines() if "<unk>" not in line}
        for part in corpora.PARTS
    }
    assert not lines["train"] & lines["valid"]
    assert not lines["train"] & lines["test"]
    assert not lines["valid"] & lines["test"]


def test_parts_are_alike(texts):
    """A unigram model of one part costs the others about the same."""
    words = {part: np.array(texts[part].split()) for part in corpora.PARTS}
    names, counts = np.unique(words["train"], return_counts=True)
    bits = dict(zip(names, -np.log2(counts / counts.sum())))
    cost = {
        part: np.mean([bits[word] for word in words[part]])
        for part in corpora.PARTS
    }
    assert cost["valid"] == pytest.approx(cost["train"], rel=0.05)
    assert cost["test"] == pytest.approx(cost["train"], rel=0.05)


def test_embedded_is_cached_as_a_corpus_folder(tmp_path, extract_once):
    first = corpora.embedded(cache_dir=tmp_path)
    again = corpora.embedded(cache_dir=tmp_path)
    assert len(extract_once) == 1
    (folder,) = tmp_path.iterdir()
    assert "{}.{}.{}".format(*sys.version_info) in folder.name
    read = corpora.read_words(folder)
    for corpus in again, read:
        assert corpus.symbols == first.symbols
        for part in corpora.PARTS:
            np.testing.assert_array_equal(
                getattr(corpus, part), getattr(first, part)
            )
    assert first.name == "embedded" and first.unit == "word"
    assert re.fullmatch(
        r"embedded text \(documentation inside Python [\w.+]+\), words: "
        r"[\d,]+ / [\d,]+ / [\d,]+ train / valid / test, vocabulary [\d,]+",
        first.description,
    )


def test_embedded_characters(tmp_path, extract_once, texts):
    corpus = corpora.embedded("character", tmp_path)
    assert corpus.unit == "character"
    text = "".join(
        corpus.symbols[i]
        for part in corpora.PARTS
        for i in getattr(corpus, part)
    )
    assert text == texts["characters"]
    assert len(corpus.test) == len(corpus.valid) == len(text) // 20


def test_embedded_words_can_be_cut_short(tmp_path, extract_once):
    """The vocabulary is that of what is left; what it lacks is `<unk>`."""
    whole = corpora.embedded(cache_dir=tmp_path)
    short = corpora.embedded(cache_dir=tmp_path, train_words=5000)

    def words(corpus, part):
        return [corpus.symbols[i] for i in getattr(corpus, part)]

    assert words(short, "train") == words(whole, "train")[:5000]
    known = set(short.symbols)
    assert known == {"<unk>", *words(short, "train")}
    for part in ("valid", "test"):
        assert words(short, part) == [
            word if word in known else "<unk>" for word in words(whole, part)
        ]
    with pytest.raises(errors.UserError, match="--train_words counts words"):
        corpora.embedded("character", tmp_path, train_words=5000)


@pytest.mark.parametrize("damage", [b"", b"\xff", None])
def test_damaged_cache_is_made_anew(tmp_path, extract_once, damage):
    first = corpora.embedded(cache_dir=tmp_path)
    (folder,) = tmp_path.iterdir()
    file = folder / "ptb.valid.txt"
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    assert corpora.embedded(cache_dir=tmp_path).symbols == first.symbols
    assert len(extract_once) == 2
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    corpora.embedded(cache_dir=tmp_path)
    assert len(extract_once) == 2


def test_without_a_writable_cache(tmp_path, extract_once):
    blocked = tmp_path / "file"
    blocked.write_text("kept")
    for calls in 1, 2:
        assert len(corpora.embedded(cache_dir=blocked).train) > 100_000
        assert len(extract_once) == calls
    assert blocked.read_text() == "kept"


def test_default_cache_follows_xdg(tmp_path, monkeypatch, extract_once):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    corpora.embedded()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    corpora.embedded()
    for folder in "xdg/iss_rnns", "home/.cache/iss_rnns":
        assert len(list((tmp_path / folder).iterdir())) == 1


def test_unknown_unit():
    with pytest.raises(
        errors.UserError,
        match="unit must be one of word, character, got 'byte'",
    ):
        corpora.embedded("byte")


def test_python_without_documentation(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    monkeypatch.setattr(
        corpora_embedded.sysconfig, "get_path", lambda name: str(tmp_path)
    )
    (tmp_path / "broken.py").write_text("def f(:")
    with pytest.raises(
        errors.UserError, match="no documentation to learn from"
    ):
        corpora_embedded.load(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
