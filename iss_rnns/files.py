"""Arrays by name in `.npz` files, and one clear line if that fails."""

from collections.abc import Mapping
import contextlib
import os
import pathlib
from typing import Union
import zipfile
import zlib

import numpy as np

from iss_rnns import errors

# What NumPy raises on a damaged file; an empty one is an EOFError, an
# encrypted one a RuntimeError.
DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
)


def write(
    path: Union[str, os.PathLike], arrays: Mapping[str, np.ndarray]
) -> None:
    """Writes a file, compressed; an older one stays whole until it is done.

    Raises:
      UserError: it cannot be written; nothing is left behind.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise errors.UserError(
            f"cannot write {path}: {error.strerror}"
        ) from error
    finally:  # of an interrupted one, too
        with contextlib.suppress(OSError):
            partial.unlink()


def read(path: Union[str, os.PathLike], what: str) -> dict[str, np.ndarray]:
    """All arrays of a file that `np.savez` wrote; none is unpickled.

    Args:
      path: of the file.
      what: the arrays are, for errors.

    Raises:
      UserError: no such file, or it is damaged or of another kind.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError(
                "it holds one array; expected those of a model "
                "by name, as np.savez writes them"
            )
        with file:
            # Of what is no array NumPy gives the bytes.
            return {name: np.asarray(file[name]) for name in file.files}
    except DAMAGED as error:
        line = errors.reason(error)
        # NumPy takes for a pickle whatever begins like none of its files.
        if "contains pickled" in line or "containing pickled" in line:
            line = "it is no file of arrays, as np.savez writes them"
        raise errors.UserError(f"cannot read {what} {path}: {line}") from None


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
