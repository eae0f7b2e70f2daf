"""The arrays that are fed to the network.

`make_batch` gives a dict of arrays; with N rows, M sentences of JX words, JQ
words of a question and W characters of a word they are

    x, cx   [N, M, JX], [N, M, JX, W]  int32  words, characters of contexts
    x_mask  [N, M, JX]                 bool   where there is a word
    q, cq   [N, JQ], [N, JQ, W]        int32  words, characters of questions
    q_mask  [N, JQ]                    bool   where there is a word
    y, y2   [N, M, JX]                 bool   first, last word of the answer
    wy      [N, M, JX]                 bool   all words of the answer
    na      [N]                        bool   there is no answer

Words and characters: 0 is padding, 1 an unknown one. Word ids from
`Sizes.word_vocab_size` on are rows of `DataSet.new_emb_mat`. Rows beyond the
questions of a batch are padding only.
"""

from collections.abc import Sequence
import dataclasses
import random as python_random
from typing import Any, Optional

import numpy as np

from bidaf.data import read_data


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the arrays and of the embeddings."""

    max_num_sents: int  # M
    max_sent_size: int  # JX
    max_ques_size: int  # JQ
    max_word_size: int  # W
    max_para_size: int
    char_vocab_size: int
    word_emb_size: int
    word_vocab_size: int


def sizes(
    data_sets: Sequence[read_data.DataSet], training: bool = True
) -> Sizes:
    """Sizes that all questions of some data sets need.

    Args:
      data_sets: the first one's vocabulary counts.
      training: whether contexts are cut at the thresholds of the config.
    """
    config = data_sets[0].config
    num_sents, sent_size, ques_size, word_size, para_size = np.max(
        [_needed(data_set) for data_set in data_sets], 0
    ).tolist()
    if training:
        num_sents = min(num_sents, config.num_sents_th)
        sent_size = min(sent_size, config.sent_size_th)
        para_size = min(para_size, config.para_size_th)
    if config.single or config.squash:
        num_sents = 1
    if config.squash:
        sent_size = para_size
    vocabulary = data_sets[0].vocabulary
    return Sizes(
        num_sents,
        sent_size,
        ques_size,
        min(word_size, config.word_size_th),
        para_size,
        len(vocabulary.char2idx),
        data_sets[0].new_emb_mat.shape[1],
        len(vocabulary.word2idx),
    )


def _needed(data_set: read_data.DataSet) -> list[int]:
    """Largest numbers of sentences, words, characters, without limits."""
    part, valid = data_set.part, np.array(data_set.valid_idxs)
    used = np.zeros(len(part.contexts), bool)
    used[part.question_paragraphs[valid]] = True
    asked = np.zeros(part.num_questions, bool)
    asked[valid] = True
    para_sizes = np.diff(part.sentence_offsets[part.paragraph_offsets])
    lengths = data_set.word_lengths
    context_words = part.tokens[np.repeat(used, para_sizes)]
    question_words = part.question_tokens[
        np.repeat(asked, data_set.question_sizes)
    ]
    return [
        np.diff(part.paragraph_offsets)[used].max(),
        data_set.longest_sentences[used].max(),
        data_set.question_sizes[valid].max(),
        max(lengths[context_words].max(), lengths[question_words].max()),
        para_sizes[used].max(),
    ]


def embedding_matrix(data_set: read_data.DataSet, seed: int = 0) -> np.ndarray:
    """Start values of the trained word embedding.

    Args:
      data_set: whose vocabulary and vectors count.
      seed: of the vectors of words that have none, drawn from normal(0, 1).

    Returns:
      `[word_vocab_size, word_emb_size]` float32.
    """
    known = data_set.vocabulary.word2idx
    size = data_set.new_emb_mat.shape[1]
    matrix = np.random.default_rng(seed).standard_normal((len(known), size))
    for word, row in data_set.vector_rows.items():
        if word in known:
            matrix[known[word]] = data_set.vectors[row]
    return matrix.astype(np.float32)


def make_batch(
    data_set: read_data.DataSet,
    indices: Sequence[int],
    sizes: Sizes,
    supervised: bool = True,
    random: Any = python_random,
    batch_size: Optional[int] = None,
) -> dict[str, np.ndarray]:
    """The arrays that are fed for some questions.

    Contexts are cut at `max_num_sents` and `max_sent_size`. Of several right
    answers one is drawn; one that lies outside of what is fed gives no label.

    Args:
      data_set: the questions.
      indices: which, as `DataSet.batches` yields them.
      sizes: M, JX, JQ and W; with `len_opt` and `cpu_opt` the first three
        are upper limits.
      supervised: whether answers are fed.
      random: draws the answers. Defaults to Python's own generator.
      batch_size: rows N. Defaults to the config's, or more if need be.

    Returns:
      The arrays named at the head of this module; without `y`, `y2`, `wy`
      and `na` if unsupervised. With `single`, also `sentence` `[N]` int32,
      which one is fed.
    """
    config = data_set.config
    rows = max(batch_size or config.batch_size, len(indices))
    answers = [
        _drawn(data_set, i, random) if supervised else None for i in indices
    ]
    sentences = [
        int(data_set.part.answer_spans[answer, 0, 0])
        if config.single and answer is not None
        else None
        for answer in answers
    ]
    fed = [
        data_set.fed_sentences(i, sentence)[: sizes.max_num_sents]
        for i, sentence in zip(indices, sentences)
    ]
    contexts = _contexts(data_set, fed, rows, sizes)
    questions = _questions(data_set, indices, rows, sizes)
    characters = data_set.character_table(sizes.max_word_size)
    padding = len(data_set.word_table) - 1
    batch = {
        "x": data_set.word_table[contexts],
        "cx": characters[contexts],
        "x_mask": contexts != padding,
        "q": data_set.word_table[questions],
        "cq": characters[questions],
        "q_mask": questions != padding,
    }
    if supervised:
        batch.update(_labels(data_set, indices, answers, batch["x_mask"]))
    if config.single:
        batch["sentence"] = np.zeros(rows, np.int32)
        batch["sentence"][: len(indices)] = [each or 0 for each in sentences]
    return batch


def _drawn(
    data_set: read_data.DataSet, index: int, random: Any
) -> Optional[int]:
    """Number of one of the question's answers, None if it has none."""
    numbers = range(*data_set.part.answer_offsets[index : index + 2])
    return random.choice(numbers) if numbers else None


def _contexts(
    data_set: read_data.DataSet,
    fed: list[list[tuple[int, int]]],
    rows: int,
    sizes: Sizes,
) -> np.ndarray:
    """Store ids of the contexts' words, `[N, M, JX]`."""
    num_sents, sent_size = sizes.max_num_sents, sizes.max_sent_size
    if data_set.config.len_opt:
        sent_size = min(
            sent_size,
            max(
                [stop - start for ranges in fed for start, stop in ranges] + [1]
            ),
        )
    if data_set.config.cpu_opt:
        num_sents = min(num_sents, max(map(len, fed), default=1))
    ids = np.full((rows, num_sents, sent_size), len(data_set.word_table) - 1)
    for row, ranges in enumerate(fed):
        for sentence, (start, stop) in enumerate(ranges):
            stop = min(stop, start + sent_size)
            ids[row, sentence, : stop - start] = data_set.part.tokens[
                start:stop
            ]
    return ids


def _questions(
    data_set: read_data.DataSet, indices: Sequence[int], rows: int, sizes: Sizes
) -> np.ndarray:
    """Store ids of the questions' words, `[N, JQ]`."""
    part, most = data_set.part, sizes.max_ques_size
    if data_set.config.len_opt:
        most = min(
            most, max([int(data_set.question_sizes[i]) for i in indices] + [1])
        )
    ids = np.full((rows, most), len(data_set.word_table) - 1)
    for row, index in enumerate(indices):
        start, stop = part.question_offsets[index : index + 2]
        stop = min(stop, start + most)
        ids[row, : stop - start] = part.question_tokens[start:stop]
    return ids


def _labels(
    data_set: read_data.DataSet,
    indices: Sequence[int],
    answers: Sequence[Optional[int]],
    x_mask: np.ndarray,
) -> dict[str, np.ndarray]:
    """`y`, `y2`, `wy` and `na` of the drawn answers."""
    labels = {key: np.zeros(x_mask.shape, bool) for key in ("y", "y2", "wy")}
    labels["na"] = np.zeros(len(x_mask), bool)
    fed_sizes = x_mask.sum(-1)
    for row, (index, answer) in enumerate(zip(indices, answers)):
        if answer is None:
            labels["na"][row] = True
            continue
        (j, k), (j2, k2) = data_set.fed_span(index, answer)
        if (
            j2 >= x_mask.shape[1]
            or k >= fed_sizes[row, j]
            or (k2 > fed_sizes[row, j2])
        ):
            continue
        labels["y"][row, j, k] = True
        labels["y2"][row, j2, k2 - 1] = True
        if j == j2:
            labels["wy"][row, j, k:k2] = True
        else:  # The authors leave out whole sentences in between.
            labels["wy"][row, j, k : fed_sizes[row, j]] = True
            labels["wy"][row, j2, :k2] = True
    return labels
