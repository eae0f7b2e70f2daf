"""Flags out of files."""

import pytest

from iss_rnns import errors
from iss_rnns.experiments import flagfiles


def write(path, text):
    path.write_bytes(text.encode())
    return f"--flagfile={path}"


def test_lines_take_the_place_of_the_file(tmp_path):
    inner = write(tmp_path / "inner", "--c=3\r\n--d=4\r--e")
    outer = write(
        tmp_path / "outer",
        f"\ufeff# --no=1\n//--no=1\n\n  \n--b=2 # 2 \n{inner}\n--f=6\n",
    )
    expected = ["--a=1", "--b=2 # 2", "--c=3", "--d=4", "--e", "--f=6", "x"]
    assert flagfiles.expand(["--a=1", outer, "x"]) == expected
    path = outer.partition("=")[2]
    assert flagfiles.expand(["--a=1", "-flagfile", path, "x"]) == expected


def test_what_is_left_alone(tmp_path):
    for argv in (
        [],
        ["program", "--a", "b"],
        ["--", "--flagfile=none"],
        ["--flagfiles=none"],
    ):
        assert flagfiles.expand(argv) == argv
    assert flagfiles.expand(["--flagfile=", "x"]) == ["x"]


def test_one_file_twice_is_no_circle(tmp_path):
    inner = write(tmp_path / "inner", "--a=1")
    outer = write(tmp_path / "outer", f"{inner}\n{inner}")
    assert flagfiles.expand([outer]) == ["--a=1", "--a=1"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("--flagfile={0}/x", "flags .*/x include themselves; take the"),
        ("--flagfile={0}/gone", "cannot read flags .*/gone: No such file"),
        ("--flagfile={0}", "cannot read flags .*: Is a directory"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    argument = write(tmp_path / "x", text.format(tmp_path))
    with pytest.raises(errors.UserError, match=message):
        flagfiles.expand([argument])


def test_a_flagfile_without_a_name():
    with pytest.raises(errors.UserError, match="--flagfile has no value; give"):
        flagfiles.expand(["program", "--flagfile"])
