"""The windows that perplexities are taken on."""

from collections.abc import Mapping
import dataclasses
import math

import numpy as np

from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model

Windows = tuple[np.ndarray, np.ndarray]  # ids [N, B, T] and the next ids


@dataclasses.dataclass(frozen=True)
class Texts:
    """The windows that perplexities are taken on, and who they come from.

    Attributes:
      corpus: vocabulary and description.
      valid: windows at the training batch and steps, as the authors do.
      test: windows at batch 1 and 1 step, as the authors do.
    """

    corpus: corpora.Corpus
    valid: Windows
    test: Windows

    @classmethod
    def from_corpus(
        cls, corpus: corpora.Corpus, batch_size: int, num_steps: int
    ) -> "Texts":
        """The authors' windows of a corpus."""
        return cls(
            corpus,
            corpora.batches(corpus.valid, batch_size, num_steps, "valid text"),
            corpora.batches(corpus.test, 1, 1, "test text"),
        )


def evaluate(
    net, texts: Texts, evaluator=language_model.Evaluator
) -> dict[str, float]:
    """Valid and test perplexity of a net, or of what an evaluator takes."""
    evaluator = evaluator(net)
    result = {}
    for name in ("valid", "test"):
        with progress_lib.progress_bar(f"{name} perplexity") as progress:
            result[f"{name} perplexity"] = evaluator.perplexity(
                *getattr(texts, name), progress=progress
            )
    return result


def with_bits(scores: Mapping[str, float], texts: Texts) -> dict[str, float]:
    """Perplexities, of characters also in bits a character."""
    bits = {
        name.replace("perplexity", "bits"): math.log2(value)
        for name, value in scores.items()
    }
    return {**scores, **(bits if texts.corpus.unit == "character" else {})}


def print_scores(scores: Mapping[str, float], texts: Texts) -> None:
    """One line a score; perplexities of characters also in bits."""
    for name, value in with_bits(scores, texts).items():
        print(
            f"{name} {value:{'.4f' if 'bits' in name else '.3f'}}", flush=True
        )
