"""What programs set before TensorFlow, and that they refuse Keras 3."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.experiments import environment

ROOT = pathlib.Path(__file__).parents[2]
SET = ("TF_ENABLE_ONEDNN_OPTS", "TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS")

# As in a notebook. Where there is no other Keras, it is made believe.
AFTER_KERAS_3 = """
import sys
import tensorflow as tf
tf.keras.layers
from iss_rnns import _keras
if not hasattr(tf.keras, "version"):
    _keras.VERSION = 3
from iss_rnns.experiments import main
from ptb import ptb_word_lm
sys.argv = ["ptb_word_lm"]
ptb_word_lm.define_flags()
main.run_main(ptb_word_lm.main)
"""


def prepared(monkeypatch, present, **chosen):
    for name in SET:
        monkeypatch.setenv(name, "")  # so that what comes is undone, too
        monkeypatch.delenv(name)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        environment.importlib.util,
        "find_spec",
        lambda name: object() if name in present else None,
    )
    environment.prepare()
    return {name: os.environ.get(name) for name in SET}


def test_keras_2_is_chosen_where_it_is_a_package(monkeypatch):
    names = prepared(monkeypatch, {"tf_keras"})
    assert names["TF_USE_LEGACY_KERAS"] == "1"
    # TensorFlow 2.15 would look for the package.
    assert prepared(monkeypatch, set())["TF_USE_LEGACY_KERAS"] is None


def test_whoever_has_chosen_keeps_the_choice(monkeypatch):
    chosen = dict.fromkeys(SET, "0")
    assert prepared(monkeypatch, {"tf_keras"}, **chosen) == chosen


@pytest.mark.parametrize(
    "present, message",
    [
        ({"tf_keras"}, "before anything imports TensorFlow, with TF_USE_LEG"),
        (set(), r"install it, pip install 'tf_keras==2\.\d+\.\*'$"),
    ],
)
def test_keras_3_is_refused(monkeypatch, present, message):
    monkeypatch.setattr(_keras, "VERSION", 3)
    monkeypatch.setattr(
        environment.importlib.util,
        "find_spec",
        lambda name: object() if name in present else None,
    )
    with pytest.raises(errors.UserError, match=message):
        environment.import_tensorflow()


def test_a_program_after_keras_3_ends_with_one_line():
    done = subprocess.run(
        [sys.executable, "-c", AFTER_KERAS_3],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in SET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(
        "error: the programs run on Keras 2, and this process has Keras 3: "
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("library", ["iss_rnns", "ptb"])
def test_the_programs_choose_keras_2_and_the_library_does_not(library):
    code = (
        "import json, os\n"
        f"import {library}\n"
        f"print(json.dumps([os.environ.get(n) for n in {SET}]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in SET},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    legacy = "1" if environment.importlib.util.find_spec("tf_keras") else None
    assert json.loads(found) == (
        ["1", "3", legacy] if library == "ptb" else 3 * [None]
    )


def test_tensorflow_comes_without_a_line():
    """That of 2.21 writes five at its import."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import ptb; from iss_rnns.experiments import environment as e; "
            "e.import_tensorflow(); import tensorflow as tf; "
            "print(tf.__version__, tf.keras.layers.Layer.__module__)",
        ],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in SET},
        capture_output=True,
        text=True,
        check=True,
    )
    version = tf.__version__
    assert done.stderr == ""
    assert done.stdout.startswith(version) and "keras.src.l" not in done.stdout
