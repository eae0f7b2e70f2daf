"""What the documentation lists is what there is."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "refused.md").read_text(encoding="utf-8")
TEXTS = [
    text.strip()
    for row in re.findall(r"^\| (?!text \||-)([^|]+) \|", PAGE, re.MULTILINE)
    for text in row.split(";")
]


# Who makes a rule of a text, which then follows the name of the layer.
MAKERS = ("pinning", "over_units", "_along")


def reasons():
    """Whatever the code pins units with; … stands for what is filled in."""
    for path in sorted((ROOT / "iss_rnns" / "groups").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            if getattr(node.func, "attr", "") == "pin":
                values = node.args[1:]
            elif getattr(node.func, "id", "") in MAKERS:
                values = node.args[:1]
            else:
                continue
            for value in values:
                text = literal(value)
                if re.search("[a-z]", text) and not text.startswith("… …"):
                    yield text


def literal(node):
    """A string's text, with … for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(literal, node.values))
    return node.value if isinstance(node, ast.Constant) else "…"


def test_reasons_are_found():
    found = set(reasons())
    assert len(found) > 30
    assert "it has one unit only" in found


@pytest.mark.parametrize("reason", sorted(set(reasons())))
def test_every_reason_of_the_code_has_its_way_out(reason):
    assert any(text in reason or reason in text for text in TEXTS), reason
