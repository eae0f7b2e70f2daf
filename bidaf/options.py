"""What the program's flags say together."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, Optional, Union

from bidaf import model as model_lib
from bidaf import scoring
from bidaf.data import read_data
from bidaf.data import sources
from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import from_scratch
from iss_rnns.experiments import program
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import shipped
from iss_rnns.experiments import size_flags
from iss_rnns.interop import group_json

ISS, AUTHORS = "iss", "authors"  # groups of the net itself
STRENGTHS = (
    "wd",
    "l1wd",
    "row_col_wd",
    "structure_wd",
    "zero_threshold",
    "dead_below",
    "learning_rate",
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
      target: the size that training is steered to, or None.
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
    least_gain: float = 0.0
    pruning: Optional[pruning_flags.PruningPlan] = None
    target: Optional[size_flags.SizeGoal] = None
    from_scratch_of: Optional[str] = None

    @property
    def method(self) -> str:
        """What makes the net small, as tables of runs name it."""
        parts = [self.pruning.title] if self.pruning else []
        if self.structure_wd:
            parts.append("ISS")
        if self.target:
            parts.append(self.target.method)
        if self.structured_sparsity and (self.row_col_wd or self.l1wd):
            parts.append("rows and columns")
        elif self.l1wd:
            parts.append("L1")
        plain = from_scratch.METHOD if self.from_scratch_of else "dense"
        return " + ".join(parts) or plain

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
        # Runs of an older version have no such keys. The gain that a cut must
        # have is kept with the cuts.
        del values["least_gain"]
        del values["target"]  # The harness looks after both.
        del values["from_scratch_of"]
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
      epochs: after which training ends, if `num_steps` have not ended it; 0:
        they do. At most one of the two is 0.
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
    made_below: str = flags_lib.RUNS
    synthetic_train: int = 3000
    synthetic_dev: int = 500
    shared_path: Optional[str] = None
    load_step: int = 0
    load_ema: bool = True
    batch_size: int = 60
    epochs: int = 0
    eval_period: int = 1000
    checkpoint_every: int = 1000
    export_epoch: str = "best"
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
            groups = group_json.load(shipped.find(groups, "bidaf", "", ".json"))
        if values["structure_wd"] and groups is None:
            raise errors.UserError(
                "--structure_wd needs --group_config: 'iss', 'authors', or a "
                "JSON file of groups"
            )
        target = size_flags.SizeGoal.from_flags(
            values, values["structure_wd"], "--structure_wd"
        )
        names = values["finetuning_config"]
        if target:
            if groups not in (None, ISS):
                raise errors.UserError(
                    "a size is one of the units of the model itself: with "
                    "--target_units and --target_weights leave --group_config "
                    "out, or give 'iss'"
                )
            if names:
                raise errors.UserError(
                    "--finetuning_config leaves most weights as they are: "
                    "--target_units and --target_weights need all of them"
                )
            groups = ISS
        if values["shrink_every_steps"] is not None and groups != ISS:
            raise errors.UserError(
                "--shrink_every_steps needs --group_config=iss: a unit can "
                "only be cut when all that reads it is in its group"
            )
        batch_size = values["batch_size"] * values["num_gpus"]
        others = {
            "model": flags_lib.fill(model_lib.ModelConfig, values),
            "data": flags_lib.fill(
                read_data.DataConfig, values, batch_size=batch_size
            ),
            "made_below": values["save_path"],
            "init_lr": values["learning_rate"],
            "num_steps": _num_steps(values),
            "group_config": groups,
            "group_name": values["group_config"]
            or (ISS if target else cls.group_name),
            "target": target,
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
                dict.fromkeys(
                    ("eval_period", "checkpoint_every", "log_period"), 1
                )
            )
            others["test_num_batches"] = 2
        return flags_lib.fill(cls, values, **others)

    def for_data(self, questions: sources.Questions) -> "Options":
        """With what only the data says: the net's sizes, the last step."""
        sizes, steps = questions.sizes, self.num_steps
        if questions.train is not None and self.epochs:
            whole = self.epochs * self.steps_of_epoch(questions)
            steps = min(steps, whole) if steps else whole
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
        return -(-questions.trained.num_examples // self.batch_size)


def choices_from_flags(values: Mapping[str, Any]) -> program.Choices:
    """What the user wants done, out of the values of all flags.

    Raises:
      UserError: see `program.Choices`.
    """
    return program.Choices.from_flags(
        {**values, "resume": values["resume"] and values["mode"] == "train"}
    )


def _num_steps(values: Mapping[str, Any]) -> int:
    """Steps that end the training; 0: its epochs do."""
    steps = values["max_train_steps"]
    if steps is None:
        return 0 if values["epochs"] else TrainingOptions.num_steps
    if not (steps or values["epochs"]):
        raise errors.UserError(
            "--max_train_steps=0 leaves the end to --epochs, which is 0, too; "
            "give one of them"
        )
    return steps


def _check(values: Mapping[str, Any]) -> None:
    """Refuses numbers out of range, and flags that exclude each other."""
    for name in STRENGTHS:
        arguments.number(f"--{name}", values[name], least=0)
    for name in ("var_decay", "decay", "th"):
        arguments.number(f"--{name}", values[name], least=0, most=1)
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
