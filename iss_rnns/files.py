"""Files: written whole or not at all, and read with one line if that fails.

Whatever is damaged, missing or of another kind raises `errors.UserError`;
nothing of what `json`, `zipfile` or NumPy raise comes through.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import shutil
from typing import Any, BinaryIO, Union
import zipfile

import numpy as np

from iss_rnns import errors

PathLike = Union[str, os.PathLike]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NO_ARRAYS = "it is no file of arrays, as np.savez writes them"
# What a compressed byte can hold at the most: deflate knows no longer match.
_MOST_DEFLATED = 1032


def shown(path: PathLike) -> str:
    """A path as it goes into a line of text.

    As it is if it can be printed; otherwise (line ends, bytes that are not
    UTF-8) quoted and escaped.
    """
    text = os.fsdecode(path)
    return text if text.isprintable() else ascii(text)


def make_folder(path: PathLike) -> pathlib.Path:
    """Makes a folder and those above it; one that is there is fine.

    Raises:
      UserError: it cannot be made.
    """
    try:
        path = pathlib.Path(path)
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None
    return path


def write_text(path: PathLike, text: str) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    UTF-8; halves of surrogate pairs are written as escapes.

    Raises:
      UserError: it cannot be written; nothing is left behind and an older
        file stays as it was.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: PathLike, data: bytes) -> None:
    """Writes a file whole or not at all, see `write_text`."""
    with _replacing(path) as file:
        file.write(data)


def write_json(path: PathLike, value: Any, **options: Any) -> None:
    """Writes a value as JSON, see `write_text`.

    Args:
      path: of the file.
      value: made of what JSON knows.
      **options: of `json.dumps`.
    """
    write_text(path, json.dumps(value, **options))


def write_arrays(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name, compressed; see `write_text`."""
    with _replacing(path) as file:
        np.savez_compressed(file, **arrays)


@contextlib.contextmanager
def new_folder(path: PathLike) -> Iterator[pathlib.Path]:
    """A folder that takes the place of `path` when all is in it.

    Yields:
      The folder to fill; it is beside `path`.

    Raises:
      UserError: it cannot be written; nothing is left behind and an older
        folder stays as it was.
    """
    path, partial, aside = pathlib.Path(path), *_beside(path)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            os.replace(path, aside)
        os.replace(partial, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)
        elif aside.exists():
            with contextlib.suppress(OSError):
                os.replace(aside, path)


def remove(path: PathLike) -> None:
    """Removes a file, or a folder with all that is in it, if it is there.

    Raises:
      OSError: if a file cannot be removed.
    """
    path = pathlib.Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def read_bytes(path: PathLike, what: str) -> bytes:
    """The bytes of a file.

    Args:
      path: of the file.
      what: it holds, for errors: "text", "settings".

    Raises:
      UserError: it cannot be read.
    """
    try:
        return pathlib.Path(path).read_bytes()
    except (OSError, ValueError, MemoryError) as error:
        raise unreadable(path, what, errors.reason(error)) from None


def decode(data: bytes, path: PathLike, what: str) -> str:
    """A file's bytes as text, without a byte order mark.

    Args:
      data: the bytes.
      path: of the file; see `read_bytes`.
      what: likewise.

    Raises:
      UserError: they are not UTF-8; says where.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(_UTF_16_MARKS):
            raise unreadable(
                path, what, "it is UTF-16; save it as UTF-8"
            ) from None
        # The codec counts from behind the mark.
        place = error.start + len(data) - len(error.object)
        line = data.count(b"\n", 0, place) + 1
        raise unreadable(
            path,
            what,
            f"it is not UTF-8: byte 0x{data[place]:02x} at offset {place}, "
            f"line {line}; save it as UTF-8",
        ) from None


def read_text(path: PathLike, what: str) -> str:
    """The text of a file, without a byte order mark.

    Args:
      path: see `read_bytes`.
      what: likewise.

    Raises:
      UserError: it cannot be read or is not UTF-8.
    """
    return decode(read_bytes(path, what), path, what)


def read_json(path: PathLike, what: str, unique_keys: bool = False) -> Any:
    """The contents of a JSON file; a byte order mark does not count.

    Args:
      path: see `read_bytes`.
      what: likewise.
      unique_keys: refuse an object with a key twice, of which otherwise the
        last one counts: for what people write by hand.

    Raises:
      UserError: it cannot be read or is no JSON; says where.
    """
    return parse_json(read_text(path, what), path, what, unique_keys)


def parse_json(
    text: str, path: PathLike, what: str, unique_keys: bool = False
) -> Any:
    """See `read_json`; of a text that was read already."""

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise unreadable(
                path,
                what,
                f"it has the key {twice!r} twice in one object; name it once",
            )
        return found

    try:
        return json.loads(
            text, object_pairs_hook=checked if unique_keys else None
        )
    except errors.UserError:  # a key twice
        raise
    except json.JSONDecodeError as error:
        why = (
            f"it is no JSON: {error.msg} at line {error.lineno}, column "
            f"{error.colno}"
        )
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError:  # Python's limit on the digits of an integer
        why = (
            "it holds a number of too many digits; expected numbers of the "
            "usual size"
        )
    raise unreadable(path, what, why)


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array of a file that is not read yet; `numpy.asarray` reads it.

    Attributes:
      path: of the file.
      what: the arrays of the file are, for errors.
      name: of the array.
      shape: as its header says, which agrees with the file's size.
      dtype: likewise.
    """

    path: PathLike
    what: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    def __array__(self, dtype=None) -> np.ndarray:
        with _reading_archive(self.path, self.what, self.name) as archive:
            array = _read(archive, self.name)
        return array if dtype is None else array.astype(dtype)


# Of a file: in memory, or read when it is asked for.
AnyArray = Union[np.ndarray, StoredArray]


def stored_arrays(path: PathLike, what: str) -> dict[str, StoredArray]:
    """The arrays of a file that `np.savez` wrote, by name, not read yet.

    Args:
      path: of the file.
      what: its arrays are, for errors.

    Raises:
      UserError: no such file, or it is damaged or of another kind; also if
        an array's header asks for more than the file holds.
    """
    with _reading_archive(path, what) as archive:
        return {
            name: StoredArray(path, what, name, *header)
            for name, header in _headers(archive).items()
        }


def read_arrays(path: PathLike, what: str) -> dict[str, np.ndarray]:
    """All arrays of a file that `np.savez` wrote; none is unpickled.

    Args:
      path: see `stored_arrays`.
      what: likewise.

    Raises:
      UserError: see `stored_arrays`.
    """
    with _reading_archive(path, what) as archive:
        return {name: _read(archive, name) for name in _headers(archive)}


def unreadable(path: PathLike, what: str, why: str) -> errors.UserError:
    """The exception for a file that cannot be read."""
    return errors.UserError(f"cannot read {what} {shown(path)}: {why}")


def _unwritable(path: PathLike, error: Exception) -> errors.UserError:
    return errors.UserError(
        f"cannot write {shown(path)}: {errors.reason(error)}; expected a "
        "writable folder with free space"
    )


def _beside(path: PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """Hidden names beside a path that no other process has.

    Returns:
      Of what will take its place, and of what it takes the place of.
    """
    path = pathlib.Path(path)
    if not path.name or "\0" in path.name:
        raise errors.UserError(
            f"cannot write {shown(path)}: it is no name of a file or folder"
        )
    partial, aside = (
        path.with_name(f".{path.name}.{os.getpid()}.{kind}")
        for kind in ("partial", "replaced")
    )
    return partial, aside


def _sync(path: pathlib.Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _replacing(path: PathLike) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is complete."""
    partial, _ = _beside(path)
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:  # of an interrupted one, too
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def _reading_archive(
    path: PathLike, what: str, array: str = ""
) -> Iterator[zipfile.ZipFile]:
    """Opens what `np.savez` wrote, for reading all of it or one array.

    On damaged bytes zipfile and NumPy raise whatever they stumble on, from
    zlib.error to SyntaxError: each is a damaged file here.
    """
    try:
        _check_begin(pathlib.Path(path))
        with zipfile.ZipFile(path) as archive:
            yield archive
    except errors.UserError:
        raise
    except Exception as error:
        place = f"array '{array}': " if array else ""
        raise unreadable(path, what, place + errors.reason(error)) from None


def _check_begin(path: pathlib.Path) -> None:
    with open(path, "rb") as file:
        begin = file.read(6)
    if not begin:
        raise ValueError("No data left in file")
    if begin == np.lib.format.MAGIC_PREFIX:
        raise ValueError(
            "it holds one array; expected those of a model by name, as "
            "np.savez writes them"
        )
    if not begin.startswith(b"PK"):
        raise ValueError(_NO_ARRAYS)


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read(1)  # Its checksum is compared at its end.
    return array


def _headers(
    archive: zipfile.ZipFile,
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each array, by name; one at least."""
    found = {}
    for member in archive.infolist():
        name, ending = os.path.splitext(member.filename)
        if ending == ".npy":
            found[name] = _header(archive, member)
    if not found:
        raise ValueError(_NO_ARRAYS)
    return found


def _header(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a member.

    The memory that reading takes is asked for by the header alone, so it is
    compared with what the archive can hold.
    """
    held = member.compress_size * (
        1 if member.compress_type == zipfile.ZIP_STORED else _MOST_DEFLATED
    )
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"'{member.filename}' is of an unknown version")
        if dtype.hasobject:
            raise ValueError("it is no file of arrays, but of Python objects")
        size = file.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size != member.file_size or size > held:
        raise ValueError(
            f"'{member.filename}' is damaged: a {dtype} array of shape {shape}"
            f" does not take the {member.file_size:,} bytes that it has"
        )
    return shape, dtype
