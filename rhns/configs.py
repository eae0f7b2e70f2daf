"""The authors' hyper-parameters and their defaults."""

import dataclasses

LR_POLICIES = ("quick_start", "equal_step")
# Data sets that come with Python -> their symbols.
EMBEDDED = {"embedded_words": "word", "embedded_characters": "character"}


@dataclasses.dataclass(frozen=True)
class Rates:
    """Probabilities of dropping, named as the authors' drop_x, i, h, o.

    Attributes:
      words: of a word (all of its embedding) in the sequence.
      inputs: of a unit of each layer's input.
      states: of a unit of each layer's state.
      outputs: of a unit of the last layer's output.
    """

    words: float = 0.0
    inputs: float = 0.0
    states: float = 0.0
    outputs: float = 0.0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Hyper-parameters, named and preset as in the authors' code."""

    init_scale: float = 0.04
    init_bias: float = -2.0
    num_layers: int = 1
    depth: int = 4
    learning_rate: float = 0.2
    lr_decay: float = 1.02
    weight_decay: float = 1e-7  # L2 on everything
    max_grad_norm: float = 10.0
    num_steps: int = 35
    hidden_size: int = 1000
    max_epoch: int = 20  # epochs at the first learning rate
    max_max_epoch: int = 500  # epochs in all
    batch_size: int = 20
    drop_x: float = 0.25
    drop_i: float = 0.75
    drop_h: float = 0.25
    drop_o: float = 0.75
    drop_multi: float = 1.0  # multiplies the four rates above
    tied: bool = True
    structure_wd: float = 0.0  # strength of the group lasso
    zero_threshold: float = 0.0
    lr_policy: str = "quick_start"

    @property
    def rates(self) -> Rates:
        """The four rates that hold."""
        return Rates(
            *(
                self.drop_multi * rate
                for rate in (self.drop_x, self.drop_i, self.drop_h, self.drop_o)
            )
        )
