"""Preprocessed questions, with the authors' vocabulary, filters and order.

`read` gives a part of a store as a `DataSet`: which of its questions are
used, the ids of their words and characters, their answers. `feed` makes the
network's arrays of it.
"""

from collections.abc import Iterator
import dataclasses
import functools
import itertools
import random as python_random
from typing import Any, Optional, Union

import numpy as np

from bidaf.data import store as store_lib
from bidaf.data import vocabulary as vocabulary_lib
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import files

FILTERS = ("max", "valid", "semi")
Place = tuple[int, int]
Span = tuple[Place, Place]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is fed to the network; names and defaults are the authors'."""

    batch_size: int = 60
    word_count_th: int = 10  # Words must occur more often than this.
    char_count_th: int = 50  # Characters too.
    sent_size_th: int = 400  # Words of a sentence.
    num_sents_th: int = 8  # Sentences of a context.
    ques_size_th: int = 30  # Words of a question.
    word_size_th: int = 16  # Characters of a word.
    para_size_th: int = 256  # Words of a context; used by `squash`.
    lower_word: bool = True  # Words in lower case.
    finetune: bool = False  # Words with a vector are trained, too.
    known_if_glove: bool = True  # With `finetune`: even rare ones.
    use_glove_for_unk: bool = True  # Words not trained keep their vector.
    data_filter: str = "max"  # Which questions are left out, see `read`.
    squash: bool = False  # A context is one long sentence.
    single: bool = False  # Only the answer's sentence is fed.
    len_opt: bool = False  # JX and JQ as small as a batch allows.
    cpu_opt: bool = False  # M, too.
    joint_vectors: bool = False  # One `new_emb_mat` for all parts.

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if field.type is int:
                least = 0 if field.name.endswith("count_th") else 1
                arguments.integer(field.name, getattr(self, field.name), least)
        arguments.one_of("data_filter", self.data_filter, FILTERS)
        if not (
            self.finetune or self.known_if_glove and self.use_glove_for_unk
        ):
            raise errors.UserError(
                "without --finetune words with a vector get their ids from "
                "the vectors; leave --known_if_glove and --use_glove_for_unk "
                "on, or set --finetune"
            )


def read(
    store: Union[store_lib.Store, files.PathLike],
    part: str,
    config: DataConfig,
    vocabulary: Optional[vocabulary_lib.Vocabulary] = None,
    filtered: bool = True,
    unanswered: bool = True,
) -> "DataSet":
    """Reads a part of a store.

    The filters leave out questions longer than `ques_size_th`, and
    - with `squash`: only answers that end beyond word `para_size_th`;
    - `max`: answers over two sentences, from sentence `num_sents_th` on, or
      that reach word `sent_size_th` of a sentence;
    - `valid`: contexts over `num_sents_th` or `sent_size_th`;
    - `semi`: only the answer's sentence needs to be within them.

    Args:
      store: a store or its folder.
      part: `train`, `dev`, ...; `test` is `dev` if there is none.
      config: what is fed.
      vocabulary: that of a training run. Defaults to a new one, of the
        words and characters of this part.
      filtered: whether the filters apply; the authors filter while
        training, not in tests.
      unanswered: whether questions without an answer are used. A net
        without a no-answer bias learns nothing from them.

    Returns:
      The part's questions.

    Raises:
      UserError: no such store or part, or no question is left.
    """
    if not isinstance(store, store_lib.Store):
        store = store_lib.Store(store)
    if part == "test" and part not in store.parts:
        part = "dev"
    return DataSet(store, part, config, vocabulary, filtered, unanswered)


class DataSet:
    """The questions of a part, with ids for their words.

    Attributes:
      name: the part's.
      part: its arrays.
      config: what is fed.
      vocabulary: ids of trained words and characters.
      new_word2idx: words with a vector outside the vocabulary, to the row
        of `new_emb_mat`; their id is the row plus the vocabulary's size.
      vector_rows: words of the part that have a vector, to its row.
      vectors: `[rows, word_emb_size]` float32, the store's.
      new_emb_mat: `[len(new_word2idx), word_emb_size]` float32.
      valid_idxs: questions that passed the filters, as indices in the part.
      num_examples: their number.
      question_sizes: `[Q]`, words of each question.
      longest_sentences: `[P]`, words of each context's longest sentence.
      word_lengths: characters of each word of the store.
    """

    def __init__(
        self,
        store: store_lib.Store,
        name: str,
        config: DataConfig,
        vocabulary: Optional[vocabulary_lib.Vocabulary] = None,
        filtered: bool = True,
        unanswered: bool = True,
    ):
        self.name = name
        self.part = store.part(name)
        self.config = config
        self._words = store.words
        self.vectors = store.glove_vectors
        counts = vocabulary_lib.word_counts(
            self.part, self._words, config.lower_word
        )
        self.vector_rows = vocabulary_lib.vector_rows(store.glove_words, counts)
        self.vocabulary = vocabulary or self._new_vocabulary(counts)
        known = self.vocabulary.word2idx
        rows = {
            word: row
            for word, row in self._known_rows(store).items()
            if word not in known
        }
        self.new_word2idx = {word: row for row, word in enumerate(rows)}
        self.new_emb_mat = self.vectors[list(rows.values())]
        self.question_sizes = np.diff(self.part.question_offsets)
        self._sentence_sizes = np.diff(self.part.sentence_offsets)
        self.longest_sentences = np.maximum.reduceat(
            self._sentence_sizes, self.part.paragraph_offsets[:-1]
        )
        self.word_lengths = np.array([len(word) for word in self._words])
        passed = (
            self._passed()
            if filtered
            else np.ones(self.part.num_questions, bool)
        )
        if not unanswered:
            passed &= ~self.part.unanswered
            if self.part.unanswered.all():
                raise errors.UserError(
                    f"none of the {len(passed):,} questions of '{name}' in "
                    f"{files.shown(store.path)} has an answer to learn from "
                    "or to be judged by; give data with answers, or answer "
                    "them with --mode=forward"
                )
        self._tables: dict[int, np.ndarray] = {}
        self.valid_idxs: list[int] = np.flatnonzero(passed).tolist()
        self.num_examples = len(self.valid_idxs)
        if not self.valid_idxs:
            raise errors.UserError(
                f"none of the {len(passed):,} questions of '{name}' in "
                f"{files.shown(store.path)} is left by the filters; raise ques_size_th, "
                "sent_size_th, num_sents_th or para_size_th"
            )

    def _new_vocabulary(
        self, counts: dict[str, int]
    ) -> vocabulary_lib.Vocabulary:
        config = self.config
        if config.finetune:
            words = [
                word
                for word, count in counts.items()
                if count > config.word_count_th
                or config.known_if_glove
                and word in self.vector_rows
            ]
        else:
            words = [
                word
                for word, count in counts.items()
                if count > config.word_count_th and word not in self.vector_rows
            ]
        counts = vocabulary_lib.character_counts(self.part, self._words)
        return vocabulary_lib.Vocabulary.number(
            words,
            [
                character
                for character, count in counts.items()
                if count > config.char_count_th
            ],
        )

    def _known_rows(self, store: store_lib.Store) -> dict[str, int]:
        """Words that keep a vector although they are not trained."""
        if not self.config.use_glove_for_unk:
            return {}
        if not self.config.joint_vectors:
            return self.vector_rows
        rows: dict[str, int] = {}
        for name in store.parts:
            for word, row in vocabulary_lib.vector_rows(
                store.glove_words,
                vocabulary_lib.word_counts(
                    store.part(name), self._words, self.config.lower_word
                ),
            ).items():
                rows.setdefault(word, row)
        return rows

    def _passed(self) -> np.ndarray:
        """Which questions the filters let through, `[Q]` bool."""
        config, part = self.config, self.part
        counts = np.diff(part.answer_offsets)
        questions = np.repeat(np.arange(part.num_questions), counts)
        start, stop = part.answer_spans[:, 0], part.answer_spans[:, 1]
        paragraphs = part.question_paragraphs
        first = part.paragraph_offsets[paragraphs[questions]]
        bad = np.zeros(part.num_questions, bool)
        bad |= self.question_sizes > config.ques_size_th
        if config.squash:
            before = (
                part.sentence_offsets[first + stop[:, 0]]
                - part.sentence_offsets[first]
            )
            failing = before + stop[:, 1] > config.para_size_th
        elif config.data_filter == "max":
            failing = (
                (stop[:, 0] >= config.num_sents_th)
                | (start[:, 0] != stop[:, 0])
                | (stop[:, 1] >= config.sent_size_th)
            )
        elif config.data_filter == "valid":
            failing = np.zeros(len(questions), bool)
            num_sentences = np.diff(part.paragraph_offsets)
            bad |= (
                (num_sentences > config.num_sents_th)
                | (self.longest_sentences > config.sent_size_th)
            )[paragraphs]
        else:
            sizes = self._sentence_sizes
            failing = (stop[:, 0] >= config.num_sents_th) | (
                sizes[first + start[:, 0]] > config.sent_size_th
            )
            # Without an answer the first sentence stands for it.
            bad |= part.unanswered & (
                sizes[part.paragraph_offsets[paragraphs]] > config.sent_size_th
            )
        if config.single and not config.squash:
            failing |= start[:, 0] != stop[:, 0]
        bad[questions[failing]] = True
        return ~bad

    def word_id(self, word: str) -> int:
        """A word's id, as it is or in another case; 1 if it has none."""
        for table, offset in (
            (self.vocabulary.word2idx, 0),
            (self.new_word2idx, len(self.vocabulary.word2idx)),
        ):
            for form in (word, word.lower(), word.capitalize(), word.upper()):
                if form in table:
                    return table[form] + offset
        return 1

    def character_ids(self, word: str, width: int) -> np.ndarray:
        """Ids of a word's first characters, `[width]` int32."""
        ids = np.zeros(width, np.int32)
        known = self.vocabulary.char2idx
        for place, character in enumerate(word[:width]):
            ids[place] = known.get(character, 1)
        return ids

    @functools.cached_property
    def word_table(self) -> np.ndarray:
        """Ids of all words of the store, and 0 at the end; int32."""
        return np.array([*map(self.word_id, self._words), 0], np.int32)

    def character_table(self, width: int) -> np.ndarray:
        """Characters of all words of the store, and zeros at the end.

        Args:
          width: W.

        Returns:
          `[words + 1, W]` int32.
        """
        if width not in self._tables:
            self._tables[width] = np.array(
                [self.character_ids(word, width) for word in [*self._words, ""]]
            )
        return self._tables[width]

    def answer_spans(self, index: int) -> list[Span]:
        """The right answers of a question, as places in what is fed.

        Args:
          index: of the question in the part.

        Returns:
          `((sentence, word), (sentence, word after the last))` each; with
          `squash` and `single` the sentence is 0. The authors' stand-in
          `((0, 0), (0, 1))` if the question has no answer.
        """
        numbers = range(*self.part.answer_offsets[index : index + 2])
        return [self.fed_span(index, number) for number in numbers] or [
            ((0, 0), (0, 1))
        ]

    def fed_span(self, index: int, answer: int) -> Span:
        """An answer of the part, as a place in what is fed."""
        (j, k), (j2, k2) = self.part.answer_spans[answer].tolist()
        if self.config.squash:
            return (
                (0, self._words_before(index, j) + k),
                (0, self._words_before(index, j2) + k2),
            )
        return ((0, k), (0, k2)) if self.config.single else ((j, k), (j2, k2))

    def answer_texts(self, index: int) -> list[str]:
        """Texts of a question's right answers."""
        first, last = self.part.answer_offsets[index : index + 2]
        return self.part.answer_texts[first:last]

    def phrase(
        self,
        index: int,
        span: Span,
        sentence: int = 0,
        blank_last_word: bool = True,
    ) -> str:
        """The text of a predicted answer.

        Args:
          index: of the question in the part.
          span: place in what is fed, see `answer_spans`.
          sentence: with `single`, the one that was fed.
          blank_last_word: whether an answer that ends on the last word of
            its sentence is "", as in the authors' code.

        Returns:
          The passage of the context, or "" if the span is not in it.
        """
        (j, k), (j2, k2) = span
        fed = self.fed_sentences(
            index, sentence if self.config.single else None
        )
        if max(j, j2) >= len(fed):
            return ""
        size = fed[j2][1] - fed[j2][0]
        if k2 > size or k2 == size and blank_last_word:
            return ""
        starts = self.part.token_starts
        last = fed[j2][0] + k2 - 1
        stop = starts[last] + self.word_lengths[self.part.tokens[last]]
        context = self.part.contexts[self.part.question_paragraphs[index]]
        return context[starts[fed[j][0] + k] : stop]

    def _words_before(self, index: int, sentence: int) -> int:
        """Words in a question's context before a sentence."""
        part = self.part
        first = part.paragraph_offsets[part.question_paragraphs[index]]
        offsets = part.sentence_offsets
        return int(offsets[first + sentence] - offsets[first])

    def fed_sentences(
        self, index: int, sentence: Optional[int] = None
    ) -> list[tuple[int, int]]:
        """Token ranges of the sentences that are fed for a question."""
        part = self.part
        paragraph = part.question_paragraphs[index]
        first, last = part.paragraph_offsets[paragraph : paragraph + 2]
        offsets = part.sentence_offsets[first : last + 1].tolist()
        if self.config.squash:
            return [(offsets[0], offsets[-1])]
        ranges = list(zip(offsets, offsets[1:]))
        return ranges if sentence is None else [ranges[sentence]]

    def batches(
        self,
        batch_size: int,
        num_batches: Optional[int] = None,
        shuffle: bool = False,
        cluster: bool = False,
        random: Any = python_random,
    ) -> Iterator[tuple[int, ...]]:
        """The authors' order of examples.

        All examples are shuffled once, and all epochs go through that order.
        With `cluster` they are sorted by their longest sentence, and the
        batches are shuffled anew in each epoch.

        Args:
          batch_size: questions per batch; an epoch's last one is smaller.
          num_batches: how many. Defaults to one epoch.
          shuffle: whether to shuffle at all.
          cluster: whether a batch is of equally long contexts; only
            together with `shuffle`.
          random: a `random.Random`. Defaults to the module's own.

        Yields:
          Tuples of indices of questions in the part.
        """
        per_epoch = -(-self.num_examples // batch_size)
        num_batches = per_epoch if num_batches is None else num_batches
        order = self.valid_idxs
        if shuffle:
            order = random.sample(order, len(order))
        if shuffle and cluster:
            sizes = self.longest_sentences[self.part.question_paragraphs]
            order = sorted(order, key=sizes.tolist().__getitem__)
        groups = [
            tuple(order[start : start + batch_size])
            for start in range(0, len(order), batch_size)
        ]

        def epochs():
            while True:
                yield from (
                    random.sample(groups, per_epoch)
                    if shuffle and cluster
                    else groups
                )

        return itertools.islice(epochs(), num_batches)
