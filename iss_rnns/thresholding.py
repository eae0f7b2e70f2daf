"""Exact zeros: the threshold, and gradients that leave zeros alone."""

from collections.abc import Sequence
import dataclasses
from typing import Callable, Union

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.ops import xla

Gradient = Union[tf.Tensor, tf.IndexedSlices]
GradientsAndVariables = Sequence[tuple[Gradient, tf.Variable]]

ZERO_THRESHOLD = 1e-4  # the authors' constant for the word LSTM

# Bits of a float32 above 0 that one pass of the selection looks at: shift
# and number, from the highest.
_DIGITS = ((20, 11), (10, 10), (0, 10))


def zero_fractions(variable: tf.Variable) -> dict[str, tf.Tensor]:
    """Fractions of zeros: `element`, and of a matrix also `row`, `column`.

    A row (column) counts when all of it is zero.
    """
    zero = tf.equal(variable, 0.0)
    fractions = {"element": _fraction(zero)}
    if variable.shape.rank == 2:
        for name, axis in (("row", 1), ("column", 0)):
            fractions[name] = _fraction(tf.reduce_all(zero, axis=axis))
    return fractions


def freeze_elements(
    gradients: GradientsAndVariables,
    threshold: float = ZERO_THRESHOLD,
    value: Callable[[tf.Variable], tf.Tensor] = tf.convert_to_tensor,
) -> list[tuple[Gradient, tf.Variable]]:
    """Gradient := 0 where |w| < threshold (the authors' mode `element`).

    Args:
      gradients: with their variables.
      threshold: 0 in the gradient below it.
      value: what of a variable is compared with the threshold.

    Returns:
      The pairs with masked gradients.
    """
    return [(_mask(g, tf.abs(value(v)) < threshold), v) for g, v in gradients]


def zero_unread_units(groups: Sequence) -> None:
    """Zeroes the columns of units that nobody reads, in place.

    The authors' cleaning before a test: a unit whose rows (everything that
    reads it) are all zero has no effect, so its gate columns become zero too
    and its whole group is.

    Args:
      groups: `Group` objects whose units are written by columns and read by
        rows of their slices.

    Raises:
      UserError: if a slice is of no matrix: which of its axes is read and
        which is written, nobody says.
    """
    # Decided for all groups before any is changed: cleaning one's columns
    # clears places in another's rows.
    found = []
    for group in groups:
        for s in group.slices:
            if len(s.variable.shape) > 2:
                raise errors.UserError(
                    f"group '{group.name}' has weights {s.variable.name} with "
                    f"shape {tuple(s.variable.shape)}; units that nobody "
                    "reads are found in matrices only"
                )
        rows, columns = (
            [
                dataclasses.replace(s, multiplier=1.0)
                for s in group.slices
                if s.axis == axis
            ]
            for axis in (0, 1)
        )
        if rows and columns:
            unread = tf.logical_not(groups_lib.Group("rows", rows).alive())
            found.append((groups_lib.Group("columns", columns), unread))
    for writers, unread in found:
        zero_units(writers, unread)


def zero_units(group, dead: tf.Tensor) -> None:
    """Zeroes everything of some units of a group, companions included.

    Args:
      group: a `Group`.
      dead: `[n]` bool.
    """
    for variable, line in group.spread(
        tf.cast(dead, tf.float32), companions=True
    ):
        variable.assign(tf.where(line > 0.0, tf.zeros_like(variable), variable))


def shortened(norms: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """`[n]`: what is left of each norm if it loses a length, as its share.

    The group soft-threshold max(0, 1 - length / |w|), which is the proximal
    operator of length * |w|. With `scale_units` an entry of two units, such as
    a gate column that crosses a recurrent row, is made shorter for both.

    Args:
      norms: `[n]`; of NaN, which is of a broken unit, all is left.
      lengths: `[n]`, >= 0.
    """
    left = tf.where(
        norms > lengths, 1.0 - lengths / norms, tf.zeros_like(norms)
    )
    acts = (lengths > 0.0) & (norms >= 0.0)
    return tf.where(acts, left, tf.ones_like(norms))


def scale_units(groups: Sequence, shares: Sequence[tf.Tensor]) -> None:
    """Multiplies the weights of units, in place: one pass over each variable.

    Args:
      groups: `Group` objects.
      shares: of each group `[n]`. A unit times 0 loses its companions, too;
        otherwise they stay.
    """
    variables: dict[object, tf.Variable] = {}
    taken: dict[object, dict[int, tf.Tensor]] = {}  # by variable and axis
    for group, share in zip(groups, shares):
        dead = tf.cast(tf.equal(share, 0.0), share.dtype)
        for slices, per_unit in (
            (group.slices, 1.0 - share),
            (group.companions, dead),
        ):
            for s in slices:
                variables[s.variable.ref()] = s.variable
                axes = taken.setdefault(s.variable.ref(), {})
                # No entry is of two units of one axis.
                axes[s.axis] = axes.get(s.axis, 0.0) + s.line(per_unit)
    for reference, axes in taken.items():
        variable = variables[reference]
        lines = [tf.cast(1.0 - line, variable.dtype) for line in axes.values()]
        variable.assign(_scaled(tf.convert_to_tensor(variable), lines))


# One pass; without XLA it is one for each axis.
@tf.function(jit_compile=True, autograph=False)
def _scaled(matrix: tf.Tensor, lines: list[tf.Tensor]) -> tf.Tensor:
    for line in lines:
        matrix = matrix * line
    return matrix


def dead_masks(groups: Sequence) -> dict[object, tf.Tensor]:
    """variable.ref() -> bool tensor, broadcasting, True on dead units."""
    masks: dict[object, tf.Tensor] = {}
    for group in groups:
        dead = tf.cast(tf.logical_not(group.alive()), tf.float32)
        for variable, line in group.spread(dead, companions=True):
            mask = line > 0.0
            known = masks.get(variable.ref())
            masks[variable.ref()] = (
                mask if known is None else tf.logical_or(known, mask)
            )
    return masks


def freeze_groups(
    gradients: GradientsAndVariables, dead: dict[object, tf.Tensor]
) -> list[tuple[Gradient, tf.Variable]]:
    """Gradient := 0 on dead units; living ones may move freely.

    Args:
      gradients: pairs (gradient, variable).
      dead: of `dead_masks`.
    """
    return [
        (_mask(g, dead[v.ref()]), v) if v.ref() in dead else (g, v)
        for g, v in gradients
    ]


def keep_largest(scores: tf.Tensor, pruned: tf.Tensor) -> tf.Tensor:
    """False at the smallest scores, of equal ones at the first.

    Args:
      scores: float32 of any shape, none negative.
      pruned: the fraction that becomes False, rounded to a number of them.

    Returns:
      bool, of the scores' shape.
    """
    # Floats above zero are in the order of their bits.
    bits = tf.reshape(tf.bitcast(scores, tf.int32), [-1])
    size = tf.size(bits)
    count = tf.cast(
        tf.round(tf.cast(pruned, tf.float64) * tf.cast(size, tf.float64)),
        tf.int32,
    )
    last = _nth_smallest(bits, count)
    equal = tf.cast(tf.equal(bits, last), tf.int32)
    below = tf.math.count_nonzero(bits < last, dtype=tf.int32)
    first = tf.cumsum(equal) <= count - below
    gone = tf.logical_or(bits < last, tf.logical_and(equal > 0, first))
    return tf.reshape(tf.logical_not(gone), tf.shape(scores))


def _fraction(true: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(true, tf.float32))


def _mask(gradient: Gradient, gone: tf.Tensor) -> Gradient:
    """The gradient, 0 where a weight is gone."""
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        gone = tf.broadcast_to(gone, gradient.dense_shape)
        values = tf.where(
            tf.gather(gone, gradient.indices),
            tf.zeros_like(gradient.values),
            gradient.values,
        )
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.where(gone, tf.zeros_like(gradient), gradient)


def _nth_smallest(bits: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The count-th smallest of int32 numbers from 0 on; 0 if count is 0.

    Digit by digit, by counting: one pass over all and two over a few. Sorting
    takes tens of times as long, but XLA can do nothing else.
    """
    if xla.compiling():
        padded = tf.concat([[0], tf.sort(bits)], 0)
        return tf.gather(padded, count)
    result = tf.constant(0)
    for shift, width in _DIGITS:
        digits = tf.bitwise.bitwise_and(
            tf.bitwise.right_shift(bits, shift), (1 << width) - 1
        )
        counts = tf.math.bincount(
            digits, minlength=1 << width, maxlength=1 << width
        )
        up_to = tf.cumsum(counts)
        digit = tf.cast(tf.searchsorted(up_to, [count])[0], tf.int32)
        count -= up_to[digit] - counts[digit]
        bits = tf.boolean_mask(bits, tf.equal(digits, digit))
        result += digit * (1 << shift)
    return result
