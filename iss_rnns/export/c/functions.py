"""The functions of exported C code: products, quantising, activations.

Each is written into a source file only if it is called there: a compiler warns
of others. All do the operations of `arithmetic` in its order.
"""

from iss_rnns.export import arithmetic
from iss_rnns.export.c import matrices

# Of each activation: its body, and the other functions that it calls.
_ACTIVATIONS = {
    "relu": "return x > 0.0f ? x : 0.0f;",
    "sigmoid": "return 0.5f * {p}tanh(0.5f * x) + 0.5f;",
    "hard_sigmoid": (
        "float y = 0.2f * x + 0.5f;\n"
        "    return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;"
    ),
    "softsign": "return x / (1.0f + (x < 0.0f ? -x : x));",
    "softplus": (
        "return (x > 0.0f ? x : 0.0f) + log1pf(expf(x > 0.0f ? -x : x));"
    ),
    "elu": "return x > 0.0f ? x : expf(x) - 1.0f;",
}


def literal(value: float) -> str:
    """A finite float32 as a C constant, which reads back as the same."""
    text = format(float(value), ".9g")
    return text + ("f" if "." in text or "e" in text else ".0f")


def activation(prefix: str, name: str) -> str:
    """A function of one float; `prefix` stands before its name."""
    if name == "tanh":
        return _tanh(prefix)
    body = _ACTIVATIONS[name].format(p=prefix)
    return f"static float {prefix}{name}(float x)\n{{\n    {body}\n}}\n"


def needed(names: set[str]) -> list[str]:
    """Activations in an order in which each finds those that it calls."""
    found = set(names) - {"linear", "softmax", "leaky_relu"}
    if "sigmoid" in found:
        found.add("tanh")
    return sorted(found, key=lambda name: (name != "tanh", name))


def _tanh(prefix: str) -> str:
    bound = literal(arithmetic.TANH_BOUND)

    def horner(factors):
        first, *others = map(literal, factors)
        text = first
        for factor in others:
            text = f"({text} * s + {factor})"
        return text

    return f"""static float {prefix}tanh(float x)
{{
    float s, odd, even;

    x = x < -{bound} ? -{bound} : x;
    x = x > {bound} ? {bound} : x;
    s = x * x;
    odd = {horner(arithmetic.TANH_ODD)};
    even = {horner(arithmetic.TANH_EVEN)};
    return x * odd / even;
}}
"""


def softmax(prefix: str) -> str:
    """In place, of n floats."""
    return f"""static void {prefix}softmax(float *x, int n)
{{
    float largest = x[0], total = 0.0f;
    int i;

    for (i = 1; i < n; i++)
        if (x[i] > largest)
            largest = x[i];
    for (i = 0; i < n; i++) {{
        x[i] = expf(x[i] - largest);
        total += x[i];
    }}
    for (i = 0; i < n; i++)
        x[i] /= total;
}}
"""


def quantise(prefix: str) -> str:
    """A row of n floats to 8 bits; returns its scale."""
    smallest = literal(float(arithmetic.SMALLEST_ROW))
    return f"""static float {prefix}quantise(int8_t *q, const float *x, int n)
{{
    float largest = 0.0f, factor;
    int i;

    for (i = 0; i < n; i++) {{
        float size = x[i] < 0.0f ? -x[i] : x[i];
        if (size > largest)
            largest = size;
    }}
    if (!(largest >= {smallest})) {{
        for (i = 0; i < n; i++)
            q[i] = 0;
        return 0.0f;
    }}
    factor = {arithmetic.LEVELS}.0f / largest;
    for (i = 0; i < n; i++)
        q[i] = (int8_t)rintf(x[i] * factor);
    return largest / {arithmetic.LEVELS}.0f;
}}
"""


def product_name(prefix: str, stored: matrices.Stored, int8: bool) -> str:
    """Of the function that multiplies by a matrix of this layout."""
    shape = f"{stored.height}x{stored.width}" if stored.height else stored.width
    return (
        f"{prefix}add_{'int8' if int8 else 'float'}"
        f"{'_blocks' if stored.height else ''}_{shape}"
        f"{'' if stored.diagonal is None else '_diagonal'}"
    )


def product(prefix: str, stored: matrices.Stored, int8: bool) -> str:
    """z += x times a matrix of this layout."""
    width, diagonal = stored.width, stored.diagonal is not None
    kind, total = ("int8_t", "int32_t") if int8 else ("float", "float")
    arguments = [
        "float *z",
        f"const {kind} *x",
        f"const {kind} *w",
        *(["float row_scale", "const float *scale"] if int8 else []),
        *(["const uint16_t *index"] if stored.height else ["int rows"]),
        *([f"const {kind} *diagonal", "int rows"] if diagonal else []),
        "int panels",
    ]
    cast = "(int32_t)" if int8 else ""
    inner = f"for (k = 0; k < {width}; k++)"
    if stored.height:
        loop = f"""        for (count = *index++; count > 0; count--) {{
            const {kind} *v = x + *index++;
            {inner}
                total[k] += {_rows("v", stored.height, width, int8)};
            w += {stored.height * width};
        }}
"""
    else:
        # Four rows at a time: their sum is not stored in between.
        loop = f"""        for (i = 0; i + 4 <= rows; i += 4, w += {4 * width})
            {inner}
                total[k] += {_rows("x", 4, width, int8, "i + ")};
        for (; i < rows; i++, w += {width})
            {inner}
                total[k] += {cast}x[i] * w[k];
"""
    if diagonal:
        start = f"""        {inner} {{
            total[k] = {cast}x[place] * *diagonal++;
            place = place + 1 < rows ? place + 1 : 0;
        }}
"""
    else:
        start = f"        {inner}\n            total[k] = 0;\n"
    end = (
        "z[k] += (float)total[k] * (row_scale * *scale++);"
        if int8
        else "z[k] += total[k];"
    )
    counters = ["k", "panel", "count" if stored.height else "i"]
    counters += ["place = 0"] if diagonal else []
    joined = ",\n    ".join(arguments)
    return f"""static void {product_name(prefix, stored, int8)}(
    {joined})
{{
    int {", ".join(counters)};

    for (panel = 0; panel < panels; panel++, z += {width}) {{
        {total} total[{width}];
{start}{loop}        {inner}
            {end}
    }}
}}
"""


def _rows(x: str, height: int, width: int, int8: bool, first: str = "") -> str:
    """The sum over a block's rows of column k.

    Two products of 8 bits and their sum fit 16 bits, in which a vector has
    twice the places.
    """
    products = [
        f"{x}[{first}{i}] * w[k{f' + {i * width}' if i else ''}]"
        for i in range(height)
    ]
    if not int8:
        return " + ".join(products)
    pairs = [" + ".join(products[i : i + 2]) for i in range(0, height, 2)]
    return " + ".join(f"(int16_t)({pair})" for pair in pairs)
