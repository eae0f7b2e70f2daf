"""The six models in PyTorch, for Torch-Pruning.

python -m benchmarks.rivals.torch_models
"""

import json
import pathlib
import tempfile

import torch
from torch import nn
import torch_pruning

from benchmarks.rivals import outcome

N = outcome.UNITS


def kill(layer, *readers) -> None:
    """Sets all that makes or reads the dead units of a layer to zero.

    Args:
      layer: an `nn.LSTM` or `nn.GRU` of one layer, of one direction or two.
      readers: (weight, column where the units of the first direction begin).
    """
    dead = torch.tensor(outcome.DEAD)
    gates = layer.weight_hh_l0.shape[0] // N
    rows = torch.cat([gate * N + dead for gate in range(gates)])
    with torch.no_grad():
        for end in ("", "_reverse")[: 1 + layer.bidirectional]:
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(layer, f"{name}_l0{end}")[rows] = 0
            getattr(layer, f"weight_hh_l0{end}")[:, dead] = 0
        for weight, start in readers:
            for direction in range(1 + layer.bidirectional):
                weight[:, start + direction * N + dead] = 0


class Stacked(nn.Module):
    """See `outcome.MODELS`."""

    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(outcome.FEATURES, N, batch_first=True)
        self.second = nn.LSTM(N, N, batch_first=True)
        self.out = nn.Linear(N, outcome.CLASSES)
        kill(self.first, (self.second.weight_ih_l0, 0))
        kill(self.second, (self.out.weight, 0))

    def forward(self, x):
        """`[batch, time, features]` -> `[batch, classes]`."""
        return self.out(self.second(self.first(x)[0])[0][:, -1])


class Bidirectional(nn.Module):
    """See `outcome.MODELS`; PyTorch has lengths for a mask."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(outcome.WORDS, outcome.FEATURES)
        self.first = nn.GRU(
            outcome.FEATURES, N, batch_first=True, bidirectional=True
        )
        self.second = nn.GRU(2 * N, N, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * N, outcome.CLASSES)
        kill(
            self.first,
            (self.second.weight_ih_l0, 0),
            (self.second.weight_ih_l0_reverse, 0),
        )
        kill(self.second, (self.out.weight, 0))

    def forward(self, x):
        """`[batch, time]` -> `[batch, classes]`."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(x),
            (x > 0).sum(1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        _, last = self.second(self.first(packed)[0])
        return self.out(torch.cat([last[0], last[1]], -1))


class Residual(nn.Module):
    """See `outcome.MODELS`."""

    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(outcome.FEATURES, N, batch_first=True)
        self.second = nn.LSTM(N, N, batch_first=True)
        self.out = nn.Linear(N, outcome.CLASSES)
        kill(self.first, (self.second.weight_ih_l0, 0), (self.out.weight, 0))
        kill(self.second, (self.out.weight, 0))

    def forward(self, x):
        """`[batch, time, features]` -> `[batch, time, classes]`."""
        h, _ = self.first(x)
        return self.out(h + self.second(h)[0])


class EncoderDecoder(nn.Module):
    """See `outcome.MODELS`."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(outcome.FEATURES, N, batch_first=True)
        self.decoder = nn.LSTM(outcome.FEATURES, N, batch_first=True)
        self.out = nn.Linear(N, outcome.CLASSES)
        kill(self.encoder)
        kill(self.decoder, (self.out.weight, 0))

    def forward(self, x):
        """`[batch, time, features]` -> `[batch, time, classes]`."""
        _, states = self.encoder(x)
        return self.out(self.decoder(x, states)[0])


class Attention(nn.Module):
    """See `outcome.MODELS`."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(
            outcome.FEATURES, N, batch_first=True, bidirectional=True
        )
        self.out = nn.Linear(2 * N, outcome.CLASSES)
        kill(self.encoder, (self.out.weight, 0))

    def forward(self, x):
        """`[batch, time, features]` -> `[batch, classes]`."""
        h, _ = self.encoder(x)
        weights = torch.softmax(h @ h.transpose(1, 2), -1)
        return self.out((weights @ h).mean(1))


class Language(nn.Module):
    """See `outcome.MODELS`."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(outcome.WORDS, outcome.FEATURES)
        self.lstm = nn.LSTM(outcome.FEATURES, N, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(N, outcome.WORDS)
        kill(self.lstm, (self.out.weight, 0))

    def forward(self, x):
        """`[batch, time]` -> `[batch, time, words]`."""
        return self.out(self.dropout(self.lstm(self.embedding(x))[0]))


def build(name: str) -> nn.Module:
    """One of `outcome.MODELS`, half of whose units are dead."""
    torch.manual_seed(3)
    return globals()[name.title().replace("-", "")]().eval()


def cut(model, batch):
    """Half of all units by the norms of their groups: the dead ones."""
    pruner = torch_pruning.pruner.BasePruner(
        model,
        batch,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[model.out],
    )
    pruner.step()
    return model


def units_of(model) -> int:
    """Units of all recurrent layers."""
    return sum(
        layer.weight_hh_l0.shape[1] * (1 + layer.bidirectional)
        for layer in model.modules()
        if isinstance(layer, (nn.LSTM, nn.GRU))
    )


def taken(name: str) -> dict:
    """The outcome of one model."""
    model = build(name)
    ids = hasattr(model, "embedding")
    batch = torch.tensor(outcome.words() if ids else outcome.numbers())
    batch = batch.long() if ids else batch
    small = cut(build(name), batch)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        sizes = []
        for i, each in enumerate((model, small)):
            path = pathlib.Path(folder) / f"{i}.pt"
            torch.save(each.state_dict(), path)
            sizes.append(path.stat().st_size)
        return outcome.measured(
            (units_of(model), units_of(small)),
            (model(batch).numpy(), small(batch).numpy()),
            tuple(sizes),
            {
                "before": lambda: model(batch),
                "after": lambda: small(batch),
            },
        )


def main():
    """Prints the outcomes as JSON."""
    torch.set_num_threads(1)
    print(json.dumps(outcome.of_each(taken)))


if __name__ == "__main__":
    main()
