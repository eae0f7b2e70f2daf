"""BiDAF's layers against NumPy; its switches, groups and smaller sizes."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from bidaf import model as model_lib
from bidaf.net import attention
from bidaf.net import attention_cell
from bidaf.net import authors
from bidaf.net import groups as groups_lib
from bidaf.net import layers
from iss_rnns import errors
from iss_rnns import groups
from iss_rnns import recurrent
from iss_rnns import shrinking
from iss_rnns import thresholding
from iss_rnns.interop import group_json
from iss_rnns.interop import tf1

N, M, JX, JQ, W = 3, 2, 6, 4, 5
WORDS, CHARACTERS, SIZE = 9, 7, 5
CONFIG = model_lib.ModelConfig(
    WORDS,
    CHARACTERS,
    SIZE,
    hidden_size=3,
    char_emb_size=2,
    char_out_size=4,
    out_channel_dims="4",
    filter_heights="3",
    highway_num_layers=1,
    keep_prob=1.0,
    input_keep_prob=1.0,
)
SIZES = {
    "PreFwd": 3,
    "PreBwd": 2,
    "ModFwd1": 2,
    "ModBwd1": 4,
    "ModFwd2": 3,
    "ModBwd2": 1,
    "OutFwd": 2,
    "OutBwd": 3,
}
SWITCHES = {
    "default": {},
    "no q2c": {"q2c_att": False},
    "no c2q": {"c2q_att": False},
    "no attention": {"q2c_att": False, "c2q_att": False},
    "two question LSTMs": {"share_lstm_weights": False},
    "two CNNs": {"share_cnn_weights": False},
    "no highway": {"highway": False},
    "no characters": {"use_char_emb": False},
    "no words": {"use_word_emb": False},
    "no answer": {"na": True},
    "linear": {"logit_func": "linear", "answer_func": "double"},
    "products": {"logit_func": "mul_linear"},
    "projections": {"logit_func": "proj", "answer_func": "proj"},
    "dot": {"logit_func": "dot"},
    "sums": {"logit_func": "sum", "answer_func": "sum"},
}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def built(layer, *widths):
    """The layer for inputs of some features each, with weights far from 0."""
    shapes = [tf.TensorShape([None, None, width]) for width in widths]
    layer.build(shapes if len(shapes) > 1 else shapes[0])
    return randomized(layer)


def randomized(net, seed=1):
    """The same net with weights that are nowhere near zero."""
    rng = np.random.default_rng(seed)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
    return net


def batch(seed=0):
    """Contexts with one empty sentence, and ids of fixed vectors."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, JX + 1, (N, M))
    lengths[0, 0], lengths[1, 1] = JX, 0
    x_mask = np.arange(JX) < lengths[..., None]
    q_mask = np.arange(JQ) < np.array([JQ, 1, 2])[:, None]

    def ids(shape, mask, top):
        return (rng.integers(1, top, shape) * mask).astype(np.int32)

    return {
        "x": ids([N, M, JX], x_mask, WORDS + 3),
        "cx": ids([N, M, JX, W], x_mask[..., None], CHARACTERS),
        "q": ids([N, JQ], q_mask, WORDS + 3),
        "cq": ids([N, JQ, W], q_mask[..., None], CHARACTERS),
        "x_mask": x_mask,
        "q_mask": q_mask,
    }


def constants(**arrays):
    return {name: tf.constant(array) for name, array in arrays.items()}


VECTORS = draw(3, SIZE)


def scores(net, inputs=None, **kwargs):
    return net(constants(**(inputs or batch())), VECTORS, **kwargs)


def softmax(x):
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("function", attention.SIMILARITIES)
def test_similarity_against_all_pairs(function):
    """The separable form equals the one that makes every pair."""
    h, u = draw(2, 5, 3), draw(2, 4, 3, seed=1)
    layer = built(attention.Similarity(function, 0), 3, 3)
    pairs = np.broadcast_arrays(h[:, :, None], u[:, None])
    parts = {
        "tri_linear": [*pairs, pairs[0] * pairs[1]],
        "linear": pairs,
        "mul_linear": [pairs[0] * pairs[1]],
    }
    if function in parts:
        expected = (
            np.concatenate(parts[function], -1) @ layer.kernel.numpy()
            + layer.bias.numpy()
        )[..., 0]
    elif function == "sum":
        expected = pairs[0].sum(-1) + pairs[1].sum(-1)
    else:
        left = pairs[0]
        if function == "proj":
            left = left @ layer.kernel.numpy()
        expected = (left * pairs[1]).sum(-1)
    np.testing.assert_allclose(layer([h, u]), expected, atol=1e-5)


@pytest.mark.parametrize("function", attention.ANSWERS)
def test_answer_logits_against_numpy(function):
    g, p = draw(2, 5, 3), draw(2, 5, 4, seed=1)
    layer = built(attention.AnswerLogits(function, 6, 0), 3, 4)
    both = np.concatenate([g, p], -1)
    kernels = [kernel.numpy() for kernel in layer.kernels]
    biases = [bias.numpy() for bias in layer.biases]
    expected = {
        "linear": lambda: (both @ kernels[0] + biases[0])[..., 0],
        "double": lambda: (
            np.tanh(both @ kernels[0] + biases[0]) @ kernels[1] + biases[1]
        )[..., 0],
        "proj": lambda: ((g @ kernels[0]) * p).sum(-1),
        "sum": lambda: both.sum(-1),
    }[function]()
    np.testing.assert_allclose(layer([g, p]), expected, atol=1e-5)


def test_attention_against_numpy():
    inputs = batch()
    h, u = draw(N, M, JX, 3), draw(N, JQ, 3, seed=1)
    similarity = built(attention.Similarity("tri_linear", 0), 3, 3)
    logits = similarity([h.reshape(N, -1, 3), u])
    logits = logits.numpy().reshape(N, M, JX, JQ)
    allowed = inputs["x_mask"][..., None] & inputs["q_mask"][:, None, None, :]
    logits = (logits + np.where(allowed, 0, -1e30)).astype(np.float32)
    weights, context_weights = softmax(logits), softmax(logits.max(-1))
    found = attention.attend(
        similarity, h, u, inputs["x_mask"], inputs["q_mask"]
    )
    for ours, expected in zip(
        found,
        (
            np.einsum("nmij,njd->nmid", weights, u),
            np.einsum("nmi,nmid->nmd", context_weights, h),
            weights,
            context_weights,
        ),
    ):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    # An empty sentence attends to everything alike.
    np.testing.assert_allclose(found[2][1, 1], np.full([JX, JQ], 1 / JQ))


def test_no_tensor_of_all_pairs_with_features():
    """Memory: similarity, attention and their gradients are separable."""
    net = model_lib.BiDAF(CONFIG)
    sizes = {"N": 7, "M": 1, "JX": 11, "JQ": 13}
    pairs = sizes["N"] * sizes["JX"] * sizes["JQ"]

    @tf.function(autograph=False)
    def gradients(x, cx, q, cq):
        with tf.GradientTape() as tape:
            outputs = net({"x": x, "cx": cx, "q": q, "cq": cq}, training=True)
            cost = tf.reduce_sum(outputs["start"] + outputs["end"])
        return tape.gradient(cost, net.similarity.trainable_variables)

    graph = gradients.get_concrete_function(
        tf.ones([7, 1, 11], tf.int32),
        tf.ones([7, 1, 11, W], tf.int32),
        tf.ones([7, 13], tf.int32),
        tf.ones([7, 13, W], tf.int32),
    ).graph
    largest = max(
        (
            int(np.prod(t.shape))
            for op in graph.get_operations()
            for t in op.outputs
            if t.shape.is_fully_defined() and 11 in t.shape and 13 in t.shape
        ),
        default=0,
    )
    assert pairs <= largest < 2 * pairs


def test_two_way_lstm_equals_stock_keras():
    """Outputs and gradients, with lengths of which one is 0."""
    inputs, lengths = draw(4, 6, 3), np.array([6, 0, 1, 4])
    two_way = built(
        layers.TwoWay(
            layers.lstm_cell("fw", 3, 4, 0), layers.lstm_cell("bw", 3, 2, 2)
        ),
        3,
    )
    mask = tf.sequence_mask(lengths, 6)
    stock = []
    for cell, backwards in zip(two_way.cells, (False, True)):
        layer = tf.keras.layers.LSTM(
            cell.units, return_sequences=True, go_backwards=backwards
        )
        layer.build((None, None, 3))
        layer.set_weights(
            [
                cell.kernel.numpy(),
                cell.recurrent_kernel.numpy(),
                cell.effective_bias().numpy(),
            ]
        )
        stock.append(layer)

    def expected(x):
        forward, backward = (layer(x, mask=mask) for layer in stock)
        return (
            tf.concat([forward, tf.reverse(backward, [1])], -1)
            * tf.cast(mask, tf.float32)[..., None]
        )

    x = tf.constant(inputs)
    results = []
    for run in (
        lambda: two_way(x, lengths, training=True),
        lambda: expected(x),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = run()
            cost = tf.reduce_sum(output**2)
        results.append([output, tape.gradient(cost, x)])
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert not np.any(results[0][0][1])


def test_character_cnn_against_numpy():
    """Two filters, one wider than the words."""
    cnn = built(layers.CharCNN([2, 6], [3, 2], 0), 4)
    x = draw(5, W, 4)
    padded = np.pad(x, [(0, 0), (0, 1), (0, 0)])
    outputs = []
    for kernel, bias in zip(cnn.filters, cnn.biases):
        height = kernel.shape[1]
        windows = np.stack(
            [padded[:, i : i + height] for i in range(6 - height + 1)], 1
        )
        values = np.einsum("bwhc,hcf->bwf", windows, kernel[0]) + bias
        outputs.append(np.maximum(values, 0).max(1))
    np.testing.assert_allclose(cnn(x), np.concatenate(outputs, -1), atol=1e-5)


def test_filters_without_channels_are_left_out():
    cnn = built(layers.CharCNN([2, 3], [0, 4], 0), 2)
    assert list(cnn.tf1_views("s")) == ["s/conv1d_3/filter", "s/conv1d_3/bias"]


def test_highway_against_numpy():
    layer = built(layers.Highway(0), 4)
    x = draw(6, 4)
    changed = np.maximum(x @ layer.trans.numpy() + layer.trans_bias.numpy(), 0)
    gate = 1 / (1 + np.exp(-(x @ layer.gate.numpy() + layer.gate_bias.numpy())))
    np.testing.assert_allclose(
        layer(x), gate * changed + (1 - gate) * x, atol=1e-5
    )


def test_attention_cell_against_numpy():
    cell = attention_cell.AttentionCell(layers.lstm_cell("a", 12, 2, 0), 2)
    built(cell, 3)
    x, h, c, u = draw(2, 3), draw(2, 2), draw(2, 2, seed=1), draw(2, 4, 3)
    mask = np.array([[True, True, False, True], [False] * 4])
    tiled = [np.repeat(a[:, None], 4, 1) for a in (x, c, h)]
    logits = (
        np.concatenate([*tiled, u], -1) @ cell.controller.numpy()
        + cell.controller_bias.numpy()
    )[..., 0]
    q = np.einsum(
        "bj,bjd->bd",
        softmax((logits + np.where(mask, 0, -1e30)).astype(np.float32)),
        u,
    )
    seen = np.concatenate([x, q, x * q, np.abs(x - q)], -1)
    expected, _ = cell.lstm(tf.constant(seen), [h, c])
    output, _, _ = cell.scan_step(
        cell.hoist(x, u, mask), [h, c], cell.scan_weights(tf.constant(u), mask)
    )
    np.testing.assert_allclose(output, expected, atol=1e-5)


def test_keras_runs_the_attention_cell_over_time_as_recurrent_does():
    cell = attention_cell.AttentionCell(layers.lstm_cell("a", 12, 2, 0), 2)
    ours = recurrent.Recurrent(cell)
    stock = tf.keras.layers.RNN(cell, return_sequences=True)
    x, u = draw(2, 5, 3), draw(2, 4, 3, seed=1)
    mask = tf.constant([[True, True, False, True], [False] * 4])
    outputs, _ = ours(x, constants=[tf.constant(u), mask])
    np.testing.assert_allclose(
        stock(x, constants=[tf.constant(u), mask]), outputs, atol=1e-6
    )


@pytest.mark.parametrize(
    "make, widths",
    [
        (lambda: layers.CharCNN([2, 3], [4, 2], 1), [3]),
        (lambda: layers.Highway(1), [3]),
        (
            lambda: layers.TwoWay(
                layers.lstm_cell("fw", 3, 2, 1),
                attention_cell.AttentionCell(
                    layers.lstm_cell("bw", 12, 4, 3), 5, name="looking"
                ),
            ),
            [3],
        ),
        *(
            (lambda f=f: attention.Similarity(f, 1), [3, 3])
            for f in attention.SIMILARITIES
        ),
        *(
            (lambda f=f: attention.AnswerLogits(f, 5, 1), [3, 4])
            for f in attention.ANSWERS
        ),
    ],
)
def test_a_layer_made_from_its_configuration_starts_the_same(make, widths):
    """The configuration as JSON, as Keras writes it into files."""

    def weights(layer):
        shapes = [tf.TensorShape([None, None, width]) for width in widths]
        layer.build(shapes if len(shapes) > 1 else shapes[0])
        return {v.name: v.numpy() for v in layer.variables}

    layer = make()
    config = json.loads(json.dumps(tf.keras.layers.serialize(layer)))
    first = weights(layer)
    again = weights(tf.keras.layers.deserialize(config))
    assert first.keys() == again.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array, name)


@pytest.mark.parametrize("switch", SWITCHES)
def test_switches_give_probabilities_and_gradients(switch):
    net = randomized(
        model_lib.BiDAF(dataclasses.replace(CONFIG, **SWITCHES[switch]), SIZES)
    )
    with tf.GradientTape() as tape:
        outputs = scores(net, training=True)
        cost = tf.reduce_sum(outputs["start"] ** 2 + outputs["end"] ** 2)
    gradients = tape.gradient(cost, net.trainable_variables)
    for name in ("start", "end"):
        assert outputs[name].shape == [N, M, JX]
        total = tf.reduce_sum(outputs[name], [1, 2]).numpy()
        if net.config.na:
            assert np.all(total < 1)
        else:
            np.testing.assert_allclose(total, 1, atol=1e-5)
        assert not np.any(outputs[name].numpy()[~batch()["x_mask"]])
    unread = [
        v.name for v, g in zip(net.trainable_variables, gradients) if g is None
    ]
    assert not unread


def test_no_answer_takes_its_share():
    net = randomized(model_lib.BiDAF(dataclasses.replace(CONFIG, na=True)))
    outputs = scores(net)
    shares = [
        1 - tf.reduce_sum(outputs[name], [1, 2]) for name in ("start", "end")
    ]
    np.testing.assert_allclose(
        outputs["na_prob"], shares[0] * shares[1], atol=1e-5
    )


def test_two_question_lstms_equal_one_with_the_same_weights():
    one = randomized(model_lib.BiDAF(CONFIG))
    two = model_lib.BiDAF(dataclasses.replace(CONFIG, share_lstm_weights=False))
    arrays = {name: view.read() for name, view in one.tf1_views().items()}
    copies = {
        name.replace("u1", "h1"): array
        for name, array in arrays.items()
        if "prepro/u1" in name
    }
    tf1.assign(two.tf1_views(), {**arrays, **copies}, "one")
    np.testing.assert_allclose(
        scores(two)["end"], scores(one)["end"], atol=1e-6
    )
    two.context_lstm.cells[0].kernel.assign_add(
        tf.ones_like(two.context_lstm.cells[0].kernel)
    )
    assert np.abs(scores(two)["end"] - scores(one)["end"]).max() > 1e-4


@pytest.mark.parametrize("switch", ["default", "dynamic"])
def test_padding_changes_nothing(switch):
    """More sentences, longer ones and longer questions: the same scores."""
    config = dataclasses.replace(CONFIG, dynamic_att=switch == "dynamic")
    net, inputs = randomized(model_lib.BiDAF(config)), batch()
    wide = {}
    for name, array in inputs.items():
        extra = [(0, 0)] * array.ndim
        extra[1] = (0, 1)
        if name in ("x", "cx", "x_mask"):
            extra[2] = (0, 2)
        wide[name] = np.pad(array, extra)
    for name in ("start", "end"):
        few, many = scores(net, inputs)[name], scores(net, wide)[name]
        np.testing.assert_allclose(many[:, :M, :JX], few, atol=1e-6)
        assert not np.any(many[:, M:]) and not np.any(many[:, :, JX:])


def test_masks_default_to_where_ids_are_not_0():
    net, inputs = randomized(model_lib.BiDAF(CONFIG)), batch()
    bare = {name: inputs[name] for name in ("x", "cx", "q", "cq")}
    np.testing.assert_array_equal(
        scores(net, bare)["start"], scores(net, inputs)["start"]
    )


def test_ids_beyond_the_trained_words_read_the_fixed_vectors():
    net = randomized(model_lib.BiDAF(CONFIG))
    table = np.concatenate([net.word_embedding.numpy(), VECTORS])
    ids = np.arange(WORDS + 3)
    np.testing.assert_array_equal(
        net._word_vectors(tf.constant(ids), tf.constant(VECTORS)), table
    )
    known = tf.constant(ids[:WORDS])
    for nothing in (None, np.zeros([0, SIZE], np.float32)):
        np.testing.assert_array_equal(
            net._word_vectors(known, nothing), table[:WORDS]
        )


def test_dropout_depends_on_the_seed_only():
    net = randomized(
        model_lib.BiDAF(
            dataclasses.replace(CONFIG, keep_prob=0.7, input_keep_prob=0.7)
        )
    )
    first, again, other = (
        scores(net, training=True, seed=tf.constant(s))
        for s in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first["start"], again["start"])
    assert np.abs(first["start"] - other["start"]).max() > 1e-4
    # Without characters the context's preprocessing has no dropout.
    plain = randomized(
        model_lib.BiDAF(
            dataclasses.replace(CONFIG, use_char_emb=False, input_keep_prob=0.7)
        )
    )
    dropped = scores(plain, training=True, seed=tf.constant([1, 2]))
    whole = scores(plain)
    np.testing.assert_allclose(dropped["h"], whole["h"], atol=1e-6)
    assert np.abs(dropped["u"] - whole["u"]).max() > 1e-4


def test_groups_are_those_of_the_authors_files():
    """As in groups_hidden100.json, written out for d units."""
    net, d = model_lib.BiDAF(CONFIG), CONFIG.hidden_size

    def rows(name, start, stop):
        return {
            "var_name": f"main/{name}",
            "multi": 1.0,
            "axis": 1,
            "start": start * d,
            "end": stop * d,
        }

    def direction(cell, row, readers):
        matrix = f"{cell}/basic_lstm_cell/weights"
        return (
            [rows(matrix, row, row + 1)]
            + [{**rows(matrix, gate, gate + 1), "axis": 0} for gate in range(4)]
            + [rows(reader, start, start + 1) for reader, start in readers]
        )

    def both(layer, *starts):
        return [
            (f"{layer}/{way}/basic_lstm_cell/weights", start)
            for start in starts
            for way in ("fw", "bw")
        ]

    file = group_json.parse(
        {
            "groups": [
                direction("g0/fw", 8, both("g1", 0)),
                direction("g0/bw", 8, both("g1", 1)),
                direction(
                    "g1/fw",
                    2,
                    [("logits1/first/weights", 0)] + both("g2", 8, 12),
                ),
                direction(
                    "g1/bw",
                    2,
                    [("logits1/first/weights", 1)] + both("g2", 9, 13),
                ),
                direction("g2/fw", 14, [("logits2/first/weights", 0)]),
                direction("g2/bw", 14, [("logits2/first/weights", 1)]),
            ]
        },
        "file",
    )
    theirs = groups_lib.from_file(net, file)
    assert [g.name for g in theirs] == list(groups_lib.PRUNABLE)
    ours = groups_lib.iss_groups(net, attended=False)
    complete = groups_lib.iss_groups(net)
    for one, other, whole in zip(theirs, ours, complete):
        assert places(one) == places(other) <= places(whole)
        extra = places(whole) - places(other)
        assert len(extra) == (
            2 if "Mod" in one.name and one.name.endswith("2") else 0
        )
        assert {start for _, _, start, _ in extra} <= {10 * d, 11 * d}


def places(group):
    return {(s.variable.ref(), s.axis, s.start, s.stop) for s in group.slices}


def kill(net, dead):
    """Zeroes some units, as a penalty would."""
    for name, units in dead.items():
        (group,) = groups_lib.iss_groups(net, [name])
        mask = np.isin(np.arange(group.size), units)
        thresholding.zero_units(
            groups.Group(name, group.slices), tf.constant(mask)
        )


DEAD = {
    "PreFwd": [0],
    "PreBwd": [1],
    "ModFwd1": [1],
    "ModBwd1": [0, 2, 3],
    "ModFwd2": [0, 2],
    "OutFwd": [1],
    "OutBwd": [0, 1],
}


@pytest.mark.parametrize(
    "switch",
    [
        "default",
        "no q2c",
        "no c2q",
        "no attention",
        "two question LSTMs",
        "no answer",
        "linear",
        "projections",
    ],
)
def test_all_eight_directions_shrink(switch):
    """Each to its own size; what reads them is cut to fit."""
    net = randomized(
        model_lib.BiDAF(dataclasses.replace(CONFIG, **SWITCHES[switch]), SIZES)
    )
    kill(net, DEAD)
    small, proof = shrinking.shrink(
        net,
        groups_lib.iss_groups(net, groups_lib.DIRECTIONS),
        [batch(), batch(1)],
        lambda each, inputs: list(
            map(scores(each, inputs).get, ("start", "end", "words"))
        ),
    )
    assert small.sizes == {
        name: size - len(DEAD.get(name, ())) for name, size in SIZES.items()
    }
    assert proof.max_difference < 1e-6 and proof.max_output > 0.05
    assert proof.weights_after < proof.weights_before
    assert (
        authors.sizes_of(
            {name: view.read() for name, view in small.tf1_views().items()}
        )
        == small.sizes
    )
    assert authors.sizes_of(
        {"prepro/u1/fw/basic_lstm_cell/bias": np.float32(3)}
    ) == {"PreFwd": 0}  # refused


def test_dynamic_attention_shrinks_what_it_can():
    net = randomized(
        model_lib.BiDAF(dataclasses.replace(CONFIG, dynamic_att=True))
    )
    kill(net, {"ModFwd2": [1], "OutBwd": [0]})
    small, proof = shrinking.shrink(
        net,
        net.iss_groups(),
        [batch()],
        lambda each, inputs: scores(each, inputs)["end"],
    )
    assert (small.sizes["ModFwd2"], small.sizes["OutBwd"]) == (2, 2)
    assert proof.max_difference < 1e-6
    for name in ("PreFwd", "ModBwd1"):
        with pytest.raises(
            errors.UserError, match="compared with the question's"
        ):
            groups_lib.iss_groups(net, [name])


@pytest.mark.parametrize(
    "switch, name, message",
    [
        ("dot", "PreFwd", "logit_func 'dot' reads every unit"),
        ("sums", "ModFwd2", "answer_func 'sum' reads every unit"),
    ],
)
def test_units_read_without_a_weight_cannot_be_cut(switch, name, message):
    net = model_lib.BiDAF(dataclasses.replace(CONFIG, **SWITCHES[switch]))
    with pytest.raises(errors.UserError, match=message):
        groups_lib.iss_groups(net, [name])


def test_units_dead_to_the_authors_are_zeroed_in_all_that_reads_them():
    """Their groups leave the attended answer out; their units still speak."""
    net = randomized(model_lib.BiDAF(CONFIG, SIZES))
    (theirs,) = groups_lib.iss_groups(net, ["ModFwd2"], attended=False)
    mask = np.array([False, True, False])
    thresholding.zero_units(groups.Group("g", theirs.slices), tf.constant(mask))
    (whole,) = groups_lib.iss_groups(net, ["ModFwd2"])
    assert whole.alive().numpy().all()
    dead = groups_lib.dead_units([theirs])
    np.testing.assert_array_equal(dead["ModFwd2"], mask)
    groups_lib.zero_dead_units(net, dead)
    np.testing.assert_array_equal(whole.alive(), ~mask)
    assert not np.any(scores(net)["g1"][..., 1])
    small, proof = shrinking.shrink(
        net,
        net.iss_groups(),
        [batch()],
        lambda each, inputs: scores(each, inputs)["end"],
    )
    assert small.sizes["ModFwd2"] == 2 and proof.max_difference < 1e-6


def test_dead_below_a_norm():
    net = randomized(model_lib.BiDAF(CONFIG))
    (group,) = groups_lib.iss_groups(net, ["OutFwd"])
    thresholding.zero_units(
        groups.Group("g", group.slices), tf.constant([True, False, False])
    )
    group.slices[0].variable[0, 0].assign(0.01)
    assert not groups_lib.dead_units([group])["OutFwd"].any()
    np.testing.assert_array_equal(
        groups_lib.dead_units([group], below=0.02)["OutFwd"],
        [True, False, False],
    )


def test_names_are_the_authors():
    names = list(model_lib.BiDAF(CONFIG).tf1_views())
    assert names[:3] == [
        "emb/emb_var/char_emb_mat",
        "emb/char/conv/xx/conv1d_3/filter",
        "emb/char/conv/xx/conv1d_3/bias",
    ]
    assert "main/p0/bi_attention/u_logits/first/weights" in names
    assert "prepro/u1/bw/basic_lstm_cell/kernel" in names
    assert names[-1] == "main/logits2/first/biases"


@pytest.mark.parametrize(
    "name", [*SWITCHES, "dynamic attention", "equal filters"]
)
def test_every_weight_has_a_name_for_reports(name):
    changes = {
        "dynamic attention": {"dynamic_att": True},
        "equal filters": {"out_channel_dims": "2,2", "filter_heights": "3,3"},
    }
    net = model_lib.BiDAF(
        dataclasses.replace(CONFIG, **{**changes, **SWITCHES}[name])
    )
    found = net.weights_by_name()
    assert {v.ref() for v in found.values()} == {
        v.ref() for v in net.trainable_variables
    }
    assert len(found) == len(net.trainable_variables)
    assert found["OutBwd/kernel"] is net.output_lstm.cells[1].kernel
    if name == "dynamic attention":
        assert "ModFwd1/controller" in found
        assert "ModFwd1/recurrent_kernel" in found
    if name == "two question LSTMs":
        assert "PreFwd_context/bias" in found
    if name == "equal filters":
        assert "char_cnn_xx/filter_3 (2)" in found


def test_resized_keeps_the_other_sizes():
    net = model_lib.BiDAF(CONFIG, SIZES)
    small = net.resized({"OutFwd": 1})
    assert small.sizes == {**SIZES, "OutFwd": 1}
    again = model_lib.BiDAF.from_config(net.get_config())
    assert again.config == CONFIG and again.sizes == SIZES


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"use_char_emb": False, "use_word_emb": False},
            "a word has no vector",
        ),
        (
            {"char_out_size": 5},
            "out_channel_dims=4 add up to 4, --char_out_size is 5",
        ),
        ({"filter_heights": "3,4"}, "must be equally long"),
        ({"filter_heights": "tall"}, "--filter_heights must be whole numbers"),
        ({"logit_func": "cosine"}, "--logit_func must be one of tri_linear"),
        ({"answer_func": "dot"}, "--answer_func must be one of linear"),
        ({"keep_prob": 0.0}, r"--keep_prob must lie in \(0, 1\], got 0"),
    ],
)
def test_bad_configurations(changes, message):
    with pytest.raises(errors.UserError, match=message):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"OutFwd": 0}, "size 0 of LSTM direction 'OutFwd'"),
        ({"OutMid": 3}, "'OutMid': expected at least 1, and one of PreFwd"),
    ],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(errors.UserError, match=re.escape(message)):
        model_lib.BiDAF(CONFIG, sizes)
    with pytest.raises(errors.UserError, match="must keep their sizes"):
        model_lib.BiDAF(
            dataclasses.replace(CONFIG, dynamic_att=True), {"ModFwd1": 2}
        )
