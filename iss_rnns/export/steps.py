"""One time step of a plan, in TensorFlow's plain operators."""

from collections.abc import Mapping

import tensorflow as tf

from iss_rnns import errors
from iss_rnns.export import plans

_ACTIVATIONS = {
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
    "sigmoid": tf.sigmoid,
    "hard_sigmoid": lambda x: tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0),
    "softsign": tf.nn.softsign,
    "softplus": tf.nn.softplus,
    "elu": tf.nn.elu,
    "softmax": tf.nn.softmax,
    "linear": tf.identity,
}


class Step(tf.Module):
    """A plan that reads one step a call; states come in and go out.

    Args:
      plan: with states, see `plans.with_states`.

    Attributes:
      inputs: as the plan's, without the axis of time.
      outputs: names of what it gives.

    Raises:
      UserError: a layer runs backwards, which takes whole sequences.
    """

    def __init__(self, plan: plans.Plan):
        super().__init__()
        backwards = plans.first_backwards(plan)
        if backwards is not None:
            raise errors.UserError(
                f"the layer '{backwards.name}' runs backwards, so it needs the "
                "end of a sequence first: export the model without states"
            )
        given = {each.name for each in plan.inputs}
        for layer in plan.recurrent():
            if not set(layer.inputs[1:]) <= given:
                raise errors.UserError(
                    f"the states of the layer '{layer.name}' begin with what "
                    "other layers compute, so they cannot go on from step to "
                    "step: export the model without states"
                )
        self._plan = plan
        self.outputs = list(plan.outputs)
        states = {n for each in plan.recurrent() for n in each.inputs[1:]}
        self.inputs = [
            each
            if each.name in states
            else plans.Input(
                each.name,
                each.dtype,
                (None,) if each.dtype == "int32" else (None, each.shape[-1]),
            )
            for each in plan.inputs
        ]
        self._weights = {
            layer.name: {
                name: tf.Variable(array, trainable=False)
                for name, array in layer.arrays.items()
            }
            for layer in plan.layers
        }

    def __call__(self, given: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Inputs `[batch, ...]` by name -> outputs by name."""
        values = dict(given)
        for layer in self._plan.layers:
            read = [values[name] for name in layer.inputs]
            if layer.kind in plans.RECURRENT:
                new = self._recurrent(layer, *read)
                made = [new[0], *new]
            else:
                made = [self._apply(layer, read)]
            values.update(zip(layer.outputs, made))
        return {
            name: tf.identity(values[value])
            for name, value in self._plan.outputs.items()
        }

    def _apply(self, layer, read):
        x, *_ = read
        weights = self._weights[layer.name]
        if layer.kind == "embedding":
            return tf.gather(weights["table"], x)
        if layer.kind == "masking":
            return x  # Who calls does not call for what is hidden.
        if layer.kind == "dense":
            z = tf.nn.bias_add(tf.matmul(x, weights["kernel"]), weights["bias"])
            return _ACTIVATIONS[layer.options["activation"]](z)
        if layer.kind == "activation":
            if layer.options["activation"] == "leaky_relu":
                return tf.nn.leaky_relu(x, layer.options["alpha"])
            return _ACTIVATIONS[layer.options["activation"]](x)
        if layer.kind == "affine":
            return x * weights["scale"] + weights["offset"]
        if layer.kind == "concatenate":
            return tf.concat(read, -1)
        if layer.kind == "multiply":
            return tf.math.reduce_prod(tf.stack(read), 0)
        total = tf.add_n(read)
        return total / len(read) if layer.kind == "average" else total

    def _recurrent(self, layer, x, h, c=None):
        w, n = self._weights[layer.name], layer.units
        if layer.kind == "rhn":
            for d in range(layer.options["depth"]):
                z = tf.matmul(h, w[f"recurrent_{d}"]) + w[f"bias_{d}"]
                if d == 0:
                    z += tf.matmul(x, w["kernel"])
                new, t = tf.tanh(z[:, :n]), tf.sigmoid(z[:, n:])
                h = (new - h) * t + h
            return [h]
        z = tf.nn.bias_add(tf.matmul(x, w["kernel"]), w["bias"])
        inner = _ACTIVATIONS[layer.options["activation"]]
        kernel = w["recurrent_kernel"]
        if layer.kind == "rnn":
            return [inner(z + tf.matmul(h, kernel))]
        gate = _ACTIVATIONS[layer.options["recurrent_activation"]]
        if layer.kind == "lstm":
            i, f, new, o = tf.split(z + tf.matmul(h, kernel), 4, 1)
            c = gate(f) * c + gate(i) * inner(new)
            return [gate(o) * inner(c), c]
        bias = w["recurrent_bias"]
        if layer.options["reset_after"]:
            y = tf.nn.bias_add(tf.matmul(h, kernel), bias)
            gates = gate(z[:, : 2 * n] + y[:, : 2 * n])
            update, reset = gates[:, :n], gates[:, n:]
            new = inner(z[:, 2 * n :] + reset * y[:, 2 * n :])
        else:
            y = tf.matmul(h, kernel[:, : 2 * n]) + bias[: 2 * n]
            gates = gate(z[:, : 2 * n] + y)
            update, reset = gates[:, :n], gates[:, n:]
            y = tf.matmul(reset * h, kernel[:, 2 * n :]) + bias[2 * n :]
            new = inner(z[:, 2 * n :] + y)
        return [new + update * (h - new)]
