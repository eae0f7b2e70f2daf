"""Two workers on this machine: one result, and what becomes of a lost one."""

import re
import signal
import subprocess
import sys
import time

import killing
import numpy as np
import ptb_program
import pytest
import workers

pytestmark = pytest.mark.slow

LOST = r"error: a worker was lost at step \d+ \(\w+\); start all again .*\n"
SAVED = r"terminated at step (\d+), which is saved; the run goes on .*\n"


class Runs:
    """Runs of a small language model, one a name."""

    def __init__(self, folder):
        self.folder = folder
        ptb_program.write_corpus(folder / "text", 1500)

    def command(self, name):
        return [
            sys.executable,
            *f"-m {ptb_program.MODULE} --model=test --epochs=2".split(),
            *"--hidden_sizes=12,12 --keep_prob=0.8 --batch_size=4".split(),
            "--config_file=ptb/settings/structure_grouplasso.json",
            *"--structure_wd=0.001 --zero_threshold=0.002".split(),
            *"--checkpoint_every=40 --threads=1".split(),
            *f"--shrink_every_steps=50 --run_name={name}".split(),
            f"--data_path={self.folder / 'text'}",
            f"--save_path={self.folder}",
        ]

    def midway(self, name):
        """Two workers that are in the middle of the second epoch."""
        found = workers.start(self.command(name))
        while not any(
            state["epoch"] == 1 and state["batch"]
            for state in killing.states(self.folder / name)
        ):
            assert all(each.poll() is None for each in found)
            time.sleep(0.01)
        return found


@pytest.fixture(name="runs", scope="module")
def fixture_runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("workers"))
    printed = workers.run(runs.command("two"))
    assert "report: " in printed[0] and "report: " not in printed[1]
    assert "worker 1: training is over" in printed[1]
    done = subprocess.run(
        runs.command("one"),
        cwd=workers.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return runs


def assert_near(runs, name, other):
    """To rounding: the same costs, sizes and, but for a few, zeros."""
    one, two = (killing.metrics(runs.folder / each) for each in (name, other))
    assert len(one) == len(two) == 2
    for key in one[0]:
        if key not in killing._MEASURED:
            np.testing.assert_allclose(
                [float(row[key]) for row in one],
                [float(row[key]) for row in two],
                rtol=1e-4,
                err_msg=key,
            )


def test_two_workers_train_as_one_process(runs):
    assert_near(runs, "one", "two")


def test_a_killed_worker_ends_the_other_and_both_resume(runs):
    processes = runs.midway("killed")
    processes[1].send_signal(signal.SIGKILL)
    (code, _, complaints), _ = workers.ends(processes, 60)
    assert code == 2, complaints
    assert re.fullmatch(LOST, complaints), complaints
    workers.run([*runs.command("killed"), "--resume"])
    killing.assert_same_ending(runs.folder / "two", runs.folder / "killed")


def test_all_end_when_one_is_asked_to_and_one_process_goes_on(runs):
    processes = runs.midway("ended")
    processes[1].send_signal(signal.SIGTERM)
    found = workers.ends(processes, 60)
    steps = set()
    for code, _, complaints in found:
        assert code == 128 + signal.SIGTERM, complaints
        steps.add(re.fullmatch(SAVED, complaints)[1])
    assert steps == {str(max(killing.steps(runs.folder / "ended")))}
    done = subprocess.run(
        [*runs.command("ended"), "--resume"],
        cwd=workers.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_near(runs, "one", "ended")
