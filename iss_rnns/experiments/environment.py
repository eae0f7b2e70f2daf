"""What must be set before TensorFlow is imported, and its import.

A task's package does the first when it is imported, a program's `main` the
second; the library does neither.
"""

import importlib
import importlib.util
import os

from iss_rnns import errors
from iss_rnns import terminal


def prepare() -> None:
    """Sets what the programs want; whoever has set it keeps their choice."""
    # Where TensorFlow leaves these kernels off by default, training is 8 to
    # 19 % slower.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Of warnings that no user can mend.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The programs are for Keras 2: `tf.keras` of TensorFlow 2.15, since 2.16
    # a package of its own. A library must not choose it, for the rest of its
    # process may need Keras 3.
    if importlib.util.find_spec("tf_keras"):
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")


def import_tensorflow() -> None:
    """Imports TensorFlow for a program: quietly, and with Keras 2.

    Raises:
      UserError: if `tf.keras` is Keras 3.
    """
    # TensorFlow 2.21 writes lines that no setting silences.
    with terminal.quiet_stderr():
        tf = importlib.import_module("tensorflow")
        keras = importlib.import_module("iss_rnns._keras")
    if keras.VERSION == 2:
        return
    minor = ".".join(tf.__version__.split(".")[:2])
    raise errors.UserError(
        "the programs run on Keras 2, and this process has Keras 3: "
        + (
            "import the program before anything imports TensorFlow, with "
            "TF_USE_LEGACY_KERAS not set, or 1"
            if importlib.util.find_spec("tf_keras")
            else f"install it, pip install 'tf_keras=={minor}.*'"
        )
    )
