"""Whether two models compute the same, measured on real batches."""

from collections.abc import Iterable
import dataclasses
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from iss_rnns import errors

# Of an output's largest magnitude: what float32 leaves of a sum in another
# order. Differences below it are none.
ROUNDING = 1e-6


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far two models' outputs are apart.

    Attributes:
      absolute: largest |difference| of any number.
      relative: the same in proportion to what each number is compared with,
        see `assert_equal_outputs`.
      largest: largest |number| of the expected outputs.
    """

    absolute: float
    relative: float
    largest: float


def assert_equal_outputs(
    expected: Callable[[Any], Any],
    found: Callable[[Any], Any],
    batches: Iterable,
    tolerance: float = 1e-4,
    subject: str = "the outputs",
) -> Difference:
    """Refuses a model whose outputs differ from another's.

    Outputs must have the same structure, number and shapes, and none may be
    empty. Each place j of an output's last axis (each logit) is measured by
    itself, over all batches and all other axes:

        max |found_j - expected_j|
            <= max(tolerance * max |expected_j|, 1e-6 * max |expected|)

    so that neither one large logit nor a large output beside a small one hides
    what changed. The last term, with the largest magnitude of the whole
    output, is what float32 rounds away. An output with one axis, or whose last
    axis has another length in each batch, is measured as one. Whole numbers,
    bools and strings must be the same. A NaN equals nothing; infinities of one
    sign equal each other.

    Args:
      expected: `expected(batch)` -> any structure of tensors or arrays.
      found: the same of the model to judge.
      batches: what both are called with, one after the other.
      tolerance: largest difference allowed, in proportion.
      subject: of the refusal, e.g. "the reloaded model's outputs".

    Returns:
      What was measured.

    Raises:
      UserError: if they differ, or there is nothing to compare.

    Example:
      >>> double = lambda x: 2. * x
      >>> assert_equal_outputs(double, lambda x: x + x, [np.ones([2, 3])])
      Difference(absolute=0.0, relative=0.0, largest=2.0)
    """
    found_outputs: list[_Output] = []
    for number, batch in enumerate(batches, 1):
        one, other = expected(batch), found(batch)
        pairs = _pairs(one, other, f"{subject} on batch {number}")
        if not found_outputs:
            found_outputs = [_Output() for _ in pairs]
        if len(pairs) != len(found_outputs) or not pairs:
            raise errors.UserError(
                f"{subject} on batch {number} are {len(pairs)} tensors, on "
                f"batch 1 {len(found_outputs)}; expected the same of each "
                "batch, at least one"
            )
        for output, (a, b) in zip(found_outputs, pairs):
            output.add(a, b)
    if not found_outputs:
        raise errors.UserError(
            f"no batch was given to compare {subject} on; give at least one"
        )
    for output in found_outputs:
        output.check(tolerance, subject)
    return Difference(
        *(
            float(np.max([getattr(output, name) for output in found_outputs]))
            for name in ("absolute", "relative", "largest")
        )
    )


class _Output:
    """One output's differences and magnitudes, by place of the last axis."""

    def __init__(self):
        self._differences: Any = None  # no batch yet
        self._magnitudes: Any = None

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        """Counts a batch."""
        differences, magnitudes = (
            _by_place(each) for each in _measured(expected, found)
        )
        if self._differences is None:
            self._differences, self._magnitudes = differences, magnitudes
            return
        both = [
            (self._differences, differences),
            (self._magnitudes, magnitudes),
        ]
        if differences.shape != self._differences.shape:
            both = [tuple(each.max(keepdims=True) for each in b) for b in both]
        # NumPy's maximum: Python's loses a NaN.
        self._differences, self._magnitudes = (np.maximum(*b) for b in both)

    @property
    def absolute(self) -> float:
        """Largest |difference|."""
        return float(self._differences.max())

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return float(self._magnitudes.max())

    @property
    def relative(self) -> float:
        """Largest |difference| in proportion to its place's magnitude."""
        rounded = self._differences <= ROUNDING * self.largest
        with np.errstate(divide="ignore", invalid="ignore"):
            proportions = self._differences / self._magnitudes
        return float(np.where(rounded, 0.0, proportions).max())

    def check(self, tolerance: float, subject: str) -> None:
        """Raises a UserError if it differs."""
        if not self.relative <= tolerance:
            raise errors.UserError(
                f"{subject} differ from the original's by {self.absolute:.3g} "
                f"(largest {self.largest:.3g}), {self.relative:.3g} of what "
                f"they are there, more than {tolerance:g}"
            )


def _pairs(one, other, subject: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Both structures' arrays, side by side."""
    try:
        tf.nest.assert_same_structure(one, other, expand_composites=True)
    except (TypeError, ValueError):
        flat = [
            tf.nest.flatten(s, expand_composites=True) for s in (one, other)
        ]
        raise errors.UserError(
            f"{subject} are {len(flat[1])} tensors, the original's "
            f"{len(flat[0])}; expected the same structure"
        ) from None
    pairs = [
        (_array(a), _array(b))
        for a, b in zip(
            *(tf.nest.flatten(s, expand_composites=True) for s in (one, other))
        )
    ]
    for a, b in pairs:
        if a.shape != b.shape:
            raise errors.UserError(
                f"{subject} have shape {b.shape}, the original's {a.shape}"
            )
        if not a.size:
            raise errors.UserError(
                f"{subject} hold no number (shape {a.shape}): nothing can be "
                "compared; give batches that are not empty"
            )
    return pairs


def _array(output) -> np.ndarray:
    if tf.is_tensor(output) and output.dtype in (tf.float16, tf.bfloat16):
        output = tf.cast(output, tf.float32)
    return np.asarray(output)


def _measured(
    expected: np.ndarray, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """|differences| and magnitudes, of their shape."""
    if expected.dtype.kind not in "fc" or found.dtype.kind not in "fc":
        # Any difference is larger than all that is allowed.
        return (expected != found).astype(float), np.zeros(expected.shape)
    with np.errstate(invalid="ignore"):
        differences = np.where(expected == found, 0.0, np.abs(found - expected))
    magnitudes = np.abs(expected)
    return differences, np.where(np.isinf(magnitudes), 0.0, magnitudes)


def _by_place(array: np.ndarray) -> np.ndarray:
    """Largest numbers by place of the last axis; of a vector, of all."""
    if array.ndim < 2:
        return array.max(keepdims=True).reshape(1)
    return array.reshape(-1, array.shape[-1]).max(axis=0)
