"""How many units to keep, where the target's hardware likes some sizes."""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.groups import recurrence


def rounded_up(
    groups: Sequence[groups_lib.Group],
    alive: Sequence[np.ndarray],
    multiple_of: int = 1,
    sizes: Optional[Sequence[int]] = None,
) -> list[np.ndarray]:
    """Keeps dead units, so that each layer has one of the wanted sizes.

    The strongest of the dead ones stay: those with the largest norms, of
    equal ones the first. A layer whose size is none of the wanted keeps all
    of its units where no wanted size below it is large enough.

    Args:
      groups: of the layers; `Groups` knows which of them are one layer's.
      alive: one `[n]` bool array per group.
      multiple_of: wanted sizes are its multiples.
      sizes: wanted sizes, instead.

    Raises:
      UserError: on a wrong argument, or if both are given.
    """
    multiple_of = arguments.integer("multiple_of", multiple_of, least=1)
    wanted = _checked(sizes)
    if wanted is not None and multiple_of != 1:
        raise errors.UserError("give either multiple_of or sizes, not both")
    alive = [np.array(units) for units in alive]
    if multiple_of == 1 and wanted is None:
        return alive
    norms = [np.sqrt(np.asarray(g.squared_norms())) for g in groups]
    layers = _layers(groups)
    changed = True
    while changed:  # groups that layers share may unbalance the first again
        changed = False
        for members, rest in layers:
            count = rest + sum(int(alive[i].sum()) for i in members)
            full = rest + sum(groups[i].size for i in members)
            target = _next(count, full, multiple_of, wanted)
            dead = [
                (-norms[i][k], i, k)
                for i in members
                for k in np.flatnonzero(~alive[i])
            ]
            for _, i, k in sorted(dead)[: target - count]:
                alive[i][k] = True
                changed = True
    return alive


def balanced(
    model, groups: Sequence[groups_lib.Group], alive: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Keeps dead units, so that both directions have the same number.

    Of each `Bidirectional` whose directions need it; the strongest of the dead
    ones stay, as in `rounded_up`.

    Args:
      model: that the groups are of.
      groups: what may be cut.
      alive: one `[n]` bool array per group.
    """
    pairs = [
        cells
        for layer in _keras.all_layers(model)
        if _keras.equal_directions(layer)
        for cells in zip(
            recurrence.cells_of(layer.forward_layer),
            recurrence.cells_of(layer.backward_layer),
        )
    ]
    alive = [np.array(units) for units in alive]
    changed = bool(pairs)
    while changed:  # a unit that is kept may belong to other layers, too
        changed = False
        for cells in pairs:
            one, other = (_dead(groups, alive, cell) for cell in cells)
            more = max(one, other, key=len)
            for i, k in more[: abs(len(one) - len(other))]:
                alive[i][k] = True
                changed = True
    return alive


def _dead(groups, alive, cell) -> list[tuple[int, int]]:
    """(group, unit) of a cell's dead units, the strongest first."""
    place = recurrence.units_of(cell)
    if place is None:
        return []
    variable, axis = place
    norms = {
        (i, k): float(norm)
        for i, group in enumerate(groups)
        if not alive[i].all()
        for s in group.slices
        if s.axis == axis and _keras.key(s.variable) == _keras.key(variable)
        for k, norm in enumerate(np.asarray(group.squared_norms()))
        if not alive[i][k]
    }
    return sorted(norms, key=lambda unit: (-norms[unit], unit))


def _checked(sizes) -> Optional[list[int]]:
    if sizes is None:
        return None
    if isinstance(sizes, int) or not len(sizes):
        raise errors.UserError(
            f"sizes must be a list of numbers of units, got {sizes!r}"
        )
    return sorted(arguments.integer("each of sizes", n, least=1) for n in sizes)


def _next(count: int, full: int, multiple: int, wanted) -> int:
    if wanted is None:
        return min(-(-count // multiple) * multiple, full)
    return min([n for n in wanted if count <= n <= full], default=full)


def _layers(groups) -> list[tuple[list[int], int]]:
    """Groups of each layer, and its units that are in none of them."""
    known = getattr(groups, "layers", None)
    if known is None:
        return [([i], 0) for i in range(len(groups))]
    refused: dict[str, int] = {}
    for each in groups.refused:
        refused[each.layer] = refused.get(each.layer, 0) + each.units
    found: dict[str, list[int]] = {}
    for i, paths in enumerate(known):
        for path in paths:
            found.setdefault(path, []).append(i)
    return [(m, refused.get(path, 0)) for path, m in found.items()]
