"""Every reader of the project: valid files for it, and how they are read.

`read` goes as far as a program goes with what it read, up to where training
or answering would begin.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import tempfile
import types
from typing import Callable
from unittest import mock

from absl import flags
import numpy as np
import tensorflow as tf

from bidaf import evaluate
from bidaf import loading
from bidaf import model as bidaf_model
from bidaf import options as bidaf_options
from bidaf import train as bidaf_train
from bidaf.data import feed
from bidaf.data import preprocess
from bidaf.data import read_data
from bidaf.data import squad
from bidaf.data import store as store_lib
from bidaf.data import vocabulary
from bidaf.net import authors
from iss_rnns import errors
from iss_rnns import export
from iss_rnns import sparse
from iss_rnns.experiments import metrics
from iss_rnns.experiments import program_flags
from iss_rnns.experiments import restoring
from iss_rnns.experiments.language import corpora
from iss_rnns.experiments.language import options
from iss_rnns.experiments.language import serving
from iss_rnns.experiments.reports import compare
from iss_rnns.experiments.reports import documents
from iss_rnns.experiments.reports import sections
from iss_rnns.experiments.reports import tables
from iss_rnns.export import graphs
from iss_rnns.export import manifest
from iss_rnns.export import packed
from iss_rnns.export import vocabulary as vocabulary_file
from iss_rnns.interop import group_json
from iss_rnns.interop import ptb_settings
from iss_rnns.interop import tf1
from iss_rnns.sparse import nets
from ptb import model as ptb_model
from rhns import model as rhn_model

ROOT = pathlib.Path(__file__).parents[2]
VOCABULARY, EMBEDDING, SIZES = 7, 4, (3, 5)


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
      make: writes valid files into a folder.
      read: reads them there; returns something that can be compared.
      damaged: pattern of the names of files that are damaged.
    """

    make: Callable[[pathlib.Path], None]
    read: Callable[[pathlib.Path], object]
    damaged: str = "*"


READERS: dict[str, Reader] = {}


def reader(make: Callable, damaged: str = "*"):
    """Decorator of a function that reads what `make` writes."""

    def register(read):
        READERS[read.__name__] = Reader(make, read, damaged)
        return read

    return register


# Language models


def make_words(folder):
    texts = {
        "train": " the cat sat on <unk> \n the dog 's N days \n the dog sat \n",
        "valid": " the cat sat \n",
        "test": " the dog sat on é \n",
    }
    for part, text in texts.items():
        (folder / f"ptb.{part}.txt").write_text(text, encoding="utf-8")


@reader(make_words)
def ptb_texts(folder):
    corpus = corpora.read_words(folder)
    with contextlib.suppress(errors.UserError):
        corpora.batches(corpus.train, 2, 3)
    return corpus.symbols, corpus.fingerprint


@reader(
    lambda folder: (folder / "own.txt").write_text(
        "the cat sat on é\n\n" * 30, encoding="utf-8"
    )
)
def own_text(folder):
    corpus = corpora.read_text(folder / "own.txt")
    return corpus.symbols, corpus.fingerprint


@reader(lambda folder: (folder / "text8").write_text("the cat é sat on it"))
def characters(folder):
    corpus = corpora.read_characters(folder, 4, "text8")
    return corpus.symbols, corpus.fingerprint


@functools.lru_cache(None)
def word_net():
    return ptb_model.WordLSTM(VOCABULARY, EMBEDDING, SIZES, init_scale=0.5)


def write_tf1(folder, version=2):
    v1 = tf.compat.v1
    arrays = {
        name: view.read() for name, view in word_net().tf1_views().items()
    }
    with tf.Graph().as_default(), v1.Session() as session:
        for name, array in arrays.items():
            v1.get_variable(name, initializer=array, use_resource=False)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(write_version=version)
        for step in (5, 13):
            saver.save(
                session,
                str(folder / "model.ckpt"),
                global_step=step,
                write_meta_graph=False,
            )


def read_tf1(folder):
    arrays = tf1.read_checkpoint(folder)
    tf1.assign(word_net().tf1_views(), arrays, str(folder))
    return sorted(arrays)


@reader(write_tf1, "model.ckpt-13.*")
def tf1_checkpoint(folder):
    return read_tf1(folder)


@reader(functools.partial(write_tf1, version=1), "model.ckpt-13")
def tf1_checkpoint_v1(folder):
    return read_tf1(folder)


@reader(write_tf1, "checkpoint")
def tf1_state(folder):
    return read_tf1(folder)


@functools.lru_cache(100)
def net_of_sizes(sizes):
    if max(sizes) > 1000:
        raise AssertionError(f"a net of sizes {sizes} is asked for")
    return ptb_model.WordLSTM(VOCABULARY, EMBEDDING, sizes)


def new_word_net(sizes):
    return net_of_sizes(options.layer_sizes(sizes or SIZES))


@reader(
    lambda folder: restoring.save_weights(word_net(), folder / "weights.npz")
)
def npz_weights(folder):
    net = restoring.restore(
        new_word_net, str(folder / "weights.npz"), ptb_model.sizes_of
    )
    return net.hidden_sizes


def make_packed(folder):
    net = word_net()
    sparse_net = ptb_model.WordLSTM(VOCABULARY, EMBEDDING, SIZES)
    for ours, theirs in zip(
        sparse_net.trainable_variables, net.trainable_variables
    ):
        ours.assign(np.where(np.abs(theirs) < 0.3, 0.0, theirs))
    parts = {
        name: sparse.pack(part.numpy(), batch_sizes=())
        if isinstance(part, tf.Variable)
        else nets.pack_cell(part, ())
        for name, part in sparse_net.packable().items()
    }
    for name, part in parts.items():
        part.save(str(folder / f"{name}.npz"))
    sparse.PackedLanguageModel(
        sparse_net.embedding.numpy(), parts, sparse_net.softmax_b.numpy()
    ).save(str(folder / packed.MODEL_FILE))


@reader(make_packed)
def packed_model(folder):
    model = sparse.PackedLanguageModel.load(
        str(folder / packed.MODEL_FILE), batch_sizes=()
    )
    logits, _ = model(np.zeros((2, 3), int))
    return logits.tolist()


def make_checked(folder):
    """With a manifest, as the programs write it."""
    make_packed(folder)
    symbols = [f"w{i}" for i in range(VOCABULARY)]
    text = export.Vocabulary(symbols).text()
    (folder / vocabulary_file.FILE).write_text(text)
    manifest.write(folder, serving.about(word_net(), "packed", symbols))


def read_checked(folder):
    model = export.load(folder, folder / vocabulary_file.FILE)
    return model.generate("w1 w2", 3), model.manifest and model.manifest.sizes


@reader(make_checked)
def compressed_model(folder):
    return read_checked(folder)


@reader(make_checked, manifest.FILE)
def model_manifest(folder):
    return read_checked(folder)


@reader(
    lambda folder: (folder / "vocabulary.txt").write_text("the\n<eos>\ncat\n")
)
def model_vocabulary(folder):
    return export.Vocabulary.read(folder / "vocabulary.txt").symbols


def make_tflite(folder):
    symbols = [f"w{i}" for i in range(VOCABULARY)]
    serving.save_tflite_step(word_net(), folder / "model.tflite", symbols)


@reader(make_tflite)
def tflite_model(folder):
    model = export.load(folder / "model.tflite")
    return model(np.array([[1, 2]]))[0].tolist()


def make_graph(folder):
    symbols = [f"w{i}" for i in range(VOCABULARY)]
    with tempfile.TemporaryDirectory() as made:
        path = pathlib.Path(made) / "model"
        serving.save_compressed(word_net(), path, symbols, {})
        shutil.copy(path / graphs.FILE, folder)


@reader(make_graph)
def saved_model_graph(folder):
    graphs.check(folder)
    return (folder / graphs.FILE).stat().st_size


def make_packed_layers(folder):
    rng = np.random.default_rng(0)

    def array(*shape):
        values = rng.normal(size=shape).astype(np.float32)
        return np.where(np.abs(values) < 0.7, np.float32(0), values)

    sparse.pack(array(6, 9), batch_sizes=()).save(str(folder / "matrix.npz"))
    for name, kind, shapes in (
        ("gru", sparse.PackedGRU, ((4, 15), (5, 15), (2, 15))),
        ("rnn", sparse.PackedSimpleRNN, ((4, 5), (5, 5), (5,))),
    ):
        kernel, recurrent, bias = (array(*shape) for shape in shapes)
        sparse.pack_layer(
            kind,
            {"kernel": kernel, "recurrent_kernel": recurrent},
            {"bias": bias},
            batch_sizes=(),
        ).save(str(folder / f"{name}.npz"))
    nets.pack_cell(new_rhn().cells[0], ()).save(str(folder / "rhn.npz"))


def new_rhn():
    return rhn_model.HighwayLM(9, [5], 2, tied=False, init_scale=0.5)


@reader(make_packed_layers)
def packed_layers(folder):
    result = []
    for _, part in sorted(packed.read_packed(folder, ())[0].items()):
        if isinstance(part, sparse.PackedMatrix):
            x = np.ones((3, part.shape[0]), np.float32)
            result.append(part.matmul(x).tolist())
        else:
            outputs, _ = part(
                np.ones((2, 3, part.inputs), np.float32),
                [np.zeros((2, part.units), np.float32)] * part.num_states,
            )
            result.append(outputs.tolist())
    return result


def copy_json(path, name):
    text = (ROOT / path).read_text(encoding="utf-8")
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


@functools.lru_cache(None)
def settings_net():
    return ptb_model.WordLSTM(11, 6, (4, 4))


@reader(copy_json("ptb/settings/structure_grouplasso.json", "settings.json"))
def settings_json(folder):
    settings = ptb_settings.load(str(folder / "settings.json"))
    net = settings_net()
    found = ptb_settings.build_groups(
        settings, net.tf1_views(), net.tf1_cells()
    )
    return [group.name for group in found], settings.global_decay


@reader(copy_json("ptb/settings/block_grouplasso.json", "settings.json"))
def settings_json_blocks(folder):
    return settings_json(folder)


@functools.lru_cache(None)
def rhn_views():
    return new_rhn().tf1_views()


def make_groups(folder):
    matrices = [
        (name, view.shape)
        for name, view in rhn_views().items()
        if len(view.shape) == 2
    ]
    entries = [
        {
            "var_name": name,
            "multi": 1.0,
            "axis": 0,
            "start": 0,
            "end": shape[1],
        }
        for name, shape in matrices
        if shape[1] == 5
    ]
    (folder / "groups.json").write_text(
        json.dumps({"groups": [entries, entries[:1]], "comments": "é"})
    )


@reader(make_groups)
def groups_json(folder):
    file = group_json.load(str(folder / "groups.json"))
    views = rhn_views()
    group_json.named_variables(file, views)
    found = group_json.build_groups(file, views)
    for group in found:
        assert np.isfinite(group.squared_norms()).all()
    return [len(group.slices) for group in found], file.digest


# Question answering

CONFIG = bidaf_model.ModelConfig(
    word_vocab_size=6,
    char_vocab_size=6,
    word_emb_size=3,
    hidden_size=2,
    char_out_size=3,
    char_emb_size=2,
    out_channel_dims="3",
    filter_heights="2",
)


@functools.lru_cache(None)
def bidaf_net():
    return bidaf_model.BiDAF(CONFIG)


@reader(
    lambda folder: restoring.save_weights(bidaf_net(), folder / "weights.npz")
)
def bidaf_npz_weights(folder):
    # As `loading.load`, but without making nets, which takes a second each.
    path, net = str(folder / "weights.npz"), bidaf_net()
    arrays = restoring.read_arrays(path)
    sizes = authors.sizes_of(arrays)
    restoring.check_held(path, arrays, sizes)
    averaged = loading.averaged_arrays(arrays)
    for values in filter(None, (averaged, arrays)):
        if sizes == net.sizes:
            tf1.assign(net.tf1_views(), values, path)
    return sizes


def make_finetuning(folder):
    names = list(bidaf_net().tf1_views())[:3]
    (folder / "finetuned.json").write_text(json.dumps({"var_names": names}))


@reader(make_finetuning)
def finetuning_json(folder):
    names = bidaf_options.load_finetuning(str(folder / "finetuned.json"))
    bidaf_train.trained_variables(bidaf_net(), names)
    return names


CONTEXT = 'Anna built the "Old Mill" in 1853. It burned in 1899, é.'


def make_squad(folder):
    def question(id_, *answers):
        return {
            "id": id_,
            "question": f"What of {id_}?",
            "answers": [
                {"text": text, "answer_start": CONTEXT.index(text)}
                for text in answers
            ],
        }

    qas = [question("a", "1853", "in 1853"), question("b", "Anna")]
    data = {
        "version": "1.1",
        "data": [
            {
                "title": "Mills",
                "paragraphs": [
                    {"context": CONTEXT, "qas": qas},
                    {"context": CONTEXT[::1] + " 5", "qas": [question("é")]},
                ],
            }
        ],
    }
    (folder / "squad.json").write_text(
        json.dumps(data, ensure_ascii=False), encoding="utf-8"
    )


def make_squad_and_glove(folder):
    make_squad(folder)
    make_glove(folder)


@reader(make_squad_and_glove, "squad.json")
def squad_prepro(folder):
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        made = preprocess.preprocess(
            {"train": folder / "squad.json"},
            folder / "glove.txt",
            folder / "out",
            "none",
            overwrite=True,
        )
    part = made.part("train")
    return part.ids, part.answer_texts, made.words


def make_metric(folder):
    make_squad(folder)
    (folder / "answers.json").write_text(
        json.dumps({"a": "1853", "b": "Anna built", "c": [1]})
    )


def read_metric(folder):
    found = squad.right_answers(folder / "squad.json")
    answers = evaluate.load_answers(folder / "answers.json")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        return evaluate.score(answers, found.questions)


@reader(make_metric, "squad.json")
def squad_evaluate(folder):
    return read_metric(folder)


@reader(make_metric, "answers.json")
def answers_json(folder):
    return read_metric(folder)


def make_glove(folder):
    (folder / "glove.txt").write_text(
        "the 0.1 -2.5 3e-1\nmill 1 2 3\nanna 4 5 6\n. . 7 8 9\né 1 1 1\n",
        encoding="utf-8",
    )


@reader(make_glove)
def glove(folder):
    words, vectors = preprocess.read_glove(
        folder / "glove.txt", {"the", "mill", "é", "."}
    )
    assert vectors.dtype == np.float32 and np.isfinite(vectors).all()
    return words, vectors.tolist()


def make_store(folder):
    make_squad_and_glove(folder)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        preprocess.preprocess(
            {"train": folder / "squad.json", "dev": folder / "squad.json"},
            folder / "glove.txt",
            folder,
            "simple",
            split=True,
        )


@reader(make_store, store_lib.FILE)
def store(folder):
    config = read_data.DataConfig(
        batch_size=3, word_count_th=0, char_count_th=0, joint_vectors=True
    )
    train = read_data.read(folder, "train", config)
    batch = feed.make_batch(train, train.valid_idxs, feed.sizes([train]))
    for index in train.valid_idxs:
        for span in train.answer_spans(index):
            train.phrase(index, span)
    return batch["x"].tolist(), train.new_word2idx


def make_vocabulary(folder):
    vocabulary.Vocabulary.number(["the", "é", "a"], ["x", "y"]).save(
        folder / "shared.json"
    )


@reader(make_vocabulary)
def vocabulary_json(folder):
    read = vocabulary.Vocabulary.load(folder / "shared.json")
    assert read.word2idx[vocabulary.NULL] == 0
    assert read.char2idx[vocabulary.UNKNOWN] == 1
    return read.word2idx, read.char2idx


# Runs and reports

STATE = {
    "epoch": 1,
    "batch": 3,
    "seconds": 12.5,
    "sizes": [3, 5],
    "hidden_sizes": [3, 5],
    "designed_sizes": [4, 6],
    "shrinking": None,
    "pruning": None,
}


def make_run(folder):
    (folder / "checkpoints").mkdir()
    net = word_net()
    tf.train.Checkpoint(model=tf.train.Checkpoint(net=net)).write(
        str(folder / "checkpoints" / "model-1")
    )
    (folder / "checkpoints" / "state-1.json").write_text(json.dumps(STATE))


def read_run(folder):
    restoring.designed_sizes(str(folder))
    net = restoring.restore(new_word_net, str(folder), ptb_model.sizes_of)
    return list(net.hidden_sizes)


@reader(make_run, "checkpoints/state-1.json")
def checkpoint_state(folder):
    return read_run(folder)


@reader(make_run, "checkpoints/model-1.*")
def run_checkpoint(folder):
    return read_run(folder)


def make_metrics(folder):
    (folder / "metrics.csv").write_text(
        "epoch,learning_rate,train_perplexity,valid_perplexity,seconds,"
        "words_per_second,units/a,units/b\n"
        "1,1.0,300.5,250.25,10.5,1000.0,10,10\n"
        "2,0.5,200.5,150.25,21.0,1100.0,9,8\n"
    )


@reader(make_metrics)
def metrics_csv(folder):
    kept = metrics.Metrics(folder / "metrics.csv", 2).rows
    rows = restoring.past_rows(str(folder))
    if rows:
        sections.epochs_table(rows).text(80)
    return [dict(row) for row in kept]


def make_report(folder):
    columns = [
        tables.Column(
            title,
            {
                "units": (4, 6),
                "weights (M)": 1.5,
                "sparsity": 0.25,
                "test perplexity": 120.5,
                "valid perplexity": None,
                "speedup": 1.5,
            },
        )
        for title in (tables.TRAINED, tables.SHRUNK)
    ]
    documents.write_report(
        folder,
        {"title": "é", "method": "ISS", "table": tables.Table(columns)},
    )


@reader(make_report, documents.REPORT)
def report_json(folder):
    table = compare.compare([compare.read_run(str(folder))])
    values = sections.other_run(str(folder)).values
    tables.Table([tables.Column("other", values)]).markdown()
    return table.text(80).replace(folder.name, "")


def make_cuts(folder):
    (folder / "cuts.json").write_text(
        json.dumps(
            [
                {"step": 3, "units": {"a": 5, "b": 4}, "cost_change": 1e-7},
                {"step": 6, "units": {"a": 4, "b": 4}, "cost_change": -0.5},
            ]
        )
    )


@reader(make_cuts, "cuts.json")
def cuts_json(folder):
    found = sections.cuts_section(types.SimpleNamespace(path=folder))
    return {name: table.text(80) for name, table in found.items()}


def make_sweep(folder):
    numbers = {
        f"threads_{threads}/sweep/9x8/{pattern}/batch1/{sparsity}/chosen_ratio": 2.5
        for threads in (1, 2)
        for pattern in ("ISS", "single")
        for sparsity in (0.5, 0.9)
    }
    (folder / "sweep.json").write_text(json.dumps({"cores": 2, **numbers}))


@reader(make_sweep)
def sweep_json(folder):
    return compare.speedups(str(folder / "sweep.json"))


def make_flags(folder):
    (folder / "inner.flags").write_text("--rate=0.5\n# nothing\n--name=é\n")
    (folder / "x.flags").write_text(
        "--size=3\n\n--flagfile=inner.flags\n--on\n--kind=b\n"
    )


@reader(make_flags)
def flag_files(folder):
    values = flags.FlagValues()
    flags.DEFINE_integer("size", 1, "", 1, flag_values=values)
    flags.DEFINE_float("rate", 1.0, "", 0.0, flag_values=values)
    flags.DEFINE_string("name", "", "", flag_values=values)
    flags.DEFINE_bool("on", False, "", flag_values=values)
    flags.DEFINE_enum("kind", "a", ["a", "b"], "", flag_values=values)
    before = os.getcwd()
    os.chdir(folder)
    try:
        with mock.patch.object(program_flags, "FLAGS", values):
            program_flags.parse(["program", "--flagfile=x.flags"])
    except flags.Error as error:  # as `main.run_main` does
        raise errors.UserError(str(error)) from None
    finally:
        os.chdir(before)
    return values.flag_values_dict()
