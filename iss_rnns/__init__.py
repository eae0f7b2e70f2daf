"""Recurrent networks that get smaller and faster while they train.

The names in `_PUBLIC` are the public ones; everything else may change. They
load on first use, so that modules without TensorFlow start without it.
"""

import importlib
import os

# TensorFlow asks once, when it is imported. Where it leaves these kernels off
# by default, training is 8 to 19 % slower; whoever set it keeps their choice.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_PUBLIC = {
    "BlockGrid": "groups",
    "BlockLasso": "callbacks",
    "BlockPruning": "callbacks",
    "Evaluator": "language_model",
    "FreezeZeros": "callbacks",
    "GRUCell": "cells",
    "GradualPruning": "callbacks",
    "Group": "groups",
    "GroupLasso": "callbacks",
    "LSTMCell": "cells",
    "LanguageModel": "language_model",
    "RHNCell": "cells",
    "RNN": "recurrent",
    "Recurrent": "recurrent",
    "Served": "export",
    "ShrinkWhileTraining": "callbacks",
    "SimpleRNNCell": "cells",
    "Slice": "groups",
    "SparsityLogger": "callbacks",
    "ThresholdZeroing": "callbacks",
    "UserError": "errors",
    "WeightPenalty": "callbacks",
    "iss_group": "cells",
    "save_compressed": "export",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'iss_rnns' has no attribute '{name}'")
    module = importlib.import_module(f"iss_rnns.{_PUBLIC[name]}")
    return getattr(module, name)
