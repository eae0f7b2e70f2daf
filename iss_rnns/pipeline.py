"""From a trained language model to small files and a table beside the paper.

What the language-model tasks do after training: evaluate the masked model,
shrink it and prove the outputs equal, export, reload and evaluate again,
measure, and report.
"""

import dataclasses
import json
import math
import pathlib
import re
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from iss_rnns import corpora
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import language_model
from iss_rnns import packing
from iss_rnns import plots
from iss_rnns import report
from iss_rnns import restoring
from iss_rnns import runs
from iss_rnns import shrink
from iss_rnns import training

Windows = Tuple[np.ndarray, np.ndarray]  # ids [N, B, T] and the next ids

# What is the same in every name and would only widen tables.
_SCOPES = re.compile(
    "[Mm]odel/|RNN/multi_rnn_cell/|basic_(lstm|rnn)_cell/|gru_cell/|"
    "/Linear/Matrix$")

LATENCY_BATCH, LATENCY_STEPS = 10, 30  # the paper's setting


# What the table of epochs shows: titles, and names in `metrics.csv`.
SCORES = {"train perplexity": "train_perplexity",
          "valid perplexity": "valid_perplexity"}

BITS = {"measures": {"train_bits": "train", "valid_bits": "valid"},
        "ylabel": "bits a character"}

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
    report.PACKED_SPEEDUP: ".2f",
    **{report.packed_speedup(batch): ".2f"
       for batch in report.PACKED_BATCHES},
}


@dataclasses.dataclass(frozen=True)
class Texts:
    """The windows that perplexities are taken on, and who they come from.

    Attributes:
      corpus: vocabulary and description.
      valid: windows at the training batch and steps, as the authors do.
      test: windows at batch 1 and 1 step, as the authors do.
    """
    corpus: corpora.Corpus
    valid: Windows
    test: Windows

    @classmethod
    def of(cls, corpus: corpora.Corpus, batch_size: int, num_steps: int
           ) -> "Texts":
        """The authors' windows of a corpus."""
        return cls(corpus, corpora.batches(corpus.valid, batch_size,
                                           num_steps, "valid text"),
                   corpora.batches(corpus.test, 1, 1, "test text"))


def evaluate(net, texts: Texts, evaluator=language_model.Evaluator
             ) -> Dict[str, float]:
    """Valid and test perplexity of a net, or of what an evaluator takes."""
    evaluator = evaluator(net)
    result = {}
    for name in ("valid", "test"):
        with training.progress_bar(f"{name} perplexity") as progress:
            result[f"{name} perplexity"] = evaluator.perplexity(
                *getattr(texts, name), progress=progress)
    return result


def with_bits(scores: Mapping[str, float], texts: Texts) -> Dict[str, float]:
    """Perplexities, of characters also in bits a character."""
    bits = {name.replace("perplexity", "bits"): math.log2(value)
            for name, value in scores.items()}
    return {**scores, **(bits if texts.corpus.unit == "character" else {})}


def shrink_proved(net, texts: Texts, batches: int = 3
                  ) -> Tuple[object, shrink.ShrinkReport]:
    """Shrinks a net's dead units; proves it on the first valid windows.

    Raises:
      UserError: if a layer lost every unit or the outputs differ.
    """
    small, proof = shrink.shrink(net, net.iss_groups(),
                                 list(texts.valid[0][:batches]))
    print(f"shrunk {_sizes(proof.before)} -> {_sizes(proof.after)} units, "
          f"{proof.weights_before:,} -> {proof.weights_after:,} weights; "
          f"largest difference of a logit on {batches} batches "
          f"{proof.max_difference:.2g}", flush=True)
    return small, proof


def model_card(designed, proof: shrink.ShrinkReport, texts: Texts,
               scores: Mapping[str, float], command: str) -> Dict:
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
        "units before": _unit_counts(designed), "units after": proof.after,
        "weights before": shrink.count_weights(designed),
        "weights after": proof.weights_after, **with_bits(scores, texts),
        "command": command,
        "intended use": "predicting the next symbol of text like the data",
        "limits": "knows only the words of vocabulary.txt; the states of a "
                  "text's start are zeros",
    }


def untrained(card: Mapping) -> Dict:
    """The card of a net that only has the sizes that training began with."""
    return {**{name: value for name, value in card.items()
               if "perplexity" not in name and "bits" not in name},
            "intended use": "none but comparing size and speed: the weights "
                            "are random; dead units were cut out while the "
                            "model trained, so no trained one has these sizes"}


def export_both(net, small, run: runs.RunDirectory, texts: Texts,
                card: Mapping, latency: bool, trained: bool = True
                ) -> Dict[str, pathlib.Path]:
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
        paths[name] = export.save_compressed(
            model, folder / name, symbols,
            {**(card if trained or model is small else untrained(card)),
             "units": list(_unit_counts(model).values())})
        if latency:
            paths[f"{name}_latency"] = export.save_latency(
                model, folder / f"{name}_1x1.tflite")
    restoring.save_weights(small, folder / "compressed.npz")
    return paths


def check_reloaded(path: pathlib.Path, masked_test: float, texts: Texts,
                   tolerance: float = 1e-4) -> float:
    """Test perplexity of the reloaded export, equal to the masked model's.

    Raises:
      UserError: if they differ by more than `tolerance`, relative.
    """
    reloaded = language_model.Evaluator(
        export.Served(path)).perplexity(*texts.test)
    if abs(reloaded / masked_test - 1) > tolerance:
        raise errors.UserError(
            f"the exported model {path} has test perplexity {reloaded:.4f}, "
            f"the masked one {masked_test:.4f}: the export is not faithful")
    return reloaded


def measure(paths: Mapping[str, pathlib.Path], vocab_size: int,
            rounds: int = 7) -> Dict[str, float]:
    """Median seconds of each export.

    A batch of 10 x 30 through a SavedModel or a packed model, one step of one
    sequence through a TensorFlow Lite model.
    """
    tokens = np.random.default_rng(0).integers(
        0, vocab_size, (LATENCY_BATCH, LATENCY_STEPS)).astype(np.int32)

    def runner(path):
        if packing.is_language_model(path):
            model = packing.load_language_model(path)
            return lambda: model(tokens)[0].shape
        if path.is_file():
            latency = export.LatencyRunner(path)
            return lambda: latency.step(int(tokens[0, 0]))
        served = export.Served(path)
        states = served.zero_states(LATENCY_BATCH)
        return lambda: served.run(tokens, states)[0].numpy().shape

    return report.measure_latency(
        {name: runner(path) for name, path in paths.items()}, rounds,
        warmup=2)


def finish(run: runs.RunDirectory, net, texts: Texts, command: str,
           paper: Sequence[report.Column] = (), rows: Sequence[Mapping] = (),
           designed=None, compare_with: Sequence[str] = (),
           latency: bool = False, title: str = "", method: str = "",
           strength: Optional[float] = None,
           display_weights: bool = False) -> Dict:
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
      display_weights: see `draw`.

    Returns:
      The report.
    """
    if designed is None or _unit_counts(designed) == _unit_counts(net):
        designed = net
    masked = evaluate(net, texts)
    small, proof = shrink_proved(net, texts)
    card = model_card(designed, proof, texts, masked, command)
    paths = export_both(designed, small, run, texts, card, latency,
                        trained=designed is net)
    packed = packing.pack_language_model(small, run.path / "saved_model")
    if packed:
        paths["packed"] = packed.folder / packing.MODEL_FILE
    reloaded = check_reloaded(paths["compressed"],
                              masked["test perplexity"], texts)
    seconds = measure(paths, len(texts.corpus.symbols))
    columns = []
    scores = (masked if designed is net else {},
              {"valid perplexity": masked["valid perplexity"],
               "test perplexity": reloaded})
    titles = (report.TRAINED if designed is net else report.DESIGNED,
              report.SHRUNK)
    for heading, name, model, score in zip(
            titles, ("dense", "compressed"), (designed, small), scores):
        columns.append(report.Column(heading, {
            "lambda": strength, "units": tuple(_unit_counts(model).values()),
            "weights (M)": shrink.count_weights(model) / 1e6,
            **nonzero_weights(model, designed),
            "mult-adds per token": model.mult_adds(),
            "mult-add reduction": designed.mult_adds() / model.mult_adds(),
            "SavedModel bytes": export.bytes_of(paths[name]),
            **with_bits(score, texts),
            "ms per batch": 1e3 * seconds[name],
            "speedup": seconds["dense"] / seconds[name],
            "ms per step, batch 1": 1e3 * seconds[f"{name}_latency"]
            if latency else None,
            **({report.PACKED_SPEEDUP: seconds["dense"] / seconds["packed"],
                **packed.measures()} if packed and model is small else {}),
        }))
    columns += paper
    columns = beside(other_runs(compare_with), columns)
    table = report.Table(columns, known_measures(columns, MEASURES), title)
    sparsity = sparsity_table(small, designed)
    epochs = epochs_table(rows)
    data = {
        "title": title, "command": command, "method": method,
        "data": texts.corpus.description, "table": table,
        "sparsity": sparsity, **({"epochs": epochs} if rows else {}),
        **cuts_section(run), **packed_section(packed),
        "largest logit difference when shrunk": proof.max_difference,
        "ms per batch is for": f"batch {LATENCY_BATCH} x {LATENCY_STEPS} "
                               "steps, whole model from the SavedModel",
        "plots": draw(run, net, small, rows, designed, display_weights,
                      **curves_of(rows)),
    }
    path = report.write_report(run.path, data)
    print(table.text(), sparsity.text(),
          # Of interest where it shows how training got faster.
          *([epochs.text()] if rows and designed is not net else []),
          f"report: {path}", sep="\n\n", flush=True)
    return data


def known_measures(columns: Sequence[report.Column],
                   measures: Mapping[str, str]) -> Dict[str, str]:
    """Those measures, and their formats, that some column has."""
    known = {measure for column in columns
             for measure, value in column.values.items() if value is not None}
    return {measure: spec for measure, spec in measures.items()
            if measure in known}


def nonzero_weights(net, designed) -> Dict[str, float]:
    """How many weights are left, and what fraction of the design is gone."""
    left = sum(int(tf.math.count_nonzero(v)) for v in net.trainable_variables)
    return {"nonzero weights (M)": left / 1e6,
            "sparsity": 1. - left / shrink.count_weights(designed)}


def packed_section(packed: Optional[packing.Packed]) -> Dict:
    """A report's section on packed products; nothing if there are none."""
    if packed is None:
        return {}
    print(f"packed for sparse inference: {packed.dense_bytes:,} -> "
          f"{packed.packed_bytes:,} bytes in {packed.folder}", flush=True)
    return {"packed for sparse inference": packed.table()}


def sparsity_table(small, designed) -> report.Table:
    """Fractions of zeros of every matrix: elements, rows, columns.

    Of the matrix as designed, where what was cut counts as zeros; and, if
    anything was cut, of what is left of it.

    Args:
      small: net without its dead units.
      designed: net of the sizes before anything was cut.
    """
    columns, cut = [], False
    shapes = _matrix_shapes(designed)
    for name, view in small.tf1_views().items():
        if len(view.shape) != 2:
            continue
        array, name = view.read(), _SCOPES.sub("", name)
        cut = cut or array.shape != shapes[name]
        columns.append(report.Column(name, {
            **report.matrix_sparsity(array, shapes[name]),
            **{f"{kind}, rest": value for kind, value in
               report.matrix_sparsity(array).items()}}))
    kinds, title = ["element", "row", "column"], "fractions of zeros"
    if cut:
        kinds += [f"{kind}, rest" for kind in kinds]
        title += " as designed, and of the rest once dead units are cut out"
    return report.Table(columns, dict.fromkeys(kinds, ".3f"), title)


def _matrix_shapes(net) -> Dict[str, Tuple[int, int]]:
    return {_SCOPES.sub("", name): tuple(view.shape)
            for name, view in net.tf1_views().items()
            if len(view.shape) == 2}


def cuts_section(run: runs.RunDirectory) -> Dict:
    """A report's section on the cuts of a training; nothing without any."""
    path = run.path / "cuts.json"
    cuts = json.loads(path.read_text()) if path.exists() else []
    if not cuts:
        return {}
    names = [f"step {cut['step']}" for cut in cuts]
    return {"cuts": report.Table([
        report.Column("units left", dict(zip(
            names, (tuple(cut["units"].values()) for cut in cuts)))),
        report.Column("change of the held-out cost, nats", dict(zip(
            names, (cut["cost_change"] for cut in cuts))))],
        dict.fromkeys(names, ""), "cuts while training")}


def epochs_table(rows: Sequence[Mapping], scores: Mapping[str, str] = SCORES,
                 speed: Tuple[str, str] = ("words/s", "words_per_second"),
                 counted: str = "epoch") -> report.Table:
    """Units, scores, speed and time of each epoch, a row for each.

    Below them the whole time, and what it would have been at the first
    epoch's speed: without the units that went while it trained.

    Args:
      rows: of `metrics.csv`.
      scores: what to show of them: titles and names.
      speed: title and name.
      counted: name of what tells the rows apart, a number that grows with
        the work done.
    """
    names = [f"{counted} {row[counted]}" for row in rows]
    seconds = [float(row["seconds"]) for row in rows]
    minutes = dict(zip(names, (s / 60 for s in np.diff([0., *seconds]))))
    if len(rows) > 1:
        minutes["all"] = seconds[-1] / 60
        minutes["all, at the first one's speed"] = (
            seconds[0] * int(rows[-1][counted]) / int(rows[0][counted]) / 60)

    def column(title, read):
        return report.Column(title, dict(zip(names, map(read, rows))))

    return report.Table([
        column("units", lambda row: tuple(
            int(float(value)) for key, value in row.items()
            if key.startswith("units/"))),
        *(column(title, lambda row, name=name: float(row[name]))
          for title, name in scores.items()),
        column(speed[0], lambda row: round(float(row[speed[1]]))),
        report.Column("minutes", minutes)],
        dict.fromkeys(minutes, ""), f"{counted}s")


def curves_of(rows: Sequence[Mapping]) -> Dict:
    """Arguments of `plots.training_curves`: of characters, bits are drawn."""
    return BITS if any(row.get("valid_bits") for row in rows) else {}


def draw(run: runs.RunDirectory, before, after,
         rows: Sequence[Mapping] = (), designed=None, each: bool = False,
         **curves) -> List[str]:
    """Draws weight patterns and curves; returns paths relative to the run.

    Without matplotlib, it says so and draws nothing.

    Args:
      run: its directory; the pictures go below `plots/`.
      before: net; after: net with the same TF1 names.
      rows: of `metrics.csv`, for the curves.
      designed: net of the sizes before anything was cut, if not `before`.
      each: draw every matrix by itself, too, below `plots/weights/`.
      **curves: further arguments of `plots.training_curves`.
    """
    try:
        return _draw(run.path / "plots", before, after, rows, designed, each,
                     curves)
    except plots.MissingError as error:
        print(f"note: {error}", flush=True)
        return []


def _draw(folder, before, after, rows, designed, each, curves) -> List[str]:
    folder.mkdir(exist_ok=True)
    pairs = [(_SCOPES.sub("", name), one.read(), other.read())
             for (name, one), other in zip(before.tf1_views().items(),
                                           after.tf1_views().values())
             if len(one.shape) == 2]
    plots.weight_pattern(folder / "weights.png", pairs,
                         _matrix_shapes(designed or before))
    drawn = ["plots/weights.png"]
    if each:
        (folder / "weights").mkdir(exist_ok=True)
        for name, *states in pairs:
            for when, state in zip(("before", "after"), states):
                file = f"{name.replace('/', '-')}_{when}.png"
                plots.matrix_pattern(folder / "weights" / file, state)
        print(f"pictures of the weights: {folder / 'weights'}", flush=True)
    if rows:
        plots.training_curves(folder / "training.png", rows, **curves)
        drawn.append("plots/training.png")
    return drawn


def other_runs(folders: Sequence[str]) -> List[Tuple[str, Dict]]:
    """Names and columns of finished runs; see `other_run`."""
    return [other_run(folder) for folder in folders]


def beside(others: Sequence[Tuple[str, Dict]],
           columns: Sequence[report.Column]) -> List[report.Column]:
    """Other runs' columns before those at hand; all titles differ."""
    result: List[report.Column] = []
    for name, values in others:
        result.append(report.Column(
            report.unique(name, [*result, *columns]), values))
    return [*result, *columns]


def other_run(folder: str) -> Tuple[str, Dict]:
    """Name and column of a finished run, to show beside another.

    Raises:
      UserError: if the folder holds no finished report.
    """
    path = pathlib.Path(folder) / "report.json"
    try:
        columns = json.loads(path.read_text(encoding="utf-8"))["table"]
        # A run that was shrunk while it trained has no trained dense model.
        values = dict(columns.get(report.TRAINED) or columns[report.SHRUNK])
        if isinstance(values.get("units"), list):
            values["units"] = tuple(values["units"])
    except (OSError, ValueError, LookupError, TypeError,
            AttributeError) as error:
        raise errors.UserError(
            f"cannot compare with {folder}: {path} is no finished report "
            f"({error})") from None
    return pathlib.Path(folder).name, values


def _unit_counts(net) -> Dict[str, int]:
    return {group.name: group.size for group in net.iss_groups()}


def _sizes(units: Mapping[str, int]) -> str:
    return "(" + ", ".join(str(n) for n in units.values()) + ")"
