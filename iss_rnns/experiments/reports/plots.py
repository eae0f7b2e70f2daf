"""Pictures of a run as PNG files.

matplotlib is loaded when the first picture is drawn, so that a run without
pictures needs none; no window and no global backend is touched.
"""

from collections.abc import Mapping, Sequence
import itertools
import re
from typing import Any, NamedTuple, Optional

import numpy as np

from iss_rnns import errors
from iss_rnns import files

STRONG, WEAK = (0.04, 0.19, 0.47), (0.66, 0.79, 0.95)  # nonzero weights
DEAD = (0.97, 0.80, 0.76)
ZERO = (1.0, 1.0, 1.0)
CUT = (0.90, 0.91, 0.92)
_STRONGEST = 0.98  # quantile of the magnitudes that is drawn as `STRONG`
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


def _new_figure(
    width: float, height: float, layout: str = "constrained"
) -> Any:
    """An empty figure of that many inches, bound to the Agg canvas."""
    try:
        from matplotlib import figure
        from matplotlib.backends import backend_agg
    except ImportError as error:
        raise MissingError(_MISSING) from error
    picture = figure.Figure((width, height), layout=layout)
    backend_agg.FigureCanvasAgg(picture)
    return picture


def _save(picture: Any, path: files.PathLike) -> None:
    try:
        picture.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: files.PathLike, error: OSError) -> errors.UserError:
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


class Pair(NamedTuple):
    """A matrix at two times.

    Attributes:
      name: of the matrix.
      before: `[rows, columns]`.
      after: `[fewer rows, fewer columns]`.
      cut: rows and columns of `before` (bool) that were cut away; None:
        none was.
    """

    name: str
    before: np.ndarray
    after: np.ndarray
    cut: Optional[tuple[np.ndarray, np.ndarray]] = None


def pattern_image(
    array: np.ndarray,
    limit: int = 600,
    cut: Optional[tuple[np.ndarray, np.ndarray]] = None,
) -> np.ndarray:
    """A matrix as a picture: the larger a weight, the darker its blue.

    Zeros are white, rows and columns of zeros tinted, those that were cut
    away grey. A matrix above `limit` is shrunk by averaging colours, so that
    a pixel of 10 % living weights is 10 % blue.

    Args:
      array: `[rows, columns]`.
      limit: largest number of pixels of a side.
      cut: see `Pair`.

    Returns:
      `[min(rows, limit), min(columns, limit), 3]`, RGB in 0..1.
    """
    sizes = np.abs(np.asarray(array, np.float32))
    nonzero = sizes != 0
    largest = np.quantile(sizes[nonzero], _STRONGEST) if nonzero.any() else 1.0
    strength = np.sqrt(np.minimum(sizes / largest, 1.0))
    gone = cut or tuple(np.zeros(n, bool) for n in sizes.shape)
    dead = [~nonzero.any(axis=1 - axis) & ~gone[axis] for axis in (0, 1)]

    def shrunk(cells):
        return _pool(_pool(cells.astype(np.float32), 0, limit), 1, limit)

    def either(lines):  # cells in one of the rows or columns
        kept = [_pool(1.0 - line, 0, limit) for line in lines]
        return 1.0 - np.outer(*kept)

    grey = either(gone)
    tinted = either([d | g for d, g in zip(dead, gone)]) - grey
    density, strong = shrunk(nonzero), shrunk(strength)
    shares = np.stack(
        [strong, density - strong, tinted, grey, 1 - density - tinted - grey],
        axis=-1,
    )
    return np.clip(shares @ np.array([STRONG, WEAK, DEAD, CUT, ZERO]), 0, 1)


def _caption(array: np.ndarray, cut=None) -> str:
    nonzero = np.asarray(array) != 0
    rows, columns = nonzero.shape
    text = f"{rows} x {columns}, {100 * nonzero.mean():.1f} % nonzero"
    if cut is not None and any(lines.any() for lines in cut):
        return f"{text}\ncut away: {cut[0].sum()} rows, {cut[1].sum()} columns"
    dead = [int((~nonzero.any(axis=axis)).sum()) for axis in (1, 0)]
    if any(dead):
        text += f"\nall zero: {dead[0]} rows, {dead[1]} columns"
    return text


def matrix_pattern(
    path: files.PathLike,
    array: np.ndarray,
    cut: Optional[tuple[np.ndarray, np.ndarray]] = None,
    limit: int = 2000,
) -> None:
    """Draws where the weights of one matrix are nonzero, a pixel for each.

    Args:
      path: the PNG file to write.
      array: `[rows, columns]`.
      cut: see `Pair`.
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
        image.imsave(path, pattern_image(array, limit, cut), format="png")
    except OSError as error:
        raise _unwritable(path, error) from error


def weight_pattern(path: files.PathLike, matrices: Sequence[Pair]) -> None:
    """Draws the weights as training began to count them, and what is left.

    Each matrix is one line of the picture, both states to the same scale: one
    that was cut to a smaller shape is drawn as much smaller. Rows and columns
    that are zero throughout are tinted: the places of dead units.

    Args:
      path: the PNG file to write.
      matrices: what to draw.

    Raises:
      ValueError: if there is no matrix or one has not two axes.
      errors.UserError: without matplotlib, or where `path` cannot be
        written.
    """
    if not matrices:
        raise ValueError("`matrices` is empty, expected at least one.")
    for name, before, after, _ in matrices:
        for state in (before, after):
            if np.ndim(state) != 2:
                raise ValueError(
                    f"{name!r} has shape {np.shape(state)}, expected a matrix."
                )
    width, title_height = 4.6, 0.75
    tallest = np.clip(24 / len(matrices) - title_height, 0.7, width)
    extents = [np.maximum(p.before.shape, p.after.shape) for p in matrices]
    heights = [
        np.clip(width * rows / columns, 0.7, tallest)
        for rows, columns in extents
    ]
    margin, space = 0.55, 0.5  # inches
    whole = 2 * width + 2 * margin
    top = sum(heights) + title_height * len(heights) + 2 * space
    # Laid out by hand: matplotlib draws a picture of many panels several
    # times to find out where they fit.
    picture = _new_figure(whole, top, "none")
    scale = np.array([whole, top, whole, top])
    picture.suptitle(
        "Weights: as designed, and what is left",
        fontsize=11,
        y=1 - 0.25 / top,
    )
    bottom = top - space
    for height, extent, (name, before, after, cut) in zip(
        heights, extents, matrices
    ):
        bottom -= title_height + height
        for left, state, when, gone in zip(
            (margin, 2 * margin + width - 0.2),
            (before, after),
            ("as designed", "left"),
            (cut, None),
        ):
            panel = picture.add_axes(
                np.array([left, bottom, width - 0.2, height]) / scale
            )
            _draw_pattern(panel, state, extent, gone)
            panel.set_title(
                f"{name}, {when}: {_caption(state, gone)}",
                fontsize=8,
                loc="left",
                linespacing=1.3,
            )
    _pattern_legend(
        picture,
        any(
            p.cut is not None or p.before.shape != p.after.shape
            for p in matrices
        ),
    )
    _save(picture, path)


def _draw_pattern(panel: Any, state: np.ndarray, extent, cut) -> None:
    rows, columns = state.shape
    panel.imshow(
        pattern_image(state, cut=cut),
        extent=(0, columns, rows, 0),
        aspect="auto",
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
        (STRONG, "large weight"),
        (WEAK, "small weight"),
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
        loc="lower center",
        ncols=len(entries),
        frameon=False,
        fontsize=8,
    )


def training_curves(
    path: files.PathLike,
    metrics_rows: Sequence[Mapping[str, Any]],
    measures: Optional[Mapping[str, str]] = None,
    ylabel: str = "perplexity",
    reference: Optional[tuple[str, float]] = None,
    xlabel: str = "epoch",
    title: str = "",
) -> None:
    """Draws the measures and the living units of each layer over the epochs.

    Args:
      path: the PNG file to write.
      metrics_rows: one dict an epoch, as `csv.DictReader` reads them from
        `metrics.csv` or with numbers: `epoch`, the measures, and the
        living units of layer NAME under `units_above_THRESHOLD/NAME`;
        without them, those that are not all zero, under `units/NAME`.
        Empty cells are left out.
      measures: key of each curve of the upper panel to its label; by
        default train and valid perplexity.
      ylabel: label of the upper panel.
      reference: `(label, value)` of a horizontal line, or None.
      xlabel: what `epoch` counts.
      title: above the picture.

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
    keys = [key for row in metrics_rows for key in row if key]
    living = re.compile(r"(units_above_(?P<least>[^/]+))/(?P<layer>.+)")
    found = {key: living.fullmatch(key) for key in keys}
    named = {key: m["layer"] for key, m in found.items() if m}
    least = {f"above {m['least']}" for m in found.values() if m}
    layers = _all_series(
        metrics_rows,
        named
        or {k: k[len("units/") :] for k in keys if k.startswith("units/")},
    )
    panels = 2 if layers else 1
    picture = _new_figure(7, 2.9 * panels)
    upper, *lower = picture.subplots(panels, 1, sharex=True, squeeze=False)[
        :, 0
    ]
    _draw_curves(upper, curves, (GREY, *LAYER_COLORS))
    visible = [values[-1] for _, values in curves.values()]
    if reference is not None:
        _draw_reference(upper, reference)
        visible.append(reference[1])
    upper.set(
        ylabel=ylabel,
        ylim=_value_range(
            np.concatenate([values for _, values in curves.values()]), visible
        ),
    )
    for panel in lower:
        _draw_curves(panel, layers, LAYER_COLORS)
        panel.set(
            ylabel=" ".join(["living units", *sorted(least)]), ylim=(0, None)
        )
    for panel in (upper, *lower):
        _frame(panel)
    epochs = np.concatenate(
        [x for x, _ in (*curves.values(), *layers.values())]
    )
    upper.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    upper.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    upper.set_title(title)
    (upper, *lower)[-1].set_xlabel(xlabel)
    _save(picture, path)


def against_sparsity(
    path: files.PathLike,
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
        _draw_reference(panel, reference)
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
    _frame(panel)
    _save(picture, path)


def _draw_reference(panel, reference: tuple[str, float]) -> None:
    """A dotted line at a value, with its name and the value in the legend."""
    label, value = reference
    panel.axhline(
        value,
        color="black",
        linewidth=0.8,
        linestyle=":",
        label=f"{label} ({value:.4g})",
    )


def _frame(panel) -> None:
    """Grid, axes and legend of a panel with curves."""
    panel.grid(color="#e3e6e9", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=9)


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
