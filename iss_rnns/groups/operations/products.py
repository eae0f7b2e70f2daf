"""Products of matrices, which add up over the units of an axis."""

from collections.abc import Sequence
import string
from typing import Optional

from iss_rnns.groups import walk as walk_lib
from iss_rnns.groups.operations import common
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk


def contract(
    walk: Walk, inputs: common.Signals, letters: Sequence[str], out: str, sizes
) -> list[Optional[Axis]]:
    """Units of a product in Einstein's notation.

    Args:
      walk: what is being written.
      inputs: operands.
      letters: of each operand's axes.
      out: letters of the result.
      sizes: the result's shape.

    Returns:
      The units along each axis of the result.
    """
    found: dict[str, list[tuple[Optional[Axis], bool]]] = {}
    for signal, names in zip(inputs, letters):
        for name, axis, size in zip(names, signal.axes, signal.shape):
            if size != 1:
                found.setdefault(name, []).append((axis, signal.weight))
    for name, parts in found.items():
        axes = [axis for axis, _ in parts]
        if not any(a is not None for a in axes):
            continue
        walk.tie(*axes, reason=common.joined_to(walk, inputs))
        known = [(a, w) for a, w in parts if a is not None]
        if name not in out and len(known) == len(parts):
            weights = [a for a, w in known if w and (a.loud < 0).all()]
            walk.silence(weights or [a for a, _ in known], not weights)
    result: list[Optional[Axis]] = []
    for name in out:
        factors = [a for a, _ in found.get(name, ()) if a is not None]
        result.append(walk_lib.product_of(factors) if factors else None)
    return result


def _matmul(walk, op, inputs):
    out = common.shape(op.outputs[0])
    if out is None or None in (inputs[0].shape, inputs[1].shape):
        return common.unknown(walk, op, inputs)

    def flag(*names):
        return any(op.get_attr(n) for n in names if n in common.attributes(op))

    batch = string.ascii_lowercase[: len(out) - 2]
    letters = [
        batch[len(batch) - (len(s.shape) - 2) :] + names
        for s, names in zip(inputs, ("XY", "YZ"))
    ]
    for i, names in enumerate(
        (("transpose_a", "adj_x"), ("transpose_b", "adj_y"))
    ):
        if flag(*names):
            letters[i] = letters[i][:-2] + letters[i][:-3:-1]
    axes = contract(walk, inputs[:2], letters, batch + "XZ", out)
    return [Signal(out, tuple(axes))]


def _einsum(walk, op, inputs):
    out = common.shape(op.outputs[0])
    equation = op.get_attr("equation").decode()
    if out is None or "." in equation or any(s.shape is None for s in inputs):
        return common.unknown(walk, op, inputs)
    left, right = equation.replace(" ", "").split("->")
    letters = left.split(",")
    if any(len(set(names)) < len(names) for names in letters):
        return common.unknown(walk, op, inputs)
    return [Signal(out, tuple(contract(walk, inputs, letters, right, out)))]


RULES: dict[str, common.Rule] = {
    **dict.fromkeys(
        ["MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"], _matmul
    ),
    "Einsum": _einsum,
}
