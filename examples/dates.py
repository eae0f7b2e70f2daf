"""A sequence-to-sequence model with attention: dates as people write them.

    python examples/dates.py

Reads "feb 5, 1998" character by character, and writes
"1998-02-05". Encoder and decoder pass on a state and meet in a dot product,
so that their units are the same units: they die, and are cut out, together.
"""

import datetime

import comparison
import numpy as np
import tensorflow as tf

import iss_rnns

BATCH = 64
UNITS = 64
SOURCE = " ,./0123456789abcdefghijklmnopqrstuvwxyz"  # 0 is padding
TARGET = "0123456789-"
START = len(TARGET)
LONGEST = len("nov 30, 2026")
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
FORMS = (
    "{d} {month} {y}",
    "{month} {d}, {y}",
    "{d}.{m}.{y}",
    "{m}/{d}/{y}",
)


def pairs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Dates from 1900 to 2099 as written: [count, LONGEST], [count, 10]."""
    rng = np.random.default_rng(seed)
    first = datetime.date(1900, 1, 1).toordinal()
    last = datetime.date(2099, 12, 31).toordinal()
    x = np.zeros([count, LONGEST], "int32")
    y = np.zeros([count, 10], "int32")
    for i, number in enumerate(rng.integers(first, last, count)):
        date = datetime.date.fromordinal(int(number))
        form = FORMS[rng.integers(len(FORMS))]
        text = form.format(
            d=date.day,
            m=date.month,
            y=date.year,
            month=MONTHS[date.month - 1],
        )
        x[i, : len(text)] = [SOURCE.index(c) + 1 for c in text]
        y[i] = [TARGET.index(c) for c in date.isoformat()]
    return x, y


def shifted(y: np.ndarray) -> np.ndarray:
    """What the decoder has written before each character."""
    return np.concatenate([np.full_like(y[:, :1], START), y[:, :-1]], axis=1)


def build(args) -> tf.keras.Model:
    """The model, compiled."""
    layers = tf.keras.layers
    source = tf.keras.Input([LONGEST], dtype="int32")
    written = tf.keras.Input([None], dtype="int32")
    x = layers.Embedding(len(SOURCE) + 1, 16, mask_zero=True)(source)
    x, *state = layers.LSTM(
        UNITS, return_sequences=True, return_state=True, name="encoder"
    )(x)
    y = layers.Embedding(len(TARGET) + 1, 16)(written)
    y = layers.LSTM(UNITS, return_sequences=True, name="decoder")(
        y, initial_state=state
    )
    context = layers.Attention()([y, x])
    y = layers.Concatenate()([y, context])
    y = layers.Dense(len(TARGET), activation="softmax")(y)
    model = tf.keras.Model([source, written], y)
    steps = args.epochs * -(-args.examples // BATCH)
    rate = tf.keras.optimizers.schedules.CosineDecay(1e-2, steps)
    model.compile(
        tf.keras.optimizers.Adam(rate, clipnorm=1.0),
        "sparse_categorical_crossentropy",
    )
    return model


def write(model, x: np.ndarray) -> np.ndarray:
    """Dates, each character the likeliest after those before: [count, 10]."""
    call = tf.function(
        lambda written: model([tf.constant(x), written], training=False)[:, -1],
        input_signature=[tf.TensorSpec([len(x), None], tf.int32)],
    )
    written = np.full([len(x), 1], START, "int32")
    for _ in range(10):
        likeliest = np.argmax(call(written), axis=1).astype("int32")
        written = np.concatenate([written, likeliest[:, None]], axis=1)
    return written[:, 1:]


def main(argv=None):
    """Trains both models.

    Returns:
      (the rows of the table, the report of the cut).
    """
    args = comparison.arguments(
        __doc__, epochs=12, examples=4000, strength=2e-2, argv=argv
    )
    x, y = pairs(args.examples, args.seed)
    x_valid, y_valid = pairs(1000, args.seed + 1)
    x_test, y_test = pairs(1000, args.seed + 2)
    x = [x, shifted(y)]
    options = {
        "epochs": args.epochs,
        "batch_size": BATCH,
        "validation_data": ([x_valid, shifted(y_valid)], y_valid),
        "verbose": 0,
    }

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
            # First it learns what its units are for; then which can go; then
            # to do without them.
            iss_rnns.GroupLasso(
                groups,
                lambda epoch: (
                    args.strength * (0.25 <= epoch / args.epochs < 0.5)
                ),
            ),
            iss_rnns.ThresholdZeroing(args.threshold),
            iss_rnns.SparsityLogger(groups),
            comparison.Lines("with group lasso"),
        ],
        **options,
    )
    small, report = iss_rnns.shrink(
        model, groups, [[x_test[:32], shifted(y_test)[:32]]]
    )

    models = comparison.side_by_side(args, dense, small, x, y, **options)
    rows = comparison.table(
        models,
        [x_test, shifted(y_test)],
        lambda m: float(np.mean(np.all(write(m, x_test) == y_test, axis=1))),
        "dates that are right in full",
        args.out,
    )
    return rows, report


if __name__ == "__main__":
    main()
