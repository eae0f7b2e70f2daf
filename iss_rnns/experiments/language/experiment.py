"""What the tasks of language models share, of all that a program does."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns import shrinking
from iss_rnns import thresholding
from iss_rnns.experiments import dead_units
from iss_rnns.experiments import measuring
from iss_rnns.experiments import metrics as metrics_lib
from iss_rnns.experiments import program
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments import tasks
from iss_rnns.experiments.language import model as language_model
from iss_rnns.experiments.language import packed as packed_lib
from iss_rnns.experiments.language import serving
from iss_rnns.experiments.language import texts as texts_lib
from iss_rnns.experiments.language import training
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.sparse import nets

LATENCY_BATCH, LATENCY_STEPS = 10, 30  # the paper's setting
PROOF_BATCHES = 3
PTB = ("word", 929_589, 10_000)  # words of training, and vocabulary
TOLERANCE = 1e-4  # of a reloaded model's perplexity, relative
MS_PER_BATCH, MS_PER_STEP = "ms per batch", "ms per step, batch 1"


class LanguageTask(tasks.Task):
    """The task of a language model; a subclass says of which net.

    Scores are perplexities by name, as of `texts.evaluate`.

    Args:
      options: see `options.LanguageOptions`.
      choices: see `program.Choices`.
      texts: to score, and their corpus.
    """

    difference = "largest logit difference"
    epochs: Mapping[str, Any] = {}
    measures = {
        "lambda": "g",
        "units": "",
        "weights (M)": ".3f",
        "nonzero weights (M)": ".3f",
        "weights cut": ".3f",
        "zeros": ".3f",
        "mult-adds per token": ",d",
        "mult-add reduction": ".2f",
        "recurrent mult-adds per token": ",d",
        "recurrent mult-add reduction": ".2f",
        "SavedModel bytes": ",d",
        "valid perplexity": ".3f",
        "test perplexity": ".3f",
        "valid bits": ".4f",  # of characters only
        "test bits": ".4f",
        measuring.MINUTES: ".1f",
        MS_PER_BATCH: ".2f",
        measuring.quartiles(MS_PER_BATCH): ".2f",
        measuring.SPEEDUP: ".2f",
        MS_PER_STEP: ".3f",
        measuring.quartiles(MS_PER_STEP): ".3f",
        "packed bytes": ",d",
        tables.PACKED_SPEEDUP: ".2f",
        **{tables.packed_speedup(batch): ".2f" for batch in nets.BATCH_SIZES},
    }

    times = (MS_PER_BATCH, MS_PER_STEP)
    work = {
        "mult-adds per token": "mult-add reduction",
        "recurrent mult-adds per token": "recurrent mult-add reduction",
    }
    judged_by = ("test perplexity",)
    paper: Sequence[tables.Column] = ()  # of a subclass

    def __init__(
        self,
        options: Any,
        choices: program.Choices,
        texts: texts_lib.Texts,
    ):
        self.options = options
        self.choices = choices
        self.mode = choices.mode
        self.texts = texts
        self.data = texts.corpus.description
        self.reads = [options.data_path, options.text]
        self.modes = {"eval": self.evaluate}
        self.vocab_size = len(texts.corpus.symbols)
        self.asked_sizes: Optional[tasks.Sizes] = None  # by flags

    # What a subclass says, beside what the base class leaves open

    def sizes_of(self, arrays: Mapping[str, np.ndarray]) -> tasks.Sizes:
        """Sizes of a model whose weights are given by TF1 name.

        Raises:
          UserError: naming the array that is none of it.
        """
        raise NotImplementedError

    def zero_small(self, net: tasks.LanguageNet) -> None:
        """Sets a restored net's small weights to exact zeros, in place."""
        raise NotImplementedError

    def fit(
        self, run: runs.RunDirectory, start: Optional[tasks.LanguageNet]
    ) -> tuple[tasks.LanguageNet, metrics_lib.Metrics]:
        """Trains: (the net to use, the epochs' metrics)."""
        raise NotImplementedError

    # What they share

    @property
    def length(self):
        windows, _ = training.training_windows(self.options, self.texts.corpus)
        return self.options.epochs, len(windows)

    @property
    def steps(self):
        epochs, steps = self.length
        limit = self.options.max_train_steps
        return epochs * steps if limit is None else min(limit, epochs * steps)

    def restore(self, path):
        if self.trains:  # Of a dense model that says how to prune.
            return tasks.Trained(self._restored(path, None))
        net = self.start_from(path)
        if self.mode not in self.modes:
            self.zero_small(net)
            shrinking.check_alive(net.iss_groups())
        return tasks.Trained(net)

    def start_from(self, path):
        return self._restored(path, self.asked_sizes)

    def _restored(self, path, asked):
        return restoring.restore(self.new_net, path, self.sizes_of, asked=asked)

    def train(self, run, start):
        net, metrics = self.fit(run, start)
        return tasks.Trained(net), metrics.rows

    def evaluate(self) -> None:
        """Mode eval: perplexities of a net, or of a compressed model."""
        path = str(self.choices.restore_path)
        if export.is_compressed(path):
            model = export.load_language_model(path)
            if self.vocab_size != model.num_symbols:
                raise errors.UserError(
                    f"{path} knows {model.num_symbols:,} symbols, the data "
                    f"has {self.vocab_size:,}: give the data that it was "
                    "trained on"
                )
            scores = texts_lib.evaluate(model, self.texts, packed_lib.Evaluator)
            texts_lib.print_scores(scores, self.texts)
        else:
            self.print_scores(self.restore(path).net)

    def finalize_weights(self, trained):
        groups, below = trained.net.iss_groups(), self.options.dead_below

        def zero(dead):
            for group in groups:
                thresholding.zero_units(group, tf.constant(dead[group.name]))

        return dead_units.clear(
            groups,
            dead_units.weak_units(groups, below),
            lambda: self.held_out_cost(trained.net),
            zero,
            below,
        )

    def held_out_cost(self, net):
        return language_model.LanguageModel.cost_of(
            net, tuple(ids[0] for ids in self.texts.valid)
        )

    def judge(self, trained):
        net, texts = trained.net, self.texts
        scores, before = texts_lib.evaluate(net, texts), None
        cleared = self.finalize_weights(trained)
        if cleared.zeroed:
            scores, before = texts_lib.evaluate(net, texts), scores
        return tasks.Judged(net, scores, before, cleared.kept)

    def print_scores(self, net):
        texts_lib.print_scores(texts_lib.evaluate(net, self.texts), self.texts)

    def shown(self, scores):
        return texts_lib.with_bits(scores, self.texts)

    def proof(self):
        def logits(net, ids):
            return net(ids, training=False)[0]

        return list(self.texts.valid[0][:PROOF_BATCHES]), logits

    def card(self, net, proof, scores=None):
        if scores is None:
            scores = texts_lib.evaluate(net, self.texts)
            texts_lib.print_scores(scores, self.texts)
        return {
            **self.shown(scores),
            "intended use": "predicting the next symbol of text like the data",
            "limits": "knows only the words of vocabulary.txt; the states of "
            "a text's start are zeros",
        }

    def export(self, net, path, card):
        symbols = self.texts.corpus.symbols
        files = {
            MS_PER_BATCH: serving.save_compressed(net, path, symbols, card)
        }
        if self.choices.export_latency:
            files[MS_PER_STEP] = serving.save_tflite_step(
                net, path.with_name(f"{path.name}_1x1.tflite"), symbols
            )
        return files

    def pack(self, net, folder):
        return packed_lib.pack_language_model(
            net, folder, symbols=self.texts.corpus.symbols
        )

    def runner(self, path):
        """See base class.

        A batch of 10 x 30 through a SavedModel or a packed model, one step of
        one sequence through a TensorFlow Lite model.
        """
        tokens = (
            np.random.default_rng(0)
            .integers(0, self.vocab_size, (LATENCY_BATCH, LATENCY_STEPS))
            .astype(np.int32)
        )
        if packed_lib.is_language_model(path):
            model = packed_lib.load_language_model(path)
            return lambda: model(tokens)[0].shape
        if path.is_file():
            step = serving.LatencyRunner(path).step
            return lambda: step(int(tokens[0, 0]))
        served = serving.ServedLanguageModel(path)
        states = served.zero_states(LATENCY_BATCH)
        return lambda: served.run(tokens, states)[0].numpy().shape

    def check_reloaded(self, path, judged):
        name = "test perplexity"
        reloaded = language_model.Evaluator(
            serving.ServedLanguageModel(path)
        ).perplexity(*self.texts.test)
        expected = judged.scores[name]
        # A NaN is within nothing.
        if not abs(reloaded / expected - 1) <= TOLERANCE:
            raise errors.UserError(
                f"the exported model {path} has {name} {reloaded:.4f}, the "
                f"masked one {expected:.4f}: the export is not faithful"
            )
        return {**judged.scores, name: reloaded}, {
            f"{MS_PER_BATCH} is for": f"batch {LATENCY_BATCH} x "
            f"{LATENCY_STEPS} steps, whole model from the SavedModel"
        }

    def facts(self, net):
        return {
            "lambda": self.options.strength
            if self.trains and not self.options.target
            else None,
            "mult-adds per token": net.mult_adds(),
            "recurrent mult-adds per token": net.recurrent_mult_adds(),
        }

    @property
    def shown_papers(self):
        corpus = self.texts.corpus
        theirs = (corpus.unit, len(corpus.train), len(corpus.symbols))
        return self.paper if self.choices.papers or theirs == PTB else ()

    def curves(self, rows):
        return sections.curves_of(rows)
