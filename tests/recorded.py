"""One file of numbers recorded from the authors' code."""

import json

import numpy as np


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
