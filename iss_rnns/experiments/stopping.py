"""What becomes of a program that is asked to end: SIGTERM.

While a model trains it ends at the end of the step, when a checkpoint is
saved; at any other time at once. A second SIGTERM kills it.
"""

from collections.abc import Iterator
import contextlib
import signal
import threading

CODE = 128 + signal.SIGTERM  # as a shell shows what the signal ended


class Terminated(BaseException):
    """A SIGTERM; the text is for the user."""


class _Request:
    asked = False  # and not yet followed
    may_wait = False


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
        _request.asked = False
        signal.signal(signal.SIGTERM, before)


def _handle(number, frame) -> None:
    del frame
    signal.signal(number, signal.SIG_DFL)
    if not _request.may_wait:
        raise Terminated(
            "terminated; a training run goes on with --resume from its last "
            "checkpoint"
        )
    _request.asked = True


@contextlib.contextmanager
def after_the_step() -> Iterator[None]:
    """Inside, whoever is asked to end calls `end_if_asked` when ready."""
    _request.may_wait = True
    try:
        yield
    finally:
        _request.may_wait = False
    end_if_asked()


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
