"""Training a language model on windows, without a run around it."""

from iss_rnns.experiments import loop
from iss_rnns.experiments.language import training


def fit(model, x, y, epochs, callbacks, **kwargs):
    """Runs `model.fit` over windows in order.

    Args:
      model: compiled `LanguageModel`.
      x: `[N, B, T]` ids; y: the next ids.
      epochs: in all.
      callbacks: of `fit`.
      **kwargs: further arguments of `loop.fit_batches`.
    """
    loop.fit_batches(
        model,
        lambda _, batch: training.window_batches(x[batch:], y[batch:]),
        len(x),
        epochs,
        callbacks,
        **kwargs,
    )
