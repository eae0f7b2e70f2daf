"""A program with many command lines, in one process: TensorFlow takes seconds."""

import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent

# Reads [module, precious, cases] from stdin, see `outcomes_of`.
_DRIVER = """
import contextlib, glob, hashlib, importlib, io, json, logging, pathlib
import resource, shutil, sys, traceback, unittest.mock
from absl import flags
from iss_rnns import errors
from iss_rnns.experiments import finishing, program_flags

def digest(folder):
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in pathlib.Path(folder).rglob("*") if p.is_file()}

logging.getLogger("tensorflow").setLevel(logging.ERROR)
module, precious, cases = json.load(sys.stdin)
program = importlib.import_module(module)
program.define_flags()
outcomes = {}
for name, case in cases.items():
    for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()
    if "copy" in case:
        shutil.copytree(*case["copy"])
    for file in glob.glob(case.get("damage", "")):
        pathlib.Path(file).write_bytes(b"damaged")
    before = digest(precious)
    sys.argv = ["program.py", *case["flags"]]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE,
                       (case.get("file_limit", limits[0]), limits[1]))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            rest = program_flags.parse(sys.argv)
            if case.get("parse_only"):
                ending = ["parsed", flags.FLAGS.flag_values_dict()]
            elif case.get("train_only"):
                with unittest.mock.patch.object(finishing, "finish"):
                    program.main(rest)
                ending = ["ended", ""]
            else:
                program.main(rest)
                ending = ["ended", ""]
        except errors.UserError as error:
            ending = ["UserError", str(error)]
        except Exception:
            ending = ["bug", traceback.format_exc()]
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    outcomes[name] = dict(
        ending=ending, printed=printed.getvalue(),
        untouched=digest(precious) == before)
print(json.dumps(outcomes))
"""


def outcomes_of(module, cases, precious):
    """How a program ends, one command line after the other.

    Args:
      module: of the program.
      cases: by name its flags, a list; or a dict of these `flags`, a folder to
        `copy` to another before, a pattern of files to `damage`, a
        `file_limit` in bytes, and whether to `parse_only` the flags or to
        `train_only`, without cutting, exporting and a report at the end.
      precious: folder that mistakes must leave as it is.

    Returns:
      Of each case its `ending` (`ended`, `parsed` and the flags' values,
      `UserError` and its text, or `bug` and its traceback), what it `printed`,
      and whether `precious` is `untouched`.
    """
    cases = {
        name: case if isinstance(case, dict) else {"flags": case}
        for name, case in cases.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        input=json.dumps([module, str(precious), cases]),
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def ended(outcome):
    """What a program printed that ended well."""
    kind, message = outcome["ending"]
    assert kind == "ended", message
    return outcome["printed"]


def assert_refused(outcome, pattern):
    """One line that the pattern finds something in, and nothing touched."""
    kind, message = outcome["ending"]
    assert kind == "UserError", message
    assert "\n" not in message and "{{" not in message
    assert re.search(pattern, message), message
    assert outcome["untouched"]
