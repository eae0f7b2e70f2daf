"""The page for the first hour does what it says, command by command."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "first_hour.md"

# Trainings are as short as they can be: the page's last for minutes.
PYTHON = f"""#!/bin/sh
case "$*" in
  *--mode=*) ;;
  *ptb.ptb_word_lm*)
    set -- "$@" --hidden_sizes=8,8 --epochs=2 --max_train_steps=30 ;;
esac
exec '{sys.executable}' "$@"
"""
INSPECT = """#!/bin/sh
exec python -m iss_rnns "$@"
"""
ACTIVATE = 'PATH="$PWD/.venv/bin:$PATH"\n'


def clone(folder):
    """What a reader has after `make demo` has installed."""
    for path in ROOT.iterdir():
        if path.name not in (".git", ".venv", "runs"):
            (folder / path.name).symlink_to(path)
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(ACTIVATE)
    for name, text in {"python": PYTHON, "iss-rnns": INSPECT}.items():
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)
    (folder / ".venv" / ".stamp").touch()
    return folder


def as_script(text):
    """All blocks of a page as one script of the shell."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} == {"sh", "python"}
    return "".join(
        code if language == "sh" else f"python - <<'END'\n{code}END\n"
        for language, code in blocks
    )


@pytest.mark.slow
def test_the_commands_of_the_first_hour_run_one_after_the_other(tmp_path):
    done = subprocess.run(
        ["sh", "-e", "-c", as_script(PAGE.read_text(encoding="utf-8"))],
        cwd=clone(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = tmp_path / "runs"
    for name in ("demo", "mine"):
        assert (runs / name / "report.html").exists()
    for path in (
        "mine_cut/compressed.npz",
        "mine_exported/saved_model/compressed_1x1.tflite",
    ):
        assert (runs / path).exists()
    assert re.fullmatch(r"the( \S+){10}", done.stdout.splitlines()[-1])
