"""The authors' hyper-parameters and their defaults."""

import dataclasses

from iss_rnns import arguments
from iss_rnns import errors

# Matrices by type, as pruning asks for them; all of them by default.
LAYER_TYPES = ("input", "recurrent", "highway")
# See `net.attention`.
SIMILARITIES = ("tri_linear", "linear", "mul_linear", "dot", "proj", "sum")
ANSWERS = ("linear", "double", "proj", "sum")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Hyper-parameters, named as in the authors' code, with its defaults."""

    word_vocab_size: int = 0  # words with a trained vector
    char_vocab_size: int = 0
    word_emb_size: int = 0
    hidden_size: int = 100
    char_emb_size: int = 8
    char_out_size: int = 100
    out_channel_dims: str = "100"  # channels of each character filter
    filter_heights: str = "5"
    highway: bool = True
    highway_num_layers: int = 2
    use_char_emb: bool = True
    use_word_emb: bool = True
    share_cnn_weights: bool = True
    share_lstm_weights: bool = True
    q2c_att: bool = True
    c2q_att: bool = True
    dynamic_att: bool = False
    logit_func: str = "tri_linear"
    answer_func: str = "linear"
    na: bool = False  # a bias stands for "no answer"
    keep_prob: float = 0.8  # of characters
    input_keep_prob: float = 0.8  # of inputs of LSTMs and logits

    def __post_init__(self):
        if not (self.use_char_emb or self.use_word_emb):
            raise errors.UserError(
                "without --use_char_emb and --use_word_emb a word has no "
                "vector; keep one of them"
            )
        if self.use_char_emb and sum(self.channels) != self.char_out_size:
            raise errors.UserError(
                f"--out_channel_dims={self.out_channel_dims} add up to "
                f"{sum(self.channels)}, --char_out_size is "
                f"{self.char_out_size}; they must be equal"
            )
        if len(self.channels) != len(self.heights):
            raise errors.UserError(
                f"--out_channel_dims={self.out_channel_dims} and "
                f"--filter_heights={self.filter_heights} must be equally "
                "long"
            )
        for name, known in (
            ("logit_func", SIMILARITIES),
            ("answer_func", ANSWERS),
        ):
            arguments.one_of(f"--{name}", getattr(self, name), known)
        for name in ("keep_prob", "input_keep_prob"):
            value = getattr(self, name)
            arguments.number(f"--{name}", value, above=0, most=1)

    @property
    def channels(self) -> list[int]:
        """Channels of each character filter."""
        return _numbers("out_channel_dims", self.out_channel_dims)

    @property
    def heights(self) -> list[int]:
        """Characters that each filter sees."""
        return _numbers("filter_heights", self.filter_heights)

    @property
    def word_size(self) -> int:
        """Features of an embedded word."""
        return (
            self.char_out_size * self.use_char_emb
            + self.word_emb_size * self.use_word_emb
        )


def _numbers(name: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
        if min(numbers) >= 1:
            return numbers
    except ValueError:
        pass
    raise errors.UserError(
        f"--{name} must be whole numbers from 1 on between "
        f"commas, e.g. 60,40, got '{text}'"
    )
