"""Pruning against an independent NumPy statement, at every step of a run."""

import math
import warnings

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import schedules
from iss_rnns import thresholding
from iss_rnns.callbacks import pruning

pytestmark = pytest.mark.keras3

SHAPES = (6, 7), (9, 5)
SIZES = [r * c for r, c in SHAPES]
STEPS, RATE = 40, 1.0
START, RAMP, END, FREQUENCY, Q, PHI = 5, 15, 32, 3, 4.0, 1.5


class Linear(tf.keras.Model):
    """The data are its gradients."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.matrices = [
            self.add_weight(
                name=f"matrix_{i}",
                shape=shape,
                initializer=tf.constant_initializer(rng.normal(size=shape)),
            )
            for i, shape in enumerate(SHAPES)
        ]
        self.built = True

    def call(self, inputs):
        flat = tf.concat([tf.reshape(m, [-1]) for m in self.matrices], 0)
        return tf.reduce_sum(inputs * flat, -1, keepdims=True)


def data():
    """Some gradients are large, so that pruned weights come back."""
    rng = np.random.default_rng(1)
    shape = STEPS, 1, sum(SIZES)
    return (
        rng.normal(size=shape) * np.where(rng.random(shape) < 0.01, 50, 1)
    ).astype(np.float32)


def compiled(momentum=0.0, graph=False):
    model = Linear()
    model.compile(
        tf.keras.optimizers.SGD(RATE, momentum=momentum),
        lambda _, output: tf.reduce_sum(output),
        run_eagerly=not graph,
    )
    return model


class Watch(tf.keras.callbacks.Callback):
    """Weights after every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([m.numpy() for m in self.model.matrices])


def fit(model, callbacks, x=None):
    x = data() if x is None else x
    watch = Watch()
    model.fit(
        tf.data.Dataset.from_tensor_slices((x, x[..., :1])),
        verbose=0,
        callbacks=[*callbacks, watch],
    )
    return watch.seen


# The papers, in NumPy.


def narang(step, q, elements=1):
    """Threshold of an update step, None at the others."""
    if not (START < step < END and step % FREQUENCY == 0):
        return None
    theta = (
        2
        * q
        * FREQUENCY
        * elements**0.25
        / (2 * (RAMP - START) + 3 * (END - RAMP))
    )
    if step < RAMP:
        return theta * (step - START + 1) / FREQUENCY
    return (
        theta * (RAMP - START + 1) + PHI * theta * (step - RAMP + 1)
    ) / FREQUENCY


def cubic(step, target):
    """Sparsity of an update step, None at the others."""
    if not START <= step <= END or ((step - START) % FREQUENCY and step != END):
        return None
    return target - target * (1 - (step - START) / (END - START)) ** 3


def hard(step, target):
    return target if step == START else None


def block_scores(matrix, block):
    rows, columns = matrix.shape
    height, width = block
    grid = np.zeros([-(-rows // height), -(-columns // width)])
    for r in range(rows):
        for c in range(columns):
            place = r // height, c // width
            grid[place] = max(grid[place], abs(float(matrix[r, c])))
    return grid


def expand(keep, block, shape):
    full = np.kron(keep, np.ones(block)) > 0
    return full[: shape[0], : shape[1]]


def simulate(amount, kind, block=(1, 1), revive=True):
    """Weights after every step; `amount[i](step)` of matrix i."""
    weights = [m.numpy() for m in Linear().matrices]
    masks = [np.ones(shape, bool) for shape in SHAPES]
    history = []
    for step, gradient in enumerate(data()[:, 0]):
        for i, part in enumerate(np.split(gradient, [SIZES[0]])):
            weights[i] = weights[i] - np.float32(RATE) * part.reshape(SHAPES[i])
            value = amount[i](step)
            if value is not None:
                scores = block_scores(
                    weights[i] if revive else weights[i] * masks[i], block
                )
                if kind == "threshold":
                    keep = scores >= value
                else:
                    keep = np.ones(scores.size, bool)
                    order = np.argsort(scores.ravel(), kind="stable")
                    keep[order[: int(np.round(value * scores.size))]] = False
                    keep = keep.reshape(scores.shape)
                keep = expand(keep, block, SHAPES[i])
                masks[i] = keep if revive else keep & masks[i]
            weights[i] = weights[i] * masks[i]
        history.append([w.copy() for w in weights])
    return history


def threshold(q, elements=1):
    return schedules.NarangThreshold(
        q, START, RAMP, END, FREQUENCY, PHI, elements
    )


def modes():
    """name -> (callback on a model, what NumPy says)."""
    cube = schedules.CubicSparsity(0.85, START, END, FREQUENCY)
    cubes = [lambda step: cubic(step, 0.85)] * 2
    return {
        "gradual": (
            lambda m: pruning.GradualPruning(m, [threshold(Q), threshold(2.0)]),
            lambda: simulate(
                [lambda s: narang(s, Q), lambda s: narang(s, 2.0)], "threshold"
            ),
        ),
        "gradual to a sparsity": (
            lambda m: pruning.GradualPruning(m, cube),
            lambda: simulate(cubes, "sparsity"),
        ),
        "hard": (
            lambda m: pruning.GradualPruning(
                m, schedules.ConstantSparsity(0.7, START)
            ),
            lambda: simulate([lambda step: hard(step, 0.7)] * 2, "sparsity"),
        ),
        "blocks": (
            lambda m: pruning.BlockPruning(m, threshold(8.0, 6), (2, 3)),
            lambda: simulate(
                [lambda s: narang(s, 8.0, 6)] * 2,
                "threshold",
                (2, 3),
                revive=False,
            ),
        ),
        "blocks to a sparsity": (
            lambda m: pruning.BlockPruning(m, cube, (4, 4)),
            lambda: simulate(cubes, "sparsity", (4, 4), revive=False),
        ),
        "blocks that may come back": (
            lambda m: pruning.BlockPruning(m, cube, (4, 2), revive=True),
            lambda: simulate(cubes, "sparsity", (4, 2)),
        ),
    }


@pytest.mark.parametrize(
    "name, graph",
    [
        *((name, False) for name in modes()),
        ("gradual", True),
        ("blocks to a sparsity", True),
    ],
)
def test_weights_are_the_papers_at_every_step(name, graph):
    make, numpy_run = modes()[name]
    model = compiled(graph=graph)
    callback = make(model.matrices)
    found, expected = fit(model, [callback]), numpy_run()
    assert len(found) == len(expected) == STEPS
    for step, (ours, theirs) in enumerate(zip(found, expected)):
        for a, b in zip(ours, theirs):
            np.testing.assert_array_equal(a == 0, b == 0, f"step {step}")
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    zeros = sum((w == 0).sum() for w in expected[-1])
    assert 0.2 < zeros / sum(SIZES) < 1
    assert math.isclose(callback.sparsity(), zeros / sum(SIZES))


@pytest.mark.parametrize(
    "name, revived",
    [
        ("gradual", True),
        ("gradual to a sparsity", True),
        ("hard", False),
        ("blocks", False),
        ("blocks to a sparsity", False),
        ("blocks that may come back", True),
    ],
)
def test_who_comes_back_and_until_when(name, revived):
    """Weights while pruning runs, blocks never; after the end nobody."""
    model = compiled()
    history = [
        np.concatenate([m.ravel() for m in matrices]) == 0
        for matrices in fit(model, [modes()[name][0](model.matrices)])
    ]
    back = [
        (before & ~after).any() for before, after in zip(history, history[1:])
    ]
    assert any(back[:END]) == revived
    assert not any(back[END:])
    np.testing.assert_array_equal(history[END], history[-1])
    assert not any(zeros.any() for zeros in history[:START])


@pytest.mark.parametrize(
    "name", ["gradual to a sparsity", "hard", "blocks to a sparsity"]
)
def test_sparsity_never_falls_and_reaches_the_target(name):
    model = compiled()
    history = fit(model, [modes()[name][0](model.matrices)])
    zeros = [sum((m == 0).sum() for m in matrices) for matrices in history]
    assert zeros == sorted(zeros)
    if not name.startswith("blocks"):
        target = 0.7 if name == "hard" else 0.85
        assert zeros[-1] == sum(round(target * size) for size in SIZES)


@pytest.mark.parametrize("name", ["gradual", "hard", "blocks to a sparsity"])
@pytest.mark.filterwarnings("ignore:training .* before pruning")
def test_a_run_goes_on_exactly_from_any_step(name, tmp_path):
    """Momentum on; weights that are 0 without a mask stay unmasked."""
    make, _ = modes()[name]
    whole = compiled(0.9)
    whole.matrices[0].assign(
        tf.tensor_scatter_nd_update(whole.matrices[0], [[0, 0]], [0.0])
    )
    start = whole.get_weights()
    expected = fit(whole, [make(whole.matrices)])
    for stop in (16, END + 2):
        first = compiled(0.9)
        first.set_weights(start)
        fit(first, [make(first.matrices)], data()[:stop])
        path = tf.train.Checkpoint(model=first).write(str(tmp_path / f"{stop}"))
        second = compiled(0.9)
        second.optimizer.build(second.trainable_variables)
        status = tf.train.Checkpoint(model=second).read(path)
        status.assert_existing_objects_matched()
        callback = make(second.matrices)
        found = fit(second, [callback], data()[stop:])
        status.assert_consumed()
        for ours, theirs in zip(found, expected[stop:]):
            for a, b in zip(ours, theirs):
                np.testing.assert_array_equal(a, b)


def test_a_model_has_masks_for_one_callback():
    """A second one would take the first one's for its own."""
    layers = [tf.keras.layers.Dense(4) for _ in range(2)]
    model = tf.keras.Sequential(layers)
    model.build([None, 4])
    model.compile("sgd", "mse")
    first, second = (
        pruning.GradualPruning(
            [layer.kernel], schedules.ConstantSparsity(0.5, 0)
        )
        for layer in layers
    )
    with pytest.raises(ValueError, match="another callback prunes this model"):
        model.fit(
            np.ones([2, 4]),
            np.ones([2, 4]),
            verbose=0,
            callbacks=[first, second],
        )
    # Refused before it was attached: the corrected call trains.
    both = pruning.GradualPruning(
        [layer.kernel for layer in layers], schedules.ConstantSparsity(0.5, 0)
    )
    model.fit(np.ones([2, 4]), np.ones([2, 4]), verbose=0, callbacks=[both])
    assert both.sparsity() == 0.5


@pytest.mark.filterwarnings("ignore:training .* before pruning")
def test_a_second_fit_of_the_same_model_goes_on_too():
    make, _ = modes()["gradual"]
    expected = fit((whole := compiled(0.9)), [make(whole.matrices)])[-1]
    model = compiled(0.9)
    fit(model, [make(model.matrices)], data()[:13])
    fit(model, [make(model.matrices)], data()[13:])
    for a, b in zip(model.matrices, expected):
        np.testing.assert_array_equal(a, b)


def test_masks_belong_to_their_variables():
    """Those of another matrix of the same shape are not taken for its own."""
    layers = [tf.keras.layers.Dense(4) for _ in range(2)]
    model = tf.keras.Sequential(layers)
    model.build([None, 4])
    model.compile(tf.keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
    hard = schedules.ConstantSparsity(0.5, 0)
    x = np.ones([1, 4])
    first, second = (layer.kernel for layer in layers)
    model.fit(
        x, x, verbose=0, callbacks=[pruning.GradualPruning([first], hard)]
    )
    mask = model.pruning_masks[0]
    late = pruning.GradualPruning([second], schedules.ConstantSparsity(0.5, 9))
    with pytest.warns(UserWarning):
        model.fit(x, x, verbose=0, callbacks=[late])
    assert second.numpy().all() and late.sparsity() == 0.0
    both = pruning.GradualPruning([first, second], hard)
    model.fit(x, x, verbose=0, callbacks=[both])
    assert len(model.pruning_masks) == 2 and mask.numpy().sum() == 8


class TestB7MasksAreNoWeights:
    """Files of weights, saved models and copies are as without pruning."""

    @staticmethod
    def model():
        inputs = tf.keras.Input([3])
        outputs = tf.keras.layers.Dense(4)(inputs)
        model = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(outputs))
        model.compile("sgd", "mse", run_eagerly=True)
        return model

    def pruned(self, folder):
        model, before = self.model(), None
        x, y = np.ones([2, 3]), np.ones([2, 2])
        model.fit(x, y, verbose=0)
        for name in ("early.weights.h5", "early.h5", "early"):
            model.save_weights(folder / name)
        before = model.get_weights()
        model.fit(
            x,
            y,
            verbose=0,
            callbacks=[
                pruning.GradualPruning(
                    [model.layers[1].kernel],
                    schedules.ConstantSparsity(0.5, 0, end=1, frequency=1),
                ),
                tf.keras.callbacks.ModelCheckpoint(
                    str(folder / "in_fit.keras")
                ),
            ],
        )
        assert (model.get_weights()[0] == 0).mean() == 0.5
        return model, before

    def test_loaded_saved_and_cloned(self, tmp_path):
        model, early = self.pruned(tmp_path)
        late = model.get_weights()
        assert len(late) == len(model.weights) == 4

        def same(other, expected=late):
            for a, b in zip(other.get_weights(), expected):
                np.testing.assert_array_equal(a, b)

        copy = tf.keras.models.clone_model(model)
        copy.set_weights(late)
        same(copy)
        for name in ("late.weights.h5", "late.h5", "late"):
            model.save_weights(tmp_path / name)
            other = self.model()
            other.fit(np.ones([2, 3]), np.ones([2, 2]), verbose=0)
            other.load_weights(tmp_path / name)
            same(other)
        for name in ("model.keras", "model.h5", "folder"):
            model.save(tmp_path / name)
            same(tf.keras.models.load_model(tmp_path / name))
        same(tf.keras.models.load_model(tmp_path / "in_fit.keras"))
        assert not any(
            "pruning" in name
            for name, _ in tf.train.list_variables(
                str(tmp_path / "folder" / "variables" / "variables")
            )
        )
        for name in ("early.weights.h5", "early.h5", "early"):
            model.load_weights(tmp_path / name)
            same(model, early)

    def test_in_checkpoints_they_are_where_version_1_0_put_them(self, tmp_path):
        model, _ = self.pruned(tmp_path)
        path = tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
        assert [
            (name, shape)
            for name, shape in tf.train.list_variables(path)
            if "mask" in name
        ] == [("model/pruning_masks/0/.ATTRIBUTES/VARIABLE_VALUE", [3, 4])]


class TestB11TrainingThatEndsBeforePruning:
    """That is said when it begins, if known, and when it ends."""

    @staticmethod
    def fit(steps, make=None, **kwargs):
        model = compiled()
        callback = pruning.GradualPruning(
            model.matrices,
            schedules.CubicSparsity(0.8, START, END, FREQUENCY),
            **kwargs,
        )
        x = data()[:steps]
        batches = tf.data.Dataset.from_tensor_slices((x, x[..., :1]))
        if make:
            batches = make(batches)
        model.fit(batches, verbose=0, callbacks=[callback])
        return model, callback

    def test_a_warning_at_the_start_and_one_at_the_end(self):
        with pytest.warns(UserWarning) as caught:
            _, callback = self.fit(10)
        assert [str(w.message) for w in caught] == [
            "training will end after step 10, before pruning does: 80.0 % "
            "zeros at step 33; train longer, or let the schedule end earlier",
            "training ended after step 10, before pruning did: 80.0 % zeros "
            f"at step 33; {100 * callback.sparsity():.1f} % of the weights "
            "are pruned",
        ]
        assert 0.1 < callback.sparsity() < 0.5

    @pytest.mark.parametrize("steps", [END + 1, END])
    @pytest.mark.filterwarnings("error")
    def test_to_the_last_step(self, steps):
        if steps > END:
            self.fit(steps)
        else:
            with pytest.raises(UserWarning, match="will end after step 32"):
                self.fit(steps)

    def test_steps_count_from_the_optimizers_own(self):
        """Not from this fit's beginning, nor from its first epoch's."""
        model = compiled()
        model.optimizer.iterations.assign(END)
        x = data()[:1]
        callback = pruning.GradualPruning(
            model.matrices, schedules.CubicSparsity(0.8, START, END, FREQUENCY)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(
                x[0],
                x[0, :, :1],
                epochs=9,
                initial_epoch=8,
                verbose=0,
                callbacks=[callback],
            )

    def test_without_a_known_number_of_steps_at_the_end_only(self):
        with pytest.warns(UserWarning) as caught:
            self.fit(10, lambda d: d.filter(lambda *_: True))
        assert len(caught) == 1
        assert "training ended after step 10" in str(caught[0].message)

    def test_required_it_is_refused_before_the_first_step(self):
        before = [m.numpy() for m in Linear().matrices]
        with pytest.raises(errors.UserError, match="will end after step 10"):
            model, _ = self.fit(10, require_end=True)
        model = compiled()
        for now, then in zip(model.matrices, before):
            np.testing.assert_array_equal(now, then)
        with pytest.raises(errors.UserError, match="ended after step 10"):
            self.fit(10, lambda d: d.filter(lambda *_: True), require_end=True)

    @pytest.mark.filterwarnings("error")
    def test_who_knows_it_hears_nothing(self):
        self.fit(10, require_end=False)

    def test_of_thresholds_too(self):
        model = compiled()
        with pytest.warns(UserWarning, match="a threshold of .* at step 31"):
            fit(
                model,
                [pruning.GradualPruning(model.matrices, threshold(Q))],
                data()[:8],
            )


@pytest.mark.parametrize("kind", ["keep_largest", "max_magnitudes", "norms"])
def test_b15_compiled_by_xla_the_same_blocks_are_chosen(kind):
    """XLA knows other operations; ties, uneven edges and 0 % included."""
    rng = np.random.default_rng(0)
    scores = np.abs(rng.normal(size=[7, 10])).astype(np.float32).round(1)
    variable = tf.Variable(scores)
    grid = groups.BlockGrid.uniform(variable, 2, 3)
    run = {
        "keep_largest": lambda pruned: thresholding.keep_largest(
            tf.convert_to_tensor(variable), pruned
        ),
        "max_magnitudes": lambda _: grid.max_magnitudes(),
        "norms": lambda _: grid.squared_norms(),
    }[kind]
    compiled_run = tf.function(run, jit_compile=True, autograph=False)
    for pruned in (0.0, 0.3, 0.5, 1.0):
        pruned = tf.constant(pruned)
        plain = run(pruned).numpy()
        np.testing.assert_allclose(compiled_run(pruned), plain, rtol=1e-6)


def test_without_the_callback_training_is_free_again():
    make, _ = modes()["hard"]
    model = compiled()
    fit(model, [make(model.matrices)])
    fit(model, [], data()[:2])
    assert all(m.numpy().all() for m in model.matrices)


@pytest.mark.parametrize(
    "scores, fraction, expected",
    [
        ([3.0, 1.0, 2.0, 0.0], 0.5, [1, 0, 1, 0]),
        ([1.0, 1.0, 1.0, 1.0], 0.5, [0, 0, 1, 1]),
        ([0.0, 0.0, 5.0, 0.0], 0.5, [0, 0, 1, 1]),
        ([2.0, 1.0], 0.0, [1, 1]),
        ([2.0, 1.0], 1.0, [0, 0]),
        ([1e-30, 1e30, 1e-38, 1.0], 0.25, [1, 1, 0, 1]),
    ],
)
def test_keep_largest(scores, fraction, expected):
    keep = thresholding.keep_largest(tf.constant(scores), tf.constant(fraction))
    assert keep.numpy().astype(int).tolist() == expected


def test_keep_largest_of_many():
    rng = np.random.default_rng(0)
    scores = np.abs(rng.normal(size=(40, 60))).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = 0
    for fraction in (0.1, 0.3, 0.31, 0.9, 0.999):
        keep = thresholding.keep_largest(tf.constant(scores), fraction)
        order = np.argsort(scores.ravel(), kind="stable")
        expected = np.ones(scores.size, bool)
        expected[order[: int(np.round(fraction * scores.size))]] = False
        np.testing.assert_array_equal(keep.numpy().ravel(), expected)


@pytest.mark.parametrize("graph", [False, True])
def test_block_lasso_holds_until_its_end(graph):
    """Its gradient, lambda * w / norm of the block, joins the update."""
    strength, end, block = 0.3, 4, (4, 2)
    model = compiled(graph=graph)
    lasso = pruning.BlockLasso(
        pruning.grids(model.matrices, block), strength, end
    )
    found = fit(model, [lasso], data()[:7])
    weights = [m.numpy() for m in Linear().matrices]
    for step, gradient in enumerate(data()[:7, 0]):
        parts = np.split(gradient, [SIZES[0]])
        for i, (w, part) in enumerate(zip(weights, parts)):
            change = part.reshape(w.shape).copy()
            if step < end:
                for r in range(0, w.shape[0], block[0]):
                    for c in range(0, w.shape[1], block[1]):
                        place = np.s_[r : r + block[0], c : c + block[1]]
                        norm = np.sqrt((w[place] ** 2).sum() + 1e-8)
                        change[place] += strength * w[place] / norm
            weights[i] = w - RATE * change
            np.testing.assert_allclose(
                found[step][i], weights[i], rtol=1e-4, atol=1e-5
            )


def test_group_lasso_with_block_pruning_zeroes_more():
    """GLP: at the same threshold, the lasso leaves fewer blocks."""
    left = []
    for strength in (0.0, 1.0):
        model = compiled()
        block = pruning.BlockPruning(model.matrices, threshold(8.0, 6), (2, 3))
        fit(model, [pruning.BlockLasso(block.grids, strength, END), block])
        left.append(block.sparsity())
    assert left[1] > left[0]


def test_arguments_are_checked():
    matrix = tf.Variable(tf.ones([4, 4]))
    schedule = schedules.ConstantSparsity(0.5)
    with pytest.raises(ValueError, match="at least one variable"):
        pruning.GradualPruning([], schedule)
    with pytest.raises(ValueError, match=r"only matrices .* shape \(4,\)"):
        pruning.GradualPruning([tf.Variable(tf.ones([4]))], schedule)
    with pytest.raises(
        ValueError, match="one for each of the 1 variables; got 2"
    ):
        pruning.GradualPruning([matrix], [schedule] * 2)
    with pytest.raises(
        ValueError, match="block height must be a whole number of at least 1"
    ):
        pruning.BlockPruning([matrix], schedule, (0, 4))
    for wrong in (4, (4,), "4x4"):
        with pytest.raises(
            ValueError, match=r"block_size must be \(height, width\), got"
        ):
            pruning.BlockPruning([matrix], schedule, wrong)
    with pytest.raises(ValueError, match="must be a list, got .* alone"):
        pruning.GradualPruning(matrix, schedule)
    with pytest.raises(ValueError, match="got str"):
        pruning.GradualPruning(["kernel"], schedule)
    with pytest.raises(ValueError, match="each variable is pruned once"):
        pruning.GradualPruning([matrix, matrix], schedule)
    for wrong in (0.5, [0.5]):
        with pytest.raises(ValueError, match="one of iss_rnns.schedules"):
            pruning.GradualPruning([matrix], wrong)
    with pytest.raises(ValueError, match="strength must be a number >= 0"):
        pruning.BlockLasso([], -1.0, 3)
