"""Times, measured in turns."""

from collections.abc import Mapping
import itertools
import statistics
import time
from typing import Any, Callable, TypeVar

Key = TypeVar("Key")


def time_in_turn(
    callables: Mapping[Key, Callable[[], Any]], rounds: int, warmup: int = 1
) -> dict[Key, list[float]]:
    """Times of each callable, measured in turns.

    Taking turns, forwards and backwards, lets a slow spell of the machine
    hit all of them alike, so that their ratios hold.

    Args:
        callables: functions of no arguments, by name.
        rounds: calls of each one that count.
        warmup: calls of each one before, which do not.

    Returns:
        Seconds of each round by name.

    Raises:
        ValueError: if `rounds` is not positive.
    """
    if rounds < 1:
        raise ValueError(f"`rounds` must be at least 1, got {rounds}.")
    for _, function in itertools.product(range(warmup), callables.values()):
        function()
    seconds: dict[Key, list[float]] = {name: [] for name in callables}
    order = list(callables)
    for _ in range(rounds):
        for name in order:
            start = time.perf_counter()
            callables[name]()
            seconds[name].append(time.perf_counter() - start)
        order.reverse()
    return seconds


def measure_latency(
    callables: Mapping[Key, Callable[[], Any]], rounds: int, warmup: int = 1
) -> dict[Key, float]:
    """Median seconds of each callable by name; see `time_in_turn`."""
    return {
        name: statistics.median(times)
        for name, times in time_in_turn(callables, rounds, warmup).items()
    }
