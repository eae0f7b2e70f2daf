"""Fitting from anywhere, epochs, progress."""

import dataclasses
import fcntl
import json
import math
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import types

import fitting
import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.experiments import checkpoints as checkpoints_lib
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments import records
from iss_rnns.experiments import runs
from iss_rnns.experiments import stopping
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import options as options_lib
from iss_rnns.experiments.language import training
from ptb import model as model_lib

VOCABULARY, BATCH, TIME, STEPS = 9, 2, 2, 4


KNOWN = {"seconds": 0.0, "sizes": [4]}  # of a state, beside where it stood


def new_model(optimizer=None, **kwargs):
    return nets.new_model(
        nets.Net(VOCABULARY, **kwargs), BATCH, optimizer, eager=True
    )


def new_training():
    ids = np.arange(40, dtype=np.int32) % VOCABULARY
    config = dataclasses.replace(
        model_lib.CONFIGS["test"], batch_size=BATCH, num_steps=TIME
    )
    return training.LanguageTraining(
        options_lib.LanguageOptions(config),
        corpora.Corpus(
            "made", "word", ids, ids, ids, tuple("abcdefghi"), "made up"
        ),
    )


def windows(count=STEPS):
    return nets.ids(2, count, BATCH, TIME, vocabulary=VOCABULARY)


class Stop(Exception):
    pass


def run_epochs(
    model,
    tmp_path,
    epochs=3,
    every=2,
    die_at=None,
    resume=False,
    max_steps=None,
    terminate_at=None,
):
    """Trains as the tasks do; returns the costs and the checkpoints."""
    run = runs.RunDirectory(tmp_path, "run", resume=resume)
    checkpoints = checkpoints_lib.Checkpoints(run.checkpoints)
    state = {"epoch": 0, "batch": 0}
    if resume:
        state = checkpoints.last_state()
        checkpoints.restore(model)
    costs = []

    class Record(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            costs.append(float(logs["cost"]))
            if len(costs) == die_at:
                raise Stop
            if len(costs) == terminate_at:
                os.kill(os.getpid(), signal.SIGTERM)

        def on_epoch_end(self, epoch, logs=None):
            if die_at == "validation":
                raise Stop
            if terminate_at == "validation":
                os.kill(os.getpid(), signal.SIGTERM)

    fitting.fit(
        model,
        *windows(),
        epochs,
        [
            training.EpochStart(
                lambda epoch: 0.5**epoch,
                state["epoch"] if state["batch"] else None,
            ),
            Record(),
            records.SaveCheckpoints(
                checkpoints, every, STEPS, lambda: KNOWN, state["batch"]
            ),
        ],
        epoch=state["epoch"],
        batch=state["batch"],
        max_steps=max_steps,
    )
    return costs, checkpoints


class TestFit:
    @pytest.mark.parametrize("die_at", [3, 4, 7])
    def test_killed_anywhere_it_ends_with_the_same_weights(
        self, tmp_path, die_at
    ):
        """Dropout too: it goes by the step's number."""
        whole = new_model(keep_prob=0.7)
        costs, _ = run_epochs(whole, tmp_path / "whole")
        assert len(costs) == 3 * STEPS
        with pytest.raises(Stop):
            run_epochs(
                new_model(keep_prob=0.7), tmp_path / "cut", die_at=die_at
            )
        resumed = new_model(keep_prob=0.7, seed=8)
        resumed.net.seed = whole.net.seed
        rest, checkpoints = run_epochs(resumed, tmp_path / "cut", resume=True)
        assert rest == costs[-len(rest) :]
        assert len(rest) >= 3 * STEPS - die_at
        assert checkpoints.steps()[-1] == 3 * STEPS
        for ours, theirs in zip(resumed.variables, whole.variables):
            np.testing.assert_array_equal(ours, theirs)

    @pytest.mark.parametrize(
        "terminate_at, step, state",
        [
            (3, 3, {"epoch": 0, "batch": 3}),
            # Nothing says that a validation is left to be done: it is done.
            (4, 4, {"epoch": 1, "batch": 0}),
            ("validation", 4, {"epoch": 1, "batch": 0}),
        ],
    )
    def test_at_sigterm_it_saves_a_checkpoint_and_ends(
        self, tmp_path, terminate_at, step, state
    ):
        """B30: in mid-epoch, whenever checkpoints are due otherwise."""
        whole = new_model(keep_prob=0.7)
        costs, _ = run_epochs(whole, tmp_path / "whole")
        with (
            stopping.on_sigterm(),
            pytest.raises(
                stopping.Terminated,
                match=f"^terminated at step {step}, which is saved; the run "
                "goes on with --resume from its last checkpoint$",
            ),
        ):
            run_epochs(
                new_model(keep_prob=0.7),
                tmp_path / "cut",
                every=0,
                terminate_at=terminate_at,
            )
        checkpoints = checkpoints_lib.Checkpoints(
            tmp_path / "cut" / "run" / "checkpoints"
        )
        assert checkpoints.steps() == [step]
        assert checkpoints.last_state() == {**state, **KNOWN}
        resumed = new_model(keep_prob=0.7, seed=8)
        resumed.net.seed = whole.net.seed
        rest, _ = run_epochs(resumed, tmp_path / "cut", resume=True)
        assert rest == costs[step:]
        for ours, theirs in zip(resumed.variables, whole.variables):
            np.testing.assert_array_equal(ours, theirs)

    def test_without_checkpoints_sigterm_ends_it_at_once(self):
        class Terminate(tf.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                os.kill(os.getpid(), signal.SIGTERM)
                raise AssertionError("it went on")

        with (
            stopping.on_sigterm(),
            pytest.raises(stopping.Terminated, match="^terminated; a training"),
        ):
            fitting.fit(new_model(), *windows(), 1, [Terminate()])

    def test_a_state_of_longer_epochs_is_refused(self):
        """B23: where the epoch ends is in no state file."""
        with pytest.raises(
            errors.UserError,
            match="saved after batch 4 of an epoch, which has 4: give the data",
        ):
            fitting.fit(new_model(), *windows(), 1, [], batch=STEPS)

    def test_counts_the_steps_exactly(self, tmp_path):
        """Keras would run one more, to see that the data is out."""
        model = new_model()
        model.compile(tf.keras.optimizers.Adam())  # not eagerly
        run_epochs(model, tmp_path)
        assert int(model.optimizer.iterations) == 3 * STEPS

    def test_killed_in_validation_it_can_go_on(self, tmp_path):
        """No checkpoint says that an epoch with nothing left is open."""
        with pytest.raises(Stop):
            run_epochs(new_model(), tmp_path, every=2, die_at="validation")
        states = [
            json.loads(p.read_text())
            for p in (tmp_path / "run" / "checkpoints").glob("state-*.json")
        ]
        assert states == [{"epoch": 0, "batch": 2, **KNOWN}]
        rest, _ = run_epochs(new_model(), tmp_path, resume=True)
        assert len(rest) == 3 * STEPS - 2

    def test_dropout_draws_anew_in_each_step(self):
        model, costs = new_model(keep_prob=0.5), []

        class Record(tf.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                costs.append(float(logs["cost"]))

        fitting.fit(
            model,
            *windows(1),
            4,
            [training.EpochStart(lambda epoch: 0.0), Record()],
        )
        assert len(set(costs)) == 4

    @pytest.mark.parametrize(
        "steps, state",
        [
            (3, {"epoch": 0, "batch": 3}),
            (STEPS, {"epoch": 1, "batch": 0}),
            (6, {"epoch": 1, "batch": 2}),
        ],
    )
    def test_stops_after_max_steps_and_can_go_on(self, tmp_path, steps, state):
        costs, checkpoints = run_epochs(new_model(), tmp_path, max_steps=steps)
        assert len(costs) == steps
        assert checkpoints.last_state() == {**state, **KNOWN}
        more, _ = run_epochs(new_model(), tmp_path, resume=True)
        assert len(costs) + len(more) == 3 * STEPS
        none, _ = run_epochs(new_model(), tmp_path, resume=True, max_steps=1)
        assert none == []

    def test_learning_rates_by_epoch(self, tmp_path):
        model, rates = new_model(), []

        class Look(tf.keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                rates.append(float(self.model.optimizer.learning_rate))

        fitting.fit(
            model,
            *windows(2),
            3,
            [training.EpochStart(lambda epoch: 0.5**epoch), Look()],
        )
        assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25]

    @pytest.mark.parametrize(
        "first, expected",
        [
            (0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.25, 0.25]),
            (2, [0.3, 0.4, 0.5, 0.5, 0.25, 0.25]),  # resumed
            (5, [0.5, 0.25, 0.25]),
        ],
    )
    def test_the_learning_rate_warms_up(self, first, expected):
        rates = []

        class Look(tf.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                rates.append(float(self.model.optimizer.learning_rate))

        model = new_model()
        model.optimizer.iterations.assign(first)
        fitting.fit(
            model,
            *windows(6),
            2,
            [
                training.EpochStart(
                    lambda epoch: 0.5 / (1 + epoch), warmup_steps=5
                ),
                Look(),
            ],
            batch=first,
            max_steps=8,
        )
        np.testing.assert_allclose(rates, expected, rtol=1e-6)

    def test_state_is_carried_in_an_epoch_and_reset_between(self):
        model, sums = new_model(), []

        class Look(tf.keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None):
                sums.append(
                    float(sum(abs(s.numpy()).sum() for s in self.model.carried))
                )

        fitting.fit(
            model,
            *windows(2),
            2,
            [training.EpochStart(lambda epoch: 1.0), Look()],
        )
        assert [s > 0 for s in sums] == [False, True, False, True]

    def test_nan_keeps_the_last_good_checkpoint(self, tmp_path):
        """Neither the step that broke nor the weights it left are saved."""
        model = new_model()

        class Poison(tf.keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if int(model.optimizer.iterations) == 3:
                    model.net.dense.kernel.assign(
                        np.full(model.net.dense.kernel.shape, np.nan)
                    )

        checkpoints = checkpoints_lib.Checkpoints(
            runs.RunDirectory(tmp_path, "run").checkpoints
        )
        for every in (1, 4):
            with pytest.raises(
                errors.UserError,
                match="training stopped: .* became (nan|NaN) "
                "at step [34]; lower the learning rate; "
                "the last good checkpoint is kept",
            ):
                fitting.fit(
                    model,
                    *windows(),
                    1,
                    [
                        Poison(),
                        records.SaveCheckpoints(
                            checkpoints, every, STEPS, lambda: KNOWN
                        ),
                    ],
                )
            assert checkpoints.steps() == [1, 2]
            checkpoints.restore(model)

    @pytest.mark.parametrize(
        "saved, advice",
        [
            (
                True,
                "the last good checkpoint is kept: a run that goes on from it "
                "has the flags '--flagfile={0}/flags.txt' "
                "'--restore_path={0}' '--run_name=my run-lower' "
                "--learning_rate=0.125",
            ),
            (
                False,
                "no checkpoint was saved yet: to start again, give the flags "
                "'--flagfile={0}/flags.txt' --overwrite --learning_rate=0.125",
            ),
        ],
    )
    def test_nan_names_the_flags_that_go_on(self, tmp_path, saved, advice):
        """B29; that programs take them: see those of the tasks."""
        run = runs.RunDirectory(tmp_path, "my run")
        run.write_text("flags.txt", "--run_name=my run\n")
        checkpoints = checkpoints_lib.Checkpoints(run.checkpoints)
        model = new_model(optimizer=tf.keras.optimizers.SGD(0.25))
        if saved:
            checkpoints.save(model, {"epoch": 0, "batch": 0, **KNOWN})
        model.net.dense.kernel.assign(
            np.full(model.net.dense.kernel.shape, np.nan)
        )
        with pytest.raises(errors.UserError) as caught:
            fitting.fit(
                model,
                *windows(),
                1,
                [records.SaveCheckpoints(checkpoints, 1, STEPS, lambda: KNOWN)],
            )
        assert str(caught.value).endswith(
            f"; lower the learning rate; {advice.format(run.path)}"
        )

    def test_nan_before_any_checkpoint(self, tmp_path):
        model = new_model()
        model.net.dense.kernel.assign(
            np.full(model.net.dense.kernel.shape, np.nan)
        )
        checkpoints = checkpoints_lib.Checkpoints(
            runs.RunDirectory(tmp_path, "run").checkpoints
        )
        with pytest.raises(
            errors.UserError,
            match="learning rate; no checkpoint was saved yet$",
        ):
            fitting.fit(
                model,
                *windows(),
                1,
                [records.SaveCheckpoints(checkpoints, 1, STEPS, lambda: {})],
            )


class TestEpochEvaluation:
    def test_writes_and_prints_a_row(self, tmp_path, capsys):
        model = new_model()
        metrics = metrics_lib.Metrics(tmp_path / "metrics.csv")
        clock = progress_lib.Clock(BATCH * TIME, seconds_before=100.0)
        language = new_training()
        language._evaluator = types.SimpleNamespace(
            net=model.net, perplexity=lambda *windows: 12.5
        )
        fitting.fit(
            model,
            *windows(),
            2,
            [
                training.EpochStart(lambda epoch: 1.0),
                clock,
                records.EpochEvaluation(
                    language.row,
                    language.line,
                    metrics,
                    model.net.iss_groups(),
                    clock,
                    records.TensorBoard(tmp_path / "tensorboard"),
                ),
            ],
        )
        assert [row["epoch"] for row in metrics.rows] == [1, 2]
        row = metrics.rows[-1]
        assert row["valid_perplexity"] == 12.5 and row["seconds"] > 100
        assert row["words_per_second"] > 0
        np.testing.assert_allclose(
            row["train_perplexity"],
            math.exp(float(model.total_cost / model.total_steps)),
            rtol=1e-5,
        )
        assert row["units_above_0.05/lstm_0"] == 4
        printed = capsys.readouterr().out
        assert "epoch 2  learning rate 1" in printed
        assert "valid 12.50" in printed and "units 4 " in printed
        assert any((tmp_path / "tensorboard").iterdir())

    def test_curves_that_cannot_be_written_are_noted_once(
        self, tmp_path, capsys
    ):
        (tmp_path / "file").write_text("")
        board = records.TensorBoard(tmp_path / "file" / "tensorboard")
        for step in (1, 2):
            board.write(step, {"cost": 1.0})
        printed = capsys.readouterr().out
        assert printed.startswith(f"note: cannot write {tmp_path}/file/tensor")
        assert printed.count("\n") == 1

    def test_a_run_without_tensorboard_goes_on(
        self, tmp_path, capsys, monkeypatch
    ):
        monkeypatch.setitem(sys.modules, "tensorboard.summary.v2", None)
        board = records.TensorBoard(tmp_path / "tensorboard")
        for step in (1, 2):
            board.write(step, {"cost": 1.0})
        assert re.fullmatch(
            "note: cannot write .*tensorboard: .*tensorboard.*; training goes "
            "on without TensorBoard's curves\n",
            capsys.readouterr().out,
        )

    @pytest.mark.parametrize(
        "value", [1e39, float("inf"), float("nan"), 10**50, np.float64(1e300)]
    )
    def test_curves_of_numbers_beyond_float32(self, tmp_path, capsys, value):
        """B21: a perplexity of 1e39 ended the run before its checkpoint."""
        board = records.TensorBoard(tmp_path)
        board.write(1, {"valid_perplexity": value})
        (file,) = tmp_path.iterdir()
        (event,) = [
            event
            for event in tf.compat.v1.train.summary_iterator(str(file))
            if event.summary.value
        ]
        number = tf.make_ndarray(event.summary.value[0].tensor)
        with np.errstate(over="ignore"):
            expected = np.float32(value)
        assert number == expected or np.isnan([number, value]).all()
        assert capsys.readouterr().out == ""

    def test_progress_is_quiet_when_not_a_terminal(self, capsys):
        model = new_model()
        clock = progress_lib.Clock(BATCH * TIME)
        fitting.fit(
            model,
            *windows(),
            1,
            [
                training.EpochStart(lambda epoch: 1.0),
                clock,
                progress_lib.Progress(STEPS, 1, model.net.iss_groups(), clock),
            ],
        )
        captured = capsys.readouterr()
        assert captured.out == captured.err == ""

    @pytest.mark.parametrize(
        "units, logs, parts",
        [
            (
                [1500, 1500],
                {"perplexity": 131.23},
                ["perplexity 131", r"\d+ words/s", "units 1500/1500"],
            ),
            (
                [100] * 6,
                {"cost": 12.345},
                ["cost 12.35", r"30\.1 q/s", "units 100/100/100/100/100/100"],
            ),
        ],
    )
    def test_the_progress_line_fits_a_terminal(
        self, monkeypatch, units, logs, parts
    ):
        """Of 80 columns, with hours to go, whatever task it is of."""
        groups = [
            types.SimpleNamespace(name=str(i), alive=lambda _, n=n: np.ones(n))
            for i, n in enumerate(units)
        ]
        clock = progress_lib.Clock(700)
        clock._epoch_steps, clock._epoch_seconds = 86, 2.0
        show = (
            None
            if "perplexity" in logs
            else (lambda logs: f"cost {logs['cost']:.2f}, 30.1 q/s")
        )
        line = last_line_on_terminal(
            monkeypatch,
            progress_lib.Progress(100, 55, groups, clock, show=show),
            logs,
        )
        match = re.fullmatch(
            ", ".join([r"epoch 12/55", r"(\S+) left", *parts]), line
        )
        assert match, line
        assert len(line) - len(match[1]) + len("12:34:56") < 80


class TestKeepBest:
    """B14"""

    @pytest.mark.parametrize(
        "scores, best",
        [
            ([3.0, 2.0, 2.5], 2),
            ([2.0, 2.0], 1),
            # B8: a NaN is not the best, nor does it stand in others' way.
            ([math.nan, 3.0, math.nan, 4.0], 2),
            ([math.nan, math.nan], None),
            ([math.inf, 1e39], 2),
            ([2.0, math.nan, 2.0], 1),
            # No state file would hold it.
            ([1.7e308, 1e299, 1e300], 2),
        ],
    )
    def test_b14_the_best_epoch_is_that_of_the_lowest_score(self, scores, best):
        assert chosen([(score, 4, 4) for score in scores]) == best

    @pytest.mark.parametrize(
        "epochs, best",
        [
            # (score, size of the layer, living units)
            ([(1.0, 8, 8), (3.0, 8, 6), (2.0, 8, 6), (4.0, 8, 6)], 3),
            ([(1.0, 8, 8), (9.0, 8, 6)], 2),
            ([(1.0, 8, 6), (2.0, 8, 7), (3.0, 8, 6)], 3),
            ([(1.0, 8, 6), (3.0, 6, 6), (2.0, 6, 6)], 3),
            ([(1.0, 8, 8), (math.nan, 6, 6)], None),
        ],
    )
    def test_b14_only_of_those_with_the_final_sizes(self, epochs, best):
        assert chosen(epochs) == best

    def test_b14_a_cut_in_mid_epoch_forgets_those_before(self):
        keep, model = keeper()
        end_epoch(keep, 1, 1.0, 8, 8)
        assert keep.state()["best"]["epoch"] == 1
        model.net.sizes = {"lstm_0": 6}
        assert keep.state() == {"best": None, "whole": None}

    def test_b14_a_part_of_an_epoch_counts_until_training_goes_on(self):
        keep, _ = keeper()
        end_epoch(keep, 1, 2.0, 8, 8)
        end_epoch(keep, 2, 1.0, 8, 8, steps=STEPS - 1)
        state = json.loads(json.dumps(keep.state()))
        assert [state[n]["epoch"] for n in ("best", "whole")] == [2, 1]
        resumed, _ = keeper(start_batch=STEPS - 1)
        resumed.restore(state)
        assert resumed.state()["best"] == state["whole"]
        end_epoch(resumed, 2, 3.0, 8, 8, steps=1)
        assert resumed.state()["best"]["epoch"] == 1


def keeper(start_batch=0):
    """`records.KeepBest` of a model in name only."""
    model = types.SimpleNamespace(
        net=types.SimpleNamespace(sizes={"lstm_0": 8}),
        optimizer=types.SimpleNamespace(iterations=tf.constant(0)),
        living=8,
    )
    keep = records.KeepBest(
        types.SimpleNamespace(rows=[]),
        lambda row: row["valid_perplexity"],
        lambda: {"lstm_0": model.living},
        STEPS,
        start_batch,
    )
    keep.set_model(model)
    return keep, model


def end_epoch(keep, epoch, score, size, living, steps=STEPS):
    model = keep.model
    model.net.sizes, model.living = {"lstm_0": size}, living
    model.optimizer.iterations += steps
    for batch in range(steps):
        keep.on_train_batch_end(batch)
    keep.metrics.rows.append({"epoch": epoch, "valid_perplexity": score})
    keep.on_epoch_end(epoch - 1)


def chosen(epochs):
    keep, _ = keeper()
    for epoch, (score, size, living) in enumerate(epochs, 1):
        end_epoch(keep, epoch, score, size, living)
    best = keep.state()["best"]
    return best and best["epoch"]


def last_line_on_terminal(monkeypatch, progress, logs):
    """What stands on a terminal of 80 columns after a step."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with open(terminal, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        progress.on_epoch_begin(11)
        progress._bar.start_t -= 3
        progress.on_train_batch_end(0, logs)
        monkeypatch.undo()
        stream.flush()
        shown = b""
        while select.select([master], [], [], 0.5)[0]:
            shown += os.read(master, 10000)
        progress._bar.close()
    os.close(master)
    return shown.decode().split("\r")[-1].rstrip()
