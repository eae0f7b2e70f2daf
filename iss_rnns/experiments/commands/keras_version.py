"""Which Keras a file needs, decided before TensorFlow is imported.

Keras 3 does not read all that Keras 2 wrote, and Keras 2 nothing of Keras 3.
Behind `tf.keras` stands one of them for the whole process, which the
environment decides. A library must not, a program may.
"""

from collections.abc import Sequence
from importlib import metadata
from importlib import util
import os
import sys
from typing import Optional

from iss_rnns import errors
from iss_rnns.experiments import environment
from iss_rnns.experiments.commands import sources


def prepare(models: Sequence[sources.Source]) -> None:
    """Sets what TensorFlow must find in the environment.

    Args:
      models: that the process is going to load.

    Raises:
      UserError: if they need a Keras that is not installed, or two.
    """
    wanted: dict[int, sources.Source] = {}
    for source in models:
        if source.keras is not None:
            wanted.setdefault(int(source.keras.partition(".")[0]), source)
    if len(wanted) > 1:
        one, other = list(wanted.values())[:2]
        raise errors.UserError(
            f"{one.shown} was written by Keras {one.keras}, {other.shown} by "
            f"Keras {other.keras}; one process has one of them: save both "
            "with the same"
        )
    if wanted and "tensorflow" not in sys.modules:
        (source,) = wanted.values()
        os.environ["TF_USE_LEGACY_KERAS"] = legacy_keras(
            source, _installed("keras"), bool(util.find_spec("tf_keras"))
        )
    environment.prepare()


def legacy_keras(
    source: sources.Source, keras: Optional[str], has_tf_keras: bool
) -> str:
    """The value of TF_USE_LEGACY_KERAS for a file.

    Args:
      source: of the file, which says its Keras.
      keras: version of the installed package `keras`; None: there is none.
      has_tf_keras: whether `tf_keras`, Keras 2 beside Keras 3, is installed.

    Returns:
      "1": `tf_keras`; "0": the package `keras`.

    Raises:
      UserError: if neither is the file's Keras.
    """
    wanted = str(source.keras).partition(".")[0]
    if keras is not None and keras.partition(".")[0] == wanted:
        return "0"
    if wanted == "2" and has_tf_keras:
        return "1"
    if wanted == "2":
        advice = "pip install tf_keras, of TensorFlow's version"
    else:
        advice = "use an environment with TensorFlow 2.16 or later"
    raise errors.UserError(
        f"{source.shown} was written by Keras {source.keras}, here is Keras "
        f"{keras or 'none'}: {advice}"
    )


def _installed(package: str) -> Optional[str]:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
