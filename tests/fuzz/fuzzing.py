"""Feeds damaged files to a reader and watches how it ends."""

import collections
import contextlib
import dataclasses
import pathlib
import random
import signal
import tempfile
import traceback
from typing import Callable, Optional
import warnings

from fuzz import mutations
from fuzz import readers

from iss_rnns import errors

SECONDS = 20  # that one input may take


@dataclasses.dataclass
class Outcome:
    """What came of some inputs.

    Attributes:
      read: how many were read all the same.
      refused: how many ended with the project's own error.
      failed: number of the input to the traceback, of all others.
      lines: what was said, and how often.
    """

    read: int = 0
    refused: int = 0
    failed: dict[int, str] = dataclasses.field(default_factory=dict)
    lines: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )

    @property
    def count(self) -> int:
        """Of inputs."""
        return self.read + self.refused + len(self.failed)


def valid_files(reader: readers.Reader) -> dict[str, bytes]:
    """Contents by name of the valid files of a reader."""
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        reader.make(top)
        return {
            str(path.relative_to(top)): path.read_bytes()
            for path in sorted(top.rglob("*"))
            if path.is_file()
        }


def write(folder: pathlib.Path, contents: dict[str, bytes]) -> None:
    """Makes a folder hold these files and no others."""
    for path in folder.rglob("*"):
        if path.is_file() and str(path.relative_to(folder)) not in contents:
            path.unlink()
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def run(
    name: str,
    count: int,
    first: int = 0,
    started: Optional[Callable[[int], None]] = None,
    keep: Optional[pathlib.Path] = None,
) -> Outcome:
    """Gives `count` damaged inputs to a reader.

    An input depends on the reader's name and its own number only.

    Args:
      name: of the reader.
      count: inputs.
      first: number of the first.
      started: told the number of each input before it is read.
      keep: folder that gets the files of inputs that failed.
    """
    reader, outcome = readers.READERS[name], Outcome()
    valid = valid_files(reader)
    with tempfile.TemporaryDirectory() as folder, _quiet(), _alarm():
        top = pathlib.Path(folder)
        damaged = sorted(
            str(path)
            for path in map(pathlib.Path, valid)
            if path.match(reader.damaged)
        )
        for number in range(first, first + count):
            if started:
                started(number)
            source = random.Random(f"{name} {number}")
            contents = mutations.damaged_files(valid, damaged, source)
            write(top, contents)
            signal.alarm(SECONDS)
            try:
                reader.read(top)
                outcome.read += 1
            except errors.UserError as error:
                line = str(error)
                outcome.lines[line.replace(folder, "")[:60]] += 1
                if "\n" in line or not line:
                    outcome.failed[number] = f"no single line: {line!r}"
                else:
                    outcome.refused += 1
            except Exception:
                outcome.failed[number] = traceback.format_exc()
            finally:
                signal.alarm(0)
            if keep and number in outcome.failed:
                write(keep / f"{name}-{number}", contents)
    return outcome


@contextlib.contextmanager
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _alarm():
    """Hangs end as a TimeoutError."""

    def ring(*_):
        raise TimeoutError(f"it took longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
