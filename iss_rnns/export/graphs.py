"""What a SavedModel would run, looked at before it is loaded.

`tf.saved_model.load` makes functions of a file callable, and runs some while
it loads. TensorFlow has operations that read and write any file and that call
into Python; a file may name them. Here only those pass that compute with
tensors and variables.
"""

from collections.abc import Iterable, Iterator, Mapping
import pathlib
from typing import Any

from google.protobuf import message
from tensorflow.core.protobuf import saved_model_pb2

from iss_rnns import errors
from iss_rnns import files

FILE = "saved_model.pb"

# All that exports of this project and of usual Keras layers consist of. What
# is not here is refused, also what later versions of TensorFlow bring.
COMPUTING = frozenset(
    """
    Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp
    StopGradient PreventGradient EnsureShape Assert
    PartitionedCall StatefulPartitionedCall If StatelessIf While StatelessWhile
    Case StatelessCase Switch Merge Enter Exit NextIteration LoopCond
    XlaSharding

    ReadVariableOp AssignVariableOp AssignAddVariableOp AssignSubVariableOp
    VariableShape VarIsInitializedOp ResourceGather ResourceGatherNd

    Shape ShapeN Size Rank Reshape Squeeze ExpandDims Transpose
    ConjugateTranspose Concat ConcatV2 Split SplitV Pack Unpack Slice
    StridedSlice Gather GatherV2 GatherNd ScatterNd TensorScatterUpdate
    TensorScatterAdd Tile Pad PadV2 MirrorPad Reverse ReverseV2
    ReverseSequence BroadcastTo BroadcastArgs Fill ZerosLike OnesLike Range
    LinSpace OneHot Where Select SelectV2 Unique TopK TopKV2 ArgMax ArgMin
    InvertPermutation DynamicStitch DynamicPartition MatrixBandPart
    MatrixDiagV3 MatrixDiagPartV3 Cast Bitcast Roll UnsortedSegmentSum

    Abs Add AddN AddV2 AccumulateNV2 Sub Mul MulNoNan Div DivNoNan RealDiv
    FloorDiv FloorMod Mod TruncateDiv Neg Sign Square SquaredDifference Sqrt
    Rsqrt Reciprocal Inv Pow Exp Expm1 Log Log1p Sin Cos Tan Asin Acos Atan
    Atan2 Sinh Cosh Tanh Asinh Acosh Atanh Erf Erfc Sigmoid Floor Ceil Round
    Rint Maximum Minimum ClipByValue IsNan IsInf IsFinite
    Equal NotEqual Less LessEqual Greater GreaterEqual
    LogicalAnd LogicalOr LogicalNot
    Sum Mean Prod Max Min All Any Cumsum Cumprod

    MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum L2Loss
    BiasAdd BiasAddV1 Relu Relu6 LeakyRelu Elu Selu Softplus Softsign Softmax
    LogSoftmax SparseSoftmaxCrossEntropyWithLogits
    SoftmaxCrossEntropyWithLogits Conv2D Conv3D DepthwiseConv2dNative MaxPool
    MaxPoolV2 AvgPool FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    SpaceToBatchND BatchToSpaceND CudnnRNN CudnnRNNV2 CudnnRNNV3
    CudnnRNNParamsSize CudnnRNNCanonicalToParams CudnnRNNCanonicalToParamsV2

    StridedSliceGrad TanhGrad SigmoidGrad ReluGrad SoftplusGrad BiasAddGrad
    SqrtGrad RsqrtGrad InvGrad ReciprocalGrad BroadcastGradientArgs
    ConcatOffset CudnnRNNBackprop CudnnRNNBackpropV2 CudnnRNNBackpropV3

    TensorListReserve TensorListFromTensor TensorListGetItem
    TensorListSetItem TensorListStack TensorListLength TensorListElementShape
    TensorListPushBack TensorListPopBack EmptyTensorList TensorListResize
    TensorListGather TensorListScatter TensorListScatterV2
    TensorListConcatV2 TensorListSplit

    OptionalFromValue OptionalGetValue OptionalHasValue OptionalNone

    StatelessRandomUniform StatelessRandomUniformV2 StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomGetKeyCounter StatelessMultinomial
    """.split()
)

# Kinds of objects that load without running a function of the file.
_KINDS = frozenset(
    "user_object variable constant function bare_concrete_function"
    " captured_tensor".split()
)


def check(folder: pathlib.Path) -> None:
    """Refuses a SavedModel that would run more than computations.

    Args:
      folder: of the SavedModel.

    Raises:
      UserError: naming the operation; or it is damaged or none of
        TensorFlow 2.
    """
    others = [p.name for p in folder.glob("saved_model.*") if p.name != FILE]
    if others:  # TensorFlow might read them instead.
        raise errors.UserError(
            f"{files.shown(folder)} holds {', '.join(map(files.shown, others))}"
            f" beside, or in place of, {FILE}; expected {FILE} alone"
        )
    path = folder / FILE
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(files.read_bytes(path, "SavedModel"))
    except message.DecodeError:
        raise files.unreadable(
            path, "SavedModel", "it is damaged, or no SavedModel"
        ) from None
    # With any other, TensorFlow runs it as one of version 1.
    if len(model.meta_graphs) != 1 or not model.meta_graphs[0].HasField(
        "object_graph_def"
    ):
        raise files.unreadable(
            path,
            "SavedModel",
            "it is none of TensorFlow 2; export the model anew",
        )
    (graph,) = model.meta_graphs
    _check_objects(path, graph.object_graph_def)
    _check_functions(path, graph)


def _check_objects(path: pathlib.Path, objects) -> None:
    for node in objects.nodes:
        kind = node.WhichOneof("kind") or "empty"
        if kind not in _KINDS:
            raise _refused(path, f"an object of kind '{kind}'")
        if node.registered_name or node.registered_saver:
            raise _refused(
                path,
                "an object of the class "
                f"'{node.registered_name or node.registered_saver}'",
            )
        if node.saveable_objects:
            raise _refused(path, "an object that restores itself")


def _check_functions(path: pathlib.Path, graph) -> None:
    library = graph.graph_def.library
    functions = {each.signature.name: each for each in library.function}
    # Save and restore files, and nobody calls them: TensorFlow 2 restores
    # variables itself.
    savers = {graph.saver_def.save_tensor_name.partition(":")[0]}
    savers.add(graph.saver_def.restore_op_name)
    apart = _reached(
        functions,
        (
            name
            for node in graph.graph_def.node
            if node.name in savers
            for name in _called(node)
        ),
    )
    called = _reached(
        functions,
        [
            *graph.object_graph_def.concrete_functions,
            *(each.gradient_func for each in library.gradient),
            *(each.gradient_func for each in library.registered_gradients),
        ],
    )
    for name in sorted(functions.keys() - (apart - called)):
        for node in functions[name].node_def:
            if node.op not in COMPUTING:
                raise _refused(path, f"the operation {node.op}")


def _reached(functions: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Functions that are called from some, themselves included."""
    todo, found = list(names), set()
    while todo:
        name = todo.pop()
        if name in functions and name not in found:
            found.add(name)
            todo += [
                other
                for node in functions[name].node_def
                for other in _called(node)
            ]
    return found


def _called(node) -> Iterator[str]:
    """Names of functions that a node may call."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (each.name for each in value.list.func)


def _refused(path: pathlib.Path, what: str) -> errors.UserError:
    return errors.UserError(
        f"{files.shown(path)} would run {what}, which exports of this library "
        "do not have and which might read or write files: not loaded; "
        "tf.saved_model.load loads it, if you trust who made it"
    )
