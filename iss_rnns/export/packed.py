"""Packed weights as a folder: a `.npz` file a part, and a manifest."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, Optional

from iss_rnns import errors
from iss_rnns import files as files_lib
from iss_rnns import sparse
from iss_rnns.export import manifest as manifest_lib
from iss_rnns.sparse import nets

FOLDER = "packed"
MODEL_FILE = "language_model.npz"


def write_packed(
    packed: nets.Packed,
    path: pathlib.Path,
    about: manifest_lib.Manifest,
    files: Optional[Mapping[str, str]] = None,
    model: Any = None,
) -> nets.Packed:
    """Writes what was packed, whole or not at all.

    Args:
      packed: see `nets.pack`; each part gets a file of its name.
      path: of the folder; replaced whole if it exists.
      about: what `manifest.json` says of it; the vocabulary is among `files`.
      files: name to text.
      model: `sparse.PackedLanguageModel` of the parts, if they are one's.

    Returns:
      `packed`, which knows its folder now.

    Raises:
      UserError: a file cannot be written; an older folder stays.
    """
    with files_lib.new_folder(path) as folder:
        for name, part in packed.parts.items():
            part.save(str(folder / f"{name}.npz"))
        if model is not None:
            model.save(str(folder / MODEL_FILE))
        for name, text in (files or {}).items():
            files_lib.write_text(folder / name, text)
        manifest_lib.write(folder, about)
    return dataclasses.replace(
        packed,
        folder=path,
        packed_bytes=sum(f.stat().st_size for f in path.glob("*.npz")),
    )


def read_packed(
    path: files_lib.PathLike,
    batch_sizes: Sequence[int] = nets.BATCH_SIZES,
    threads: int = 1,
) -> tuple[Any, Optional[manifest_lib.Manifest]]:
    """Reads what `write_packed` wrote, when all files are as they should be.

    Args:
      path: of the folder, or of the model's file in it.
      batch_sizes: that products are measured at on this machine, on one
        core; see `sparse.pack`.
      threads: likewise.

    Returns:
      (`sparse.PackedLanguageModel`; of a net that is none, its parts by name:
      `sparse.PackedLayer` and `sparse.PackedMatrix`. Its manifest; None, after
      a warning: it has none.)

    Raises:
      UserError: a file is missing, damaged, or none of the model's; or numba
        is missing.
    """
    folder = pathlib.Path(path)
    folder = folder.parent if folder.name == MODEL_FILE else folder
    if not list(folder.glob("*.npz")):
        raise errors.UserError(
            f"{files_lib.shown(folder)} holds no packed weights"
        )
    about = manifest_lib.check(folder, "packed")
    try:
        _ = sparse.pack
    except ImportError as error:
        raise errors.UserError(str(error)) from None
    with nets.one_blas_thread():
        if (folder / MODEL_FILE).exists():
            model = sparse.PackedLanguageModel.load(
                str(folder / MODEL_FILE), batch_sizes, threads
            )
            return model, about
        parts = read_parts(folder)
        for part in parts.values():
            if batch_sizes:
                part.tune(batch_sizes, threads)
    return parts, about


def read_parts(folder: pathlib.Path) -> dict[str, Any]:
    """The parts of a net by name, as they were packed: nothing is measured."""
    from iss_rnns.sparse import language_model
    from iss_rnns.sparse import matrix

    makers = {
        **language_model.MAKERS,
        "matrix": matrix.PackedMatrix.from_arrays,
    }
    return {
        path.stem: matrix.read(str(path), makers)
        for path in sorted(folder.glob("*.npz"))
        if path.name != MODEL_FILE
    }
