"""What stands on the user's terminal."""

from collections.abc import Iterator
import contextlib
import os
import sys


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps code that is not Python's from writing to the terminal.

    TensorFlow's C++ code writes some lines that no setting silences.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def discard_stdout() -> None:
    """Whoever read the output has gone, as of `| head`.

    Python would complain once more when it flushes on the way out.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
