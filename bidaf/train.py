"""Trains BiDAF: from options to a trained net on disk."""

from collections.abc import Sequence
import dataclasses
from typing import Callable, Optional, Union

import numpy as np
import tensorflow as tf

from bidaf import model as model_lib
from bidaf import penalties
from bidaf import trainer as trainer_lib
from bidaf.net import groups as groups_lib
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import files
from iss_rnns import groups
from iss_rnns.experiments import machine
from iss_rnns.experiments import pruning_flags
from iss_rnns.interop import group_json
from iss_rnns.interop import tf1

ISS, AUTHORS = "iss", "authors"  # groups of the net itself
LR_STEPS = 3  # gradient descent's rate has so many levels


@dataclasses.dataclass(frozen=True)
class Options:
    """What training needs, from flags; named as in the authors' code.

    Attributes:
      group_config: what `structure_wd` acts on: 'iss', the components of the
        net; 'authors', the same without the rows that read the attended
        answer; or the contents of a JSON file.
      finetuned: TF1 names of the only variables to train; None means all.
      pruning_plan: how weights are pruned while training, or None.
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
    shrink_every_steps: Optional[int] = None  # 0: each evaluation
    dead_below: float = 0.0
    dead_checks: int = 3
    pruning_plan: Optional[pruning_flags.PruningPlan] = None

    @property
    def method(self) -> str:
        """What makes the net small, as tables of runs name it."""
        parts = [self.pruning_plan.title] if self.pruning_plan else []
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

    def describe(self) -> dict:
        """What must stay the same when a run is resumed."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
        }
        if isinstance(self.group_config, group_json.GroupFile):
            values["group_config"] = self.group_config.source
        if self.finetuned is not None:
            values["finetuned"] = list(self.finetuned)
        plan = values.pop("pruning_plan")
        if self.optimizer == "adam":
            # Nothing follows from it but the end: a run may be made longer.
            del values["num_steps"]
        # Runs of an older version have no such keys.
        if self.compute_dtype == "float32":
            del values["compute_dtype"]
        if self.shrink_every_steps is None:
            for name in ("shrink_every_steps", "dead_below", "dead_checks"):
                del values[name]
        return {**values, "pruning": plan.describe()} if plan else values


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
            f'{files.shown(path)}: expected {{"var_names": ["main/logits1/first/weights", '
            "...]}, with at least one name"
        )
    return tuple(names)


def trained_variables(
    net: model_lib.BiDAF, names: Sequence[str]
) -> list[tf.Variable]:
    """The net's variables behind TF1 names.

    Raises:
      UserError: on a name that the net lacks.
    """
    views = net.tf1_views()
    for name in names:
        if tf1.canonical(name) not in views:
            raise errors.UserError(
                f"finetuning_config names '{name}', which the model lacks; "
                f"it has: {', '.join(views)}"
            )
    return [v for name in names for v in views[tf1.canonical(name)].variables]


def penalized_groups(
    net: model_lib.BiDAF, options: Options
) -> list[groups.Group]:
    """The groups that `structure_wd` acts on; [] without `group_config`."""
    if options.group_config is None:
        return []
    if isinstance(options.group_config, group_json.GroupFile):
        return groups_lib.from_file(net, options.group_config)
    names = groups_lib.shrinkable(net)
    if net.config.answer_func == "sum":
        # Says why most of what was asked for cannot be.
        names = groups_lib.PRUNABLE
    return groups_lib.iss_groups(
        net, names, attended=options.group_config == ISS
    )


def compiled(
    net: model_lib.BiDAF, options: Options, vectors: np.ndarray
) -> trainer_lib.Trainer:
    """The net in its trainer, with the options' optimizer."""
    trained = None
    if options.finetuned is not None:
        trained = trained_variables(net, options.finetuned)
    model = trainer_lib.Trainer(
        net,
        vectors,
        options.var_decay,
        options.threshold,
        options.wy,
        trained,
        options.decay,
        options.seed,
        machine.product_dtype(options.compute_dtype),
    )
    if options.optimizer == "adam":
        # TensorFlow 1's epsilon.
        optimizer = tf.keras.optimizers.Adam(options.init_lr, epsilon=1e-8)
    else:
        optimizer = tf.keras.optimizers.SGD(
            tf.keras.optimizers.schedules.ExponentialDecay(
                options.init_lr,
                max(options.num_steps // LR_STEPS, 1),
                0.1,
                staircase=True,
            )
        )
    model.compile(optimizer=optimizer)
    # Left to the first step, this would have the step traced twice.
    optimizer.build(model.trainable_variables)
    return model


def sparsity_callbacks(net: model_lib.BiDAF, options: Options) -> list:
    """Penalties and freezing that the options ask for."""
    result = []
    if options.wd:
        result.append(
            _penalty(lambda model: penalties.l2_penalty(model.net, options.wd))
        )
    if not options.structured_sparsity:
        if options.l1wd:
            result.append(
                _penalty(
                    lambda model: penalties.l1_penalty(
                        model.net, options.l1wd, model.found
                    )
                )
            )
    elif options.row_col_wd or options.l1wd:
        result.append(
            _penalty(
                lambda model: penalties.mixed_penalty(
                    penalties.mixed_lasso(model.net, options.coef_scaling),
                    options.row_col_wd,
                    options.l1wd,
                    model.found,
                )
            )
        )
    penalized = penalized_groups(net, options)
    if penalized and options.structure_wd:
        result.append(callbacks.GroupLasso(penalized, options.structure_wd))
    if options.freeze_mode:
        freezing = callbacks.FreezeZeros(
            options.freeze_mode,
            penalized or net.iss_groups(),
            # Only what is exactly 0 stays so.
            threshold=float(np.finfo(np.float32).tiny),
            value=lambda variable: freezing.model.found(variable),
        )
        result.append(freezing)
    if options.pruning_plan:
        result += options.pruning_plan.callbacks(net.layer_types())
    return result


def _penalty(
    formula: Callable[[trainer_lib.Trainer], tf.Tensor],
) -> callbacks.Penalty:
    """A penalty on what trains, whose net cuts may replace."""
    result = callbacks.Penalty(lambda: formula(result.model))
    return result
