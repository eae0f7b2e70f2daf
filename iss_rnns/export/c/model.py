"""A net as C: what is written, how many bytes it takes, what it computes."""

from collections.abc import Callable, Mapping
import re
from typing import Any, Optional

import numpy as np

from iss_rnns import errors
from iss_rnns.export import arithmetic
from iss_rnns.export import plans
from iss_rnns.export.c import functions
from iss_rnns.export.c import matrices

# Of C99 and C++, as the header is for both.
_KEYWORDS = frozenset(
    """
    alignas alignof and asm auto bitand bitor bool break case catch char class
    compl concept const constexpr continue default delete do double else enum
    explicit export extern false float for friend goto if inline int long
    mutable namespace new noexcept not nullptr operator or private protected
    public register requires restrict return short signed sizeof static struct
    switch template this throw true try typedef typeid typename union unsigned
    using virtual void volatile while xor
    """.split()
)
_KINDS = (*plans.RECURRENT, "embedding", "masking", *plans.POSITIONWISE)


def check_name(name: str) -> str:
    """A name that C functions may begin with, as it was given.

    Raises:
      UserError: it is no identifier of C.
    """
    if (
        not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name)
        or name in _KEYWORDS
        or len(name) > 31
    ):
        raise errors.UserError(
            f"'{name}' cannot be the name of C functions: expected a letter, "
            "then letters, digits and _, 31 at most, and no word of C's own"
        )
    return name


class CModel:
    """A net that reads a step at a time, as C source.

    Args:
      plan: of layers one after the other.
      name: that its functions begin with.
      dtype: of the weights, one of `arithmetic.DTYPES`.

    Attributes:
      header: text of NAME.h.
      source: text of NAME.c.
      flash: bytes of the constants; the code comes on top.
      ram: bytes of the state, with all that a step writes to; a step takes
        less than 200 bytes of stack beside.
      layouts: how each matrix lies, by name.

    Raises:
      UserError: the net is no such stack, a weight is not finite, or the name
        is no identifier.
    """

    def __init__(self, plan: plans.Plan, name: str, dtype: str = "float32"):
        self.name = check_name(name)
        self.dtype = dtype
        self.plan = plan
        self._int8 = dtype == "int8"
        self._products = arithmetic.Products(dtype)
        self._check()
        self.layouts: dict[str, str] = {}
        self._constants: list[str] = []
        self._members: list[tuple[str, str, int]] = []  # type, name, length
        self._functions: dict[str, str] = {}
        self._activations: set[str] = set()
        self._longest: dict[str, int] = {"z": 0, "y": 0, "x": 0, "q": 0}
        self._cleared: list[tuple[str, int]] = []
        self.flash = 0
        body = self._body()
        self._finish_members()
        self.ram = _struct_bytes(self._members)
        self.header = self._header()
        self.source = self._source(body)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the C code computes of whole sequences, with NumPy."""
        return arithmetic.run(self.plan, inputs, self.dtype)

    @property
    def _token(self) -> bool:
        return self.plan.layers[0].kind == "embedding"

    @property
    def inputs(self) -> int:
        """Floats that a step reads; 1 if it reads an id."""
        width = self.plan.widths[self._first]
        return 1 if self._token else int(width or 0)

    @property
    def outputs(self) -> int:
        """Floats that a step writes."""
        return int(self.plan.widths[self.plan.layers[-1].outputs[0]] or 0)

    def _check(self) -> None:
        plan = self.plan
        names = {each.name for each in plan.inputs}
        if not plan.layers:
            raise errors.UserError("the model has no layers to write as C")
        self._first = value = plan.layers[0].inputs[0]
        if value not in names:
            raise _no_stack("its first layer reads no input")
        states: set[str] = set()
        for layer in plan.layers:
            if layer.kind not in _KINDS:
                raise _no_stack(f"it has a layer of kind {layer.kind}")
            if layer.inputs[0] != value:
                raise _no_stack(
                    f"the layer '{layer.name}' does not read the one before"
                )
            value = layer.outputs[0]
            if layer.kind in plans.RECURRENT:
                states.update(layer.outputs[1:])
                if layer.options["backwards"]:
                    raise _no_stack(
                        f"the layer '{layer.name}' runs backwards, so it needs "
                        "the end of a sequence first"
                    )
                if not set(layer.inputs[1:]) <= names:
                    raise _no_stack(
                        f"the states of '{layer.name}' begin with what other "
                        "layers compute"
                    )
            for array_name, array in layer.arrays.items():
                if not np.isfinite(array).all():
                    raise errors.UserError(
                        f"{array_name} of the layer '{layer.name}' holds NaN "
                        "or infinity"
                    )
        given = {each for layer in plan.layers for each in layer.inputs[1:]}
        others = [n for n in names if n not in given and n != self._first]
        if others:
            raise _no_stack(f"it has another input, {others[0]}")
        rest = [v for v in plan.outputs.values() if v not in {value, *states}]
        if rest:
            raise _no_stack(f"it gives {rest[0]}, too, from between its layers")

    # The step.

    def _body(self) -> list[str]:
        lines: list[str] = []
        self._buffer = "input"
        for number, layer in enumerate(self.plan.layers):
            self._last = number == len(self.plan.layers) - 1
            lines.append(f"/* {number + 1}: {_plain(layer)} */")
            write = {
                "embedding": self._embedding,
                "masking": self._nothing,
                "dense": self._dense,
                "activation": self._activation,
                "affine": self._affine,
                "lstm": self._lstm,
                "gru": self._gru,
                "rnn": self._rnn,
                "rhn": self._rhn,
            }[layer.kind]
            lines += write(layer, number)
        if self._buffer != "output":
            lines += _loop(self.outputs, f"output[i] = {self._buffer}[i];")
        return lines

    def _nothing(self, layer, number) -> list[str]:
        return []  # Whoever calls does not call for what is hidden.

    def _embedding(self, layer, number) -> list[str]:
        table = layer.arrays["table"]
        symbols, width = table.shape
        target = self._target(width)
        lines = [
            f"if (token < 0 || token >= {symbols})",
            "    return -1;",
        ]
        if self._int8:
            weights, scale = self._products.weights(table)
            self._array(f"table_{number}", weights)
            self._array(f"table_{number}_scale", scale)
            value = (
                f"(float)table_{number}[token * {width} + i] * "
                f"table_{number}_scale[i]"
            )
        else:
            self._array(f"table_{number}", table)
            value = f"table_{number}[token * {width} + i]"
        return lines + _loop(width, f"{target}[i] = {value};")

    def _dense(self, layer, number) -> list[str]:
        width = layer.arrays["kernel"].shape[1]
        target, read = self._target(width), self._read
        lines = self._bias(target, layer, "bias", number)
        lines += self._add(target, read, layer, "kernel", number)
        name = layer.options["activation"]
        return lines + self._apply(target, target, width, name)

    def _activation(self, layer, number) -> list[str]:
        width = int(self.plan.widths[layer.outputs[0]] or 0)
        target = self._target(width)
        options = layer.options
        return self._apply(
            target, self._read, width, options["activation"], options["alpha"]
        )

    def _affine(self, layer, number) -> list[str]:
        for name in ("scale", "offset"):
            self._array(f"{name}_{number}", layer.arrays[name])
        width = len(layer.arrays["scale"])
        target = self._target(width)
        return _loop(
            width,
            f"{target}[i] = {self._read}[i] * scale_{number}[i] + "
            f"offset_{number}[i];",
        )

    def _lstm(self, layer, number) -> list[str]:
        n = layer.units
        h, c = self._states(layer, number)
        lines = self._bias("s->z", layer, "bias", number)
        lines += self._add("s->z", self._buffer, layer, "kernel", number)
        lines += self._add("s->z", h, layer, "recurrent_kernel", number)
        gate = self._call(layer.options["recurrent_activation"])
        inner = self._call(layer.options["activation"])
        lines += _loop(
            n,
            f"float carried = {gate(f's->z[i + {n}]')} * {c}[i];",
            f"{c}[i] = carried + {gate('s->z[i]')} * "
            f"{inner(f's->z[i + {2 * n}]')};",
            f"{h}[i] = {gate(f's->z[i + {3 * n}]')} * {inner(f'{c}[i]')};",
        )
        self._buffer = h
        return lines

    def _gru(self, layer, number) -> list[str]:
        n, after = layer.units, layer.options["reset_after"]
        (h,) = self._states(layer, number)
        name = "recurrent_kernel"
        lines = self._bias("s->z", layer, "bias", number)
        lines += self._add("s->z", self._buffer, layer, "kernel", number)
        lines += self._bias("s->y", layer, "recurrent_bias", number)
        gate = self._call(layer.options["recurrent_activation"])
        inner = self._call(layer.options["activation"])
        if after:
            lines += self._add("s->y", h, layer, name, number)
            candidate = (
                f"s->z[i + {2 * n}] + "
                f"{gate(f's->z[i + {n}] + s->y[i + {n}]')} * s->y[i + {2 * n}]"
            )
        else:
            both, last = slice(2 * n), slice(2 * n, 3 * n)
            lines += self._add("s->y", h, layer, name, number, both)
            self._use("x", n)
            reset = gate(f"s->z[i + {n}] + s->y[i + {n}]")
            lines += _loop(n, f"s->x[i] = {reset} * {h}[i];")
            lines += self._add(
                f"s->y + {2 * n}", "s->x", layer, name, number, last
            )
            candidate = f"s->z[i + {2 * n}] + s->y[i + {2 * n}]"
        lines += _loop(
            n,
            f"float update = {gate('s->z[i] + s->y[i]')};",
            f"float candidate = {inner(candidate)};",
            f"{h}[i] = candidate + update * ({h}[i] - candidate);",
        )
        self._buffer = h
        return lines

    def _rnn(self, layer, number) -> list[str]:
        (h,) = self._states(layer, number)
        lines = self._bias("s->z", layer, "bias", number)
        lines += self._add("s->z", self._buffer, layer, "kernel", number)
        lines += self._add("s->z", h, layer, "recurrent_kernel", number)
        inner = self._call(layer.options["activation"])
        lines += _loop(layer.units, f"{h}[i] = {inner('s->z[i]')};")
        self._buffer = h
        return lines

    def _rhn(self, layer, number) -> list[str]:
        n = layer.units
        (h,) = self._states(layer, number)
        tanh, sigmoid = self._call("tanh"), self._call("sigmoid")
        lines = []
        for d in range(layer.options["depth"]):
            lines += self._bias("s->z", layer, f"bias_{d}", number)
            if d == 0:
                lines += self._add(
                    "s->z", self._buffer, layer, "kernel", number
                )
            lines += self._add("s->z", h, layer, f"recurrent_{d}", number)
            lines += _loop(
                n,
                f"float new = {tanh('s->z[i]')};",
                f"{h}[i] = (new - {h}[i]) * {sigmoid(f's->z[i + {n}]')} + "
                f"{h}[i];",
            )
        self._buffer = h
        return lines

    # Pieces of it.

    def _states(self, layer, number) -> list[str]:
        found = []
        for letter in plans.STATES[layer.kind]:
            self._members.append(("float", f"{letter}_{number}", layer.units))
            self._cleared.append((f"{letter}_{number}", layer.units))
            found.append(f"s->{letter}_{number}")
        return found

    def _target(self, width: int) -> str:
        """Where a layer without states writes; see `_read`, what it reads."""
        self._read = self._buffer
        if self._last:
            self._buffer = "output"
        else:
            member = "x" if self._buffer != "s->x" else "y"
            self._use(member, width)
            self._buffer = f"s->{member}"
        return self._buffer

    def _use(self, member: str, length: int) -> None:
        self._longest[member] = max(self._longest[member], length)

    def _bias(self, target, layer, name, number) -> list[str]:
        array = layer.arrays[name]
        if target.startswith("s->"):
            self._use(target[3:], len(array))
        self._array(f"{name}_{number}", array)
        return _loop(len(array), f"{target}[i] = {name}_{number}[i];")

    def _add(
        self,
        target: str,
        read: str,
        layer: plans.Layer,
        name: str,
        number: int,
        columns: Optional[slice] = None,
    ) -> list[str]:
        """Adds a product to a buffer."""
        matrix = layer.arrays[name]
        scale: Any = None
        if self._int8:
            matrix, scale = self._products.weights(matrix)
        unique = f"{name}_{number}"
        if columns is not None:
            matrix = matrix[:, columns]
            scale = None if scale is None else scale[columns]
            unique += f"_{columns.start or 0}"
        stored = matrices.store(matrix, name.startswith("recurrent"))
        self.layouts[f"{layer.name}/{name}"] = stored.described
        self._array(unique, stored.values)
        rows = stored.rows
        arguments = [target, read, unique]
        lines = []
        if self._int8:
            self._use("q", rows)
            self._array(f"{unique}_scale", scale)
            lines.append(
                f"row_scale = {self._p}quantise(s->q, {read}, {rows});"
            )
            self._functions["quantise"] = functions.quantise(self._p)
            arguments = [target, "s->q", unique, "row_scale", f"{unique}_scale"]
        if stored.height:
            self._array(f"{unique}_index", stored.index)
            arguments.append(f"{unique}_index")
        else:
            arguments.append(str(rows))
        if stored.diagonal is not None:
            self._array(f"{unique}_diagonal", stored.diagonal)
            arguments += [f"{unique}_diagonal", str(rows)]
        arguments.append(str(stored.columns // stored.width))
        function = functions.product_name(self._p, stored, self._int8)
        self._functions[function] = functions.product(
            self._p, stored, self._int8
        )
        return [*lines, f"{function}(", f"    {', '.join(arguments)});"]

    def _call(self, name: str):
        """A C expression's activation, as a function of its text."""
        if name == "linear":
            return lambda text: f"({text})"
        self._activations.add(name)
        return lambda text: f"{self._p}{name}({text})"

    def _apply(self, target, read, width, name, alpha=0.0) -> list[str]:
        if name == "softmax":
            self._functions[name] = functions.softmax(self._p)
            lines = (
                []
                if target == read
                else _loop(width, f"{target}[i] = {read}[i];")
            )
            return [*lines, f"{self._p}softmax({target}, {width});"]
        if name == "leaky_relu":
            slope = functions.literal(alpha)
            value = f"{read}[i] > 0.0f ? {read}[i] : {slope} * {read}[i]"
            return _loop(width, f"{target}[i] = {value};")
        if name == "linear" and target == read:
            return []
        value = self._call(name)(f"{read}[i]")
        return _loop(width, f"{target}[i] = {value};")

    @property
    def _p(self) -> str:
        """Before the names of all functions."""
        return f"{self.name}_"

    def _array(self, name: str, array: np.ndarray) -> None:
        kind = {"float32": "float", "int8": "int8_t", "uint16": "uint16_t"}[
            array.dtype.name
        ]
        text: Callable[[Any], str] = (
            functions.literal if kind == "float" else str
        )
        self.flash += array.nbytes
        # C has no arrays of no elements.
        values = list(map(text, array.reshape(-1).tolist())) or ["0"]
        self._constants.append(
            f"static const {kind} {name}[{len(values)}] = {{\n"
            f"{_rows(values)}}};\n"
        )

    def _finish_members(self) -> None:
        for member, length in self._longest.items():
            if length:
                kind = "int8_t" if member == "q" else "float"
                self._members.append((kind, member, length))
        if not self._members:  # C has no structs without members.
            self._members.append(("float", "nothing", 1))

    # The files.

    def _header(self) -> str:
        name, guard = self.name, f"{self.name.upper()}_H"
        if self._token:
            reads = "int32_t token"
            what = f"token: 0 ... {self.plan.layers[0].arrays['table'].shape[0] - 1}."
        else:
            reads = "const float *input"
            what = f"input: {name.upper()}_INPUTS floats, all finite."
        members = "\n".join(
            f"    {kind} {member}[{length}];"
            for kind, member, length in self._members
        )
        return f"""/* A recurrent net of {self.plan.weights()} weights, {self.dtype}.

   Constants: {self.flash} bytes, beside the code. State: {self.ram} bytes.
   C99; uses math.h of the standard library, and no memory but the state. */

#ifndef {guard}
#define {guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {name.upper()}_INPUTS {self.inputs}
#define {name.upper()}_OUTPUTS {self.outputs}

/* One for each stream that is read; nothing else is written to. */
typedef struct {{
{members}
}} {name}_state;

/* The beginning of a sequence. */
void {name}_init({name}_state *state);

/* Reads one time step and writes {name.upper()}_OUTPUTS floats.
   {what}
   Returns 0; -1, with nothing changed, if the input is none. */
int {name}_step({name}_state *state, {reads}, float *output);

#ifdef __cplusplus
}}
#endif

#endif
"""

    def _source(self, body: list[str]) -> str:
        name, p = self.name, self._p
        reads = "int32_t token" if self._token else "const float *input"
        made = [
            functions.activation(p, each)
            for each in functions.needed(self._activations)
        ]
        parts = [
            f'#include "{name}.h"\n\n#include <math.h>\n',
            # What one operation rounds must not be one with the next.
            "#ifdef __clang__\n#pragma STDC FP_CONTRACT OFF\n#endif\n",
            *self._constants,
            *made,
            *self._functions.values(),
        ]
        cleared = "\n".join(
            "    " + line
            for member, length in self._cleared
            for line in _loop(length, f"state->{member}[i] = 0.0f;")
        )
        scale = "    float row_scale;\n" if self._int8 and self._uses_q else ""
        counter = "    int i;\n\n"
        parts.append(
            f"void {name}_init({name}_state *state)\n{{\n"
            + (f"{counter}{cleared}\n" if cleared else "    (void)state;\n")
            + "}\n"
        )
        steps = "\n".join("    " + line for line in body)
        parts.append(
            f"int {name}_step({name}_state *s, {reads}, float *output)\n{{\n"
            f"{scale}{counter}    (void)s;\n{steps}\n    return 0;\n}}\n"
        )
        return "\n".join(parts)

    @property
    def _uses_q(self) -> bool:
        return bool(self._longest["q"])


def _loop(length: int, *lines: str) -> list[str]:
    head = f"for (i = 0; i < {length}; i++)"
    if len(lines) == 1:
        return [head, f"    {lines[0]}"]
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]


def _rows(values: list[str], width: int = 76) -> str:
    """Numbers in lines."""
    lines, line = [], ""
    for value in values:
        if line and len(line) + len(value) + 2 > width:
            lines.append(line)
            line = ""
        line += f"{value}, "
    return "".join(f"    {each.rstrip()}\n" for each in [*lines, line])


def _plain(layer: plans.Layer) -> str:
    """A layer in a comment; no name of it could end that."""
    sizes = [
        "x".join(map(str, layer.arrays[name].shape)) for name in layer.matrices
    ]
    return " ".join([layer.kind, *sizes])


def _struct_bytes(members: list[tuple[str, str, int]]) -> int:
    """Of a struct whose bytes come last; its size is a multiple of four."""
    size = sum(
        length * (1 if kind == "int8_t" else 4) for kind, _, length in members
    )
    return -(-size // 4) * 4


def _no_stack(why: str) -> errors.UserError:
    return errors.UserError(
        f"the model cannot be written as C, which takes one stack of layers: "
        f"{why}"
    )
