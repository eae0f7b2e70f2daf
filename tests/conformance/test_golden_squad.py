"""SQuAD as the authors' programs read, feed and score it, recorded."""

import dataclasses
import json
import pathlib
import random
import re

import numpy as np
import pytest
import recorded

from bidaf import evaluate
from bidaf.data import feed
from bidaf.data import preprocess
from bidaf.data import read_data
from bidaf.data import vocabulary

KEYS = ("x", "cx", "x_mask", "q", "cq", "q_mask", "y", "y2", "wy", "na")


def pytest_generate_tests(metafunc):
    """One case for each recorded file, part, order and batch."""
    folder = pathlib.Path(metafunc.config.getoption("--golden_dir"))
    files = sorted(folder.glob("readers_squad*.npz"))
    patterns = {
        "order_case": r"batch_order_(\w+)_lenopt(\d)_shuffle(\d)_cluster(\d)$",
        "feed_case": r"feed_(\w+)_lenopt(\d)/batch(\d+)/x$",
    }
    recorded.parametrize_keys(metafunc, files, patterns)
    if "golden_path" in metafunc.fixturenames:
        metafunc.parametrize(
            "golden_path", files, ids=[path.stem for path in files]
        )
    if "part_case" in metafunc.fixturenames:
        cases = [
            (path, match[1])
            for path in files
            for match in (
                re.match(r"data_(\w+)\.json$", each.name)
                for each in sorted((path.parent / "squad_expected").iterdir())
            )
            if match
        ]
        metafunc.parametrize(
            "part_case",
            cases,
            ids=[f"{path.stem}-{part}" for path, part in cases],
        )


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Golden folder to its preprocessed store, each made once."""
    made = {}

    def get(folder):
        if folder not in made:
            squad = folder / "squad"
            made[folder] = preprocess.preprocess(
                {
                    "train": squad / "train-v1.1.json",
                    "dev": squad / "dev-v1.1.json",
                },
                next(squad.glob("glove.*.txt")),
                tmp_path_factory.mktemp("store"),
                splitter="none",
            )
        return made[folder]

    return get


def config_of(golden):
    """The recorded hyper-parameters, and those that `read` takes."""
    recorded = json.loads(str(golden["config_json"]))
    names = {field.name for field in dataclasses.fields(read_data.DataConfig)}
    return recorded, read_data.DataConfig(
        **{key: value for key, value in recorded.items() if key in names}
    )


def data_sets(stores, path, **changes):
    with np.load(path) as golden:
        _, config = config_of(golden)
    config = dataclasses.replace(config, **changes)
    store = stores(path.parent)
    train = read_data.read(store, "train", config)
    return {
        "train": train,
        "dev": read_data.read(store, "dev", config, train.vocabulary),
    }


def expected(path, name):
    return json.loads((path.parent / "squad_expected" / name).read_text())


def part_of(store, name):
    return store.part(name if name in store.parts else "dev")


def test_questions_and_answers(stores, part_case):
    path, name = part_case
    data = expected(path, f"data_{name}.json")
    store = stores(path.parent)
    part = part_of(store, name)
    words = [
        [store.words[i] for i in part.question_tokens[start:stop]]
        for start, stop in zip(part.question_offsets, part.question_offsets[1:])
    ]
    answers = list(zip(part.answer_offsets, part.answer_offsets[1:]))
    number_in_article = np.concatenate(
        [np.arange(count) for count in np.bincount(part.paragraph_articles)]
    )
    places = np.stack([part.paragraph_articles, number_in_article], -1)[
        part.question_paragraphs
    ].tolist()
    assert {
        "q": words,
        "cq": [[list(word) for word in each] for each in words],
        "y": [part.answer_spans[a:b].tolist() for a, b in answers],
        "cy": [part.answer_characters[a:b].tolist() for a, b in answers],
        "answerss": [part.answer_texts[a:b] for a, b in answers],
        "na": [bool(a == b) for a, b in answers],
        "*x": places,
        "*cx": places,
        "*p": places,
        "ids": part.ids,
        "idxs": list(range(part.num_questions)),
    } == data


def test_contexts_counts_and_vectors(stores, part_case):
    path, name = part_case
    shared = expected(path, f"shared_{name}.json")
    store = stores(path.parent)
    part = part_of(store, name)
    sentences = [
        [store.words[i] for i in part.tokens[start:stop]]
        for start, stop in zip(part.sentence_offsets, part.sentence_offsets[1:])
    ]
    contexts = [
        sentences[start:stop]
        for start, stop in zip(
            part.paragraph_offsets, part.paragraph_offsets[1:]
        )
    ]
    assert contexts == sum(shared["x"], [])
    assert part.contexts == sum(shared["p"], [])
    assert [len(each) for each in shared["x"]] == (
        np.bincount(part.paragraph_articles).tolist()
    )
    assert list(vocabulary.character_counts(part, store.words).items()) == (
        list(shared["char_counter"].items())
    )
    for lower, prefix in (False, ""), (True, "lower_"):
        counts = vocabulary.word_counts(part, store.words, lower)
        assert list(counts.items()) == (
            list(shared[f"{prefix}word_counter"].items())
        )
        rows = vocabulary.vector_rows(store.glove_words, counts)
        assert list(rows) == list(shared[f"{prefix}word2vec"])
        np.testing.assert_array_equal(
            store.glove_vectors[list(rows.values())],
            np.array(list(shared[f"{prefix}word2vec"].values()), np.float32),
        )


def test_indices_examples_and_sizes(stores, golden_path):
    recorded = expected(golden_path, "read_data.json")
    sets = data_sets(stores, golden_path)
    ids = sets["train"].vocabulary
    assert list(ids.word2idx.items()) == list(recorded["word2idx"].items())
    assert list(ids.char2idx.items()) == list(recorded["char2idx"].items())
    sizes = dataclasses.asdict(feed.sizes(list(sets.values())))
    assert sizes == recorded["update_config"]
    with np.load(golden_path) as golden:
        assert sizes == config_of(golden)[0]["update_config"]
        for name, data_set in sets.items():
            assert data_set.new_word2idx == recorded[f"{name}_new_word2idx"]
            assert data_set.valid_idxs == recorded[f"{name}_valid_idxs"]
            np.testing.assert_array_equal(
                data_set.new_emb_mat, golden[f"{name}_new_emb_mat"]
            )


def test_order_of_batches(stores, order_case):
    path, match = order_case
    with np.load(path) as golden:
        recorded, _ = config_of(golden)
        order = golden[match[0]]
    name, _, shuffle, cluster = match.groups()
    batches = data_sets(stores, path)[name].batches(
        recorded["batch_size"],
        len(order),
        bool(int(shuffle)),
        bool(int(cluster)),
        random.Random(recorded["random_seed_before_batches"]),
    )
    assert [list(batch) for batch in batches] == [
        [i for i in row if i >= 0] for row in order.tolist()
    ]


def test_arrays_that_are_fed(stores, feed_case):
    path, match = feed_case
    name, len_opt, number = match[1], bool(int(match[2])), int(match[3])
    with np.load(path) as golden:
        recorded, _ = config_of(golden)
        wanted = {key: golden[f"{match[0][:-1]}{key}"] for key in KEYS}
    sets = data_sets(stores, path, len_opt=len_opt)
    sizes = feed.sizes(list(sets.values()))
    source = random.Random(recorded["random_seed_before_batches"])
    for indices in sets[name].batches(recorded["batch_size"], number + 1):
        batch = feed.make_batch(sets[name], indices, sizes, random=source)
    assert set(batch) == set(KEYS)
    for key in KEYS:
        assert batch[key].dtype == wanted[key].dtype
        np.testing.assert_array_equal(batch[key], wanted[key], key)


def test_best_spans(golden_path):
    with np.load(golden_path) as golden:
        spans, scores = evaluate.best_spans(
            golden["best_span/yp"], golden["best_span/yp2"]
        )
        np.testing.assert_array_equal(spans, golden["best_span/span"])
        np.testing.assert_array_equal(scores, golden["best_span/score"])


def test_best_runs_of_words(golden_path):
    with np.load(golden_path) as golden:
        threshold = config_of(golden)[0]["wy_threshold"]
        for words, span, score in zip(
            golden["best_span/yp"],
            golden["best_span_wy/span"],
            golden["best_span_wy/score"],
        ):
            found, mean = evaluate.best_span_wy(words, threshold)
            assert [list(place) for place in found] == span.tolist()
            assert mean == pytest.approx(score, rel=1e-12)


def test_f1_of_spans(golden_path):
    with np.load(golden_path) as golden:
        for (true, predicted), value in zip(
            golden["span_f1/true_and_predicted"].tolist(), golden["span_f1/f1"]
        ):
            assert evaluate.word_f1(true, predicted) == (
                pytest.approx(value, rel=1e-12)
            )


def test_official_metric(golden_path, tmp_path, capsys):
    recorded = expected(golden_path, "evaluate_v1.1.json")
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(recorded["predictions"]))
    evaluate.main(
        [
            "evaluate",
            str(golden_path.parent / "squad" / "dev-v1.1.json"),
            str(answers),
        ]
    )
    assert capsys.readouterr().out == json.dumps(recorded["result"]) + "\n"
