"""The modes of any task's program, and their order.

A program reads its flags and its data, makes its `tasks.Task` and `Choices`
of them, and calls `run`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional

from iss_rnns import errors
from iss_rnns.experiments import distribution
from iss_rnns.experiments import finishing
from iss_rnns.experiments import flagfiles
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import from_scratch
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments.reports import sections


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the user wants done; the flags of the same names.

    Attributes:
      pruning: what the flags of pruning ask for.

    Raises:
      UserError: if the mode needs weights and none are given, or there is
        nothing to compare with.
    """

    mode: str
    restore_path: Optional[str] = None
    save_path: Optional[str] = None
    run_name: Optional[str] = None
    from_scratch_of: Optional[str] = None
    resume: bool = False
    overwrite: bool = False
    display_weights: bool = False
    compare_with: Sequence[str] = ()
    papers: bool = False
    export_latency: bool = False
    pruning: pruning_flags.PruningSettings = pruning_flags.PruningSettings()

    def __post_init__(self):
        if self.mode != "train" and not self.restore_path:
            raise errors.UserError(
                f"--mode={self.mode} needs --restore_path: a checkpoint, a "
                "run directory or a .npz file"
            )
        sections.other_runs(self.compare_with)  # not only after training

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "Choices":
        """Out of the values of all flags, by name.

        Raises:
          UserError: see the class and `pruning_flags.PruningSettings`.
        """
        return flags_lib.fill(
            cls,
            values,
            pruning=pruning_flags.PruningSettings.from_flags(values),
        )


def run(task: tasks.Task, choices: Choices, flags_text: str) -> None:
    """Runs one mode.

    Args:
      task: see `tasks.Task`.
      choices: see `Choices`.
      flags_text: the run's flags in the form of a flagfile.

    Raises:
      UserError: on any mistake of the user's.
    """
    if choices.restore_path:
        flagfiles.check_program(choices.restore_path, task.module)
    if choices.mode in task.modes:
        task.modes[choices.mode]()
        return
    if choices.mode == "train":
        directory, trained, rows = _train(task, choices, flags_text)
        workers = distribution.current()
        if not workers.chief:
            print(f"worker {workers.index}: training is over", flush=True)
            return
        source = str(directory.path)
    else:
        source = str(choices.restore_path)
        trained = task.restore(source)
        rows = restoring.past_rows(source)
        directory = run_directory(task, choices, flags_text)
    origin = finishing.Origin(
        restoring.designed_sizes(source),
        restoring.chosen_epoch(source),
        task.options.pruning or restoring.pruning_plan(source),
        restoring.size_target(source),
    )
    display = choices.display_weights
    if choices.mode in ("train", "report"):
        finishing.finish(
            task,
            directory,
            trained,
            rows,
            origin,
            choices.compare_with,
            display,
        )
    else:
        finishing.write_small(
            task, choices.mode, directory, trained, origin, display
        )


def _train(task, choices, flags_text):
    """Mode train: (the run's directory, the weights, its metrics)."""
    directory = start = None
    state: Mapping[str, Any] = {}
    if choices.resume:
        # Its own weights count; it may have outlived those it began with.
        directory = run_directory(task, choices, flags_text)
        flagfiles.check_program(directory.path, task.module)
        _, state = restoring.find_checkpoint(directory.path)
        task.resume(directory)
    elif choices.restore_path:
        start = task.start_from(choices.restore_path)
    elif choices.from_scratch_of:
        flagfiles.check_program(choices.from_scratch_of, task.module)
        sizes = from_scratch.found_sizes(choices.from_scratch_of)
        start = task.new_net_of(sizes)
    new = start is None or bool(choices.from_scratch_of)
    if new and not choices.resume and not task.steps:
        raise errors.UserError(
            "training of 0 steps (--epochs, --max_train_steps) would export "
            "random weights; train for at least one, or give --restore_path"
        )
    prepare(task, choices.pruning, start, state)
    if directory is None:
        directory = run_directory(task, choices, flags_text)
    return directory, *task.train(directory, start)


def run_directory(
    task: tasks.Task, choices: Choices, flags_text: str
) -> runs.RunDirectory:
    """That of the flags, which a new one has on record.

    Raises:
      UserError: see `runs.RunDirectory`.
    """
    directory = runs.RunDirectory(
        choices.save_path or flags_lib.RUNS,
        choices.run_name,
        choices.resume,
        choices.overwrite,
        keep=[
            choices.restore_path,
            choices.pruning.dense_checkpoint,
            choices.from_scratch_of,
            *choices.compare_with,
            *task.reads,
        ],
        writes=distribution.current().chief,
    )
    if directory.writes and not choices.resume:
        directory.write_text(
            flagfiles.OF_RUN,
            flagfiles.heading(task.module) + resumable(flags_text, directory),
        )
        task.begin(directory)
    return directory


def prepare(
    task: tasks.Task,
    pruning: pruning_flags.PruningSettings,
    start: Optional[tasks.Net],
    state: Mapping[str, Any],
) -> None:
    """Plans the pruning, and refuses what training would refuse.

    Args:
      task: that is trained.
      pruning: see `Choices`.
      start: net to start from; None means a new one.
      state: of the checkpoint that training goes on from, if any.

    Raises:
      UserError: see `PruningSettings.plan`, `PruningPlan.check_reached`,
        `size_flags.SizeGoal.steering` and `tasks.Task.check`.
    """
    net = task.new_net(state.get("sizes")) if start is None else start
    if pruning.method is not None:
        plan = pruning.plan(
            *task.length,
            net.layer_types(),
            task.pruned_types,
            lambda path: pruning_flags.arrays(
                task.restore(path).net.layer_types()
            ),
            # BiDAF's is among its options.
            state.get("options", state).get("pruning"),
        )
        if plan is not None:
            plan.check_reached(task.steps)
        task.prune(plan)
    if task.options.target:
        task.options.target.steering(net, designed=state.get("designed_sizes"))
    task.check(net)


def resumable(flags_text: str, directory: runs.RunDirectory) -> str:
    """Flags that together with --resume go on with a run."""
    once = (
        "--overwrite",
        "--nooverwrite",
        "--resume",
        "--noresume",
        "--run_name",
        "--task_index",
    )
    lines = [
        line for line in flags_text.splitlines() if not line.startswith(once)
    ]
    name = ["", "# This run", f"--run_name={directory.path.name}"]
    return "\n".join(lines + name) + "\n"
