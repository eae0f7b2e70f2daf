"""The highway language model as a task of the harness."""

from collections.abc import Mapping

import numpy as np

from iss_rnns import errors
from iss_rnns.experiments import progress as progress_lib
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import experiment
from iss_rnns.experiments.language import texts as texts_lib
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables
from iss_rnns.ops import in_place
from rhns import configs
from rhns import model as model_lib
from rhns import monte_carlo
from rhns import options as options_lib
from rhns import train as train_lib


class HighwayTask(experiment.LanguageTask):
    """See base class."""

    module = "rhns.rhn_train"
    pruned_types = model_lib.PRUNED_TYPES

    def __init__(self, options, choices, texts):
        super().__init__(options, choices, texts)
        self.reads.append(options.group_file and options.group_file.source)
        self.modes["eval_mc"] = self.evaluate_mc
        self.paper = paper_columns() if texts.corpus.unit == "word" else []

    @property
    def title(self):
        config, target = self.options.config, self.options.target
        what = ""
        if self.trains:
            what = f", lambda {config.structure_wd:g}"
            if target:
                what = f", {target.method}"
        return f"Highway language model, depth {config.depth}{what}"

    def new_net(self, sizes=None):
        return train_lib.new_net(self.options, self.vocab_size, sizes)

    def sizes_of(self, arrays):
        return sizes_of(arrays)

    def zero_small(self, net):
        in_place.zero_small(
            train_lib.zeroed_variables(net, self.options),
            self.options.config.zero_threshold,
        )

    def check(self, net):
        train_lib.check(self.options, self.texts.corpus, net)

    def fit(self, run, start):
        return train_lib.train(
            self.options, self.texts.corpus, run, self.choices.resume, start
        )

    def evaluate_mc(self) -> None:
        """Mode eval_mc: the Monte-Carlo perplexity of the test text."""
        options = self.options
        net = self.restore(self.choices.restore_path).net
        with progress_lib.progress_bar(
            f"{options.mc_steps} Monte-Carlo samples",
            unit="symbol",
            unit_scale=True,
        ) as progress:
            result = monte_carlo.evaluate(
                net,
                self.texts.corpus.test,
                options.mc_steps,
                options.seed,
                options.mc_reject_above,
                options.mc_max_rejected,
                progress=progress,
            )
        print(
            f"{len(result.samples)} samples, each test perplexity "
            f"{result.samples.min():.3f} to {result.samples.max():.3f}; "
            f"{result.rejected} rejected"
        )
        texts_lib.print_scores(
            {"Monte-Carlo test perplexity": result.perplexity}, self.texts
        )


def paper_columns() -> list[tables.Column]:
    """ISS paper, Table 2."""
    return [
        tables.Column(
            f"paper: lambda {row['lam'].value:g}",
            {
                "lambda": row["lam"],
                "units": row["width"],
                "weights (M)": row["params_M"],
                "valid perplexity": row["valid"],
                "test perplexity": row["test"],
            },
        )
        for row in results.paper_rows("iss_table2_rhn")
    ]


def sizes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Layer sizes, by name, of a model whose weights have TF1 names.

    Raises:
      UserError: naming the array that is no layer's bias.
    """
    names = (f"model/RHN{i}/h_0/Linear/Bias" for i in range(len(arrays)))
    found = {name: arrays[name].shape for name in names if name in arrays}
    for name, shape in found.items():
        if len(shape) != 1 or not shape[0]:
            raise errors.UserError(
                f"'{name}' has shape {shape}; expected a "
                "vector with an entry a unit"
            )
    return {f"rhn_{i}": n for i, (n,) in enumerate(found.values())}


def read_texts(options: options_lib.Options) -> texts_lib.Texts:
    """The data that the options name.

    Raises:
      UserError: if options contradict each other, or the data is not right.
    """
    config, corpus = options.config, read_corpus(options)
    print(f"data: {corpus.description}", flush=True)
    return texts_lib.Texts(
        corpus,
        corpora.batches(
            corpus.valid, config.batch_size, config.num_steps, "valid text"
        ),
        corpora.batches(
            corpus.test,
            options.test_batch_size,
            1,
            "test text (--test_batch_size)",
        ),
    )


def read_corpus(options: options_lib.Options) -> corpora.Corpus:
    """The data that the flags name.

    Raises:
      UserError: if flags contradict each other, or the data is not right.
    """
    dataset = options.dataset or (
        "embedded_words"
        if options.data_path is None and options.text is None
        else "ptb"
    )
    if dataset in configs.EMBEDDED:
        for name in ("data_path", "text"):
            if getattr(options, name) is not None:
                raise errors.UserError(
                    f"--dataset={dataset} comes with Python and has no "
                    f"--{name}; leave out --{name}={getattr(options, name)}, "
                    "or give --dataset=ptb, enwik8 or text8"
                )
        corpus = corpora.embedded(
            configs.EMBEDDED[dataset], train_words=options.train_words
        )
    elif dataset == "ptb":
        found = corpora.own_words(options)
        if found is None:
            raise _needs_path(dataset)
        corpus = found
    elif options.text is not None:
        raise errors.UserError(
            f"--text={options.text} is read in words, --dataset={dataset} in "
            "characters; leave one of them out"
        )
    elif options.data_path == "":
        raise errors.UserError(corpora.EMPTY_PATH)
    elif options.data_path is None:
        raise _needs_path(dataset)
    else:
        corpus = corpora.read_characters(
            options.data_path, options.num_test_symbols, dataset
        )
    if options.vocab_size not in (0, len(corpus.symbols)):
        raise errors.UserError(
            f"the data has {len(corpus.symbols):,} symbols, --vocab_size "
            f"says {options.vocab_size:,}: {corpus.description}"
        )
    return corpus


def _needs_path(dataset: str) -> errors.UserError:
    return errors.UserError(
        f"--dataset={dataset} needs --data_path, the folder of its files;"
        " without own data give --dataset=embedded_words or "
        "embedded_characters"
    )
