"""A report as one HTML file that needs nothing beside it.

Pictures are inside; the style knows phones, dark screens and paper. Nothing
here needs TensorFlow.
"""

import base64
from collections.abc import Mapping
import html
import pathlib
from typing import Any

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments.reports import tables

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
# Wide tables scroll by themselves, with their first column in sight: the page
# is never wider than the screen.
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5c6670;
  --line: #d9dee3; --paper: #ffffff; --tint: #f4f6f8; --mark: #1f5cb8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec;
  --soft: #9aa5b0; --line: #39424b; --paper: #14181c; --tint: #1d2329;
  --mark: #7fb0f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
.summary { border-left: 4px solid var(--mark); background: var(--tint);
  padding: .7rem 1rem; margin: 0 0 1.25rem; font-size: 1.05rem; }
.table { overflow-x: auto; border: 1px solid var(--line);
  border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); background: var(--paper); }
thead th { white-space: normal; vertical-align: bottom; min-width: 6.5rem;
  background: var(--tint); }
th:first-child { position: sticky; left: 0; text-align: left;
  font-weight: 400; }
tbody tr:last-child > * { border-bottom: 0; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr;
  gap: .3rem 1rem; margin: 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.legend { color: var(--soft); font-size: .8rem; }
figure { margin: 1rem 0; } figcaption { color: var(--soft);
  font-size: .875rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; } th, td { padding: .35rem .5rem; }
  th:first-child { max-width: 38vw; white-space: normal; } }
@media print { .table { overflow: visible; } }
"""


def page(
    title: str,
    summary: str,
    facts: Mapping[str, Any],
    sections: Mapping[str, Any],
    folder: files.PathLike,
) -> str:
    """A report as HTML.

    Args:
      title: the heading.
      summary: one sentence below it, or "".
      facts: lines at the end.
      sections: by heading: tables, mappings of facts, or lists of paths of
        pictures, relative to the folder.
      folder: of the run.

    Returns:
      The page, pictures inside.

    Raises:
      errors.UserError: if a picture cannot be read.
    """
    blocks = [f"<h1>{html.escape(title)}</h1>"]
    if summary:
        blocks.append(f'<p class="summary">{html.escape(summary)}</p>')
    for name, value in {
        **sections,
        **({"run": facts} if facts else {}),
    }.items():
        if isinstance(value, tables.Table):
            name, part = value.title or name, _table(value)
        elif isinstance(value, Mapping):
            part = _list(value)
        else:
            part = "\n".join(_figure(pathlib.Path(folder), p) for p in value)
        blocks += [f"<h2>{html.escape(name)}</h2>", part]
    return _PAGE.format(
        title=html.escape(title), style=_STYLE, body="\n".join(blocks)
    )


def _table(table: tables.Table) -> str:
    head = "".join(
        f'<th scope="col">{html.escape(column.title)}</th>'
        for column in table.columns
    )
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(label)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for label, *cells in table.rows()
    )
    legend = table.legend()
    return (
        '<div class="table" tabindex="0"><table>\n'
        f"<thead><tr><th></th>{head}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
        + (f'\n<p class="legend">{html.escape(legend)}</p>' if legend else "")
    )


def _list(values: Mapping[str, Any]) -> str:
    return (
        "<dl>"
        + "\n".join(
            f"<dt>{html.escape(str(name))}</dt>"
            f"<dd>{html.escape(tables.format_value(value))}</dd>"
            for name, value in values.items()
        )
        + "</dl>"
    )


def _figure(folder: pathlib.Path, path: str) -> str:
    file = folder / path
    try:
        picture = base64.b64encode(file.read_bytes()).decode("ascii")
    except OSError as error:
        raise errors.UserError(
            f"cannot read the picture {file}: {error.strerror or error}"
        ) from error
    name = html.escape(pathlib.Path(path).stem.replace("_", " "))
    return (
        f'<figure><img alt="{name}" src="data:image/png;base64,{picture}">'
        f"<figcaption>{name}</figcaption></figure>"
    )
