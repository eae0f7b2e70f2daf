"""TensorFlow Lite models."""

import contextlib
import os
import sys


@contextlib.contextmanager
def quiet_stderr():
    """Keeps the converter's C++ code from printing its statistics."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
