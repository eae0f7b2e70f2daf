"""The examples, with few epochs and examples: all of their lines run."""

import importlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import thresholding

FOLDER = pathlib.Path(__file__).parents[2] / "examples"
NAMES = sorted(
    path.stem for path in FOLDER.glob("*.py") if path.stem != "comparison"
)
SHORT = ["--epochs=2", "--examples=128"]


@pytest.fixture
def example(request, monkeypatch):
    """An example's module; as a program it finds its neighbours."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module(request.param)


@pytest.fixture
def cut(monkeypatch):
    """What `shrink` is given; of each group every other living unit is dead.

    In trainings as short as these none would.
    """
    calls = []
    shrink = iss_rnns.shrink

    def recorded(model, groups, batches):
        for group in groups:
            rank = np.cumsum(group.alive())
            thresholding.zero_units(group, tf.constant(rank % 2 == 0))
        calls.append((model, batches))
        return shrink(model, groups, batches)

    monkeypatch.setattr(iss_rnns, "shrink", recorded)
    return calls


def test_there_are_four():
    assert NAMES == ["dates", "forecaster", "keywords", "text_classifier"]


@pytest.mark.slow
@pytest.mark.parametrize("example", NAMES, indirect=True)
def test_small_model_is_smaller_and_gives_the_same(
    example, cut, tmp_path, capsys
):
    scratch = example.__name__ == "forecaster"
    flags = [*SHORT, f"--out={tmp_path}", *["--scratch"] * scratch]
    rows, report = example.main(flags)
    printed = capsys.readouterr().out
    dense, small = rows[:2]
    names = [row["model"] for row in rows]
    assert names == ["dense", "small", *["scratch"] * scratch]
    for units, of_dense in zip(small["units"], dense["units"]):
        assert 0 < units <= of_dense / 2
    assert small["weights"] < dense["weights"]
    assert small["bytes"] < dense["bytes"]
    for row in rows:
        file = tmp_path / f"{row['model']}.keras"
        assert row["bytes"] == file.stat().st_size
        assert row["ms"] > 0
        assert np.isfinite(row["score"])
        assert f"{row['weights']:,}" in printed
    if scratch:
        assert rows[2]["units"] == small["units"]
        assert rows[2]["weights"] == small["weights"]

    # Stock layers: the file loads without this package's objects, and gives
    # what the trained model gave.
    ((model, (batch,)),) = cut
    loaded = tf.keras.models.load_model(tmp_path / "small.keras")
    assert loaded.count_params() == small["weights"]
    np.testing.assert_allclose(loaded(batch), model(batch), atol=1e-4)
    assert report.max_difference < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_first_lines_say_how_to_run_it(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert f"    python examples/{name}.py\n" in text
    assert f"[{name}.py]({name}.py)" in (FOLDER / "README.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("example", NAMES[:1], indirect=True)
def test_help_and_bad_numbers(example, capsys):
    def ended(*flags):
        with pytest.raises(SystemExit) as end:
            example.main(list(flags))
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    code, out, _ = ended("--help")
    assert code == 0
    assert example.__doc__.splitlines()[0] in out
    for flag in ("--epochs", "--seed", "--examples", "--scratch", "--out"):
        assert flag in out
    code, _, err = ended("--epochs=0")
    assert code == 2
    assert "--epochs: must be at least 1, got 0" in err
