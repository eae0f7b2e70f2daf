"""What is trained on and what is judged: filters, lengths, order."""

import numpy as np
import pytest

from bidaf import experiment
from bidaf.data import read_data
from bidaf.data import sources

MOST = 40  # words of a context, less than some have
CONFIG = read_data.DataConfig(
    len_opt=True,
    word_count_th=1,
    char_count_th=2,
    batch_size=6,
    sent_size_th=MOST,
)


@pytest.fixture(name="questions", scope="module")
def fixture_questions(tmp_path_factory):
    store = sources.open_store(
        sources.SYNTHETIC, tmp_path_factory.mktemp("data"), 60, 40, 2
    )
    return sources.for_training(store, CONFIG)


def test_all_of_dev_is_judged_whatever_the_filters(questions):
    part = questions.judged.part
    judged = [
        index
        for chosen, _ in sources.judged_batches(questions, 7)
        for index in chosen
    ]
    assert sorted(judged) == list(range(part.num_questions))
    assert questions.train.num_examples < questions.train.part.num_questions


def test_what_is_judged_is_not_cut(questions):
    longest = questions.judged.longest_sentences.max()
    *_, (_, batch) = sources.judged_batches(questions, 7)
    assert longest > MOST and batch["x_mask"].sum(-1).max() == longest
    assert questions.sizes.max_sent_size == MOST
    for batch in sources.training_batches(questions, 6, 0, 0, 5):
        assert batch["x"].shape[-1] <= MOST


def test_words_have_as_many_characters_in_both(questions):
    assert questions.sizes.max_word_size == questions.judged_sizes.max_word_size


def test_proof_is_on_short_and_long_contexts(questions):
    batches = experiment.proof_batches(questions)
    widths = [batch["x"].shape[-1] for batch in batches]
    lengths = np.sort(questions.judged.longest_sentences)
    assert len(batches) == experiment.PROOF_BATCHES
    assert widths == sorted(widths) and widths[-1] == lengths[-1]
    assert {len(batch["x"]) for batch in batches} == {experiment.PROOF_ROWS}
