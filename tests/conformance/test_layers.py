"""Who may import whom: imports run one way, tasks -> harness -> library."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TASKS = ("ptb", "rhns", "bidaf")

# The rooms of the library on their floors: each may import those named, and
# itself. What is in none of them (a module right below `iss_rnns/`) is listed
# by its own name.
MAY_IMPORT = {
    "errors": set(),
    "arguments": {"errors"},
    "counting": set(),
    "schedules": {"arguments", "errors"},
    "files": {"errors"},
    "groups": {"arguments", "errors"},
    "ops": {"errors"},
    "averages": set(),
    "regularizers": {"groups"},
    "thresholding": {"errors", "groups", "ops"},
    "cells": {"arguments", "errors", "groups", "ops"},
    "recurrent": {"ops"},
    "optimizers": {"ops"},
    "shrinking": {"arguments", "counting", "errors", "groups"},
    "callbacks": {
        "arguments",
        "errors",
        "groups",
        "ops",
        "optimizers",
        "regularizers",
        "schedules",
        "shrinking",
        "thresholding",
    },
    "sparse": {"cells", "counting", "errors", "files"},
    "export": {"errors", "files"},
    "interop": {"cells", "errors", "files", "groups"},
    # The command: it may reach into the harness, and nobody imports it.
    "testing": {"cells", "groups", "recurrent", "thresholding"},
    "cli": {"experiments"},
    "__main__": {"cli"},
}


def modules(top):
    """Name and file of every module below a package."""
    for path in sorted((ROOT / top).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(p for p in parts if p != "__init__"), path


def imported(path):
    """Full names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{a.name}" for a in node.names)


def room(name):
    """The room of the library that a full name is in, None elsewhere."""
    parts = name.split(".")
    return parts[1] if parts[0] == "iss_rnns" and len(parts) > 1 else None


def library():
    return [
        (name, path)
        for name, path in modules("iss_rnns")
        if room(name) not in (None, "experiments")
    ]


@pytest.mark.parametrize(("name", "path"), library(), ids=lambda v: str(v))
def test_the_library_imports_only_floors_below(name, path):
    own = room(name)
    assert own in MAY_IMPORT, f"{name}: give it a place in MAY_IMPORT"
    allowed = MAY_IMPORT[own] | {own, None}
    for other in imported(path):
        assert other.split(".")[0] not in TASKS, f"{name} imports {other}"
        assert room(other) in allowed, f"{name} imports {other}"


def test_the_floors_have_no_circle():
    rest = dict(MAY_IMPORT)
    rest.pop("cli"), rest.pop("__main__")
    while rest:
        bottom = [name for name, below in rest.items() if not below & set(rest)]
        assert bottom, f"a circle among {sorted(rest)}"
        for name in bottom:
            del rest[name]


def test_the_harness_imports_no_task():
    for name, path in modules("iss_rnns/experiments"):
        for other in imported(path):
            assert other.split(".")[0] not in TASKS, f"{name} imports {other}"
            assert room(other) != "cli", f"{name} imports {other}"


@pytest.mark.parametrize("task", TASKS)
def test_tasks_do_not_import_each_other(task):
    for name, path in modules(task):
        tops = {other.split(".")[0] for other in imported(path)}
        assert not tops & (set(TASKS) - {task}), f"{name} imports {tops}"


def test_flags_are_read_by_programs_only():
    for name, path in library():
        assert "absl" not in {
            other.split(".")[0] for other in imported(path)
        }, f"{name} imports absl"
