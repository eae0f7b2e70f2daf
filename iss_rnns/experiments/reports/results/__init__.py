"""The papers' figures as data, each with how sure it is.

The full texts of the ISS paper and of Narang 2017 could not be read when
these files were made, so many of their figures are remembered. A `Figure`
therefore never prints without its mark, and `LEGEND` says what marks mean.
"""

import dataclasses
import json
import pathlib
from typing import Any

MARKS = {
    "V": "verified in the full text or the authors' code",
    "S": "secondary, printed by another work",
    "A": "from memory, consistent under arithmetic",
    "M": "from memory, unverified",
}
LEGEND = "Marks: " + "; ".join(f"({m}) {text}" for m, text in MARKS.items())

_FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Figure:
    """A published number with its mark; formatting it yields `78.65 (M)`.

    It takes part in no arithmetic by accident: ask for `value`.

    Attributes:
      value: a number, or a tuple of them (sizes of the layers).
      mark: a key of `MARKS`.
    """

    value: Any
    mark: str

    def __post_init__(self):
        if self.mark not in MARKS:
            raise ValueError(
                f"Figure {self.value} has the mark {self.mark!r}, expected "
                f"one of {', '.join(MARKS)}."
            )

    def __format__(self, spec: str) -> str:
        return f"{format(self.value, spec)} ({self.mark})"

    def __str__(self) -> str:
        return format(self, "")


def _figure(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    value = cell["value"]
    if isinstance(value, list):
        value = tuple(value)
    return Figure(value, cell["mark"])


def tables() -> list[str]:
    """Names of the stored tables, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def _load(table: str) -> dict[str, Any]:
    if table not in tables():
        raise ValueError(
            f"No stored table {table!r}; there are {', '.join(tables())}."
        )
    return json.loads((_FOLDER / f"{table}.json").read_text("utf-8"))


def describe(table: str) -> dict[str, str]:
    """Title and source of a table, and its setting where one is known."""
    return {k: v for k, v in _load(table).items() if k != "rows"}


def paper_rows(table: str) -> list[dict[str, Any]]:
    """Rows of a published table.

    Args:
      table: one of `tables()`, e.g. `iss_table1_ptb`.

    Returns:
      One dict a row: labels as text, every number as a `Figure`. A figure
      that the source does not give has no key.

    Raises:
      ValueError: for an unknown table; the message lists them.
    """
    return [
        {key: _figure(cell) for key, cell in row.items()}
        for row in _load(table)["rows"]
    ]


def paper_row(table: str, **label: str) -> dict[str, Any]:
    """The first row whose labels fit, e.g. `method="baseline"`.

    Raises:
      ValueError: for an unknown table or where no row fits.
    """
    for row in paper_rows(table):
        if all(row.get(key) == text for key, text in label.items()):
            return row
    raise ValueError(f"Table {table!r} has no row with {label}.")
