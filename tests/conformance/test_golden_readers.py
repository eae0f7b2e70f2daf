"""The authors' readers of words and characters, recorded: same ids, batches."""

import json
import pathlib

import numpy as np
import recorded

from iss_rnns.experiments.language import corpora


def pytest_generate_tests(metafunc):
    """One case for each recorded file, character corpus and batch shape."""
    folder = pathlib.Path(metafunc.config.getoption("--golden_dir"))
    patterns = {
        "word_file": r"train_ids$",
        "character_case": r"(\w+)/unique$",
        "batch_case": r"(?:producer|rhn_iterator)_b(\d+)_t(\d+)/x$",
    }
    files = sorted(folder.glob("readers_*.npz"))
    recorded.parametrize_keys(metafunc, files, patterns)


def test_words_have_the_authors_ids(word_file):
    path, _ = word_file
    corpus = corpora.read_words(path.parent / "ptb_corpus")
    with np.load(path) as golden:
        assert len(corpus.symbols) == golden["vocabulary_size"]
        assert list(corpus.symbols) == golden["vocabulary_words"].tolist()
        for part in corpora.PARTS:
            np.testing.assert_array_equal(
                getattr(corpus, part), golden[f"{part}_ids"]
            )


def test_characters_have_the_authors_classes(character_case):
    path, match = character_case
    name = match[1]
    with np.load(path) as golden:
        config = json.loads(str(golden["config_json"]))
        corpus = corpora.read_characters(
            path.parent / "char_corpus" / name, config["num_test_symbols"]
        )
        assert corpus.name == name
        assert [ord(symbol) for symbol in corpus.symbols] == (
            golden[f"{name}/unique"].tolist()
        )
        for part in corpora.PARTS:
            np.testing.assert_array_equal(
                getattr(corpus, part), golden[f"{name}/{part}"]
            )


def test_batches_are_the_authors(batch_case):
    path, match = batch_case
    key = match[0][: -len("/x")]
    with np.load(path) as golden:
        x, y = corpora.batches(
            golden["train_ids"], int(match[1]), int(match[2])
        )
        if f"{key}/epoch_size" in golden:  # The queue starts over and over.
            assert len(x) == golden[f"{key}/epoch_size"]
            turn = np.arange(len(golden[f"{key}/x"])) % len(x)
            assert len(turn) > len(x)
            x, y = x[turn], y[turn]
        np.testing.assert_array_equal(x, golden[f"{key}/x"])
        np.testing.assert_array_equal(y, golden[f"{key}/y"])
