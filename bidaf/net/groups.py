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

# LSTM directions of each layer, by the paper's names.
PREPROCESSING = ("PreFwd", "PreBwd")
MODELLING_1 = ("ModFwd1", "ModBwd1")
MODELLING_2 = ("ModFwd2", "ModBwd2")
OUTPUT = ("OutFwd", "OutBwd")
PRUNABLE = MODELLING_1 + MODELLING_2 + OUTPUT
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
            if name in MODELLING_1
            else net.config.answer_func == "sum"
        )
    ]


def _group(net, name: str, attended: bool) -> groups_lib.Group:
    if net.config.dynamic_att and name not in shrinkable(net):
        raise errors.UserError(
            f"with dynamic_att the units of '{name}' are compared with the "
            "question's without a weight, so none can be cut"
        )
    pair, layers = next(
        (pair, layers) for pair, layers in _layers(net).items() if name in pair
    )
    own = [layer.cells[pair.index(name)] for layer in layers]
    start = 0 if name == pair[0] else net.sizes[pair[0]]
    units = net.sizes[name]
    if pair == PREPROCESSING:
        readers = _readers_of_words(net, start, units)
    elif pair == MODELLING_1:
        readers = _rows(net.modelling[1], [start], units)
    elif pair == MODELLING_2:
        readers = _readers_of_second(net, start, units, attended)
    else:
        readers = net.answers[1].reading_slices(start, units, of_p=False)
    return groups_lib.Group(
        name,
        [s for cell in own for s in cell.unit_slices()] + readers,
        [s for cell in own for s in cell.unit_companions()],
    )


def _layers(net) -> dict[tuple[str, str], list]:
    """The LSTM layers by their two directions.

    Question and context may have a preprocessing layer each.
    """
    words = [net.question_lstm]
    if net.context_lstm is not net.question_lstm:
        words.append(net.context_lstm)
    return {
        PREPROCESSING: words,
        MODELLING_1: [net.modelling[0]],
        MODELLING_2: [net.modelling[1]],
        OUTPUT: [net.output_lstm],
    }


def _readers_of_second(
    net, start: int, units: int, attended: bool
) -> list[groups_lib.Slice]:
    """What reads features of the second modelling layer."""
    blocks = range(3) if attended else (0, 2)
    return _rows(
        net.output_lstm,
        [net.p_size + block * net.g_size + start for block in blocks],
        units,
    ) + net.answers[0].reading_slices(start, units, of_p=False)


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
    names = {
        cell.recurrent_kernel.ref(): name
        for pair, layers in _layers(net).items()
        for layer in layers
        for name, cell in zip(pair, layer.lstms)
        if name in PRUNABLE
    }
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
