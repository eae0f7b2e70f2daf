"""Files of TensorFlow 1 checkpoints: which ones a path means, and their arrays.

Both formats are read: V2 (`.index` and `.data-00000-of-00001`) and V1 (one
file of the prefix' own name, or shards `-00000-of-00001`).
"""

from collections.abc import Mapping
import contextlib
import glob
import math
import os
import re
import warnings

from google.protobuf import text_format
import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files
from iss_rnns import paths

# What TensorFlow raises on a damaged checkpoint; a short file is an IndexError.
READ_ERRORS = (tf.errors.OpError, ValueError, RuntimeError, IndexError)

_STATE = "checkpoint"  # TensorFlow's name of the file that names the newest
# What follows a prefix in the names of a checkpoint's files, and in what state
# files say of V1 shards.
_INNER_FILE = re.compile(
    r"(?:\.index|\.meta|\.data-\d{5}-of-\d{5}|-[\d?]{5}-of-\d{5})$"
)
_TABLE_END = bytes.fromhex("57fb808b247547db")  # of a V1 checkpoint's file


def read(path: files.PathLike) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint, by the names that it gives them.

    Args:
      path: see `find`.

    Raises:
      UserError: if there is none or it is damaged, or TensorFlow cannot read
        from such a path.
    """
    prefix = find(path)
    if os.path.exists(f"{prefix}.index"):  # The older format's is a pattern.
        paths.check_for_tensorflow(prefix)
    try:
        # Not by `tf.train.load_checkpoint`, which asks state files once more.
        reader = tf.compat.v1.train.NewCheckpointReader(_opened_by(prefix))
        shapes = reader.get_variable_to_shape_map()
        _check_bytes(prefix, shapes, reader.get_variable_to_dtype_map())
        return {name: np.asarray(reader.get_tensor(name)) for name in shapes}
    except READ_ERRORS as error:
        raise errors.UserError(
            f"checkpoint {files.shown(prefix)} is damaged: "
            f"{errors.reason(error)}"
        ) from None


def find(path: files.PathLike) -> str:
    """The prefix of the TF1 checkpoint that a path means.

    In a folder the file `checkpoint` says which is the newest. It names paths
    of the machine that wrote it; what counts is the file of that name in the
    folder given, wherever that was copied or moved to. A path that it names
    counts only if it lies in the folder. Where the newest is gone, the newest
    of those that are left is taken; without such a file, the only one there.

    Args:
      path: the prefix (`.../model.ckpt-13`), one of its files, or the folder.

    Raises:
      UserError: if there is none, or nothing says which of several.
    """
    path = os.fsdecode(path)
    for prefix in (_INNER_FILE.sub("", path), path):
        if _is_checkpoint(prefix):
            return prefix
    if not os.path.isdir(path):
        raise _no_checkpoint(path)
    named = _named_in_state(path)
    wanted = [prefix for name in named for prefix in _places(path, name)]
    there = _checkpoints_in(path)
    if len(there) > 1 and not any(map(_is_checkpoint, wanted)):
        raise errors.UserError(
            f"{files.shown(path)} holds several checkpoints and no "
            f"'{_STATE}' file that names one of them; give the prefix, such "
            f"as {files.shown(there[-1])}"
        )
    # Of the rest, which no file names, only a single one can be meant.
    found = wanted + (there if len(there) == 1 else [])
    # Damaged ones are for the reader to tell of.
    for prefix in [p for p in found if _is_whole(p)] or found:
        if _is_checkpoint(prefix):
            if named and prefix not in _places(path, named[0]):
                warnings.warn(
                    f"{files.shown(os.path.join(path, _STATE))} names "
                    f"{named[0]!r}, which is not there; reading "
                    f"{files.shown(prefix)} instead",
                    stacklevel=3,
                )
            return prefix
    raise _no_checkpoint(path)


def _places(folder: str, name: str) -> list[str]:
    """Prefixes in a folder that a name in its state file may mean."""
    places = [os.path.join(folder, re.split(r"[\\/]", name)[-1])]
    recorded = os.path.join(folder, name)
    if os.path.abspath(recorded).startswith(
        os.path.join(os.path.abspath(folder), "")
    ):
        places.append(recorded)
    return places


def _check_bytes(prefix: str, shapes: Mapping, dtypes: Mapping) -> None:
    """Raises ValueError if arrays would take more than their files hold.

    TensorFlow asks for the memory before it looks.
    """
    shards = _shards(f"{prefix}.data-")  # of the newer format, uncompressed
    held = sum(map(os.path.getsize, shards))
    asked = sum(
        math.prod(shape) * dtypes[name].size
        for name, shape in shapes.items()
        if dtypes[name].is_numpy_compatible and dtypes[name] != tf.string
    )
    if shards and asked > held:
        raise ValueError(
            f"its arrays take {asked:,} bytes, but its files hold {held:,}"
        )


def _no_checkpoint(path: str) -> errors.UserError:
    return errors.UserError(
        f"no checkpoint at {files.shown(path)}: expected a folder with a "
        f"'{_STATE}' file, or a prefix such as .../model.ckpt-13 beside its "
        ".index and .data files"
    )


def _named_in_state(folder: str) -> list[str]:
    """Checkpoints that a folder's state file names, the newest first."""
    path = os.path.join(folder, _STATE)
    if not os.path.exists(path):
        return []
    state = tf.compat.v1.train.generate_checkpoint_state_proto(".", "none")
    state.Clear()
    try:
        text_format.Parse(files.read_text(path, "checkpoint state"), state)
    except (errors.UserError, text_format.ParseError, ValueError) as error:
        raise errors.UserError(
            f"checkpoint state {files.shown(path)} is damaged: "
            f"{errors.reason(error)}; give the prefix, such as "
            ".../model.ckpt-13"
        ) from None
    names = [
        _INNER_FILE.sub("", name)
        for name in (
            state.model_checkpoint_path,
            *reversed(state.all_model_checkpoint_paths),
        )
    ]
    return [name for name in dict.fromkeys(names) if name and "\0" not in name]


def _checkpoints_in(folder: str) -> list[str]:
    """Prefixes of a folder's checkpoints, in the order of their numbers."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise files.unreadable(folder, "folder", errors.reason(error)) from None
    prefixes = {
        os.path.join(folder, _INNER_FILE.sub("", name))
        for name in names
        if _INNER_FILE.search(name)
    }

    def by_number(prefix):
        number = re.search(r"\d{1,18}$", prefix)
        return int(number[0]) if number else -1, prefix

    return sorted(filter(_is_checkpoint, prefixes), key=by_number)


def _is_checkpoint(prefix: str) -> bool:
    """Whether a prefix has the files of a checkpoint, in either format.

    The newer has `.index` and `.data-00000-of-00001`; the older (V1) is one
    file of the prefix' own name, or shards `-00000-of-00001`.
    """
    if os.path.exists(f"{prefix}.index"):
        return True
    if os.path.isfile(prefix):
        with contextlib.suppress(OSError), open(prefix, "rb") as file:
            file.seek(-len(_TABLE_END), os.SEEK_END)
            return file.read() == _TABLE_END
    return bool(_shards(f"{prefix}-"))


def _is_whole(prefix: str) -> bool:
    """Whether not only an index is left of a checkpoint."""
    return _is_checkpoint(prefix) and (
        not os.path.exists(f"{prefix}.index")
        or bool(_shards(f"{prefix}.data-"))
    )


def _opened_by(prefix: str) -> bytes:
    """What TensorFlow's reader takes: of V1 checkpoints a pattern of files."""
    if os.path.exists(f"{prefix}.index"):
        return os.fsencode(prefix)
    shards = "" if os.path.isfile(prefix) else "-?????-of-?????"
    return os.fsencode(glob.escape(prefix) + shards)


def _shards(begin: str) -> list[str]:
    if "\0" in begin:
        return []
    return glob.glob(f"{glob.escape(begin)}?????-of-?????")
