"""Sizes in the arguments of TensorFlow's functions in functional models."""

from iss_rnns import _keras
from iss_rnns.shrinking import kept as kept_lib


def resized(kept: kept_lib.Kept, old, args, kwargs):
    """Sizes in the arguments of a TensorFlow function, as they become."""
    call = kept.call(old)
    if call is None or not call.outputs:
        return args, kwargs
    name = str(getattr(old, "symbol", None) or old.name)
    if "__getitem__" in name or "getitem" in old.name:
        (signal, *_) = call.inputs
        rest = [_slices(kept, a, signal) for a in args[1:]]
        return (args[0], *rest), {
            key: _slices(kept, value, signal) for key, value in kwargs.items()
        }
    if name.endswith("reshape"):
        axes = call.outputs[0].axes

        def fixed(shape):
            if not isinstance(shape, (list, tuple)):
                return shape
            return [
                kept.length(a)
                if a is not None and isinstance(n, int) and n != -1
                else n
                for n, a in zip(shape, axes)
            ]

        return (
            tuple(a if _keras.is_symbolic(a) else fixed(a) for a in args),
            {
                key: fixed(value) if key == "shape" else value
                for key, value in kwargs.items()
            },
        )
    return args, kwargs


def _slices(kept: kept_lib.Kept, spec, signal):
    """Bounds of slices of units."""
    if not isinstance(spec, (list, tuple)):
        spec = (spec,)
    wide = sum(s is not Ellipsis and s is not None for s in spec)
    result, at = [], 0
    for part in spec:
        if part is Ellipsis:
            at += len(signal.axes) - wide
        elif part is not None:
            axis = signal.axes[at]
            at += 1
            if axis is not None and isinstance(part, (dict, slice)):
                part = _bounds(kept, part, axis)
        result.append(part)
    return tuple(result)


def _bounds(kept: kept_lib.Kept, part, axis):
    is_dict = isinstance(part, dict)
    start, stop, step = (
        (part["start"], part["stop"], part["step"])
        if is_dict
        else (part.start, part.stop, part.step)
    )
    keep = kept.of(axis.ids)
    whole = slice(start, stop, step).indices(len(keep))
    if step in (None, 1):
        start, stop = (
            None if given is None else int(keep[:bound].sum())
            for given, bound in zip((start, stop), whole)
        )
    return (
        {"start": start, "stop": stop, "step": step}
        if is_dict
        else slice(start, stop, step)
    )
