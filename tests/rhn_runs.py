"""Small runs of the highway language model."""

import dataclasses

import numpy as np

from iss_rnns.experiments.language import corpora
from rhns import model as model_lib
from rhns import options as options_lib


def new_corpus(unit="word"):
    random = np.random.default_rng(0)
    # Each symbol mostly follows the one before it, so there is what to learn.
    jumps = random.random(1200) < 0.2
    ids = np.cumsum(1 + jumps * random.integers(0, 9, 1200)) % 9
    parts = np.split(ids.astype(np.int32), [800, 1000])
    return corpora.Corpus(
        "made", unit, *parts, symbols=tuple("abcdefghi"), description="made up"
    )


def new_options(**changes):
    fields = {field.name for field in dataclasses.fields(model_lib.ModelConfig)}
    config = model_lib.ModelConfig(
        **{
            **{
                "depth": 2,
                "hidden_size": 6,
                "num_steps": 5,
                "batch_size": 4,
                "max_epoch": 1,
                "lr_decay": 1.5,
                "drop_i": 0.5,
                "drop_o": 0.5,
                "init_scale": 0.2,
            },
            **{k: v for k, v in changes.items() if k in fields},
        }
    )
    return options_lib.Options(
        config=config,
        **{
            "epochs": 2,
            **{k: v for k, v in changes.items() if k not in fields},
        },
    )


def weights_of(net):
    return {name: view.read() for name, view in net.tf1_views().items()}
