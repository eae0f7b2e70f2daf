"""Sparse inference: pack a trained sparse model and run it fast on a CPU.

Needs numba (`pip install 'iss-rnns[sparse]'`), from the first use of a name
on. With `sparse_dot_mkl` installed (`iss-rnns[mkl]`), MKL is tried as well for
single weights.
"""

import importlib

_PUBLIC = {
    "PackedGRU": "layers",
    "PackedLSTM": "lstm",
    "PackedLanguageModel": "language_model",
    "PackedMatrix": "matrix",
    "PackedRHN": "layers",
    "PackedReLURNN": "layers",
    "PackedSimpleRNN": "layers",
    "load": "matrix",
    "pack": "matrix",
    "pack_layer": "layers",
    "pack_lstm": "lstm",
}
__all__ = sorted(_PUBLIC)

BATCH_SIZES = (1, 16)  # at which products are measured


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(
            f"module 'iss_rnns.sparse' has no attribute '{name}'"
        )
    try:
        module = importlib.import_module(f"iss_rnns.sparse.{_PUBLIC[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("numba", "llvmlite"):
            raise
        raise ImportError(
            f"sparse inference needs {error.name}, which is not installed; "
            "install it with: pip install 'iss-rnns[sparse]'"
        ) from error
    return getattr(module, name)


def __dir__():
    return __all__
