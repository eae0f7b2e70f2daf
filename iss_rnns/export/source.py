"""What is exported: a model as all formats take it."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.export import plans
from iss_rnns.export import reading

Tensors = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Source:
    """A model.

    A model of one's own class that has a method `export_source()` says by it
    what it is; of sequential and functional models of Keras it is read.

    Attributes:
      name: of the model.
      inputs: what it takes, by name; None stands for the batch and for sizes
        that may change.
      outputs: names of what it gives.
      function: tensors by name -> tensors by name, without training.
      variables: that the function reads.
      read: gives the plan; raises `UserError` where there is none.
      sizes: units of its recurrent layers, by name.
    """

    name: str
    inputs: Sequence[plans.Input]
    outputs: Sequence[str]
    function: Callable[[Tensors], Tensors]
    variables: Sequence[tf.Variable]
    read: Callable[[], plans.Plan]
    sizes: Mapping[str, int]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The model's outputs of a batch."""
        outputs = self.function(
            {
                each.name: tf.constant(arrays[each.name], each.dtype)
                for each in self.inputs
            }
        )
        return {name: np.asarray(outputs[name]) for name in self.outputs}

    def arrays(self, x: Any) -> dict[str, np.ndarray]:
        """What a model is called with, by the inputs' names.

        Args:
          x: an array, or a list, tuple or dict of them.

        Raises:
          UserError: it does not fit the inputs.
        """
        names = [each.name for each in self.inputs]
        if isinstance(x, Mapping):
            missing = [name for name in names if name not in x]
            if missing:
                raise errors.UserError(
                    f"a batch lacks the input '{missing[0]}'; it has "
                    f"{', '.join(map(str, x)) or 'nothing'}"
                )
            flat = [x[name] for name in names]
        else:
            flat = list(x) if isinstance(x, (list, tuple)) else [x]
        if len(flat) != len(names):
            raise errors.UserError(
                f"a batch has {len(flat)} arrays, the model takes "
                f"{', '.join(names)}"
            )
        return {
            each.name: _checked(each, np.asarray(array))
            for each, array in zip(self.inputs, flat)
        }

    def random(self, batch: int = 2, steps: int = 7) -> dict[str, np.ndarray]:
        """A batch of normal numbers, and of ids that all embeddings know."""
        random = np.random.default_rng(0)
        symbols = _symbols(self.variables, self.read)
        found: dict[str, np.ndarray] = {}
        for each in self.inputs:
            first, *others = each.shape
            shape = [first or batch, *(n or steps for n in others)]
            found[each.name] = (
                random.integers(1, max(symbols, 2), shape).astype(np.int32)
                if each.dtype == "int32"
                else random.standard_normal(shape).astype(np.float32)
            )
        return found


def of(model: Any) -> Source:
    """A model as a `Source`.

    Raises:
      UserError: it is no model of Keras, or its inputs are not known.
    """
    if hasattr(model, "export_source"):
        return model.export_source()
    if not isinstance(model, tf.keras.Model):
        raise errors.UserError(
            f"a {type(model).__name__} cannot be exported; expected a Keras "
            "model, or one with a method export_source"
        )
    if not _keras.is_graph(model):
        raise errors.UserError(
            f"the model '{model.name}' is no sequential or functional model "
            "of known inputs; give it its inputs, or a method export_source"
        )
    structure, ends = _keras.ends(model)
    tensors = tf.nest.flatten(structure)
    names = reading.input_names(model)
    ids = _ids(model)
    inputs = [
        plans.Input(
            name,
            "int32"
            if tf.as_dtype(t.dtype).is_integer or name in ids
            else "float32",
            tuple(t.shape),  # a stateful model's batch is fixed
        )
        for name, t in zip(names, tensors)
    ]
    outputs = reading.output_names(model, len(tf.nest.flatten(ends)))
    kinds = {name: tf.as_dtype(t.dtype) for name, t in zip(names, tensors)}

    def function(given: Tensors) -> Tensors:
        flat = [tf.cast(given[name], kinds[name]) for name in names]
        made = model(tf.nest.pack_sequence_as(structure, flat), training=False)
        flat = tf.nest.flatten(made)
        return {name: tf.cast(t, tf.float32) for name, t in zip(outputs, flat)}

    sizes = {
        layer.name: layer.cell.units
        for layer in _keras.all_layers(model)
        if isinstance(getattr(getattr(layer, "cell", None), "units", None), int)
    }
    return Source(
        model.name,
        inputs,
        outputs,
        function,
        _keras.variables(model),
        lambda: reading.read(model),
        sizes,
    )


def _ids(model) -> set[str]:
    """Inputs that embeddings read, whatever type they were given."""
    try:
        plan = reading.read(model)
    except errors.UserError:
        return set()
    return {each.name for each in plan.inputs if each.dtype == "int32"}


def _symbols(variables, read) -> int:
    """How many ids every embedding knows."""
    try:
        tables = [
            len(layer.arrays["table"])
            for layer in read().layers
            if layer.kind == "embedding"
        ]
    except errors.UserError:
        tables = [
            v.shape[0] for v in variables if "embedding" in _keras.name(v)
        ]
    return min(tables, default=2)


def _checked(each: plans.Input, array: np.ndarray) -> np.ndarray:
    """An array of an input's shape, in its type."""
    fits = array.ndim == len(each.shape) and all(
        wanted in (None, n) for wanted, n in zip(each.shape, array.shape)
    )
    shape = ", ".join("?" if n is None else str(n) for n in each.shape)
    if not fits or array.dtype.kind not in "fiub":
        raise errors.UserError(
            f"a batch's input '{each.name}' is {array.dtype}"
            f"{list(array.shape)}; the model's is {each.dtype}[{shape}]"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise errors.UserError(
            f"a batch's input '{each.name}' holds NaN or infinity"
        )
    return array.astype(each.dtype)
