"""Models out of files, and arrays that they can be called with."""

from collections.abc import Iterator, Mapping
import contextlib
from typing import Any

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments.commands import sources
from iss_rnns.experiments.commands import trust as trust_lib
from iss_rnns.export import graphs


def load(source: sources.Source, trust: bool = False) -> tf.keras.Model:
    """A Keras model out of its file, without losses and optimizer.

    Args:
      source: of the model.
      trust: run the code that the file holds or names, if it does.

    Raises:
      UserError: if it cannot be read, or would run code.
    """
    if not trust:
        trust_lib.check(source)
        if source.kind == sources.KERAS_FOLDER:
            _check_graph(source)
    try:
        return tf.keras.models.load_model(
            str(source.path), compile=False, safe_mode=not trust
        )
    except Exception as error:  # Keras raises whatever it stumbles on
        raise files.unreadable(
            source.path, "model", errors.reason(error)
        ) from None


def _check_graph(source: sources.Source) -> None:
    try:
        graphs.check(source.path)
    except errors.UserError as error:
        raise errors.UserError(
            f"{error}; so does --trust here, and a .keras file needs no trust"
        ) from None


@contextlib.contextmanager
def running(source: sources.Source) -> Iterator[None]:
    """What TensorFlow refuses while a model runs becomes one line.

    Raises:
      UserError: instead.
    """
    try:
        yield
    except errors.UserError:
        raise
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise errors.UserError(
            f"{source.shown} does not run on these inputs: "
            f"{errors.reason(error)}"
        ) from None


class Inputs:
    """What a model is called with.

    Args:
      model: of Keras.

    Attributes:
      specs: of each input, in order; sizes that may change are None.
      names: likewise.

    Raises:
      UserError: if nobody knows, or it takes several arguments.
    """

    def __init__(self, model):
        found = _keras.input_specs(model)
        if found is None:
            raise errors.UserError(
                f"the inputs of the model '{model.name}' are not known; save "
                "it after it was called once"
            )
        args, kwargs = found
        if kwargs or len(args) != 1:
            raise errors.UserError(
                f"the model '{model.name}' is called with several arguments; "
                "expected one: an array, or a list or dict of them"
            )
        self._structure = args[0]
        self._symbols = [
            layer.input_dim
            for layer in _keras.all_layers(model)
            if isinstance(layer, tf.keras.layers.Embedding)
        ]
        self.specs = tf.nest.flatten(self._structure)
        # Keras' specs leave it open.
        self._batch = next(
            (t.shape[0] for t in getattr(model, "inputs", None) or []), None
        )
        names = getattr(model, "input_names", None) or []
        self.names = (
            list(names)
            if len(names) == len(self.specs)
            else [f"input_{i + 1}" for i in range(len(self.specs))]
        )

    def described(self) -> str:
        """All of them, for texts."""
        return ", ".join(
            f"{name} {spec.dtype.name}{_shape(spec)}"
            for name, spec in zip(self.names, self.specs)
        )

    def random(self, batch: int, steps: int, seed: int = 0) -> Any:
        """A batch of random numbers, and of symbols that all embeddings know.

        Args:
          batch: size of it, where the model leaves it open.
          steps: likewise, of all other sizes.
          seed: of the numbers.
        """
        random = np.random.default_rng(seed)
        high = min(self._symbols, default=2)
        return self._packed(
            [
                drawn(
                    random,
                    spec,
                    sizes(spec, self._batch or batch, steps),
                    high,
                )
                for spec in self.specs
            ]
        )

    def batches(
        self, arrays: Mapping[str, np.ndarray], where: str, size: int
    ) -> list[Any]:
        """Arrays cut into batches, as the model is called with them.

        Args:
          arrays: by the inputs' names, or one for the one input (of several,
            that called `x`). Others do not matter.
          where: they are from, for errors.
          size: of a batch, where the model leaves it open.

        Raises:
          UserError: an array is missing, or of another shape or type.
        """
        chosen = [
            _checked(arrays[array], name, spec, where)
            for array, name, spec in zip(
                self._chosen(arrays, where), self.names, self.specs
            )
        ]
        lengths = {len(array) for array in chosen}
        if len(lengths) > 1:
            raise errors.UserError(
                f"data {where} has different numbers of examples for the "
                f"inputs {', '.join(self.names)}: "
                f"{', '.join(str(len(a)) for a in chosen)}"
            )
        (length,), fixed = lengths, self._batch
        size = fixed or size
        # A batch of a fixed size must be full.
        end = length - length % size if fixed else length
        if end < 1:
            raise errors.UserError(
                f"data {where} has {length} examples; expected at least "
                f"{fixed or 1}"
            )
        return [
            self._packed([tf.constant(a[i : i + size]) for a in chosen])
            for i in range(0, end, size)
        ]

    def _chosen(self, arrays: Mapping[str, np.ndarray], where: str):
        if all(name in arrays for name in self.names):
            return self.names
        if len(self.names) == 1 and len(arrays) == 1:
            return list(arrays)
        if len(self.names) == 1 and "x" in arrays:
            return ["x"]
        raise errors.UserError(
            f"data {where} holds {', '.join(map(files.shown, arrays))}; "
            f"expected {', '.join(self.names)}"
            + (", or x" if len(self.names) == 1 else "")
        )

    def _packed(self, values: list) -> Any:
        return tf.nest.pack_sequence_as(self._structure, values)


def drawn(random, spec, shape: list[int], high: int) -> tf.Tensor:
    """Random values of a type: whole numbers below `high`, or normal ones."""
    if spec.dtype == tf.string:
        return tf.fill(shape, "a")
    if spec.dtype == tf.bool:
        return tf.constant(random.integers(0, 2, shape), tf.bool)
    if spec.dtype.is_integer:
        return tf.constant(random.integers(0, high, shape), spec.dtype)
    return tf.cast(random.standard_normal(shape), spec.dtype)


def sizes(spec, batch: int, steps: int) -> list[int]:
    """A spec's shape, with numbers for the sizes that it leaves open."""
    first, *others = spec.shape.as_list() or [1]
    return [first or batch, *(n or steps for n in others)]


def _shape(spec) -> str:
    sizes = ["?" if n is None else str(n) for n in spec.shape.as_list()]
    return f"[{', '.join(sizes)}]"


def _checked(array: np.ndarray, name: str, spec, where: str) -> np.ndarray:
    """An array of an input's shape, in its type."""
    right = f"the model's input {name} is {spec.dtype.name}{_shape(spec)}"
    fits = spec.shape.rank == array.ndim and all(
        wanted in (None, n)
        for wanted, n in zip(spec.shape.as_list()[1:], array.shape[1:])
    )
    if not fits:
        raise errors.UserError(
            f"data {where} has shape {list(array.shape)}, {right}"
        )
    if spec.dtype == tf.string:
        kinds = "US"
    elif spec.dtype.is_floating:
        kinds = "fiub"
    else:
        kinds = "iub"
    if array.dtype.kind not in kinds:
        raise errors.UserError(f"data {where} is {array.dtype}, {right}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise errors.UserError(
            f"data {where} holds NaN or infinity for the input {name}"
        )
    return array.astype(spec.dtype.as_numpy_dtype)
