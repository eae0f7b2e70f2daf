"""How every program ends."""

import logging as stdlib_logging
import os
import sys
from typing import Callable

from absl import app
from absl import flags
from absl import logging

from iss_rnns import errors
from iss_rnns.experiments import help as help_lib
from iss_rnns.experiments import program_flags

LARGEST = 3.4e38  # about where float32 ends, which all flags end up in


def run_main(main: Callable) -> None:
    """Runs a program's `main(argv)`; absl flags are parsed first.

    A `UserError` ends it with one line on stderr and exit code 2, without a
    traceback; so does a flag that absl refuses. Whoever reads the output may
    leave early (`| head`). Anything else is a bug and keeps its traceback.
    """

    def guarded(argv):
        try:
            ending = main(argv)
            sys.stdout.flush()
            return ending
        except BrokenPipeError:
            # As of a program that the signal ends: who reads has gone. Python
            # would complain once more when it flushes on the way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except errors.UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except Exception as error:  # pylint: disable=broad-except
            # By name, so that programs without TensorFlow start without it.
            if type(error).__name__ not in (
                "ResourceExhaustedError",
                "MemoryError",
            ):
                raise
            why = str(error).strip().partition("\n")[0]
            print(
                f"error: not enough memory: {why}; smaller layers, "
                "batches or fewer time steps need less",
                file=sys.stderr,
            )
            return 2
        except KeyboardInterrupt:
            print(
                "interrupted; a training run goes on with --resume from "
                "its last checkpoint",
                file=sys.stderr,
            )
            return 130

    def parse(argv):
        try:
            for argument in argv[1:]:
                # TensorFlow could not open them, hours later.
                if argument.startswith("-") and not _is_text(argument):
                    raise flags.Error(
                        f"{ascii(argument)} is not UTF-8; rename the file or "
                        "folder"
                    )
            # Now, for absl has defined its own.
            help_lib.define_flags(sys.modules[main.__module__].__doc__ or "")
            rest = program_flags.parse(argv)
            # Comparisons with bounds let a NaN through.
            for name, value in flags.FLAGS.flag_values_dict().items():
                if isinstance(value, float) and not abs(value) <= LARGEST:
                    raise flags.Error(
                        f"--{name} must be a finite number, got {value}"
                    )
            return rest
        except (flags.Error, errors.UserError) as error:
            print("error:", " ".join(str(error).split()), file=sys.stderr)
            sys.exit(2)

    # Names of files may hold what the terminal's encoding has not.
    sys.stdout.reconfigure(errors="backslashreplace")
    # TensorFlow tells of every file that it writes.
    logging.set_verbosity(logging.ERROR)
    stdlib_logging.getLogger("tensorflow").setLevel(stdlib_logging.ERROR)
    app.run(guarded, flags_parser=parse)


def _is_text(argument: str) -> bool:
    """Whether it was UTF-8 on the command line."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True
