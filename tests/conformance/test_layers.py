"""Who may import whom: imports run one way, tasks -> harness -> library."""

import ast
import pathlib
import re

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
    "size_control": set(),
    "files": {"errors"},
    "_keras": {"errors"},
    "_registry": set(),
    "groups": {"_keras", "arguments", "errors", "ops"},
    "paths": {"errors"},
    "terminal": set(),
    "timing": {"errors"},
    "ops": {"_keras", "errors"},
    "averages": {"_keras", "arguments"},
    "regularizers": {"arguments", "groups", "ops"},
    "thresholding": {"errors", "groups", "ops"},
    "scaled_lasso": {"groups"},
    "cells": {"arguments", "errors", "groups", "ops"},
    "recurrent": {"_keras", "groups", "ops"},
    "optimizers": {"_keras", "ops"},
    "shrinking": {"_keras", "arguments", "counting", "errors", "groups"},
    "callbacks": {
        "_keras",
        "arguments",
        "errors",
        "groups",
        "ops",
        "recurrent",
        "regularizers",
        "scaled_lasso",
        "schedules",
        "shrinking",
        "size_control",
        "thresholding",
    },
    "fitting": {
        "_keras",
        "arguments",
        "callbacks",
        "errors",
        "groups",
        "shrinking",
    },
    "sparse": {"_keras", "cells", "counting", "errors", "files", "timing"},
    "export": {
        "_keras",
        "arguments",
        "cells",
        "errors",
        "files",
        "paths",
        "recurrent",
        "sparse",
        "terminal",
    },
    "compat": {
        "_keras",
        "arguments",
        "callbacks",
        "errors",
        "groups",
        "schedules",
        "shrinking",
    },
    "interop": {"_keras", "cells", "errors", "files", "groups", "paths"},
    "testing": {
        "_keras",
        "cells",
        "errors",
        "groups",
        "recurrent",
        "shrinking",
        "thresholding",
    },
    "cli": {"experiments"},
    "__main__": {"cli"},
}


# What Keras calls without an underscore and yet changes between versions.
KERAS_INSIDES = {
    "finalize_variable_values",
    "make_predict_function",
    "make_test_function",
    "make_train_function",
    "predict_function",
    "test_function",
    "train_function",
}
NOT_OF_KERAS = {
    "iss_rnns.experiments.help": {"_parse"},  # of absl's flags
    "iss_rnns.ops.gradients": {"_registry"},  # of TensorFlow's gradients
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


def test_tests_of_the_library_import_no_task():
    """Nor do the helpers below `tests/` that they import."""
    helpers = {p.stem: p for p in (ROOT / "tests").glob("*.py")}
    todo = [path for _, path in modules("tests/core")]
    seen = set(todo)
    assert len(todo) > 20
    while todo:
        path = todo.pop()
        for other in imported(path):
            top = other.split(".")[0]
            assert top not in TASKS, f"{path} imports {other}"
            if top in helpers and helpers[top] not in seen:
                seen.add(helpers[top])
                todo.append(helpers[top])
    assert helpers["nets"] in seen


@pytest.mark.parametrize("task", TASKS)
def test_tasks_do_not_import_each_other(task):
    for name, path in modules(task):
        tops = {other.split(".")[0] for other in imported(path)}
        assert not tops & (set(TASKS) - {task}), f"{name} imports {tops}"


def test_flags_are_read_by_programs_only():
    for name, path in library():
        if room(name) == "commands":
            continue
        assert "absl" not in {
            other.split(".")[0] for other in imported(path)
        }, f"{name} imports absl"


def test_tensorflows_environment_is_set_by_programs_only():
    """Before it is imported; the library sets none of it.

    All of it in one place, but for the Keras that a command's file needs.
    """
    setting = re.compile(r"environ(\.setdefault\(|\[)\s*\"(TF_|XLA_|ABSL_)")
    places = {
        path.relative_to(ROOT).as_posix()
        for top in ("iss_rnns", "benchmarks", "tests", *TASKS)
        for _, path in modules(top)
        if setting.search(path.read_text(encoding="utf-8"))
    }
    assert places == {
        "iss_rnns/experiments/commands/keras_version.py",
        "iss_rnns/experiments/environment.py",
    }


def own_names(tree):
    """What a file defines, or sets on any object."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(
            node.ctx, ast.Store
        ):
            yield node.id if isinstance(node, ast.Name) else node.attr


def foreign_insides(tree):
    """Private attributes that a file uses, but does not define; and Keras'."""
    own = set(own_names(tree)) - KERAS_INSIDES
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "delattr",
            "getattr",
            "hasattr",
            "setattr",
            "object.__setattr__",
        ):
            names = [a.value for a in node.args if isinstance(a, ast.Constant)]
        for name in set(map(str, names)) - own:
            private = name.startswith("_") and not name.startswith("__")
            if private or name in KERAS_INSIDES:
                yield node.lineno, name


def test_the_rule_sees_what_it_forbids():
    source = (
        "model.train_function = None\n"
        "getattr(optimizer, '_iss_hooks', [])\n"
        "self._mine = 1\n"
        "print(self._mine, model._callable_losses)\n"
    )
    assert list(foreign_insides(ast.parse(source))) == [
        (1, "train_function"),
        (2, "_iss_hooks"),
        (4, "_callable_losses"),
    ]


@pytest.mark.parametrize("top", ["iss_rnns", *TASKS])
def test_one_package_knows_which_keras_is_there(top):
    """Only `_keras/` touches what other objects keep to themselves.

    Who asks it asks the package, not one of its modules.
    """
    for name, path in modules(top):
        if room(name) != "_keras":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found = {each for _, each in foreign_insides(tree)}
            found -= NOT_OF_KERAS.get(name, set())
            assert not found, f"{name}: {found}"
            for other in imported(path):
                assert not other.startswith("iss_rnns._keras."), (
                    f"{name} imports {other}"
                )
