"""Damaged files end with one clear line, in every reader.

A short run; `python tests/fuzz/run.py --count=20000` is the long one.
"""

import pathlib
import tempfile

from fuzz import fuzzing
from fuzz import readers
import pytest

from iss_rnns import files

COUNT = 120
NAMES = sorted(readers.READERS)
BINARY = (
    "bidaf",
    "compressed",
    "npz",
    "packed",
    "run_checkpoint",
    "saved_model",
    "store",
    "tf1_checkpoint",
    "tflite",
)
TEXTS = [name for name in NAMES if not name.startswith(BINARY)]


@pytest.mark.parametrize("name", NAMES)
def test_damaged_inputs_are_read_or_refused(name, record_property):
    outcome = fuzzing.run(name, COUNT)
    record_property("damaged inputs", outcome.count)
    assert not outcome.failed, next(iter(outcome.failed.values()))
    # Neither are all refused, nor does the reader look at nothing.
    assert outcome.count == COUNT
    assert outcome.refused > COUNT // 50


def read(name, mark=b""):
    reader = readers.READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        reader.make(top)
        for path in top.glob(reader.damaged) if mark else ():
            if path.is_file():
                path.write_bytes(mark + path.read_bytes())
        return reader.read(top)


@pytest.mark.parametrize("name", TEXTS)
def test_byte_order_marks_do_not_count(name):
    """B5: every text reader reads as without the mark."""
    assert read(name, files.BYTE_ORDER_MARK) == read(name)
