"""The proximal step of a group lasso in the metric of an adaptive optimizer.

An adaptive optimizer divides the step of each weight w_i by a scale d_i of its
own. The lasso's part of such a step is, for each unit's weights w,

    argmin_u  length * |u| + 1/2 * sum_i d_i * (u_i - w_i)^2

with `length` the learning rate times the strength. It is 0 if |d w| <= length;
else u_i = w_i * t / (t + length / d_i) with the root t = |u| of

    sum_i (w_i / (t + length / d_i))^2 = 1,

which Newton's method finds on 1 / sqrt(...): nearly a straight line, and of
equal scales one exactly. From 0 it gets to the root from below.

So do Yun, Lozano & Yang 2021 (Adaptive Proximal Gradient Methods for Structured
Neural Networks, ProxGen) and Deleu & Bengio 2021 (Structured Sparsity Inducing
Adaptive Optimizers for Deep Learning), there with Newton's method on the sum
itself. A weight that never had a gradient has the smallest scale, and is gone at
once. Where groups overlap, each is shortened as if it were alone.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from iss_rnns import groups as groups_lib

ITERATIONS = 8

Scales = Mapping[object, tf.Tensor]  # variable.ref() -> d, of its shape


def shorten(
    groups: Sequence[groups_lib.Group], scales: Scales, length: tf.Tensor
) -> None:
    """Does the step on units, in place; see the module.

    Units that get to zero lose their companions, too.

    Args:
      groups: of units.
      scales: of each of their variables, > 0.
      length: scalar, >= 0; of each group times its multiplier.
    """
    norms = [
        _norms(group, scales, length * group.multiplier) for group in groups
    ]
    variables: dict[object, tf.Variable] = {}
    factors: dict[object, tf.Tensor] = {}
    for group, norm in zip(groups, norms):
        dead = tf.cast(tf.equal(norm, 0.0), norm.dtype)
        lines = _lines(group, norm, length * group.multiplier)
        for (reference, _), (variable, ours, lengths) in lines.items():
            factor = ours / (ours + lengths / scales[reference])
            # Nothing is taken where a slice does not count, or is not.
            factor = tf.where(lengths > 0.0, factor, tf.ones_like(factor))
            variables[reference] = variable
            factors[reference] = factors.get(reference, 1.0) * factor
        for s in group.companions:
            variables[s.variable.ref()] = s.variable
            reference = s.variable.ref()
            factors[reference] = factors.get(reference, 1.0) * (
                1.0 - s.line(dead)
            )
    for reference, factor in factors.items():
        variable = variables[reference]
        variable.assign(variable * tf.cast(factor, variable.dtype))


def _norms(group, scales: Scales, length: tf.Tensor) -> tf.Tensor:
    """`[n]`: of each unit, as the step leaves it."""
    norms = tf.zeros([group.size])
    squares, cubes = _sums(group, norms, scales, length)
    dead = squares <= 1.0
    for _ in range(ITERATIONS):
        norms += squares / cubes * (tf.sqrt(squares) - 1.0)
        squares, cubes = _sums(group, norms, scales, length)
    return tf.where(dead, tf.zeros_like(norms), norms)


def _sums(group, norms, scales: Scales, length) -> list[tf.Tensor]:
    """`[n]` each: sums of w^2 / (t + length / d)^2, and / (...)^3."""
    sums = {
        key: _of_axis(
            tf.convert_to_tensor(variable),
            norm,
            lengths / scales[key[0]],
            key[1],
        )
        for key, (variable, norm, lengths) in _lines(
            group, norms, length
        ).items()
    }
    totals = [tf.zeros_like(norms)] * 2
    for s in group.slices:
        for i, along in enumerate(sums[s.variable.ref(), s.axis]):
            part = (
                along[s.start : s.stop]
                if s.indices is None
                else tf.gather(along, s.indices)
            )
            totals[i] += s.multiplier * part
    return totals


@tf.function(jit_compile=True, autograph=False)
def _of_axis(weights, norm, damping, axis: int) -> list[tf.Tensor]:
    others = [i for i in range(weights.shape.rank) if i != axis]
    below = norm + damping
    squares = tf.square(tf.cast(weights, below.dtype) / below)
    return [
        tf.reduce_sum(squares, others),
        tf.reduce_sum(squares / below, others),
    ]


def _lines(group, norms, length) -> dict:
    """(variable, norms, lengths) by variable and axis of the group's slices.

    The numbers broadcast to the variable; outside of the slices the norm is 1
    and the length 0.
    """
    lines: dict = {}
    for s in group.slices:
        key = s.variable.ref(), s.axis
        _, norm, lengths = lines.get(key, (None, 1.0, 0.0))
        lines[key] = (
            s.variable,
            norm + s.line(norms - 1.0),
            lengths + s.line(tf.fill([group.size], length * s.multiplier)),
        )
    return lines
