"""The word LSTM against numbers recorded from the authors' code.

Every `ptb_*.npz` of `--golden_dir` runs through each test that it has the
arrays for; sizes and settings come from the file itself. Weights in the files
are in TensorFlow 1's layout, their logits batch-major; ours are time-major.
"""

import csv

import fitting
import nets
import numpy as np
import recorded
import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import shrinking
from iss_rnns import thresholding
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import training
from iss_rnns.interop import ptb_settings
from iss_rnns.interop import tf1
from iss_rnns.ops import losses
from ptb import model as model_lib
from ptb import options as options_lib
from ptb import train as train_lib

# What float32 in another order of sums may differ by from the recordings.
EXACT = {"rtol": 0, "atol": 1e-6}
COST = {"rtol": 1e-5}
ADAM = {"rtol": 0, "atol": 2e-5}
THRESHOLD_MARGIN = 1e-6

KINDS = {  # fixture -> an array that only files of this kind have
    "forward_file": "forward_zero_state/logits",
    "trajectory_file": "traj/x",
    "dropout_file": "mask_embedding",
    "shrink_file": "shrunk_logits",
    "unequal_file": "random_heter/logits",
    "program_file": "run_epoch_sequence",
}


def pytest_generate_tests(metafunc):
    recorded.parametrize(metafunc, "ptb", KINDS, Golden)


class Golden(recorded.Recorded):
    """One recorded file."""

    @property
    def snapshots(self):
        """Steps of a trajectory whose weights were kept."""
        return sorted(
            {
                int(key.split("/")[1])
                for key in self.arrays
                if key.startswith("weights/")
            }
        )

    def under(self, prefix):
        """Arrays below a prefix, by canonical TF1 name."""
        return {
            tf1.canonical(key[len(prefix) + 1 :]): array
            for key, array in self.arrays.items()
            if key.startswith(prefix + "/Model/")
        }

    def net(self, prefix="init", keep_prob=1.0):
        """Our net with the recorded weights below a prefix."""
        weights = self.under(prefix)
        sizes = [
            len(array) // 4
            for name, array in sorted(weights.items())
            if name.endswith("/bias")
        ]
        net = model_lib.WordLSTM(
            *weights["Model/embedding"].shape, sizes, keep_prob=keep_prob
        )
        tf1.assign(net.tf1_views(), weights, self.path.name)
        return net

    def options(self, **changes):
        """What our trainer takes, from the file's hyper-parameters."""
        config = self.config
        settings = ptb_settings.parse(config["config_params"], self.path.name)
        fields = {
            name: config[name]
            for name in model_lib.ModelConfig.__dataclass_fields__
            if name in config
        }
        # The settings go before the model's own.
        for name, value in (
            ("learning_rate", settings.learning_rate),
            ("keep_prob", settings.dropout_keep_prob),
        ):
            if value is not None:
                fields[name] = value
        preset = model_lib.CONFIGS.get(config.get("model_flag"))
        fields["decay_by_thirds"] = bool(preset and preset.decay_by_thirds)
        return options_lib.Options(
            **{
                **{
                    "config": model_lib.ModelConfig(**fields),
                    "hidden_sizes": (config["hidden_size"],)
                    * config["num_layers"],
                    "settings": settings,
                    "regularizer": config["regularizer"][:2],
                    "optimizer": config["optimizer"],
                    "freeze_mode": config.get("freeze_mode"),
                    "zero_threshold": config.get(
                        "zero_threshold", thresholding.ZERO_THRESHOLD
                    ),
                    "epochs": config["max_max_epoch"],
                },
                **changes,
            }
        )


def test_forward_and_gradients(forward_file):
    golden, options = forward_file, forward_file.options()
    net = golden.net()
    model = train_lib.compiled(net, options)
    for callback in train_lib.sparsity_callbacks(net, options):
        callback.set_model(model)
    x, y = golden["batch0/x"], golden["batch0/y"]
    starts = {
        "forward_zero_state": np.zeros_like(golden["batch0/state_in"]),
        "forward_rand_state": golden["batch0/state_in"],
    }
    for prefix, start in starts.items():

        def recorded(key, prefix=prefix):
            return golden[f"{prefix}/{key}"]

        states = our_states(start)
        logits, _ = net(x, states)
        compare(batch_major(logits, x.shape), recorded("logits"), **EXACT)
        result = model.gradients(x, y, states)
        compare(result["cost"], recorded("cost"), **COST)
        compare(result["penalty"], recorded("regularization"), **COST)
        compare(result["global_norm"], recorded("global_norm"), **COST)
        compare(
            their_states(result["states"]), recorded("final_state"), **EXACT
        )
        for kind, gradients in (
            ("total", lambda result=result: result["gradients"]),
            ("clipped", lambda result=result: result["clipped"]),
            ("cost", lambda states=states: cost_gradients(net, x, y, states)),
        ):
            # Not every set holds every gradient of both states.
            theirs = golden.under(f"{prefix}/grad_{kind}")
            if theirs:
                compare_gradients(net, gradients(), theirs)
    assert any("/grad_total/" in key for key in golden.arrays)


def test_trajectory(trajectory_file):
    """Steps through `fit` with the callbacks that the settings ask for."""
    golden, config = trajectory_file, trajectory_file.config
    options = golden.options()
    net = golden.net()
    model = train_lib.compiled(net, options)
    x, y = golden["traj/x"], golden["traj/y"]
    epoch_size = config["epoch_size"]
    epoch_x, epoch_y = corpora.batches(golden["tokens"], *x.shape[1:])
    turn = np.arange(len(x)) % epoch_size
    np.testing.assert_array_equal(epoch_x[turn], x)
    np.testing.assert_array_equal(epoch_y[turn], y)
    recorder = Recorder(golden.snapshots, epoch_x)
    # First among the callbacks: its hook then runs before the thresholding.
    fitting.fit(
        model,
        epoch_x,
        epoch_y,
        len(x) // epoch_size,
        [
            recorder,
            *train_lib.sparsity_callbacks(net, options),
            training.EpochStart(lambda epoch: options.config.learning_rate),
        ],
    )

    tolerance = Tolerance(golden, options)
    compare(recorder.costs, golden["traj/cost"], **COST)
    penalties = golden["traj/regularization_of_weights_before_step"]
    compare(recorder.penalties, penalties, **tolerance.penalties())
    # The original's own sums of L1 may have been read after the update.
    outputs = golden["traj/epoch_outputs"]
    compare(
        [log["perplexity"] for log in recorder.epochs],
        outputs[:, 0],
        rtol=1e-5 * np.log(outputs[:, 0].max()),
    )
    compare(
        [log["regularization"] for log in recorder.epochs],
        penalties.reshape(-1, epoch_size).mean(1) / x.shape[2],
        **tolerance.penalties(),
    )
    for step, snapshot in recorder.snapshots.items():
        if f"traj_logits/{step}" in golden.arrays:
            compare(
                batch_major(snapshot["logits"], x.shape[1:]),
                golden[f"traj_logits/{step}"],
                **tolerance.outputs(step),
            )
            compare(
                their_states(snapshot["states"]),
                golden[f"traj_final_state/{step}"],
                **tolerance.outputs(step),
            )
        updated = golden.under(f"weights_after_update/{step}")
        zeroed = golden.under(f"weights/{step}")
        for name, ours in in_their_layout(net, snapshot["updated"]).items():
            tolerance.compare(ours, updated[name], step, name)
        for name, ours in in_their_layout(net, snapshot["weights"]).items():
            theirs = zeroed[name]
            # A weight this close to the threshold may fall to either side.
            border = (
                abs(abs(updated[name]) - tolerance.threshold) < THRESHOLD_MARGIN
            ) & (tolerance.threshold > 0)
            tolerance.compare(ours[~border], theirs[~border], step, name)
            if not tolerance.bounce:
                assert ((ours == 0) != (theirs == 0))[~border].sum() <= 2
            if ((ours == 0) == (theirs == 0)).all():
                compare_fractions(golden, ours, name, step)
    for layer, group in enumerate(net.iss_groups(), 1):
        key = f"final_zero_groups/layer{layer}"
        if key in golden.arrays:
            np.testing.assert_array_equal(~group.alive().numpy(), golden[key])


class Tolerance:
    """How closely a trajectory can be followed, as the README states it.

    Attributes:
      threshold: below which the run zeroed its weights.
      bounce: in runs whose groups vanish, how far the dying weights jump
        around zero; 0 in the others.
    """

    def __init__(self, golden, options):
        settings = options.settings
        self.adam = options.optimizer == "adam"
        self.threshold = options.threshold
        last = max(golden.snapshots)
        died = zero_fraction(golden.under(f"weights/{last}")) - zero_fraction(
            golden.under("init")
        )
        strength = max(settings.global_decay, settings.weight_decay)
        self.bounce = (
            2 * options.config.learning_rate * strength if died > 1 / 3 else 0.0
        )

    def penalties(self):
        """Of the penalty of each step."""
        if self.bounce:
            return {"rtol": 1e-3}
        return {"rtol": 1e-4 if self.adam else 1e-5, "atol": 1e-7}

    def outputs(self, step):
        """Of logits and states computed with the weights of a step."""
        if self.bounce:
            return {"atol": max(1e-5, self.bounce)}
        if step <= 5:
            return {"atol": 2e-6}
        return {"atol": 1e-4 if self.adam else 1e-5}

    def compare(self, ours, theirs, step, name):
        """Compares weights after a step."""
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        allowed = np.full(theirs.shape, 1e-6 if step <= 5 else 1e-5)
        if self.adam:
            allowed[:] = 2e-5
        if self.bounce:
            allowed[abs(theirs) <= self.bounce] = self.bounce
        difference = abs(ours - theirs)
        wrong = ~(difference <= allowed)
        # Single weights that met the threshold from its other side, or that
        # Adam moved far by dividing by a tiny gradient.
        assert wrong.sum() <= max(2, 0.01 * wrong.size * self.adam) and (
            self.adam or not (difference[wrong] > 2 * self.threshold).any()
        ), (
            f"{wrong.sum()} of {wrong.size} weights of {name} differ "
            f"after step {step}, by up to {difference[wrong].max()}"
        )


class Recorder(callbacks.UpdateHook):
    """Keeps what each step gave, and the weights at the snapshots."""

    def __init__(self, snapshots, x):
        super().__init__()
        self.wanted = snapshots
        self.x = x
        self.costs, self.penalties, self.epochs = [], [], []
        self.snapshots = {}
        self._penalty_before = 0.0

    def set_model(self, model):
        """See base class."""
        super().set_model(model)
        self._updated = [tf.Variable(v) for v in model.trainable_variables]

    def after_update(self):
        """Copies the updated weights, before anything zeroes them."""
        for copy, variable in zip(
            self._updated, self.model.trainable_variables
        ):
            copy.assign(variable)

    def on_epoch_begin(self, epoch, logs=None):
        self._penalty_before = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        step = len(self.costs) + 1
        if step in self.wanted:
            logits, _ = self.model.net(
                self.x[batch], [tf.identity(s) for s in self.model.carried]
            )
            self.snapshots[step] = {"logits": logits}

    def on_train_batch_end(self, batch, logs=None):
        self.costs.append(float(logs["cost"]))
        total = float(self.model.total_penalty)
        self.penalties.append(total - self._penalty_before)
        self._penalty_before = total
        step = len(self.costs)
        if step in self.wanted:
            self.snapshots[step].update(
                states=[s.numpy() for s in self.model.carried],
                updated=[v.numpy() for v in self._updated],
                weights=[v.numpy() for v in self.model.trainable_variables],
            )

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def test_dropout_masks(dropout_file):
    """With the recorded masks in the place of drawn ones."""
    golden = dropout_file
    net = golden.net(keep_prob=golden.config["keep_prob"])
    # [batch, time, unit] of the embedding, [time, layer, batch, unit] after.
    masks = [
        golden["mask_embedding"].swapaxes(0, 1),
        *golden["mask_cell_output"].swapaxes(0, 1),
    ]
    used = []

    class Recorded(model_lib.Dropout):
        def _drop(self, x, place):
            used.append(place)
            return x * masks[place] / self.keep_prob

    net.draw_noise = lambda ids, seed: Recorded(net.keep_prob, seed)
    x, y = golden["x"], golden["y"]
    states = our_states(np.zeros_like(golden["final_state"]))
    logits, finals = net(x, states, training=True)
    assert used == list(range(len(masks)))
    compare(batch_major(logits, x.shape), golden["logits"], **EXACT)
    compare(their_states(finals), golden["final_state"], **EXACT)
    cost = losses.sequence_cost(logits, y.T.ravel(), len(x))
    compare(cost, golden["cost"], **COST)
    compare_gradients(
        net, cost_gradients(net, x, y, states), golden.under("grad_cost")
    )


def test_shrinking(shrink_file):
    """Dense weights with zero groups -> the recorded smaller model."""
    golden = shrink_file
    net, x = golden.net("dense_weights"), golden["x"]
    small, report = shrinking.shrink(net, net.iss_groups(), [x], nets.logits)
    assert report.max_difference < 1e-6
    for layer, group in enumerate(net.iss_groups(), 1):
        kept = golden[f"kept_units/layer{layer}"]
        np.testing.assert_array_equal(np.flatnonzero(group.alive()), kept)
        assert report.after[group.name] == len(kept)
    recorded = golden.under("shrunk_weights")
    for name, view in small.tf1_views().items():
        np.testing.assert_array_equal(view.read(), recorded[name], name)
    compare_run(
        golden,
        net,
        our_states(golden["dense_state_in"]),
        "dense_",
        their_states,
    )
    compare_run(
        golden, small, layer_states(golden, "shrunk_state_in"), "shrunk_", None
    )


def test_unequal_widths(unequal_file):
    golden = unequal_file
    net = golden.net("random_heter/weights")
    assert len(set(net.hidden_sizes)) > 1
    compare_run(
        golden,
        net,
        layer_states(golden, "random_heter/state_in"),
        "random_heter/",
        None,
    )


def compare_run(golden, net, states, prefix, stacked):
    """One batch: logits, cost, final states, gradients where recorded."""
    x, y = golden["x"], golden["y"]
    logits, finals = net(x, states)
    compare(batch_major(logits, x.shape), golden[f"{prefix}logits"], **EXACT)
    compare(
        losses.sequence_cost(logits, y.T.ravel(), len(x)),
        golden[f"{prefix}cost"],
        **COST,
    )
    if stacked:
        compare(stacked(finals), golden[f"{prefix}final_state"], **EXACT)
    else:
        for ours, theirs in zip(
            finals, layer_states(golden, f"{prefix}final_state")
        ):
            compare(ours, theirs, **EXACT)
    recorded = golden.under(f"{prefix}grad_cost")
    if recorded:
        compare_gradients(net, cost_gradients(net, x, y, states), recorded)


def layer_states(golden, prefix):
    """States of unequal layers: `<prefix>/layer<n>` [(c, h), batch, unit]."""
    count = sum(key.startswith(prefix + "/layer") for key in golden.arrays)
    return [
        tf.constant(golden[f"{prefix}/layer{n}"][i])
        for n in range(1, count + 1)
        for i in (1, 0)
    ]


def test_whole_program(program_file, tmp_path):
    """Epochs, learning rates, perplexities and checkpoints of a whole run.

    Interrupted after the epochs of the recorded checkpoint, then resumed: so
    both recorded sets of weights are seen, and resuming changes nothing.
    """
    golden, options = program_file, program_file.options()
    corpus = corpora.read_words(golden.path.parent / "ptb_corpus")
    assert len(corpus.symbols) == golden.config["vocab_size"]
    # Valid, then train and valid of each epoch, then test.
    perplexities, _, penalties, _ = golden["run_epoch_sequence"].T
    valid = corpora.batches(
        corpus.valid, options.config.batch_size, options.config.num_steps
    )
    net = golden.net()
    close = {"rtol": 1e-5 * np.log(perplexities.max())}
    compare(
        language_model.Evaluator(net).perplexity(*valid),
        perplexities[0],
        **close,
    )
    steps = len(
        corpora.batches(
            corpus.train, options.config.batch_size, options.config.num_steps
        )[0]
    )
    checkpoints = {}
    for key in golden.arrays:
        if key.endswith("/Model/global_step"):
            epoch, rest = divmod(int(golden[key]), steps)
            assert rest == 0
            checkpoints[epoch] = key[: -len("/Model/global_step")]
    assert max(checkpoints) == options.epochs
    for epochs in sorted(checkpoints):
        resumed = epochs != min(checkpoints)
        net, metrics = train_lib.train(
            golden.options(epochs=epochs),
            corpus,
            runs.RunDirectory(tmp_path, "run", resume=resumed),
            resumed,
            None if resumed else net,
        )
        recorded = golden.under(checkpoints[epochs])
        for name, view in net.tf1_views().items():
            difference = abs(view.read() - recorded[name])
            assert (difference > 1e-5).sum() <= 2, name
            assert difference.max() <= max(1e-5, 2 * options.threshold), name
        saved = f"{checkpoints[epochs]}/Train/Model/Variable"
        compare(metrics.rows[-1]["learning_rate"], golden[saved], rtol=1e-6)

    with open(tmp_path / "run" / "metrics.csv", encoding="utf-8") as file:
        rows = [
            {key: float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]

    def column(name):
        return [row[name] for row in rows]

    assert column("epoch") == list(range(1, options.epochs + 1))
    compare(
        column("learning_rate"),
        golden["summary/learning_rate"][:, 1],
        rtol=1e-6,
    )
    compare(column("train_perplexity"), perplexities[1:-1:2], **close)
    compare(column("valid_perplexity"), perplexities[2:-1:2], **close)
    compare(column("regularization"), penalties[1:-1:2], rtol=1e-5)
    evaluator = language_model.Evaluator(net)
    compare(
        evaluator.perplexity(*corpora.batches(corpus.test, 1, 1)),
        perplexities[-1],
        **close,
    )
    for name, view in net.tf1_views().items():
        variables = list(
            {p.variable.ref(): p.variable for p in view.pieces}.values()
        )
        size = sum(v.shape.num_elements() for v in variables)
        ours = (
            sum(
                np.array(column(f"{v.name[:-2]}_elt_sparsity"))
                * v.shape.num_elements()
                for v in variables
            )
            / size
        )
        compare(
            ours,
            golden[f"summary/{old_name(name)}_elt_sparsity"][:, 1],
            atol=2 / size + 1e-6,
        )


def our_states(states):
    """[layer, (c, h), batch, unit] -> [h_1, c_1, h_2, c_2, ...]."""
    return [tf.constant(layer[i]) for layer in states for i in (1, 0)]


def their_states(states):
    """[h_1, c_1, h_2, c_2, ...] -> [layer, (c, h), batch, unit]."""
    return np.stack(
        [np.stack([states[i + 1], states[i]]) for i in range(0, len(states), 2)]
    )


def batch_major(logits, shape):
    """Our rows t * B + b in the order b * T + t."""
    batch, time = shape
    return (
        np.asarray(logits)
        .reshape(time, batch, -1)
        .swapaxes(0, 1)
        .reshape(batch * time, -1)
    )


def cost_gradients(net, x, y, states):
    """Gradients of the plain cost, in the order of the net's variables."""
    with tf.GradientTape() as tape:
        logits, _ = net(x, states, training=True)
        cost = losses.sequence_cost(logits, np.transpose(y).reshape(-1), len(x))
    return tape.gradient(cost, net.trainable_variables)


def compare(ours, theirs, rtol=0.0, atol=0.0):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=rtol, atol=atol)


def in_their_layout(net, values):
    """Arrays shaped like the net's variables, by canonical TF1 name."""
    dense = {
        v.ref(): np.asarray(tf.convert_to_tensor(value))
        for v, value in zip(net.trainable_variables, values)
    }
    return {name: view.gather(dense) for name, view in net.tf1_views().items()}


def compare_gradients(net, gradients, recorded):
    ours = in_their_layout(net, gradients)
    assert ours.keys() == recorded.keys()
    for name, theirs in recorded.items():
        np.testing.assert_allclose(ours[name], theirs, **EXACT, err_msg=name)


def zero_fraction(weights):
    """Of all weights but the embedding's, by name."""
    values = np.concatenate(
        [
            array.ravel()
            for name, array in weights.items()
            if not name.endswith("embedding")
        ]
    )
    return np.mean(values == 0)


def old_name(name):
    """TensorFlow 1.0's name, as the recorded scalars have it."""
    return name.replace("cell/kernel", "cell/weights").replace(
        "cell/bias", "cell/biases"
    )


def compare_fractions(golden, array, name, step):
    """Zero fractions of a TF1 array, where they were recorded."""
    short = {"element": "elt", "row": "row", "column": "col"}
    for kind, value in thresholding.zero_fractions(tf.Variable(array)).items():
        key = f"traj/sparsity/{old_name(name)}_{short[kind]}_sparsity"
        if key in golden.arrays:
            compare(value, golden[key][step - 1], atol=1e-6)
