"""What a compressed model consists of: its `manifest.json`.

It names every file of the model with its length and SHA-256, the layers' and
states' sizes and the vocabulary, so that a damaged, mixed or incomplete model
is told before anything of it is read. Its own hash is in it, too. It protects
from accidents; who wants to deceive writes a new one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
import hashlib
import inspect
import json
import os
import pathlib
from typing import Any, BinaryIO, Optional
import warnings

import iss_rnns
from iss_rnns import errors
from iss_rnns import files as files_lib

FILE = "manifest.json"
VERSION = 1
FORMATS = ("saved_model", "tflite", "onnx", "c", "packed")

_WHAT = "manifest"
_OWN = "manifest_sha256"
_AGAIN = "copy the model again, whole, or export it anew"
_CHUNK = 1 << 20

Shape = Sequence[Optional[int]]
Digest = Mapping[str, Any]  # `bytes` and `sha256` of a file


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a model's manifest says.

    Attributes:
      format: one of `FORMATS`.
      sizes: units of each layer, by name.
      states: shape of each state by name, in the order in which the model
        takes them; None for the batch.
      vocabulary: file that says what its ids stand for, if any.
      library_version: that wrote it.
      files: length in bytes and SHA-256 of every file, by name.
    """

    format: str
    sizes: Mapping[str, int]
    states: Mapping[str, Shape] = dataclasses.field(default_factory=dict)
    vocabulary: Optional[str] = None
    library_version: str = iss_rnns.__version__
    files: Mapping[str, Digest] = dataclasses.field(default_factory=dict)

    def text(self, digests: Mapping[str, Digest]) -> str:
        """The file's contents, of a model of the files digested."""
        content = {
            "version": VERSION,
            **dataclasses.asdict(self),
            "files": {name: digests[name] for name in sorted(digests)},
        }
        content[_OWN] = _own_hash(content)
        return json.dumps(content, indent=1) + "\n"

    def check_files(
        self, where: files_lib.PathLike, digests: Mapping[str, Digest]
    ) -> None:
        """Compares the files that a model has with those that it should have.

        Args:
          where: the model lies.
          digests: of its files, but for the manifest.

        Raises:
          UserError: a file is missing, damaged, or none of the model's.
        """
        where = files_lib.shown(where)
        for name in sorted(self.files.keys() | digests.keys()):
            shown = files_lib.shown(name)
            if name not in digests:
                raise errors.UserError(
                    f"{where} lacks {shown}, which its {FILE} names; {_AGAIN}"
                )
            if name not in self.files:
                raise errors.UserError(
                    f"{where} has a file {shown} that its {FILE} does not "
                    "name; take it out, or export the model anew"
                )
            found, right = digests[name], self.files[name]
            if found["bytes"] != right["bytes"]:
                raise errors.UserError(
                    f"{where}: {shown} is damaged: it has {found['bytes']:,} "
                    f"bytes, its {FILE} says {right['bytes']:,}; {_AGAIN}"
                )
            if found["sha256"] != right["sha256"]:
                raise errors.UserError(
                    f"{where}: {shown} is damaged: its SHA-256 is not that of "
                    f"its {FILE}; {_AGAIN}"
                )

    def check_states(
        self, where: files_lib.PathLike, states: Mapping[str, int]
    ) -> None:
        """Compares the sizes with those that a language model really has.

        Args:
          where: the model lies.
          states: width of each state, by `<layer>_<letter>`, in any order.

        Raises:
          UserError: naming the first that differs.
        """
        named = {name: list(shape) for name, shape in self.states.items()}
        real = {name: [None, width] for name, width in states.items()}
        layers = {name.rpartition("_")[0]: n for name, n in states.items()}
        for what, ours, theirs in (
            ("states", named, real),
            ("sizes", dict(self.sizes), layers),
        ):
            if ours != theirs:
                raise errors.UserError(
                    f"{files_lib.shown(where)}: its {FILE} says {what} {ours}, the "
                    f"model has {theirs}; {_AGAIN}"
                )

    def check_format(self, where: files_lib.PathLike, expected: str) -> None:
        """Refuses the manifest of a model of another kind."""
        if self.format != expected:
            raise errors.UserError(
                f"{files_lib.shown(where)} holds no model of format {expected}: "
                f"its {FILE} is that of format {self.format}; {_AGAIN}"
            )


def parse(text: str, where: files_lib.PathLike) -> Manifest:
    """Reads a manifest's contents.

    Args:
      text: the contents.
      where: it lies, for errors.

    Raises:
      UserError: it is damaged, or of another version.
    """
    content = files_lib.parse_json(text, where, _WHAT, unique_keys=True)
    if not isinstance(content, dict) or "version" not in content:
        raise _damaged(where, "it does not say its version")
    version = content.pop("version")
    if version != VERSION:
        raise errors.UserError(
            f"{files_lib.shown(where)} has version {version!r}; iss_rnns "
            f"{iss_rnns.__version__} reads version {VERSION}: install the "
            "version that wrote it, or export the model anew"
        )
    own = content.pop(_OWN, None)
    if own != _own_hash({"version": version, **content}):
        raise _damaged(where, "it was changed after it was written")
    for name, check in _FIELDS.items():
        if name not in content or not check(content[name]):
            raise _damaged(where, f"'{name}' is missing or no such thing")
    if content["vocabulary"] not in (None, *content["files"]):
        raise _damaged(where, "its vocabulary is none of its files")
    return Manifest(**{name: content[name] for name in _FIELDS})


def write(folder: pathlib.Path, about: Manifest) -> None:
    """Writes the manifest of a folder that holds all other files.

    Raises:
      UserError: a file cannot be read, or it cannot be written.
    """
    digests = _digests(folder)
    files_lib.write_text(folder / FILE, about.text(digests))


def check(folder: pathlib.Path, expected: str) -> Optional[Manifest]:
    """Reads the manifest of a folder and compares all files with it.

    Args:
      folder: of the model.
      expected: its format, one of `FORMATS`.

    Returns:
      The manifest; None, after a warning, if there is none.

    Raises:
      UserError: something is damaged, missing, too much, or another model's.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        warn_without(folder)
        return None
    about = parse(files_lib.read_text(path, _WHAT), path)
    about.check_format(folder, expected)
    about.check_files(folder, _digests(folder))
    return about


def warn_without(where: files_lib.PathLike) -> None:
    """Says that a model cannot be checked, where the user's code loads it."""
    level, frame = 1, inspect.currentframe()
    while frame and _is_of_library(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{files_lib.shown(where)} has no {FILE}, as of iss_rnns 1.0.0, so "
        "nobody knows whether it is whole; export it anew to have one",
        stacklevel=level,
    )


def digest(chunks: Iterable[bytes]) -> Digest:
    """Length and SHA-256 of what is read in chunks."""
    length, sha256 = 0, hashlib.sha256()
    for chunk in chunks:
        length += len(chunk)
        sha256.update(chunk)
    return {"bytes": length, "sha256": sha256.hexdigest()}


def _digests(folder: pathlib.Path) -> dict[str, Digest]:
    """Of all files of a folder but the manifest, by name below it."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name == FILE or path.is_dir():
            continue
        try:
            with open(path, "rb") as file:
                found[name] = digest(_chunks(file))
        except OSError as error:
            raise files_lib.unreadable(
                path, "file of a model", errors.reason(error)
            ) from None
    return found


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _is_of_library(module: str) -> bool:
    return module.partition(".")[0] == iss_rnns.__name__


def _own_hash(content: Mapping[str, Any]) -> str:
    """Of what a manifest says, however it is laid out."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(where: files_lib.PathLike, why: str) -> errors.UserError:
    return errors.UserError(
        f"{_WHAT} {files_lib.shown(where)} is damaged: {why}; {_AGAIN}"
    )


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_digest(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _is_size(value.get("bytes"))
        and isinstance(value.get("sha256"), str)
    )


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(
        each is None or _is_size(each) for each in value
    )


def _is_map(value: Any, of) -> bool:
    return isinstance(value, dict) and all(map(of, value.values()))


_FIELDS = {
    "format": lambda value: value in FORMATS,
    "sizes": lambda value: _is_map(value, _is_size),
    "states": lambda value: _is_map(value, _is_shape),
    "vocabulary": lambda value: value is None or isinstance(value, str),
    "library_version": lambda value: isinstance(value, str),
    "files": lambda value: _is_map(value, _is_digest),
}
