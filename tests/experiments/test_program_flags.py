"""A program's flags: their groups, names of old, the authors' defaults."""

import re

from absl import flags
import pytest

from iss_rnns import errors
from iss_rnns.experiments import program_flags

pytestmark = pytest.mark.usefixtures("program")

RUN = ["--mode=train", "--noresume", "--save_path=runs"]
TRAINING = ["--epochs=3", "--compare_with=", "--rate=0.1", "--noas_authors"]


@pytest.fixture(name="program")
def fixture_program(empty_flags):
    """Flags of a program, and one of a library."""
    flags.DEFINE_flag(
        flags.BooleanFlag("verbose", False, "Say more."),
        module_name="absl.logging",
    )
    with program_flags.group("Run"):
        flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")
        program_flags.former_value("mode", "test", "eval")
        flags.DEFINE_bool("resume", False, "Go on.")
        program_flags.alias("continue", "resume")
        flags.DEFINE_string("save_path", "runs", "Folder of the runs.")
        program_flags.alias("out_base_dir", "save_path")
        program_flags.authors_default("save_path", "out")
        flags.DEFINE_string("restore_path", None, "Start from there.")
        program_flags.former(
            {"load": "restore_path", "load_path": "restore_path"},
            lambda given: (
                [
                    "--restore_path="
                    + (
                        ""
                        if given.get("load") == "false"
                        else given["load_path"]
                    )
                ]
                if given.keys() != {"load"} or given["load"] == "false"
                else []
            ),
            ["load"],
        )
    with program_flags.group("Training"):
        flags.DEFINE_integer(
            "epochs", 3, "Passes over the text.", lower_bound=0
        )
        program_flags.alias("max_max_epoch", "epochs")
        program_flags.alias("num_epochs", "epochs")
        program_flags.authors_default("epochs", 20)
        flags.DEFINE_list("compare_with", [], "Other runs.")
        flags.DEFINE_float("rate", 0.1, "Of learning.", short_name="r")
        program_flags.authors_default("rate", 0.1)
        program_flags.define_as_authors()
    return empty_flags


def parse(*arguments):
    """Values of all flags, and what is none."""
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    rest = program_flags.parse(["program", *arguments])
    values = flags.FLAGS.flag_values_dict()
    values.pop("r")  # the short name
    return values, rest[1:]


def names(title):
    return [flag.name for flag in program_flags.groups()[title]]


def test_flags_belong_to_the_group_they_are_defined_in():
    assert list(program_flags.groups()) == ["Run", "Training"]
    assert names("Run") == ["mode", "resume", "save_path", "restore_path"]
    assert names("Training") == [
        "epochs",
        "compare_with",
        "rate",
        "as_authors",
    ]


def test_a_group_may_come_again_and_hold_another():
    with program_flags.group("Run"):
        flags.DEFINE_integer("seed", 0, "Of noise.")
        with program_flags.group("Data"):
            flags.DEFINE_string("data_path", None, "A folder.")
    assert names("Run")[-1] == "seed"
    assert names("Data") == ["data_path"]


def test_a_flag_that_is_defined_in_no_group_is_not_lost():
    flags.DEFINE_integer("forgotten", 1, "In no group.")
    assert names(program_flags.OTHER) == ["forgotten"]
    assert "--forgotten=1" in program_flags.text().splitlines()


def test_the_text_holds_the_programs_flags_only_in_groups():
    parse()
    lines = ["# Run", *RUN, "", "# Training", *TRAINING]
    assert program_flags.text().splitlines() == lines


def test_the_text_is_a_flag_file_of_the_same_values(tmp_path):
    before, _ = parse(
        "--mode=eval",
        "--resume",
        "--compare_with=a,b c",
        "--rate=1e-7",
        "--load_path=a = b",
    )
    (tmp_path / "flags.txt").write_text(program_flags.text())
    after, _ = parse(f"--flagfile={tmp_path}/flags.txt")
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--epochs=4"], {"epochs": 4}),
        (["--max_max_epoch=4"], {"epochs": 4}),
        (["-max_max_epoch=4"], {"epochs": 4}),
        (["--max_max_epoch", "4", "--rate=2"], {"epochs": 4, "rate": 2.0}),
        (["-r", "2", "--num_epochs=4"], {"epochs": 4, "rate": 2.0}),
        (["--mode=test"], {"mode": "eval"}),
        (["--mode", "test"], {"mode": "eval"}),
        (["--continue"], {"resume": True}),
        (["--continue", "--nocontinue"], {"resume": False}),
        (["--continue=true"], {"resume": True}),
        (["--load_path=x"], {"restore_path": "x"}),
        (["--load_path=x", "--noload"], {"restore_path": ""}),
        (["--noload", "--load_path=x"], {"restore_path": ""}),
        (["--load"], {}),
        (["--epochs=4", "--max_max_epoch=4"], {"epochs": 4}),
        (["--rate=0.50", "--rate=.5"], {"rate": 0.5}),
        (["--max_max_epoch=1", "--max_max_epoch=2"], {"epochs": 2}),
        # A value is no flag.
        (["--save_path", "--max_max_epoch"], {"save_path": "--max_max_epoch"}),
    ],
)  # fmt: skip
def test_names_and_values_of_old_are_translated(arguments, changes):
    default, _ = parse()
    values, rest = parse(*arguments)
    assert values == {**default, **changes}
    assert not rest


def test_flags_may_stand_behind_arguments_but_not_behind_dashes():
    values, rest = parse("run", "--max_max_epoch=4", "--", "--num_epochs=5")
    assert rest == ["run", "--num_epochs=5"]
    assert values["epochs"] == 4


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--max_max_epoch=4", "--epochs=5"],
            "--max_max_epoch=4 and --epochs=5 are two names of one flag and "
            "differ; give --epochs only",
        ),
        (["--epochs=5", "--max_max_epoch=4"], "two names of one flag"),
        (["--num_epochs=5", "--max_max_epoch=4"], "two names of one flag"),
        (["--noload", "--restore_path=x"], "two names of one flag"),
        (["--max_max_epoch=x", "--epochs=x"], "--epochs=x: .*'x'"),
        (["--max_max_epoch"], "--max_max_epoch needs a value"),
        (["--epochs"], "--epochs needs a value"),
        (["--flagfile"], "--flagfile needs a value"),
        (["--nocontinue=1"], "--nocontinue takes no value, got --nocontinue=1"),
        (["--noresume=1"], "--noresume takes no value"),
        (["--flagfile=nowhere"], "cannot read flags nowhere: No such"),
        (["--epoch=1"], "'epoch'. Did you mean: epochs"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, line):
    with pytest.raises((flags.Error, errors.UserError), match=line):
        parse(*arguments)


def test_a_flag_file_may_say_both_and_todays_name_counts(tmp_path):
    """As 1.0.0 had it, and wrote it: --epochs instead of --max_max_epoch."""
    file = tmp_path / "flags.txt"
    for lines in ("--epochs=4\n--max_max_epoch=500", "--num_epochs=4"):
        file.write_text(lines)
        assert parse(f"--flagfile={file}")[0]["epochs"] == 4
    # What stands behind wins, whatever its name.
    for last in ("--epochs=7", "--max_max_epoch=7", "--num_epochs=7"):
        assert parse(f"--flagfile={file}", last)[0]["epochs"] == 7


def test_old_names_that_belong_together_may_stand_apart(tmp_path):
    (tmp_path / "x").write_text("--load_path=run\n")
    (tmp_path / "y").write_text("--noload\n")
    assert parse(f"--flagfile={tmp_path}/x")[0]["restore_path"] == "run"
    values, _ = parse(f"--flagfile={tmp_path}/x", "--noload")
    assert values["restore_path"] == ""
    values, _ = parse(f"--flagfile={tmp_path}/y", "--load_path=run")
    assert values["restore_path"] == ""
    values, _ = parse(f"--flagfile={tmp_path}/y", "--restore_path=run")
    assert values["restore_path"] == "run"


def test_flag_files_read_each_other(tmp_path):
    (tmp_path / "one.flags").write_text("# Comment\n\n--rate=2\n--epochs=1\n")
    (tmp_path / "two.flags").write_text(
        f"// Comment\n--flagfile={tmp_path}/one.flags\n --epochs=2 \n"
    )
    values, _ = parse(f"--flagfile={tmp_path}/two.flags", "--mode=eval")
    assert (values["rate"], values["epochs"], values["mode"]) == (2, 2, "eval")
    values, _ = parse("--flagfile", f"{tmp_path}/one.flags")
    assert values["epochs"] == 1


def test_one_file_twice_is_no_circle(tmp_path):
    (tmp_path / "one.flags").write_text("--epochs=1\n")
    line = f"--flagfile={tmp_path}/one.flags\n"
    (tmp_path / "two.flags").write_text(f"{line}{line}--flagfile=\n")
    assert parse(f"--flagfile={tmp_path}/two.flags")[0]["epochs"] == 1


def test_a_flag_file_that_reads_itself(tmp_path):
    (tmp_path / "a").write_text(f"--flagfile={tmp_path}/b\n")
    (tmp_path / "b").write_text(f"--flagfile={tmp_path}/a\n")
    with pytest.raises(
        errors.UserError, match="flags .*/a include themselves; take the"
    ):
        parse(f"--flagfile={tmp_path}/a")


def test_flags_of_libraries_in_a_file_of_old_are_passed_over(tmp_path):
    """Version 1.0.0 wrote them into flags.txt; elsewhere they are mistakes."""
    file = tmp_path / "flags.txt"
    file.write_text(
        "--nohelp\n--verbose\n--test_tmpdir=/tmp/x\n--epochs=4\n"
        "--nott_check_filter\n--hbm_oom_exit\n"
    )
    values, _ = parse(f"--flagfile={file}")
    assert values["epochs"] == 4 and values["verbose"]
    with pytest.raises(flags.Error, match="test_tmpdir"):
        parse("--test_tmpdir=/tmp/x")
    file.write_text("--tset_tmpdir=/tmp/x\n")
    with pytest.raises(flags.Error, match="tset_tmpdir"):
        parse(f"--flagfile={file}")


def test_as_authors_takes_their_defaults_but_for_what_is_given():
    assert parse()[0]["epochs"] == 3
    values, _ = parse("--as_authors")
    assert (values["epochs"], values["save_path"]) == (20, "out")
    assert values["rate"] == 0.1
    for name in ("epochs", "max_max_epoch"):
        for arguments in ([f"--{name}=3", "--as_authors"],
                          ["--as_authors", f"--{name}=3"]):  # fmt: skip
            values, _ = parse(*arguments)
            assert (values["epochs"], values["save_path"]) == (3, "out")
    assert parse("--as_authors", "--noas_authors")[0]["epochs"] == 3


def test_the_text_says_what_the_authors_defaults_were():
    """A run stays as it was should more of them come later."""
    parse("--as_authors")
    lines = program_flags.text().splitlines()
    assert {"--as_authors", "--epochs=20", "--save_path=out"} <= set(lines)


def test_former_names_are_told():
    assert program_flags.former_names() == {
        "mode=test": "mode=eval",
        "continue": "resume",
        "out_base_dir": "save_path",
        "load": "restore_path",
        "load_path": "restore_path",
        "max_max_epoch": "epochs",
        "num_epochs": "epochs",
    }


def test_no_old_name_is_among_the_values():
    assert not set(program_flags.former_names()) & set()
    assert not re.search("max_max|load_path", program_flags.text())
