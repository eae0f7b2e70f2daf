"""What the programs of the language models share: flags, modes, their order.

A program defines its own flags beside these, builds a `Task` and `Choices`
from all of them, and calls `run`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Callable, Optional

from absl import flags
import numpy as np

from iss_rnns import errors
from iss_rnns import packing
from iss_rnns import pipeline
from iss_rnns import precision
from iss_rnns import pruning_flags
from iss_rnns import report
from iss_rnns import restoring
from iss_rnns import runs
from iss_rnns import sections
from iss_rnns import shrink
from iss_rnns import training

RUNS = "runs"  # where nothing else is said
MODES = ("train", "eval", "shrink", "export", "report")


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
        list(precision.COMPUTE_DTYPES),
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


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the user wants done; the flags of the same names.

    Raises:
      UserError: if the mode needs weights and none are given, or there is
        nothing to compare with.
    """

    mode: str
    restore_path: Optional[str]
    save_path: Optional[str]
    run_name: Optional[str]
    resume: bool
    overwrite: bool
    display_weights: bool
    compare_with: Sequence[str]
    export_latency: bool
    dense_checkpoint: Optional[str] = None

    def __post_init__(self):
        if self.mode != "train" and not self.restore_path:
            raise errors.UserError(
                f"--mode={self.mode} needs --restore_path: a checkpoint, a "
                "run directory or a .npz file"
            )
        sections.other_runs(self.compare_with)  # not only after training

    @classmethod
    def of(cls, values: Mapping) -> "Choices":
        """Out of the values of all flags, by name."""
        return cls(
            **{
                field.name: values[field.name]
                for field in dataclasses.fields(cls)
            }
        )


@dataclasses.dataclass(frozen=True)
class Task:
    """What a program brings.

    Attributes:
      module: its module, for the command line on record.
      title: of the report.
      texts: to score.
      new_net: `new_net(sizes)` -> net with fresh weights; None means the
        sizes that flags give.
      sizes_of: layer sizes from arrays by TF1 name.
      check: `check(net)` raises UserError, before anything is written, on
        what training would refuse; `net` as of `train`.
      train: `train(run, net)` -> (trained net, `runs.Metrics`); `net`
        has the restored weights, or is None.
      clean: sets a restored net's small weights to exact zeros, in place,
        before dead units are cut.
      paper: published columns for the table.
      method: see `pipeline.finish`, as `strength`.
      asked_sizes: see `restoring.restore`.
      reads: paths of further files that it reads; --overwrite spares them.
    """

    module: str
    title: str
    texts: pipeline.Texts
    new_net: Callable[[Optional[Sequence[int]]], object]
    sizes_of: Callable[[Mapping[str, np.ndarray]], Sequence[int]]
    check: Callable[[Optional[object]], None]
    train: Callable[
        [runs.RunDirectory, Optional[object]], tuple[object, runs.Metrics]
    ]
    clean: Callable[[object], None]
    paper: Sequence[report.Column] = ()
    method: str = ""
    strength: Optional[float] = None
    asked_sizes: Optional[Sequence[int]] = None
    reads: Sequence[Optional[str]] = ()


def run(task: Task, choices: Choices, flags_text: str) -> None:
    """Runs one mode.

    Args:
      task: see `Task`.
      choices: see `Choices`.
      flags_text: the run's flags in the form of a flagfile.

    Raises:
      UserError: on any mistake of the user's.
    """
    if choices.mode == "eval" and packing.is_language_model(
        choices.restore_path
    ):
        packed = packing.load_language_model(choices.restore_path)
        check_vocabulary(packed, task.texts, choices.restore_path)
        print_scores(
            pipeline.evaluate(packed, task.texts, packing.Evaluator), task.texts
        )
        return
    # A resumed run has its own weights and may have outlived the others.
    resumed = choices.mode == "train" and choices.resume
    net = None if resumed else restored(task, choices)
    if choices.mode == "eval":
        print_scores(pipeline.evaluate(net, task.texts), task.texts)
        return
    if choices.mode == "train":
        task.check(net)
    else:
        task.clean(net)
        shrink.check_alive(net.iss_groups())
    directory = runs.RunDirectory(
        choices.save_path or RUNS,
        choices.run_name,
        choices.resume,
        choices.overwrite,
        keep=[
            choices.restore_path,
            choices.dense_checkpoint,
            *choices.compare_with,
            *task.reads,
        ],
    )
    if not choices.resume:
        directory.write_text("flags.txt", resumable(flags_text, directory))
    if choices.mode == "train":
        net, metrics = task.train(directory, net)
        rows = metrics.rows
        if (directory.path / runs.BEST).exists():
            net = restoring.restore(
                task.new_net, str(directory.path), task.sizes_of
            )
            print(
                "the weights of the epoch that validated best are taken",
                flush=True,
            )
    else:
        rows = restoring.past_rows(choices.restore_path)
    _finish(task, choices, directory, net, rows)


def check_vocabulary(model, texts: pipeline.Texts, path: str) -> None:
    """Refuses a packed model of other data.

    Raises:
      UserError: naming both sizes.
    """
    ours, theirs = len(texts.corpus.symbols), len(model.softmax_b)
    if ours != theirs:
        raise errors.UserError(
            f"{path} knows {theirs:,} symbols, the data has {ours:,}: give "
            "the data that it was trained on"
        )


def pruning_plan(
    settings: pruning_flags.Settings,
    choices: Choices,
    model_lib,
    new_net: Callable,
    sizes_of: Callable,
    epochs: int,
    steps_per_epoch: int,
) -> Optional[pruning_flags.Plan]:
    """How a run is pruned, by its flags; None if it is not.

    Args:
      settings: see `pruning_flags.Settings`.
      choices: say whether a run is resumed, and which.
      model_lib: module with the `PRUNED_TYPES` of its nets.
      new_net: see `Task`.
      sizes_of: see `Task`.
      epochs: of the whole training.
      steps_per_epoch: batches.

    Raises:
      UserError: see `pruning_flags.Settings.plan`.
    """
    if settings.method is None:
        return None

    def dense(path):
        return pruning_flags.arrays(
            restoring.restore(new_net, path, sizes_of).layer_types()
        )

    recorded = None
    if choices.resume and choices.run_name:
        folder = pathlib.Path(choices.save_path or RUNS) / choices.run_name
        if runs.checkpoint_steps(folder / "checkpoints"):
            recorded = restoring.find_checkpoint(folder)[1].get("pruning")
    return settings.plan(
        epochs,
        steps_per_epoch,
        new_net(None).layer_types(),
        model_lib.PRUNED_TYPES,
        dense,
        recorded,
    )


def restored(task: Task, choices: Choices) -> Optional[object]:
    """The net with the weights of `--restore_path`; None without.

    Raises:
      UserError: if they cannot be read or do not fit.
    """
    if not choices.restore_path:
        return None
    return restoring.restore(
        task.new_net,
        choices.restore_path,
        task.sizes_of,
        asked=task.asked_sizes,
    )


def resumable(flags_text: str, directory: runs.RunDirectory) -> str:
    """Flags that together with --resume go on with a run."""
    once = (
        "--overwrite",
        "--nooverwrite",
        "--resume",
        "--noresume",
        "--run_name",
    )
    lines = [
        line for line in flags_text.splitlines() if not line.startswith(once)
    ]
    return "\n".join(lines + [f"--run_name={directory.path.name}"]) + "\n"


def print_scores(scores: Mapping[str, float], texts: pipeline.Texts) -> None:
    """One line a score; perplexities of characters also in bits."""
    for name, value in pipeline.with_bits(scores, texts).items():
        print(
            f"{name} {value:{'.4f' if 'bits' in name else '.3f'}}", flush=True
        )


def _finish(task, choices, directory, net, rows) -> None:
    """What follows training, as far as the mode goes."""
    command = training.command_line(task.module)
    texts = task.texts
    sizes = restoring.designed_sizes(
        directory.path if choices.mode == "train" else choices.restore_path
    )
    designed = task.new_net(sizes) if sizes else net
    if choices.mode in ("train", "report"):
        pipeline.finish(
            directory,
            net,
            texts,
            command,
            task.paper,
            rows,
            designed,
            choices.compare_with,
            choices.export_latency,
            title=task.title,
            method=task.method,
            strength=task.strength,
            display_weights=choices.display_weights,
        )
        return
    small, proof = pipeline.shrink_proved(net, texts)
    if choices.display_weights:
        sections.draw(directory, net, small, designed=designed, each=True)
    if choices.mode == "shrink":
        restoring.save_weights(small, directory.path / "compressed.npz")
        print_scores(pipeline.evaluate(small, texts), texts)
        print(f"weights: {directory.path / 'compressed.npz'}")
    else:
        scores = pipeline.evaluate(net, texts)
        print_scores(scores, texts)
        card = pipeline.model_card(designed, proof, texts, scores, command)
        pipeline.export_both(
            net, small, directory, texts, card, choices.export_latency
        )
        print(f"exported to {directory.path / 'saved_model'}")
