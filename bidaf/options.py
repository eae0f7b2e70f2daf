"""The program's flags, and what they say together.

The authors' names, meanings and defaults, and flags beyond.
"""

from collections.abc import Mapping
import dataclasses
import math
import pathlib
from typing import Any, Optional, Union

from absl import flags

from bidaf import model as model_lib
from bidaf import scoring
from bidaf.data import read_data
from bidaf.data import sources
from bidaf.net import attention
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import program
from iss_rnns.experiments import pruning_flags
from iss_rnns.interop import group_json

ISS, AUTHORS = "iss", "authors"  # groups of the net itself
MODES = ("train", "test", "forward", "shrink", "export", "report")
STRENGTHS = (
    "wd",
    "l1wd",
    "row_col_wd",
    "structure_wd",
    "zero_threshold",
    "dead_below",
    "init_lr",
)


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What a training is, named as in the authors' code; see the flags' help.

    Attributes:
      group_config: what `structure_wd` acts on: 'iss', the components of the
        net; 'authors', the same without the rows that read the attended
        answer; or the contents of a JSON file.
      finetuned: TF1 names of the only variables to train; None means all.
      shrink_every_steps: 0: each evaluation; None: never.
      pruning: how weights are pruned while training, or None.
    """

    optimizer: str = "adam"
    init_lr: float = 0.001
    num_steps: int = 10000
    wd: float = 0.0
    l1wd: float = 0.0
    row_col_wd: float = 0.0
    structure_wd: float = 0.0
    structured_sparsity: bool = True
    coef_scaling: bool = False
    freeze_mode: Optional[str] = None
    group_config: Union[None, str, group_json.GroupFile] = None
    finetuned: Optional[tuple[str, ...]] = None
    zero_threshold: float = 0.0004
    var_decay: float = 0.999
    decay: float = 0.9
    wy: bool = False
    seed: int = 0
    compute_dtype: str = "float32"
    shrink_every_steps: Optional[int] = None
    dead_below: float = 0.0
    dead_checks: int = 3
    pruning: Optional[pruning_flags.PruningPlan] = None

    @property
    def method(self) -> str:
        """What makes the net small, as tables of runs name it."""
        parts = [self.pruning.title] if self.pruning else []
        if self.structure_wd:
            parts.append("ISS")
        if self.structured_sparsity and (self.row_col_wd or self.l1wd):
            parts.append("rows and columns")
        elif self.l1wd:
            parts.append("L1")
        return " + ".join(parts) or "dense"

    @property
    def threshold(self) -> float:
        """Below it, weights become exact zeros."""
        return max(self.zero_threshold, 2 * self.l1wd * self.init_lr)

    def describe(self) -> dict[str, Any]:
        """What must stay the same when a run is resumed; JSON values."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(TrainingOptions)
        }
        if isinstance(self.group_config, group_json.GroupFile):
            values["group_config"] = self.group_config.source
        if self.finetuned is not None:
            values["finetuned"] = list(self.finetuned)
        if self.optimizer == "adam":
            # Nothing follows from it but the end: a run may be made longer.
            del values["num_steps"]
        # Runs of an older version have no such keys.
        if self.compute_dtype == "float32":
            del values["compute_dtype"]
        if self.shrink_every_steps is None:
            for name in ("shrink_every_steps", "dead_below", "dead_checks"):
                del values[name]
        if self.pruning:
            values["pruning"] = self.pruning.describe()
        else:
            del values["pruning"]
        return values


@dataclasses.dataclass(frozen=True)
class Options(TrainingOptions):
    """All that a run needs, from flags; see the flags' help.

    Attributes:
      model: the net's hyper-parameters; `for_data` completes them.
      data: how questions are fed.
      data_dir: where they are.
      made_below: folder of questions that the project makes up itself.
      batch_size: questions of a step.
      test_num_batches: of an evaluation after training; 0: all.
      rules: how answers are read off scores.
      group_name: what `group_config` was called.
    """

    model: model_lib.ModelConfig = model_lib.ModelConfig()
    data: read_data.DataConfig = read_data.DataConfig()
    data_dir: str = "data/squad"
    made_below: str = "out"
    synthetic_train: int = 3000
    synthetic_dev: int = 500
    shared_path: Optional[str] = None
    load_step: int = 0
    load_ema: bool = True
    batch_size: int = 60
    num_epochs: int = 12
    eval_period: int = 1000
    save_period: int = 1000
    log_period: int = 100
    max_to_keep: int = 20
    val_num_batches: int = 0
    test_num_batches: int = 0
    cluster: bool = False
    dump_answer: bool = True
    dump_eval: bool = True
    answer_path: Optional[str] = None
    forward_name: str = "dev"
    vis: bool = False
    rules: scoring.Rules = scoring.Rules()
    group_name: str = "no groups"

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "Options":
        """Out of the values of all flags, by name.

        Raises:
          UserError: naming the flag, its value and what would be right.
        """
        _check(values)
        groups = values["group_config"]
        if groups not in (None, ISS, AUTHORS):
            groups = group_json.load(groups)
        if values["structure_wd"] and groups is None:
            raise errors.UserError(
                "--structure_wd needs --group_config: 'iss', 'authors', or a "
                "JSON file of groups"
            )
        if values["shrink_every_steps"] is not None and groups != ISS:
            raise errors.UserError(
                "--shrink_every_steps needs --group_config=iss: a unit can "
                "only be cut when all that reads it is in its group"
            )
        names = values["finetuning_config"]
        batch_size = values["batch_size"] * values["num_gpus"]
        others = {
            "model": flags_lib.fill(model_lib.ModelConfig, values),
            "data": flags_lib.fill(
                read_data.DataConfig, values, batch_size=batch_size
            ),
            "made_below": values["out_base_dir"],
            "group_config": groups,
            "group_name": values["group_config"] or cls.group_name,
            "finetuned": load_finetuning(names) if names else None,
            "batch_size": batch_size,
            "rules": scoring.Rules(
                values["wy"], values["th"], values["blank_last_word"]
            ),
            "pruning": None,
        }
        if values["debug"]:
            others.update(dict.fromkeys(("num_steps", "val_num_batches"), 2))
            others.update(
                dict.fromkeys(("eval_period", "save_period", "log_period"), 1)
            )
            others["test_num_batches"] = 2
        return flags_lib.fill(cls, values, **others)

    def for_data(self, questions: sources.Questions) -> "Options":
        """With what only the data says: the net's sizes, the last step."""
        sizes, steps = questions.sizes, self.num_steps
        if questions.train is not None and not steps:
            steps = self.num_epochs * self.steps_of_epoch(questions)
        return dataclasses.replace(
            self,
            num_steps=steps,
            model=dataclasses.replace(
                self.model,
                word_vocab_size=sizes.word_vocab_size,
                char_vocab_size=sizes.char_vocab_size,
                word_emb_size=sizes.word_emb_size,
            ),
        )

    def answer_files(
        self,
        folder: pathlib.Path,
        name: str,
        answer_path: Optional[str] = None,
    ) -> tuple[Optional[pathlib.Path], Optional[pathlib.Path]]:
        """Files of answers and of their details below a run's folder.

        None where the flags do not want them; `answer_path` is another file
        of the answers.
        """
        answers = answer_path or folder / scoring.ANSWERS / f"{name}.json"
        details = folder / scoring.EVAL / f"{name}.json"
        return (
            pathlib.Path(answers) if self.dump_answer else None,
            details if self.dump_eval else None,
        )

    def steps_of_epoch(self, questions: sources.Questions) -> int:
        """Batches of all questions that are trained on."""
        return -(-questions.train.num_examples // self.batch_size)


def choices_from_flags(values: Mapping[str, Any]) -> program.Choices:
    """What the user wants done, out of the values of all flags.

    Raises:
      UserError: see `program.Choices`.
    """
    mode = values["mode"]
    path = values["load_path"] if values["load"] else None
    if mode != "train" and not path:
        raise errors.UserError(
            f"--mode={mode} needs --load_path: a run directory, a .npz "
            "file or a checkpoint of the authors' program"
        )
    return program.Choices.from_flags(
        {
            **values,
            "restore_path": path,
            "save_path": values["out_base_dir"],
            "run_name": values["run_id"],
            "resume": values["resume"] and mode == "train",
            "display_weights": values["plot_weights"],
        }
    )


def _check(values: Mapping[str, Any]) -> None:
    """Refuses numbers out of range, and flags that exclude each other."""
    for name in STRENGTHS:
        if not (values[name] >= 0 and math.isfinite(values[name])):
            raise errors.UserError(
                f"--{name} must be a number >= 0, got {values[name]}"
            )
    for name in ("var_decay", "decay", "th"):
        if not 0 <= values[name] <= 1:
            raise errors.UserError(
                f"--{name} must be in [0, 1], got {values[name]}"
            )
    if values["row_col_wd"] and not values["structured_sparsity"]:
        raise errors.UserError(
            "--row_col_wd and --nostructured_sparsity exclude each other: "
            "without it, all that there is is L1"
        )


def load_finetuning(path: str) -> tuple[str, ...]:
    """Names out of one of the authors' `finetuned_vars.json`.

    Raises:
      UserError: naming the file and what is wrong.
    """
    data = files.read_json(path, "finetuning settings", unique_keys=True)
    names = data.get("var_names") if isinstance(data, dict) else None
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) for name in names)
    ):
        raise errors.UserError(
            f'{files.shown(path)}: expected {{"var_names": '
            '["main/logits1/first/weights", ...]}, with at least one name'
        )
    return tuple(names)


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    _define_run_flags()
    _define_training_flags()
    pruning_flags.define_flags(model_lib.LAYER_TYPES, model_lib.LAYER_TYPES)
    _define_model_flags()
    _define_data_flags()


def _define_run_flags() -> None:
    flags.DEFINE_enum(
        "mode",
        "test",
        MODES,
        "train: train, then shrink, "
        "export and report. test: score. forward: answer only. "
        "The others do their part with --load_path.",
    )
    flags.DEFINE_bool("load", True, "Whether --load_path counts.")
    flags.DEFINE_string(
        "load_path",
        None,
        "Weights to start from: a run "
        "directory or .npz file of this program, or a "
        "checkpoint of the authors'.",
    )
    flags.DEFINE_integer(
        "load_step",
        0,
        "Of a run directory's checkpoint; 0: the newest.",
        lower_bound=0,
    )
    flags.DEFINE_bool("load_ema", True, "Load the weights' moving averages.")
    flags.DEFINE_string(
        "shared_path",
        None,
        "Vocabulary of the weights' training. Default: the run directory's.",
    )
    flags.DEFINE_string(
        "data_dir",
        "data/squad",
        "Folder that bidaf.prepro "
        "wrote; 'synthetic': questions that the project "
        "makes up itself, kept below --out_base_dir.",
    )
    flags.DEFINE_string("out_base_dir", "out", "Folder of the runs.")
    flags.DEFINE_string(
        "run_id",
        None,
        "The run's folder below --out_base_dir. Default: the time.",
    )
    flags.DEFINE_alias("save_path", "out_base_dir")
    flags.DEFINE_alias("run_name", "run_id")
    flags.DEFINE_bool("resume", False, "Go on with an interrupted run.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing run.")
    flags.DEFINE_integer(
        "seed",
        0,
        "Of weights, dropout, order of questions and made-up data.",
        lower_bound=0,
    )
    flags_lib.define_compare_flag()
    flags_lib.define_machine_flags()
    flags.DEFINE_integer(
        "log_period", 100, "Steps between TensorBoard's scalars.", lower_bound=1
    )
    flags.DEFINE_integer(
        "eval_period", 1000, "Steps between evaluations.", lower_bound=1
    )
    flags.DEFINE_integer(
        "save_period",
        1000,
        "Steps between checkpoints (and one at each evaluation).",
        lower_bound=1,
    )
    flags.DEFINE_integer("max_to_keep", 20, "Checkpoints.", lower_bound=1)
    flags.DEFINE_bool(
        "dump_answer", True, "Write answers, as the official script reads them."
    )
    flags.DEFINE_bool("dump_eval", True, "Write spans and their scores.")
    flags.DEFINE_string(
        "answer_path",
        None,
        "With --mode=test or forward: "
        "file of the answers. Default: answers/ in the run "
        "directory of --load_path, else in --out_base_dir.",
    )
    flags.DEFINE_string(
        "forward_name", "dev", "Part of the data that --mode=forward answers."
    )
    flags.DEFINE_bool(
        "plot_weights",
        False,
        "Write a picture of each "
        "matrix's zeros, before and after shrinking, into the "
        "run's plots/weights/ (not with --mode=test or "
        "forward).",
    )
    flags.DEFINE_bool(
        "vis",
        False,
        "With --mode=test or forward: also write "
        "the probabilities of every word, as .npz files.",
    )
    flags.DEFINE_bool(
        "debug",
        False,
        "Two steps and two batches of everything, to see whether all is well.",
    )


def _define_training_flags() -> None:
    preset = Options()
    flags.DEFINE_integer(
        "batch_size", 60, "Questions of a batch.", lower_bound=1
    )
    flags.DEFINE_integer(
        "num_gpus",
        1,
        "Multiplies --batch_size: the "
        "authors' program gives each GPU a batch and "
        "averages the gradients.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "num_steps",
        preset.num_steps,
        "Steps to train; 0: --num_epochs.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "num_epochs",
        12,
        "With --num_steps=0: passes over the questions.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "val_num_batches",
        0,
        "Batches of an evaluation while training; 0: all.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "test_num_batches",
        0,
        "Batches of other evaluations; 0: all.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "optimizer",
        preset.optimizer,
        ["adam", "gd"],
        "gd: its rate falls by 10 after each third.",
    )
    flags.DEFINE_float("init_lr", preset.init_lr, "Learning rate.")
    flags.DEFINE_float(
        "input_keep_prob", 0.8, "Of inputs of LSTMs and logits, while training."
    )
    flags.DEFINE_float("keep_prob", 0.8, "Of characters' embeddings.")
    flags.DEFINE_float(
        "wd",
        preset.wd,
        "Strength of L2 on highway and "
        "logits; some weights count several times, as in the "
        "authors' code.",
    )
    flags.DEFINE_float(
        "l1wd",
        preset.l1wd,
        "Strength of L1 on LSTMs, "
        "attention and logits; with --structured_sparsity on "
        "vectors only.",
    )
    flags.DEFINE_float(
        "row_col_wd",
        preset.row_col_wd,
        "Strength of the group lasso on rows and columns.",
    )
    flags.DEFINE_float(
        "structure_wd",
        preset.structure_wd,
        "Strength of the group lasso on ISS components.",
    )
    flags.DEFINE_bool(
        "structured_sparsity",
        preset.structured_sparsity,
        "Groups rather than single weights.",
    )
    flags.DEFINE_bool(
        "coef_scaling",
        preset.coef_scaling,
        "Rows and columns weigh by the root of their length.",
    )
    flags.DEFINE_enum(
        "freeze_mode",
        None,
        ["element", "group"],
        "Keep zeros: single weights, or whole dead units.",
    )
    flags.DEFINE_string(
        "group_config",
        None,
        "What --structure_wd acts on: "
        "'iss', the model's own components; 'authors', those "
        "of their files, which leave out who reads the "
        "attended answer; or one of their JSON files.",
    )
    flags.DEFINE_string(
        "finetuning_config",
        None,
        "JSON with the names of the only weights to train.",
    )
    flags.DEFINE_float(
        "zero_threshold",
        preset.zero_threshold,
        "Smaller weights of LSTMs, attention and logits become exact zeros.",
    )
    flags.DEFINE_float(
        "dead_below",
        0.0,
        "Before shrinking: units whose "
        "component has a norm up to this are dead, too; with "
        "--shrink_every_steps at --dead_checks checks in a "
        "row.",
    )
    flags_lib.define_shrinking_flags()
    flags.DEFINE_float(
        "var_decay", preset.var_decay, "Of the weights' moving averages."
    )
    flags.DEFINE_float("decay", preset.decay, "Of the cost that is shown.")
    flags.DEFINE_bool(
        "wy",
        preset.wy,
        "Learn which words are in the answer, not its first and last.",
    )
    flags.DEFINE_float("th", 0.5, "With --wy: least probability of a word.")
    flags.DEFINE_bool(
        "blank_last_word",
        True,
        "As in the authors' program, "
        "an answer that ends on its context's last word is "
        "written as an empty one.",
    )


def _define_model_flags() -> None:
    preset = model_lib.ModelConfig()
    flags.DEFINE_integer(
        "hidden_size",
        preset.hidden_size,
        "Units of each direction of each LSTM.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "char_out_size",
        preset.char_out_size,
        "Features that a word gets from its characters.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "char_emb_size",
        preset.char_emb_size,
        "Of a character's embedding.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "out_channel_dims",
        preset.out_channel_dims,
        "Channels of the character filters, between commas.",
    )
    flags.DEFINE_string(
        "filter_heights",
        preset.filter_heights,
        "Characters that each of them sees.",
    )
    flags.DEFINE_bool("highway", preset.highway, "Use the highway network.")
    flags.DEFINE_integer(
        "highway_num_layers",
        preset.highway_num_layers,
        "Its layers.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "share_cnn_weights",
        preset.share_cnn_weights,
        "One character CNN for context and question.",
    )
    flags.DEFINE_bool(
        "share_lstm_weights",
        preset.share_lstm_weights,
        "One preprocessing LSTM for context and question.",
    )
    flags.DEFINE_enum(
        "logit_func",
        preset.logit_func,
        attention.SIMILARITIES,
        "Likeness of a context and a question word.",
    )
    flags.DEFINE_enum(
        "answer_func",
        preset.answer_func,
        attention.ANSWERS,
        "Logits of the answer's ends.",
    )
    flags.DEFINE_bool(
        "use_char_emb", preset.use_char_emb, "Words have characters."
    )
    flags.DEFINE_bool(
        "use_word_emb", preset.use_word_emb, "Words have vectors."
    )
    flags.DEFINE_bool(
        "q2c_att", preset.q2c_att, "Attention from question to context."
    )
    flags.DEFINE_bool("c2q_att", preset.c2q_att, "From context to question.")
    flags.DEFINE_bool(
        "dynamic_att",
        preset.dynamic_att,
        "Attention in every step of the modelling LSTMs instead.",
    )
    flags.DEFINE_bool("na", preset.na, "Learn a bias for having no answer.")


def _define_data_flags() -> None:
    preset = read_data.DataConfig()
    for name, what in (
        (
            "word_count_th",
            "Words without a vector must occur more often "
            "to get one of their own",
        ),
        ("char_count_th", "Characters too"),
    ):
        flags.DEFINE_integer(
            name, getattr(preset, name), f"{what}.", lower_bound=0
        )
    for name, what in (
        ("sent_size_th", "words of a sentence"),
        ("num_sents_th", "sentences of a context"),
        ("ques_size_th", "words of a question"),
        ("word_size_th", "characters of a word"),
        ("para_size_th", "words of a context, with --squash"),
    ):
        flags.DEFINE_integer(
            name,
            getattr(preset, name),
            f"At most so many {what}.",
            lower_bound=1,
        )
    flags.DEFINE_bool("lower_word", preset.lower_word, "In lower case.")
    flags.DEFINE_bool(
        "finetune", preset.finetune, "Words with a vector are trained, too."
    )
    flags.DEFINE_bool(
        "use_glove_for_unk",
        preset.use_glove_for_unk,
        "Words that are not trained keep their vector.",
    )
    flags.DEFINE_bool(
        "known_if_glove",
        preset.known_if_glove,
        "With --finetune: even rare ones.",
    )
    flags.DEFINE_bool("squash", preset.squash, "A context is one sentence.")
    flags.DEFINE_bool(
        "single", preset.single, "Only the answer's sentence is read."
    )
    flags.DEFINE_enum(
        "data_filter",
        preset.data_filter,
        read_data.FILTERS,
        "Which questions are trained on, see read_data.",
    )
    flags.DEFINE_bool(
        "len_opt",
        preset.len_opt,
        "Batches as narrow as their longest sentence.",
    )
    flags.DEFINE_bool(
        "cpu_opt", preset.cpu_opt, "And with as many sentences as needed."
    )
    flags.DEFINE_bool("cluster", False, "Batches of like lengths.")
    flags.DEFINE_integer(
        "synthetic_train",
        3000,
        "With --data_dir=synthetic: questions to train on.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "synthetic_dev", 500, "Questions to judge on.", lower_bound=1
    )
