"""The highway language model against numbers recorded from the authors' code.

Every `rhn_*.npz` of `--golden_dir` runs through each test that it has the
arrays for; sizes and settings come from the file itself. Recorded masks stand
in for drawn ones; recorded logits are batch-major, ours are time-major.
"""

import nets
import numpy as np
import recorded
import tensorflow as tf

from iss_rnns import counting
from iss_rnns import regularizers
from iss_rnns import shrinking
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.interop import group_json
from iss_rnns.interop import tf1
from iss_rnns.ops import losses
from rhns import model as model_lib
from rhns import noise as noise_lib
from rhns import options as options_lib
from rhns import train as train_lib

# What float32 in another order of sums may differ by from the recordings.
EXACT = {"rtol": 0, "atol": 1e-6}
LONG = {"rtol": 0, "atol": 1e-5}
COST = {"rtol": 1e-5}
THRESHOLD_MARGIN = 1e-6

KINDS = {  # fixture -> an array that only files of this kind have
    "forward_file": "forward/logits",
    "trajectory_file": "traj/cost",
}


def pytest_generate_tests(metafunc):
    recorded.parametrize(metafunc, "rhn", KINDS, Golden)


class Golden(recorded.Recorded):
    """One recorded file."""

    def under(self, prefix):
        """Arrays below a prefix, by TF1 name."""
        return {
            key[len(prefix) + 1 :]: array
            for key, array in self.arrays.items()
            if key.startswith(prefix + "/model/")
        }

    def options(self):
        """What our trainer takes, from the file's hyper-parameters."""
        config = self.config
        fields = {
            name: config[name]
            for name in model_lib.ModelConfig.__dataclass_fields__
            if name in config
        }
        file = None
        if config["group_config"]:
            file = group_json.load(
                self.path.with_name(config["group_config"])
            ).first_only()
        return options_lib.Options(
            config=model_lib.ModelConfig(**fields), group_file=file
        )

    def model(self):
        """Our model with the initial weights, penalties and zeroing."""
        options = self.options()
        net = train_lib.new_net(options, self.config["vocab_size"])
        assert net.embedding_width == self.config["in_size"]
        tf1.assign(net.tf1_views(), self.under("init"), self.path.name)
        model = train_lib.compiled(net, options)
        for callback in train_lib.sparsity_callbacks(net, options):
            callback.set_model(model)
        return model

    def noise(self, prefix, step=...):
        """Recorded masks in our layout."""
        x, i, h, o = (self[f"{prefix}/noise_{name}"][step] for name in "xiho")
        return noise_lib.Noise(
            tf.constant(x[..., 0]),
            [
                (tf.constant(i[..., layer]), tf.constant(h[..., layer]))
                for layer in range(i.shape[-1])
            ],
            tf.constant(o[:, 0]),
        )


def test_forward_and_gradients(forward_file):
    golden = forward_file
    model, noise = golden.model(), golden.noise("batch0")
    net, config = model.net, golden.options().config
    net.draw_noise = lambda ids, seed: noise
    x, y = golden["batch0/x"], golden["batch0/y"]
    states = [tf.constant(s) for s in golden["batch0/state_in"]]
    for training in (False, True):
        logits, finals = net(x, states, training=training, noise=noise)
        compare(
            batch_major(logits, x.shape),
            golden["forward/logits"].reshape(*x.shape, -1),
            **EXACT,
        )
        compare(tf.stack(finals), golden["forward/final_state"], **EXACT)
    result = model.gradients(x, y, states)
    compare(tf.stack(result["states"]), golden["forward/final_state"], **EXACT)
    compare(result["cost"], golden["forward/cost_eval"], **COST)
    compare(
        result["cost"] + result["penalty"], golden["forward/cost_train"], **COST
    )
    compare(
        regularizers.l2(net.trainable_variables, 1.0),
        golden["forward/l2_loss"],
        **COST,
    )
    groups = train_lib.penalized_groups(net, golden.options())
    compare(
        regularizers.group_lasso(groups, config.structure_wd),
        golden["forward/iss_loss"],
        **COST,
    )
    compare(result["global_norm"], golden["forward/global_norm"], **COST)
    compare_gradients(
        net, result["gradients"], golden.under("forward/grad_total")
    )
    compare_gradients(
        net, result["clipped"], golden.under("forward/grad_clipped")
    )
    with tf.GradientTape() as tape:
        logits, _ = net(x, states, training=True)
        cost = losses.sequence_cost(
            logits, tf.reshape(tf.transpose(y), [-1]), len(x)
        )
    compare_gradients(
        net,
        tape.gradient(cost, net.trainable_variables),
        golden.under("forward/grad_data"),
    )


def test_training(trajectory_file):
    """Costs, perplexities, weights, zeros: step by step, epoch by epoch."""
    golden, config = trajectory_file, trajectory_file.config
    model = golden.model()
    net = model.net
    xs, ys = corpora.batches(
        golden["tokens"], config["batch_size"], config["num_steps"]
    )
    assert len(xs) == config["epoch_size"]
    # Dead units bounce around zero: an element may differ by a step or two.
    bounces = np.any(golden.arrays.get("final_zero_groups"))

    @tf.function(autograph=False)
    def train_step(x, y, noise):
        net.draw_noise = lambda ids, seed: noise_lib.Noise(*noise)
        return model.train_step((x, y))["cost"], model.total_penalty

    perplexities = []
    for step in range(config["steps"]):
        turn = step % len(xs)
        if turn == 0:
            model.reset_states()
        noise = golden.noise("traj", step)
        before = float(model.total_penalty)
        cost, total = train_step(
            xs[turn], ys[turn], (noise.words, noise.layers, noise.outputs)
        )
        compare(
            float(cost) + float(total) - before,
            golden["traj/cost"][step],
            **COST,
        )
        if turn == len(xs) - 1:
            perplexities.append(
                float(
                    tf.exp(
                        (model.total_cost + model.total_penalty)
                        / model.total_steps
                    )
                )
            )
        check_sparsity(golden, net, step, bounces)
        if step + 1 in config["snapshots"]:
            compare_weights(
                net,
                golden.under(f"weights/{step + 1}"),
                config,
                EXACT if step < 5 else LONG,
                bounces,
            )
    compare(perplexities, golden["traj/epoch_perplexity"], **COST)
    x, y = (
        a.transpose(1, 0, 2).reshape(1, config["batch_size"], -1)
        for a in (xs, ys)
    )
    compare(
        language_model.Evaluator(net).perplexity(x, y),
        golden["eval_perplexity_after"],
        **COST,
    )
    if "final_zero_groups" in golden.arrays:
        (group,) = train_lib.penalized_groups(net, golden.options())
        np.testing.assert_array_equal(
            ~group.alive().numpy(), golden["final_zero_groups"]
        )
    check_shrinking(net, xs)


def test_recorded_masks_are_of_our_kind(trajectory_file):
    """Values 0 or 1 / keeping; a word's mask is that of its first place."""
    golden, config = trajectory_file, trajectory_file.config
    xs, _ = corpora.batches(
        golden["tokens"], config["batch_size"], config["num_steps"]
    )
    ours = golden.model().net.draw_noise(xs[0], tf.constant([0, 0]))
    for step in range(config["steps"]):
        noise = golden.noise("traj", step)
        first = noise_lib.first_occurrences(xs[step % len(xs)])
        compare(
            tf.gather(noise.words, first, batch_dims=1), noise.words, atol=0
        )
        for mine, theirs in zip(tf.nest.flatten(ours), tf.nest.flatten(noise)):
            if mine is None:  # a rate of 0
                mine = tf.ones_like(theirs)
            assert mine.shape == theirs.shape
            assert set(np.unique(theirs)) <= set(np.unique(mine)) | {0.0}


def check_shrinking(net, xs):
    """What the training left dead can go without a change of the logits."""
    small, proof = shrinking.shrink(
        net, net.iss_groups(), list(xs[:2]), nets.logits
    )
    assert proof.max_difference < 1e-5
    alive = [int(g.alive().numpy().sum()) for g in net.iss_groups()]
    assert list(small.hidden_sizes) == alive


def check_sparsity(golden, net, step, bounces):
    """Zero fractions as the authors' program reports them."""
    short = {"element": "elt", "row": "row", "column": "col"}
    for name, view in net.tf1_views().items():
        key = f"traj/sparsity/{name}_elt_sparsity"
        if key not in golden.arrays:
            continue
        array = view.read()
        # Two elements may lie a rounding away from the threshold.
        tolerance = 1.0 / min(array.shape) if bounces else 2.0 / array.size
        for kind, value in counting.matrix_sparsity(array).items():
            recorded = golden[f"traj/sparsity/{name}_{short[kind]}_sparsity"]
            compare(value, recorded[step], rtol=0, atol=tolerance)


def test_groups_of_the_file_are_the_models_own(group_path):
    """Tied: the authors' file and the model itself name the same units."""
    file = group_json.load(group_path).first_only()
    owners = [
        golden
        for golden in map(Golden, sorted(group_path.parent.glob("rhn_*.npz")))
        if golden.config["group_config"] == group_path.name
    ]
    assert owners, f"no rhn_*.npz names {group_path.name}"
    for golden in owners:
        net = golden.model().net
        (theirs,) = group_json.build_groups(file, net.tf1_views())
        (ours,) = net.iss_groups()
        mine = slices_of(ours)
        read = set(slices_of(theirs))
        if golden.config["tied"]:
            assert read == mine
        else:  # Theirs leaves out the softmax, which reads the units too.
            assert mine - read == {(net.softmax_w.ref(), 0)}
            assert read <= mine


def slices_of(group):
    """(variable, axis) of whole-matrix slices."""
    for s in group.slices:
        assert (s.start, s.stop) == (0, s.variable.shape[s.axis])
    return {(s.variable.ref(), s.axis) for s in group.slices}


def compare(ours, theirs, **tolerance):
    """Both as float64, with a clear message."""
    np.testing.assert_allclose(
        np.asarray(ours, np.float64),
        np.asarray(theirs, np.float64),
        **tolerance,
    )


def batch_major(logits, shape):
    """`[T * B, V]` time-major -> `[B, T, V]`."""
    batch, time = shape
    return tf.transpose(tf.reshape(logits, [time, batch, -1]), [1, 0, 2])


def compare_gradients(net, gradients, recorded):
    """Ours laid out in TF1's arrays against the recorded ones."""
    values = {
        v.ref(): tf.convert_to_tensor(g).numpy()
        for v, g in zip(net.trainable_variables, gradients)
    }
    assert set(recorded) == set(net.tf1_views())
    for name, view in net.tf1_views().items():
        np.testing.assert_allclose(
            view.gather(values),
            recorded[name],
            err_msg=name,
            rtol=1e-5,
            atol=1e-6,
        )


def compare_weights(net, recorded, config, tolerance, bounces):
    """Equal weights, but for elements a rounding from the threshold."""
    threshold = config["zero_threshold"]
    assert set(recorded) == set(net.tf1_views())
    for name, view in net.tf1_views().items():
        ours, theirs = view.read(), recorded[name]
        if bounces:
            difference = np.abs(ours - theirs)
            steps = 2 * config["learning_rate"] * config["structure_wd"]
            assert difference.max() <= steps, name
            assert np.mean(difference <= tolerance["atol"]) > 0.98, name
            continue
        edge = np.abs(np.maximum(np.abs(ours), np.abs(theirs)) - threshold)
        doubtful = ((ours == 0) != (theirs == 0)) & (edge < THRESHOLD_MARGIN)
        np.testing.assert_allclose(
            ours[~doubtful], theirs[~doubtful], err_msg=name, **tolerance
        )
        np.testing.assert_array_equal(
            (ours == 0)[~doubtful], (theirs == 0)[~doubtful], name
        )
