"""What a run shows at its end: counts, latencies, tables and the report.

Nothing here needs TensorFlow; matrices come in as NumPy arrays.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import json
import math
import numbers
import os
import pathlib
import shutil
import statistics
import textwrap
import time
from typing import Any, Callable, Optional, Union

import numpy as np

from iss_rnns import errors
from iss_rnns import results

MISSING = "-"

# Columns of a run's table, by which other runs find them.
TRAINED, DESIGNED = "trained (masked)", "as designed (untrained)"
SHRUNK = "shrunk (reloaded)"
PACKED_BATCHES = (1, 16)  # at which packed products are measured


# Counts


def lstm_mult_adds(inputs: int, units: int) -> int:
    """Mult-adds of one LSTM step, which is also its number of weights.

    Biases and element-wise work are left out, as in the papers.
    """
    return 4 * (inputs + units) * units


def lstm_lm_mult_adds(
    embedding: int, sizes: Sequence[int], vocabulary: int
) -> int:
    """Mult-adds per token of embedding -> stacked LSTMs -> softmax.

    Two LSTMs of 1500 against (373, 315), embedding 1500 and 10,000 words:
    7.487 times as many (ISS paper, Table 1).

    Args:
        embedding: width of the embedding.
        sizes: units of each LSTM, first to last.
        vocabulary: number of words.
    """
    widths = [embedding, *sizes]
    stack = sum(map(lstm_mult_adds, widths[:-1], widths[1:]))
    return stack + widths[-1] * vocabulary


def lstm_lm_weights(
    embedding: int, sizes: Sequence[int], vocabulary: int
) -> int:
    """Weights of that model, embedding included, biases left out."""
    mult_adds = lstm_lm_mult_adds(embedding, sizes, vocabulary)
    return vocabulary * embedding + mult_adds


def rhn_lm_mult_adds(
    width: int, depth: int, vocabulary: int, layers: int = 1
) -> int:
    """Mult-adds per token of embedding -> highway layers -> softmax.

    Each layer has an input matrix and `depth` recurrent ones, for h and t.
    """
    return layers * 2 * (depth + 1) * width**2 + width * vocabulary


def rhn_lm_weights(
    width: int, depth: int, vocabulary: int, layers: int = 1, tied: bool = True
) -> int:
    """Weights of that model, biases left out.

    Args:
        tied: whether the softmax shares the embedding's weights.
    """
    mult_adds = rhn_lm_mult_adds(width, depth, vocabulary, layers)
    return mult_adds + (0 if tied else vocabulary * width)


def matrix_sparsity(
    array: np.ndarray, designed: Optional[Sequence[int]] = None
) -> dict[str, Optional[float]]:
    """Fractions of exact zeros, as the authors' code logs them.

    Args:
        array: a weight matrix `[rows, columns]`, or a bias vector.
        designed: its shape before rows or columns were cut out, which count
            as zeros; by default, nothing was cut.

    Returns:
        `element`, `row` and `column`: the fraction of elements that are
        zero, of rows and of columns that are zero throughout; the last two
        are None for a vector.
    """
    nonzero = np.asarray(array) != 0
    shape = tuple(designed or nonzero.shape)
    fractions = {
        "element": 1 - int(nonzero.sum()) / math.prod(shape),
        "row": None,
        "column": None,
    }
    if nonzero.ndim == 2:
        rows, columns = (int(nonzero.any(axis=axis).sum()) for axis in (1, 0))
        fractions["row"] = 1 - rows / shape[0]
        fractions["column"] = 1 - columns / shape[1]
    return fractions


def measure_latency(
    callables: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 1
) -> dict[str, float]:
    """Median time of each callable, measured in turns.

    Taking turns, forwards and backwards, lets a slow spell of the machine
    hit all of them alike, so that their ratios hold.

    Args:
        callables: functions of no arguments, by name.
        rounds: calls of each one that count.
        warmup: calls of each one before, which do not.

    Returns:
        Seconds by name.

    Raises:
        ValueError: if `rounds` is not positive.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, got {rounds}.")
    for _, function in itertools.product(range(warmup), callables.values()):
        function()
    seconds = {name: [] for name in callables}
    order = list(callables)
    for _ in range(rounds):
        for name in order:
            start = time.perf_counter()
            callables[name]()
            seconds[name].append(time.perf_counter() - start)
        order.reverse()
    return {name: statistics.median(times) for name, times in seconds.items()}


# How reports call the speedup of a packed model over the dense one.
PACKED_SPEEDUP = "whole model packed: speedup"


def packed_speedup(batch: int) -> str:
    """How reports call the speedup of packed products."""
    return f"products packed: speedup, batch {batch}"


# Tables


def format_value(value: Any, spec: str = "") -> str:
    """One cell as text.

    None and NaN become "-"; a published `Figure` keeps its printed digits
    and its mark whatever `spec` says; the parts of a tuple are formatted one
    by one. Without `spec`, integers get thousands separators and other
    numbers four significant digits.
    """
    if value is None or (isinstance(value, numbers.Real) and value != value):
        return MISSING
    if isinstance(value, results.Figure):
        return str(value)
    if isinstance(value, (tuple, list)):
        return f"({', '.join(format_value(part, spec) for part in value)})"
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return format(int(value), spec or ",")
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return format(float(value), spec or ".4g")
    return str(value)


@dataclasses.dataclass(frozen=True)
class Column:
    """One model of a table: its heading and its values by measure."""

    title: str
    values: Mapping[str, Any]


def unique(title: str, columns: Sequence[Column]) -> str:
    """A title that no column has: with " (2)", " (3)", ... if need be."""
    known = {column.title for column in columns}
    numbered = (f"{title} ({count})" for count in itertools.count(2))
    return next(
        name for name in itertools.chain([title], numbered) if name not in known
    )


class Table:
    """Models side by side: a row for each measure, a column for each model.

    >>> table = Table(
    ...     [Column("dense", {"units": (200, 200), "perplexity": 115.912}),
    ...      Column("shrunk", {"units": (46, 101)})],
    ...     {"units": "", "perplexity": ".2f"})
    >>> print(table.text(width=80))
                     dense     shrunk
    units       (200, 200)  (46, 101)
    perplexity      115.91          -

    Args:
        columns: the models.
        measures: the rows in order, each with its format; without it, every
            measure of every column, in the order of first appearance.
        title: a heading above the table.

    Raises:
        ValueError: if two columns have the same title.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        measures: Union[Mapping[str, str], Sequence[str], None] = None,
        title: str = "",
    ):
        if measures is None:
            measures = itertools.chain(*(column.values for column in columns))
        if not isinstance(measures, Mapping):
            measures = dict.fromkeys(measures, "")
        titles = [column.title for column in columns]
        if len(set(titles)) < len(titles):
            raise ValueError(f"Column titles must differ, got {titles}.")
        self.columns = list(columns)
        self.measures = dict(measures)
        self.title = title

    def _cells(self, column: Column) -> list[str]:
        return [
            format_value(column.values.get(measure), spec)
            for measure, spec in self.measures.items()
        ]

    def _legend(self) -> str:
        shown = (
            column.values.get(measure)
            for column in self.columns
            for measure in self.measures
        )
        marked = any(isinstance(value, results.Figure) for value in shown)
        return results.LEGEND if marked else ""

    def text(self, width: Optional[int] = None) -> str:
        """The table aligned for a terminal.

        Long headings are broken; columns that do not fit go into a further
        block below, with the measures repeated.

        Args:
            width: characters a line; the terminal's by default.
        """
        width = width or shutil.get_terminal_size().columns
        labels = list(self.measures)
        label_width = max(map(len, labels), default=0)
        blocks, room = [[]], width - label_width
        for column in self.columns:
            cells = self._cells(column)
            heading = textwrap.wrap(
                column.title, max([13, *map(len, cells)])
            ) or [""]
            needed = 2 + max(map(len, heading + cells))
            if blocks[-1] and needed > room:
                blocks.append([])
                room = width - label_width
            blocks[-1].append((needed, heading, cells))
            room -= needed
        lines = [self.title] if self.title else []
        for index, block in enumerate(blocks):
            lines += [""] * (index > 0) + _block_lines(labels, block)
        legend = textwrap.wrap(self._legend(), width)
        return "\n".join(line.rstrip() for line in lines + legend)

    def markdown(self) -> str:
        """The table for a Markdown file; the title is left to the file."""
        titles = [column.title for column in self.columns]
        rows = [["", *titles], ["---"] + ["---:"] * len(titles)]
        rows += zip(self.measures, *map(self._cells, self.columns))
        lines = [
            "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"
            for row in rows
        ]
        legend = self._legend()
        return "\n".join(lines + (["", legend] if legend else []))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values, `{column: {measure: value}}`; missing ones are None."""
        return {
            column.title: {
                measure: plain(column.values.get(measure))
                for measure in self.measures
            }
            for column in self.columns
        }


def _block_lines(labels: Sequence[str], block: Sequence[tuple]) -> list[str]:
    """Lines of the columns `(width, heading, cells)` that fit side by side."""
    label_width = max(map(len, labels), default=0)
    depth = max((len(heading) for _, heading, _ in block), default=0)
    rows = [
        [""] * (depth - len(heading)) + heading + cells
        for _, heading, cells in block
    ]
    return [
        "".join(
            [label.ljust(label_width)]
            + [
                row[index].rjust(width)
                for (width, _, _), row in zip(block, rows)
            ]
        )
        for index, label in enumerate([""] * depth + list(labels))
    ]


# Files


def plain(value: Any) -> Any:
    """A value made of what JSON knows; NaN and infinity become None."""
    if isinstance(value, Table):
        return value.as_dict()
    if isinstance(value, results.Figure):
        return {"value": plain(value.value), "mark": value.mark}
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, bool, int, float, type(None))):
        return value
    return str(value)


def write_atomically(path: Union[str, os.PathLike], text: str) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    Raises:
        errors.UserError: where the file cannot be written; nothing is left
            behind and an older file stays as it was.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        try:
            partial.unlink()
        except OSError:
            pass
        raise errors.UserError(
            f"cannot write {path}: {error.strerror or error}; expected a "
            f"writable folder with free space"
        ) from error


def _markdown(data: Mapping[str, Any]) -> str:
    facts, sections = [], []
    for key, value in data.items():
        if key == "title" or key == "plots" and not value:
            continue
        if isinstance(value, Table):
            sections += ["", f"## {value.title or key}", "", value.markdown()]
        elif key == "plots":
            sections += ["", "## Plots", ""]
            sections += [
                f"![{pathlib.Path(plot).stem}]({plot})" for plot in value
            ]
        elif isinstance(value, Mapping):
            sections += ["", f"## {key}", ""]
            sections += [
                f"- {name}: {format_value(part)}"
                for name, part in value.items()
            ]
        else:
            facts.append(f"- {key}: {format_value(value)}")
    lines = [f"# {data.get('title', 'Report')}", "", *facts, *sections]
    return "\n".join(lines).rstrip() + "\n"


def write_report(
    run_dir: Union[str, os.PathLike], data: Mapping[str, Any]
) -> pathlib.Path:
    """Writes `report.md`, then `report.json`, each atomically.

    `report.json` always comes last: where it stands, the run is complete.

    Args:
        run_dir: an existing folder.
        data: `title` becomes the heading and `plots` (paths, relative to the
            folder) pictures; a `Table` becomes a section, so does a dict;
            anything else one line.

    Returns:
        The path of `report.json`.

    Raises:
        errors.UserError: where the folder cannot be written.
    """
    run_dir = pathlib.Path(run_dir)
    write_atomically(run_dir / "report.md", _markdown(data))
    path = run_dir / "report.json"
    document = json.dumps(plain(data), indent=1, ensure_ascii=False)
    write_atomically(path, document + "\n")
    return path
