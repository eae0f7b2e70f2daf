"""Modes generate and score: a trained language model in use.

The same as functions: `export.load` gives a compressed model as a
`export.TextModel`, `text_model` makes one of a net.
"""

from collections.abc import Collection, Sequence
import dataclasses
import math
import sys
from typing import Any, ClassVar, Optional

import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns import files
from iss_rnns.experiments import tasks
from iss_rnns.experiments.language import experiment
from iss_rnns.experiments.language import flags as language_flags
from iss_rnns.export import vocabulary as vocabulary_lib


@dataclasses.dataclass(frozen=True)
class Use:
    """What a model is used for; the flags of the same names.

    Raises:
      UserError: what a mode needs is not given.
    """

    MODES: ClassVar[Collection[str]] = language_flags.USES

    mode: str
    prompt: Optional[str] = None
    num_words: int = 100
    temperature: float = 1.0
    seed: int = 0
    score_text: Optional[str] = None
    threads: int = 0
    restore_path: Optional[str] = None

    def __post_init__(self):
        if self.mode == "generate" and not (self.prompt or "").strip():
            raise errors.UserError(
                "--mode=generate needs a --prompt: some words to go on from"
            )
        if self.mode == "score" and not self.score_text:
            raise errors.UserError(
                "--mode=score needs --score_text, a file with a sentence a line"
            )
        if self.mode == "score":
            self._text()  # What cannot be read is told at once.

    def _text(self) -> str:
        return files.read_text(str(self.score_text), "text to score")

    def load(self, path: str) -> export.TextModel:
        """See `using.Use`."""
        return export.load_language_model(path, threads=max(self.threads, 1))

    def of_run(self, task: experiment.LanguageTask) -> export.TextModel:
        """See `using.Use`."""
        net: Any = task.start_from(self.restore_path)
        return text_model(net, task.texts.corpus.symbols)

    def run(self, model: export.TextModel) -> None:
        """Generates, or scores, and prints what came of it."""
        if self.mode == "generate":
            self._generate(model)
        else:
            self._score(model)

    def _generate(self, model: export.TextModel) -> None:
        prompt = str(self.prompt)
        vocabulary = model.known_vocabulary()
        text = model.generate(
            prompt, self.num_words, self.temperature, self.seed
        )
        missing = vocabulary.missing(prompt)
        if missing:
            print(
                "not known to the model, and read as "
                f"{vocabulary_lib.UNKNOWN}: "
                f"{', '.join(dict.fromkeys(missing))}",
                file=sys.stderr,
            )
        glued = vocabulary.characters or text.startswith("\n")
        print(f"{prompt}{'' if glued else ' '}{text}", flush=True)

    def _score(self, model: export.TextModel) -> None:
        vocabulary = model.known_vocabulary()
        score = model.score(self._text())
        print(f"perplexity  {vocabulary.unit + 's':>10}  unknown  sentence")
        for each in score.sentences:
            print(
                f"{each.perplexity:10.3f}  {each.tokens:10,}  "
                f"{each.unknown:7,}  {each.text.strip()}"
            )
        print(
            f"sentences: {len(score.sentences):,}; {vocabulary.unit}s, with "
            f"their ends: {score.tokens:,}"
        )
        if score.unknown:
            read = score.unknown_read
            print(
                f"{vocabulary.unit}s not known to the model, and "
                f"{f'read as {read}' if read else 'left out'}: "
                f"{score.unknown:,}"
            )
        print(f"perplexity {score.perplexity:.3f}", flush=True)
        if vocabulary.characters:
            print(f"bits {math.log2(score.perplexity):.4f}", flush=True)


def text_model(
    net: tasks.LanguageNet, symbols: Sequence[str]
) -> export.TextModel:
    """A net as what `export.load` gives of its export.

    Args:
      net: see `tasks.LanguageNet`.
      symbols: the vocabulary in id order.
    """

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            [tf.TensorSpec([None, n], tf.float32) for n in net.state_sizes],
        ],
    )
    def run(ids, states):
        logits, states = net(ids, states, training=False)
        batch, time = tf.unstack(tf.shape(ids))
        logits = tf.reshape(tf.cast(logits, tf.float32), [time, batch, -1])
        return (
            tf.transpose(logits, [1, 0, 2]),
            [tf.cast(state, tf.float32) for state in states],
        )

    return export.TextModel(
        run,
        dict(zip(net.state_names, net.state_sizes)),
        len(symbols),
        export.Vocabulary(symbols),
    )
