"""A forecaster of two GRUs: the temperature twelve hours ahead.

    python examples/forecaster.py

Trains on made-up hourly weather, dense and with a group lasso, cuts out the
units that died, and shows both on a year that neither has seen.
"""

import comparison
import numpy as np
import tensorflow as tf

import iss_rnns

STEPS = 12  # that are seen, each of two hours
AHEAD = 6
BATCH = 32


def weather(hours: int, seed: int) -> np.ndarray:
    """Temperature, pressure, wind and the hour of the day, each two hours.

    Days and years are sines. Fronts, a slow random walk back to zero, move
    the pressure first, then wind and temperature; and all of it is noisy.

    Returns:
      [hours / 2, 5] float32.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(hours)
    day, year = 2 * np.pi * t / 24, 2 * np.pi * t / 8766
    front = np.zeros(hours)
    for i in range(1, hours):
        front[i] = 0.98 * front[i - 1] + 0.2 * rng.standard_normal()
    late = np.concatenate([np.zeros(8), front[:-8]])  # hours behind
    clear = 1 / (1 + np.exp(-2 * late))  # days without clouds vary more
    noise = 0.3 * rng.standard_normal([3, hours])
    temperature = -np.cos(year) + (0.3 + clear) * np.sin(day - 2) + 0.8 * late
    wind = np.abs(front - late)
    columns = [
        temperature + noise[0],
        front + noise[1],
        wind + noise[2],
        np.sin(day),
        np.cos(day),
    ]
    return np.stack(columns, axis=1)[::2].astype("float32")


def windows(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Stretches of it, [count, STEPS, 5], and the temperature after each."""
    last = len(values) - STEPS - AHEAD
    starts = np.linspace(0, last, count).astype(int)
    x = values[starts[:, None] + np.arange(STEPS)]
    return x, values[starts + STEPS - 1 + AHEAD, :1]


def build(args) -> tf.keras.Model:
    """The model, compiled."""
    model = tf.keras.Sequential(
        [
            tf.keras.Input([STEPS, 5]),
            tf.keras.layers.GRU(64, return_sequences=True),
            tf.keras.layers.GRU(64),
            tf.keras.layers.Dense(1),
        ]
    )
    steps = args.epochs * -(-args.examples // BATCH)
    rate = tf.keras.optimizers.schedules.CosineDecay(1e-2, steps)
    model.compile(tf.keras.optimizers.Adam(rate), "mse")
    return model


def main(argv=None):
    """Trains both models.

    Returns:
      (the rows of the table, the report of the cut).
    """
    args = comparison.arguments(
        __doc__,
        epochs=15,
        examples=1000,
        strength=8e-3,
        threshold=1e-3,
        argv=argv,
    )
    # Two years to learn from, one to choose the dense model's best epoch
    # with, one to compare both on.
    year = 8766 // 2
    learn, valid, test = np.split(
        weather(4 * 8766, args.seed), [2 * year, 3 * year]
    )
    x, y = windows(learn, args.examples)
    options = {
        "epochs": args.epochs,
        "batch_size": BATCH,
        "validation_data": windows(valid, 1000),
        "verbose": 0,
    }
    x_test, y_test = windows(test, 2000)

    tf.keras.utils.set_random_seed(args.seed)
    dense = build(args)
    comparison.fit_best(dense, x, y, **options)

    tf.keras.utils.set_random_seed(args.seed)
    model = build(args)
    groups = iss_rnns.find_groups(model)
    print(groups)
    model.fit(
        x,
        y,
        callbacks=[
            # Half of the training decides which units live, the other half
            # makes the best of those.
            iss_rnns.GroupLasso(
                groups,
                lambda epoch: args.strength * (epoch < args.epochs // 2),
            ),
            iss_rnns.ThresholdZeroing(args.threshold),
            iss_rnns.SparsityLogger(groups),
            comparison.Lines("with group lasso"),
        ],
        **options,
    )
    small, report = iss_rnns.shrink(model, groups, [x_test[:32]])

    models = comparison.side_by_side(args, dense, small, x, y, **options)
    rows = comparison.table(
        models,
        x_test,
        lambda m: float(np.mean((m.predict(x_test, verbose=0) - y_test) ** 2)),
        "mean squared error",
        args.out,
    )
    return rows, report


if __name__ == "__main__":
    main()
