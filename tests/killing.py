"""Signals that end a program in mid-epoch, and what follows."""

import csv
import json
import pathlib
import re
import signal
import subprocess
import time

import numpy as np
import tensorflow as tf

ROOT = pathlib.Path(__file__).parent.parent
# A program without what follows its training: cutting, exports, a report.
_TRAINING = """
import importlib, runpy, sys
from unittest import mock
module, *sys.argv[1:] = sys.argv[1:]
importlib.import_module(module.split(".")[0])  # sets the environment
from iss_rnns.experiments import finishing
with mock.patch.object(finishing, "finish"):
    runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_MEASURED = ("seconds", "words_per_second", "questions_per_second")


def kill_midway(command, run):
    """Starts a program and kills it (-9) in its second epoch.

    Args:
      command: of the program, which must save checkpoints in mid-epoch.
      run: the run's folder.

    Returns:
      The state of the last checkpoint.
    """
    ending, complaints = _signalled_midway(command, run, signal.SIGKILL)
    assert ending == -signal.SIGKILL, complaints
    last = max(states(run), key=lambda s: (s["epoch"], s["batch"]))
    assert last["epoch"] == 1 and last["batch"] > 0, "too late to resume"
    return last


def terminate_midway(command, run):
    """Starts a program and asks it to end (SIGTERM) in its second epoch.

    It ends with one line and the code of the signal, and a checkpoint of the
    step that the line names.

    Args:
      command: see `kill_midway`.
      run: the run's folder.
    """
    ending, complaints = _signalled_midway(command, run, signal.SIGTERM)
    assert ending == 128 + signal.SIGTERM, complaints
    match = re.fullmatch(
        r"terminated at step (\d+), which is saved; the run goes on with "
        "--resume from its last checkpoint\n",
        complaints,
    )
    assert match, complaints
    assert int(match[1]) == max(steps(run))
    assert not (run / "report.json").exists(), "too late to resume"


def _signalled_midway(command, run, number):
    """Exit code and stderr of a program that gets a signal in its 2nd epoch."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while process.poll() is None and not any(
            state["epoch"] == 1 and state["batch"] for state in states(run)
        ):
            time.sleep(0.002)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=300)
    finally:
        process.kill()
    return process.returncode, complaints


def train(command):
    """Runs a program to the end of its training, and no further.

    Args:
      command: the interpreter, `-m`, a module and its flags.

    Returns:
      What it printed.
    """
    interpreter, _, *program = command
    done = subprocess.run(
        [interpreter, "-c", _TRAINING, *program],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def kill_and_resume(command, run):
    """Kills a run in its second epoch, resumes it and waits for its end.

    Args:
      command: see `kill_midway` and `train`.
      run: its folder.

    Returns:
      The state of the last checkpoint before the resumption.
    """
    last = kill_midway(command, run)
    assert "resumed" in train([*command, "--resume"])
    return last


def assert_same_ending(run, other):
    """Both runs end with the same weights, optimizer and metrics."""
    expected, found = (last_arrays(folder) for folder in (run, other))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)
    rows = [
        [
            {k: v for k, v in row.items() if k not in _MEASURED}
            for row in metrics(folder)
        ]
        for folder in (run, other)
    ]
    assert rows[0] == rows[1]


def last_arrays(run):
    """Numbers of a run's last checkpoint by name."""
    return arrays(run / "checkpoints" / f"model-{max(steps(run))}")


def steps(run):
    """Of the run's checkpoints."""
    return [
        int(path.stem.split("-")[1])
        for path in (run / "checkpoints").glob("state-*.json")
    ]


def arrays(prefix):
    """Numbers of a checkpoint by name."""
    reader = tf.train.load_checkpoint(str(prefix))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if "OBJECT_GRAPH" not in name and "save_counter" not in name
    }


def metrics(run):
    """Rows of a run's `metrics.csv`, values as text."""
    with open(run / "metrics.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def states(run):
    """Of the checkpoints there are; a running program removes old ones."""
    found = []
    for path in (run / "checkpoints").glob("state-*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except FileNotFoundError:
            pass
    return found
