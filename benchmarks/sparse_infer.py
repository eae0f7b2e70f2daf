"""Sparse inference against the fastest dense product on the same cores.

    python -m benchmarks.sparse_infer --quick --json=sparse.json

Products `[batch, in] x [in, out]` and whole LSTM layers (gates, all time
steps) at the sizes of the papers, 90 % of the weights pruned: one by one, or
in blocks. All libraries run in one process, in turn, on cores that the
program pins itself to; ratios are medians over the rounds. Each run is timed
right after one of its own: caches are warm, as in a loop over time.

`--json` writes flat names to numbers:
  product/1500x6000/16x16/batch4/NAME_ms  median milliseconds of `numpy`,
      `torch_CSR`, `packed` (ours), `chosen` (ours with the fallback to
      dense), `ours_dense` (our kernel on the unpruned matrix) and so on;
  .../best_library_ratio, ours_ratio, chosen_ratio, ours_dense_ratio  times
      faster than the fastest dense library;
  layer/1500/16x16/batch4/...  the same for LSTM layers.
  sweep/1500x6000/16x16/batch1/0.9/...  with `--sweep`: the product at several
      sparsities, and for ISS the smaller dense product of as few weights;
      `python -m iss_rnns.compare --sparse_json` draws its `chosen_ratio`.
"""

import argparse
import gc
import json
import os
import time

# Thread counts and pinning count only before the libraries load.
_PARSER = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_PARSER.add_argument("--threads", "-threads", default="1")
_THREADS = _PARSER.parse_known_args()[0].threads
os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if _THREADS.isdecimal() and int(_THREADS):
    for _name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{_name}_NUM_THREADS"] = _THREADS
    # Idle threads of one library must not keep a core from the next one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    if hasattr(os, "sched_setaffinity"):
        _CORES = sorted(os.sched_getaffinity(0))[-int(_THREADS):]
        os.sched_setaffinity(0, _CORES)

# pylint: disable=wrong-import-position
import warnings

import numpy as np
from absl import flags

from benchmarks import harness
from benchmarks import sparse_peers as peers
from iss_rnns import errors
from iss_rnns import sparse
from iss_rnns.sparse import panels

FLAGS = flags.FLAGS
flags.DEFINE_bool("quick", False, "One product and one layer, in under 50 s.")
flags.DEFINE_string("json", "", "File for the numbers, flat names to values.")
flags.DEFINE_integer("threads", 1, "CPU cores to use.", lower_bound=1)
flags.DEFINE_bool("sweep", False, "Instead: one product at several "
                  "sparsities.")
flags.DEFINE_float("sparsity", .9, "Fraction of zero weights or blocks.",
                   lower_bound=0., upper_bound=1.)
flags.DEFINE_integer("rounds", 0, "Rounds of each measurement; 0: by --quick.",
                     lower_bound=0)

PRODUCTS = ((1500, 6000), (1760, 1760), (2560, 2560), (3072, 3072))
LAYERS = (1500, 1760, 2560, 3072)
BATCHES = (1, 4, 16, 32)
BLOCKS = ((1, 1), (4, 4), (16, 16), (32, 32))
SWEEP_SPARSITIES, QUICK_SPARSITIES = (.5, .7, .8, .9, .95), (.8, .95)
SWEEP_BATCHES = (1, 16)
TIME_STEPS, QUICK_TIME_STEPS = 35, 10
SECONDS_PER_RUN = 2e-3  # short runs are repeated to last as long


def prune(shape, block, sparsity, rng):
    """A random matrix with that fraction of its blocks zero."""
    grid = [-(-n // b) for n, b in zip(shape, block)]
    mask = rng.random(grid) >= sparsity
    for axis, size in enumerate(block):
        mask = np.repeat(mask, size, axis=axis)
    weights = rng.standard_normal(shape, np.float32) * np.float32(.05)
    return weights * mask[:shape[0], :shape[1]]


def block_name(block):
    """`single` or `16x16`."""
    return "single" if block == (1, 1) else f"{block[0]}x{block[1]}"


def clock():
    """CPU time of one core; wall time of several."""
    return time.process_time() if FLAGS.threads == 1 else time.perf_counter()


def measure(runs, rounds):
    """name -> seconds of each round, one after the other in every round."""
    gc.collect()  # earlier libraries' copies of the weights
    counts = {}
    for name, run in runs.items():
        run()
        start = time.perf_counter()
        run()
        last = max(time.perf_counter() - start, 1e-6)
        counts[name] = max(1, min(50, int(SECONDS_PER_RUN / last)))
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if counts[name] > 1:  # warm caches mean nothing to a long run
                run()
            start = clock()
            for _ in range(counts[name]):
                run()
            seconds[name].append((clock() - start) / counts[name])
    return {name: np.array(s) for name, s in seconds.items()}


def fastest(seconds, names):
    """The name with the least median."""
    return min(names, key=lambda n: np.median(seconds[n]))


def ratio(seconds, base, name):
    """How many times faster than `base`: median over the rounds."""
    return float(np.median(seconds[base] / seconds[name]))


class Results:
    """Prints lines and writes the numbers, whenever some are added."""

    def __init__(self, path):
        self.path = path
        self.numbers = {}
        self.write()

    def add(self, prefix, seconds, dense, groups):
        """One comparison: the best of each group over the best dense."""
        base = fastest(seconds, dense)
        for name, values in seconds.items():
            key = name.replace(" ", "_")
            self.numbers[f"{prefix}/{key}_ms"] = 1e3 * float(
                np.median(values))
        parts = [f"dense {1e3 * np.median(seconds[base]):8.3f} ms ({base})"]
        for label, names in groups.items():
            if names:
                best = fastest(seconds, names)
                times = ratio(seconds, base, best)
                key = label.replace(" ", "_")
                self.numbers[f"{prefix}/{key}_ratio"] = times
                which = f" ({best})" if len(names) > 1 else ""
                parts.append(f"{label} {times:5.2f}x{which}")
        print(f"{prefix:32s} " + "  ".join(parts), flush=True)
        self.write()

    def write(self):
        """Writes flat names to numbers."""
        if not self.path:
            return
        try:
            with open(self.path, "w", encoding="utf-8") as file:
                json.dump(self.numbers, file, indent=1)
                file.write("\n")
        except OSError as error:
            raise errors.UserError(f"cannot write --json={self.path}: "
                                   f"{error.strerror}") from error


def run_products(shapes, batches, blocks, rounds, results, missing):
    """Every product, against dense and sparse libraries."""
    rng = np.random.default_rng(0)
    for shape in shapes:
        full = rng.standard_normal(shape, np.float32) * np.float32(.05)
        whole = panels.Panels.from_dense(full, 16, keep_all=True)
        for block in blocks:
            weights = prune(shape, block, FLAGS.sparsity, rng)
            packed = sparse.pack(weights, block, batches, FLAGS.threads)
            for batch in batches:
                x = rng.standard_normal((batch, shape[0]), np.float32)
                dense = peers.dense_products(full, x, missing)
                libraries = peers.sparse_products(weights, x, block, missing)
                ours = {
                    "packed": lambda p=packed, x=x: p.matmul(
                        x, FLAGS.threads, backend="packed"),
                    "chosen": lambda p=packed, x=x: p.matmul(x)}
                extra = {"ours dense": lambda x=x: whole.multiply(
                    x, FLAGS.threads)}
                check(libraries, x @ weights)
                check(ours, x @ weights)
                check({**dense, **extra}, x @ full)
                seconds = measure({**dense, **libraries, **ours, **extra},
                                  rounds)
                prefix = (f"product/{shape[0]}x{shape[1]}/"
                          f"{block_name(block)}/batch{batch}")
                results.add(prefix, seconds, dense, {
                    "best library": libraries, "ours": ["packed"],
                    "chosen": ["chosen"], "ours dense": ["ours dense"]})


def run_sweep(shape, sparsities, batches, blocks, rounds, results, missing):
    """One product at several sparsities, also of units cut away (ISS)."""
    rng = np.random.default_rng(2)
    full = rng.standard_normal(shape, np.float32) * np.float32(.05)
    for sparsity in sparsities:
        # Cut alike in rows and columns, this many weights are left.
        rows, columns = (round(n * (1. - sparsity) ** .5) for n in shape)
        small = np.ascontiguousarray(full[:rows, :columns])
        packed = {block_name(block): (weights, sparse.pack(
            weights, block, batches, FLAGS.threads)) for block, weights in (
                (block, prune(shape, block, sparsity, rng))
                for block in blocks)}
        for batch in batches:
            x = rng.standard_normal((batch, shape[0]), np.float32)
            cut = np.ascontiguousarray(x[:, :rows])
            dense = peers.dense_products(full, x, missing)
            check(dense, x @ full)
            ours = {}
            for name, (weights, each) in packed.items():
                ours[name] = lambda p=each, x=x: p.matmul(x)
                check({name: ours[name]}, x @ weights)
            iss = {f"ISS {name}": run for name, run in
                   peers.dense_products(small, cut, missing).items()}
            check(iss, cut @ small)
            seconds = measure({**dense, **ours, **iss}, rounds)
            for name in [*ours, "ISS"]:
                group = list(iss) if name == "ISS" else [name]
                results.add(
                    f"sweep/{shape[0]}x{shape[1]}/{name}/batch{batch}/"
                    f"{sparsity:g}", {k: seconds[k] for k in
                                      [*dense, *group]},
                    dense, {"chosen": group})


def run_layers(sizes, steps, batches, blocks, rounds, results, missing):
    """LSTM layers over `steps`: kernel and recurrent kernel pruned."""
    rng = np.random.default_rng(1)
    for units in sizes:
        shape = (units, 4 * units)
        bias = rng.standard_normal(shape[1], np.float32)
        full = [rng.standard_normal(shape, np.float32) * np.float32(.02)
                for _ in range(2)]
        packed = {
            block_name(block): sparse.pack_lstm(
                *(prune(shape, block, FLAGS.sparsity, rng)
                  for _ in range(2)), bias, block_shape=block,
                batch_sizes=batches, threads=FLAGS.threads)
            for block in blocks}
        for batch in batches:
            x = rng.standard_normal((batch, steps, units), np.float32)
            dense = peers.dense_layers(*full, bias, x, missing)
            if not dense:
                raise errors.UserError(
                    "no dense LSTM layer to compare with; install "
                    "tensorflow, torch or onnxruntime")
            check(dense, next(iter(dense.values()))())
            ours = {name: lambda p=p, x=x: p(x) for name, p in packed.items()}
            seconds = measure({**dense, **ours}, rounds)
            for name in ours:
                one = {k: seconds[k] for k in dense}
                one["packed"] = seconds[name]
                results.add(f"layer/{units}/{name}/batch{batch}", one, dense,
                            {"ours": ["packed"]})


def check(runs, expected):
    """Every library must compute the same."""
    scale = np.abs(expected).max()
    for name, run in runs.items():
        result = np.asarray(run())
        if result.ndim == 1:
            result = result[np.newaxis]
        if result.shape != expected.shape:
            result = result.T[:, :expected.shape[1]]
        difference = np.abs(result - expected).max() / scale
        if not difference < 1e-4:
            raise AssertionError(f"{name} is off by {difference:.2g}")


def main(argv):
    """Runs the comparisons."""
    if len(argv) > 1:
        raise errors.UserError(f"unexpected argument '{argv[1]}'; flags "
                               f"start with --")
    harness.thread_counts([str(FLAGS.threads)])
    if FLAGS.sparsity >= 1.:
        raise errors.UserError("--sparsity must lie in [0, 1), got "
                               f"{FLAGS.sparsity}: nothing would be left to "
                               "multiply")
    warnings.filterwarnings("ignore", message="Sparse ")
    missing = []
    peers.set_threads(FLAGS.threads, missing)
    results = Results(FLAGS.json)
    pruned = "some" if FLAGS.sweep else f"{FLAGS.sparsity:.0%}"
    print(f"{pruned} pruned, {FLAGS.threads} thread(s); ratios over the "
          f"fastest dense library")
    rounds = FLAGS.rounds or (5 if FLAGS.quick else 15)
    if FLAGS.sweep:
        run_sweep(PRODUCTS[0],
                  QUICK_SPARSITIES if FLAGS.quick else SWEEP_SPARSITIES,
                  SWEEP_BATCHES[:1] if FLAGS.quick else SWEEP_BATCHES,
                  BLOCKS, rounds, results, missing)
    elif FLAGS.quick:
        quick = ((1, 16), BLOCKS[::2], rounds, results, missing)
        run_products(PRODUCTS[:1], *quick)
        run_layers(LAYERS[:1], QUICK_TIME_STEPS, (1, 16), BLOCKS[2:3], 3,
                   results, missing)
    else:
        run_products(PRODUCTS, BATCHES, BLOCKS, rounds, results, missing)
        run_layers(LAYERS, TIME_STEPS, BATCHES, BLOCKS[:3],
                   max(3, rounds // 3), results, missing)
    for line in missing:
        print(f"not compared, missing: {line}")


if __name__ == "__main__":
    errors.run_main(main)
