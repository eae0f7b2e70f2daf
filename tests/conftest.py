"""Options and fixtures that every test file shares."""

import importlib.metadata
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
    parser.addoption(
        "--long",
        action="store_true",
        help="All models of any kind, and 500 random ones, not some of each.",
    )


def pytest_configure(config):
    """Which warnings are errors, by TensorFlow.

    Those of 2.15 and of what goes with it are known one by one, see
    pyproject.toml; of what others say today, only we are answerable for ours.
    """
    if not importlib.metadata.version("tensorflow").startswith("2.15."):
        for line in (
            "default",
            r"error:::(iss_rnns|ptb|rhns|bidaf|benchmarks)(\..*)?",
        ):
            config.addinivalue_line("filterwarnings", line)


def pytest_collection_modifyitems(items):
    """Skips what Keras 3 does not have, where it is Keras 3."""
    of_keras_2 = [item for item in items if item.get_closest_marker("keras2")]
    if not of_keras_2:
        return
    from iss_rnns import _keras  # here: TensorFlow takes seconds

    if _keras.VERSION == 3:
        for item in of_keras_2:
            item.add_marker(pytest.mark.skip(reason="of Keras 2"))


def pytest_terminal_summary(terminalreporter):
    """How many damaged files `tests/fuzz` gave to the readers, if it ran."""
    counts = [
        value
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if report.when == "call" and name == "damaged inputs"
    ]
    if counts:
        terminalreporter.write_line(
            f"fuzzing: {sum(counts):,} damaged inputs of {len(counts)} readers"
            " were read, or refused in one line"
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
