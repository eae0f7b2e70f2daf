"""What is trained on and what is judged: filters, lengths, order."""

import dataclasses
import json

import numpy as np
import pytest

from bidaf import experiment
from bidaf import scoring
from bidaf.data import preprocess
from bidaf.data import read_data
from bidaf.data import sources
from bidaf.data import store as store_lib
from bidaf.data import synthetic
from iss_rnns import errors

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


@pytest.fixture(name="second", scope="module")
def fixture_second(tmp_path_factory):
    """A store like SQuAD 2.0: every third question has no answer."""
    folder = tmp_path_factory.mktemp("second")
    paths = synthetic.write(folder, 30, 12, seed=3)
    for part in "train", "dev":
        content = json.loads(paths[part].read_text())
        content["version"] = "v2.0"
        questions = [
            question
            for article in content["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
        for question in questions[::3]:
            question["plausible_answers"] = question["answers"]
            question.update(answers=[], is_impossible=True)
        paths[part].write_text(json.dumps(content))
    return preprocess.preprocess(
        {"train": paths["train"], "dev": paths["dev"]},
        paths["glove"],
        folder,
        "none",
    )


class TestQuestionsWithoutAnAnswer:
    """B10: SQuAD 2.0 is not taken in silence."""

    def test_they_are_left_out_and_counted_in_one_line(self, second, capsys):
        questions = sources.for_training(second, CONFIG)
        assert capsys.readouterr().out == (
            "questions without an answer (SQuAD 2.0): 10 of train, 4 of dev; "
            "left out: without --na nothing is learned from them\n"
        )
        assert questions.judged.num_examples == 8
        for batch in sources.training_batches(questions, 6, 0, 0, 7):
            assert not batch["na"].numpy().any()
        for _, batch in sources.judged_batches(questions, 3):
            assert batch["y"].any((1, 2)).all()
        tested = sources.for_testing(
            second, CONFIG, questions.vocabulary, "dev"
        )
        assert tested.judged.valid_idxs == questions.judged.valid_idxs
        assert capsys.readouterr().out.count("4 of dev; left out") == 1

    def test_with_na_they_are_learned(self, second, capsys):
        questions = sources.for_training(second, CONFIG, na=True)
        assert capsys.readouterr().out == (
            "questions without an answer (SQuAD 2.0): 10 of train, 4 of dev; "
            "used with the no-answer bias of --na; exact match and F1 are of "
            "the others\n"
        )
        assert questions.judged.num_examples == 12
        seen = [
            batch["na"].numpy()
            for batch in sources.training_batches(questions, 6, 0, 0, 5)
        ]
        assert np.concatenate(seen).any()

    def test_all_may_be_answered(self, second, capsys):
        known = sources.for_training(second, CONFIG).vocabulary
        capsys.readouterr()
        answered = sources.for_testing(second, CONFIG, known, "dev", na=None)
        assert answered.judged.num_examples == 12
        assert capsys.readouterr().out == ""

    def test_nothing_is_said_of_the_first_version(self, questions, capsys):
        store = store_lib.Store(questions.description.partition(":")[0])
        sources.for_training(store, CONFIG)
        assert capsys.readouterr().out == ""

    def test_without_any_answer_there_is_nothing_to_learn(
        self, second, tmp_path
    ):
        none = {
            name: dataclasses.replace(
                second.part(name),
                answer_offsets=np.zeros_like(second.part(name).answer_offsets),
                answer_spans=np.zeros((0, 2, 2), np.int32),
                answer_characters=np.zeros((0, 2), np.int32),
                answer_texts=[],
            )
            for name in second.parts
        }
        store_lib.write(
            tmp_path,
            {},
            second.words,
            second.glove_words,
            second.glove_vectors,
            none,
        )
        with pytest.raises(
            errors.UserError,
            match="none of the 30 questions of 'train' in .* has an answer",
        ):
            sources.for_training(store_lib.Store(tmp_path), CONFIG)

    @pytest.mark.parametrize("na", [False, True])
    def test_scores_say_what_they_are_of(self, second, na):
        """A cost of 0, of questions without a label, is no low cost."""
        known = sources.for_training(second, CONFIG).vocabulary
        questions = sources.for_testing(second, CONFIG, known, "dev", na=None)

        def answer(batch):
            """Each labelled question costs 3, the others 1 or nothing."""
            labelled = batch["y"].any((1, 2))
            costs = np.where(labelled, 3.0, float(na))
            found = {
                name: np.zeros(batch["x"].shape, np.float32)
                for name in ("start", "end")
            }
            if na:
                found["na_prob"] = np.zeros(len(costs))
            return {**found, "cost": costs.mean()}

        scores = scoring.score(answer, questions, 5)
        assert scores.cost == pytest.approx((8 * 3 + 4) / 12 if na else 3)
        assert (scores.questions, scores.unscored) == (12, 4)
        assert "(12 questions, 4 without an answer not scored)" in str(scores)
