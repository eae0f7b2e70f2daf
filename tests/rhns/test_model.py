"""The highway language model: maths, noise, groups, cutting, Monte Carlo."""

import dataclasses

import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import counting
from iss_rnns import errors
from iss_rnns import shrinking
from iss_rnns.experiments.language import model as language_model
from iss_rnns.interop import tf1
from rhns import model as model_lib
from rhns import monte_carlo
from rhns import noise as noise_lib

VOCAB, BATCH, TIME = 11, 3, 5
RATES = noise_lib.Rates(0.2, 0.4, 0.3, 0.5)

SHAPES = {  # hidden sizes, depth, tied, embedding size
    "tied": ([6], 3, True, None),
    "untied": ([6], 2, False, None),
    "narrow_embedding": ([6], 2, False, 4),
    "two_layers_tied": ([6, 5], 2, True, None),
    "two_layers_untied": ([6, 5], 1, False, None),
}


def new_net(shape="tied", rates=model_lib.NO_NOISE, seed=0):
    sizes, depth, tied, embedding = SHAPES[shape]
    return model_lib.HighwayLM(
        VOCAB,
        sizes,
        depth,
        tied,
        embedding,
        rates,
        init_scale=0.5,
        init_bias=-1.0,
        seed=seed,
    )


def ids_of(seed=0, shape=(BATCH, TIME)):
    return (
        np.random.default_rng(seed).integers(0, VOCAB, shape).astype(np.int32)
    )


def reference(net, ids, noise=None):
    """Logits `[B, T, V]` in float64."""
    w = {
        name: view.read().astype(np.float64)
        for name, view in net.tf1_views().items()
    }
    x = w["model/embedding"][ids]
    if noise is not None:
        x = x * noise.words.numpy()[..., None]
    for i, units in enumerate(net.hidden_sizes):
        input_mask, state_mask = (
            (m.numpy() for m in noise.layers[i]) if noise else (1.0, 1.0)
        )
        s, outputs = np.zeros((len(ids), units)), []
        for t in range(x.shape[1]):
            for d in range(net.depth):
                seen = s * state_mask
                if d == 0:
                    seen = np.concatenate([x[:, t] * input_mask, seen], 1)
                h, gate = (
                    seen @ w[f"model/RHN{i}/{g}_{d}/Linear/Matrix"]
                    + w[f"model/RHN{i}/{g}_{d}/Linear/Bias"]
                    for g in "ht"
                )
                s = (np.tanh(h) - s) / (1 + np.exp(-gate)) + s
            outputs.append(s)
        x = np.stack(outputs, 1)
    if noise is not None:
        x = x * noise.outputs.numpy()[:, None]
    matrix = w["model/embedding"].T if net.tied else w["model/softmax_w"]
    return x @ matrix + w["model/softmax_b"]


def batch_major(logits):
    return tf.transpose(tf.reshape(logits, [TIME, BATCH, VOCAB]), [1, 0, 2])


@pytest.mark.parametrize("noisy", [False, True], ids=["plain", "noisy"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_numpy(shape, noisy):
    net, ids = new_net(shape, RATES), ids_of()
    noise = net.draw_noise(ids, tf.constant([1, 2])) if noisy else None
    for training in (False, True) if noisy else (False,):
        logits, _ = net(ids, training=training, noise=noise)
        np.testing.assert_allclose(
            batch_major(logits), reference(net, ids, noise), atol=1e-5
        )


def test_training_draws_the_seeds_noise():
    net, ids = new_net(rates=RATES), ids_of()
    seed = tf.constant([3, 4])
    drawn, _ = net(ids, training=True, seed=seed)
    given, _ = net(ids, training=True, noise=net.draw_noise(ids, seed))
    other, _ = net(ids, training=True, seed=tf.constant([3, 5]))
    evaluated, _ = net(ids, training=False, seed=seed)
    np.testing.assert_array_equal(drawn, given)
    assert np.any(drawn != other) and np.any(drawn != evaluated)


@pytest.mark.parametrize("shape", SHAPES)
def test_step_equals_a_sequence_of_one(shape):
    net = new_net(shape)
    states = [
        tf.random.stateless_normal([2, n], [1, 1]) for n in net.state_sizes
    ]
    ids = np.array([3, 7], np.int32)
    expected, finals = net(ids[:, None], states)
    logits, news = net.step(tf.constant(ids), states)
    for a, b in zip([expected, *finals], [logits, *news]):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_table_of_input_products_gives_the_same():
    net = model_lib.HighwayLM(
        30, [5, 4], 3, tied=False, embedding_size=12, seed=1
    )
    table = net.input_table()
    assert table.shape == (30, 10)
    ids = np.array([[3, 7], [1, 9]], np.int32)
    expected, finals = net(ids)
    features, states = net.features(ids, table=table)
    np.testing.assert_allclose(net.project(features), expected, atol=1e-6)
    states = [tf.zeros([2, n]) for n in net.state_sizes]
    for t in range(2):
        logits, states = net.step(ids[:, t], states, table)
    np.testing.assert_allclose(logits, expected[-2:], atol=1e-6)
    for a, b in zip(states, finals):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert model_lib.HighwayLM(30, [5], 3).input_table() is None


def test_state_is_carried():
    net, ids = new_net("two_layers_tied"), ids_of()
    whole, finals = net(ids)
    first, states = net(ids[:, :2])
    second, states = net(ids[:, 2:], states)
    np.testing.assert_allclose(tf.concat([first, second], 0), whole, atol=1e-6)
    for a, b in zip(states, finals):
        np.testing.assert_allclose(a, b, atol=1e-6)


# Noise


def test_a_word_keeps_its_mask_in_a_sequence():
    """The authors' loop over pairs of positions, in NumPy."""
    ids = ids_of(1, (40, 12))
    seed = tf.constant([5, 6])
    noise = noise_lib.draw(ids, seed, noise_lib.Rates(words=0.4), [(4, 4)])
    free = noise_lib.draw(
        np.arange(ids.size).reshape(ids.shape),
        seed,
        noise_lib.Rates(words=0.4),
        [(4, 4)],
    ).words.numpy()
    expected = free.copy()
    for b, row in enumerate(ids):
        for i in range(len(row)):
            for j in range(i + 1, len(row)):
                if row[j] == row[i]:
                    expected[b, j] = expected[b, i]
                    break
    np.testing.assert_array_equal(noise.words, expected)
    assert np.any(expected != free)


def test_masks_are_zero_or_the_inverse_of_keeping():
    noise = noise_lib.draw(
        np.arange(40 * 500).reshape(40, 500),
        tf.constant([0, 1]),
        RATES,
        [(300, 400), (400, 500)],
    )
    masks = [noise.words, *noise.layers[0], *noise.layers[1], noise.outputs]
    rates = [0.2, 0.4, 0.3, 0.4, 0.3, 0.5]
    shapes = [(40, 500), (40, 300), (40, 400), (40, 400), (40, 500), (40, 500)]
    for mask, rate, shape in zip(masks, rates, shapes):
        assert mask.shape == shape
        values = np.unique(mask)
        np.testing.assert_allclose(values, [0.0, 1.0 / (1.0 - rate)], rtol=1e-6)
        # 12,000 draws or more: five standard deviations are below 0.023.
        assert abs(np.mean(mask.numpy() == 0.0) - rate) < 0.023
    assert np.any(masks[2] != masks[3])


def test_rate_zero_draws_nothing():
    noise = noise_lib.draw(
        ids_of(), tf.constant([0, 1]), noise_lib.Rates(), [(4, 4)]
    )
    assert noise == noise_lib.Noise(None, [(None, None)], None)


def test_masks_depend_on_the_seed_alone():
    """So that a resumed run draws what the interrupted one would have."""
    net, ids = new_net(rates=RATES), ids_of()
    draws = [net.draw_noise(ids, tf.constant([0, step])) for step in (7, 8, 7)]
    same = [
        np.array_equal(a, b)
        for a, b in zip(tf.nest.flatten(draws[0]), tf.nest.flatten(draws[2]))
    ]
    other = [
        np.array_equal(a, b)
        for a, b in zip(tf.nest.flatten(draws[0]), tf.nest.flatten(draws[1]))
    ]
    assert all(same) and not all(other)


# Groups and cutting


def test_group_of_a_tied_layer():
    net = new_net("tied")
    (group,) = net.iss_groups()
    views = {name: view.read() for name, view in net.tf1_views().items()}
    expected = np.square(views["model/embedding"]).sum(0)
    for d in range(net.depth):
        for gate in "ht":
            matrix = views[f"model/RHN0/{gate}_{d}/Linear/Matrix"]
            square = np.square(matrix)
            expected += square.sum(0) + square[-6:].sum(1)
            if d == 0:
                expected += square[:6].sum(1)
    np.testing.assert_allclose(group.squared_norms(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "shape, readers",
    [
        ("tied", [{"embedding:0", "kernel_h:0", "kernel_t:0"}]),
        (
            "untied",
            [{"embedding:0", "kernel_h:0", "kernel_t:0", "softmax_w:0"}],
        ),
        ("narrow_embedding", [{"softmax_w:0"}]),
        (
            "two_layers_tied",
            [
                {"rhn_1/kernel_h:0", "rhn_1/kernel_t:0"},
                {"embedding:0", "rhn_0/kernel_h:0", "rhn_0/kernel_t:0"},
            ],
        ),
        (
            "two_layers_untied",
            [
                {
                    "embedding:0",
                    "rhn_0/kernel_h:0",
                    "rhn_0/kernel_t:0",
                    "rhn_1/kernel_h:0",
                    "rhn_1/kernel_t:0",
                },
                {"softmax_w:0"},
            ],
        ),
    ],
)
def test_what_reads_a_unit_is_in_its_group(shape, readers):
    net = new_net(shape)
    for group, cell, names in zip(net.iss_groups(), net.cells, readers):
        own = {(s.variable.ref(), s.axis) for s in cell.unit_slices()}
        extra = {
            s.variable.name
            for s in group.slices
            if (s.variable.ref(), s.axis) not in own
        }
        assert {
            n.split("/", 1)[-1] if len(readers) == 1 else n for n in extra
        } == names
        assert group.size == cell.units


@pytest.mark.parametrize("shape", SHAPES)
def test_dead_units_can_be_cut(shape):
    net, ids = new_net(shape), ids_of()
    dead = [[1, 4], [0]]
    for group, units in zip(net.iss_groups(), dead):
        for s in group.slices:
            value = s.variable.numpy()
            if s.axis == 0:
                value[units] = 0.0
            else:
                value[:, units] = 0.0
            s.variable.assign(value)
    small, proof = shrinking.shrink(net, net.iss_groups(), [ids], nets.logits)
    sizes = [n - len(units) for n, units in zip(net.hidden_sizes, dead)]
    assert list(small.hidden_sizes) == sizes
    assert proof.max_difference < 1e-5 < proof.max_output
    expected = {
        "tied": sizes[-1],
        "untied": sizes[0],
        "two_layers_tied": sizes[-1],
        "two_layers_untied": sizes[0],
        "narrow_embedding": 4,
    }[shape]
    assert small.embedding.shape == (VOCAB, expected)
    np.testing.assert_allclose(
        batch_major(small(ids)[0]), reference(net, ids), atol=1e-5
    )
    # And the small one can be cut again: its groups are of the same kind.
    assert [g.size for g in small.iss_groups()] == sizes
    assert [len(g.slices) for g in small.iss_groups()] == [
        len(g.slices) for g in net.iss_groups()
    ]


@pytest.mark.parametrize("shape", ["tied", "two_layers_untied"])
def test_every_weight_has_a_name(shape):
    net = new_net(shape)
    found = net.weights_by_name()
    names = ["embedding"]
    for i in range(len(net.cells)):
        names += [f"rhn_{i}/kernel_{gate}" for gate in "ht"]
        for part in ("recurrent_h", "recurrent_t", "bias_h", "bias_t"):
            names += [f"rhn_{i}/{part}_{d}" for d in range(net.depth)]
    names += (
        ["softmax/bias"] if net.tied else ["softmax/kernel", "softmax/bias"]
    )
    assert list(found) == names
    assert {v.ref() for v in found.values()} == {
        v.ref() for v in net.trainable_variables
    }


def test_cutting_a_living_unit_is_refused():
    net = new_net("tied")
    alive = np.ones(6, bool)
    alive[2] = False
    with pytest.raises(errors.UserError, match="outputs differ"):
        shrinking.shrink(
            net, net.iss_groups(), [ids_of()], nets.logits, alive=[alive]
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_config_round_trip(shape):
    net = new_net(shape, RATES, seed=3)
    copy = model_lib.HighwayLM.from_config(net.get_config())
    assert copy.get_config() == net.get_config()
    for a, b in zip(net.trainable_variables, copy.trainable_variables):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_counts_equal_the_papers_formula(tied, layers):
    net = model_lib.HighwayLM(VOCAB, [6] * layers, 4, tied)
    # Of each layer an input matrix and 4 recurrent ones, for h and t.
    mult_adds = layers * 2 * (4 + 1) * 6**2 + 6 * VOCAB
    assert net.mult_adds() == mult_adds
    biases = layers * 4 * 2 * 6 + VOCAB
    embedding = 0 if tied else 6 * VOCAB
    assert counting.count_weights(net) == mult_adds + embedding + biases


def test_initial_weights():
    net = model_lib.HighwayLM(500, [40], 2, init_scale=0.1, init_bias=-2.0)
    for variable in net.trainable_variables:
        value = variable.numpy()
        if "bias_t" in variable.name:
            np.testing.assert_array_equal(value, np.full(40, -2.0, np.float32))
        else:
            assert np.abs(value).max() <= 0.1
            assert value.std() > 0.04
    assert not np.allclose(
        net.embedding, model_lib.HighwayLM(500, [40], 2, seed=1).embedding
    )


def test_tied_with_an_embedding_size():
    with pytest.raises(ValueError, match="embedding_size=4"):
        model_lib.HighwayLM(VOCAB, [6], 2, tied=True, embedding_size=4)


# Learning rate


@pytest.mark.parametrize(
    "policy, powers",
    [
        ("quick_start", [0, 0, 0, 1, 2, 3, 4, 5]),
        ("equal_step", [0, 0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_learning_rate(policy, powers):
    config = model_lib.ModelConfig(
        learning_rate=0.2,
        lr_decay=1.5,
        max_epoch=3,
        max_max_epoch=8,
        lr_policy=policy,
    )
    rates = [model_lib.learning_rate(config, epoch) for epoch in range(8)]
    np.testing.assert_allclose(rates, [0.2 / 1.5**p for p in powers])


def test_a_rate_that_leaves_the_range_of_numbers():
    for decay, rate in ((5.0, 0.0), (0.1, np.inf)):
        config = model_lib.ModelConfig(
            learning_rate=0.2, lr_decay=decay, max_epoch=1, max_max_epoch=999
        )
        assert model_lib.learning_rate(config, 998) == rate


def test_an_untied_net_is_no_tied_one():
    """Without its softmax its scores would be silently others."""
    untied, tied = new_net("untied"), new_net()
    arrays = {name: view.read() for name, view in untied.tf1_views().items()}
    with pytest.raises(
        errors.UserError,
        match="x.npz has 'model/softmax_w', "
        "more than the model: it must have the sizes "
        r"\(and tied weights or not\)",
    ):
        tf1.assign(tied.tf1_views(), arrays, "x.npz")


def test_unknown_policy():
    config = dataclasses.replace(model_lib.ModelConfig(), lr_policy="slow")
    with pytest.raises(ValueError, match="quick_start, equal_step, got 'slow"):
        model_lib.learning_rate(config, 0)


def test_drop_multi_scales_all_rates():
    config = model_lib.ModelConfig(drop_multi=0.6)
    assert config.rates == noise_lib.Rates(
        0.6 * 0.25, 0.6 * 0.75, 0.6 * 0.25, 0.6 * 0.75
    )


# Monte Carlo


def test_monte_carlo_without_noise_is_the_perplexity():
    net, text = new_net(), ids_of(2, (60,))
    plain = language_model.Evaluator(net).perplexity(
        text[:-1].reshape(-1, 1, 1), text[1:].reshape(-1, 1, 1)
    )
    seen = []
    result = monte_carlo.evaluate(
        net,
        text,
        2,
        stretch_positions=14,
        progress=lambda done, total: seen.append((done, total)),
    )
    positions = len(text) - 1  # of each of two samples, in stretches of 7
    assert [done for done, _ in seen[:3]] == [14, 28, 42]
    assert seen[-1] == (2 * positions, 2 * positions)
    assert result.rejected == 0
    np.testing.assert_allclose(result.samples, [plain] * 2, rtol=1e-5)
    np.testing.assert_allclose(result.perplexity, plain, rtol=1e-5)


def test_monte_carlo_is_the_mean_of_the_samples_probabilities():
    net, text, seed = new_net(rates=RATES), ids_of(2, (40,)), 9
    probabilities = []
    for k in range(5):
        noise = net.draw_noise(
            np.zeros([1, 1], np.int32), tf.constant([seed, k])
        )
        logits, _ = net(text[None, :-1], noise=noise)
        chosen = tf.nn.softmax(logits).numpy()[np.arange(39), text[1:]]
        probabilities.append(chosen.astype(np.float64))
    results = [
        monte_carlo.evaluate(
            net,
            text,
            5,
            seed,
            reject_above=1e9,
            parallel=parallel,
            stretch_positions=32,
        )
        for parallel in (1, 4)
    ]
    expected = np.exp(-np.log(np.mean(probabilities, 0)).mean())
    for result in results:
        np.testing.assert_allclose(result.perplexity, expected, rtol=1e-5)
        np.testing.assert_allclose(
            result.samples, np.exp(-np.log(probabilities).mean(1)), rtol=1e-5
        )


def test_monte_carlo_rejects_and_draws_anew():
    net, text = new_net(rates=RATES), ids_of(2, (40,))
    everything = monte_carlo.evaluate(net, text, 8, reject_above=1e9)
    limit = float(np.median(everything.samples))
    result = monte_carlo.evaluate(net, text, 8, reject_above=limit)
    assert len(result.samples) == 8 and result.samples.max() < limit
    assert result.rejected > 0
    # Giving up is for what is never accepted, not for many samples.
    patient = monte_carlo.evaluate(
        net, text, 40, reject_above=limit, max_rejected=result.rejected + 8
    )
    assert patient.rejected > result.rejected + 8


def test_monte_carlo_gives_up():
    """The authors' loop would not end."""
    net, text = new_net(rates=RATES), ids_of(2, (20,))
    with pytest.raises(
        errors.UserError,
        match="gave up: 6 samples in a row had a perplexity of 1 or more",
    ):
        monte_carlo.evaluate(net, text, 3, reject_above=1.0, max_rejected=5)


@pytest.mark.parametrize(
    "samples, length, message",
    [(0, 9, "at least one sample, got --mc_steps=0"), (1, 1, "got 1")],
)
def test_monte_carlo_bad_input(samples, length, message):
    with pytest.raises(errors.UserError, match=message):
        monte_carlo.evaluate(new_net(), ids_of(0, (length,)), samples)
