"""A bidirectional LSTM that reads text: is a sentence in order, or garbled?

    python examples/text_classifier.py

The text is the documentation that comes with Python. Of each sentence there is
a second one with its words shuffled, so that which words there are says
nothing. What is tested on comes from other modules.
"""

import ast
import collections
import os
import pathlib
import random
import re

import comparison
import numpy as np
import tensorflow as tf

import iss_rnns

BATCH = 64
UNITS = 48
VOCABULARY = 1000
LONGEST = 12  # words


def documentation(seed: int) -> list[list[str]]:
    """Sentences as words, module by module of Python's library."""
    paths = sorted(pathlib.Path(os.__file__).parent.glob("*.py"))
    random.Random(seed).shuffle(paths)
    found: dict[str, list[str]] = {}
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(
                node, (ast.Module, ast.ClassDef, ast.FunctionDef)
            ):
                continue
            text = ast.get_docstring(node) or ""
            for part in re.split(r"\n\s*\n|(?<=[.!?])\s", text):
                words = re.findall(r"[a-z']+|\d+|[.,;:()]", part.lower())
                if 6 <= len(words) <= LONGEST and part.endswith("."):
                    found.setdefault(" ".join(words), words)
    return list(found.values())


def in_order_or_not(sentences, seed: int):
    """Each sentence as it is, and garbled: ([2 n] lists, [2 n, 1] labels)."""
    rng = random.Random(seed)
    texts, labels = [], []
    for words in sentences:
        texts += [words, rng.sample(words[:-1], len(words) - 1) + words[-1:]]
        labels += [[0.0], [1.0]]
    return texts, np.array(labels, "float32")


class Words:
    """Numbers of the most frequent words: 0 is padding, 1 is any other."""

    def __init__(self, sentences):
        count = collections.Counter(w for words in sentences for w in words)
        found = [word for word, _ in count.most_common(VOCABULARY - 2)]
        self.numbers = {word: i + 2 for i, word in enumerate(found)}

    def __call__(self, sentences) -> np.ndarray:
        """[count, LONGEST] int32."""
        x = np.zeros([len(sentences), LONGEST], "int32")
        for i, words in enumerate(sentences):
            x[i, : len(words)] = [self.numbers.get(w, 1) for w in words]
        return x


def build(args) -> tf.keras.Model:
    """The model, compiled."""
    model = tf.keras.Sequential(
        [
            tf.keras.Input([None], dtype="int32"),
            tf.keras.layers.Embedding(VOCABULARY, 24),
            tf.keras.layers.Bidirectional(tf.keras.layers.LSTM(UNITS)),
            tf.keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    steps = args.epochs * -(-args.examples // BATCH)
    rate = tf.keras.optimizers.schedules.CosineDecay(1e-2, steps)
    model.compile(tf.keras.optimizers.Adam(rate), "binary_crossentropy")
    return model


def main(argv=None):
    """Trains both models.

    Returns:
      (the rows of the table, the report of the cut).
    """
    args = comparison.arguments(
        __doc__,
        epochs=7,
        examples=3000,
        target=0.5,
        threshold=1e-3,
        argv=argv,
    )
    sentences = documentation(args.seed)
    ends = [args.examples // 2, args.examples // 2 + 400]
    read = Words(sentences[: ends[0]])

    def data(part, seed):
        texts, labels = in_order_or_not(part, seed)
        return read(texts), labels

    x, y = data(sentences[: ends[0]], args.seed)
    x_test, y_test = data(sentences[ends[1] :], args.seed)
    options = {
        "epochs": args.epochs,
        "batch_size": BATCH,
        "validation_data": data(sentences[slice(*ends)], args.seed),
        "verbose": 0,
    }
    print(f"{len(x)} sentences to learn from, {len(x_test)} to test with")

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
            iss_rnns.GroupLasso(groups, target=args.target),
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
            np.mean((m.predict(x_test, verbose=0) > 0.5) == y_test)
        ),
        "sentences that are judged rightly",
        args.out,
    )
    return rows, report


if __name__ == "__main__":
    main()
