"""Flags that more than one program has, each with one name and one meaning.

TensorFlow is not imported here: a wrong flag is told at once.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional

from absl import flags

from iss_rnns import errors
from iss_rnns.experiments import from_scratch
from iss_rnns.experiments import program_flags

RUNS = "runs"  # where nothing else is said
EXPORT_EPOCHS = ("best", "best_of_all", "last")
COMPUTE_DTYPES = ("float32", "bfloat16")
STRATEGIES = ("off", "one_device", "mirrored", "multi_worker_mirrored")
PRUNING_METHODS = ("gradual", "block", "glp", "hard")
# What each does, beside those that a task has of its own.
MODES = {
    "train": "train, then shrink, export and report",
    "eval": "print the scores of --restore_path",
    "shrink": "cut its dead units out and write compressed.npz",
    "export": "also write models that run without this package",
    "report": "do all that follows training",
}


def fill(kind: Any, values: Mapping[str, Any], **others) -> Any:
    """A dataclass whose fields are flags.

    Args:
      kind: the dataclass.
      values: of all flags, by name; fields that are none keep their default.
      **others: fields that differ from the flags of their name.
    """
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{k: v for k, v in values.items() if k in fields} | others)


def define(preset: Any, least: int = 1, **texts: str) -> None:
    """Defines flags that are fields of a dataclass, see `fill`.

    Args:
      preset: an instance, whose values say defaults and types.
      least: bound of whole numbers.
      **texts: the help of each, by name.
    """
    for name, text in texts.items():
        default = getattr(preset, name)
        if isinstance(default, bool):
            flags.DEFINE_bool(name, default, text)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, text, lower_bound=least)
        elif isinstance(default, float):
            flags.DEFINE_float(name, default, text)
        else:
            flags.DEFINE_string(name, default, text)


def check_arguments(argv: Sequence[str]) -> None:
    """Refuses what absl leaves of a command line: what is no flag."""
    if len(argv) > 1:
        raise errors.UserError(
            f"unknown argument '{argv[1]}'; flags start with --, see --help"
        )


def define_run_flags(
    modes: Mapping[str, str] = MODES,
    default_mode: str = "train",
    restore_path: str = "",
    save_path: Optional[str] = RUNS,
    what_save_path: str = "",
    seed: str = "initial weights and of all noise in training",
) -> None:
    """What a run does, what it starts from and where it is kept.

    Args:
      modes: what each does.
      default_mode: the one that is not asked for.
      restore_path: what else the task can start from.
      save_path: folder of the runs by default.
      what_save_path: what it is where nothing is said.
      seed: what is random.
    """
    with program_flags.group("Run"):
        flags.DEFINE_enum(
            "mode",
            default_mode,
            list(modes),
            "; ".join(f"{name}: {what}" for name, what in modes.items()) + ".",
        )
        flags.DEFINE_string(
            "restore_path",
            None,
            "Weights to start from, or to work on: a run directory or .npz "
            "file of this program, or a checkpoint of the authors' (folder or "
            f"prefix){restore_path}.",
        )
        flags.DEFINE_string(
            from_scratch.FLAG,
            None,
            "Directory of a finished run: train a new net of the sizes that it "
            "found, with its flags, but without what made it small, and show "
            "it beside. Flags that are given win.",
        )
        flags.DEFINE_string(
            "save_path",
            save_path,
            f"Folder that holds the runs{what_save_path}.",
        )
        flags.DEFINE_string(
            "run_name",
            None,
            "Name of the run, and of its folder below --save_path. Default: "
            "date and time.",
        )
        flags.DEFINE_bool(
            "resume", False, "Go on with the interrupted run of that name."
        )
        flags.DEFINE_bool("overwrite", False, "Replace the run of that name.")
        flags.DEFINE_integer("seed", 0, f"Of {seed}.", lower_bound=0)
        define_compare_flag()
        flags.DEFINE_bool(
            "display_weights",
            False,
            "Write a picture of each matrix's zeros, before and after "
            "shrinking, into the run's plots/weights/ (in all modes that make "
            "a run): a pixel a weight, up to 2,000 a side.",
        )
        program_flags.define_as_authors()


def define_compare_flag() -> None:
    """Which other runs a report shows."""
    flags.DEFINE_list(
        "compare_with",
        [],
        "Directories of finished runs to show beside this one in its report, "
        "between commas, e.g. the dense baseline.",
    )
    flags.DEFINE_bool(
        "papers",
        False,
        "Show the papers' figures in the report, too, where the data is not "
        "theirs. With their data they are always shown.",
    )


def define_length_flags(
    epochs: Optional[int],
    what_epochs: str = "",
    max_train_steps: str = ". Default: when --epochs are over",
    checkpoint_every: int = 500,
    span: str = "epoch",
    authors_epoch: str = "last",
) -> None:
    """How long a run trains, and what is kept of it.

    Args:
      epochs: by default; None: see `what_epochs`.
      what_epochs: how many there are where nothing is said.
      max_train_steps: what ends training where nothing is said.
      checkpoint_every: by default.
      span: what lies between two evaluations.
      authors_epoch: which of `EXPORT_EPOCHS` the authors' program takes.
    """
    flags.DEFINE_integer(
        "epochs",
        epochs,
        f"Passes over the training data{what_epochs}.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "max_train_steps",
        None,
        f"Stop after so many steps, a batch each{max_train_steps}.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "checkpoint_every",
        checkpoint_every,
        "Steps between two checkpoints, from which --resume goes on (one more "
        f"at the end of each {span}); 0: only there.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "export_epoch",
        "best",
        list(EXPORT_EPOCHS),
        f"Which {span}'s weights are scored, cut and exported when training is "
        f"over. best: of the last {span}s in a row with the final sizes and "
        "as many living units, the one that validated best; best_of_all: "
        "whatever living units it has; last. With --pruning, and with "
        "penalties that make single weights zero, always the last.",
    )
    program_flags.authors_default("export_epoch", authors_epoch)


def define_shrinking_flags(span: str = "epoch") -> None:
    """Which units are dead, and when they are cut out.

    Args:
      span: what lies between two evaluations.
    """
    with program_flags.group("Cutting dead units out"):
        flags.DEFINE_integer(
            "shrink_every_steps",
            None,
            "Cut dead units out while training goes on, each time that so "
            f"many steps are over; 0: at the end of each {span}. Default: "
            "only when training is over.",
            lower_bound=0,
        )
        flags.DEFINE_float(
            "dead_below",
            0.0,
            "A unit counts as dead when the norm of all of its weights is at "
            "most this; 0: when they are exactly zero. Others than those are "
            "only cut if the cost of a held-out batch stays, within 0.01 nats: "
            "when training is over, and while it goes on with "
            "--shrink_every_steps.",
            lower_bound=0.0,
        )
        flags.DEFINE_integer(
            "dead_checks",
            3,
            "With --shrink_every_steps: a unit is cut when so many checks in "
            "a row found it dead.",
            lower_bound=1,
        )
        flags.DEFINE_float(
            "least_gain",
            1.0,
            "With --shrink_every_steps: cut when the steps that are left save "
            "at least so many times what compiling the smaller step costs; "
            "0: whenever units are dead. A resumed run keeps to its first.",
            lower_bound=0.0,
        )


def define_target_flags(layers: str, span: str = "epoch") -> None:
    """Which size a training is steered to, read by `size_flags`.

    Args:
      layers: units by layer, as an example.
      span: what lies between two evaluations.
    """
    with program_flags.group("Steering to a size"):
        flags.DEFINE_string(
            "target_units",
            None,
            "Share of the units that is to be left, e.g. 0.4, or units by "
            f"layer, e.g. {layers}: training is steered there, with no "
            "strength of a group lasso to be found.",
        )
        flags.DEFINE_float(
            "target_weights",
            None,
            "Instead: share of the weights that is to be left, of all matrices "
            "that units are cut out of.",
        )
        flags.DEFINE_float(
            "target_reach",
            None,
            "Share of the training after which the size is reached; what is "
            "left learns on by itself. Default: 0.5.",
        )
        flags.DEFINE_integer(
            "target_multiple_of",
            None,
            "Each layer's units are rounded up to a multiple of this, e.g. 8. "
            "Default: 1.",
            lower_bound=1,
        )
        flags.DEFINE_float(
            "target_max_loss",
            None,
            f"Steer no further once an {span} validates so many nats worse "
            "than the best one so far. Default: whatever it costs.",
        )


def define_freeze_flag() -> None:
    """What of the zeros stays zero in training."""
    flags.DEFINE_enum(
        "freeze_mode",
        None,
        ["element", "group"],
        "Keep what is zero as it is while training. element: single weights; "
        "group: whole dead units. Default: zeros may learn again.",
    )


def define_machine_flags() -> None:
    """How every program uses the machine."""
    with program_flags.group("Machine"):
        flags.DEFINE_enum(
            "compute_dtype",
            "float32",
            list(COMPUTE_DTYPES),
            "What the matrix products of training are computed in; weights, "
            "sums and everything else stay float32. bfloat16 makes a step of "
            "a large language model 1.4 to 1.6 times as fast on a CPU with "
            "instructions for it.",
        )
        flags.DEFINE_integer(
            "threads",
            0,
            "CPU threads to use; 0: all.",
            lower_bound=0,
            upper_bound=1024,
        )
        _define_distribution_flags()


def _define_distribution_flags() -> None:
    """Who trains together, read by `distribution`."""
    flags.DEFINE_enum(
        "distribution_strategy",
        "off",
        list(STRATEGIES),
        "Train on several devices or workers, each with its rows of every "
        "batch; --batch_size is that of all together, and the result is that of "
        "one. mirrored: on all GPUs of this machine; multi_worker_mirrored: in "
        "several processes; one_device: the same way on one, for comparison.",
    )
    flags.DEFINE_integer(
        "num_replicas",
        None,
        "With --distribution_strategy=mirrored: use so many GPUs; on a machine "
        "without, parts of its CPU. Default: all GPUs.",
        lower_bound=1,
        upper_bound=1024,
    )
    flags.DEFINE_list(
        "worker_hosts",
        None,
        "With --distribution_strategy=multi_worker_mirrored: host:port of each "
        "worker, between commas; the first one writes the run. Each process "
        "has the same, and the same --save_path and --run_name. Default: what "
        "TF_CONFIG in the environment says.",
    )
    flags.DEFINE_integer(
        "task_index",
        None,
        "With --worker_hosts: which of them this process is, from 0.",
        lower_bound=0,
    )


def define_pruning_flags(layers: Sequence[str], default: Sequence[str]) -> None:
    """Pruning while training, read by `pruning_flags`.

    Args:
      layers: the types of layers that the program's nets have.
      default: those that are pruned if nothing else is said.
    """
    with program_flags.group("Pruning"):
        flags.DEFINE_enum(
            "pruning",
            None,
            list(PRUNING_METHODS),
            "Prune while training. gradual: single weights, more and more of "
            "them; block: blocks, likewise; glp: blocks, with a group lasso "
            "on them; hard: all at once, to compare with.",
        )
        flags.DEFINE_string(
            "block_size",
            None,
            "Height and width of the blocks, e.g. 16x16. Default: 4x4; with "
            "--pruning=hard: 1x1, single weights.",
        )
        flags.DEFINE_float(
            "target_sparsity",
            None,
            "Fraction of each matrix that is zero in the end; it rises along "
            "a cubic schedule (Zhu & Gupta).",
        )
        flags.DEFINE_string(
            "dense_checkpoint",
            None,
            "Instead of --target_sparsity: weights of a trained dense model "
            "(as --restore_path takes them). A percentile of |w| of each type "
            "of layer sets its threshold (Narang et al.).",
        )
        flags.DEFINE_float(
            "pruning_percentile",
            None,
            "With --dense_checkpoint: that percentile. Default: 90.",
        )
        for name, what in (
            (
                "start",
                "Step at which pruning starts. Default: where the second "
                "epoch does; with --pruning=hard: where gradual pruning would "
                "end",
            ),
            (
                "ramp",
                "Step from which the threshold rises faster. Default: 25 % of "
                "all steps (blocks: 20 %)",
            ),
            (
                "end",
                "Step from which the masks stay as they are. Default: 50 % of "
                "all steps (blocks: 40 %)",
            ),
            (
                "frequency",
                "Steps between new masks. Default: 100, fewer in a short run",
            ),
        ):
            flags.DEFINE_integer(
                f"pruning_{name}", None, f"{what}.", lower_bound=0
            )
        flags.DEFINE_float(
            "pruning_ramp_multiple",
            None,
            "How much faster the threshold rises from --pruning_ramp on; "
            "papers: 1.2 to 2. Default: 1.5.",
        )
        flags.DEFINE_float(
            "pruning_lasso",
            None,
            "With --pruning=glp: strength of the group lasso on the blocks, "
            "until pruning ends.",
        )
        flags.DEFINE_list(
            "pruning_layers",
            None,
            f"Types of layers to prune, of {', '.join(layers)}. Default: "
            f"{','.join(default)}.",
        )
