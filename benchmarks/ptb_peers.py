"""The word language model in stock Keras, PyTorch and ONNX.

Every one starts from the weights of a `ptb.model.WordLSTM`, so that all of
them compute the same; a test holds them to it.
"""

from typing import Callable

import numpy as np
import tensorflow as tf

from benchmarks import harness

# ONNX's order i, o, f, c out of Keras' i, f, c, o; PyTorch has Keras'.
_ONNX_GATES = (0, 3, 1, 2)


class KerasLM(tf.keras.Model):
    """Stock `tf.keras.layers`, trained by the usual step.

    Args:
      net: whose sizes and weights to take.
      batch_size: of the carried states.
      max_grad_norm: of clipping; None for a net that is not trained.
    """

    def __init__(self, net, batch_size: int, max_grad_norm: float = None):
        super().__init__()
        self.batch_size = batch_size
        self.max_grad_norm = max_grad_norm
        self.embedding = tf.keras.layers.Embedding(
            net.vocab_size, net.embedding_size
        )
        self.lstms = [
            tf.keras.layers.LSTM(n, return_sequences=True, return_state=True)
            for n in net.hidden_sizes
        ]
        self.softmax = tf.keras.layers.Dense(net.vocab_size)
        self.carried = [
            tf.Variable(tf.zeros([batch_size, n]), trainable=False)
            for n in net.state_sizes
        ]
        self(
            tf.zeros([1, 1], tf.int32),
            [tf.zeros([1, n]) for n in net.state_sizes],
        )
        self.embedding.set_weights([net.embedding.numpy()])
        for lstm, cell in zip(self.lstms, net.cells):
            lstm.set_weights(
                [
                    cell.kernel.numpy(),
                    cell.recurrent_kernel.numpy(),
                    cell.effective_bias().numpy(),
                ]
            )
        self.softmax.set_weights([net.softmax_w.numpy(), net.softmax_b.numpy()])

    def call(self, inputs, states, training=None):
        """`[B, T]` ids -> (logits `[B, T, V]`, new states)."""
        x = self.embedding(inputs)
        finals = []
        for i, lstm in enumerate(self.lstms):
            x, *final = lstm(
                x, initial_state=states[2 * i : 2 * i + 2], training=training
            )
            finals += final
        return self.softmax(x), finals

    def train_step(self, data):
        """One step on a batch (x, y), each `[B, T]`."""
        x, y = data
        with tf.GradientTape() as tape:
            logits, states = self(x, self.carried, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=y, logits=logits
            )
            cost = tf.reduce_sum(losses) / self.batch_size
        gradients = tape.gradient(cost, self.trainable_variables)
        clipped, _ = tf.clip_by_global_norm(gradients, self.max_grad_norm)
        self.optimizer.apply_gradients(zip(clipped, self.trainable_variables))
        for variable, state in zip(self.carried, states):
            variable.assign(state)
        return {"cost": cost}


def torch_lm(net):
    """`torch.nn` modules with the net's weights: (embedding, lstms, softmax).

    The LSTMs are one `nn.LSTM` for all layers where their sizes are equal,
    as a user of PyTorch would have it, else one for each.
    """
    torch = harness.find("torch")

    def copied(array):
        return torch.from_numpy(np.array(array))

    sizes = net.hidden_sizes
    embedding = torch.nn.Embedding(net.vocab_size, net.embedding_size)
    if len(set(sizes)) == 1:
        lstms = [torch.nn.LSTM(net.embedding_size, sizes[0], len(sizes))]
    else:
        inputs = (net.embedding_size,) + sizes
        lstms = [torch.nn.LSTM(i, n) for i, n in zip(inputs, sizes)]
    softmax = torch.nn.Linear(sizes[-1], net.vocab_size)
    with torch.no_grad():
        embedding.weight.copy_(copied(net.embedding))
        places = [(lstm, k) for lstm in lstms for k in range(lstm.num_layers)]
        for (lstm, k), cell in zip(places, net.cells):
            for name, value in (
                ("weight_ih", cell.kernel.numpy().T),
                ("weight_hh", cell.recurrent_kernel.numpy().T),
                ("bias_ih", cell.effective_bias()),
            ):
                getattr(lstm, f"{name}_l{k}").copy_(copied(value))
            getattr(lstm, f"bias_hh_l{k}").zero_()
        softmax.weight.copy_(copied(net.softmax_w.numpy().T))
        softmax.bias.copy_(copied(net.softmax_b))
    return torch.nn.ModuleList([embedding, *lstms, softmax])


def torch_forward(modules, x, states: list):
    """`[B, T]` ids -> (logits `[T, B, V]`, new states), time-major."""
    embedding, *lstms, softmax = modules
    x = embedding(x.T)
    finals = []
    for i, lstm in enumerate(lstms):
        x, final = lstm(x, states[i] if states else None)
        finals.append(final)
    return softmax(x), finals


def torch_trainer(net, learning_rate: float, max_grad_norm: float) -> Callable:
    """`step(x, y)` -> cost: the usual training step of PyTorch."""
    torch = harness.find("torch")
    modules = torch_lm(net)
    optimizer = torch.optim.SGD(modules.parameters(), lr=learning_rate)
    carried = []

    def step(x: np.ndarray, y: np.ndarray) -> float:
        x, y = (torch.from_numpy(a.astype(np.int64)) for a in (x, y))
        optimizer.zero_grad(set_to_none=True)
        logits, states = torch_forward(modules, x, carried)
        cost = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), y.T.flatten(), reduction="sum"
        ) / len(x)
        cost.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), max_grad_norm)
        optimizer.step()
        carried[:] = [tuple(s.detach() for s in pair) for pair in states]
        return float(cost.detach())

    return step


def torch_predictor(net) -> Callable:
    """`run(tokens)` -> logits `[T, B, V]`, from zero states."""
    torch = harness.find("torch")
    modules = torch_lm(net).eval()

    @torch.inference_mode()
    def run(tokens: np.ndarray) -> np.ndarray:
        ids = torch.from_numpy(tokens.astype(np.int64))
        return torch_forward(modules, ids, [])[0].numpy()

    return run


def onnx_model(net) -> bytes:
    """The net as an ONNX model, built from ONNX's own operators.

    Inputs `tokens [B, T]` int32 and the states `[1, B, n]`; outputs `logits
    [T, B, V]` and the new states, named after the inputs with `_out`.
    """
    onnx = harness.find("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    nodes, inputs, outputs, weights = [], [], [], []

    def constant(name, array):
        weights.append(
            onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        )
        return name

    def gates(array):
        """`[..., 4 n]` -> `[1, 4 n, ...]` in ONNX's gate order."""
        i_f_c_o = np.split(np.asarray(array), 4, axis=-1)
        return np.concatenate([i_f_c_o[k] for k in _ONNX_GATES], -1).T[None]

    inputs.append(
        helper.make_tensor_value_info("tokens", types.INT32, ["batch", "time"])
    )
    nodes.append(
        helper.make_node("Transpose", ["tokens"], ["turned"], perm=[1, 0])
    )
    nodes.append(
        helper.make_node(
            "Gather",
            [constant("embedding", net.embedding.numpy()), "turned"],
            ["x_0"],
        )
    )
    x = "x_0"
    for k, cell in enumerate(net.cells):
        bias = gates(cell.effective_bias().numpy())
        states = net.state_names[2 * k : 2 * k + 2]
        for name in states:
            shape = [1, "batch", cell.units]
            inputs.append(
                helper.make_tensor_value_info(name, types.FLOAT, shape)
            )
            outputs.append(
                helper.make_tensor_value_info(f"{name}_out", types.FLOAT, shape)
            )
        nodes.append(
            helper.make_node(
                "LSTM",
                [
                    x,
                    constant(f"w_{k}", gates(cell.kernel.numpy())),
                    constant(f"r_{k}", gates(cell.recurrent_kernel.numpy())),
                    constant(f"b_{k}", np.concatenate([bias, 0 * bias], 1)),
                    "",
                    *states,
                ],
                [f"y_{k}", *(f"{name}_out" for name in states)],
                hidden_size=cell.units,
            )
        )
        # [T, 1 direction, B, n]
        nodes.append(
            helper.make_node(
                "Squeeze",
                [f"y_{k}", constant(f"axis_{k}", np.array([1]))],
                [f"x_{k + 1}"],
            )
        )
        x = f"x_{k + 1}"
    nodes.append(
        helper.make_node(
            "MatMul", [x, constant("softmax_w", net.softmax_w.numpy())], ["xw"]
        )
    )
    nodes.append(
        helper.make_node(
            "Add",
            ["xw", constant("softmax_b", net.softmax_b.numpy())],
            ["logits"],
        )
    )
    outputs.insert(
        0,
        helper.make_tensor_value_info(
            "logits", types.FLOAT, ["time", "batch", net.vocab_size]
        ),
    )
    model = helper.make_model(
        helper.make_graph(nodes, "word_lm", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def onnx_predictor(net, threads: int) -> Callable:
    """`run(tokens)` -> logits `[T, B, V]`, from zero states."""
    ort = harness.find("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(
        onnx_model(net), options, providers=["CPUExecutionProvider"]
    )

    def run(tokens: np.ndarray) -> np.ndarray:
        states = {
            name: np.zeros([1, len(tokens), n], np.float32)
            for name, n in zip(net.state_names, net.state_sizes)
        }
        return session.run(None, {"tokens": tokens, **states})[0]

    return run
