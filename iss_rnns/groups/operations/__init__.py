"""What TensorFlow's operations do with units.

A rule gets the operation and what is known of its inputs, writes into the
`Walk`, and says what is known of the outputs. An operation without a rule pins
the units that it reads. Each module here has the rules of one kind of them.
"""

import tensorflow as tf

from iss_rnns.groups.operations import common
from iss_rnns.groups.operations import elementwise
from iss_rnns.groups.operations import joins
from iss_rnns.groups.operations import products
from iss_rnns.groups.operations import reductions
from iss_rnns.groups.operations import shapes
from iss_rnns.groups.operations import slices
from iss_rnns.groups.operations import windows
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk

# Of which only the numbers of their inputs' entries count.
_SOURCES = (
    "Const Placeholder PlaceholderWithDefault Range NoOp Size Rank "
    "RandomUniform RandomStandardNormal RandomUniformInt TruncatedNormal "
    "StatelessRandomUniformV2 StatelessRandomNormalV2 VarHandleOp Assert "
    "StatelessRandomGetKeyCounter StatelessRandomGetAlg Timestamp PrintV2"
).split()


# That may compute with numbers of units.
_SHAPERS = (
    "Shape Reshape Fill BroadcastTo Tile Range StridedSlice Slice Pack ConcatV2 "
    "GatherV2 Prod Mul Identity Cast ExpandDims Squeeze Pad PadV2 MirrorPad "
    "RandomUniform RandomStandardNormal Unpack Assert Equal Sub Add AddV2 Sum "
    "StatelessRandomUniformV2 StatelessRandomNormalV2 TruncatedNormal "
    "BroadcastArgs Maximum LogicalAnd All GreaterEqual Less LessEqual Greater "
    "NotEqual EnsureShape"
).split()


# Of these the numbers say how large the result is.
_SHAPED = (
    "Reshape Fill BroadcastTo Tile StridedSlice Slice Pad PadV2 MirrorPad "
    "RandomUniform RandomStandardNormal TruncatedNormal EnsureShape "
    "StatelessRandomUniformV2 StatelessRandomNormalV2 GatherV2"
).split()


def apply(walk: Walk, op: tf.Operation, inputs: common.Signals) -> list[Signal]:
    """What is known of an operation's outputs.

    Args:
      walk: what is being written.
      op: the operation.
      inputs: of each of its inputs.
    """
    sizes = tuple(a for s in inputs for a in s.sizes if a is not None)
    if sizes and (op.type not in _SHAPERS or _floating(op)):
        walk.pin(sizes, f"{walk.where} computes with the number of its units")
        sizes = ()
    rule = _RULES.get(op.type)
    if rule is None:
        outputs = common.unknown(walk, op, inputs)
    elif not any(s.labelled or s.sizes for s in inputs):
        outputs = [Signal(common.shape(t)) for t in op.outputs]
    else:
        outputs = rule(walk, op, inputs)
    if op.type in _SHAPERS and sizes and op.type not in ("Fill", "Reshape"):
        outputs = [
            s
            if s.sizes or op.outputs[i].dtype not in (tf.int32, tf.int64)
            else Signal(s.shape, s.axes, s.weight, sizes)
            for i, s in enumerate(outputs)
        ]
    return [common.alone(walk, s) for s in outputs]


def _floating(op: tf.Operation) -> bool:
    """Whether it computes numbers, not only tensors of a computed size."""
    return op.type not in _SHAPED and any(
        t.dtype.is_floating for t in op.outputs
    )


def _source(walk, op, inputs):
    return [Signal(common.shape(t)) for t in op.outputs]


_RULES: dict[str, common.Rule] = {
    **dict.fromkeys(_SOURCES, _source),
    **elementwise.RULES,
    **products.RULES,
    **windows.RULES,
    **reductions.RULES,
    **shapes.RULES,
    **joins.RULES,
    **slices.RULES,
}
