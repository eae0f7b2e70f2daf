"""What the suite asks of `find_groups` and `shrink`, model by model."""

import collections

import any_cases
import any_layouts as layouts
import numpy as np
import tensorflow as tf

import iss_rnns
from iss_rnns import _keras


def check(case, folder=None):
    """All checks of a model.

    Args:
      case: the model.
      folder: for files; without one, none is written.

    Returns:
      (the model, the smaller one), for more checks.
    """
    model, places = any_cases.made(case)
    return check_model(case, model, places, any_cases.dead_units(case), folder)


def check_model(case, model, places, dead, folder=None):
    """All checks of a model whose dead units are put in already."""
    groups = iss_rnns.find_groups(model)
    check_units(groups, places, case)
    check_alive(groups, places, dead)
    if not places:
        return model, None  # nothing can be cut
    variables = _keras.variables(model)
    before = [np.array(v) for v in variables]
    batch = any_cases.batch(case, model)
    small, report = iss_rnns.shrink(model, groups, [batch])
    for variable, value in zip(variables, before):
        np.testing.assert_array_equal(variable, value, variable.name)
    check_weights(model, small, places, dead)
    check_report(report, model, small, dead)
    check_layers(model, small)
    check_outputs(case, model, small)
    if folder is not None and case.keras_file:
        check_file(case, small, folder)
    check_step(small, batch)
    return model, small


def check_units(groups, places, case):
    """The library's units are those written down by hand, entry by entry.

    Counted in the norm is what is zero in a dead unit; what only goes with it
    is a companion.
    """
    wanted, names = {}, {}
    for found in places.values():
        for place in found:
            names[place.variable.ref()] = place.variable.name
    for group, n in case.sizes.items():
        for k in range(n):
            unit = collections.defaultdict(bool)
            for place in places[group]:
                for i in place.entries[:, k]:
                    entry = (place.variable.ref(), place.axis, int(i))
                    unit[entry] |= any_cases.counts(place, case)
            wanted[frozenset(unit)] = (f"{group}[{k}]", unit)
    found = {}
    for group in groups:
        for k in range(group.size):
            unit = collections.defaultdict(bool)
            for each, counted in (
                *((s, True) for s in group.slices),
                *((s, False) for s in group.companions),
            ):
                entry = (each.variable.ref(), each.axis, entries(each)[k])
                names[each.variable.ref()] = each.variable.name
                unit[entry] |= counted
            found[frozenset(unit)] = (f"{group.name}[{k}]", unit)

    for key, (unit, _) in wanted.items():
        near = max(found, key=lambda other: len(other & key), default=set())
        lacks, extra = (
            sorted(f"{names[r]}@{axis}[{i}]" for r, axis, i in entries_)
            for entries_ in (key - near, near - key)
        )
        assert not lacks and not extra, (
            f"{unit}: not found {lacks[:12]}; found as well {extra[:12]}; "
            f"refused {list(map(str, groups.refused))}"
        )
    assert len(found) == len(wanted), [
        name for key, (name, _) in found.items() if key not in wanted
    ]
    either = {
        (place.variable.ref(), place.axis)
        for found_ in places.values()
        for place in found_
        if place.kind == layouts.EITHER
    }
    for key, (name, unit) in wanted.items():
        for entry, counted in unit.items():
            if entry[:2] not in either:
                assert found[key][1][entry] == counted, (
                    f"{name}: {names[entry[0]]} must "
                    f"{'' if counted else 'not '}count"
                )


def entries(each):
    """Entries of a slice on its axis, one for each unit."""
    indices = getattr(each, "indices", None)
    if indices is None:
        return list(range(each.start, each.stop))
    return [int(i) for i in indices]


def check_alive(groups, places, dead):
    """Dead is what was made so, and nothing else."""
    wanted = any_cases.keep_masks(places, dead)
    found = {}
    for group in groups:
        alive = np.asarray(group.alive())
        assert alive.shape == (group.size,) and alive.dtype == bool
        for each in (*group.slices, *group.companions):
            axes = found.setdefault(
                each.variable.ref(),
                [np.ones(n, bool) for n in each.variable.shape],
            )
            axes[each.axis][np.array(entries(each))[~alive]] = False
    assert set(found) == set(wanted)
    for reference, axes in wanted.items():
        for axis, keep in enumerate(axes):
            np.testing.assert_array_equal(
                found[reference][axis], keep, reference.deref().name
            )


def check_weights(model, small, places, dead):
    """The smaller model has what is left of each variable, and no more."""
    masks = any_cases.keep_masks(places, dead)
    wanted = [any_cases.left(v, masks) for v in _numbers(model)]
    found = [np.array(v) for v in _numbers(small)]
    assert _sizes(found) == _sizes(wanted)
    trained = [any_cases.left(v, masks) for v in model.trainable_variables]
    assert _sizes([np.array(v) for v in small.trainable_variables]) == _sizes(
        trained
    )
    for value in wanted:
        place = [i for i, each in enumerate(found) if _same(each, value)]
        assert place, f"no variable holds {value}"
        del found[place[0]]


def _numbers(model):
    return [v for v in _keras.variables(model) if hasattr(v, "shape")]


def _sizes(arrays):
    return sorted(array.shape for array in arrays)


def _same(one, other):
    return one.shape == other.shape and np.array_equal(one, other)


def check_report(report, model, small, dead):
    """Counts before and after, and that something was compared."""
    lost = sum(int(units.sum()) for units in dead.values())
    assert sum(report.before.values()) - sum(report.after.values()) == lost
    assert set(report.before) == set(report.after)
    assert report.weights_before == _count(model)
    assert report.weights_after == _count(small)
    assert (_count(small) < _count(model)) == bool(lost)
    assert report.max_output > 0


def _count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def check_layers(model, small):
    """Stock layers stay stock layers, with their names."""
    assert _owners(small) == _owners(model)
    if _keras.is_graph(model):
        assert [(type(layer), layer.name) for layer in small.layers] == [
            (type(layer), layer.name) for layer in model.layers
        ]
        assert type(small) is type(model)
        for names in ("input_names", "output_names"):
            assert getattr(small, names, None) == getattr(model, names, None)
    assert not {id(v) for v in small.trainable_variables} & {
        id(v) for v in model.trainable_variables
    }


def _owners(model):
    """How many layers of each class have weights of their own."""
    return collections.Counter(
        type(layer)
        for layer in _keras.all_layers(model)
        if layer is not model and _keras.own_weights(layer)
    )


def reset(model):
    """States of stateful layers back to zero."""
    for layer in _keras.all_layers(model):
        for state in _keras.states_of(layer):
            state.assign(tf.zeros_like(state))


def check_outputs(case, model, small):
    """The same outputs on batches of other sizes, lengths and numbers."""
    fixed = tf.nest.flatten(
        case.spec if case.spec is not None else _keras.ends(model)[0]
    )[0].shape[0]
    for size, steps, seed in ((2, 5, 1), (fixed or 3, 7, 2)):
        batch = any_cases.batch(case, model, size, steps, seed)
        compare(case, model, small, batch)


def compare(case, model, small, batch):
    """Outputs of two models, from the same start."""
    reset(model)
    reset(small)
    for _ in range(2):  # the second time from the states of the first
        one, other = model(batch), small(batch)
        tf.nest.assert_same_structure(one, other)
        for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other)):
            assert a.dtype == b.dtype
            a, b = (np.asarray(tf.cast(t, tf.float64)) for t in (a, b))
            assert a.shape == b.shape
            np.testing.assert_allclose(
                b, a, rtol=0, atol=case.tolerance * np.abs(a).max()
            )
        if not any(
            getattr(layer, "stateful", False)
            and isinstance(layer, tf.keras.layers.RNN)
            for layer in _keras.all_layers(model)
        ):
            break


def check_file(case, small, folder, suffix=".keras"):
    """Saved and loaded by plain Keras it is the same."""
    path = str(folder / f"small{suffix}")
    small.save(path)
    loaded = tf.keras.models.load_model(path)
    assert loaded.count_params() == small.count_params()
    compare(case, small, loaded, any_cases.batch(case, small, seed=3))


def check_step(small, batch):
    """A training step moves its weights."""
    reset(small)
    before = [np.array(v) for v in small.trainable_variables]
    small.compile("sgd", "mse", run_eagerly=True)
    targets = tf.nest.map_structure(tf.zeros_like, small(batch))
    reset(small)
    loss = small.train_on_batch(batch, targets)
    assert np.all(np.isfinite(loss))
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, small.trainable_variables)
    ]
    assert any(moved)
