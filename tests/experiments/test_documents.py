"""The files of a report; its page in a real browser."""

import html
import html.parser
import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.experiments.reports import documents
from iss_rnns.experiments.reports import plots
from iss_rnns.experiments.reports import results
from iss_rnns.experiments.reports import tables

FILES = ["report.html", "report.json", "report.md"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def columns():
    return [
        tables.Column("dense", {"units": (200, 200), "test": 115.912}),
        tables.Column("a run, by name <of> its user", {"test": 110.22}),
        tables.Column("paper", {"test": results.Figure(78.65, "M")}),
    ]


def draw(path):
    pytest.importorskip("matplotlib")
    path.parent.mkdir(exist_ok=True)
    plots.matrix_pattern(path, np.eye(8))


def test_report_files(tmp_path):
    data = {
        "title": "Penn TreeBank",
        "command": "python -m ptb",
        "sizes": tables.Table(columns(), None, "Dense and ISS"),
        "timing": {"seconds": np.float32(1.5)},
        "valid": float("nan"),
        "path": tmp_path,
        "alive": np.array([46, 101]),
        "summary": "Half as large & as good.",
        "plots": ["plots/curves.png"],
    }
    draw(tmp_path / "plots" / "curves.png")
    path = documents.write_report(tmp_path, data)
    assert path == tmp_path / "report.json"
    document = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert document["valid"] is None
    assert document["alive"] == [46, 101]
    assert document["timing"] == {"seconds": 1.5}
    assert document["sizes"] == data["sizes"].as_dict()
    assert document["path"] == str(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.startswith(
        "# Penn TreeBank\n\nHalf as large & as good.\n\n- command: python -m ptb\n"
    )
    assert "## Dense and ISS" in text and results.LEGEND in text
    assert "![curves](plots/curves.png)" in text
    assert sorted(os.listdir(tmp_path)) == ["plots", *FILES]


def test_a_run_without_pictures_has_no_heading_for_them(tmp_path):
    documents.write_report(tmp_path, {"title": "t", "plots": []})
    assert "Plots" not in (tmp_path / "report.md").read_text()


def test_json_comes_last(tmp_path, monkeypatch):
    written = []
    replace = os.replace

    def recording(source, target):
        written.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", recording)
    documents.write_report(tmp_path, {"a": 1})
    assert written == ["report.md", "report.html", "report.json"]


def test_a_full_disk_keeps_the_old_report(tmp_path, monkeypatch):
    path = documents.write_report(tmp_path, {"a": 1})
    old = path.read_text()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        errors.UserError, match="cannot write .*report.md: No space left"
    ):
        documents.write_report(tmp_path, {"a": 2})
    assert path.read_text() == old
    assert sorted(os.listdir(tmp_path)) == FILES


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        errors.UserError, match="cannot write .*gone.*report.md: No such file"
    ):
        documents.write_report(tmp_path / "gone", {})


def test_a_folder_in_the_way_leaves_nothing_behind(tmp_path):
    (tmp_path / "report.json").mkdir()
    with pytest.raises(errors.UserError, match="cannot write .*report.json"):
        documents.write_report(tmp_path, {})
    assert sorted(os.listdir(tmp_path)) == FILES


class Tags(html.parser.HTMLParser):
    """All tags of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def report(folder):
    """A report of a wide table, a picture and long words; its page's path."""
    draw(folder / "plots" / "curves.png")
    wide = [
        tables.Column(f"model {i} <b>", {"perplexity": 100.0 + i, "units": i})
        for i in range(7)
    ]
    documents.write_report(
        folder,
        {
            "title": "A & B",
            "summary": "<script>alert(1)</script>",
            "command": "python -m ptb.ptb_word_lm " + "--flag=1" * 60,
            "table": tables.Table(wide, None, "many"),
            "timing": {"seconds": 1.5},
            "plots": ["plots/curves.png"],
        },
    )
    return folder / "report.html"


def test_the_page_needs_nothing_beside_it(tmp_path):
    text = report(tmp_path).read_text()
    tags = Tags(text).found
    sources = [a["src"] for _, a in tags if "src" in a]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/png;base64,iVBOR")
    assert not [t for t, a in tags if t in ("script", "link") or "href" in a]
    assert "url(" not in text and "@import" not in text


def test_the_page_shows_text_as_text(tmp_path):
    text = report(tmp_path).read_text()
    assert "<title>A &amp; B</title>" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert ">model 3 &lt;b&gt;</th>" in text


def test_a_picture_that_is_gone_is_named(tmp_path):
    with pytest.raises(errors.UserError, match="picture .*gone.png: No such"):
        documents.write_report(tmp_path, {"plots": ["gone.png"]})
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_a_browser(tmp_path, width):
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    report(tmp_path)
    # A window has a least width, a frame has none.
    (tmp_path / "frame.html").write_text(
        f"""<iframe src="report.html" style="width:{width}px;height:800px">
        </iframe><script>onload = () => {{
          const page = document.querySelector("iframe").contentDocument;
          const table = page.querySelector(".table");
          const picture = page.querySelector("img");
          document.title = JSON.stringify({{
            page: page.documentElement.scrollWidth,
            frame: page.documentElement.clientWidth,
            scrolls: table.scrollWidth > table.clientWidth,
            picture: picture.naturalWidth,
            summary: page.querySelector(".summary").innerText}});
        }}</script>"""
    )
    printed = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout
    found = html.unescape(re.search("<title>(.*?)</title>", printed)[1])
    seen = json.loads(found)
    assert seen["page"] <= seen["frame"] <= width  # nothing sticks out
    assert seen["scrolls"] == (width < 1000)
    assert seen["picture"] == 8
    assert seen["summary"] == "<script>alert(1)</script>"
