"""The word LSTM: the authors' hyper-parameters, its maths, its groups."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.interop import ptb_settings
from ptb import model as model_lib

# init_scale, rate, clip, layers, steps, hidden, max_epoch, epochs, keep,
# decay, batch: the authors' table.
TABLE = {
    "small": (0.1, 1.0, 5, 2, 20, 200, 4, 13, 1.0, 0.5, 20),
    "medium": (0.05, 1.0, 5, 2, 35, 650, 6, 39, 0.5, 0.8, 20),
    "large": (0.04, 1.0, 10, 2, 35, 1500, 14, 55, 0.35, 1 / 1.15, 20),
    "sparselarge": (0.04, 1.0, 10, 2, 35, 1500, 14, 55, 0.6, 0.1, 20),
    "validtestlarge": (0.04, 0.0, 10, 2, 35, 1500, 0, 0, 1.0, 1.0, 20),
    "test": (0.1, 1.0, 1, 1, 2, 2, 1, 1, 1.0, 0.5, 20),
}


def test_hyper_parameters_are_the_authors():
    assert model_lib.CONFIGS == {
        name: model_lib.ModelConfig(*row, decay_by_thirds=name == "sparselarge")
        for name, row in TABLE.items()
    }


@pytest.mark.parametrize(
    "model, optimizer, expected",
    [
        ("small", "gd", [1, 1, 1, 1] + [0.5**n for n in range(1, 10)]),
        ("sparselarge", "gd", [1.0] * 18 + [0.1] * 18 + [0.01] * 18 + [0.001]),
        ("small", "adam", [1.0] * 13),
        ("validtestlarge", "gd", []),
    ],
)
def test_learning_rates(model, optimizer, expected):
    config = model_lib.CONFIGS[model]
    np.testing.assert_allclose(
        [
            model_lib.learning_rate(config, epoch, optimizer)
            for epoch in range(config.max_max_epoch)
        ],
        expected,
    )


def new_net(sizes=(5, 3), **kwargs):
    return model_lib.WordLSTM(11, 4, sizes, init_scale=0.5, seed=1, **kwargs)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_logits(net, ids):
    """[T * B, V] and the final states, one word at a time."""
    states = [np.zeros([len(ids), n]) for n in net.state_sizes]
    rows = []
    for column in ids.T:
        x = net.embedding.numpy()[column]
        for i, cell in enumerate(net.cells):
            h, c = states[2 * i : 2 * i + 2]
            z = (
                x @ cell.kernel.numpy()
                + h @ cell.recurrent_kernel.numpy()
                + cell.bias.numpy()
            )
            gate_i, gate_f, candidate, gate_o = np.split(z, 4, 1)
            c = sigmoid(gate_f) * c + sigmoid(gate_i) * np.tanh(candidate)
            x = sigmoid(gate_o) * np.tanh(c)
            states[2 * i : 2 * i + 2] = x, c
        rows.append(x @ net.softmax_w.numpy() + net.softmax_b.numpy())
    return np.concatenate(rows), states


@pytest.mark.parametrize("sizes", [(5,), (5, 3), (3, 4, 2)])
def test_logits_against_numpy(sizes):
    net = new_net(sizes)
    ids = np.random.default_rng(0).integers(0, 11, (2, 6)).astype(np.int32)
    expected, states = numpy_logits(net, ids)
    for training in (True, False):
        logits, finals = net(ids, training=training)
        np.testing.assert_allclose(logits, expected, atol=1e-5)
        for ours, theirs in zip(finals, states):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_weights_start_as_the_authors():
    """Uniform in the scale, biases of the LSTMs 0, by the seed."""
    net = new_net((40, 30))
    for variable in net.trainable_variables:
        value = variable.numpy()
        if "bias" in variable.name:
            assert not value.any()
        else:
            assert -0.5 <= value.min() < value.max() <= 0.5
            assert abs(value).mean() > 0.15
    kernels = [c.kernel.numpy()[:4, :4] for c in net.cells] + [
        c.recurrent_kernel.numpy()[:4, :4] for c in net.cells
    ]
    assert len({k.tobytes() for k in kernels}) == 4
    again, other = (
        new_net((40, 30)),
        model_lib.WordLSTM(11, 4, (40, 30), init_scale=0.5, seed=2),
    )
    np.testing.assert_array_equal(net.softmax_w, again.softmax_w)
    assert (net.softmax_w.numpy() != other.softmax_w.numpy()).any()


def test_groups_and_names():
    net = new_net()
    first, second = net.iss_groups()
    assert (first.size, second.size) == (5, 3)
    assert net.cells[1].kernel.ref() in [v.ref() for v in first.variables]
    assert net.softmax_w.ref() in [v.ref() for v in second.variables]
    assert net.state_groups == ["lstm_0", "lstm_0", "lstm_1", "lstm_1"]
    assert {name: view.shape for name, view in net.tf1_views().items()} == {
        "Model/embedding": (11, 4),
        "Model/RNN/multi_rnn_cell/cell_0/basic_lstm_cell/kernel": (9, 20),
        "Model/RNN/multi_rnn_cell/cell_0/basic_lstm_cell/bias": (20,),
        "Model/RNN/multi_rnn_cell/cell_1/basic_lstm_cell/kernel": (8, 12),
        "Model/RNN/multi_rnn_cell/cell_1/basic_lstm_cell/bias": (12,),
        "Model/softmax_w": (3, 11),
        "Model/softmax_b": (11,),
    }


def test_weights_by_name():
    found = new_net(cell="gru").weights_by_name()
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        "embedding": (11, 4),
        "gru_0/kernel": (4, 15),
        "gru_0/recurrent_kernel": (5, 15),
        "gru_0/bias": (2, 15),
        "gru_1/kernel": (5, 9),
        "gru_1/recurrent_kernel": (3, 9),
        "gru_1/bias": (2, 9),
        "softmax/kernel": (3, 11),
        "softmax/bias": (11,),
    }


@pytest.mark.parametrize("shape", [(3,), (9, 0), (9, 6), ()])
def test_sizes_of_no_matrix(shape):
    with pytest.raises(
        errors.UserError,
        match="'Model/.*/kernel' has shape "
        r"\(.*\); expected a matrix with 4 columns a unit",
    ):
        model_lib.sizes_of(
            {
                "Model/RNN/multi_rnn_cell/cell_0/basic_lstm_cell/kernel": np.zeros(
                    shape
                )
            }
        )


def test_resized_and_config_round_trip():
    net = new_net(keep_prob=0.5)
    small = net.resized({"lstm_1": 2})
    assert small.hidden_sizes == (5, 2) and small.keep_prob == 0.5
    assert [v.name for v in small.trainable_variables] == [
        v.name for v in net.trainable_variables
    ]
    again = model_lib.WordLSTM.from_config(net.get_config())
    for ours, theirs in zip(again.get_weights(), net.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert again.get_config() == net.get_config()


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    net = new_net(keep_prob=0.8)
    noise = net.draw_noise(None, tf.constant([3, 4]))
    ones = tf.ones([50, 20, 6])
    dropped = noise.on_output(ones, 0).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0.0, 1.25], rtol=1e-4)
    assert abs(dropped.mean() - 1.0) < 0.02
    assert len({dropped[t].tobytes() for t in range(50)}) == 50
    others = noise.on_embedding(ones), noise.on_output(ones, 1)
    assert len({np.asarray(x).tobytes() for x in (dropped, *others)}) == 3
    x = np.array([[3, 1], [2, 7]], np.int32)
    np.testing.assert_array_equal(net(x)[0], new_net(keep_prob=1.0)(x)[0])
    assert new_net(keep_prob=1.0).draw_noise(None, None) is None


def test_a_step_equals_the_sequence():
    net = new_net()
    ids = np.array([[3, 1], [2, 7]], np.int32)
    expected, _ = net(ids)
    states = [tf.zeros([2, n]) for n in net.state_sizes]
    for t in range(2):
        logits, states = net.step(ids[:, t], states)
        np.testing.assert_allclose(
            logits, expected[2 * t : 2 * t + 2], atol=1e-6
        )


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_the_structures_of_other_cells(cell):
    """Their file asks for the ISS of the model itself."""
    model = model_lib.WordLSTM(11, 6, (5, 4), cell=cell)
    settings = ptb_settings.load(
        str(
            pathlib.Path(model_lib.__file__).parent
            / f"settings/structure_grouplasso_{cell}.json"
        )
    )
    found = ptb_settings.build_groups(
        settings, model.tf1_views(), model.tf1_cells()
    )
    assert settings.global_decay == 0.00245
    for ours, theirs in zip(found, model.iss_groups()):
        assert ours.name == theirs.name
        np.testing.assert_allclose(
            ours.squared_norms(), theirs.squared_norms(), rtol=1e-6
        )
        assert [c.variable.ref() for c in ours.companions] == [
            c.variable.ref() for c in theirs.companions
        ]
    assert len(found) == 2
