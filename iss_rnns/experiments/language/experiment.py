"""From a trained language model to small files and a table beside the paper.

What the language-model tasks do after training: evaluate the masked model,
shrink it and prove the outputs equal, export, reload and evaluate again,
measure, and report.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Optional

import numpy as np

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import shrinking
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import packed as packed_lib
from iss_rnns.experiments.language import serving
from iss_rnns.experiments.language import texts as texts_lib
from iss_rnns.experiments.reports import latency as latency_lib
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.sparse import nets

LATENCY_BATCH, LATENCY_STEPS = 10, 30  # the paper's setting

MEASURES = {
    "lambda": "g",
    "units": "",
    "weights (M)": ".3f",
    "nonzero weights (M)": ".3f",
    "sparsity": ".3f",
    "mult-adds per token": ",d",
    "mult-add reduction": ".2f",
    "SavedModel bytes": ",d",
    "valid perplexity": ".3f",
    "test perplexity": ".3f",
    "valid bits": ".4f",  # of characters only
    "test bits": ".4f",
    "ms per batch": ".2f",
    "speedup": ".2f",
    "ms per step, batch 1": ".3f",
    "packed bytes": ",d",
    tables.PACKED_SPEEDUP: ".2f",
    **{tables.packed_speedup(batch): ".2f" for batch in nets.BATCH_SIZES},
}


def shrink_proved(
    net, texts: texts_lib.Texts, batches: int = 3
) -> tuple[object, shrinking.ShrinkReport]:
    """Shrinks a net's dead units; proves it on the first valid windows.

    Raises:
      UserError: if a layer lost every unit or the outputs differ.
    """
    small, proof = shrinking.shrink(
        net,
        net.iss_groups(),
        list(texts.valid[0][:batches]),
        # Final states shrink with the layers.
        lambda each, batch: each(batch, training=False)[0],
    )
    print(
        f"shrunk {_sizes(proof.before)} -> {_sizes(proof.after)} units, "
        f"{proof.weights_before:,} -> {proof.weights_after:,} weights; "
        f"largest difference of a logit on {batches} batches "
        f"{proof.max_difference:.2g}",
        flush=True,
    )
    return small, proof


def model_card(
    designed,
    proof: shrinking.ShrinkReport,
    texts: texts_lib.Texts,
    scores: Mapping[str, float],
    command: str,
) -> dict:
    """What stands beside an exported model: where it is from, what it can.

    Args:
      designed: net of the sizes before anything was cut.
      proof: of the shrinking.
      texts: see `Texts`.
      scores: of `evaluate`; the proof says that the small net's are equal.
      command: that made the model.
    """
    return {
        "data": texts.corpus.description,
        "units before": _unit_counts(designed),
        "units after": proof.after,
        "weights before": counting.count_weights(designed),
        "weights after": proof.weights_after,
        **texts_lib.with_bits(scores, texts),
        "command": command,
        "intended use": "predicting the next symbol of text like the data",
        "limits": "knows only the words of vocabulary.txt; the states of a "
        "text's start are zeros",
    }


def export_both(
    net,
    small,
    run: runs.RunDirectory,
    texts: texts_lib.Texts,
    card: Mapping,
    latency: bool,
    trained: bool = True,
) -> dict[str, pathlib.Path]:
    """Writes the dense and the compressed SavedModel and plain weights.

    Args:
      net: the masked net, or an untrained one of the designed sizes.
      small: the shrunk one.
      run: its directory; files go below `saved_model/`.
      texts: for the vocabulary.
      card: of the compressed model.
      latency: also write the fixed-shape TensorFlow Lite models.
      trained: whether `net` is.

    Returns:
      Paths by name: dense, compressed (and dense_latency, ...).
    """
    folder = run.path / "saved_model"
    symbols = texts.corpus.symbols
    paths = {}
    for name, model in (("dense", net), ("compressed", small)):
        paths[name] = serving.save_compressed(
            model,
            folder / name,
            symbols,
            {
                **(
                    card
                    if trained or model is small
                    else sections.untrained(card)
                ),
                "units": list(_unit_counts(model).values()),
            },
        )
        if latency:
            paths[f"{name}_latency"] = serving.save_latency(
                model, folder / f"{name}_1x1.tflite"
            )
    restoring.save_weights(small, folder / "compressed.npz")
    return paths


def check_reloaded(
    path: pathlib.Path,
    masked_test: float,
    texts: texts_lib.Texts,
    tolerance: float = 1e-4,
) -> float:
    """Test perplexity of the reloaded export, equal to the masked model's.

    Raises:
      UserError: if they differ by more than `tolerance`, relative.
    """
    reloaded = language_model.Evaluator(serving.Served(path)).perplexity(
        *texts.test
    )
    if abs(reloaded / masked_test - 1) > tolerance:
        raise errors.UserError(
            f"the exported model {path} has test perplexity {reloaded:.4f}, "
            f"the masked one {masked_test:.4f}: the export is not faithful"
        )
    return reloaded


def measure(
    paths: Mapping[str, pathlib.Path], vocab_size: int, rounds: int = 7
) -> dict[str, float]:
    """Median seconds of each export.

    A batch of 10 x 30 through a SavedModel or a packed model, one step of one
    sequence through a TensorFlow Lite model.
    """
    tokens = (
        np.random.default_rng(0)
        .integers(0, vocab_size, (LATENCY_BATCH, LATENCY_STEPS))
        .astype(np.int32)
    )

    def runner(path):
        if packed_lib.is_language_model(path):
            model = packed_lib.load_language_model(path)
            return lambda: model(tokens)[0].shape
        if path.is_file():
            latency = serving.LatencyRunner(path)
            return lambda: latency.step(int(tokens[0, 0]))
        served = serving.Served(path)
        states = served.zero_states(LATENCY_BATCH)
        return lambda: served.run(tokens, states)[0].numpy().shape

    return latency_lib.measure_latency(
        {name: runner(path) for name, path in paths.items()}, rounds, warmup=2
    )


def finish(
    run: runs.RunDirectory,
    net,
    texts: texts_lib.Texts,
    command: str,
    paper: Sequence[tables.Column] = (),
    rows: Sequence[Mapping] = (),
    designed=None,
    compare_with: Sequence[str] = (),
    latency: bool = False,
    title: str = "",
    method: str = "",
    strength: Optional[float] = None,
    display_weights: bool = False,
) -> dict:
    """Everything after training; writes the report last.

    Args:
      run: the run's directory.
      net: trained, its small weights already exact zeros.
      texts: see `Texts`.
      command: that made the model, for the card.
      paper: columns of the published rows to show beside.
      rows: of `metrics.csv`, for the curves.
      designed: a net of the sizes that training started with, for its size
        and speed, if `net` was shrunk while it trained; None, or one of the
        same sizes, means that `net` still has them.
      compare_with: directories of finished runs to show beside, e.g. of the
        dense baseline.
      latency: see `export_both`.
      title: of the report.
      method: that made the net small, as tables of runs name it.
      strength: of its group lasso, the paper's lambda; None if unknown.
      display_weights: see `sections.draw`.

    Returns:
      The report.
    """
    if designed is None or _unit_counts(designed) == _unit_counts(net):
        designed = net
    masked = texts_lib.evaluate(net, texts)
    small, proof = shrink_proved(net, texts)
    card = model_card(designed, proof, texts, masked, command)
    paths = export_both(
        designed, small, run, texts, card, latency, trained=designed is net
    )
    packed = packed_lib.pack_language_model(small, run.path / "saved_model")
    if packed:
        paths["packed"] = packed.folder / nets.MODEL_FILE
    reloaded = check_reloaded(
        paths["compressed"], masked["test perplexity"], texts
    )
    seconds = measure(paths, len(texts.corpus.symbols))
    columns = []
    scores = (
        masked if designed is net else {},
        {
            "valid perplexity": masked["valid perplexity"],
            "test perplexity": reloaded,
        },
    )
    titles = (
        tables.TRAINED if designed is net else tables.DESIGNED,
        tables.SHRUNK,
    )
    for heading, name, model, score in zip(
        titles, ("dense", "compressed"), (designed, small), scores
    ):
        columns.append(
            tables.Column(
                heading,
                {
                    "lambda": strength,
                    "units": tuple(_unit_counts(model).values()),
                    "weights (M)": counting.count_weights(model) / 1e6,
                    **sections.nonzero_weights(model, designed),
                    "mult-adds per token": model.mult_adds(),
                    "mult-add reduction": designed.mult_adds()
                    / model.mult_adds(),
                    "SavedModel bytes": export.bytes_of(paths[name]),
                    **texts_lib.with_bits(score, texts),
                    "ms per batch": 1e3 * seconds[name],
                    "speedup": seconds["dense"] / seconds[name],
                    "ms per step, batch 1": 1e3 * seconds[f"{name}_latency"]
                    if latency
                    else None,
                    **(
                        {
                            tables.PACKED_SPEEDUP: seconds["dense"]
                            / seconds["packed"],
                            **sections.packed_measures(packed),
                        }
                        if packed and model is small
                        else {}
                    ),
                },
            )
        )
    columns += paper
    columns = sections.beside(sections.other_runs(compare_with), columns)
    table = tables.Table(
        columns, sections.known_measures(columns, MEASURES), title
    )
    sparsity = sections.sparsity_table(small, designed)
    epochs = sections.epochs_table(rows)
    data = {
        "title": title,
        "command": command,
        "method": method,
        "data": texts.corpus.description,
        "table": table,
        "sparsity": sparsity,
        **({"epochs": epochs} if rows else {}),
        **sections.cuts_section(run),
        **sections.packed_section(packed),
        "largest logit difference when shrunk": proof.max_difference,
        "ms per batch is for": f"batch {LATENCY_BATCH} x {LATENCY_STEPS} "
        "steps, whole model from the SavedModel",
        "plots": sections.draw(
            run,
            net,
            small,
            rows,
            designed,
            display_weights,
            **sections.curves_of(rows),
        ),
    }
    path = tables.write_report(run.path, data)
    print(
        table.text(),
        sparsity.text(),
        # Of interest where it shows how training got faster.
        *([epochs.text()] if rows and designed is not net else []),
        f"report: {path}",
        sep="\n\n",
        flush=True,
    )
    return data


def _unit_counts(net) -> dict[str, int]:
    return {group.name: group.size for group in net.iss_groups()}


def _sizes(units: Mapping[str, int]) -> str:
    return "(" + ", ".join(str(n) for n in units.values()) + ")"
