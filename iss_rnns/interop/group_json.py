"""The authors' JSON files of groups (RHN and BiDAF), read as they are.

A file is `{"groups": [[entry, ...], ...]}`. Each inner list is one layer of
units; each entry adds rows or columns of a TensorFlow 1 variable to them:

    {"var_name": "model/RHN0/h_0/Linear/Matrix", "multi": 1.0,
     "axis": 0, "start": 0, "end": 830}

`axis` is the one that is summed over: 0 makes columns `start:end` the units,
1 makes rows. `multi` weighs the squares inside the root.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import reprlib
from typing import Any

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import files
from iss_rnns import groups
from iss_rnns.interop import json_files
from iss_rnns.interop import tf1

_KEYS = ("var_name", "multi", "axis", "start", "end")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of a group, as the file has it; see the module.

    Attributes:
      where: its place, for errors.
    """

    var_name: str
    multi: float
    axis: int
    start: int
    end: int
    where: str


@dataclasses.dataclass(frozen=True)
class GroupFile:
    """A file's groups.

    Attributes:
      source: the file's path.
      groups: the entries of each group.
    """

    source: str
    groups: Sequence[Sequence[Entry]]

    @property
    def digest(self) -> str:
        """Tells contents apart."""
        return hashlib.sha256(repr(self.groups).encode()).hexdigest()[:16]

    def first_only(self) -> "GroupFile":
        """Only the first group: what the authors' RHN program honours."""
        return dataclasses.replace(self, groups=self.groups[:1])


def load(path: str) -> GroupFile:
    """Reads a file of groups.

    Raises:
      UserError: naming the file, the entry and what would be right.
    """
    return parse(
        files.read_json(path, "groups", unique_keys=True), files.shown(path)
    )


def parse(data: Any, source: str) -> GroupFile:
    """Checks the contents of a file of groups.

    Raises:
      UserError: on a missing or unknown key, a wrong type, a bad range.
    """
    if not isinstance(data, dict) or not isinstance(data.get("groups"), list):
        raise errors.UserError(
            f"{source}: expected an object with a list of 'groups', as "
            '{"groups": [[{"var_name": ...}]]}'
        )
    json_files.check_keys(data, ("groups", "comments"), source)
    parsed = []
    for i, group in enumerate(data["groups"]):
        if not isinstance(group, list) or not group:
            raise errors.UserError(
                f"{source}: groups[{i}] must be a list "
                f"with at least one entry, got {reprlib.repr(group)}"
            )
        parsed.append(
            [
                _entry(entry, source, f"groups[{i}][{j}]")
                for j, entry in enumerate(group)
            ]
        )
    if not parsed:
        raise errors.UserError(
            f"{source}: 'groups' is empty; expected at least one group"
        )
    return GroupFile(source, parsed)


def build_groups(
    file: GroupFile, views: Mapping[str, tf1.View]
) -> list[groups.Group]:
    """The file's groups on a model's variables, without companions.

    Args:
      file: see `GroupFile`.
      views: the model's TF1 names.

    Raises:
      UserError: on a variable that the model lacks, a range that does not
        fit it, or entries of one group with different numbers of units.
    """
    result = []
    for i, entries in enumerate(file.groups):
        slices = []
        for entry in entries:
            units = entry.end - entry.start
            expected = entries[0].end - entries[0].start
            if units != expected:
                raise errors.UserError(
                    f"{file.source}: {entry.where} has {units} units "
                    f"({entry.start}:{entry.end}), the first entry of its "
                    f"group {expected}; all entries of a group must have as "
                    "many"
                )
            slices += _slices(entry, views, file.source)
        result.append(groups.Group(f"group_{i}", slices))
    return result


def named_variables(
    file: GroupFile, views: Mapping[str, tf1.View]
) -> list[tf.Variable]:
    """All of every variable that the file names, each once.

    That is what the authors zero small weights in, whatever part of it the
    entries name.
    """
    found: dict[object, tf.Variable] = {}
    for entries in file.groups:
        for entry in entries:
            view = _view(entry, views, file.source)
            found.update({p.variable.ref(): p.variable for p in view.pieces})
    return list(found.values())


def _entry(data: Any, source: str, where: str) -> Entry:
    if not isinstance(data, dict):
        raise errors.UserError(
            f"{source}: {where} must be an object with {', '.join(_KEYS)}, "
            f"got {reprlib.repr(data)}"
        )
    json_files.check_keys(data, _KEYS, source, where)
    for key in _KEYS:
        if key not in data:
            raise errors.UserError(f"{source}: {where} lacks '{key}'")
    if not isinstance(data["var_name"], str):
        raise errors.UserError(
            f"{source}: {where} 'var_name' must be text, "
            f"got {reprlib.repr(data['var_name'])}"
        )
    json_files.number(data["multi"], source, f"{where} multi")
    for key in ("axis", "start", "end"):
        if type(data[key]) is not int:
            raise errors.UserError(
                f"{source}: {where} '{key}' must be a "
                f"whole number, got {reprlib.repr(data[key])}"
            )
    if data["axis"] not in (0, 1):
        raise errors.UserError(
            f"{source}: {where} 'axis' must be 0 (columns are the units) or "
            f"1 (rows are), got {reprlib.repr(data['axis'])}"
        )
    if not 0 <= data["start"] < data["end"]:
        raise errors.UserError(
            f"{source}: {where} needs 0 <= start < end, got "
            f"{reprlib.repr(data['start'])} and {reprlib.repr(data['end'])}"
        )
    return Entry(**data, where=where)


def _view(entry: Entry, views: Mapping[str, tf1.View], source: str) -> tf1.View:
    view = views.get(tf1.canonical(entry.var_name))
    if view is None:
        raise errors.UserError(
            f"{source}: {entry.where} names {entry.var_name!r}, which the "
            f"model lacks; it has: {', '.join(views)}"
        )
    if len(view.shape) != 2:
        raise errors.UserError(
            f"{source}: {entry.where} names {entry.var_name!r} of shape "
            f"{view.shape}; groups are made of matrices"
        )
    return view


def _slices(
    entry: Entry, views: Mapping[str, tf1.View], source: str
) -> list[groups.Slice]:
    view = _view(entry, views, source)
    axis = 1 - entry.axis
    if entry.end > view.shape[axis]:
        raise errors.UserError(
            f"{source}: {entry.where} asks for "
            f"{'rows' if axis == 0 else 'columns'} {entry.start}:{entry.end} "
            f"of {entry.var_name!r}, which has shape {view.shape}; groups "
            "and model must have the same sizes"
        )
    try:
        return view.unit_slices(axis, entry.start, entry.end, entry.multi)
    except errors.UserError as error:
        raise errors.UserError(
            f"{source}: {entry.where}, {entry.var_name!r}: {error}"
        ) from None
