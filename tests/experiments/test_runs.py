"""Run directories, checkpoints, metrics."""

import os
import pathlib
import re

import fitting
import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import runs

VOCABULARY = 9
STATE = {"epoch": 1, "batch": 0, "seconds": 0.5, "sizes": [4]}


def new_model(optimizer=None, **kwargs):
    return nets.new_model(
        nets.Net(VOCABULARY, **kwargs), 2, optimizer, eager=True
    )


def tiny_checkpoint(run, step=1):
    """A file that says a checkpoint is complete."""
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    (run.checkpoints / f"state-{step}.json").write_text("{}")


class TestRunDirectory:
    def test_is_made_with_its_parents(self, tmp_path):
        run = runs.RunDirectory(tmp_path / "a" / "b", "name")
        assert run.path == tmp_path / "a" / "b" / "name"
        assert run.checkpoints.is_dir()
        assert sorted(os.listdir(run.path)) == [".lock", "checkpoints"]
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

    def test_resuming_what_is_not_there_names_what_is(self, tmp_path):
        tiny_checkpoint(runs.RunDirectory(tmp_path, "b"))
        tiny_checkpoint(runs.RunDirectory(tmp_path, "a"))
        runs.RunDirectory(tmp_path, "empty")
        with pytest.raises(
            errors.UserError,
            match=r"nothing to resume: .*no checkpoint; \S+ has a, b; give the",
        ):
            runs.RunDirectory(tmp_path, "c", resume=True)

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

        monkeypatch.setattr(pathlib.Path, "write_text", full)
        with pytest.raises(errors.UserError, match="No space left"):
            runs.RunDirectory(tmp_path, "run", overwrite=True)
        assert old.read_text() == "months of work"
        assert os.listdir(tmp_path) == ["run"]
        assert sorted(os.listdir(tmp_path / "run")) == [".lock", "flags.txt"]

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
        [".", "..", "a/b", "../run", "/", "n" * 256, "\u00e9" * 128],
    )
    def test_names_that_no_folder_has(self, tmp_path, name):
        with pytest.raises(
            errors.UserError, match="a run's name is that of one folder .*got '"
        ) as caught:
            runs.RunDirectory(tmp_path / "runs", name, overwrite=True)
        assert len(str(caught.value)) < 200
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["a\0b", "a\nb", "caf\udce9"])
    @pytest.mark.parametrize("where", ["name", "save_path"])
    def test_control_characters_and_what_is_not_utf8(
        self, tmp_path, name, where
    ):
        """B26: `flags.txt` holds the name, on a line."""
        place = (
            (tmp_path, name) if where == "name" else (f"{tmp_path}/{name}", "r")
        )
        with pytest.raises(
            errors.UserError, match="control character|is not UTF-8"
        ) as caught:
            runs.RunDirectory(*place)
        assert str(caught.value).isprintable()
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["run [1]", "a\\b"])
    @pytest.mark.parametrize("where", ["name", "save_path"])
    def test_brackets_and_backslashes_are_refused_before_training(
        self, tmp_path, name, where
    ):
        """B16: TensorFlow could not read what training had written."""
        place = (
            (tmp_path, name) if where == "name" else (tmp_path / name, "run")
        )
        with pytest.raises(
            errors.UserError, match="TensorFlow cannot read from .* a pattern"
        ):
            runs.RunDirectory(*place)
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("how", ["resume", "overwrite"])
    def test_leftovers_of_kills_are_removed_at_the_next_start(
        self, tmp_path, how
    ):
        """B28"""
        run = runs.RunDirectory(tmp_path, "run")
        tiny_checkpoint(run, 4)
        kept = {".lock", "checkpoints", "saved_model", ".hidden"}
        (run.path / "saved_model").mkdir()
        (run.path / ".hidden").write_text("the user's")
        arrays = ["model-4.index", "model-4.data-00000-of-00001"]
        for name in arrays + [
            ".state-5.json.4711.partial",
            "model-5.index",
            "model-5.data-00000-of-00001",
            "model-6_temp/part-00000-of-00001.index",
        ]:
            file = run.checkpoints / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("half")
        for name in (
            ".best.npz.4711.partial",
            "saved_model/.dense.4711.partial/variables/v",
            "saved_model/.dense.4711.replaced/variables/v",
            "../.run.replaced/checkpoints/state-1.json",
        ):
            file = run.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("half")
        again = runs.RunDirectory(tmp_path, "run", **{how: True})
        assert os.listdir(tmp_path) == ["run"]
        if how == "overwrite":
            assert sorted(os.listdir(again.path)) == [".lock", "checkpoints"]
            return
        assert set(os.listdir(again.path)) == kept
        assert os.listdir(again.path / "saved_model") == []
        assert set(os.listdir(again.checkpoints)) == {*arrays, "state-4.json"}

    @pytest.mark.parametrize(
        "file, content, line",
        [
            (
                "metrics.csv",
                "epoch,a\n1,x\n",
                "metrics .*csv are damaged: line",
            ),
            ("cuts.json", "{}", "record of cuts .*cuts.json is damaged: "),
        ],
    )
    def test_damaged_records_are_told_before_training(
        self, tmp_path, file, content, line
    ):
        """B24: not when the report is made of them."""
        run = runs.RunDirectory(tmp_path, "run")
        tiny_checkpoint(run)
        run.write_text("report.json", "{}")
        run.write_text(file, content)
        with pytest.raises(errors.UserError, match=line):
            runs.RunDirectory(tmp_path, "run", resume=True)
        assert (run.path / "report.json").exists()
        assert runs.RunDirectory(tmp_path, "run", overwrite=True)

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
        checkpoints.save(model, state or STATE)
        return checkpoints

    def test_round_trip_of_everything(self, tmp_path):
        model = new_model(optimizer=tf.keras.optimizers.Adam(0.1))
        ids = nets.ids(2, 3, 2, 2, vocabulary=VOCABULARY)
        fitting.fit(model, *ids, epochs=1, callbacks=[])
        checkpoints = self.saved(tmp_path, model, {**STATE, "batch": 2})
        assert checkpoints.last_state() == {**STATE, "batch": 2}
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
            checkpoints.save(model, {**STATE, "epoch": step})
        assert checkpoints.steps() == [9, 10]
        assert checkpoints.last_state() == {**STATE, "epoch": 10}
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
        model.net.dense.bias.assign(np.full(VOCABULARY, np.inf))
        with pytest.raises(
            FloatingPointError, match="dense/bias:0 became NaN at step 4"
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

    def test_nan_in_the_optimizer_is_never_saved(self, tmp_path):
        """B8: the next step would carry it into the weights."""
        model = new_model(optimizer=tf.keras.optimizers.SGD(1.0, momentum=0.9))
        model.optimizer.build(model.trainable_variables)
        slot = model.optimizer.momentums[0]
        slot.assign(np.full(slot.shape, np.nan))
        with pytest.raises(FloatingPointError, match=" became NaN at step 0"):
            self.saved(tmp_path, model)

    @pytest.mark.parametrize(
        "ending, damage",
        [
            (".index", b"garbage" * 40),
            (".data-00000-of-00001", None),
            (".data-00000-of-00001", "a bit"),
            ("state", b'{"epoch": -1}'),
        ],
    )
    def test_a_damaged_newest_one_gives_way_to_the_one_before(
        self, tmp_path, capsys, ending, damage
    ):
        """B27"""
        model = new_model()
        model.optimizer.build(model.trainable_variables)
        checkpoints = self.saved(tmp_path, model, {**STATE, "sizes": [4]})
        expected = model.net.dense.kernel.numpy().copy()
        model.optimizer.iterations.assign(7)
        model.net.dense.kernel.assign(expected + 1)
        checkpoints.save(model, {**STATE, "epoch": 2})
        folder = checkpoints.folder
        file = folder / (
            "state-7.json" if ending == "state" else f"model-7{ending}"
        )
        if damage is None:
            file.unlink()
        elif damage == "a bit":  # of the last array
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        else:
            file.write_bytes(damage)
        again = checkpoints_lib.Checkpoints(folder)
        assert again.last_state() == STATE
        again.restore(model)
        np.testing.assert_array_equal(model.net.dense.kernel, expected)
        printed = capsys.readouterr().out
        assert re.fullmatch(
            r"note: checkpoint .*-7(\.json)? (cannot be restored|is damaged): "
            ".*; the checkpoint before it, of step 0, is taken\n",
            printed,
        )
        # What is damaged goes when the next one is whole.
        model.optimizer.iterations.assign(5)
        again.save(model, {**STATE, "epoch": 3})
        assert again.steps() == [0, 5]
        assert not any(folder.glob("*-7*"))

    def test_of_many_damaged_ones_the_newest_is_named(self, tmp_path):
        model = new_model()
        checkpoints = self.saved(tmp_path, model)
        model.optimizer.iterations.assign(7)
        checkpoints.save(model, STATE)
        for file in checkpoints.folder.glob("*.index"):
            file.write_bytes(b"")
        with pytest.raises(
            errors.UserError,
            match="model-7 cannot be restored: .*, and no checkpoint beside "
            "it is whole$",
        ):
            checkpoints.last_state()

    def test_one_that_is_asked_for_gives_way_to_none(self, tmp_path):
        model = new_model()
        checkpoints = self.saved(tmp_path, model)
        model.optimizer.iterations.assign(7)
        checkpoints.save(model, STATE)
        (checkpoints.folder / "model-7.index").write_bytes(b"")
        with pytest.raises(errors.UserError, match="model-7 cannot be"):
            checkpoints_lib.find(checkpoints.folder, 7)
        assert checkpoints_lib.find(checkpoints.folder, 0)[0] == 0

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

    @pytest.mark.parametrize(
        "text, wrong",
        [
            ("", "it holds no row"),
            ("epoch,a\n", "it holds no row"),
            ("epoch,a\n1,2.5\n2\n", "line 3 has 1 values, expected 2"),
            ("epoch,a\n1,2.5,3\n", "line 2 has 3 values, expected 2"),
            ("epoch,a\n1,x\n", "line 2: a is 'x', expected a number"),
            ("epoch,a\n2,1\n2,1\n", "line 3 is of epoch '2', expected one af"),
            ("epoch,a\n-1,1\n", "line 2 is of epoch '-1'"),
            ("a,b\n1,1\n", "line 2 is of epoch ''"),
            (f"epoch\n{'9' * 5000}\n", "line 2 is of epoch '999"),
            ("epoch,a\n1,\0\n", "."),
        ],
    )
    def test_what_is_damaged_names_the_line(self, tmp_path, text, wrong):
        path = tmp_path / "metrics.csv"
        path.write_text(text)
        with pytest.raises(
            errors.UserError,
            match=f"metrics {path} are damaged: {wrong}.*; expected the rows "
            "that training wrote: remove the file to go on without them$",
        ) as caught:
            metrics_lib.Metrics.read(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300

    def test_numbers_that_are_none_and_empty_cells(self, tmp_path):
        path = tmp_path / "metrics.csv"
        metrics = metrics_lib.Metrics(path)
        metrics.append({"epoch": 1, "valid": float("nan")})
        metrics.append({"epoch": 2, "valid": 1e39, "more": float("inf")})
        (first, last) = metrics_lib.Metrics.read(path)
        assert np.isnan(metrics_lib.number(first, "valid"))
        assert np.isnan(metrics_lib.number(first, "more"))
        assert np.isnan(metrics_lib.number(first, "none"))
        assert metrics_lib.number(last, "valid") == 1e39
