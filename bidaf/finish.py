"""From a trained BiDAF to a small exported one and a table beside the paper.

What follows training: score the net, cut its dead units and prove the scores
equal, export, reload and score again, measure, report.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any, Callable, Optional

import numpy as np

from bidaf import model as model_lib
from bidaf import scoring
from bidaf import serving
from bidaf.data import sources
from bidaf.net import groups as groups_lib
from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import shrinking
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.reports import latency
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.sparse import nets

TITLE = "BiDAF"
AS_TRAINED = "as trained"  # with units that are masked afterwards
PROOF_BATCHES, PROOF_ROWS = 3, 16
TOLERANCE = 1e-4  # of probabilities

MEASURES = {
    "EM": ".2f",
    "F1": ".2f",
    **dict.fromkeys(groups_lib.PRUNABLE, ""),
    "weights (M)": ".3f",
    "nonzero weights (M)": ".3f",
    "sparsity": ".3f",
    "LSTM mult-adds per word": ",d",
    "SavedModel bytes": ",d",
    "ms, batch 1": ".2f",
    "speedup": ".2f",
    "packed bytes": ",d",
    **{tables.packed_speedup(batch): ".2f" for batch in nets.BATCH_SIZES},
}
EPOCHS = {
    "scores": {
        "train cost": "train_cost",
        "dev cost": "dev_cost",
        "dev EM": "dev_exact_match",
        "dev F1": "dev_f1",
    },
    "speed": ("questions/s", "questions_per_second"),
    "counted": "step",
}
CURVES = {
    "measures": {"dev_f1": "dev F1", "dev_exact_match": "dev EM"},
    "ylabel": "percent",
}


def paper_columns() -> list[tables.Column]:
    """ISS paper, Tables 3 (fine-tuned) and 4 (from scratch)."""
    columns = []
    for table, what in (
        ("iss_table3_bidaf_finetune", "Table 3"),
        ("iss_table4_bidaf_scratch", "Table 4"),
    ):
        for row in results.paper_rows(table):
            title = f"paper {what}: {row['method']}"
            if row["method"] == "baseline":  # It is the same in both.
                if columns:
                    continue
                title = "paper: baseline"
            columns.append(
                tables.Column(
                    title,
                    {
                        **{
                            name: row[name]
                            for name in ("EM", "F1", *groups_lib.PRUNABLE)
                            if name in row
                        },
                        "weights (M)": row.get("weights_M"),
                        "ms, batch 1": row.get("time_ms"),
                    },
                )
            )
    return columns


def proof_batches(questions: sources.Questions) -> list[dict[str, Any]]:
    """Real batches to prove equality on, short and long contexts."""
    indices = sources.by_length(questions.judged)
    last = max(len(indices) - PROOF_ROWS, 0)
    places = np.linspace(0, last, PROOF_BATCHES).astype(int)
    return [
        sources.judged_batch(questions, indices[i : i + PROOF_ROWS])
        for i in sorted(set(places.tolist()))
    ]


def shrink_proved(
    net: model_lib.BiDAF, questions: sources.Questions
) -> tuple[model_lib.BiDAF, shrinking.ShrinkReport]:
    """Cuts a net's dead units; proves its scores equal on real batches.

    Of a direction that lost every unit one of zeros stays.

    Raises:
      UserError: if the scores differ.
    """
    functions = {}

    def run(each, batch):
        if id(each) not in functions:
            functions[id(each)] = scoring.net_function(each, questions.vectors)
        outputs = functions[id(each)](batch)
        return [outputs[name] for name in serving.OUTPUTS if name in outputs]

    groups = net.iss_groups()
    small, proof = shrinking.shrink(
        net,
        groups,
        proof_batches(questions),
        run,
        TOLERANCE,
        groups_lib.kept_units(groups),
    )
    print(
        f"shrunk {_counts(proof.before)} -> {_counts(proof.after)} units, "
        f"{proof.weights_before:,} -> {proof.weights_after:,} weights; "
        f"largest difference of a probability {proof.max_difference:.2g}",
        flush=True,
    )
    return small, proof


def model_card(
    designed: model_lib.BiDAF,
    questions: sources.Questions,
    proof: shrinking.ShrinkReport,
    command: str,
) -> dict[str, Any]:
    """What stands beside an exported net: where it is from, what it can.

    Args:
      designed: net of the sizes before anything was cut.
      questions: that it was judged on.
      proof: of the shrinking.
      command: that made it.
    """
    return {
        "data": questions.description,
        "command": command,
        "units before": {name: designed.sizes[name] for name in proof.before},
        "units after": proof.after,
        "weights before": counting.count_weights(designed),
        "weights after": proof.weights_after,
        "largest difference of a probability": proof.max_difference,
        "intended use": "finding the answer to a question in a passage like "
        "those of the data",
        "limits": "the answer is always a stretch of one sentence of the "
        "passage; words without a vector are known by their "
        "characters only",
    }


def export_both(
    net: model_lib.BiDAF,
    small: model_lib.BiDAF,
    questions: sources.Questions,
    run: runs.RunDirectory,
    card: Mapping,
    trained: bool,
) -> dict[str, pathlib.Path]:
    """Writes the dense and the compressed SavedModel and plain weights.

    Args:
      net: the masked net, or an untrained one of the designed sizes.
      small: without its dead units.
      questions: for the vocabulary.
      run: its directory.
      card: of the small net.
      trained: whether `net` is.
    """
    folder = run.path / "saved_model"
    paths = {
        name: serving.save(
            each, questions, folder / name, {**known, "units": dict(each.sizes)}
        )
        for name, each, known in (
            ("dense", net, card if trained else sections.untrained(card)),
            ("compressed", small, card),
        )
    }
    restoring.save_weights(small, folder / "compressed.npz")
    return paths


def check_reloaded(
    served: serving.Served, net: model_lib.BiDAF, questions: sources.Questions
) -> float:
    """Largest difference of a reloaded export's scores from a net's.

    Raises:
      UserError: if it is above `TOLERANCE`.
    """
    difference = 0.0
    function = scoring.net_function(net, questions.vectors)
    for batch in proof_batches(questions):
        outputs = function(batch)
        for name, value in served(batch).items():
            # NumPy's maximum: Python's loses a NaN.
            difference = np.maximum(
                difference, np.abs(value.numpy() - outputs[name].numpy()).max()
            )
    if not difference <= TOLERANCE:
        raise errors.UserError(
            f"the exported model's scores differ from the net's by "
            f"{difference:.3g}: the export is not faithful"
        )
    return float(difference)


def measure(
    paths: Mapping[str, pathlib.Path],
    questions: sources.Questions,
    rounds: int = 9,
) -> dict[str, float]:
    """Median seconds of one question of middling length, by export."""
    indices = sources.by_length(questions.judged)
    batch = sources.judged_batch(questions, [indices[len(indices) // 2]])

    def runner(path):
        served = serving.Served(path)
        return lambda: served(batch)["start"].numpy().shape

    return latency.measure_latency(
        {name: runner(path) for name, path in paths.items()}, rounds, warmup=2
    )


def designed_net(
    net: model_lib.BiDAF, sizes: Optional[Mapping[str, int]]
) -> model_lib.BiDAF:
    """The net, or one of the sizes that training began with, if others."""
    same = not sizes or dict(sizes) == dict(net.sizes)
    return net if same else net.resized(sizes)


def finish(
    run: runs.RunDirectory,
    net: model_lib.BiDAF,
    questions: sources.Questions,
    command: str,
    batch_size: int,
    rules: scoring.Rules,
    trained: scoring.Scores,
    masked: scoring.Scores,
    rows: Sequence[Mapping] = (),
    compare_with: Sequence[str] = (),
    title: str = TITLE,
    method: str = "",
    plot_weights: bool = False,
    designed_sizes: Optional[Mapping[str, int]] = None,
    num_batches: int = 0,
    dump: Callable[[scoring.Scores, str], Any] = lambda scores, name: None,
) -> dict:
    """Everything after training; writes the report last.

    Args:
      run: the run's directory.
      net: trained and settled, see `loading.settle`.
      questions: to score on.
      command: that made the net, for the card.
      batch_size: of the scoring.
      rules: how answers are read off.
      trained: scores before dead units were masked.
      masked: scores of the net; the same if nothing was masked.
      rows: of `metrics.csv`, for the curves.
      compare_with: directories of finished runs to show beside this one.
      title: of the report.
      method: that made the net small, as tables of runs name it.
      plot_weights: also draw every matrix by itself, see `sections.draw`.
      designed_sizes: that training began with, if the net was cut while it
        trained.
      num_batches: of the scoring, as the others were made; 0 means all.
      dump: called with scores and a name for their answers' file.

    Returns:
      The report.
    """
    designed = designed_net(net, designed_sizes)
    small, proof = shrink_proved(net, questions)
    paths = export_both(
        designed,
        small,
        questions,
        run,
        model_card(designed, questions, proof, command),
        trained=designed is net,
    )
    packed = nets.pack(small.packable(), run.path / "saved_model")
    served = serving.Served(paths["compressed"])
    difference = check_reloaded(served, net, questions)
    scores = scoring.score(
        served, questions, batch_size, rules, num_batches, title="reloaded"
    )
    print(f"shrunk and reloaded: {scores}", flush=True)
    dump(trained, "as-trained")
    dump(scores, "shrunk")
    seconds = measure(paths, questions)
    columns = []
    if masked is not trained:
        columns.append(
            tables.Column(
                AS_TRAINED,
                {
                    "EM": trained.exact_match,
                    "F1": trained.f1,
                    **{key: net.sizes[key] for key in groups_lib.PRUNABLE},
                    "weights (M)": counting.count_weights(net) / 1e6,
                },
            )
        )
    for heading, name, each, reached in (
        (tables.TRAINED, "dense", net, masked)
        if designed is net
        else (tables.DESIGNED, "dense", designed, None),
        (tables.SHRUNK, "compressed", small, scores),
    ):
        columns.append(
            tables.Column(
                heading,
                {
                    "EM": reached and reached.exact_match,
                    "F1": reached and reached.f1,
                    **{key: each.sizes[key] for key in groups_lib.PRUNABLE},
                    "weights (M)": counting.count_weights(each) / 1e6,
                    **sections.nonzero_weights(each, designed),
                    "LSTM mult-adds per word": each.mult_adds(),
                    "SavedModel bytes": export.bytes_of(paths[name]),
                    "ms, batch 1": 1e3 * seconds[name],
                    "speedup": seconds["dense"] / seconds[name],
                    **(
                        sections.packed_measures(packed)
                        if packed and each is small
                        else {}
                    ),
                },
            )
        )
    columns += paper_columns()
    columns = sections.with_other_runs(
        sections.other_runs(compare_with), columns
    )
    table = tables.Table(
        columns, sections.known_measures(columns, MEASURES), title
    )
    sparsity = sections.sparsity_table(small, designed)
    data = {
        "title": title,
        "command": command,
        "method": method,
        "data": questions.description,
        "table": table,
        "sparsity": sparsity,
        **({"epochs": sections.epochs_table(rows, **EPOCHS)} if rows else {}),
        **sections.cuts_section(run),
        **sections.packed_section(packed),
        "largest difference of a probability when shrunk": proof.max_difference,
        "largest difference of a probability when reloaded": difference,
        "EM and F1 are for": f"{scores.questions:,} questions of "
        f"{questions.judged.name}; the paper's for the "
        "dev part of SQuAD 1.1",
        "ms is for": "one question of middling length, whole model from "
        "the SavedModel",
        "plots": sections.draw(
            run, net, small, rows, designed, plot_weights, **CURVES
        ),
    }
    path = tables.write_report(run.path, data)
    print(
        table.text(), sparsity.text(), f"report: {path}", sep="\n\n", flush=True
    )
    return data


def _counts(units: Mapping[str, int]) -> str:
    return "(" + ", ".join(map(str, units.values())) + ")"
