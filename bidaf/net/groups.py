"""ISS components of BiDAF's LSTM directions, and how they vanish.

Unit k of a direction is its gate columns and recurrent row, and its row in
everything that reads its output: the next layers, the logits, and each block
of a concatenation that its output went into, the products included.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns import thresholding
from iss_rnns.interop import group_json

# LSTM directions, by the paper's names.
PREPROCESSING = ("PreFwd", "PreBwd")
PRUNABLE = ("ModFwd1", "ModBwd1", "ModFwd2", "ModBwd2", "OutFwd", "OutBwd")
DIRECTIONS = PREPROCESSING + PRUNABLE


def iss_groups(
    net, names: Sequence[str] = PRUNABLE, attended: bool = True
) -> list[groups_lib.Group]:
    """The ISS components of a net's directions, each direction a group.

    Args:
      net: a `model.BiDAF`.
      names: of the directions.
      attended: count the rows that read the attended answer (the softmax-
        weighted sum of the second modelling layer). The authors' groups
        leave them out; but a unit that those rows still read cannot be cut.

    Raises:
      UserError: if something reads a direction's units without a weight, so
        that none can vanish.
    """
    return [_group(net, name, attended) for name in names]


def shrinkable(net) -> list[str]:
    """The directions whose units can be cut.

    With `dynamic_att` the first layer's outputs are compared with the
    question's, feature by feature: |x - q| is not 0 where x is. The answer
    function 'sum' reads all layers but the first without a weight.
    """
    return [
        name
        for name in PRUNABLE
        if not (
            net.config.dynamic_att
            if name in PRUNABLE[:2]
            else net.config.answer_func == "sum"
        )
    ]


def _group(net, name: str, attended: bool) -> groups_lib.Group:
    if net.config.dynamic_att and name not in shrinkable(net):
        raise errors.UserError(
            f"with dynamic_att the units of '{name}' are compared with the "
            "question's without a weight, so none can be cut"
        )
    pair = next(
        p for p in (DIRECTIONS[i : i + 2] for i in range(0, 8, 2)) if name in p
    )
    start = 0 if name == pair[0] else net.sizes[pair[0]]
    units = net.sizes[name]
    layers = {
        PREPROCESSING: [net.question_lstm, net.context_lstm],
        PRUNABLE[:2]: [net.modelling[0]],
        PRUNABLE[2:4]: [net.modelling[1]],
        PRUNABLE[4:]: [net.output_lstm],
    }[pair]
    if layers[0] is layers[-1]:
        layers = layers[:1]
    own = [layer.cells[pair.index(name)] for layer in layers]
    if pair == PREPROCESSING:
        consumers = _readers_of_words(net, start, units)
    elif pair == PRUNABLE[:2]:
        consumers = _rows(net.modelling[1], [start], units)
    elif pair == PRUNABLE[2:4]:
        blocks = range(3) if attended else (0, 2)
        consumers = _rows(
            net.output_lstm,
            [net.p_size + block * net.g_size + start for block in blocks],
            units,
        ) + net.answers[0].reading_slices(start, units, of_p=False)
    else:
        consumers = net.answers[1].reading_slices(start, units, of_p=False)
    return groups_lib.Group(
        name,
        [s for cell in own for s in cell.unit_slices()] + consumers,
        [s for cell in own for s in cell.unit_companions()],
    )


def _readers_of_words(net, start: int, units: int) -> list[groups_lib.Slice]:
    """What reads features of the preprocessed words."""
    blocks = [block * net.pre_size + start for block in range(net.p_blocks)]
    found = []
    if net.similarity is not None:
        found += net.similarity.reading_slices(start, units)
    for layer in (net.modelling[0], net.output_lstm):
        found += _rows(layer, blocks, units)
    for answer in net.answers:
        for block in blocks:
            found += answer.reading_slices(block, units, of_p=True)
    return found


def _rows(layer, starts: Sequence[int], units: int) -> list[groups_lib.Slice]:
    """Input rows of both cells of a layer."""
    return [
        groups_lib.Slice(cell.kernel, 0, start, start + units)
        for cell in layer.cells
        for start in starts
    ]


def from_file(net, file: group_json.GroupFile) -> list[groups_lib.Group]:
    """The groups of one of the authors' files, as they are.

    A group whose recurrent rows (or gate columns) are a direction's gets its
    name.

    Raises:
      UserError: if the file does not fit the net.
    """
    result = group_json.build_groups(file, net.tf1_views())
    names = {}
    for layer, pair in zip(
        [*net.modelling, net.output_lstm],
        (PRUNABLE[i : i + 2] for i in range(0, 6, 2)),
    ):
        for cell, name in zip(layer.cells, pair):
            cell = getattr(cell, "lstm", cell)
            names[cell.recurrent_kernel.ref()] = name
    for group in result:
        for s in group.slices:
            group.name = names.get(s.variable.ref(), group.name)
    return result


def dead_units(
    penalized: Sequence[groups_lib.Group], below: float = 0.0
) -> dict[str, np.ndarray]:
    """Which units of each direction are dead.

    Args:
      penalized: groups that training acted on.
      below: also units whose norm is not above this are dead.

    Returns:
      Name to `[n]` bool.
    """
    return {group.name: ~group.alive(below).numpy() for group in penalized}


def kept_units(groups: Sequence[groups_lib.Group]) -> list[np.ndarray]:
    """What stays of each group when its dead units are cut: `[n]` bool each.

    A direction may die whole: what it read reaches the answer in other ways,
    too. Its first unit stays, as an LSTM needs one; of zeros, it is silent.
    """
    result = []
    for group in groups:
        alive = group.alive().numpy()
        alive[0] |= not alive.any()
        result.append(alive)
    return result


def zero_dead_units(net, dead: Mapping[str, np.ndarray]) -> None:
    """Makes dead units ready to be cut, in place.

    Groups of the authors' leave the attended answer out; so a unit that is
    dead in them may still be heard there, by way of its biases. Here it is
    zeroed in everything that reads it and in its biases: then its output is
    exactly 0, and nobody reads it.

    Args:
      net: a `model.BiDAF`.
      dead: of `dead_units`; names that are no directions are ignored.
    """
    for group in iss_groups(net, shrinkable(net)):
        if group.name in dead:
            thresholding.zero_units(group, tf.constant(dead[group.name]))
