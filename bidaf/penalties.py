"""BiDAF's cost: cross entropy of the answer, and the authors' penalties."""

from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from bidaf import model
from iss_rnns import groups
from iss_rnns import regularizers
from iss_rnns.interop import tf1

# Gives a variable's value at a moment of one's choice.
Found = Callable[[tf.Variable], tf.Tensor]


def held_out_cost(
    net, batch: Mapping[str, tf.Tensor], vectors: tf.Tensor, wy: bool
) -> float:
    """Nats a question of a net on a batch.

    Args:
      net: a `model.BiDAF`.
      batch: of `feed.make_batch`.
      vectors: of the words that are not trained.
      wy: see `answer_costs`.
    """
    outputs = net(batch, vectors, training=False)
    return float(tf.add_n(answer_costs(outputs, batch, wy, net.na_bias)))


def answer_costs(
    outputs: Mapping[str, tf.Tensor],
    batch: Mapping[str, tf.Tensor],
    wy: bool,
    na_bias=None,
    whole: Optional[Mapping[str, tf.Tensor]] = None,
) -> list[tf.Tensor]:
    """Cross entropies, each a mean over the rows of a batch.

    Rows beyond the batch's questions count as 0 in the mean, and so do rows
    without a label.

    Args:
      outputs: of `model.BiDAF`.
      batch: `x_mask`, `q_mask` and `y`, `y2`, `wy`, `na` of `feed`.
      wy: whether each word is judged to be in the answer or not, instead of
        the answer's first and last word.
      na_bias: the net's, if it has one.
      whole: the batch that these rows are of, if they are a part.

    Returns:
      One scalar with `wy`, else two: of the first and of the last word.
    """
    asked = tf.cast(tf.reduce_any(batch["q_mask"], 1), tf.float32)
    if wy:
        weight = _weight_outside(whole or batch)
        return [tf.reduce_mean(asked * _word_costs(outputs, batch, weight))]
    costs = []
    for logits, labels in (
        (outputs["start_logits"], batch["y"]),
        (outputs["end_logits"], batch["y2"]),
    ):
        labels = tf.reshape(labels, tf.shape(logits))
        if na_bias is not None:
            logits = model.with_no_answer(na_bias, logits)
            labels = tf.concat([batch["na"][:, None], labels], 1)
        costs.append(
            tf.reduce_mean(
                asked
                * tf.nn.softmax_cross_entropy_with_logits(
                    tf.cast(labels, tf.float32), logits
                )
            )
        )
    return costs


def _weight_outside(batch) -> tf.Tensor:
    """Of a word outside of the answer: all weigh as much as those inside."""
    count = tf.reduce_sum(tf.cast(batch["wy"], tf.float32))
    words = tf.reduce_sum(tf.cast(batch["x_mask"], tf.float32))
    return count / (words - count)


def _word_costs(outputs, batch, weight: tf.Tensor) -> tf.Tensor:
    """`[N]`: with so much weight on the words outside of the answer."""
    inside = tf.cast(batch["wy"], tf.float32)
    words = tf.cast(batch["x_mask"], tf.float32)
    costs = tf.nn.sigmoid_cross_entropy_with_logits(
        inside, tf.reshape(outputs["end_logits"], tf.shape(inside))
    )
    return tf.reduce_sum(costs * (inside + (words - inside) * weight), [1, 2])


def sparse_views(net: model.BiDAF) -> dict[str, tf1.View]:
    """What L1, row and column lasso and zeroing act on: most of the net.

    Everything of the LSTMs, attention and logits, biases included; not the
    no-answer bias, which the authors' program makes too late to be caught.
    """
    return {
        name: view
        for name, view in net.tf1_views().items()
        if name.startswith(("prepro/", "main/")) and name != "main/na_bias"
    }


def sparse_variables(net: model.BiDAF) -> list[tf.Variable]:
    """All that `sparse_views` show."""
    return [v for view in sparse_views(net).values() for v in view.variables]


class MixedLasso(NamedTuple):
    """What one variable adds: group lasso over groups, L1 over variables."""

    groups: list[groups.Group]
    l1_variables: list[tf.Variable]


def mixed_lasso(net: model.BiDAF, coef_scaling: bool) -> dict[str, MixedLasso]:
    """The authors' row and column mode, by TF1 name.

    Rows and columns of matrices are groups; vectors, and matrices of one
    column or row, get L1.

    Args:
      net: the net.
      coef_scaling: each group's norm times the root of its length.
    """
    result = {}
    for name, view in sparse_views(net).items():
        longest = int(np.prod(view.shape))
        lines: list[groups.Group] = []
        l1_variables: list[tf.Variable] = []
        if len(view.shape) < 2:
            l1_variables = view.variables
        elif longest not in view.shape:
            rows, columns = view.shape
            scales = [
                count**0.5 if coef_scaling else 1.0 for count in (rows, columns)
            ]
            lines = [
                tf1.column_group(name, view, scales[0]),
                *tf1.row_groups(name, view, scales[1]),
            ]
        elif longest > 1:  # A single weight gets none, as in the original.
            l1_variables = view.variables
        result[name] = MixedLasso(lines, l1_variables)
    return result


def mixed_penalty(
    lasso: Mapping[str, MixedLasso],
    row_col_wd: float,
    l1wd: float,
    found: Found = tf.convert_to_tensor,
) -> tf.Tensor:
    """Sum of all that `mixed_lasso` names, L1 as `l1_penalty`; a scalar."""
    total = tf.constant(0.0)
    if row_col_wd:
        total += regularizers.group_lasso(
            [g for each in lasso.values() for g in each.groups], row_col_wd
        )
    if l1wd:
        total += _l1(
            [v for each in lasso.values() for v in each.l1_variables],
            l1wd,
            found,
        )
    return total


def l1_penalty(
    net: model.BiDAF, l1wd: float, found: Found = tf.convert_to_tensor
) -> tf.Tensor:
    """L1 over all `sparse_variables`; a scalar.

    Args:
      net: the net.
      l1wd: strength.
      found: what gives the weights whose signs the gradient has; see
        `step.Trainer`.
    """
    return _l1(sparse_variables(net), l1wd, found)


def _l1(
    variables: Iterable[tf.Variable], l1wd: float, found: Found
) -> tf.Tensor:
    # sign(w) * w is |w| also where zeroing has made 0 of w since.
    return l1wd * tf.add_n(
        [tf.constant(0.0)]
        + [tf.reduce_sum(tf.sign(found(v)) * v) for v in variables]
    )


def l2_counts(net: model.BiDAF) -> dict[str, int]:
    """How often L2 counts each variable, by TF1 name.

    The authors' program adds a layer's weight decay for all variables of its
    scope made so far, and once more for each use: highway layers, used for
    context and question, count several times.
    """
    counts = {}
    for name in net.tf1_views():
        scope, _, _ = name.rpartition("/")
        if scope.startswith("highway/"):
            counts[name] = 4 if scope.endswith("trans") else 3
        elif scope.startswith(("main/p0/", "main/logits")):
            twice = f"{scope.rpartition('/')[0]}/second/weights"
            counts[name] = (
                2
                if scope.endswith("first") and (twice in net.tf1_views())
                else 1
            )
    return counts


def l2_penalty(net: model.BiDAF, wd: float) -> tf.Tensor:
    """wd * sum w^2 / 2, each variable as often as `l2_counts` says."""
    views = net.tf1_views()
    return wd * tf.add_n(
        [tf.constant(0.0)]
        + [
            count * regularizers.l2(views[name].variables, 1.0)
            for name, count in l2_counts(net).items()
        ]
    )
