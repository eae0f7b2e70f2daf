"""The highway language model's speed: training, and what shrinking brings.

    python -m benchmarks.rhn --quick --json=rhn.json

Training: whole steps (noise, forward, gradient, clipping, SGD) of the dense
model of the ISS paper's Table 2, with the cell in `recurrent.Recurrent` and
the same cell in a stock `tf.keras.layers.RNN`. Both start from the same
weights and masks; their first updates are compared. Inference: the dense
width against the paper's 517. What the numbers mean: benchmarks/README.md.
"""

import dataclasses
from typing import Callable

import numpy as np
import tensorflow as tf

from benchmarks import harness
from iss_rnns import errors
from iss_rnns import optimizers
from iss_rnns.experiments import machine
from iss_rnns.experiments.language import model as language_model
from rhns import model as model_lib

TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured; by default the models of the paper's Table 2."""

    width: int = 830
    shrunk_width: int = 517
    depth: int = 10
    vocab: int = 10_000
    batch: int = 20
    steps: int = 35
    infer_batch: int = 10
    infer_steps: int = 30

    def ids(self, *shape: int) -> np.ndarray:
        """Random words."""
        return (
            np.random.default_rng(0)
            .integers(0, self.vocab, shape)
            .astype(np.int32)
        )

    def new_net(self, kind=model_lib.HighwayLM):
        """The dense net, with the authors' rates of noise."""
        return kind(
            self.vocab,
            [self.width],
            self.depth,
            rates=model_lib.ModelConfig().rates,
        )


class StockHighwayLM(model_lib.HighwayLM):
    """The same net with its cells in `tf.keras.layers.RNN`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.stock = [
            tf.keras.layers.RNN(
                cell, return_sequences=True, return_state=True, time_major=True
            )
            for cell in self.cells
        ]

    def features(
        self, inputs, states=None, training=None, seed=None, noise=None
    ):
        """See base class."""
        noise = self.draw_noise(inputs, seed)
        x = tf.gather(self.embedding, tf.transpose(inputs))
        x *= tf.transpose(noise.words)[..., None]
        finals = []
        for layer, state, masks in zip(self.stock, states, noise.layers):
            x, final = layer(
                x,
                initial_state=[state],
                constants=list(masks),
                training=training,
            )
            finals.append(final)
        return x * noise.outputs, finals


def new_model(
    case: Case, kind=model_lib.HighwayLM, optimizer=None, product_dtype=None
) -> language_model.LanguageModel:
    """A net in its trainer."""
    config = model_lib.ModelConfig()
    model = language_model.LanguageModel(
        case.new_net(kind),
        case.batch,
        config.max_grad_norm,
        product_dtype=product_dtype,
    )
    model.compile(
        optimizer=(optimizer or optimizers.GradientDescent)(
            config.learning_rate
        )
    )
    model.optimizer.build(model.net.trainable_variables)
    return model


def trainers(
    case: Case, bfloat16: bool
) -> dict[str, language_model.LanguageModel]:
    """Models to train, from the same weights, by name."""
    models = {
        "ours": new_model(case),
        "keras": new_model(case, StockHighwayLM, tf.keras.optimizers.SGD),
    }
    if bfloat16:
        models["bfloat16_products"] = new_model(case, product_dtype=tf.bfloat16)
    return models


def update_difference(ours, stock, before) -> float:
    """Largest |difference| of a weight, relative to the largest update."""
    ours, stock = (
        [v.numpy() for v in model.trainable_variables]
        for model in (ours, stock)
    )
    largest = max(np.abs(a - b).max() for a, b in zip(ours, before))
    return float(
        max(np.abs(a - b).max() for a, b in zip(ours, stock)) / largest
    )


def train_speed(case: Case, settings: harness.Settings) -> harness.Numbers:
    """Milliseconds, words per second and ratios of a training step.

    Raises:
      UserError: if the first updates differ: then no speeds are compared.
    """
    models = trainers(case, not settings.quick and machine.cpu_has_bfloat16())
    x, y = case.ids(2, case.batch, case.steps)

    def runner(model) -> Callable[[], float]:
        step = tf.function(
            lambda: model.train_step((x, y))["cost"], autograph=False
        )
        return lambda: float(step())

    before = [v.numpy() for v in models["ours"].trainable_variables]
    runs = {name: runner(model) for name, model in models.items()}
    for run in runs.values():
        run()
    difference = update_difference(models["ours"], models["keras"], before)
    if not difference < TOLERANCE:
        raise errors.UserError(
            f"the two models' first updates differ by {difference:.3g} of "
            f"the largest, more than {TOLERANCE:g}: no speed to compare"
        )
    taken = harness.take_turns(
        runs,
        *((2, 3, 5.0) if settings.quick else (7, 20, 40.0)),
        settings.threads,
    )
    numbers = {"largest_update_difference": difference}
    for name, seconds in taken.items():
        numbers[f"{name}_ms"] = harness.milliseconds(seconds)
        numbers[f"{name}_words_per_s"] = x.size / float(np.median(seconds))
        if name != "ours":
            numbers[f"speedup_over_{name}"] = harness.ratio(
                seconds, taken["ours"]
            )
    return {f"train/{name}": value for name, value in numbers.items()}


def inference_speed(case: Case, settings: harness.Settings) -> harness.Numbers:
    """Milliseconds of a batch at both widths, and the ratios."""
    dense = case.new_net()
    nets = {
        "dense": dense,
        "iss": dense.resized({dense.cells[0].name: case.shrunk_width}),
    }
    ids = tf.constant(case.ids(case.infer_batch, case.infer_steps))

    def runner(net) -> Callable[[], float]:
        run = tf.function(
            lambda: tf.reduce_sum(net(ids, training=False)[0]), autograph=False
        )
        return lambda: float(run())

    runs = {name: runner(net) for name, net in nets.items()}
    for run in runs.values():
        run()
    taken = harness.take_turns(
        runs,
        *((2, 5, 3.0) if settings.quick else (7, 40, 20.0)),
        settings.threads,
    )
    return {
        **{
            f"infer/{name}_ms": harness.milliseconds(seconds)
            for name, seconds in taken.items()
        },
        "infer/ratio": harness.ratio(taken["dense"], taken["iss"]),
        "infer/mult_adds_ratio": dense.mult_adds() / nets["iss"].mult_adds(),
    }


def show(case: Case, numbers: harness.Numbers) -> None:
    """Prints what was measured."""
    print(
        f"\ntraining, depth {case.depth}, width {case.width}, batch "
        f"{case.batch} x {case.steps}"
    )
    for name in ("ours", "keras", "bfloat16_products"):
        if f"train/{name}_ms" not in numbers:
            continue
        line = (
            f"  {name:17s}{numbers[f'train/{name}_ms']:9.1f} ms"
            f"{numbers[f'train/{name}_words_per_s']:10,.0f} words/s"
        )
        if name != "ours":
            line += (
                f"   ours {numbers[f'train/speedup_over_{name}']:.2f}x as fast"
            )
        print(line)
    print(
        f"inference, batch {case.infer_batch} x {case.infer_steps}: width "
        f"{case.width} {numbers['infer/dense_ms']:.1f} ms, width "
        f"{case.shrunk_width} {numbers['infer/iss_ms']:.1f} ms, "
        f"{numbers['infer/ratio']:.2f}x as fast, with "
        f"{numbers['infer/mult_adds_ratio']:.2f}x fewer mult-adds",
        flush=True,
    )


def measure(settings: harness.Settings, case: Case = Case()) -> harness.Numbers:
    """Training and inference."""
    numbers = {**train_speed(case, settings), **inference_speed(case, settings)}
    show(case, numbers)
    return numbers


if __name__ == "__main__":
    harness.run("benchmarks.rhn", measure)
