"""Flags of every program: shown in full, old names read, kept in flags.txt."""

import dataclasses
import importlib
import pathlib
import re
import subprocess
import sys

from absl import flags
import pytest

from bidaf import cli
from iss_rnns import errors
from iss_rnns.experiments import program_flags
from ptb import ptb_word_lm
from rhns import rhn_train

ROOT = pathlib.Path(__file__).parents[2]
OLD_RUNS = ROOT / "tests" / "data" / "v1.0.0" / "runs"

TASKS = {"ptb": ptb_word_lm, "rhns": rhn_train, "bidaf": cli}
PROGRAMS = {
    "ptb.ptb_word_lm": "--config_file",
    "rhns.rhn_train": "--group_config",
    "bidaf.cli": "--forward_name",
    "bidaf.prepro": "--sentence_splitter",
    "bidaf.evaluate": "python -m bidaf.evaluate",
    "bidaf.data.synthetic": "--vector_size",
    "iss_rnns.experiments.reports.compare": "--papers",
}
# Task -> what an older version or the authors' program has, and today's.
FORMER = {
    "ptb": {
        "--global_decay=0.25": {"structure_wd": 0.25},
        "--hidden_size1=373 --hidden_size2=315": {
            "hidden_sizes": ["373", "315"]
        },
        "--hidden_size2=315": {"hidden_sizes": ["1500", "315"]},
        "--use_fp16": {"mixed_precision": True},
        "--nouse_fp16": {},
    },
    "rhns": {
        "--max_max_epoch=7": {"epochs": 7},
        "--load_model=run": {"restore_path": "run"},
    },
    "bidaf": {
        "--mode=test": {"mode": "eval"},
        "--mode=forward": {"mode": "forward"},
        "--load_path=run": {"restore_path": "run"},
        "--load --load_path=run": {"restore_path": "run"},
        "--load_path=run --noload": {"restore_path": ""},
        "--load=false --load_path=run": {"restore_path": ""},
        "--out_base_dir=out": {"save_path": "out"},
        "--run_id=00": {"run_name": "00"},
        "--plot_weights": {"display_weights": True},
        "--num_steps=5": {"max_train_steps": 5},
        "--num_steps=5 --num_epochs=7": {"max_train_steps": 5},
        "--num_steps=0": {"max_train_steps": 0, "epochs": 12},
        "--num_epochs=7 --num_steps=0": {"max_train_steps": 0, "epochs": 7},
        "--num_epochs=7": {},  # Theirs counts with --num_steps=0 only.
        "--save_period=5": {"checkpoint_every": 5},
        "--init_lr=0.5": {"learning_rate": 0.5},
    },
}
DIFFER = {
    "ptb": ["--global_decay=1 --structure_wd=2", "--hidden_size1=3 "
            "--hidden_sizes=3,3", "--use_fp16 --nomixed_precision"],
    "rhns": ["--max_max_epoch=1 --epochs=2",
             "--load_model=a --restore_path=b"],
    "bidaf": ["--load_path=a --restore_path=b", "--noload --restore_path=b",
              "--run_id=a --run_name=b", "--out_base_dir=a --save_path=b",
              "--num_steps=1 --max_train_steps=2", "--num_steps=0 --epochs=3",
              "--plot_weights --nodisplay_weights",
              "--save_period=1 --checkpoint_every=2",
              "--init_lr=1 --learning_rate=2"],
}  # fmt: skip
# Defaults that the authors' program has otherwise.
AUTHORS = {
    "ptb": {"export_epoch": "last", "drop_unseen": True},
    "rhns": {
        "dataset": "ptb",
        "export_epoch": "best_of_all",
        "drop_unseen": True,
    },
    "bidaf": {"save_path": "out", "export_epoch": "last"},
}
# Rows of the papers: their flag files behave as the authors' programs.
PUBLISHED = {
    "ptb": ["large_dense", "sparselarge_iss", "direct_design",
            "sparselarge_l1", "sparselarge_row_col", "small_dense",
            "medium_dense", "small_iss_0.003"],
    "rhns": ["ptb_sota", "ptb_iss_sota", "ptb_iss_1000", "enwik8_sota",
             "text8_sota"],
    "bidaf": ["baseline", "iss_finetune", "iss_finetune_scaled",
              "iss_scratch", "l1_finetune", "row_col_finetune",
              "frozen_finetune"],
}  # fmt: skip
# Flags of old runs that two of today's stand for.
TOGETHER = {"num_epochs": {"epochs": 0}, "load": {"restore_path": None}}
# Where a program's default is not that of its options.
OWN_DEFAULTS = {
    ("ptb", "model"): "small",
    # A run of version 1.0.0, which lacks it, cut whatever was dead.
    **{(task, "least_gain"): 1.0 for task in ("ptb", "rhns", "bidaf")},
}
OLD_TASKS = {"bidaf": "bidaf", "highway": "rhns"}  # those of others: ptb

# Starts a program as `python -m` does; says last whether TensorFlow is there.
RUN = """
import runpy, sys
import iss_rnns
module, *arguments = sys.argv[1:]
sys.argv = [module, *arguments]
code = None
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    if module.endswith("compare"):  # `iss-rnns compare`
        from iss_rnns.experiments.reports import compare
        compare.start()
except SystemExit as ending:
    code = ending.code
print("ENDED", code, "tensorflow" in sys.modules)
"""


@pytest.fixture(name="task", params=TASKS)
def fixture_task(request, empty_flags):
    """Name of a task whose flags are defined."""
    del empty_flags
    TASKS[request.param].define_flags()
    return request.param


def parse(*arguments):
    """Values of all flags, by name."""
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    assert program_flags.parse(["program", *arguments]) == ["program"]
    return flags.FLAGS.flag_values_dict()


def run(module, *arguments):
    """(stdout, stderr, exit code, whether TensorFlow was imported)."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    found = re.search(r"ENDED (\S+) (\S+)\n$", done.stdout)
    assert found, done.stderr
    text = done.stdout[: found.start()]
    return text, done.stderr, int(found[1]), found[2] == "True"


@pytest.mark.parametrize("module", PROGRAMS)
def test_help_comes_without_tensorflow_and_ends_well(module):
    text, wrong, code, with_tensorflow = run(module, "--help")
    assert (wrong, code, with_tensorflow) == ("", 0, False)
    assert PROGRAMS[module] in text
    # Of absl's own, two.
    ours = text[text.index("Of every program:") :]
    assert re.findall(r"^  --(\w+)", ours, re.MULTILINE) == ["flagfile", "help"]
    assert "logtostderr" not in text and f"{program_flags.OTHER}:" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_wrong_flag_is_told_without_tensorflow(module):
    text, wrong, code, with_tensorflow = run(module, "--no_such_flag=1")
    assert (text, code, with_tensorflow) == ("", 2, False)
    assert re.fullmatch("error: .*no_such_flag.*\n", wrong)


def test_the_command_line_of_iss_rnns():
    done = subprocess.run(
        [sys.executable, "-m", "iss_rnns", "compare", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "python -m iss_rnns compare" in done.stdout
    assert "--sparse_json=TEXT" in done.stdout


def test_every_flag_has_a_group_and_a_text(task):
    groups = program_flags.groups()
    assert program_flags.OTHER not in groups
    assert list(groups)[0] == "Run" and "Machine" in groups
    for members in groups.values():
        for flag in members:
            text = flag.help.rstrip()
            assert text.endswith(".") and len(text) >= 20, (task, flag.name)


@pytest.mark.parametrize(
    ("task", "arguments"),
    [(task, line) for task in FORMER for line in FORMER[task]],
    indirect=["task"],
)
def test_names_of_old_mean_those_of_today(task, arguments):
    default = parse()
    assert parse(*arguments.split()) == {**default, **FORMER[task][arguments]}


def test_the_table_has_every_name_of_old(task):
    told = " ".join(FORMER[task])
    for old in program_flags.former_names():
        assert f"--{old}" in told, old


@pytest.mark.parametrize(
    ("task", "arguments"),
    [(task, line) for task in DIFFER for line in DIFFER[task]],
    indirect=["task"],
)
def test_two_names_with_two_values_are_told(task, arguments):
    del task
    old, new = arguments.split()
    with pytest.raises(errors.UserError, match="two names of one flag"):
        parse(old, new)
    with pytest.raises(errors.UserError, match="two names of one flag"):
        parse(new, old)


def test_as_authors_takes_back_what_differs(task):
    default = parse()
    expected = {**default, "as_authors": True, **AUTHORS[task]}
    assert parse("--as_authors") == expected


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (task, path.stem)
        for task in TASKS
        for path in sorted((ROOT / task / "flags").glob("*.flags"))
    ],
    indirect=["task"],
)
def test_flag_files_use_names_of_today(task, name, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = ROOT / task / "flags" / f"{name}.flags"
    old = program_flags.former_names()
    for line in path.read_text().splitlines():
        assert line[2:].partition("=")[0] not in old, line
        assert line[2:] not in old, line
    values = parse(f"--flagfile={path}")
    if name in PUBLISHED[task]:
        assert values["as_authors"]


def old_flags(name):
    """Lines of an old run's flags.txt that are the program's: name, text."""
    for line in (OLD_RUNS / name / "flags.txt").read_text().splitlines():
        flag, equals, text = line[2:].partition("=")
        if not equals:
            flag, text = (
                (flag[2:], "false") if flag.startswith("no") else (flag, "true")
            )
        yield flag, text


def old_task(name):
    return OLD_TASKS.get(name.removesuffix("_killed"), "ptb")


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (old_task(path.name), path.name)
        for path in sorted(OLD_RUNS.iterdir())
        if old_task(path.name) in TASKS
    ],
    indirect=["task"],
)
def test_flags_of_old_runs_keep_their_values(task, name):
    """Each line means today what it meant in version 1.0.0."""
    file = OLD_RUNS / name / "flags.txt"
    values = parse(f"--flagfile={file}")
    checked = 0
    instead = program_flags.former_names()
    for flag, text in old_flags(name):
        if flag in program_flags._WRITTEN_BY_1_0_0:
            continue
        if flag in TOGETHER:
            assert TOGETHER[flag].items() <= values.items()
            continue
        text = instead.get(f"{flag}={text}", text).rpartition("=")[2]
        today = flags.FLAGS[instead.get(flag, flag)]
        if today.name == "save_path" and (file.parent / "checkpoints").exists():
            text = str(OLD_RUNS)  # Where it lies now.
        assert values[today.name] == today.parser.parse(text), (task, flag)
        checked += 1
    assert checked > 20


def test_flags_that_are_kept_are_the_programs_own(task, tmp_path):
    """In names of today, as a flag file that says the same again."""
    arguments = [
        "--seed=3", "--compare_with=a,b", "--resume", "--as_authors",
        next(iter(FORMER[task])).split()[0],
    ]  # fmt: skip
    before = parse(*arguments)
    text = program_flags.text()
    assert text.startswith("# Run\n--mode=")
    kept = {
        line[2:].partition("=")[0].removeprefix("no")
        for line in text.splitlines()
        if line.startswith("--")
    }
    assert not kept & set(program_flags.former_names())
    assert not kept & {"verbosity", "help", "logtostderr", "pdb"}
    (tmp_path / "flags.txt").write_text(text)
    assert parse(f"--flagfile={tmp_path}/flags.txt") == before


def test_defaults_are_those_of_the_options(task):
    """Both are written down: flags are read without TensorFlow."""
    values = parse()
    options = importlib.import_module(f"{task}.options").Options
    found = dataclasses.asdict(options.from_flags(values))
    checked = 0
    for field in dataclasses.fields(options):
        if isinstance(field.default, (bool, int, float, str)):
            expected = OWN_DEFAULTS.get((task, field.name), field.default)
            assert found[field.name] == expected, field.name
            checked += 1
    assert checked > 10


def test_choices_equal_what_the_library_has():
    from ptb import configs
    from ptb import model

    assert tuple(model.CELLS) == configs.CELLS
