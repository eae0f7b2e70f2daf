"""Exported models: which format takes which, their bytes, error and time.

    python -m benchmarks.export

Prints three tables as Markdown: five models in every format; a step of a
block-sparse GRU in C beside the packed layer in Python; and the word language
model in ONNX beside the model of `ptb_peers`, made by hand. Each time is the
least of several turns, on one thread. Needs `onnx`, `onnxruntime` and `cc`.
"""

from collections.abc import Callable
import ctypes
import pathlib
import subprocess
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import harness
from benchmarks import ptb_peers
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import sparse
from iss_rnns import timing
from iss_rnns.export import c as c_lib
from iss_rnns.export import onnx_model
from iss_rnns.export import plans
from iss_rnns.export import reading
from iss_rnns.export import source as source_lib
from ptb import model as ptb_model
from rhns import model as rhn_model

layers = tf.keras.layers

# Title, format, type of the weights, with states.
COLUMNS = (
    ("saved_model", "saved_model", "float32", False),
    ("tflite", "tflite", "float32", False),
    ("tflite step, int8", "tflite", "int8", True),
    ("onnx", "onnx", "float32", False),
    ("onnx, int8", "onnx", "int8", False),
    ("c", "c", "float32", False),
    ("c, int8", "c", "int8", False),
)
ENDINGS = {"tflite": ".tflite", "onnx": ".onnx"}
STEPS = 20
ROUNDS = 7

# Calls a step again and again, so that nobody's call is measured with it.
LOOP = """#include "{name}.h"
float {name}_loop({name}_state *s, const float *x, float *y, int n);
float {name}_loop({name}_state *s, const float *x, float *y, int n)
{{
    for (; n > 0; n--)
        {name}_step(s, x, y);
    return y[0];
}}
"""


def stacked():
    """Two LSTM layers."""
    return tf.keras.Sequential(
        [
            layers.LSTM(64, return_sequences=True, input_shape=[None, 40]),
            layers.LSTM(64, return_sequences=True),
            layers.Dense(10),
        ]
    )


def tagger():
    """A GRU of both directions behind a mask."""
    ids = tf.keras.Input([None], dtype="int32", name="ids")
    x = layers.Embedding(1000, 32, mask_zero=True)(ids)
    x = layers.Bidirectional(layers.GRU(64, return_sequences=True))(x)
    return tf.keras.Model(ids, layers.Dense(10)(x))


def decoder():
    """A sequence-to-sequence model's decoder, its states in and out."""
    token = tf.keras.Input([None], dtype="int32", name="token")
    h, c = (tf.keras.Input([64], name=name) for name in "hc")
    x = layers.Embedding(1000, 32)(token)
    x, *states = layers.LSTM(64, return_sequences=True, return_state=True)(
        x, initial_state=[h, c]
    )
    return tf.keras.Model([token, h, c], [layers.Dense(1000)(x), *states])


MODELS: dict[str, Callable[[], Any]] = {
    "stacked LSTM, 2 x 64": stacked,
    "biGRU 64 with a mask": tagger,
    "decoder, LSTM 64": decoder,
    "PTB, 2 LSTMs of 200": lambda: ptb_model.WordLSTM(10000, 200, [200, 200]),
    "RHN 200, depth 5": lambda: rhn_model.HighwayLM(10000, [200], 5),
}


def formats() -> str:
    """The first table."""
    titles = [title for title, *_ in COLUMNS]
    lines = [
        f"| | {' | '.join(titles)} |",
        f"|---|{'---|' * len(titles)}",
    ]
    for name, make in MODELS.items():
        model = make()
        cells = [_cell(model, *column) for _, *column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def _cell(model, format: str, dtype: str, states: bool) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, f"net{ENDINGS.get(format, '')}")
        try:
            done = export.export(model, path, format, dtype, states=states)
        except errors.UserError as error:
            return f"refused: {error}"
        size = (
            int(
                done.facts[
                    "bytes of constants (flash, beside the code)"
                ].replace(",", "")
            )
            if format == "c"
            else export.bytes_of(path)
        )
        run = _runner(source_lib.of(model), path, format, states)
        text = f"{size / 1000:,.0f} kB, {done.proof.random_difference:.0e}"
        if run is None:
            return text
        seconds = timing.time_in_turn({"": run}, ROUNDS, 2)[""]
        return f"{text}, {1e3 * min(seconds):.3g} ms"


def _runner(source, path: pathlib.Path, format: str, states: bool):
    """One example of 20 steps, or one step of those that read single ones."""
    given = source.random(1, STEPS)
    if format == "onnx":
        model = onnx_model.ONNXModel(path)
        return lambda: model(**given)
    if format == "c":
        return None
    loaded = export.load(path)
    if format == "saved_model":
        return lambda: [np.asarray(t) for t in loaded(**given).values()]
    random = np.random.default_rng(0)
    given = {
        name: random.integers(0, 9, shape).astype(np.int32)
        if len(shape) < 2 or name in ("ids", "tokens", "token")
        else random.standard_normal(shape).astype(np.float32)
        for name, shape in (
            (name, [STEPS if n == -1 else n for n in shape])
            for name, shape in loaded.inputs.items()
        )
    }
    return lambda: loaded(**given)


def gru_step(units: int = 384, kept: float = 0.1) -> str:
    """The second table: C as compiled for this machine, and packed float32."""
    random = np.random.default_rng(0)

    def matrix():
        shape = units // 4, 3 * units // 8
        mask = (random.random(shape) < kept).repeat(4, 0).repeat(8, 1)
        dense = random.standard_normal((units, 3 * units)) * 0.1
        return (dense * mask).astype(np.float32)

    arrays = {"kernel": matrix(), "recurrent_kernel": matrix()}
    bias = np.zeros((2, 3 * units), np.float32)
    packed = sparse.pack_layer(
        sparse.PackedGRU, arrays, {"bias": bias}, (4, 8), batch_sizes=(1,)
    )
    plan = plans.Plan(
        [plans.Input("x", "float32", (None, None, units))],
        [
            plans.Layer(
                "gru",
                "gru",
                ["x"],
                ["gru", "final"],
                {**arrays, "bias": bias[0], "recurrent_bias": bias[1]},
                {
                    **reading.FORWARD,
                    "activation": "tanh",
                    "recurrent_activation": "sigmoid",
                    "reset_after": True,
                },
            )
        ],
        {"y": "gru"},
        {"x": units, "gru": units},
    )
    x = random.standard_normal(units).astype(np.float32)
    runs, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "int8"):
            model = c_lib.CModel(plan, f"gru_{dtype}", dtype)
            runs[f"C {dtype}"] = _compiled(model, pathlib.Path(folder), x)
            sizes[f"C {dtype}"] = f"{model.flash:,} | {model.ram:,}"
        state = [np.zeros((1, units), np.float32)]
        runs["packed float32, one step a call"] = lambda: [
            packed(x[None, None], state) for _ in range(100)
        ]
        sequence = np.tile(x, (1, 100, 1))
        runs["packed float32, 100 steps a call"] = lambda: packed(sequence)
        taken = timing.time_in_turn(runs, 30, 2)
    lines = ["| | us a step | bytes, flash | RAM |", "|---|---|---|---|"]
    for name, seconds in taken.items():
        shown = f"{1e6 * min(seconds) / 100:.2f}"
        lines.append(f"| {name} | {shown} | {sizes.get(name, ' | ')} |")
    return "\n".join(lines)


def _compiled(model, folder: pathlib.Path, x: np.ndarray):
    name = model.name
    (folder / f"{name}.h").write_text(model.header)
    (folder / f"{name}.c").write_text(model.source)
    (folder / "loop.c").write_text(LOOP.format(name=name))
    library = folder / f"{name}.so"
    subprocess.run(
        [
            "cc",
            "-std=c99",
            "-O2",
            "-ftree-vectorize",
            "-march=native",
            "-ffp-contract=off",
        ]
        + ["-shared", "-fPIC", "-o", str(library), "-lm"]
        + [str(folder / each) for each in (f"{name}.c", "loop.c")],
        check=True,
    )
    loop = getattr(ctypes.CDLL(str(library)), f"{name}_loop")
    state = ctypes.create_string_buffer(model.ram)
    output = np.zeros(model.outputs, np.float32)
    places = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, output)]
    return lambda: loop(state, *places, 100)


def onnx_words() -> str:
    """The third table: 2 LSTMs of 650 on 20 words, as made by hand."""
    net = ptb_model.WordLSTM(10000, 650, [650, 650])
    tokens = np.arange(STEPS, dtype=np.int32)[np.newaxis]
    hand = ptb_peers.onnx_predictor(net, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "net.onnx")
        export.export(net, path, "onnx", states=True)
        model = onnx_model.ONNXModel(path)
    states = {
        name: np.zeros((1, n), np.float32)
        for name, n in zip(net.state_names, net.state_sizes)
    }
    found = model(tokens=tokens, **states)["logits"]
    np.testing.assert_allclose(
        found, hand(tokens).swapaxes(0, 1), rtol=0, atol=1e-5
    )
    taken = timing.time_in_turn(
        {
            "exported": lambda: model(tokens=tokens, **states),
            "by hand": lambda: hand(tokens),
        },
        40,
        3,
    )
    return "\n".join(
        ["| | ms, least | ms, median |", "|---|---|---|"]
        + [
            f"| {name} | {1e3 * min(s):.2f} | {1e3 * np.median(s):.2f} |"
            for name, s in taken.items()
        ]
    )


def main() -> None:
    """Prints all."""
    harness.limit_threads(1)
    for table in (gru_step, onnx_words, formats):
        print(table(), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
