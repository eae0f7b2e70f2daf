"""Recurrent networks that get smaller and faster while they train.

    groups -> penalties -> exact zeros -> shrink, with proof -> export

The names of `__all__` are the public ones; everything else may change. They
load on first use, so that modules without TensorFlow start without it.
Importing the package changes no environment variable and prints nothing. Once
Keras is there, too, it knows the package's classes in every file.
"""

import importlib

from iss_rnns import _registry

__version__ = "1.1.0"

# Where each name is, and what it is called there if not by this name; None:
# it is a module of this package.
_PUBLIC = {
    "BlockGrid": "groups",
    "BlockLasso": "callbacks",
    "BlockPruning": "callbacks",
    "Evaluator": "experiments.language.model",
    "FreezeZeros": "callbacks",
    "GRUCell": "cells",
    "GradualPruning": "callbacks",
    "Group": "groups",
    "Groups": "groups",
    "GroupLasso": "callbacks",
    "LSTMCell": "cells",
    "LanguageModel": "experiments.language.model",
    "RHNCell": "cells",
    "RNN": "recurrent",
    "Recurrent": "recurrent",
    "Served": "experiments.language.serving:ServedLanguageModel",
    "ShrinkWhileTraining": "callbacks",
    "SimpleRNNCell": "cells",
    "Slice": "groups",
    "SparsityLogger": "callbacks",
    "ThresholdZeroing": "callbacks",
    "UserError": "errors",
    "WeightPenalty": "callbacks",
    "export": None,
    "find_groups": "groups",
    "fit": "fitting",
    "iss_group": "cells",
    "register_cell": "groups",
    "register_layer": "groups",
    "save_compressed": "experiments.language.serving",
    "schedules": None,
    "shrink": "shrinking",
    "sparse": None,
    "testing": None,
    "whole": "groups",
}
__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'iss_rnns' has no attribute '{name}'")
    place, _, attribute = (_PUBLIC[name] or name).partition(":")
    module = importlib.import_module(f"iss_rnns.{place}")
    return (
        module if _PUBLIC[name] is None else getattr(module, attribute or name)
    )


def __dir__():
    return __all__


_registry.enter_when_imported()
