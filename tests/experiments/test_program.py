"""The modes of a program, whatever its task."""

import nets
import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments import checkpoints
from iss_rnns.experiments import finishing
from iss_rnns.experiments import program
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import experiment
from iss_rnns.experiments.language import options as options_lib
from iss_rnns.experiments.language import texts
from iss_rnns.experiments.reports import sections
from ptb import model as model_lib


def choices(mode="train", **changes):
    return program.Choices(mode, **changes)


def made_up_texts():
    ids = np.arange(40, dtype=np.int32) % 3
    corpus = corpora.Corpus(
        "made", "character", ids, ids, ids, ("a", "b"), "made up"
    )
    return texts.Texts.from_corpus(corpus, 2, 3)


class Task(experiment.LanguageTask):
    """Writes down what is asked of it."""

    module, title, reads, steps = "m", "t", (), 3

    def __init__(self, choices, train=None, check=None):
        config = model_lib.CONFIGS["test"]
        super().__init__(
            options_lib.LanguageOptions(config), choices, made_up_texts()
        )
        self.log = []
        self.stand_ins = {"train": train, "check": check}

    def _asked(self, name, *args):
        self.log.append((name, *args))
        if self.stand_ins[name]:
            self.stand_ins[name](*args)

    def check(self, start):
        self._asked("check", start)

    def train(self, run, start):
        self._asked("train", run, start)

    def zero_small(self, net):
        pass


def run(task):
    program.run(task, task.choices, "--a\n")


def test_flags_on_record_resume_the_run(tmp_path):
    """Whatever the run was started with, and however it was named."""
    directory = runs.RunDirectory(tmp_path, "here")
    text = program.resumable(
        "--seed=3\n--overwrite\n--noresume\n--run_name=old\n--tied\n", directory
    )
    assert text == "--seed=3\n--tied\n\n# This run\n--run_name=here\n"
    text = program.resumable("--nooverwrite\n--resume\n", directory)
    assert text == "\n# This run\n--run_name=here\n"


def test_choices_come_from_flags_by_name():
    values = {**vars(choices()), "run_name": "x", "other": 1, "pruning": None}
    assert program.Choices.from_flags(values).run_name == "x"


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

    task = Task(choices(save_path=str(tmp_path / "runs")), check=refuse)
    with pytest.raises(errors.UserError, match="too short"):
        run(task)
    assert not (tmp_path / "runs").exists()
    assert task.log == [("check", None)]


def test_training_gets_the_directory_and_its_flags(tmp_path):
    seen = {}

    def train(directory, net):
        seen.update(net=net, text=(directory.path / "flags.txt").read_text())
        raise errors.UserError("enough")

    task = Task(choices(save_path=str(tmp_path), run_name="r"), train)
    with pytest.raises(errors.UserError, match="enough"):
        run(task)
    assert seen == {
        "net": None,
        "text": "# A run of python -m m\n--a\n\n# This run\n--run_name=r\n",
    }
    assert task.log[0] == ("check", None)


def test_a_resumed_run_does_not_need_what_it_started_from(tmp_path):
    directory = runs.RunDirectory(tmp_path, "r")
    checkpoints.Checkpoints(directory.checkpoints).save(
        nets.new_model(nets.Net(9, 6, [4])),
        {"epoch": 0, "batch": 0, "seconds": 0.0, "sizes": {"lstm_0": 4}},
    )

    def train(directory, net):
        raise errors.UserError(f"on with {net}")

    task = Task(
        choices(
            save_path=str(tmp_path),
            run_name="r",
            resume=True,
            restore_path=str(tmp_path / "gone"),
        ),
        train,
    )
    with pytest.raises(errors.UserError, match="on with None"):
        run(task)


def test_scores_of_characters_are_also_in_bits(capsys):
    texts.print_scores({"test perplexity": 8.0}, made_up_texts())
    assert capsys.readouterr().out == (
        "test perplexity 8.000\ntest bits 3.0000\n"
    )


@pytest.mark.parametrize(
    "known, designed",
    [({"lstm_0": 7}, [7]), ([7], [7]), (None, [4])],
)
def test_the_design_is_the_runs_not_that_of_flags(
    tmp_path, monkeypatch, known, designed
):
    """Of a net that was cut to 4 units; or it is the design, if any.

    Version 1.0.0 wrote a list.
    """
    seen = []
    net = model_lib.WordLSTM(2, 3, [4])
    monkeypatch.setattr(restoring, "designed_sizes", lambda path: known)
    monkeypatch.setattr(restoring, "restore", lambda *_, **__: net)
    monkeypatch.setattr(finishing, "finish", lambda *args: seen.extend(args))
    task = Task(
        choices(
            mode="report",
            restore_path=str(tmp_path / "cut"),
            save_path=str(tmp_path),
            run_name="r",
            display_weights=True,
        )
    )
    run(task)
    _, _, trained, _, origin, _, display_weights = seen
    found = finishing.designed_net(trained.net, origin.designed_sizes)
    assert list(found.hidden_sizes) == designed
    assert display_weights


def test_an_exported_model_has_a_whole_card(tmp_path, monkeypatch):
    cards, drawn = [], []
    net = model_lib.WordLSTM(3, 3, [4])
    monkeypatch.setattr(restoring, "designed_sizes", lambda path: {"lstm_0": 6})
    monkeypatch.setattr(restoring, "restore", lambda *_, **__: net)
    monkeypatch.setattr(
        finishing, "export_small", lambda *args: cards.append(args[3])
    )
    monkeypatch.setattr(
        sections, "draw", lambda *args, **kwargs: drawn.append(kwargs["each"])
    )
    task = Task(
        choices(
            mode="export",
            restore_path=str(tmp_path / "cut"),
            save_path=str(tmp_path),
            run_name="r",
            display_weights=True,
        )
    )
    run(task)
    (card,) = cards
    assert card["units before"] == {"lstm_0": 6}
    assert card["units after"] == {"lstm_0": 4}
    assert card["weights before"] > card["weights after"]
    assert card["valid perplexity"] > 1 and card["test bits"] > 0
    assert card["command"].startswith("python -m m") and drawn == [True]


@pytest.mark.parametrize("flag", ["restore_path", "resume"])
def test_a_run_of_another_program_is_named_as_such(tmp_path, flag):
    directory = runs.RunDirectory(tmp_path, "r")
    directory.write_text("flags.txt", "# A run of python -m other.one\n--a\n")
    (directory.checkpoints / "state-1.json").write_text("{}")
    more = {"resume": True} if flag == "resume" else {flag: str(directory.path)}
    run_name = "r" if flag == "resume" else "new"
    del directory
    task = Task(choices(save_path=str(tmp_path), run_name=run_name, **more))
    with pytest.raises(
        errors.UserError,
        match="r is a run of other.one, not of m: use python -m other.one",
    ):
        run(task)
    assert not (tmp_path / "new").exists()


def test_training_of_no_steps_is_refused(tmp_path):
    task = Task(choices(save_path=str(tmp_path / "runs")))
    task.steps = 0
    with pytest.raises(errors.UserError, match="0 steps .* random weights"):
        run(task)
    assert not (tmp_path / "runs").exists()
