"""Callbacks in `fit` under a strategy of two replicas: as with one."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import replicas

TESTS = pathlib.Path(__file__).parents[1]


@pytest.fixture(name="found", scope="module")
def fixture_found():
    done = subprocess.run(
        [sys.executable, TESTS / "replicas.py"],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", replicas.CASES)
def test_two_replicas_train_as_one(found, name):
    """Penalties count once, gradients are averaged, zeros are the same."""
    case = found[0][name]
    assert case["difference"] < 2e-5
    assert case["zeros"][0] == case["zeros"][1]
    assert sum(case["zeros"][0]) > 20
    assert case["units"] == replicas.UNITS - (name == "cut")


def test_cutting_on_replicas_is_refused(found):
    (message,) = found[1]
    assert message.startswith("units cannot be cut while a model trains on 2")
    assert "\n" not in message and "iss_rnns.shrink" in message
