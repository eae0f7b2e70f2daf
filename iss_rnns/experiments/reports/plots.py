"""Pictures of a run as PNG files.

matplotlib is loaded when the first picture is drawn, so that a run without
pictures needs none; no window and no global backend is touched.
"""

from collections.abc import Mapping, Sequence
import itertools
import os
from typing import Any, Optional, Union

import numpy as np

from iss_rnns import errors

PathLike = Union[str, os.PathLike]

NONZERO = (0.12, 0.36, 0.72)
DEAD = (0.97, 0.80, 0.76)
ZERO = (1.0, 1.0, 1.0)
CUT = (0.92, 0.93, 0.94)
LAYER_COLORS = (
    "#1f5cb8",
    "#d9660a",
    "#2c8a4b",
    "#8c3fa3",
    "#b3262e",
    "#5f6b76",
)
GREY = "#9aa3ab"
_MISSING = (
    "plots need matplotlib, which is not installed; install the "
    "extra: pip install 'iss-rnns[plots]'"
)


class MissingError(errors.UserError):
    """matplotlib is not installed."""


def _new_figure(width: float, height: float) -> Any:
    """An empty figure of that many inches, bound to the Agg canvas."""
    try:
        from matplotlib import figure
        from matplotlib.backends import backend_agg
    except ImportError as error:
        raise MissingError(_MISSING) from error
    picture = figure.Figure((width, height), layout="constrained")
    backend_agg.FigureCanvasAgg(picture)
    return picture


def _save(picture: Any, path: PathLike) -> None:
    try:
        picture.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: PathLike, error: OSError) -> errors.UserError:
    return errors.UserError(
        f"cannot write {path}: {error.strerror or error}; expected a "
        f"writable folder with free space"
    )


def _pool(values: np.ndarray, axis: int, limit: int) -> np.ndarray:
    """Means over at most `limit` nearly equal runs along an axis."""
    size = values.shape[axis]
    if size <= limit:
        return values
    starts = np.arange(limit) * size // limit
    lengths = np.diff(np.append(starts, size))
    shape = [-1 if each == axis else 1 for each in range(values.ndim)]
    return np.add.reduceat(values, starts, axis) / lengths.reshape(shape)


def pattern_image(array: np.ndarray, limit: int = 600) -> np.ndarray:
    """A matrix as a picture: nonzero weights blue, dead rows and columns red.

    A matrix above `limit` is shrunk by averaging colours, so that a pixel
    of 10 % living weights is 10 % blue.

    Args:
        array: `[rows, columns]`.
        limit: largest number of pixels of a side.

    Returns:
        `[min(rows, limit), min(columns, limit), 3]`, RGB in 0..1.
    """
    nonzero = np.asarray(array) != 0
    row, column = (~nonzero.any(axis=axis) for axis in (1, 0))
    density = _pool(_pool(nonzero.astype(np.float32), 0, limit), 1, limit)
    row, column = (
        _pool(dead.astype(np.float32), 0, limit) for dead in (row, column)
    )
    dead = 1 - np.outer(1 - row, 1 - column)
    shares = np.stack([density, dead, 1 - density - dead], axis=-1)
    return np.clip(shares @ np.array([NONZERO, DEAD, ZERO]), 0, 1)


def _caption(array: np.ndarray) -> str:
    nonzero = np.asarray(array) != 0
    rows, columns = nonzero.shape
    alive_rows = int(nonzero.any(axis=1).sum())
    alive_columns = int(nonzero.any(axis=0).sum())
    return (
        f"{rows} x {columns}, {100 * nonzero.mean():.1f} % nonzero\n"
        f"alive: {alive_rows} rows, {alive_columns} columns"
    )


def matrix_pattern(
    path: PathLike, array: np.ndarray, limit: int = 2000
) -> None:
    """Draws where the weights of one matrix are nonzero, a pixel for each.

    Args:
        path: the PNG file to write.
        array: `[rows, columns]`.
        limit: largest number of pixels of a side, see `pattern_image`.

    Raises:
        errors.UserError: without matplotlib, or where `path` cannot be
            written.
    """
    try:
        from matplotlib import image
    except ImportError as error:
        raise MissingError(_MISSING) from error
    try:
        image.imsave(path, pattern_image(array, limit), format="png")
    except OSError as error:
        raise _unwritable(path, error) from error


def weight_pattern(
    path: PathLike,
    matrices: Sequence[tuple[str, np.ndarray, np.ndarray]],
    designed: Optional[Mapping[str, Sequence[int]]] = None,
) -> None:
    """Draws where weights are nonzero, before and after.

    Each matrix is one line of the picture, both states to the same scale;
    one that was cut to a smaller shape is drawn as much smaller.
    Rows and columns that are zero throughout are tinted: the places of dead
    units.

    Args:
        path: the PNG file to write.
        matrices: `(name, before, after)` each, arrays `[rows, columns]`.
        designed: shapes by name, if even those before were cut.

    Raises:
        ValueError: if there is no matrix or one has not two axes.
        errors.UserError: without matplotlib, or where `path` cannot be
            written.
    """
    if not matrices:
        raise ValueError("`matrices` is empty, expected at least one.")
    for name, *states in matrices:
        for state in states:
            if np.ndim(state) != 2:
                raise ValueError(
                    f"{name!r} has shape {np.shape(state)}, expected a matrix."
                )
    width, title_height = 4.6, 0.75
    tallest = np.clip(24 / len(matrices) - title_height, 0.7, width)
    designed = designed or {}
    extents = [
        np.max([b.shape, a.shape, designed.get(name, (0, 0))], axis=0)
        for name, b, a in matrices
    ]
    heights = [
        np.clip(width * rows / columns, 0.7, tallest)
        for rows, columns in extents
    ]
    picture = _new_figure(
        2 * width + 0.6, sum(heights) + title_height * len(heights) + 0.5
    )
    axes = picture.subplots(
        len(matrices), 2, squeeze=False, height_ratios=heights
    )
    for line, extent, (name, before, after) in zip(axes, extents, matrices):
        for panel, state, when in zip(
            line, (before, after), ("before", "after")
        ):
            _draw_pattern(panel, state, extent)
            panel.set_title(
                f"{name}, {when}: {_caption(state)}",
                fontsize=8,
                loc="left",
                linespacing=1.3,
            )
    _pattern_legend(
        picture,
        any(
            state.shape != tuple(extent)
            for extent, (_, *states) in zip(extents, matrices)
            for state in states
        ),
    )
    _save(picture, path)


def _draw_pattern(panel: Any, state: np.ndarray, extent: np.ndarray) -> None:
    rows, columns = state.shape
    panel.imshow(
        pattern_image(state), extent=(0, columns, rows, 0), aspect="auto"
    )
    panel.set(xlim=(0, extent[1]), ylim=(extent[0], 0))
    panel.set_facecolor(CUT)
    panel.set_xticks([0, columns])
    panel.set_yticks([0, rows])
    panel.tick_params(labelsize=7, length=2)
    for spine in panel.spines.values():
        spine.set(color=GREY, linewidth=0.6)


def _pattern_legend(picture: Any, cut: bool) -> None:
    from matplotlib import patches

    entries = [
        (NONZERO, "nonzero"),
        (ZERO, "zero"),
        (DEAD, "row or column of zeros"),
    ]
    if cut:
        entries.append((CUT, "cut away"))
    picture.legend(
        handles=[
            patches.Patch(
                facecolor=color, edgecolor=GREY, label=label, linewidth=0.6
            )
            for color, label in entries
        ],
        loc="outside lower center",
        ncols=len(entries),
        frameon=False,
        fontsize=8,
    )


def training_curves(
    path: PathLike,
    metrics_rows: Sequence[Mapping[str, Any]],
    measures: Optional[Mapping[str, str]] = None,
    alive_prefix: str = "units/",
    ylabel: str = "perplexity",
    reference: Optional[tuple[str, float]] = None,
) -> None:
    """Draws the measures and the alive units of each layer over the epochs.

    Args:
        path: the PNG file to write.
        metrics_rows: one dict an epoch, as `csv.DictReader` reads them from
            `metrics.csv` or with numbers: `epoch`, the measures, and the
            alive units of layer NAME under `units/NAME`. Empty cells are
            left out.
        measures: key of each curve of the upper panel to its label; by
            default train and valid perplexity.
        alive_prefix: what the keys of the alive units begin with.
        ylabel: label of the upper panel.
        reference: `(label, value)` of a horizontal line, or None.

    Raises:
        ValueError: if no row has an epoch and a measure.
        errors.UserError: without matplotlib, or where `path` cannot be
            written.
    """
    measures = measures or {
        "train_perplexity": "train",
        "valid_perplexity": "valid",
    }
    curves = _all_series(metrics_rows, measures)
    if not curves:
        raise ValueError(
            f"No row has `epoch` and one of {', '.join(measures)}."
        )
    layers = _all_series(
        metrics_rows,
        {
            key: key[len(alive_prefix) :]
            for row in metrics_rows
            for key in row
            if key and key.startswith(alive_prefix)
        },
    )
    panels = 2 if layers else 1
    picture = _new_figure(7, 2.9 * panels)
    upper, *lower = picture.subplots(panels, 1, sharex=True, squeeze=False)[
        :, 0
    ]
    _draw_curves(upper, curves, (GREY, *LAYER_COLORS))
    visible = [values[-1] for _, values in curves.values()]
    if reference is not None:
        label, value = reference
        upper.axhline(
            value,
            color="black",
            linewidth=0.8,
            linestyle=":",
            label=f"{label} ({value:.4g})",
        )
        visible.append(value)
    upper.set(
        ylabel=ylabel,
        ylim=_value_range(
            np.concatenate([values for _, values in curves.values()]), visible
        ),
    )
    for panel in lower:
        _draw_curves(panel, layers, LAYER_COLORS)
        panel.set(ylabel="alive units", ylim=(0, None))
    for panel in (upper, *lower):
        panel.grid(color="#e3e6e9", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=9)
    epochs = np.concatenate(
        [x for x, _ in (*curves.values(), *layers.values())]
    )
    upper.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    upper.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    (upper, *lower)[-1].set_xlabel("epoch")
    _save(picture, path)


def against_sparsity(
    path: PathLike,
    series: Mapping[str, Sequence[tuple[float, float]]],
    ylabel: str,
    title: str = "",
    log: bool = False,
    reference: Optional[tuple[str, float]] = None,
) -> None:
    """Draws a measure against sparsity, a curve for each method.

    Args:
        path: the PNG file to write.
        series: method to its points (sparsity in 0..1, value), in any order;
            a single point is drawn as a marker.
        ylabel: what the values are.
        title: above the picture.
        log: values on a logarithmic scale.
        reference: `(label, value)` of a horizontal line, e.g. the dense
            model, or None.

    Raises:
        ValueError: if there is no point.
        errors.UserError: without matplotlib, or where `path` cannot be
            written.
    """
    drawn = {
        label: sorted(points) for label, points in series.items() if points
    }
    if not drawn:
        raise ValueError("No point to draw.")
    picture = _new_figure(7, 4.2)
    panel = picture.subplots()
    for (label, points), color, marker in zip(
        drawn.items(), itertools.cycle(LAYER_COLORS), itertools.cycle("osD^vPX")
    ):
        panel.plot(
            [100 * x for x, _ in points],
            [y for _, y in points],
            marker=marker,
            markersize=6,
            linewidth=1.5,
            color=color,
            label=label,
        )
    if reference is not None:
        label, value = reference
        panel.axhline(
            value,
            color="black",
            linewidth=0.8,
            linestyle=":",
            label=f"{label} ({value:.4g})",
        )
    if log:
        panel.set_yscale("log")
        # 1, 2, 5, 10, ...: with all of 1 to 9 the labels would overlap.
        panel.set_yticks(
            [
                step * 10.0**power
                for power in range(-3, 7)
                for step in (1, 2, 5)
                if panel.get_ylim()[0]
                <= step * 10.0**power
                <= panel.get_ylim()[1]
            ]
        )
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("")
    panel.set(xlabel="sparsity, %", ylabel=ylabel, title=title)
    panel.grid(color="#e3e6e9", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=9)
    _save(picture, path)


def _series(
    rows: Sequence[Mapping[str, Any]], key: str
) -> tuple[list[float], list[float]]:
    """Epochs and values of the rows that have a finite value for `key`."""
    points = []
    for row in rows:
        try:
            point = float(row["epoch"]), float(row[key])
        except (KeyError, TypeError, ValueError):
            continue  # An empty cell: not measured in that epoch.
        if np.isfinite(point).all():
            points.append(point)
    return [x for x, _ in points], [y for _, y in points]


def _all_series(
    rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]
) -> dict[str, tuple[list[float], list[float]]]:
    """The series of each key that has any, by label."""
    series = {label: _series(rows, key) for key, label in labels.items()}
    return {label: points for label, points in series.items() if points[0]}


def _draw_curves(
    panel: Any,
    series: Mapping[str, tuple[list[float], list[float]]],
    colors: Sequence[str],
) -> None:
    for (label, (epochs, values)), color in zip(
        series.items(), itertools.cycle(colors)
    ):
        panel.plot(
            epochs,
            values,
            marker="o",
            markersize=3,
            linewidth=1.5,
            color=color,
            label=f"{label} (last {values[-1]:.4g})",
        )


def _value_range(
    values: np.ndarray, visible: Sequence[float]
) -> tuple[float, float]:
    """Keeps the first epochs from flattening all others; `visible` stays."""
    low, usual = np.min(values), np.median(values)
    high = min(np.max(values), low + 4 * (usual - low))
    low, high = min(low, *visible, high), max(high, *visible, usual)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
