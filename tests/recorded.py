"""Files of numbers recorded from the authors' code."""

import json
import pathlib
import re

import numpy as np


def parametrize(metafunc, program, kinds, golden):
    """One case for each recorded file that has what the test compares.

    Args:
      metafunc: of `pytest_generate_tests`.
      program: that the names of its files begin with.
      kinds: fixture -> an array that only files of this kind have, or how the
        names of such arrays begin (`.../`).
      golden: class of a file, see `Recorded`.
    """
    folder = pathlib.Path(metafunc.config.getoption("--golden_dir"))

    def add(argument, paths, what, make=lambda path: path):
        assert paths, f"no {what} in {folder}"
        metafunc.parametrize(
            argument, list(map(make, paths)), ids=[p.stem for p in paths]
        )

    for argument, key in kinds.items():
        if argument in metafunc.fixturenames:
            paths = []
            for path in sorted(folder.glob(f"{program}_*.npz")):
                with np.load(path) as arrays:
                    if key in arrays.files or any(
                        key.endswith("/") and name.startswith(key)
                        for name in arrays.files
                    ):
                        paths.append(path)
            add(argument, paths, f"{program}_*.npz with '{key}'", golden)
    if "group_path" in metafunc.fixturenames:
        pattern = f"{program}_groups_*.json"
        add("group_path", sorted(folder.glob(pattern)), pattern)


def parametrize_keys(metafunc, files, patterns):
    """One case for each array of some files whose name fits a pattern.

    Args:
      metafunc: of `pytest_generate_tests`.
      files: `.npz`.
      patterns: fixture -> of the names; it gets (file, match).
    """
    for argument, pattern in patterns.items():
        if argument in metafunc.fixturenames:
            cases = []
            for path in files:
                with np.load(path) as arrays:
                    found = [re.match(pattern, key) for key in arrays.files]
                cases += [(path, match) for match in found if match]
            metafunc.parametrize(
                argument,
                cases,
                ids=[f"{path.stem}-{match[0]}" for path, match in cases],
            )


class Recorded:
    """Its arrays, and the settings that made them."""

    def __init__(self, path):
        self.path = path
        self._arrays = None

    @property
    def arrays(self):
        """All arrays by key, read once."""
        if self._arrays is None:
            with np.load(self.path) as arrays:
                self._arrays = {key: arrays[key] for key in arrays.files}
        return self._arrays

    def __getitem__(self, key):
        return self.arrays[key]

    @property
    def config(self):
        """Hyper-parameters of the run."""
        return json.loads(str(self["config_json"]))
