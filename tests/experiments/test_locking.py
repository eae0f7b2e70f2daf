"""One process at a time in a run's folder (B22)."""

import os
import subprocess
import sys

import pytest

from iss_rnns import errors
from iss_rnns.experiments import locking
from iss_rnns.experiments import runs

# Starts in a tenth of a second: locking needs no TensorFlow.
HOLD = """
import sys
from iss_rnns.experiments import locking
held = locking.lock(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


class Other:
    """Another process that holds a folder until it is killed."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def contents(folder):
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(name="run")
def fixture_run(tmp_path):
    """One that could be resumed, left by a process that has ended."""
    folder = tmp_path / "runs" / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "state-1.json").write_text("{}")
    (folder / "flags.txt").write_text("mine")
    (folder / "checkpoints" / ".state-2.json.partial").write_text("half")
    return folder


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_second_process_gets_one_line_and_touches_nothing(run, how):
    with Other(run) as other:
        before = contents(run)
        with pytest.raises(
            errors.UserError,
            match=rf"runs/run is in use by another process \({other.pid}\); "
            "wait until it has ended, or choose another --run_name$",
        ):
            runs.RunDirectory(run.parent, run.name, **{how: True})
        assert contents(run) == before
        assert os.listdir(run.parent) == ["run"]
    # Death releases it.
    again = runs.RunDirectory(run.parent, run.name, **{how: True})
    assert again.checkpoint_steps() == ([1] if how == "resume" else [])


def test_two_that_begin_at_once(tmp_path):
    """The other one has made the folder, and nothing yet in it."""
    (tmp_path / "run").mkdir()
    with (
        Other(tmp_path / "run"),
        pytest.raises(errors.UserError, match="is in use by another"),
    ):
        runs.RunDirectory(tmp_path, "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_that_another_process_finished_meanwhile(tmp_path, monkeypatch):
    """It was begun and done between the look and the lock."""
    lock = locking.lock

    def late(folder):
        (folder / "flags.txt").write_text("the other's")
        return lock(folder)

    monkeypatch.setattr(locking, "lock", late)
    with pytest.raises(errors.UserError, match="run is not empty; continue"):
        runs.RunDirectory(tmp_path, "run")
    assert (tmp_path / "run" / "flags.txt").read_text() == "the other's"


def test_the_process_itself_is_not_locked_out_and_holds_on(run):
    first = runs.RunDirectory(run.parent, run.name, resume=True)
    second = runs.RunDirectory(run.parent, run.name, overwrite=True)
    del first
    refused = subprocess.run(
        [sys.executable, "-c", HOLD, str(run)],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "is in use by another process" in refused.stderr
    del second
    with Other(run):
        pass


def test_a_file_system_without_locks_is_noted(run, monkeypatch, capsys):
    def without(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locking.fcntl, "flock", without)
    runs.RunDirectory(run.parent, run.name, resume=True)
    assert capsys.readouterr().out == (
        f"note: cannot lock {run}: Operation not supported; see to it that no "
        "other process uses it\n"
    )
