"""Operations that move a window over axes: convolutions, pooling."""

from iss_rnns.groups.operations import common
from iss_rnns.groups.operations import products
from iss_rnns.groups.walk import Signal


def _convolution(walk, op, inputs):
    """`[..., in]` by `[..., in, out]`."""
    out = common.shape(op.outputs[0])
    signal, kernel = inputs
    if (
        out is None
        or None in (signal.shape, kernel.shape)
        or op.get_attr("data_format") not in (b"NHWC", b"NDHWC")
        or signal.shape[-1] != kernel.shape[-2]
    ):
        return common.unknown(walk, op, inputs)
    spatial = [*signal.axes[1:-1], *kernel.axes[:-2]]
    walk.pin(spatial, f"{walk.where} moves a window over the units")
    axes = products.contract(
        walk,
        [
            Signal(signal.shape[-1:], signal.axes[-1:]),
            Signal(kernel.shape[-2:], kernel.axes[-2:], kernel.weight),
        ],
        ["a", "ab"],
        "b",
        out[-1:],
    )
    return [
        Signal(out, (signal.axes[0],) + (None,) * (len(out) - 2) + tuple(axes))
    ]


def _pool(walk, op, inputs):
    signal, out = inputs[0], common.shape(op.outputs[0])
    if out is None or signal.shape is None:
        return common.unknown(walk, op, inputs)
    axes = tuple(
        axis if out[i] == signal.shape[i] else None
        for i, axis in enumerate(signal.axes)
    )
    walk.pin(
        [a for i, a in enumerate(signal.axes) if axes[i] is not a],
        f"{walk.where} moves a window over the units",
    )
    if op.get_attr("data_format") not in (b"NHWC", b"NDHWC"):
        return common.unknown(walk, op, inputs)
    walk.pin(list(axes[1:-1]), f"{walk.where} moves a window over the units")
    return [Signal(out, axes)]


RULES: dict[str, common.Rule] = {
    **dict.fromkeys(["Conv2D", "Conv3D"], _convolution),
    **dict.fromkeys(["MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"], _pool),
}
