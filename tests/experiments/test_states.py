"""Fields, types and ranges of `state-<step>.json` and `cuts.json` (B23)."""

import dataclasses
import json

import pytest

from iss_rnns import errors
from iss_rnns.experiments import states

CUT = {"step": 12, "units": {"lstm_0": 3}, "cost_change": -2e-6}
STATE = {
    "epoch": 1,
    "batch": 0,
    "seconds": 1.5,
    "sizes": [4, 3],
    "designed_sizes": [4, 5],
    "shrinking": {"streaks": [[0, 2], [1]], "cuts": [CUT]},
    "pruning": {"schedules": {"lstm": {"kind": "Narang", "q": 0.5}}},
    "config": {"seed": 3},
}


def written(tmp_path, content):
    path = tmp_path / "state-7.json"
    path.write_text(
        content if isinstance(content, str) else json.dumps(content)
    )
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shrinking": None, "pruning": None, "designed_sizes": None},
        {"sizes": {"OutFwd": 1}, "designed_sizes": {"OutFwd": 4}},
        {"seconds": 3, "more": [{}]},
    ],
)
def test_what_training_writes_is_read(tmp_path, changes):
    state = {**STATE, **changes}
    assert states.read_state(written(tmp_path, state)) == state


@pytest.mark.parametrize(
    "changes, wrong",
    [
        ({"epoch": -1}, "'epoch' must be a whole number of 0 or more, got -1"),
        ({"epoch": True}, "'epoch' must be a whole number of .*, got True"),
        ({"epoch": 2**31}, "'epoch' must be a whole number"),
        ({"batch": 1.0}, "'batch' must be a whole number of .*, got 1.0"),
        ({"batch": "1"}, "'batch' must be a whole number of .*, got '1'"),
        ({"seconds": -1}, "'seconds' must be a finite number of 0 or more"),
        ({"seconds": float("nan")}, "'seconds' must be .*, got nan"),
        ({"seconds": float("inf")}, "'seconds' must be .*, got inf"),
        ({"seconds": 10**400}, "'seconds' must be a finite number"),
        ({"sizes": None}, "'sizes' must be a list of 1 or more, got None"),
        ({"sizes": []}, "'sizes' must be a list of 1 or more"),
        ({"sizes": [4, 0]}, r"'sizes'\[1\] must be a whole number of 1 or"),
        ({"sizes": {"a": 0}}, "'sizes' 'a' must be a whole number of 1 or"),
        ({"designed_sizes": 4}, "'designed_sizes' must be a list"),
        ({"shrinking": []}, r"'shrinking' must be an object, got \[\]"),
        ({"shrinking": {"cuts": []}}, "'shrinking' has no 'streaks'"),
        (
            {"shrinking": {"streaks": [[-1]], "cuts": []}},
            r"'shrinking' 'streaks'\[0\]\[0\] must be a whole number",
        ),
        (
            {"shrinking": {"streaks": [], "cuts": [{**CUT, "step": 0.5}]}},
            r"'shrinking' 'cuts'\[0\] 'step' must be",
        ),
        ({"pruning": {}}, "'pruning' has no 'schedules'"),
        (
            {"pruning": {"schedules": {"lstm": {"q": None}}}},
            "'pruning' 'schedules' 'lstm' 'q' must be a finite number",
        ),
        ({"options": {"wy": 1}}, "'options' 'wy' must be true or false, got 1"),
        ({"model": 3}, "'model' must be an object, got 3"),
        ({"max_word_size": 0}, "'max_word_size' must be a whole number of 1"),
    ],
)
def test_a_damaged_field_of_a_state_is_named(tmp_path, changes, wrong):
    path = written(tmp_path, {**STATE, **changes})
    with pytest.raises(
        errors.UserError, match=f"checkpoint state {path} is damaged: {wrong}"
    ) as caught:
        states.read_state(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("field", ["epoch", "batch", "seconds", "sizes"])
def test_a_state_without_what_training_needs(tmp_path, field):
    path = written(tmp_path, {k: v for k, v in STATE.items() if k != field})
    with pytest.raises(errors.UserError, match=f"it has no '{field}'"):
        states.read_state(path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "[" * 100000, "1" * 5000, '{"epoch": NaN}', "\0"],
)
def test_what_is_no_state_gives_one_line(tmp_path, text):
    with pytest.raises(
        errors.UserError, match="checkpoint state .*7.json(: it| is damaged: )"
    ):
        states.read_state(written(tmp_path, text))


def test_what_is_no_text_gives_one_line(tmp_path):
    (tmp_path / "state-7.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(errors.UserError, match="7.json: it is UTF-16; save"):
        states.read_state(tmp_path / "state-7.json")


def test_cuts_are_read(tmp_path):
    assert states.read_cuts(written(tmp_path, [CUT])) == [CUT]


@pytest.mark.parametrize(
    "cuts, wrong",
    [
        ({}, "it must be a list"),
        ([{}], r"it\[0\] has no 'step'"),
        ([CUT, {**CUT, "units": [3]}], r"it\[1\] 'units' must be an object"),
        (
            [{**CUT, "cost_change": float("nan")}],
            r"it\[0\] 'cost_change' must be a",
        ),
    ],
)
def test_damaged_cuts_are_told_with_the_way_on(tmp_path, cuts, wrong):
    path = written(tmp_path, cuts)
    with pytest.raises(
        errors.UserError,
        match=f"record of cuts {path} is damaged: {wrong}.*; remove it to go",
    ):
        states.read_cuts(path)


@dataclasses.dataclass
class Config:
    size: int
    rate: float
    tied: bool
    kind: str


@pytest.mark.parametrize(
    "changes, wrong",
    [
        ({"size": 4.0}, "model 'size' must be a whole number"),
        ({"size": -4}, "model 'size' must be a whole number"),
        ({"rate": float("nan")}, "model 'rate' must be a finite number"),
        ({"tied": 1}, "model 'tied' must be true or false"),
        ({"kind": None}, "model 'kind' must be a text"),
        ({"more": 1}, "model has a 'more', which is none of it"),
    ],
)
def test_fields_of_a_dataclass(changes, wrong):
    good = {"size": 4, "rate": 1, "tied": False, "kind": "a"}
    states.check_fields(Config, good, "model")
    with pytest.raises(ValueError, match=wrong):
        states.check_fields(Config, {**good, **changes}, "model")
    with pytest.raises(ValueError, match="model has no 'size'"):
        states.check_fields(Config, {}, "model")
