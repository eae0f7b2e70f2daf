"""Runs, weights and models that version 1.0.0 wrote.

`tests/data/v1.0.0/README.md` says what there is and how it was made. The
numbers are those of 1.0.0 itself: a run of it that was killed must go on to
the weights that it would have ended with.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import killing
import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import sparse

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "v1.0.0"
# On the machine that wrote them, all weights come out equal to the last bit;
# another one's instructions round otherwise in each of up to 170 steps.
WEIGHTS = {"rtol": 0, "atol": 1e-5}
OUTPUTS = {"rtol": 0, "atol": 1e-6}
MEASURED = {"seconds", "words_per_second", "questions_per_second"}

WORDS, HIGHWAY = "ptb.ptb_word_lm", "rhns.rhn_train"
ANSWERS, COMPARE = "bidaf.cli", "iss_rnns"
LANGUAGE_RUNS = ("dense", "cut", "pruned", "highway")
BESIDE = "--compare_with=" + ",".join(f"runs/{name}" for name in LANGUAGE_RUNS)
# What was interrupted: its program, and finished runs to show beside it.
KILLED = {
    "cut": (WORDS, BESIDE),
    "pruned": (WORDS, BESIDE),
    "highway": (HIGHWAY, BESIDE),
    "bidaf": (ANSWERS, "--compare_with=runs/bidaf"),
}

# What is used: flags of a run, its program, and runs and models.
USED = (
    ("cut", WORDS, ("cut_killed", "cut/saved_model/compressed")),
    ("highway_killed", HIGHWAY, ("highway_killed",)),
)

# Runs programs one after the other, each in a process of its own that has
# TensorFlow loaded already; a run ends, too, as soon as a file is there.
# Reads a list of [name, module, arguments, file or null] from stdin and
# writes what each prints to `<name>.log`.
DRIVER = """
import json, os, runpy, sys, time
import iss_rnns

for name in iss_rnns.__all__:
    getattr(iss_rnns, name)
for name, module, arguments, last in json.load(sys.stdin):
    child = os.fork()
    if not child:
        log = os.open(f"{name}.log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if last and os.path.exists(last):
            os.kill(child, 9)
            os.waitpid(child, 0)
            break
        time.sleep(.01)
"""


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
    """A copy of all of it, in which every program has run."""
    folder = tmp_path_factory.mktemp("artefacts") / "v1.0.0"
    shutil.copytree(DATA, folder)
    cases = [
        # What follows training takes long and is not asked for.
        [
            name,
            module,
            [f"--flagfile=runs/{name}_killed/flags.txt", "--resume", beside],
            f"runs/{name}_killed/checkpoints/state-{last_step(name)}.json",
        ]
        for name, (module, beside) in KILLED.items()
    ]
    flags = "--model=test --batch_size=5 --data_path=text --threads=1"
    weights = "--restore_path=runs/cut/saved_model/compressed.npz"
    cases += [
        ["weights", WORDS, [*flags.split(), "--mode=eval", weights], None],
        [
            "best",
            HIGHWAY,
            [
                "--flagfile=runs/highway_killed/flags.txt",
                "--mode=eval",
                # Before it went on.
                f"--restore_path={DATA}/runs/highway_killed",
            ],
            None,
        ],
        *(
            [
                f"{mode}_{path.replace('/', '_')}",
                module,
                [
                    *(f"--flagfile=runs/{run}/flags.txt", f"--mode={mode}"),
                    *("--prompt=the old", "--score_text=text/ptb.test.txt"),
                    f"--restore_path={DATA}/runs/{path}",
                ],
                None,
            ]
            for run, module, paths in USED
            for path in paths
            for mode in ("generate", "score")
        ),
        [
            "compared",
            COMPARE,
            ["compare", *(f"{name}=runs/{name}" for name in LANGUAGE_RUNS)],
            None,
        ],
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(cases),
        text=True,
        cwd=folder,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def arrays(path):
    with np.load(DATA / path) as file:
        return {name: file[name] for name in file}


def final(name):
    """Arrays of a finished run's last checkpoint."""
    return arrays(f"runs/{name}/final.npz")


def last_step(name):
    (step,) = (
        array for key, array in final(name).items() if "/_iterations/" in key
    )
    return int(step)


def report(name):
    """Measures of a finished run's small model."""
    text = (DATA / "runs" / name / "report.json").read_text()
    return json.loads(text)["table"]["shrunk (reloaded)"]


def log(folder, name):
    return (folder / f"{name}.log").read_text()


def printed(folder, name, measure):
    """A number that a program printed, from 'measure number'."""
    text = log(folder, name)
    found = re.search(rf"^{measure} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_goes_on_to_the_weights_of_the_whole_one(folder, name):
    """With the optimizer's slots, carried states, masks, averages."""
    run = folder / "runs" / f"{name}_killed"
    text = log(folder, name)
    assert "resumed" in text and "Traceback" not in text, text
    before = max(killing.states(DATA / "runs" / run.name), key=position)
    after = max(killing.states(run), key=position)
    assert before["batch"] and position(after) > position(before), text
    expected, found = final(name), killing.last_arrays(run)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, **WEIGHTS, err_msg=key)


def position(state):
    return state["epoch"], state["batch"]


@pytest.mark.parametrize("name", KILLED)
def test_its_metrics_are_those_of_the_whole_run(folder, name):
    expected = killing.metrics(DATA / "runs" / name)
    found = killing.metrics(folder / "runs" / f"{name}_killed")
    assert [row["epoch"] for row in found] == [row["epoch"] for row in expected]
    for ours, theirs in zip(found, expected):
        assert theirs.keys() <= ours.keys()
        for key in theirs.keys() - MEASURED:
            assert float(ours[key]) == pytest.approx(
                float(theirs[key]), rel=1e-4, abs=1e-6
            ), key


def test_units_that_were_dying_when_it_was_killed_are_cut(folder):
    """The first cut came before, the second when it had gone on."""
    expected = json.loads((DATA / "runs" / "cut" / "cuts.json").read_text())
    for parent, count in ((DATA, 1), (folder, 2)):
        states = killing.states(parent / "runs" / "cut_killed")
        cuts = max(states, key=position)["shrinking"]["cuts"]
        assert [(cut["step"], cut["units"]) for cut in cuts] == [
            (cut["step"], cut["units"]) for cut in expected[:count]
        ]


def test_masks_of_the_pruned_run_are_full_of_zeros():
    """So that the weights' equality says that they were restored."""
    masks = [a for key, a in final("pruned").items() if "pruning_masks" in key]
    assert len(masks) == 5
    assert all(0.2 < np.mean(~mask) < 0.9 for mask in masks)


def test_weights_in_a_npz_file_are_scored_as_before(folder):
    for name in ("valid perplexity", "test perplexity"):
        assert printed(folder, "weights", name) == pytest.approx(
            report("cut")[name], abs=6e-4
        )


def test_the_best_weights_of_a_run_folder_are_scored_as_before(folder):
    rows = killing.metrics(DATA / "runs" / "highway_killed")
    assert printed(folder, "best", "valid perplexity") == pytest.approx(
        min(float(row["valid_perplexity"]) for row in rows), abs=6e-4
    )


def test_finished_runs_can_be_compared(folder):
    """Their reports, a row or column for each."""
    text = log(folder, "compared")
    assert "Traceback" not in text, text
    for name in LANGUAGE_RUNS:
        assert name in text, text
        assert f"{report(name)['test perplexity']:.2f}" in text, text


@pytest.mark.parametrize("path", [path for *_, paths in USED for path in paths])
def test_what_was_trained_generates_and_scores(folder, path):
    name = path.replace("/", "_")
    text = log(folder, f"generate_{name}")
    assert "Traceback" not in text and re.search("^the old ", text, re.M), text
    perplexity = printed(folder, f"score_{name}", "perplexity")
    assert 1 < perplexity < 20  # which are the words there are
    if "saved_model" in path:
        assert text.count("has no manifest.json") == 1, text
        # Here the first word is foreseen, too.
        assert perplexity == pytest.approx(
            report("cut")["test perplexity"], rel=0.03
        )


def test_a_saved_model_needs_tensorflow_only():
    known = arrays("runs/cut/outputs.npz")
    path = str(DATA / "runs" / "cut" / "saved_model" / "compressed")
    serve = tf.saved_model.load(path).signatures["serving_default"]
    outputs = serve(
        tokens=tf.constant(known["tokens"]),
        **{
            key[len("in/") :]: tf.constant(array)
            for key, array in known.items()
            if key.startswith("in/")
        },
    )
    check_outputs(outputs, known)


def test_a_saved_model_is_served():
    known = arrays("runs/cut/outputs.npz")
    with pytest.warns(UserWarning, match="has no manifest.json"):
        served = iss_rnns.Served(
            DATA / "runs" / "cut" / "saved_model" / "compressed"
        )
    logits, states = served.run(
        known["tokens"], [known[f"in/{name}"] for name in served.state_names]
    )
    check_outputs(
        {"logits": logits, **dict(zip(served.state_names, states))}, known
    )


def test_a_packed_model_computes_the_same():
    known = arrays("runs/pruned/outputs.npz")
    folder = DATA / "runs" / "pruned" / "saved_model" / "packed"
    model = sparse.PackedLanguageModel.load(
        str(folder / "language_model.npz"), batch_sizes=()
    )
    logits, states = model(known["tokens"])
    np.testing.assert_allclose(logits, known["logits"], **OUTPUTS)
    assert len(states) == 4
    for i, state in enumerate(states):
        np.testing.assert_allclose(state, known[f"state_{i}"], **OUTPUTS)


@pytest.mark.parametrize("name", ["recurrent", "rnn"])
def test_a_keras_file_with_every_cell_computes_the_same(name):
    """In `iss_rnns.Recurrent`, its final states too, and in Keras' `RNN`."""
    for public in ("LSTMCell", "GRUCell", "SimpleRNNCell", "RHNCell"):
        getattr(iss_rnns, public)  # Registered on first use.
    assert iss_rnns.Recurrent
    model = tf.keras.models.load_model(DATA / "keras" / f"{name}.keras")
    known = arrays(f"keras/{name}.npz")
    check_outputs(model(known["x"]), known)


def check_outputs(outputs, known):
    """All that are known as `out/<name>`, and no others."""
    assert {f"out/{name}" for name in outputs} == {
        key for key in known if key.startswith("out/")
    }
    for name, output in outputs.items():
        np.testing.assert_allclose(
            output, known[f"out/{name}"], **OUTPUTS, err_msg=name
        )
