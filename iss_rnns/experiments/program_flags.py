"""What absl does not know of a program's flags: groups, older names, authors.

A program defines its flags as absl has it, inside of groups:

    with program_flags.group("Training"):
        flags.DEFINE_integer("epochs", 10, "Passes over the text.")
        program_flags.alias("max_max_epoch", "epochs")
        program_flags.authors_default("epochs", 20)

`--help` and a run's `flags.txt` show them in these groups, see `help` and
`text`. Names and values of older versions are read for ever: `parse`
translates them before absl sees them.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import re
from typing import Any, Callable, Optional

from absl import flags

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import flagfiles
from iss_rnns.experiments import from_scratch

FLAGS = flags.FLAGS
OTHER = "Other"  # group of flags that were defined in none
AS_AUTHORS = "as_authors"

# Whose flags are no program's own.
_LIBRARIES = ("absl", "tensorflow", "keras", "tf_keras", "tensorboard")

# Flags of libraries that version 1.0.0 wrote into `flags.txt`. Not every
# version of TensorFlow has them, and none before it is imported.
_WRITTEN_BY_1_0_0 = frozenset(
    """
    help helpfull helpshort helpxml only_check_args only_check_flags pdb
    pdb_post_mortem run_with_pdb run_with_profiling use_cprofile_for_profiling
    alsologtostderr log_dir logger_levels logtostderr showprefixforinfo
    stderrthreshold verbosity test_random_seed test_randomize_ordering_seed
    test_srcdir test_tmpdir xml_output_file delta_threshold hbm_oom_exit
    op_conversion_fallback_to_while_loop runtime_oom_exit tt_check_filter
    tt_single_core_summaries
    """.split()
)

Translation = Callable[[Mapping[str, str]], Sequence[str]]


@dataclasses.dataclass(frozen=True, eq=False)
class Former:
    """Names that are read, and translated into those of today.

    Attributes:
      instead: the name of today, for each; what `--help` says.
      boolean: those that are given as `--name` or `--noname`.
      translate: values (text) of those of the names that are given up to
        some place, in files before it, too -> arguments in names of today.
    """

    instead: Mapping[str, str]
    boolean: frozenset[str]
    translate: Translation


@dataclasses.dataclass
class _Notes:
    """What is known of a flag beside what absl knows."""

    group: Optional[str] = None
    former: list[Former] = dataclasses.field(default_factory=list)
    former_values: dict[str, str] = dataclasses.field(default_factory=dict)
    authors: tuple[Any, ...] = ()  # their default, if it is another


def _notes(flag: flags.Flag) -> _Notes:
    # With the flag, so that whoever copies or removes flags has these, too.
    return vars(flag).setdefault("notes", _Notes())


@contextlib.contextmanager
def group(title: str) -> Iterator[None]:
    """Flags that are defined inside belong to the group of this title.

    A title may come again; a group inside of another keeps its own flags.
    """
    before = {name: FLAGS[name] for name in FLAGS}
    yield
    for name in FLAGS:
        if FLAGS[name] is not before.get(name):
            notes = _notes(FLAGS[name])
            notes.group = notes.group or title


def alias(old: str, new: str) -> None:
    """Reads a flag under another name, too.

    Args:
      old: the name that is not shown.
      new: of a flag that is defined.
    """
    former(
        {old: new},
        lambda given: [f"--{new}={given[old]}"],
        (old,) if FLAGS[new].boolean else (),
    )


def former(
    instead: Mapping[str, str],
    translate: Translation,
    boolean: Sequence[str] = (),
) -> None:
    """Reads flags of older versions whose meaning is not just another name.

    Args:
      instead: the flag of today, for each old name; all are defined.
      translate: see `Former`.
      boolean: those of the old names that take no value.
    """
    made = Former(dict(instead), frozenset(boolean), translate)
    _notes(FLAGS[next(iter(instead.values()))]).former.append(made)


def former_value(name: str, old: str, new: str) -> None:
    """Reads a value of a flag that older versions call otherwise."""
    _notes(FLAGS[name]).former_values[old] = new


def authors_default(name: str, value: Any) -> None:
    """What `--as_authors` sets a flag to that is not given.

    Args:
      name: of a flag that is defined.
      value: the authors' default, of the flag's type.
    """
    _notes(FLAGS[name]).authors = (value,)


def define_as_authors() -> None:
    """Defines `--as_authors`, for a program with `authors_default`s."""
    flags.DEFINE_bool(
        AS_AUTHORS,
        False,
        "Behave as the authors' program where this one does otherwise by "
        "default: every flag with '(default: ...; the authors': ...)' here "
        "takes the authors'. A flag that is given wins.",
    )


def groups() -> dict[str, list[flags.Flag]]:
    """The program's own flags by group, as they were defined."""
    result: dict[str, list[flags.Flag]] = {}
    for name in FLAGS:
        flag = FLAGS[name]
        if name != flag.name or _is_of_library(name):
            continue  # a short name; a library's
        result.setdefault(_notes(flag).group or OTHER, []).append(flag)
    return result


def _is_of_library(name: str) -> bool:
    module = FLAGS.find_module_defining_flag(name) or ""
    return module.partition(".")[0] in _LIBRARIES


def authors_value(flag: flags.Flag) -> Optional[tuple[Any]]:
    """(the authors' default,) where it is another; None elsewhere."""
    found = _notes(flag).authors
    return found if found and found != (flag.default,) else None


def former_names() -> dict[str, str]:
    """All that is read and not shown -> what is said for it today."""
    result: dict[str, str] = {}
    for flag in {FLAGS[name]: None for name in FLAGS}:
        notes = _notes(flag)
        for each in notes.former:
            result.update(each.instead)
        for old, new in notes.former_values.items():
            result[f"{flag.name}={old}"] = f"{flag.name}={new}"
    return result


def text() -> str:
    """Values of the program's own flags as a flag file, in groups.

    Flags without a value are left out.
    """
    blocks = []
    for title, members in groups().items():
        lines = [line for line in (f.serialize() for f in members) if line]
        if lines:
            blocks.append("\n".join([f"# {title}", *lines, ""]))
    return "\n".join(blocks)


def parse(argv: Sequence[str], package: Optional[str] = None) -> list[str]:
    """Gives all flags the values that a command line says.

    Args:
      argv: the program, then its arguments; flag files among them may hold
        names, and flags of libraries, of older versions.
      package: of the program, whose flag files a bare name finds.

    Returns:
      The program, and arguments that are no flags.

    Raises:
      absl.flags.Error: naming the flag that is wrong.
      UserError: if a flag has no value, two names of one flag are given
        different ones, or a flag file cannot be read.
    """
    args = from_scratch.expanded(argv[1:])
    args = _translated(args, _formers(), {}, package)
    rest = FLAGS([*argv[:1], *args])
    if AS_AUTHORS in FLAGS and FLAGS[AS_AUTHORS].value:
        for members in groups().values():
            for flag in members:
                found = authors_value(flag)
                if found and not flag.present:
                    (flag.value,) = found
    from_scratch.drop_sparsity(FLAGS)
    return rest


def _formers() -> dict[str, Former]:
    """By old name. A flag of the program's is no old name of another."""
    return {
        old: each
        for name in FLAGS
        for each in _notes(FLAGS[name]).former
        for old in each.instead
    }


def _translated(
    args: Sequence[str],
    formers: Mapping[str, Former],
    given: dict[Former, dict[str, str]],
    package: Optional[str],
    above: Sequence[str] = (),
) -> list[str]:
    """Arguments in names of today, flag files in their place.

    Args:
      args: of the command line, or the lines of a flag file.
      formers: by old name.
      given: values of the old names that came before; more are put in.
      package: see `parse`.
      above: the flag file that they are from, behind those that led to it.
    """
    result: list[Any] = []  # of lists of arguments, and of `Former`
    said: dict[str, str] = {}  # by names of today
    for name, value, part in _split(args, formers):
        if name == "flagfile":
            result.append(_of_file(value, formers, given, package, above))
        elif name in formers:
            each = formers[name]
            given.setdefault(each, {})[name] = value
            # All of its names count where the last one stands.
            result = [*(p for p in result if p is not each), each]
        elif not (above and _was_written_by_1_0_0(part[0])):
            if name in FLAGS:
                new = _notes(FLAGS[name]).former_values.get(value)
                part = part if new is None else [f"--{name}={new}"]
                said[name] = value if new is None else new
            result.append(part)
    args = []
    for part in result:
        if isinstance(part, Former):
            args += _unless_said(part, given[part], said, bool(above))
        else:
            args += part
    return args


def _unless_said(
    each: Former, given: Mapping[str, str], said: dict[str, str], in_file: bool
) -> Iterator[str]:
    """What old names say, where no name of today says it already.

    A file may hold both, as `flags.txt` of 1.0.0 does, where today's counted;
    on a command line it is a mistake.
    """
    for argument in each.translate(given):
        name, _, value = argument.lstrip("-").partition("=")
        if name not in said:
            said[name] = value  # of two old names, the first counts
            yield argument
        elif not in_file and not _same(FLAGS[name], said[name], value):
            told = " ".join(f"--{k}={v}" for k, v in given.items())
            raise errors.UserError(
                f"{told} and --{name}={said[name]} are two names of one flag "
                f"and differ; give --{name} only"
            )


def _same(flag: flags.Flag, one: str, other: str) -> bool:
    try:
        return flag.parser.parse(one) == flag.parser.parse(other)
    except ValueError:
        return one == other


def _split(
    args: Sequence[str], formers: Mapping[str, Former]
) -> Iterator[tuple[str, str, list[str]]]:
    """(name, value, the arguments that say so) of each flag, as absl reads.

    The name is empty for what is no known flag, such as all behind `--`.
    """
    boolean = {"flagfile": False, "undefok": False}  # absl keeps them apart
    boolean.update({name: FLAGS[name].boolean for name in FLAGS})
    boolean.update({name: name in formers[name].boolean for name in formers})
    rest = iter(args)
    for arg in rest:
        if arg == "--":
            yield "", "", [arg, *rest]
            return
        found = re.fullmatch(r"--?([^-=][^=]*)(?:=(.*))?", arg, re.DOTALL)
        if not found:
            yield "", "", [arg]
            continue
        name, value = found.groups()
        if name in boolean:
            part = [arg]
            if value is None and boolean[name]:
                value = "true"
            elif value is None:
                value = next(rest, None)
                if value is None:
                    raise errors.UserError(
                        f"--{name} needs a value: --{name}=..."
                    )
                part.append(value)
            yield FLAGS[name].name if name in FLAGS else name, value, part
        elif boolean.get(name.removeprefix("no")):
            if value is not None:
                raise errors.UserError(f"--{name} takes no value, got {arg}")
            yield name.removeprefix("no"), "false", [arg]
        else:
            yield "", "", [arg]


def _of_file(
    path: str,
    formers: Mapping[str, Former],
    given: dict[Former, dict[str, str]],
    package: Optional[str],
    above: Sequence[str],
) -> list[str]:
    """What a flag file says, in names of today."""
    if not path.strip():
        return []
    path = flagfiles.find(path.strip(), package)
    if path in above:
        raise errors.UserError(
            f"flags {files.shown(path)} include themselves; take the "
            "--flagfile out that leads back to them"
        )
    lines = flagfiles.read(path)
    return _translated(lines, formers, given, package, [*above, path])


def _was_written_by_1_0_0(argument: str) -> bool:
    """Whether it is a library's flag that is not there today."""
    name = argument.lstrip("-").partition("=")[0]
    return not (name in FLAGS or name.removeprefix("no") in FLAGS) and bool(
        _WRITTEN_BY_1_0_0 & {name, name.removeprefix("no")}
    )
