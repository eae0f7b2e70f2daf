"""What models cost and what they reach, side by side.

All of a table's times are taken in turn, in one process, and compared with
one base: the trained dense model where there is one.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
import statistics
from typing import Any, Optional

import tensorflow as tf

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import timing
from iss_rnns.experiments import tasks
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.export import packed as packed_export
from iss_rnns.sparse import nets

ROUNDS = 15
MINUTES = "training minutes"
SPEEDUP = "speedup"
PACKED = "packed"

# Exports of a net: files by the measure that their time is called.
Exports = Mapping[str, pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Model:
    """An exported net, the title of its column, and what it reached."""

    title: str
    net: tasks.Net
    exports: Exports
    scores: Any = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """The columns of a table, and the one that the others are compared with.

    Attributes:
      others: of other runs.
      columns: of the models.
      base: title of the column that speedups are over.
    """

    others: Sequence[tables.Column]
    columns: Sequence[tables.Column]
    base: str


def measure(
    task: tasks.Task,
    models: Sequence[Model],
    packed: Optional[nets.Packed],
    others: Sequence[sections.Other] = (),
    minutes: Optional[float] = None,
) -> Measured:
    """Times the dense and the compressed model, and those of other runs.

    Args:
      task: that they are of.
      models: (dense, compressed).
      packed: the compressed model, packed.
      others: finished runs to show beside.
      minutes: that training took.
    """
    (dense, compressed), (main, *_) = models, models[0].exports
    timed = {
        (model.title, measure): path
        for model in models
        for measure, path in model.exports.items()
    }
    if packed and packed.folder:
        whole = packed.folder / packed_export.MODEL_FILE
        if whole.exists():
            timed[PACKED, main] = whole
    runners = {key: task.runner(path) for key, path in timed.items()}
    titles = [model.title for model in models]
    found = []  # other runs, by titles that differ from those of the models
    for other in others:
        title = tables.unique(
            other.name, [tables.Column(t, {}) for t in titles]
        )
        titles.append(title)
        found.append((title, other))
        runner = other.model and _runner(task, other.name, other.model)
        if runner:
            runners[title, main] = runner
    seconds = timing.time_in_turn(runners, ROUNDS, 2)
    base = next(
        (t for t, o in found if o.dense and (t, main) in seconds), dense.title
    )
    medians = {key: statistics.median(s) for key, s in seconds.items()}

    def times(title: str) -> dict[str, Any]:
        """Measures of a column out of the times."""
        result: dict[str, Any] = {}
        for (name, measure), each in seconds.items():
            if name == title:
                low, _, high = statistics.quantiles(each)
                result[measure] = 1e3 * medians[name, measure]
                result[quartiles(measure)] = (1e3 * low, 1e3 * high)
        if (title, main) in medians:
            result[SPEEDUP] = medians[base, main] / medians[title, main]
        return result

    columns = [
        column(
            task,
            model.title,
            model.net,
            model.scores,
            {
                **task.facts(model.net),
                **sections.weights_left(model.net, dense.net),
                "SavedModel bytes": export.bytes_of(
                    next(iter(model.exports.values()))
                ),
                **({} if model.scores is None else {MINUTES: minutes}),
                **times(model.title),
            },
        )
        for model in models
    ]
    if packed:
        values = dict(columns[1].values)
        if (PACKED, main) in medians:
            values[tables.PACKED_SPEEDUP] = (
                medians[base, main] / medians[PACKED, main]
            )
        values.update(sections.packed_measures(packed))
        columns[1] = tables.Column(compressed.title, values)
    shown = [
        # Times of another day do not stand beside those of today.
        tables.Column(t, {**_without_times(task, o.values), **times(t)})
        for t, o in found
    ]
    both = _with_reductions(task.work, [*shown, *columns], base)
    return Measured(both[: len(shown)], both[len(shown) :], base)


def _with_reductions(
    work: Mapping[str, str], columns: Sequence[tables.Column], base: str
) -> list[tables.Column]:
    """How many times fewer multiply-adds than the base each has."""
    of_base = next(c.values for c in columns if c.title == base)
    return [
        tables.Column(
            c.title,
            {
                **c.values,
                **{
                    reduction: of_base[measure] / c.values[measure]
                    for measure, reduction in work.items()
                    if c.values.get(measure) and of_base.get(measure)
                },
            },
        )
        for c in columns
    ]


def quartiles(measure: str) -> str:
    """How tables call the spread of a time."""
    return f"{measure}, quartiles"


def _without_times(task: tasks.Task, values: Mapping) -> dict[str, Any]:
    timed = {SPEEDUP, tables.PACKED_SPEEDUP}
    return {
        name: value
        for name, value in values.items()
        if name not in timed and not name.startswith(task.times)
    }


def _runner(
    task: tasks.Task, name: str, path: pathlib.Path
) -> Optional[Callable[[], Any]]:
    """Another run's model as a function to be timed, if it can be."""
    try:
        runner = task.runner(path)
        runner()
    except (errors.UserError, ValueError, OSError, tf.errors.OpError) as error:
        print(
            f"note: {name} is not timed beside this run: "
            f"{errors.reason(error)}",
            flush=True,
        )
        return None
    return runner


def column(
    task: tasks.Task,
    title: str,
    net: tasks.Net,
    scores: Any,
    more: Optional[Mapping[str, Any]] = None,
) -> tables.Column:
    """A net's column: its sizes, scores, and what else is known of it."""
    return tables.Column(
        title,
        {
            **net.sizes,
            "units": tuple(net.sizes.values()),
            "weights (M)": counting.count_weights(net) / 1e6,
            **({} if scores is None else task.shown(scores)),
            **(more or {}),
        },
    )


def summary(
    task: tasks.Task,
    measured: Measured,
    designed: Any,
    size: Optional[str] = None,
) -> str:
    """One sentence that says what to look at.

    Args:
      task: that the columns are of.
      measured: see `measure`; the last column is the compressed model's.
      designed: sizes that training began with, by name.
      size: what was asked for and reached, if something was.
    """
    small = measured.columns[-1].values
    before, after = sum(designed.values()), sum(small["units"])
    base = next(
        c
        for c in [*measured.others, *measured.columns]
        if c.title == measured.base
    )
    parts = [
        f"{after} of {before} units ({after / before:.0%}"
        + (f"; {size})" if size else ")"),
    ]
    work, reduction = list(task.work.items())[-1]
    if tables.is_number(small.get(reduction)):
        parts.append(
            f"{small[reduction]:.1f} times fewer {work.rpartition(' per ')[0]}"
        )
    if small.get(SPEEDUP):
        parts.append(f"{small[SPEEDUP]:.2f} times as fast")
    text = f"Look at '{measured.columns[-1].title}': {', '.join(parts)}"
    for name in task.judged_by:
        if tables.is_number(small.get(name)):
            text += f"; {name} {small[name]:.2f}"
            if tables.is_number(base.values.get(name)):
                text += f" against {base.values[name]:.2f}"
    return f"{text} of '{measured.base}'."
