"""B11: what was exported is counted."""

import dataclasses
import types

import nets as test_nets
import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments import export_checks
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import restoring
from iss_rnns.export import manifest
from iss_rnns.export import packed as packed_export
from iss_rnns.sparse import nets
from ptb import model as model_lib


def pruned_net():
    net = model_lib.WordLSTM(30, 8, [12], seed=1)
    rng = np.random.default_rng(0)
    for variable in net.trainable_variables:
        if len(variable.shape) == 2:
            variable.assign(variable * (rng.random(variable.shape) < 0.2))
    return net


def test_b11_weights_on_disk_are_counted(tmp_path):
    net, path = test_nets.Net(), tmp_path / "weights.npz"
    restoring.save_weights(net, path)
    export_checks.check_weights(net, path)
    net.dense.kernel.assign(np.eye(4, 9))
    with pytest.raises(
        errors.UserError,
        match=r"weights.npz: Model/softmax_w has shape \(4, 9\) and 36 weights "
        r"that are not zero, the net \(4, 9\) and 4: the export is not",
    ):
        export_checks.check_weights(net, path)
    restoring.save_weights(test_nets.Net(sizes=[5]), path)
    with pytest.raises(errors.UserError, match="the export is not faithful"):
        export_checks.check_weights(net, path)


def test_b11_packed_weights_on_disk_are_counted(tmp_path):
    pytest.importorskip("numba")
    net = pruned_net()
    packed = packed_export.write_packed(
        nets.pack(net.packable(), batch_sizes=()),
        tmp_path / "packed",
        manifest.Manifest("packed", dict(net.sizes)),
    )
    export_checks.check_packed(net, packed)
    net.softmax_w.assign(net.softmax_w * 0)
    unwritten = dataclasses.replace(packed, folder=None)
    export_checks.check_packed(net, unwritten)
    with pytest.raises(
        errors.UserError,
        match=r"packed: softmax.* and 0: the export is not faithful",
    ):
        export_checks.check_packed(net, packed)


def plan(net, sparsity):
    settings = pruning_flags.PruningSettings(
        "gradual", target_sparsity=sparsity, layers=["input"]
    )
    return settings.plan(3, 10, net.layer_types(), (), None)


def test_b11_less_than_was_asked_for_is_no_end_of_a_training(capsys):
    net = pruned_net()
    kernel = net.layer_types()["input"][0]
    left, total = np.count_nonzero(kernel), kernel.shape.num_elements()
    asked = total - round(np.float32(0.9) * total)
    assert left > asked
    name = next(
        name for name, v in net.weights_by_name().items() if v is kernel
    )
    text = f"{left} of {total} (asked for: {asked})"
    with pytest.raises(errors.UserError) as caught:
        export_checks.kept_blocks(plan(net, 0.9), net, True)
    assert str(caught.value) == (
        f"less is pruned than was asked for: of {name} there are {text}"
    )
    kept = export_checks.kept_blocks(plan(net, 0.9), net, False)
    assert kept == {name: f"{text} weights"}
    assert capsys.readouterr().out.startswith("note: less is pruned than was")
    kept = export_checks.kept_blocks(plan(net, 0.7), net, True)
    assert kept == {name: f"{left} of {total} weights"}
    assert export_checks.kept_blocks(None, types.SimpleNamespace(), True) == {}
