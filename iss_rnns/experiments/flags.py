"""Flags that all programs have."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from absl import flags

from iss_rnns import errors
from iss_rnns.experiments import machine

RUNS = "runs"  # where nothing else is said
MODES = ("train", "eval", "shrink", "export", "report")


def fill(kind: Any, values: Mapping[str, Any], **others) -> Any:
    """A dataclass whose fields are flags.

    Args:
      kind: the dataclass.
      values: of all flags, by name; fields that are none keep their default.
      **others: fields that differ from the flags of their name.
    """
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{k: v for k, v in values.items() if k in fields} | others)


def check_arguments(argv: Sequence[str]) -> None:
    """Refuses what absl leaves of a command line: what is no flag."""
    if len(argv) > 1:
        raise errors.UserError(
            f"unknown argument '{argv[1]}'; flags start with --, see --help"
        )


def define_flags(modes: Sequence[str] = MODES) -> None:
    """The flags that are the same in every language-model program."""
    flags.DEFINE_enum(
        "mode",
        "train",
        list(modes),
        "train: train, then "
        "shrink, export and report. The others do their part "
        "with --restore_path.",
    )
    flags.DEFINE_string(
        "restore_path",
        None,
        "Start from these weights: a "
        "checkpoint of the authors' code (folder or prefix), "
        "or a run directory or .npz file of this program; "
        "with --mode=eval also saved_model/packed of a pruned "
        "run, which then computes sparsely.",
    )
    flags.DEFINE_string(
        "save_path", None, "Folder of the runs; 'runs' if nothing else says so."
    )
    flags.DEFINE_string(
        "run_name",
        None,
        "The run's folder below --save_path. Defaults to the time.",
    )
    flags.DEFINE_bool("resume", False, "Go on with an interrupted run.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing run.")
    flags.DEFINE_integer("seed", 0, "Of weights and noise.", lower_bound=0)
    flags.DEFINE_integer(
        "epochs", None, "Instead of the model's.", lower_bound=0
    )
    flags.DEFINE_integer(
        "max_train_steps", None, "Stop after so many steps.", lower_bound=0
    )
    flags.DEFINE_integer(
        "checkpoint_every",
        500,
        "Steps between checkpoints (one more at each epoch's end).",
        lower_bound=0,
    )
    define_shrinking_flags()
    flags.DEFINE_float(
        "dead_below",
        0.0,
        "With --shrink_every_steps: a unit "
        "is dead when its norm was below this at --dead_checks "
        "checks in a row; 0: when it is exactly zero.",
        lower_bound=0.0,
    )
    flags.DEFINE_bool(
        "display_weights",
        False,
        "Write a picture of each "
        "matrix's zeros, before and after shrinking, into the "
        "run's plots/weights/ (in all modes but eval): a pixel "
        "a weight, up to 2,000 a side.",
    )
    define_compare_flag()
    flags.DEFINE_bool(
        "export_latency",
        False,
        "Also export TensorFlow Lite models for batch 1 and 1 step.",
    )
    define_machine_flags()


def define_shrinking_flags() -> None:
    """When dead units are cut while training goes on, in every program."""
    flags.DEFINE_integer(
        "shrink_every_steps",
        None,
        "Cut dead units out "
        "while training goes on, every so many steps; 0 "
        "means at each epoch's end. Default: never.",
        lower_bound=0,
    )
    flags.DEFINE_integer("dead_checks", 3, "See --dead_below.", lower_bound=1)


def define_compare_flag() -> None:
    """Which other runs a report shows, of every program."""
    flags.DEFINE_list(
        "compare_with",
        [],
        "Directories of finished runs to "
        "show beside this one, between commas, e.g. the dense "
        "baseline.",
    )


def define_machine_flags() -> None:
    """How every program uses the machine."""
    flags.DEFINE_enum(
        "compute_dtype",
        "float32",
        list(machine.COMPUTE_DTYPES),
        "What the matrix "
        "products of training are computed in; weights, sums "
        "and everything else stay float32. bfloat16 makes a "
        "step of a large language model 1.4 to 1.6 times as "
        "fast on a CPU with instructions for it.",
    )
    flags.DEFINE_integer(
        "threads",
        0,
        "CPU threads; 0 means all.",
        lower_bound=0,
        upper_bound=1024,
    )
