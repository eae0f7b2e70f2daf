"""Which rule a kind of layer or cell has."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Callable, Optional

from iss_rnns import arguments
from iss_rnns import errors

# A size in a layer's config, and where it stands in its weights:
# {"units": ("kernel", 1)}.
Sizes = Mapping[str, tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
      layer: class.
      rule: see `register_layer`.
      sizes: see `register_layer`.
      shared: whether a smaller model has the same layer, not a copy: what it
        has learned is not in its config, and it has no units.
    """

    layer: type
    rule: Callable
    sizes: Sizes = dataclasses.field(default_factory=dict)
    shared: bool = False


@dataclasses.dataclass(frozen=True)
class CellKind:
    """A kind of cell whose gates lie side by side; see `register_cell`."""

    cell: type
    gates: int
    candidate: Optional[int] = None
    kernel: str = "kernel"
    recurrent: str = "recurrent_kernel"
    bias: str = "bias"
    activations: Sequence[str] = ("activation", "recurrent_activation")


_layers: dict[type, Kind] = {}
_cells: dict[type, CellKind] = {}
# Methods of a subclass that change nothing of what it computes.
_HARMLESS = ("get_config", "from_config")
_fallbacks: list[tuple[Callable[[Any], bool], Callable]] = []


def register_layer(
    cls: type, rule: Callable, sizes: Optional[Sizes] = None
) -> None:
    """Tells `find_groups` what a kind of layer does with units.

    Needed of layers that compute something which cannot be seen, such as by
    `tf.py_function` or in a loop. Layers made of ordinary operations and Keras
    layers need none. The rule counts for subclasses that override nothing but
    `__init__` and `get_config`.

    Args:
      cls: the class.
      rule: `rule(walk, layer, inputs, outputs)`. `inputs` is a list of what
        is known of the tensors of the call's first argument, `outputs` of
        what it returns; each with `shape` and `axes`, the units along each
        axis or None. It returns a list like `outputs`, made by
        `outputs[0].with_axes({-1: units})`. `walk.weight(variable, axis)`
        gives the entries of a weight's axis, `walk.tie(units, others)` says
        that they are the same, `walk.pin(units, reason)` that they cannot be
        cut, `walk.silence([units])` that they are read without a weight.
      sizes: sizes in the layer's config that follow from its units, with the
        attribute of the weight and the axis that has them, e.g.
        `{"units": ("kernel", 1)}`.

    Raises:
      UserError: if `cls` is no class or the rule no function.

    Example:
      A layer that keeps its units apart, and gives 0 for 0:

      >>> import numpy as np
      >>> import tensorflow as tf
      >>> class Limited(tf.keras.layers.Layer):
      ...   def call(self, inputs):
      ...     return tf.numpy_function(np.tanh, [inputs], tf.float32)
      >>> register_layer(
      ...     Limited,
      ...     lambda walk, layer, inputs, outputs: [
      ...         outputs[0].with_axes({-1: inputs[0].axes[-1]})])
    """
    _check_class("a layer's", cls)
    if not callable(rule):
        raise errors.UserError(
            f"the rule of {cls.__name__} must be a function rule(walk, layer, "
            f"inputs, outputs), got {type(rule).__name__}"
        )
    _layers[cls] = Kind(cls, rule, dict(sizes or {}))


def register_cell(
    cls: type,
    gates: int,
    candidate: Optional[int] = None,
    kernel: str = "kernel",
    recurrent: str = "recurrent_kernel",
    bias: str = "bias",
) -> None:
    """Tells `find_groups` how the weights of a kind of cell lie.

    Needed of cells that compute something which cannot be seen; others are
    walked through, step by step. For cells of n units with `kernel [inputs,
    gates n]`, `recurrent_kernel [n, gates n]` and, if any, `bias` with `gates
    n` entries along its last axis; all states are of n entries, and the
    config has `units`.

    Args:
      cls: the class.
      gates: blocks of the kernels' columns.
      candidate: the block, from 0, without whose bias the state of a dead unit
        stays zero (2 of Keras' LSTM and GRU); None if there is none such.
      kernel: attribute with the kernel.
      recurrent: attribute with the recurrent kernel.
      bias: attribute with the bias.

    Raises:
      UserError: on a wrong argument.
    """
    _check_class("a cell's", cls)
    gates = arguments.integer("gates", gates, least=1)
    if candidate is not None:
        arguments.integer("candidate", candidate, least=0)
        if candidate >= gates:
            raise errors.UserError(
                f"candidate must be a block from 0 to {gates - 1}, got "
                f"{candidate}"
            )
    _cells[cls] = CellKind(cls, gates, candidate, kernel, recurrent, bias, ())


def add_kind(kind: Kind) -> None:
    """Registers a kind of layer of Keras or of this library."""
    _layers[kind.layer] = kind


def add_cell_kind(kind: CellKind) -> None:
    """Registers a kind of cell of Keras."""
    _cells[kind.cell] = kind


def add_fallback(applies: Callable[[Any], bool], rule: Callable) -> None:
    """Registers a rule for layers whose class has none.

    Args:
      applies: whether it is a layer's.
      rule: see `register_layer`.
    """
    _fallbacks.append((applies, rule))


def rule_of(layer: Any) -> Optional[Callable]:
    """The rule of a layer; None: it is walked through."""
    kind = kind_of(layer)
    if kind is not None:
        return kind.rule
    return next((rule for applies, rule in _fallbacks if applies(layer)), None)


def forget(cls: type) -> None:
    """Takes back what was registered of a class."""
    _layers.pop(cls, None)
    _cells.pop(cls, None)


def kind_of(layer: Any) -> Optional[Kind]:
    """What is registered of a layer; nothing if it computes otherwise."""
    return _kind(_layers, layer)


def cell_kind_of(cell: Any) -> Optional[CellKind]:
    """What is registered of a cell; nothing if it computes otherwise."""
    return _kind(_cells, cell)


def _kind(known: dict, thing: Any):
    kinds: tuple[Any, ...] = type(thing).__mro__
    for cls in kinds:
        if cls in known:
            return None if _changes(thing, cls) else known[cls]
    return None


def _changes(thing: Any, cls: Any) -> bool:
    """Whether something computes otherwise than its base class does."""
    kinds: tuple[Any, ...] = type(thing).__mro__
    for kind in (thing, *kinds[: kinds.index(cls)]):
        for name, value in vars(kind).items():
            harmless = name.startswith("__") or name in _HARMLESS
            if not harmless and callable(value) and hasattr(cls, name):
                if kind is not thing or name == "call":
                    return True
    return False


def _check_class(what: str, cls: Any) -> None:
    if not isinstance(cls, type):
        raise errors.UserError(
            f"{what} class must be given, got {type(cls).__name__}"
        )
