"""Monte-Carlo evaluation: the mean of many noisy nets' predictions."""

import dataclasses
import itertools
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import errors
from rhns import noise as noise_lib


@dataclasses.dataclass(frozen=True)
class Result:
    """What a Monte-Carlo evaluation found.

    Attributes:
      perplexity: of the mean of the accepted samples' probabilities.
      samples: perplexity of each accepted sample.
      rejected: number of samples that were not accepted.
    """

    perplexity: float
    samples: np.ndarray
    rejected: int


def evaluate(
    net,
    ids: np.ndarray,
    samples: int,
    seed: int = 0,
    reject_above: float = 500.0,
    max_rejected: int = 100,
    parallel: int = 8,
    stretch_positions: int = 2000,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Result:
    """Perplexity of a text under the mean of noisy samples of a net.

    As the authors' `evaluate_mc`: a sample draws its masks once for the whole
    text, all words sharing one mask; a sample whose perplexity is
    `reject_above` or more (all words dropped) is drawn anew. The authors' loop
    never ends if every sample is like that; here it does.

    Args:
      net: `HighwayLM` with rates.
      ids: `[N]` the text; all symbols but the first are predicted.
      samples: number of accepted samples to average.
      seed: of the masks. Sample k is the same whatever `parallel` is.
      reject_above: perplexity.
      max_rejected: give up after more rejections than that in a row.
      parallel: samples run at once, as rows of a batch.
      stretch_positions: see `model.Evaluator`.
      progress: called with (symbols read by samples that are accepted or
        may be, symbols in all), after each stretch.

    Returns:
      See `Result`.

    Raises:
      UserError: if `samples` is not positive, the text is too short, or too
        many samples were rejected.
    """
    if samples < 1:
        raise errors.UserError(
            "Monte-Carlo evaluation needs at least one "
            f"sample, got --mc_steps={samples}"
        )
    if len(ids) < 2:
        raise errors.UserError(
            "Monte-Carlo evaluation needs a text of at "
            f"least 2 symbols, got {len(ids)}"
        )
    run = _runner(net)
    total = np.zeros(len(ids) - 1)
    accepted: list[float] = []
    rejected = in_a_row = 0
    numbers = itertools.count()

    def read(count):
        if progress:
            progress(len(accepted) * len(total) + count, samples * len(total))

    while len(accepted) < samples:
        group = [
            next(numbers) for _ in range(min(parallel, samples - len(accepted)))
        ]
        noise = noise_lib.concatenate(
            [
                net.draw_noise(
                    tf.zeros([1, 1], tf.int32), tf.constant([seed, k])
                )
                for k in group
            ]
        )
        log_probs = _log_probs(
            run, net, ids, noise, len(group), stretch_positions, read
        )
        perplexities = np.exp(-log_probs.mean(axis=0))
        good = perplexities < reject_above
        total += np.exp(log_probs[:, good]).sum(axis=1)
        accepted += perplexities[good].tolist()
        rejected += int((~good).sum())
        for each in good:
            in_a_row = 0 if each else in_a_row + 1
        read(0)
        if in_a_row > max_rejected:
            raise errors.UserError(
                f"Monte-Carlo evaluation gave up: {in_a_row} samples in a "
                f"row had a perplexity of {reject_above:g} or more (the last "
                f"{perplexities[-1]:.4g}); the model is not "
                "trained for this text, or its drop rates are too high; see "
                "--mc_reject_above and --mc_max_rejected"
            )
    mean = np.clip(total / samples, 1e-10, 1.0 - 1e-10)
    return Result(
        float(np.exp(-np.log(mean).mean())), np.array(accepted), rejected
    )


def _runner(net):
    """Function of one stretch: log probabilities `[T, B]` and new states."""

    @tf.function(autograph=False, reduce_retracing=True)
    def run(x, y, states, noise):
        logits, states = net(x, states, training=False, noise=noise)
        labels = tf.transpose(y)
        costs = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.reshape(labels, [-1]), tf.cast(logits, tf.float32)
        )
        return -tf.reshape(costs, tf.shape(labels)), states

    return run


def _log_probs(
    run, net, ids, noise, rows, stretch_positions, read
) -> np.ndarray:
    """`[N - 1, rows]` log probabilities of the text, state carried along.

    `read` is called with the symbols read so far, of all rows.
    """
    length = max(1, stretch_positions // rows)
    states = [tf.zeros([rows, n]) for n in net.state_sizes]
    parts = []
    for start in range(0, len(ids) - 1, length):
        stretch = ids[start : start + length + 1]
        x, y = (
            tf.constant(np.tile(part, (rows, 1)), tf.int32)
            for part in (stretch[:-1], stretch[1:])
        )
        log_probs, states = run(x, y, states, noise)
        parts.append(log_probs.numpy().astype(np.float64))
        read(rows * (start + len(y[0])))
    return np.concatenate(parts)
