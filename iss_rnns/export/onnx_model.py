"""ONNX models as files with their manifest inside, and as functions.

The manifest is one of the model's properties, behind all else in the file, so
that it can name the bytes before it.
"""

import pathlib
from typing import Any, Optional, Union

import numpy as np

from iss_rnns import errors
from iss_rnns import files as files_lib
from iss_rnns.export import manifest as manifest_lib
from iss_rnns.export import onnx_writing

MODEL = "model"  # what a manifest calls the file without itself
_WHAT = "ONNX model"
_PROPERTY = 14  # field of a model's properties in ONNX's protocol buffers


def write(
    model: bytes, path: files_lib.PathLike, about: manifest_lib.Manifest
) -> None:
    """Writes a model with its manifest, whole or not at all.

    Raises:
      UserError: it cannot be written; an older one stays.
    """
    text = about.text({MODEL: manifest_lib.digest([model])})
    files_lib.write_bytes(path, model + _property(text))


class ONNXModel:
    """An ONNX model, checked and loaded by ONNX Runtime.

    Args:
      model: path of the file, or its bytes.
      threads: of the runtime.

    Attributes:
      manifest: see `manifest.Manifest`; None: it has none.
      inputs: shape of each by name, with None for sizes that may change.
      outputs: names.

    Raises:
      UserError: ONNX Runtime is missing, or the model is damaged.
    """

    def __init__(
        self, model: Union[files_lib.PathLike, bytes], threads: int = 1
    ):
        runtime = onnx_writing.package("onnxruntime")
        path = pathlib.Path("model.onnx")
        if isinstance(model, bytes):
            data = model
        else:
            path = pathlib.Path(model)
            data = files_lib.read_bytes(path, _WHAT)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"]
            )
        # On damaged bytes it raises whatever it stumbles on.
        except Exception as error:
            raise files_lib.unreadable(
                path, _WHAT, errors.reason(error)
            ) from None
        properties = self._session.get_modelmeta().custom_metadata_map
        self.manifest: Optional[manifest_lib.Manifest] = None
        if manifest_lib.FILE in properties:
            self.manifest = _checked(properties[manifest_lib.FILE], data, path)
        elif not isinstance(model, bytes):
            manifest_lib.warn_without(path)
        self._types = {
            each.name: np.int32 if "int32" in each.type else np.float32
            for each in self._session.get_inputs()
        }
        self.inputs = {
            each.name: tuple(
                n if isinstance(n, int) else None for n in each.shape
            )
            for each in self._session.get_inputs()
        }
        self.outputs = [each.name for each in self._session.get_outputs()]

    def __call__(self, **arrays: Any) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
          UserError: an input is missing, unknown, or of another shape.
        """
        if arrays.keys() != self.inputs.keys():
            raise errors.UserError(
                f"the model takes {', '.join(self.inputs)}; got "
                f"{', '.join(arrays) or 'nothing'}"
            )
        given = {
            name: np.asarray(array, self._types[name])
            for name, array in arrays.items()
        }
        for name, array in given.items():
            wanted = self.inputs[name]
            if array.ndim != len(wanted) or any(
                n not in (None, found) for n, found in zip(wanted, array.shape)
            ):
                raise errors.UserError(
                    f"{name} must be {list(wanted)}, got {list(array.shape)}"
                )
        return dict(zip(self.outputs, self._session.run(None, given)))


def _checked(text: str, data: bytes, path: pathlib.Path):
    about = manifest_lib.parse(text, path / manifest_lib.FILE)
    about.check_format(path, "onnx")
    tail = _property(text)
    model = data[: -len(tail)] if data.endswith(tail) else data
    about.check_files(path, {MODEL: manifest_lib.digest([model])})
    return about


def _property(text: str) -> bytes:
    """A property of a model as protocol buffers have it: key and value."""
    entry = _field(1, manifest_lib.FILE.encode()) + _field(2, text.encode())
    return _field(_PROPERTY, entry)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
