"""Times of several things, measured in turns."""

from collections.abc import Iterable, Mapping
import itertools
import time
from typing import Any, Callable, Optional, TypeVar

from iss_rnns import errors

Key = TypeVar("Key")


def time_in_turn(
    callables: Mapping[Key, Callable[[], Any]], rounds: int, warmup: int = 1
) -> dict[Key, list[float]]:
    """Times of each callable, warmed up; see `take_turns`.

    Args:
      callables: functions of no arguments, by name.
      rounds: calls of each one that count.
      warmup: calls of each one before, which do not.

    Returns:
      Seconds of each round by name.

    Raises:
      UserError: if `rounds` is not positive.
    """
    if rounds < 1:
        raise errors.UserError(f"rounds must be at least 1, got {rounds}")
    for _, function in itertools.product(range(warmup), callables.values()):
        function()
    return take_turns(callables, range(rounds))


def take_turns(
    callables: Mapping[Key, Callable[[], Any]],
    rounds: Iterable,
    clock: Callable[[], float] = time.perf_counter,
    before: Optional[Callable[[Key], Any]] = None,
) -> dict[Key, list[float]]:
    """Times each callable once per round.

    Taking turns, forwards and backwards, lets a slow spell of the machine
    hit all of them alike, so that their ratios hold.

    Args:
      callables: functions of no arguments that return when the work is done,
        by name.
      rounds: as many as it has items.
      clock: tells the time in seconds.
      before: called with a name before each call of its own, not timed.

    Returns:
      Seconds of each round by name.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in callables}
    order = list(callables)
    for _ in rounds:
        for name in order:
            if before:
                before(name)
            start = clock()
            callables[name]()
            seconds[name].append(clock() - start)
        order.reverse()
    return seconds
