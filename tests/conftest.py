"""Options and fixtures that every test file shares."""

import pathlib

from absl import flags
import pytest

from iss_rnns.experiments import environment

environment.prepare()  # before TensorFlow is imported

HERE = pathlib.Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption(
        "--golden_dir",
        default=str(HERE / "golden"),
        help="Folder with numbers recorded from the authors' code.",
    )


@pytest.fixture(name="empty_flags")
def fixture_empty_flags():
    """absl's flags without any, until the test is over."""
    state = vars(flags.FLAGS)
    before = dict(state)
    state.clear()
    state.update(vars(flags.FlagValues()))
    yield flags.FLAGS
    state.clear()
    state.update(before)
