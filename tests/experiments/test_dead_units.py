"""B12: what counts as dead when training is over."""

import nets
import numpy as np
import pytest

from iss_rnns import groups as groups_lib
from iss_rnns import thresholding
from iss_rnns.experiments import dead_units

UNITS = 6


@pytest.fixture(name="net")
def fixture_net():
    """Unit 0 is exactly zero, units 1 and 2 are small, the others are not."""
    net = nets.Net(sizes=[UNITS])
    scales = np.array([0.0, 1e-4, 1e-3, 1.0, 1.0, 1.0], np.float32)
    for group in net.iss_groups():
        for variable, line in group.spread(scales):
            variable.assign(
                np.where(line.numpy() > 0, variable * line, variable)
            )
        thresholding.zero_units(group, np.arange(UNITS) == 0)
    return net


def clear(net, below, change=0.0):
    """Each unit that goes changes the cost by so much."""
    groups, at_first = net.iss_groups(), (norms(net) > 0).sum()

    def zero(dead):
        for group in groups:
            thresholding.zero_units(group, dead[group.name])

    def cost():
        gone = at_first - (norms(net) > 0).sum()
        return 3.0 + (gone * change if gone else 0.0)

    return dead_units.clear(
        groups, dead_units.weak_units(groups, below), cost, zero, below
    )


def norms(net):
    (group,) = net.iss_groups()
    return np.sqrt(group.squared_norms())


def values(net):
    return [variable.numpy() for variable in net.trainable_variables]


def test_b12_units_of_at_most_the_threshold_become_zero(net, capsys):
    before = norms(net)
    assert before[0] == 0 and before[1] < before[2] < 0.05 < before[3:].min()
    cleared = clear(net, float(before[2]), change=-0.0049)
    assert cleared.zeroed == {"lstm_0": 2} and cleared.kept == {}
    np.testing.assert_array_equal(norms(net) > 0, [False] * 3 + [True] * 3)
    assert norms(net)[3:] == pytest.approx(before[3:], rel=0.1)
    assert capsys.readouterr().out == (
        f"of 2 units with a norm of at most {before[2]:g} 2 become zero "
        "(lstm_0 2): held-out cost -0.0098 nats\n"
    )


@pytest.mark.parametrize("change", [0.02, -0.02, np.nan, np.inf])
def test_b12_where_the_cost_moves_they_stay_as_they_were(net, capsys, change):
    before = values(net)
    cleared = clear(net, 0.05, change)
    assert cleared.zeroed == {}
    for ours, theirs in zip(values(net), before):
        np.testing.assert_array_equal(ours, theirs)
    assert cleared.kept == {
        "lstm_0": "2 of 6 have a norm of at most 0.05; kept: without them the "
        f"held-out cost would change by {2 * change:+.2g} nats (tolerance 0.01)"
    }
    assert capsys.readouterr().out == (
        "of 2 units with a norm of at most 0.05 2 stay: without all it would "
        f"change by {2 * change:+.2g} (tolerance 0.01)\n"
    )


@pytest.mark.parametrize("change, gone", [(0.009, 1), (0.0049, 2), (-0.007, 1)])
def test_b12_the_weakest_go_as_many_as_the_cost_allows(net, change, gone):
    before = norms(net)
    cleared = clear(net, 0.05, change)
    assert cleared.zeroed == {"lstm_0": gone}
    left = norms(net)
    assert not left[: gone + 1].any() and left[gone + 1 :].all()
    assert left[gone + 1 :] == pytest.approx(before[gone + 1 :], rel=0.1)
    assert bool(cleared.kept) == (gone < 2)


def test_b12_exact_zeros_need_no_proof_and_the_others_are_told(net, capsys):
    before = values(net)
    cleared = clear(net, 0.0, change=np.nan)
    assert cleared == dead_units.Cleared(
        {},
        {
            "lstm_0": "2 of 6 have a norm of at most 0.05; kept: --dead_below=0 "
            "counts none as dead"
        },
    )
    for ours, theirs in zip(values(net), before):
        np.testing.assert_array_equal(ours, theirs)
    assert capsys.readouterr().out == ""


def test_b12_a_layer_keeps_its_strongest_unit(net):
    strongest = int(np.argmax(norms(net)))
    cleared = clear(net, 1e3)
    assert cleared.zeroed == {"lstm_0": UNITS - 2}
    assert np.flatnonzero(norms(net)).tolist() == [strongest]
    assert cleared.kept["lstm_0"].endswith("a layer keeps its strongest unit")


def test_b12_cuts_in_training_and_at_the_end_have_one_bound():
    """At most: exactly on the bound counts as dead in both."""
    net = nets.Net(sizes=[UNITS])
    (group,) = net.iss_groups()
    bound = float(np.sort(norms(net))[1])
    weak = dead_units.weak_units([group], bound)["lstm_0"]
    assert weak.sum() == 2
    np.testing.assert_array_equal(weak, ~group.alive(bound).numpy())
    assert groups_lib.check_groups([group])
