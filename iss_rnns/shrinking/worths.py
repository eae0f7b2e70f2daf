"""Whether a cut in mid-training pays.

A cut makes all further steps cheaper, and has the step traced and compiled
anew. Both are counted in multiply-adds, so that the answer is the same on
every machine, and in a run that was killed and resumed.
"""

# That a processor could do while a step is compiled: measured for the small
# LSTM language model on two cores, 7 s of 60 G multiply-adds/s.
COMPILING = 4e11
# Of a step: forward, backward to the inputs, backward to the weights.
_PASSES = 3


def worth(
    weights: int, items: int, steps: int, compiling: float = COMPILING
) -> float:
    """What a cut saves, in multiples of what it costs: it pays from 1 on.

    Args:
      weights: that are cut; each is one multiply-add an item and pass.
      items: that a step reads (words, positions).
      steps: that are left.
      compiling: cost of a cut, in multiply-adds.

    Example:
      >>> worth(weights=10_000, items=400, steps=5_000)
      0.15
      >>> worth(weights=100_000, items=400, steps=5_000)
      1.5
    """
    return _PASSES * weights * items * max(steps, 0) / compiling
