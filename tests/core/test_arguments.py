"""What is meant comes back, or one line says what is wrong."""

import numpy as np
import pytest

from iss_rnns import arguments
from iss_rnns import errors


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_become_pythons(value):
    found = arguments.integer("units", value, least=3)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [2, 3.0, True, "3", None, np.nan, [3]])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(errors.UserError, match="units must be a whole number"):
        arguments.integer("units", value, least=3)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2)])
def test_numbers_become_pythons(value):
    found = arguments.number("strength", value, least=2)
    assert found == 2.0 and type(found) is float


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (np.float32(np.nan), {}, "strength must be a finite number, got nan"),
        (np.inf, {"least": 0}, "strength must be a number >= 0, got inf"),
        (-1e-9, {"least": 0}, "strength must be a number >= 0, got -1e-09"),
        (1, {"least": 0, "below": 1}, r"strength must lie in \[0, 1\), got 1"),
        (
            0,
            {"above": 0, "most": 1},
            r"strength must lie in \(0, 1\], got 0",
        ),
        (2, {"least": 0, "most": 1}, r"strength must lie in \[0, 1\], got 2"),
        (0, {"above": 0}, "strength must be a number above 0, got 0"),
        ("2", {}, "strength must be a finite number, got '2'"),
        (False, {}, "got False"),
        (1j, {}, "got 1j"),
        (np.zeros(2), {}, "got array"),
    ],
)
def test_numbers_out_of_bounds_are_named(value, bounds, message):
    with pytest.raises(errors.UserError, match=message):
        arguments.number("strength", value, **bounds)


def test_bounds_that_may_be_reached():
    assert arguments.number("x", 1, above=0, most=1) == 1.0
    assert arguments.number("x", 0, least=0, below=1) == 0.0


def test_a_name_that_is_not_known_is_told_those_that_are():
    assert arguments.one_of("kind", "b", ("a", "b")) == "b"
    with pytest.raises(
        errors.UserError, match="kind must be one of a, b, got 'c'"
    ):
        arguments.one_of("kind", "c", ("a", "b"))


def test_a_refusal_is_a_value_error_too():
    """As Keras raises it."""
    with pytest.raises(ValueError, match="units"):
        arguments.integer("units", 0, least=1)
