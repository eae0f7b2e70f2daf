"""Runs side by side: from reports on disk to the table and the pictures."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from iss_rnns import errors
from iss_rnns.experiments.reports import compare

ROOT = pathlib.Path(__file__).parents[2]


def write_run(folder, method, test, **measures):
    folder.mkdir(parents=True)
    report = {
        "method": method,
        "table": {
            "shrunk (reloaded)": {
                "units": [7, 5],
                "valid perplexity": test + 3,
                "test perplexity": test,
                "speedup": 1.5,
                **measures,
            }
        },
    }
    (folder / "report.json").write_text(json.dumps(report))
    return str(folder)


@pytest.fixture(name="runs")
def fixture_runs(tmp_path):
    return [
        write_run(tmp_path / "a", "dense", 100.0, sparsity=0.0),
        write_run(
            tmp_path / "b",
            "block 4x4",
            110.0,
            sparsity=0.9,
            **{
                "nonzero weights (M)": 0.4,
                "products packed: speedup, batch 1": 6.0,
            },
        ),
        write_run(tmp_path / "c", "block 4x4", 105.0, sparsity=0.8),
        write_run(tmp_path / "d", "glp 4x4", 95.0, sparsity=0.85),
    ]


def sweep(path):
    path.write_text(
        json.dumps(
            {
                f"threads_1/sweep/9x8/{pattern}/batch1/{sparsity}/chosen_ratio": ratio
                for pattern, sparsity, ratio in (
                    ("single", 0.9, 3.0),
                    ("single", 0.5, 1.0),
                    ("ISS", 0.9, 8.0),
                )
            }
            | {
                "threads_1/sweep/9x8/ISS/batch16/0.9/chosen_ratio": 6.0,
                "threads_1/sweep/9x8/single/batch1/0.9/numpy_ms": 1.0,
                "environment/cores": 2,
                "threads_1/product/9x8/single/batch1/chosen_ratio": 5.0,
            }
        )
    )
    return str(path)


def test_table_with_the_loss_relative_to_the_dense_run(runs):
    table = compare.compare([compare.read_run(path) for path in runs])
    found = table.as_dict()
    assert list(found) == ["a", "b", "c", "d"]
    assert [column["method"] for column in found.values()] == [
        "dense",
        "block 4x4",
        "block 4x4",
        "glp 4x4",
    ]
    assert [round(column["relative %"], 6) for column in found.values()] == [
        0.0,
        -10.0,
        -5.0,
        5.0,
    ]
    assert found["b"]["products packed: speedup, batch 1"] == 6.0
    assert found["b"]["speedup, whole model"] == 1.5
    assert found["d"]["units"] == [7, 5]
    assert [column["sparsity %"] for column in found.values()] == [
        0.0,
        90.0,
        80.0,
        85.0,
    ]


def test_without_a_dense_run_there_is_no_relative_loss(runs):
    table = compare.compare([compare.read_run(path) for path in runs[1:]])
    assert {c["relative %"] for c in table.as_dict().values()} == {None}


def test_a_run_may_be_given_a_name_and_may_be_older(tmp_path):
    path = write_run(tmp_path / "old", "", 90.0, **{"weights (M)": 1.0})
    name, values = compare.read_run(path)
    assert (name, values["sparsity"]) == ("old", None)
    file = tmp_path / "old" / "report.json"
    data = json.loads(file.read_text())
    data["table"]["as designed (untrained)"] = {"weights (M)": 4.0}
    file.write_text(json.dumps(data))
    name, values = compare.read_run(f"ISS={path}")
    assert (name, values["sparsity"]) == ("ISS", 0.75)
    assert values["nonzero weights (M)"] == 1.0


def test_speedups_of_a_sweep(tmp_path):
    assert compare.speedups(sweep(tmp_path / "s.json")) == {
        "9x8, batch1": {
            "single": [(0.9, 3.0), (0.5, 1.0)],
            "ISS": [(0.9, 8.0)],
        },
        "9x8, batch16": {"ISS": [(0.9, 6.0)]},
    }


def test_a_report_that_is_no_text_is_named(tmp_path):
    (tmp_path / "report.json").write_bytes(b"\xff\xfe")
    with pytest.raises(errors.UserError, match="cannot compare .*no finished"):
        compare.read_run(str(tmp_path))


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "cannot read speedups .*: No such file"),
        ("[1]", "holds no speedups"),
        (
            '{"threads_1/sweep/9x8/ISS/batch16/0.9/chosen_ratio": "6"}',
            "cannot read speedups .*: .*chosen_ratio' is no number above 0",
        ),
        ("{", "cannot read speedups .*: it is no JSON"),
        ('{"a/b": 1}', "holds no speedups against sparsity; make it with"),
    ],
)
def test_bad_speedups(tmp_path, text, message):
    path = tmp_path / "s.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(errors.UserError, match=message):
        compare.speedups(str(path))


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{",
        "[]",
        '{"table": {}}',
        '{"table": {"shrunk (reloaded)": {"test perplexity": "low"}}}',
        '{"table": {"shrunk (reloaded)": {"test perplexity": 1, "units": 1}}}',
    ],
)
def test_a_run_without_a_report_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(
        errors.UserError, match=re.escape(f"cannot compare {tmp_path}: ")
    ):
        compare.read_run(str(tmp_path))


def test_the_papers_tables():
    titles = [table.title for table in compare.paper_tables()]
    assert len(set(titles)) == len(compare.PAPERS)
    ours = compare.compare([]).measures
    for table in compare.paper_tables():
        assert set(table.measures) - set(ours) <= {"character error rate %"}
    text = compare.paper_tables()[1].text(200)
    assert re.search(r"character error rate % .*15\.36 \(V\)", text)
    assert re.search(r"sparsity % .*89\.2 \(V\)", text)
    (zhu,) = [
        column
        for column in compare.paper_tables()[-1].columns
        if column.title == "Zhu and Gupta 2017, large 2x1500 (4)"
    ]
    assert zhu.values["test perplexity"].value == 80.24
    assert zhu.values["sparsity %"].value == 90


def test_the_command(runs, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "iss_rnns", "compare"]
    done = subprocess.run(
        [
            *command,
            *runs,
            f"--out={out}",
            f"--sparse_json={sweep(tmp_path / 's.json')}",
        ],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "test perplexity" in done.stdout
    for name in (
        "perplexity_vs_sparsity.png",
        "speedup_vs_sparsity_9x8_batch1.png",
        "speedup_vs_sparsity_9x8_batch16.png",
    ):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert "| relative % |" in (out / "comparison.md").read_text()
    done = subprocess.run(
        command, cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: name the directories of finished")
