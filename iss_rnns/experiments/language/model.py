"""Training and evaluating recurrent language models, state carried along."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.experiments import tasks
from iss_rnns.ops import losses
from iss_rnns.ops import products
from iss_rnns.ops import replicas

Gradient = Union[tf.Tensor, tf.IndexedSlices, None]


class LanguageModel(tf.keras.Model):
    """Truncated back-propagation through time around a recurrent net.

    One training step, in the authors' order: cost and penalties with the
    present weights; gradient of their sum; clipping by the global norm (which
    includes the penalties' part, and the embedding's gradient as un-summed
    rows); optimizer. Callbacks add the penalties (`model.losses`), freezing
    and thresholding. The hidden state is carried from batch to batch in
    variables; who runs the epochs resets it with `reset_states`.

    On replicas (`tf.distribute`) a batch is that of all, on each of them: each
    takes its rows. What the clipping goes by and all that follows sees the sums
    over the replicas, so that a step is that of one.

    Attributes:
      net: the network; see `tasks.LanguageNet`.
      batch_size: number of parallel streams B.
      max_grad_norm: bound on the global norm of the gradient.
      seed: of dropout, together with the step's number, so that a resumed
        run draws what the interrupted one would have drawn.
      product_dtype: what a training step's matrix products compute in, e.g.
        `tf.bfloat16`; None means as the rest. See `precision`.
      vote: of one of several workers, see `distribution`: a number whose sum
        over all a step logs as `votes`.
    """

    vote: Optional[tf.Variable] = None

    def __init__(
        self,
        net: tasks.LanguageNet,
        batch_size: int,
        max_grad_norm: float,
        seed: int = 0,
        product_dtype: Optional[tf.DType] = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.net = net
        self.batch_size = batch_size
        self.max_grad_norm = max_grad_norm
        self.seed = seed
        self.product_dtype = product_dtype
        self.carried = self._new_states()
        self.total_cost = _number("total_cost")
        self.total_penalty = _number("total_penalty")
        self.total_steps = _number("total_steps")
        # What a step logs is the same on all replicas.
        self.distribute_reduction_method = "first"

    def _new_states(self) -> list[tf.Variable]:
        return [
            tf.Variable(
                tf.zeros([self.batch_size, n]),
                trainable=False,
                name=f"carried_{i}",
            )
            for i, n in enumerate(self.net.state_sizes)
        ]

    def call(self, inputs, training=None):
        """Logits `[time * batch, symbols]` of ids, from a zero state."""
        return self.net(inputs, training=training)[0]

    def reset_states(self):
        """Start of an epoch: zero hidden state and zero totals."""
        for variable in [
            *self.carried,
            self.total_cost,
            self.total_penalty,
            self.total_steps,
        ]:
            variable.assign(tf.zeros_like(variable))

    def gradients(
        self,
        x: tf.Tensor,
        y: tf.Tensor,
        states: list[tf.Tensor],
        seed: Optional[tf.Tensor] = None,
    ) -> dict[str, Any]:
        """Cost, penalty, final states and gradients of one batch.

        Args:
          x: `[B, T]` ids; y: `[B, T]` ids of the next symbols. Of a replica,
            its rows.
          states: hidden states `[B, n]`, in the net's order; likewise.
          seed: `[2]` int, of dropout.

        Returns:
          dict with `cost` (sum over time / B, nats), `penalty`, `states`,
          `gradients` (of cost + penalty, in the order of
          `trainable_variables`), `clipped`, `global_norm`, `scale` (clipped
          over unclipped), `votes` (a dict: of several workers their sum).
        """
        count = replicas.count()
        again: list[tf.Tensor] = []
        votes: dict[str, tf.Tensor] = {}
        if count > 1 and getattr(self.net, "tied", False):
            # Its gradient of the softmax is as wide as the vocabulary: it is
            # added up over the replicas, and still counts apart in the norm.
            again = [tf.stop_gradient(tf.convert_to_tensor(self.net.embedding))]
        # A persistent tape around the loops over time would double them: they
        # would be made ready for second derivatives.
        with tf.GradientTape() as tape:
            tape.watch(again)
            with products.products_in(self.product_dtype):
                logits, states = self.net(
                    x,
                    states,
                    training=True,
                    seed=seed,
                    **({"matrix": again[0]} if again else {}),
                )
            cost = losses.sequence_cost(
                tf.cast(logits, tf.float32),
                tf.reshape(tf.transpose(y), [-1]),
                tf.shape(x)[0],
            )
            if count > 1:
                cost = cost / count
        with tf.GradientTape(persistent=True) as penalty_tape:
            penalties = list(self.losses)
            if count > 1:
                penalties = [penalty / count for penalty in penalties]
        variables = self.trainable_variables
        of_cost = tape.gradient(cost, [*variables, *again])
        parts: list[Sequence[Gradient]] = list(
            zip(
                of_cost,
                *[penalty_tape.gradient(p, variables) for p in penalties],
            )
        )
        if count > 1:
            # With the penalties' gradients: each replica's own might differ in
            # the last bit, and so would the weights from then on.
            joined = [_joined(each) for each in parts]
            if again:
                places = [v is self.net.embedding for v in variables]
                joined[places.index(True)].append(of_cost[-1])
            if self.vote is not None:
                votes["votes"] = tf.identity(self.vote)
            parts, cost, penalties, votes = replicas.total(
                [joined, cost, penalties, votes]
            )
        gradients = [_sum(p) for p in parts]
        norm = tf.sqrt(
            tf.add_n([_squared_norm(*each) for each in zip(parts, gradients)])
        )
        clipped, _ = tf.clip_by_global_norm(
            gradients, self.max_grad_norm, use_norm=norm
        )
        (scale,), _ = tf.clip_by_global_norm(
            [tf.constant(1.0)], self.max_grad_norm, use_norm=norm
        )
        return {
            "cost": cost,
            "penalty": tf.add_n([0.0, *penalties]),
            "states": states,
            "gradients": gradients,
            "clipped": clipped,
            "global_norm": norm,
            "scale": scale,
            "votes": votes,
        }

    @tf.autograph.experimental.do_not_convert  # halves the time to trace it
    def train_step(self, data):
        """One step on a batch (x, y), each `[B, T]`; see the class."""
        x, y = data
        seed = tf.stack(
            [
                tf.constant(self.seed, tf.int32),
                tf.cast(self.optimizer.iterations, tf.int32),
            ]
        )
        result = self.gradients(
            replicas.own_rows(x),
            replicas.own_rows(y),
            [replicas.own_rows(state) for state in self.carried],
            seed,
        )
        # They are sums over the replicas already.
        summed = (
            {"skip_gradients_aggregation": True} if replicas.count() > 1 else {}
        )
        if getattr(self.optimizer, "takes_scale", False):
            self.optimizer.apply_gradients(
                zip(result["gradients"], self.trainable_variables),
                scale=result["scale"],
                **summed,
            )
        else:
            self.optimizer.apply_gradients(
                zip(result["clipped"], self.trainable_variables), **summed
            )
        for variable, state in zip(
            self.carried, replicas.all_rows(result["states"])
        ):
            variable.assign(tf.cast(state, variable.dtype))
        self.total_cost.assign_add(tf.cast(result["cost"], tf.float64))
        self.total_penalty.assign_add(tf.cast(result["penalty"], tf.float64))
        self.total_steps.assign_add(
            tf.cast(tf.shape(x)[1], self.total_steps.dtype)
        )
        return {
            "cost": result["cost"],
            "perplexity": tf.exp(self.total_cost / self.total_steps),
            "regularization": self.total_penalty / self.total_steps,
            **result["votes"],
        }

    def replace_net(
        self,
        net: tasks.LanguageNet,
        cuts: Mapping,
        kept: Mapping[str, np.ndarray],
    ) -> None:
        """Goes on with a smaller net; the hidden states are cut alike.

        Args:
          net: to go on with.
          cuts: of `shrinking.cut`.
          kept: which units of the net so far stay, `[n]` bool by group.
        """
        del cuts
        values = [
            state.numpy()[:, kept[name]]
            for state, name in zip(self.carried, self.net.state_groups)
        ]
        _keras.replace_layer(self, "net", net)
        self.carried = self._new_states()
        for variable, value in zip(self.carried, values):
            variable.assign(value)

    @staticmethod
    def cost_of(
        net: tasks.LanguageNet, batch: tuple[np.ndarray, np.ndarray]
    ) -> float:
        """Nats a token of a net on (ids, next ids), each `[B, T]`."""
        x, y = (tf.constant(a) for a in batch)
        logits, _ = net(x, training=False)
        cost = losses.sequence_cost(
            tf.cast(logits, tf.float32),
            tf.reshape(tf.transpose(y), [-1]),
            tf.shape(x)[0],
        )
        return float(cost) / x.shape[1]


class Evaluator:
    """Perplexity of a net on a text, in long stretches with state carried.

    The same number as the authors' passes: only the windows that their reader
    makes are scored, and with the state carried a stretch of many windows
    equals the windows one by one.

    Args:
      net: see `tasks.LanguageNet`; of it, only the call and `state_sizes`
        are needed.
      stretch_positions: about how many positions (batch * time) go through
        at once; bounds the memory of the logits.
    """

    compiled = True  # of subclasses: whether `stretch` is traced

    def __init__(self, net, stretch_positions: int = 2000):
        self.net = net
        self.stretch_positions = stretch_positions
        self._stretch = (
            self.stretch
            if not self.compiled
            else tf.function(
                self.stretch,
                autograph=False,
                input_signature=[
                    tf.TensorSpec([None, None], tf.int32),
                    tf.TensorSpec([None, None], tf.int32),
                    [
                        tf.TensorSpec([None, n], tf.float32)
                        for n in net.state_sizes
                    ],
                ],
            )
        )

    def stretch(self, x, y, states):
        """Ids, next ids `[B, T]`, states -> (sum of costs / B, states)."""
        logits, states = self.net(x, states, training=False)
        cost = losses.sequence_cost(
            tf.cast(logits, tf.float32),
            tf.reshape(tf.transpose(y), [-1]),
            tf.shape(x)[0],
        )
        return cost, [tf.cast(s, tf.float32) for s in states]

    def perplexity(self, x: np.ndarray, y: np.ndarray, progress=None) -> float:
        """exp(sum of costs / number of time steps).

        Args:
          x: `[N, B, T]` ids, the windows in order; y: the next ids.
          progress: called with (stretches done, stretches).

        Returns:
          The perplexity; the state starts at zero.
        """
        batch = x.shape[1]
        x, y = (a.transpose(1, 0, 2).reshape(batch, -1) for a in (x, y))
        steps = x.shape[1]
        length = max(1, self.stretch_positions // batch)
        states = [tf.zeros([batch, n]) for n in self.net.state_sizes]
        total = 0.0
        starts = range(0, steps, length)
        for done, start in enumerate(starts, 1):
            cost, states = self._stretch(
                x[:, start : start + length],
                y[:, start : start + length],
                states,
            )
            total += float(cost)
            if progress:
                progress(done, len(starts))
        return float(np.exp(total / steps))


def _joined(parts: Sequence[Gradient]) -> list[Gradient]:
    """What of a variable's gradients counts apart: sparse ones, and the rest.

    Without any sparse one, it is their sum alone; see `_squared_norm`.
    """
    parts = [part for part in parts if part is not None]
    if any(isinstance(part, tf.IndexedSlices) for part in parts):
        return parts
    return [tf.add_n(parts)] if parts else []


def _sum(parts: Sequence[Gradient]) -> Gradient:
    """A variable's gradient; it stays sparse if nothing dense joins it."""
    parts = [part for part in parts if part is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    return tf.add_n([tf.convert_to_tensor(part) for part in parts])


def _squared_norm(parts: Sequence[Gradient], gradient: Gradient) -> tf.Tensor:
    """What a variable adds to the squared norm that clipping goes by.

    As in TensorFlow 1, where gradients of which one is sparse are put in a
    row, not added up: then each part counts for itself, and each of a
    repeated word's rows.
    """
    if not any(isinstance(part, tf.IndexedSlices) for part in parts):
        parts = [gradient]
    return tf.add_n(
        [tf.constant(0.0)]
        + [
            2.0 * tf.nn.l2_loss(getattr(part, "values", part))
            for part in parts
            if part is not None
        ]
    )


def _number(name: str) -> tf.Variable:
    # float64: an epoch adds up thousands of costs of about a hundred.
    return tf.Variable(0.0, dtype=tf.float64, trainable=False, name=name)
