"""One training step of BiDAF, in the order of the authors' program."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import threading
from typing import Optional

import numpy as np
import tensorflow as tf

from bidaf import model
from bidaf import penalties
from iss_rnns import averages as averages_lib
from iss_rnns import shrinking
from iss_rnns.ops import in_place
from iss_rnns.ops import products
from iss_rnns.ops import replicas


class _Values:
    """Values of variables at a moment of a step."""

    def __init__(self, variables: Iterable[tf.Variable]):
        self._tensors = {v.ref(): tf.convert_to_tensor(v) for v in variables}

    def of(self, variable: tf.Variable) -> tf.Tensor:
        """Its value then; of one that was not read, its value now."""
        if variable.ref() in self._tensors:
            return self._tensors[variable.ref()]
        return tf.convert_to_tensor(variable)


_NOW = _Values([])


class Trainer(tf.keras.Model):
    """The net with its moving averages and what a step needs.

    A step: the averages follow the weights as the last step left them; small
    weights become exact zeros; cost and penalties and their gradient; update.
    (In the authors' graph nothing orders the zeroing after the update, and it
    runs first. The sign in L1's gradient and the zeros that freezing keeps are
    read earlier still, so both see the weights' `value_at_step_start`.) So
    a step leaves weights that may be small and not zero; `clean` is for the
    last of them. Callbacks add penalties (`losses`) and freezing. On replicas
    as `LanguageModel`.

    Attributes:
      net: the network.
      averages: of all its weights.
      vectors: `[words, word_emb_size]`, of words whose vector is fixed.
      threshold: weights below it become 0; 0 switches it off.
      wy: see `penalties.answer_costs`.
      trained: the weights that gradients change, by default all.
      decay: of the smoothed cost that is shown.
      seed: of dropout, together with the step's number, so that a resumed run
        draws what the interrupted one would have drawn.
      product_dtype: what the LSTMs' matrix products compute in, e.g.
        `tf.bfloat16`; None means as the rest. See `products.products_in`.
      vote: see `LanguageModel`.
    """

    vote: Optional[tf.Variable] = None

    def __init__(
        self,
        net: model.BiDAF,
        vectors: np.ndarray,
        var_decay: float = 0.999,
        threshold: float = 0.0,
        wy: bool = False,
        trained: Optional[Sequence[tf.Variable]] = None,
        decay: float = 0.9,
        seed: int = 0,
        product_dtype: Optional[tf.DType] = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.net = net
        self.averages = averages_lib.MovingAverages(
            net.trainable_variables, var_decay
        )
        # A plain tensor: checkpoints need not hold what never changes.
        self.vectors = tf.constant(vectors, tf.float32)
        self.threshold = threshold
        self.wy = wy
        self._trained = None if trained is None else [v.ref() for v in trained]
        self.decay = decay
        self.seed = seed
        self.product_dtype = product_dtype
        # Each replica of a step is traced by a thread of its own.
        self._replica = threading.local()
        self.smoothed = tf.Variable(0.0, trainable=False, name="smoothed_cost")
        # What a step logs is the same on all replicas.
        self.distribute_reduction_method = "first"

    @property
    def trained(self) -> Sequence[tf.Variable]:
        """The weights that gradients change."""
        return [
            v
            for v in self.net.trainable_variables
            if self._trained is None or v.ref() in self._trained
        ]

    def value_at_step_start(self, variable: tf.Variable) -> tf.Tensor:
        """A weight as the present step found it; outside of one, as it is."""
        return getattr(self._replica, "at_start", _NOW).of(variable)

    @contextlib.contextmanager
    def _keeping_values(self) -> Iterator[None]:
        """Inside, `value_at_step_start` is the value of now."""
        self._replica.at_start = _Values(self.net.trainable_variables)
        try:
            yield
        finally:
            del self._replica.at_start

    def call(self, inputs, training=None):
        """See `model.BiDAF`."""
        return self.net(inputs, self.vectors, training=training)

    def replace_net(
        self, net: model.BiDAF, cuts: Mapping, kept: Mapping
    ) -> None:
        """Goes on with a smaller net; the averages are cut alike.

        Args:
          net: to go on with.
          cuts: of `shrinking.cut`.
          kept: which units stay; the cuts say all of it.
        """
        del kept
        averages = averages_lib.MovingAverages(
            net.trainable_variables, self.averages.decay
        )
        for reference, cut in cuts.items():
            averages.average_of(cut.variable).assign(
                shrinking.take(
                    self.averages.average_of(reference.deref()).numpy(),
                    cut.keep,
                )
            )
        if self._trained is not None:
            self._trained = [
                cuts[reference].variable.ref() for reference in self._trained
            ]
        self.net, self.averages = net, averages

    def cost_of(
        self, net: model.BiDAF, batch: Mapping[str, tf.Tensor]
    ) -> float:
        """Nats a question of a net on a batch of `feed.make_batch`."""
        return penalties.held_out_cost(net, batch, self.vectors, self.wy)

    def clean(self) -> None:
        """Sets small weights to exact zeros."""
        if self.threshold:
            in_place.zero_small(
                penalties.sparse_variables(self.net), self.threshold
            )

    def gradients(
        self, batch: Mapping[str, tf.Tensor], seed: Optional[tf.Tensor] = None
    ) -> dict:
        """Cost, penalty and gradients of one batch at the present weights.

        Args:
          batch: of `feed.make_batch`; on replicas, that of all of them.
          seed: `[2]` int, of dropout.

        Returns:
          dict with `costs` (see `penalties.answer_costs`), `cost` (their
          sum), `penalty`, `gradients` of both, in the order of `trained`,
          `votes` (see `LanguageModel`).
        """
        count = replicas.count()
        own = {name: replicas.own_rows(rows) for name, rows in batch.items()}
        with tf.GradientTape() as tape:
            with products.products_in(self.product_dtype):
                outputs = self.net(own, self.vectors, training=True, seed=seed)
            costs = penalties.answer_costs(
                outputs, own, self.wy, self.net.na_bias, batch
            )
            penalty = tf.add_n([0.0, *self.losses])
            if count > 1:
                costs = [cost / count for cost in costs]
                penalty = penalty / count
            total = tf.add_n(costs) + penalty
        gradients = tape.gradient(total, self.trained)
        votes: dict[str, tf.Tensor] = {}
        if count > 1:
            if self.vote is not None:
                votes["votes"] = tf.identity(self.vote)
            places = [i for i, g in enumerate(gradients) if g is not None]
            found, costs, penalty, votes = replicas.total(
                [[gradients[i] for i in places], costs, penalty, votes]
            )
            for i, gradient in zip(places, found):
                gradients[i] = gradient
        return {
            "costs": costs,
            "cost": tf.add_n(costs),
            "penalty": penalty,
            "gradients": gradients,
            "votes": votes,
        }

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data):
        """One step on a batch; see the class."""
        step = tf.cast(self.optimizer.iterations, tf.int32)
        self.averages.update()
        with self._keeping_values():
            self.clean()
            result = self.gradients(
                data, tf.stack([tf.constant(self.seed, tf.int32), step])
            )
            self.optimizer.apply_gradients(
                [
                    (g, v)
                    for g, v in zip(result["gradients"], self.trained)
                    if g is not None
                ],
                # They are sums over the replicas already.
                **(
                    {"skip_gradients_aggregation": True}
                    if replicas.count() > 1
                    else {}
                ),
            )
        cost = result["cost"]
        # The first value starts the average.
        weight = tf.where(step == 0, 0.0, self.decay)
        self.smoothed.assign(weight * self.smoothed + (1.0 - weight) * cost)
        return {
            "cost": cost,
            "regularization": result["penalty"],
            "smoothed_cost": self.smoothed,
            **result["votes"],
        }
