"""What may stand in the JSON files of a run: fields, their types and ranges.

`state-<step>.json` stands beside each checkpoint, `cuts.json` beside the
report. Whoever reads them need not look any more.
"""

from collections.abc import Callable, Mapping
import dataclasses
import reprlib
from typing import Any

from iss_rnns import errors
from iss_rnns import files

# Of whole and of other numbers: beyond, nothing could be computed with them.
MOST, MOST_NUMBER = 2**31 - 1, 1e300

# Looks at a value that bears this name; raises `ValueError` if it is wrong.
_Check = Callable[[Any, str], None]


def read_state(path: files.PathLike) -> dict[str, Any]:
    """What was saved with a checkpoint beside its arrays.

    Raises:
      UserError: naming the file, and the field that is wrong.
    """
    return _read(path, "checkpoint state", _STATE)


def read_cuts(path: files.PathLike) -> list[dict[str, Any]]:
    """The cuts of a training: step, units left, change of the cost.

    Raises:
      UserError: naming the file, and the field that is wrong.
    """
    return _read(path, "record of cuts", _CUTS, "; remove it to go on without")


def check_fields(kind: type, values: Any, name: str) -> None:
    """Refuses values that are not the fields of a dataclass.

    Args:
      kind: a dataclass whose fields are `int`, `float`, `bool` or `str`.
      values: by name of the field.
      name: of the values, for errors.

    Raises:
      ValueError: naming the field.
    """
    checks: dict[Any, _Check] = {
        bool: _truth,
        int: _whole(0),
        float: _number(0),
        str: _text,
    }
    known = {
        field.name: checks[field.type] for field in dataclasses.fields(kind)
    }
    _record(known)(values, name)  # refuses what is no mapping
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise ValueError(f"{name} has a '{unknown[0]}', which is none of it")


def _read(path: files.PathLike, what: str, check: _Check, remedy: str = ""):
    found = files.read_json(path, what)
    try:
        check(found, "it")
    except ValueError as error:
        raise errors.UserError(
            f"{what} {files.shown(path)} is damaged: {error}{remedy}"
        ) from None
    return found


def _wrong(name: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{name} must be {expected}, got {reprlib.repr(value)}")


def _whole(least: int) -> _Check:
    def check(value, name):
        # `True` is an `int`.
        if type(value) is not int or not least <= value <= MOST:
            raise _wrong(name, f"a whole number of {least} or more", value)

    return check


def _number(least: float) -> _Check:
    def check(value, name):
        # NaN compares as false.
        if type(value) not in (int, float) or not least <= value <= MOST_NUMBER:
            raise _wrong(
                name,
                "a finite number"
                + (f" of {least} or more" if least > -MOST_NUMBER else ""),
                value,
            )

    return check


def _truth(value, name):
    if type(value) is not bool:
        raise _wrong(name, "true or false", value)


def _text(value, name):
    if type(value) is not str:
        raise _wrong(name, "a text", value)


def _maybe(check: _Check) -> _Check:
    def check_maybe(value, name):
        if value is not None:
            check(value, name)

    return check_maybe


def _list(each: _Check, least: int = 0) -> _Check:
    def check(value, name):
        if type(value) is not list or len(value) < least:
            raise _wrong(
                name,
                "a list" + (f" of {least} or more" if least else ""),
                value,
            )
        for i, element in enumerate(value):
            each(element, f"{name}[{i}]")

    return check


def _mapping(each: _Check) -> _Check:
    """By names; of JSON, they are text."""

    def check(value, name):
        if type(value) is not dict:
            raise _wrong(name, "an object", value)
        for key, element in value.items():
            each(element, _below(name, key))

    return check


def _record(needed: Mapping[str, _Check], **more: _Check) -> _Check:
    """Of fields, each with its own check; others may stand beside them."""

    def check(value, name):
        if type(value) is not dict:
            raise _wrong(name, "an object", value)
        for key, check_one in needed.items():
            if key not in value:
                raise ValueError(f"{name} has no '{key}'")
            check_one(value[key], _below(name, key))
        for key in more.keys() & value.keys():
            more[key](value[key], _below(name, key))

    return check


def _below(name: str, key: str) -> str:
    return f"'{key}'" if name == "it" else f"{name} '{key}'"


def _anything(value, name):
    """It is compared, and not computed with."""


def _sizes(value, name):
    """Of layers in order, or of directions by name."""
    if type(value) is dict:
        _mapping(_whole(1))(value, name)
    else:
        _list(_whole(1), least=1)(value, name)


def _share_or_units(value, name):
    """Of a size that is asked for; None where it is of weights."""
    if type(value) is dict:
        _mapping(_whole(1))(value, name)
    else:
        _maybe(_number(0))(value, name)


_CUTS = _list(
    _record(
        {
            "step": _whole(0),
            "units": _mapping(_whole(0)),
            "cost_change": _number(-MOST_NUMBER),
        },
        kept=_mapping(_list(_whole(0))),
        gain=_number(0),
    )
)

_PRUNING = _maybe(_record({"schedules": _mapping(_record({}, q=_number(0)))}))

_EPOCH = _maybe(
    _record(
        {
            "step": _whole(0),
            "epoch": _whole(1),
            "score": _number(-MOST_NUMBER),
            "sizes": _mapping(_whole(1)),
            "units": _mapping(_whole(0)),
        }
    )
)

_STATE = _record(
    {
        "epoch": _whole(0),
        "batch": _whole(0),
        "seconds": _number(0),
        "sizes": _sizes,
    },
    designed_sizes=_maybe(_sizes),
    hidden_sizes=_maybe(_sizes),
    shrinking=_maybe(
        _record(
            {"streaks": _list(_list(_whole(0))), "cuts": _CUTS},
            least_gain=_number(0),
        )
    ),
    best=_maybe(_record({"best": _EPOCH, "whole": _EPOCH})),
    pruning=_PRUNING,
    size_target=_maybe(
        _record(
            {
                "units": _share_or_units,
                "weights": _maybe(_number(0)),
                "reach": _number(0),
                "multiple_of": _whole(1),
                "max_loss": _maybe(_number(0)),
                "steps": _whole(1),
                "stopped_at": _maybe(_number(0)),
            }
        )
    ),
    # Of BiDAF's runs.
    options=_record({}, pruning=_PRUNING, wy=_truth),
    model=_mapping(_anything),
    max_word_size=_whole(1),
)
