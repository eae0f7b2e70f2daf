"""`--help` of a program: all of its flags, and its end."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = '''
"""Sorts numbers: the program.

    python -m sort --out=FOLDER
"""
import sys
from absl import flags
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags

with program_flags.group("Run"):
    flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")
    flags.DEFINE_enum("kind", None, [c * 20 for c in "abc"], "Of sorting.")
    flags.DEFINE_string("out", None, "Folder.", required=True)
    program_flags.alias("out_base_dir", "out")
with program_flags.group("Training"):
    flags.DEFINE_integer("epochs", 3, "Passes.", lower_bound=1)
    program_flags.authors_default("epochs", 20)
    flags.DEFINE_bool("tied", True, "A word's " + "long " * 30 + "help.")
    flags.DEFINE_list("compare_with", [], "Other runs.")
    flags.DEFINE_float("rate", 1e-7, "Of learning.")

def main(argv):
    print("tensorflow" in sys.modules)

main_lib.run_main(main)
'''

HELP = """\
Sorts numbers: the program.

    python -m sort --out=FOLDER

Run:
  --mode=train|eval
      What to do. (default: train)
  --kind=NAME
      Of sorting. One of aaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbb,
      cccccccccccccccccccc.
  --out=TEXT
      Folder. (required)

Training:
  --epochs=N
      Passes. (default: 3; the authors': 20)
  --[no]tied
      A word's long long long long long long long long long long long long long
      long long long long long long long long long long long long long long long
      long long help. (default: yes)
  --compare_with=A,B,...
      Other runs.
  --rate=X
      Of learning. (default: 1e-07)

Of every program:
  --flagfile=FILE
      Read flags from a file, one a line; what begins with # is a comment. Of a
      flag that is given twice, the last one counts. Those that come with a
      program are found from any folder: ptb/flags/demo.flags, or demo.
  --help
      Show this text. --helpshort: only names; --helpfull: flags of libraries,
      too.

Also read, as older versions and the authors' programs have it: out_base_dir ->
out.
"""


@pytest.fixture(name="run", scope="module")
def fixture_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("help") / "sort.py"
    path.write_text(textwrap.dedent(PROGRAM))

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", f"import runpy; runpy.run_path({str(path)!r}"
             ", run_name='__main__')", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["--epochs=2", "-?"]]
)
def test_help_shows_all_flags_and_ends_well(run, arguments):
    """Though one that must be given is not."""
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == HELP
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_helpshort_shows_names_only(run):
    done = run("--helpshort")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "\n".join(
        [line for line in HELP.splitlines()[4:24] if line[:6] != " " * 6]
        + ["", "--help explains them.", ""]
    )


def test_helpfull_shows_flags_of_libraries_too(run):
    done = run("--helpfull")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(HELP)
    assert "--[no]alsologtostderr" in done.stdout[len(HELP) :]
    assert "--epochs" not in done.stdout[len(HELP) :]


def test_without_help_the_program_runs(run):
    """And TensorFlow is not imported for its flags."""
    done = run("--out=x", "--nohelp")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_a_missing_flag_is_told(run):
    done = run("--epochs=2")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: flag --out")
