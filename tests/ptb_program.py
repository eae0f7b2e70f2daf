"""The word language model as a program: a small text, many runs in one process."""

import hashlib
import pathlib

import numpy as np

MODULE = "ptb.ptb_word_lm"


# Reads cases from stdin: name -> {flags, copy, damage, file_limit}; writes,
# for each, how it ended and whether the folder `precious` stayed as it was.
DRIVER = """
import contextlib, glob, io, json, logging, pathlib, resource, shutil, sys
import traceback
sys.path.insert(0, {tests!r})
from absl import flags
from iss_rnns import errors
from iss_rnns.experiments import program_flags
from ptb import ptb_word_lm
from ptb_program import digest

logging.getLogger("tensorflow").setLevel(logging.ERROR)
ptb_word_lm.define_flags()
outcomes = {{}}
for name, case in json.load(sys.stdin).items():
    for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()
    if "copy" in case:
        shutil.copytree(*case["copy"])
    for file in glob.glob(case.get("damage", "")):
        pathlib.Path(file).write_bytes(b"damaged")
    before = digest(case["precious"])
    sys.argv = ["ptb_word_lm.py", *case["flags"]]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE,
                       (case.get("file_limit", limits[0]), limits[1]))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            ptb_word_lm.main(program_flags.parse(sys.argv))
            ending = ["ended", ""]
        except errors.UserError as error:
            ending = ["UserError", str(error)]
        except Exception:
            ending = ["bug", traceback.format_exc()]
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    outcomes[name] = dict(
        ending=ending, printed=printed.getvalue(),
        untouched=digest(case["precious"]) == before)
print(json.dumps(outcomes))
"""


def digest(folder):
    """Names and contents of all files below a folder."""
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(pathlib.Path(folder).rglob("*"))
        if p.is_file()
    }


def write_corpus(folder, tokens=8000, words=30):
    """Three texts in which each word tells something of the next."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for part, length in (("train", tokens), ("valid", 300), ("test", 150)):
        chain = [0]
        for _ in range(length):
            chain.append(int((chain[-1] * 7 + rng.integers(0, 3)) % words))
        lines = [
            " " + " ".join(f"w{i}" for i in chain[start : start + 12]) + " \n"
            for start in range(0, length, 12)
        ]
        (folder / f"ptb.{part}.txt").write_text("".join(lines))
