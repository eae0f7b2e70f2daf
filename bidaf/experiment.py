"""Question answering as a task of the harness."""

import dataclasses
import functools
import pathlib
from typing import Any, Optional

import numpy as np

from bidaf import answering
from bidaf import loading
from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import scoring
from bidaf import serving
from bidaf import train as train_lib
from bidaf.data import sources
from bidaf.net import groups as groups_lib
from iss_rnns import _keras
from iss_rnns import averages
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import thresholding
from iss_rnns.experiments import dead_units
from iss_rnns.experiments import finishing
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import measuring
from iss_rnns.experiments import program
from iss_rnns.experiments import restoring
from iss_rnns.experiments import tasks
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables
from iss_rnns.export import packed as packed_export
from iss_rnns.sparse import nets

PROOF_BATCHES, PROOF_ROWS = 3, 16
TOLERANCE = 1e-4  # of a reloaded model's probabilities
MS = "ms, batch 1"
SQUAD_DEV = 10_570  # questions of SQuAD v1.1


class BiDAFTask(tasks.Task):
    """See base class; scores are `scoring.Scores`.

    Args:
      options: see `options.Options`.
      choices: see `program.Choices`.
      questions: to train on and to be judged on.
    """

    module = "bidaf.cli"
    pruned_types = model_lib.LAYER_TYPES
    difference = "largest difference of a probability"
    measures = {
        "EM": ".2f",
        "F1": ".2f",
        **dict.fromkeys(groups_lib.PRUNABLE, ""),
        "weights (M)": ".3f",
        "nonzero weights (M)": ".3f",
        "weights cut": ".3f",
        "zeros": ".3f",
        "LSTM mult-adds per word": ",d",
        "LSTM mult-add reduction": ".2f",
        "SavedModel bytes": ",d",
        measuring.MINUTES: ".1f",
        MS: ".2f",
        measuring.quartiles(MS): ".2f",
        measuring.SPEEDUP: ".2f",
        "packed bytes": ",d",
        **{tables.packed_speedup(batch): ".2f" for batch in nets.BATCH_SIZES},
    }
    times = (MS,)
    work = {"LSTM mult-adds per word": "LSTM mult-add reduction"}
    judged_by = ("EM", "F1")
    epochs = {
        "scores": {
            "train cost": "train_cost",
            "dev cost": "dev_cost",
            "dev EM": "dev_exact_match",
            "dev F1": "dev_f1",
        },
        "speed": ("questions/s", "questions_per_second"),
        "counted": "step",
    }

    def __init__(
        self,
        options: options_lib.Options,
        choices: program.Choices,
        questions: sources.Questions,
    ):
        self.options = options.for_data(questions)
        self.choices = choices
        self.mode = choices.mode
        self.questions = questions
        self.data = questions.description
        self.reads = [options.shared_path, options.data_dir]
        # Tracing a net takes seconds; that of two is kept.
        self._function = functools.lru_cache(2)(
            lambda net: scoring.net_function(
                net, self.questions.vectors, self.options.wy
            )
        )
        self.modes = {"eval": self.answer, "forward": self.answer}

    @property
    def shown_papers(self):
        theirs = self.questions.judged.part.num_questions == SQUAD_DEV
        return paper_columns() if self.choices.papers or theirs else ()

    @property
    def title(self):
        options = self.options
        what = f"structure_wd {options.structure_wd:g} ({options.group_name})"
        if options.target:
            what = options.target.method
        return f"BiDAF, hidden size {options.model.hidden_size}, {what}"

    @property
    def length(self):
        steps = self.options.steps_of_epoch(self.questions)
        return self.options.num_steps / steps, steps

    @property
    def steps(self):
        return self.options.num_steps

    # Weights

    def new_net(self, sizes=None):
        return train_lib.new_net(self.options, self.questions, sizes)

    def new_net_of(self, sizes):
        return train_lib.new_net(
            self.options, self.questions, sizes, known_words=True
        )

    def restore(self, path):
        step = self.options.load_step
        config = self._config_of(path)
        loading.check_fits(path, config, self.questions, self.options.wy, step)
        loaded = loading.load(path, config, step)
        if not self.trains:  # Or it is a dense model that says how to prune.
            self._adopt(config)
        return loaded

    def _config_of(self, path: str) -> model_lib.ModelConfig:
        return loading.config_of(
            path, self.options.load_step, lambda: self.options.model
        )

    def _adopt(self, config: model_lib.ModelConfig) -> None:
        """Nets are from now on like one that was trained before."""
        self.options = dataclasses.replace(self.options, model=config)

    def _with_own_dropout(
        self, config: model_lib.ModelConfig
    ) -> model_lib.ModelConfig:
        """Hyper-parameters of weights to train on, but for the dropout."""
        return dataclasses.replace(
            config,
            keep_prob=self.options.model.keep_prob,
            input_keep_prob=self.options.model.input_keep_prob,
        )

    def start_from(self, path):
        options = self.options
        config = self._with_own_dropout(self._config_of(path))
        known = loading.vocabulary_of(path, options.shared_path)
        if known != self.questions.vocabulary:
            raise errors.UserError(
                f"{path} was trained with another vocabulary "
                f"({len(known.word2idx):,} words) than {options.data_dir} "
                f"gives ({len(self.questions.vocabulary.word2idx):,}); give "
                "the data and the word_count_th, char_count_th, ... that it "
                "was trained with"
            )
        loading.check_fits(path, config, self.questions)
        loaded = loading.load(path, config, options.load_step)
        self._adopt(config)
        if options.freeze_mode:
            self.finalize_weights(loaded)  # What is dead stays so.
            return loaded.net
        if options.load_ema and loaded.averages is not None:
            loaded.assign_averages()
        loading.zero_small(loaded.net, options)
        return loaded.net

    # Training

    def resume(self, run):
        _, state = loading.state_of(run.path)
        if self.choices.restore_path:  # It began with a net from there.
            config = model_lib.ModelConfig(**state["model"])
            self._adopt(self._with_own_dropout(config))

    def check(self, net):
        train_lib.sparsity_callbacks(net, self.options)
        train_lib.trained_variables(net, self.options.finetuned or ())

    def begin(self, run):
        self.questions.vocabulary.save(run.path / sources.VOCABULARY)

    def train(self, run, start):
        trainer, metrics = train_lib.train(
            self.options, self.questions, run, self.choices.resume, start
        )
        plan = self.options.pruning
        return (
            loading.Loaded(
                trainer.net,
                trainer.averages,
                _keras.updates(trainer),
                tuple(plan.schedules) if plan else (),
            ),
            metrics.rows,
        )

    # Scores

    def score(self, model, **kwargs) -> scoring.Scores:
        """Of a net, or of an exported one; see `scoring.score`."""
        if isinstance(model, model_lib.BiDAF):
            model = self._function(model)
        return scoring.score(
            model,
            self.questions,
            self.options.batch_size,
            self.options.rules,
            self.options.test_num_batches,
            **kwargs,
        )

    def print_scores(self, net):
        print(self.score(net))

    def finalize_weights(self, trained):
        net, below = trained.net, self.options.dead_below
        if self.mode == "forward":
            below = 0.0  # Nobody knows the right answers.
        weak = loading.finalize_weights(
            trained, self.options, self.options.load_ema, below
        )
        return dead_units.clear(
            net.iss_groups(),
            weak,
            lambda: self.held_out_cost(net),
            lambda dead: groups_lib.zero_dead_units(net, dead),
            below,
        )

    def held_out_cost(self, net):
        _, batch = next(
            sources.judged_batches(
                self.questions, self.options.batch_size, num_batches=1
            )
        )
        return float(self._function(net)(batch)["cost"])

    def judge(self, trained):
        net, kept = trained.net, None
        if trained.averages is not None and self.options.load_ema:
            kept = averages.MovingAverages(net.trainable_variables, 1.0)
            trained.assign_averages()
        scores = self._scored(net, finishing.AS_TRAINED)
        if kept:
            kept.assign_to_variables()
        cleared = self.finalize_weights(trained)
        if all(group.alive().numpy().all() for group in net.iss_groups()):
            return tasks.Judged(net, scores, kept=cleared.kept)
        masked = self._scored(net, "masked")
        return tasks.Judged(net, masked, scores, cleared.kept)

    def _scored(self, net, title):
        scores = self.score(net, title=title)
        print(f"{title}: {scores}", flush=True)
        return scores

    def answer(self) -> None:
        """Modes eval and forward: scores questions, and writes the answers."""
        options, choices = self.options, self.choices
        path = str(choices.restore_path)
        loaded = self.restore(path)
        self.finalize_weights(loaded)
        net = loaded.net
        if options.group_config is not None:
            groups = train_lib.penalized_groups(net, options)
            print("living units:", _living(groups))
            thresholding.zero_unread_units(groups)
            print(
                "living units, once nobody reads what is dead:",
                _living(groups),
            )
        scores = self.score(net)
        if choices.mode == "eval":
            print(scores, flush=True)
        folder = pathlib.Path(
            path if restoring.is_run(path) else str(choices.save_path)
        )
        name = f"{choices.mode}-{self.questions.judged.name}-{loaded.step:06}"
        written = scoring.write_answers(
            scores, *options.answer_files(folder, name, options.answer_path)
        )
        if options.vis:
            written.append(
                scoring.write_probabilities(
                    self._function(net),
                    self.questions,
                    options.batch_size,
                    folder / scoring.EVAL / name,
                    options.test_num_batches,
                )
            )
        for file in written:
            print(f"wrote {file}")

    def answerer(self) -> answering.Answerer:
        """The weights of --restore_path, ready to answer questions."""
        net = self.finalize_weights(self.restore(self.choices.restore_path))
        return answering.Answerer(
            serving.function_of(net, self.questions.vectors),
            answering.Reading.of(self.questions, self.options.wy),
        )

    # What follows

    def proof(self):
        """See base class; batches of short and of long contexts."""

        def run(net, batch):
            outputs = self._function(net)(batch)
            return [outputs[n] for n in serving.OUTPUTS if n in outputs]

        return proof_batches(self.questions), run

    def kept_units(self, groups):
        return groups_lib.kept_units(groups)

    def card(self, net, proof, scores=None):
        return {
            self.difference: proof.max_difference,
            "intended use": "finding the answer to a question in a passage "
            "like those of the data",
            "limits": "the answer is always a stretch of one sentence of the "
            "passage; words without a vector are known by their characters "
            "only",
        }

    def export(self, net, path, card):
        return {
            MS: serving.save(net, self.questions, path, card, self.options.wy)
        }

    def pack(self, net, folder):
        packed = nets.pack(net.packable())
        return packed and export.write_packed(
            packed,
            folder / packed_export.FOLDER,
            export.Manifest("packed", dict(net.sizes)),
        )

    def runner(self, path):
        """See base class; one question of middling length."""
        indices = sources.by_length(self.questions.judged)
        batch = sources.judged_batch(
            self.questions, [indices[len(indices) // 2]]
        )
        served = serving.ServedBiDAF(path)
        return lambda: served(batch)["start"].numpy().shape

    def check_reloaded(self, path, judged):
        served = serving.ServedBiDAF(path)
        difference = self._difference(served, judged.net)
        scores = self.score(served, title="reloaded")
        print(f"shrunk and reloaded: {scores}", flush=True)
        run, name = path.parents[1], self.questions.judged.name
        for each, what in (
            (judged.as_trained or judged.scores, "as-trained"),
            (scores, "shrunk"),
        ):
            files = self.options.answer_files(run, f"{name}-{what}")
            scoring.write_answers(each, *files)
        return scores, {
            f"{self.difference} when reloaded": difference,
            "EM and F1 are for": f"{scores.questions:,} questions of {name}; "
            "the paper's for the dev part of SQuAD 1.1",
            "ms is for": "one question of middling length, whole model from "
            "the SavedModel",
        }

    def _difference(self, served, net) -> float:
        """Largest difference of an export's probabilities from a net's."""
        difference = 0.0
        batches, run = self.proof()
        for batch in batches:
            outputs = served(batch)
            found = [
                outputs[n].numpy() for n in serving.OUTPUTS if n in outputs
            ]
            expected = [output.numpy() for output in run(net, batch)]
            shapes = [
                [output.shape for output in each] for each in (found, expected)
            ]
            if shapes[0] != shapes[1]:
                raise errors.UserError(
                    f"the exported model's outputs have shapes {shapes[0]}, "
                    f"the net's {shapes[1]}: the export is not faithful"
                )
            for ours, theirs in zip(expected, found):
                # NumPy's maximum: Python's loses a NaN.
                difference = np.maximum(difference, np.abs(theirs - ours).max())
        if not difference <= TOLERANCE:
            raise errors.UserError(
                f"the exported model's scores differ from the net's by "
                f"{difference:.3g}: the export is not faithful"
            )
        return float(difference)

    def facts(self, net):
        return {"LSTM mult-adds per word": net.mult_adds()}

    def shown(self, scores):
        return {"EM": scores.exact_match, "F1": scores.f1}

    def curves(self, rows):
        return {
            "measures": {"dev_f1": "dev F1", "dev_exact_match": "dev EM"},
            "ylabel": "percent",
            "xlabel": f"evaluation, every {self.options.eval_period:,} steps",
        }


def paper_columns() -> list[tables.Column]:
    """ISS paper, Tables 3 (fine-tuned) and 4 (from scratch)."""
    columns: list[tables.Column] = []
    for table, what in (
        ("iss_table3_bidaf_finetune", "Table 3"),
        ("iss_table4_bidaf_scratch", "Table 4"),
    ):
        for row in results.paper_rows(table):
            title = f"paper {what}: {row['method']}"
            if row["method"] == "baseline":  # It is the same in both.
                if columns:
                    continue
                title = "paper: baseline"
            values = {
                name: row[name]
                for name in ("EM", "F1", *groups_lib.PRUNABLE)
                if name in row
            }
            values["weights (M)"] = row.get("weights_M")
            values[MS] = row.get("time_ms")
            columns.append(tables.Column(title, values))
    return columns


def read_questions(
    options: options_lib.Options, choices: program.Choices
) -> sources.Questions:
    """The data that the mode needs.

    Raises:
      UserError: if there is none, or the weights do not say what words are.
    """
    store = sources.open_store(
        options.data_dir,
        options.made_below,
        options.synthetic_train,
        options.synthetic_dev,
        options.seed,
    )
    if choices.mode == "train":
        questions = sources.for_training(
            store, options.data, bool(_no_answer_bias(options, choices))
        )
    else:
        path = str(choices.restore_path)
        questions = sources.for_testing(
            store,
            options.data,
            loading.vocabulary_of(path, options.shared_path),
            options.forward_name if choices.mode == "forward" else "test",
            loading.word_size_of(path, options.load_step),
            _no_answer_bias(options, choices),
        )
    print(f"data: {questions.description}", flush=True)
    return questions


def _no_answer_bias(
    options: options_lib.Options, choices: program.Choices
) -> Optional[bool]:
    """Whether the net has a bias for having no answer.

    None where questions are only answered. Weights that are restored know.
    """
    if choices.mode in ("forward", "answer"):
        return None
    path, step = choices.restore_path, options.load_step
    if choices.mode == "train" and choices.resume and choices.run_name:
        folder = pathlib.Path(choices.save_path or flags_lib.RUNS)
        path, step = str(folder / choices.run_name), 0
    return loading.na_of(path, step, options.model.na)


def proof_batches(questions: sources.Questions) -> list[dict[str, Any]]:
    """Real batches to prove equality on, short and long contexts."""
    indices = sources.by_length(questions.judged)
    last = max(len(indices) - PROOF_ROWS, 0)
    places = np.linspace(0, last, PROOF_BATCHES).astype(int)
    return [
        sources.judged_batch(questions, indices[i : i + PROOF_ROWS])
        for i in sorted(set(places.tolist()))
    ]


def _living(groups: list) -> str:
    return ", ".join(
        f"{name} {count}"
        for name, count in callbacks.alive_units(groups).items()
    )
