"""From a model with dead units to a smaller one with the same outputs."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any, Callable, Optional

import numpy as np

from iss_rnns import _keras
from iss_rnns import arguments
from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.shrinking import any_model
from iss_rnns.shrinking import cutting
from iss_rnns.shrinking import equality
from iss_rnns.shrinking import rounding
from iss_rnns.shrinking import structure


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
      mult_adds_before: of one step, see `counting.mult_adds`; None of a model
        that rebuilds itself.
      mult_adds_after: the same of the smaller model.
      max_random_difference: largest |difference| of an output on random
        weights; None if that was not tried.
    """

    before: dict[str, int]
    after: dict[str, int]
    weights_before: int
    weights_after: int
    max_difference: Optional[float]
    max_output: Optional[float]
    mult_adds_before: Optional[int] = None
    mult_adds_after: Optional[int] = None
    max_random_difference: Optional[float] = None


def shrink(
    model,
    groups: Sequence[groups_lib.Group],
    batches: Iterable = (),
    run: Optional[Callable[[Any, Any], Any]] = None,
    tolerance: float = 1e-4,
    alive: Optional[Sequence[np.ndarray]] = None,
    unproved: bool = False,
    check: bool = True,
    multiple_of: int = 1,
    sizes: Optional[Sequence[int]] = None,
) -> tuple[Any, ShrinkReport]:
    """Cuts dead units out of a model and proves that its outputs stay.

    Of any Keras model, whose `groups` are those of `find_groups`: the smaller
    model is made of the same kinds of layers, stock layers of stock layers.
    Or of a model that has a method `resized(sizes)`, which gives an equal
    model with other sizes of the named groups, whose variables have the same
    names. The model itself is not changed.

    Args:
      model: a Keras model; or with `variables`, `trainable_variables` and
        `resized`.
      groups: the layers to cut; a unit goes if its whole group is zero.
      batches: real inputs to prove the equality on, as the model is called
        with them.
      run: `run(model, batch)` -> outputs to compare, in any structure;
        defaults to all that `model(batch, training=False)` gives. Give one
        that leaves out what has units itself, such as final states.
      tolerance: largest difference of an output in proportion to its
        magnitude, see `equality.assert_equal_outputs`.
      alive: one `[n]` bool array per group, instead of what is not zero.
      unproved: cut without batches and without proof on them.
      check: prove the cut on random weights, too (and, without batches, on
        random inputs); not of a model that has `resized`.
      multiple_of: keep so many of the strongest dead units that each layer's
        size is a multiple of it.
      sizes: the same, so that it is one of these.

    Returns:
      (smaller model, `ShrinkReport`).

    Raises:
      UserError: without batches; if a layer has no unit left, or cannot be
        built smaller; if the outputs differ, in number, shape or value.
      BrokenWeightsError: if weights of the layers are NaN or infinite.

    Example:
      >>> from iss_rnns import thresholding
      >>> model = tf.keras.Sequential([
      ...     tf.keras.layers.GRU(8, input_shape=[None, 3], name="gru"),
      ...     tf.keras.layers.Dense(1)])
      >>> groups = iss_rnns.find_groups(model)
      >>> thresholding.zero_units(groups[0], tf.range(8) < 3)
      >>> small, report = shrink(model, groups, [tf.ones([2, 5, 3])])
      >>> report.after
      {'gru': 5}
      >>> small.layers[0].units
      5
    """
    given = groups
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
    if isinstance(given, groups_lib.Groups):
        cutting.check_layers(given, alive)
        groups = given
    else:
        cutting.check_alive(groups, alive)
    alive = rounding.rounded_up(groups, alive, multiple_of, sizes)
    small, report, _ = cut_and_prove(
        model, groups, alive, batches, run, tolerance, check
    )
    return small, report


def cut_and_prove(
    model,
    groups: Sequence[groups_lib.Group],
    alive: Sequence[np.ndarray],
    batches: Sequence,
    run: Optional[Callable[[Any, Any], Any]] = None,
    tolerance: float = 1e-4,
    check: bool = True,
) -> tuple[Any, ShrinkReport, dict[object, groups_lib.Cut]]:
    """The second half of `shrink`, when it is known which units stay.

    Args:
      model: see `shrink`.
      groups: the layers to cut.
      alive: which units stay, one `[n]` bool array per group.
      batches: see `shrink`; without any, the cut is not proved on them.
      run: see `shrink`.
      tolerance: see `shrink`.
      check: see `shrink`.

    Returns:
      (smaller model, `ShrinkReport`, what was kept of each variable as
      `resized_optimizer` and `Group.rebind` take it).

    Raises:
      UserError: see `shrink`.
    """
    run = run or (lambda each, batch: each(batch, training=False))
    cut: Optional[any_model.Smaller] = None
    random = None
    if hasattr(model, "resized") or not _keras.is_layer(model):
        small, cuts = cutting.cut(model, groups, alive)
    else:
        alive = rounding.balanced(model, groups, alive)
        cut = any_model.cut(model, groups, alive, batches)
        if check:
            random = structure.check_structure(
                model, cut, groups, alive, batches, run, tolerance
            )
        cut.assign()
        small, cuts = cut.model, cut.cuts()
    proof = None
    if batches:
        with structure.fresh_states(cut):
            proof = equality.assert_equal_outputs(
                lambda batch: run(model, batch),
                lambda batch: run(small, batch),
                batches,
                tolerance,
                "the shrunk model's outputs",
            )
    report = ShrinkReport(
        before={g.name: g.size for g in groups},
        after={g.name: int(np.sum(a)) for g, a in zip(groups, alive)},
        weights_before=counting.count_weights(model),
        weights_after=counting.count_weights(small),
        max_difference=proof.absolute if proof else None,
        max_output=proof.largest if proof else None,
        mult_adds_before=counting.mult_adds(model) if cut else None,
        mult_adds_after=counting.mult_adds(small) if cut else None,
        max_random_difference=random,
    )
    return small, report, cuts


def _checked_batches(batches: Iterable) -> list:
    if isinstance(batches, (Mapping, str)) or not isinstance(batches, Iterable):
        raise errors.UserError(
            "batches must be a list of batches, got "
            f"{type(batches).__name__}: give [it]"
        )
    return list(batches)
