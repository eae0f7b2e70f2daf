"""Whether a cut in mid-training pays.

A cut makes all further steps cheaper, and has the step traced and compiled
anew. Both are counted in multiply-adds, so that the answer is the same on
every machine, and in a run that was killed and resumed.
"""

# That a processor could do while a step is traced and compiled. Measured for
# an LSTM language model of 2 x 128 units: 2.5 s, at 18 G multiply-adds/s a
# core of two.
COMPILING = 1e11
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
      0.6
      >>> worth(weights=100_000, items=400, steps=5_000)
      6.0
    """
    return _PASSES * weights * items * max(steps, 0) / compiling
