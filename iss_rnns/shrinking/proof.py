"""From a model with dead units to a smaller one with the same outputs."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any, Callable, Optional

import numpy as np

from iss_rnns import arguments
from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.shrinking import cutting
from iss_rnns.shrinking import equality


@dataclasses.dataclass(frozen=True)
class ShrinkReport:
    """What was cut, and the proof.

    Attributes:
      before: units of each group.
      after: units kept.
      weights_before: trainable weights.
      weights_after: the same of the smaller model.
      max_difference: largest |difference| of an output on the proving batches;
        None if the model was cut unproved.
      max_output: largest |output| there, to judge the difference by.
    """

    before: dict[str, int]
    after: dict[str, int]
    weights_before: int
    weights_after: int
    max_difference: Optional[float]
    max_output: Optional[float]


def shrink(
    model,
    groups: Sequence[groups_lib.Group],
    batches: Iterable = (),
    run: Optional[Callable[[Any, Any], Any]] = None,
    tolerance: float = 1e-4,
    alive: Optional[Sequence[np.ndarray]] = None,
    unproved: bool = False,
) -> tuple[Any, ShrinkReport]:
    """Cuts dead units out of a model and proves that its outputs stay.

    Args:
      model: with `variables`, `trainable_variables` and `resized(sizes)`,
        which gives an equal model with other sizes of the named groups, whose
        variables have the same names.
      groups: the layers to cut; a unit goes if its whole group is zero.
      batches: real inputs to prove the equality on, as the model is called
        with them.
      run: `run(model, batch)` -> outputs to compare, in any structure;
        defaults to all that `model(batch, training=False)` gives. Give one
        that leaves out what has units itself, such as final states.
      tolerance: largest difference of an output in proportion to its
        magnitude, see `equality.assert_equal_outputs`.
      alive: one `[n]` bool array per group, instead of what is not zero.
      unproved: cut without batches and without proof.

    Returns:
      (smaller model, `ShrinkReport`).

    Raises:
      UserError: without batches; if a layer has no unit left; if the outputs
        differ, in number, shape or value.
      BrokenWeightsError: if weights of the layers are NaN or infinite.
    """
    groups = groups_lib.check_groups(groups)
    tolerance = arguments.number("tolerance", tolerance, least=0)
    batches = _checked_batches(batches)
    if unproved == bool(batches):
        raise errors.UserError(
            "shrinking unproved takes no batches: leave out one of the two"
            if unproved
            else "shrinking proves itself on batches of inputs, and none were "
            "given: give some, or say unproved=True"
        )
    alive = cutting.living_units(groups, alive)
    small, _ = cutting.cut(model, groups, alive)
    proof = None
    if not unproved:
        run = run or (lambda each, batch: each(batch, training=False))
        proof = equality.assert_equal_outputs(
            lambda batch: run(model, batch),
            lambda batch: run(small, batch),
            batches,
            tolerance,
            "the shrunk model's outputs",
        )
    return small, ShrinkReport(
        before={g.name: g.size for g in groups},
        after={g.name: int(np.sum(a)) for g, a in zip(groups, alive)},
        weights_before=counting.count_weights(model),
        weights_after=counting.count_weights(small),
        max_difference=proof.absolute if proof else None,
        max_output=proof.largest if proof else None,
    )


def _checked_batches(batches: Iterable) -> list:
    if isinstance(batches, (Mapping, str)) or not isinstance(batches, Iterable):
        raise errors.UserError(
            "batches must be a list of batches, got "
            f"{type(batches).__name__}: give [it]"
        )
    return list(batches)
