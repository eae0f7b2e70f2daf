"""The word language model as a program, and a small text for it."""

import numpy as np

MODULE = "ptb.ptb_word_lm"


def write_corpus(folder, tokens=8000, words=30):
    """Three texts in which each word tells something of the next."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for part, length in (("train", tokens), ("valid", 300), ("test", 150)):
        chain = [0]
        for _ in range(length):
            chain.append(int((chain[-1] * 7 + rng.integers(0, 3)) % words))
        lines = [
            " " + " ".join(f"w{i}" for i in chain[start : start + 12]) + " \n"
            for start in range(0, length, 12)
        ]
        (folder / f"ptb.{part}.txt").write_text("".join(lines))
