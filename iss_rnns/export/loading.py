"""Compressed models of any format, checked and ready to be called."""

import os
import pathlib
from typing import Any, Optional, Union

import numpy as np

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.export import graphs
from iss_rnns.export import language
from iss_rnns.export import manifest as manifest_lib
from iss_rnns.export import packed as packed_lib
from iss_rnns.export import saved_model
from iss_rnns.export import tflite
from iss_rnns.export import vocabulary as vocabulary_lib

TFLITE = ".tflite"


def is_compressed(path: files.PathLike) -> bool:
    """Whether a path looks like one that `load` reads."""
    path = pathlib.Path(path)
    return (
        path.is_file()
        and (path.suffix == TFLITE or path.name == packed_lib.MODEL_FILE)
        or any(
            (path / name).is_file()
            for name in (graphs.FILE, manifest_lib.FILE, packed_lib.MODEL_FILE)
        )
    )


def load(
    path: files.PathLike,
    vocabulary: Optional[files.PathLike] = None,
    threads: int = 1,
) -> Union[language.TextModel, saved_model.SavedModel, dict[str, Any]]:
    """Loads a compressed model, after it was checked by its manifest.

    Nothing of the file is run but what computes: see `graphs`. Models of
    version 1.0.0, which have no manifest, load with a warning.

    Args:
      path: of a SavedModel's folder, of one of packed weights, or of a
        `.tflite` file.
      vocabulary: file to take instead of the model's own.
      threads: CPU threads of a packed or TensorFlow Lite model.

    Returns:
      A `TextModel` if it is a language model: callable, with states that are
      zeros where none are given, and with its vocabulary. Else a
      `SavedModel`, called with arrays by name; or, of packed weights, the
      packed layers and matrices by name.

    Raises:
      UserError: there is no such model; a file of it is missing, damaged,
        renamed, or too much; it is of a version that this one does not know;
        or it would run more than computations.
    """
    path = pathlib.Path(path)
    if not os.path.lexists(path):
        raise errors.UserError(
            f"there is no compressed model at {files.shown(path)}"
        )
    if path.is_file() and path.suffix == TFLITE:
        return _tflite(path, vocabulary, threads)
    if path.name == packed_lib.MODEL_FILE or list(path.glob("*.npz")):
        return _packed(path, vocabulary, threads)
    if (path / "checkpoints").is_dir():
        raise errors.UserError(
            f"{files.shown(path)} is a run; its compressed model is "
            f"{files.shown(path / 'saved_model' / 'compressed')}"
        )
    if is_compressed(path):
        return _saved_model(path, vocabulary)
    raise errors.UserError(
        f"{files.shown(path)} is no compressed model; expected the folder of "
        f"a SavedModel or of packed weights, or a {TFLITE} file"
    )


def load_language_model(
    path: files.PathLike,
    vocabulary: Optional[files.PathLike] = None,
    threads: int = 1,
) -> language.TextModel:
    """As `load`, of a path that holds a language model.

    Raises:
      UserError: see `load`; or it is another model.
    """
    model = load(path, vocabulary, threads)
    if not isinstance(model, language.TextModel):
        raise errors.UserError(
            f"{files.shown(path)} is no language model, but another "
            "compressed model"
        )
    return model


def as_text_model(model: saved_model.SavedModel) -> language.TextModel:
    """A SavedModel that takes tokens and states, as a language model.

    Raises:
      UserError: it does not, or its manifest says other sizes.
    """
    states = {
        name: spec.shape[-1]
        for name, spec in model.inputs.items()
        if name != "tokens"
    }
    if model.inputs.keys() != {"tokens", *states} or (
        model.outputs.keys() != {"logits", *states}
    ):
        raise errors.UserError(
            f"{files.shown(model.path)} is no language model: it takes "
            f"{', '.join(model.inputs)} and returns {', '.join(model.outputs)}"
        )
    about = model.manifest
    if about is not None:
        about.check_states(model.path, states)
    names = sorted(states) if about is None else list(about.states)

    def run(ids, values):
        outputs = model(tokens=ids, **dict(zip(names, values)))
        return outputs["logits"], [outputs[name] for name in names]

    return language.TextModel(
        run,
        {name: states[name] for name in names},
        model.outputs["logits"].shape[-1],
        model.vocabulary,
        about,
    )


def _saved_model(path, vocabulary):
    model = saved_model.SavedModel(path)
    model.vocabulary = _vocabulary(path, model.manifest, vocabulary)
    # Of those that `exporting` writes, states that go out are called _out.
    whole = len(model.inputs) > 1 and not any(
        name.endswith("_out") for name in model.outputs
    )
    return as_text_model(model) if "tokens" in model.inputs and whole else model


def _packed(path, vocabulary, threads):
    model, about = packed_lib.read_packed(path, threads=threads)
    if isinstance(model, dict):
        return model
    folder = path.parent if path.name == packed_lib.MODEL_FILE else path
    names = [f"state_{i}" for i in range(len(model.state_sizes))]
    if about is not None and len(about.states) == len(names):
        names = list(about.states)
    if about is not None:
        about.check_states(path, dict(zip(names, model.state_sizes)))
    return language.TextModel(
        model,
        dict(zip(names, model.state_sizes)),
        len(model.softmax_b),
        _vocabulary(folder, about, vocabulary),
        about,
    )


def _tflite(path, vocabulary, threads):
    model = tflite.TFLiteModel(path, threads)
    states = {
        name: shape[-1]
        for name, shape in model.inputs.items()
        if name != "token"
    }
    if "token" not in model.inputs:
        return model
    if model.inputs.get("token") != (1,) or (
        model.outputs.keys() != {"logits", *states}
    ):
        raise errors.UserError(
            f"{files.shown(path)} is no step of a language model: it takes "
            f"{', '.join(model.inputs)} and returns {', '.join(model.outputs)}"
        )
    about = model.manifest
    if about is not None:
        about.check_states(path, states)
    names = sorted(states) if about is None else list(about.states)

    def run(ids, values):
        if len(ids) != 1:
            raise errors.UserError(
                f"{files.shown(path)} reads one text at a time, got {len(ids)};"
                " a SavedModel or packed weights read any number"
            )
        state, logits = dict(zip(names, values)), []
        for token in ids[0]:
            state = model.runner(token=token[np.newaxis], **state)
            logits.append(state.pop("logits"))
        return np.stack(logits, 1), [state[name] for name in names]

    found = None
    if vocabulary is not None:
        found = vocabulary_lib.Vocabulary.read(vocabulary)
    elif about is not None and about.vocabulary is not None:
        found = vocabulary_lib.Vocabulary.parse(
            model.files[about.vocabulary], path / about.vocabulary
        )
    return language.TextModel(
        run,
        {name: states[name] for name in names},
        model.outputs["logits"][-1],
        found,
        about,
    )


def _vocabulary(folder, about, vocabulary):
    """That of a folder, or another that is asked for; None: it has none."""
    if vocabulary is not None:
        return vocabulary_lib.Vocabulary.read(vocabulary)
    name = vocabulary_lib.FILE if about is None else about.vocabulary
    if name is None or not (folder / name).exists():
        return None
    path = folder / name
    if path.suffix != ".json":
        return vocabulary_lib.Vocabulary.read(path)
    content = files.read_json(path, "vocabulary")
    ids = content.get("words") if isinstance(content, dict) else None
    words = {} if not isinstance(ids, dict) else ids
    by_id = {i: word for word, i in words.items() if type(i) is int}
    if not by_id or sorted(by_id) != list(range(len(words))):
        raise files.unreadable(
            path, "vocabulary", "it does not give its words the ids 0, 1, ..."
        )
    return vocabulary_lib.Vocabulary([by_id[i] for i in range(len(by_id))])
