"""BiDAF's cost and the authors' penalties against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from bidaf import model as model_lib
from bidaf import penalties

CONFIG = model_lib.ModelConfig(
    6,
    5,
    3,
    hidden_size=2,
    char_emb_size=2,
    char_out_size=2,
    out_channel_dims="2",
    filter_heights="3",
    highway_num_layers=1,
)
N, M, JX = 4, 2, 3


@pytest.fixture(name="net", scope="module")
def fixture_net():
    net = model_lib.BiDAF(CONFIG)
    rng = np.random.default_rng(1)
    for variable in net.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return net


def batch():
    """A question that is labelled, one that is not, one more, padding."""
    mask = np.ones([N, M, JX], bool)
    mask[0, 1, 1:] = mask[3] = False
    labels = {key: np.zeros([N, M, JX], bool) for key in ("y", "y2", "wy")}
    labels["y"][0, 0, 1] = labels["y2"][0, 1, 0] = True
    labels["wy"][0, 0, 1:] = labels["wy"][0, 1, 0] = True
    labels["y"][2, 1, 2] = labels["y2"][2, 1, 2] = True
    labels["wy"][2, 1, 2] = True
    return {
        **labels,
        "x_mask": mask,
        "na": np.array([0, 1, 0, 0], bool),
        "q_mask": np.array([[1, 1], [1, 0], [1, 1], [0, 0]], bool),
    }


def outputs():
    draw = np.random.default_rng(0).normal
    return {
        f"{end}_logits": draw(size=[N, M * JX]).astype(np.float32)
        for end in ("start", "end")
    }


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_cost_is_a_mean_over_all_rows():
    """Rows without a label or a question count as 0."""
    costs = penalties.answer_costs(outputs(), batch(), False)
    for cost, key, logits in zip(costs, ("y", "y2"), outputs().values()):
        labels = batch()[key].reshape(N, -1)
        expected = -(labels * log_softmax(logits)).sum() / N
        np.testing.assert_allclose(cost, expected, rtol=1e-6)
        assert expected > 0.1


def test_cost_with_no_answer():
    """Its bias is one more logit; unanswerable rows are labelled by it."""
    bias = 0.3
    costs = penalties.answer_costs(outputs(), batch(), False, tf.constant(bias))
    for cost, key, logits in zip(costs, ("y", "y2"), outputs().values()):
        logs = log_softmax(np.concatenate([np.full([N, 1], bias), logits], 1))
        labels = batch()[key].reshape(N, -1)
        expected = -(labels * logs[:, 1:]).sum() - logs[1, 0]
        np.testing.assert_allclose(cost, expected / N, rtol=1e-6)


def test_cost_of_single_words():
    """A batch's words outside of answers weigh as much as those inside."""
    (cost,) = penalties.answer_costs(outputs(), batch(), True)
    inside = batch()["wy"]
    outside = batch()["x_mask"] & ~inside
    logits = outputs()["end_logits"].reshape(N, M, JX).astype(float)
    expected = (
        np.log1p(np.exp(-logits))[inside].sum()
        + np.log1p(np.exp(logits))[outside].sum() * inside.sum() / outside.sum()
    )
    np.testing.assert_allclose(cost, expected / N, rtol=1e-6)


def test_lasso_leaves_embeddings_and_highway_alone(net):
    names = set(penalties.sparse_views(net))
    assert "main/g1/fw/basic_lstm_cell/bias" in names
    assert not any(name.startswith(("emb", "highway")) for name in names)
    biased = model_lib.BiDAF(
        model_lib.ModelConfig(**{**CONFIG.__dict__, "na": True})
    )
    assert "main/na_bias" in biased.tf1_views()
    assert set(penalties.sparse_views(biased)) == names


@pytest.mark.parametrize("scaling", [False, True])
def test_rows_and_columns_against_numpy(net, scaling):
    """Of the matrices as the authors lay them out; vectors get L1."""
    lines = single = 0.0
    for view in penalties.sparse_views(net).values():
        array = view.read().astype(float)
        if array.ndim == 1 or 1 in array.shape:
            single += np.abs(array).sum() if array.shape != (1, 1) else 0.0
            continue
        for axis in (0, 1):
            scale = array.shape[axis] ** 0.5 if scaling else 1.0
            lines += scale * np.sqrt((array**2).sum(axis) + 1e-8).sum()
    lasso = penalties.mixed_lasso(net, scaling)
    for strengths in ((0.3, 0.0), (0.0, 0.2), (0.3, 0.2)):
        np.testing.assert_allclose(
            penalties.mixed_penalty(lasso, *strengths),
            strengths[0] * lines + strengths[1] * single,
            rtol=1e-5,
        )


def test_l1_against_numpy(net):
    expected = sum(
        np.abs(view.read()).sum()
        for view in penalties.sparse_views(net).values()
    )
    np.testing.assert_allclose(
        penalties.l1_penalty(net, 0.2), 0.2 * expected, rtol=1e-5
    )


def test_l2_counts_layers_as_often_as_they_are_used(net):
    """Highway layers read context and question; LSTMs are left out."""

    def square(name):
        return (net.tf1_views()[name].read().astype(float) ** 2).sum()

    layer = "highway/highway_network/layer_0"
    expected = sum(
        times * square(f"{layer}/{part}/{kind}")
        for part, times in (("trans", 4), ("gate", 3))
        for kind in ("weights", "biases")
    )
    expected += sum(
        square(f"main/{place}/first/{kind}")
        for place in ("p0/bi_attention/u_logits", "logits1", "logits2")
        for kind in ("weights", "biases")
    )
    np.testing.assert_allclose(
        penalties.l2_penalty(net, 0.1), 0.05 * expected, rtol=1e-5
    )
