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


def test_flags_of_a_run_that_was_moved_are_those_of_where_it_is(
    tmp_path, monkeypatch
):
    """Whatever it was called when they were written."""
    run = tmp_path / "copies" / "mine"
    run.mkdir(parents=True)
    (run / "flags.txt").write_text(
        "--seed=3\n--save_path=/gone\n--tied\n\n# This run\n--run_name=old\n"
    )
    written = ["--seed=3", "--save_path=/gone", "--tied", "--run_name=old"]
    assert flagfiles.read(f"{run}/flags.txt") == written  # no run yet
    (run / "checkpoints").mkdir()
    place = ["--save_path={}", "--run_name=mine"]
    for cwd, path, folder in (
        (tmp_path, f"{run}/flags.txt", f"{tmp_path}/copies"),
        (tmp_path, "copies/mine/flags.txt", "copies"),
        (tmp_path / "copies", "mine/flags.txt", "."),
        (run, "flags.txt", f"{tmp_path}/copies"),
        (run / "checkpoints", "../flags.txt", f"{tmp_path}/copies"),
    ):
        monkeypatch.chdir(cwd)
        assert flagfiles.read(path) == [
            "--seed=3",
            "--tied",
            *(line.format(folder) for line in place),
        ]
    # As version 1.0.0 called them; other files mean what they say.
    (run / "flags.txt").write_text("--out_base_dir=out\n--run_id=00\n")
    assert flagfiles.read(f"{run}/flags.txt") == [
        line.format(f"{tmp_path}/copies") for line in place
    ]
    (run / "x.flags").write_text("--save_path=/gone\n")
    assert flagfiles.read(f"{run}/x.flags") == ["--save_path=/gone"]
