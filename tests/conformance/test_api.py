"""The public surface: what is promised exists, and what is shown runs."""

import ast
import doctest
import importlib
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import export
from iss_rnns.experiments import restoring
from iss_rnns.experiments.language import options
from iss_rnns.experiments.language import serving
from ptb import model as model_lib

ROOT = pathlib.Path(__file__).parents[2]

# Of version 1.0.0: importable for ever.
OF_1_0_0 = """
    BlockGrid BlockLasso BlockPruning Evaluator FreezeZeros GRUCell
    GradualPruning Group GroupLasso LSTMCell LanguageModel RHNCell Recurrent
    Served ShrinkWhileTraining SimpleRNNCell Slice SparsityLogger
    ThresholdZeroing UserError WeightPenalty iss_group save_compressed
""".split()
SINCE = """
RNN Groups export find_groups fit register_cell register_layer schedules shrink
sparse testing whole __version__
""".split()

RUNS = ROOT / "tests" / "data" / "v1.0.0" / "runs"
SHOWN = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "```python" in path.read_text(encoding="utf-8")
    and path.name != "first_hour.md"  # Its own test runs its commands, too.
)


def test_all_names_are_there():
    assert sorted(iss_rnns.__all__) == sorted(OF_1_0_0 + SINCE)
    for name in iss_rnns.__all__:
        assert getattr(iss_rnns, name) is not None, name
    assert set(iss_rnns.__all__) <= set(dir(iss_rnns))
    assert callable(iss_rnns.shrink)
    with pytest.raises(AttributeError, match="no attribute 'srink'"):
        _ = iss_rnns.srink


def test_star_import():
    names = {}
    exec("from iss_rnns import *", names)
    assert set(iss_rnns.__all__) <= set(names)


def test_importing_changes_nothing():
    code = (
        "import json, os, sys\n"
        "before = dict(os.environ)\n"
        "import iss_rnns, iss_rnns.cli, iss_rnns.experiments.main\n"
        "heavy = [m for m in ('tensorflow', 'keras') if m in sys.modules]\n"
        "print(json.dumps([dict(os.environ) == before, heavy]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout) == [True, []]
    assert done.stderr == ""


def blocks(text):
    """The Python blocks of a Markdown text, also indented ones."""
    for indent, block in re.findall(
        r"^( *)```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL
    ):
        yield re.sub(f"^{indent}", "", block, flags=re.MULTILINE)


def write_tflite(folder):
    """With `--export_latency`, which that run had not."""
    path = folder / "compressed.npz"
    with np.load(path) as file:
        vocabulary, width = file["Model/embedding"].shape
    net = restoring.restore(
        lambda sizes: model_lib.WordLSTM(
            vocabulary, width, options.layer_sizes(sizes)
        ),
        str(path),
        model_lib.sizes_of,
    )
    symbols = export.Vocabulary.read(folder / "compressed" / "vocabulary.txt")
    serving.save_tflite_step(
        net, folder / "compressed_1x1.tflite", symbols.symbols
    )


# That run is of version 1.0.0, which wrote no manifest.
@pytest.mark.filterwarnings("ignore:.* has no manifest.json")
@pytest.mark.parametrize("path", SHOWN)
def test_code_that_is_shown_runs(path, tmp_path, monkeypatch):
    """All blocks of a page, one after the other, as a reader would."""
    if path == "docs/onnx.md":
        for package in ("onnx", "onnxruntime"):
            pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RUNS / "cut", "runs/demo")  # as `make demo` leaves one
    write_tflite(pathlib.Path("runs/demo/saved_model"))
    shutil.copytree(RUNS / "pruned", "runs/pruned")
    names = {"__name__": "shown"}
    # Layers are named as in a process of the reader's own.
    tf.keras.backend.clear_session()
    for block in blocks((ROOT / path).read_text(encoding="utf-8")):
        exec(compile(block, path, "exec"), names)


def with_examples():
    for top in ("iss_rnns", "ptb", "rhns", "bidaf"):
        for path in sorted((ROOT / top).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            texts = (
                ast.get_docstring(node) or ""
                for node in ast.walk(tree)
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            )
            if any(">>>" in text for text in texts):
                parts = path.relative_to(ROOT).with_suffix("").parts
                yield ".".join(p for p in parts if p != "__init__")


@pytest.mark.parametrize("name", list(with_examples()))
def test_examples_in_docstrings(name):
    result = doctest.testmod(
        importlib.import_module(name),
        extraglobs={"iss_rnns": iss_rnns, "np": np, "tf": tf},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert result.attempted and not result.failed
