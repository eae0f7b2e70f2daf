"""What of a Keras file would run while it loads, looked at before.

Keras' own safe mode looks at lambdas in `.keras` files only. A configuration
can also name functions of any module, which Keras imports and calls, and the
older formats hold lambdas, too. Here only classes of Keras and of this library
pass, and functions of the kinds that layers take.
"""

import builtins
from collections.abc import Iterator
import re
from typing import Any

from iss_rnns import errors
from iss_rnns.experiments.commands import sources

# Whose classes a file may name: what they do when they are made is known.
_ROOTS = ("keras", "tf_keras", "iss_rnns")
# Parts of the names of modules whose functions a file may name.
_FUNCTIONS = {
    "activations",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "regularizers",
}
# Layers that call what their configuration says.
_CALLING = ("ClassMethod", "InstanceMethod")
# Of names of TensorFlow functions: files, Python, whatever operation.
_REACHING_OUT = {
    "compat.v1.py_func",
    "data",
    "io",
    "load_library",
    "load_op_library",
    "numpy_function",
    "py_func",
    "py_function",
    "raw_ops",
    "read_file",
    "saved_model",
    "write_file",
}

# Of the metadata of a SavedModel, JSON among other bytes.
_MODULE = re.compile(rb'"module"\s*:\s*"([^"]*)"')
_LAMBDA = re.compile(rb'"class_name"\s*:\s*"(Lambda|__lambda__)"')
# Letters that are spelt otherwise, as Keras does not, hide words from these.
_HIDDEN = re.compile(rb"\\u00[2-7]")


def check(source: sources.Source) -> None:
    """Refuses a Keras model that loading would run code of.

    Raises:
      UserError: naming it.
    """
    config = source.config
    if isinstance(config, dict):
        # Losses and metrics are not loaded; those of models within are.
        config = {k: v for k, v in config.items() if k != "compile_config"}
    found = (
        _in_bytes(config) if isinstance(config, bytes) else _in_config(config)
    )
    for what in found:
        raise errors.UserError(
            f"{source.shown} holds {what}, which would run when it is loaded: "
            "not loaded; --trust loads it, if you trust who made it"
        )


def _in_bytes(data: bytes) -> Iterator[str]:
    if _LAMBDA.search(data):
        yield "Python code (a Lambda layer)"
    if _HIDDEN.search(data):
        yield "names that are spelt so as to hide them"
    for module in _MODULE.findall(data):
        name = module.decode("utf-8", "replace")
        if name.partition(".")[0] not in _ROOTS:
            yield f"the name of something in the module '{name}'"


def _in_config(config: Any) -> Iterator[str]:
    """What would run, outermost first."""
    todo = [config]
    while todo:
        each = todo.pop()
        if isinstance(each, list):
            todo += each
        elif isinstance(each, dict):
            todo += each.values()
            if "class_name" in each:
                yield from _in_object(each)


def _in_object(described: dict) -> Iterator[str]:
    kind, module = described["class_name"], described.get("module")
    config = described.get("config")
    inner = config if isinstance(config, dict) else {}
    name = inner.get("name", "")
    if kind in ("Lambda", "__lambda__"):
        yield (
            f"Python code (the Lambda layer '{name}')"
            if name
            else ("Python code (a lambda)")
        )
    elif kind in _CALLING:
        yield f"a call by name (the layer '{name}')"
    elif kind == "TFOpLambda":
        function = str(inner.get("function", ""))
        if _REACHING_OUT & {function, *function.split(".")}:
            yield f"a call of tf.{function}"
    if module is None:
        return
    module = str(module)
    if kind == "function":
        own = module == "builtins" and not hasattr(builtins, str(config))
        known = module.partition(".")[0] in _ROOTS
        if not own and not (known and _FUNCTIONS & set(module.split("."))):
            yield f"the function {module}.{config}"
    elif module == "builtins":
        if hasattr(builtins, str(kind)):
            yield f"the class {module}.{kind}"
    elif module.partition(".")[0] not in _ROOTS:
        yield f"the class {module}.{kind}"
