"""What came of a model that was given to a library. Imports no library."""

from collections.abc import Mapping
import statistics
import time
from typing import Any, Callable

import numpy as np

from iss_rnns import timing

# Of each model, its name in every program: what is in it.
MODELS = {
    "stacked": "two LSTMs and a dense layer",
    "bidirectional": "two bidirectional GRUs behind a mask",
    "residual": "two LSTMs whose outputs add up, a tag each step",
    "encoder-decoder": "an LSTM that starts in another one's state",
    "attention": "a bidirectional LSTM read by attention",
    "language": "embedding, LSTM, a word each step",
}
UNITS, FEATURES, STEPS, BATCH, CLASSES, WORDS = 512, 64, 20, 16, 5, 1000
DEAD = np.arange(0, UNITS, 2)  # of each recurrent layer
ALIVE = np.arange(1, UNITS, 2)
SAME = 1e-4  # as large a difference of outputs still is rounding
ROUNDS = 41


def numbers() -> np.ndarray:
    """A batch `[BATCH, STEPS, FEATURES]` of the models that read numbers."""
    return (
        np.random.default_rng(0)
        .normal(size=(BATCH, STEPS, FEATURES))
        .astype(np.float32)
    )


def words() -> np.ndarray:
    """A batch `[BATCH, STEPS]` of ids; some sequences end early, in zeros."""
    random = np.random.default_rng(1)
    ids = random.integers(1, WORDS, (BATCH, STEPS))
    ends = random.integers(STEPS // 2, STEPS + 1, (BATCH, 1))
    return np.where(np.arange(STEPS) < ends, ids, 0).astype(np.int32)


def measured(
    units: tuple[int, int],
    outputs: tuple[np.ndarray, np.ndarray],
    sizes: tuple[int, int],
    runs: Mapping[str, Callable[[], Any]],
) -> dict:
    """The outcome of a model that the library took.

    Args:
      units: of all recurrent layers, before and after.
      outputs: of the same inputs, before and after.
      sizes: of the file, in bytes, before and after.
      runs: the model on the batch, `before` and `after`.
    """
    before, after = outputs
    taken = timing.time_in_turn(runs, ROUNDS, warmup=5)
    ratios = [b / a for b, a in zip(taken["before"], taken["after"])]
    return {
        "units": list(units),
        "difference": float(np.abs(before - after).max())
        if before.shape == after.shape
        else None,
        "bytes": list(sizes),
        "speedup": statistics.median(ratios),
    }


def refused(error: Exception) -> dict:
    """The outcome of a model that the library broke on, in its words."""
    lines = str(error).strip().splitlines() or [""]
    return {"refused": f"{type(error).__name__}: {lines[0][:120]}"}


def of_each(take: Callable[[str], dict]) -> dict[str, dict]:
    """What a library makes of every model."""
    outcomes = {}
    for name in MODELS:
        began = time.perf_counter()
        try:
            outcomes[name] = take(name)
        except Exception as error:  # whatever a library raises is its answer
            outcomes[name] = refused(error)
        outcomes[name]["seconds"] = time.perf_counter() - began
    return outcomes
