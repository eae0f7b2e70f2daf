"""Schedules against the papers' algorithms, stepped through in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import schedules

pytestmark = pytest.mark.keras3


def narang_by_hand(q, start, ramp, end, freq, multiple, elements, steps):
    """Algorithm 1 of Narang et al. 2017: carries epsilon from step to step."""
    theta = 2 * q * freq / (2 * (ramp - start) + 3 * (end - ramp))
    theta *= elements ** (1 / 4)
    phi = multiple * theta
    epsilon, values = 0.0, []
    for itr in range(steps):
        if start < itr < end and itr % freq == 0:
            if itr < ramp:
                epsilon = theta * (itr - start + 1) / freq
            else:
                epsilon = (
                    theta * (ramp - start + 1) + phi * (itr - ramp + 1)
                ) / freq
        values.append(epsilon)
    return np.array(values)


def cubic_by_hand(target, start, end, freq, initial, steps):
    sparsity, values = 0.0, []
    for t in range(steps):
        if t == end or (start <= t < end and (t - start) % freq == 0):
            sparsity = (
                target
                + (initial - target) * (1 - (t - start) / (end - start)) ** 3
            )
        values.append(sparsity)
    return np.array(values)


def at_every_step(schedule, steps):
    """Values in eager mode, and the same from one graph with tensor steps."""
    eager = np.array([float(schedule(s)) for s in range(steps)])
    compiled = tf.function(schedule.__call__)
    graph = np.array(
        [compiled(tf.constant(s, tf.int64)).numpy() for s in range(steps)]
    )
    np.testing.assert_array_equal(graph, eager.astype(np.float32))
    return eager


@pytest.mark.parametrize("elements", [1, 16, 24, 1024])
@pytest.mark.parametrize(
    "start,ramp,end,freq,multiple",
    [
        (10, 30, 70, 1, 1.5),
        (10, 30, 70, 7, 2.0),
        (0, 40, 80, 10, 1.2),
        (13, 13, 50, 5, 1.7),
        (13, 50, 50, 5, 1.5),
    ],
)
def test_narang_equals_the_algorithm(
    start, ramp, end, freq, multiple, elements
):
    schedule = schedules.NarangThreshold(
        0.31, start, ramp, end, freq, multiple, elements
    )
    values = at_every_step(schedule, 100)
    expected = narang_by_hand(
        0.31, start, ramp, end, freq, multiple, elements, 100
    )
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert np.all(np.diff(values) >= 0)
    assert values[start] == 0 and np.all(values[end:] == values[-1])
    changes = np.flatnonzero(np.diff(values, prepend=0.0))
    updates = [s for s in range(100) if schedule.updates(s)]
    np.testing.assert_array_equal(changes, updates)
    assert schedule.last_update == updates[-1]


def test_narang_ends_near_q():
    schedule = schedules.NarangThreshold(0.5, 1000, 20000, 40000, 100)
    assert float(schedule(10**9)) == pytest.approx(0.5, rel=0.01)


def test_narang_is_exact_at_large_steps():
    schedule = schedules.NarangThreshold(0.5, 10**9, 2 * 10**9, 4 * 10**9, 100)
    step = 3 * 10**9 + 100
    # float32 steps would be off by 256; slopes are per step here.
    expected = (
        schedule.theta * (10**9 + 1) + schedule.phi * (10**9 + 101)
    ) / 100
    assert float(schedule(step)) == pytest.approx(expected, rel=1e-7)
    assert bool(schedule.updates(step)) and not schedule.updates(step + 1)


@pytest.mark.parametrize(
    "start,end,freq,initial",
    [(5, 45, 10, 0.0), (5, 50, 7, 0.3), (0, 1, 100, 0.0)],
)
def test_cubic_equals_the_formula(start, end, freq, initial):
    schedule = schedules.CubicSparsity(0.9, start, end, freq, initial)
    values = at_every_step(schedule, 70)
    np.testing.assert_allclose(
        values, cubic_by_hand(0.9, start, end, freq, initial, 70), rtol=1e-6
    )
    assert np.all(np.diff(values) >= 0)
    assert values[-1] == np.float32(0.9)
    changes = set(np.flatnonzero(np.diff(values)) + 1)
    updates = {s for s in range(70) if schedule.updates(s)}
    assert changes <= updates and schedule.last_update == max(updates)


def test_constant():
    schedule = schedules.ConstantSparsity(0.8, 3, 9, 2)
    values = at_every_step(schedule, 12)
    np.testing.assert_array_equal(values, [0.0] * 3 + [np.float32(0.8)] * 9)
    assert [s for s in range(12) if schedule.updates(s)] == [3, 5, 7, 9]


def test_hard_pruning_is_one_update():
    schedule = schedules.ConstantSparsity(0.8, 6)
    assert [s for s in range(300) if schedule.updates(s)] == [6]


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.NarangThreshold(0.3, 10, 20, 40, 5, 1.7, 16, "linear"),
        schedules.CubicSparsity(0.9, 1, 7, 2, 0.1),
        schedules.ConstantSparsity(0.5, 2, 8, 3),
    ],
)
def test_config_round_trip(schedule):
    again = type(schedule).from_config(schedule.get_config())
    assert repr(again) == repr(schedule)
    assert [float(again(s)) for s in range(50)] == [
        float(schedule(s)) for s in range(50)
    ]


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"end": 10}, "end after it starts, got start=10 and end=10"),
        ({"ramp": 5}, "ramp must lie between start=10 and end=40, got ramp=5"),
        ({"ramp": 41}, "ramp must lie between"),
        ({"frequency": 0}, "frequency must be a whole number of at least 1"),
        ({"frequency": 2.5}, "frequency must be a whole number.* got 2.5"),
        ({"frequency": 50}, "no multiple of frequency=50 lies between"),
        ({"start": -1}, "start must be a whole number of at least 0, got -1"),
        ({"q": 0.0}, "layer rnn is all zero"),
        ({"q": -1.0}, "layer rnn: q must be a positive number, got -1"),
        ({"q": float("nan")}, "q must be a positive number, got nan"),
        ({"ramp_multiple": 0.5}, "ramp_multiple must be at least 1"),
        ({"block_elements": 0}, "block_elements must be a whole number"),
    ],
)
def test_impossible_narang(arguments, message):
    good = {
        "q": 0.3,
        "start": 10,
        "ramp": 20,
        "end": 40,
        "frequency": 5,
        "name": "rnn",
    }
    with pytest.raises(errors.UserError, match=message) as info:
        schedules.NarangThreshold(**{**good, **arguments})
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: schedules.CubicSparsity(1.0, 0, 10), r"\[0, 1\), got 1"),
        (lambda: schedules.CubicSparsity(-0.1, 0, 10), r"\[0, 1\), got -0.1"),
        (lambda: schedules.CubicSparsity(float("nan"), 0, 10), "got nan"),
        (lambda: schedules.CubicSparsity(0.9, 10, 5), "start=10 and end=5"),
        (lambda: schedules.CubicSparsity(0.9, 5, 5), "start=end=5"),
        (
            lambda: schedules.CubicSparsity(0.5, 0, 10, initial=0.6),
            "initial=0.6 and target=0.5",
        ),
        (
            lambda: schedules.ConstantSparsity(1.5),
            "target sparsity must lie in",
        ),
        (lambda: schedules.ConstantSparsity(0.5, 5, 2), "must not end before"),
        (lambda: schedules.ConstantSparsity(0.5, 5, 9, 0), "frequency must be"),
    ],
)
def test_impossible_sparsity(make, message):
    with pytest.raises(errors.UserError, match=message):
        make()


def test_heuristics_of_the_papers():
    assert schedules.narang_defaults(20, 2700) == {
        "start": 2700,
        "ramp": 13500,
        "end": 27000,
        "frequency": 100,
        "ramp_multiple": 1.5,
    }
    block = schedules.block_defaults(25, 2700)
    assert (block["start"], block["ramp"], block["end"]) == (2700, 13500, 27000)


def test_heuristics_fit_short_runs():
    for epochs in (3, 5, 13):
        for steps in (20, 400):
            for defaults in (
                schedules.narang_defaults,
                schedules.block_defaults,
            ):
                schedule = schedules.NarangThreshold(
                    0.1, **defaults(epochs, steps)
                )
                assert float(schedule(epochs * steps)) > 0


@pytest.mark.parametrize(
    "epochs,steps,message",
    [
        (2, 100, "2 epochs of 100 steps are too few"),
        (1, 100, "too few"),
        (0, 100, "epochs must be positive"),
        (10, 0, "steps_per_epoch must be a whole number of at least 1"),
    ],
)
def test_impossible_heuristics(epochs, steps, message):
    with pytest.raises(errors.UserError, match=message):
        schedules.narang_defaults(epochs, steps)


def test_magnitude_percentile_spans_all_matrices():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 40)), rng.normal(size=(7, 11)) * 3
    magnitudes = np.sort(np.abs(np.concatenate([a.ravel(), b.ravel()])))
    rank = 0.9 * (len(magnitudes) - 1)
    low = int(rank)
    expected = magnitudes[low] + (rank - low) * (
        magnitudes[low + 1] - magnitudes[low]
    )
    assert schedules.magnitude_percentile([tf.Variable(a), b]) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize(
    "weights,message",
    [
        ([np.zeros((3, 3))], "layer rnn is all zero up to percentile 90"),
        ([np.eye(20)], "layer rnn is all zero up to percentile 90"),
        ([], "layer rnn has no weights"),
        ([np.full((2, 2), np.nan)], "got nan"),
    ],
)
def test_no_percentile_without_weights(weights, message):
    with pytest.raises(errors.UserError, match=message):
        schedules.magnitude_percentile(weights, 90.0, "rnn")


def test_percentile_out_of_range():
    with pytest.raises(errors.UserError, match=r"\(0, 100\], got 0"):
        schedules.magnitude_percentile([np.eye(3)], 0)
