"""Sparse inference: pack a trained sparse model and run it fast on a CPU.

Needs numba (`pip install iss-rnns[sparse]`). With `sparse_dot_mkl` installed
(`iss-rnns[mkl]`), MKL is tried as well for single weights.
"""

from iss_rnns import errors

try:
    import numba as _numba  # noqa: F401
except ImportError as error:
    raise errors.UserError(
        "sparse inference needs numba, which is not installed; install it "
        "with: pip install 'iss-rnns[sparse]'"
    ) from error

# pylint: disable=wrong-import-position
from iss_rnns.sparse.language_model import PackedLanguageModel
from iss_rnns.sparse.layers import pack_layer
from iss_rnns.sparse.layers import PackedGRU
from iss_rnns.sparse.layers import PackedReLURNN
from iss_rnns.sparse.layers import PackedRHN
from iss_rnns.sparse.layers import PackedSimpleRNN
from iss_rnns.sparse.lstm import pack_lstm
from iss_rnns.sparse.lstm import PackedLSTM
from iss_rnns.sparse.matrix import load
from iss_rnns.sparse.matrix import pack
from iss_rnns.sparse.matrix import PackedMatrix

__all__ = [
    "PackedGRU",
    "PackedLSTM",
    "PackedLanguageModel",
    "PackedMatrix",
    "PackedRHN",
    "PackedReLURNN",
    "PackedSimpleRNN",
    "load",
    "pack",
    "pack_layer",
    "pack_lstm",
]
