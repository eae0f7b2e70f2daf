"""Weights of a trained BiDAF, ready to be judged, shrunk or trained on."""

from collections.abc import Mapping, Sequence
import dataclasses
import glob
import pathlib
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import penalties
from bidaf import train as train_lib
from bidaf.data import sources
from bidaf.data import vocabulary as vocabulary_lib
from bidaf.net import authors
from bidaf.net import groups as groups_lib
from iss_rnns import averages as averages_lib
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import restoring
from iss_rnns.experiments import states
from iss_rnns.experiments import tasks
from iss_rnns.interop import tf1
from iss_rnns.ops import in_place

AVERAGE = "/ExponentialMovingAverage"  # behind a name in TF1 checkpoints


@dataclasses.dataclass(frozen=True)
class Loaded(tasks.Trained):
    """Weights as training left them, and their averages.

    Attributes:
      averages: their moving averages; None if the source has none.
      step: that they were saved after; 0 if unknown.
      pruned: types of layers whose matrices were pruned in training.
    """

    net: model_lib.BiDAF
    averages: Optional[averages_lib.MovingAverages] = None
    step: int = 0
    pruned: Sequence[str] = ()

    def assign_averages(self) -> None:
        """Weights := averages; what is pruned stays zero.

        Averages never reach exact zero. Where there are none, nothing changes.
        """
        if self.averages is None:
            return
        layers = self.net.layer_types()
        pruned = [v for name in self.pruned for v in layers[name]]
        masks = [tf.cast(tf.not_equal(v, 0.0), v.dtype) for v in pruned]
        self.averages.assign_to_variables()
        for variable, mask in zip(pruned, masks):
            variable.assign(variable * mask)


def vocabulary_of(
    load_path: Optional[str], shared_path: Optional[str]
) -> vocabulary_lib.Vocabulary:
    """The vocabulary that weights were trained with.

    Args:
      load_path: of the weights; a run directory has its vocabulary.
      shared_path: a vocabulary file, instead.

    Raises:
      UserError: if there is none.
    """
    if load_path and not glob.glob(f"{glob.escape(load_path)}*"):
        raise errors.UserError(
            f"there is nothing at --restore_path={load_path}; give a run "
            "directory, a .npz file or a checkpoint of the authors' program"
        )
    if not shared_path and not (load_path and restoring.is_run(load_path)):
        raise errors.UserError(
            f"--restore_path={load_path} is no run directory, so the ids of its "
            "words are unknown; give --shared_path, the shared.json that "
            "training wrote"
        )
    return vocabulary_lib.Vocabulary.load(
        shared_path or pathlib.Path(str(load_path)) / sources.VOCABULARY
    )


def config_of(
    load_path: str, step: int, otherwise: Callable[[], model_lib.ModelConfig]
) -> model_lib.ModelConfig:
    """The hyper-parameters that weights were trained with.

    A run directory knows them; for other weights they are what flags say.
    """
    if not restoring.is_run(load_path):
        return otherwise()
    return model_lib.ModelConfig(**state_of(load_path, step)[1]["model"])


def word_size_of(load_path: str, step: int) -> Optional[int]:
    """Characters of a word that weights were trained with, if known."""
    if not restoring.is_run(load_path):
        return None
    return state_of(load_path, step)[1]["max_word_size"]


def na_of(load_path: Optional[str], step: int, otherwise: bool) -> bool:
    """Whether weights were trained with a no-answer bias.

    A run directory knows it; of other weights, or none, it is what flags say.
    """
    if not load_path or not restoring.is_run(load_path):
        return otherwise
    return state_of(load_path, step)[1]["model"]["na"]


def state_of(folder: files.PathLike, step: int = 0) -> tuple[str, dict]:
    """Prefix and state of a checkpoint of this program.

    Args:
      folder: the run's.
      step: of the checkpoint; 0 means the newest.

    Raises:
      UserError: if there is none, or another program wrote it.
    """
    prefix, state = restoring.find_checkpoint(folder, step)
    pruned = (state.get("options", {}).get("pruning") or {}).get(
        "schedules", {}
    )
    try:
        states.check_fields(model_lib.ModelConfig, state.get("model"), "model")
        if not isinstance(state["sizes"], dict) or "max_word_size" not in state:
            raise ValueError("it says no sizes by name")
        if not set(pruned) <= set(model_lib.LAYER_TYPES):
            raise ValueError(f"no layers are called {', '.join(pruned)}")
    except ValueError as error:
        raise errors.UserError(
            f"{folder} is no run of this version of bidaf.cli: the state "
            f"beside {prefix} does not say what model it is ({error}); give "
            "another --restore_path"
        ) from None
    return prefix, state


def check_fits(
    path: str,
    config: model_lib.ModelConfig,
    questions: sources.Questions,
    wy: Optional[bool] = None,
    step: int = 0,
) -> None:
    """Refuses data, or a way to read scores, of another kind than trained on.

    Args:
      path: of the weights.
      config: theirs.
      questions: to feed.
      wy: whether each word is judged; None: it need not be what it was.
      step: see `state_of`.

    Raises:
      UserError: naming both sides.
    """
    for name, what in (
        ("word_emb_size", "numbers to a word's vector"),
        ("word_vocab_size", "words"),
        ("char_vocab_size", "characters"),
    ):
        ours, theirs = getattr(config, name), getattr(questions.sizes, name)
        if ours != theirs and (name != "word_emb_size" or config.use_word_emb):
            raise errors.UserError(
                f"{path} was trained with {ours:,} {what}, the data has "
                f"{theirs:,}; give the data (bidaf.prepro) and --shared_path "
                "that it was trained with"
            )
    if wy is not None and restoring.is_run(path):
        trained = state_of(path, step)[1].get("options", {}).get("wy", wy)
        if trained != wy:
            raise errors.UserError(
                f"{path} was trained {'with' if trained else 'without'} "
                f"--wy; give {'--wy' if trained else '--nowy'}, as its scores "
                "mean nothing else"
            )


def load(path: str, config: model_lib.ModelConfig, step: int = 0) -> Loaded:
    """Weights out of a run directory, a `.npz` file or a TF1 checkpoint.

    Args:
      path: of them.
      config: the net's, of the sizes that they have.
      step: of a run directory's checkpoint; 0 means the newest.

    Raises:
      UserError: if they are missing, damaged or of other sizes.
    """
    if restoring.is_run(path):
        net = restoring.restore(
            lambda sizes: model_lib.BiDAF(config, sizes),
            path,
            authors.sizes_of,
            step,
        )
        prefix, state = state_of(path, step)
        averages = averages_lib.MovingAverages(net.trainable_variables, 1.0)
        try:
            tf.train.Checkpoint(
                model=tf.train.Checkpoint(averages=averages)
            ).read(prefix).assert_existing_objects_matched().expect_partial()
        except tf1.READ_ERRORS + (AssertionError,) as error:
            raise errors.UserError(
                f"the averages in checkpoint {prefix} cannot be restored: "
                f"{errors.reason(error)}; take another one with --load_step"
            ) from None
        plan = state.get("options", {}).get("pruning") or {"schedules": ()}
        return Loaded(
            net,
            averages,
            int(prefix.rpartition("-")[2]),
            tuple(plan["schedules"]),
        )
    arrays = restoring.read_arrays(path)
    sizes = authors.sizes_of(arrays)
    restoring.check_held(path, arrays, sizes)
    net = model_lib.BiDAF(config, sizes)
    averaged = averaged_arrays(arrays)
    saved: Optional[averages_lib.MovingAverages] = None
    if averaged:
        tf1.assign(net.tf1_views(), averaged, f"{path} (averages)")
        saved = averages_lib.MovingAverages(net.trainable_variables, 1.0)
    tf1.assign(net.tf1_views(), arrays, path)
    return Loaded(net, saved)


def averaged_arrays(
    arrays: Mapping[str, files.AnyArray],
) -> dict[str, files.AnyArray]:
    """A TF1 checkpoint's moving averages, by the weights' names."""
    return {
        tf1.canonical(name[: -len(AVERAGE)]): array
        for name, array in arrays.items()
        if name.endswith(AVERAGE)
    }


def finalize_weights(
    loaded: Loaded,
    options: options_lib.TrainingOptions,
    use_averages: bool,
    dead_below: float = 0.0,
) -> dict[str, np.ndarray]:
    """Makes restored weights what is judged and shrunk, in place.

    Averages never reach exact zero, so the dead units of the weights
    themselves are masked in them. Then small weights become zeros, as the
    authors' program does after loading.

    Args:
      loaded: its net ends up with the weights to use.
      options: its groups say what is dead, and its threshold what is small.
      use_averages: whether to use the averages, if there are any.
      dead_below: units with a norm of at most this are weak.

    Returns:
      Which units of each direction are weak, `[n]` bool: of the weights or
      of their averages. They are left as they are.
    """
    net = loaded.net
    zero_small(net, options)
    penalized = train_lib.penalized_groups(net, options) or net.iss_groups()
    bounds = (0.0, dead_below)
    dead, weak = (groups_lib.dead_units(penalized, each) for each in bounds)
    if use_averages and loaded.averages is not None:
        loaded.assign_averages()
        zero_small(net, options)
        for found, bound in zip((dead, weak), bounds):
            for name, more in groups_lib.dead_units(penalized, bound).items():
                found[name] = found[name] | more
    groups_lib.zero_dead_units(net, dead)
    return weak


def zero_small(
    net: model_lib.BiDAF, options: options_lib.TrainingOptions
) -> None:
    """What the authors' program does after loading."""
    in_place.zero_small(penalties.sparse_variables(net), options.threshold)
