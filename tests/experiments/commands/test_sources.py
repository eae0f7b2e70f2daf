"""What a path holds is said without TensorFlow, and wrong ones in one line."""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

import h5py
import pytest

from iss_rnns import errors
from iss_rnns.experiments.commands import keras_version
from iss_rnns.experiments.commands import sources
from iss_rnns.experiments.commands import trust

ROOT = pathlib.Path(__file__).parents[3]


def write_keras(path, config, version="2.15.0"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "metadata.json", json.dumps({"keras_version": version})
        )
        archive.writestr("config.json", json.dumps(config))
    return path


def write_hdf5(path, version, config):
    with h5py.File(path, "w") as file:
        if version:
            file.attrs["keras_version"] = version
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
    return path


def test_the_version_of_keras_is_read_off_every_kind_of_file(tmp_path):
    zipped = sources.read(write_keras(tmp_path / "a.keras", {"a": 1}, "3.1.0"))
    assert (zipped.kind, zipped.keras) == (sources.KERAS, "3.1.0")
    assert zipped.config == {"a": 1}
    hdf5 = sources.read(write_hdf5(tmp_path / "a.h5", b"2.9.0", {"b": 2}))
    assert (hdf5.kind, hdf5.keras, hdf5.config) == (
        sources.HDF5,
        "2.9.0",
        {"b": 2},
    )
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "keras_metadata.pb").write_bytes(
        b'\x01{"keras_version": "2.11.0"'
    )
    saved = sources.read(folder)
    assert (saved.kind, saved.keras) == (sources.KERAS_FOLDER, "2.11.0")
    assert saved.bytes == (folder / "keras_metadata.pb").stat().st_size


def test_runs_and_compressed_models_are_told_apart(tmp_path):
    run, export = tmp_path / "run", tmp_path / "export"
    (run / "checkpoints").mkdir(parents=True)
    export.mkdir()
    (export / "manifest.json").write_text("{}")
    assert sources.read(run).kind == sources.RUN
    assert sources.read(export).kind == sources.COMPRESSED
    for path in (run, export):
        with pytest.raises(errors.UserError, match="small already; expected a"):
            sources.read_of_keras(path)


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.txt").write_text("no model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.keras").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    (tmp_path / "zeros.h5").write_bytes(bytes(100))
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("something", "else")
    with zipfile.ZipFile(tmp_path / "json.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{")
    write_hdf5(tmp_path / "weights.h5", "2.15.0", None)
    for name, pattern in {
        "missing.keras": "there is no model or run at .*missing.keras",
        "text.txt": "text.txt is neither a model nor a run; expected a .keras",
        "empty": "empty is neither a model nor a run",
        "cut.keras": "cannot read model .*cut.keras",
        "cut.h5": "cannot read model .*cut.h5",
        "zeros.h5": "zeros.h5: it is damaged, or no HDF5 file",
        "other.keras": "other.keras is neither a model nor a run",
        "json.keras": "cannot read model .*json.keras: it is no JSON",
        "weights.h5": "weights.h5 holds no model, at most weights",
    }.items():
        with pytest.raises(errors.UserError, match=pattern) as caught:
            sources.read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_files_of_version_1_0_0_pass():
    paths = list((ROOT / "tests/data/v1.0.0/keras").glob("*.keras"))
    assert len(paths) == 2
    for path in paths:
        source = sources.read_of_keras(path)
        assert source.keras.startswith("2.")
        trust.check(source)


LAYER = {"module": "keras.layers", "class_name": "LSTM", "config": {"units": 2}}


@pytest.mark.parametrize(
    "config",
    [
        LAYER,
        {**LAYER, "module": "iss_rnns.cells.lstm", "class_name": "LSTMCell"},
        {"module": None, "class_name": "LSTM", "config": {}},
        {
            "module": "builtins",
            "class_name": "function",
            "config": "softmax_v2",
        },
        {
            "module": "keras.src.activations",
            "class_name": "function",
            "config": "gelu",
        },
        {"class_name": "TFOpLambda", "config": {"function": "math.reduce_sum"}},
        {
            **LAYER,
            "compile_config": {"loss": {"module": "mine", "class_name": "L"}},
        },
    ],
)
def test_what_keras_writes_of_its_own_passes(config):
    trust.check(
        sources.Source(pathlib.Path("a.keras"), sources.KERAS, "2", config)
    )


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (
            {"class_name": "Lambda", "config": {"name": "twice"}},
            r"Python code \(the Lambda layer 'twice'\)",
        ),
        ({"class_name": "__lambda__", "config": {}}, r"Python code \(a lambda"),
        (
            {"module": "os", "class_name": "function", "config": "system"},
            "the function os.system",
        ),
        (
            {"module": "builtins", "class_name": "function", "config": "exec"},
            "the function builtins.exec",
        ),
        (
            {
                "module": "keras.src.utils.data_utils",
                "class_name": "function",
                "config": "get_file",
            },
            "the function keras.src.utils.data_utils.get_file",
        ),
        (
            {
                "module": "iss_rnns.files",
                "class_name": "function",
                "config": "remove",
            },
            "the function iss_rnns.files.remove",
        ),
        ({"module": "mine", "class_name": "Layer"}, "the class mine.Layer"),
        (
            {"module": "builtins", "class_name": "eval"},
            "the class builtins.eval",
        ),
        (
            {
                "class_name": "TFOpLambda",
                "config": {"function": "io.write_file"},
            },
            "a call of tf.io.write_file",
        ),
        (
            {"class_name": "ClassMethod", "config": {"name": "x"}},
            "a call by name",
        ),
    ],
)
def test_what_would_run_code_is_refused_wherever_it_stands(config, what):
    inside = {**LAYER, "config": {"layers": [LAYER, {"deep": [config]}]}}
    source = sources.Source(pathlib.Path("a.keras"), sources.KERAS, "2", inside)
    with pytest.raises(errors.UserError, match=f"{what}.*--trust loads"):
        trust.check(source)


@pytest.mark.parametrize(
    "data",
    [
        b'\x12{"class_name": "Lambda", "config": {}}',
        b'\x12{"class_\\u006eame": "x"}',
        b'\x12{"module":"os", "class_name": "function"}',
    ],
)
def test_metadata_of_saved_models_is_looked_at_likewise(data):
    path = pathlib.Path("folder")
    good = b'\x12{"module": "keras.layers", "class_name": "LSTM"}'
    trust.check(sources.Source(path, sources.KERAS_FOLDER, "2", good))
    with pytest.raises(errors.UserError, match="--trust"):
        trust.check(
            sources.Source(path, sources.KERAS_FOLDER, "2", good + data)
        )


def test_the_keras_of_the_file_is_chosen_or_missed():
    def of(version):
        return sources.Source(pathlib.Path("a.keras"), sources.KERAS, version)

    assert keras_version.legacy_keras(of("2.9.0"), "2.15.0", False) == "0"
    assert keras_version.legacy_keras(of("2.9.0"), "3.15.0", True) == "1"
    assert keras_version.legacy_keras(of("3.0.1"), "3.15.0", True) == "0"
    with pytest.raises(errors.UserError, match="Keras 2.9.0.*pip install tf_k"):
        keras_version.legacy_keras(of("2.9.0"), "3.15.0", False)
    with pytest.raises(
        errors.UserError, match="Keras 3.0.1, here is Keras 2.1"
    ):
        keras_version.legacy_keras(of("3.0.1"), "2.15.0", True)
    with pytest.raises(errors.UserError, match="one process has one of them"):
        keras_version.prepare([of("2.9.0"), of("3.0.1")])


# Each as in a shell; TensorFlow is never imported.
PROGRAM = """
import sys
from iss_rnns import cli
sys.argv = ["iss-rnns", *sys.argv[1:]]
try:
    cli.main()
finally:
    assert "tensorflow" not in sys.modules
"""


@pytest.mark.parametrize(
    ("arguments", "code", "printed", "told"),
    [
        ("inspect --help", 0, "iss-rnns inspect model.keras", ""),
        ("shrink --help", 0, "--multiple_of=N", ""),
        ("export --help", 0, "--max_loss=", ""),
        ("bench --help", 0, "--steps=N", ""),
        (
            "mend",
            2,
            "",
            r"unknown command 'mend'; usage: iss-rnns inspect\|shrink\|export\|bench",
        ),
        ("inspect", 2, "", "name a model or a run; --help"),
        ("inspect nothing.keras", 2, "", "no model or run at nothing.keras"),
        ("shrink nothing.keras --sizes=a", 2, "", "no model or run at nothing"),
        ("export nothing.keras", 2, "", "no model or run at nothing.keras"),
        ("bench nothing.keras", 2, "", "name the models to compare"),
        ("shrink a.keras --no_such=1", 2, "", "no_such"),
    ],
)
def test_help_and_mistakes_need_no_tensorflow(arguments, code, printed, told):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == code, done.stderr
    assert printed in done.stdout
    if told:
        assert done.stderr.count("\n") == 1
        assert re.search(told, done.stderr), done.stderr
    else:
        assert done.stderr == "" and "Other:" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
