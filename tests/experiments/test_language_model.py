"""Training steps and perplexities of language models, against NumPy."""

import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns.experiments.language import model as language_model

VOCABULARY, BATCH, TIME = 11, 3, 4


def new_net(**kwargs):
    return nets.Net(VOCABULARY, 5, [6, 4], seed=1, **kwargs)


def new_model(net=None, rate=1.0, **kwargs):
    return nets.new_model(
        net or new_net(), BATCH, tf.keras.optimizers.SGD(rate), **kwargs
    )


def ids(*shape, seed=0):
    return nets.ids(*shape, vocabulary=VOCABULARY, seed=seed)


def numpy_cost(net, x, y):
    """Sum over time of the mean cross entropy, and the final states."""
    logits, states = net(x, training=False)
    logits = (
        logits.numpy().astype(np.float64).reshape(x.shape[1], x.shape[0], -1)
    )
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    chosen = np.take_along_axis(log_p, y.T[..., None], -1)
    return -chosen.sum() / len(x), states


def test_gradients_of_cost_and_penalty():
    model = new_model(max_grad_norm=1e9)
    x, y = ids(BATCH, TIME), ids(BATCH, TIME, seed=1)
    start = [tf.zeros_like(s) for s in model.carried]
    plain = model.gradients(x, y, start)
    cost, finals = numpy_cost(model.net, x, y)
    np.testing.assert_allclose(plain["cost"], cost, rtol=1e-5)
    np.testing.assert_array_equal(plain["penalty"], 0.0)
    for ours, theirs in zip(plain["states"], finals):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    model.add_loss(lambda: 2.0 * tf.reduce_sum(model.net.dense.bias))
    model.add_loss(lambda: tf.reduce_sum(model.net.dense.kernel))
    result = model.gradients(x, y, start)
    np.testing.assert_allclose(result["cost"], cost, rtol=1e-5)
    np.testing.assert_allclose(
        result["penalty"],
        2 * model.net.dense.bias.numpy().sum()
        + model.net.dense.kernel.numpy().sum(),
        rtol=1e-5,
    )
    change = {"dense/bias:0": 2.0, "dense/kernel:0": 1.0}
    for variable, before, after in zip(
        model.trainable_variables, plain["gradients"], result["gradients"]
    ):
        np.testing.assert_allclose(
            tf.convert_to_tensor(after) - tf.convert_to_tensor(before),
            np.full(variable.shape, change.get(variable.name, 0.0)),
            atol=1e-5,
            err_msg=variable.name,
        )


@pytest.mark.parametrize("bound", [0.01, 1e9])
def test_clipping_counts_repeated_words_row_by_row(bound):
    """As TensorFlow 1: the embedding's rows enter un-summed."""
    model = new_model(max_grad_norm=bound)
    x = np.zeros([BATCH, TIME], np.int32)  # one word, again and again
    result = model.gradients(x, ids(BATCH, TIME), model.carried)
    squares = []
    for gradient in result["gradients"]:
        values = getattr(gradient, "values", gradient).numpy()
        squares.append((values.astype(np.float64) ** 2).sum())
    norm = np.sqrt(sum(squares))
    rows = result["gradients"][
        [v.name for v in model.trainable_variables].index(
            "embedding/embeddings:0"
        )
    ]
    assert rows.values.shape[0] == BATCH * TIME
    np.testing.assert_allclose(result["global_norm"], norm, rtol=1e-5)
    scale = min(1.0, bound / norm)
    for gradient, clipped in zip(result["gradients"], result["clipped"]):
        np.testing.assert_allclose(
            tf.convert_to_tensor(clipped),
            scale * tf.convert_to_tensor(gradient).numpy(),
            atol=1e-7,
        )


def test_steps_carry_the_state_and_average_the_cost():
    """Two steps of fit: SGD on the gradient, states and totals carried."""
    model = new_model(rate=0.5)
    x, y = ids(2, BATCH, TIME), ids(2, BATCH, TIME, seed=1)
    reference = new_model(rate=0.5)
    states = [tf.zeros_like(s) for s in reference.carried]
    costs = []
    for step in range(2):
        result = reference.gradients(x[step], y[step], states)
        states = result["states"]
        costs.append(float(result["cost"]))
        reference.optimizer.apply_gradients(
            zip(result["clipped"], reference.trainable_variables)
        )
    history = model.fit(
        tf.data.Dataset.from_tensor_slices((x, y)), verbose=0
    ).history
    for ours, theirs in zip(model.get_weights(), reference.get_weights()):
        if ours.shape and ours.shape[0] != BATCH:
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for ours, theirs in zip(model.carried, states):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(history["cost"][-1], costs[-1], rtol=1e-5)
    np.testing.assert_allclose(
        history["perplexity"][-1], np.exp(sum(costs) / (2 * TIME)), rtol=1e-5
    )
    model.reset_states()
    assert not any(
        v.numpy().any()
        for v in [*model.carried, model.total_cost, model.total_steps]
    )


def test_dropout_depends_on_seed_and_step_only():
    net = new_net(keep_prob=0.5)
    x, y = ids(BATCH, TIME), ids(BATCH, TIME, seed=1)
    start = [tf.zeros([BATCH, n]) for n in net.state_sizes]

    def cost(*seed):
        return float(
            new_model(net).gradients(x, y, start, tf.constant(seed))["cost"]
        )

    assert cost(0, 0) == cost(0, 0)
    assert len({cost(0, 0), cost(0, 1), cost(1, 0)}) == 3


@pytest.mark.parametrize("stretch", [1, 7, 10_000])
def test_evaluator_equals_window_by_window(stretch):
    net = new_net()
    x, y = ids(4, BATCH, TIME), ids(4, BATCH, TIME, seed=1)
    states, total = None, 0.0
    for window, labels in zip(x, y):
        logits, states = net(window, states)
        total += (
            float(
                tf.reduce_sum(
                    tf.nn.sparse_softmax_cross_entropy_with_logits(
                        labels.T.ravel(), logits
                    )
                )
            )
            / BATCH
        )
    seen = []
    evaluator = language_model.Evaluator(net, stretch)
    found = evaluator.perplexity(x, y, lambda *done: seen.append(done))
    np.testing.assert_allclose(found, np.exp(total / (4 * TIME)), rtol=1e-5)
    assert seen[-1][0] == seen[-1][1] == len(seen)


def test_evaluator_follows_the_weights():
    net = new_net()
    evaluator = language_model.Evaluator(net)
    x, y = ids(2, BATCH, TIME), ids(2, BATCH, TIME, seed=1)
    evaluator.perplexity(x, y)
    for variable in net.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    np.testing.assert_allclose(
        evaluator.perplexity(x, y), VOCABULARY, rtol=1e-5
    )


def test_bfloat16_policy_trains():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = new_model()
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    x, y = ids(6, BATCH, TIME), ids(6, BATCH, TIME, seed=1)
    logits, _ = model.net(x[0])
    assert logits.dtype == tf.bfloat16
    assert {v.dtype for v in model.trainable_variables} == {tf.float32}
    history = model.fit(
        tf.data.Dataset.from_tensor_slices((x, y)), epochs=3, verbose=0
    ).history
    assert history["cost"][-1] < history["cost"][0]
    plain = new_net()
    plain.set_weights(model.net.get_weights())
    np.testing.assert_allclose(
        language_model.Evaluator(model.net).perplexity(x, y),
        language_model.Evaluator(plain).perplexity(x, y),
        rtol=0.02,
    )


def test_replace_net_goes_on_with_other_sizes():
    model = new_model()
    first, second = model.net.state_sizes[::2]
    small = model.net.resized({"lstm_0": 2})
    assert small.state_sizes == [2, 2, 4, 4]
    for state in model.carried:
        state.assign(tf.ones([BATCH, 1]) * tf.range(float(state.shape[1])))
    model.replace_net(
        small,
        {},
        {
            "lstm_0": np.arange(first) >= first - 2,
            "lstm_1": np.ones(second, bool),
        },
    )
    for state, values in zip(
        model.carried,
        [[first - 2.0, first - 1.0]] * 2 + [np.arange(second)] * 2,
    ):
        np.testing.assert_array_equal(state, [values] * BATCH)
    assert {v.ref() for v in model.trainable_variables} == {
        v.ref() for v in small.trainable_variables
    }
