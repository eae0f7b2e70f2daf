"""The files of a report: Markdown, a page for browsers, JSON.

Nothing here needs TensorFlow.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments.reports import page
from iss_rnns.experiments.reports import tables

REPORT = "report.json"


def write_report(
    run_dir: files.PathLike, data: Mapping[str, Any]
) -> pathlib.Path:
    """Writes `report.md`, `report.html`, then `report.json`, each atomically.

    The JSON always comes last: where it stands, the run is complete.

    Args:
      run_dir: an existing folder.
      data: `title` becomes the heading, `summary` the sentence below it and
        `plots` (paths, relative to the folder) pictures; a `Table` becomes
        a section, so does a dict; anything else one line.

    Returns:
      The path of the JSON file.

    Raises:
      errors.UserError: where the folder cannot be written.
    """
    run_dir = pathlib.Path(run_dir)
    rest = dict(data)
    title = str(rest.pop("title", "Report"))
    summary = rest.pop("summary", "")
    sections = {
        name: value
        for name, value in rest.items()
        if isinstance(value, (tables.Table, Mapping))
        or (name == "plots" and value)
    }
    facts = {
        name: value
        for name, value in rest.items()
        if name not in sections and name != "plots"
    }
    files.write_text(
        run_dir / "report.md", _markdown(title, summary, facts, sections)
    )
    files.write_text(
        run_dir / "report.html",
        page.page(title, summary, facts, sections, run_dir),
    )
    path = run_dir / REPORT
    document = json.dumps(tables.plain(data), indent=1, ensure_ascii=False)
    files.write_text(path, document + "\n")
    return path


def _markdown(
    title: str,
    summary: str,
    facts: Mapping[str, Any],
    sections: Mapping[str, Any],
) -> str:
    """See `page.page`."""
    lines = [f"# {title}", ""] + ([summary, ""] if summary else [])
    lines += _items(facts)
    for name, value in sections.items():
        if isinstance(value, tables.Table):
            lines += ["", f"## {value.title or name}", "", value.markdown()]
        elif isinstance(value, Mapping):
            lines += ["", f"## {name}", "", *_items(value)]
        else:
            lines += ["", f"## {name.capitalize()}", ""]
            lines += [f"![{pathlib.Path(p).stem}]({p})" for p in value]
    return "\n".join(lines).rstrip() + "\n"


def _items(values: Mapping[str, Any]) -> list[str]:
    return [
        f"- {name}: {tables.format_value(value)}"
        for name, value in values.items()
    ]


def read_report(run_dir: files.PathLike) -> dict[str, Any]:
    """What `write_report` wrote.

    Args:
      run_dir: the folder of a finished run.

    Returns:
      Its facts and sections by name; `table` is a dict of columns, each a
      dict of values by measure.

    Raises:
      errors.UserError: where there is no report, or a damaged one.
    """
    path = pathlib.Path(run_dir) / REPORT
    try:
        data = files.read_json(path, "report")
    except errors.UserError as error:
        raise errors.UserError(
            f"{files.shown(path)} is no finished report ({error})"
        ) from None
    table = data.get("table") if isinstance(data, dict) else None
    if not isinstance(table, dict) or not all(
        isinstance(column, dict) and all(map(_is_cell, column.values()))
        for column in table.values()
    ):
        raise errors.UserError(
            f"{files.shown(path)} is no finished report (expected a 'table' "
            "of columns, each with its values by measure)"
        )
    return data


def _is_cell(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(tables.is_number, value))
    if isinstance(value, Mapping):  # a published `Figure`
        return set(value) == {"value", "mark"}
    return (
        value is None
        or isinstance(value, (str, bool))
        or tables.is_number(value)
    )
