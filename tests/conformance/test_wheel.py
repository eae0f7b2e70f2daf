"""What `pip install` brings works from any folder, by its commands."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = ("iss_rnns", "ptb", "rhns", "bidaf")
FILES = ("README.md", "pyproject.toml", "setup.py")

# As the script that pip makes of an entry point.
COMMAND = """
import importlib.metadata, pathlib, sys
name, *arguments = sys.argv[1:]
(entry,) = [
    e
    for d in importlib.metadata.distributions(path=[{site!r}])
    for e in d.entry_points
    if e.name == name
]
sys.argv = [name, *arguments]
start = entry.load()
assert sys.modules[entry.module].__file__.startswith({site!r})
sys.exit(start())
"""

pytestmark = pytest.mark.skipif(
    not all((ROOT / name).exists() for name in FILES + PACKAGES),
    reason="outside of the repository",
)


@pytest.fixture(scope="module", name="site")
def fixture_site(tmp_path_factory):
    """A folder with the wheel's contents."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name,
            source / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in FILES:
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", folder, source),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def test_all_that_the_packages_hold_is_in_it(site):
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (site / path.relative_to(ROOT)).is_file(), path
    assert {p.name for p in site.iterdir() if "." not in p.name} == set(
        PACKAGES
    )
    assert (site / "iss_rnns" / "py.typed").is_file()


def test_what_it_needs_is_told_by_python(site):
    (metadata,) = site.glob("*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    for line in (
        'Requires-Dist: tensorflow==2.15.1; python_version < "3.12"',
        'Requires-Dist: tensorflow==2.21.*; python_version >= "3.12"',
        'Requires-Dist: tf_keras==2.21.*; python_version >= "3.12"',
    ):
        assert line in re.sub("tf[-_.]keras", "tf_keras", text).replace(
            "'", '"'
        )


@pytest.mark.parametrize(
    "command, arguments, message",
    [
        (
            "iss-ptb",
            ["--flagfile=small_iss_0.003", "--mode=eval"],
            "--mode=eval needs --restore_path",
        ),
        (
            "iss-rhn",
            ["--flagfile=rhns/flags/ptb_iss_sota.flags", "--mode=eval"],
            "--mode=eval needs --restore_path",
        ),
        (
            "iss-bidaf",
            ["--flagfile=iss_finetune.flags", "--mode=eval"],
            "--mode=eval needs --restore_path",
        ),
        ("iss-bidaf-prepro", [], "flag --train=None: "),
        ("iss-rnns", ["x"], "unknown command 'x'"),
    ],
)
def test_its_commands_work_from_any_folder(
    site, tmp_path, command, arguments, message
):
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(site=str(site)), command]
        + arguments,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(f"error: .*{message}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
