"""Counts, tables and the files of a report."""

import textwrap

import numpy as np
import pytest

from iss_rnns import counting
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables


def columns():
    return [
        tables.Column("dense", {"units": (200, 200), "test": 115.912}),
        tables.Column(
            "ISS shrunk",
            {"units": (46, 101), "test": 110.22, "weights": 2612345},
        ),
        tables.Column(
            "paper",
            {
                "units": results.Figure((373, 315), "V"),
                "test": results.Figure(78.65, "M"),
            },
        ),
    ]


MEASURES = {"units": "", "test": ".2f", "weights": ""}


def test_matrix_sparsity_counts_elements_rows_and_columns():
    matrix = np.ones((4, 5), np.float32)
    matrix[1] = 0
    matrix[:, [0, 3]] = 0
    matrix[0, 1] = 0
    sparsity = counting.matrix_sparsity(matrix)
    assert sparsity["element"] == pytest.approx((5 + 2 * 3 + 1) / 20)
    assert sparsity["row"] == pytest.approx(1 / 4)
    assert sparsity["column"] == pytest.approx(2 / 5)


def test_what_was_cut_counts_as_zeros():
    matrix = np.ones((4, 5), np.float32)
    matrix[1] = 0
    matrix[:, [0, 3]] = 0
    left = matrix[[0, 2, 3], 1:]
    assert counting.matrix_sparsity(left, matrix.shape) == (
        counting.matrix_sparsity(matrix)
    )
    assert counting.matrix_sparsity(left)["row"] == 0


def test_opposite_weights_do_not_make_a_zero_row():
    assert counting.matrix_sparsity(np.array([[1.0, -1.0]]))["row"] == 0


def test_a_vector_has_no_rows():
    assert counting.matrix_sparsity(np.array([0.0, 1.0, 0.0, 0.0])) == {
        "element": 0.75,
        "row": None,
        "column": None,
    }


# Tables


@pytest.mark.parametrize(
    "value, spec, text",
    [
        (None, "", "-"),
        (float("nan"), ".2f", "-"),
        (np.float32("nan"), "", "-"),
        (2612345, "", "2,612,345"),
        (np.int64(1500), "", "1,500"),
        (115.912, "", "115.9"),
        (115.912, ".2f", "115.91"),
        (np.float32(0.25), ".1%", "25.0%"),
        ((46, 101), "", "(46, 101)"),
        ([0.5, None], ".2f", "(0.50, -)"),
        ("ptb", ".2f", "ptb"),
        (True, "", "True"),
        (results.Figure(7.1, "A"), ".3f", "7.1 (A)"),
    ],
)
def test_format_value(value, spec, text):
    assert tables.format_value(value, spec) == text


def test_text_is_aligned_and_explains_the_marks():
    text = tables.Table(columns(), MEASURES, "PTB").text(width=70)
    table, legend = text[: text.index("Marks")], text[text.index("Marks") :]
    assert table == textwrap.dedent("""\
        PTB
                      dense  ISS shrunk           paper
        units    (200, 200)   (46, 101)  (373, 315) (V)
        test         115.91      110.22       78.65 (M)
        weights           -   2,612,345               -
        """)
    assert " ".join(legend.split()) == results.LEGEND
    assert max(map(len, text.splitlines())) <= 70


def test_no_legend_without_marked_figures():
    assert "Marks" not in tables.Table(columns()[:2]).text(80)
    unshown = tables.Table(columns(), ["weights"])
    assert "Marks" not in unshown.text(80) + unshown.markdown()


def test_narrow_terminals_get_further_blocks():
    text = tables.Table(columns(), MEASURES).text(width=36)
    table = text[: text.index("Marks")]
    assert table == textwrap.dedent("""\
                      dense  ISS shrunk
        units    (200, 200)   (46, 101)
        test         115.91      110.22
        weights           -   2,612,345

                          paper
        units    (373, 315) (V)
        test          78.65 (M)
        weights               -
        """)
    assert max(map(len, text.splitlines())) <= 36


def test_terminal_width_is_the_default(monkeypatch):
    table = tables.Table(columns(), MEASURES)
    for width in (36, 70):
        monkeypatch.setenv("COLUMNS", str(width))
        assert table.text() == table.text(width)


def test_long_headings_are_broken():
    column = tables.Column("Wen et al. 2018, Table 1", {"a": 1, "b": 2})
    assert tables.Table([column]).text(40).splitlines() == [
        "      Wen et al.",
        "   2018, Table 1",
        "a              1",
        "b              2",
    ]


def test_measures_default_to_all_in_order_of_appearance():
    table = tables.Table(
        [
            tables.Column("a", {"x": 1, "y": 2}),
            tables.Column("b", {"z": 3, "x": 4}),
        ]
    )
    assert list(table.measures) == ["x", "y", "z"]


def test_equal_titles_are_refused():
    column = tables.Column("ISS", {"a": 1})
    with pytest.raises(ValueError, match="titles must differ.*ISS"):
        tables.Table([column, column])
    known = [column, tables.Column("ISS (2)", {})]
    assert tables.unique("dense", known) == "dense"
    assert tables.unique("ISS", known) == "ISS (3)"


def test_markdown():
    lines = tables.Table(columns(), MEASURES).markdown().splitlines()
    assert lines[:5] == [
        "|  | dense | ISS shrunk | paper |",
        "| --- | ---: | ---: | ---: |",
        "| units | (200, 200) | (46, 101) | (373, 315) (V) |",
        "| test | 115.91 | 110.22 | 78.65 (M) |",
        "| weights | - | 2,612,345 | - |",
    ]
    assert lines[-1] == results.LEGEND


def test_markdown_escapes_bars():
    table = tables.Table([tables.Column("a|b", {"max|w|": 1})])
    assert r"| max\|w\| | 1 |" in table.markdown()


def test_as_dict_keeps_plain_values_and_marks():
    table = tables.Table(columns(), MEASURES).as_dict()
    assert table["dense"] == {
        "units": [200, 200],
        "test": 115.912,
        "weights": None,
    }
    assert table["paper"]["test"] == {"value": 78.65, "mark": "M"}
