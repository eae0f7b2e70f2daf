"""A step that several replicas share, with the numbers of one.

Of a `tf.distribute` strategy whose replicas hold all weights and make the same
updates: each computes with its own rows of the batch, then they exchange sums.
All of this is of the step that is being traced; outside of one, and without a
strategy, there is one replica, and nothing is added to the graph.
"""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf


def count() -> int:
    """How many share the step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def total(values: Any) -> Any:
    """Sums over the replicas, in one exchange.

    Args:
      values: tensors in lists, tuples or dicts. Rows of `IndexedSlices` are put
        behind each other, not added up.
    """
    if count() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce("SUM", values)


def own_rows(value: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """This replica's part of the whole batch's rows.

    Args:
      value: with the rows along an axis; their number divides by that of the
        replicas.
      axis: 0 or more.
    """
    replicas = count()
    if replicas == 1:
        return value
    value = tf.convert_to_tensor(value)
    place = tf.distribute.get_replica_context().replica_id_in_sync_group
    rows = tf.shape(value)[axis] // replicas
    own = tf.gather(value, place * rows + tf.range(rows), axis=axis)
    shape = value.shape.as_list()
    shape[axis] = shape[axis] and shape[axis] // replicas
    return tf.ensure_shape(own, shape)


def all_rows(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The rows of all replicas, in order: the inverse of `own_rows`, axis 0."""
    if count() == 1:
        return list(values)
    return tf.distribute.get_replica_context().all_gather(list(values), 0)


def agreed(
    strategy: Optional[tf.distribute.Strategy], values: np.ndarray
) -> np.ndarray:
    """What the first worker found, on all of them, for decisions that must fall
    alike; outside of a step.

    Args:
      strategy: whose scope this is in; None: there is one worker.
      values: numbers, `[n]`.
    """
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return values
    if strategy.num_replicas_in_sync == len(strategy.extended.worker_devices):
        return values
    spread = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(values[np.newaxis])
    )
    return strategy.gather(spread, axis=0)[0].numpy()


def whole_shape(shape: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """The shape that a tensor of own rows has of the whole batch."""
    replicas = count()
    if replicas == 1:
        return shape
    shape = tf.convert_to_tensor(shape)
    return shape * tf.where(tf.range(tf.size(shape)) == axis, replicas, 1)
