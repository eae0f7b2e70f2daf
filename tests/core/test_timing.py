"""Times, taken in turns."""

import pytest

from iss_rnns import errors
from iss_rnns import timing


def test_times_are_taken_in_turns():
    calls, clock = [], [0.0]

    def costing(name, seconds):
        def function():
            calls.append(name)
            clock[0] += seconds[min(calls.count(name), len(seconds)) - 1]

        return function

    taken = timing.take_turns(
        {
            "slow": costing("slow", [2.0, 8.0, 4.0]),
            "fast": costing("fast", [1.0]),
        },
        range(3),
        lambda: clock[0],
    )
    assert calls == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert taken == {"slow": [2.0, 8.0, 4.0], "fast": [1.0, 1.0, 1.0]}


def test_what_warms_up_does_not_count():
    calls = []
    taken = timing.time_in_turn({"a": lambda: calls.append(1)}, 3, warmup=2)
    assert len(calls) == 5 and len(taken["a"]) == 3


def test_it_needs_a_round():
    with pytest.raises(errors.UserError, match="rounds.*at least 1, got 0"):
        timing.time_in_turn({"a": lambda: None}, rounds=0)


def test_what_comes_before_a_call_is_not_timed():
    clock, before = [0.0], []

    def prepare(name):
        before.append(name)
        clock[0] += 5.0

    def work():
        clock[0] += 1.0

    taken = timing.take_turns(
        {"a": work, "b": work}, range(2), lambda: clock[0], prepare
    )
    assert before == ["a", "b", "b", "a"]
    assert taken == {"a": [1.0, 1.0], "b": [1.0, 1.0]}
