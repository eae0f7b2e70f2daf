"""TensorFlow Lite: a file of its own, with manifest and vocabulary inside.

As the format's associated files are, they stand behind the model as a zip
archive, which every interpreter passes over and `unzip` reads.
"""

from collections.abc import Mapping
import io
import pathlib
import tempfile
from typing import Optional
import zipfile

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files as files_lib
from iss_rnns import terminal
from iss_rnns.export import manifest as manifest_lib

MODEL = "model"  # what a manifest calls the file without what it carries

_WHAT = "TensorFlow Lite model"
_ONE_THREAD_BYTES = 1 << 27


def convert(
    module: tf.Module,
    signature,
    path: files_lib.PathLike,
    int8: bool = False,
) -> bytes:
    """A function as a TensorFlow Lite model, without what the file carries.

    Args:
      module: holds the variables that the signature reads.
      signature: concrete function.
      path: of the file that it is for, which messages name.
      int8: weights of 8 bits ("dynamic range": products compute with them,
        the rest is float32), where a matrix has 1,024 of them or more.

    Raises:
      UserError: the converter refuses it, or has no room to work in.
    """
    try:
        # By way of a SavedModel: only then do the names of inputs and outputs
        # survive as a signature.
        with tempfile.TemporaryDirectory(prefix="iss_rnns_") as folder:
            tf.saved_model.save(module, folder, signatures=signature)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            if int8:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            with terminal.quiet_stderr():
                return converter.convert()
    except (OSError, tf.errors.OpError) as error:
        raise errors.UserError(
            f"cannot write {files_lib.shown(path)}: {errors.reason(error)}"
        ) from None
    except Exception as error:  # The converter has a class of its own.
        if type(error).__name__ != "ConverterError":
            raise
        raise errors.UserError(
            "TensorFlow Lite's converter refuses the model: "
            f"{errors.reason(error)}"
        ) from None


def write_tflite(
    module: tf.Module,
    signature,
    path: pathlib.Path,
    files: Mapping[str, str],
    about: manifest_lib.Manifest,
) -> pathlib.Path:
    """Converts a function and writes it, whole or not at all.

    Args:
      module: holds the variables that the signature reads.
      signature: concrete function of fixed shapes.
      path: of the file.
      files: name to text, of what the file carries beside its manifest.
      about: what the manifest says; the vocabulary is among `files`.

    Returns:
      `path`.

    Raises:
      UserError: if it cannot be written; an older one stays.
    """
    return write_model(convert(module, signature, path), path, files, about)


def write_model(
    model: bytes,
    path: files_lib.PathLike,
    files: Mapping[str, str],
    about: manifest_lib.Manifest,
) -> pathlib.Path:
    """Writes what `convert` gives with the files that it carries.

    Args:
      model: the model.
      path: see `write_tflite`.
      files: likewise.
      about: likewise.

    Raises:
      UserError: likewise.
    """
    path = pathlib.Path(path)
    contents = {name: text.encode() for name, text in files.items()}
    text = about.text(_digests(model, contents))
    contents[manifest_lib.FILE] = text.encode()
    files_lib.write_bytes(path, _joined(model, contents))
    return path


class Runner:
    """A TensorFlow Lite model as a function of arrays by name.

    TensorFlow's fused LSTM keeps its state from call to call, whether anybody
    asked for it or not; here each call begins with zeros.

    Args:
      model: without what a file carries behind it.
      threads: see `TFLiteModel`.

    Attributes:
      inputs: shape of each by name, with -1 for sizes that may change.
      outputs: likewise.
      fused: whether TensorFlow Lite's own LSTM operator is in it.

    Raises:
      ValueError, RuntimeError, TypeError: it is damaged.
    """

    def __init__(self, model: bytes, threads: int = 1):
        self._interpreter = tf.lite.Interpreter(
            model_content=model,
            num_threads=1 if len(model) < _ONE_THREAD_BYTES else threads,
        )
        self._interpreter.allocate_tensors()
        self._run = self._interpreter.get_signature_runner()
        self.inputs, self.outputs = (
            {
                name: tuple(map(int, _signature(each)))
                for name, each in details.items()
            }
            for details in (
                self._run.get_input_details(),
                self._run.get_output_details(),
            )
        )
        self.fused = _has_fused(model)

    def __call__(self, **arrays) -> dict[str, np.ndarray]:
        """Outputs by name."""
        if self.fused:
            self._interpreter.reset_all_variables()
        return self._run(**arrays)


def _has_fused(model: bytes) -> bool:
    from tensorflow.lite.python import schema_py_generated as schema

    fused = (
        schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM,
        schema.BuiltinOperator.BIDIRECTIONAL_SEQUENCE_LSTM,
    )
    codes = schema.Model.GetRootAs(model, 0)
    return any(
        codes.OperatorCodes(i).BuiltinCode() in fused
        for i in range(codes.OperatorCodesLength())
    )


def _signature(details) -> tuple[int, ...]:
    signature = details.get("shape_signature", ())
    return signature if len(signature) else details["shape"]


class TFLiteModel:
    """A TensorFlow Lite model of this project, checked and loaded.

    Args:
      path: of the file.
      threads: of the interpreter, at the most: models of less than 128 MB
        get one, as waking the others takes longer than they save.

    Attributes:
      path: likewise.
      files: texts that the file carries, by name.
      manifest: see `manifest.Manifest`; None: it has none.
      runner: takes arrays by name and returns arrays by name.
      inputs: shape of each by name, with -1 for sizes that may change.
      outputs: likewise.

    Raises:
      UserError: it is damaged, or would run more than computations.
    """

    def __init__(self, path: files_lib.PathLike, threads: int = 1):
        self.path = pathlib.Path(path)
        data = files_lib.read_bytes(path, _WHAT)
        model, self.files, self.manifest = _read(data, self.path)
        _check_operators(model, self.path)
        try:
            self.runner = Runner(model, threads)
        except (ValueError, RuntimeError, TypeError) as error:
            raise files_lib.unreadable(
                path, _WHAT, errors.reason(error)
            ) from None
        self.inputs = self.runner.inputs
        self.outputs = self.runner.outputs

    def __call__(self, **arrays) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
          UserError: an input is missing, unknown, or of another shape.
        """
        if arrays.keys() != self.inputs.keys():
            raise errors.UserError(
                f"{files_lib.shown(self.path)} takes {', '.join(self.inputs)}; "
                f"got {', '.join(arrays) or 'nothing'}"
            )
        for name, wanted in self.inputs.items():
            found = np.shape(arrays[name])
            if len(found) != len(wanted) or any(
                n not in (-1, m) for n, m in zip(wanted, found)
            ):
                raise errors.UserError(
                    f"{name} must be {list(wanted)}, got {list(found)}"
                )
        return self.runner(**arrays)


def _joined(model: bytes, contents: Mapping[str, bytes]) -> bytes:
    """A model's bytes with the files that it carries behind them.

    The same bytes each time, so that what is read can be compared with them.
    """
    buffer = io.BytesIO()
    buffer.write(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name), contents[name])
    return buffer.getvalue()


def _read(
    data: bytes, path: pathlib.Path
) -> tuple[bytes, dict[str, str], Optional[manifest_lib.Manifest]]:
    """A file's model, the texts that it carries, and its manifest."""
    damaged = files_lib.unreadable(
        path,
        _WHAT,
        "what stands behind the model in it is damaged; copy it again, or "
        "export the model anew",
    )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            begin = min(each.header_offset for each in members)
            contents = {m.filename: archive.read(m) for m in members}
    # On damaged bytes zipfile raises whatever it stumbles on.
    except Exception:
        if manifest_lib.FILE.encode() in data:
            raise damaged from None
        manifest_lib.warn_without(path)
        return data, {}, None
    model = data[:begin]
    if data != _joined(model, contents) or manifest_lib.FILE not in contents:
        raise damaged
    where = path / manifest_lib.FILE  # as an unpacked archive would have it
    texts = {
        name: files_lib.decode(content, path / name, "text")
        for name, content in contents.items()
    }
    about = manifest_lib.parse(texts.pop(manifest_lib.FILE), where)
    about.check_format(path, "tflite")
    del contents[manifest_lib.FILE]
    about.check_files(path, _digests(model, contents))
    return model, texts, about


def _digests(
    model: bytes, contents: Mapping[str, bytes]
) -> dict[str, manifest_lib.Digest]:
    parts = {MODEL: model, **contents}
    return {name: manifest_lib.digest([data]) for name, data in parts.items()}


def _check_operators(model: bytes, path: pathlib.Path) -> None:
    """Refuses operators that are not the format's own.

    Where TensorFlow is there, the interpreter would run its own, too, of which
    some read files and call Python.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    try:
        codes = schema.Model.GetRootAs(model, 0)
        custom = [
            codes.OperatorCodes(i).CustomCode()
            for i in range(codes.OperatorCodesLength())
        ]
    # On damaged bytes it raises whatever it stumbles on.
    except Exception as error:
        raise files_lib.unreadable(
            path, _WHAT, f"it is damaged, or none: {errors.reason(error)}"
        ) from None
    for name in filter(None, custom):
        raise errors.UserError(
            f"{files_lib.shown(path)} would run the operator "
            f"{name.decode(errors='replace')}, which exports of this library "
            "do not have and which might read or write files: not loaded"
        )
