"""Exported C, compiled by the system's compiler and held to NumPy."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest

from iss_rnns import errors
from iss_rnns.export import arithmetic
from iss_rnns.export import c as c_lib
from iss_rnns.export import plans
from iss_rnns.export import reading
from iss_rnns.export.c import matrices

FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
SYMBOLS, STEPS = 20, 25
random = np.random.default_rng(0)


def weights(*shape):
    return (0.4 * random.standard_normal(shape)).astype(np.float32)


def layer(kind, name, read, inputs, units, **options):
    """A recurrent layer."""
    options = {**reading.FORWARD, "activation": "tanh", **options}
    finals = [f"{name}_{each}" for each in plans.STATES[kind]]
    if kind == "rhn":
        arrays = {"kernel": weights(inputs, 2 * units)}
        for d in range(options["depth"]):
            arrays[f"recurrent_{d}"] = weights(units, 2 * units)
            arrays[f"bias_{d}"] = weights(2 * units)
    else:
        width = GATES[kind] * units
        arrays = {
            "kernel": weights(inputs, width),
            "recurrent_kernel": weights(units, width) * 0.5,
            "bias": weights(width),
        }
    if kind == "gru":
        after = options.setdefault("reset_after", True)
        arrays["recurrent_bias"] = weights(width) * after
    if kind in ("lstm", "gru"):
        options.setdefault("recurrent_activation", "sigmoid")
    return plans.Layer(name, kind, [read], [name, *finals], arrays, options)


def dense(name, read, inputs, units, activation="linear"):
    arrays = {"kernel": weights(inputs, units), "bias": weights(units)}
    options = {"activation": activation}
    return plans.Layer(name, "dense", [read], [name], arrays, options)


def activation(name, read, function, alpha=0.0):
    options = {"activation": function, "alpha": alpha}
    return plans.Layer(name, "activation", [read], [name], {}, options)


def plan(width, *layers):
    """A stack that reads x, of a width; of ids where that is None."""
    ids = width is None
    widths = {"x": width}
    for each in layers:
        if each.kind in plans.RECURRENT:
            widths[each.name] = each.units
        elif each.kind == "activation":
            widths[each.name] = widths[each.inputs[0]]
        else:
            array = each.arrays["table" if ids else "kernel"]
            widths[each.name] = array.shape[1]
        ids = False
    shape = (None, None) if width is None else (None, None, width)
    dtype = "int32" if width is None else "float32"
    return plans.Plan(
        [plans.Input("x", dtype, shape)],
        layers,
        {"y": layers[-1].outputs[0]},
        widths,
    )


def in_blocks(each, height=4, width=8, kept=0.2):
    """The layer with most blocks zero; the diagonal of the state's stays."""
    arrays = {}
    for name, array in each.arrays.items():
        if array.ndim == 2:
            shape = array.shape[0] // height, array.shape[1] // width
            mask = (random.random(shape) < kept).repeat(height, 0)
            mask = mask.repeat(width, 1)
            if name.startswith("recurrent"):
                columns = np.arange(array.shape[1])
                mask[columns % len(array), columns] = True
            array = array * mask
        arrays[name] = array
    return plans.Layer(
        each.name, each.kind, each.inputs, each.outputs, arrays, each.options
    )


def embedding(name, width):
    arrays = {"table": weights(SYMBOLS, width)}
    return plans.Layer(name, "embedding", ["x"], [name], arrays, {"mask": None})


# Those whose every operation rounds alike everywhere come first.
PLANS = {
    "stack": plan(
        6,
        layer("lstm", "a", "x", 6, 8),
        layer("gru", "b", "a", 8, 12),
        layer("rnn", "c", "b", 12, 5, activation="relu"),
        dense("d", "c", 5, 7, "relu"),
        dense("e", "d", 7, 10, "softsign"),
    ),
    "before": plan(
        6,
        layer("gru", "a", "x", 6, 12, reset_after=False),
        dense("b", "a", 12, 3),
        activation("c", "b", "leaky_relu", 0.1),
    ),
    "words": plan(
        None,
        embedding("e", 5),
        layer("lstm", "a", "e", 5, 9, recurrent_activation="hard_sigmoid"),
        dense("b", "a", 9, SYMBOLS),
    ),
    "blocks": plan(
        16,
        in_blocks(layer("gru", "a", "x", 16, 32)),
        in_blocks(layer("lstm", "b", "a", 32, 16)),
        dense("c", "b", 16, 4, "sigmoid"),
    ),
    "highway": plan(
        5, layer("rhn", "a", "x", 5, 8, depth=3), dense("b", "a", 8, 3, "tanh")
    ),
    "exponents": plan(
        5,
        layer("rnn", "a", "x", 5, 6),
        dense("b", "a", 6, 6, "elu"),
        activation("c", "b", "softplus"),
        activation("d", "c", "softmax"),
    ),
}
LIBM = {"exponents"}
CASES = [(name, dtype) for name in PLANS for dtype in arithmetic.DTYPES]


class Library:
    """All cases as C, in one shared library."""

    def __init__(self, folder):
        self.models = {
            (name, dtype): c_lib.CModel(PLANS[name], f"{name}_{dtype}", dtype)
            for name, dtype in CASES
        }
        sizes = folder / "sizes.c"
        lines = []
        for model in self.models.values():
            name = model.name
            (folder / f"{name}.h").write_text(model.header)
            (folder / f"{name}.c").write_text(model.source)
            lines.append(
                f'#include "{name}.h"\nint {name}_size(void);\n'
                f"int {name}_size(void) {{ return sizeof({name}_state); }}\n"
            )
        sizes.write_text("".join(lines))
        path = folder / "all.so"
        subprocess.run(
            ["cc", *FLAGS, "-O1", "-shared", "-fPIC", "-o", path]
            + [str(each) for each in sorted(folder.glob("*.c"))]
            + ["-lm"],
            check=True,
        )
        self.library = ctypes.CDLL(str(path))

    def size(self, case):
        return getattr(self.library, f"{self.models[case].name}_size")()

    def new_state(self, case):
        state = ctypes.create_string_buffer(self.size(case))
        ctypes.memset(state, 255, len(state))  # NaN, were it not cleared
        getattr(self.library, f"{self.models[case].name}_init")(state)
        return state

    def step(self, case, state, x):
        """(what is returned, outputs) of one step."""
        model = self.models[case]
        step = getattr(self.library, f"{model.name}_step")
        output = np.zeros(model.outputs, np.float32)
        place = output.ctypes.data_as(ctypes.c_void_p)
        if np.ndim(x) == 0:
            return step(state, ctypes.c_int32(int(x)), place), output
        x = np.ascontiguousarray(x, np.float32)
        return step(state, x.ctypes.data_as(ctypes.c_void_p), place), output


@pytest.fixture(name="library", scope="module")
def fixture_library(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here: cc")
    return Library(tmp_path_factory.mktemp("c"))


def sequence(name):
    width = PLANS[name].inputs[0].shape[-1]
    draw = np.random.default_rng(1)
    if width is None:
        return draw.integers(0, SYMBOLS, STEPS)
    return draw.standard_normal((STEPS, width)).astype(np.float32)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_c_computes_what_numpy_computes(library, case):
    name, dtype = case
    x = sequence(name)
    expected = arithmetic.run(PLANS[name], {"x": x[np.newaxis]}, dtype)["y"][0]
    for _ in range(2):  # the second state is cleared anew
        state = library.new_state(case)
        found = []
        for row in x:
            returned, output = library.step(case, state, row)
            assert returned == 0
            found.append(output)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        if dtype == "int8" and name not in LIBM:
            # Sums of integers are exact, so nothing else may differ either.
            np.testing.assert_array_equal(found, expected)
    assert np.ptp(expected, 0).max() > 0.05  # it depends on what is read


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_bytes_told_are_bytes_taken(library, case):
    model = library.models[case]
    assert model.ram == library.size(case)
    width = {"float": 4, "int8_t": 1, "uint16_t": 2}
    arrays = re.findall(
        r"^static const (\w+) \w+\[(\d+)\] =", model.source, re.M
    )
    assert model.flash == sum(width[kind] * int(n) for kind, n in arrays)


def test_a_token_that_is_none_changes_nothing(library):
    case = ("words", "int8")
    state = library.new_state(case)
    library.step(case, state, 3)
    before = bytes(state)
    for token in (-1, SYMBOLS, 2**31 - 1, -(2**31)):
        returned, output = library.step(case, state, token)
        assert returned == -1
        assert not output.any()
    assert bytes(state) == before


def test_int8_is_one_scale_a_column_and_one_a_row():
    matrix = weights(9, 5)
    matrix[:, 3] = 0
    x = np.stack([weights(9), np.zeros(9, np.float32)])
    z = weights(2, 5)
    found = arithmetic.Products("int8").add(z, x, matrix)
    for i, row in enumerate(x):
        a = np.float32(max(abs(row)) / 127)
        for j, column in enumerate(matrix.T):
            s = np.float32(max(abs(column)) / 127)
            total = sum(
                round(float(p) / float(a)) * round(float(w) / float(s))
                for p, w in zip(row, column)
                if a and s
            )
            expected = z[i, j] + total * float(a) * float(s)
            np.testing.assert_allclose(found[i, j], expected, rtol=1e-5)
    with pytest.raises(errors.UserError, match="too long for int8"):
        arithmetic.quantise(np.zeros((arithmetic.MOST_INPUTS + 1, 1)))


def test_own_tanh_and_sigmoid_are_exact_to_4e_7():
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    exact = x.astype(np.float64)
    for name, right in (
        ("tanh", np.tanh(exact)),
        ("sigmoid", 1 / (1 + np.exp(-exact))),
    ):
        assert np.abs(arithmetic.activate(name, x) - right).max() < 4e-7


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_every_layout_holds_the_matrix(dtype):
    draw = np.random.default_rng(3)
    kinds = set()
    for rows, columns, height, width, kept in (
        (16, 48, 4, 8, 0.2),
        (12, 36, 2, 4, 0.3),
        (8, 24, 1, 1, 0.1),
        (7, 5, 1, 1, 0.9),
        (16, 16, 8, 16, 0.0),
    ):
        for diagonal in (False, True):
            mask = draw.random((rows // height, columns // width)) < kept
            mask = mask.repeat(height, 0).repeat(width, 1)
            if diagonal:
                places = np.arange(columns)
                mask[places % rows, places] = True
            matrix = np.where(mask, draw.integers(1, 99, mask.shape), 0)
            matrix = matrix.astype(dtype)
            stored = matrices.store(matrix, recurrent=True)
            np.testing.assert_array_equal(matrices.to_dense(stored), matrix)
            assert stored.nbytes <= matrix.nbytes
            kinds.add((bool(stored.height), stored.diagonal is not None))
    assert kinds == {(False, False), (True, False), (True, True)}


def test_blocks_and_the_diagonal_take_less_flash():
    model = c_lib.CModel(PLANS["blocks"], "net", "int8")
    assert "blocks of 4x8, with the diagonal" in model.layouts.values()
    assert "blocks of 4x8" in model.layouts.values()
    assert model.flash < 0.6 * PLANS["blocks"].weights()


@pytest.mark.parametrize(
    "name",
    ["", "8bit", "int", "a b", "a;b", "_a", "ä", "x" * 32, "class", "a\nb"],
)
def test_a_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(errors.UserError, match="cannot be the name of C"):
        c_lib.check_name(name)


def test_names_of_a_file_do_not_become_code():
    evil = '*/ #include "/etc/passwd"\n int x; /*'
    stack = plan(2, dense(evil, "x", 2, 3))
    model = c_lib.CModel(stack, "net")
    for text in (model.source, model.header):
        assert "passwd" not in text and "int x" not in text


def backwards(each):
    options = {**each.options, "backwards": True}
    return plans.Layer(
        each.name, each.kind, each.inputs, each.outputs, each.arrays, options
    )


@pytest.mark.parametrize(
    ("stack", "match"),
    [
        (plan(2, backwards(layer("gru", "a", "x", 2, 3))), "runs backwards"),
        (
            plan(2, dense("a", "x", 2, 2), dense("b", "x", 2, 2)),
            "'b' does not read the one before",
        ),
        (
            plans.Plan([], [], {}, {}),
            "no layers to write",
        ),
    ],
)
def test_what_is_no_stack_is_refused_in_one_line(stack, match):
    with pytest.raises(errors.UserError, match=match) as caught:
        c_lib.CModel(stack, "net")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused():
    broken = dense("a", "x", 2, 2)
    broken.arrays["bias"][1] = np.nan
    with pytest.raises(errors.UserError, match="bias of the layer 'a' holds"):
        c_lib.CModel(plan(2, broken), "net")
