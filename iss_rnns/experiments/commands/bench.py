"""Models side by side: size, and time of a batch, measured in turn.

    iss-rnns bench model.keras small.keras --batch=1 --steps=100

Speedups are over the first. Taking turns lets a slow spell of the machine hit
all alike. Takes Keras models, compressed models, and runs, of which their
compressed model. Models with the same inputs get the same random ones.
"""

from collections.abc import Callable, Sequence
import statistics
from typing import Any, Optional

from absl import flags
import numpy as np

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import files
from iss_rnns import timing
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program_flags
from iss_rnns.experiments.commands import keras_version
from iss_rnns.experiments.commands import options
from iss_rnns.experiments.commands import sources
from iss_rnns.experiments.reports import tables

FLAGS = flags.FLAGS
WARMUP = 2  # the first call compiles
MEASURES = {
    "bytes": "",
    "weights": "",
    "mult-adds a step": "",
    "ms, median": ".3f",
    "ms, quartiles": ".3f",
    "times as fast": ".2f",
}


def define_flags() -> None:
    """Flags of the command."""
    with program_flags.group("Model"):
        options.define_trust()
    with program_flags.group("Measuring"):
        for name, default, what in (
            ("batch", 1, "Examples of a batch, where a model leaves it open."),
            ("steps", 100, "Time steps, where a model leaves them open."),
            ("rounds", 15, "Calls of each model that are timed."),
        ):
            flags.DEFINE_integer(name, default, what, lower_bound=1)
    with program_flags.group("Output"):
        flags.DEFINE_string(
            "out",
            None,
            "Folder for the table as Markdown. Default: none is written.",
        )


def main(argv):
    """Measures and prints."""
    given = options.paths(argv, "the models to compare", least=2)
    found = [of_run(sources.read(path)) for path in given]
    keras_version.prepare(found)
    table = measured(found, FLAGS.batch, FLAGS.steps, FLAGS.rounds, FLAGS.trust)
    print(table.text())
    if FLAGS.out:
        path = files.make_folder(FLAGS.out) / "bench.md"
        files.write_text(path, f"## {table.title}\n\n{table.markdown()}\n")
        print(f"wrote {files.shown(path)}")


def of_run(source: sources.Source) -> sources.Source:
    """What is measured of a run: its compressed model.

    Raises:
      UserError: it has none.
    """
    if source.kind != sources.RUN:
        return source
    path = source.path / sources.COMPRESSED_BELOW
    if not path.is_dir():
        raise errors.UserError(
            f"run {source.shown} has no compressed model at "
            f"{sources.COMPRESSED_BELOW}; finish it first"
        )
    return sources.read(path)


def measured(
    models: Sequence[sources.Source],
    batch: int,
    steps: int,
    rounds: int,
    trust: bool = False,
) -> tables.Table:
    """The table.

    Args:
      models: to measure; the first is what others are compared with.
      batch: examples of a batch.
      steps: time steps.
      rounds: calls of each that count.
      trust: see `models.load`.

    Raises:
      UserError: one cannot be loaded or run.
    """
    columns: list[tables.Column] = []
    runners: dict[str, Callable[[], Any]] = {}
    for source in models:
        title = tables.unique(source.shown, columns)
        values, runners[title] = (
            _of_keras(source, batch, steps, trust)
            if source.kind in sources.OF_KERAS
            else _compressed(source, batch, steps)
        )
        columns.append(tables.Column(title, {"bytes": source.bytes, **values}))
        _try(source, runners[title])
    seconds = timing.time_in_turn(runners, rounds, WARMUP)
    base = statistics.median(seconds[columns[0].title])
    timed = [
        tables.Column(c.title, {**c.values, **_times(seconds[c.title], base)})
        for c in columns
    ]
    return tables.Table(timed, MEASURES, f"batch {batch}, {steps} steps")


def _times(seconds: Sequence[float], base: float) -> dict[str, Any]:
    median = statistics.median(seconds)
    low, high = np.quantile(seconds, [0.25, 0.75])
    return {
        "ms, median": 1e3 * median,
        "ms, quartiles": (1e3 * low, 1e3 * high),
        "times as fast": base / median,
    }


def _try(source: sources.Source, runner: Callable[[], Any]) -> None:
    from iss_rnns.experiments.commands import models

    with models.running(source):
        runner()


def _of_keras(source: sources.Source, batch: int, steps: int, trust: bool):
    import tensorflow as tf

    from iss_rnns.experiments.commands import models

    model = models.load(source, trust)
    inputs = models.Inputs(model).random(batch, steps)
    call = tf.function(lambda x: model(x, training=False))

    def run():
        for output in tf.nest.flatten(call(inputs)):
            np.asarray(output)  # when it is there, the work is done

    return {
        "weights": counting.count_weights(model),
        "mult-adds a step": counting.mult_adds(model),
    }, run


def _compressed(source: sources.Source, batch: int, steps: int):
    from iss_rnns import export

    model: Any = export.load(source.path)
    symbols: Optional[int] = getattr(model, "num_symbols", None)
    if symbols:
        ids = np.random.default_rng(0).integers(0, symbols, (batch, steps))
        return {}, lambda: model(ids)
    specs = getattr(model, "inputs", None)
    if specs is None:
        raise errors.UserError(
            f"{source.shown} holds packed layers, which nobody can call "
            "together; give its SavedModel"
        )
    from iss_rnns.experiments.commands import models

    random = np.random.default_rng(0)
    values = {
        name: models.drawn(random, spec, models.sizes(spec, batch, steps), 2)
        for name, spec in specs.items()
    }
    return {}, lambda: {k: np.asarray(v) for k, v in model(**values).items()}


def start() -> None:
    """The whole program."""
    define_flags()
    main_lib.run_main(main)
