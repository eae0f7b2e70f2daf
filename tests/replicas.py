"""Run by a test: `fit` on two replicas (logical CPUs), and on one.

Prints as JSON, for each case, the largest difference of a weight, the numbers
of zeros on both, and how many units are left; and what was refused.
"""

import contextlib
import json

import numpy as np
import tensorflow as tf

import iss_rnns
from iss_rnns import errors
from iss_rnns import schedules

UNITS = 8
REFUSED: list[str] = []
X = np.random.default_rng(0).normal(size=(64, 6, 3)).astype(np.float32)
Y = X.sum((1, 2))[:, None]


def new_layer(kind):
    if kind == "own":
        return iss_rnns.RNN(iss_rnns.LSTMCell(UNITS))
    if kind == "bidirectional":
        return tf.keras.layers.Bidirectional(tf.keras.layers.GRU(UNITS))
    return tf.keras.layers.LSTM(UNITS)


def matrices(model):
    return [w for w in model.trainable_variables if w.shape.rank == 2]


def pruning():
    return schedules.CubicSparsity(0.5, start=2, end=15)


# name -> (layer, optimizer, callbacks of the model and its groups)
CASES = {
    "lasso": (
        "stock",
        lambda: tf.keras.optimizers.SGD(0.05, momentum=0.9),
        lambda model, groups: [
            iss_rnns.GroupLasso(groups, 0.05),
            iss_rnns.FreezeZeros("group", groups),
            iss_rnns.ThresholdZeroing(0.05),
            iss_rnns.SparsityLogger(groups),
        ],
    ),
    "adam": (
        "bidirectional",
        lambda: tf.keras.optimizers.Adam(0.01, clipnorm=1.0),
        lambda model, groups: [
            iss_rnns.GroupLasso(groups, 0.01),
            iss_rnns.ThresholdZeroing(0.02),
        ],
    ),
    "own cell": (
        "own",
        lambda: tf.keras.optimizers.SGD(0.05),
        lambda model, groups: [
            iss_rnns.GroupLasso(groups, 0.05),
            iss_rnns.ThresholdZeroing(0.05),
        ],
    ),
    "gradual": (
        "stock",
        lambda: tf.keras.optimizers.SGD(0.05),
        lambda model, groups: [
            iss_rnns.GradualPruning(matrices(model), pruning())
        ],
    ),
    "cut": (
        "stock",
        lambda: tf.keras.optimizers.SGD(0.05, momentum=0.9),
        lambda model, groups: [
            iss_rnns.GroupLasso(groups, 0.05),
            iss_rnns.FreezeZeros("group", groups),
            iss_rnns.ThresholdZeroing(0.05),
        ],
    ),
}


def kill(groups):
    """Two units are dead from the start."""
    for group in groups:
        for variable, line in group.spread(tf.one_hot(1, group.size)):
            variable.assign(tf.where(line > 0, 0.0, variable))


def trained(name, strategy):
    kind, new_optimizer, new_callbacks = CASES[name]
    tf.keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = tf.keras.Sequential(
            [
                tf.keras.Input([6, 3]),
                new_layer(kind),
                tf.keras.layers.Dense(1),
            ]
        )
        model.compile(new_optimizer(), "mse")
        groups = iss_rnns.find_groups(model)
        if name == "cut":
            kill(groups)
        callbacks = new_callbacks(model, groups)
    fit = {
        "batch_size": 16,
        "epochs": 4,
        "shuffle": False,
        "verbose": 0,
        "callbacks": callbacks,
    }
    model.fit(X, Y, **fit)
    if name == "cut":
        if strategy:
            try:
                iss_rnns.fit(model, X, Y, groups=groups, **fit)
            except errors.UserError as error:
                REFUSED.append(str(error))
        model, _ = iss_rnns.shrink(model, groups, [X])
    return model.get_weights()


def main():
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    # One for all: collective operations of a second one get the same keys.
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {}
    for name in CASES:
        one = trained(name, None)
        two = trained(name, strategy)
        assert [w.shape for w in one] == [w.shape for w in two]
        found[name] = {
            "difference": max(
                float(abs(a - b).max()) for a, b in zip(one, two)
            ),
            "zeros": [
                [int((w == 0).sum()) for w in weights] for weights in (one, two)
            ],
            "units": one[1].shape[0],
        }
    print(json.dumps([found, REFUSED]))


if __name__ == "__main__":
    main()
