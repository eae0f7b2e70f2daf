"""What the reports of all tasks are made of: tables, sections, pictures."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import groups as groups_lib
from iss_rnns.experiments import metrics
from iss_rnns.experiments import runs
from iss_rnns.experiments import states
from iss_rnns.experiments.reports import documents
from iss_rnns.experiments.reports import plots
from iss_rnns.experiments.reports import tables
from iss_rnns.sparse import nets

# What the table of epochs shows: titles, and names in `metrics.csv`.
SCORES = {
    "train perplexity": "train_perplexity",
    "valid perplexity": "valid_perplexity",
}

BITS = {
    "measures": {"train_bits": "train", "valid_bits": "valid"},
    "ylabel": "bits a character",
}


def known_measures(
    columns: Sequence[tables.Column], measures: Mapping[str, str]
) -> dict[str, str]:
    """Those measures, and their formats, that some column has."""
    known = {
        measure
        for column in columns
        for measure, value in column.values.items()
        if value is not None
    }
    return {
        measure: spec for measure, spec in measures.items() if measure in known
    }


def weights_left(net, designed) -> dict[str, float]:
    """How many weights are left, and where the others went.

    `weights cut`: the fraction of the design's weights that this model does
    not have; `zeros`: the fraction of those that it has which are zero.
    """
    nonzero = sum(
        int(tf.math.count_nonzero(v)) for v in net.trainable_variables
    )
    weights = counting.count_weights(net)
    return {
        "nonzero weights (M)": nonzero / 1e6,
        "weights cut": 1.0 - weights / counting.count_weights(designed),
        "zeros": 1.0 - nonzero / weights,
    }


def packed_measures(packed: nets.Packed) -> dict[str, float]:
    """What packing came to, for a column of a table."""
    return {
        "packed bytes": packed.packed_bytes,
        **{
            tables.packed_speedup(batch): dense / chosen
            for batch, (dense, chosen) in packed.seconds.items()
        },
    }


def packed_section(packed: Optional[nets.Packed]) -> dict:
    """A report's section on packed products; nothing if there are none."""
    if packed is None:
        return {}
    pays = packed.packed_bytes < packed.dense_bytes or any(
        chosen < dense for dense, chosen in packed.seconds.values()
    )
    print(
        f"packed for sparse inference: {packed.dense_bytes:,} -> "
        f"{packed.packed_bytes:,} bytes in {packed.folder}"
        + ("" if pays else "; neither smaller nor faster: use the SavedModel"),
        flush=True,
    )
    return {"packed for sparse inference": packed.table()}


def sparsity_table(small, designed) -> tables.Table:
    """Fractions of zeros of every matrix: elements, rows, columns.

    Of the matrix as designed, where what was cut counts as zeros; and, if
    anything was cut, of what is left of it. A row of the table for each
    matrix: of a recurrent layer apart for what reads its inputs and for what
    reads its state, which are pruned to targets of their own, and whose rows
    die for different reasons.

    Args:
      small: any Keras model, without its dead units.
      designed: the same of the sizes before anything was cut.
    """
    of_design: dict[str, dict] = {}
    of_rest: dict[str, dict] = {}
    cut, shapes = False, _shapes(designed)
    for name, variable in counting.matrices_by_name(small).items():
        array = variable.numpy()
        cut = cut or array.shape != shapes[name]
        of_design[name] = counting.matrix_sparsity(array, shapes[name])
        of_rest[name] = counting.matrix_sparsity(array)

    def columns(fractions, suffix=""):
        return [
            tables.Column(
                kind + suffix, {name: f[kind] for name, f in fractions.items()}
            )
            for kind in ("element", "row", "column")
        ]

    return tables.Table(
        columns(of_design) + (columns(of_rest, ", rest") if cut else []),
        dict.fromkeys(of_design, ".3f"),
        "fractions of zeros"
        + (
            " as designed, and of the rest once dead units are cut out"
            if cut
            else ""
        ),
    )


def _shapes(net) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(variable.shape)
        for name, variable in counting.matrices_by_name(net).items()
    }


def read_cuts(run: runs.RunDirectory) -> list[dict]:
    """The cuts of a training; see `callbacks.ShrinkWhileTraining`."""
    path = run.path / "cuts.json"
    return states.read_cuts(path) if path.exists() else []


def cuts_section(run: runs.RunDirectory) -> dict:
    """A report's section on the cuts of a training; nothing without any."""
    cuts = read_cuts(run)
    if not cuts:
        return {}
    names = [f"step {cut['step']}" for cut in cuts]
    return {
        "cuts": tables.Table(
            [
                tables.Column(
                    "units left",
                    dict(
                        zip(
                            names,
                            (tuple(cut["units"].values()) for cut in cuts),
                        )
                    ),
                ),
                tables.Column(
                    "change of the held-out cost, nats",
                    dict(zip(names, (cut["cost_change"] for cut in cuts))),
                ),
            ],
            dict.fromkeys(names, ""),
            "cuts while training",
        )
    }


def epochs_table(
    rows: Sequence[Mapping],
    scores: Mapping[str, str] = SCORES,
    speed: tuple[str, str] = ("words/s", "words_per_second"),
    counted: str = "epoch",
) -> tables.Table:
    """Units, scores, speed and time of each epoch, a row for each.

    Below them the whole time, and what it would have been at the first
    epoch's speed: without the units that went while it trained.

    Args:
      rows: of `metrics.csv`.
      scores: what to show of them: titles and names.
      speed: title and name.
      counted: name of what tells the rows apart, a number that grows with
        the work done.
    """
    names = [f"{counted} {row.get(counted) or '?'}" for row in rows]
    seconds = [metrics.number(row, "seconds") for row in rows]
    minutes = dict(zip(names, (s / 60 for s in np.diff([0.0, *seconds]))))
    if len(rows) > 1:
        first, last = (metrics.number(rows[i], counted) for i in (0, -1))
        minutes["all"] = seconds[-1] / 60
        minutes["all, at the first one's speed"] = (
            seconds[0] * last / first / 60
        )

    def column(title, read):
        return tables.Column(title, dict(zip(names, map(read, rows))))

    return tables.Table(
        [
            column(
                "units",
                lambda row: tuple(
                    _whole(row, key) for key in row if key.startswith("units/")
                ),
            ),
            *(
                column(title, lambda row, name=name: metrics.number(row, name))
                for title, name in scores.items()
            ),
            column(speed[0], lambda row: _whole(row, speed[1])),
            tables.Column("minutes", minutes),
        ],
        dict.fromkeys(minutes, ""),
        f"{counted}s",
    )


def _whole(row: Mapping, name: str) -> Optional[int]:
    value = metrics.number(row, name)
    return round(value) if math.isfinite(value) else None


def curves_of(rows: Sequence[Mapping]) -> dict:
    """Arguments of `plots.training_curves`: of characters, bits are drawn."""
    return BITS if any(row.get("valid_bits") for row in rows) else {}


def draw(
    run: runs.RunDirectory,
    before,
    after,
    rows: Sequence[Mapping] = (),
    designed=None,
    each: bool = False,
    **curves,
) -> list[str]:
    """Draws weight patterns and curves; returns paths relative to the run.

    Without matplotlib, it says so and draws nothing.

    Args:
      run: its directory; the pictures go below `plots/`, and what was cut
        while it trained stands in `cuts.json`.
      before: any Keras model.
      after: the same, of other sizes.
      rows: of `metrics.csv`, for the curves.
      designed: the same of the sizes before anything was cut, if that is
        not `before`.
      each: draw every matrix by itself, too, below `plots/weights/`.
      **curves: further arguments of `plots.training_curves`.
    """
    try:
        return _draw(run, before, after, rows, designed, each, curves)
    except plots.MissingError as error:
        print(f"note: {error}", flush=True)
        return []


def _draw(run, before, after, rows, designed, each, curves) -> list[str]:
    folder = run.path / "plots"
    folder.mkdir(exist_ok=True)
    matrices = counting.matrices_by_name(before)
    others = counting.matrices_by_name(after)
    places = _places(run, before, designed)
    pairs = [
        _pair(name, matrices[name].numpy(), others[name].numpy(), places)
        for name in matrices
        if len(matrices[name].shape) == 2  # a picture has no more
    ]
    plots.weight_pattern(folder / "weights.png", pairs)
    drawn = ["plots/weights.png"]
    if each:
        (folder / "weights").mkdir(exist_ok=True)
        for pair in pairs:
            file = folder / "weights" / pair.name.replace("/", "-")
            plots.matrix_pattern(f"{file}_before.png", pair.before, pair.cut)
            plots.matrix_pattern(f"{file}_after.png", pair.after)
        print(f"pictures of the weights: {folder / 'weights'}", flush=True)
    if rows:
        try:
            plots.training_curves(
                folder / "training.png",
                rows,
                **{"title": run.path.name, **curves},
            )
            drawn.append("plots/training.png")
        except errors.UserError:
            raise
        except ValueError as error:  # of rows without a finite score
            print(f"note: no curves are drawn: {error}", flush=True)
    return drawn


def _places(
    run: runs.RunDirectory, net, designed
) -> dict[str, list[np.ndarray]]:
    """Of each designed matrix, the rows and columns (bool) that a net has.

    Nothing if none was cut while the net trained.
    """
    if designed is None or designed is net:
        return {}
    cuts = read_cuts(run)
    kept = cuts[-1].get("kept", {}) if cuts else {}
    groups = designed.iss_groups()
    left = {g.name: g.size for g in net.iss_groups()}
    alive = [np.isin(np.arange(g.size), kept.get(g.name, ())) for g in groups]
    if [units.sum() for units in alive] != [left[g.name] for g in groups]:
        # Version 1.0.0 did not write down which units it cut.
        alive = [np.arange(g.size) < left[g.name] for g in groups]
    masks = groups_lib.keep_masks(groups, alive)
    return {
        name: masks[variable.ref()]
        for name, variable in counting.matrices_by_name(designed).items()
        if variable.ref() in masks
    }


def _pair(name, before, after, places) -> plots.Pair:
    """A matrix before and after, in its designed shape if units were cut."""
    masks = places.get(name)
    if masks is None:
        return plots.Pair(name, before, after)
    whole = np.zeros([len(mask) for mask in masks], before.dtype)
    whole[np.ix_(*masks)] = before
    return plots.Pair(name, whole, after, tuple(~mask for mask in masks))


@dataclasses.dataclass(frozen=True)
class Other:
    """A finished run to show beside another.

    Attributes:
      name: of its folder.
      values: its column, by measure.
      dense: whether it is of a trained dense model.
      model: its SavedModel of the column, if it still lies there.
    """

    name: str
    values: Mapping[str, Any]
    dense: bool
    model: Optional[pathlib.Path]


def other_runs(folders: Sequence[str]) -> list[Other]:
    """Finished runs; see `other_run`."""
    return [other_run(folder) for folder in folders]


def other_run(folder: str) -> Other:
    """A finished run, to show beside another.

    Raises:
      UserError: if the folder holds no finished report.
    """
    try:
        columns = documents.read_report(folder)["table"]
    except errors.UserError as error:
        raise errors.UserError(
            f"cannot compare with {folder}: {error}"
        ) from None
    # A run that was shrunk while it trained has no trained dense model.
    values = columns.get(tables.TRAINED) or columns.get(tables.SHRUNK)
    if not values:
        raise errors.UserError(
            f"cannot compare with {folder}: its {documents.REPORT} has neither "
            f"a column '{tables.TRAINED}' nor '{tables.SHRUNK}'"
        )
    dense = bool(columns.get(tables.TRAINED))
    model = pathlib.Path(
        folder, "saved_model", "dense" if dense else "compressed"
    )
    return Other(
        pathlib.Path(folder).name,
        {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        },
        dense,
        model if model.exists() else None,
    )
