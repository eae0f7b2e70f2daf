"""B31: a SavedModel runs nothing but computations, or is not loaded."""

import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns.export import graphs


class Module(tf.Module):
    """A signature that calls a function on `x [2]`."""

    def __init__(self, function):
        super().__init__()
        self.weight = tf.Variable(2.0)
        self.function = function

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32)])
    def serve(self, x):
        return {"y": self.weight * self.function(x)}


def saved(module, path):
    tf.saved_model.save(module, str(path), signatures=module.serve)
    return path


def save_of(function, path):
    return saved(Module(function), path)


def refused(path, what):
    match = f"would run {what}.*: not loaded"
    with pytest.raises(errors.UserError, match=match) as caught:
        graphs.check(path)
    assert "\n" not in str(caught.value)


def read_file(x):
    return x + tf.strings.to_number(tf.io.read_file("/etc/hostname"))


def write_file(x):
    with tf.control_dependencies([tf.io.write_file("written", "x")]):
        return x + 1.0


def in_a_loop(x):
    return tf.while_loop(
        lambda i, x: i < 2, lambda i, x: (i + 1, write_file(x)), [0, x]
    )[1]


def in_a_branch(x):
    return tf.cond(tf.reduce_sum(x) > 0.0, lambda: x, lambda: read_file(x))


def python(x):
    return tf.ensure_shape(tf.py_function(lambda x: x, [x], tf.float32), [2])


@pytest.mark.parametrize(
    "function, operation",
    [
        (read_file, "ReadFile"),
        (write_file, "WriteFile"),
        (in_a_loop, "WriteFile"),
        (in_a_branch, "ReadFile"),
        (tf.function(write_file), "WriteFile"),
        (python, "EagerPyFunc"),
        (
            lambda x: x + tf.numpy_function(lambda: 1.0, [], tf.float32),
            "PyFunc",
        ),
        (lambda x: x + tf.cast(tf.io.matching_files("*") == "", x.dtype), None),
        (lambda x: tf.ensure_shape(tf.io.parse_tensor("", x.dtype), [2]), None),
        (
            lambda x: (
                x
                + tf.raw_ops.RestoreV2(
                    prefix="a",
                    tensor_names=["b"],
                    shape_and_slices=[""],
                    dtypes=[tf.float32],
                )[0]
            ),
            "RestoreV2",
        ),
    ],
)
def test_B31_operations_that_touch_files_or_python(
    function, operation, tmp_path
):
    refused(
        save_of(function, tmp_path / "m"), f"the operation {operation or ''}"
    )


def test_B31_a_function_that_only_its_gradient_calls(tmp_path):
    @tf.custom_gradient
    def f(x):
        return x, lambda dy: dy + tf.strings.to_number(tf.io.read_file("a"))

    path = tmp_path / "m"
    module = Module(f)
    tf.saved_model.save(
        module,
        str(path),
        signatures=module.serve,
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=True),
    )
    refused(path, "the operation ReadFile")


def test_B31_tables_that_a_file_fills(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(tmp_path / "words"),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        1,
    )
    module = Module(
        lambda x: x + tf.cast(table.lookup(tf.constant("a")), tf.float32)
    )
    module.table = table
    refused(saved(module, tmp_path / "m"), "an object of kind")


def test_B31_layers_of_keras_only_compute(tmp_path):
    inputs = tf.keras.Input([None, 3])
    x = tf.keras.layers.Bidirectional(tf.keras.layers.LSTM(4))(inputs)
    x = tf.keras.layers.LayerNormalization()(x)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(2, "softmax")(x))
    model.export(str(tmp_path / "m"))
    graphs.check(tmp_path / "m")


def test_B31_what_is_no_saved_model(tmp_path):
    path = save_of(lambda x: x, tmp_path / "m")
    graphs.check(path)
    file = path / graphs.FILE
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(errors.UserError, match="it is damaged, or no Saved"):
        graphs.check(path)
    file.write_bytes(b"")
    with pytest.raises(errors.UserError, match="it is none of TensorFlow 2"):
        graphs.check(path)
    file.unlink()
    with pytest.raises(errors.UserError, match="No such file"):
        graphs.check(path)


@pytest.mark.parametrize("name", ["saved_model.pbtxt", "saved_model.cpb"])
def test_B31_a_second_graph_beside(name, tmp_path):
    path = save_of(lambda x: x, tmp_path / "m")
    (path / name).write_text("")
    with pytest.raises(errors.UserError, match=f"holds {name} beside"):
        graphs.check(path)


def test_B31_a_saved_model_of_any_function_is_called_by_name(tmp_path):
    path = save_of(lambda x: x + 1.0, tmp_path / "m")
    with pytest.warns(UserWarning, match="has no manifest.json"):
        model = export.load(path)
    assert model(x=[1.0, 2.0])["y"].numpy().tolist() == [4.0, 6.0]
    for inputs, match in (
        ({}, "takes x; got nothing"),
        ({"x": [1.0, 2.0], "z": 1}, "takes x; got x, z"),
        ({"x": [1.0]}, r"x must be \(2,\), got \(1,\)"),
    ):
        with pytest.raises(ValueError, match=match):
            model(**inputs)
