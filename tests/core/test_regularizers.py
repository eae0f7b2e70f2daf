"""Penalties and their gradients against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import groups
from iss_rnns import regularizers

pytestmark = pytest.mark.keras3


def matrix(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return tf.Variable(rng.normal(size=shape).astype(np.float32))


def value_and_gradients(penalty, variables):
    with tf.GradientTape() as tape:
        value = penalty()
    return value, tape.gradient(value, variables)


def both(penalty, variables):
    """Eagerly and as a graph."""

    def run():
        return value_and_gradients(penalty, variables)

    return [run(), tf.function(run)()]


def test_group_lasso_of_rows_and_columns():
    w = matrix(4, 6)
    both_ways = [
        groups.Group("rows", [groups.whole(w, 0)], multiplier=0.5),
        groups.Group("columns", [groups.whole(w, 1)]),
    ]
    value = w.numpy()
    rows = np.sqrt((value**2).sum(1) + 1e-8)
    columns = np.sqrt((value**2).sum(0) + 1e-8)
    for found, (gradient,) in both(
        lambda: regularizers.group_lasso(both_ways, 0.1), [w]
    ):
        np.testing.assert_allclose(
            found, 0.1 * (0.5 * rows.sum() + columns.sum()), rtol=1e-6
        )
        np.testing.assert_allclose(
            gradient,
            0.1 * value * (0.5 / rows[:, None] + 1 / columns),
            rtol=1e-5,
        )


def test_group_lasso_of_convolutions_and_heads():
    """Filters of a Conv1D kernel, heads of MultiHeadAttention's."""
    filters, heads = matrix(2, 3, 4), matrix(3, 4, 2)
    group = groups.Group(
        "both", [groups.whole(filters, 2), groups.whole(heads, 1)]
    )
    norms = np.sqrt(
        (filters.numpy() ** 2).sum((0, 1))
        + (heads.numpy() ** 2).sum((0, 2))
        + 1e-8
    )
    for found, gradients in both(
        lambda: regularizers.group_lasso([group], 0.1), [filters, heads]
    ):
        np.testing.assert_allclose(found, 0.1 * norms.sum(), rtol=1e-6)
        for variable, gradient, shape in zip(
            (filters, heads), gradients, ((1, 1, 4), (1, 4, 1))
        ):
            np.testing.assert_allclose(
                gradient,
                0.1 * variable.numpy() / norms.reshape(shape),
                rtol=1e-5,
            )


def test_group_lasso_of_an_lstm_is_the_derivative():
    """The written-out gradient against the tape's own, overlaps included."""
    cell = cells.LSTMCell(3)
    cell.build(tf.TensorShape([None, 2]))
    consumer = matrix(3, 5)
    group = cells.iss_group(
        "layer", cell, [groups.whole(consumer, 0, multiplier=2.0)], 0.7
    )
    variables = [cell.kernel, cell.recurrent_kernel, consumer]

    def plain():
        return 0.3 * 0.7 * tf.reduce_sum(tf.sqrt(group.squared_norms() + 1e-8))

    expected, expected_gradients = value_and_gradients(plain, variables)
    for found, gradients in both(
        lambda: regularizers.group_lasso([group], 0.3), variables
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        for ours, theirs in zip(gradients, expected_gradients):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_group_lasso_of_blocks():
    w = matrix(5, 7)
    grid = groups.BlockGrid.uniform(w, 2, 3)
    roots = np.sqrt(
        [
            [
                (w.numpy()[i : i + 2, j : j + 3] ** 2).sum() + 1e-8
                for j in (0, 3, 6)
            ]
            for i in (0, 2, 4)
        ]
    )
    full = np.repeat(np.repeat(roots, [2, 2, 1], 0), [3, 3, 1], 1)
    for found, (gradient,) in both(
        lambda: regularizers.group_lasso([grid], 2.0), [w]
    ):
        np.testing.assert_allclose(found, 2 * roots.sum(), rtol=1e-5)
        np.testing.assert_allclose(gradient, 2 * w.numpy() / full, rtol=1e-5)


def test_a_zero_unit_costs_a_root_of_epsilon_and_has_no_gradient():
    w = tf.Variable(tf.zeros([2, 3]))
    value, (gradient,) = value_and_gradients(
        lambda: regularizers.group_lasso(
            [groups.Group("rows", [groups.whole(w, 0)])], 1.0
        ),
        [w],
    )
    np.testing.assert_allclose(value, 2e-4, rtol=1e-5)
    np.testing.assert_array_equal(gradient, np.zeros([2, 3]))


def test_strength_may_be_a_variable():
    w, strength = matrix(2, 3), tf.Variable(1.0)
    penalty = tf.function(
        lambda: regularizers.group_lasso(
            [groups.Group("rows", [groups.whole(w, 0)])], strength
        )
    )
    first = penalty()
    strength.assign(3.0)
    np.testing.assert_allclose(penalty(), 3 * first, rtol=1e-6)


def test_l1_and_l2():
    variables = [matrix(2, 3), matrix(4, seed=1)]
    values = [v.numpy() for v in variables]
    for found, gradients in both(
        lambda: regularizers.l1(variables, 0.2), variables
    ):
        np.testing.assert_allclose(
            found, 0.2 * sum(abs(v).sum() for v in values), rtol=1e-6
        )
        for gradient, v in zip(gradients, values):
            np.testing.assert_allclose(gradient, 0.2 * np.sign(v), rtol=1e-6)
    for found, gradients in both(
        lambda: regularizers.l2(variables, 0.2), variables
    ):
        np.testing.assert_allclose(
            found, 0.1 * sum((v**2).sum() for v in values), rtol=1e-6
        )
        for gradient, v in zip(gradients, values):
            np.testing.assert_allclose(gradient, 0.2 * v, rtol=1e-6)


def test_nothing_to_penalize_costs_nothing():
    assert float(regularizers.group_lasso([], 1.0)) == 0.0
    assert float(regularizers.l1([], 1.0)) == 0.0
    assert float(regularizers.l2([], 1.0)) == 0.0


@pytest.mark.parametrize("strength", [-1e-3, float("nan"), float("inf")])
def test_strength_is_checked(strength):
    with pytest.raises(
        ValueError, match=f"decay must be a number >= 0, got {strength}"
    ):
        regularizers.check_strength(strength, "decay")


def test_a_good_strength_is_returned():
    variable = tf.Variable(1.0)
    assert regularizers.check_strength(0.0) == 0.0
    assert regularizers.check_strength(2) == 2
    assert regularizers.check_strength(variable) is variable


def test_a_grid_of_four_by_four_blocks_is_vectorised():
    """3000 x 6000: the graph has no node per block."""
    w = tf.Variable(tf.ones([3000, 6000]))
    grid = groups.BlockGrid.uniform(w, 4, 4)

    @tf.function
    def run():
        return value_and_gradients(
            lambda: regularizers.group_lasso([grid], 1.0), [w]
        )

    graph = run.get_concrete_function().graph
    assert len(graph.get_operations()) < 300
    value, (gradient,) = run()
    np.testing.assert_allclose(value, 750 * 1500 * 4.0, rtol=1e-4)
    np.testing.assert_allclose(gradient, np.full([3000, 6000], 0.25), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize(
    "kind, strength", [("lasso", 0.3), ("l1", np.float32(0.5)), ("l2", 0.1)]
)
@pytest.mark.parametrize("variable_strength", [False, True])
def test_b18_of_other_precisions_they_equal_numpy(
    dtype, kind, strength, variable_strength
):
    """Value and gradient; 16 bits are summed in 32."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=s).astype(dtype) for s in ((4, 6), (6, 3))]
    variables = [tf.Variable(v) for v in values]
    wide = [v.astype(np.float64) for v in values]
    if kind == "lasso":
        group = groups.Group(
            "g",
            [groups.whole(variables[0], 1), groups.whole(variables[1], 0)],
        )
        norms = np.sqrt((wide[0] ** 2).sum(0) + (wide[1] ** 2).sum(1) + 1e-8)
        total = norms.sum()
        gradients = [wide[0] / norms, wide[1] / norms[:, None]]
    elif kind == "l1":
        total = sum(np.abs(v).sum() for v in wide)
        gradients = [np.sign(v) for v in wide]
    else:
        total = sum((v**2).sum() / 2 for v in wide)
        gradients = wide
    number = (
        tf.Variable(strength, dtype=tf.float32)
        if variable_strength
        else strength
    )
    strength = np.float32(strength) if variable_strength else float(strength)
    penalty = {
        "lasso": lambda: regularizers.group_lasso([group], number),
        "l1": lambda: regularizers.l1(variables, number),
        "l2": lambda: regularizers.l2(variables, number),
    }[kind]
    rtol = 1e-12 if dtype == np.float64 else 2e-3
    for value, found in both(penalty, variables):
        assert value.dtype == (
            tf.float64 if dtype == np.float64 else tf.float32
        )
        np.testing.assert_allclose(
            value, strength * total, rtol=max(rtol / 100, 1e-12)
        )
        for ours, theirs in zip(found, gradients):
            np.testing.assert_allclose(ours, strength * theirs, rtol=rtol)


def test_strengths_are_numbers_of_any_kind():
    assert type(regularizers.check_strength(np.float32(0.5))) is float
    assert regularizers.check_strength(np.int64(2)) == 2.0
    variable = tf.Variable(-1.0)  # who makes one knows what it is for
    assert regularizers.check_strength(variable) is variable
    for wrong in (-1, np.float32(-1), float("nan"), np.inf, "0.1", None, True):
        with pytest.raises(ValueError, match="strength must be a number >= 0"):
            regularizers.check_strength(wrong)
