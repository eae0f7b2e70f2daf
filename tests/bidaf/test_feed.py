"""Tests of `bidaf.feed`: sizes and arrays against plain loops."""

import dataclasses
import json
import random

import numpy as np
import pytest

from bidaf.data import feed
from bidaf.data import preprocess
from bidaf.data import read_data

SMALL = read_data.DataConfig(
    batch_size=3, word_count_th=0, char_count_th=0, word_size_th=4
)
PARAGRAPHS = [
    (
        "Anna built the mill. It burned down in 1853. Nobody lives there now.",
        [
            ("Who built the old mill?", ["Anna"]),
            (
                "When did it burn down, and what is there?",
                ["1853", "burned down in 1853", "in 1853. Nobody lives"],
            ),
            ("Why?", []),
        ],
    ),
    ("Short one.", [("How long?", ["Short", "one"])]),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    (folder / "data").write_text(
        json.dumps(
            {
                "version": "1.1",
                "data": [
                    {
                        "title": "T",
                        "paragraphs": [
                            {
                                "context": context,
                                "qas": [
                                    {
                                        "id": question,
                                        "question": question,
                                        "answers": [
                                            {
                                                "text": text,
                                                "answer_start": context.index(
                                                    text
                                                ),
                                            }
                                            for text in texts
                                        ],
                                    }
                                    for question, texts in questions
                                ],
                            }
                            for context, questions in PARAGRAPHS
                        ],
                    }
                ],
            }
        )
    )
    (folder / "glove").write_text("the 1 2\nmill 3 4\n")
    return preprocess.preprocess(
        {"train": folder / "data"},
        folder / "glove",
        folder,
        "simple",
        split=True,
    )


def read(store, **changes):
    return read_data.read(
        store, "train", dataclasses.replace(SMALL, **changes), filtered=False
    )


def sentences(store, data_set, index):
    part = data_set.part
    paragraph = part.question_paragraphs[index]
    found = [
        [
            store.words[t]
            for t in part.tokens[slice(*part.sentence_offsets[s : s + 2])]
        ]
        for s in range(*part.paragraph_offsets[paragraph : paragraph + 2])
    ]
    return [sum(found, [])] if data_set.config.squash else found


def question(store, data_set, index):
    part = data_set.part
    return [
        store.words[t]
        for t in part.question_tokens[
            slice(*part.question_offsets[index : index + 2])
        ]
    ]


def plain_batch(store, data_set, indices, sizes, source):
    """The arrays, filled word by word as the authors do."""
    n, m, jx, jq, w = (
        data_set.config.batch_size,
        sizes.max_num_sents,
        sizes.max_sent_size,
        sizes.max_ques_size,
        sizes.max_word_size,
    )
    x, cx = np.zeros([n, m, jx], int), np.zeros([n, m, jx, w], int)
    q, cq = np.zeros([n, jq], int), np.zeros([n, jq, w], int)
    x_mask, q_mask = np.zeros([n, m, jx], bool), np.zeros([n, jq], bool)
    y, y2, wy = (np.zeros([n, m, jx], bool) for _ in range(3))
    na = np.zeros([n], bool)
    for i, index in enumerate(indices):
        for j, words in enumerate(sentences(store, data_set, index)[:m]):
            for k, word in enumerate(words[:jx]):
                x[i, j, k] = data_set.word_id(word)
                cx[i, j, k] = data_set.character_ids(word, w)
                x_mask[i, j, k] = True
        for k, word in enumerate(question(store, data_set, index)[:jq]):
            q[i, k] = data_set.word_id(word)
            cq[i, k] = data_set.character_ids(word, w)
            q_mask[i, k] = True
        if not data_set.answer_texts(index):
            na[i] = True
            continue
        (j, k), (j2, k2) = source.choice(data_set.answer_spans(index))
        if j2 >= m or k >= jx or k2 > jx:
            continue
        y[i, j, k] = y2[i, j2, k2 - 1] = True
        if j == j2:
            wy[i, j, k:k2] = True
        else:
            wy[i, j, k:] = x_mask[i, j, k:]
            wy[i, j2, :k2] = True
    return {
        "x": x,
        "cx": cx,
        "x_mask": x_mask,
        "q": q,
        "cq": cq,
        "q_mask": q_mask,
        "y": y,
        "y2": y2,
        "wy": wy,
        "na": na,
    }


@pytest.mark.parametrize(
    "changes", [{}, {"squash": True}, {"num_sents_th": 2, "sent_size_th": 5}]
)
def test_batches_against_plain_loops(store, changes):
    data_set = read(store, **changes)
    sizes = feed.sizes([data_set])
    for seed in range(8):
        indices = random.Random(seed).sample(range(4), 3 - seed % 2)
        wanted = plain_batch(
            store, data_set, indices, sizes, random.Random(seed)
        )
        batch = feed.make_batch(
            data_set, indices, sizes, random=random.Random(seed)
        )
        assert set(batch) == set(wanted)
        for key, value in wanted.items():
            assert batch[key].dtype == np.int32 or batch[key].dtype == bool
            np.testing.assert_array_equal(batch[key], value, key)


def test_sizes(store):
    plain = read(store)
    sizes = feed.sizes([plain])
    assert sizes == feed.Sizes(
        max_num_sents=3,
        max_sent_size=6,
        max_ques_size=11,
        max_word_size=4,
        max_para_size=16,
        char_vocab_size=len(plain.vocabulary.char2idx),
        word_emb_size=2,
        word_vocab_size=len(plain.vocabulary.word2idx),
    )
    longer = dataclasses.replace(SMALL, word_size_th=50)
    assert feed.sizes(
        [read_data.read(store, "train", longer)]
    ).max_word_size == len("Nobody")
    assert feed.sizes([read(store, single=True)]).max_num_sents == 1
    squashed = feed.sizes([read(store, squash=True)])
    assert (squashed.max_num_sents, squashed.max_sent_size) == (1, 16)
    cut = [read(store, num_sents_th=2, sent_size_th=5, para_size_th=9)]
    sizes = feed.sizes(cut)
    assert (sizes.max_num_sents, sizes.max_sent_size, sizes.max_para_size) == (
        2,
        5,
        9,
    )
    sizes = feed.sizes(cut, training=False)
    assert (sizes.max_num_sents, sizes.max_sent_size, sizes.max_para_size) == (
        3,
        6,
        16,
    )


def test_sizes_count_only_questions_that_are_used(store):
    data_set = read(store)
    data_set.valid_idxs = [3]
    sizes = feed.sizes([data_set])
    assert (
        sizes.max_num_sents,
        sizes.max_sent_size,
        sizes.max_ques_size,
        sizes.max_word_size,
    ) == (1, 3, 3, 4)
    assert feed.sizes([data_set, read(store)]).max_ques_size == 11


def test_len_opt_and_cpu_opt_shorten(store):
    plain = read(store)
    sizes = feed.sizes([plain])
    short = read(store, len_opt=True)
    shorter = read(store, len_opt=True, cpu_opt=True)
    whole = feed.make_batch(plain, [3], sizes, random=random.Random(0))
    assert whole["cx"].shape == (3, 3, 6, 4)
    assert whole["cq"].shape == (3, 11, 4)
    for data_set, shape in (short, (3, 3, 3)), (shorter, (3, 1, 3)):
        batch = feed.make_batch(data_set, [3], sizes, random=random.Random(0))
        assert batch["x"].shape == shape
        assert batch["cq"].shape == (3, 3, 4)
        for key, value in batch.items():
            np.testing.assert_array_equal(
                value, whole[key][tuple(map(slice, value.shape))]
            )
    empty = feed.make_batch(shorter, [], sizes)
    assert empty["x"].shape == (3, 1, 1) and not empty["x_mask"].any()


def test_single_feeds_the_sentence_of_the_answer(store):
    data_set = read(store, single=True)
    sizes = feed.sizes([data_set])
    batch = feed.make_batch(data_set, [0, 1], sizes, random=random.Random(0))
    assert batch["x"].shape == (3, 1, 6)
    assert batch["sentence"].tolist() == [0, 1, 0]
    words = sentences(store, data_set, 1)[1]
    assert batch["x"][1, 0].tolist() == [*map(data_set.word_id, words)]
    assert batch["wy"].any((1, 2)).tolist() == [True, True, False]
    unsupervised = feed.make_batch(data_set, [1], sizes, supervised=False)
    assert set(unsupervised) == {
        "x",
        "cx",
        "x_mask",
        "q",
        "cq",
        "q_mask",
        "sentence",
    }
    first = sentences(store, data_set, 1)[0]
    assert unsupervised["x"][0, 0, : len(first)].tolist() == [
        *map(data_set.word_id, first)
    ]


def test_all_right_answers_are_drawn(store):
    data_set = read(store)
    sizes = feed.sizes([data_set])
    drawn = {
        feed.make_batch(data_set, [3], sizes, random=random.Random(seed))["y"][
            0, 0
        ].argmax()
        for seed in range(20)
    }
    assert drawn == {0, 1}


def test_rows(store):
    data_set = read(store)
    sizes = feed.sizes([data_set])
    for batch_size, rows in (None, 4), (1, 4), (5, 5):
        batch = feed.make_batch(
            data_set, range(4), sizes, batch_size=batch_size
        )
        assert {len(value) for value in batch.values()} == {rows}
    assert len(feed.make_batch(data_set, [0], sizes)["x"]) == 3


def test_embedding_matrix(store):
    data_set = read(store, finetune=True, word_count_th=1)
    matrix = feed.embedding_matrix(data_set, seed=3)
    ids = data_set.vocabulary.word2idx
    assert matrix.shape == (len(ids), 2) and matrix.dtype == np.float32
    assert matrix[ids["the"]].tolist() == [1, 2]
    assert matrix[ids["mill"]].tolist() == [3, 4]
    np.testing.assert_array_equal(matrix, feed.embedding_matrix(data_set, 3))
    others = [i for word, i in ids.items() if word not in ("the", "mill")]
    assert (matrix[others] != feed.embedding_matrix(data_set, 4)[others]).all()
