"""Pruning through the word language model's program, kill and resume too."""

import json
import re
import sys

import killing
import numpy as np
import programs
import ptb_program
import pytest

from iss_rnns import export
from iss_rnns import schedules
from iss_rnns import sparse

pytestmark = pytest.mark.slow

SMALL = [
    "--model=small",
    "--hidden_sizes=12,8",
    "--batch_size=5",
    "--epochs=3",
    "--seed=3",
    "--threads=1",
    "--checkpoint_every=7",
]
# Steps of an epoch: (3000 words and line ends) / 5 streams / 20 steps.
STEPS = 32
GRADUAL = [
    "--pruning=gradual",
    "--target_sparsity=.8",
    "--pruning_start=4",
    "--pruning_end=70",
    "--pruning_frequency=5",
    "--pruning_layers=input,recurrent,softmax",
]

# name -> (flags, the line that must come); {0} is the folder of runs.
MISTAKES = {
    "sparsity": (
        ["--pruning=gradual", "--target_sparsity=1"],
        r"target sparsity must lie in \[0, 1\), got 1.0",
    ),
    "end before start": (
        GRADUAL[:2] + ["--pruning_start=9", "--pruning_end=8"],
        "must not end before it starts, got start=9",
    ),
    "block": (
        ["--pruning=block", "--target_sparsity=.5", "--block_size=16x16"],
        "blocks of 16x16 do not fit .*kernel, which is 12x32",
    ),
    "no dense model": (
        ["--pruning=block", "--dense_checkpoint={0}/precious"],
        "no checkpoint at {0}/precious",
    ),
    "dense zeros": (
        ["--pruning=gradual", "--dense_checkpoint={0}/zeros.npz"],
        "layer input is all zero up to percentile 90",
    ),
    "b11 too short": (
        GRADUAL + ["--max_train_steps=60"],
        "training has 60 steps, and the schedule of --pruning=gradual needs 71",
    ),
    "nothing asked": (["--block_size=4x4"], "--block_size needs --pruning"),
    "shrinking": (
        GRADUAL + ["--shrink_every_steps=0"],
        "--pruning and --shrink_every_steps exclude each other",
    ),
}


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruning")
    ptb_program.write_corpus(folder / "data", tokens=3000)
    ptb_program.write_corpus(folder / "other", tokens=3000)
    for file in (folder / "other").iterdir():
        file.write_text("one more\n" + file.read_text())
    (folder / "precious").mkdir()
    (folder / "precious" / "weights").write_text("months of work")
    return folder


def common(folder):
    return [*SMALL, f"--save_path={folder}", f"--data_path={folder}/data"]


@pytest.fixture(name="outcomes", scope="module")
def fixture_outcomes(folder):
    """How each case ended, all of them in one process."""
    whole = [*common(folder), *GRADUAL, "--run_name=whole"]
    cases = {"whole": {"flags": whole}}
    cases["other schedule"] = {
        "flags": [
            *common(folder),
            *GRADUAL[:1],
            "--target_sparsity=.7",
            *GRADUAL[2:],
            "--run_name=whole",
            "--resume",
        ]
    }
    cases["glp"] = {
        "flags": [
            *common(folder),
            "--run_name=glp",
            "--pruning=glp",
            "--block_size=4x4",
            "--pruning_lasso=.001",
            "--cell=gru",
            f"--dense_checkpoint={folder}/dense_gru.npz",
            "--pruning_start=2",
            "--pruning_ramp=10",
            "--pruning_end=40",
            "--max_train_steps=50",
        ]
    }
    for name, (flags, _) in MISTAKES.items():
        cases[name] = {
            "flags": [
                *common(folder),
                "--run_name=precious",
                "--overwrite",
                *(flag.format(folder) for flag in flags),
            ]
        }
    packed = f"--restore_path={folder}/whole/saved_model/packed"
    cases["packed"] = {"flags": [*common(folder), "--mode=eval", packed]}
    cases["packed of other data"] = {
        "flags": [*SMALL, "--mode=eval", packed, f"--data_path={folder}/other"]
    }
    write_weights(folder)
    return programs.outcomes_of(ptb_program.MODULE, cases, folder / "precious")


def write_weights(folder):
    """Dense models: an LSTM's all zero, a GRU's of known numbers."""
    vocabulary, embedding, rng = 31, 200, np.random.default_rng(0)
    cell = "Model/RNN/multi_rnn_cell/cell_{}/{}_cell/{}"

    def model(kind, gates, draw):
        found = {
            "Model/embedding": draw(vocabulary, embedding),
            "Model/softmax_w": draw(8, vocabulary),
            "Model/softmax_b": draw(vocabulary),
        }
        for i, (inputs, n) in enumerate(((embedding, 12), (12, 8))):
            if kind == "gru":
                parts = {
                    "kernel": (inputs, gates * n),
                    "recurrent_kernel": (n, gates * n),
                    "bias": (gates * n,),
                    "recurrent_bias": (gates * n,),
                }
            else:
                parts = {
                    "kernel": (inputs + n, gates * n),
                    "bias": (gates * n,),
                }
            found.update(
                {
                    cell.format(i, kind, part): draw(*shape)
                    for part, shape in parts.items()
                }
            )
        return {k: v.astype(np.float32) for k, v in found.items()}

    np.savez(
        folder / "zeros.npz",
        **model("basic_lstm", 4, lambda *shape: np.zeros(shape)),
    )
    np.savez(
        folder / "dense_gru.npz",
        **model("gru", 3, lambda *shape: 0.1 * rng.normal(size=shape)),
    )


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_line_and_touches_nothing(name, outcomes, folder):
    programs.assert_refused(outcomes[name], MISTAKES[name][1].format(folder))


def test_a_pruned_run_ends_with_its_sparsity(outcomes, folder):
    programs.ended(outcomes["whole"])
    saved = killing.last_arrays(folder / "whole")
    masks = [a for name, a in saved.items() if "pruning_masks" in name]
    assert len(masks) == 5
    for mask in masks:
        assert (~mask).sum() == round(0.8 * mask.size)
    kernels = [
        a
        for name, a in saved.items()
        if name.startswith("model/net/") and "kernel" in name
    ]
    assert len(kernels) == 4
    for kernel in kernels:
        assert (kernel == 0).sum() == round(0.8 * kernel.size)


def test_the_report_shows_it_and_packed_weights_lie_beside(outcomes, folder):
    programs.ended(outcomes["whole"])
    run = folder / "whole"
    report = json.loads((run / "report.json").read_text())
    assert report["method"] == "gradual"
    column = report["table"]["shrunk (reloaded)"]
    assert column["packed bytes"] > 0
    assert column["whole model packed: speedup"] > 0
    assert 0.2 < column["zeros"] < 0.8
    # B11: as many as were asked for, of every matrix.
    kept = report["kept by pruning"]
    assert kept["lstm_0/kernel"] == "1,920 of 9,600 weights"
    assert len(kept) == 5
    assert "packed for sparse inference" in report
    packed = run / "saved_model" / "packed"
    softmax = sparse.load(str(packed / "softmax_w.npz"), batch_sizes=())
    assert export.load(packed).manifest.sizes.keys() == {"lstm_0", "lstm_1"}
    with np.load(run / "saved_model" / "compressed.npz") as weights:
        np.testing.assert_array_equal(
            softmax.to_dense(), weights["Model/softmax_w"]
        )


def test_the_packed_model_is_scored_by_itself(outcomes, folder):
    """The same perplexities, of sparse products."""
    printed = programs.ended(outcomes["packed"])
    table = json.loads((folder / "whole" / "report.json").read_text())["table"]
    for name in ("valid perplexity", "test perplexity"):
        found = re.search(rf"^{name} (.*)$", printed, re.MULTILINE)
        assert float(found[1]) == pytest.approx(
            table["shrunk (reloaded)"][name], abs=0.002
        )


def test_a_packed_model_of_other_data(outcomes):
    programs.assert_refused(
        outcomes["packed of other data"],
        r"packed knows \d+ symbols, the data has \d+: give the "
        "data that it was trained on",
    )


def test_thresholds_of_a_dense_gru_with_block_lasso(outcomes, folder):
    """q out of the file; the masks are blocks."""
    programs.ended(outcomes["glp"])
    run = folder / "glp"
    state = json.loads(
        max(
            (run / "checkpoints").glob("state-*.json"),
            key=lambda p: int(p.stem.split("-")[1]),
        ).read_text()
    )
    with np.load(folder / "dense_gru.npz") as weights:
        inputs = [
            weights[name]
            for name in weights.files
            if name.endswith("gru_cell/kernel")
        ]
    plan = state["pruning"]
    assert plan["method"] == "glp" and plan["lasso"] == 0.001
    assert plan["schedules"]["input"]["q"] == schedules.magnitude_percentile(
        inputs
    )
    masks = [
        a
        for name, a in killing.last_arrays(run).items()
        if "pruning_masks" in name
    ]
    for mask in masks:
        for row in range(0, mask.shape[0], 4):
            for column in range(0, mask.shape[1], 4):
                block = mask[row : row + 4, column : column + 4]
                assert block.all() or not block.any()
    assert any((~mask).any() for mask in masks)
    assert json.loads((run / "report.json").read_text())["method"] == (
        "glp 4x4"
    )


def test_resuming_with_another_schedule_is_refused(outcomes):
    programs.assert_refused(
        outcomes["other schedule"],
        "cannot resume: the run was made with pruning = ",
    )


def test_killed_in_mid_schedule_it_ends_with_the_same_weights(outcomes, folder):
    """`kill -9` while the masks still change."""
    programs.ended(outcomes["whole"])
    command = [
        sys.executable,
        "-m",
        ptb_program.MODULE,
        *common(folder),
        *GRADUAL,
        "--run_name=killed",
    ]
    last = killing.kill_and_resume(command, folder / "killed")
    assert 4 < last["epoch"] * STEPS + last["batch"] < 70
    killing.assert_same_ending(folder / "whole", folder / "killed")
