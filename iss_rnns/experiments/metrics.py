"""`metrics.csv`: a row for each epoch."""

import csv
import io
import pathlib

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
        self.rows: list[dict] = []
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
          UserError: if it is damaged.
        """
        try:
            text = files.read_text(path, "metrics")
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            if all(row.get("epoch", "").isdecimal() for row in rows):
                return rows
        except (errors.UserError, csv.Error):
            pass
        raise errors.UserError(
            f"metrics {path} are damaged; expected the rows that training "
            "wrote: remove the file to go on without them"
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
