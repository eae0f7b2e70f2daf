"""Tests of `bidaf.read_data` and `bidaf.vocabulary`."""

import dataclasses
import json
import random

import numpy as np
import pytest

from bidaf.data import preprocess
from bidaf.data import read_data
from bidaf.data import store as store_lib
from bidaf.data import vocabulary
from iss_rnns import errors

WORDS = "the The mill MILL anna Anna broke in 1853 . ? who zzz".split()
SPECIAL = {"-NULL-": 0, "-UNK-": 1}
SMALL = read_data.DataConfig(batch_size=3, word_count_th=2, char_count_th=3)


def question(source, context, number):
    start = source.randrange(len(context) - 1)
    stop = source.randrange(start + 1, min(start + 12, len(context)) + 1)
    text = context[start:stop]
    answers = (
        []
        if number % 7 == 6 or not text.strip()
        else [{"text": text, "answer_start": start}] * (1 + number % 2)
    )
    return {
        "id": str(number),
        "question": " ".join(source.choices(WORDS, k=source.randint(1, 9))),
        "answers": answers,
    }


def squad_data(seed, count=15):
    source = random.Random(seed)
    paragraphs = []
    for p in range(count):
        context = " ".join(
            " ".join(source.choices(WORDS[:9], k=source.randint(1, 8)))
            + ". The"
            for _ in range(source.randint(1, 4))
        )
        paragraphs.append(
            {
                "context": context,
                "qas": [question(source, context, 3 * p + q) for q in range(3)],
            }
        )
    return {
        "version": "1.1",
        "data": [{"title": "T", "paragraphs": paragraphs}],
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    for seed, name in enumerate(("train", "dev")):
        (folder / name).write_text(json.dumps(squad_data(seed)))
    (folder / "glove").write_text(
        "the 1 2\nmill 3 4\nANNA 5 6\nnew 7 8\nzzz 9 10\n"
    )
    return preprocess.preprocess(
        {name: folder / name for name in ("train", "dev")},
        folder / "glove",
        folder,
        "simple",
        split=True,
    )


def read(store, part="train", vocabulary=None, filtered=True, **changes):
    return read_data.read(
        store, part, dataclasses.replace(SMALL, **changes), vocabulary, filtered
    )


def lists(data_set):
    """A part as the authors hold it: x, q, y for each question."""
    part = data_set.part
    x = [
        [
            (part.sentence_offsets[s], part.sentence_offsets[s + 1])
            for s in range(*part.paragraph_offsets[p : p + 2])
        ]
        for p in part.question_paragraphs
    ]
    y = [
        part.answer_spans[range(*part.answer_offsets[i : i + 2])].tolist()
        or [[[0, 0], [0, 1]]]
        for i in range(part.num_questions)
    ]
    return x, np.diff(part.question_offsets), y


def keeps(config, x, q, y):
    """The authors' filter of one question, in plain words."""
    size = [stop - start for start, stop in x]
    if q > config.ques_size_th:
        return False
    if config.squash:
        return all(
            sum(size[: stop[0]]) + stop[1] <= config.para_size_th
            for _, stop in y
        )
    if config.single and any(start[0] != stop[0] for start, stop in y):
        return False
    if config.data_filter == "max":
        return all(
            stop[0] < config.num_sents_th
            and start[0] == stop[0]
            and stop[1] < config.sent_size_th
            for start, stop in y
        )
    if config.data_filter == "valid":
        return (
            len(x) <= config.num_sents_th and max(size) <= config.sent_size_th
        )
    return all(
        stop[0] < config.num_sents_th and size[start[0]] <= config.sent_size_th
        for start, stop in y
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ques_size_th": 6},
        {"squash": True, "para_size_th": 12},
        {"num_sents_th": 2},
        {"sent_size_th": 5},
        {"single": True},
        {"data_filter": "valid", "num_sents_th": 3, "sent_size_th": 8},
        {"data_filter": "valid", "single": True},
        {"data_filter": "semi", "sent_size_th": 5},
        {"data_filter": "semi", "num_sents_th": 1},
    ],
)
def test_filters_against_the_definition(store, changes):
    data_set = read(store, **changes)
    expected = [
        i
        for i, each in enumerate(zip(*lists(data_set)))
        if keeps(data_set.config, *each)
    ]
    assert data_set.valid_idxs == expected
    assert data_set.num_examples == len(expected)
    everything = list(range(data_set.part.num_questions))
    assert read(store, filtered=False, **changes).valid_idxs == everything
    if changes:
        assert expected != everything


def test_nothing_left_by_the_filters(store):
    with pytest.raises(
        errors.UserError,
        match=(
            "none of the 45 questions of 'dev' in .* is left by the filters; "
            "raise ques_size_th, "
        ),
    ):
        read(store, "dev", data_filter="valid", sent_size_th=1)


def test_vocabulary_without_finetune(store):
    data_set = read(store)
    counts = vocabulary.word_counts(data_set.part, store.words, lower=True)
    assert all(word == word.lower() for word in counts)
    rare = [word for word, count in counts.items() if count <= 2]
    ids = data_set.vocabulary.word2idx
    assert {"the", "mill", "anna", *rare}.isdisjoint(ids)
    assert (ids["-NULL-"], ids["-UNK-"]) == (0, 1)
    assert [ids[word] for word in counts if word in ids] == (
        list(range(2, len(ids)))
    )
    characters = vocabulary.character_counts(data_set.part, store.words)
    assert [
        character for character, count in characters.items() if count > 3
    ] == list(data_set.vocabulary.char2idx)[:-2]
    assert data_set.new_word2idx == {"the": 0, "mill": 1, "anna": 2, "zzz": 3}
    assert data_set.new_emb_mat.tolist() == [[1, 2], [3, 4], [5, 6], [9, 10]]


@pytest.mark.parametrize(
    "known, expected",
    [
        (True, ["the", "broke", "mill", "anna", "zzz"]),
        (False, ["the", "broke", "mill", "anna"]),
    ],
)
def test_vocabulary_with_finetune(store, known, expected):
    data_set = read(
        store, finetune=True, known_if_glove=known, word_count_th=40
    )
    counts = vocabulary.word_counts(data_set.part, store.words, lower=True)
    often = {word for word, count in counts.items() if count > 40}
    assert "zzz" not in often and "the" in often
    vectors = {"the", "mill", "anna", "zzz"} if known else set()
    assert set(data_set.vocabulary.word2idx) == (
        often | vectors | {"-NULL-", "-UNK-"}
    )
    assert set(data_set.new_word2idx) == (
        {"the", "mill", "anna", "zzz"} - set(data_set.vocabulary.word2idx)
    )


def test_words_keep_their_case(store):
    data_set = read(store, lower_word=False)
    counts = vocabulary.word_counts(data_set.part, store.words, lower=False)
    assert {"The", "the", "MILL", "Anna"} <= set(counts)
    # A vector goes to the first form of its word that occurs.
    assert data_set.new_word2idx == {"the": 0, "mill": 1, "Anna": 2, "zzz": 3}
    assert data_set.word_id("The") == data_set.vocabulary.word2idx["The"]
    # Other forms are looked up among the trained words first.
    assert data_set.word_id("Anna") == data_set.vocabulary.word2idx["anna"]
    assert data_set.word_id("zzz") == len(data_set.vocabulary.word2idx) + 3


def test_vector_rows_take_the_last_of_several():
    assert vocabulary.vector_rows(
        ["Cat", "dog", "cat"], {"cat": 1, "Dog": 1}
    ) == {"cat": 2, "Dog": 1}


def test_words_without_any_vector_are_unknown(store):
    data_set = read(
        store,
        finetune=True,
        use_glove_for_unk=False,
        known_if_glove=False,
        word_count_th=40,
    )
    assert data_set.new_word2idx == {}
    assert data_set.new_emb_mat.shape == (0, 2)
    assert data_set.word_id("zzz") == data_set.word_id("nowhere") == 1


def test_word_forms_in_the_authors_order(store):
    data_set = read(
        store, vocabulary=vocabulary.Vocabulary.number(["MILL", "Broke"], "ab")
    )
    ids = data_set.vocabulary.word2idx
    assert data_set.word_id("mill") == ids["MILL"] == 2
    assert data_set.word_id("BROKE") == ids["Broke"] == 3
    assert data_set.word_id("THE") == len(ids) + data_set.new_word2idx["the"]


def test_tables_hold_all_words(store):
    data_set = read(store)
    assert data_set.word_table.tolist() == [
        *map(data_set.word_id, store.words),
        0,
    ]
    characters = data_set.vocabulary.char2idx
    for width in 1, 3:
        table = data_set.character_table(width)
        assert table.shape == (len(store.words) + 1, width)
        assert table.dtype == np.int32
        for row, word in zip(table, [*store.words, ""]):
            ids = [characters.get(each, 1) for each in word[:width]]
            assert row.tolist() == ids + [0] * (width - len(ids))
    assert data_set.character_table(3) is table


def test_dev_uses_the_training_vocabulary(store):
    train = read(store)
    dev = read(store, "dev", train.vocabulary)
    assert dev.vocabulary is train.vocabulary
    assert read(store, "test", train.vocabulary).part.ids == dev.part.ids


def test_joint_vectors_are_the_same_for_all_parts(store):
    train = read(store, joint_vectors=True)
    dev = read(store, "dev", train.vocabulary, joint_vectors=True)
    assert train.new_word2idx == dev.new_word2idx
    np.testing.assert_array_equal(train.word_table, dev.word_table)
    np.testing.assert_array_equal(train.new_emb_mat, dev.new_emb_mat)
    alone = list(read(store).new_word2idx)
    assert list(train.new_word2idx)[: len(alone)] == alone


def test_answers_and_phrases(store):
    data_set = read(store, filtered=False)
    answered = 0
    for i, (x, _, y) in enumerate(zip(*lists(data_set))):
        assert [
            [list(place) for place in span] for span in data_set.answer_spans(i)
        ] == y
        texts = data_set.answer_texts(i)
        for text, span in zip(texts, data_set.answer_spans(i)):
            answered += 1
            phrase = data_set.phrase(i, span, blank_last_word=False)
            assert text.strip() in phrase
            words = [
                store.words[t]
                for (j, k), (j2, k2) in [span]
                for t in data_set.part.tokens[x[j][0] + k : x[j2][0] + k2]
            ]
            assert phrase.startswith(words[0]) and phrase.endswith(words[-1])
    assert answered > 30


def test_phrase_at_the_end_of_a_sentence_is_blank(store):
    data_set = read(store, filtered=False)
    size = int(np.diff(data_set.part.sentence_offsets)[0])
    last = (0, size - 1), (0, size)
    assert data_set.phrase(0, last) == ""
    context = data_set.part.contexts[0]
    word = data_set.phrase(0, last, blank_last_word=False)
    assert word == store.words[data_set.part.tokens[size - 1]]
    assert (
        data_set.phrase(0, ((0, 0), (0, size)), blank_last_word=False)
        == (context[: context.index(word) + len(word)])
    )
    if size > 1:
        assert data_set.phrase(0, ((0, size - 2), (0, size - 1))) != ""
    for beyond in ((0, 0), (0, size + 1)), ((99, 0), (99, 1)):
        for blank in False, True:
            assert data_set.phrase(0, beyond, blank_last_word=blank) == ""


def test_squash_and_single_move_the_answers(store):
    plain = read(store, filtered=False)
    squashed = read(store, filtered=False, squash=True)
    single = read(store, filtered=False, single=True)
    moved = 0
    for i, (x, _, y) in enumerate(zip(*lists(plain))):
        if not plain.answer_texts(i):
            continue
        for answer, flat, alone in zip(
            y, squashed.answer_spans(i), single.answer_spans(i)
        ):
            before = [int(x[j][0] - x[0][0]) for j, _ in answer]
            assert flat == (
                (0, before[0] + answer[0][1]),
                (0, before[1] + answer[1][1]),
            )
            text = plain.phrase(i, answer, blank_last_word=False)
            assert squashed.phrase(i, flat, blank_last_word=False) == text
            if answer[0][0] == answer[1][0]:
                assert alone == ((0, answer[0][1]), (0, answer[1][1]))
                assert single.phrase(i, alone, answer[0][0], False) == text
                moved += answer[0][0] > 0
    assert moved


@pytest.mark.parametrize(
    "shuffle, cluster",
    [(False, False), (False, True), (True, False), (True, True)],
)
def test_batches_hold_every_question_once_per_epoch(store, shuffle, cluster):
    data_set = read(store)
    per_epoch = -(-data_set.num_examples // 4)
    batches = list(
        data_set.batches(4, 2 * per_epoch, shuffle, cluster, random.Random(3))
    )
    assert [len(batch) for batch in batches].count(4) >= 2 * per_epoch - 2
    epochs = batches[:per_epoch], batches[per_epoch:]
    for epoch in epochs:
        assert sorted(sum(epoch, ())) == data_set.valid_idxs
    assert (sum(epochs[0], ()) == tuple(data_set.valid_idxs)) != shuffle
    assert (epochs[0] == epochs[1]) != (shuffle and cluster)
    lengths = data_set.longest_sentences[data_set.part.question_paragraphs]
    ranges = sorted(
        (min(lengths[list(batch)]), max(lengths[list(batch)]))
        for batch in epochs[0]
    )
    assert all(
        first[1] <= second[0] for first, second in zip(ranges, ranges[1:])
    ) == (shuffle and cluster)
    assert len(list(data_set.batches(4))) == per_epoch


def test_vocabulary_file(tmp_path, store):
    saved = read(store).vocabulary
    path = tmp_path / "shared.json"
    saved.save(path)
    assert vocabulary.Vocabulary.load(path) == saved
    assert set(json.loads(path.read_text())) == {"word2idx", "char2idx"}
    assert [each.name for each in tmp_path.iterdir()] == ["shared.json"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"word2idx": {"a": 0}},
        {"word2idx": [1], "char2idx": {}},
        {"word2idx": {"a": 0, "b": 2}, "char2idx": {}},
        {"word2idx": {"a": "0"}, "char2idx": {}},
        # B25: without their special words, or with others in their places.
        {"word2idx": {"a": 0, "b": 1}, "char2idx": SPECIAL},
        {"word2idx": SPECIAL, "char2idx": {}},
        {"word2idx": SPECIAL, "char2idx": {"-UNK-": 0, "-NULL-": 1}},
        {"word2idx": SPECIAL, "char2idx": {"-NULL-": False, "-UNK-": True}},
        {"word2idx": SPECIAL, "char2idx": {"-NULL-": 0.0, "-UNK-": 1}},
    ],
)
def test_wrong_vocabulary_file(tmp_path, content):
    path = tmp_path / "shared.json"
    path.write_text(json.dumps(content))
    with pytest.raises(
        errors.UserError,
        match=r"shared\.json is no vocabulary \(.*"
        "expected JSON with word2idx and char2idx",
    ):
        vocabulary.Vocabulary.load(path)


def test_missing_vocabulary_file(tmp_path):
    with pytest.raises(
        errors.UserError, match="cannot read vocabulary .*: No such"
    ):
        vocabulary.Vocabulary.load(tmp_path / "shared.json")


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"batch_size": 0},
            "batch_size must be a whole number of at least 1, got 0",
        ),
        (
            {"word_count_th": -1},
            "word_count_th must be a whole number of at least 0, got -1",
        ),
        (
            {"data_filter": "all"},
            "data_filter must be one of max, valid, semi, got 'all'",
        ),
        ({"known_if_glove": False}, "without --finetune .* or set --finetune"),
        (
            {"use_glove_for_unk": False},
            "leave --known_if_glove and --use_glove",
        ),
    ],
)
def test_wrong_config(changes, message):
    with pytest.raises(errors.UserError, match=message):
        read_data.DataConfig(**changes)


def test_defaults_are_the_authors():
    assert dataclasses.asdict(read_data.DataConfig()) == {
        "batch_size": 60,
        "word_count_th": 10,
        "char_count_th": 50,
        "sent_size_th": 400,
        "num_sents_th": 8,
        "ques_size_th": 30,
        "word_size_th": 16,
        "para_size_th": 256,
        "lower_word": True,
        "finetune": False,
        "known_if_glove": True,
        "use_glove_for_unk": True,
        "data_filter": "max",
        "squash": False,
        "single": False,
        "len_opt": False,
        "cpu_opt": False,
        "joint_vectors": False,
    }


def test_folder_instead_of_store(store, tmp_path):
    data_set = read(store.path.parent)
    assert isinstance(store, store_lib.Store)
    assert data_set.valid_idxs == read(store).valid_idxs
    with pytest.raises(errors.UserError, match="no preprocessed data at"):
        read(tmp_path)
