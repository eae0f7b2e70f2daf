"""A training step of several workers on this machine: bytes and time.

    python -m benchmarks.workers --json=workers.json

Language models of growing size are trained for some steps by one process, and by
two that share every batch over the loopback device, whose counter gives the
bytes. What 8 and 64 workers would take on a network of their own is worked out
from that: see `predicted`.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from absl import app
from absl import flags

FLAGS = flags.FLAGS
# Vocabulary, units of both layers, rows and time steps of a global batch.
CASES = {
    "tiny": (2000, 64, 20, 20),
    "small": (10_000, 200, 20, 20),
    "medium": (10_000, 650, 20, 35),
}
SKIPPED = 4  # first steps, which compile


def define_flags() -> None:
    flags.DEFINE_list("cases", list(CASES), "Which of them.")
    flags.DEFINE_integer("steps", 24, "Of each run.", lower_bound=SKIPPED + 4)
    flags.DEFINE_string("json", None, "File for the numbers.")
    flags.DEFINE_string("plot", None, "File for a picture.")
    flags.DEFINE_float(
        "gigabits", 10.0, "Of a worker's network, for what is worked out."
    )
    flags.DEFINE_string("worker", None, "For the processes that this starts.")


def loopback_bytes() -> int:
    """Sent so far, by all processes of this machine."""
    for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    raise OSError("this machine has no loopback device")


def train(case: str, hosts: str, index: int, steps: int) -> dict[str, float]:
    """One worker's part: median time of a step, and the bytes of all."""
    from iss_rnns.experiments import environment

    environment.prepare()
    import numpy as np
    import tensorflow as tf

    from iss_rnns import optimizers
    from iss_rnns.experiments import distribution
    from iss_rnns.experiments import loop
    from iss_rnns.experiments import machine
    from iss_rnns.experiments.language import model as language_model
    from ptb import model as model_lib

    words, units, rows, length = CASES[case]
    values = {
        "mode": "train",
        "distribution_strategy": "multi_worker_mirrored" if hosts else "off",
        "num_replicas": None,
        "worker_hosts": hosts.split("+") if hosts else None,
        "task_index": index if hosts else None,
    }
    machine.prepare_cpu(1, join=lambda: distribution.join(values, rows))
    with distribution.current().scope():
        net = model_lib.WordLSTM(words, units, [units, units])
        model = language_model.LanguageModel(net, rows, 5.0)
        model.compile(optimizer=optimizers.GradientDescent(1.0))
        model.optimizer.build(model.trainable_variables)
    ids = np.random.default_rng(0).zipf(1.3, [steps, rows, length])
    ids = ids.clip(1, words).astype(np.int32) - 1
    marks = []

    class Marks(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            marks.append((time.perf_counter(), loopback_bytes()))

    loop.fit_batches(
        model,
        lambda *_: tf.data.Dataset.from_tensor_slices(
            (ids, np.roll(ids, -1, 2))
        ),
        steps,
        1,
        [Marks()],
    )
    marks = marks[SKIPPED:]
    times = [b[0] - a[0] for a, b in zip(marks, marks[1:])]
    return {
        "weights": sum(v.shape.num_elements() for v in net.trainable_variables),
        "embedding": words * units,
        "rows": rows * length * units,
        "ms": 1000 * statistics.median(times),
        "bytes": (marks[-1][1] - marks[0][1]) / len(times),
    }


def measured(case: str, count: int) -> dict[str, float]:
    """What the chief of so many workers found."""
    hosts = "+".join(f"127.0.0.1:{24300 + i}" for i in range(count))
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.workers",
                f"--worker={case},{hosts if count > 1 else ''},{index}",
                f"--steps={FLAGS.steps}",
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        for index in range(count)
    ]
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"a worker of {case} failed")
    found = json.loads(printed[0].splitlines()[-1])
    return {**found, "bytes": found["bytes"] / count if count > 1 else 0.0}


def exchanged(case: dict[str, float], count: int) -> float:
    """Bytes that each of so many workers sends in a step, by arithmetic.

    A ring of workers sends all that is dense twice, but for the own part; the
    rows of the words that were read go once to each of the others.
    """
    dense = 4 * (case["weights"] - case["embedding"])
    return 2 * (count - 1) / count * dense + 4 * case["rows"] * (
        (count - 1) / count
    )


def predicted(case: dict[str, float], count: int) -> dict[str, float]:
    """Times of a step on so many workers: each with the rows measured, or a
    global batch of so many rows.

    One worker's time, or its share, and the exchange at `--gigabits`; the two do
    not overlap. Of the shared batch this is too good: the update of all weights
    is not shared.
    """
    wire = 1000 * exchanged(case, count) * 8 / (FLAGS.gigabits * 1e9)
    return {"weak": case["ms"] + wire, "strong": case["ms"] / count + wire}


def draw(found: dict[str, dict[str, float]], path: str) -> None:
    """Speedups over one worker by the number of workers, of each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    counts = [1, 2, 4, 8, 16, 32, 64]
    figure, axes = pyplot.subplots(figsize=(6, 4))
    for name, case in found.items():
        times = [
            case["ms"] if n == 1 else predicted(case, n)["weak"] for n in counts
        ]
        axes.plot(
            counts,
            [n * case["ms"] / t for n, t in zip(counts, times)],
            marker="o",
            label=f"{name}, {case['weights'] / 1e6:.1f} M weights",
        )
    axes.plot(counts, counts, color="grey", linestyle=":", label="ideal")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="workers, each with as many rows",
        ylabel="words per second, of one worker's",
        title=f"worked out at {FLAGS.gigabits:g} Gbit/s",
    )
    axes.legend()
    figure.savefig(path, dpi=100, bbox_inches="tight")


def main(argv) -> None:
    del argv
    if FLAGS.worker:
        case, hosts, index = FLAGS.worker.split(",")
        print(json.dumps(train(case, hosts, int(index), FLAGS.steps)))
        return
    found = {}
    for name in FLAGS.cases:
        one, two = measured(name, 1), measured(name, 2)
        found[name] = {
            **one,
            "ms_two": two["ms"],
            "bytes": two["bytes"],
            "bytes_by_arithmetic": exchanged(one, 2),
        }
        for count in (8, 64):
            for kind, ms in predicted(one, count).items():
                found[name][f"ms_{kind}_{count}"] = ms
        print(name, json.dumps(found[name]), flush=True)
    if FLAGS.json:
        pathlib.Path(FLAGS.json).write_text(json.dumps(found, indent=1))
    if FLAGS.plot:
        draw(found, FLAGS.plot)


if __name__ == "__main__":
    define_flags()
    app.run(main)
