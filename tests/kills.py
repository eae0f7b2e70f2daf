"""Kills programs at any moment, resumes them, and compares: the long run.

    python tests/kills.py --task=ptb --kills=30

A small run of each task, with dropout, steered to a size and its units cut
while it trains, is made once without a disturbance. Then the same run gets `kill -9`
after a random part of that time, start and export included, and is resumed,
again and again until it ends: with the same weights, optimizer and metrics,
bit by bit.

    python tests/kills.py --task=ptb --kills=10 --workers=2

does so with runs of several workers: one of them is killed, the others must end
by themselves with one line, and all are started again.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import killing
import ptb_program
import workers as workers_lib

LANGUAGE = [
    "--epochs=3",
    "--batch_size=4",
]
TASKS = {
    "ptb": [
        "ptb.ptb_word_lm",
        "--model=test",
        "--hidden_sizes=12,12",
        "--keep_prob=0.8",
        *LANGUAGE,
    ],
    "rhns": [
        "rhns.rhn_train",
        "--hidden_size=8",
        "--depth=2",
        "--num_steps=5",
        *LANGUAGE,
    ],
    "bidaf": [
        "bidaf.cli",
        "--mode=train",
        "--data_dir=synthetic",
        "--synthetic_train=60",
        "--synthetic_dev=16",
        "--word_count_th=1",
        "--char_count_th=2",
        "--hidden_size=4",
        "--char_emb_size=2",
        "--char_out_size=3",
        "--out_channel_dims=3",
        "--highway_num_layers=1",
        "--batch_size=6",
        "--max_train_steps=24",
        "--eval_period=6",
        "--input_keep_prob=0.8",
        "--learning_rate=0.01",
        "--var_decay=0.8",
    ],
}


def command_of(task, folder):
    """The task's program with all flags but the run's name."""
    module, *flags = TASKS[task]
    if task != "bidaf":
        flags.append(f"--data_path={folder / 'data'}")
    return [
        sys.executable,
        "-m",
        module,
        *flags,
        "--threads=1",
        "--seed=3",
        "--target_units=0.5",
        "--target_reach=0.6",
        "--checkpoint_every=2",
        "--shrink_every_steps=10",
        "--least_gain=0",
        f"--save_path={folder}",
    ]


def attempt(command, seconds):
    """Runs a program for some seconds at most; its exit code, and stderr."""
    process = subprocess.Popen(
        command,
        cwd=killing.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, complaints = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        _, complaints = process.communicate()
    return process.returncode, complaints


def attempt_workers(command, seconds, count, chance):
    """As `attempt`, of several workers of which one is killed."""
    processes = workers_lib.start(command, count)
    deadline = time.monotonic() + (seconds or 3600)
    while time.monotonic() < deadline and any(
        each.poll() is None for each in processes
    ):
        time.sleep(0.05)
    living = [each for each in processes if each.poll() is None]
    victim = chance.choice(living) if living else None
    if victim:
        victim.kill()
        killed = time.monotonic()
    # One that waits for the others to come does so for two minutes.
    ends = workers_lib.ends(processes, 150)
    if victim is None:
        return max(code for code, _, _ in ends), ends[0][2]
    for process, (code, _, complaints) in zip(processes, ends):
        if process is not victim and process in living:
            assert code == 2 and complaints.count("\n") == 1, complaints
            print(
                f"the other ended after {time.monotonic() - killed:.0f} s: "
                f"{complaints}",
                end="",
            )
    return -signal.SIGKILL, ""


def kill_often(task, kills, seed, folder, count=1):
    """Kills a task's runs until there were as many kills as asked for.

    Args:
      count: of the run's workers.

    Returns:
      The number of kills, and that of the runs which ended after them.

    Raises:
      AssertionError: a run ended otherwise than the undisturbed one.
    """
    chance = random.Random(seed)
    if task != "bidaf":
        ptb_program.write_corpus(folder / "data", tokens=1000)
    command = command_of(task, folder)

    def tried(flags, seconds):
        if count == 1:
            return attempt([*command, *flags], seconds)
        return attempt_workers([*command, *flags], seconds, count, chance)

    began = time.monotonic()
    code, complaints = tried(["--run_name=whole"], None)
    assert code == 0, complaints
    seconds = time.monotonic() - began
    cuts = json.loads((folder / "whole" / "cuts.json").read_text())
    assert cuts, "no unit was cut"
    print(f"{task}: {seconds:.0f} s, {len(cuts)} cuts", flush=True)
    done = runs = 0
    while done < kills:
        run = folder / f"killed-{runs}"
        resume = []
        while True:
            code, complaints = tried(
                [f"--run_name={run.name}", *resume],
                chance.uniform(0, 1.5) * seconds,
            )
            if code == 0:
                break
            assert code == -signal.SIGKILL, complaints
            done += 1
            states = killing.states(run)
            # Killed before its first checkpoint, it begins anew.
            resume = ["--resume"] if states else ["--overwrite"]
            at = max((s["epoch"], s["batch"]) for s in states) if states else 0
            print(f"{task}: kill {done} at (epoch, batch) {at}", flush=True)
        killing.assert_same_ending(folder / "whole", run)
        runs += 1
        print(f"{task}: run {runs} ended with the same numbers", flush=True)
    return done, runs


def main():
    """Kills runs of the tasks asked for, and prints the sums."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--task", action="append", choices=sorted(TASKS), help="only this one"
    )
    parser.add_argument("--kills", type=int, default=30, help="of each task")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--workers", type=int, default=1, help="of a run")
    options = parser.parse_args()
    for task in options.task or sorted(TASKS):
        with tempfile.TemporaryDirectory() as folder:
            done, runs = kill_often(
                task,
                options.kills,
                options.seed,
                pathlib.Path(folder),
                options.workers,
            )
        print(f"{task}: {done} kills, {runs} runs, all bit-equal", flush=True)


if __name__ == "__main__":
    main()
