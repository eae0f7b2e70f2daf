"""What becomes of a program that is asked to end: SIGTERM.

While a model trains it ends at the end of the step, when a checkpoint is
saved; at any other time at once. A second SIGTERM kills it. Of several workers
that train together, all do when one is asked: see `distribution`.
"""

from collections.abc import Iterator
import contextlib
import signal
import threading

CODE = 128 + signal.SIGTERM  # as a shell shows what the signal ended


class Terminated(BaseException):
    """A SIGTERM; the text is for the user."""


class _Request:
    wished = False  # by a signal to this process
    asked = False  # and not yet followed
    may_wait = False
    together = False  # with others, who have to know first


_request = _Request()


@contextlib.contextmanager
def on_sigterm() -> Iterator[None]:
    """While it lasts, SIGTERM raises `Terminated`, see above."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where Python allows no handlers
        return
    before = signal.signal(signal.SIGTERM, _handle)
    try:
        yield
    finally:
        _request.asked = _request.wished = False
        signal.signal(signal.SIGTERM, before)


def _handle(number, frame) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)
    if not _request.may_wait:
        raise Terminated(
            "terminated; a training run goes on with --resume from its last "
            "checkpoint"
        )
    _request.wished = True
    _request.asked = not _request.together


@contextlib.contextmanager
def after_the_step(together: bool = False) -> Iterator[None]:
    """Inside, whoever is asked to end calls `end_if_asked` when ready.

    Args:
      together: with other processes: what a signal wishes is not asked before
        somebody calls `ask` in all of them.
    """
    _request.may_wait, _request.together = True, together
    try:
        yield
    finally:
        _request.may_wait = _request.together = False
    _request.asked |= _request.wished
    end_if_asked()


def wished() -> bool:
    """Whether a signal asked this process to end."""
    return _request.wished


def ask() -> None:
    """Has the program end as soon as a checkpoint is saved."""
    _request.asked = True


def asked() -> bool:
    """Whether the program is to end as soon as a checkpoint is saved."""
    return _request.asked


def end_if_asked(done: str = "") -> None:
    """Raises `Terminated` if the program is to end.

    Args:
      done: what is told beside it.
    """
    if _request.asked:
        raise Terminated(
            f"terminated{done}; the run goes on with --resume from its last "
            "checkpoint"
        )
