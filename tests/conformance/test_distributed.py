"""Steps of the tasks on replicas: those of one process, which are recorded."""

import json
import os
import subprocess
import sys

import distributed
import numpy as np
import pytest

RECORDED = json.loads(distributed.RECORDED.read_text())


def found(strategy, *cases):
    script = distributed.__file__
    done = subprocess.run(
        [sys.executable, script, strategy, *cases],
        cwd=distributed.RECORDED.parents[2],
        env={**os.environ, "PYTHONPATH": str(distributed.RECORDED.parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(case, name):
    expected = RECORDED[name]
    assert len(expected["costs"]) == 20
    np.testing.assert_allclose(case["costs"], expected["costs"], rtol=1e-5)
    assert case["sizes"] == expected["sizes"]
    zeros, known = (np.array(list(e["zeros"])) == "1" for e in (case, expected))
    assert np.mean(zeros != known) <= 1e-4
    assert case["alike"]


def test_two_replicas_train_dropout_and_cuts_as_one_process():
    case = found("mirrored", "ptb_cut")["ptb_cut"]
    check(case, "ptb_cut")
    assert case["sizes"] == [8, 8]  # two of ten were dead


@pytest.mark.slow
def test_two_replicas_train_every_task_as_one_process():
    names = ("ptb_size", "ptb_pruned", "rhn_tied", "rhn_untied", "bidaf")
    cases = found("mirrored", *names)
    for name in names:
        check(cases[name], name)
        assert RECORDED[name]["zeros"].count("1") > 20, name


@pytest.mark.slow
def test_one_device_is_one_process_bit_by_bit():
    cases = found("one_device", "ptb_cut", "rhn_tied", "bidaf")
    for name, case in cases.items():
        check(case, name)
        assert case["zeros"] == RECORDED[name]["zeros"]
