"""What a run shows at its end: tables and the report.

Nothing here needs TensorFlow.
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
import textwrap
from typing import Any, Optional, Union

import numpy as np

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments.reports import results

MISSING = "-"

# Columns of a run's table, by which other runs find them.
TRAINED, DESIGNED = "trained (masked)", "as designed (untrained)"
SHRUNK = "shrunk (reloaded)"


REPORT = "report.json"
_TOO_LARGE = 1e300  # no measure of a run

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
            measures = list(
                itertools.chain(*(column.values for column in columns))
            )
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
        blocks: list[list[tuple]] = [[]]
        room = width - label_width
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
        rows += map(list, zip(self.measures, *map(self._cells, self.columns)))
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
    """Writes `report.md`, then `json`, each atomically.

    `json` always comes last: where it stands, the run is complete.

    Args:
        run_dir: an existing folder.
        data: `title` becomes the heading and `plots` (paths, relative to the
            folder) pictures; a `Table` becomes a section, so does a dict;
            anything else one line.

    Returns:
        The path of `json`.

    Raises:
        errors.UserError: where the folder cannot be written.
    """
    run_dir = pathlib.Path(run_dir)
    files.write_text(run_dir / "report.md", _markdown(data))
    path = run_dir / REPORT
    document = json.dumps(plain(data), indent=1, ensure_ascii=False)
    files.write_text(path, document + "\n")
    return path


def read_report(run_dir: Union[str, os.PathLike]) -> dict[str, Any]:
    """What `write_report` wrote.

    Args:
        run_dir: the folder of a finished run.

    Returns:
        Its facts and sections by name; `table` is a dict of columns, each a
        dict of values by measure.

    Raises:
        errors.UserError: where there is no report, or a damaged one.
    """
    path = pathlib.Path(run_dir) / REPORT
    try:
        data = files.read_json(path, "report")
    except errors.UserError as error:
        raise errors.UserError(
            f"{files.shown(path)} is no finished report ({error})"
        ) from None
    table = data.get("table") if isinstance(data, dict) else None
    if not isinstance(table, dict) or not all(
        isinstance(column, dict) and all(map(_is_cell, column.values()))
        for column in table.values()
    ):
        raise errors.UserError(
            f"{files.shown(path)} is no finished report (expected a 'table' "
            "of columns, each with its values by measure)"
        )
    return data


def is_number(value: Any) -> bool:
    """Whether a value of a report can be computed with."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < _TOO_LARGE
    )


def _is_cell(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(is_number, value))
    if isinstance(value, Mapping):  # a published `Figure`
        return set(value) == {"value", "mark"}
    return value is None or isinstance(value, (str, bool)) or is_number(value)
