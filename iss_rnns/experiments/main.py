"""How every program begins and ends."""

from collections.abc import Callable, Iterator
import contextlib
import io
import logging as stdlib_logging
import os
import sys
from typing import Any, Optional
import warnings

from absl import app
from absl import flags
from absl import logging

from iss_rnns import errors
from iss_rnns import paths
from iss_rnns import terminal
from iss_rnns.experiments import help as help_lib
from iss_rnns.experiments import program_flags
from iss_rnns.experiments import stopping

_FLAGS_OF_ARGUMENTS = {"strength": "structure_wd"}
LARGEST = 3.4e38  # about where float32 ends, which all flags end up in


def run_main(main: Callable[[list[str]], Optional[int]]) -> None:
    """Runs a program's `main(argv)` and ends the process.

    absl flags are parsed first. A mistake of the user's ends it with one line
    on stderr, see `ending`; anything else is a bug and keeps its traceback.
    """
    # Names of files may hold what the terminal's encoding has not.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    with _quiet_logs(), stopping.on_sigterm():
        app.run(
            lambda argv: ending(main, argv),
            flags_parser=lambda argv: parse_flags(
                argv,
                sys.modules[main.__module__].__doc__ or "",
                sys.modules[main.__module__].__package__,
            ),
        )


def ending(
    main: Callable[[list[str]], Optional[int]], argv: list[str]
) -> Optional[int]:
    """Runs `main(argv)`; returns the process's exit code.

    2 after a `UserError` or for want of memory, 130 after Ctrl-C, 143 after
    SIGTERM (each with one line on stderr), 141 if whoever reads the output
    left early (`| head`), otherwise what `main` returns.
    """
    try:
        code = main(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        terminal.discard_stdout()
        return 141  # as of a program that the signal ends
    except errors.UserError as error:
        return _tell(f"error: {error}{_flag_of(error.argument)}", 2)
    except stopping.Terminated as error:
        return _tell(str(error), stopping.CODE)
    except KeyboardInterrupt:
        return _tell(
            "interrupted; a training run goes on with --resume from its last "
            "checkpoint",
            130,
        )
    except Exception as error:
        # By name, so that programs without TensorFlow start without it.
        if type(error).__name__ not in (
            "ResourceExhaustedError",
            "MemoryError",
        ):
            raise
        return _tell(
            f"error: not enough memory: {errors.reason(error)}; smaller "
            "layers, batches or fewer time steps need less",
            2,
        )


def parse_flags(
    argv: list[str], about: str = "", package: Optional[str] = None
) -> list[str]:
    """Arguments that are left when the flags are parsed and looked at.

    Args:
      argv: of the process.
      about: the program, for its `--help`.
      package: that it is in, see `program_flags.parse`.

    Raises:
      SystemExit: 2, after one line on stderr, if one of them is wrong.
    """
    try:
        # Now, for absl has defined its own.
        help_lib.define_flags(about)
        rest = program_flags.parse(argv, package)
        for name, value in flags.FLAGS.flag_values_dict().items():
            # A shell expands it in front of an argument only.
            if isinstance(value, str):
                flags.FLAGS[name].value = _expanded(value)
            elif isinstance(value, list):
                flags.FLAGS[name].value = [*map(_expanded, value)]
        for name, value in flags.FLAGS.flag_values_dict().items():
            _check_value(name, value)
        return [*rest[:1], *map(_expanded, rest[1:])]
    except (flags.Error, errors.UserError) as error:
        sys.exit(_tell(f"error: {error}", 2))


def _expanded(value: Any) -> Any:
    """A path below somebody's home folder, written out."""
    path = isinstance(value, str) and value.startswith("~/")
    return os.path.expanduser(value) if path else value


def _check_value(name: str, value: Any) -> None:
    """Refuses what would break later: in comparisons, and in `flags.txt`."""
    # Comparisons with bounds let a NaN through.
    if isinstance(value, float) and not abs(value) <= LARGEST:
        raise errors.UserError(f"--{name} must be a finite number, got {value}")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            paths.check_text(text, f"--{name}")


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """One line, without a line of source that the user did not write."""
    del category, filename, lineno, line
    print(f"warning: {message}", file=file or sys.stderr, flush=True)


def _flag_of(argument: Optional[str]) -> str:
    """Names the flag that gives an argument of the library, if one does."""
    flag = _FLAGS_OF_ARGUMENTS.get(argument or "")
    return f" ({argument}: --{flag})" if flag in flags.FLAGS else ""


def _tell(line: str, code: int) -> int:
    parts = (part.strip() for part in line.splitlines())
    print(" ".join(filter(None, parts)), file=sys.stderr)
    return code


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keeps absl and TensorFlow, which tells of every file it writes, quiet."""
    tensorflow = stdlib_logging.getLogger("tensorflow")
    before = logging.get_verbosity(), tensorflow.level
    logging.set_verbosity(logging.ERROR)
    tensorflow.setLevel(stdlib_logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before[0])
        tensorflow.setLevel(before[1])
