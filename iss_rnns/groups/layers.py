"""What Keras' layers do with units, and which of their sizes follow."""

from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from iss_rnns import _keras
from iss_rnns.groups import activations
from iss_rnns.groups import registry
from iss_rnns.groups import walk as walk_lib
from iss_rnns.groups.operations import elementwise
from iss_rnns.groups.operations import joins
from iss_rnns.groups.operations import products
from iss_rnns.groups.operations import shapes
from iss_rnns.groups.walk import Axis
from iss_rnns.groups.walk import Signal
from iss_rnns.groups.walk import Walk

Signals = Sequence[Signal]
keras = tf.keras.layers


def keep(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Units stay what they are, and zero stays zero."""
    del walk, layer
    return [Signal(outputs[0].shape, inputs[0].axes)]


def pinning(what: str):
    """A rule for layers whose inputs must stay as they are."""

    def rule(walk: Walk, layer, inputs: Signals, outputs: Signals):
        walk.pin(list(inputs), f"{walk.where} {what}")
        return outputs

    return rule


def channels(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """A window moves over all axes but the batch and the units."""
    (signal,), (out,) = inputs, outputs
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        walk.pin(signal, f"{walk.where} has data_format='channels_first'")
        return outputs
    only_last(walk, signal)
    rest = (None,) * (len(out.shape) - 1)
    return [Signal(out.shape, rest + signal.axes[-1:])]


def only_last(walk: Walk, *signals: Signal) -> None:
    """Pins units along any axis but the last."""
    for signal in signals:
        walk.pin(
            list(signal.axes[:-1]),
            f"{walk.where} goes along the units, as if they were steps",
        )


def biased(
    walk: Walk, axis: Optional[Axis], bias, function, out: Signal
) -> list[Signal]:
    """An output with units along its last axis, behind bias and activation."""
    if axis is not None and bias is not None:
        entries = walk.weight(bias, -1, bias=True)
        walk.tie(axis, entries)
        axis = walk_lib.sum_of([axis, entries])
    signal = Signal(
        out.shape, (None,) * (len(out.shape) - 1) + (axis,), dtype=out.dtype
    )
    return [activations.activated(walk, function, signal)]


def dense(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Rows read units, columns write units."""
    (signal,), (out,) = inputs, outputs
    rows, columns = (walk.weight(layer.kernel, axis) for axis in (0, 1))
    walk.tie(signal.axes[-1], rows)
    result = biased(
        walk, columns, layer.bias if layer.use_bias else None, None, out
    )[0]
    result = result.with_axes(
        {i: _moved(walk, a) for i, a in enumerate(signal.axes[:-1]) if a}
    )
    return [activations.activated(walk, layer.activation, result)]


def _moved(walk: Walk, axis: Axis) -> Optional[Axis]:
    return walk.louden(axis, f"{walk.where} adds its bias")


def einsum_dense(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Letters of the equation read and write units."""
    (signal,), (out,) = inputs, outputs
    left, right = layer.equation.replace(" ", "").split("->")
    one, other = left.split(",")
    if "." in layer.equation:
        rest = len(signal.shape) - len(one.replace("...", ""))
        dots = "".join(chr(ord("A") + i) for i in range(rest))
        one, right = (names.replace("...", dots) for names in (one, right))
    axes = products.contract(
        walk,
        [signal, walk.read(layer.kernel)],
        [one, other],
        right,
        out.shape,
    )
    result = Signal(out.shape, tuple(axes), dtype=out.dtype)
    if layer.bias is not None:
        bias = walk.read(layer.bias)
        axes = elementwise.broadcast(
            walk, [result, bias], out.shape, walk_lib.sum_of, additive=True
        )
        result = Signal(out.shape, tuple(axes), dtype=out.dtype)
    return [activations.activated(walk, layer.activation, result)]


def embedding(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Columns write units."""
    walk.pin(list(inputs), f"{walk.where} looks up by it")
    return biased(
        walk, walk.weight(layer.embeddings, 1), None, None, outputs[0]
    )


def convolution(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Kernels `[..., in, filters]`; of a transposed one the other way."""
    (signal,), (out,) = inputs, outputs
    if layer.data_format != "channels_last" or layer.groups != 1:
        walk.pin(
            signal,
            f"{walk.where} has groups or data_format='channels_first', which "
            "cannot be cut",
        )
        return outputs
    only_last(walk, signal)
    reads, writes = (
        (-1, -2) if "Transpose" in type(layer).__name__ else (-2, -1)
    )
    walk.tie(signal.axes[-1], walk.weight(layer.kernel, reads))
    return biased(
        walk,
        walk.weight(layer.kernel, writes),
        layer.bias if layer.use_bias else None,
        layer.activation,
        out,
    )


def separable(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Each unit goes through filters of its own first."""
    (signal,), (out,) = inputs, outputs
    if layer.data_format != "channels_last":
        walk.pin(signal, f"{walk.where} has data_format='channels_first'")
        return outputs
    only_last(walk, signal)
    entries = walk.weight(layer.depthwise_kernel, -2)
    walk.tie(signal.axes[-1], entries)
    each = int(layer.depth_multiplier)
    axis = entries.take([k for k in range(len(entries)) for _ in range(each)])
    pointwise = getattr(layer, "pointwise_kernel", None)
    if pointwise is not None:
        walk.tie(axis, walk.weight(pointwise, -2))
        axis = walk.weight(pointwise, -1)
    return biased(
        walk,
        axis,
        layer.bias if layer.use_bias else None,
        layer.activation,
        out,
    )


def batch_normalization(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Scale, offset and statistics have an entry a unit."""
    (signal,), (out,) = inputs, outputs
    over = layer.axis if isinstance(layer.axis, int) else list(layer.axis)
    over = [over] if isinstance(over, int) else over
    if len(over) != 1:
        walk.pin(signal, f"{walk.where} has several axes")
        return outputs
    at = over[0] % len(signal.shape)
    result = signal.with_axes(
        {
            i: walk.louden(a, f"{walk.where} moves it by its offset")
            for i, a in enumerate(signal.axes)
            if i != at
        }
    )
    axis = signal.axes[at]
    gamma, beta = (
        walk.weight(v, 0, bias=True) if v is not None else None
        for v in (layer.gamma, layer.beta)
    )
    mean, variance = (
        walk.weight(v, 0, bias=True)
        for v in (layer.moving_mean, layer.moving_variance)
    )
    if axis is None and out.shape[at] != 1:
        axis = walk.fixed(len(mean), f"{walk.where} has no units there")
    if axis is not None:
        walk.tie(axis, *[a for a in (gamma, beta, mean, variance) if a])
        # Without a scale, what is zero is moved by the mean.
        scaled = gamma or walk_lib.sum_of([axis, mean])
        axis = walk_lib.sum_of([a for a in (scaled, beta) if a])
        axis = Axis(
            signal.axes[at].ids if signal.axes[at] else axis.ids,
            axis.loud,
            axis.needs,
        )
    return [result.with_axes({at: axis})]


def over_units(what: str):
    """A rule for layers that compute with all units of their `axis`."""

    def rule(walk: Walk, layer, inputs: Signals, outputs: Signals):
        signal = inputs[0]
        over = getattr(layer, "axis", -1)
        over = list(over) if isinstance(over, Sequence) else [over]
        rank = len(signal.shape)
        over = {int(i) % rank for i in over}
        for i in over:
            walk.pin(
                signal.axes[i],
                f"{walk.where} {what} over the units: put a Dense layer "
                "before it",
            )
        rest = {
            i: walk.louden(a, f"{walk.where} moves it")
            for i, a in enumerate(signal.axes)
        }
        return [signal.with_axes(rest)]

    return rule


def activation(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """A function of each number, mostly."""
    del outputs
    return [activations.activated(walk, layer.activation, inputs[0])]


def relu(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Zero stays zero, but beyond a threshold above it."""
    slope = getattr(layer, "negative_slope", 0)
    if getattr(layer, "threshold", 0) and slope:
        return [
            Signal(
                outputs[0].shape,
                tuple(
                    walk.louden(a, f"{walk.where} is not 0 at 0")
                    for a in inputs[0].axes
                ),
            )
        ]
    return keep(walk, layer, inputs, outputs)


def prelu(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """A slope a unit."""
    (signal,) = inputs
    for back in range(1, len(layer.alpha.shape) + 1):
        axis = signal.axes[-back]
        if layer.alpha.shape[-back] != 1:
            entries = walk.weight(layer.alpha, -back, bias=True)
            if axis is not None:
                walk.tie(axis, entries)
    return keep(walk, layer, inputs, outputs)


def softmax(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """See `over_units`."""
    return over_units("is a softmax")(walk, layer, inputs, outputs)


def masking(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """A step in which all units have the mask's value is left out."""
    axis = inputs[0].axes[-1]
    if axis is not None:
        if layer.mask_value == 0:
            walk.silence([axis])
        else:
            walk.pin(axis, f"{walk.where} compares the units with a mask_value")
    return keep(walk, layer, inputs, outputs)


def reshape(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Units of `Reshape` and `Flatten`."""
    (signal,), (out,) = inputs, outputs
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        walk.pin(signal, f"{walk.where} has data_format='channels_first'")
        return outputs
    return [Signal(out.shape, tuple(shapes.reshaped(walk, signal, out.shape)))]


def permute(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Axes change places."""
    del walk
    axes = inputs[0].axes
    return [
        Signal(outputs[0].shape, axes[:1] + tuple(axes[i] for i in layer.dims))
    ]


def repeat(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Of `RepeatVector`: equal entries, perhaps one for each unit."""
    axes = inputs[0].axes
    new = walk.free(int(layer.n), f"{walk.where} repeats something for it")
    return [Signal(outputs[0].shape, axes[:1] + (new,) + axes[1:])]


def rescaling(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """By numbers; zero stays zero without an offset."""
    (signal,) = inputs
    numbers = [layer.scale, layer.offset]
    if not all(isinstance(n, (int, float)) for n in numbers):
        walk.pin(signal, f"{walk.where} has a number for each unit")
    if not isinstance(layer.offset, (int, float)) or layer.offset:
        return [
            signal.with_axes(
                {
                    i: walk.louden(a, f"{walk.where} adds an offset")
                    for i, a in enumerate(signal.axes)
                }
            )
        ]
    return keep(walk, layer, inputs, outputs)


# Joining.


def concatenate(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Units side by side; along another axis they are the same units."""
    axes = joins.concatenated(walk, inputs, layer.axis)
    return [Signal(outputs[0].shape, tuple(axes))]


def _same_rank(inputs: Signals) -> list[Signal]:
    """As Keras does: new axes behind the batch."""
    rank = max(len(s.shape) for s in inputs)
    return [
        Signal(
            s.shape[:1] + (1,) * (rank - len(s.shape)) + s.shape[1:],
            s.axes[:1] + (None,) * (rank - len(s.shape)) + s.axes[1:],
        )
        for s in inputs
    ]


def added(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Zero where all are: sums, averages, the larger one."""
    del layer
    axes = elementwise.broadcast(
        walk,
        _same_rank(inputs),
        outputs[0].shape,
        walk_lib.sum_of,
        additive=True,
    )
    return [Signal(outputs[0].shape, tuple(axes))]


def multiplied(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Zero where one is."""
    del layer
    axes = elementwise.broadcast(
        walk, _same_rank(inputs), outputs[0].shape, walk_lib.product_of
    )
    return [Signal(outputs[0].shape, tuple(axes))]


def dot(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """A product over the units, without a weight."""
    one, other = inputs
    axes = layer.axes
    axes = [axes, axes] if isinstance(axes, int) else list(axes)
    letters = []
    for start, signal, at in zip("am", inputs, axes):
        names = [chr(ord(start) + i) for i in range(1, len(signal.shape))]
        names = ["Z", *names]
        names[at % len(signal.shape)] = "Y"
        letters.append("".join(names))
    out = "Z" + "".join(n for names in letters for n in names if n not in "YZ")
    found = products.contract(walk, inputs, letters, out, outputs[0].shape)
    if layer.normalize:
        for signal, at in zip(inputs, axes):
            if signal.axes[at] is not None:
                walk.silence([signal.axes[at]])
    found += [None] * (len(outputs[0].shape) - len(found))
    return [Signal(outputs[0].shape, tuple(found))]


def attention(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Scores read query and key without weights; values pass."""
    query, value, key = (*inputs, inputs[1])[:3]
    only_last(walk, *inputs)
    if getattr(layer, "score_mode", "dot") == "concat":
        _read_sum(walk, query, key, None)
    else:
        products.contract(walk, [query, key], ["btd", "bsd"], "bts", ())
    return _attended(value, outputs)


def additive_attention(walk: Walk, layer, inputs: Signals, outputs: Signals):
    """Scores are a sum over the units, with the scale as its weights."""
    query, value, key = (*inputs, inputs[1])[:3]
    only_last(walk, *inputs)
    _read_sum(walk, query, key, getattr(layer, "scale", None))
    return _attended(value, outputs)


def _read_sum(walk: Walk, query: Signal, key: Signal, scale) -> None:
    axes: list[Any] = [query.axes[-1], key.axes[-1]]
    entries = None
    if scale is not None and len(scale.shape):
        entries = walk.weight(scale, -1)
        axes.append(entries)
    if any(a is not None for a in axes):
        walk.tie(*axes)
        if entries is not None:
            walk.silence([entries], note=False)
        elif all(a is not None for a in axes):
            walk.silence([walk_lib.sum_of(axes)])


def _attended(value: Signal, outputs: Signals) -> list[Signal]:
    rest = (None,) * (len(outputs[0].shape) - 1)
    first = Signal(outputs[0].shape, rest + value.axes[-1:])
    return [first, *outputs[1:]]


def multi_head_attention(
    walk: Walk, layer, inputs: Signals, outputs: Signals, **arguments
):
    """Kernels `[in, heads, size]` read units, `[heads, size, out]` write."""
    parts = {part.name: part for part in _keras.children(layer)}
    query = inputs[0]
    value: Any = arguments.get("value")
    key: Any = arguments.get("key")
    key = value if key is None else key
    only_last(walk, query, key, value)
    for signal, name in ((query, "query"), (key, "key"), (value, "value")):
        if len(signal.shape) != 3 or len(parts[name].kernel.shape) != 3:
            walk.pin(
                [query, key, value],
                f"{walk.where} attends over several axes",
            )
            return outputs
        walk.tie(signal.axes[-1], walk.weight(parts[name].kernel, 0))
    last = parts["attention_output"]
    if len(last.kernel.shape) != 3:
        return outputs
    first = biased(
        walk, walk.weight(last.kernel, -1), last.bias, None, outputs[0]
    )
    return [*first, *outputs[1:]]


def _register() -> None:
    def add(names: str, rule, sizes=None, shared=False):
        for name in names.split():
            cls: Any = getattr(keras, name, None)
            if cls is not None:
                registry.add_kind(registry.Kind(cls, rule, sizes or {}, shared))

    add(
        "Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D "
        "GaussianDropout GaussianNoise AlphaDropout ActivityRegularization "
        "LeakyReLU ELU ThresholdedReLU Identity",
        keep,
    )
    add(
        "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D "
        "AveragePooling2D AveragePooling3D GlobalMaxPooling1D "
        "GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D "
        "GlobalAveragePooling2D GlobalAveragePooling3D UpSampling1D "
        "UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D "
        "Cropping1D Cropping2D Cropping3D",
        channels,
    )
    add("Dense", dense, {"units": ("kernel", 1)})
    add("EinsumDense", einsum_dense)
    add("Embedding", embedding, {"output_dim": ("embeddings", 1)})
    add("Conv1D Conv2D Conv3D", convolution, {"filters": ("kernel", -1)})
    add(
        "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
        convolution,
        {"filters": ("kernel", -2)},
    )
    add(
        "SeparableConv1D SeparableConv2D",
        separable,
        {"filters": ("pointwise_kernel", -1)},
    )
    add("DepthwiseConv1D DepthwiseConv2D", separable)
    add("BatchNormalization", batch_normalization)
    add("LayerNormalization", over_units("normalizes"))
    add("UnitNormalization", over_units("normalizes"))
    add("GroupNormalization", over_units("normalizes"))
    add("Softmax", softmax)
    add("Activation", activation)
    add("ReLU", relu)
    add("PReLU", prelu)
    add("Masking", masking)
    add("Reshape Flatten", reshape)
    add("Permute", permute)
    add("RepeatVector", repeat)
    add("Rescaling", rescaling)
    add("Concatenate", concatenate)
    add("Add Subtract Average Maximum Minimum", added)
    add("Multiply", multiplied)
    add("Dot", dot)
    add("Attention", attention)
    add("AdditiveAttention", additive_attention)
    add("MultiHeadAttention", multi_head_attention)
    add(
        "Normalization Discretization CategoryEncoding Hashing StringLookup "
        "IntegerLookup TextVectorization HashedCrossing Resizing "
        "CenterCrop",
        pinning("prepares data, and cannot be cut"),
        shared=True,
    )


_register()
