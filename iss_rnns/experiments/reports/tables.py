"""What a run shows at its end: models side by side.

Nothing here needs TensorFlow.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
import numbers
import shutil
import textwrap
from typing import Any, Optional, Union

import numpy as np

from iss_rnns.experiments.reports import results

MISSING = "-"

# Columns of a run's table, by which other runs find them.
TRAINED, DESIGNED = "trained (masked)", "as designed (untrained)"
SHRUNK = "shrunk (reloaded)"


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

    def rows(self) -> list[list[str]]:
        """The measures, each with its cells as text."""
        return [
            list(row)
            for row in zip(self.measures, *map(self._cells, self.columns))
        ]

    def _cells(self, column: Column) -> list[str]:
        return [
            format_value(column.values.get(measure), spec)
            for measure, spec in self.measures.items()
        ]

    def legend(self) -> str:
        """What the marks in the cells mean; "" if there are none."""
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
                column.title,
                max([13, *map(len, cells)]),
                break_long_words=False,
                break_on_hyphens=False,
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
        legend = textwrap.wrap(self.legend(), width)
        return "\n".join(line.rstrip() for line in lines + legend)

    def markdown(self) -> str:
        """The table for a Markdown file; the title is left to the file."""
        titles = [column.title for column in self.columns]
        rows = [["", *titles], ["---"] + ["---:"] * len(titles)]
        rows += self.rows()
        lines = [
            "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"
            for row in rows
        ]
        legend = self.legend()
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


def is_number(value: Any) -> bool:
    """Whether a value of a report can be computed with."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < _TOO_LARGE
    )


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
