"""A keyword spotter: which word is said in each moment of a noisy sound.

    python examples/keywords.py

A causal convolution and a GRU, which hears no future, and a tag for each
moment. The sounds are made up: energies in 16 bands, in which four "words" are
glides.
"""

import comparison
import numpy as np
import tensorflow as tf

import iss_rnns

BATCH = 32
UNITS = 64
BANDS, FRAMES = 16, 24
# Of each word the band at its beginning, middle and end. Two end alike, two
# begin alike: one frame does not tell.
WORDS = ((2, 8, 13), (11, 8, 13), (11, 5, 3), (2, 5, 11))


def sounds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Energies [count, FRAMES, BANDS], and words [count, FRAMES]; 0: none."""
    rng = np.random.default_rng(seed)
    x = 0.15 * rng.standard_normal([count, FRAMES, BANDS])
    y = np.zeros([count, FRAMES], "int32")
    bands = np.arange(BANDS)
    for i in range(count):
        word = int(rng.integers(len(WORDS) + 1))
        if not word:  # nothing is said
            continue
        length = int(rng.integers(10, 18))
        at = int(rng.integers(0, FRAMES - length))
        bands_said = np.interp(
            np.linspace(0, 2, length), [0, 1, 2], WORDS[word - 1]
        )
        bands_said += rng.normal(0, 0.4)  # of another speaker
        distance = bands - bands_said[:, None]
        x[i, at : at + length] += rng.uniform(0.5, 1.5) * np.exp(
            -(distance**2) / 2
        )
        y[i, at + length // 2 : at + length] = word  # known by then
    return x.astype("float32"), y


def build(args) -> tf.keras.Model:
    """The model, compiled."""
    layers = tf.keras.layers
    x = inputs = tf.keras.Input([None, BANDS])
    x = layers.Conv1D(32, 3, padding="causal", activation="relu")(x)
    x = layers.GRU(UNITS, return_sequences=True)(x)
    x = layers.Dense(len(WORDS) + 1, activation="softmax")(x)
    model = tf.keras.Model(inputs, x)
    steps = args.epochs * -(-args.examples // BATCH)
    rate = tf.keras.optimizers.schedules.CosineDecay(1e-2, steps)
    model.compile(
        tf.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy"
    )
    return model


def main(argv=None):
    """Trains both models.

    Returns:
      (the rows of the table, the report of the cut).
    """
    args = comparison.arguments(
        __doc__, epochs=12, examples=2000, strength=1.2e-2, argv=argv
    )
    x, y = sounds(args.examples, args.seed)
    x_test, y_test = sounds(1000, args.seed + 2)
    options = {
        "epochs": args.epochs,
        "batch_size": BATCH,
        "validation_data": sounds(500, args.seed + 1),
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
    small, report = iss_rnns.shrink(model, groups, [x_test[:32]])

    models = comparison.side_by_side(args, dense, small, x, y, **options)
    rows = comparison.table(
        models,
        x_test,
        lambda m: float(
            np.mean(np.argmax(m.predict(x_test, verbose=0), -1) == y_test)
        ),
        "moments whose word is right",
        args.out,
    )
    return rows, report


if __name__ == "__main__":
    main()
