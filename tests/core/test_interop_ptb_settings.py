"""The authors' settings of the word language model, and mistakes in them."""

import json

import nets
import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns import regularizers
from iss_rnns.interop import ptb_settings

CELL = "Model/RNN/multi_rnn_cell/cell_{}/basic_lstm_cell/{}"
UNITS = 6


def structure(name, decay=0.00245):
    """As the authors' structure_grouplasso.json, in either TF1 style."""
    return {
        "grouplasso": {
            "global_decay": decay,
            CELL.format(0, name): {
                "structure_decay_multi": 1.0,
                "coupled_layer": CELL.format(1, name),
            },
            CELL.format(1, name): {
                "structure_decay_multi": 1.0,
                "coupled_layer": "Model/softmax_w",
                "couple_split_num": 1,
            },
        }
    }


def row_col(name):
    return {
        "grouplasso": {
            "global_decay": 0.003,
            CELL.format(0, name): {
                "row_decay_multi": 1.0,
                "col_decay_multi": 0.5,
            },
            CELL.format(1, name): {
                "row_decay_multi": 1.0,
                "col_decay_multi": 1.0,
            },
            "Model/softmax_w": {"row_decay_multi": 1.0, "col_decay_multi": 0.0},
        }
    }


def block(name):
    return {
        "grouplasso": {
            "global_decay": 0.005,
            CELL.format(1, name): {
                "block_decay_multi": [1.0, 0.5],
                "block_row_size": [3000, 4],
                "block_col_size": [3000, 4],
            },
        }
    }


GENERAL = {
    "save_path": "/tmp",
    "learning_rate": 1.0,
    "weight_decay": 0.0,
    "dropout_keep_prob": 0.60,
}
AUTHORS = {
    "structure_grouplasso": {**GENERAL, **structure("weights")},
    "default_parameters": {**GENERAL, **structure("weights", 0.003)},
    "row_col_grouplasso": {**GENERAL, **row_col("weights")},
    "block_grouplasso": block("weights"),
    "l1": {**GENERAL, "weight_decay": 0.0001},
    "from_scratch": {**GENERAL, "dropout_keep_prob": 0.55},
    "finetuning": {**GENERAL, "learning_rate": 0.1},
}


def net(sizes=(UNITS, UNITS)):
    return nets.Net(11, UNITS, sizes, seed=1)


def built(data, model=None):
    model = model or net()
    return ptb_settings.build_groups(
        ptb_settings.parse(data, "x.json"), model.tf1_views(), model.tf1_cells()
    )


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_files_load(tmp_path, name):
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(AUTHORS[name]))
    settings = ptb_settings.load(str(path))
    data = AUTHORS[name]
    assert settings.source == str(path)
    for key in ("save_path", "learning_rate", "dropout_keep_prob"):
        assert getattr(settings, key) == data.get(key)
    assert settings.weight_decay == data.get("weight_decay", 0)
    lasso = data.get("grouplasso", {})
    assert settings.global_decay == lasso.get("global_decay", 0)
    assert settings.sparsifies == (bool(lasso) or name == "l1")
    assert settings.learns_structures == (
        name in ("structure_grouplasso", "default_parameters")
    )
    assert bool(built(data)) == bool(lasso)


def test_without_a_file_nothing_is_set():
    settings = ptb_settings.AuthorsSettings()
    assert not settings.sparsifies and not settings.learns_structures
    assert ptb_settings.parse({}, "x") == ptb_settings.AuthorsSettings(
        source="x"
    )


def their(model, layer):
    """A layer's matrix in TF1's layout."""
    return model.tf1_views()[CELL.format(layer, "kernel")].read()


def lines(matrix, axis):
    return np.sqrt((matrix.astype(np.float64) ** 2).sum(axis) + 1e-8).sum()


@pytest.mark.parametrize("name", ["weights", "kernel"])
class TestPenaltyAgainstNumPy:
    """Of the recorded formulas, on TF1's matrices."""

    def test_structure(self, name):
        model = net()
        readers = [their(model, 1)[:UNITS], model.dense.kernel.numpy()]
        total = 0.0
        for layer in (0, 1):
            matrix = their(model, layer).astype(np.float64)
            for k in range(UNITS):
                total += np.sqrt(
                    (matrix[:, k::UNITS] ** 2).sum()
                    + (matrix[UNITS + k] ** 2).sum()
                    + (readers[layer][k] ** 2).sum()
                    + 1e-8
                )
        found = regularizers.group_lasso(built(structure(name), model), 0.1)
        np.testing.assert_allclose(found, 0.1 * total, rtol=1e-5)

    def test_rows_and_columns(self, name):
        model = net()
        first, second = their(model, 0), their(model, 1)
        expected = (
            lines(first, 1)
            + 0.5 * lines(first, 0)
            + lines(second, 1)
            + lines(second, 0)
            + lines(model.dense.kernel.numpy(), 1)
        )
        found = regularizers.group_lasso(built(row_col(name), model), 1.0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_blocks(self, name):
        """Each pair of sizes is a grid; blocks cross gates and x/h."""
        model = net()
        matrix = their(model, 1).astype(np.float64)
        grids = built(block(name), model)
        assert [(g.multiplier, g.shape) for g in grids] == [
            (1.0, (1, 1)),
            (0.5, (3, 6)),
        ]
        blocks = [
            matrix[i : i + 4, j : j + 4]
            for i in range(0, 12, 4)
            for j in range(0, 24, 4)
        ]
        expected = sum(
            multiplier * np.sqrt((part**2).sum() + 1e-8)
            for multiplier, part in [(1.0, matrix), *((0.5, b) for b in blocks)]
        )
        np.testing.assert_allclose(
            regularizers.group_lasso(grids, 1.0), expected, rtol=1e-5
        )


def test_the_authors_blocks_count_once():
    """Their file lists as many equal sizes as there are blocks."""
    data = block("weights")
    data["grouplasso"][CELL.format(1, "weights")] = {
        "block_decay_multi": [1.0, 1.0],
        "block_row_size": [12, 12],
        "block_col_size": [12, 12],
    }
    (grid,) = built(data)
    assert grid.shape == (1, 2)


def test_unequal_widths_use_the_true_border():
    model = net((4, 5))
    first, second = built(structure("weights"), model)
    assert (first.size, second.size) == (4, 5)
    variable = model.cells[1].kernel
    rows = [s for s in first.slices if s.variable is variable]
    assert [(s.axis, s.start, s.stop) for s in rows] == [(0, 0, 4)]


def test_the_softmax_reads_only_the_last_of_equal_layers():
    with pytest.raises(
        errors.UserError,
        match="cell_1.*which does not read "
        "that layer; 'Model/.*cell_2/.*kernel' does",
    ):
        built(structure("kernel"), net((UNITS,) * 3))


def changed(**changes):
    """The structure settings with changes of the first layer's entry."""
    data = structure("kernel")
    data["grouplasso"][CELL.format(0, "kernel")].update(changes)
    return data


FIRST = "grouplasso/.*cell_0/basic_lstm_cell/kernel"


@pytest.mark.parametrize(
    "data, message",
    [
        ([], r"expected an object \{\.\.\.\}, got list"),
        ({"learning_rat": 1}, "unknown key 'learning_rat'; known: save_path"),
        ({"learning_rate": "1"}, "'learning_rate' must be a number, got '1'"),
        ({"learning_rate": None}, "'learning_rate' must be a number, got None"),
        ({"weight_decay": True}, "'weight_decay' must be a number, got True"),
        (
            {"weight_decay": -1e-4},
            "'weight_decay' must be >= 0 and finite in float32, got -0.0001",
        ),
        ({"weight_decay": float("nan")}, "'weight_decay' must be .*, got nan"),
        (
            {"dropout_keep_prob": 0},
            r"'dropout_keep_prob' must be in \(0, 1\], "
            "got 0",
        ),
        ({"dropout_keep_prob": 1.5}, "'dropout_keep_prob' must be in"),
        ({"save_path": 3}, "'save_path' must be text, got 3"),
        ({"grouplasso": []}, "'grouplasso' must be an object"),
        ({"grouplasso": {"Model/softmax_w": {}}}, "lacks 'global_decay'"),
        (
            {"grouplasso": {"global_decay": float("inf")}},
            "'grouplasso/global_decay' must be >= 0 and finite in float32, got inf",
        ),
        (
            {"grouplasso": {"global_decay": 1, "Model/softmax_w": 1}},
            "'grouplasso/Model/softmax_w' must be an object",
        ),
        (changed(row_decay=1), f"unknown key 'row_decay' in '{FIRST}'"),
        (
            changed(row_decay_multi=-1),
            f"'{FIRST}/row_decay_multi' must be >= 0",
        ),
        (
            changed(coupled_layer=3),
            f"'{FIRST}' has structure_decay_multi and so needs 'coupled_layer'",
        ),
        *(
            (
                changed(couple_split_num=split),
                f"'{FIRST}/couple_split_num' must be 1 .* got {split}",
            )
            for split in (3, True, 1.0)
        ),
        (
            changed(block_decay_multi=1.0),
            f"'{FIRST}/block_decay_multi' must be a list, got 1.0",
        ),
        (
            changed(block_decay_multi=[1.0]),
            f"'{FIRST}': block_decay_multi, .* must be equally long",
        ),
        (
            changed(
                block_decay_multi=[float("nan")],
                block_row_size=[2],
                block_col_size=[2],
            ),
            "block_decay_multi' must be >= 0",
        ),
        (
            changed(
                block_decay_multi=[1.0],
                block_row_size=[2.5],
                block_col_size=[2],
            ),
            "block_row_size' must hold whole numbers >= 1, got 2.5",
        ),
        (
            changed(
                block_decay_multi=[1.0], block_row_size=[2], block_col_size=[0]
            ),
            "block_col_size' must hold whole numbers",
        ),
        (
            {
                "grouplasso": {
                    **structure("kernel")["grouplasso"],
                    CELL.format(0, "weights"): {},
                }
            },
            "kernel' are the same variable; name it once|weights' .* same",
        ),
    ],
)
def test_mistakes_in_a_file(data, message):
    with pytest.raises(
        errors.UserError, match=f"^x.json: .*{message}"
    ) as caught:
        ptb_settings.parse(data, "x.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data, message",
    [
        (
            row_col("kernels"),
            "the model has no variable 'Model/.*kernels'; it "
            "has: Model/embedding, ",
        ),
        (
            changed(coupled_layer="Model/softmax"),
            "the model has no variable 'Model/softmax'; it has",
        ),
        (
            changed(coupled_layer="Model/softmax_w", couple_split_num=1),
            "has coupled_layer 'Model/softmax_w', which does not read that layer; "
            "'Model/.*cell_1/basic_lstm_cell/kernel' does",
        ),
        (
            changed(couple_split_num=1),
            "has 6 units but '.*cell_1.*' reads 12 rows with couple_split_num 1",
        ),
        (
            {
                "grouplasso": {
                    "global_decay": 1,
                    "Model/softmax_b": {"col_decay_multi": 1.0},
                }
            },
            "'Model/softmax_b' is a vector",
        ),
        (
            {
                "grouplasso": {
                    "global_decay": 1,
                    "Model/softmax_w": {
                        "structure_decay_multi": 1.0,
                        "coupled_layer": "Model/softmax_w",
                    },
                }
            },
            "'Model/softmax_w' is no LSTM matrix",
        ),
    ],
)
def test_mistakes_that_the_model_shows(data, message):
    with pytest.raises(errors.UserError, match=f"^x.json: .*{message}"):
        built(data)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"weight_decay": 1e-4,}', "no JSON: .* at line 1, column 23"),
        (b"", "no JSON: .* at line 1"),
        (b'{"save_path": "\xe9"}', "not UTF-8"),
        (
            b'{"weight_decay": NaN}',
            "must be >= 0 and finite in float32, got nan",
        ),
        (
            b'{"weight_decay": %s}' % (400 * b"9"),
            r"must be >= 0 and finite in float32, got 999\S{30,40}$",
        ),
        (
            b'{"weight_decay": %s}' % (5000 * b"9"),
            "a number of too many digits",
        ),
        (b'{"grouplasso": {"a": {}, "a": {}}}', "has the key 'a' twice"),
        (None, "cannot read settings .*: No such file"),
    ],
)
def test_unreadable_files(tmp_path, content, message):
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.UserError, match=message) as caught:
        ptb_settings.load(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
