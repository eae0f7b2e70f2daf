"""What `--help` shows of a program: its flags, in groups, with defaults."""

from collections.abc import Callable
import sys
import textwrap

from absl import flags

from iss_rnns import terminal
from iss_rnns.experiments import program_flags

FLAGS = flags.FLAGS
WIDTH = 80


def define_flags(description: str) -> None:
    """Puts `--help`, `-h` and their like in place of absl's.

    They end the program with exit code 0 as soon as they are read, whatever
    flags are missing.

    Args:
      description: of the program, shown first.
    """
    for name, short_name, what, shown in (
        ("help", "?", "Show this text.", lambda: text(description)),
        ("help", "h", "Show this text.", lambda: text(description)),
        ("helpshort", None, "Show the names of all flags only.", names),
        (
            "helpfull",
            None,
            "Show the flags of libraries, too.",
            lambda: text(description) + _libraries(),
        ),
    ):
        flags.DEFINE_flag(_Help(name, short_name, what, shown), FLAGS, "absl")


class _Help(flags.BooleanFlag):
    """Shows a text when it is read."""

    def __init__(self, name, short_name, what, shown: Callable[[], str]):
        super().__init__(
            name, False, what, short_name=short_name, allow_override=True
        )
        self._shown = shown

    def parse(self, argument):
        if not self._parse(argument):
            return
        try:
            sys.stdout.write(self._shown())
            sys.stdout.flush()
        except BrokenPipeError:
            terminal.discard_stdout()
        sys.exit(0)


def text(description: str) -> str:
    """The description, all flags in their groups, and names of old."""
    parts = [textwrap.dedent(description).strip()]
    for title, members in program_flags.groups().items():
        parts.append("\n".join([f"{title}:", *map(_entry, members)]))
    parts.append(
        "\n".join(
            [
                "Of every program:",
                "  --flagfile=FILE",
                _filled(
                    "Read flags from a file, one a line; what begins with # "
                    "is a comment. Of a flag that is given twice, the last "
                    "one counts. Those that come with a program are found from "
                    "any folder: ptb/flags/demo.flags, or demo."
                ),
                "  --help",
                _filled(
                    "Show this text. --helpshort: only names; --helpfull: "
                    "flags of libraries, too."
                ),
            ]
        )
    )
    old = program_flags.former_names()
    if old:
        told = ", ".join(f"{name} -> {new}" for name, new in old.items())
        parts.append(
            textwrap.fill(
                f"Also read, as older versions and the authors' programs have "
                f"it: {told}.",
                WIDTH,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n\n".join(parts) + "\n"


def names() -> str:
    """All flags in their groups, without explanations."""
    parts = []
    for title, members in program_flags.groups().items():
        parts.append("\n".join([f"{title}:", *map(_heading, members)]))
    return "\n\n".join([*parts, "--help explains them."]) + "\n"


def _entry(flag: flags.Flag) -> str:
    told = " ".join(flag.help.split())
    values = getattr(flag.parser, "enum_values", None)
    if values:
        told = told.removeprefix(f"<{'|'.join(values)}>: ")  # absl's
        if not _fits(values):
            told += f" One of {', '.join(values)}."
    said = []
    if _is_required(flag):
        said.append("required")
    elif not _is_empty(flag.default):
        said.append(f"default: {_shown(flag, flag.default)}")
    authors = program_flags.authors_value(flag)
    if authors:
        said.append(f"the authors': {_shown(flag, *authors)}")
    if said:
        told += f" ({'; '.join(said)})"
    return f"{_heading(flag)}\n{_filled(told)}"


def _heading(flag: flags.Flag) -> str:
    values = getattr(flag.parser, "enum_values", None)
    if flag.boolean:
        return f"  --[no]{flag.name}"
    if values:
        what = "|".join(values) if _fits(values) else "NAME"
    else:
        what = {
            "int": "N",
            "float": "X",
            "comma separated list of strings": "A,B,...",
        }.get(flag.flag_type(), "TEXT")
    return f"  --{flag.name}={what}"


def _fits(values) -> bool:
    return len("|".join(values)) <= WIDTH // 2


def _is_required(flag: flags.Flag) -> bool:
    return any("other than None" in each.message for each in flag.validators)


def _is_empty(value) -> bool:
    return value is None or value in ("", [], {})


def _shown(flag: flags.Flag, value) -> str:
    """A value as the command line would have it."""
    if _is_empty(value):
        return "none"
    if flag.boolean:
        return "yes" if value else "no"
    return str(flag.serializer.serialize(value) if flag.serializer else value)


def _filled(told: str) -> str:
    return textwrap.fill(
        told,
        WIDTH,
        initial_indent=" " * 6,
        subsequent_indent=" " * 6,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _libraries() -> str:
    """Flags that are no program's own, as absl shows them."""
    own = {
        flag.name
        for members in program_flags.groups().values()
        for flag in members
    }
    parts = []
    for module, members in sorted(FLAGS.flags_by_module_dict().items()):
        shown = [_entry(f) for f in members if f.name not in own]
        if shown:
            parts.append("\n".join([f"{module}:", *shown]))
    return "\n" + "\n\n".join(parts) + "\n"
