"""SIGTERM (B30); how training follows it stands in test_training.py."""

import os
import signal
import subprocess
import sys

import pytest

from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import stopping

PROGRAM = """
import os, signal, sys, time
from iss_rnns.experiments import main as main_lib, stopping

def main(argv):
    with stopping.after_the_step():
        print("ready", flush=True)
        while not stopping.asked():
            time.sleep(0.01)
        print("asked", flush=True)
        time.sleep(60)

main_lib.run_main(main)
"""


def ask():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def fixture_unharmed():
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == before
    assert not stopping.asked()


def test_outside_training_it_ends_at_once_with_one_line(capsys):
    def main(argv):
        with stopping.on_sigterm():
            ask()
        raise AssertionError("it went on")

    assert main_lib.ending(main, []) == 143
    assert capsys.readouterr().err == (
        "terminated; a training run goes on with --resume from its last "
        "checkpoint\n"
    )


def test_while_training_it_waits_for_who_saves():
    steps = []
    with (
        stopping.on_sigterm(),
        pytest.raises(
            stopping.Terminated,
            match="terminated at step 2; the run goes on with --resume",
        ),
        stopping.after_the_step(),
    ):
        for step in (1, 2, 3):
            steps.append(step)
            stopping.end_if_asked(f" at step {step - 1}")
            if step == 2:
                ask()
    assert steps == [1, 2, 3]


def test_training_that_ends_by_itself_ends_the_program_too():
    with (
        stopping.on_sigterm(),
        pytest.raises(stopping.Terminated),
        stopping.after_the_step(),
    ):
        ask()


def test_an_error_is_told_first():
    with (
        stopping.on_sigterm(),
        pytest.raises(ZeroDivisionError),
        stopping.after_the_step(),
    ):
        ask()
        _ = 1 / 0


def test_no_exception_handler_takes_it_for_a_bug():
    assert not issubclass(stopping.Terminated, Exception)


def test_a_second_one_kills():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "asked\n"
        process.terminate()
        assert process.wait() == -signal.SIGTERM
        assert process.stderr.read() == ""
