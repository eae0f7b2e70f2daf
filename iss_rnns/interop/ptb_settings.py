"""The authors' JSON settings of the word language model."""

from collections.abc import Mapping
import dataclasses
import reprlib
from typing import Optional, Union

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns import files
from iss_rnns import groups
from iss_rnns.interop import json_files
from iss_rnns.interop import tf1

_NUMBERS = ("learning_rate", "weight_decay", "dropout_keep_prob")
_SINGLE = ("structure_decay_multi", "row_decay_multi", "col_decay_multi")
_SOFTMAX = "Model/softmax_w"
_LISTS = ("block_decay_multi", "block_row_size", "block_col_size")


@dataclasses.dataclass(frozen=True)
class AuthorsSettings:
    """One settings file; `None` means that the file leaves it to the model.

    Attributes:
      source: the file's path.
      save_path: folder of the runs.
      learning_rate: initial.
      weight_decay: strength of the L1 (or L2) penalty; default 0.
      dropout_keep_prob: of the non-recurrent connections.
      global_decay: the paper's lambda of the group lasso.
      grouplasso: per TF1 variable name, its multipliers.
    """

    source: str = "(no settings file)"
    save_path: Optional[str] = None
    learning_rate: Optional[float] = None
    weight_decay: float = 0.0
    dropout_keep_prob: Optional[float] = None
    global_decay: float = 0.0
    grouplasso: Mapping[str, dict] = dataclasses.field(default_factory=dict)

    @property
    def sparsifies(self) -> bool:
        """Whether the authors' program zeroes small weights with it."""
        return self.weight_decay > 0 or bool(self.grouplasso)

    @property
    def learns_structures(self) -> bool:
        """Whether it has a group lasso on ISS components."""
        return any(
            entry.get("structure_decay_multi")
            for entry in self.grouplasso.values()
        )


def load(path: str) -> AuthorsSettings:
    """Reads a settings file as it is.

    Raises:
      UserError: naming the file, the key and what would be right.
    """
    return parse(
        files.read_json(path, "settings", unique_keys=True), files.shown(path)
    )


def parse(data: dict, source: str) -> AuthorsSettings:
    """Checks the contents of a settings file.

    Raises:
      UserError: on an unknown key, a wrong type, a negative or NaN number.
    """
    if not isinstance(data, dict):
        raise errors.UserError(
            f"{source}: expected an object {{...}}, got {type(data).__name__}"
        )
    json_files.check_keys(data, ("save_path", "grouplasso") + _NUMBERS, source)
    lasso = data.get("grouplasso", {})
    if not isinstance(lasso, dict):
        raise errors.UserError(f"{source}: 'grouplasso' must be an object")
    numbers = {
        key: json_files.number(data[key], source, key)
        for key in _NUMBERS
        if key in data
    }
    if numbers.get("dropout_keep_prob") is not None and not (
        0 < numbers["dropout_keep_prob"] <= 1
    ):
        raise errors.UserError(
            f"{source}: 'dropout_keep_prob' must be in "
            f"(0, 1], got {numbers['dropout_keep_prob']}"
        )
    save_path = data.get("save_path")
    if save_path is not None and not isinstance(save_path, str):
        raise errors.UserError(
            f"{source}: 'save_path' must be text, got {reprlib.repr(save_path)}"
        )
    if lasso and "global_decay" not in lasso:
        raise errors.UserError(f"{source}: 'grouplasso' lacks 'global_decay'")
    variables: dict[str, dict] = {}
    for name, entry in lasso.items():
        if name == "global_decay":
            continue
        _check_entry(entry, source, f"grouplasso/{name}")
        twin = {tf1.canonical(known): known for known in variables}.get(
            tf1.canonical(name)
        )
        if twin:
            raise errors.UserError(
                f"{source}: '{name}' and '{twin}' are the "
                "same variable; name it once"
            )
        variables[name] = entry
    return AuthorsSettings(
        source=source,
        save_path=save_path,
        grouplasso=variables,
        global_decay=(
            json_files.number(
                lasso["global_decay"], source, "grouplasso/global_decay"
            )
            if lasso
            else 0.0
        ),
        **numbers,
    )


def _check_entry(entry, source, where) -> None:
    """Checks what a settings file says of one variable."""
    if not isinstance(entry, dict):
        raise errors.UserError(f"{source}: '{where}' must be an object")
    json_files.check_keys(
        entry,
        _SINGLE + _LISTS + ("coupled_layer", "couple_split_num"),
        source,
        where,
    )
    for key in _SINGLE:
        if key in entry:
            json_files.number(entry[key], source, f"{where}/{key}")
    _check_lists(entry, source, where)
    if entry.get("structure_decay_multi"):
        _check_structure(entry, source, where)


def _check_lists(entry, source, where) -> None:
    """Checks sizes of blocks, and the strength of each."""
    lists = [entry.get(key, []) for key in _LISTS]
    for key, values in zip(_LISTS, lists):
        if not isinstance(values, list):
            raise errors.UserError(
                f"{source}: '{where}/{key}' must be a list, got {reprlib.repr(values)}"
            )
        for value in values:
            json_files.number(value, source, f"{where}/{key}")
            if key != _LISTS[0] and not (isinstance(value, int) and value):
                raise errors.UserError(
                    f"{source}: '{where}/{key}' must hold whole numbers >= "
                    f"1, got {reprlib.repr(value)}"
                )
    if len(set(map(len, lists))) > 1:
        raise errors.UserError(
            f"{source}: '{where}': {', '.join(_LISTS)} must be equally long"
        )


def _check_structure(entry, source, where) -> None:
    """Checks what reads a layer of ISS components."""
    if not isinstance(entry.get("coupled_layer"), str):
        raise errors.UserError(
            f"{source}: '{where}' has structure_decay_multi and so needs "
            "'coupled_layer', the name of the matrix that reads this layer"
        )
    split = entry.get("couple_split_num", 2)
    if type(split) is not int or split not in (1, 2):  # True and 1.0 equal 1.
        raise errors.UserError(
            f"{source}: '{where}/couple_split_num' must be 1 (all rows) or 2 "
            f"(input rows), got {reprlib.repr(split)}"
        )


def build_groups(
    settings: AuthorsSettings,
    views: Mapping[str, tf1.View],
    lstm_cells: Mapping[str, cells.LSTMCell],
) -> list:
    """The groups that a settings file asks for, on a model's variables.

    Per variable: every row, every column, blocks, or ISS components (gate
    columns, recurrent row, and the row of the coupled matrix: of its input
    part with `couple_split_num` 2, of all of it with 1). With unequal widths
    the true border between input and hidden rows is used; the authors' code
    halves the rows.

    Args:
      settings: see `AuthorsSettings`.
      views: the model's TF1 names.
      lstm_cells: the cell behind each `.../kernel` name.

    Returns:
      `Group` and `JoinedGrid` objects with their multipliers.

    Raises:
      UserError: on a variable that the model lacks (the authors' program
        would go on without the penalty), and on a coupled matrix that does
        not read the layer.
    """
    result: list[Union[groups.Group, groups.JoinedGrid]] = []
    for name, entry in settings.grouplasso.items():
        view = _find(name, views, settings.source)
        if len(view.shape) != 2:
            raise errors.UserError(
                f"{settings.source}: '{name}' is a vector; a group lasso "
                "takes matrices"
            )
        rows, columns = (
            entry.get(f"{kind}_decay_multi", 0.0) for kind in ("row", "col")
        )
        if columns:
            result.append(tf1.column_group(name, view, columns))
        if rows:
            result += tf1.row_groups(name, view, rows)
        if entry.get("structure_decay_multi"):
            result.append(
                _structure(name, entry, views, lstm_cells, settings.source)
            )
        if entry.get("block_decay_multi"):
            result += _blocks(name, entry, view)
    return result


def _structure(name, entry, views, lstm_cells, source) -> groups.Group:
    coupled_name = entry["coupled_layer"]
    coupled = _find(coupled_name, views, source)
    cell = lstm_cells.get(tf1.canonical(name))
    if cell is None:
        raise errors.UserError(
            f"{source}: '{name}' is no LSTM matrix and so "
            "has no structure_decay_multi"
        )
    following = dict(zip(lstm_cells, [*lstm_cells, _SOFTMAX][1:]))
    right = following[tf1.canonical(name)]
    if tf1.canonical(coupled_name) != right:
        raise errors.UserError(
            f"{source}: '{name}' has coupled_layer '{coupled_name}', which "
            f"does not read that layer; '{right}' does"
        )
    reader = lstm_cells.get(right)
    split = entry.get("couple_split_num", 2)
    rows = (
        reader.kernel.shape[0]
        if reader and split == 2
        else (coupled.shape[0] // split)
    )
    if rows != cell.units:
        raise errors.UserError(
            f"{source}: '{name}' has {cell.units} units but '{coupled_name}' "
            f"reads {rows} rows with couple_split_num {split}"
        )
    consumers = coupled.unit_slices(0, 0, rows)
    return cells.iss_group(
        cell.name, cell, consumers, entry["structure_decay_multi"]
    )


def _blocks(name, entry, view) -> list[groups.JoinedGrid]:
    """Grids of blocks on a TF1 matrix: rows [input; hidden], gates i, c, f, o.

    `block_row_size` and `block_col_size` pair up with `block_decay_multi`:
    each pair is one grid, and the penalties add up. The authors' file names
    one grid twice, which here counts once; their program never read it. Edge
    blocks are smaller.
    """
    grids = dict.fromkeys(zip(*map(entry.get, _LISTS)))
    return [
        tf1.block_grid(name, view, height, width, multiplier)
        for multiplier, height, width in grids
        if multiplier
    ]


def _find(name, views, source) -> tf1.View:
    view = views.get(tf1.canonical(name))
    if view is None:
        raise errors.UserError(
            f"{source}: the model has no variable '{name}'; it has: "
            + ", ".join(views)
        )
    return view
