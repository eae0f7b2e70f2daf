"""A whole language model on packed matrices: ids in, logits out."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any, Optional, Union

import numpy as np

from iss_rnns import errors
from iss_rnns.sparse import layers
from iss_rnns.sparse import lstm
from iss_rnns.sparse import matrix

States = list[np.ndarray]

MAKERS = {
    kind.kind: kind.from_arrays
    for kind in (
        lstm.PackedLSTM,
        layers.PackedGRU,
        layers.PackedSimpleRNN,
        layers.PackedReLURNN,
        layers.PackedRHN,
    )
}


class PackedLanguageModel:
    """Embedding -> packed layers -> softmax, for inference.

    Args:
      embedding: `[V, E]` float32.
      parts: the layers by name, first layer first, and behind them the
        softmax's matrix `[n, V]`; without one the embedding serves, turned
        around (tied weights).
      softmax_b: `[V]` float32.

    Attributes:
      layers: by name.
      softmax_name: of the softmax's matrix; None if tied.
      state_sizes: widths of the states, those of the first layer first.

    Raises:
      UserError: parts whose shapes do not fit each other.
    """

    def __init__(
        self,
        embedding: np.ndarray,
        parts: Mapping[str, Union[layers.PackedLayer, matrix.PackedMatrix]],
        softmax_b: np.ndarray,
    ):
        self.embedding, self.softmax_b = embedding, softmax_b
        self.layers: dict[str, layers.PackedLayer] = {
            name: part
            for name, part in parts.items()
            if isinstance(part, layers.PackedLayer)
        }
        self.softmax_name: Optional[str] = next(
            (name for name in parts if name not in self.layers), None
        )
        self._softmax: Any = (  # a `PackedMatrix`, or None if tied
            None if self.softmax_name is None else parts[self.softmax_name]
        )
        self.state_sizes = [
            layer.units
            for layer in self.layers.values()
            for _ in range(layer.num_states)
        ]
        self._check()

    def _check(self):
        vocabulary, width = self.embedding.shape
        for name, layer in self.layers.items():
            if layer.inputs != width:
                raise errors.UserError(
                    f"{name} reads {layer.inputs} units, but "
                    f"what it reads has {width}"
                )
            width = layer.units
        found = (
            self.embedding.shape[::-1]
            if self._softmax is None
            else tuple(self._softmax.shape)
        )
        if (found, self.softmax_b.shape) != (
            (width, vocabulary),
            (vocabulary,),
        ):
            raise errors.UserError(
                f"the softmax must be {[width, vocabulary]} with a bias "
                f"{[vocabulary]}, got {list(found)} and "
                f"{list(self.softmax_b.shape)}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        parts: list[Any] = [
            self.embedding,
            self.softmax_b,
            *self.layers.values(),
        ]
        if self._softmax is not None:
            parts.append(self._softmax)
        return sum(part.nbytes for part in parts)

    def zero_states(self, batch: int) -> States:
        """The states of a text's start."""
        return [np.zeros((batch, n), np.float32) for n in self.state_sizes]

    def __call__(
        self,
        ids: np.ndarray,
        states: Optional[States] = None,
        threads: Optional[int] = None,
    ) -> tuple[np.ndarray, States]:
        """Logits of the next symbol at every position.

        Args:
          ids: `[batch, time]` int.
          states: of `state_sizes`, each `[batch, n]`; zeros if None.
          threads: CPU threads. Defaults to what the matrices chose.

        Returns:
          (logits `[batch, time, V]` float32, new states).

        Raises:
          UserError: ids of another shape, or beyond the vocabulary.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise errors.UserError(
                f"ids must be integers [batch, time], got "
                f"{ids.dtype} {list(ids.shape)}"
            )
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self.softmax_b):
            raise errors.UserError(
                f"ids must be in 0 ... {len(self.softmax_b) - 1},"
                f" got {ids.min()} ... {ids.max()}"
            )
        states = list(self.zero_states(len(ids)) if states is None else states)
        if len(states) != len(self.state_sizes):
            raise errors.UserError(
                f"expected {len(self.state_sizes)} states, got {len(states)}"
            )
        x = self.embedding[ids]
        finals: list[np.ndarray] = []
        for layer in self.layers.values():
            own = states[len(finals) : len(finals) + layer.num_states]
            x, final = layer(x, own, threads)
            finals += final
        flat = np.ascontiguousarray(x.reshape(-1, x.shape[2]))
        logits = (
            flat @ self.embedding.T + self.softmax_b
            if self._softmax is None
            else self._softmax.matmul(flat, threads, self.softmax_b)
        )
        return logits.reshape(*ids.shape, len(self.softmax_b)), finals

    def save(self, path: str) -> None:
        """Writes all but the parts, which have files beside this one.

        Raises:
          UserError: it cannot be written.
        """
        names = [*self.layers, *filter(None, [self.softmax_name])]
        matrix.write_arrays(
            path,
            "language model",
            {
                "embedding": self.embedding,
                "softmax_b": self.softmax_b,
                "parts": np.array(names),
            },
        )

    @classmethod
    def load(
        cls,
        path: str,
        batch_sizes: Sequence[int] = (1, 4, 16, 64),
        threads: int = 1,
    ) -> "PackedLanguageModel":
        """Reads a model and its parts.

        Args:
          path: of what `save` wrote, `packed/language_model.npz` of a run.
          batch_sizes: see `pack`.
          threads: see `pack`.

        Raises:
          UserError: a file is missing, damaged, or fits no other.
        """
        arrays = matrix.read(path, {"language model": dict})
        for name, rank, kind in (
            ("embedding", 2, np.float32),
            ("softmax_b", 1, np.float32),
            ("parts", 1, np.str_),
        ):
            array = arrays.get(name, np.zeros(()))
            if array.ndim != rank or not np.issubdtype(array.dtype, kind):
                raise errors.UserError(
                    f"{path}: expected '{name}' with {rank} axes of "
                    f"{kind.__name__}, got {array.dtype} {list(array.shape)}"
                )
            if kind is np.float32 and not np.isfinite(array).all():
                raise errors.UserError(
                    f"{path}: '{name}' holds numbers that are not finite"
                )
        embedding, softmax_b, names = (
            arrays[name] for name in ("embedding", "softmax_b", "parts")
        )
        makers = {**MAKERS, "matrix": matrix.PackedMatrix.from_arrays}
        # Whatever a name says, it is that of a file in this folder.
        parts = {
            str(name): matrix.read(
                str(
                    pathlib.Path(path).with_name(
                        f"{pathlib.PurePath(str(name)).name}.npz"
                    )
                ),
                makers,
            )
            for name in names
        }
        try:
            model = cls(embedding, parts, softmax_b)
        except ValueError as error:
            raise errors.UserError(f"{path}: {error}") from None
        if len(batch_sizes):
            for part in parts.values():
                part.tune(batch_sizes, threads)
        return model
