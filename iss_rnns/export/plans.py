"""What a net computes, as a list of layers with arrays: no framework in it.

C, ONNX and single steps are written from it, and `arithmetic` runs it. Values
are known by names; sequences are `[batch, time, features]`.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
from typing import Any, Optional

import numpy as np

RECURRENT = ("lstm", "gru", "rnn", "rhn")
# What works on each position by itself.
POSITIONWISE = ("dense", "activation", "affine")
MERGES = ("concatenate", "add", "multiply", "average")
STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",), "rhn": ("s",)}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer: what it reads, what it is called, and its weights.

    The kinds, with their arrays and options:

    - `embedding`: `table [V, E]`. `mask`: name of the mask that it makes,
      which hides id 0, or None.
    - `masking`: `mask_value`; `mask`: name of the mask that it makes.
    - `lstm`: `kernel [in, 4 n]`, `recurrent_kernel [n, 4 n]`, `bias [4 n]`,
      gates in order i, f, c, o; `activation`, `recurrent_activation`.
    - `gru`: `kernel [in, 3 n]`, `recurrent_kernel [n, 3 n]`, `bias [3 n]`,
      `recurrent_bias [3 n]`, gates in order z, r, c; `activation`,
      `recurrent_activation`, `reset_after`.
    - `rnn`: `kernel [in, n]`, `recurrent_kernel [n, n]`, `bias [n]`;
      `activation`.
    - `rhn`: `kernel [in, 2 n]`, for each micro-step d `recurrent_d [n, 2 n]`
      and `bias_d [2 n]`, columns of h before those of t; `depth`.
    - `dense`: `kernel [in, out]`, `bias [out]`; `activation`.
    - `activation`: `activation`, `alpha` (of leaky ones).
    - `affine`: `scale [n]`, `offset [n]`.
    - `concatenate` (of features), `add`, `multiply`, `average`: no arrays.

    Recurrent ones have the options `sequences` (give all steps, not the last
    one only), `backwards` (run from the last step to the first), `in_time`
    (give the steps in the order of the inputs, also if `backwards`), `mask`
    (name of it, or None), `zero_masked` (what is hidden gives 0, not the
    output before), `stateful`, and `twin` (name that both directions of a
    bidirectional layer share, or None).

    Attributes:
      name: of the layer; no two of a plan have the same.
      kind: see above.
      inputs: names of the values read; recurrent layers: x, then the initial
        states, or none for zeros.
      outputs: names of the values made; recurrent layers: y, then the final
        states.
      arrays: float32, by name.
      options: by name.
    """

    name: str
    kind: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def units(self) -> int:
        """n of a recurrent layer."""
        name = "recurrent_0" if self.kind == "rhn" else "recurrent_kernel"
        return self.arrays[name].shape[0]

    @property
    def states(self) -> list[str]:
        """What the states of a recurrent layer are called outside of it."""
        return [f"{self.name}_{letter}" for letter in STATES[self.kind]]

    @property
    def biases(self) -> list[str]:
        """Names of the arrays that are no matrices."""
        return [name for name, array in self.arrays.items() if array.ndim == 1]

    @property
    def matrices(self) -> list[str]:
        """Names of the arrays that are."""
        return [name for name, array in self.arrays.items() if array.ndim == 2]


@dataclasses.dataclass(frozen=True)
class Input:
    """What a net is given.

    Attributes:
      name: of the value.
      dtype: "int32" of ids, else "float32".
      shape: with None for the batch and for any number of time steps.
    """

    name: str
    dtype: str
    shape: Sequence[Optional[int]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A net.

    Attributes:
      inputs: in the order in which the model takes them.
      layers: in an order that works.
      outputs: value of each output by its name, in the model's order.
      widths: last axis of every value, by name; of ids None.
    """

    inputs: Sequence[Input]
    layers: Sequence[Layer]
    outputs: Mapping[str, str]
    widths: Mapping[str, Optional[int]]

    def recurrent(self) -> Iterator[Layer]:
        """The recurrent layers."""
        return (each for each in self.layers if each.kind in RECURRENT)

    def readers(self, value: str) -> list[Layer]:
        """The layers that read a value."""
        return [each for each in self.layers if value in each.inputs]

    @property
    def sizes(self) -> dict[str, int]:
        """Units of each recurrent layer."""
        return {each.name: each.units for each in self.recurrent()}

    def weights(self) -> int:
        """Number of weights."""
        arrays = {
            id(array): array.size
            for layer in self.layers
            for array in layer.arrays.values()
        }
        return sum(arrays.values())


def with_states(plan: Plan) -> Plan:
    """The plan of a net that takes and gives the states of all its layers.

    Those that come from other layers or are inputs already stay as they are.
    Layers that run backwards keep their zeros: see `first_backwards`.
    """
    inputs, layers = list(plan.inputs), []
    outputs, widths = dict(plan.outputs), dict(plan.widths)
    for layer in plan.layers:
        if layer.kind not in RECURRENT or len(layer.inputs) > 1:
            layers.append(layer)
            continue
        for name, final in zip(layer.states, layer.outputs[1:]):
            inputs.append(Input(name, "float32", (None, layer.units)))
            widths[name] = layer.units
            outputs[f"{name}_out"] = final
        layers.append(
            dataclasses.replace(layer, inputs=(*layer.inputs, *layer.states))
        )
    return Plan(inputs, layers, outputs, widths)


def first_backwards(plan: Plan) -> Optional[Layer]:
    """A layer that needs the end of a sequence first; None: there is none."""
    return next(
        (each for each in plan.recurrent() if each.options["backwards"]), None
    )


def sequences(plan: Plan) -> set[str]:
    """The values that have an axis of time."""
    found = {
        each.name
        for each in plan.inputs
        if len(each.shape) == 3 or each.dtype == "int32"
    }
    for layer in plan.layers:
        if layer.inputs[0] not in found:
            continue
        if layer.kind not in RECURRENT or layer.options["sequences"]:
            found.add(layer.outputs[0])
    return found
