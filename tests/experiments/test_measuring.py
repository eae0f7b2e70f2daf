"""Models side by side: times in turn, one base, and the sentence below."""

import pathlib
import time
import types

import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.experiments import measuring
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables

PATHS = {
    name: pathlib.Path(__file__).parent / name
    for name in ("dense", "small", "other", "broken")
}
SECONDS = {"dense": 0.004, "small": 0.002, "other": 0.008}


def run(path):
    if path.name == "broken":
        raise errors.UserError("it has other words")
    return lambda: time.sleep(SECONDS[path.name])


TASK = types.SimpleNamespace(
    runner=run,
    facts=lambda net: {"mult-adds per word": 100 * sum(net.sizes.values())},
    shown=lambda scores: {"perplexity": scores},
    times=("ms",),
    work={"mult-adds per word": "mult-add reduction"},
    judged_by=("perplexity",),
)


def net(units):
    return types.SimpleNamespace(
        sizes={"lstm_0": units},
        trainable_variables=[tf.Variable(tf.ones([units, 3]))],
    )


@pytest.fixture(name="models")
def fixture_models(monkeypatch):
    monkeypatch.setattr(measuring.export, "bytes_of", lambda path: 7)
    return [
        measuring.Model(title, net(size), {"ms": PATHS[name]}, score)
        for title, size, name, score in (
            ("trained", 8, "dense", 90.0),
            ("shrunk", 2, "small", 91.0),
        )
    ]


def other(name, dense, **values):
    return sections.Other(
        name,
        {"perplexity": 80.0, "ms": 1e9, "speedup": 5.0, **values},
        dense,
        PATHS[name],
    )


def test_all_times_are_over_the_trained_dense_model(models):
    measured = measuring.measure(
        TASK,
        models,
        None,
        [other("other", True, **{"mult-adds per word": 1600})],
        minutes=3.0,
    )
    assert measured.base == "other"
    (dense,), (trained, shrunk) = measured.others, measured.columns
    for column, factor in ((dense, 1.0), (trained, 2.0), (shrunk, 4.0)):
        assert column.values["speedup"] == pytest.approx(factor, rel=0.3)
        low, high = column.values["ms, quartiles"]
        assert low <= column.values["ms"] <= high
    assert dense.values["ms"] < 100  # not that of another day
    assert dense.values["perplexity"] == 80.0
    assert shrunk.values["mult-add reduction"] == 8.0
    assert shrunk.values["training minutes"] == 3.0
    sentence = measuring.summary(TASK, measured, {"lstm_0": 8})
    assert sentence.startswith(
        "Look at 'shrunk': 2 of 8 units (25%), 8.0 times fewer mult-adds, "
    )
    assert sentence.endswith("perplexity 91.00 against 80.00 of 'other'.")


@pytest.mark.parametrize(
    "beside", [[], [other("other", False)], [other("broken", True)]]
)
def test_without_another_dense_model_the_base_is_ones_own(
    models, beside, capsys
):
    measured = measuring.measure(TASK, models, None, beside)
    assert measured.base == "trained"
    broken = bool(beside) and beside[0].name == "broken"
    assert ("it has other words" in capsys.readouterr().out) == broken
    if broken:
        assert "ms" not in measured.others[0].values


def test_titles_of_other_runs_differ_from_the_models(models):
    named = sections.Other("trained", {}, True, None)
    measured = measuring.measure(TASK, models, None, [named])
    assert [c.title for c in measured.others] == ["trained (2)"]
    assert tables.Table([*measured.others, *measured.columns]).text()
