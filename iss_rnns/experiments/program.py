"""What the programs of the language models share: flags, modes, their order.

A program defines its own flags beside these, builds a `Task` and `Choices`
from all of them, and calls `run`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Callable, Optional

import numpy as np

from iss_rnns import errors
from iss_rnns import shrinking
from iss_rnns.experiments import checkpoints
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import machine
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import experiment as language_experiment
from iss_rnns.experiments.language import packed as packed_lib
from iss_rnns.experiments.language import texts as texts_lib
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables


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
      train: `train(run, net)` -> (trained net, `metrics.Metrics`); `net`
        has the restored weights, or is None.
      clean: sets a restored net's small weights to exact zeros, in place,
        before dead units are cut.
      paper: published columns for the table.
      method: see `experiment.finish`, as `strength`.
      asked_sizes: see `restoring.restore`.
      reads: paths of further files that it reads; --overwrite spares them.
    """

    module: str
    title: str
    texts: texts_lib.Texts
    new_net: Callable[[Optional[Sequence[int]]], object]
    sizes_of: Callable[[Mapping[str, np.ndarray]], Sequence[int]]
    check: Callable[[Optional[object]], None]
    train: Callable[
        [runs.RunDirectory, Optional[object]],
        tuple[object, metrics_lib.Metrics],
    ]
    clean: Callable[[object], None]
    paper: Sequence[tables.Column] = ()
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
    if choices.mode == "eval" and packed_lib.is_language_model(
        choices.restore_path
    ):
        packed = packed_lib.load_language_model(choices.restore_path)
        check_vocabulary(packed, task.texts, choices.restore_path)
        print_scores(
            texts_lib.evaluate(packed, task.texts, packed_lib.Evaluator),
            task.texts,
        )
        return
    # A resumed run has its own weights and may have outlived the others.
    resumed = choices.mode == "train" and choices.resume
    net = None if resumed else restored(task, choices)
    if choices.mode == "eval":
        print_scores(texts_lib.evaluate(net, task.texts), task.texts)
        return
    if choices.mode == "train":
        task.check(net)
    else:
        task.clean(net)
        shrinking.check_alive(net.iss_groups())
    directory = runs.RunDirectory(
        choices.save_path or flags_lib.RUNS,
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


def check_vocabulary(model, texts: texts_lib.Texts, path: str) -> None:
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
        folder = (
            pathlib.Path(choices.save_path or flags_lib.RUNS) / choices.run_name
        )
        if checkpoints.checkpoint_steps(folder / "checkpoints"):
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


def print_scores(scores: Mapping[str, float], texts: texts_lib.Texts) -> None:
    """One line a score; perplexities of characters also in bits."""
    for name, value in texts_lib.with_bits(scores, texts).items():
        print(
            f"{name} {value:{'.4f' if 'bits' in name else '.3f'}}", flush=True
        )


def _finish(task, choices, directory, net, rows) -> None:
    """What follows training, as far as the mode goes."""
    command = machine.command_line(task.module)
    texts = task.texts
    sizes = restoring.designed_sizes(
        directory.path if choices.mode == "train" else choices.restore_path
    )
    designed = task.new_net(sizes) if sizes else net
    if choices.mode in ("train", "report"):
        language_experiment.finish(
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
    small, proof = language_experiment.shrink_proved(net, texts)
    if choices.display_weights:
        sections.draw(directory, net, small, designed=designed, each=True)
    if choices.mode == "shrink":
        restoring.save_weights(small, directory.path / "compressed.npz")
        print_scores(texts_lib.evaluate(small, texts), texts)
        print(f"weights: {directory.path / 'compressed.npz'}")
    else:
        scores = texts_lib.evaluate(net, texts)
        print_scores(scores, texts)
        card = language_experiment.model_card(
            designed, proof, texts, scores, command
        )
        language_experiment.export_both(
            net, small, directory, texts, card, choices.export_latency
        )
        print(f"exported to {directory.path / 'saved_model'}")
