"""Arrays by name out of `.npz` files, and one clear line for a damaged one."""

import os
import zipfile
import zlib
from typing import Dict, Union

import numpy as np

from iss_rnns import errors

# What NumPy raises on a damaged file; an empty one is an EOFError, an
# encrypted one a RuntimeError.
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, KeyError,
            zipfile.BadZipFile, zlib.error)


def read(path: Union[str, os.PathLike], what: str) -> Dict[str, np.ndarray]:
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
            raise ValueError("it holds one array; expected those of a model "
                             "by name, as np.savez writes them")
        with file:
            # Of what is no array NumPy gives the bytes.
            return {name: np.asarray(file[name]) for name in file.files}
    except _DAMAGED as error:
        line = errors.reason(error)
        # NumPy takes for a pickle whatever begins like none of its files.
        if "contains pickled" in line or "containing pickled" in line:
            line = "it is no file of arrays, as np.savez writes them"
        raise errors.UserError(f"cannot read {what} {path}: {line}") from None
