"""What a run reads: the questions to train and to be judged on, as batches."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
import pathlib
import random
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from bidaf.data import feed
from bidaf.data import preprocess
from bidaf.data import read_data
from bidaf.data import store as store_lib
from bidaf.data import synthetic
from bidaf.data import vocabulary as vocabulary_lib
from iss_rnns import files

SYNTHETIC = "synthetic"
VOCABULARY = "shared.json"  # the authors' name of it, in a run's folder
LABELS = ("y", "y2", "wy", "na")


@dataclasses.dataclass(frozen=True)
class Questions:
    """Data sets with one vocabulary and one table of fixed vectors.

    Attributes:
      train: to train on; None where nothing is trained.
      judged: to be scored on.
      sizes: of the embeddings, and of the arrays that are trained on.
      judged_sizes: of the arrays that are judged, none of which is cut.
      description: of where they come from.
      splitting: how their texts were cut: `splitter` and `split` of
        `preprocess.preprocess`.
    """

    train: Optional[read_data.DataSet]
    judged: read_data.DataSet
    sizes: feed.Sizes
    judged_sizes: feed.Sizes
    description: str
    splitting: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def trained(self) -> read_data.DataSet:
        """`train`, where there is one."""
        if self.train is None:
            raise ValueError("These questions are not to be trained on.")
        return self.train

    @property
    def vectors(self) -> np.ndarray:
        """`[words, word_emb_size]`, of ids beyond the trained words'."""
        return self.judged.new_emb_mat

    @property
    def vocabulary(self) -> vocabulary_lib.Vocabulary:
        """Of trained words and characters."""
        return self.judged.vocabulary


def open_store(
    data_dir: str, made_below: str, num_train: int, num_dev: int, seed: int
) -> store_lib.Store:
    """The preprocessed data of a folder; made first if it is made up.

    Args:
      data_dir: folder of `bidaf.prepro`, or 'synthetic': the set that the
        project makes up itself.
      made_below: folder that the made-up set is kept in.
      num_train: its questions to train on; num_dev: to be judged on.
      seed: of the made-up set.

    Raises:
      UserError: if there is no such data, or it cannot be made.
    """
    if data_dir != SYNTHETIC:
        return store_lib.Store(data_dir)
    folder = pathlib.Path(made_below) / (
        f"{SYNTHETIC}_{num_train}_{num_dev}_{seed}"
    )
    if not (folder / store_lib.FILE).exists():
        print(
            f"making up {num_train:,} + {num_dev:,} questions in {folder}",
            flush=True,
        )
        made = synthetic.write(folder, num_train, num_dev, seed)
        preprocess.preprocess(
            {"train": made["train"], "dev": made["dev"]},
            made["glove"],
            folder,
            splitter="none",
        )
    return store_lib.Store(folder)


def for_training(
    store: store_lib.Store,
    config: read_data.DataConfig,
    na: bool = False,
) -> Questions:
    """Parts `train` and `dev`, with a vocabulary of the former's words.

    All of `dev` is judged, not only what the filters let through, so that
    scores while training are those of --mode=eval.

    Args:
      store: with both parts.
      config: how they are fed.
      na: the net has a bias for having no answer, and so can learn from
        questions without one; otherwise they are left out. Either is said.

    Raises:
      UserError: see `read_data.read`.
    """
    config = dataclasses.replace(config, joint_vectors=True)
    train = read_data.read(store, "train", config, unanswered=na)
    # What is judged is cut to what it needs: the same scores, sooner.
    judged = read_data.read(
        store,
        "dev",
        dataclasses.replace(config, len_opt=True),
        train.vocabulary,
        filtered=False,
        unanswered=na,
    )
    _tell_unanswered([train, judged], na)
    judged_sizes = feed.sizes([train, judged], training=False)
    # A word has as many characters in both: padding is not without effect.
    sizes = dataclasses.replace(
        feed.sizes([train]), max_word_size=judged_sizes.max_word_size
    )
    return Questions(
        train,
        judged,
        sizes,
        judged_sizes,
        _describe(store, train, judged),
        _splitting(store),
    )


def for_testing(
    store: store_lib.Store,
    config: read_data.DataConfig,
    vocabulary: vocabulary_lib.Vocabulary,
    part: str,
    word_size: Optional[int] = None,
    na: Optional[bool] = False,
) -> Questions:
    """All questions of a part, whatever their lengths.

    Args:
      store: with the part.
      config: how it is fed.
      vocabulary: of training.
      part: its name.
      word_size: characters of a word in training (the number of padding
        characters is not without effect); None: what the part needs.
      na: see `for_training`; None: the questions are only to be answered,
        so all of them are taken.

    Raises:
      UserError: see `read_data.read`.
    """
    config = dataclasses.replace(config, joint_vectors=True, len_opt=True)
    judged = read_data.read(
        store,
        part,
        config,
        vocabulary,
        filtered=False,
        unanswered=na is not False,
    )
    if na is not None:
        _tell_unanswered([judged], na)
    sizes = feed.sizes([judged], training=False)
    if word_size:
        sizes = dataclasses.replace(sizes, max_word_size=word_size)
    return Questions(
        None,
        judged,
        sizes,
        sizes,
        _describe(store, judged),
        _splitting(store),
    )


def _tell_unanswered(
    data_sets: Sequence[read_data.DataSet], used: bool
) -> None:
    """One line on questions without an answer, if there are any."""
    counts = {each.name: int(each.part.unanswered.sum()) for each in data_sets}
    if not any(counts.values()):
        return
    found = ", ".join(f"{n:,} of {name}" for name, n in counts.items() if n)
    told = (
        "used with the no-answer bias of --na; exact match and F1 are of the "
        "others"
        if used
        else "left out: without --na nothing is learned from them"
    )
    print(
        f"questions without an answer (SQuAD 2.0): {found}; {told}", flush=True
    )


def _splitting(store: store_lib.Store) -> dict[str, Any]:
    names = ("splitter", "split")
    return {name: store.meta[name] for name in names if name in store.meta}


def _describe(store, *data_sets) -> str:
    counts = ", ".join(
        f"{each.num_examples:,} questions of {each.name}" for each in data_sets
    )
    return f"{files.shown(store.path)}: {counts}"


def training_batches(
    questions: Questions,
    batch_size: int,
    seed: int,
    first: int,
    stop: int,
    cluster: bool = False,
) -> tf.data.Dataset:
    """Batches `first:stop` of the endless stream that training reads.

    The stream depends on the seed only, so it can be entered anywhere.

    Args:
      questions: with `train`.
      batch_size: questions of a batch; an epoch's last one is filled up with
        padding.
      seed: of the order and of the choice among several right answers.
      first: number of the first batch, counted from 0.
      stop: one past the last.
      cluster: see `DataSet.batches`.
    """
    data_set, sizes = questions.trained, questions.sizes

    def generate() -> Iterator[dict[str, np.ndarray]]:
        order = data_set.batches(
            batch_size,
            stop,
            shuffle=True,
            cluster=cluster,
            random=random.Random(seed),
        )
        for number, indices in itertools.islice(enumerate(order), first, None):
            yield feed.make_batch(
                data_set,
                indices,
                sizes,
                batch_size=batch_size,
                random=random.Random(f"{seed} {number}"),
            )

    dataset = tf.data.Dataset.from_generator(
        generate,
        output_signature=specs(sizes.max_word_size, data_set.config.single),
    )
    # Keras must not ask for one batch too many, see `window_batches`.
    return dataset.apply(
        tf.data.experimental.assert_cardinality(stop - first)
    ).prefetch(2)


def judged_batches(questions: Questions, batch_size: int, num_batches: int = 0):
    """Batches of `questions.judged`, with the numbers of their questions.

    Args:
      questions: see `Questions`.
      batch_size: of all but the last.
      num_batches: only so many, from the first on; 0 means all, those of
        like lengths together.

    Yields:
      (indices in the part, arrays of `feed.make_batch`).
    """
    indices = list(questions.judged.valid_idxs)
    if num_batches:
        indices = indices[: num_batches * batch_size]
    else:
        indices = by_length(questions.judged)
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        yield chosen, judged_batch(questions, chosen)


def judged_batch(
    questions: Questions, indices: Sequence[int]
) -> dict[str, np.ndarray]:
    """Arrays of `feed.make_batch` of some questions of `questions.judged`."""
    return feed.make_batch(
        questions.judged,
        indices,
        questions.judged_sizes,
        batch_size=len(indices),
        random=random.Random(0),
    )


def by_length(data_set: read_data.DataSet) -> list[int]:
    """Its questions from the shortest longest sentence to the longest."""
    lengths = data_set.longest_sentences[data_set.part.question_paragraphs]
    return sorted(data_set.valid_idxs, key=lengths.tolist().__getitem__)


def specs(
    word_size: int, single: bool = False, labels: bool = True
) -> dict[str, tf.TensorSpec]:
    """Types of the arrays of `feed.make_batch`, of any N, M, JX and JQ.

    Args:
      word_size: W.
      single: with the number of the sentence.
      labels: with the answers.
    """
    result = {
        "x": tf.TensorSpec([None, None, None], tf.int32),
        "cx": tf.TensorSpec([None, None, None, word_size], tf.int32),
        "x_mask": tf.TensorSpec([None, None, None], tf.bool),
        "q": tf.TensorSpec([None, None], tf.int32),
        "cq": tf.TensorSpec([None, None, word_size], tf.int32),
        "q_mask": tf.TensorSpec([None, None], tf.bool),
    }
    if labels:
        result.update(dict.fromkeys(LABELS[:3], result["x_mask"]))
        result["na"] = tf.TensorSpec([None], tf.bool)
    if single:
        result["sentence"] = tf.TensorSpec([None], tf.int32)
    return result
