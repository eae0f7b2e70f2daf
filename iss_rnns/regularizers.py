"""Penalties: pure functions of variables, each a scalar to add to the cost."""

from collections.abc import Iterable, Sequence
from typing import Union

import tensorflow as tf

from iss_rnns import arguments
from iss_rnns import groups as groups_lib
from iss_rnns.ops import gradients
from iss_rnns.ops import xla

EPSILON = 1e-8  # inside each root, as in the authors' code

Strength = Union[float, tf.Variable, tf.Tensor]


def check_strength(strength: Strength, name: str = "strength") -> Strength:
    """Returns a strength; numbers of NumPy become Python's.

    Raises:
      UserError: if it is negative, not finite or no number.
    """
    if tf.is_tensor(strength):  # variables, too
        return strength
    return arguments.number(name, strength, least=0)


def group_lasso(groups: Sequence, strength: Strength) -> tf.Tensor:
    """Group lasso over units, rows, columns or blocks.

    strength * sum over groups of multiplier * sum_k sqrt(|w_k|^2 + 1e-8)
    (ISS paper, eq. 4 and 5). No factor for the size of a group, and each zero
    unit still costs 1e-4, as in the authors' code. The gradient is written in
    closed form, one pass over each variable: w * multiplier * strength / norm.

    Args:
      groups: `Group` or `BlockGrid` objects.
      strength: the paper's lambda, >= 0; a number or a scalar tensor.

    Returns:
      A scalar; 0 without groups.
    """
    variables = groups_lib.unique_variables(groups)
    if not variables:
        return tf.constant(0.0)

    @gradients.custom_gradient
    def penalty(*tensors):
        values = {v.ref(): t for v, t in zip(variables, tensors)}
        roots = [tf.sqrt(g.squared_norms(values) + EPSILON) for g in groups]
        total = tf.add_n(
            [
                g.multiplier * tf.reduce_sum(root)
                for g, root in zip(groups, roots)
            ]
        )

        def gradient(upstream):
            scales: dict[object, dict] = {}
            for group, root in zip(groups, roots):
                per_unit = upstream * group.multiplier / root
                for variable, line in group.spread(per_unit):
                    # Lines of one orientation add up before they meet the
                    # matrix: vectors are cheap, passes over it are not.
                    lines = scales.setdefault(variable.ref(), {})
                    shape = tuple(line.shape)
                    lines[shape] = lines.get(shape, 0.0) + line
            return [
                _scaled(t, list(scales[v.ref()].values()))
                for v, t in zip(variables, tensors)
            ]

        return total, gradient

    dtype = _dtype(variables)
    total = penalty(*[tf.cast(v, dtype) for v in variables])
    return _times(strength, total)


# One pass over the matrix; without XLA the sum of the lines is a second one.
# The bits are the same: nothing here can be a fused multiply-add.
@xla.for_few_shapes
def _scaled(matrix: tf.Tensor, lines: list[tf.Tensor]) -> tf.Tensor:
    return matrix * sum(lines)


def l1(variables: Iterable[tf.Variable], strength: Strength) -> tf.Tensor:
    """strength * sum |w| over all the variables."""
    return _times(strength, _sum(variables, lambda w: tf.reduce_sum(tf.abs(w))))


def l2(variables: Iterable[tf.Variable], strength: Strength) -> tf.Tensor:
    """strength * sum w^2 / 2 over all the variables."""
    return _times(strength, _sum(variables, tf.nn.l2_loss))


def _sum(variables, formula) -> tf.Tensor:
    variables = list(variables)
    dtype = _dtype(variables)
    return tf.add_n(
        [tf.constant(0.0, dtype)]
        + [formula(tf.cast(v, dtype)) for v in variables]
    )


def _dtype(variables: Iterable[tf.Variable]) -> tf.DType:
    """What sums over variables are in: float64 if one is, else float32.

    Sums of squares of a 16-bit float would lose their small parts.
    """
    double = any(v.dtype == tf.float64 for v in variables)
    return tf.float64 if double else tf.float32


def _times(strength: Strength, total: tf.Tensor) -> tf.Tensor:
    if tf.is_tensor(strength):
        strength = tf.cast(strength, total.dtype)
    return strength * total
