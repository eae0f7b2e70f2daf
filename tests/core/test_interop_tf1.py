"""TensorFlow 1's names, layouts and checkpoints."""

import os
import shutil

import nets
import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import cells
from iss_rnns import errors
from iss_rnns.interop import tf1

CELL = "Model/RNN/multi_rnn_cell/cell_{}/basic_lstm_cell/{}"
VOCABULARY, EMBEDDING, SIZES = 7, 4, (3, 5)


def new_net(seed=1):
    return nets.Net(VOCABULARY, EMBEDDING, SIZES, seed=seed)


def arrays(style=("weights", "biases"), seed=0):
    """Random arrays of the net's sizes, as TensorFlow 1 names them."""
    rng = np.random.default_rng(seed)
    shapes = {"Model/embedding": (VOCABULARY, EMBEDDING)}
    inputs = EMBEDDING
    for layer, n in enumerate(SIZES):
        shapes[CELL.format(layer, style[0])] = (inputs + n, 4 * n)
        shapes[CELL.format(layer, style[1])] = (4 * n,)
        inputs = n
    shapes["Model/softmax_w"] = (inputs, VOCABULARY)
    shapes["Model/softmax_b"] = (VOCABULARY,)
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def canonical(values):
    return {tf1.canonical(name): array for name, array in values.items()}


def write_checkpoint(folder, values, step=13):
    """What the authors' program saved: by TensorFlow 1's own Saver."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [
            tf.compat.v1.get_variable(name, initializer=array)
            for name, array in values.items()
        ]
        variables += [
            tf.compat.v1.get_variable(
                "Model/global_step", initializer=np.int64(step)
            ),
            tf.compat.v1.get_variable(
                "Train/Model/Variable", initializer=np.float32(0.5)
            ),
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver(variables).save(
            session, str(folder / "model.ckpt"), global_step=step
        )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def basic_lstm_cell(weights, biases, x, h, c):
    """TensorFlow 1's own: rows [input; hidden], gates i, j, f, o."""
    i, j, f, o = np.split(np.concatenate([x, h], 1) @ weights + biases, 4, 1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(j)
    return sigmoid(o) * np.tanh(c), c


def test_the_cell_computes_what_tensorflow_1_did():
    rng = np.random.default_rng(0)
    cell = cells.LSTMCell(3)
    cell.build(tf.TensorShape([None, 4]))
    weights, biases = rng.normal(size=(7, 12)), rng.normal(size=12)
    tf1.lstm_matrix(cell).assign(weights.astype(np.float32))
    tf1.lstm_bias(cell).assign(biases.astype(np.float32))
    x, h, c = (rng.normal(size=(2, n)) for n in (4, 3, 3))
    expected = basic_lstm_cell(weights, biases, x, h, c)
    _, found = cell(
        tf.constant(x, tf.float32), [tf.constant(s, tf.float32) for s in (h, c)]
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_views_read_what_they_assigned():
    views, values = new_net().tf1_views(), canonical(arrays())
    assert views.keys() == values.keys()
    for name, view in views.items():
        view.assign(values[name])
    for name, view in views.items():
        assert view.shape == values[name].shape
        np.testing.assert_array_equal(view.read(), values[name], name)


def test_gather_puts_gradients_in_their_layout():
    net = new_net()
    view = net.tf1_views()[CELL.format(1, "kernel")]
    cell = net.cells[1]
    gathered = view.gather(
        {
            cell.kernel.ref(): 2 * cell.kernel.numpy(),
            cell.recurrent_kernel.ref(): 2 * cell.recurrent_kernel.numpy(),
        }
    )
    np.testing.assert_array_equal(gathered, 2 * view.read())


def test_assign_checks_the_shape():
    view = new_net().tf1_views()["Model/softmax_w"]
    with pytest.raises(
        ValueError,
        match=r"has shape \(2, 2\), the model "
        r"needs \(5, 7\)",
    ):
        view.assign(np.zeros((2, 2)))


class TestUnitSlices:
    def setup_method(self):
        self.cell = cells.LSTMCell(3)
        self.cell.build(tf.TensorShape([None, 4]))
        self.view = tf1.lstm_matrix(self.cell)

    def test_input_rows_hidden_rows_and_a_gate(self):
        """TF1's second gate is the candidate, our third."""
        for axis, start, stop, expected in [
            (0, 0, 4, [(self.cell.kernel, 0, 4)]),
            (0, 4, 7, [(self.cell.recurrent_kernel, 0, 3)]),
            (
                1,
                3,
                6,
                [(self.cell.kernel, 6, 9), (self.cell.recurrent_kernel, 6, 9)],
            ),
        ]:
            found = self.view.unit_slices(axis, start, stop, 2.0)
            assert {
                (s.variable.ref(), s.axis, s.start, s.stop, s.multiplier)
                for s in found
            } == {(v.ref(), axis, a, b, 2.0) for v, a, b in expected}

    @pytest.mark.parametrize(
        "axis, start, stop, message",
        [
            (0, 3, 5, "rows 3:5 cross the border at 0:4"),
            (1, 2, 4, "columns 2:4 cross the border at 0:3"),
            (0, 7, 9, "rows 7:9 are outside the matrix of shape"),
        ],
    )
    def test_ranges_that_no_block_holds(self, axis, start, stop, message):
        with pytest.raises(errors.UserError, match=message):
            self.view.unit_slices(axis, start, stop)


@pytest.mark.parametrize(
    "name, expected",
    [
        (CELL.format(0, "weights"), CELL.format(0, "kernel")),
        (CELL.format(1, "biases"), CELL.format(1, "bias")),
        (CELL.format(1, "kernel"), CELL.format(1, "kernel")),
        ("Model/softmax_w", "Model/softmax_w"),
        ("Model/weights", "Model/weights"),
    ],
)
def test_canonical(name, expected):
    assert tf1.canonical(name) == expected


@pytest.mark.parametrize("style", [("weights", "biases"), ("kernel", "bias")])
def test_checkpoints_of_both_name_styles(tmp_path, style):
    values = arrays(style)
    prefix = write_checkpoint(tmp_path, values)
    for path in (prefix, str(tmp_path)):
        found = tf1.read_checkpoint(path)
        assert int(found["Model/global_step"]) == 13
        net = new_net()
        tf1.assign(net.tf1_views(), found, path)
        for name, view in net.tf1_views().items():
            np.testing.assert_array_equal(
                view.read(), canonical(values)[name], name
            )


def test_a_folder_that_was_moved(tmp_path):
    """The state file names the absolute path of the machine it came from."""
    (tmp_path / "there").mkdir()
    write_checkpoint(tmp_path / "there", arrays())
    (tmp_path / "there" / "checkpoint").write_text(
        'model_checkpoint_path: "/home/wei/model.ckpt-13"\n'
    )
    moved = (tmp_path / "there").rename(tmp_path / "here")
    assert "Model/softmax_w" in tf1.read_checkpoint(str(moved))


def test_a_state_file_that_is_no_text(tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"\x80\xff")
    with pytest.raises(
        errors.UserError,
        match="checkpoint state .*checkpoint is damaged: .*; give the ",
    ):
        tf1.read_checkpoint(str(tmp_path))


class TestFolders:
    """B1: what counts is the folder given, not what its state file recorded."""

    STATE = 'model_checkpoint_path: "{}"\nall_model_checkpoint_paths: "{}"\n'

    def write(self, folder, value, step=5, version=2, sharded=False):
        """A checkpoint of one number; returns what the Saver calls it."""
        folder.mkdir(exist_ok=True)
        v1 = tf.compat.v1
        with tf.Graph().as_default(), v1.Session() as session:
            v1.get_variable(
                "v", initializer=np.float32(value), use_resource=False
            )
            session.run(v1.global_variables_initializer())
            return v1.train.Saver(write_version=version, sharded=sharded).save(
                session, str(folder / "model.ckpt"), global_step=step
            )

    def read(self, path):
        return float(tf1.read_checkpoint(path)["v"])

    def test_a_copy_is_read_though_the_original_trained_on(self, tmp_path):
        self.write(tmp_path / "work", 1.0)
        state = tmp_path / "work" / "checkpoint"
        state.write_text(
            self.STATE.format(*[tmp_path / "work/model.ckpt-5"] * 2)
        )
        shutil.copytree(tmp_path / "work", tmp_path / "copy")
        self.write(tmp_path / "work", 2.0)
        assert self.read(tmp_path / "copy") == 1.0
        assert self.read(str(tmp_path / "work")) == 2.0

    def test_a_copy_of_one_folder_up(self, tmp_path):
        self.write(tmp_path / "work", 1.0)
        state = tmp_path / "work" / "checkpoint"
        state.write_text(
            self.STATE.format(*[tmp_path / "work/model.ckpt-5"] * 2)
        )
        for file in (tmp_path / "work").iterdir():
            shutil.copy(file, tmp_path)
        self.write(tmp_path / "work", 2.0)
        assert self.read(tmp_path) == 1.0

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    @pytest.mark.parametrize(
        "recorded",
        ["C:\\\\runs\\\\model.ckpt-5", "/gone/model.ckpt-5", "model.ckpt-5"],
    )
    def test_paths_of_other_machines(self, tmp_path, recorded, mark):
        self.write(tmp_path, 1.0)
        (tmp_path / "checkpoint").write_text(
            mark + self.STATE.format(recorded, recorded)
        )
        assert self.read(tmp_path) == 1.0

    def test_a_recorded_path_counts_within_the_folder(self, tmp_path):
        self.write(tmp_path / "inner", 1.0)
        for recorded in "inner/model.ckpt-5", tmp_path / "inner/model.ckpt-5":
            (tmp_path / "checkpoint").write_text(
                self.STATE.format(recorded, recorded)
            )
            assert self.read(tmp_path) == 1.0

    @pytest.mark.parametrize("left", [[], [".index"]])
    def test_of_the_older_ones_the_newest_is_taken(self, tmp_path, left):
        for step in (3, 5, 9):
            self.write(tmp_path, step, step)
        (tmp_path / "checkpoint").write_text(
            self.STATE.format("model.ckpt-9", "model.ckpt-3")
            + 'all_model_checkpoint_paths: "model.ckpt-5"\n'
        )
        for file in tmp_path.glob("model.ckpt-9.*"):
            if file.suffix not in left:
                file.unlink()
        with pytest.warns(
            UserWarning,
            match=r"names 'model\.ckpt-9', which is not there; reading "
            r".*model\.ckpt-5 instead",
        ):
            assert self.read(tmp_path) == 5.0

    def test_without_a_state_file(self, tmp_path, recwarn):
        self.write(tmp_path, 5.0)
        (tmp_path / "checkpoint").unlink()
        assert self.read(tmp_path) == 5.0
        assert not recwarn.list
        self.write(tmp_path, 12.0, 12)
        (tmp_path / "checkpoint").unlink()
        with pytest.raises(
            errors.UserError,
            match=r"holds several checkpoints and no 'checkpoint' file that "
            r"names one of them; give the prefix, such as .*ckpt-12$",
        ):
            self.read(tmp_path)

    @pytest.mark.parametrize("sharded", [False, True])
    def test_the_first_format(self, tmp_path, sharded):
        name = self.write(tmp_path / "[1]", 7.0, 5, 1, sharded)
        moved = (tmp_path / "[1]").rename(tmp_path / "[2]")
        names = [moved, moved / "model.ckpt-5", moved / "model.ckpt-5.meta"]
        for path in [*names, moved / os.path.basename(name)]:
            assert self.read(path) == 7.0
        (moved / "checkpoint").unlink()
        assert self.read(moved) == 7.0

    @pytest.mark.parametrize(
        "ending", [".index", ".meta", ".data-00000-of-00001"]
    )
    def test_inner_files(self, tmp_path, ending):
        assert self.read(self.write(tmp_path, 4.0) + ending) == 4.0

    def test_a_path_that_is_not_utf8(self, tmp_path):
        """B26."""
        self.write(tmp_path / "plain", 4.0)
        odd = os.path.join(os.fsencode(tmp_path), b"\xff\n")
        os.rename(tmp_path / "plain", odd)
        assert self.read(os.fsdecode(odd)) == 4.0
        os.remove(os.path.join(odd, b"model.ckpt-5.index"))
        with pytest.raises(
            errors.UserError, match=r"no checkpoint at '.*udcff.n': expected"
        ) as caught:
            self.read(os.fsdecode(odd))
        assert str(caught.value).isprintable()

    def test_arrays_larger_than_their_files(self, tmp_path):
        """B25: TensorFlow would ask for the memory first."""
        prefix = self.write(tmp_path, 4.0)
        data = tmp_path / "model.ckpt-5.data-00000-of-00001"
        data.write_bytes(b"")
        with pytest.raises(
            errors.UserError, match="arrays take 4 bytes, but its files hold 0"
        ):
            self.read(prefix)


@pytest.mark.parametrize("name", ["", "nowhere", "file.txt"])
def test_no_checkpoint(tmp_path, name):
    (tmp_path / "file.txt").write_text("text")
    path = str(tmp_path / name)
    with pytest.raises(
        errors.UserError, match="no checkpoint at .*expected a folder with"
    ) as caught:
        tf1.read_checkpoint(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    "ending, damage",
    [
        (".index", b""),
        (".index", b"garbage" * 100),
        (".data-00000-of-00001", b"short"),
        (".data-00000-of-00001", None),
    ],
)
def test_a_damaged_checkpoint(tmp_path, ending, damage):
    prefix = write_checkpoint(tmp_path, arrays())
    file = tmp_path / f"model.ckpt-13{ending}"
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    with pytest.raises(
        errors.UserError, match="checkpoint .*model.ckpt-13 is damaged: ."
    ) as caught:
        tf1.read_checkpoint(prefix)
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_noticed(tmp_path):
    prefix = write_checkpoint(tmp_path, arrays())
    file = tmp_path / "model.ckpt-13.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(errors.UserError, match="is damaged"):
        tf1.read_checkpoint(prefix)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda v: v.pop("Model/softmax_b"),
            "old has no variable 'Model/softmax_b'; it has: Model/RNN",
        ),
        (
            lambda v: v.update({"Model/softmax_b": np.zeros(3)}),
            r"'Model/softmax_b' in old has shape \(3,\), but the model needs "
            r"\(7,\): it must have the sizes",
        ),
        (
            lambda v: v.update({"Model/softmax_b": np.array(["a"] * 7)}),
            "'Model/softmax_b' in old is of type <U1; weights are real numbers",
        ),
        (
            lambda v: v.update({"Model/softmax_b": np.full(7, 1j)}),
            "'Model/softmax_b' in old is of type complex128",
        ),
        (
            lambda v: v.update({"Model/softmax_b": np.full(7, np.nan)}),
            "'Model/softmax_b' in old holds NaN or infinite numbers",
        ),
        (
            lambda v: v.update({"Model/softmax_b": np.full(7, 1e300)}),
            "'Model/softmax_b' in old holds NaN or infinite numbers",
        ),
    ],
)
def test_assign_is_all_or_nothing(change, message):
    net, values = new_net(), canonical(arrays())
    before = net.get_weights()
    change(values)
    with pytest.raises(errors.UserError, match=message):
        tf1.assign(net.tf1_views(), values, "old")
    for ours, theirs in zip(net.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)
