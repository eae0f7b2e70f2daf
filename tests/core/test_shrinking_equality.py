"""Whether two models' outputs count as equal: what must not hide a change."""

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import shrinking

pytestmark = pytest.mark.keras3


def compare(expected, found, **kwargs):
    """Of outputs that are given, one by batch."""
    return shrinking.assert_equal_outputs(
        lambda i: expected[i],
        lambda i: found[i],
        range(len(expected)),
        **kwargs,
    )


@pytest.fixture(name="logits")
def fixture_logits():
    return np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def changed(logits, share=0.15):
    """The last logit is by a share larger."""
    result = logits.copy()
    result[:, -1] *= 1 + share
    return result


@pytest.mark.parametrize("scale", [1.0, 1e3, 3e-4, 1e-12, 1e9])
def test_a_change_shows_whatever_the_size(logits, scale):
    logits = np.float32(scale) * logits
    assert compare([logits], [logits]).relative == 0.0
    with pytest.raises(errors.UserError, match="the outputs differ"):
        compare([logits], [changed(logits)])
    found = compare([logits], [changed(logits, 5e-5)])
    assert 2e-5 < found.relative < 1e-4
    assert found.largest == np.abs(logits).max()


def test_one_large_logit_hides_no_other(logits):
    logits[:, 0] += 1e3
    with pytest.raises(errors.UserError, match="differ .* 0.15 of what they"):
        compare([logits], [changed(logits)])


def test_a_large_output_hides_no_small_one(logits):
    one = {"large": 1e4 * logits, "small": 1e-4 * logits}
    other = {**one, "small": changed(one["small"])}
    with pytest.raises(errors.UserError, match="differ"):
        compare([one], [other])


def test_a_change_in_one_batch_shows(logits):
    with pytest.raises(errors.UserError, match="differ"):
        compare([logits, logits], [logits, changed(logits)])


def test_what_float32_rounds_away_is_no_change():
    """A logit that happens to be nearly zero, of a single position."""
    one, other = np.float32([[1e-7, 2.0]]), np.float32([[2e-7, 2.0]])
    assert compare([one], [other]).absolute == pytest.approx(1e-7)
    with pytest.raises(errors.UserError, match="differ"):
        compare([one], [one + np.float32([[3e-6, 0.0]])])


def test_batches_of_several_lengths_are_measured_as_one():
    rng = np.random.default_rng(0)
    outputs = [rng.normal(size=(3, n)) for n in (4, 7, 4)]
    near = [o + 5e-5 for o in outputs]
    assert compare(outputs, near).relative < 1e-4
    with pytest.raises(errors.UserError, match="differ"):
        compare(outputs, [outputs[0], outputs[1] + 1e-2, outputs[2]])


@pytest.mark.parametrize(
    ("expected", "found", "message"),
    [
        (np.ones([4, 5]), np.ones([1, 5]), r"shape \(1, 5\), .* \(4, 5\)"),
        (np.ones([4, 5]), np.float32(1.0), r"shape \(\), .* \(4, 5\)"),
        ([np.ones(3), np.ones(3)], [np.ones(3)], "are 1 tensors, .* 2; exp"),
        ([np.ones(3)], [np.ones(3), np.ones(3)], "are 2 tensors, .* 1; exp"),
        ({"a": np.ones(3)}, {"b": np.ones(3)}, "the same structure"),
        (np.ones([0, 5]), np.ones([0, 5]), r"no number \(shape \(0, 5\)\)"),
        ([], [], "0 tensors"),
    ],
)
def test_outputs_of_another_form_are_refused(expected, found, message):
    with pytest.raises(errors.UserError, match=f"my outputs on .*{message}"):
        compare([expected], [found], subject="my outputs")


def test_no_batch_proves_nothing():
    with pytest.raises(errors.UserError, match="no batch .* at least one"):
        compare([], [])


@pytest.mark.parametrize("which", ["one", "other", "both"])
def test_nan_equals_nothing(logits, which):
    broken = logits.copy()
    broken[3, 2] = np.nan
    one, other = (
        broken if which in (side, "both") else logits
        for side in ("one", "other")
    )
    with pytest.raises(errors.UserError, match="differ .* by nan"):
        compare([logits, one, logits], [logits, other, logits])


def test_infinities_equal_their_like_only(logits):
    """Of masked logits."""
    masked = logits.copy()
    masked[:, 1] = -np.inf
    assert compare([masked], [masked]).absolute == 0.0
    for other in (logits, -masked):
        with pytest.raises(errors.UserError, match="differ"):
            compare([masked], [other])
    with pytest.raises(errors.UserError, match="differ"):
        compare([masked], [changed(masked)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (tf.constant([1000, 2]), tf.constant([1000, 3])),
        (tf.constant([True]), tf.constant([False])),
        (tf.constant(["a"]), tf.constant(["b"])),
    ],
)
def test_whole_numbers_and_strings_must_be_the_same(one, other):
    compare([one], [one])
    with pytest.raises(errors.UserError, match="differ"):
        compare([one], [other])


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float64])
def test_other_floats_are_compared(dtype):
    one = tf.cast([[1.0, 2.0]], dtype)
    compare([one], [one])
    with pytest.raises(errors.UserError, match="differ"):
        compare([one], [tf.cast([[1.0, 2.5]], dtype)])


def test_zeros_equal_zeros_only():
    zeros = np.zeros([2, 3], np.float32)
    assert compare([zeros], [zeros]).relative == 0.0
    with pytest.raises(errors.UserError, match="differ"):
        compare([zeros], [zeros + 1e-30])
