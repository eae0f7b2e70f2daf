"""BiDAF against numbers recorded from the authors' code.

Every `bidaf_*.npz` of `--golden_dir` runs through each test that it has the
arrays for; sizes and settings come from the file itself. Thinned files, which
record some of the weights only, are compared in what they have.
"""

import dataclasses

import numpy as np
import recorded
import tensorflow as tf

from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import penalties
from bidaf import train as train_lib
from bidaf.net import groups as groups_lib
from iss_rnns import regularizers
from iss_rnns import shrinking
from iss_rnns import thresholding
from iss_rnns.interop import group_json
from iss_rnns.interop import tf1

# What float32 in another order of sums may differ by from the recordings.
EXACT = {"rtol": 0, "atol": 1e-6}
COST = {"rtol": 1e-5}
ADAM = {"rtol": 0, "atol": 2e-5}
THRESHOLD_MARGIN = 1e-6
TINY_GRADIENT = 1e-5  # rounding errors are up to 1e-3 of it
SUFFIX = "/ExponentialMovingAverage"

KINDS = {  # fixture -> an array that only files of this kind have
    "forward_file": "forward_eval/logits",
    "trajectory_file": "traj/loss",
    "coordinator_file": "before/",
}
OUTPUTS = {
    "start_logits": "logits",
    "end_logits": "logits2",
    "start": "yp",
    "end": "yp2",
    "words": "wyp",
    "na_prob": "na_prob",
}


def pytest_generate_tests(metafunc):
    recorded.parametrize(metafunc, "bidaf", KINDS, Golden)


class Golden(recorded.Recorded):
    """One recorded file."""

    def under(self, prefix):
        """Weights below a prefix, by TF1 name."""
        return {
            tf1.canonical(key[len(prefix) + 1 :]): array
            for key, array in self.arrays.items()
            if key.startswith(
                (
                    f"{prefix}/emb/",
                    f"{prefix}/highway/",
                    f"{prefix}/prepro/",
                    f"{prefix}/main/",
                )
            )
        }

    def snapshots(self):
        """Steps after which weights are recorded."""
        return sorted(
            {
                int(key.split("/")[1])
                for key in self.arrays
                if key.startswith("weights/")
            }
        )

    def batches(self):
        """The recorded inputs, in turn."""
        names = sorted(
            {
                key.split("/")[0]
                for key in self.arrays
                if key.startswith("batch")
            }
        )
        return [
            {
                key.split("/")[1]: tf.constant(array)
                for key, array in self.arrays.items()
                if key.startswith(name + "/")
            }
            for name in names
        ]

    def options(self):
        """What our trainer takes, from the file's hyper-parameters."""
        config = self.config
        fields = {
            field.name: config[field.name]
            for field in dataclasses.fields(options_lib.TrainingOptions)
            if field.name in config
        }
        if fields.get("group_config"):
            fields["group_config"] = group_json.load(
                self.path.with_name(fields["group_config"])
            )
        if config["finetuning_config"]:
            fields["finetuned"] = options_lib.load_finetuning(
                self.path.with_name(config["finetuning_config"])
            )
        return options_lib.TrainingOptions(**fields)

    def net(self, prefix="init"):
        """Our net with recorded weights."""
        names = [
            field.name for field in dataclasses.fields(model_lib.ModelConfig)
        ]
        net = model_lib.BiDAF(
            model_lib.ModelConfig(**{name: self.config[name] for name in names})
        )
        recorded = self.under(prefix)
        assert list(net.tf1_views()) == list(recorded)
        tf1.assign(net.tf1_views(), recorded, self.path.name)
        return net

    def trainer(self):
        """The net in its trainer, penalties and freezing in place."""
        net, options = self.net(), self.options()
        trainer = train_lib.compiled(net, options, self["new_emb_mat"])
        for callback in train_lib.sparsity_callbacks(net, options):
            callback.set_model(trainer)
        trainer.averages.reset()
        return trainer


def test_forward(forward_file):
    """Every recorded tensor, not only the scores."""
    golden, net = forward_file, forward_file.net()
    vectors = tf.constant(golden["new_emb_mat"])
    for training in (False, True):
        outputs = net(golden.batches()[0], vectors, training=training)
        place = "forward_train" if training else "forward_eval"
        for name, value in outputs.items():
            key = (
                f"{place}/{OUTPUTS[name]}"
                if name in OUTPUTS
                else f"{place}/tensor/{name}"
            )
            if key in golden.arrays:
                compare(value, golden[key], err_msg=key, **EXACT)
        assert f"{place}/logits" in golden.arrays


def test_masks_are_where_ids_are_not_0(forward_file):
    """The exported model takes ids only."""
    for batch in forward_file.batches():
        np.testing.assert_array_equal(batch["x"] != 0, batch["x_mask"])
        np.testing.assert_array_equal(batch["q"] != 0, batch["q_mask"])


def test_costs_penalties_and_gradients(forward_file):
    """Each loss term by itself, then the gradient of their sum."""
    golden, trainer = forward_file, forward_file.trainer()
    result = trainer.gradients(golden.batches()[0])
    ours, theirs = our_terms(golden, trainer, result), recorded_terms(golden)
    assert set(ours) == set(theirs)
    for kind, values in ours.items():
        compare(values, theirs[kind], err_msg=kind, rtol=1e-5, atol=1e-9)
    compare(
        result["cost"] + result["penalty"],
        golden["forward_train/loss_total"],
        **COST,
    )
    check_gradients(golden, trainer, result, "grad_total")
    trainer.clean()
    result = trainer.gradients(golden.batches()[0])
    compare(
        result["cost"] + result["penalty"],
        golden["forward_after_threshold/loss_total"],
        **COST,
    )
    check_gradients(golden, trainer, result, "grad_total_after_threshold")


def recorded_terms(golden):
    """The loss terms by kind; L2 by variable, others in order."""
    terms = {}
    for name, value in zip(
        golden.config["loss_term_names"], golden["forward_train/loss_terms"]
    ):
        if "weight_decay" in name:
            found = name.split("weight_decay", 1)[1].split("/", 1)[1]
            kind = "l2 " + tf1.canonical(found[: -len("/wd:0")])
            terms[kind] = [terms.get(kind, [0.0])[0] + value]
        else:
            kind = next(
                kind
                for part, kind in (
                    ("DimenGroupLasso", "mixed lasso"),
                    ("sparsity_regular", "l1"),
                    ("/mul_", "structure"),
                    ("/Mean", "answer"),
                )
                if part in name
            )
            terms.setdefault(kind, []).append(value)
    return terms


def our_terms(golden, trainer, result):
    """The same of ours."""
    net, options = trainer.net, golden.options()
    terms = {"answer": result["costs"]}
    if options.wd:
        for name, count in penalties.l2_counts(net).items():
            terms[f"l2 {name}"] = [
                count
                * regularizers.l2(net.tf1_views()[name].variables, options.wd)
            ]
    if options.structured_sparsity:
        lasso = penalties.mixed_lasso(net, options.coef_scaling)
        terms["mixed lasso"] = [
            penalties.mixed_penalty(
                {name: each}, options.row_col_wd, options.l1wd
            )
            for name, each in lasso.items()
        ]
    else:
        views = penalties.sparse_views(net)
        terms["l1"] = [
            sum(
                regularizers.l1(view.variables, options.l1wd)
                for name, view in views.items()
                if name.startswith(scope)
            )
            for scope in ("prepro/", "main/")
        ]
    if options.group_config and options.structure_wd:
        terms["structure"] = [
            regularizers.group_lasso([group], options.structure_wd)
            for group in train_lib.penalized_groups(net, options)
        ]
    return terms


def check_gradients(golden, trainer, result, prefix):
    """Ours laid out in TF1's arrays against the recorded ones."""
    values = {
        v.ref(): np.zeros(v.shape, np.float32)
        for v in trainer.net.trainable_variables
    }
    for v, g in zip(trainer.trained, result["gradients"]):
        if g is not None:
            values[v.ref()] = tf.convert_to_tensor(g).numpy()
    trained = {v.ref() for v in trainer.trained}
    recorded = golden.under(prefix)
    assert recorded
    for name, array in recorded.items():
        view = trainer.net.tf1_views()[name]
        if trained.issuperset(v.ref() for v in view.variables):
            compare(
                view.gather(values), array, err_msg=name, rtol=1e-5, atol=2e-6
            )


def test_training(trajectory_file):
    """Losses, weights, averages and zeros, step by step."""
    golden, trainer = trajectory_file, trajectory_file.trainer()
    batches, losses = golden.batches(), golden["traj/loss"]
    step = tf.function(
        trainer.train_step, autograph=False, reduce_retracing=True
    )
    bounces = np.any(golden.arrays.get("final_zero_groups", False))
    changes = Changes(trainer)
    for number, loss in enumerate(losses, 1):
        logs = step(batches[(number - 1) % len(batches)])
        changes.note()
        # The authors' L1 may be read before the zeroing.
        compare(
            logs["cost"] + logs["regularization"],
            loss,
            rtol=1e-4 if bounces else 2e-5,
        )
        if number in golden.snapshots():
            check_weights(golden, trainer, number, bounces)
            check_averages(golden, trainer, number, changes.largest)
    if "traj/global_step" in golden.arrays:
        assert int(trainer.optimizer.iterations) == golden["traj/global_step"]
    trainer.clean()
    check_end(golden, trainer, bounces)


class Changes:
    """The largest change of a weight in one step so far."""

    def __init__(self, trainer):
        self.variables = trainer.net.trainable_variables
        self.before = [v.numpy() for v in self.variables]
        self.largest = 0.0

    def note(self):
        now = [v.numpy() for v in self.variables]
        self.largest = max(
            [self.largest]
            + [np.abs(a - b).max() for a, b in zip(now, self.before)]
        )
        self.before = now


def check_weights(golden, trainer, number, bounces):
    """Equal weights; with Adam, where the gradient is not tiny."""
    config = golden.config
    if config["optimizer"] == "adam":
        velocities = dict(
            zip(
                [v.ref() for v in trainer.net.trainable_variables],
                trainer.optimizer._velocities,
            )
        )
        tiny = TINY_GRADIENT**2 * (1 - trainer.optimizer.beta_2**number)
    recorded = golden.under(f"weights/{number}")
    assert recorded
    for name, array in recorded.items():
        ours = trainer.net.tf1_views()[name].read()
        difference = np.abs(ours - array)
        if bounces:
            # Dead units bounce around zero by a step's length.
            limit = 2 * config["init_lr"] * config["structure_wd"]
            assert difference.max() <= limit, name
            assert np.mean(difference <= 1e-5) > 0.97, name
        elif config["optimizer"] == "adam":
            # Adam divides by the gradient: a tiny one may go either way.
            assert difference.max() <= 2 * number * config["init_lr"], name
            view = trainer.net.tf1_views()[name]
            sound = (
                view.gather(
                    {
                        v.ref(): velocities[v.ref()].numpy()
                        for v in view.variables
                    }
                )
                > tiny
            )
            # So may one that has just crossed the threshold.
            few_beyond(
                difference[sound], ADAM["atol"], f"{name} after step {number}"
            )
        else:
            compare(ours, array, err_msg=name, **EXACT)


def check_averages(golden, trainer, number, largest_change):
    """As far as the authors' own order of averaging is fixed."""
    tolerance = (
        number * 1e-3 * (golden.config["zero_threshold"] + largest_change)
    )
    recorded = golden.under(f"ema/{number}")
    assert recorded
    values = {
        v.ref(): trainer.averages.average_of(v).numpy()
        for v in trainer.net.trainable_variables
    }
    for name, array in recorded.items():
        view = trainer.net.tf1_views()[name]
        few_beyond(
            np.abs(view.gather(values) - array),
            tolerance + 1e-7,
            f"average of {name} after step {number}",
        )


def few_beyond(differences, tolerance, what):
    """At most one element, or 1 %, may be beyond the tolerance."""
    beyond = np.count_nonzero(differences > tolerance)
    assert beyond <= max(1, 0.01 * differences.size), (
        f"{what}: {beyond} of {differences.size} differ by more than "
        f"{tolerance:.2g}, up to {np.max(differences):.2g}"
    )


def check_end(golden, trainer, bounces):
    """After one more zeroing: zeros, dead groups, outputs, shrinking."""
    net, threshold = trainer.net, golden.options().threshold
    for name, array in golden.under("weights_after_extra_threshold").items():
        ours = net.tf1_views()[name].read()
        if name in penalties.sparse_views(net):
            assert not np.any((ours != 0) & (np.abs(ours) < threshold)), name
        edge = np.abs(np.maximum(np.abs(ours), np.abs(array)) - threshold)
        differs = ((ours == 0) != (array == 0)) & (
            edge
            > (
                2e-5
                if golden.config["optimizer"] == "adam"
                else THRESHOLD_MARGIN
            )
        )
        assert np.mean(differs) < (0.03 if bounces else 0.005), name
    outputs = net(golden.batches()[0], trainer.vectors)
    # Not the logits: the cost does not see a constant in all of them, so
    # their bias has no gradient and drifts with rounding errors.
    for name in ("words",) if golden.config["wy"] else ("start", "end"):
        if f"forward_end/{OUTPUTS[name]}" in golden.arrays:
            compare(
                outputs[name],
                golden[f"forward_end/{OUTPUTS[name]}"],
                err_msg=name,
                rtol=0,
                atol=2e-3 if bounces else 1e-4,
            )
    if "final_zero_groups" in golden.arrays:
        groups = train_lib.penalized_groups(net, golden.options())
        np.testing.assert_array_equal(
            [~group.alive().numpy() for group in groups],
            golden["final_zero_groups"],
        )
        check_shrinking(golden, net, groups)


def check_shrinking(golden, net, penalized):
    """What the training left dead can go without a change of the scores."""
    groups_lib.zero_dead_units(net, groups_lib.dead_units(penalized))
    small, proof = shrinking.shrink(
        net,
        net.iss_groups(),
        golden.batches(),
        run=lambda each, batch: [
            each(batch, golden["new_emb_mat"])[key]
            for key in ("start", "end", "words")
        ],
    )
    assert proof.max_difference < 1e-5
    alive = {g.name: int(g.alive().numpy().sum()) for g in penalized}
    assert {name: small.sizes[name] for name in alive} == alive


def test_coordinator(coordinator_file):
    """Gate columns of units that nobody reads become zero."""
    golden, net = coordinator_file, coordinator_file.net("before")
    options = golden.options()
    groups = train_lib.penalized_groups(net, options)
    dead = [int((~group.alive().numpy()).sum()) for group in groups]
    thresholding.zero_unread_units(groups)
    for name, array in golden.under("after").items():
        np.testing.assert_array_equal(net.tf1_views()[name].read(), array, name)
    assert sum(int((~group.alive().numpy()).sum()) for group in groups) > sum(
        dead
    )
    train_lib.compiled(
        net, options, np.zeros([0, golden.config["word_emb_size"]], np.float32)
    ).clean()
    for name, array in golden.under("after_then_threshold").items():
        np.testing.assert_array_equal(net.tf1_views()[name].read(), array, name)


def test_groups_of_the_file_are_the_models_own(group_path):
    """The model builds the authors' groups by itself, for its own sizes."""
    file = group_json.load(group_path)
    units = file.groups[0][0].end - file.groups[0][0].start
    net = model_lib.BiDAF(
        model_lib.ModelConfig(
            word_vocab_size=5,
            char_vocab_size=5,
            word_emb_size=3,
            hidden_size=units,
        )
    )
    theirs = groups_lib.from_file(net, file)
    ours = groups_lib.iss_groups(net, attended=False)
    assert [g.name for g in theirs] == [g.name for g in ours]
    for one, other in zip(theirs, ours):
        assert places(one) == places(other)


def places(group):
    """(variable, axis, start, stop) of all slices."""
    return {(s.variable.ref(), s.axis, s.start, s.stop) for s in group.slices}


def compare(ours, theirs, **tolerance):
    """Both as float64, with a clear message."""
    np.testing.assert_allclose(
        np.asarray(ours, np.float64),
        np.asarray(theirs, np.float64),
        **tolerance,
    )
