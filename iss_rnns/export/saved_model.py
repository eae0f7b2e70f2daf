"""Compressed models that load without this package."""

from collections.abc import Mapping
import pathlib

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files as files_lib
from iss_rnns import paths


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
) -> pathlib.Path:
    """Writes a SavedModel and the files beside it, whole or not at all.

    Args:
      module: holds the variables that the signature reads.
      signature: concrete function, becomes `serving_default`.
      path: of the folder; replaced whole if it exists.
      files: name to text.
      card: JSON values, written to `model_card.json`.

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
    except tf.errors.OpError as error:
        raise errors.UserError(
            f"cannot write SavedModel {path}: {errors.reason(error)}"
        ) from None
    return path


def bytes_of(path: pathlib.Path) -> int:
    """Size of a file or of everything in a folder."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else path.rglob("*")
    return sum(f.stat().st_size for f in files if f.is_file())
