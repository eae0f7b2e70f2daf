"""Inference of the dense and the shrunk word language model, and of rivals.

    python -m benchmarks.ptb_infer --quick --json=infer.json

(1500, 1500) LSTM units against the ISS paper's (373, 315), embedding 1500,
10,000 words: whole models from the exported SavedModels, from token ids to
logits, beside ONNX Runtime, PyTorch and stock Keras with the same weights;
and one step of one sequence from the TensorFlow Lite exports. What the
numbers mean: benchmarks/README.md.
"""

import dataclasses
import pathlib
import tempfile
from typing import Callable

import numpy as np
import tensorflow as tf

from benchmarks import harness
from benchmarks import ptb_peers
from iss_rnns.experiments.language import serving
from iss_rnns.experiments.reports import results
from ptb import model as model_lib

Runner = Callable[[np.ndarray], object]

IN_A_ROW = 20  # steps of one sequence that are timed together


@dataclasses.dataclass(frozen=True)
class Models:
    """What is compared.

    Attributes:
      dense: sizes of the layers of the dense model.
      iss: of the shrunk one.
      embedding: width of both's embedding.
      vocab: number of words.
      shapes: (batch, time steps) to run; the paper's is (10, 30).
    """

    dense: tuple[int, ...] = (1500, 1500)
    iss: tuple[int, ...] = (373, 315)
    embedding: int = 1500
    vocab: int = 10_000
    shapes: tuple[tuple[int, int], ...] = ((10, 30), (20, 35))

    def nets(self) -> dict[str, model_lib.WordLSTM]:
        """Nets of random weights, by name."""
        return {
            name: model_lib.WordLSTM(
                self.vocab, self.embedding, sizes, init_scale=0.04
            )
            for name, sizes in (("dense", self.dense), ("iss", self.iss))
        }


def saved_model(net, folder: pathlib.Path) -> Runner:
    """Ours: the compressed SavedModel, written and loaded again."""
    path = serving.save_compressed(
        net,
        folder / "x".join(map(str, net.hidden_sizes)),
        [f"w{i}" for i in range(net.vocab_size)],
        {},
    )
    served = serving.ServedLanguageModel(path)
    return lambda tokens: served.run(tokens, served.zero_states(len(tokens)))[
        0
    ].numpy()


def stock_keras(net) -> Runner:
    """Stock `tf.keras.layers` in a `tf.function` of any shape."""
    model = ptb_peers.KerasLM(net, 1)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def run(tokens):
        states = [tf.zeros([tf.shape(tokens)[0], n]) for n in net.state_sizes]
        return model(tokens, states)[0]

    return lambda tokens: run(tokens).numpy()


def runners(net, folder: pathlib.Path, threads: int) -> dict[str, Runner]:
    """Ours and every installed rival: `[B, T]` ids -> logits, by name."""
    result = {"ours": saved_model(net, folder), "keras": stock_keras(net)}
    if harness.find("onnxruntime") and harness.find("onnx"):
        result["onnxruntime"] = ptb_peers.onnx_predictor(net, threads)
    if harness.find("torch"):
        result["torch"] = ptb_peers.torch_predictor(net)
    return result


def latency_runner(
    net, folder: pathlib.Path, threads: int
) -> Callable[[], object]:
    """One token through the TensorFlow Lite export."""
    path = folder / ("x".join(map(str, net.hidden_sizes)) + ".tflite")
    runner = serving.LatencyRunner(serving.save_tflite_step(net, path), threads)
    return lambda: runner.step(1)


def batches(
    models: Models,
    runs: dict[str, dict[str, Runner]],
    settings: harness.Settings,
) -> harness.Numbers:
    """Every shape: milliseconds, ratios dense / ISS, and to the rivals.

    Args:
      models: see `Models`.
      runs: "dense" and "iss" -> runners by name.
      settings: threads and how long.
    """
    numbers = {}
    for batch, steps in models.shapes:
        tokens = (
            np.random.default_rng(0)
            .integers(0, models.vocab, (batch, steps))
            .astype(np.int32)
        )
        bound = {
            (size, name): lambda run=run, tokens=tokens: run(tokens)
            for size, named in runs.items()
            for name, run in named.items()
        }
        for named in runs.values():
            for run in named.values():
                # A few steps warm up as much as all of them.
                run(tokens[:, :2])
        taken = harness.take_turns(
            bound,
            1 if settings.quick else 5,
            5 if settings.quick else 15,
            5.0 if settings.quick else 45.0,
            settings.threads,
        )
        here = {}
        for (size, name), seconds in taken.items():
            here[f"{size}/{name}_ms"] = harness.milliseconds(seconds)
            if name != "ours":
                here[f"{size}/times_{name}"] = harness.ratio(
                    taken[size, "ours"], seconds
                )
        for name in runs["dense"]:
            here[f"ratio/{name}"] = harness.ratio(
                taken["dense", name], taken["iss", name]
            )
        numbers.update({f"{batch}x{steps}/{k}": v for k, v in here.items()})
    return numbers


def one_step(
    nets,
    runs: dict[str, dict[str, Runner]],
    folder: pathlib.Path,
    settings: harness.Settings,
) -> harness.Numbers:
    """Batch 1 x 1 step: the TensorFlow Lite export and ONNX Runtime.

    Many steps in a row, as when a text is written word by word: in turns
    after each step, the models would push each other out of the cache.
    """
    token = np.ones([1, 1], np.int32)
    bound = {}
    for size, net in nets.items():
        bound[size, "ours"] = latency_runner(net, folder, settings.threads)
        if "onnxruntime" in runs[size]:
            bound[size, "onnxruntime"] = lambda run=runs[size]["onnxruntime"]: (
                run(token)
            )
    turns = {
        key: lambda run=run: [run() for _ in range(IN_A_ROW)]
        for key, run in bound.items()
    }
    for turn in turns.values():
        turn()
    taken = harness.take_turns(
        turns,
        3,
        10 if settings.quick else 40,
        3.0 if settings.quick else 20.0,
        settings.threads,
    )
    taken = {key: seconds / IN_A_ROW for key, seconds in taken.items()}
    numbers = {
        f"1x1/{size}/{name}_ms": harness.milliseconds(seconds)
        for (size, name), seconds in taken.items()
    }
    for name in sorted({name for _, name in taken}):
        numbers[f"1x1/ratio/{name}"] = harness.ratio(
            taken["dense", name], taken["iss", name]
        )
    for size in nets:
        if (size, "onnxruntime") in taken:
            numbers[f"1x1/{size}/times_onnxruntime"] = harness.ratio(
                taken[size, "ours"], taken[size, "onnxruntime"]
            )
    return numbers


def show(models: Models, numbers: harness.Numbers) -> None:
    """Prints a table for each shape."""
    paper = results.paper_row("iss_table1_ptb", method="ISS (no ppl loss)")
    print(
        f"\n{models.dense} / {models.iss}: mult-adds "
        f"{numbers['mult_adds/ratio']:.2f}x fewer; the paper reports "
        f"{paper['speedup']}x at its own batch 10 x 30"
    )
    for shape in sorted(
        {name.split("/")[0] for name in numbers if "_ms" in name},
        key=lambda s: (len(s), s),
    ):
        print(f"batch x steps {shape}")
        for key in numbers:
            if not key.startswith(f"{shape}/ratio/"):
                continue
            name = key.split("/")[-1]
            line = (
                f"  {name:12s} dense "
                f"{numbers[f'{shape}/dense/{name}_ms']:9.2f} ms   ISS "
                f"{numbers[f'{shape}/iss/{name}_ms']:8.2f} ms   "
                f"{numbers[key]:5.2f}x"
            )
            if name != "ours":
                line += "   ours takes {:.2f} and {:.2f} of its time".format(
                    *(
                        numbers[f"{shape}/{size}/times_{name}"]
                        for size in ("dense", "iss")
                    )
                )
            print(line)
    print(end="", flush=True)


def measure(
    settings: harness.Settings, models: Models = Models()
) -> harness.Numbers:
    """All shapes; names begin with the shape."""
    nets = models.nets()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        runs = {
            size: runners(net, folder, settings.threads)
            for size, net in nets.items()
        }
        numbers = {
            "mult_adds/ratio": (
                nets["dense"].mult_adds() / nets["iss"].mult_adds()
            ),
            **batches(models, runs, settings),
            **one_step(nets, runs, folder, settings),
        }
    show(models, numbers)
    return numbers


if __name__ == "__main__":
    harness.run("benchmarks.ptb_infer", measure)
