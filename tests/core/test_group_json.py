"""The authors' JSON files of groups: what they mean, and bad ones."""

import copy
import json

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.interop import group_json
from iss_rnns.interop import tf1


def entry(**changes):
    return {
        "var_name": "a",
        "multi": 1.0,
        "axis": 0,
        "start": 0,
        "end": 3,
        **changes,
    }


def views():
    random = np.random.default_rng(0)
    arrays = {"a": (4, 3), "b": (6, 5), "v": (3,)}
    return {
        name: tf1.plain(
            tf.Variable(random.normal(size=shape).astype(np.float32), name=name)
        )
        for name, shape in arrays.items()
    }


def parse(*groups):
    return group_json.parse({"groups": list(groups)}, "groups.json")


def test_norms_are_those_of_the_authors_code():
    """sum over entries of multi * sum over `axis` of squares, start:end."""
    entries = [
        entry(multi=1.5),
        entry(var_name="b", axis=1, start=2, end=5),
        entry(var_name="b", axis=0, start=1, end=4, multi=0.5),
        entry(multi=0.25),
    ]
    known = views()
    (group,) = group_json.build_groups(parse(entries), known)
    expected = sum(
        e["multi"]
        * np.square(known[e["var_name"]].read()).sum(e["axis"])[
            e["start"] : e["end"]
        ]
        for e in entries
    )
    np.testing.assert_allclose(group.squared_norms(), expected, rtol=1e-6)


def test_all_groups_or_the_first_only():
    file = parse([entry()], [entry(var_name="b", end=5)])
    assert [g.size for g in group_json.build_groups(file, views())] == [3, 5]
    first = group_json.build_groups(file.first_only(), views())
    assert [g.size for g in first] == [3]


def test_named_variables_are_whole_and_once():
    """A matrix in two of our variables is named by any part of it."""
    known = views()
    top, bottom = tf.Variable(tf.ones([2, 3])), tf.Variable(tf.ones([3, 3]))
    everything = slice(0, 3)
    known["a"] = tf1.View(
        [5, 3],
        [
            tf1.Piece(
                top, (slice(0, 2), everything), (slice(0, 2), everything)
            ),
            tf1.Piece(
                bottom, (everything, everything), (slice(2, 5), everything)
            ),
        ],
    )
    file = parse([entry(axis=1, start=0, end=2), entry(axis=1, start=2, end=4)])
    assert [v.ref() for v in group_json.named_variables(file, known)] == [
        top.ref(),
        bottom.ref(),
    ]
    (group,) = group_json.build_groups(file, known)
    assert [
        (s.variable.ref(), s.axis, s.start, s.stop) for s in group.slices
    ] == [(top.ref(), 0, 0, 2), (bottom.ref(), 0, 0, 2)]


def test_comments_and_old_names_are_read(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(
        json.dumps(
            {
                "comments": ["as in the authors' files"],
                "groups": [[entry(var_name="x/lstm_cell/weights")]],
            }
        )
    )
    file = group_json.load(str(path))
    (group,) = group_json.build_groups(
        file, {"x/lstm_cell/kernel": tf1.plain(tf.Variable(tf.ones([2, 3])))}
    )
    np.testing.assert_array_equal(group.squared_norms(), [2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"var_name": "c"},
            r"names 'c', which the model lacks; it has: a, b, v",
        ),
        (
            {"var_name": "v"},
            r"'v' of shape \(3,\); groups are made of matrices",
        ),
        ({"var_name": 3}, "'var_name' must be text, got 3"),
        ({"axis": 2}, "'axis' must be 0 .* or 1 .*, got 2"),
        ({"axis": True}, "'axis' must be a whole number, got True"),
        ({"start": "0"}, "'start' must be a whole number, got '0'"),
        ({"end": 2.0}, "'end' must be a whole number, got 2.0"),
        ({"start": -1}, "needs 0 <= start < end, got -1 and 3"),
        ({"start": 3}, "needs 0 <= start < end, got 3 and 3"),
        (
            {"start": 1, "end": 4},
            r"asks for columns 1:4 of 'a', which has shape "
            r"\(4, 3\)",
        ),
        ({"multi": "1"}, "'groups.0..1. multi' must be a number, got '1'"),
        (
            {"multi": -1.0},
            "multi' must be >= 0 and finite in float32, got -1.0",
        ),
        (
            {"multi": float("nan")},
            "multi' must be >= 0 and finite in float32, got nan",
        ),
        (
            {"weight": 1},
            "unknown key 'weight' in 'groups.0..1.'; known: "
            "var_name, multi, axis, start, end",
        ),
        ({"end": 2}, "has 2 units .0:2., the first entry of its group 3"),
    ],
)
def test_bad_entries(change, message):
    with pytest.raises(errors.UserError, match=message) as caught:
        group_json.build_groups(parse([entry(), entry(**change)]), views())
    assert str(caught.value).startswith("groups.json: ")
    assert "groups[0][1]" in str(caught.value)


@pytest.mark.parametrize("key", ["var_name", "multi", "axis", "start", "end"])
def test_missing_keys(key):
    broken = copy.copy(entry())
    del broken[key]
    with pytest.raises(
        errors.UserError, match=rf"groups\[0\]\[0\] lacks '{key}'"
    ):
        parse([broken])


@pytest.mark.parametrize(
    "data, message",
    [
        ([], "expected an object with a list of 'groups'"),
        ({"groups": {}}, "expected an object with a list of 'groups'"),
        ({"groups": []}, "'groups' is empty"),
        (
            {"groups": [[]]},
            r"groups\[0\] must be a list with at least one entry",
        ),
        ({"groups": [["a"]]}, r"groups\[0\]\[0\] must be an object"),
        (
            {"groups": [[entry()]], "group": 1},
            "unknown key 'group'; known: groups, comments",
        ),
    ],
)
def test_bad_files(data, message):
    with pytest.raises(errors.UserError, match=message):
        group_json.parse(data, "groups.json")


def test_a_group_across_blocks_is_refused():
    left, right = tf.Variable(tf.ones([2, 3])), tf.Variable(tf.ones([2, 3]))
    rows = slice(0, 2)
    view = tf1.View(
        [2, 6],
        [
            tf1.Piece(left, (rows, slice(0, 3)), (rows, slice(0, 3))),
            tf1.Piece(right, (rows, slice(0, 3)), (rows, slice(3, 6))),
        ],
    )
    with pytest.raises(
        errors.UserError,
        match=r"groups.json: groups\[0\]\[0"
        r"\], 'a': columns 2:5 cross the border at 0:3",
    ):
        group_json.build_groups(parse([entry(start=2, end=5)]), {"a": view})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"{", "it is no JSON: .* at line 1, column 2"),
        (b"\xff", "it is not UTF-8"),
        (None, "cannot read groups .*: No such file"),
    ],
)
def test_unreadable_files(tmp_path, content, message):
    path = tmp_path / "groups.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.UserError, match=message):
        group_json.load(str(path))
