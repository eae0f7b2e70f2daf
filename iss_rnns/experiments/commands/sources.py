"""What a path holds, and which Keras wrote it; without TensorFlow."""

import dataclasses
import os
import pathlib
import re
from typing import Any, Optional
import zipfile

from iss_rnns import errors
from iss_rnns import files

KERAS = "Keras file"
HDF5 = "HDF5 file"
KERAS_FOLDER = "Keras SavedModel"
COMPRESSED = "compressed model"
RUN = "run"
OF_KERAS = (KERAS, HDF5, KERAS_FOLDER)

EXPECTED = (
    "expected a .keras or .h5 file, the folder of a SavedModel or of a run, "
    "or a compressed model"
)
COMPRESSED_BELOW = pathlib.PurePath("saved_model", "compressed")  # of a run

_METADATA = "keras_metadata.pb"
_HDF5_BEGIN = b"\x89HDF\r\n\x1a\n"
_LONGEST_CONFIG = 1 << 26  # bytes; a model of a thousand layers has a million
_VERSION = re.compile(rb'"keras_version": ?"([0-9.]+)')


@dataclasses.dataclass(frozen=True)
class Source:
    """A model in a file or folder, or a run.

    Attributes:
      path: where it is.
      kind: one of this module's constants.
      keras: version that wrote it, e.g. "2.15.0"; None: it does not say, or
        it needs none.
      config: of the model's layers; of a Keras SavedModel the bytes that hold
        it; None of what is no Keras model.
    """

    path: pathlib.Path
    kind: str
    keras: Optional[str] = None
    config: Any = None

    @property
    def shown(self) -> str:
        """The path, for texts."""
        return files.shown(self.path)

    @property
    def bytes(self) -> int:
        """Size of the file, or of all files of the folder."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(
            p.stat().st_size for p in self.path.rglob("*") if p.is_file()
        )


def read(path: files.PathLike) -> Source:
    """Says what a path holds.

    Raises:
      UserError: there is nothing, it is damaged, or neither model nor run.
    """
    path = pathlib.Path(path)
    if not os.path.lexists(path):
        raise errors.UserError(
            f"there is no model or run at {files.shown(path)}"
        )
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".tflite":
        return Source(path, COMPRESSED)
    try:
        with open(path, "rb") as file:
            begin = file.read(len(_HDF5_BEGIN))
    except OSError as error:
        raise files.unreadable(path, "model", errors.reason(error)) from None
    if begin == _HDF5_BEGIN:
        return _hdf5(path)
    if path.suffix in (".h5", ".hdf5"):
        raise files.unreadable(path, "model", "it is damaged, or no HDF5 file")
    if path.suffix == ".keras":
        return _keras(path)
    raise _no_model(path)


def read_of_keras(path: files.PathLike) -> Source:
    """The same, of a path that must hold a Keras model.

    Raises:
      UserError: see `read`; or it is a run or a compressed model.
    """
    source = read(path)
    if source.kind not in OF_KERAS:
        raise errors.UserError(
            f"{source.shown} is a {source.kind}, which is small already; "
            "expected a Keras model: a .keras or .h5 file, or a SavedModel "
            "that Keras wrote"
        )
    return source


def _folder(path: pathlib.Path) -> Source:
    if (path / "checkpoints").is_dir() or (path / "flags.txt").is_file():
        return Source(path, RUN)
    if (path / "saved_model.pb").is_file() and (path / _METADATA).is_file():
        data = files.read_bytes(path / _METADATA, "model")
        found = _VERSION.search(data)
        # Keras 3 writes SavedModels that are no Keras models any more.
        version = found[1].decode() if found else "2"
        return Source(path, KERAS_FOLDER, version, data)
    if any(
        (path / name).is_file() for name in ("saved_model.pb", "manifest.json")
    ) or list(path.glob("*.npz")):
        return Source(path, COMPRESSED)
    raise _no_model(path)


def _keras(path: pathlib.Path) -> Source:
    try:
        with zipfile.ZipFile(path) as archive:
            texts = []
            for name in ("metadata.json", "config.json"):
                if archive.getinfo(name).file_size > _LONGEST_CONFIG:
                    raise files.unreadable(
                        path, "model", f"its {name} is too long"
                    )
                texts.append(files.decode(archive.read(name), path, "model"))
    except errors.UserError:
        raise
    except KeyError:
        raise _no_model(path) from None
    except Exception as error:  # zipfile's, zlib's, on damaged bytes
        raise files.unreadable(path, "model", errors.reason(error)) from None
    metadata, config = (files.parse_json(t, path, "model") for t in texts)
    version = (
        metadata.get("keras_version") if isinstance(metadata, dict) else None
    )
    return Source(path, KERAS, _checked(version), config)


def _hdf5(path: pathlib.Path) -> Source:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            texts = [
                file.attrs.get(name)
                for name in ("keras_version", "model_config")
            ]
    except Exception as error:  # on damaged bytes, also h5py's own
        raise files.unreadable(path, "model", errors.reason(error)) from None
    version, config = (
        t.decode("utf-8", "replace") if isinstance(t, bytes) else t
        for t in texts
    )
    if not isinstance(config, str):
        raise errors.UserError(
            f"{files.shown(path)} holds no model, at most weights; expected a "
            "file that model.save wrote"
        )
    return Source(
        path, HDF5, _checked(version), files.parse_json(config, path, "model")
    )


def _checked(version: Any) -> Optional[str]:
    known = isinstance(version, str) and re.match(r"\d+(\.|$)", version)
    return version if known else None


def _no_model(path: pathlib.Path) -> errors.UserError:
    return errors.UserError(
        f"{files.shown(path)} is neither a model nor a run; {EXPECTED}"
    )
