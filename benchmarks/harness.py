"""What benchmarks share: threads, taking turns, medians, one JSON file."""

from collections.abc import Mapping, Sequence
import dataclasses
import gc
import importlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Callable

from absl import flags
import numpy as np

from iss_rnns import errors
from iss_rnns import timing
from iss_rnns.experiments import main as main_lib

Numbers = dict[str, float]  # flat names to values
Runs = Mapping[str, Callable[[], object]]

_REST_SECONDS = 0.02  # others' threads spin a while


@dataclasses.dataclass(frozen=True)
class Settings:
    """How long and on what a benchmark runs.

    Attributes:
      threads: CPU threads of every library.
      quick: few rounds; see each benchmark for what else it leaves out.
      save: called with the numbers so far, by benchmarks that take long.
    """

    threads: int = 1
    quick: bool = False
    save: Callable[[Numbers], None] = lambda numbers: None


def run(module: str, measure: Callable[[Settings], Numbers]) -> None:
    """The program of a benchmark: flags, one process per thread count, JSON.

    Args:
      module: name of the benchmark, for starting it anew: libraries take a
        number of threads only once.
      measure: the benchmark; its numbers are written below `threads_<n>/`.
    """
    flags.DEFINE_bool(
        "quick",
        False,
        "Few rounds, one thread unless "
        "--threads says more: under 50 s on an idle machine.",
    )
    flags.DEFINE_string(
        "json",
        "",
        "File for the numbers, flat names to "
        "values; benchmarks/README.md explains them.",
    )
    flags.DEFINE_list(
        "threads",
        None,
        "Numbers of CPU threads, one measurement for each. Defaults to 1,2.",
    )

    def main(argv):
        options = flags.FLAGS
        if len(argv) > 1:
            raise errors.UserError(
                f"unexpected argument '{argv[1]}'; flags start with --"
            )
        counts = thread_counts(
            options.threads or (["1"] if options.quick else ["1", "2"])
        )
        if options.json:
            write_json(options.json, {})  # rather now than after the work

        def save(numbers):
            if options.json:
                write_json(
                    options.json,
                    {
                        **environment(),
                        **{
                            f"threads_{counts[0]}/{name}": float(value)
                            for name, value in numbers.items()
                        },
                    },
                )

        if len(counts) == 1:
            limit_threads(counts[0])
            print(environment_line(counts[0]), flush=True)
            save(measure(Settings(counts[0], options.quick, save)))
        else:
            in_processes(module, counts, options.json)

    main_lib.run_main(main)


def thread_counts(values: Sequence[str]) -> list[int]:
    """`--threads` as numbers.

    Raises:
      UserError: if one is no number or the machine has fewer cores.
    """
    cores = len(_cores())
    counts = []
    for value in values:
        if not value.strip().isdecimal() or not 1 <= int(value) <= cores:
            raise errors.UserError(
                f"--threads has '{value}', expected numbers from 1 to "
                f"{cores}, the cores that this process may use, as in "
                "--threads=1,2"
            )
        counts.append(int(value))
    return counts


def in_processes(
    module: str, counts: Sequence[int], json_path: str = ""
) -> Numbers:
    """Runs the benchmark once per thread count, with the flags of this one.

    Args:
      module: of the benchmark.
      counts: of threads.
      json_path: for the numbers, written after each of them.

    Returns:
      The numbers of all.

    Raises:
      UserError: if one fails; it has printed why.
    """
    numbers = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            # Beside the file that was asked for, where an interrupted
            # measurement leaves what it had.
            path = pathlib.Path(
                f"{json_path}.threads_{count}"
                if json_path
                else f"{folder}/numbers.json"
            )
            code = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    module,
                    *sys.argv[1:],
                    f"--threads={count}",
                    f"--json={path}",
                ],
                check=False,
            ).returncode
            if code:
                raise errors.UserError(
                    f"{module} with --threads={count} ended with code {code}"
                )
            numbers.update(json.loads(path.read_text()))
            if json_path:
                write_json(json_path, numbers)
                path.unlink()
    return numbers


def limit_threads(threads: int) -> None:
    """Gives every library so many threads, on as many cores.

    Before the libraries' first operation; they keep what they had then.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, _cores()[-threads:])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import tensorflow as tf  # here: after the environment

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    torch = find("torch")
    if torch:
        torch.set_num_threads(threads)


def find(name: str):
    """A peer's module, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def take_turns(
    runs: Runs, least: int, most: int, seconds: float, threads: int
) -> dict[str, np.ndarray]:
    """Times each run once per round; see `timing.take_turns`.

    One thread is timed by the CPU time of the process, which other programs
    on the machine hardly touch; several threads by the wall clock.

    Args:
      runs: see `timing.take_turns`; already warm.
      least: rounds to run however long they take.
      most: rounds to stop at.
      seconds: wall time after which no new round begins.
      threads: of the runs.

    Returns:
      Seconds of each round, by name.
    """
    begin = time.perf_counter()
    rounds = itertools.takewhile(
        lambda done: done < least or time.perf_counter() - begin < seconds,
        range(most),
    )
    gc.collect()
    taken = timing.take_turns(
        runs,
        rounds,
        clock_for(threads),
        None if threads == 1 else lambda name: time.sleep(_REST_SECONDS),
    )
    return {name: np.array(values) for name, values in taken.items()}


def clock_for(threads: int) -> Callable[[], float]:
    """CPU time of the process for one thread, wall time for several."""
    return time.process_time if threads == 1 else time.perf_counter


def milliseconds(taken: np.ndarray) -> float:
    """Median over the rounds."""
    return 1e3 * float(np.median(taken))


def ratio(slow: np.ndarray, fast: np.ndarray) -> float:
    """How many times as long `slow` takes: median over the rounds."""
    return float(np.median(slow / fast))


def environment() -> Numbers:
    """What about the machine is a number."""
    from iss_rnns.experiments import machine

    flags_ = _cpu().get("flags", "").split()
    return {
        "environment/cores": os.cpu_count(),
        "environment/avx512": int("avx512f" in flags_),
        "environment/bfloat16": int(machine.cpu_has_bfloat16()),
        "environment/onednn": int(onednn()),
    }


def environment_line(threads: int) -> str:
    """CPU, cores and versions, in words."""
    import tensorflow as tf  # here: the threads come first

    versions = [f"TensorFlow {tf.__version__}"]
    for name, shown in (("torch", "PyTorch"), ("onnxruntime", "ONNX Runtime")):
        peer = find(name)
        versions.append(
            f"{shown} {peer.__version__}"
            if peer
            else f"no {shown} (make bench installs it)"
        )
    return (
        f"{_cpu().get('model name', 'unknown CPU')}, {os.cpu_count()} "
        f"cores, {threads} thread(s), {', '.join(versions)}, oneDNN "
        f"{'on' if onednn() else 'off'} in TensorFlow"
    )


def onednn() -> bool:
    """Whether TensorFlow uses oneDNN; TF_ENABLE_ONEDNN_OPTS decides, and
    without it the CPU: TensorFlow asks for AVX512_VNNI or newer."""
    from tensorflow.python.util import _pywrap_util_port

    return _pywrap_util_port.IsMklEnabled()


def write_json(path: str, numbers: Numbers) -> None:
    """Writes flat names to numbers.

    Raises:
      UserError: if it cannot be written.
    """
    try:
        pathlib.Path(path).write_text(json.dumps(numbers, indent=1) + "\n")
    except OSError as error:
        raise errors.UserError(
            f"cannot write --json={path}: {error.strerror}"
        ) from None


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cpu() -> dict[str, str]:
    try:
        first = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
