"""Runs side by side: a table, and pictures against sparsity.

    python -m iss_rnns compare runs/dense runs/block16 runs/glp \\
        --sparse_json=sweep.json --out=runs/comparison

The table has the columns of the papers on pruning: weights left, sparsity,
perplexity, loss relative to the first dense run, and the speedup that each
run measured. `--papers` shows theirs below, with character error rates in the
place of perplexities.
"""

from collections.abc import Mapping, Sequence
import pathlib
import re
from typing import Any, Optional

from absl import flags

from iss_rnns import errors
from iss_rnns import files
from iss_rnns import sparse
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags
from iss_rnns.experiments.reports import documents
from iss_rnns.experiments.reports import plots
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables as tables_lib

FLAGS = flags.FLAGS
Points = list[tuple[float, float]]  # (sparsity, measure)
_SWEEP = re.compile(
    r"(?P<threads>[^/]+)/sweep/(?P<shape>[^/]+)/(?P<pattern>[^/]+)"
    r"/(?P<batch>[^/]+)/(?P<sparsity>[01](?:\.[0-9]+)?)/chosen_ratio"
)
DENSE = "dense"
MEASURES = {
    "method": "",
    "lambda": "g",
    "units": "",
    "nonzero weights (M)": ".3f",
    "sparsity %": ".1f",
    "valid perplexity": ".2f",
    "test perplexity": ".2f",
    "relative %": "+.1f",
    "speedup, whole model": ".2f",
    tables_lib.PACKED_SPEEDUP: ".2f",
    **{tables_lib.packed_speedup(batch): ".2f" for batch in sparse.BATCH_SIZES},
}
PAPERS = (
    "narang2017_results",
    "block_sparse_table2",
    "block_sparse_table3",
    "block_sparse_table4",
    "block_sparse_table5",
    "anchors_ptb",
)
# Their figures under the names of ours. What perplexity is here, the error
# rate is in the papers on pruning; others pruned on Penn TreeBank, too.
PAPER_MEASURES = {
    "params_M": "nonzero weights (M)",
    "sparsity_percent": "sparsity %",
    "valid": "valid perplexity",
    "test": "test perplexity",
    "CER": "character error rate %",
    "relative_percent": "relative %",
}


def define_flags() -> None:
    """Flags of the command."""
    with program_flags.group("Output"):
        flags.DEFINE_string(
            "out",
            None,
            "Folder for the pictures and for the table as Markdown. Default: "
            "none are written.",
        )
        flags.DEFINE_string(
            "sparse_json",
            None,
            "File that `python -m benchmarks.sparse_infer --sweep "
            "--json=FILE` wrote, for the pictures of speedup against sparsity.",
        )
        flags.DEFINE_bool(
            "papers", False, "Show the papers' tables below, too."
        )


def read_run(path: str) -> tuple[str, dict[str, Any]]:
    """Name and measures of a finished run; `method` is among them.

    Args:
      path: of its directory, or `NAME=DIRECTORY` to call it NAME.

    Raises:
      UserError: if it holds no finished report of a language model.
    """
    name, separator, folder = path.partition("=")
    if not separator or pathlib.Path(path).is_dir():
        name, folder = "", path
    try:
        data = documents.read_report(folder)
    except errors.UserError as error:
        raise errors.UserError(f"cannot compare {folder}: {error}") from None
    small = data["table"].get(tables_lib.SHRUNK, {})
    large = data["table"].get(tables_lib.TRAINED, {})
    test, units = small.get("test perplexity"), small.get("units") or []
    if not tables_lib.is_number(test) or not isinstance(units, list):
        raise errors.UserError(
            f"cannot compare {folder}: its {documents.REPORT} is no finished "
            f"report of a language model; expected a column "
            f"'{tables_lib.SHRUNK}' with its 'test perplexity'"
        )
    values = {measure: small.get(measure) for measure in MEASURES}
    values.update(
        {
            "units": tuple(units),
            "sparsity": _number(small.get("sparsity")),
            "speedup, whole model": small.get("speedup"),
        }
    )
    cut, zeros = (_number(small.get(each)) for each in ("weights cut", "zeros"))
    if cut is not None and zeros is not None:
        values["sparsity"] = 1.0 - (1.0 - cut) * (1.0 - zeros)
    elif values["sparsity"] is None:  # A report of an older version.
        values.update(
            _by_weights(
                small, large or data["table"].get(tables_lib.DESIGNED, {})
            )
        )
    values["method"] = str(data.get("method") or "")
    return name or pathlib.Path(folder).name, values


def _number(value: Any) -> Optional[float]:
    return value if tables_lib.is_number(value) else None


def _by_weights(small: Mapping, large: Mapping) -> dict[str, Any]:
    weights, whole = (
        _number(column.get("weights (M)")) for column in (small, large)
    )
    if not (weights and whole):
        return {}
    return {"nonzero weights (M)": weights, "sparsity": 1.0 - weights / whole}


def compare(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> tables_lib.Table:
    """The table; the relative loss is that of the first dense run.

    Args:
      runs: (name, measures) of `read_run`.
    """
    base = dense_perplexity(runs)
    columns: list[tables_lib.Column] = []
    for name, values in runs:
        values = dict(values)
        if values["sparsity"] is not None:
            values["sparsity %"] = 100.0 * values["sparsity"]
        if base:
            # As in the papers: worse is negative.
            values["relative %"] = (
                100.0 * (base - values["test perplexity"]) / base
            )
        columns.append(
            tables_lib.Column(tables_lib.unique(name, columns), values)
        )
    return tables_lib.Table(columns, MEASURES, "runs")


def dense_perplexity(
    runs: Sequence[tuple[str, Mapping[str, Any]]],
) -> Optional[float]:
    """Test perplexity of the first dense run; None without one.

    That is one by its method, or by the name that the user calls it.
    """
    return next(
        (
            values["test perplexity"]
            for name, values in runs
            if DENSE in (name, values.get("method"))
        ),
        None,
    )


def speedups(path: str) -> dict[str, dict[str, Points]]:
    """Product -> pattern of zeros -> (sparsity, speedup), out of a sweep.

    A product is e.g. `1500x6000, batch1`, or `1500x6000, batch1, threads_2`.

    Raises:
      UserError: if the file is none of a sweep.
    """
    numbers = files.read_json(path, "speedups")
    found: dict[str, dict[str, Points]] = {}
    for key, value in numbers.items() if isinstance(numbers, dict) else ():
        parts = _SWEEP.fullmatch(key)
        if not parts:
            continue
        if not tables_lib.is_number(value) or value <= 0:
            raise files.unreadable(
                path, "speedups", f"{key!r} is no number above 0"
            )
        product = f"{parts['shape']}, {parts['batch']}"
        if parts["threads"] != "threads_1":
            product += f", {parts['threads']}"
        found.setdefault(product, {}).setdefault(parts["pattern"], []).append(
            (float(parts["sparsity"]), float(value))
        )
    if not found:
        raise errors.UserError(
            f"{files.shown(path)} holds no speedups against sparsity; make it with "
            "python -m benchmarks.sparse_infer --sweep --json=FILE"
        )
    return found


def draw(
    folder: str,
    runs: Sequence[tuple[str, Mapping[str, Any]]],
    sparse_json: Optional[str],
) -> list[pathlib.Path]:
    """Writes the pictures; returns their paths.

    Raises:
      UserError: see `speedups` and `plots.against_sparsity`.
    """
    products = speedups(sparse_json) if sparse_json else {}
    target = files.make_folder(folder)
    base = dense_perplexity(runs)
    points: dict[str, Points] = {}
    for name, values in runs:
        method = values.get("method") or name
        if values.get("sparsity") is not None and DENSE not in (name, method):
            points.setdefault(method, []).append(
                (values["sparsity"], values["test perplexity"])
            )
    written = []
    if points:
        written.append(target / "perplexity_vs_sparsity.png")
        plots.against_sparsity(
            written[-1],
            points,
            "test perplexity",
            "Test perplexity of what is left",
            reference=(DENSE, base) if base else None,
        )
    for product, series in products.items():
        name = product.replace(", ", "_")
        written.append(target / f"speedup_vs_sparsity_{name}.png")
        plots.against_sparsity(
            written[-1],
            series,
            "times faster than dense",
            product,
            log=True,
            reference=(DENSE, 1.0),
        )
    return written


def paper_tables() -> list[tables_lib.Table]:
    """The papers' tables, a line for each model."""
    tables = []
    for name in PAPERS:
        columns: list[tables_lib.Column] = []
        for row in results.paper_rows(name):
            label = " ".join(
                str(row[key])
                for key in ("method", "model", "block", "algorithm")
                if row.get(key, "-") != "-"
            )
            columns.append(
                tables_lib.Column(
                    tables_lib.unique(label, columns),
                    {
                        measure: row[key]
                        for key, measure in PAPER_MEASURES.items()
                        if key in row
                    },
                )
            )
        measures = [
            each
            for each in PAPER_MEASURES.values()
            if any(each in column.values for column in columns)
        ]
        tables.append(
            tables_lib.Table(columns, measures, results.describe(name)["title"])
        )
    return tables


def main(argv):
    """Prints the tables and draws."""
    if len(argv) < 2:
        raise errors.UserError(
            "name the directories of finished runs: "
            "python -m iss_rnns compare RUN..."
        )
    runs = [read_run(path) for path in argv[1:]]
    if FLAGS.sparse_json:
        if not FLAGS.out:
            raise errors.UserError(
                "--sparse_json needs --out, the folder for the picture"
            )
        speedups(FLAGS.sparse_json)
    tables = [compare(runs)] + (paper_tables() if FLAGS.papers else [])
    for table in tables:
        print(table.text(), end="\n\n")
    if FLAGS.out:
        for path in draw(FLAGS.out, runs, FLAGS.sparse_json):
            print(f"wrote {path}")
        path = pathlib.Path(FLAGS.out) / "comparison.md"
        files.write_text(
            path,
            "\n\n".join(
                f"## {table.title}\n\n{table.markdown()}" for table in tables
            )
            + "\n",
        )
        print(f"wrote {path}")


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)
