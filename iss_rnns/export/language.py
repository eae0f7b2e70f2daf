"""A trained language model in use: ids to logits, text to text."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Any, Optional

import numpy as np

from iss_rnns import errors
from iss_rnns.export import manifest as manifest_lib
from iss_rnns.export import vocabulary as vocabulary_lib

# ids `[B, T]` int32, states -> (logits `[B, T, V]`, new states)
Run = Callable[[np.ndarray, list[Any]], tuple[Any, Sequence[Any]]]

_STRETCH = 256  # time steps that go through at once; bounds the logits' memory


@dataclasses.dataclass(frozen=True)
class SentenceScore:
    """How well a model foresees a sentence.

    Attributes:
      text: the sentence.
      tokens: that are foreseen: its words (or characters), and its end.
      unknown: how many of its words the vocabulary lacks.
      nats: -log of the sentence's probability, by what stands before it.
    """

    text: str
    tokens: int
    unknown: int
    nats: float

    @property
    def perplexity(self) -> float:
        """exp(nats a token)."""
        return _perplexity(self.nats, self.tokens)


@dataclasses.dataclass(frozen=True)
class Score:
    """How well a model foresees a text.

    Attributes:
      sentences: of each line that is not empty.
      unknown_read: what unknown words are read as; None: they are left out.
    """

    sentences: Sequence[SentenceScore]
    unknown_read: Optional[str]

    @property
    def tokens(self) -> int:
        """That are foreseen."""
        return sum(each.tokens for each in self.sentences)

    @property
    def unknown(self) -> int:
        """How many words the vocabulary lacks."""
        return sum(each.unknown for each in self.sentences)

    @property
    def perplexity(self) -> float:
        """exp(nats a token), of the whole text."""
        return _perplexity(
            sum(each.nats for each in self.sentences), self.tokens
        )


class TextModel:
    """A language model with its vocabulary.

    Calling it gives logits; `generate` and `score` take and give text.

    Args:
      run: ids `[B, T]` int32 and states `[B, n]` -> (logits `[B, T, V]`, new
        states).
      states: width n of each state by name, in the order that `run` has.
      num_symbols: V.
      vocabulary: of V symbols; None: nobody knows what the ids stand for.
      manifest: that the model was checked by, if any.

    Attributes:
      state_names: see `states`.
      state_sizes: likewise.
      num_symbols: V.
      vocabulary: likewise.
      manifest: likewise.

    Raises:
      UserError: the vocabulary has more or fewer symbols than the model.
    """

    def __init__(
        self,
        run: Run,
        states: dict[str, int],
        num_symbols: int,
        vocabulary: Optional[vocabulary_lib.Vocabulary] = None,
        manifest: Optional[manifest_lib.Manifest] = None,
    ):
        if vocabulary is not None and len(vocabulary) != num_symbols:
            raise errors.UserError(
                f"the vocabulary has {len(vocabulary):,} symbols, the model "
                f"knows {num_symbols:,}; give the vocabulary that it was "
                "trained with"
            )
        self.run = run
        self.state_names = list(states)
        self.state_sizes = list(states.values())
        self.num_symbols = num_symbols
        self.vocabulary = vocabulary
        self.manifest = manifest

    def known_vocabulary(self) -> vocabulary_lib.Vocabulary:
        """The vocabulary.

        Raises:
          UserError: the model carries none.
        """
        if self.vocabulary is None:
            raise errors.UserError(
                "the model carries no vocabulary, so it knows ids only; give "
                f"it one: {vocabulary_lib.FILE} of the SavedModel of the same "
                "run"
            )
        return self.vocabulary

    def zero_states(self, batch: int = 1) -> list[np.ndarray]:
        """The states of a text's start."""
        return [np.zeros((batch, n), np.float32) for n in self.state_sizes]

    def __call__(
        self, ids: Any, states: Optional[Sequence[Any]] = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Logits of the next symbol at every position.

        Args:
          ids: `[B, T]` integers in 0 .. V - 1.
          states: `[B, n]` each, in the order of `state_names`; zeros if None.

        Returns:
          (logits `[B, T, V]` float32, new states).

        Raises:
          UserError: ids or states that are none.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise errors.UserError(
                f"ids must be integers [batch, time], got {ids.dtype} "
                f"{list(ids.shape)}"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < self.num_symbols:
            raise errors.UserError(
                f"ids must be in 0 ... {self.num_symbols - 1}, got "
                f"{ids.min()} ... {ids.max()}"
            )
        states = self.zero_states(len(ids)) if states is None else list(states)
        expected = [(len(ids), n) for n in self.state_sizes]
        if [tuple(np.shape(state)) for state in states] != expected:
            raise errors.UserError(
                f"states must be of the shapes {expected}, got "
                f"{[tuple(np.shape(state)) for state in states]}"
            )
        logits, states = self.run(ids.astype(np.int32), states)
        return np.asarray(logits), [np.asarray(state) for state in states]

    def generate(
        self,
        prompt: str,
        num_words: int = 100,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> str:
        """Goes on with a text.

        Args:
          prompt: how it begins. Words that the model does not know count as
            `<unk>`.
          num_words: of what follows; characters, of a model of those.
          temperature: the logits are divided by it: below 1 likely words get
            likelier, 0 always takes the likeliest.
          seed: of the draws; the same one gives the same text.

        Returns:
          What follows the prompt.

        Raises:
          UserError: the model carries no vocabulary; the prompt is empty, or
            has unknown words and there is no `<unk>`; a number is none.
        """
        vocabulary = self.known_vocabulary()
        if not (num_words >= 1 and int(num_words) == num_words):
            raise errors.UserError(
                f"the number of words to generate must be at least 1, got "
                f"{num_words}"
            )
        if not 0 <= temperature < np.inf:
            raise errors.UserError(
                f"the temperature must be a number >= 0, got {temperature}"
            )
        if not prompt.strip():
            raise errors.UserError(
                "the prompt is empty; give some words to go on from"
            )
        missing = vocabulary.missing(prompt)
        if missing and vocabulary.unknown is None:
            raise errors.UserError(
                f"the model does not know {_listed(missing)}, and its "
                f"vocabulary has no {vocabulary_lib.UNKNOWN} for unknown "
                f"{vocabulary.unit}s; give a prompt of {vocabulary.unit}s that "
                "it knows"
            )
        rng = np.random.default_rng(seed)
        states, found = self.zero_states(), []
        ids = [*self._start(), *vocabulary.encode(prompt)]
        for ids_of_stretch in _stretches(ids):
            logits, states = self([ids_of_stretch], states)
        for _ in range(int(num_words)):
            found.append(_draw(logits[0, -1], temperature, rng))
            logits, states = self([found[-1:]], states)
        return vocabulary.decode(found)

    def score(self, text: str) -> Score:
        """Perplexity of a text, sentence by sentence.

        A line is a sentence; empty ones are left out. The state goes from one
        to the next, as in the evaluation of a test text, and starts at zero
        with the end of a line before the first word, so that this is foreseen
        as well.

        Args:
          text: in the form of the training text. Words that the model does
            not know count as `<unk>`; where there is none, they are left out.

        Raises:
          UserError: the model carries no vocabulary, or the text no words
            that it knows.
        """
        vocabulary = self.known_vocabulary()
        lines = [line for line in text.split("\n") if line.strip()]
        end = [] if vocabulary.end is None else [vocabulary.end]
        encoded = [[*vocabulary.encode(line), *end] for line in lines]
        if not any(len(ids) > len(end) for ids in encoded):
            what = f"{vocabulary.unit} that the model knows"
            raise errors.UserError(
                f"the text to score has no {what if lines else 'words'}; "
                "expected sentences, one a line"
            )
        stream = [*end, *(i for ids in encoded for i in ids)]
        nats = np.concatenate([[] if end else [0.0], self._nats(stream)])
        scores, begin = [], 0
        for line, ids in zip(lines, encoded):
            stop = begin + len(ids)
            scores.append(
                SentenceScore(
                    line,
                    # Without ends, nothing foresees the very first symbol.
                    len(ids) - (not end and begin == 0),
                    len(vocabulary.missing(line)),
                    float(nats[begin:stop].sum()),
                )
            )
            begin = stop
        unknown = None if vocabulary.unknown is None else vocabulary_lib.UNKNOWN
        return Score(scores, unknown)

    def _nats(self, ids: Sequence[int]) -> np.ndarray:
        """-log probability of each id but the first, by those before it."""
        states, found = self.zero_states(), []
        for begin in range(0, len(ids) - 1, _STRETCH):
            window = ids[begin : begin + _STRETCH + 1]
            logits, states = self([window[:-1]], states)
            logits = logits[0].astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            right = logits[np.arange(len(logits)), window[1:]]
            found.append(np.log(np.exp(logits).sum(axis=1)) - right)
        return np.concatenate(found) if found else np.zeros(0)

    def _start(self) -> list[int]:
        end = self.known_vocabulary().end
        return [] if end is None else [end]


def _stretches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for begin in range(0, len(ids), _STRETCH):
        yield ids[begin : begin + _STRETCH]


def _draw(logits: np.ndarray, temperature: float, rng) -> int:
    """An id by its probability; the likeliest at temperature 0."""
    if temperature == 0:
        return int(np.argmax(logits))
    logits = logits.astype(np.float64)
    odds = np.exp((logits - logits.max()) / temperature)
    cumulative = np.cumsum(odds)
    place = np.searchsorted(cumulative, rng.random() * cumulative[-1], "right")
    return int(min(place, len(logits) - 1))


def _perplexity(nats: float, tokens: int) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(nats / tokens)) if tokens else float("nan")


def _listed(symbols: Sequence[str], most: int = 5) -> str:
    different = list(dict.fromkeys(symbols))
    shown = ", ".join(map(repr, different[:most]))
    return shown + (", ..." if len(different) > most else "")
