"""BiDAF's program: mistakes, a whole run, kill and resume, exported models.

TensorFlow takes seconds to start, so one process tries all command lines.
"""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import bidaf_questions
import killing
import numpy as np
import programs
import pytest
import tensorflow as tf

from bidaf import evaluate
from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import scoring
from bidaf import serving
from bidaf import train as train_lib
from bidaf.data import sources
from bidaf.data import squad
from bidaf.net import authors
from bidaf.net import groups as groups_lib
from iss_rnns import groups
from iss_rnns import thresholding
from iss_rnns.experiments import checkpoints
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
SIZES = [
    "--hidden_size=4",
    "--char_emb_size=2",
    "--char_out_size=3",
    "--out_channel_dims=3",
    "--highway_num_layers=1",
]
DATA = [
    "--data_dir=synthetic",
    "--synthetic_train=60",
    "--synthetic_dev=16",
    "--word_count_th=1",
    "--char_count_th=2",
]
# 16 steps of batches of 6, judged every 6 steps.
TRAIN = DATA + [
    "--mode=train",
    "--threads=1",
    "--seed=2",
    "--batch_size=6",
    "--len_opt",
    "--cluster",
    "--max_train_steps=16",
    "--eval_period=6",
    "--checkpoint_every=2",
    "--learning_rate=0.01",
    "--var_decay=0.8",
]
ISS = ["--structure_wd=0.01", "--group_config=iss"]
DEAD = {"ModFwd1": [1], "ModBwd1": [0, 2], "OutFwd": [3], "OutBwd": [0, 1, 2]}

# What the run that broke names as the flags of the next one; {0}: the runs.
ADVICE = [
    "--flagfile={0}/broken/flags.txt",
    "--restore_path={0}/broken",
    "--run_name=broken-lower",
    "--learning_rate=5e+29",
]

# Loads an export as anybody may: neither package can be imported.
ALONE = """
import sys
sys.modules["bidaf"] = sys.modules["iss_rnns"] = None
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
serve = loaded.signatures["serving_default"]
with np.load(sys.argv[2]) as file:
    outputs = serve(**{name: tf.constant(file[name]) for name in file})
np.savez(sys.argv[3], **{name: value.numpy()
                         for name, value in outputs.items()})
"""

# name -> (flags, the line that must come); {0} is the folder of inputs.
MISTAKES = {
    "argument": (["train"], "unknown argument 'train'; flags start with --"),
    "a size and a strength": (
        ["--target_weights=0.4", "--group_config=iss", "--structure_wd=0.1"],
        "--target_weights needs no strength of a group lasso, and there is",
    ),
    "a size of the authors' groups": (
        ["--target_units=0.4", "--group_config=authors"],
        "a size is one of the units of the model itself: with --target_units",
    ),
    "no weights": (
        ["--mode=eval"],
        "--mode=eval needs --restore_path: a checkpoint, a run",
    ),
    "weights do not count": (
        ["--mode=export", "--noload", "--load_path={0}"],
        "--mode=export needs --restore_path",
    ),
    "no data": (
        ["--data_dir={0}/nowhere"],
        "no preprocessed data at {0}/"
        "nowhere; make it with `python -m bidaf.prepro",
    ),
    "damaged data": (["--data_dir={0}/damaged"], "{0}/damaged/store.npz"),
    "NaN": (
        ["--structure_wd=nan"],
        "--structure_wd must be a number >= 0, got nan",
    ),
    "negative": (
        ["--learning_rate=-1"],
        "--learning_rate must be a number >= 0, got -1",
    ),
    "average": (["--var_decay=2"], r"--var_decay must lie in \[0, 1\], got 2"),
    "penalty of nothing": (
        ["--structure_wd=0.1"],
        "--structure_wd needs --group_config: 'iss', 'authors', or a",
    ),
    "no groups": (
        ["--group_config={0}/none.json"],
        "cannot read groups {0}/none.json: No such file",
    ),
    "broken groups": (["--group_config={0}/broken.json"], "{0}/broken.json"),
    "groups of another size": (
        [f"--group_config={ROOT / 'bidaf/groups_hidden100_scaled.json'}"],
        r"groups\[0\]\[0\] asks for rows 800:900 of 'main/g0/fw/",
    ),
    "no names": (
        ["--finetuning_config={0}/none.json"],
        "cannot read finetuning settings {0}/none.json: No such",
    ),
    "unknown names": (
        ["--finetuning_config={0}/vars.json"],
        "names 'main/g9/x', which the model lacks; it has",
    ),
    "channels": (
        ["--out_channel_dims=4"],
        "--out_channel_dims=4 add up to 4, --char_out_size is 3",
    ),
    "filters": (
        ["--out_channel_dims=-1,4", "--filter_heights=5,5"],
        "--out_channel_dims must be whole numbers from 1 on",
    ),
    "rows without structure": (
        ["--nostructured_sparsity", "--row_col_wd=0.1"],
        "--row_col_wd and --nostructured_sparsity exclude each other",
    ),
    "vectors of another width": (
        ["--restore_path={0}/wide"],
        r"{0}/wide was trained with \d+ numbers to "
        r"a word's vector, the data has \d+",
    ),
    "scoring in another way": (
        ["--mode=eval", "--wy", "--restore_path={0}/base"],
        "{0}/base was trained without --wy; give --nowy",
    ),
    "keep_prob": (
        ["--input_keep_prob=0"],
        r"--input_keep_prob must lie in \(0, 1\], got 0",
    ),
    "no vectors": (
        ["--nouse_char_emb", "--nouse_word_emb"],
        "a word has no vector",
    ),
    "no question": (
        ["--ques_size_th=1"],
        "none of the 60 questions of 'train' in .* is left",
    ),
    "not to be cut": (
        ["--answer_func=sum", *ISS],
        "answer_func 'sum' reads every",
    ),
    "no run to compare": (
        ["--compare_with={0}/nowhere"],
        "cannot compare with {0}/nowhere",
    ),
    "no vocabulary": (
        ["--mode=eval", "--restore_path={0}/dead.npz"],
        "is no run directory, so the ids of its words are "
        "unknown; give --shared_path",
    ),
    "broken vocabulary": (
        [
            "--mode=eval",
            "--restore_path={0}/dead.npz",
            "--shared_path={0}/vars.json",
        ],
        "{0}/vars.json is no vocabulary",
    ),
    "nothing there": (
        ["--mode=eval", "--restore_path={0}/none"],
        "there is nothing at --restore_path={0}/none",
    ),
    "no checkpoint": (
        [
            "--mode=eval",
            "--restore_path={0}/damaged",
            "--shared_path={0}/shared.json",
        ],
        "no checkpoint at {0}/damaged",
    ),
    "another program's run": (
        ["--restore_path={0}/other"],
        "{0}/other is no run of this version of bidaf",
    ),
    "replacing what is read": (
        ["--run_name=base", "--save_path={0}", "--restore_path={0}/base"],
        "--overwrite would remove {0}/base, which this run reads",
    ),
    "a report over its run": (
        [
            "--mode=report",
            "--run_name=base",
            "--save_path={0}",
            "--restore_path={0}/base",
        ],
        "--overwrite would remove {0}/base, which this run reads",
    ),
    "damaged weights": (
        [
            "--mode=eval",
            "--restore_path={0}/bad.npz",
            "--shared_path={0}/shared.json",
        ],
        "cannot read weights {0}/bad.npz",
    ),
    "no part": (
        [
            "--mode=forward",
            "--restore_path={0}/dead.npz",
            "--shared_path={0}/shared.json",
            "--forward_name=moon",
        ],
        "has no part 'moon'; it has train, dev",
    ),
    "cutting other groups": (
        ["--shrink_every_steps=5", "--group_config=authors"],
        "--shrink_every_steps needs --group_config=iss",
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
    "no folder": (
        ["--run_name=x", "--save_path={0}/vars.json"],
        "cannot write .*{0}/vars.json",
    ),
}


@pytest.fixture(name="inputs", scope="module")
def fixture_inputs(tmp_path_factory):
    """Good and bad files that flags point to."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "damaged").mkdir()
    (folder / "damaged" / "store.npz").write_bytes(b"PK\x03\x04 half")
    (folder / "bad.npz").write_bytes(b"PK\x03\x04 not a whole archive")
    (folder / "broken.json").write_text("{")
    (folder / "vars.json").write_text('{"var_names": ["main/g9/x"]}')
    questions = bidaf_questions.read_questions(folder)
    questions.vocabulary.save(folder / "shared.json")
    net = dead_net(questions)
    for name, more in (("base", 0), ("wide", 1)):
        base = runs.RunDirectory(folder, name)
        model = dataclasses.asdict(net.config)
        model["word_emb_size"] += more
        checkpoints.Checkpoints(base.checkpoints).save(
            train_lib.compiled(net, options_lib.Options(), questions.vectors),
            {
                "epoch": 0,
                "batch": 0,
                "seconds": 0.0,
                "model": model,
                "sizes": dict(net.sizes),
                "options": {"wy": False},
                "max_word_size": questions.sizes.max_word_size,
            },
        )
        questions.vocabulary.save(base.path / sources.VOCABULARY)
    restoring.save_weights(net, folder / "dead.npz")
    other = folder / "other" / "checkpoints"
    other.mkdir(parents=True)
    (other / "state-3.json").write_text(
        '{"epoch": 1, "batch": 0, "seconds": 1, "sizes": [4, 4]}'
    )
    tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(other / "model-3"))
    return folder


def dead_net(questions):
    """A net of the program's sizes, of which some units are dead."""
    config = model_lib.ModelConfig(
        hidden_size=4,
        char_emb_size=2,
        char_out_size=3,
        out_channel_dims="3",
        highway_num_layers=1,
    )
    options = options_lib.Options(model=config, seed=5)
    net = train_lib.new_net(options.for_data(questions), questions)
    for name, units in DEAD.items():
        (group,) = groups_lib.iss_groups(net, [name])
        thresholding.zero_units(
            groups.Group(name, group.slices),
            tf.constant(np.isin(np.arange(4), units)),
        )
    return net


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(inputs, tmp_path_factory):
    """How each case ended; the good run's folder is runs/whole."""
    runs = tmp_path_factory.mktemp("runs")
    precious = runs / "precious"
    precious.mkdir()
    (precious / "flags.txt").write_text("months of work")
    base = TRAIN + [f"--save_path={runs}"]
    good = base + ISS + [f"--restore_path={inputs}/base"]  # and its sizes
    cut = good + [
        "--shrink_every_steps=2",
        "--least_gain=0",
        "--freeze_mode=group",
    ]
    killing.kill_midway(
        [sys.executable, "-m", "bidaf.cli", *cut, "--run_name=killed"],
        runs / "killed",
    )
    cases = {
        name: base
        + SIZES
        + ["--run_name=precious", "--overwrite"]
        + [flag.format(inputs) for flag in flags]
        for name, (flags, _) in MISTAKES.items()
    }
    whole = DATA + [
        f"--restore_path={runs}/whole",
        f"--save_path={runs}",
        "--seed=2",
        "--threads=1",
    ]
    weights = (
        SIZES
        + DATA
        + [
            f"--save_path={runs}",
            f"--restore_path={inputs}/dead.npz",
            f"--shared_path={inputs}/shared.json",
            "--batch_size=6",
            "--seed=2",
            "--zero_threshold=0",
            "--threads=1",
        ]
    )
    cases.update(
        {
            "whole": cut
            + ["--run_name=whole", "--display_weights", "--papers"],
            "resumed": {
                "flags": [f"--flagfile={runs}/killed/flags.txt", "--resume"],
                "train_only": True,
            },
            "other flags": [
                f"--flagfile={runs}/killed/flags.txt",
                "--resume",
                "--learning_rate=0.02",
            ],
            "tested": whole
            + [
                "--mode=eval",
                "--noload_ema",
                "--vis",
                "--zero_threshold=0",
                f"--answer_path={runs}/answers.json",
            ],
            "part": whole
            + [
                "--mode=report",
                "--run_name=part",
                "--batch_size=6",
                "--test_num_batches=1",
            ],
            "forward": whole + ["--mode=forward", "--debug"],
            "no such step": whole + ["--mode=eval", "--load_step=3"],
            "other words": good + ["--run_name=x", "--char_count_th=99"],
            "broken": good
            + [
                "--run_name=broken",
                "--learning_rate=1e30",
                "--checkpoint_every=1",
            ],
            "lower": [flag.format(runs) for flag in ADVICE],
            "sums": {
                "flags": base
                + SIZES
                + ["--answer_func=sum", "--run_name=sums", "--debug"],
                "train_only": True,
            },
            "shrunk sums": DATA
            + [
                "--mode=shrink",
                f"--save_path={runs}",
                f"--restore_path={runs}/sums",
                "--run_name=shrunk-sums",
                "--threads=1",
            ],
            "exported": weights + ["--mode=export", "--run_name=exported"],
            "shrunk": weights + ["--mode=shrink", "--run_name=shrunk"],
        }
    )
    cases.update(
        {
            path.name: {"flags": [f"--flagfile={path}"], "parse_only": True}
            for path in (ROOT / "bidaf" / "flags").glob("*.flags")
        }
    )
    found = programs.outcomes_of("bidaf.cli", cases, precious)
    found["runs"] = runs
    return found


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_line_and_touches_nothing(name, outcomes, inputs):
    programs.assert_refused(outcomes[name], MISTAKES[name][1].format(inputs))


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "other flags",
            "cannot resume: the run was made with options = .*"
            "'init_lr': 0.01.*, now it is .*'init_lr': 0.02",
        ),
        ("no such step", "holds no checkpoint of step 3; it has .*16"),
        (
            "other words",
            "was trained with another vocabulary .* give the data "
            "and the word_count_th",
        ),
        (
            "broken",
            "training stopped: .* became (nan|inf|NaN) at step [12]; "
            "lower the learning rate; the last good checkpoint is kept: ",
        ),
    ],
)
def test_what_breaks_later_gives_one_line(name, message, outcomes):
    programs.assert_refused(outcomes[name], message)


def test_answers_that_read_units_without_weights(outcomes):
    """Such units are never cut; all else works."""
    programs.ended(outcomes["sums"])
    printed = programs.ended(outcomes["shrunk sums"])
    assert re.search(r"shrunk (\([4, ]+\)) -> \1 units", printed)


def test_nan_leaves_finite_weights(outcomes):
    folder = outcomes["runs"] / "broken" / "checkpoints"
    for state in folder.glob("state-*.json"):
        saved = killing.arrays(folder / state.stem.replace("state", "model"))
        assert all(np.isfinite(array).all() for array in saved.values())


def test_the_flags_that_nan_names_do_what_they_say(outcomes):
    """B29: word for word, a run at half the rate; which breaks, too, here."""
    runs = outcomes["runs"]
    advice = " ".join(flag.format(runs) for flag in ADVICE)
    assert outcomes["broken"]["ending"][1].endswith(f" the flags {advice}")
    kind, message = outcomes["lower"]["ending"]
    assert kind == "UserError" and message.endswith(" --learning_rate=2.5e+29")
    flags = (runs / "broken-lower" / "flags.txt").read_text()
    assert f"--restore_path={runs}/broken\n" in flags


def test_exit_code_and_stream_of_a_mistake():
    environment = {
        k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"
    }
    done = subprocess.run(
        [sys.executable, "-m", "bidaf.cli", "--mode=eval"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("error: --mode=eval needs .*\n", done.stderr)


def test_a_whole_run(outcomes):
    printed = programs.ended(outcomes["whole"])
    run = outcomes["runs"] / "whole"
    for name in (
        "flags.txt",
        "shared.json",
        "report.md",
        "plots/weights.png",
        "plots/training.png",
        "eval/dev-000016.json",
        "saved_model/compressed/saved_model.pb",
        "saved_model/compressed/vocabulary.json",
        "saved_model/compressed/model_card.json",
    ):
        assert (run / name).stat().st_size > 0, name
    rows = killing.metrics(run)
    assert [row["step"] for row in rows] == ["6", "12", "16"]
    costs = [float(row["train_cost"]) for row in rows]
    assert costs[-1] < costs[0]
    report = json.loads((run / "report.json").read_text())
    columns = report["table"]
    assert "mode=train" in report["command"]
    assert report["epochs"]["dev F1"] == {
        f"step {row['step']}": pytest.approx(float(row["dev_f1"]))
        for row in rows
    } | {"all": None, "all, at the first one's speed": None}
    assert columns["paper: baseline"]["F1"] == {"value": 77.85, "mark": "M"}
    small = columns["shrunk (reloaded)"]
    assert small["EM"] <= small["F1"]
    designed = columns["as designed (untrained)"]
    assert small["weights (M)"] < designed["weights (M)"]
    found = re.search(
        r"shrunk and reloaded: exact match (\S+), F1 (\S+) ", printed
    )
    assert [float(value) for value in found.groups()] == [
        round(small[key], 2) for key in ("EM", "F1")
    ]


def chosen(run):
    """The row of the evaluation whose weights are exported, and its step."""
    _, state = checkpoints.find(run / "checkpoints")
    step = state["best"]["best"]["step"]
    (row,) = (r for r in killing.metrics(run) if int(float(r["step"])) == step)
    return row, step


def test_answers_score_what_the_run_says(outcomes):
    """The file, by the official metric; and --mode=eval of the same."""
    (dev,) = outcomes["runs"].glob("synthetic_60_16_2/dev*.json")
    run = outcomes["runs"] / "whole"
    best, _ = chosen(run)
    programs.ended(outcomes["tested"])
    truths = squad.right_answers(dev).questions
    for path, row in (
        (run / "answers/dev-000016.json", killing.metrics(run)[-1]),
        (outcomes["runs"] / "answers.json", best),
    ):
        scores = evaluate.score(evaluate.load_answers(path), truths)
        for key in ("f1", "exact_match"):
            assert scores[key] == pytest.approx(float(row[f"dev_{key}"])), path
    cost = float(best["dev_cost"])
    assert (
        f", cost {cost:.4f} (16 questions)" in (outcomes["tested"]["printed"])
    )


def test_both_columns_of_a_report_are_for_the_same_questions(outcomes):
    printed = programs.ended(outcomes["part"])
    for what in ("as trained", "shrunk and reloaded"):
        assert re.search(rf"{what}: .*\(6 questions\)", printed), what


def test_forward_answers_without_scores(outcomes):
    printed = programs.ended(outcomes["forward"])
    _, step = chosen(outcomes["runs"] / "whole")
    (path,) = re.findall(
        f"wrote (.*/answers/forward-dev-{step:06}.json)", printed
    )
    answers = json.loads(pathlib.Path(path).read_text())
    assert 0 < len(answers) <= 16 and "F1" not in printed


def test_killed_and_resumed_it_ends_with_the_same_weights(outcomes):
    """`kill -9` in the middle of an epoch; dropout, Adam, averages."""
    assert "resumed" in programs.ended(outcomes["resumed"])
    programs.ended(outcomes["whole"])
    killing.assert_same_ending(
        *(outcomes["runs"] / name for name in ("whole", "killed"))
    )
    assert any(
        "averages" in name
        for name in killing.last_arrays(outcomes["runs"] / "killed")
    )


def test_the_table_has_the_sizes_that_training_began_with(outcomes):
    """And those that are left after the cuts."""
    programs.ended(outcomes["whole"])
    run = outcomes["runs"] / "whole"
    cuts = json.loads((run / "cuts.json").read_text())
    left = [4 - len(DEAD.get(name, ())) for name in groups_lib.PRUNABLE]
    assert cuts[0]["step"] == 2
    assert list(cuts[0]["units"].values()) == left
    assert abs(cuts[0]["cost_change"]) < 1e-5
    table = json.loads((run / "report.json").read_text())["table"]
    small, designed = (
        table[title]
        for title in ("shrunk (reloaded)", "as designed (untrained)")
    )
    assert [designed[name] for name in groups_lib.PRUNABLE] == [4] * 6
    assert [small[name] for name in groups_lib.PRUNABLE] == left
    assert designed["F1"] is None and small["F1"] >= small["EM"]
    card = json.loads(
        (run / "saved_model/compressed/model_card.json").read_text()
    )
    assert list(card["units before"].values()) == [4] * 6
    # B13: nobody has weights of these sizes.
    assert not list((run / "saved_model").glob("*dense*"))


def test_export_runs_without_this_package(outcomes, inputs, tmp_path):
    """Smaller, and with the net's own scores."""
    programs.ended(outcomes["exported"])
    questions = bidaf_questions.read_questions(inputs)
    net = dead_net(questions)
    _, batch = next(sources.judged_batches(questions, 5))
    expected = scoring.net_function(net, questions.vectors)(batch)
    np.savez(
        tmp_path / "in.npz",
        **{long: batch[short] for short, long in serving.INPUTS.items()},
    )
    folder = outcomes["runs"] / "exported" / "saved_model"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            ALONE,
            folder / "compressed",
            tmp_path / "in.npz",
            tmp_path / "out.npz",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "out.npz") as file:
        assert {"start", "end"} <= set(file.files)
        for name in ("start", "end"):
            np.testing.assert_allclose(file[name], expected[name], atol=1e-5)
    known = json.loads((folder / "compressed/vocabulary.json").read_text())
    word = next(iter(questions.judged.new_word2idx))
    assert known["words"][word] == questions.judged.word_id(word)
    assert known["characters_of_a_word"] == batch["cx"].shape[-1]
    card = json.loads((folder / "compressed/model_card.json").read_text())
    assert card["units after"] == {
        name: 4 - len(DEAD.get(name, ())) for name in groups_lib.PRUNABLE
    }


def test_shrunk_weights_are_smaller_and_score_the_same(outcomes, inputs):
    printed = programs.ended(outcomes["shrunk"])
    assert re.search(
        r"shrunk \(4, 4, 4, 4, 4, 4\) -> \(3, 2, 4, 4, 3, 1\)", printed
    )
    with np.load(outcomes["runs"] / "shrunk" / "compressed.npz") as file:
        sizes = authors.sizes_of({name: file[name] for name in file.files})
    assert sizes["OutBwd"] == 1 and sizes["PreFwd"] == 4
    questions = bidaf_questions.read_questions(inputs)
    scores = scoring.score(
        scoring.net_function(dead_net(questions), questions.vectors),
        questions,
        6,
    )
    assert str(scores) in printed


def test_flagfiles_are_the_authors_commands(outcomes, monkeypatch):
    monkeypatch.chdir(ROOT)
    common = {
        "mode": "train",
        "cluster": True,
        "len_opt": True,
        "batch_size": 60,
        "hidden_size": 100,
        "num_steps": 10000,
        "optimizer": "adam",
        "init_lr": 0.001,
        "zero_threshold": 4e-4,
        "var_decay": 0.999,
        "input_keep_prob": 0.9,
        "l1wd": 0.0,
        "row_col_wd": 0.0,
        "structure_wd": 0.0,
        "freeze_mode": None,
        "structured_sparsity": True,
        "group_config": None,
    }
    iss = {"structure_wd": 0.001, "group_config": "iss"}
    expected = {
        "baseline": {"input_keep_prob": 0.8},
        "iss_finetune": iss,
        "iss_finetune_scaled": {
            **iss,
            "group_config": "bidaf/groups_hidden100_scaled.json",
        },
        "iss_scratch": iss,
        "l1_finetune": {"l1wd": 2e-4, "structured_sparsity": False},
        "row_col_finetune": {"l1wd": 1e-4, "row_col_wd": 4e-4},
        "frozen_finetune": {"init_lr": 2e-4, "freeze_mode": "element"},
    }
    for name, values in expected.items():
        kind, flags = outcomes[f"{name}.flags"]["ending"]
        assert kind == "parsed", flags
        assert flags["run_name"] == name
        found = options_lib.Options.from_flags(flags)
        groups_of = getattr(found.group_config, "source", found.group_config)
        found = {**flags, **vars(found), "group_config": groups_of}
        for key, value in {**common, **values}.items():
            assert found[key] == pytest.approx(value), (name, key)
