"""Run directories, checkpoints, metrics."""

import os
import pathlib

import fitting
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import model as language_model
from ptb import model as model_lib

VOCABULARY = 9


def new_model(sizes=(4,), optimizer=None, **kwargs):
    model = language_model.LanguageModel(
        model_lib.WordLSTM(VOCABULARY, 4, sizes, init_scale=0.5, **kwargs),
        2,
        max_grad_norm=5.0,
    )
    model.compile(
        optimizer or tf.keras.optimizers.SGD(1.0), run_eagerly=True
    )  # tracing takes longer than these steps
    return model


def tiny_checkpoint(run, step=1):
    """A file that says a checkpoint is complete."""
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    (run.checkpoints / f"state-{step}.json").write_text("{}")


class TestRunDirectory:
    def test_is_made_with_its_parents(self, tmp_path):
        run = runs.RunDirectory(tmp_path / "a" / "b", "name")
        assert run.path == tmp_path / "a" / "b" / "name"
        assert run.checkpoints.is_dir()
        assert [p.name for p in run.path.iterdir()] == ["checkpoints"]
        run.write_text("flags.txt", "--x\n")
        assert (run.path / "flags.txt").read_text() == "--x\n"

    def test_without_a_name_it_is_the_time(self, tmp_path):
        run = runs.RunDirectory(tmp_path)
        assert run.path.name[:2] == "20" and "___" in run.path.name

    def test_an_occupied_one_is_refused_untouched(self, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "flags.txt").write_text("mine")
        with pytest.raises(
            errors.UserError,
            match="run is not empty; continue it with "
            "--resume, replace it with --overwrite",
        ):
            runs.RunDirectory(tmp_path, "run")
        assert (tmp_path / "run" / "flags.txt").read_text() == "mine"

    @pytest.mark.parametrize("sign", ["flags.txt", "checkpoints"])
    def test_overwrite_removes_it(self, tmp_path, sign):
        (tmp_path / "run" / sign).mkdir(parents=True)
        (tmp_path / "run" / "note.txt").write_text("mine")
        run = runs.RunDirectory(tmp_path, "run", overwrite=True)
        assert not (run.path / "note.txt").exists()

    def test_what_it_would_replace_stays_if_it_cannot_be_made(
        self, tmp_path, monkeypatch
    ):
        old = tmp_path / "run" / "flags.txt"
        old.parent.mkdir()
        old.write_text("months of work")

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pathlib.Path, "mkdir", full)
        with pytest.raises(errors.UserError, match="No space left"):
            runs.RunDirectory(tmp_path, "run", overwrite=True)
        assert old.read_text() == "months of work"
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_a_run_that_goes_on_is_not_complete(self, tmp_path):
        run = runs.RunDirectory(tmp_path, "run")
        (run.checkpoints / "state-3.json").write_text("{}")
        run.write_text("report.json", "{}")
        resumed = runs.RunDirectory(tmp_path, "run", resume=True)
        assert (run.path / "report.json").exists()  # It may be refused yet.
        resumed.begin()
        assert not (run.path / "report.json").exists()

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_what_is_no_run_is_left_alone(self, tmp_path, overwrite):
        (tmp_path / "thesis").mkdir()
        (tmp_path / "thesis" / "note.txt").write_text("mine")
        with pytest.raises(
            errors.UserError, match="thesis is not empty and holds no run"
        ):
            runs.RunDirectory(tmp_path, "thesis", overwrite=overwrite)
        assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["note.txt"]

    @pytest.mark.parametrize(
        "name",
        [".", "..", "a/b", "../run", "/", "a\0b", "n" * 256, "\u00e9" * 128],
    )
    def test_names_that_no_folder_has(self, tmp_path, name):
        with pytest.raises(
            errors.UserError, match="a run's name is that of one folder .*got '"
        ) as caught:
            runs.RunDirectory(tmp_path / "runs", name, overwrite=True)
        assert len(str(caught.value)) < 200
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("locked", ["run", "checkpoints"])
    def test_no_permission_to_read(self, tmp_path, monkeypatch, locked):
        run = runs.RunDirectory(tmp_path, "run")
        listed = os.listdir

        def refuse(path):
            if str(path).endswith(locked):
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        # The tests may run as root, who may read anything.
        monkeypatch.setattr(os, "listdir", refuse)
        with pytest.raises(
            errors.UserError,
            match=f"cannot read folder .*{locked}: Permission denied",
        ):
            runs.RunDirectory(tmp_path, "run", resume=True)
        monkeypatch.undo()
        assert run.checkpoints.is_dir()

    def test_resume_needs_a_checkpoint(self, tmp_path):
        run = runs.RunDirectory(tmp_path, "run")
        with pytest.raises(
            errors.UserError,
            match="nothing to resume: .*checkpoints holds no checkpoint",
        ):
            runs.RunDirectory(tmp_path, "run", resume=True)
        with pytest.raises(errors.UserError, match="nothing to resume"):
            runs.RunDirectory(tmp_path, "other", resume=True)
        assert not (tmp_path / "other").exists()
        tiny_checkpoint(run, 10)
        tiny_checkpoint(run, 9)
        resumed = runs.RunDirectory(tmp_path, "run", resume=True)
        assert resumed.checkpoint_steps() == [9, 10]

    def test_both_are_refused(self, tmp_path):
        with pytest.raises(errors.UserError, match="exclude each other"):
            runs.RunDirectory(tmp_path, "run", True, True)

    @pytest.mark.parametrize(
        "save_path, name", [("", "file"), ("file", "below")]
    )
    def test_no_place_to_write(self, tmp_path, save_path, name):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(
            errors.UserError,
            match="cannot write to run directory .*file.*; "
            "choose another --save_path",
        ):
            runs.RunDirectory(tmp_path / save_path, name)
        assert (tmp_path / "file").read_text() == "mine"


class TestCheckpoints:
    def saved(self, tmp_path, model, state=None, **kwargs):
        run = runs.RunDirectory(tmp_path, "run", overwrite=True)
        checkpoints = checkpoints_lib.Checkpoints(run.checkpoints, **kwargs)
        checkpoints.save(model, state or {"epoch": 1})
        return checkpoints

    def test_round_trip_of_everything(self, tmp_path):
        model = new_model(optimizer=tf.keras.optimizers.Adam(0.1))
        ids = np.random.default_rng(0).integers(0, VOCABULARY, (2, 3, 2, 2))
        fitting.fit(model, *ids.astype(np.int32), epochs=1, callbacks=[])
        checkpoints = self.saved(tmp_path, model, {"epoch": 1, "batch": 2})
        assert checkpoints.last_state() == {"epoch": 1, "batch": 2}
        again = new_model(optimizer=tf.keras.optimizers.Adam(0.1), seed=5)
        checkpoints.restore(again)
        assert int(again.optimizer.iterations) == 3
        for ours, theirs in zip(
            [*again.variables, *again.optimizer.variables],
            [*model.variables, *model.optimizer.variables],
        ):
            np.testing.assert_array_equal(ours, theirs)
        for ours, theirs in zip(again.carried, model.carried):
            assert theirs.numpy().any()
            np.testing.assert_array_equal(ours, theirs)

    def test_keeps_the_newest(self, tmp_path):
        model = new_model()
        checkpoints = self.saved(tmp_path, model, keep=2)
        for step in (3, 9, 10):
            model.optimizer.iterations.assign(step)
            checkpoints.save(model, {"epoch": step})
        assert checkpoints.steps() == [9, 10]
        assert checkpoints.last_state() == {"epoch": 10}
        assert sorted(
            {p.name.split(".")[0] for p in checkpoints.folder.iterdir()}
        ) == ["model-10", "model-9", "state-10", "state-9"]

    def test_without_its_state_file_it_does_not_exist(self, tmp_path):
        """A kill between the two writes leaves the older one."""
        model = new_model()
        checkpoints = self.saved(tmp_path, model)
        tf.train.Checkpoint(model=model).write(
            str(checkpoints.folder / "model-7")
        )
        assert checkpoints.steps() == [0]

    def test_nan_weights_are_never_saved(self, tmp_path):
        model = new_model()
        checkpoints = self.saved(tmp_path, model)
        model.optimizer.iterations.assign(4)
        model.net.softmax_b.assign(np.full(VOCABULARY, np.inf))
        with pytest.raises(
            FloatingPointError, match="softmax_b:0 became NaN at step 4"
        ):
            checkpoints.save(model, {})
        assert checkpoints.steps() == [0]

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"sizes": (3,)},
            {"sizes": (4, 3)},
            {"optimizer": tf.keras.optimizers.Adam()},
        ],
    )
    def test_of_another_model(self, tmp_path, kwargs):
        checkpoints = self.saved(tmp_path, new_model())
        with pytest.raises(
            errors.UserError, match="checkpoint .*model-0 cannot be restored: "
        ) as caught:
            checkpoints.restore(new_model(**kwargs))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "ending, damage",
        [
            (".index", b""),
            (".index", b"garbage" * 40),
            (".data-00000-of-00001", b"short"),
            (".data-00000-of-00001", None),
        ],
    )
    def test_damaged(self, tmp_path, ending, damage):
        checkpoints = self.saved(tmp_path, new_model())
        file = checkpoints.folder / f"model-0{ending}"
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        with pytest.raises(
            errors.UserError, match="model-0 cannot be"
        ) as caught:
            checkpoints.restore(new_model())
        assert "\n" not in str(caught.value)

    def test_no_place_to_write(self, tmp_path):
        model = new_model()
        checkpoints = self.saved(tmp_path, model)
        folder = checkpoints.folder
        folder.rename(tmp_path / "good")
        folder.write_text("a file in the place of the folder")
        with pytest.raises(
            errors.UserError,
            match="cannot write checkpoint .*model-0: .*; no "
            "checkpoint was saved yet",
        ):
            checkpoints.save(model, {})
        assert (tmp_path / "good" / "state-0.json").exists()


class TestMetrics:
    def test_rows_and_new_columns(self, tmp_path):
        metrics = metrics_lib.Metrics(tmp_path / "metrics.csv")
        metrics.append({"epoch": 1, "valid": 2.5})
        metrics.append({"epoch": 2, "valid": 2.25, "units/a": 7})
        assert (tmp_path / "metrics.csv").read_text() == (
            "epoch,valid,units/a\n1,2.5,\n2,2.25,7\n"
        )

    def test_a_resumed_run_drops_what_comes_again(self, tmp_path):
        path = tmp_path / "metrics.csv"
        metrics = metrics_lib.Metrics(path)
        for epoch in (1, 2, 3):
            metrics.append({"epoch": epoch, "valid": float(epoch)})
        again = metrics_lib.Metrics(path, epochs_kept=2)
        again.append({"epoch": 3, "valid": 9.0})
        assert path.read_text() == "epoch,valid\n1,1.0\n2,2.0\n3,9.0\n"
        assert metrics_lib.Metrics(path, epochs_kept=0).rows == []
