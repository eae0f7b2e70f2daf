"""Run by a test: the tasks' steps on replicas, beside recorded ones of one.

    python tests/distributed.py STRATEGY CASE ...

prints as JSON of each case the costs of 20 steps, which weights are zero, the
layers' sizes and whether all replicas hold the same bits. The costs of one
process are in `tests/golden/one_process.json`: recorded by

    python tests/distributed.py record CASE ...

before anything could be distributed (commits 2a08091, 1a91299).
"""

import contextlib
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from iss_rnns import callbacks
from iss_rnns import optimizers
from iss_rnns import schedules
from iss_rnns import thresholding
from iss_rnns.experiments import loop
from iss_rnns.experiments.language import model as language_model

RECORDED = pathlib.Path(__file__).parent / "golden" / "one_process.json"
STEPS, ROWS, TIME, WORDS, UNITS = 20, 4, 6, 30, 10


class Costs(tf.keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.costs = []

    def on_train_batch_end(self, batch, logs=None):
        self.costs.append(float(logs["cost"]))


def windows():
    """Ids `[steps, rows, time]`, some of them often, and the next ones."""
    rng = np.random.default_rng(0)
    ids = rng.zipf(1.3, [STEPS, ROWS, TIME]).clip(1, WORDS) - 1
    return ids.astype(np.int32), np.roll(ids, -1, 2).astype(np.int32)


def language(net, optimizer):
    """The net in its trainer, with a fifth of its units dead."""
    model = language_model.LanguageModel(net, ROWS, 1.0)
    model.compile(optimizer=optimizer)
    optimizer.build(model.trainable_variables)
    groups = net.iss_groups()
    for group in groups:
        dead = tf.constant(np.arange(group.size) % 5 == 0)
        thresholding.zero_units(group, dead)
    return model, groups


def sparsity(groups):
    return [
        callbacks.GroupLasso(groups, 0.02),
        callbacks.WeightPenalty("l2", 1e-3),
        callbacks.FreezeZeros("group", groups),
        callbacks.ThresholdZeroing(2e-3),
    ]


def ptb_cut():
    """Dropout, and dead units cut out on the way."""
    from ptb import model as ptb_model

    net = ptb_model.WordLSTM(WORDS, 8, [UNITS, UNITS], keep_prob=0.8)
    model, groups = language(net, optimizers.GradientDescent(0.5))
    acting = sparsity(groups)
    cutter = callbacks.ShrinkWhileTraining(
        groups,
        tuple(ids[0] for ids in windows()),
        every=5,
        followers=acting[:3:2],
    )
    return model, [*acting, cutter], windows()


def ptb_size():
    """Steered to half of its units."""
    from ptb import model as ptb_model

    net = ptb_model.WordLSTM(WORDS, 8, [UNITS, UNITS])
    model, groups = language(net, optimizers.GradientDescent(0.5))
    return model, [callbacks.SizeTarget(groups, 0.5, steps=STEPS)], windows()


def ptb_pruned():
    from ptb import model as ptb_model

    net = ptb_model.WordLSTM(WORDS, 8, [UNITS])
    model, _ = language(net, tf.keras.optimizers.Adam(0.01))
    matrices = [v for v in net.trainable_variables if v.shape.rank == 2]
    plan = schedules.CubicSparsity(0.5, start=2, end=15)
    return model, [callbacks.GradualPruning(matrices, plan)], windows()


def _rhn(tied):
    from rhns import configs
    from rhns import model as rhn_model

    net = rhn_model.HighwayLM(
        WORDS, [UNITS], 2, tied, rates=configs.Rates(0.1, 0.2, 0.3, 0.2)
    )
    model, groups = language(net, optimizers.GradientDescent(0.5))
    return model, sparsity(groups), windows()


def rhn_tied():
    return _rhn(tied=True)


def rhn_untied():
    return _rhn(tied=False)


def bidaf():
    """Averages, L1 on top of the lasso, zeros that stay; dropout."""
    from bidaf import model as bidaf_model
    from bidaf import options as bidaf_options
    from bidaf import train as bidaf_train

    options = bidaf_options.Options(
        init_lr=0.01,
        var_decay=0.9,
        structure_wd=0.02,
        l1wd=1e-3,
        zero_threshold=0.01,
        freeze_mode="element",
        group_config="iss",
        structured_sparsity=False,
        wy=True,
    )
    config = bidaf_model.ModelConfig(
        WORDS,
        6,
        3,
        hidden_size=4,
        char_emb_size=2,
        char_out_size=2,
        out_channel_dims="2",
        filter_heights="3",
        highway_num_layers=1,
    )
    net = bidaf_model.BiDAF(config)
    vectors = np.random.default_rng(5).normal(size=[2, 3]).astype(np.float32)
    model = bidaf_train.compiled(net, options, vectors)
    return model, bidaf_train.sparsity_callbacks(net, options), questions()


def questions():
    rng = np.random.default_rng(0)
    words, asked, letters = 5, 3, 4
    shape = [STEPS, ROWS, 1, words]
    lengths = rng.integers(3, words + 1, [STEPS, ROWS, 1, 1])
    x_mask = np.arange(words) < lengths
    begin = np.zeros(shape, bool)
    begin[..., 1] = True
    return {
        "x": (rng.integers(1, WORDS + 2, shape) * x_mask).astype(np.int32),
        "cx": rng.integers(1, 6, [*shape, letters]).astype(np.int32),
        "q": rng.integers(1, WORDS, [STEPS, ROWS, asked]).astype(np.int32),
        "cq": rng.integers(1, 6, [STEPS, ROWS, asked, letters]).astype(
            np.int32
        ),
        "x_mask": x_mask,
        "q_mask": np.ones([STEPS, ROWS, asked], bool),
        "y": begin,
        "y2": begin,
        "wy": begin,
        "na": np.zeros([STEPS, ROWS], bool),
    }


CASES = {
    case.__name__: case
    for case in (ptb_cut, ptb_size, ptb_pruned, rhn_tied, rhn_untied, bidaf)
}


def joined(strategy):
    """The strategy's scope, and what gives a variable's copies."""
    if strategy == "record":
        return contextlib.nullcontext, lambda variable: [variable]
    from iss_rnns.experiments import distribution

    workers = distribution.join(
        {
            "mode": "train",
            "distribution_strategy": strategy,
            "num_replicas": 2 if strategy == "mirrored" else None,
            "worker_hosts": None,
            "task_index": None,
        },
        ROWS,
    )
    copies = tf.distribute.get_strategy().experimental_local_results
    if workers.strategy:
        copies = workers.strategy.experimental_local_results
    return workers.scope, copies


def trained(name, scope, copies):
    with scope():
        model, acting, data = CASES[name]()
    costs = Costs()
    loop.fit_batches(
        model,
        lambda *_: tf.data.Dataset.from_tensor_slices(data),
        STEPS,
        1,
        [*acting, costs],
    )
    held = [copies(v) for v in model.variables]
    weights = [copies(v)[0].numpy() for v in model.net.trainable_variables]
    return {
        "costs": costs.costs,
        "zeros": "".join(
            str(int(zero)) for w in weights for zero in (w == 0).ravel()
        ),
        "sizes": list(model.net.sizes.values()),
        "alike": all(
            np.array_equal(each[0].numpy(), other.numpy())
            for each in held
            for other in each
        ),
    }


def main(strategy, *cases):
    scope, copies = joined(strategy)
    found = {}
    for name in cases:
        found[name] = trained(name, scope, copies)
    if strategy == "record":
        known = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        RECORDED.write_text(json.dumps({**known, **found}, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
