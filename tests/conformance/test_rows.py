"""The same digits, whichever TensorFlow and Keras are there.

Recorded with TensorFlow 2.15.1 on Python 3.11; any other row of README's table
prints the same. Weights come from NumPy, so that no initializer counts.
"""

import fitting
import nets
import numpy as np
import pytest
import tensorflow as tf

import iss_rnns
from iss_rnns import callbacks
from iss_rnns import cells
from iss_rnns import groups
from iss_rnns import optimizers
from iss_rnns import recurrent
from iss_rnns import schedules
from iss_rnns.callbacks import pruning

pytestmark = pytest.mark.keras3

STEPS = 20


def set_weights(weights, seed):
    rng = np.random.default_rng(seed)
    for weight in weights:
        weight.assign(0.4 * rng.standard_normal(tuple(weight.shape)))


def zeros(variables):
    return "/".join(
        str(int(np.sum(np.asarray(v.numpy()) == 0))) for v in variables
    )


def language_model(optimizer, make):
    """Of each fifth step: cost, penalties, zeros, units."""
    net = nets.Net(vocabulary=13, embedding=6, sizes=(8, 7))
    weights = [
        net.embedding.embeddings,
        *(
            w
            for cell in net.cells
            for w in (cell.kernel, cell.recurrent_kernel, cell.bias)
        ),
        net.dense.kernel,
        net.dense.bias,
    ]
    set_weights(weights, seed=0)
    nets.scale_units(net, {"lstm_0": [1, 4], "lstm_1": [0]})  # dead ones
    model = nets.new_model(net, batch=4, optimizer=optimizer)
    lines = []

    class Lines(tf.keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch % 5 != 4:
                return
            now = self.model.net
            lines.append(
                f"{float(logs['cost']):.4f} "
                f"{float(logs['regularization']):.4f} "
                + zeros(
                    [now.cells[0].kernel, now.cells[1].kernel, now.dense.kernel]
                )
                + " "
                + "/".join(str(n) for n in now.sizes)
            )

    x = nets.ids(STEPS + 1, 4, 5, vocabulary=13)
    fitting.fit(model, x[:-1], x[1:], 1, [*make(net), Lines()])
    return lines


def stock_model(optimizer, make):
    """Of each fifth step: loss, that of validation; zeros at the end."""
    cell = cells.LSTMCell(6, name="lstm")
    read_out = tf.keras.layers.Dense(3, name="read_out")
    inputs = tf.keras.Input([None, 4])
    model = tf.keras.Model(inputs, read_out(recurrent.RNN(cell)(inputs)))
    weights = [
        cell.kernel,
        cell.recurrent_kernel,
        cell.bias,
        read_out.kernel,
        read_out.bias,
    ]
    set_weights(weights, seed=1)
    group = iss_rnns.iss_group(
        "lstm", cell, [groups.whole(read_out.kernel, axis=0)]
    )
    model.compile(optimizer, "mse")
    rng = np.random.default_rng(2)
    x = rng.standard_normal([40, 7, 4]).astype("float32")
    y = rng.standard_normal([40, 3]).astype("float32")
    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=STEPS // 5,
        shuffle=False,
        verbose=0,
        validation_data=(x[:16], y[:16]),
        callbacks=make(group, weights),
    ).history
    return [
        f"{loss:.4f} {valid:.4f}"
        for loss, valid in zip(history["loss"], history["val_loss"])
    ] + [zeros(weights)]


def shrinking_callbacks(net, threshold):
    groups_ = net.iss_groups()
    x = nets.ids(4, 5, vocabulary=13, seed=1)
    holders = [
        callbacks.GroupLasso(groups_, 0.003),
        callbacks.FreezeZeros("group", groups_),
        callbacks.ThresholdZeroing(threshold),
    ]
    return [
        *holders,
        callbacks.ShrinkWhileTraining(
            groups_, (x, x), every=8, followers=holders[:2]
        ),
    ]


RUNS = {
    "descent, lasso, threshold, freezing, cuts": lambda: language_model(
        optimizers.GradientDescent(0.5),
        lambda net: shrinking_callbacks(net, 0.02),
    ),
    "Adam, lasso, threshold, freezing, cuts": lambda: language_model(
        tf.keras.optimizers.Adam(0.01),
        lambda net: shrinking_callbacks(net, 0.02),
    ),
    "momentum, frozen elements, L1": lambda: stock_model(
        tf.keras.optimizers.SGD(0.05, momentum=0.9),
        lambda group, weights: [
            callbacks.WeightPenalty("l1", 0.001),
            callbacks.FreezeZeros("element", threshold=0.05),
            callbacks.ThresholdZeroing(0.02),
        ],
    ),
    "Adam, gradual pruning": lambda: stock_model(
        tf.keras.optimizers.Adam(0.02),
        lambda group, weights: [
            callbacks.GroupLasso([group], 0.01),
            callbacks.GradualPruning(
                weights[:2],
                schedules.CubicSparsity(0.6, start=2, end=16, frequency=3),
            ),
        ],
    ),
    "descent, block pruning, block lasso": lambda: stock_model(
        optimizers.GradientDescent(0.1),
        lambda group, weights: [
            callbacks.BlockLasso(
                pruning.grids(weights[:2], (2, 3)), 0.01, end=14
            ),
            callbacks.BlockPruning(
                weights[:2],
                schedules.CubicSparsity(0.5, start=1, end=15, frequency=2),
                (2, 3),
            ),
        ],
    ),
}


PRINTED = {
    "descent, lasso, threshold, freezing, cuts": [
        "12.9140 0.0270 55/82/17 8/7",
        "12.7844 0.0269 8/3/6 6/6",
        "12.8028 0.0268 8/3/2 6/6",
        "12.7326 0.0267 8/3/4 6/6",
    ],
    "Adam, lasso, threshold, freezing, cuts": [
        "13.0643 0.0268 54/87/17 8/7",
        "12.8309 0.0265 6/8/6 6/6",
        "12.5383 0.0261 6/10/6 6/6",
        "13.0533 0.0258 7/11/7 6/6",
    ],
    "momentum, frozen elements, L1": [
        "1.0463 0.8797",
        "0.9238 0.9239",
        "0.9342 0.9572",
        "0.9301 0.8870",
        "6/8/0/3/0",
    ],
    "Adam, gradual pruning": [
        "1.1259 0.9409",
        "1.0053 0.9036",
        "0.9469 0.8895",
        "0.9153 0.8808",
        "58/86/0/0/0",
    ],
    "descent, block pruning, block lasso": [
        "1.2962 1.1184",
        "1.1778 1.0114",
        "1.0503 0.7898",
        "0.8680 0.7952",
        "48/72/0/0/0",
    ],
}


@pytest.mark.parametrize("name", RUNS)
def test_twenty_steps_print_the_same_digits(name):
    assert RUNS[name]() == PRINTED[name]
