"""The stored figures: complete, marked, and right where sums can tell."""

import json

import pytest

from iss_rnns.experiments.reports import results

BIDAF_SIZES = ("ModFwd1", "ModBwd1", "ModFwd2", "ModBwd2", "OutFwd", "OutBwd")


def lstm_weights(inputs, units):
    """Of an LSTM, biases left out: its mult-adds, too."""
    return 4 * (inputs + units) * units


def lstm_lm_mult_adds(sizes):
    """Of two LSTMs behind 1500 features and before 10,000 words."""
    first, last = sizes
    return lstm_weights(1500, first) + lstm_weights(first, last) + last * 10000


def figures(row):
    return {k: v for k, v in row.items() if isinstance(v, results.Figure)}


def test_a_figure_never_prints_without_its_mark():
    figure = results.Figure(78.65, "M")
    assert f"{figure}" == str(figure) == "78.65 (M)"
    assert f"{figure:.1f}" == "78.7 (M)"
    assert str(results.Figure((373, 315), "V")) == "(373, 315) (V)"
    with pytest.raises(TypeError):
        figure * 2


def test_a_figure_without_a_known_mark_is_refused():
    with pytest.raises(ValueError, match="78.65.*'X'.*V, S, A, M"):
        results.Figure(78.65, "X")


def test_legend_explains_every_mark():
    for mark in results.MARKS:
        assert f"({mark})" in results.LEGEND


@pytest.mark.parametrize("table", results.tables())
def test_every_number_is_marked(table):
    """A bare number in a file would be printed as if it were quoted."""
    rows = results.paper_rows(table)
    assert rows
    for row in rows:
        assert figures(row)
        for key, cell in row.items():
            assert isinstance(cell, (str, results.Figure)), (key, cell)
    assert results.describe(table)["source"]


def test_unknown_table_and_row_are_named():
    with pytest.raises(ValueError, match="'table9'.*iss_table1_ptb"):
        results.paper_rows("table9")
    with pytest.raises(ValueError, match="iss_table1_ptb.*nothing"):
        results.paper_row("iss_table1_ptb", method="nothing")


def test_headline_row():
    row = results.paper_row("iss_table1_ptb", method="ISS (no ppl loss)")
    assert f"{row['test']}" == "78.65 (M)"
    assert row["iss"] == results.Figure((373, 315), "V")
    assert row["speedup"].value == 10.59


def test_table1_agrees_with_its_sizes():
    dense = lstm_lm_mult_adds((1500, 1500))
    for row in results.paper_rows("iss_table1_ptb"):
        sizes = row["iss"].value
        weights = 10000 * 1500 + lstm_lm_mult_adds(sizes)
        assert weights / 1e6 == pytest.approx(row["weights_M"].value, abs=0.05)
        ratio = dense / lstm_lm_mult_adds(sizes)
        assert ratio == pytest.approx(row["multadd_reduction"].value, abs=0.01)


def test_table2_agrees_with_its_widths():
    for row in results.paper_rows("iss_table2_rhn"):
        width, depth = row["width"].value, 10
        weights = 2 * (depth + 1) * width**2 + 10000 * width
        assert weights / 1e6 == pytest.approx(row["params_M"].value, abs=0.055)


@pytest.mark.parametrize(
    "table", ["iss_table3_bidaf_finetune", "iss_table4_bidaf_scratch"]
)
def test_bidaf_weights_agree_with_the_six_sizes(table):
    """Six LSTM directions, and one constant for all that is not pruned.

    Of the output LSTM's input [p0, g1, a1i, g1 * a1i] the authors' groups
    cut g1 and g1 * a1i; the softmax-weighted sum a1i keeps its width.
    """
    unpruned_millions = 0.5255
    for row in results.paper_rows(table):
        mf1, mb1, mf2, mb2, of, ob = (row[k].value for k in BIDAF_SIZES)
        mod2, out = mf1 + mb1, 800 + 200 + 2 * (mf2 + mb2)
        total = sum(
            map(
                lstm_weights,
                (800, 800, mod2, mod2, out, out),
                (mf1, mb1, mf2, mb2, of, ob),
            )
        )
        assert total / 1e6 + unpruned_millions == pytest.approx(
            row["weights_M"].value, abs=0.0056
        ), row


@pytest.mark.parametrize(
    "table, dense_table",
    [
        ("block_sparse_table2", "block_sparse_table2"),
        ("block_sparse_table4", "block_sparse_table2"),
        ("narang2017_results", "narang2017_results"),
    ],
)
def test_relative_errors_agree_with_the_error_rates(table, dense_table):
    """100 * (dense - sparse) / dense, against the table's first dense row."""
    dense = {}
    for row in results.paper_rows(dense_table):
        dense.setdefault(row["model"][:3], row["CER"].value)
    for row in results.paper_rows(table):
        base = dense[row["model"][:3]]
        relative = 100 * (base - row["CER"].value) / base
        assert relative == pytest.approx(
            row["relative_percent"].value, abs=0.5
        ), row


def test_files_are_plain_json():
    for table in results.tables():
        path = results._FOLDER / f"{table}.json"
        assert set(json.loads(path.read_text("utf-8"))) <= {
            "title",
            "source",
            "setting",
            "rows",
        }
