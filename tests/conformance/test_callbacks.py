"""Every callback in every way to train, against one NumPy statement of it.

The gradient of the cost comes from TensorFlow; what a callback makes of it
and of the weights, and what it adds to the loss, is written here once more.
"""

import copy
import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import groups as groups_lib
from iss_rnns import optimizers
from iss_rnns import schedules
from iss_rnns.callbacks import pruning
from iss_rnns.experiments.language import model as language_model
from ptb import model as ptb_model

BATCH, STEPS, TIME, INPUTS, UNITS, RATE = 2, 3, 2, 3, 4, 0.5
STRENGTH, THRESHOLD, BLOCK, PRUNED = 0.05, 0.12, (2, 2), 0.5
LASSO_END, PRUNING_START = 2, 1  # steps


# Models: one layer of each kind, and who reads it.


@dataclasses.dataclass
class Case:
    """A compiled model, and what its callbacks are about."""

    model: tf.keras.Model
    groups: list
    pruned: list
    start: list

    def reset(self):
        """As newly made."""
        model = self.model
        model.set_weights(self.start)
        if model.optimizer is not None:
            model.optimizer.iterations.assign(0)
        for mask in getattr(model, "pruning_masks", ()):
            mask.assign(tf.ones_like(mask))


def layer_of(kind):
    if kind == "bidirectional":
        return tf.keras.layers.Bidirectional(tf.keras.layers.LSTM(UNITS))
    if kind == "lstm":
        return tf.keras.layers.LSTM(UNITS)
    return tf.keras.layers.SimpleRNN(UNITS, unroll=True)


def group_of(name, cell, dense, first):
    """An ISS group, out of a stock layer's weights."""
    gates = cell.kernel.shape[1] // UNITS
    columns = functools.partial(groups_lib.blocks, axis=1, count=gates)
    return groups_lib.Group(
        name,
        [
            *columns(cell.kernel),
            *columns(cell.recurrent_kernel),
            groups_lib.whole(cell.recurrent_kernel, 0),
            groups_lib.Slice(dense.kernel, 0, first, first + UNITS),
        ],
        groups_lib.blocks(cell.bias, 0, gates),
    )


def compile_(model, mode):
    model.compile(
        tf.keras.optimizers.SGD(RATE),
        "mse",
        run_eagerly=mode not in ("graph", "jit_compile"),
        jit_compile=mode == "jit_compile",
    )
    # Left to the first step, this would have the step traced twice.
    model.optimizer.build(model.trainable_variables)


def build(kind, mode):
    """A model of a kind, compiled to train in a mode."""
    before = tf.keras.mixed_precision.global_policy()
    floatx = tf.keras.backend.floatx()
    if mode in ("mixed_float16", "float64"):
        tf.keras.mixed_precision.set_global_policy(mode)
    if mode == "float64":
        tf.keras.backend.set_floatx(mode)
    try:
        inputs = tf.keras.Input([TIME, INPUTS])
        layer = layer_of(kind)
        hidden = layer(inputs)
        dense = tf.keras.layers.Dense(
            2, dtype="float64" if mode == "float64" else "float32"
        )
        model = tf.keras.Model(inputs, dense(hidden))
        compile_(model, mode)
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
        tf.keras.backend.set_floatx(floatx)
    cells = (
        [layer.forward_layer.cell, layer.backward_layer.cell]
        if kind == "bidirectional"
        else [layer.cell]
    )
    groups = [
        group_of(f"rnn_{i}", cell, dense, i * UNITS)
        for i, cell in enumerate(cells)
    ]
    random = np.random.default_rng(1)
    start = [
        random.normal(size=w.shape, scale=0.4) for w in model.get_weights()
    ]
    model.set_weights(start)
    for group in groups:  # one dead unit, which its bias would wake up
        for s in group.slices:
            value = np.moveaxis(s.variable.numpy(), s.axis, 0)
            value[s.start + 1] = 0.0
            s.variable.assign(np.moveaxis(value, 0, s.axis))
    return Case(
        model,
        groups,
        [cell.kernel for cell in cells],
        model.get_weights(),
    )


shared = functools.cache(build)


@functools.cache
def data():
    """Inputs `[steps * batch, time, inputs]` and targets."""
    random = np.random.default_rng(2)
    return (
        random.normal(size=[STEPS * BATCH, TIME, INPUTS]).astype(np.float32),
        random.normal(size=[STEPS * BATCH, 2]).astype(np.float32),
    )


@functools.cache
def batches(start, stop):
    """Making these takes as long as a step."""
    x, y = (a[start * BATCH : stop * BATCH] for a in data())
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)


def fit(case, added, start=0, stop=STEPS):
    return case.model.fit(
        batches(start, stop), verbose=0, callbacks=added
    ).history


# What each callback does, in NumPy. `v` is the model's variables by position.


class Plain:
    """No callback: cost and gradient descent."""

    def __init__(self, case):
        self.case = case
        places = {
            v.ref(): i for i, v in enumerate(case.model.trainable_variables)
        }
        self.groups = [
            [
                (places[s.variable.ref()], s.axis, s.start, s.stop)
                for s in (*group.slices, *group.companions)
            ]
            for group in case.groups
        ]
        self.counted = [len(group.slices) for group in case.groups]
        self.pruned = [places[v.ref()] for v in case.pruned]
        self.names = [v.name for v in case.model.trainable_variables]

    def callback(self):
        return None

    def penalty(self, step, v):
        """(value, gradients by position)."""
        return 0.0, {}

    def before(self, v, gradients):
        return gradients

    def after(self, step, v):
        return v

    def units(self, v, values, companions=False):
        """Lays a number per unit over zeros of the variables' shapes."""
        result = [np.zeros_like(w) for w in v]
        for group, counted, per_unit in zip(self.groups, self.counted, values):
            for i, axis, start, stop in (
                group if companions else group[:counted]
            ):
                line = np.moveaxis(result[i], axis, 0)
                line[start:stop] += per_unit.reshape(
                    [-1] + [1] * (line.ndim - 1)
                )
        return result

    def squares(self, v):
        """Squared norm of each unit, by group."""
        return [
            sum(
                np.square(np.moveaxis(v[i], axis, 0)[start:stop])
                .reshape(UNITS, -1)
                .sum(1)
                for i, axis, start, stop in group[:counted]
            )
            for group, counted in zip(self.groups, self.counted)
        ]


class Lasso(Plain):
    def callback(self):
        return callbacks.GroupLasso(self.case.groups, STRENGTH)

    def penalty(self, step, v):
        norms = [np.sqrt(s + 1e-8) for s in self.squares(v)]
        scales = self.units(v, [STRENGTH / n for n in norms])
        return STRENGTH * sum(n.sum() for n in norms), {
            i: w * scale for i, (w, scale) in enumerate(zip(v, scales))
        }


class L1(Plain):
    def callback(self):
        return callbacks.WeightPenalty("l1", STRENGTH, exclude="bias")

    def penalty(self, step, v):
        covered = [i for i, n in enumerate(self.names) if "bias" not in n]
        return STRENGTH * sum(np.abs(v[i]).sum() for i in covered), {
            i: STRENGTH * np.sign(v[i]) for i in covered
        }


def by_blocks(matrix, reduce):
    """`[rows, columns]`: each entry what its block is reduced to."""
    result = np.empty_like(matrix)
    height, width = BLOCK
    for r in range(0, matrix.shape[0], height):
        for c in range(0, matrix.shape[1], width):
            place = np.s_[r : r + height, c : c + width]
            result[place] = reduce(matrix[place])
    return result


class Blocks(Plain):
    def callback(self):
        return callbacks.BlockLasso(
            pruning.grids(self.case.pruned, BLOCK), STRENGTH, LASSO_END
        )

    def penalty(self, step, v):
        if step >= LASSO_END:
            return 0.0, {}
        total, gradients = 0.0, {}
        for i in self.pruned:
            norms = by_blocks(v[i], lambda b: np.sqrt((b**2).sum() + 1e-8))
            sizes = by_blocks(v[i], lambda b: b.size)
            total += STRENGTH * (norms / sizes).sum()
            gradients[i] = STRENGTH * v[i] / norms
        return total, gradients


class Threshold(Plain):
    def callback(self):
        return callbacks.ThresholdZeroing(THRESHOLD)

    def after(self, step, v):
        return [np.where(np.abs(w) < THRESHOLD, 0, w) for w in v]


class FreezeElements(Plain):
    def callback(self):
        return callbacks.FreezeZeros("element", threshold=THRESHOLD)

    def before(self, v, gradients):
        return [
            np.where(np.abs(w) < THRESHOLD, 0, g) for w, g in zip(v, gradients)
        ]


class FreezeUnits(Plain):
    def callback(self):
        return callbacks.FreezeZeros("group", self.case.groups)

    def before(self, v, gradients):
        dead = [(s == 0).astype(float) for s in self.squares(v)]
        self.dead = [d > 0 for d in self.units(v, dead, companions=True)]
        return gradients

    def after(self, step, v):
        return [np.where(dead, 0, w) for dead, w in zip(self.dead, v)]


class Gradual(Plain):
    def callback(self):
        return callbacks.GradualPruning(
            self.case.pruned, schedules.ConstantSparsity(PRUNED, PRUNING_START)
        )

    def scores(self, w):
        """What is compared, and the same for each weight."""
        return np.abs(w), np.abs(w)

    def after(self, step, v):
        if step < PRUNING_START:
            return v
        if step == PRUNING_START:
            self.masks = {}
            for i in self.pruned:
                scores, of_weights = self.scores(v[i])
                pruned = round(PRUNED * scores.size)
                limit = np.sort(scores, axis=None)[pruned - 1]
                self.masks[i] = of_weights > limit
        return [w * self.masks.get(i, 1) for i, w in enumerate(v)]


class PrunedBlocks(Gradual):
    def callback(self):
        return callbacks.BlockPruning(
            self.case.pruned,
            schedules.ConstantSparsity(PRUNED, PRUNING_START),
            BLOCK,
        )

    def scores(self, w):
        largest = by_blocks(np.abs(w), np.max)
        return largest[:: BLOCK[0], :: BLOCK[1]], largest


class Logger(Plain):
    def callback(self):
        return callbacks.SparsityLogger(self.case.groups)


STATEMENTS = {
    "GroupLasso": Lasso,
    "WeightPenalty": L1,
    "BlockLasso": Blocks,
    "ThresholdZeroing": Threshold,
    "FreezeZeros, elements": FreezeElements,
    "FreezeZeros, groups": FreezeUnits,
    "GradualPruning": Gradual,
    "BlockPruning": PrunedBlocks,
    "SparsityLogger": Logger,
}
every_callback = pytest.mark.parametrize("name", list(STATEMENTS))
STATEMENTS["none"] = Plain


@functools.cache
def expected(name, kind="simple", dtype=np.float32):
    """(weights after `fit`, mean loss), the callback in NumPy."""
    case = shared(kind, "float64" if dtype == np.float64 else "eager")
    statement, model, losses = STATEMENTS[name](case), case.model, []
    v = case.start
    for step in range(STEPS):
        x, y = (
            tf.constant(a[step * BATCH : (step + 1) * BATCH].astype(dtype))
            for a in data()
        )
        model.set_weights(v)
        with tf.GradientTape() as tape:
            cost = tf.reduce_mean(tf.square(model(x, training=True) - y))
        gradients = tape.gradient(cost, model.trainable_variables)
        penalty, added = statement.penalty(step, v)
        losses.append(float(cost) + penalty)
        gradients = [
            g.numpy() + added.get(i, 0) for i, g in enumerate(gradients)
        ]
        gradients = statement.before(v, gradients)
        v = [w - RATE * g for w, g in zip(v, gradients)]
        v = [w.astype(dtype) for w in statement.after(step, v)]
    return v, np.mean(losses)


def assert_trained(case, history, weights, loss, tolerance=2e-5):
    for v, w in zip(case.model.trainable_variables, weights):
        assert v.dtype.as_numpy_dtype == w.dtype
        np.testing.assert_allclose(
            v.numpy(), w, rtol=tolerance, atol=tolerance, err_msg=v.name
        )
        np.testing.assert_array_equal(v.numpy() == 0, w == 0, v.name)
    np.testing.assert_allclose(
        history["loss"], [loss], rtol=10 * max(tolerance, 1e-7)
    )


def check(name, kind, mode):
    """A `fit` in full: weights after it, and what it reports."""
    dtype = np.float64 if mode == "float64" else np.float32
    weights, loss = expected(name, kind, dtype)
    case = shared(kind, mode)
    case.reset()
    statement = STATEMENTS[name](case)
    history = fit(case, [statement.callback()])
    tolerance = {"mixed_float16": 5e-3, "float64": 1e-9}.get(mode, 2e-5)
    assert_trained(case, history, weights, loss, tolerance)
    if name == "SparsityLogger":
        assert [history[f"units/{g.name}"] for g in case.groups] == [
            [int((squares > 0).sum())] for squares in statement.squares(weights)
        ]
        for variable, w in zip(statement.names, weights):
            np.testing.assert_allclose(
                history[f"{variable.split(':')[0]}_elt_sparsity"],
                [(w == 0).mean()],
                rtol=1e-6,
            )


@every_callback
@pytest.mark.parametrize(
    "mode", ["eager", "graph", "jit_compile", "mixed_float16", "float64"]
)
def test_equals_numpy(name, mode):
    check(name, "simple", mode)


@every_callback
@pytest.mark.parametrize("kind", ["lstm", "bidirectional"])
def test_on_stock_layers_it_equals_numpy(name, kind):
    check(name, kind, "eager")


class Interrupt(tf.keras.callbacks.Callback):
    """Ctrl-C behind a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.step:
            raise KeyboardInterrupt


@every_callback
@pytest.mark.parametrize(
    "following", ["without it", "with it", "with it, compiled anew"]
)
def test_b2_an_interrupted_fit_leaves_nothing_behind(name, following):
    """The next one is as if it had never been."""
    again = "none" if following == "without it" else name
    weights, loss = expected(again)
    case = shared("simple", "eager")
    case.reset()
    statement = STATEMENTS[name](case)
    with pytest.raises(KeyboardInterrupt):
        fit(case, [statement.callback(), Interrupt(1)])
    if following.endswith("compiled anew"):
        compile_(case.model, "eager")
    case.reset()
    added = STATEMENTS[again](case).callback()
    history = fit(case, [added] if added else [])
    assert_trained(case, history, weights, loss)
    assert case.model.losses == []
    for thing in (case.model, case.model.optimizer):
        assert not {"fit", "apply_gradients"} & set(vars(thing))


@every_callback
@pytest.mark.parametrize("how", ["a second fit", "a checkpoint"])
def test_training_goes_on_exactly(name, how, tmp_path):
    """Between the last two steps."""
    case = shared("simple", "eager")
    weights = []
    for stop in (STEPS, STEPS - 1):
        case.reset()
        statement = STATEMENTS[name](case)
        fit(case, [statement.callback()], stop=stop)
        weights.append(case.model.get_weights())
    if how == "a checkpoint":
        path = tf.train.Checkpoint(model=case.model).write(str(tmp_path / "c"))
        case = build("simple", "eager")
        case.model.optimizer.build(case.model.trainable_variables)
        status = tf.train.Checkpoint(model=case.model).read(path)
        status.assert_existing_objects_matched()
        statement = STATEMENTS[name](case)
    fit(case, [statement.callback()], start=STEPS - 1)
    for ours, theirs in zip(case.model.get_weights(), weights[0]):
        np.testing.assert_array_equal(ours, theirs)


# Cutting applies to models that can replace their nets.

SIZES, SMALL, DEAD = [5], (3,), {"lstm_0": [0, 3]}
WORDS = np.random.default_rng(3).integers(0, 9, [6, 2, 3]).astype(np.int32)


def language(mode):
    net = ptb_model.WordLSTM(9, 3, SIZES, init_scale=0.5, seed=3)
    for group in net.iss_groups():
        for s in group.slices:
            value = np.moveaxis(s.variable.numpy(), s.axis, 0)
            for unit in DEAD[group.name]:
                value[s.start + unit] = 0.0
            s.variable.assign(np.moveaxis(value, 0, s.axis))
    model = language_model.LanguageModel(net, 2, 5.0)
    model.compile(
        optimizer=optimizers.GradientDescent(0.5),
        run_eagerly=mode == "eager",
        jit_compile=mode == "jit_compile",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def language_fit(model, cut, *more, steps=slice(0, 6)):
    groups = model.net.iss_groups()
    added = [
        callbacks.ThresholdZeroing(1e-3),
        callbacks.FreezeZeros("group", groups),
        callbacks.GroupLasso(groups, 0.01),
    ]
    if cut:
        words = WORDS[0]
        added.append(
            callbacks.ShrinkWhileTraining(
                groups, (words, words), every=2, followers=added[1:]
            )
        )
    model.fit(
        tf.data.Dataset.from_tensor_slices((WORDS[steps], WORDS[steps])),
        verbose=0,
        callbacks=[*added, *more],
    )


def assert_same_costs(small, whole):
    words = tf.constant(WORDS[0])
    np.testing.assert_allclose(
        small.cost_of(small.net, (words, words)),
        whole.cost_of(whole.net, (words, words)),
        rtol=1e-5,
    )


@functools.cache
def whole_language_model():
    model = language("eager")
    language_fit(model, cut=False)
    return model


@pytest.mark.parametrize("mode", ["eager", "graph", "jit_compile"])
def test_shrinking_while_training_equals_training_whole(mode):
    model = language(mode)
    language_fit(model, cut=True)
    assert model.net.hidden_sizes == SMALL
    assert_same_costs(model, whole_language_model())


def test_b2_an_interrupted_fit_that_cut_leaves_nothing_behind():
    model = language("eager")
    with pytest.raises(KeyboardInterrupt):
        language_fit(model, True, Interrupt(3))
    assert model.net.hidden_sizes == SMALL
    before = copy.copy(model.net.get_weights())
    language_fit(model, False, steps=slice(4, 6))
    assert_same_costs(model, whole_language_model())
    assert any((a != b).any() for a, b in zip(before, model.net.get_weights()))
    assert model.losses == []
    assert not {"apply_gradients"} & set(vars(model.optimizer))
