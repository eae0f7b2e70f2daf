"""From a trained net to small files and a table beside the paper.

What follows training, whatever the task: cut the dead units and prove the
outputs equal, export, reload and score again, measure, report.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, Optional

from iss_rnns import counting
from iss_rnns import export
from iss_rnns import shrinking
from iss_rnns.experiments import machine
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments.reports import documents
from iss_rnns.experiments.reports import latency
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.sparse import nets

MODELS = "saved_model"  # folder of the exports, below a run's
WEIGHTS = "compressed.npz"
AS_TRAINED = "as trained"  # with units that are zeroed afterwards
ROUNDS = 9  # of the measurement

# Exports of a net: files by the measure that their time is called.
Files = Mapping[str, pathlib.Path]


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


def export_both(
    task: tasks.Task,
    run: runs.RunDirectory,
    net: tasks.Net,
    small: tasks.Net,
    card: Mapping,
    trained: bool,
) -> tuple[Files, Files]:
    """Writes the dense and the compressed model, and plain weights.

    Args:
      task: that they are of.
      run: its directory.
      net: the masked net, or an untrained one of the designed sizes.
      small: without its dead units.
      card: of the small net.
      trained: whether `net` is.

    Returns:
      Files of the dense and of the compressed model, see `tasks.Task.export`.
    """
    folder = run.path / MODELS
    dense, compressed = (
        task.export(model, folder / name, {**known, "units": dict(model.sizes)})
        for name, model, known in (
            ("dense", net, card if trained else sections.untrained(card)),
            ("compressed", small, card),
        )
    )
    restoring.save_weights(small, folder / WEIGHTS)
    return dense, compressed


def write_small(
    task: tasks.Task,
    mode: str,
    run: runs.RunDirectory,
    trained: tasks.Trained,
    designed_sizes: Optional[tasks.Sizes] = None,
    display_weights: bool = False,
) -> None:
    """Modes shrink and export: plain weights, or models that run alone.

    Args:
      mode: which of them; the others: see `finish`.
    """
    net = task.finalize_weights(trained)
    designed = designed_net(net, designed_sizes)
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
        export_both(task, run, designed, small, card, designed is net)
        print(f"exported to {run.path / MODELS}")


def finish(
    task: tasks.Task,
    run: runs.RunDirectory,
    trained: tasks.Trained,
    rows: Sequence[Mapping] = (),
    designed_sizes: Optional[tasks.Sizes] = None,
    compare_with: Sequence[str] = (),
    display_weights: bool = False,
) -> None:
    """Everything after training; writes the report last.

    Args:
      task: see `tasks.Task`.
      run: the run's directory.
      trained: weights as training left them.
      rows: of `metrics.csv`, for the curves.
      designed_sizes: that training began with, if the net was cut while it
        trained; None: the net still has them.
      compare_with: directories of finished runs to show beside, e.g. of the
        dense baseline.
      display_weights: see `sections.draw`.
    """
    judged = task.judge(trained)
    net = judged.net
    designed = designed_net(net, designed_sizes)
    small, proof = shrink_proved(task, net)
    card = model_card(task, net, designed, proof, judged.scores)
    dense, compressed = export_both(
        task, run, designed, small, card, designed is net
    )
    packed = task.pack(small, run.path / MODELS)
    reloaded, notes = task.check_reloaded(_saved_model(compressed), judged)
    models = [
        _Model(tables.TRAINED, net, dense, judged.scores)
        if designed is net
        else _Model(tables.DESIGNED, designed, dense),
        _Model(tables.SHRUNK, small, compressed, reloaded),
    ]
    columns = _columns(task, models, packed)
    if judged.as_trained is not None:
        columns.insert(0, _column(task, AS_TRAINED, net, judged.as_trained))
    columns = sections.with_other_runs(
        sections.other_runs(compare_with), [*columns, *task.paper]
    )
    table = tables.Table(
        columns, sections.known_measures(columns, task.measures), task.title
    )
    sparsity = sections.sparsity_table(small, designed)
    epochs = sections.epochs_table(rows, **task.epochs)
    drawn = sections.draw(
        run, net, small, rows, designed, display_weights, **task.curves(rows)
    )
    path = documents.write_report(
        run.path,
        {
            "title": task.title,
            "command": machine.command_line(task.module),
            "method": task.method,
            "data": task.data,
            "table": table,
            "sparsity": sparsity,
            **({"epochs": epochs} if rows else {}),
            **sections.cuts_section(run),
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
        f"report: {path}",
        sep="\n\n",
        flush=True,
    )


@dataclasses.dataclass(frozen=True)
class _Model:
    """An exported net, the title of its column, and what it reached."""

    title: str
    net: tasks.Net
    files: Files
    scores: Any = None


def _columns(
    task: tasks.Task, models: Sequence[_Model], packed: Optional[nets.Packed]
) -> list[tables.Column]:
    """The table's columns of the dense and of the compressed model."""
    (dense, compressed), (main, *_) = models, models[0].files
    files = {
        (model.title, measure): path
        for model in models
        for measure, path in model.files.items()
    }
    whole = packed and packed.folder / nets.MODEL_FILE
    if whole and whole.exists():
        files["packed", main] = whole
    seconds = latency.measure_latency(
        {key: task.runner(path) for key, path in files.items()}, ROUNDS, 2
    )
    speedups = {
        name: seconds[dense.title, main] / seconds[name, main]
        for name, measure in files
        if measure == main
    }
    columns = []
    for model in models:
        measures = {
            **task.facts(model.net),
            **sections.nonzero_weights(model.net, dense.net),
            "mult-add reduction": dense.net.mult_adds() / model.net.mult_adds(),
            "SavedModel bytes": export.bytes_of(_saved_model(model.files)),
            "speedup": speedups[model.title],
            **{
                measure: 1e3 * seconds[model.title, measure]
                for measure in model.files
            },
        }
        if packed and model is compressed:
            measures[tables.PACKED_SPEEDUP] = speedups.get("packed")
            measures.update(sections.packed_measures(packed))
        columns.append(
            _column(task, model.title, model.net, model.scores, measures)
        )
    return columns


def _column(task, title, net, scores, more=None) -> tables.Column:
    return tables.Column(
        title,
        {
            **net.sizes,
            "units": tuple(net.sizes.values()),
            "weights (M)": counting.count_weights(net) / 1e6,
            **({} if scores is None else task.shown(scores)),
            **(more or {}),
        },
    )


def _saved_model(files: Files) -> pathlib.Path:
    return next(iter(files.values()))
