"""What the examples share: their flags, and a table of models side by side."""

import argparse
from collections.abc import Callable, Mapping, Sequence
import os
import pathlib
import statistics
import tempfile
import time
from typing import Any, Optional

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

TIMED = 32  # examples of a batch whose time is taken


def arguments(
    description: str,
    epochs: int,
    examples: int,
    strength: Optional[float] = None,
    target: Optional[float] = None,
    threshold: float = 2e-3,
    argv: Optional[Sequence[str]] = None,
) -> argparse.Namespace:
    """The flags of an example.

    Args:
      description: the docstring of the program.
      epochs: how long each model trains, if nothing else is asked for.
      examples: how many it trains on, if nothing else is asked for.
      strength: of the group lasso, if nothing else is asked for; or None.
      target: share of the units to stay, instead; or None.
      threshold: below which weights become zero, if nothing else is asked for.
      argv: without the program's name; None takes the command line's.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, kind, default, what in (
        ("epochs", _count, epochs, "of each training"),
        ("examples", _count, examples, "to train on"),
        ("strength", float, strength, "of the group lasso")
        if target is None
        else ("target", float, target, "share of the units to stay"),
        # Adam's steps are about as long as its rate, however small the
        # gradient: what is dead trembles by more than the usual 1e-4.
        ("threshold", float, threshold, "below which a weight becomes zero"),
        ("seed", int, 1, "of data, weights and order"),
    ):
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            help=f"{what} (%(default)s)",
        )
    parser.add_argument(
        "--scratch",
        action="store_true",
        help="train a third model: new, of the small one's sizes",
    )
    parser.add_argument(
        "--out", help="folder to keep the models' .keras files in (none)"
    )
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


class Lines(tf.keras.callbacks.Callback):
    """Prints a line an epoch: costs, and the units that live.

    Args:
      title: of the training.
    """

    def __init__(self, title: str):
        super().__init__()
        self.title = title

    def on_epoch_end(self, epoch, logs=None):
        units = [str(int(v)) for k, v in logs.items() if k.startswith("units/")]
        print(
            f"{self.title}, epoch {epoch + 1}/{self.params['epochs']}: "
            f"loss {logs['loss']:.4f}, validation {logs['val_loss']:.4f}"
            + (f", units {' + '.join(units)}" if units else ""),
            flush=True,
        )


def fit_best(model, x, y, title: str = "dense", **options) -> None:
    """`model.fit`, and the weights of the epoch that validated best.

    So a dense model that trained too long loses nothing beside a smaller one.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/best.weights.h5"
        best = tf.keras.callbacks.ModelCheckpoint(
            path, save_best_only=True, save_weights_only=True
        )
        model.fit(x, y, callbacks=[best, Lines(title)], **options)
        model.load_weights(path)


def side_by_side(args, dense, small, x, y, **options) -> dict[str, Any]:
    """What the table shows; with `--scratch` also a third model.

    That is new, of the small one's sizes, and trained as the dense one was.
    """
    models = {"dense": dense, "small": small}
    if args.scratch:
        new = tf.keras.models.clone_model(small)
        optimizer = type(dense.optimizer)
        new.compile(
            optimizer.from_config(dense.optimizer.get_config()), dense.loss
        )
        fit_best(new, x, y, "scratch", **options)
        models["scratch"] = new
    return models


def units(model) -> list[int]:
    """Units of the model's recurrent layers, in their order."""
    found = []
    for layer in model.layers:
        both = isinstance(layer, tf.keras.layers.Bidirectional)
        for each in (
            (layer.forward_layer, layer.backward_layer) if both else (layer,)
        ):
            if isinstance(each, tf.keras.layers.RNN):
                found.append(each.units)
    return found


def table(
    models: Mapping[str, Any],
    inputs: Any,
    score: Callable[[Any], float],
    score_name: str,
    out: Optional[str] = None,
) -> list[dict[str, Any]]:
    """Measures models, and prints them side by side.

    Args:
      models: by names.
      inputs: as the models take them; the first of them are timed.
      score: of a model, on data that no training has seen.
      score_name: what it is.
      out: folder where the models' files stay.

    Returns:
      A row per model: model, units, weights, bytes, ms, score.
    """
    batch = tf.nest.map_structure(
        lambda a: tf.convert_to_tensor(a[:TIMED]), inputs
    )
    times = in_turn(list(models.values()), batch)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(out or folder)
        place.mkdir(parents=True, exist_ok=True)
        for (name, model), ms in zip(models.items(), times):
            path = place / f"{name}.keras"
            _without_optimizer(model).save(path)
            rows.append(
                {
                    "model": name,
                    "units": units(model),
                    "weights": model.count_params(),
                    "bytes": path.stat().st_size,
                    "ms": ms,
                    "score": score(model),
                }
            )
    print(
        f"\nms: of a batch of {TIMED}, the models in turn; "
        f"score: {score_name}, on data of its own\n"
    )
    form = "{:<8} {:>12} {:>9} {:>9} {:>8} {:>8}".format
    print(form(*rows[0]))
    for row in rows:
        print(
            form(
                row["model"],
                " + ".join(map(str, row["units"])),
                f"{row['weights']:,}",
                f"{row['bytes']:,}",
                f"{row['ms']:.2f}",
                f"{row['score']:.4f}",
            )
        )
    return rows


def _without_optimizer(model):
    """The model as it is shipped: an optimizer's slots weigh twice as much."""
    bare = tf.keras.models.clone_model(model)
    bare.set_weights(model.get_weights())
    return bare


def in_turn(models: Sequence, batch: Any, rounds: int = 30) -> list[float]:
    """Median milliseconds of each model's call on a batch.

    They take turns, so that a slow spell of the machine hits all of them.
    """
    calls = [tf.function(model) for model in models]
    for call in calls:  # the first call compiles
        call(batch)
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, seconds):
            start = time.perf_counter()
            np.asarray(call(batch))
            taken.append(time.perf_counter() - start)
    return [1e3 * statistics.median(taken) for taken in seconds]
