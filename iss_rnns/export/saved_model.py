"""Compressed models that load without this package."""

from collections.abc import Mapping
import pathlib
from typing import Optional

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files as files_lib
from iss_rnns import paths
from iss_rnns.export import graphs
from iss_rnns.export import manifest as manifest_lib
from iss_rnns.export import vocabulary as vocabulary_lib

SIGNATURE = "serving_default"


def variables_of(function) -> list[tf.Variable]:
    # Those that it holds as constants count among its `variables` too.
    captured = {id(tensor) for tensor in function.captured_inputs}
    return [v for v in function.variables if id(v.handle) in captured]


def write_saved_model(
    module: tf.Module,
    signature,
    path: pathlib.Path,
    files: Mapping[str, str],
    card: Mapping,
    about: manifest_lib.Manifest,
) -> pathlib.Path:
    """Writes a SavedModel and the files beside it, whole or not at all.

    Args:
      module: holds the variables that the signature reads.
      signature: concrete function, becomes `serving_default`.
      path: of the folder; replaced whole if it exists.
      files: name to text.
      card: JSON values, written to `model_card.json`.
      about: what `manifest.json` says of it; the vocabulary is among `files`.

    Returns:
      `path`.

    Raises:
      UserError: if it cannot be written, or could not be read again; an
        older one stays.
    """
    paths.check_for_tensorflow(path)
    try:
        with files_lib.new_folder(path) as folder:
            tf.saved_model.save(
                module,
                str(folder),
                signatures=signature,
                options=tf.saved_model.SaveOptions(
                    experimental_custom_gradients=False
                ),
            )
            for name, text in files.items():
                files_lib.write_text(folder / name, text)
            files_lib.write_json(
                folder / "model_card.json", card, indent=1, ensure_ascii=False
            )
            manifest_lib.write(folder, about)
    except tf.errors.OpError as error:
        raise errors.UserError(
            f"cannot write SavedModel {path}: {errors.reason(error)}"
        ) from None
    return path


class SavedModel:
    """A SavedModel of this project, checked and loaded.

    Calling it runs the signature `serving_default` on arrays by name and
    returns its outputs by name.

    Args:
      path: of the folder.

    Attributes:
      path: likewise.
      inputs: types of the arrays, by name.
      outputs: likewise.
      manifest: see `manifest.Manifest`; None: it has none.
      vocabulary: of its words, where `loading.load` found one.

    Raises:
      UserError: it is damaged, incomplete, or would run more than
        computations; see `manifest.check` and `graphs.check`.
    """

    def __init__(self, path: files_lib.PathLike):
        paths.check_for_tensorflow(path)
        self.path = pathlib.Path(path)
        if not any(
            (self.path / name).exists()
            for name in (graphs.FILE, manifest_lib.FILE)
        ):
            raise files_lib.unreadable(
                path, "SavedModel", f"it holds no {graphs.FILE}"
            )
        self.manifest: Optional[manifest_lib.Manifest] = manifest_lib.check(
            self.path, "saved_model"
        )
        self.vocabulary: Optional[vocabulary_lib.Vocabulary] = None
        graphs.check(self.path)
        try:
            self._loaded = tf.saved_model.load(str(path))
            self._function = self._loaded.signatures[SIGNATURE]
            self.inputs = dict(self._function.structured_input_signature[1])
            self.outputs = dict(self._function.structured_outputs)
        # On a damaged one it raises whatever it stumbles on.
        except Exception as error:
            raise files_lib.unreadable(
                path, "SavedModel", errors.reason(error)
            ) from None

    def __repr__(self):
        return f"SavedModel({files_lib.shown(self.path)})"

    def __call__(self, **inputs) -> dict[str, tf.Tensor]:
        """Outputs by name; states that are not given are zeros.

        Raises:
          UserError: an input is missing, unknown, or of another shape.
        """
        states = self.manifest.states if self.manifest else {}
        missing = self.inputs.keys() - inputs.keys() - states.keys()
        if missing or inputs.keys() - self.inputs.keys():
            raise errors.UserError(
                f"{self!r} takes {', '.join(sorted(self.inputs))}; got "
                f"{', '.join(sorted(inputs)) or 'nothing'}"
            )
        tensors = {
            name: tf.convert_to_tensor(value, self.inputs[name].dtype)
            for name, value in inputs.items()
        }
        for name, tensor in tensors.items():
            if not self.inputs[name].shape.is_compatible_with(tensor.shape):
                raise errors.UserError(
                    f"{name} must be {self.inputs[name].shape}, got "
                    f"{tensor.shape}"
                )
        for name in self.inputs.keys() - tensors.keys():
            batch = tf.shape(next(iter(inputs.values())))[0]
            tensors[name] = tf.zeros([batch, *self.inputs[name].shape[1:]])
        return self._function(**tensors)


def bytes_of(path: pathlib.Path) -> int:
    """Size of a file or of everything in a folder."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else path.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file())
