"""From flags to what steers a training; what is said of how it went."""

import pytest

from iss_rnns import errors
from iss_rnns.experiments import size_flags
from ptb import model as model_lib

NAMES = ("units", "weights", "reach", "multiple_of", "max_loss")


def new_net(*sizes):
    return model_lib.WordLSTM(9, 3, sizes)


def goal(strength=0.0, **values):
    flags = {f"target_{name}": values.get(name) for name in NAMES}
    return size_flags.SizeGoal.from_flags(flags, strength, "--structure_wd")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"units": "0.4"}, "0.4 of the units"),
        ({"units": "1"}, "1 of the units"),
        ({"weights": 0.25}, "0.25 of the weights"),
        ({"units": "lstm_0=80, lstm_1=120"}, "lstm_0=80, lstm_1=120"),
    ],
)
def test_a_size_is_read_described_and_read_again(values, text):
    made = goal(**values, reach=0.75, multiple_of=8, max_loss=0.1)
    assert str(made) == text and made.method == f"ISS to {text}"
    assert (made.reach, made.multiple_of, made.max_loss) == (0.75, 8, 0.1)
    record = {**made.describe(), "steps": 3, "stopped_at": None}
    assert size_flags.SizeGoal.from_description(record) == made


def test_nothing_is_asked_for():
    assert goal() is None
    assert goal(strength=0.1) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"units": "0"}, r"--target_units must lie in \(0, 1\], got 0"),
        ({"units": "1.1"}, r"--target_units must lie in \(0, 1\], got 1.1"),
        ({"units": "nan"}, r"--target_units must lie in \(0, 1\], got nan"),
        ({"units": "many"}, "--target_units must be a share .* got 'many'"),
        ({"units": "a=1,b"}, "--target_units must be a share .* got 'a=1,b'"),
        ({"weights": -0.1}, r"--target_weights must lie in \(0, 1\], got -0.1"),
        ({"units": "0.4", "weights": 0.4}, "exclude each other"),
        (
            {"units": "0.4", "strength": 0.003},
            "--target_units needs no strength .* 0.003: leave out --structure",
        ),
        ({"reach": 0.5}, "--target_reach needs a size: --target_units or"),
        ({"multiple_of": 8}, "--target_multiple_of needs a size"),
        ({"max_loss": 0.1}, "--target_max_loss needs a size"),
        (
            {"units": "0.4", "reach": 0.0},
            r"--target_reach must lie in \(0, 1\], got 0.0",
        ),
        (
            {"units": "0.4", "max_loss": -1.0},
            "--target_max_loss must be a number >= 0, got -1",
        ),
    ],
    ids=str,
)
def test_mistakes_get_one_line(values, message):
    with pytest.raises(errors.UserError, match=message) as caught:
        goal(**values)
    assert "\n" not in str(caught.value)


def test_what_no_training_can_reach_is_told_before_it():
    net = new_net(6, 4)
    with pytest.raises(
        errors.UserError,
        match="^--target_units: target=0.1 cannot be reached: with one unit "
        "in each of the 2 groups 0.2 is left$",
    ):
        goal(units="0.1").steering(net)
    with pytest.raises(
        errors.UserError,
        match="^--target_units: target names the group 'gru_0', which is none",
    ):
        goal(units="gru_0=3").steering(net)


def test_shares_are_of_what_was_designed():
    """The same plan for a net that was cut on the way, as for the whole."""
    whole, cut = new_net(6, 4), new_net(3, 4)
    made = goal(units="0.5", max_loss=0.2)
    (size,) = made.steering(cut, 10, whole.sizes).progress()
    assert size == ("", 0.5, pytest.approx(0.7))
    assert size_flags.shown([size]) == "0.7 (asked 0.5)"
    record = {**made.describe(), "steps": 10, "stopped_at": None}
    assert size_flags.outcome(record, cut, whole) == (
        "asked for 0.5 of the units, reached 0.7"
    )
    record["stopped_at"] = 0.7
    assert size_flags.outcome(record, cut, whole) == (
        "asked for 0.5 of the units, reached 0.7: no unit was pressed below "
        "0.7, as that cost more than 0.2 nats"
    )
    made = goal(units="lstm_0=2")
    record = {**made.describe(), "steps": 10, "stopped_at": None}
    assert size_flags.outcome(record, cut, whole) == (
        "asked for lstm_0=2, reached lstm_0=3, lstm_1=4"
    )
