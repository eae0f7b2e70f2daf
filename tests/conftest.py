"""Options and fixtures that every test file shares."""

import pathlib

from iss_rnns.experiments import environment

environment.prepare()  # before TensorFlow is imported

HERE = pathlib.Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption(
        "--golden_dir",
        default=str(HERE / "golden"),
        help="Folder with numbers recorded from the authors' code.",
    )
