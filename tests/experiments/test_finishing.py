"""What is left of a dense model when training is over."""

import types

import pytest

from iss_rnns.experiments import finishing
from iss_rnns.experiments import runs

CARD = {"data": "made up"}


def net_of(units):
    return types.SimpleNamespace(sizes={"lstm_0": units})


class Task:
    """Exports a net as a file that says how many units it has."""

    def export(self, net, path, card):
        path.mkdir(parents=True, exist_ok=True)
        (path / "saved_model.pb").write_text(str(card["units"]))
        path.with_name(f"{path.name}_1x1.tflite").write_text("one step")
        return {"ms": path}


def names(run):
    folder = run.path / finishing.MODELS
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_b13_dense_weights_that_are_there_are_written(tmp_path):
    run, net = runs.RunDirectory(tmp_path, "run"), net_of(8)
    with finishing.dense_exports(Task(), run, net, net, CARD) as exports:
        assert exports == {"ms": run.path / "saved_model" / "dense"}
    assert names(run) == ["dense", "dense/saved_model.pb", "dense_1x1.tflite"]


@pytest.mark.parametrize("fails", [False, True])
def test_b13_a_net_without_weights_is_only_measured(tmp_path, fails):
    """Nor stays what was written when training first ended, without cuts."""
    run, net, designed = (
        runs.RunDirectory(tmp_path, "run"),
        net_of(4),
        net_of(8),
    )
    with finishing.dense_exports(Task(), run, designed, designed, CARD):
        pass
    assert names(run)
    try:
        with finishing.dense_exports(
            Task(), run, designed, net, CARD
        ) as exports:
            (path,) = exports.values()
            assert (path / "saved_model.pb").read_text() == "{'lstm_0': 8}"
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert names(run) == []


def test_b13_what_a_kill_leaves_of_it_goes_at_the_next_start(tmp_path):
    run = runs.RunDirectory(tmp_path, "run")
    exports = finishing.dense_exports(Task(), run, net_of(8), net_of(4), CARD)
    exports.__enter__()
    assert names(run)
    del run, exports
    (tmp_path / "run" / "checkpoints" / "state-1.json").write_text("{}")
    run = runs.RunDirectory(tmp_path, "run", resume=True)
    assert names(run) == []


def test_where_a_net_cannot_be_packed_a_line_says_why(tmp_path, capsys):
    def pack(net, folder):
        raise ImportError("sparse inference needs numba, pip install it")

    task = types.SimpleNamespace(pack=pack)
    assert finishing._packed(task, net_of(8), tmp_path) is None
    assert capsys.readouterr().out == (
        "not packed: sparse inference needs numba, pip install it\n"
    )
