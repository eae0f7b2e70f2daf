"""Sparse inference against the fastest dense product on the same cores.

    python -m benchmarks.sparse_infer --quick --json=sparse.json

Products `[batch, in] x [in, out]` and whole LSTM layers (gates, all time
steps) at the sizes of the papers, 90 % of the weights pruned: one by one, or
in blocks. All libraries run in one process, in turn, on cores that the
program pins itself to; ratios are medians over the rounds. Each run is timed
right after one of its own: caches are warm, as in a loop over time.

`--sweep` measures one product at several sparsities instead, and for ISS the
smaller dense product of as few weights; `python -m iss_rnns compare
--sparse_json` draws its `chosen_ratio`. Names: benchmarks/README.md.
"""

import functools
import gc
import os
import time
import warnings

# Idle threads of one library must not keep a core from the next one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

from absl import flags
import numpy as np

from benchmarks import harness
from benchmarks import sparse_peers as peers
from iss_rnns import errors
from iss_rnns import sparse
from iss_rnns import timing
from iss_rnns.sparse import panels

FLAGS = flags.FLAGS

PRODUCTS = ((1500, 6000), (1760, 1760), (2560, 2560), (3072, 3072))
LAYERS = (1500, 1760, 2560, 3072)
BATCHES = (1, 4, 16, 32)
BLOCKS = ((1, 1), (4, 4), (16, 16), (32, 32))
SWEEP_SPARSITIES, QUICK_SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95), (0.8, 0.95)
SWEEP_BATCHES = (1, 16)
TIME_STEPS, QUICK_TIME_STEPS = 35, 10
SECONDS_PER_RUN = 2e-3  # short runs are repeated to last as long
ROUNDS, QUICK_ROUNDS = 15, 5


def define_flags():
    """Beside those of the harness."""
    flags.DEFINE_bool(
        "sweep", False, "Instead: one product at several sparsities."
    )
    flags.DEFINE_list(
        "sizes",
        [str(n) for n in LAYERS],
        "Measure products and layers of so many units only.",
    )
    flags.DEFINE_float(
        "sparsity", 0.9, "Fraction of zero weights or blocks.", lower_bound=0.0
    )
    flags.register_validator(
        "sparsity",
        lambda value: value < 1,
        "must lie in [0, 1): nothing would be left to multiply",
    )
    known = {str(n) for n in LAYERS}
    flags.register_multi_flags_validator(
        ["sweep", "sizes"],
        lambda values: not values["sweep"] or set(values["sizes"]) == known,
        "--sweep has one size, the first; leave out --sizes",
    )
    flags.register_validator(
        "sizes",
        lambda value: value and set(value) <= known,
        f"must name some of {', '.join(sorted(known))}",
    )


def prune(shape, block, sparsity, rng):
    """A random matrix with that fraction of its blocks zero."""
    grid = [-(-n // b) for n, b in zip(shape, block)]
    mask = rng.random(grid) >= sparsity
    for axis, size in enumerate(block):
        mask = np.repeat(mask, size, axis=axis)
    weights = rng.standard_normal(shape, np.float32) * np.float32(0.05)
    return weights * mask[: shape[0], : shape[1]]


def block_name(block):
    """`single` or `16x16`."""
    return "single" if block == (1, 1) else f"{block[0]}x{block[1]}"


def timed(runs, rounds, threads):
    """name -> seconds of a run, of each round."""
    gc.collect()  # earlier libraries' copies of the weights
    counts = {}
    for name, run in runs.items():
        run()
        start = time.perf_counter()
        run()
        last = max(time.perf_counter() - start, 1e-6)
        counts[name] = max(1, min(50, int(SECONDS_PER_RUN / last)))

    def several(name):
        for _ in range(counts[name]):
            runs[name]()

    def warm(name):
        if counts[name] > 1:  # warm caches mean nothing to a long run
            runs[name]()

    taken = timing.take_turns(
        {name: functools.partial(several, name) for name in runs},
        range(rounds),
        harness.clock_for(threads),
        warm,
    )
    return {name: np.array(s) / counts[name] for name, s in taken.items()}


def fastest(seconds, names):
    """The name with the least median."""
    return min(names, key=lambda n: np.median(seconds[n]))


class Results:
    """Prints lines and saves the numbers, whenever some are added.

    Attributes:
      threads: of all libraries.
      rounds: of each measurement.
      missing: lines that say what is not installed.
      numbers: flat names to values.
    """

    def __init__(self, settings: harness.Settings):
        self.threads = settings.threads
        self.rounds = QUICK_ROUNDS if settings.quick else ROUNDS
        self.missing = []
        self.numbers = {}
        self._save = settings.save

    def add(self, prefix, seconds, dense, groups):
        """One comparison: the best of each group over the best dense."""
        base = fastest(seconds, dense)
        for name, values in seconds.items():
            key = name.replace(" ", "_")
            self.numbers[f"{prefix}/{key}_ms"] = harness.milliseconds(values)
        parts = [
            f"dense {harness.milliseconds(seconds[base]):8.3f} ms ({base})"
        ]
        for label, names in groups.items():
            if names:
                best = fastest(seconds, names)
                times = harness.ratio(seconds[base], seconds[best])
                key = label.replace(" ", "_")
                self.numbers[f"{prefix}/{key}_ratio"] = times
                which = f" ({best})" if len(names) > 1 else ""
                parts.append(f"{label} {times:5.2f}x{which}")
        print(f"{prefix:32s} " + "  ".join(parts), flush=True)
        self._save(self.numbers)


def run_products(shapes, batches, blocks, results):
    """Every product, against dense and sparse libraries."""
    rng = np.random.default_rng(0)
    for shape in shapes:
        full = rng.standard_normal(shape, np.float32) * np.float32(0.05)
        whole = panels.Panels.from_dense(full, 16, keep_all=True)
        for block in blocks:
            weights = prune(shape, block, FLAGS.sparsity, rng)
            packed = sparse.pack(weights, block, batches, results.threads)
            for batch in batches:
                x = rng.standard_normal((batch, shape[0]), np.float32)
                dense = peers.dense_products(full, x, results.missing)
                libraries = peers.sparse_products(
                    weights, x, block, results.missing
                )
                ours = {
                    "packed": lambda p=packed, x=x: p.matmul(
                        x, results.threads, backend="packed"
                    ),
                    "chosen": lambda p=packed, x=x: p.matmul(x),
                }
                extra = {
                    "ours dense": lambda x=x, whole=whole: whole.multiply(
                        x, results.threads
                    )
                }
                check(libraries, x @ weights)
                check(ours, x @ weights)
                check({**dense, **extra}, x @ full)
                seconds = timed(
                    {**dense, **libraries, **ours, **extra},
                    results.rounds,
                    results.threads,
                )
                prefix = (
                    f"product/{shape[0]}x{shape[1]}/"
                    f"{block_name(block)}/batch{batch}"
                )
                results.add(
                    prefix,
                    seconds,
                    dense,
                    {
                        "best library": libraries,
                        "ours": ["packed"],
                        "chosen": ["chosen"],
                        "ours dense": ["ours dense"],
                    },
                )


def run_sweep(shape, sparsities, batches, blocks, results):
    """One product at several sparsities, also of units cut away (ISS)."""
    rng = np.random.default_rng(2)
    full = rng.standard_normal(shape, np.float32) * np.float32(0.05)
    for sparsity in sparsities:
        # Cut alike in rows and columns, this many weights are left.
        rows, columns = (round(n * (1.0 - sparsity) ** 0.5) for n in shape)
        small = np.ascontiguousarray(full[:rows, :columns])
        packed = {
            block_name(block): (
                weights,
                sparse.pack(weights, block, batches, results.threads),
            )
            for block, weights in (
                (block, prune(shape, block, sparsity, rng)) for block in blocks
            )
        }
        for batch in batches:
            x = rng.standard_normal((batch, shape[0]), np.float32)
            cut = np.ascontiguousarray(x[:, :rows])
            dense = peers.dense_products(full, x, results.missing)
            check(dense, x @ full)
            ours = {}
            for name, (weights, each) in packed.items():
                ours[name] = lambda p=each, x=x: p.matmul(x)
                check({name: ours[name]}, x @ weights)
            iss = {
                f"ISS {name}": run
                for name, run in peers.dense_products(
                    small, cut, results.missing
                ).items()
            }
            check(iss, cut @ small)
            seconds = timed(
                {**dense, **ours, **iss}, results.rounds, results.threads
            )
            for name in [*ours, "ISS"]:
                group = list(iss) if name == "ISS" else [name]
                results.add(
                    f"sweep/{shape[0]}x{shape[1]}/{name}/batch{batch}/"
                    f"{sparsity:g}",
                    {k: seconds[k] for k in [*dense, *group]},
                    dense,
                    {"chosen": group},
                )


def run_layers(sizes, steps, batches, blocks, rounds, results):
    """LSTM layers over `steps`: kernel and recurrent kernel pruned."""
    rng = np.random.default_rng(1)
    for units in sizes:
        shape = (units, 4 * units)
        bias = rng.standard_normal(shape[1], np.float32)
        full = [
            rng.standard_normal(shape, np.float32) * np.float32(0.02)
            for _ in range(2)
        ]
        packed = {
            block_name(block): sparse.pack_lstm(
                *(prune(shape, block, FLAGS.sparsity, rng) for _ in range(2)),
                bias,
                block_shape=block,
                batch_sizes=batches,
                threads=results.threads,
            )
            for block in blocks
        }
        for batch in batches:
            x = rng.standard_normal((batch, steps, units), np.float32)
            dense = peers.dense_layers(*full, bias, x, results.missing)
            if not dense:
                raise errors.UserError(
                    "no dense LSTM layer to compare with; install "
                    "tensorflow, torch or onnxruntime"
                )
            check(dense, next(iter(dense.values()))())
            ours = {name: lambda p=p, x=x: p(x) for name, p in packed.items()}
            seconds = timed({**dense, **ours}, rounds, results.threads)
            for name in ours:
                one = {k: seconds[k] for k in dense}
                one["packed"] = seconds[name]
                results.add(
                    f"layer/{units}/{name}/batch{batch}",
                    one,
                    dense,
                    {"ours": ["packed"]},
                )


def check(runs, expected):
    """Every library must compute the same."""
    scale = np.abs(expected).max()
    for name, run in runs.items():
        result = np.asarray(run())
        if result.ndim == 1:
            result = result[np.newaxis]
        if result.shape != expected.shape:
            result = result.T[:, : expected.shape[1]]
        difference = np.abs(result - expected).max() / scale
        if not difference < 1e-4:
            raise AssertionError(f"{name} is off by {difference:.2g}")


def measure(settings: harness.Settings) -> harness.Numbers:
    """See the module."""
    warnings.filterwarnings("ignore", message="Sparse ")
    results = Results(settings)
    peers.set_threads(settings.threads, results.missing)
    pruned = "some" if FLAGS.sweep else f"{FLAGS.sparsity:.0%}"
    print(f"{pruned} pruned; ratios over the fastest dense library")
    sizes = {int(size) for size in FLAGS.sizes}
    products, layers = (
        [each for each in known if np.ravel(each)[0] in sizes]
        for known in (PRODUCTS, LAYERS)
    )
    if FLAGS.sweep:
        run_sweep(
            PRODUCTS[0],
            QUICK_SPARSITIES if settings.quick else SWEEP_SPARSITIES,
            SWEEP_BATCHES[:1] if settings.quick else SWEEP_BATCHES,
            BLOCKS,
            results,
        )
    elif settings.quick:
        run_products(products[:1], (1, 16), BLOCKS[::2], results)
        run_layers(
            layers[:1], QUICK_TIME_STEPS, (1, 16), BLOCKS[2:3], 3, results
        )
    else:
        run_products(products, BATCHES, BLOCKS, results)
        run_layers(
            layers,
            TIME_STEPS,
            BATCHES,
            BLOCKS[:3],
            results.rounds // 3,
            results,
        )
    for line in results.missing:
        print(f"not compared, missing: {line}")
    return results.numbers


if __name__ == "__main__":
    define_flags()
    harness.run("benchmarks.sparse_infer", measure)
