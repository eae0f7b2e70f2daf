"""Keras finds this package's classes in files from `import iss_rnns` on.

Keras looks up a file's classes in a table, which they enter when their modules
are loaded. Here modules load on first use, and Keras itself may come later
than the package. So when both are there stand-ins enter the table, which load
a class when a file asks for it.

Files in the HDF5 format name the cell of a stock `tf.keras.layers.RNN` without
its package, and three of the cells are called like Keras' own. Their stand-in
looks at the configuration, which tells the two apart.
"""

from collections.abc import Mapping
import functools
import importlib
import importlib.abc
import importlib.util
import sys

_KERAS = ("keras", "tf_keras")

# Registered with `package="iss_rnns"`, and where they are.
_CLASSES = {
    "GRUCell": "cells",
    "GradientDescent": "optimizers",
    "LSTMCell": "cells",
    "RHNCell": "cells",
    "RNN": "recurrent",
    "Recurrent": "recurrent",
    "SimpleRNNCell": "cells",
}
# What the configuration of a cell holds.
_KEYS = {"units", "kernel_initializer", "bias_initializer"}
_CELLS = {
    "GRUCell": _KEYS | {"recurrent_initializer"},
    "LSTMCell": _KEYS | {"recurrent_initializer", "forget_bias"},
    "RHNCell": _KEYS | {"depth", "forget_bias"},
    "SimpleRNNCell": _KEYS | {"recurrent_initializer", "activation"},
}


def enter_when_imported() -> None:
    """Enters the classes into Keras' table, at once or when Keras comes."""
    for name in _KERAS:
        if name in sys.modules:
            _enter(sys.modules[name])
        else:
            sys.meta_path.insert(0, _EnterAfterImport(name))


def _enter(keras) -> None:
    try:
        table = keras.utils.get_custom_objects()
    except AttributeError:  # Something else of this name.
        return
    for name in _CLASSES:
        table.setdefault(f"iss_rnns>{name}", _stand_in(name, _load))
    for name in _CELLS:
        table.setdefault(
            name, _stand_in(name, functools.partial(_load_cell, keras))
        )


def _load(name: str, config: Mapping) -> type:
    """The class of a full name."""
    del config
    module = importlib.import_module(f"iss_rnns.{_CLASSES[name]}")
    return getattr(module, name)


def _load_cell(keras, name: str, config: Mapping) -> type:
    """The cell that a short name means: Keras' own always say `use_bias`."""
    ours = _CELLS[name] <= config.keys() and "use_bias" not in config
    own = getattr(keras.layers, name, None)
    return _load(name, config) if ours or own is None else own


def _stand_in(name: str, load) -> type:
    """A class of which Keras calls `from_config` only."""

    def from_config(cls, config):
        del cls
        return load(name, config).from_config(config)

    return type(name, (), {"from_config": classmethod(from_config)})


class _EnterAfterImport(importlib.abc.MetaPathFinder):
    """Finds Keras as the others do, and has it imported with an addition."""

    def __init__(self, name: str):
        self.name = name
        self._asking = False

    def find_spec(self, fullname, path=None, target=None):
        """See base class. Not all who ask import what is found."""
        if fullname != self.name or self._asking:
            return None
        self._asking = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            @functools.wraps(execute)
            def execute_and_enter(module):
                execute(module)
                sys.meta_path.remove(self)
                _enter(module)

            vars(spec.loader)["exec_module"] = execute_and_enter
        return spec
