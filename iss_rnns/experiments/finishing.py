"""From a trained net to small files and a table beside the paper.

What follows training, whatever the task: cut the dead units and prove the
outputs equal, export, reload and score again, measure, report.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import pathlib
from typing import Any, Optional

from iss_rnns import counting
from iss_rnns import files
from iss_rnns import shrinking
from iss_rnns.experiments import export_checks
from iss_rnns.experiments import machine
from iss_rnns.experiments import measuring
from iss_rnns.experiments import metrics
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import size_flags
from iss_rnns.experiments import tasks
from iss_rnns.experiments.reports import documents
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.sparse import nets

MODELS = "saved_model"  # folder of the exports, below a run's
DENSE = "dense"
WEIGHTS = "compressed.npz"
AS_TRAINED = "as trained"  # with units that are zeroed afterwards


@dataclasses.dataclass(frozen=True)
class Origin:
    """What is known of the training that left the weights.

    Attributes:
      designed_sizes: that it began with; None: those that the net has.
      weights: which epoch's they are; None: the last one's.
      pruning: how it pruned; None: it did not.
      size: what it was steered to, as a state has it; None: it was not.
    """

    designed_sizes: Optional[tasks.Sizes] = None
    weights: Optional[str] = None
    pruning: Optional[pruning_flags.PruningPlan] = None
    size: Optional[Mapping[str, Any]] = None


def shrink_proved(
    task: tasks.Task, net: tasks.Net
) -> tuple[tasks.Net, shrinking.ShrinkReport]:
    """Cuts a net's dead units; proves its outputs equal on real batches.

    Raises:
      UserError: if a layer lost every unit or the outputs differ.
    """
    groups = net.iss_groups()
    batches, run = task.proof()
    small: Any
    small, proof = shrinking.shrink(
        net, groups, batches, run, alive=task.kept_units(groups)
    )
    before, after = (
        "(" + ", ".join(map(str, sizes.values())) + ")"
        for sizes in (proof.before, proof.after)
    )
    print(
        f"shrunk {before} -> {after} units, {proof.weights_before:,} -> "
        f"{proof.weights_after:,} weights; {task.difference} on "
        f"{len(batches)} batches {proof.max_difference:.2g}",
        flush=True,
    )
    return small, proof


def designed_net(net: tasks.Net, sizes: Optional[tasks.Sizes]) -> tasks.Net:
    """The net, or one of the sizes that its training began with, if others.

    Args:
      net: trained.
      sizes: of `restoring.designed_sizes`.
    """
    if sizes and not isinstance(sizes, Mapping):  # as version 1.0.0 wrote them
        sizes = dict(zip(net.sizes, sizes))
    if not sizes or dict(sizes) == dict(net.sizes):
        return net
    return net.resized(sizes)


def model_card(
    task: tasks.Task,
    net: tasks.Net,
    designed: tasks.Net,
    proof: shrinking.ShrinkReport,
    scores: Any = None,
) -> dict[str, Any]:
    """What stands beside an exported model: where it is from, what it can.

    Args:
      task: that it is of.
      net: before it was shrunk.
      designed: net of the sizes before anything was cut.
      proof: of the shrinking.
      scores: see `tasks.Task.card`.
    """
    return {
        "data": task.data,
        "command": machine.command_line(task.module),
        "units before": {name: designed.sizes[name] for name in proof.before},
        "units after": proof.after,
        "weights before": counting.count_weights(designed),
        "weights after": proof.weights_after,
        **task.card(net, proof, scores),
    }


@contextlib.contextmanager
def dense_exports(
    task: tasks.Task,
    run: runs.RunDirectory,
    designed: tasks.Net,
    net: tasks.Net,
    card: Mapping,
) -> Iterator[measuring.Exports]:
    """Exports of the dense model, to be measured.

    Where units were cut while it trained there are no dense weights, so only
    the measuring has a model of the designed sizes: it goes afterwards, and
    with it what an earlier end of the training wrote.

    Args:
      task: that it is of.
      run: its directory.
      designed: net of the sizes that training began with.
      net: the masked net; the same where nothing was cut in training.
      card: of the small net.
    """
    folder, card = run.path / MODELS, _with_units(card, designed)
    if designed is net:
        yield task.export(net, folder / DENSE, card)
        return
    remove_dense(run)
    untrained = folder / f".{DENSE}.partial"
    untrained.mkdir(parents=True, exist_ok=True)
    try:
        yield task.export(designed, untrained / DENSE, card)
    finally:
        files.remove(untrained)


def remove_dense(run: runs.RunDirectory) -> None:
    """Removes a dense model whose weights are not of this training's end."""
    for path in (run.path / MODELS).glob(f"{DENSE}*"):
        files.remove(path)


def export_small(
    task: tasks.Task,
    run: runs.RunDirectory,
    small: tasks.Net,
    card: Mapping,
) -> measuring.Exports:
    """Writes the compressed model, and its plain weights.

    Args:
      task: that it is of.
      run: its directory.
      small: without its dead units.
      card: of JSON values.

    Returns:
      See `tasks.Task.export`.
    """
    folder = run.path / MODELS
    written = task.export(
        small, folder / "compressed", _with_units(card, small)
    )
    restoring.save_weights(small, folder / WEIGHTS)
    export_checks.check_weights(small, folder / WEIGHTS)
    return written


def _with_units(card: Mapping, net: tasks.Net) -> dict[str, Any]:
    return {**card, "units": dict(net.sizes)}


def write_small(
    task: tasks.Task,
    mode: str,
    run: runs.RunDirectory,
    trained: tasks.Trained,
    origin: Origin = Origin(),
    display_weights: bool = False,
) -> None:
    """Modes shrink and export: plain weights, or models that run alone.

    Args:
      mode: which of them; the others: see `finish`.
    """
    task.finalize_weights(trained)
    net = trained.net
    export_checks.kept_blocks(origin.pruning, net, task.trains)
    designed = designed_net(net, origin.designed_sizes)
    small, proof = shrink_proved(task, net)
    if display_weights:
        sections.draw(run, net, small, designed=designed, each=True)
    if mode == "shrink":
        path = run.path / WEIGHTS
        restoring.save_weights(small, path)
        task.print_scores(small)
        print(f"weights: {path}")
    else:
        card = model_card(task, net, designed, proof)
        export_small(task, run, small, card)
        if designed is net:
            task.export(net, run.path / MODELS / DENSE, _with_units(card, net))
        else:
            remove_dense(run)
        print(f"exported to {run.path / MODELS}")


def finish(
    task: tasks.Task,
    run: runs.RunDirectory,
    trained: tasks.Trained,
    rows: Sequence[Mapping] = (),
    origin: Origin = Origin(),
    compare_with: Sequence[str] = (),
    display_weights: bool = False,
) -> None:
    """Everything after training; writes the report last.

    Args:
      task: see `tasks.Task`.
      run: the run's directory.
      trained: weights as training left them.
      rows: of `metrics.csv`, for the curves.
      origin: of the weights.
      compare_with: directories of finished runs to show beside, e.g. of the
        dense baseline.
      display_weights: see `sections.draw`.
    """
    judged = task.judge(trained)
    net = judged.net
    blocks = export_checks.kept_blocks(origin.pruning, net, task.trains)
    designed = designed_net(net, origin.designed_sizes)
    small, proof = shrink_proved(task, net)
    card = model_card(task, net, designed, proof, judged.scores)
    compressed = export_small(task, run, small, card)
    packed = _packed(task, small, run.path / MODELS)
    if packed is not None and packed.folder is not None:
        export_checks.check_packed(small, packed.folder)
    reloaded, notes = task.check_reloaded(
        next(iter(compressed.values())), judged
    )
    with dense_exports(task, run, designed, net, card) as dense:
        models = [
            measuring.Model(tables.TRAINED, net, dense, judged.scores)
            if designed is net
            else measuring.Model(tables.DESIGNED, designed, dense),
            measuring.Model(tables.SHRUNK, small, compressed, reloaded),
        ]
        measured = measuring.measure(
            task,
            models,
            packed,
            sections.other_runs(compare_with),
            metrics.number(rows[-1], "seconds") / 60 if rows else None,
        )
    table = _table(task, judged, measured)
    size = (
        size_flags.outcome(origin.size, small, designed)
        if origin.size
        else None
    )
    summary = measuring.summary(task, measured, designed.sizes, size)
    sparsity = sections.sparsity_table(small, designed)
    epochs = sections.epochs_table(rows, **task.epochs)
    drawn = sections.draw(
        run, net, small, rows, designed, display_weights, **task.curves(rows)
    )
    path = documents.write_report(
        run.path,
        {
            "title": task.title,
            "summary": summary,
            "command": machine.command_line(task.module),
            "method": task.method,
            "data": task.data,
            **({"weights": origin.weights} if origin.weights else {}),
            "table": table,
            "sparsity": sparsity,
            **({"epochs": epochs} if rows else {}),
            **({"size": size} if size else {}),
            **sections.cuts_section(run),
            **({"kept by pruning": blocks} if blocks else {}),
            **({"units that were not cut": judged.kept} if judged.kept else {}),
            **sections.packed_section(packed),
            f"{task.difference} when shrunk": proof.max_difference,
            **notes,
            "plots": drawn,
        },
    )
    print(
        table.text(),
        sparsity.text(),
        # Of interest where it shows how training got faster.
        *([epochs.text()] if rows and designed is not net else []),
        summary,
        f"report: {path}",
        sep="\n\n",
        flush=True,
    )


def _table(
    task: tasks.Task, judged: tasks.Judged, measured: measuring.Measured
) -> tables.Table:
    """What was measured, beside other runs and the papers."""
    columns = [*measured.others]
    if judged.as_trained is not None:
        columns.append(
            measuring.column(task, AS_TRAINED, judged.net, judged.as_trained)
        )
    columns += [*measured.columns, *task.shown_papers]
    return tables.Table(
        columns,
        sections.known_measures(columns, task.measures),
        f"{task.title} (times taken in turn; speedup over '{measured.base}')",
    )


def _packed(
    task: tasks.Task, net: tasks.Net, folder: pathlib.Path
) -> Optional[nets.Packed]:
    """See `tasks.Task.pack`; what it needs may be missing, and is named."""
    try:
        return task.pack(net, folder)
    except ImportError as error:
        print(f"not packed: {error}", flush=True)
        return None
