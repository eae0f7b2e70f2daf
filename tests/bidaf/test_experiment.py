"""What BiDAF brings to the harness, as far as the program's tests leave it out."""

import types

import numpy as np
import pytest
import tensorflow as tf

from bidaf import experiment
from bidaf import serving
from iss_rnns import errors


@pytest.mark.parametrize(
    "served, message",
    [
        ({"start": np.ones([2, 3])}, r"outputs have shapes \[\(2, 3\)\], the"),
        ({"start": np.ones([1, 1]), "end": np.ones([2, 3])}, r"\[\(1, 1\), \("),
        (
            {"start": np.ones([2, 3]), "end": np.full([2, 3], np.nan)},
            "differ from the net's by nan: the export is not faithful",
        ),
        (
            {"start": np.ones([2, 3]), "end": np.full([2, 3], 1.01)},
            "differ from the net's by 0.01: the export is not faithful",
        ),
    ],
)
def test_b8_exports_with_fewer_or_other_outputs_are_refused(served, message):
    assert ("start", "end") == serving.OUTPUTS[:2]
    with pytest.raises(errors.UserError, match=message):
        difference(served)


def test_the_difference_of_an_export_is_the_largest_of_all_outputs():
    near = {"start": np.ones([2, 3]), "end": np.full([2, 3], 1.00003)}
    assert difference(near) == pytest.approx(3e-5, rel=1e-2)


def difference(served):
    """From a net whose outputs are ones."""
    task = types.SimpleNamespace(
        proof=lambda: ([None], lambda net, batch: [tf.ones([2, 3])] * 2)
    )
    return experiment.BiDAFTask._difference(
        task,
        lambda batch: {name: tf.constant(a) for name, a in served.items()},
        None,
    )
