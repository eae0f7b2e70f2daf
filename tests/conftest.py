"""Options and fixtures that every test file shares."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = pathlib.Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption(
        "--golden_dir",
        default=str(HERE / "golden"),
        help="Folder with numbers recorded from the authors' code.",
    )
