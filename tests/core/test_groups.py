"""Groups: norms, alive units, spreading, cutting, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import groups

pytestmark = pytest.mark.keras3


@pytest.fixture(name="rng")
def fixture_rng():
    return np.random.default_rng(0)


def matrix(rng, *shape):
    return tf.Variable(rng.normal(size=shape).astype(np.float32))


def both(function):
    """The function run eagerly and as a graph."""
    return [function(), tf.function(function)()]


def two_layer_group(rng):
    """Three units: columns 1:4 and rows 0:3 of a; all rows of b."""
    a, b, bias = matrix(rng, 5, 6), matrix(rng, 3, 4), matrix(rng, 6)
    group = groups.Group(
        "layer",
        [
            groups.Slice(a, 1, 1, 4),
            groups.Slice(a, 0, 0, 3, 2.0),
            groups.whole(b, 0),
        ],
        [groups.Slice(bias, 0, 2, 5)],
    )
    return a, b, bias, group


def test_squared_norms_add_up_the_slices(rng):
    a, b, _, group = two_layer_group(rng)
    expected = [
        (a.numpy()[:, 1 + k] ** 2).sum()
        + 2.0 * (a.numpy()[k] ** 2).sum()
        + (b.numpy()[k] ** 2).sum()
        for k in range(3)
    ]
    for norms in both(group.squared_norms):
        np.testing.assert_allclose(norms, expected, rtol=1e-6)
    assert group.size == 3
    assert group.weights_per_unit == 5 + 6 + 4
    assert [v.ref() for v in group.variables] == [a.ref(), b.ref()]


def test_norms_of_given_values_and_of_vectors(rng):
    vector = matrix(rng, 4)
    group = groups.Group("biases", [groups.whole(vector, 0)])
    values = {vector.ref(): tf.constant([1.0, 2.0, 3.0, 0.0])}
    np.testing.assert_allclose(group.squared_norms(values), [1, 4, 9, 0])


def test_alive_is_above_the_threshold():
    w = tf.Variable([[3.0, 0.0, 0.0], [4.0, 0.0, 1e-5]])
    group = groups.Group("columns", [groups.whole(w, 1)])
    for alive in both(group.alive):
        assert alive.numpy().tolist() == [True, False, True]
    for alive in both(lambda: group.alive(1e-3)):
        assert alive.numpy().tolist() == [True, False, False]


def test_b8_a_norm_that_is_nan_is_not_dead():
    w = tf.Variable([[0.0, np.nan, 1.0], [0.0, 0.0, np.inf]])
    for each in (
        groups.Group("columns", [groups.whole(w, 1)]),
        groups.BlockGrid(w, [2], [1, 1, 1]),
        groups.JoinedGrid("joined", [(w, [0, 0], [0, 1, 2])]),
    ):
        for alive in both(lambda each=each: each.alive(0.5)):
            assert alive.numpy().ravel().tolist() == [False, True, True]


def test_spread_lays_a_number_per_unit_over_the_variables(rng):
    a, b, bias, group = two_layer_group(rng)
    per_unit = np.float32([1, 10, 100])
    lines = {}
    for variable, line in group.spread(per_unit, companions=True):
        full = lines.setdefault(variable.ref(), np.zeros(variable.shape))
        full += np.broadcast_to(line, variable.shape)
    expected = np.zeros((5, 6))
    expected[:, 1:4] += per_unit
    expected[0:3] += 2.0 * per_unit[:, None]
    np.testing.assert_array_equal(lines[a.ref()], expected)
    np.testing.assert_array_equal(
        lines[b.ref()], np.repeat(per_unit[:, None], 4, axis=1)
    )
    np.testing.assert_array_equal(lines[bias.ref()], [0, 0, 1, 10, 100, 0])
    assert bias.ref() not in [v.ref() for v, _ in group.spread(per_unit)]


def test_blocks_are_the_gates(rng):
    kernel = matrix(rng, 2, 12)
    found = groups.blocks(kernel, 1, 4)
    assert [(s.start, s.stop) for s in found] == [
        (0, 3),
        (3, 6),
        (6, 9),
        (9, 12),
    ]


def test_unique_variables_keep_their_order(rng):
    a, b, _, group = two_layer_group(rng)
    other = groups.Group("rows of b", [groups.whole(b, 0)])
    found = groups.unique_variables([other, group])
    assert [v.ref() for v in found] == [b.ref(), a.ref()]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((2, 0, 1), r"w with shape \(3, 4\) has no axis 2"),
        ((0.0, 0, 1), "has no axis 0.0"),
        ((0, 0, 4), r"slice 0:4 does not fit axis 0 of w, which has 3"),
        ((1, 2, 2), "slice 2:2 does not fit axis 1"),
        ((1, -1, 2), "start of a slice of w must be .* at least 0, got -1"),
        ((1, 0, 1.5), "stop of a slice of w must be .* got 1.5"),
        ((1, 0, 1, -1.0), "multiplier of a slice of w must be .* got -1.0"),
    ],
)
def test_slice_is_checked(arguments, message):
    with pytest.raises(errors.UserError, match=message):
        groups.Slice(tf.Variable(tf.zeros([3, 4]), name="w"), *arguments)


def test_numbers_of_numpy_are_slices_too(rng):
    part = groups.Slice(matrix(rng, 3, 4), np.int64(1), np.int32(1), np.int8(3))
    assert (part.start, part.stop, part.size) == (1, 3, 2)


@pytest.mark.parametrize("make", [groups.whole, groups.blocks])
def test_a_slice_of_no_variable_is_refused(make):
    with pytest.raises(errors.UserError, match="of a variable, .* got ndarray"):
        make(np.zeros([3, 4]), 0, 1)


def test_blocks_that_do_not_divide_the_axis_are_refused(rng):
    with pytest.raises(errors.UserError, match="10 entries, .* 4 equal blocks"):
        groups.blocks(matrix(rng, 2, 10), 1, 4)
    with pytest.raises(errors.UserError, match="count must be .* least 1"):
        groups.blocks(matrix(rng, 2, 10), 1, 0)


def test_group_is_checked(rng):
    w = matrix(rng, 3, 4)
    with pytest.raises(
        errors.UserError, match="'empty' needs at least one slice"
    ):
        groups.Group("empty", [])
    for wrong, kind in ((w, "ResourceVariable"), ([w], "ResourceVariable")):
        with pytest.raises(
            errors.UserError, match=f"slices of group 'x' .* got {kind}"
        ):
            groups.Group("x", wrong)
    with pytest.raises(errors.UserError, match="list of Slice .* got Slice"):
        groups.Group("x", groups.whole(w, 0))
    with pytest.raises(errors.UserError, match="companions of group 'x' must"):
        groups.Group("x", [groups.whole(w, 0)], [3])
    with pytest.raises(errors.UserError, match="multiplier of group 'x'"):
        groups.Group("x", [groups.whole(w, 0)], multiplier=np.nan)
    with pytest.raises(
        errors.UserError,
        match=r"'x' must have one entry per unit, "
        r"got \[3, 4\] entries",
    ):
        groups.Group("x", [groups.whole(w, 0), groups.whole(w, 1)])


def test_keep_masks_and_rebind_follow_a_cut(rng):
    a, b, bias, group = two_layer_group(rng)
    masks = groups.keep_masks([group], [np.array([True, False, True])])
    rows, columns = masks[a.ref()]
    assert rows.tolist() == [True, False, True, True, True]
    assert columns.tolist() == [True, True, False, True, True, True]
    assert masks[b.ref()][0].tolist() == [True, False, True]
    assert masks[b.ref()][1].all()
    assert masks[bias.ref()][0].tolist() == [True] * 3 + [False] + [True] * 2
    before = group.squared_norms().numpy()
    dead = {v.ref(): v.numpy() for v in (a, b)}
    # What the dead unit shares with the living ones must not change them.
    dead[a.ref()][1, :], dead[a.ref()][:, 2] = 0.0, 0.0
    dead[b.ref()][1] = 0.0
    group_before = group.squared_norms(
        {r: tf.constant(v) for r, v in dead.items()}
    ).numpy()
    cuts = {
        ref: groups.Cut(
            tf.Variable(dead.get(ref, ref.deref().numpy())[np.ix_(*keep)]),
            tuple(keep),
        )
        for ref, keep in masks.items()
    }
    group.rebind(cuts)
    assert group.size == 2
    assert before.shape == (3,)
    np.testing.assert_allclose(
        group.squared_norms(), group_before[[0, 2]], rtol=1e-6
    )


class TestBlockGrid:
    @pytest.mark.parametrize("height, width", [(2, 3), (4, 4), (9, 1)])
    def test_uneven_edges_against_numpy(self, rng, height, width):
        w = matrix(rng, 7, 10)
        grid = groups.BlockGrid.uniform(w, height, width)

        def reduced(function, value):
            return np.array(
                [
                    [
                        function(value[i : i + height, j : j + width])
                        for j in range(0, 10, width)
                    ]
                    for i in range(0, 7, height)
                ]
            )

        for norms in both(grid.squared_norms):
            np.testing.assert_allclose(
                norms, reduced(np.sum, w.numpy() ** 2), rtol=1e-5
            )
        for largest in both(grid.max_magnitudes):
            np.testing.assert_allclose(
                largest, reduced(np.max, abs(w.numpy())), rtol=1e-6
            )
        assert grid.size == norms.shape[0] * norms.shape[1]

    def test_spread_fills_each_block(self, rng):
        w = matrix(rng, 3, 5)
        grid = groups.BlockGrid(w, [1, 2], [2, 3])
        ((_, full),) = grid.spread(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        np.testing.assert_array_equal(
            full, [[1, 1, 2, 2, 2], [3, 3, 4, 4, 4], [3, 3, 4, 4, 4]]
        )

    def test_alive(self):
        w = tf.Variable([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
        grid = groups.BlockGrid.uniform(w, 1, 2)
        assert grid.alive().numpy().tolist() == [[False, False], [False, True]]

    def test_checked(self, rng):
        w = matrix(rng, 4, 4)
        with pytest.raises(
            errors.UserError, match="axis 1 .* add up to 4, got a sum of 5"
        ):
            groups.BlockGrid(w, [4], [2, 3])
        with pytest.raises(errors.UserError, match="positive and add up"):
            groups.BlockGrid(w, [4, 0], [4])
        with pytest.raises(errors.UserError, match="block height .* got 0"):
            groups.BlockGrid.uniform(w, 0, 2)
        with pytest.raises(errors.UserError, match=r"with shape \(4,\)"):
            groups.BlockGrid.uniform(matrix(rng, 4), 1, 1)

    def test_rebind_follows_a_cut(self, rng):
        w = matrix(rng, 4, 6)
        grid = groups.BlockGrid.uniform(w, 2, 4)
        keep = (
            np.array([True, True, False, False]),
            np.array([True, False, True, True, False, True]),
        )
        small = tf.Variable(w.numpy()[np.ix_(*keep)])
        grid.rebind({w.ref(): groups.Cut(small, keep)})
        assert grid.row_sizes.tolist() == [2]
        assert grid.column_sizes.tolist() == [3, 1]
        values = small.numpy() ** 2
        np.testing.assert_allclose(
            grid.squared_norms(),
            [[values[:, :3].sum(), values[:, 3:].sum()]],
            rtol=1e-5,
        )

    def test_one_on_several_variables(self, rng):
        """Columns in another order, a block in both: as of one matrix."""
        upper, lower = matrix(rng, 2, 6), matrix(rng, 3, 6)
        order = [3, 0, 1, 2, 5, 4]  # column of the whole of each of theirs
        columns = np.array(order) // 4
        grid = groups.JoinedGrid(
            "joined", [(upper, [0, 0], columns), (lower, [0, 1, 1], columns)]
        )
        whole = np.zeros([5, 6], np.float32)
        whole[:, order] = np.concatenate([upper.numpy(), lower.numpy()])
        same = groups.BlockGrid(tf.Variable(whole), [3, 2], [4, 2])
        assert (grid.shape, grid.size) == ((2, 2), 4)
        for norms in both(grid.squared_norms):
            np.testing.assert_allclose(norms, same.squared_norms(), rtol=1e-5)
        ((_, expected),) = same.spread(norms)
        np.testing.assert_array_equal(
            np.concatenate([part for _, part in grid.spread(norms)]),
            expected.numpy()[:, order],
        )
        keep = np.array([True, False, False]), np.arange(6) > 3
        small = tf.Variable(lower.numpy()[np.ix_(*keep)])
        cut = (
            groups.Cut(small, keep),
            groups.Cut(
                tf.Variable(upper.numpy()[:, 4:]), (np.ones(2, bool), keep[1])
            ),
        )
        grid.rebind({lower.ref(): cut[0], upper.ref(): cut[1]})
        assert grid.shape == (1, 1)
        np.testing.assert_allclose(
            grid.squared_norms(), [[(whole[:3, 4:] ** 2).sum()]], rtol=1e-5
        )

    def test_a_million_blocks_are_one_operation_each(self, rng):
        """Vectorised: the graph does not grow with the number of blocks."""
        w = matrix(rng, 3000, 6000)
        grid = groups.BlockGrid.uniform(w, 4, 4)
        assert grid.size == 750 * 1500
        graph = tf.function(grid.squared_norms).get_concrete_function().graph
        assert len(graph.get_operations()) < 50
        norms = grid.squared_norms().numpy()
        expected = (w.numpy() ** 2).reshape(750, 4, 1500, 4).sum((1, 3))
        np.testing.assert_allclose(norms, expected, rtol=1e-4)


class TestAnyRank:
    """Conv1D [width, in, out], MultiHeadAttention [in, heads, size]."""

    SHAPES = [(5,), (5, 3), (3, 5), (2, 3, 5), (4, 5, 3), (5, 2, 3, 2)]

    @staticmethod
    def group(rng, shape):
        """Five units along the axis of 5, the middle three in a slice."""
        axis = shape.index(5)
        variable = matrix(rng, *shape)
        bias = matrix(rng, 1, 4, 2)
        return groups.Group(
            "layer",
            [groups.Slice(variable, axis, 1, 4, 2.0)],
            [groups.Slice(bias, 1, 0, 3)],
        )

    @pytest.mark.parametrize("shape", SHAPES)
    def test_norms_are_sums_over_all_other_axes(self, rng, shape):
        group = self.group(rng, shape)
        value = group.variables[0].numpy()
        axis = shape.index(5)
        others = tuple(i for i in range(len(shape)) if i != axis)
        expected = 2.0 * (value**2).sum(others)[1:4]
        for norms in both(group.squared_norms):
            np.testing.assert_allclose(norms, expected, rtol=1e-6)
        assert group.weights_per_unit == value.size // 5

    @pytest.mark.parametrize("shape", SHAPES)
    def test_a_number_per_unit_is_spread_along_its_axis(self, rng, shape):
        group = self.group(rng, shape)
        for pairs in both(
            lambda: [
                line
                for _, line in group.spread(
                    tf.constant([1.0, 2.0, 3.0]), companions=True
                )
            ]
        ):
            line, companion = (part.numpy() for part in pairs)
            axis = shape.index(5)
            full = np.moveaxis(np.broadcast_to(line, shape), axis, -1)
            expected = np.broadcast_to([0, 2, 4, 6, 0], full.shape)
            np.testing.assert_array_equal(full, expected)
            np.testing.assert_array_equal(companion[0, :, 0], [1, 2, 3, 0])

    @pytest.mark.parametrize("shape", SHAPES)
    def test_a_cut_keeps_what_is_alive(self, rng, shape):
        group = self.group(rng, shape)
        variable = group.variables[0]
        keep = groups.keep_masks([group], [np.array([True, False, True])])
        small = variable.numpy()[np.ix_(*keep[variable.ref()])]
        expected = np.delete(variable.numpy(), 2, shape.index(5))
        np.testing.assert_array_equal(small, expected)
        norms = group.squared_norms().numpy()
        group.rebind(
            {
                variable.ref(): groups.Cut(
                    tf.Variable(small), tuple(keep[variable.ref()])
                )
            }
        )
        np.testing.assert_allclose(
            group.squared_norms(), norms[[0, 2]], rtol=1e-6
        )

    def test_a_scalar_has_no_units(self):
        with pytest.raises(errors.UserError, match=r"shape \(\) has no axis 0"):
            groups.whole(tf.Variable(1.0), 0)
