"""The two contracts of the harness: what it asks of a net, and of a task.

Who brings both gets the whole program: training that can be killed and
resumed, shrinking with proof, export, measurement, a report. `program.run`
runs a task's modes, `training.train` its training, `finishing` what follows.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, Callable, Optional, Protocol

import tensorflow as tf

from iss_rnns import groups as groups_lib
from iss_rnns import shrinking
from iss_rnns.experiments import dead_units
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import runs
from iss_rnns.experiments.reports import tables
from iss_rnns.interop import tf1
from iss_rnns.sparse import nets

Sizes = Mapping[str, int]  # units of each layer, by the name of its group


class Net(Protocol):
    """A network whose layers can be shrunk, pruned, packed and reported.

    Attributes:
      sizes: units of each layer by name; makes a net like it, see `resized`.
      variables: all of them, in an order that nets of other sizes share.
      trainable_variables: likewise.
    """

    sizes: Sizes
    variables: Sequence[tf.Variable]
    trainable_variables: Sequence[tf.Variable]

    def iss_groups(self) -> Sequence[groups_lib.Group]:
        """The layers that can be cut: a group each, of its name in `sizes`."""

    def resized(self, sizes: Sizes) -> "Net":
        """A new net with other sizes of the layers named in `sizes`."""

    def layer_types(self) -> Mapping[str, Sequence[tf.Variable]]:
        """The matrices `[rows, columns]` that may be pruned, by their type."""

    def packable(self) -> nets.Packable:
        """What sparse inference multiplies by, by name."""

    def weights_by_name(self) -> Mapping[str, tf.Variable]:
        """All weights, as reports name them."""

    def tf1_views(self) -> Mapping[str, tf1.View]:
        """The authors' variables by name, as weights are saved."""

    def mult_adds(self) -> int:
        """Multiply-adds of a token, or whatever else the net reads one of."""


class LanguageNet(Net, Protocol):
    """A recurrent net that predicts each next symbol of a text.

    `language.net.LanguageNet` is one, of any cells. B streams, T time steps,
    V symbols; states are `[B, n]`, a list for all layers.

    Attributes:
      state_sizes: n of each state.
      state_names: as signatures show them.
      state_groups: name of the group whose units each state holds.
      embedding: `[V, E]`.
      softmax_b: `[V]`.
    """

    state_sizes: Sequence[int]
    state_names: Sequence[str]
    state_groups: Sequence[str]
    embedding: tf.Variable
    softmax_b: tf.Variable

    def __call__(self, ids, states=None, training=None, seed=None):
        """Ids `[B, T]` -> (logits `[T * B, V]`, time-major; new states)."""

    def features(self, ids, states=None, training=None, *, table=None):
        """Ids `[B, T]` -> (outputs of the last layer `[T, B, n]`, states)."""

    def project(self, features):
        """Logits `[positions, V]` of features `[..., n]`."""

    def step(self, ids, states, table=None):
        """One time step without a loop: ids `[B]` -> (`[B, V]`, states)."""

    def input_table(self) -> Optional[tf.Tensor]:
        """`[V, width]` for `features` and `step`; see `recurrent`."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """Weights as training left them; a task may keep more beside the net.

    Attributes:
      net: with them.
    """

    net: Net


@dataclasses.dataclass(frozen=True)
class Judged:
    """A trained net that is ready to be cut.

    Attributes:
      net: what is dead in it is exactly zero.
      scores: of it, as the task has them.
      as_trained: scores before anything was zeroed; None if nothing was.
      kept: see `dead_units.Cleared`.
    """

    net: Net
    scores: Any
    as_trained: Any = None
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Task(Protocol):
    """What a program brings.

    Attributes:
      module: its module, for the command line on record.
      mode: that the user chose.
      options: of its own; with `method`, what makes the net small as tables
        of runs name it, and `pruning`.
      title: of the report.
      data: where it comes from.
      reads: paths of further files that it reads; --overwrite spares them.
      modes: functions of no arguments: modes beside train, shrink, export
        and report; they make no run.
      length: (epochs of the whole training, steps of one).
      steps: that training has in all; less than that if it ends sooner.
      pruned_types: of `Net.layer_types`, pruned where the user names none.
      difference: what the largest difference of an output is called.
      measures: rows of the report's table, each with its format.
      times: what the names of those that are times begin with.
      work: measures that count multiply-adds -> what their reduction over the
        dense model's is called; the last one is what cutting is about.
      judged_by: measures that say how good a model is.
      shown_papers: published columns for it: none where the data is not the
        papers' and nobody asked for them.
      epochs: arguments of `sections.epochs_table`.
    """

    module: str
    mode: str
    options: Any
    data: str
    reads: Sequence[Optional[str]]
    modes: Mapping[str, Callable[[], None]]
    pruned_types: Sequence[str]
    difference: str
    measures: Mapping[str, str]
    times: tuple[str, ...]
    work: Mapping[str, str]
    judged_by: Sequence[str]
    epochs: Mapping[str, Any]

    @property
    def trains(self) -> bool:
        """Whether what the options say of training holds."""
        return self.mode == "train"

    @property
    def method(self) -> str:
        """What makes the net small; empty where nothing is trained."""
        return self.options.method if self.trains else ""

    @property
    def title(self) -> str: ...

    @property
    def shown_papers(self) -> Sequence[tables.Column]: ...

    @property
    def length(self) -> tuple[float, int]: ...

    @property
    def steps(self) -> int: ...

    # Weights

    def new_net(self, sizes: Optional[Sizes] = None) -> Net:
        """A net with fresh weights; without sizes, of those of the flags."""

    def new_net_of(self, sizes: Sizes) -> Net:
        """A net of other sizes to be trained, and not to be restored next."""
        return self.new_net(sizes)

    def restore(self, path: str) -> Trained:
        """Weights from a file or a run; ready for the mode of the flags.

        Raises:
          UserError: if they cannot be read, do not fit, or are of no use.
        """

    def start_from(self, path: str) -> Net:
        """A net with weights from a file or a run, to go on training.

        Raises:
          UserError: as `restore`.
        """

    # Training

    def resume(self, run: runs.RunDirectory) -> None:
        """Takes over what a run that goes on says and flags do not."""
        return None

    def prune(self, plan: Optional[pruning_flags.PruningPlan]) -> None:
        """From now on, training prunes by the plan."""
        self.options = dataclasses.replace(self.options, pruning=plan)

    def check(self, net: Net) -> None:
        """Refuses, before anything is written, what training would refuse.

        Args:
          net: of the sizes that training begins, or goes on, with.

        Raises:
          UserError: naming what is wrong.
        """

    def begin(self, run: runs.RunDirectory) -> None:
        """Writes what must stand beside the weights of a new run."""
        return None

    def train(
        self, run: runs.RunDirectory, start: Optional[Net]
    ) -> tuple[Trained, Sequence[Mapping]]:
        """Trains, or goes on: (the weights, rows of `metrics.csv`)."""

    # What follows

    def finalize_weights(self, trained: Trained) -> dead_units.Cleared:
        """Makes the net what is used and cut: what is dead becomes zero."""

    def held_out_cost(self, net: Net) -> float:
        """Nats on the batch that cuts in training are measured on."""

    def judge(self, trained: Trained) -> Judged:
        """Finalizes the weights, and scores them."""

    def print_scores(self, net: Net) -> None:
        """Scores a net."""

    def proof(self) -> tuple[Sequence[Any], Callable[[Net, Any], Any]]:
        """Real batches, and `run(net, batch)` -> output(s) to compare."""

    def kept_units(
        self, groups: Sequence[groups_lib.Group]
    ) -> Optional[Sequence[Any]]:
        """`[n]` bool of each group: what stays; None: what is not zero."""
        return None

    def card(
        self, net: Net, proof: shrinking.ShrinkReport, scores: Any = None
    ) -> Mapping[str, Any]:
        """What a model card says beside data, sizes and command.

        Args:
          net: before it was shrunk.
          proof: of the shrinking.
          scores: of the net; None: nobody took them yet.
        """

    def export(
        self, net: Net, path: pathlib.Path, card: Mapping
    ) -> Mapping[str, pathlib.Path]:
        """Writes a net as files that run without this package.

        Args:
          net: to write.
          path: of its SavedModel.
          card: of JSON values.

        Returns:
          The files by the measure that their time in ms is called, the
          SavedModel first.
        """

    def pack(self, net: Net, folder: pathlib.Path) -> Optional[nets.Packed]:
        """Packs a net for sparse inference, below a folder; see `nets.pack`."""

    def runner(self, path: pathlib.Path) -> Callable[[], Any]:
        """An exported or packed model as a function to be timed."""

    def check_reloaded(
        self, path: pathlib.Path, judged: Judged
    ) -> tuple[Any, Mapping[str, Any]]:
        """Proves that an exported model does what the net does.

        Returns:
          (its scores, what the report has to say of it and of the table).

        Raises:
          UserError: if it does not.
        """

    def facts(self, net: Net) -> Mapping[str, Any]:
        """A net's measures that only this task has."""

    def shown(self, scores: Any) -> Mapping[str, Any]:
        """Scores as measures."""

    def curves(self, rows: Sequence[Mapping]) -> Mapping[str, Any]:
        """Arguments of `plots.training_curves`."""
