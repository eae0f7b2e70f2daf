"""inspect, shrink and bench on files of every kind, in one process."""

import importlib
import re

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import errors
from iss_rnns import thresholding
from iss_rnns.experiments import program_flags

NAMES = ("keras", "h5", "folder")


@pytest.fixture(scope="module", name="files")
def fixture_files(tmp_path_factory):
    """A model with three dead units a layer, in each format; and data."""
    folder = tmp_path_factory.mktemp("models")
    layers = tf.keras.layers
    tf.keras.utils.set_random_seed(1)
    model = tf.keras.Sequential(
        [
            layers.LSTM(
                8, return_sequences=True, input_shape=[None, 3], name="lstm"
            ),
            layers.GRU(6, name="gru"),
            layers.Dense(1, name="read_out"),
        ]
    )
    places = {
        "keras": folder / "model.keras",
        "h5": folder / "model.h5",
        "folder": folder / "model",
        "whole": folder / "whole.keras",
        "lambda": folder / "lambda.keras",
        "x": folder / "x.npz",
        "wrong": folder / "wrong.npz",
    }
    model.save(places["whole"])
    for group in iss_rnns.find_groups(model):
        thresholding.zero_units(group, tf.range(group.size) < 3)
    for name in NAMES:
        model.save(places[name])
    tf.keras.Sequential(
        [layers.LSTM(2, input_shape=[None, 3]), layers.Lambda(lambda x: 2 * x)]
    ).save(places["lambda"])
    random = np.random.default_rng(1)
    x = random.standard_normal((5, 7, 3))
    np.savez(places["x"], x=x, y=np.zeros(5))
    np.savez(places["wrong"], x=x[..., :2])
    return {name: str(path) for name, path in places.items()}


@pytest.fixture(name="run")
def fixture_run(empty_flags, capsys):
    """`run(command, *arguments)` -> what it prints, without widths."""

    def run(command, *arguments):
        for name in list(empty_flags):
            delattr(empty_flags, name)
        program = importlib.import_module(
            f"iss_rnns.experiments.commands.{command}"
        )
        program.define_flags()
        program.main(program_flags.parse([command, *arguments]))
        return re.sub(" +", " ", capsys.readouterr().out)

    return run


@pytest.mark.parametrize("name", NAMES)
def test_inspect_shows_units_zeros_and_sizes(files, run, name):
    shown = run("inspect", files[name])
    assert "written by Keras 2." in shown
    # Kernel, recurrent kernel and bias: 4 gates of 8 units read 3 + 8 + 1.
    assert re.search(r"^lstm LSTM 8 384$", shown, re.M)
    assert re.search(r"^lstm 8 3 \d+ gru$", shown, re.M)
    assert re.search(r"^gru 6 3 \d+ read_out$", shown, re.M)
    assert re.search(r"kernel 3 x 32 384 37.5 0 37.5$", shown, re.M)
    weights = 4 * 8 * (3 + 8 + 1) + 3 * 6 * (8 + 6 + 2) + 7
    assert f"in all: {weights} weights" in shown
    mult_adds = 4 * 8 * (3 + 8) + 3 * 6 * (8 + 6) + 6
    assert f"{mult_adds} mult-adds a step" in shown


def test_inspect_writes_tables_and_pictures(files, run, tmp_path):
    pytest.importorskip("matplotlib")
    run("inspect", files["keras"], f"--out={tmp_path}")
    assert "## weights" in (tmp_path / "inspect.md").read_text()
    pictures = list(tmp_path.glob("*.png"))
    assert len(pictures) == 6  # of the matrices, and of the GRU's two biases
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_shrink_writes_what_is_proved(files, run, tmp_path):
    out = tmp_path / "small.keras"
    shown = run(
        "shrink", files["keras"], f"--data={files['x']}", f"--out={out}"
    )
    assert re.search(r"^lstm 8 5$", shown, re.M)
    assert re.search(r"^gru 6 3$", shown, re.M)
    assert "proved on 1 batches of the data" in shown
    assert re.search("proved on random weights: outputs differ", shown)
    small = tf.keras.models.load_model(out)
    assert [layer.units for layer in small.layers] == [5, 3, 1]
    x = np.load(files["x"])["x"].astype("float32")
    np.testing.assert_allclose(
        small(x), tf.keras.models.load_model(files["keras"])(x), atol=1e-5
    )
    with pytest.raises(errors.UserError, match="exists already; .*--overwrite"):
        run("shrink", files["keras"], f"--out={out}")
    shown = run(
        "shrink",
        files["keras"],
        f"--out={out}",
        "--overwrite",
        "--multiple_of=4",
    )
    assert "random weights and random inputs only (without --data)" in shown
    assert [
        layer.units for layer in tf.keras.models.load_model(out).layers
    ] == [8, 4, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["small.keras"]


def test_without_dead_units_nothing_is_written(files, run, tmp_path):
    out = tmp_path / "small.keras"
    shown = run("shrink", files["whole"], f"--out={out}")
    assert re.fullmatch("no unit of .* is dead: nothing to cut, .*\n", shown)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["keras", "--data=wrong"], r"shape \[5, 7, 2\], the model's input"),
        (["keras", "--data=keras"], "cannot read data"),
        (["keras", "--data=none"], "cannot read data"),
        (["keras", "--out=keras", "--overwrite"], "is the model itself"),
        (["keras", "--out=a.txt"], "must end in .keras or .h5"),
        (["keras", "--sizes=4,x"], "must be numbers of units, got 4,x"),
        (["lambda"], "Python code .*--trust loads it"),
    ],
)
def test_mistakes_are_one_line(files, run, arguments, pattern):
    known = {
        f"--{flag}={name}": f"--{flag}={files[name]}"
        for flag in ("data", "out")
        for name in files
    }
    given = [files.get(a, known.get(a, a)) for a in arguments]
    with pytest.raises(errors.UserError, match=pattern) as caught:
        run("shrink", *given)
    assert "\n" not in str(caught.value)


def test_with_trust_a_lambda_is_loaded(files, run):
    shown = run("inspect", files["lambda"], "--trust")
    assert "Lambda" in shown
    with pytest.raises(errors.UserError, match="--trust loads it"):
        run("inspect", files["lambda"])


def test_export_writes_what_loses_little(files, run, tmp_path):
    out = tmp_path / "meter"
    arguments = [
        files["whole"],
        "--format=c",
        "--dtype=int8",
        f"--data={files['x']}",
        "--metric=mean_squared_error",
        "--batch=2",
        f"--out={out}",
    ]
    shown = run("export", *arguments, "--max_loss=0.1")
    assert re.search(r"bytes of state .RAM. . \d+", shown)
    assert re.search(r"mean_squared_error .less is better., model . 0", shown)
    assert re.search("the same on 3 batches of data", shown)
    assert f"wrote {out}" in shown
    assert "int meter_step(" in (out / "meter.h").read_text()
    with pytest.raises(errors.UserError, match="exists already; .*--overwrite"):
        run("export", *arguments)
    arguments.append("--overwrite")
    with pytest.raises(errors.UserError, match="loses too much"):
        run("export", *arguments, "--max_loss=0")
    with pytest.raises(errors.UserError, match="error_rate cannot compare"):
        wrong = tmp_path / "wrong.npz"
        x = np.load(files["x"])["x"]
        np.savez(wrong, x=x, y=np.zeros((5, 2)))
        run("export", *arguments, f"--data={wrong}", "--metric=error_rate")
    with pytest.raises(errors.UserError, match="data .* has no y, which"):
        np.savez(wrong, x=x)
        run("export", *arguments, f"--data={wrong}")


def test_export_knows_the_formats_of_the_library():
    from iss_rnns.experiments.commands import export
    from iss_rnns.export import arithmetic
    from iss_rnns.export import formats

    assert export.FORMATS == tuple(formats.FORMATS)
    assert export.DTYPES == arithmetic.DTYPES


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--out=net"], "--format must be one of saved_model, tflite"),
        (["--format=c"], "--out must name the file or folder"),
        (["--format=onnx", "--out=net"], "a file whose name ends in .onnx"),
    ],
)
def test_export_says_what_is_missing(files, run, arguments, match):
    with pytest.raises(errors.UserError, match=match):
        run("export", files["whole"], *arguments)


def test_bench_shows_sizes_and_times(files, run):
    shown = run("bench", files["keras"], files["h5"], "--steps=4", "--rounds=2")
    assert "batch 1, 4 steps" in shown
    times = re.search(r"^ms, median ([\d.]+)", shown, re.M)
    assert times and float(times[1]) > 0
    assert re.search(r"^times as fast 1.00", shown, re.M)
