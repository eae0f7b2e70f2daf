"""What training shows while it runs: a clock and one line."""

from collections.abc import Iterator, Sequence
import contextlib
import sys
import time
from typing import Any, Callable, Optional

import tensorflow as tf
import tqdm

from iss_rnns import callbacks as callbacks_lib

# The progress line: seconds between two refreshes, and the share of the time
# that counting units may take.
REFRESH_SECONDS = 2.0


REFRESH_SHARE = 0.002


# A bar would leave no room for the rest in 80 columns; in narrower terminals
# the end is cut off.
_LINE = "{desc}, {remaining} left{postfix}"


class Clock(tf.keras.callbacks.Callback):
    """Measures training time, without validation or checkpoints.

    Args:
      words_per_step: B * T.
      seconds_before: of earlier sessions of the same run.
    """

    def __init__(self, words_per_step: int, seconds_before: float = 0.0):
        super().__init__()
        self.words_per_step = words_per_step
        self.total = seconds_before
        self._epoch_seconds = 0.0
        self._epoch_steps = 0
        self._start = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_seconds, self._epoch_steps = 0.0, 0

    def on_train_batch_begin(self, batch, logs=None):
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        seconds = time.perf_counter() - self._start
        self.total += seconds
        self._epoch_seconds += seconds
        self._epoch_steps += 1

    def words_per_second(self) -> float:
        """Of this epoch, so far."""
        return (
            self._epoch_steps
            * self.words_per_step
            / max(self._epoch_seconds, 1e-9)
        )

    def seconds(self) -> float:
        """Training seconds of the whole run."""
        return self.total


@contextlib.contextmanager
def progress_bar(title: str, **kwargs) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal while it lasts; nothing elsewhere.

    Args:
      title: in front of it.
      **kwargs: of `tqdm.tqdm`.

    Yields:
      Function that takes (done, total).
    """
    with tqdm.tqdm(desc=title, disable=None, leave=False, **kwargs) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield show


class Progress(tf.keras.callbacks.Callback):
    """One updating line on a terminal; quiet elsewhere.

    Args:
      steps: per epoch.
      epochs: in all.
      groups: whose living units are shown.
      clock: for words/s.
      start_batch: where a resumed epoch goes on.
      show: what else is shown of a step's logs, as text; by default the
        perplexity and the words/s.
      size: what is shown behind the units, as text.
    """

    def __init__(
        self,
        steps: int,
        epochs: int,
        groups: Sequence,
        clock: Clock,
        start_batch: int = 0,
        show: Optional[Callable[[dict], str]] = None,
        size: Callable[[], str] = lambda: "",
    ):
        super().__init__()
        self.steps, self.epochs = steps, epochs
        self.groups = groups
        self.clock = clock
        self.start_batch = start_batch
        self.size = size
        self.show = show or (
            lambda logs: (
                f"perplexity {short(float(logs['perplexity']))}, "
                f"{clock.words_per_second():.0f} words/s"
            )
        )
        self._bar: Any = None
        self._shown = ""
        self._next = self._next_count = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._bar = tqdm.tqdm(
            total=self.steps * self.epochs,
            disable=None,
            leave=False,
            initial=epoch * self.steps + self.start_batch,
            bar_format=_LINE,
            desc=f"epoch {epoch + 1}/{self.epochs}",
            file=sys.stderr,
        )
        self.start_batch = 0
        self._next = 0.0

    def on_train_batch_end(self, batch, logs=None):
        if self._bar.disable:
            return
        self._bar.update()
        start = time.monotonic()
        if start < self._next:
            return
        self._next = start + REFRESH_SECONDS
        if start >= self._next_count:
            self._shown = (
                units_text(callbacks_lib.alive_units(self.groups, 0.05))
                + self.size()
            )
            # Counting reads all weights: of a large model, not so often.
            taken = time.monotonic() - start
            self._next_count = start + taken / REFRESH_SHARE
        self._bar.set_postfix_str(f"{self.show(logs)}, units {self._shown}")

    def on_epoch_end(self, epoch, logs=None):
        self.close()

    def close(self) -> None:
        """Takes the line away: of a training that broke, too."""
        if self._bar is not None:
            self._bar.close()


def short(value: float) -> str:
    """A number with as many digits as a glance takes in."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def units_text(units: dict[str, int]) -> str:
    return "/".join(str(n) for n in units.values())
