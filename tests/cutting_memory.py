"""Run by a test: cuts units again and again, and measures what that leaves.

Prints as JSON, after each cut, the memory in use in MB and the number of
gradients that TensorFlow's registry holds.
"""

import ctypes
import json
import sys

import fitting
import nets
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops

from iss_rnns import callbacks
from iss_rnns import optimizers
from iss_rnns.experiments.language import training


class KillAndMeasure(tf.keras.callbacks.Callback):
    """One unit of each layer dies in each epoch, before the cutter looks."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups
        self.measured = []

    def on_epoch_end(self, epoch, logs=None):
        self.measured.append((memory(), len(ops.gradient_registry._registry)))
        for group in self.groups:
            for variable, line in group.spread(tf.one_hot(0, group.size)):
                variable.assign(tf.where(line > 0, 0.0, variable))


def memory():
    """Resident, without what the C library keeps of freed memory."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    with open("/proc/self/status", encoding="ascii") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines["VmRSS"].split()[0]) / 1024


def main(cuts):
    model = nets.new_model(
        nets.Net(50, 300, [cuts + 120], jit_compile=True),
        4,
        optimizers.GradientDescent(0.1),
    )
    groups = model.net.iss_groups()
    run = [
        callbacks.GroupLasso(groups, 1e-4),
        callbacks.FreezeZeros("group", groups),
    ]
    x = nets.ids(1, 4, 5, vocabulary=50)
    cutter = callbacks.ShrinkWhileTraining(
        groups, (x[0], x[0]), followers=run, least_share=0.0
    )
    killer = KillAndMeasure(groups)
    fitting.fit(
        model,
        x,
        np.roll(x, 1, axis=0),
        cuts + 1,
        [*run, killer, cutter, training.EpochStart(lambda epoch: 0.1)],
    )
    assert len(cutter.cuts) == cuts + 1
    # What XLA compiled stays: from the third cut on the loops are plain.
    assert not any(layer.jit_compile for layer in model.net.recurrent)
    print(json.dumps(killer.measured))


if __name__ == "__main__":
    main(int(sys.argv[1]))
