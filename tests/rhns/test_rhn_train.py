"""Training highway models: penalties, zeroing, resuming, and the program."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import killing
import numpy as np
import ptb_program
import pytest
import rhn_runs
import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import regularizers
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.interop import group_json
from rhns import experiment
from rhns import train as train_lib

ROOT = pathlib.Path(__file__).parents[2]

# Bad command lines, and what the one line of the error must say.
BAD = {
    "no_such_folder": (
        ["--data_path=/no/such/folder"],
        "text folder /no/such/folder does not exist",
    ),
    "dataset_without_path": (
        ["--dataset=enwik8"],
        "--dataset=enwik8 needs --data_path",
    ),
    "embedded_with_path": (
        ["--dataset=embedded_words", "--data_path=."],
        "leave out --data_path=.",
    ),
    "penalty_without_groups": (
        ["--structure_wd=0.01"],
        "--structure_wd needs --group_config",
    ),
    "threshold_without_groups": (
        ["--zero_threshold=1e-4"],
        "--zero_threshold needs --group_config",
    ),
    "nothing_relaxed": (
        ["--relax_epoch=2"],
        "--relax_epoch needs --structure_wd above 0",
    ),
    "a size and a strength": (
        ["--target_units=0.4", "--group_config=iss", "--structure_wd=0.1"],
        "--target_units needs no strength of a group lasso, and there is one",
    ),
    "no_such_groups": (
        ["--group_config=/no/groups.json"],
        "cannot read groups /no/groups.json",
    ),
    "nan": (
        ["--learning_rate=nan"],
        "--learning_rate must be a number >= 0, got nan",
    ),
    "negative": (["--weight_decay=-1"], "--weight_decay must be a number >= 0"),
    "no_bound": (
        ["--max_grad_norm=0"],
        "--max_grad_norm must be a number above 0",
    ),
    "rate": (
        ["--drop_i=0.9", "--drop_multi=2"],
        "--drop_i times --drop_multi must be below 1, got 0.9 * 2",
    ),
    "mode_without_weights": (
        ["--mode=eval", "--dataset=embedded_words"],
        "--mode=eval needs --restore_path",
    ),
    "no_samples": (["--mode=eval_mc"], "--mode=eval_mc needs --mc_steps"),
    "argument": (["ptb_sota"], "unknown argument 'ptb_sota'"),
    "vocabulary": (
        ["--data_path={corpus}", "--vocab_size=9"],
        "symbols, --vocab_size says 9",
    ),
    "batch": (
        ["--data_path={corpus}", "--batch_size=900"],
        "batch too large for the valid text: batch_size 900 x num_steps 35",
    ),
    "nothing_to_restore": (
        [
            "--data_path={corpus}",
            "--num_steps=5",
            "--batch_size=2",
            "--mode=eval",
            "--restore_path=/no/model",
        ],
        "no checkpoint at /no/mod",
    ),
    "groups_of_another_width": (
        [
            "--data_path={corpus}",
            "--num_steps=5",
            "--batch_size=2",
            "--hidden_size=4",
            "--depth=3",
            "--save_path={tmp}",
            "--group_config={golden}/rhn_groups_tied.json",
            "--structure_wd=0.1",
        ],
        "rhn_groups_tied.json: groups[0][0] asks for "
        "columns 0:8 of 'model/embedding', which has shape",
    ),
}

RUN_MANY = """
import json, sys
from absl import flags
from iss_rnns import errors
from iss_rnns.experiments import program_flags
from rhns import options, rhn_train
rhn_train.define_flags()
program_flags.parse(["rhn_train"])
values = flags.FLAGS.flag_values_dict()
results = {}
for name, arguments in json.loads(sys.argv[1]).items():
    flags.FLAGS.unparse_flags()
    for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()
    try:
        rest = program_flags.parse(["rhn_train", *arguments])
        if name.endswith(".flags"):
            config = options.config_from_flags(flags.FLAGS.flag_values_dict())
            results[name] = {**vars(config), **vars(config.rates),
                             "group_config": flags.FLAGS.group_config,
                             "dataset": flags.FLAGS.dataset,
                             "vocab_size": flags.FLAGS.vocab_size}
        else:
            rhn_train.main(rest)
            results[name] = "no error"
    except errors.UserError as error:
        results[name] = str(error)
print("RESULTS " + json.dumps(results))
"""


@pytest.mark.parametrize("bias", [np.float32(3), np.zeros(0), np.zeros((2, 2))])
def test_sizes_of_no_vector(bias):
    with pytest.raises(
        errors.UserError,
        match="'model/RHN0/h_0/Linear/Bias' "
        r"has shape \(.*\); expected a vector with an entry ",
    ):
        experiment.sizes_of({"model/RHN0/h_0/Linear/Bias": bias})


@pytest.fixture(name="golden_dir", scope="module")
def fixture_golden_dir(request):
    return pathlib.Path(request.config.getoption("--golden_dir")).resolve()


def call(arguments, **options):
    """A program in a process of its own, in the project's root."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
        **options,
    )


def test_resumed_run_equals_an_uninterrupted_one(tmp_path, capsys):
    """Bit for bit: weights, noise, carried state, learning rate, totals."""
    corpus = rhn_runs.new_corpus()
    options = rhn_runs.new_options(
        iss=True, structure_wd=0.02, zero_threshold=1e-3, epochs=3
    )
    whole = runs.RunDirectory(tmp_path, "whole")
    expected, metrics = train_lib.train(options, corpus, whole, False)
    steps = len(corpora.batches(corpus.train, 4, 5)[0])
    for stop in (steps + 7, None):
        cut = runs.RunDirectory(tmp_path, "cut", resume=stop is None)
        net, resumed = train_lib.train(
            dataclasses.replace(
                options, max_train_steps=stop, checkpoint_every=1000
            ),
            corpus,
            cut,
            stop is None,
        )
    assert f"resumed {tmp_path / 'cut'} at epoch 2, step {steps + 7}" in (
        capsys.readouterr().out
    )
    for name, value in rhn_runs.weights_of(expected).items():
        np.testing.assert_array_equal(
            value, rhn_runs.weights_of(net)[name], name
        )
    for key in ("train_perplexity", "valid_perplexity", "learning_rate"):
        assert float(metrics.rows[2][key]) == float(resumed.rows[2][key])


def test_the_best_epochs_weights_are_kept(tmp_path):
    """As the authors do; also if a later epoch was interrupted."""
    # From the third epoch on, the rate is eight times as high.
    options = rhn_runs.new_options(
        epochs=4,
        drop_multi=0.0,
        learning_rate=0.5,
        lr_decay=0.125,
        max_epoch=2,
        max_grad_norm=1.0,
    )
    corpus = rhn_runs.new_corpus()
    steps = len(corpora.batches(corpus.train, 4, 5)[0])
    for stop in (2 * steps + 3, None):
        run = runs.RunDirectory(tmp_path, "run", resume=stop is None)
        used, metrics = train_lib.train(
            dataclasses.replace(options, max_train_steps=stop),
            corpus,
            run,
            stop is None,
        )
    perplexities = [float(row["valid_perplexity"]) for row in metrics.rows]
    best = min(perplexities)
    assert perplexities.index(best) < 3, "the test would not tell"
    net = restoring.restore(
        lambda sizes: train_lib.new_net(options, 9, sizes),
        str(run.path),
        experiment.sizes_of,
    )
    valid = corpora.batches(corpus.valid, 4, 5)
    for each in (net, used):
        assert language_model.Evaluator(each).perplexity(*valid) == (
            pytest.approx(best, rel=1e-6)
        )


def test_training_learns_and_counts_both_costs(tmp_path):
    options = rhn_runs.new_options(
        weight_decay=1e-3,
        epochs=6,
        drop_multi=0.0,
        hidden_size=12,
        learning_rate=0.5,
        max_epoch=9,
        max_grad_norm=1.0,
    )
    run = runs.RunDirectory(tmp_path, "run")
    net, metrics = train_lib.train(
        options, rhn_runs.new_corpus("character"), run, False
    )
    perplexities = [row["valid_perplexity"] for row in metrics.rows]
    assert perplexities[-1] < 0.7 * perplexities[0] < 0.7 * 9.5
    for row in metrics.rows:
        np.testing.assert_allclose(
            row["train_perplexity_with_penalties"],
            row["train_perplexity"] * np.exp(row["regularization"]),
            rtol=1e-5,
        )
        np.testing.assert_allclose(
            2 ** row["valid_bits"], row["valid_perplexity"], rtol=1e-6
        )
    last = float(regularizers.l2(net.trainable_variables, 1e-3))
    # A step's penalty counts once for all of its 5 time steps.
    assert 0.5 * last < 5 * metrics.rows[-1]["regularization"] < 1.5 * last


def test_resuming_with_other_options_is_refused(tmp_path):
    corpus, run = rhn_runs.new_corpus(), runs.RunDirectory(tmp_path, "run")
    train_lib.train(rhn_runs.new_options(max_train_steps=2), corpus, run, False)
    again = runs.RunDirectory(tmp_path, "run", resume=True)
    with pytest.raises(
        errors.UserError,
        match="made with config = .*'depth': 2.*now it is .*'depth': 3",
    ):
        train_lib.train(rhn_runs.new_options(depth=3), corpus, again, True)


def group_file(hidden_size):
    """Two groups of one variable each."""
    return group_json.parse(
        {
            "groups": [
                [
                    {
                        "var_name": f"model/RHN0/h_{d}/Linear/Matrix",
                        "multi": 1.0,
                        "axis": 0,
                        "start": 0,
                        "end": hidden_size,
                    }
                ]
                for d in range(2)
            ]
        },
        "groups.json",
    )


@pytest.mark.parametrize(
    "file, zeroed",
    [
        (None, {"embedding", "kernel", "recurrent"}),
        ("all", {"h_0", "h_1"}),
        ("first", {"h_0"}),
    ],
)
def test_only_the_groups_variables_are_zeroed(file, zeroed):
    options = rhn_runs.new_options(
        iss=file is None, zero_threshold=0.05, structure_wd=0.1
    )
    if file:
        groups = group_file(6)
        options = dataclasses.replace(
            options,
            group_file=groups.first_only() if file == "first" else groups,
        )
    net = train_lib.new_net(options, 9)
    model = train_lib.compiled(net, options)
    zeroing = [
        c
        for c in train_lib.sparsity_callbacks(net, options)
        if isinstance(c, callbacks.ThresholdZeroing)
    ][0]
    zeroing.set_model(model)
    before = rhn_runs.weights_of(net)
    zeroing.after_update()
    for name, value in rhn_runs.weights_of(net).items():
        touched = name.endswith(("Matrix", "embedding")) and (
            file is None or any(part in name for part in zeroed)
        )
        expected = before[name]
        if touched:
            expected = np.where(np.abs(expected) < 0.05, 0.0, expected)
            assert (expected == 0).any()
        np.testing.assert_array_equal(value, expected, name)


def test_penalties_add_up():
    """Group lasso of the first group, and L2 on everything."""
    options = rhn_runs.new_options(
        group_file=group_file(6).first_only(),
        structure_wd=0.3,
        weight_decay=0.02,
    )
    net = train_lib.new_net(options, 9)
    model = train_lib.compiled(net, options)
    for callback in train_lib.sparsity_callbacks(net, options):
        callback.set_model(model)
    values = rhn_runs.weights_of(net)
    matrix = values["model/RHN0/h_0/Linear/Matrix"]
    expected = 0.3 * np.sqrt(np.square(matrix).sum(0) + 1e-8).sum() + 0.01 * (
        sum(np.square(value).sum() for value in values.values())
    )
    np.testing.assert_allclose(tf.add_n(model.losses), expected, rtol=1e-5)


def test_the_group_lasso_lets_go_when_it_is_relaxed():
    options = rhn_runs.new_options(
        iss=True,
        structure_wd=0.3,
        relax_epoch=2,
        relax_decay=0.1,
        weight_decay=0.0,
    )
    net = train_lib.new_net(options, 9)
    model = train_lib.compiled(net, options)
    (lasso,) = train_lib.sparsity_callbacks(net, options)
    lasso.set_model(model)
    losses = []
    for epoch in range(3):
        lasso.on_epoch_begin(epoch)
        losses.append(float(tf.add_n(model.losses)))
    np.testing.assert_allclose(
        np.divide(losses, losses[0]), [1, 1 / 3, 1 / 3], rtol=1e-5
    )


def test_norm_for_clipping_counts_parts_of_the_embedding_apart():
    """As TensorFlow 1 does; its own rows, the softmax's and penalties'."""
    options = rhn_runs.new_options(
        iss=True, structure_wd=0.3, weight_decay=0.02, drop_multi=0.0
    )
    net = train_lib.new_net(options, 9)
    model = train_lib.compiled(net, options)
    for callback in train_lib.sparsity_callbacks(net, options):
        callback.set_model(model)
    random = np.random.default_rng(0)
    x, y = random.integers(0, 9, (2, 4, 5)).astype(np.int32)
    result = model.gradients(x, y, [tf.zeros([4, 6])], tf.constant([0, 0]))
    others = sum(
        float(tf.reduce_sum(tf.square(g)))
        for v, g in zip(net.trainable_variables, result["gradients"])
        if v is not net.embedding
    )
    with tf.GradientTape(persistent=True) as tape:
        looked_up = tf.gather(tf.stop_gradient(net.embedding), tf.transpose(x))
        tape.watch(looked_up)
        outputs, _ = net.layers_[0](looked_up, training=True)
        flat = tf.reshape(outputs, [-1, 6])
        softmax = tf.transpose(tf.stop_gradient(net.embedding))
        tape.watch(softmax)
        logits = tf.matmul(flat, softmax) + net.softmax_b
        cost = (
            tf.reduce_sum(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    tf.reshape(tf.transpose(y), [-1]), logits
                )
            )
            / 4.0
        )
        penalties = [
            regularizers.group_lasso(net.iss_groups(), 0.3),
            regularizers.l2([net.embedding], 0.02),
        ]
    parts = [tape.gradient(cost, looked_up), tape.gradient(cost, softmax)]
    parts += [tape.gradient(p, net.embedding) for p in penalties]
    expected = others + sum(
        float(tf.reduce_sum(tf.square(part))) for part in parts
    )
    np.testing.assert_allclose(
        float(result["global_norm"]) ** 2, expected, rtol=1e-5
    )
    summed = sum(
        float(tf.reduce_sum(tf.square(tf.convert_to_tensor(g))))
        for g in result["gradients"]
    )
    assert abs(summed / expected - 1) > 1e-3, "the test would not tell"


def test_dead_units_are_cut_while_it_trains(tmp_path):
    """The JSON groups follow the variables into their smaller shapes."""
    options = rhn_runs.new_options(
        iss=True,
        structure_wd=0.1,
        zero_threshold=2e-3,
        learning_rate=0.02,
        epochs=2,
        hidden_size=8,
        shrink_every_steps=20,
        dead_below=0.1,
        dead_checks=1,
    )
    corpus = rhn_runs.new_corpus()
    net = train_lib.new_net(options, 9)
    for variable in net.trainable_variables:  # half of the units are weak
        if "bias" in variable.name:
            continue
        value = variable.numpy()
        if variable.shape[-1] == 8:
            value[..., 4:] *= 0.02
        if variable.shape[0] == 8:
            value[4:] *= 0.02
        variable.assign(value)
    run = runs.RunDirectory(tmp_path, "run")
    trained, metrics = train_lib.train(options, corpus, run, False, net)
    assert 1 <= trained.hidden_sizes[0] <= 4
    assert trained.embedding.shape == (9, trained.hidden_sizes[0])
    assert np.isfinite(metrics.rows[-1]["valid_perplexity"])


# The program


def test_bad_command_lines_and_flagfiles(golden_dir, tmp_path):
    """Many command lines in one process, for the sake of time."""
    places = {
        "corpus": golden_dir / "ptb_corpus",
        "golden": golden_dir,
        "tmp": tmp_path,
    }
    lines = {
        name: [part.format(**places) for part in arguments]
        for name, (arguments, _) in BAD.items()
    }
    lines.update(
        {
            path.name: [f"--flagfile={path}"]
            for path in (ROOT / "rhns" / "flags").glob("*.flags")
        }
    )
    done = call(["-c", RUN_MANY, json.dumps(lines)])
    assert "RESULTS " in done.stdout, done.stderr
    results = json.loads(done.stdout.split("RESULTS ")[1])
    for name, (_, message) in BAD.items():
        assert message in results[name] and "\n" not in results[name], name
    check_flagfiles(results)


def check_flagfiles(results):
    """The authors' named configurations."""
    common = {
        "num_layers": 1,
        "learning_rate": 0.2,
        "weight_decay": 1e-7,
        "max_grad_norm": 10,
        "max_max_epoch": 500,
        "depth": 10,
        "init_scale": 0.04,
        "lr_policy": "quick_start",
    }
    ptb = {
        "dataset": "ptb",
        "vocab_size": 10000,
        "hidden_size": 830,
        "num_steps": 35,
        "batch_size": 20,
        "init_bias": -2.0,
        "lr_decay": 1.02,
        "max_epoch": 20,
        "tied": True,
        "zero_threshold": 0.0,
        "words": 0.25,
        "inputs": 0.75,
        "states": 0.25,
        "outputs": 0.75,
        "group_config": None,
    }
    iss = {"zero_threshold": 4e-4, "group_config": "iss"}
    characters = {
        "hidden_size": 1500,
        "num_steps": 50,
        "batch_size": 128,
        "init_bias": -4.0,
        "lr_decay": 1.03,
        "max_epoch": 5,
        "tied": False,
        "words": 0.1,
        "inputs": 0.4,
        "states": 0.1,
        "outputs": 0.4,
    }
    expected = {
        "ptb_sota": ptb,
        "ptb_iss_sota": {
            **ptb,
            **iss,
            "words": 0.15,
            "inputs": 0.45,
            "states": 0.15,
            "outputs": 0.45,
        },
        "ptb_iss_1000": {**ptb, **iss, "hidden_size": 1000},
        "enwik8_sota": {**characters, "dataset": "enwik8", "vocab_size": 205},
        "text8_sota": {**characters, "dataset": "text8", "vocab_size": 27},
    }
    for name, values in expected.items():
        for key, value in {**common, **values}.items():
            assert results[f"{name}.flags"][key] == pytest.approx(value), (
                name,
                key,
            )


def test_the_whole_program(golden_dir, tmp_path):
    """Train, shrink, prove, export, report; evaluate; one-line errors."""
    program = ["-m", "rhns.rhn_train", f"--save_path={tmp_path}", "--threads=1"]
    sizes = [
        "--hidden_size=8",
        "--depth=2",
        "--num_steps=5",
        "--batch_size=4",
        f"--data_path={golden_dir / 'ptb_corpus'}",
    ]
    trained = call(
        program
        + sizes
        + [
            "--run_name=run",
            "--epochs=2",
            "--group_config=iss",
            "--structure_wd=0.02",
            "--zero_threshold=4e-4",
            "--papers",
        ],
    )
    assert trained.returncode == 0, trained.stderr
    run = tmp_path / "run"
    document = json.loads((run / "report.json").read_text())
    columns = document["table"]
    assert columns["paper: lambda 0.005"]["units"] == {
        "value": 517,
        "mark": "V",
    }
    test = columns["shrunk (reloaded)"]["test perplexity"]
    assert test == pytest.approx(
        columns["trained (masked)"]["test perplexity"], rel=1e-4
    )
    assert (run / "plots" / "weights.png").stat().st_size > 1000
    assert "lambda 0.02" in document["title"]
    assert columns["shrunk (reloaded)"]["lambda"] == 0.02
    assert columns["paper: lambda 0.005"]["lambda"]["value"] == 0.005
    best = min(
        float(row["valid_perplexity"])
        for row in metrics_lib.Metrics.read(run / "metrics.csv")
    )
    assert columns["trained (masked)"]["valid perplexity"] == pytest.approx(
        best, rel=1e-5
    )

    again = call(program + [f"--flagfile={run / 'flags.txt'}"])
    assert again.returncode == 2 and "is not empty" in again.stderr
    assert again.stderr.count("\n") == 1 and "Traceback" not in again.stderr

    sampled = call(
        program
        + sizes
        + [
            f"--load_model={run}",
            "--mode=eval_mc",
            "--mc_steps=2",
            "--mc_reject_above=1e6",
        ],
    )
    assert sampled.returncode == 0, sampled.stderr
    assert "Monte-Carlo test perplexity " in sampled.stdout

    evaluated = call(
        program
        + sizes
        + [
            f"--restore_path={run / 'saved_model' / 'compressed.npz'}",
            "--mode=eval",
        ],
    )
    assert f"test perplexity {test:.3f}\n" in evaluated.stdout
    wrong = call(
        program + sizes + ["--depth=1", f"--restore_path={run}", "--mode=eval"],
    )
    assert wrong.returncode == 2
    assert "weight arrays, the model has " in wrong.stderr


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_weights(tmp_path):
    """`kill -9` in the middle of the second epoch, with noise and ISS."""
    ptb_program.write_corpus(tmp_path / "data")
    command = [
        sys.executable,
        "-m",
        "rhns.rhn_train",
        f"--save_path={tmp_path}",
        "--threads=1",
        "--hidden_size=8",
        "--depth=2",
        "--num_steps=5",
        "--batch_size=4",
        f"--data_path={tmp_path / 'data'}",
        "--epochs=2",
        "--group_config=iss",
        "--structure_wd=0.002",
        "--zero_threshold=1e-4",
        "--checkpoint_every=13",
    ]
    killing.train(command + ["--run_name=whole"])
    killing.kill_and_resume(
        command + ["--run_name=killed"], tmp_path / "killed"
    )
    killing.assert_same_ending(tmp_path / "whole", tmp_path / "killed")


def test_sigterm_saves_a_checkpoint_in_mid_epoch(tmp_path):
    """B30"""
    ptb_program.write_corpus(tmp_path / "data")
    killing.terminate_midway(
        [
            sys.executable,
            "-m",
            "rhns.rhn_train",
            f"--save_path={tmp_path}",
            "--run_name=run",
            "--threads=1",
            "--hidden_size=8",
            "--depth=2",
            "--num_steps=5",
            "--batch_size=4",
            f"--data_path={tmp_path / 'data'}",
            "--max_max_epoch=2",
            "--checkpoint_every=13",
        ],
        tmp_path / "run",
    )


def test_characters_end_to_end(golden_dir, tmp_path):
    with np.load(golden_dir / "readers_lm.npz") as golden:
        symbols = json.loads(str(golden["config_json"]))["num_test_symbols"]
    done = call(
        [
            "-m",
            "rhns.rhn_train",
            f"--save_path={tmp_path}",
            "--threads=1",
            "--dataset=text8",
            f"--data_path={golden_dir / 'char_corpus'}",
            f"--num_test_symbols={symbols}",
            "--hidden_size=40",
            "--notied",
            "--depth=2",
            "--num_steps=5",
            "--batch_size=2",
            "--epochs=1",
            "--max_train_steps=20",
            "--run_name=run",
        ]
    )
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "run" / "report.json").read_text())["table"]
    values = table["shrunk (reloaded)"]
    assert values["test bits"] == pytest.approx(
        np.log2(values["test perplexity"])
    )
    assert not any("paper" in title for title in table)
    folder = tmp_path / "run" / "saved_model" / "compressed"
    lines = (folder / "vocabulary.txt").read_text().split("\n")
    with np.load(golden_dir / "readers_lm.npz") as golden:
        assert len(lines) - 1 == len(golden["text8/unique"])
