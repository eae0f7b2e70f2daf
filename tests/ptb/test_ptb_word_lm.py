"""The word language model's program: mistakes, a whole run, kill and resume.

TensorFlow takes seconds to start, so one process tries all mistakes.
"""

import json
import pathlib
import re
import sys

import killing
import numpy as np
import programs
import ptb_program
import pytest

pytestmark = pytest.mark.slow

PTB = pathlib.Path(__file__).parents[2] / "ptb"
CELL = "Model/RNN/multi_rnn_cell/cell_{}/basic_lstm_cell/weights"


def structure(decay=0.003, second="weights"):
    """The authors' settings for two layers, TensorFlow 1.0 names."""
    return {
        "learning_rate": 0.5,
        "weight_decay": 0.0,
        "dropout_keep_prob": 0.8,
        "grouplasso": {
            "global_decay": decay,
            CELL.format(0): {
                "structure_decay_multi": 1.0,
                "coupled_layer": CELL.format(1),
            },
            CELL.format(1)[: -len("weights")] + second: {
                "structure_decay_multi": 1.0,
                "coupled_layer": "Model/softmax_w",
                "couple_split_num": 1,
            },
        },
    }


# name -> (flags, the line that must come); {0} is the folder of inputs.
MISTAKES = {
    "no data": (
        ["--data_path={0}/nowhere"],
        "text folder {0}/nowhere does not exist; expected a folder",
    ),
    "empty data": (["--data_path={0}/empty"], "empty has no ptb.train.txt"),
    "empty file": (
        ["--data_path={0}/emptied"],
        "ptb.valid.txt is empty; expected text",
    ),
    "latin-1": (
        ["--data_path={0}/latin"],
        "ptb.train.txt: it is not UTF-8: byte 0xe9 at offset",
    ),
    "batch too large": (
        ["--batch_size=100", "--data_path={0}/data"],
        "batch too large for the valid text: batch_size 100 ",
    ),
    "batch too large for the training text": (
        ["--batch_size=13", "--data_path={0}/short_train"],
        "batch too large for the training text: batch_size 13 x",
    ),
    "unknown argument": (
        ["epochs=3"],
        "unknown argument 'epochs=3'; flags start with --",
    ),
    "no settings": (
        ["--config_file={0}/none.json"],
        "cannot read settings {0}/none.json: No such file",
    ),
    "broken settings": (
        ["--config_file={0}/broken.json"],
        "settings {0}/broken.json: it is no JSON: ",
    ),
    "unknown key": (
        ["--config_file={0}/key.json"],
        "key.json: unknown key 'weight_decai'",
    ),
    "wrong type": (
        ["--config_file={0}/type.json"],
        "type.json: 'weight_decay' must be a number, got '1e-4'",
    ),
    "unknown variable": (
        ["--config_file={0}/variable.json"],
        "variable.json: the model has no variable ",
    ),
    "negative decay": (
        ["--config_file={0}/negative.json"],
        "negative.json: 'grouplasso/global_decay' must be >= "
        "0 and finite in float32, got -0.1",
    ),
    "NaN decay": (
        ["--config_file={0}/good.json", "--structure_wd=nan"],
        "--structure_wd must be a number >= 0, got nan",
    ),
    "decay of nothing": (
        ["--structure_wd=0.1"],
        "--structure_wd needs a --config_file",
    ),
    "relaxed to nothing": (
        ["--relax_decay=0.1"],
        "--relax_decay needs --relax_epoch",
    ),
    "nothing relaxed": (
        ["--relax_epoch=2"],
        "--relax_epoch needs a --config_file",
    ),
    "a size and a strength": (
        ["--target_units=0.4", "--config_file={0}/good.json"],
        "--target_units needs no strength .*, 0.003: leave out --structure_wd",
    ),
    "a size out of reach": (
        ["--target_weights=0.01", "--model=test", "--data_path={0}/data"],
        "--target_weights: target_weights=0.01 cannot be reached: with one",
    ),
    "keep_prob": (
        ["--keep_prob=0"],
        r"--keep_prob must lie in \(0, 1\], got "
        "0",
    ),
    "sizes": (["--hidden_sizes=many"], "--hidden_sizes must be whole numbers"),
    "no units": (
        ["--hidden_sizes=3,0"],
        r"layer sizes must be positive, got "
        r"\(3, 0\)",
    ),
    "sizes twice": (
        ["--hidden_sizes=3,3", "--hidden_size1=3"],
        "--hidden_size1=3 and --hidden_sizes=3,3 are two names of one flag",
    ),
    "zero twice": (["--hidden_size1=0"], "--hidden_size1=0 and --hidden_sizes"),
    "blocks that are cut": (
        [
            f"--config_file={PTB / 'settings/block_grouplasso.json'}",
            "--shrink_every_steps=0",
        ],
        "--shrink_every_steps: group lasso on blocks .* leave one of the two",
    ),
    "no sizes": (
        ["--hidden_sizes="],
        "--hidden_sizes must be whole numbers, e.g. 373,315, got ''",
    ),
    "key twice": (
        ["--config_file={0}/twice.json"],
        "settings {0}/twice.json: it has the key 'weight_decay' twice",
    ),
    "nothing to evaluate": (
        ["--mode=eval"],
        "--mode=eval needs --restore_path",
    ),
    "no checkpoint": (
        ["--restore_path={0}/empty"],
        "no checkpoint at {0}/empty: expected",
    ),
    "damaged checkpoint": (
        ["--restore_path={0}/bad.ckpt"],
        "checkpoint {0}/bad.ckpt is damaged",
    ),
    "damaged weights": (
        ["--restore_path={0}/bad.npz"],
        "cannot read weights {0}/bad.npz",
    ),
    "empty weights": (
        ["--restore_path={0}/empty.npz"],
        "cannot read weights {0}/empty.npz: No data left",
    ),
    "one array": (
        ["--restore_path={0}/one.npz"],
        "cannot read weights {0}/one.npz: it holds one array",
    ),
    "no matrix": (
        ["--restore_path={0}/vector.npz"],
        r"{0}/vector.npz: 'Model/.*/kernel' has shape \(3,\); "
        "expected a matrix with 4 columns a unit",
    ),
    "binary state": (
        ["--restore_path={0}/binary"],
        "checkpoint state {0}/binary/checkpoint is damaged: ",
    ),
    "parent folder": (["--run_name=.."], r"a run's name is .* got '\.\.'"),
    "no run": (
        ["--save_path={0}", "--run_name=data"],
        "folder {0}/data is not empty and holds no run",
    ),
    "nothing to resume": (
        ["--resume", "--nooverwrite", "--run_name=new"],
        "nothing to resume: .*new/checkpoints holds no",
    ),
    "resume or overwrite": (["--resume"], "exclude each other"),
    "occupied": (
        ["--nooverwrite"],
        "precious is not empty; continue it with "
        "--resume, replace it with --overwrite",
    ),
    "brackets": (
        ["--run_name=run [1]"],
        r"TensorFlow cannot read from .*/run \[1\]: it takes \[ for a pattern",
    ),
    "two lines": (
        ["--run_name=a\nb"],
        "a run's name holds the control character",
    ),
    "no folder": (
        ["--save_path={0}/data/ptb.test.txt"],
        "cannot write to run directory {0}/data/ptb.test.txt/",
    ),
}

SMALL = [
    "--hidden_sizes=7,5",
    "--batch_size=4",
    "--epochs=2",
    "--seed=3",
    "--threads=1",
    "--checkpoint_every=13",
]


# What runs that broke name as the flags of the next one; {0}: the runs.
ADVICE = {
    "NaN": [
        "--flagfile={0}/nan/flags.txt",
        "--restore_path={0}/nan",
        "--run_name=nan-lower",
        "--learning_rate=5e+05",
    ],
    "NaN at once": [
        "--flagfile={0}/once/flags.txt",
        "--overwrite",
        "--learning_rate=5e+05",
    ],
}


@pytest.fixture(name="inputs", scope="module")
def fixture_inputs(tmp_path_factory):
    """Good and bad files that the flags point to."""
    folder = tmp_path_factory.mktemp("inputs")
    ptb_program.write_corpus(folder / "data")
    for name, damage in (
        ("emptied", {"ptb.valid.txt": b""}),
        ("latin", {"ptb.train.txt": "caf\xe9 \n".encode("latin-1")}),
        (
            "short_train",
            {
                "ptb.train.txt": " ".join(
                    ["", *(f"w{i}" for i in range(30)), "\n"]
                ).encode()
                * 6
            },
        ),
    ):
        ptb_program.write_corpus(folder / name)
        for file, content in damage.items():
            (folder / name / file).write_bytes(content)
    ptb_program.write_corpus(folder / "other", words=20)
    (folder / "empty").mkdir()
    for name, content in (
        ("good", structure()),
        ("negative", structure(-0.1)),
        ("key", {"weight_decai": 0.1}),
        ("type", {"weight_decay": "1e-4"}),
        ("variable", structure(second="weight")),
        ("broken", None),
    ):
        (folder / f"{name}.json").write_text(
            "{" if content is None else json.dumps(content)
        )
    (folder / "twice.json").write_text('{"weight_decay": 0, "weight_decay": 1}')
    (folder / "bad.npz").write_bytes(b"PK\x03\x04 not a whole archive")
    (folder / "empty.npz").write_bytes(b"")
    with open(folder / "one.npz", "wb") as file:
        np.save(file, np.zeros(3))
    np.savez(folder / "vector.npz", **{CELL.format(0): np.zeros(3, np.float32)})
    (folder / "binary").mkdir()
    (folder / "binary" / "checkpoint").write_bytes(b"\x80\xff")
    finished = folder / "shrunk (reloaded)"
    finished.mkdir()
    (finished / "report.json").write_text(
        json.dumps({"table": {"shrunk (reloaded)": {"units": [9, 8]}}})
    )
    (folder / "bad.ckpt.index").write_bytes(b"not an index")
    return folder


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(inputs, tmp_path_factory):
    """How each case ended; the good run's folder is runs/whole."""
    runs = tmp_path_factory.mktemp("runs")
    precious = runs / "precious"
    precious.mkdir()
    (precious / "flags.txt").write_text("months of work")
    common = SMALL + [f"--save_path={runs}", f"--data_path={inputs}/data"]
    good = common + [f"--config_file={inputs}/good.json"]
    cases = {
        name: {
            "flags": common
            + ["--run_name=precious", "--overwrite"]
            + [flag.format(inputs) for flag in flags]
        }
        for name, (flags, _) in MISTAKES.items()
    }
    whole = good + [
        "--run_name=whole",
        f"--compare_with={inputs}/shrunk (reloaded)",
    ]
    cases["whole"] = {"flags": whole}
    cases["other data"] = {
        "flags": common
        + [
            "--mode=eval",
            f"--restore_path={runs}/whole",
            f"--data_path={inputs}/other",
        ]
    }
    for name, source in (
        ("sizes of a run", "whole"),
        ("sizes of a file", "whole/saved_model/compressed.npz"),
    ):
        cases[name] = {
            "flags": common
            + [
                "--mode=eval",
                f"--restore_path={runs}/{source}",
                "--hidden_sizes=9,9",
            ]
        }
    cases["other sizes"] = {
        "flags": common
        + [
            f"--restore_path={runs}/whole",
            "--run_name=precious",
            "--overwrite",
            "--model=test",
        ]
    }
    cases["other flags"] = {"flags": whole + ["--resume", "--seed=4"]}
    cases["evaluate"] = {
        "flags": common + ["--mode=eval", f"--restore_path={runs}/whole"]
    }
    cases["steered"] = {
        "flags": common
        + [
            "--run_name=steered",
            "--target_weights=0.5",
            "--shrink_every_steps=40",
            "--least_gain=0",
            f"--compare_with={runs}/whole",
        ]
    }
    cases["from scratch"] = {
        "flags": [f"--from_scratch_of={runs}/steered", "--epochs=1"]
    }
    cases["disk full"] = {
        "flags": good + ["--run_name=full"],
        "file_limit": 3000,
    }
    cases["NaN"] = {
        "flags": common
        + ["--run_name=nan", "--learning_rate=1e6", "--checkpoint_every=1"]
    }
    cases["NaN at once"] = {
        "flags": common
        + ["--run_name=once", "--learning_rate=1e6", "--checkpoint_every=0"]
    }
    for name, case in ADVICE.items():
        cases[f"after {name}"] = {"flags": [flag.format(runs) for flag in case]}
    terminated = good + ["--run_name=terminated"]
    killing.terminate_midway(
        [sys.executable, "-m", ptb_program.MODULE, *terminated],
        runs / "terminated",
    )
    cases["terminated"] = {"flags": terminated + ["--resume"]}
    cases["damaged run"] = {
        "flags": good + ["--run_name=damaged", "--resume"],
        "copy": [f"{runs}/whole", f"{runs}/damaged"],
        "damage": f"{runs}/damaged/checkpoints/model-*.index",
    }
    found = programs.outcomes_of(ptb_program.MODULE, cases, precious)
    found["runs"] = runs
    return found


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_line_and_touches_nothing(name, outcomes, inputs):
    programs.assert_refused(outcomes[name], MISTAKES[name][1].format(inputs))


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "other sizes",
            "checkpoint .*/whole/checkpoints/model-.* cannot be "
            r"restored: its embedding has shape \(31, 200\), the "
            r"model needs \(31, 2\): give the data and the flags "
            r"that it was trained with \(.*whole/flags.txt\)",
        ),
        (
            "other data",
            r"its embedding has shape \(31, 200\), the model needs "
            r"\(21, 200\)",
        ),
        (
            "sizes of a run",
            r"whole has layers of \(7, 5\) units, but the flags "
            r"ask for \(9, 9\)",
        ),
        (
            "sizes of a file",
            r"compressed.npz has layers of \(\d, \d\) units, but "
            r"the flags ask for \(9, 9\)",
        ),
        (
            "other flags",
            "cannot resume: the run was made with seed = 3, now it "
            r"is 4; give the flags .*\(its flags.txt\)",
        ),
        (
            "disk full",
            "cannot write checkpoint .*/full/checkpoints/model-13: "
            ".*File too large; no checkpoint was saved yet",
        ),
        (
            "NaN",
            "training stopped: .* became (nan|inf|NaN) at step 2; lower "
            "the learning rate; the last good checkpoint is kept: ",
        ),
        (
            "damaged run",
            "checkpoint .*/damaged/checkpoints/model-.* cannot be restored: .",
        ),
    ],
)
def test_what_breaks_later_gives_one_line(name, message, outcomes):
    programs.assert_refused(outcomes[name], message)


def test_nan_leaves_finite_weights(outcomes):
    saved = killing.last_arrays(outcomes["runs"] / "nan")
    assert all(np.isfinite(array).all() for array in saved.values())


@pytest.mark.parametrize(
    "name, run", [("NaN", "nan-lower"), ("NaN at once", "once")]
)
def test_the_flags_that_nan_names_do_what_they_say(name, run, outcomes):
    """B29: word for word, a run at half the rate; which breaks, too, here."""
    runs = outcomes["runs"]
    advice = " ".join(flag.format(runs) for flag in ADVICE[name])
    assert outcomes[name]["ending"][1].endswith(f" the flags {advice}")
    kind, message = outcomes[f"after {name}"]["ending"]
    assert kind == "UserError" and re.search(
        r"^training stopped: .* --learning_rate=2.5e\+05$", message
    )
    flags = (runs / run / "flags.txt").read_text()
    assert "--learning_rate=500000.0\n" in flags
    assert (f"--restore_path={runs}/nan\n" in flags) == (run == "nan-lower")


def test_ended_by_sigterm_and_resumed_it_has_the_same_weights(outcomes):
    """B30"""
    programs.ended(outcomes["terminated"])
    runs = outcomes["runs"]
    killing.assert_same_ending(runs / "whole", runs / "terminated")


def test_a_whole_run(outcomes):
    programs.ended(outcomes["whole"])
    run = outcomes["runs"] / "whole"
    for name in (
        "flags.txt",
        "report.md",
        "plots/weights.png",
        "plots/training.png",
        "saved_model/dense/saved_model.pb",
        "saved_model/compressed/saved_model.pb",
        "saved_model/compressed/vocabulary.txt",
        "saved_model/compressed/model_card.json",
    ):
        assert (run / name).stat().st_size > 0, name
    assert "--hidden_sizes=7,5" in (run / "flags.txt").read_text()
    rows = killing.metrics(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    perplexities = [float(row["valid_perplexity"]) for row in rows]
    assert perplexities[1] < perplexities[0]
    report = json.loads((run / "report.json").read_text())
    assert "whole" in report["command"]
    assert list(report["table"])[:3] == [
        "shrunk (reloaded) (2)",
        "trained (masked)",
        "shrunk (reloaded)",
    ]


def test_a_size_is_reached_and_trained_from_scratch_beside_it(outcomes):
    """The third column: dense, made small, and the small sizes from scratch."""
    printed = programs.ended(outcomes["steered"])
    runs = outcomes["runs"]
    assert json.loads((runs / "steered" / "cuts.json").read_text())
    steered, scratch = (
        json.loads((runs / name / "report.json").read_text())
        for name in ("steered", "steered_from_scratch")
    )
    found = re.fullmatch(
        r"asked for 0.5 of the weights, reached 0.(5\d*)", steered["size"]
    )
    assert found and steered["size"] in printed.splitlines()[-3]
    assert steered["method"] == "ISS to 0.5 of the weights"
    programs.ended(outcomes["from scratch"])
    assert scratch["method"] == "from scratch" and "size" not in scratch
    table = scratch["table"]
    assert list(table)[:3] == ["whole", "steered", "trained (masked)"]
    small = steered["table"]["shrunk (reloaded)"]
    for name in ("units", "weights (M)"):
        assert table["trained (masked)"][name] == small[name]
    assert len(killing.metrics(runs / "steered_from_scratch")) == 1
    text = (runs / "steered_from_scratch" / "flags.txt").read_text()
    assert "--seed=3" in text and "target" not in text.replace(
        "target_sparsity", ""
    )


def test_evaluation_repeats_the_runs_perplexity(outcomes):
    printed = programs.ended(outcomes["evaluate"])
    found = re.search(r"valid perplexity (\S+)", printed)
    last = killing.metrics(outcomes["runs"] / "whole")[-1]["valid_perplexity"]
    np.testing.assert_allclose(float(found[1]), float(last), atol=6e-4)


def test_killed_and_resumed_it_ends_with_the_same_weights(inputs, outcomes):
    """`kill -9` in the middle of the second epoch, dropout on."""
    runs = outcomes["runs"]
    command = [
        sys.executable,
        "-m",
        ptb_program.MODULE,
        *SMALL,
        f"--save_path={runs}",
        f"--data_path={inputs}/data",
        "--run_name=killed",
        f"--config_file={inputs}/good.json",
    ]
    killing.kill_and_resume(command, runs / "killed")
    killing.assert_same_ending(runs / "whole", runs / "killed")
