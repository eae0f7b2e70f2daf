"""The six models in Keras, for this library and for tfmot.

    python -m benchmarks.rivals.keras_models iss_rnns

Dead units are put in by hand, by the layouts that Keras documents, so that
no library's own idea of a unit decides.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf

from benchmarks.rivals import outcome

L = tf.keras.layers
N = outcome.UNITS


def gates(cell: str) -> int:
    """Blocks of columns of a kernel."""
    return {"LSTM": 4, "GRU": 3}[cell]


def kill(layer, *readers) -> None:
    """Sets all that makes or reads the dead units of a layer to zero.

    Args:
      layer: an LSTM or GRU.
      readers: (layer, row of its kernel where the units begin).
    """
    count = gates(type(layer).__name__)
    columns = np.concatenate([gate * N + outcome.DEAD for gate in range(count)])
    kernel, recurrent, bias = layer.get_weights()
    kernel[:, columns] = 0
    recurrent[:, columns] = 0
    recurrent[outcome.DEAD] = 0
    bias[..., columns] = 0
    layer.set_weights([kernel, recurrent, bias])
    for reader, start in readers:
        first, *rest = reader.get_weights()
        first[start + outcome.DEAD] = 0
        reader.set_weights([first, *rest])


def stacked():
    """See `outcome.MODELS`."""
    x = tf.keras.Input((outcome.STEPS, outcome.FEATURES))
    first, second = L.LSTM(N, return_sequences=True), L.LSTM(N)
    out = L.Dense(outcome.CLASSES)
    model = tf.keras.Model(x, out(second(first(x))))
    kill(first, (second, 0))
    kill(second, (out, 0))
    return model


def bidirectional():
    """See `outcome.MODELS`."""
    x = tf.keras.Input((outcome.STEPS,), dtype="int32")
    first = L.Bidirectional(L.GRU(N, return_sequences=True))
    second = L.Bidirectional(L.GRU(N))
    out = L.Dense(outcome.CLASSES)
    h = L.Embedding(outcome.WORDS, outcome.FEATURES, mask_zero=True)(x)
    model = tf.keras.Model(x, out(second(first(h))))
    both = [second.forward_layer, second.backward_layer]
    for i, layer in enumerate((first.forward_layer, first.backward_layer)):
        kill(layer, *[(reader, i * N) for reader in both])
    for i, layer in enumerate(both):
        kill(layer, (out, i * N))
    return model


def residual():
    """See `outcome.MODELS`."""
    x = tf.keras.Input((outcome.STEPS, outcome.FEATURES))
    first = L.LSTM(N, return_sequences=True)
    second = L.LSTM(N, return_sequences=True)
    out = L.Dense(outcome.CLASSES)
    h = first(x)
    total = L.Add()([h, second(h)])
    model = tf.keras.Model(x, L.TimeDistributed(out)(total))
    kill(first, (second, 0), (out, 0))
    kill(second, (out, 0))
    return model


def encoder_decoder():
    """See `outcome.MODELS`."""
    x = tf.keras.Input((outcome.STEPS, outcome.FEATURES))
    encoder = L.LSTM(N, return_state=True)
    decoder = L.LSTM(N, return_sequences=True)
    out = L.Dense(outcome.CLASSES)
    _, *states = encoder(x)
    model = tf.keras.Model(x, out(decoder(x, initial_state=states)))
    kill(encoder)
    kill(decoder, (out, 0))
    return model


def attention():
    """See `outcome.MODELS`."""
    x = tf.keras.Input((outcome.STEPS, outcome.FEATURES))
    encoder = L.Bidirectional(L.LSTM(N, return_sequences=True))
    out = L.Dense(outcome.CLASSES)
    h = encoder(x)
    read = L.Attention()([h, h])
    model = tf.keras.Model(x, out(L.GlobalAveragePooling1D()(read)))
    for i, layer in enumerate((encoder.forward_layer, encoder.backward_layer)):
        kill(layer, (out, i * N))
    return model


def language():
    """See `outcome.MODELS`."""
    x = tf.keras.Input((outcome.STEPS,), dtype="int32")
    lstm, out = L.LSTM(N, return_sequences=True), L.Dense(outcome.WORDS)
    h = L.Embedding(outcome.WORDS, outcome.FEATURES)(x)
    model = tf.keras.Model(x, out(L.Dropout(0.2)(lstm(h))))
    kill(lstm, (out, 0))
    return model


def build(name: str) -> tf.keras.Model:
    """One of `outcome.MODELS`, half of whose units are dead."""
    tf.keras.utils.set_random_seed(3)
    return globals()[name.replace("-", "_")]()


def batch_of(model) -> np.ndarray:
    """A batch of its inputs."""
    ids = model.input.dtype == tf.int32
    return outcome.words() if ids else outcome.numbers()


def with_iss_rnns(model, batch):
    """This library: cuts what is dead, and proves it."""
    import iss_rnns

    return iss_rnns.shrink(model, iss_rnns.find_groups(model), [batch])[0]


def with_tfmot(model, batch):
    """tfmot: masks for half of the weights, then its strip."""
    import tensorflow_model_optimization as tfmot

    sparsity = tfmot.sparsity.keras
    pruned = sparsity.prune_low_magnitude(
        model, pruning_schedule=sparsity.ConstantSparsity(0.5, 0, frequency=1)
    )
    pruned.compile(tf.keras.optimizers.SGD(0.0), "mse")
    pruned.fit(
        batch,
        np.zeros(np.shape(model(batch)), np.float32),
        batch_size=len(batch),
        epochs=2,
        verbose=0,
        callbacks=[sparsity.UpdatePruningStep()],
    )
    return sparsity.strip_pruning(pruned)


LIBRARIES = {"iss_rnns": with_iss_rnns, "tfmot": with_tfmot}


def units_of(model) -> int:
    """Units of all recurrent layers."""
    total = 0
    for layer in model.layers:
        for each in (
            (layer.forward_layer, layer.backward_layer)
            if isinstance(layer, L.Bidirectional)
            else (layer,)
        ):
            if isinstance(each, (L.LSTM, L.GRU)):
                total += each.units
    return total


def taken(library: str, name: str) -> dict:
    """The outcome of one model."""
    model = build(name)
    batch = batch_of(model)
    expected = model(batch).numpy()
    units = units_of(model)
    small = LIBRARIES[library](build(name), batch)
    with tempfile.TemporaryDirectory() as folder:
        sizes = []
        for i, each in enumerate((model, small)):
            path = pathlib.Path(folder) / f"{i}.keras"
            each.save(path)
            sizes.append(path.stat().st_size)

    def run(each):
        function = tf.function(
            lambda x: each(x, training=False), autograph=False
        )
        given = tf.constant(batch)
        return lambda: function(given).numpy()

    return outcome.measured(
        (units, units_of(small)),
        (expected, small(batch).numpy()),
        tuple(sizes),
        {"before": run(model), "after": run(small)},
    )


def main():
    """Prints the outcomes of the library that is named, as JSON."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    library = sys.argv[1]
    found = outcome.of_each(lambda name: taken(library, name))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
