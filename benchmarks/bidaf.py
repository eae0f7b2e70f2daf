"""BiDAF's speed: training, and one question before and after shrinking.

    python -m benchmarks.bidaf --quick --json=bidaf.json

The paper's model (hidden size 100, 100 + 100 features of a word) on random
ids of the lengths of SQuAD's passages. The rival is the same model, weights
and training step with its LSTMs in stock `tf.keras.layers.LSTM`; with our
dropout before them, or with TensorFlow's.
"""

from collections.abc import Mapping
import dataclasses
from typing import Optional

import numpy as np
import tensorflow as tf

from benchmarks import harness
from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import train as train_lib
from bidaf.net import groups as groups_lib
from bidaf.net import layers
from iss_rnns import errors
from iss_rnns.experiments.reports import results

TOLERANCE = 1e-3  # of costs, relative
RANDOM = 0.3  # of costs with other elements dropped
DENSE = "dense"


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and what it reads.

    Attributes:
      words: trained vectors; fixed: others.
      config: fields of `ModelConfig`; dropout as the program's.
      lengths: sentences, words of one, words of a question, characters;
        those of SQuAD on average.
      batch: questions of a training step; quick_batch: with `--quick`.
      sizes: units of the shrunk models by name; None: the paper's Table 3.
    """

    words: int = 3000
    fixed: int = 20_000
    config: Optional[Mapping] = None
    lengths: tuple[int, int, int, int] = (1, 150, 12, 16)
    batch: int = 60
    quick_batch: int = 10
    sizes: Optional[Mapping[str, Mapping[str, int]]] = None

    def new_config(self) -> model_lib.ModelConfig:
        """The net's hyper-parameters."""
        return model_lib.ModelConfig(
            **{
                **{
                    "word_vocab_size": self.words,
                    "char_vocab_size": 250,
                    "word_emb_size": 100,
                },
                **(self.config or {}),
            }
        )

    def new_net(self, kind=model_lib.BiDAF, sizes=None) -> model_lib.BiDAF:
        """A net with the case's sizes, equal weights for equal sizes."""
        return kind(self.new_config(), sizes)

    def shrunk_sizes(self, quick: bool) -> dict[str, Mapping[str, int]]:
        """Sizes to measure; with `quick` only the smallest."""
        sizes = self.sizes or {
            row["method"].replace(" ", "_").lower(): {
                name: row[name].value for name in groups_lib.PRUNABLE
            }
            for row in results.paper_rows("iss_table3_bidaf_finetune")
            if row["method"] != "baseline"
        }
        return dict(list(sizes.items())[-1:]) if quick else sizes

    def batch_of(self, count: int) -> dict[str, tf.Tensor]:
        """Random questions, labelled; lengths as alike as --cluster's."""
        rng = np.random.default_rng(0)
        config = self.new_config()
        sentences, words, asked, characters = self.lengths
        lengths = rng.integers(
            words - words // 5, words + 1, (count, sentences)
        )
        lengths[0] = words
        mask = np.arange(words) < lengths[..., None]
        asked_mask = np.ones((count, asked), bool)
        top = config.word_vocab_size + self.fixed
        arrays = {
            "x": rng.integers(1, top, mask.shape) * mask,
            "cx": rng.integers(
                1, config.char_vocab_size, (*mask.shape, characters)
            )
            * mask[..., None],
            "q": rng.integers(1, top, asked_mask.shape),
            "cq": rng.integers(
                1, config.char_vocab_size, (*asked_mask.shape, characters)
            ),
        }
        result = {
            name: tf.constant(array, tf.int32) for name, array in arrays.items()
        }
        label = np.zeros(mask.shape, bool)
        label[range(count), 0, rng.integers(0, words // 2, count)] = True
        return {
            **result,
            "x_mask": tf.constant(mask),
            "q_mask": tf.constant(asked_mask),
            "y": tf.constant(label),
            "y2": tf.constant(label),
        }

    def vectors(self) -> np.ndarray:
        """Fixed word vectors."""
        return (
            np.random.default_rng(1)
            .normal(size=(self.fixed, self.new_config().word_emb_size))
            .astype(np.float32)
        )


class StockTwoWay(tf.keras.layers.Layer):
    """`layers.TwoWay` with stock LSTMs, as a user of Keras would write it.

    Args:
      ours: whose initial weights it takes over.
      inputs: features of a word.
    """

    drop = staticmethod(layers.drop)

    def __init__(self, ours: layers.TwoWay, inputs: int):
        super().__init__(name=ours.name)
        self.directions = []
        for cell, backwards in zip(ours.cells, (False, True)):
            layer = tf.keras.layers.LSTM(
                cell.units,
                return_sequences=True,
                go_backwards=backwards,
                name=cell.name,
            )
            layer.build((None, None, inputs))
            layer.set_weights(
                [
                    cell.kernel.numpy(),
                    cell.recurrent_kernel.numpy(),
                    cell.effective_bias().numpy(),
                ]
            )
            self.directions.append(layer)
        self.built = True

    @property
    def cells(self):
        """(forward cell, backward cell)."""
        return [layer.cell for layer in self.directions]

    lstms = cells

    def call(
        self,
        inputs,
        lengths,
        constants=(),
        training=None,
        keep_prob=1.0,
        seed=None,
        site=0,
    ):
        """See `layers.TwoWay`."""
        mask = tf.sequence_mask(lengths, tf.shape(inputs)[1])
        forward, backward = (
            layer(
                self.drop(inputs, keep_prob, training, seed, site + i),
                mask=mask,
                training=training,
            )
            for i, layer in enumerate(self.directions)
        )
        outputs = tf.concat([forward, tf.reverse(backward, [1])], -1)
        return outputs * tf.cast(mask, outputs.dtype)[..., None]


class DroppingTwoWay(StockTwoWay):
    """With TensorFlow's dropout, too."""

    @staticmethod
    def drop(x, keep_prob, training, seed, site):
        """See `layers.drop`."""
        if not training or keep_prob >= 1.0:
            return x
        return tf.nn.experimental.stateless_dropout(
            x,
            1.0 - keep_prob,
            seed=tf.random.experimental.stateless_fold_in(seed, site),
        )


class StockBiDAF(model_lib.BiDAF):
    """The same net with its LSTMs in `tf.keras.layers.LSTM`."""

    two_way = StockTwoWay

    def _two_way(self, names, inputs, *args, **kwargs):
        return self.two_way(
            super()._two_way(names, inputs, *args, **kwargs), inputs
        )


class DroppingBiDAF(StockBiDAF):
    """With TensorFlow's dropout on their inputs."""

    two_way = DroppingTwoWay


KINDS = {
    "ours": model_lib.BiDAF,
    "keras": StockBiDAF,
    "keras_dropout": DroppingBiDAF,
}


def trainers(case: Case) -> dict:
    """A step of each kind on any batch, from equal weights: name -> cost."""

    def step_of(kind):
        model = train_lib.compiled(
            case.new_net(kind), options_lib.Options(), case.vectors()
        )
        step = tf.function(
            lambda batch: model.train_step(batch)["cost"],
            autograph=False,
            reduce_retracing=True,
        )
        return lambda batch: float(step(batch))

    return {name: step_of(kind) for name, kind in KINDS.items()}


def train_speed(case: Case, settings: harness.Settings) -> harness.Numbers:
    """Milliseconds of a step, questions per second, and their ratio.

    Raises:
      UserError: if the models' costs differ.
    """
    count = case.quick_batch if settings.quick else case.batch
    batch, steps = case.batch_of(count), trainers(case)
    costs = {
        name: [step(batch) for _ in range(2)] for name, step in steps.items()
    }
    if not all(
        np.allclose(costs["ours"], costs[name], rtol=tolerance)
        for name, tolerance in (("keras", TOLERANCE), ("keras_dropout", RANDOM))
    ):
        raise errors.UserError(
            f"the models' costs differ: {costs}; no speed to compare"
        )
    taken = harness.take_turns(
        {name: lambda step=step: step(batch) for name, step in steps.items()},
        2,
        4 if settings.quick else 15,
        6.0 if settings.quick else 60.0,
        settings.threads,
    )
    numbers = {
        f"train/speedup_over_{name}": harness.ratio(taken[name], taken["ours"])
        for name in taken
        if name != "ours"
    }
    for name, seconds in taken.items():
        numbers[f"train/{name}_ms"] = harness.milliseconds(seconds)
        numbers[f"train/{name}_questions_per_s"] = count / float(
            np.median(seconds)
        )
    return numbers


def predictors(case: Case, quick: bool) -> dict:
    """(net, function of a batch) by name: dense of each kind, shrunk."""
    nets = {
        "keras": case.new_net(StockBiDAF),
        DENSE: case.new_net(),
        **{
            name: case.new_net(sizes=sizes)
            for name, sizes in case.shrunk_sizes(quick).items()
        },
    }
    vectors = tf.constant(case.vectors())

    def function(net):
        def predict(batch):
            outputs = net(batch, vectors, training=False)
            return outputs["start"], outputs["end"]

        return tf.function(predict, autograph=False, reduce_retracing=True)

    return {name: (net, function(net)) for name, net in nets.items()}


def infer_speed(case: Case, settings: harness.Settings) -> harness.Numbers:
    """Milliseconds of one question, and ratios to the dense model."""
    batch = case.batch_of(1)
    nets = predictors(case, settings.quick)
    runs = {
        name: lambda predict=predict: predict(batch)[1].numpy()
        for name, (_, predict) in nets.items()
    }
    for run in runs.values():
        run()
    taken = harness.take_turns(
        runs,
        5,
        40 if settings.quick else 200,
        4.0 if settings.quick else 30.0,
        settings.threads,
    )
    dense, _ = nets[DENSE]
    numbers = {
        "infer/keras_ms": harness.milliseconds(taken["keras"]),
        "infer/speedup_over_keras": harness.ratio(taken["keras"], taken[DENSE]),
    }
    for name, (net, _) in nets.items():
        if name == "keras":
            continue
        numbers[f"infer/{name}/ms"] = harness.milliseconds(taken[name])
        if name != DENSE:
            numbers[f"infer/{name}/ratio"] = harness.ratio(
                taken[DENSE], taken[name]
            )
            numbers[f"infer/{name}/mult_adds_ratio"] = (
                dense.mult_adds() / net.mult_adds()
            )
    return numbers


def measure(settings: harness.Settings, case: Case = Case()) -> harness.Numbers:
    """Training and inference; see benchmarks/README.md for the names."""
    numbers = train_speed(case, settings)
    sentences, words, asked, _ = case.lengths
    count = case.quick_batch if settings.quick else case.batch
    print(
        f"\ntraining, {count} questions of {asked} words about "
        f"{sentences} x {words} words:"
    )
    for name in KINDS:
        line = (
            f"  {name:14s}{numbers[f'train/{name}_ms']:9.1f} ms"
            f"{numbers[f'train/{name}_questions_per_s']:9.1f} questions/s"
        )
        if name != "ours":
            line += (
                f"   ours {numbers[f'train/speedup_over_{name}']:.2f}x as fast"
            )
        print(line, flush=True)
    numbers.update(infer_speed(case, settings))
    print(
        f"one question: dense {numbers['infer/dense/ms']:.2f} ms, with "
        f"stock LSTMs {numbers['infer/keras_ms']:.2f} ms "
        f"({numbers['infer/speedup_over_keras']:.2f}x)"
    )
    for name in case.shrunk_sizes(settings.quick):
        print(
            f"  {name}: {numbers[f'infer/{name}/ms']:.2f} ms, "
            f"{numbers[f'infer/{name}/ratio']:.2f}x as fast; mult-adds of "
            f"the LSTMs {numbers[f'infer/{name}/mult_adds_ratio']:.2f}x "
            "fewer"
        )
    print(end="", flush=True)
    return numbers


if __name__ == "__main__":
    harness.run("benchmarks.bidaf", measure)
