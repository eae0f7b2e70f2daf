"""The authors' hyper-parameters by name."""

import dataclasses

CELLS = ("lstm", "gru", "rnn")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Hyper-parameters, named as in the authors' code."""

    init_scale: float
    learning_rate: float
    max_grad_norm: float
    num_layers: int
    num_steps: int
    hidden_size: int
    max_epoch: int  # epochs at the first learning rate
    max_max_epoch: int  # epochs in all
    keep_prob: float
    lr_decay: float
    batch_size: int = 20
    decay_by_thirds: bool = False  # `sparselarge`


CONFIGS: dict[str, ModelConfig] = {
    "small": ModelConfig(0.1, 1.0, 5, 2, 20, 200, 4, 13, 1.0, 0.5),
    "medium": ModelConfig(0.05, 1.0, 5, 2, 35, 650, 6, 39, 0.5, 0.8),
    "large": ModelConfig(0.04, 1.0, 10, 2, 35, 1500, 14, 55, 0.35, 1 / 1.15),
    "sparselarge": ModelConfig(
        0.04, 1.0, 10, 2, 35, 1500, 14, 55, 0.60, 0.1, decay_by_thirds=True
    ),
    "validtestlarge": ModelConfig(0.04, 0.0, 10, 2, 35, 1500, 0, 0, 1.0, 1.0),
    "test": ModelConfig(0.1, 1.0, 1, 1, 2, 2, 1, 1, 1.0, 0.5),
}
