"""What the language-model programs share."""

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments import program
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import experiment as language_experiment
from iss_rnns.experiments.language import texts
from iss_rnns.experiments.reports import sections
from ptb import model as model_lib


def choices(**changes):
    return program.Choices(
        **{
            **{
                "mode": "train",
                "restore_path": None,
                "save_path": None,
                "run_name": None,
                "resume": False,
                "overwrite": False,
                "display_weights": False,
                "compare_with": (),
                "export_latency": False,
            },
            **changes,
        }
    )


def task(log, **changes):
    """Writes down what is asked of it."""

    def note(name, result=None):
        return lambda *args: log.append((name, *args)) or result

    ids = np.arange(40, dtype=np.int32) % 3
    corpus = corpora.Corpus(
        "made", "character", ids, ids, ids, ("a", "b"), "made up"
    )
    return program.Task(
        **{
            **{
                "module": "m",
                "title": "t",
                "texts": texts.Texts.of(corpus, 2, 3),
                "new_net": note("new_net"),
                "sizes_of": note("sizes_of"),
                "check": note("check"),
                "train": note("train"),
                "clean": note("clean"),
            },
            **changes,
        }
    )


def test_flags_on_record_resume_the_run(tmp_path):
    """Whatever the run was started with, and however it was named."""
    directory = runs.RunDirectory(tmp_path, "here")
    text = program.resumable(
        "--seed=3\n--overwrite\n--noresume\n--run_name=old\n--tied\n", directory
    )
    assert text == "--seed=3\n--tied\n--run_name=here\n"
    text = program.resumable("--nooverwrite\n--resume\n", directory)
    assert text == "--run_name=here\n"


def test_choices_come_from_flags_by_name():
    values = {**vars(choices()), "mode": "train", "run_name": "x", "other": 1}
    assert program.Choices.of(values).run_name == "x"


@pytest.mark.parametrize("mode", ["eval", "shrink", "export", "report"])
def test_modes_that_need_weights(mode):
    with pytest.raises(
        errors.UserError, match=f"--mode={mode} needs --restore_path"
    ):
        choices(mode=mode)


def test_nothing_to_compare_with_is_told_before_training(tmp_path):
    with pytest.raises(errors.UserError, match="cannot compare with"):
        choices(compare_with=[str(tmp_path)])


def test_nothing_is_written_if_training_would_refuse(tmp_path):
    def refuse(net):
        raise errors.UserError("too short")

    log = []
    with pytest.raises(errors.UserError, match="too short"):
        program.run(
            task(log, check=refuse),
            choices(save_path=str(tmp_path / "runs")),
            "--a\n",
        )
    assert not (tmp_path / "runs").exists() and log == []


def test_training_gets_the_directory_and_its_flags(tmp_path):
    seen = {}

    def train(directory, net):
        seen.update(net=net, text=(directory.path / "flags.txt").read_text())
        raise errors.UserError("enough")

    log = []
    with pytest.raises(errors.UserError, match="enough"):
        program.run(
            task(log, train=train),
            choices(save_path=str(tmp_path), run_name="r"),
            "--a\n",
        )
    assert seen == {"net": None, "text": "--a\n--run_name=r\n"}
    assert log == [("check", None)]


def test_a_resumed_run_does_not_need_what_it_started_from(tmp_path):
    run = runs.RunDirectory(tmp_path, "r")
    (run.checkpoints / "state-1.json").write_text("{}")

    def train(directory, net):
        raise errors.UserError(f"on with {net}")

    with pytest.raises(errors.UserError, match="on with None"):
        program.run(
            task([], train=train),
            choices(
                save_path=str(tmp_path),
                run_name="r",
                resume=True,
                restore_path=str(tmp_path / "gone"),
            ),
            "",
        )


def test_scores_of_characters_are_also_in_bits(capsys):
    program.print_scores({"test perplexity": 8.0}, task([]).texts)
    assert capsys.readouterr().out == (
        "test perplexity 8.000\ntest bits 3.0000\n"
    )


@pytest.mark.parametrize("known, designed", [([7], [7]), (None, [4])])
def test_the_design_is_the_runs_not_that_of_flags(
    tmp_path, monkeypatch, known, designed
):
    """Of a net that was cut to 4 units; or it is the design, if any."""
    seen = {}
    net = model_lib.WordLSTM(2, 3, [4])
    monkeypatch.setattr(restoring, "designed_sizes", lambda path: known)
    monkeypatch.setattr(restoring, "restore", lambda *_, **__: net)
    monkeypatch.setattr(
        language_experiment,
        "finish",
        lambda *args, **kwargs: seen.update(kwargs, designed=args[6]),
    )
    program.run(
        task([], new_net=lambda sizes: model_lib.WordLSTM(2, 3, sizes or [9])),
        choices(
            mode="report",
            restore_path=str(tmp_path / "cut"),
            save_path=str(tmp_path),
            run_name="r",
            display_weights=True,
        ),
        "--a\n",
    )
    assert list(seen["designed"].hidden_sizes) == designed
    assert seen["display_weights"]


def test_an_exported_model_has_a_whole_card(tmp_path, monkeypatch):
    cards, drawn = [], []
    net = model_lib.WordLSTM(3, 3, [4])
    monkeypatch.setattr(restoring, "designed_sizes", lambda path: [6])
    monkeypatch.setattr(restoring, "restore", lambda *_, **__: net)
    monkeypatch.setattr(
        language_experiment, "export_both", lambda *args: cards.append(args[4])
    )
    monkeypatch.setattr(
        sections, "draw", lambda *args, **kwargs: drawn.append(kwargs["each"])
    )
    program.run(
        task([], new_net=lambda sizes: model_lib.WordLSTM(3, 3, sizes)),
        choices(
            mode="export",
            restore_path=str(tmp_path / "cut"),
            save_path=str(tmp_path),
            run_name="r",
            display_weights=True,
        ),
        "--a\n",
    )
    (card,) = cards
    assert card["units before"] == {"lstm_0": 6}
    assert card["units after"] == {"lstm_0": 4}
    assert card["weights before"] > card["weights after"]
    assert card["valid perplexity"] > 1 and card["test bits"] > 0
    assert card["command"].startswith("python -m m") and drawn == [True]
