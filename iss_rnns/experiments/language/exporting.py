"""A language model as `export.export` takes it."""

import numpy as np
import tensorflow as tf

from iss_rnns.experiments import tasks
from iss_rnns.export import plans
from iss_rnns.export import reading
from iss_rnns.export import source as source_lib

_TOKENS, _LOGITS = "tokens", "logits"


def source(net: tasks.LanguageNet) -> source_lib.Source:
    """Of ids `[B, T]` to logits `[B, T, V]`, from states of zeros.

    Args:
      net: see `tasks.LanguageNet`.
    """

    symbols = net.softmax_b.shape[0]

    def function(given):
        features, _ = net.features(given[_TOKENS], training=False)
        features = tf.transpose(features, [1, 0, 2])
        shape = tf.concat([tf.shape(given[_TOKENS]), [symbols]], 0)
        return {_LOGITS: tf.reshape(net.project(features), shape)}

    return source_lib.Source(
        type(net).__name__,
        [plans.Input(_TOKENS, "int32", (None, None))],
        [_LOGITS],
        function,
        net.trainable_variables,
        lambda: _plan(net),
        dict(net.sizes),
    )


def _plan(net) -> plans.Plan:
    layers = [
        plans.Layer(
            "embedding",
            "embedding",
            [_TOKENS],
            ["embedding"],
            {"table": net.embedding.numpy()},
            {"mask": None},
        )
    ]
    widths = {_TOKENS: None, "embedding": net.embedding_width}
    for each in net.layers_:
        kind, arrays, options = reading.cell_of(each)
        name = each.cell.name
        finals = [f"{name}_final_{x}" for x in plans.STATES[kind]]
        layers.append(
            plans.Layer(
                name,
                kind,
                [layers[-1].outputs[0]],
                [name, *finals],
                arrays,
                {**reading.FORWARD, **options},
            )
        )
        widths.update(dict.fromkeys([name, *finals], each.cell.units))
    kernel = net.embedding.numpy().T if net.tied else net.softmax_w.numpy()
    layers.append(
        plans.Layer(
            "softmax",
            "dense",
            [layers[-1].outputs[0]],
            ["softmax"],
            {
                "kernel": np.ascontiguousarray(kernel),
                "bias": net.softmax_b.numpy(),
            },
            {"activation": "linear"},
        )
    )
    widths["softmax"] = net.softmax_b.shape[0]
    return plans.Plan(
        [plans.Input(_TOKENS, "int32", (None, None))],
        layers,
        {_LOGITS: "softmax"},
        widths,
    )
