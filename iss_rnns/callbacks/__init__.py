"""Keras callbacks: they decide when; the formulas live elsewhere."""

from iss_rnns.callbacks.hooks import UpdateHook
from iss_rnns.callbacks.monitors import alive_units
from iss_rnns.callbacks.monitors import SparsityLogger
from iss_rnns.callbacks.monitors import StopOnNaN
from iss_rnns.callbacks.penalties import GroupLasso
from iss_rnns.callbacks.penalties import Penalty
from iss_rnns.callbacks.penalties import WeightPenalty
from iss_rnns.callbacks.pruning import BlockLasso
from iss_rnns.callbacks.pruning import BlockPruning
from iss_rnns.callbacks.pruning import GradualPruning
from iss_rnns.callbacks.shrinking import ShrinkWhileTraining
from iss_rnns.callbacks.sizes import Size
from iss_rnns.callbacks.sizes import SizeTarget
from iss_rnns.callbacks.zeros import FreezeZeros
from iss_rnns.callbacks.zeros import GroupSoftThreshold
from iss_rnns.callbacks.zeros import ThresholdZeroing

__all__ = [
    "BlockLasso",
    "BlockPruning",
    "FreezeZeros",
    "GradualPruning",
    "GroupLasso",
    "GroupSoftThreshold",
    "Penalty",
    "ShrinkWhileTraining",
    "Size",
    "SizeTarget",
    "SparsityLogger",
    "StopOnNaN",
    "ThresholdZeroing",
    "UpdateHook",
    "WeightPenalty",
    "alive_units",
]
