"""How far an exported file is from its model: differences, and a metric."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import math
from typing import Any, Optional

import numpy as np

from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns.export import source as source_lib

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Arrays]

# Of float32, relative to the largest output where that is above 1.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was measured.

    Attributes:
      random_difference: largest difference of an output on random inputs.
      difference: the same on the batches; None: there were none.
      batches: how many there were.
      before: mean of the metric of the model over the batches; None: there
        was no metric.
      after: the same of what was exported.
    """

    random_difference: float
    difference: Optional[float] = None
    batches: int = 0
    before: Optional[float] = None
    after: Optional[float] = None

    @property
    def loss(self) -> Optional[float]:
        """What exporting costs: the metric's rise, else the difference."""
        if self.before is None or self.after is None:
            return self.difference
        return self.after - self.before


def prove(
    source: source_lib.Source,
    run: Run,
    exact: bool,
    batches: Optional[Iterable[Any]] = None,
    metric: Optional[Callable[[Any, Any], Any]] = None,
    max_loss: Optional[float] = None,
) -> Proof:
    """Compares what was exported with its model.

    Args:
      source: the model.
      run: what was exported, as a function of the same inputs.
      exact: whether it should give the same outputs, but for rounding.
      batches: see `exporting.export`.
      metric: likewise.
      max_loss: likewise.

    Raises:
      UserError: it gives other outputs where it should not, or loses more
        than allowed.
    """
    given = source.random()
    outputs = source.run(given)
    difference = _difference(outputs, run(given))
    largest = max(
        (float(np.abs(x).max(initial=0)) for x in outputs.values()), default=0
    )
    if exact and not difference <= TOLERANCE * max(1.0, largest):
        raise errors.UserError(
            f"what was exported of '{source.name}' gives outputs that differ "
            f"from the model's by {difference:.2g}, the largest is "
            f"{largest:.4g}: nothing is written"
        )
    if batches is None:
        return Proof(difference)
    proof = _measured(source, run, batches, metric, difference)
    loss = proof.loss
    if max_loss is not None and not (loss is not None and loss <= max_loss):
        what = "outputs move by" if metric is None else "the metric rises by"
        raise errors.UserError(
            f"exporting '{source.name}' loses too much: {what} {loss:.4g} on "
            f"{proof.batches} batches, allowed are {max_loss:.4g}: nothing is "
            "written"
        )
    return proof


def check_arguments(batches, metric, max_loss) -> None:
    """Refuses what does not fit together.

    Raises:
      UserError: naming it.
    """
    if metric is not None and not callable(metric):
        raise errors.UserError(
            "metric must be a function of targets and outputs that gives less "
            f"where they fit better, got {metric!r}"
        )
    if max_loss is not None:
        arguments.number("max_loss", max_loss, least=0.0)
    for name, value in (("metric", metric), ("max_loss", max_loss)):
        if value is not None and batches is None:
            raise errors.UserError(f"{name} needs batches to be measured on")


def _measured(source, run, batches, metric, random_difference) -> Proof:
    difference, count = 0.0, 0
    before: list[float] = []
    after: list[float] = []
    for batch in batches:
        pair = isinstance(batch, tuple) and len(batch) in (2, 3)
        x = batch[0] if pair else batch
        given = source.arrays(x)
        outputs, found = source.run(given), run(given)
        difference = max(difference, _difference(outputs, found))
        count += 1
        if metric is None:
            continue
        if not pair:
            raise errors.UserError(
                "metric needs targets: each of batches must be (x, y)"
            )
        before.append(_mean(metric, batch[1], outputs))
        after.append(_mean(metric, batch[1], found))
    if not count:
        raise errors.UserError("batches holds no batch")
    return Proof(
        random_difference,
        difference,
        count,
        float(np.mean(before)) if before else None,
        float(np.mean(after)) if after else None,
    )


def _mean(metric, targets, outputs: Arrays) -> float:
    arrays = list(outputs.values())
    value = metric(targets, arrays[0] if len(arrays) == 1 else outputs)
    return float(np.mean(np.asarray(value)))


def _difference(one: Arrays, other: Arrays) -> float:
    """Largest difference; infinite if shapes differ or NaN comes up."""
    largest = 0.0
    for name, array in one.items():
        found = np.asarray(other[name])
        if found.shape != array.shape:
            return math.inf
        gap = float(np.abs(found - array).max(initial=0))
        if not gap <= largest:
            largest = math.inf if math.isnan(gap) else gap
    return largest
