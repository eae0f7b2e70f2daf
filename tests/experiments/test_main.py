"""How a program ends: one line for a user's mistake, a traceback for ours."""

import logging as stdlib_logging
import os
import re
import subprocess
import sys

from absl import logging
import pytest

from iss_rnns.experiments import main as main_lib

PROGRAM = """
from absl import flags
from iss_rnns import errors
from iss_rnns.experiments import main as main_lib

flags.DEFINE_integer("size", 1, "A number.", lower_bound=1)
flags.DEFINE_list("names", [], "Names.")

def main(argv):
    {body}

main_lib.run_main(main)
"""


def run(body, *arguments):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_B31_a_warning_is_one_line():
    done = run("import warnings; warnings.warn('x has no manifest.json')")
    assert done.returncode == 0
    assert done.stderr == "warning: x has no manifest.json\n"


@pytest.mark.parametrize(
    "body, arguments, code, line",
    [
        (
            "raise errors.UserError('no text in x; expected words')",
            [],
            2,
            "error: no text in x; expected words",
        ),
        (
            "raise errors.UserError('layer x died', argument='strength')",
            [],
            2,
            "error: layer x died$",  # This program has no such flag.
        ),
        (
            "flags.DEFINE_float('structure_wd', 0., '')\n"
            "    raise errors.UserError('layer x died', argument='strength')",
            [],
            2,
            r"error: layer x died \(strength: --structure_wd\)$",
        ),
        ("pass", ["--size=0"], 2, "error: flag --size=0: 0 is not a positive"),
        ("pass", ["--siez=1"], 2, "error: .*siez"),
        (  # B26
            "pass",
            ["--names=a,b\x1bc"],
            2,
            r"error: --names holds the control character .\\x1b.: .b\\x1bc.; exp",
        ),
        (
            "raise KeyboardInterrupt",
            [],
            130,
            "interrupted; a training run goes on with --resume",
        ),
    ],
)
def test_ends_with_one_line(body, arguments, code, line):
    done = run(body, *arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert re.match(line, lines[0]), lines


def test_a_flagfile_that_is_no_text(tmp_path):
    (tmp_path / "x.flags").write_bytes(b"--size=2\n\xff")
    done = run("pass", f"--flagfile={tmp_path}/x.flags")
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: cannot read flags .*/x.flags: it is not UTF-8: byte 0xff at "
        r"offset 9, line 2; save it as UTF-8\n",
        done.stderr,
    )


def test_a_byte_order_mark_before_flags(tmp_path):
    """B5."""
    for begin in "--size=2", "# comment\n--size=2", "\n--size=2":
        (tmp_path / "x.flags").write_bytes(b"\xef\xbb\xbf" + begin.encode())
        done = run(
            "print(flags.FLAGS.size, argv[1:])",
            f"--flagfile={tmp_path}/x.flags",
        )
        assert (done.stdout, done.stderr) == ("2 []\n", "")


@pytest.mark.parametrize("name", [b"\xff", b"a\xc3"])
@pytest.mark.parametrize("form", [["--names={}"], ["--names", "{}"]])
def test_flags_that_are_not_utf8(name, form):
    """B26: TensorFlow could not open such paths; what is no flag may be so."""
    odd = os.fsdecode(name)
    done = run("pass", "--size=1", *(part.format(odd) for part in form))
    assert done.returncode == 2 and not done.stdout
    assert re.fullmatch(
        r"error: --names is not UTF-8: 'a?\\udc..'; expected printable "
        r"characters, in UTF-8\n",
        done.stderr,
    )
    done = run("print(argv[1])", odd)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"a?\\udc..\n", done.stdout)


def test_a_bug_keeps_its_traceback():
    done = run("return 1 / 0")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


def test_a_good_run_is_silent():
    done = run("return None", "--size=2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_reader_that_leaves_early_is_no_bug():
    """As in `python -m iss_rnns compare ... | head -1`."""
    program = PROGRAM.format(body="print('line\\n' * 100000)")
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "line\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_what_does_not_fit_in_memory(capsys):
    def main(argv):
        raise MemoryError("Unable to allocate 8 GiB\nfor an array")

    assert main_lib.ending(main, []) == 2
    assert capsys.readouterr().err == (
        "error: not enough memory: Unable to allocate 8 GiB; smaller layers, "
        "batches or fewer time steps need less\n"
    )


def test_logs_are_silenced_for_the_program_only(monkeypatch):
    tensorflow = stdlib_logging.getLogger("tensorflow")
    seen = []

    def run(main, flags_parser):
        seen.append((logging.get_verbosity(), tensorflow.level))

    monkeypatch.setattr(main_lib.app, "run", run)
    before = logging.get_verbosity(), tensorflow.level
    main_lib.run_main(lambda argv: None)
    assert seen == [(logging.ERROR, stdlib_logging.ERROR)]
    assert (logging.get_verbosity(), tensorflow.level) == before


def test_home_folders_are_written_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run(
        "print(flags.FLAGS.names, argv[1:])", "--names=~/a,b~/c", "~/d", "e"
    )
    home = str(tmp_path)
    assert done.stdout == f"{[f'{home}/a', 'b~/c']} {[f'{home}/d', 'e']}\n"
