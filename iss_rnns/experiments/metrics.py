"""`metrics.csv`: a row for each epoch."""

from collections.abc import Mapping, Sequence
import csv
import io
import math
import pathlib
import re
from typing import Any

from iss_rnns import errors
from iss_rnns import files


class Metrics:
    """`metrics.csv`: a row per epoch, whole at any time.

    Args:
      path: of the file.
      rows_kept: epochs whose rows stay when a run is resumed.
    """

    def __init__(self, path: pathlib.Path, epochs_kept: int = 0):
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if epochs_kept and path.exists():
            self.rows = [
                row
                for row in self.read(path)
                if int(row["epoch"]) <= epochs_kept
            ]

    @staticmethod
    def read(path: pathlib.Path) -> list[dict]:
        """The rows of a file, values as text.

        Raises:
          UserError: if it is damaged, naming the line.
        """
        try:
            text = files.read_text(path, "metrics")
            lines = csv.reader(io.StringIO(text, newline=""))
            columns = next(lines, [])
            rows: list[dict[str, str]] = []
            for line in lines:
                _check_line(line, columns, rows, lines.line_num)
                rows.append(dict(zip(columns, line)))
            if rows:
                return rows
            wrong = "it holds no row"
        except (errors.UserError, ValueError, csv.Error) as error:
            wrong = errors.reason(error)
        raise errors.UserError(
            f"metrics {path} are damaged: {wrong}; expected the rows that "
            "training wrote: remove the file to go on without them"
        )

    def append(self, row: dict) -> None:
        """Adds a row; new columns may appear at any time."""
        self.rows.append(row)
        columns = list(dict.fromkeys(key for r in self.rows for key in r))
        lines = [columns] + [
            [str(r.get(c, "")) for c in columns] for r in self.rows
        ]
        files.write_text(
            self.path, "".join(",".join(line) + "\n" for line in lines)
        )


def number(row: Mapping[str, Any], column: str) -> float:
    """A value of a row; NaN where it has none."""
    return float(row.get(column) or math.nan)


def _check_line(
    line: Sequence[str], columns: Sequence[str], rows: Sequence[dict], at: int
) -> None:
    """Refuses a line whose values are no numbers, or no next epoch's."""
    if len(line) != len(columns):
        raise ValueError(
            f"line {at} has {len(line)} values, expected {len(columns)}"
        )
    values = dict(zip(columns, line))
    epoch = values.get("epoch", "")
    before = int(rows[-1]["epoch"]) if rows else 0
    if not (re.fullmatch("[0-9]{1,9}", epoch) and int(epoch) > before):
        raise ValueError(
            f"line {at} is of epoch '{epoch[:20]}', expected one after {before}"
        )
    for column, value in values.items():
        try:
            float(value or math.nan)
        except ValueError:
            raise ValueError(
                f"line {at}: {column} is '{value[:20]}', expected a number"
            ) from None
