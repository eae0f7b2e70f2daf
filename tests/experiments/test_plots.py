"""The pictures: what the pixels say, and what stops a bad call."""

import builtins

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments.reports import plots

pytest.importorskip("matplotlib")


def read_png(path):
    from matplotlib import image

    return image.imread(path)


def share(picture, color):
    """Fraction of pixels of (about) that colour."""
    distance = np.abs(picture[..., :3] - np.array(color)).max(axis=-1)
    return (distance < 0.02).mean()


def dead_units_matrix():
    matrix = np.ones((20, 80), np.float32)
    matrix[::2] = 0
    matrix[:, :40] = 0
    return matrix


def pair(before, after, cut=None):
    return plots.Pair("kernel", before, after, cut)


def test_pattern_colors():
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [4.0, -4.0, 0.0]])
    image = plots.pattern_image(matrix)
    middle = (np.array(plots.STRONG) + plots.WEAK) / 2  # a quarter as large
    expected = [
        [middle, plots.ZERO, plots.DEAD],
        [plots.DEAD] * 3,
        [plots.STRONG, plots.STRONG, plots.DEAD],
    ]
    np.testing.assert_allclose(image, expected, atol=0.01)


def test_what_was_cut_is_grey():
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    cut = np.array([0, 1, 0], bool), np.array([0, 0, 1], bool)
    image = plots.pattern_image(matrix, cut=cut)
    expected = [
        [plots.STRONG, plots.DEAD, plots.CUT],
        [plots.CUT] * 3,
        [plots.DEAD, plots.DEAD, plots.CUT],
    ]
    np.testing.assert_allclose(image, expected, atol=0.01)


def test_weights_of_all_sizes_are_no_solid_blue():
    matrix = np.random.default_rng(0).standard_normal((400, 400))
    image = plots.pattern_image(matrix, limit=200)
    assert image.reshape(-1, 3).std(axis=0).max() > 0.05


@pytest.mark.parametrize("shape", [(13, 29), (12, 30), (5, 29), (13, 6)])
def test_large_matrices_are_averaged_in_color(shape):
    """Equal to averaging the full picture over the same runs of cells."""
    random = np.random.default_rng(0)
    matrix = random.random(shape) * (random.random(shape) < 0.6)
    matrix[[1, 3]] = 0
    matrix[:, [0, 4]] = 0
    limit = 6
    full = plots.pattern_image(matrix)

    def runs(size):
        parts = min(size, limit)
        edges = [part * size // parts for part in range(parts + 1)]
        return [range(*pair) for pair in zip(edges, edges[1:])]

    expected = [
        [full[np.ix_(rows, cols)].mean(axis=(0, 1)) for cols in runs(shape[1])]
        for rows in runs(shape[0])
    ]
    np.testing.assert_allclose(
        plots.pattern_image(matrix, limit), expected, atol=1e-6
    )


def test_weight_pattern_shows_dead_units_only_after(tmp_path):
    before, after = np.ones((20, 80)), dead_units_matrix()
    plots.weight_pattern(tmp_path / "p.png", [pair(before, after)])
    picture = read_png(tmp_path / "p.png")
    left, right = np.split(picture[:, : picture.shape[1] // 2 * 2], 2, axis=1)
    assert share(left, plots.STRONG) > 0.2
    assert share(right, plots.DEAD) > 0.1
    assert share(left, plots.DEAD) < 0.02
    assert 0.1 < share(right, plots.STRONG) / share(left, plots.STRONG) < 0.4


def test_a_cut_matrix_is_drawn_as_much_smaller(tmp_path):
    plots.weight_pattern(
        tmp_path / "p.png", [pair(np.ones((20, 80)), np.ones((10, 40)))]
    )
    picture = read_png(tmp_path / "p.png")
    left, right = np.split(picture[:, : picture.shape[1] // 2 * 2], 2, axis=1)
    ratio = share(right, plots.STRONG) / share(left, plots.STRONG)
    assert ratio == pytest.approx(0.25, abs=0.03)


def test_before_shows_what_was_cut_while_training(tmp_path):
    whole = np.zeros((20, 80))
    whole[:10, ::2] = 1.0
    cut = np.arange(20) >= 10, np.arange(80) % 2 == 1
    plots.weight_pattern(
        tmp_path / "p.png", [pair(whole, np.ones((10, 40)), cut)]
    )
    picture = read_png(tmp_path / "p.png")
    left, right = np.split(picture[:, : picture.shape[1] // 2 * 2], 2, axis=1)
    assert share(left, plots.CUT) > 0.2
    ratio = share(right, plots.STRONG) / share(left, plots.STRONG)
    assert ratio == pytest.approx(1.0, abs=0.2)


def test_a_matrix_by_itself_has_a_pixel_for_each_weight(tmp_path):
    plots.matrix_pattern(tmp_path / "m.png", dead_units_matrix())
    picture = read_png(tmp_path / "m.png")
    assert picture.shape[:2] == (20, 80)
    assert share(picture, plots.STRONG) == 0.25
    assert share(picture, plots.DEAD) == 0.75
    with pytest.raises(errors.UserError, match="cannot write .*gone.*No such"):
        plots.matrix_pattern(tmp_path / "gone" / "m.png", np.ones((2, 2)))


@pytest.mark.parametrize(
    "matrices, message",
    [
        ([], "`matrices` is empty"),
        (
            [plots.Pair("bias", np.ones(3), np.ones(3))],
            r"'bias' has shape \(3,\)",
        ),
    ],
)
def test_weight_pattern_refuses(tmp_path, matrices, message):
    with pytest.raises(ValueError, match=message):
        plots.weight_pattern(tmp_path / "p.png", matrices)


def metrics_rows():
    return [
        {
            "epoch": str(epoch),
            "train_perplexity": f"{300 / epoch:.2f}",
            "valid_perplexity": "" if epoch == 2 else f"{200 / epoch:.2f}",
            "units/lstm_0": 200 // epoch,
            "units/lstm_1": 190,
            "words_per_second": 1,
        }
        for epoch in (1, 2, 3)
    ]


def test_training_curves(tmp_path):
    plots.training_curves(
        tmp_path / "c.png", metrics_rows(), reference=("dense", 115.91)
    )
    picture = read_png(tmp_path / "c.png")
    upper, lower = np.split(picture[: picture.shape[0] // 2 * 2], 2)
    for part, colors in (
        (upper, (plots.GREY, plots.LAYER_COLORS[0])),
        (lower, plots.LAYER_COLORS[:2]),
    ):
        for color in colors:
            rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            assert share(part, rgb) > 0.001


def test_training_curves_without_layers_have_one_panel(tmp_path):
    rows = [{"epoch": 1, "EM": 10.0}, {"epoch": 2, "EM": None}]
    plots.training_curves(
        tmp_path / "one.png", rows, {"EM": "EM"}, ylabel="percent"
    )
    plots.training_curves(tmp_path / "two.png", metrics_rows())
    one, two = (read_png(tmp_path / name) for name in ("one.png", "two.png"))
    assert one.shape[0] < 0.6 * two.shape[0]


@pytest.mark.parametrize("log", [False, True])
def test_against_sparsity_has_a_color_for_each_method(tmp_path, log):
    plots.against_sparsity(
        tmp_path / "s.png",
        {
            "block 4x4": [(0.9, 6.0), (0.5, 1.2), (0.8, 3.0)],
            "ISS": [(0.7, 2.5)],
            "empty": [],
        },
        "times faster",
        log=log,
        reference=("dense", 1.0),
    )
    picture = read_png(tmp_path / "s.png")
    for color, drawn in zip(plots.LAYER_COLORS[:3], (True, True, False)):
        rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        assert (share(picture, rgb) > 0.0002) == drawn


def test_against_sparsity_needs_a_point(tmp_path):
    with pytest.raises(ValueError, match="No point to draw"):
        plots.against_sparsity(tmp_path / "s.png", {"a": []}, "y")


def test_series_skips_what_was_not_measured():
    rows = metrics_rows() + [{"epoch": "4", "valid_perplexity": "nan"}]
    assert plots._series(rows, "valid_perplexity") == (
        [1.0, 3.0],
        [200.0, 66.67],
    )


def test_a_bad_first_epoch_does_not_flatten_the_others():
    values = np.array([9000.0, 200.0, 150.0, 130.0, 120.0, 115.0, 112.0])
    low, high = plots._value_range(values, [112.0, 80.0])
    assert low < 80 and 150 < high < 400


def test_curves_without_a_measure_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`epoch` and one of train_perpl"):
        plots.training_curves(tmp_path / "c.png", [{"epoch": 1}])


def test_an_unwritable_place_is_named(tmp_path):
    with pytest.raises(errors.UserError, match="cannot write .*gone.*No such"):
        plots.training_curves(tmp_path / "gone" / "c.png", metrics_rows())


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_matplotlib(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    for draw in (
        lambda path: plots.training_curves(path, metrics_rows()),
        lambda path: plots.matrix_pattern(path, np.ones((2, 2))),
    ):
        with pytest.raises(plots.MissingError, match=r"matplotlib.*\[plots\]"):
            draw(tmp_path / "c.png")
