"""Each format of `exporting.export`: made in memory, run, then written."""

import abc
from collections.abc import Callable, Mapping, Sequence
import os
import pathlib
import shutil
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files as files_lib
from iss_rnns import paths
from iss_rnns.export import c as c_lib
from iss_rnns.export import cards
from iss_rnns.export import manifest as manifest_lib
from iss_rnns.export import onnx_model
from iss_rnns.export import onnx_writing
from iss_rnns.export import plans
from iss_rnns.export import saved_model
from iss_rnns.export import source as source_lib
from iss_rnns.export import steps as steps_lib
from iss_rnns.export import tflite

Arrays = Mapping[str, np.ndarray]


class Format(abc.ABC):
    """A model in a format.

    Args:
      source: the model.
      path: that it is going to be written to.
      dtype: of the weights, one of `arithmetic.DTYPES`.
      states: whether the states of its recurrent layers come in and go out.
      folder: for what must lie in files before it is written.

    Attributes:
      facts: for the model's card.
      given: the states that come in beside the model's own inputs.
      exact: whether outputs are the model's, but for rounding.

    Raises:
      UserError: the format does not take the model, or what it needs is not
        installed.
    """

    ending = ""  # of a file's name; that of a folder has none

    def __init__(
        self,
        source: source_lib.Source,
        path: pathlib.Path,
        dtype: str,
        states: bool,
        folder: pathlib.Path,
    ):
        self.source, self.path, self.dtype = source, path, dtype
        self.states, self.folder = states, folder
        self.exact = dtype == "float32"
        self.facts: dict[str, str] = {}
        self.given: Sequence[plans.Input] = []
        self.make()

    @abc.abstractmethod
    def make(self) -> None:
        """Makes it."""

    @abc.abstractmethod
    def run(self, arrays: Arrays) -> Arrays:
        """Outputs of the model for its own inputs: whole sequences."""

    @abc.abstractmethod
    def write(self, card: str) -> None:
        """Writes it, whole or not at all, with its card and manifest."""

    def about(self, format: str) -> manifest_lib.Manifest:
        """What the manifest says."""
        return manifest_lib.Manifest(
            format,
            dict(self.source.sizes),
            {each.name: list(each.shape) for each in self.given},
        )

    def signature(self, batch: Optional[int]) -> tuple[tf.Module, Any]:
        """A function of the model, or of a step of it, and what it reads.

        Args:
          batch: size of it; None: any.
        """
        module = tf.Module()
        inputs: Sequence[plans.Input] = self.source.inputs
        function: Callable = self.source.function
        if self.states:
            step, self.given = _step(self.source)
            module.step, inputs, function = step, step.inputs, step
        else:
            self.refuse_stateful()
        found = _signature(inputs, function, batch)
        module.weights = saved_model.variables_of(found)
        return module, found

    def refuse_int8(self, format: str) -> None:
        """For formats that have float32 only."""
        if self.dtype != "float32":
            raise errors.UserError(
                f"the format {format} has weights of float32 only, not of "
                f"{self.dtype}; tflite, onnx and c have them"
            )

    def refuse_stateful(self) -> None:
        """Calls would begin with zeros where the model goes on."""
        plan = _plan(self.source)
        for layer in () if plan is None else plan.recurrent():
            if layer.options["stateful"]:
                raise errors.UserError(
                    f"the layer '{layer.name}' is stateful, but a file keeps no "
                    "state from call to call: give states=True"
                )


class SavedModel(Format):
    """A SavedModel, of any batch and number of steps."""

    def make(self) -> None:
        """See base class."""
        self.refuse_int8("saved_model")
        paths.check_for_tensorflow(self.path)
        module, signature = self.signature(None)
        self._place = self.folder / "saved_model"
        try:
            tf.saved_model.save(
                module,
                str(self._place),
                signatures=signature,
                options=tf.saved_model.SaveOptions(
                    experimental_custom_gradients=False
                ),
            )
            loaded = tf.saved_model.load(str(self._place))
        except tf.errors.OpError as error:
            raise errors.UserError(
                f"cannot write SavedModel {files_lib.shown(self.path)}: "
                f"{errors.reason(error)}"
            ) from None
        self._loaded = loaded
        self._call = loaded.signatures[saved_model.SIGNATURE]
        self.facts = {
            "format": "SavedModel, "
            + ("one step, states in and out" if self.states else "sequences"),
            "weights": self.dtype,
            "bytes": f"{saved_model.bytes_of(self._place):,}",
        }

    def run(self, arrays: Arrays) -> Arrays:
        """See base class."""

        def call(**given):
            made = self._call(**{k: tf.constant(v) for k, v in given.items()})
            return {name: np.asarray(t) for name, t in made.items()}

        if self.states:
            return _by_steps(self.source, call, arrays)
        return call(**arrays)

    def write(self, card: str) -> None:
        """See base class."""
        with files_lib.new_folder(self.path) as folder:
            shutil.copytree(self._place, folder, dirs_exist_ok=True)
            files_lib.write_text(folder / cards.FILE, card)
            manifest_lib.write(folder, self.about("saved_model"))


class TFLite(Format):
    """A `.tflite` file, of a batch of one."""

    ending = ".tflite"

    def make(self) -> None:
        """See base class."""
        module, signature = self.signature(1)
        self._model = tflite.convert(
            module, signature, self.path, self.dtype == "int8"
        )
        self._runner = tflite.Runner(self._model)
        kind = "whole sequences"
        if self.states:
            kind = "one step, states in and out"
        elif self._runner.fused:
            kind += ", fused LSTM operator (reset its variables before each)"
        self.facts = {
            "format": f"TensorFlow Lite, batch 1, {kind}",
            "weights": self.dtype
            if self.exact
            else f"{self.dtype}, dynamic range",
            "bytes": f"{len(self._model):,}",
        }

    def run(self, arrays: Arrays) -> Arrays:
        """See base class."""
        count = len(next(iter(arrays.values())))
        each = []
        for i in range(count):
            one = {name: array[i : i + 1] for name, array in arrays.items()}
            each.append(
                _by_steps(self.source, self._runner, one)
                if self.states
                else self._runner(**one)
            )
        return {
            name: np.concatenate([one[name] for one in each])
            for name in self.source.outputs
        }

    def write(self, card: str) -> None:
        """See base class."""
        about = self.about("tflite")
        tflite.write_model(self._model, self.path, {}, about)
        files_lib.write_text(self.path.with_suffix(".md"), card)


class ONNX(Format):
    """A `.onnx` file, of any batch and number of steps."""

    ending = ".onnx"

    def make(self) -> None:
        """See base class."""
        plan = self.source.read()
        if self.states:
            _refuse_backwards(plan)
            self.given = _new_states(plan, plans.with_states(plan))
            plan = plans.with_states(plan)
        else:
            self.refuse_stateful()
        self._model = onnx_writing.to_onnx(plan)
        if self.dtype == "int8":
            self._model = onnx_writing.quantised(self._model)
        self._call: Optional[onnx_model.ONNXModel] = None
        masks = any(each.options["mask"] for each in plan.recurrent())
        self.facts = {
            "format": "ONNX, "
            + ("sequences, states in and out" if self.states else "sequences"),
            "weights": self.dtype
            if self.exact
            else f"{self.dtype}, by ONNX Runtime's quantiser",
            "bytes": f"{len(self._model):,}",
            **(
                {"masks": "what they hide must stand at the sequences' ends"}
                if masks
                else {}
            ),
        }

    def run(self, arrays: Arrays) -> Arrays:
        """See base class."""
        if self._call is None:
            self._call = onnx_model.ONNXModel(self._model)
        count = len(next(iter(arrays.values())))
        zeros = {
            each.name: np.zeros((count, each.shape[-1] or 0), np.float32)
            for each in self.given
        }
        made = self._call(**arrays, **zeros)
        return {name: made[name] for name in self.source.outputs}

    def write(self, card: str) -> None:
        """See base class."""
        about = self.about("onnx")
        onnx_model.write(self._model, self.path, about)
        files_lib.write_text(self.path.with_suffix(".md"), card)


class C(Format):
    """A folder NAME with NAME.h and NAME.c."""

    def make(self) -> None:
        """See base class."""
        name = c_lib.check_name(self.path.name)
        self._model = c_lib.CModel(self.source.read(), name, self.dtype)
        kinds = sorted(set(self._model.layouts.values()))
        self.facts = {
            "format": "C99, one step, its state in a struct",
            "weights": self.dtype,
            "matrices": ", ".join(kinds) or "none",
            "bytes of constants (flash, beside the code)": (
                f"{self._model.flash:,}"
            ),
            "bytes of state (RAM)": f"{self._model.ram:,}",
        }

    def run(self, arrays: Arrays) -> Arrays:
        """See base class."""
        return self._model.run(arrays)

    def write(self, card: str) -> None:
        """See base class."""
        with files_lib.new_folder(self.path) as folder:
            name = self._model.name
            files_lib.write_text(folder / f"{name}.h", self._model.header)
            files_lib.write_text(folder / f"{name}.c", self._model.source)
            files_lib.write_text(folder / cards.FILE, card)
            manifest_lib.write(folder, self.about("c"))


FORMATS: Mapping[str, type[Format]] = {
    "saved_model": SavedModel,
    "tflite": TFLite,
    "onnx": ONNX,
    "c": C,
}


def check_path(path: pathlib.Path, format: str) -> None:
    """Refuses a place where the format does not go.

    Raises:
      UserError: a file of another ending; or something is there that is no
        exported model.
    """
    ending = FORMATS[format].ending
    if ending and path.suffix != ending:
        raise errors.UserError(
            f"a model of format {format} is a file whose name ends in "
            f"{ending}, got {files_lib.shown(path)}"
        )
    if not os.path.lexists(path):
        return
    if path.is_dir() and (ending or not (path / manifest_lib.FILE).is_file()):
        raise errors.UserError(
            f"{files_lib.shown(path)} is a folder that holds no exported "
            "model; give another name"
        )
    if not ending and not path.is_dir():
        raise errors.UserError(
            f"{files_lib.shown(path)} is a file; give the name of a folder"
        )


def _plan(source: source_lib.Source) -> Optional[plans.Plan]:
    try:
        return source.read()
    except errors.UserError:
        return None


def _refuse_backwards(plan: plans.Plan) -> None:
    backwards = plans.first_backwards(plan)
    if backwards is not None:
        raise errors.UserError(
            f"the layer '{backwards.name}' runs backwards, so it needs the end "
            "of a sequence first: export the model without states"
        )


def _new_states(plan: plans.Plan, whole: plans.Plan) -> list[plans.Input]:
    """The inputs that `plans.with_states` added."""
    return list(whole.inputs[len(plan.inputs) :])


def _step(source) -> tuple[steps_lib.Step, list[plans.Input]]:
    plan = source.read()
    whole = plans.with_states(plan)
    return steps_lib.Step(whole), _new_states(plan, whole)


def _signature(inputs, function, batch: Optional[int]):
    """Of a function of tensors by name; a size of None stays open."""
    return tf.function(
        lambda **given: dict(function(given)), autograph=False
    ).get_concrete_function(
        **{
            each.name: tf.TensorSpec(
                [each.shape[0] or batch, *each.shape[1:]],
                each.dtype,
                name=each.name,
            )
            for each in inputs
        }
    )


def _by_steps(
    source: source_lib.Source,
    call: Callable[..., Mapping[str, Any]],
    arrays: Arrays,
) -> dict[str, np.ndarray]:
    """Runs a step over whole sequences, its states going round.

    Args:
      source: the model, whose inputs the arrays are.
      call: a step.
      arrays: by name.
    """
    plan = source.read()
    whole = plans.with_states(plan)
    feeds = {
        given: next(
            name for name, value in whole.outputs.items() if value == final
        )
        for layer in whole.recurrent()
        for given, final in zip(layer.inputs[1:], layer.outputs[1:])
        if final in whole.outputs.values()
    }
    count = len(next(iter(arrays.values())))
    states = {
        each.name: arrays[each.name]
        if each.name in arrays
        else np.zeros((count, each.shape[-1] or 0), np.float32)
        for each in whole.inputs
        if any(each.name in layer.inputs[1:] for layer in whole.recurrent())
    }
    read = {name: a for name, a in arrays.items() if name not in states}
    time = next(iter(read.values())).shape[1]
    found: dict[str, list[np.ndarray]] = {name: [] for name in source.outputs}
    for t in range(time):
        made = call(**{n: a[:, t] for n, a in read.items()}, **states)
        for name, outputs in found.items():
            outputs.append(np.asarray(made[name]))
        states = {
            name: np.asarray(made[feeds[name]]) if name in feeds else state
            for name, state in states.items()
        }
    sequences = plans.sequences(plan)
    return {
        name: np.stack(outputs, 1)
        if plan.outputs[name] in sequences
        else outputs[-1]
        for name, outputs in found.items()
    }
