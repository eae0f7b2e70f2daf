"""Files of flags."""

import pytest

from iss_rnns import errors
from iss_rnns.experiments import flagfiles


def test_lines_that_hold_a_flag(tmp_path):
    (tmp_path / "x.flags").write_bytes(
        "\ufeff# --no=1\n//--no=1\n\n  \n--b=2 # 2 \n--c=3\r\n--d=4\r --e"
        "\n--flagfile=y".encode()
    )
    assert flagfiles.read(str(tmp_path / "x.flags")) == [
        "--b=2 # 2",
        "--c=3",
        "--d=4",
        "--e",
        "--flagfile=y",
    ]


def test_a_file_in_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.flags").write_text("--a=1")
    assert flagfiles.read("~/x.flags") == ["--a=1"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "cannot read flags .*/gone: No such file"),
        ("", "cannot read flags .*: Is a directory"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, message):
    with pytest.raises(errors.UserError, match=message):
        flagfiles.read(f"{tmp_path}/{name}")
