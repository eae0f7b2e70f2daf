"""Flags that every program of a language model has."""

from collections.abc import Mapping

from absl import flags

from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import program_flags

# Matrices by type, as pruning asks for them, and what it prunes by default:
# all that multiplies and is no embedding too.
LAYER_TYPES = ("input", "recurrent", "softmax", "embedding")
PRUNED_TYPES = LAYER_TYPES[:3]


def define_run_flags(
    modes: Mapping[str, str] = flags_lib.MODES, **others
) -> None:
    """What a run does, see `flags.define_run_flags`."""
    flags_lib.define_run_flags(
        modes,
        restore_path="; with --mode=eval also saved_model/packed of a pruned "
        "run, which then computes sparsely",
        **others,
    )
    with program_flags.group("Run"):
        flags.DEFINE_bool(
            "export_latency",
            False,
            "Also export, and measure, TensorFlow Lite models that read one "
            "symbol of one text at a time.",
        )


def define_size_and_machine_flags() -> None:
    """What makes a net smaller, and what it runs on."""
    flags_lib.define_shrinking_flags()
    flags_lib.define_pruning_flags(LAYER_TYPES, PRUNED_TYPES)
    flags_lib.define_machine_flags()
