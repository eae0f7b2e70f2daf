"""The word language model as a task of the harness."""

from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import experiment
from iss_rnns.experiments.language import texts as texts_lib
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables
from iss_rnns.ops import in_place
from ptb import model as model_lib
from ptb import options as options_lib
from ptb import train as train_lib


class WordTask(experiment.LanguageTask):
    """See base class."""

    module = "ptb.ptb_word_lm"
    pruned_types = model_lib.PRUNED_TYPES

    def __init__(self, options, choices, texts):
        super().__init__(options, choices, texts)
        self.reads.append(options.config_file)
        self.asked_sizes = options.sizes if options.hidden_sizes else None
        self.paper = paper_columns()

    @property
    def title(self):
        return f"Word language model, {self.options.model}"

    def new_net(self, sizes=None):
        return train_lib.new_net(self.options, self.vocab_size, sizes)

    def sizes_of(self, arrays):
        return model_lib.sizes_of(arrays)

    def zero_small(self, net):
        in_place.zero_small(net.trainable_variables, self.options.small)

    def check(self, net):
        train_lib.check(self.options, self.texts.corpus, net)

    def fit(self, run, start):
        return train_lib.train(
            self.options, self.texts.corpus, run, self.choices.resume, start
        )


def paper_columns() -> list[tables.Column]:
    """ISS paper, Table 1: the dense model and the one as good."""
    return [
        tables.Column(
            f"paper: {row['method']}",
            {
                "units": row["iss"],
                "valid perplexity": row["valid"],
                "test perplexity": row["test"],
                "weights (M)": row["weights_M"],
                "ms per batch": row["time_ms"],
                "speedup": row["speedup"],
                "mult-add reduction": row["multadd_reduction"],
            },
        )
        for row in results.paper_rows("iss_table1_ptb")[:2]
    ]


def read_texts(options: options_lib.Options) -> texts_lib.Texts:
    """The data that the options name.

    Raises:
      UserError: if there is none, or it does not fit a batch.
    """
    corpus = corpora.own_words(options) or corpora.embedded(
        "word", train_words=options.train_words
    )
    print(f"data: {corpus.description}", flush=True)
    return texts_lib.Texts.from_corpus(
        corpus, options.config.batch_size, options.config.num_steps
    )
