"""Training steps of the word language model beside stock Keras and PyTorch.

    python -m benchmarks.ptb_train --quick --json=train.json

A step is everything: embedding, LSTMs, softmax over 10,000 words, summed
cross entropy, gradient, clipping by the global norm, SGD; the state is
carried. Ours is the step that `python -m ptb.ptb_word_lm` runs, without
dropout. What the numbers mean: benchmarks/README.md.
"""

import dataclasses
from typing import Callable

import numpy as np
import tensorflow as tf

from benchmarks import harness
from benchmarks import ptb_peers
from iss_rnns import callbacks
from iss_rnns import groups
from iss_rnns import regularizers
from iss_rnns import schedules
from iss_rnns.experiments import machine
from iss_rnns.experiments import progress
from ptb import model as model_lib
from ptb import options as options_lib
from ptb import train

VOCAB = 10_000
TRAIN_WORDS = 929_589  # of Penn TreeBank
GLOBAL_DECAY = 0.003


@dataclasses.dataclass(frozen=True)
class Case:
    """A model to train and how long.

    Attributes:
      base: key of `ptb.model.CONFIGS`: embedding, batch, time steps, norm.
      hidden_sizes: of the LSTMs.
      vocab: number of words.
      rounds: least and most, with and without `--quick`.
      seconds: wall time to stop after, likewise.
    """

    base: str
    hidden_sizes: tuple[int, ...]
    vocab: int = VOCAB
    rounds: tuple[int, int] = (5, 30)
    quick_rounds: tuple[int, int] = (1, 5)
    seconds: float = 30.0
    quick_seconds: float = 0.7

    def options(self) -> options_lib.Options:
        """What the training program would run, without dropout."""
        config = dataclasses.replace(
            model_lib.CONFIGS[self.base], keep_prob=1.0
        )
        return options_lib.Options(config, hidden_sizes=self.hidden_sizes)


CASES = {
    "small": Case("small", (200, 200)),
    "medium": Case("medium", (650, 650)),
    "large": Case("large", (1500, 1500)),
    "iss": Case("large", (373, 315)),
}
SPARSE = "large"  # the case whose sparsity learning is measured
PRUNED = "small"  # and the one whose pruning is, without --quick
SPARSITY = 0.9  # of the pruned matrices
OURS = ("ours", "bfloat16", "bfloat16_products")
SHORT = 4  # time steps, where the number does not matter

Step = Callable[[np.ndarray, np.ndarray], float]  # (x, y) -> cost


def batch(case: Case, steps: int = None) -> tuple[np.ndarray, np.ndarray]:
    """Random (x, y), each `[B, T]`; `steps` other than the case's T."""
    config = case.options().config
    return tuple(
        np.random.default_rng(0)
        .integers(
            0, case.vocab, (2, config.batch_size, steps or config.num_steps)
        )
        .astype(np.int32)
    )


def graph_step(model, case: Case) -> Step:
    """A compiled Keras model's `train_step` in a graph for any time."""
    spec = tf.TensorSpec([case.options().config.batch_size, None], tf.int32)
    step = tf.function(
        lambda x, y: model.train_step((x, y))["cost"],
        input_signature=[spec, spec],
        autograph=False,
    )
    return lambda x, y: float(step(x, y))


def trainers(case: Case, bfloat16: bool = False) -> dict[str, Step]:
    """Steps of ours and of every peer that is installed, by name.

    Each starts from the same weights.

    Args:
      case: the model.
      bfloat16: also ours in mixed precision, and with only its products in
        bfloat16.
    """
    options = case.options()
    config = options.config
    net = train.new_net(options, case.vocab)
    keras = ptb_peers.KerasLM(net, config.batch_size, config.max_grad_norm)
    keras.compile(optimizer=tf.keras.optimizers.SGD(config.learning_rate))
    keras.optimizer.build(keras.trainable_variables)
    steps = {"keras": graph_step(keras, case)}
    if harness.find("torch"):
        steps["torch"] = ptb_peers.torch_trainer(
            net, config.learning_rate, config.max_grad_norm
        )
    if bfloat16:
        steps["bfloat16"] = graph_step(bfloat16_model(case), case)
        reduced = dataclasses.replace(options, compute_dtype="bfloat16")
        steps["bfloat16_products"] = graph_step(
            train.compiled(train.new_net(reduced, case.vocab), reduced), case
        )
    return {"ours": graph_step(train.compiled(net, options), case), **steps}


def bfloat16_model(case: Case):
    """Ours as `--mixed_precision` trains it."""
    options = case.options()
    with machine.policy(train.MIXED):
        return train.compiled(train.new_net(options, case.vocab), options)


def compare(
    case: Case, steps: dict[str, Step], settings: harness.Settings
) -> harness.Numbers:
    """Milliseconds, words per second and ratios of one case."""
    data = batch(case)
    for name, step in steps.items():
        # A few time steps warm up as much as all of them, but XLA compiles
        # ours for each number of them.
        step(*(data if name in OURS else batch(case, SHORT)))
    taken = harness.take_turns(
        {name: lambda step=step: step(*data) for name, step in steps.items()},
        *(case.quick_rounds if settings.quick else case.rounds),
        case.quick_seconds if settings.quick else case.seconds,
        settings.threads,
    )
    words = data[0].size
    numbers = {}
    for name, seconds in taken.items():
        numbers[f"{name}_ms"] = harness.milliseconds(seconds)
        numbers[f"{name}_words_per_s"] = words / float(np.median(seconds))
        if name != "ours":
            numbers[f"speedup_over_{name}"] = harness.ratio(
                seconds, taken["ours"]
            )
    return numbers


def sparsity_cost(
    case: Case, plain: Step, step_ms: float, settings: harness.Settings
) -> harness.Numbers:
    """What learning structures adds to a step of `step_ms` milliseconds.

    Group lasso and thresholding pass over the weights, whatever the number of
    time steps is. So their cost is taken from steps over few time steps,
    where it is not lost in the noise of a long step.

    Args:
      case: the model.
      plain: its step without.
      step_ms: its time.
      settings: threads and how long.

    Returns:
      `lasso_threshold_ms` a step, `statistics_ms` a step (sparsities at the
      end of each epoch of Penn TreeBank, and living units on the progress
      line of a terminal), and both as a percentage of the step.
    """
    options = case.options()
    net = train.new_net(options, case.vocab)
    model = train.compiled(net, options)
    for callback in (
        callbacks.GroupLasso(net.iss_groups(), GLOBAL_DECAY),
        callbacks.ThresholdZeroing(),
    ):
        callback.set_model(model)
    sparse = graph_step(model, case)
    x, y = batch(case, SHORT)
    runs = {"plain": lambda: plain(x, y), "sparse": lambda: sparse(x, y)}
    for run in runs.values():
        run()
    taken = harness.take_turns(
        runs,
        2,
        3 if settings.quick else 15,
        2.0 if settings.quick else 20.0,
        settings.threads,
    )
    added = 1e3 * float(np.median(taken["sparse"] - taken["plain"]))
    logger = callbacks.SparsityLogger(net.iss_groups())
    logger.set_model(model)
    config = options.config
    steps_per_epoch = (TRAIN_WORDS // config.batch_size - 1) // config.num_steps
    parts = harness.take_turns(
        {
            "epoch": lambda: logger.on_epoch_end(0, {}),
            "line": lambda: callbacks.alive_units(logger.groups, 0.05),
        },
        2,
        5,
        1.0,
        settings.threads,
    )
    statistics = harness.milliseconds(parts["epoch"]) / steps_per_epoch + min(
        harness.milliseconds(parts["line"])
        * step_ms
        / (1e3 * progress.REFRESH_SECONDS),
        progress.REFRESH_SHARE * step_ms,
    )
    return {
        "lasso_threshold_ms": added,
        "statistics_ms": statistics,
        "sparsity_share_percent": 100 * (added + statistics) / step_ms,
        "block_lasso_ms": block_lasso_ms(case.hidden_sizes[0], settings),
    }


def pruning_cost(
    case: Case, plain: Step, step_ms: float, settings: harness.Settings
) -> harness.Numbers:
    """What gradual pruning of single weights adds to a step.

    Args:
      case: the model; the matrices that the program prunes are.
      plain: its step without.
      step_ms: its time.
      settings: threads and how long.

    Returns:
      `pruning_ms` a step: masks times weights, and new masks at the steps
      that the schedules' default has; and as a percentage of the step.
    """
    options = case.options()
    steps = {"plain": plain}
    for name, end in (("masked", 0), ("renewed", 10**6)):
        net = train.new_net(options, case.vocab)
        model = train.compiled(net, options)
        types = net.layer_types()
        callbacks.GradualPruning(
            [v for name in model_lib.PRUNED_TYPES for v in types[name]],
            schedules.ConstantSparsity(SPARSITY, end=end, frequency=1),
        ).set_model(model)
        steps[name] = graph_step(model, case)
    x, y = batch(case, SHORT)
    runs = {name: lambda step=step: step(x, y) for name, step in steps.items()}
    for run in runs.values():
        run()
    taken = harness.take_turns(runs, 2, 15, 10.0, settings.threads)
    added = 1e3 * float(
        np.median(taken["masked"] - taken["plain"])
        + np.median(taken["renewed"] - taken["masked"]) / schedules.FREQUENCY
    )
    return {"pruning_ms": added, "pruning_share_percent": 100 * added / step_ms}


def block_lasso_ms(
    units: int, settings: harness.Settings, block: tuple[int, int] = (4, 4)
) -> float:
    """Group lasso on small blocks, with its gradient: milliseconds a step.

    Args:
      units: n; the matrix is `[2 n, 4 n]`, the authors' of an LSTM.
      settings: threads and how long.
      block: height and width.
    """
    matrix = tf.Variable(
        tf.random.stateless_normal([2 * units, 4 * units], [0, 0])
    )
    grid = groups.BlockGrid.uniform(matrix, *block)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            penalty = regularizers.group_lasso([grid], GLOBAL_DECAY)
        return tape.gradient(penalty, matrix)

    gradient()
    taken = harness.take_turns(
        {"lasso": lambda: gradient().shape},
        2,
        10,
        0.3 if settings.quick else 2.0,
        settings.threads,
    )
    return harness.milliseconds(taken["lasso"])


def show(name: str, case: Case, numbers: harness.Numbers) -> None:
    """Prints one case."""
    rows, steps = batch(case)[0].shape
    print(f"\n{name}: {case.hidden_sizes}, batch {rows} x {steps}")
    for key in [
        k[: -len("_words_per_s")] for k in numbers if k.endswith("_words_per_s")
    ]:
        line = (
            f"  {key:17s}{numbers[f'{key}_ms']:9.1f} ms"
            f"{numbers[f'{key}_words_per_s']:10,.0f} words/s"
        )
        if key != "ours":
            line += f"   ours {numbers[f'speedup_over_{key}']:.2f}x as fast"
        print(line)
    if "sparsity_share_percent" in numbers:
        print(
            f"  group lasso and threshold "
            f"{numbers['lasso_threshold_ms']:.1f} ms, statistics "
            f"{numbers['statistics_ms']:.1f} ms a step: "
            f"{numbers['sparsity_share_percent']:.1f} % of it; group lasso "
            f"on 4x4 blocks {numbers['block_lasso_ms']:.1f} ms"
        )
    if "pruning_ms" in numbers:
        print(
            f"  pruning single weights {numbers['pruning_ms']:.1f} ms a "
            f"step: {numbers['pruning_share_percent']:.1f} % of it"
        )
    print(end="", flush=True)


def measure(
    settings: harness.Settings, cases: dict[str, Case] = None
) -> harness.Numbers:
    """All cases; names begin with the case's."""
    results = {}
    for name, case in (cases or CASES).items():
        steps = trainers(
            case, bfloat16=not settings.quick and machine.cpu_has_bfloat16()
        )
        numbers = compare(case, steps, settings)
        if name == SPARSE:
            numbers.update(
                sparsity_cost(case, steps["ours"], numbers["ours_ms"], settings)
            )
        if name == PRUNED and not settings.quick:
            numbers.update(
                pruning_cost(case, steps["ours"], numbers["ours_ms"], settings)
            )
        show(name, case, numbers)
        results.update({f"{name}/{k}": v for k, v in numbers.items()})
    if not machine.cpu_has_bfloat16():
        print(
            "\nbfloat16 is not measured: this CPU has neither avx512_bf16 "
            "nor amx_bf16",
            flush=True,
        )
    return results


if __name__ == "__main__":
    harness.run("benchmarks.ptb_train", measure)
