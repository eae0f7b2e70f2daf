"""B31: compressed models of every format, whole, damaged, and of 1.0.0."""

import json
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns import export
from iss_rnns import files
from iss_rnns.experiments.language import packed as packed_lib
from iss_rnns.experiments.language import serving
from iss_rnns.export import manifest
from ptb import model as model_lib

OLD = pathlib.Path(__file__).parents[1] / "data" / "v1.0.0" / "runs"
SYMBOLS = ["<eos>", "<unk>", *(f"w{i}" for i in range(28))]
IDS = np.array([[0, 4, 9, 1]])
FORMATS = ("saved_model", "packed", "model.tflite")


@pytest.fixture(name="net", scope="module")
def fixture_net():
    net = model_lib.WordLSTM(30, 6, [5, 4], seed=2, init_scale=0.5)
    net.softmax_w.assign(np.eye(4, 30) * 2)  # sparse enough to be packed
    return net


@pytest.fixture(scope="module")
def made(net, tmp_path_factory):
    """A folder with the net in every format."""
    pytest.importorskip("numba")
    folder = tmp_path_factory.mktemp("made")
    serving.save_compressed(net, folder / "saved_model", SYMBOLS, {"a": 1})
    serving.save_tflite_step(net, folder / "model.tflite", SYMBOLS)
    packed_lib.pack_language_model(net, folder, batch_sizes=(), symbols=SYMBOLS)
    return folder


@pytest.fixture(name="folder")
def fixture_folder(made, tmp_path):
    """A copy to be damaged."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def refused(path, match):
    with pytest.raises(errors.UserError, match=match) as caught:
        export.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_B31_every_format_loads_and_computes_the_same(made, net, name):
    model = export.load(made / name)
    assert model.state_names == net.state_names
    assert model.manifest.sizes == net.sizes
    assert model.manifest.states["lstm_0_c"] == [None, 5]
    assert model.vocabulary.symbols == tuple(SYMBOLS)
    logits, states = model(IDS)  # from zero states
    expected, finals = net(tf.constant(IDS, tf.int32))
    np.testing.assert_allclose(logits[0], expected, atol=1e-5)
    for ours, theirs in zip(states, finals):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # The state carries.
    _, half = model(IDS[:, :2])
    np.testing.assert_allclose(model(IDS[:, 2:], half)[0], logits[:, 2:], 1e-4)
    np.testing.assert_allclose(
        model.score("w2 w7 dog").perplexity,
        export.load(made / FORMATS[0]).score("w2 w7 dog").perplexity,
        rtol=1e-5,
    )
    assert model.generate("w2 dog", 6, temperature=0) == export.load(
        made / FORMATS[0]
    ).generate("w2 <unk>", 6, temperature=0)


def test_B31_a_packed_model_is_found_by_its_file_too(made):
    path = made / "packed" / "language_model.npz"
    assert export.is_compressed(path)
    assert export.load(path).vocabulary.symbols == tuple(SYMBOLS)


def parts_of(made):
    """Every file of every format."""
    return sorted(p for p in made.rglob("*") if p.is_file())


def test_B31_a_flipped_byte_in_any_file_is_noticed(folder):
    names = set()
    for path in parts_of(folder):
        names.add(path.name)
        top = folder / path.relative_to(folder).parts[0]
        data = path.read_bytes()
        for place in (0, len(data) // 3, len(data) // 2, len(data) - 1):
            changed = bytearray(data)
            changed[place] ^= 0x15
            path.write_bytes(changed)
            refused(top, "damaged|cannot read|it was changed")
        path.write_bytes(data)
        export.load(top)
    assert {
        "saved_model.pb",
        "variables.index",
        "vocabulary.txt",
        "model_card.json",
        "manifest.json",
        "language_model.npz",
        "softmax_w.npz",
        "model.tflite",
    } <= names


def test_B31_a_flipped_byte_anywhere_in_a_tflite_file_is_noticed(folder):
    """In its model, in the archive behind it, and in the archive's index."""
    path = folder / "model.tflite"
    data = path.read_bytes()
    for place in range(0, len(data), 61):
        changed = bytearray(data)
        changed[place] ^= 0x15
        path.write_bytes(changed)
        refused(path, "damaged|it was changed")
    for cut in (1, 30, 200):
        path.write_bytes(data[:-cut])
        refused(path, "damaged")
    path.write_bytes(data + b"\0")
    refused(path, "damaged")


@pytest.mark.parametrize("name", FORMATS[:2])
def test_B31_a_file_removed_renamed_or_added_is_noticed(folder, name):
    top = folder / name
    for path in parts_of(top):
        if path.name == manifest.FILE:
            continue
        path.rename(folder / "aside")
        refused(top, f"lacks .*{path.name}, which its manifest.json names")
        (folder / "aside").rename(path.with_name("zzz"))
        refused(top, "lacks|a file .*zzz that its manifest.json does not name")
        path.with_name("zzz").rename(path)
    (top / "assets").mkdir(exist_ok=True)
    (top / "assets" / "more.txt").write_text("")
    refused(top, "a file assets/more.txt that its manifest.json does not name")


def test_B31_a_file_taken_out_of_or_put_into_a_tflite_file(folder):
    path = folder / "model.tflite"
    data = path.read_bytes()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.txt", "")
    refused(path, "damaged")
    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        archive.writestr("vocabulary.txt", "\n".join(SYMBOLS))
    begin = data.index(b"PK\x03\x04")
    path.write_bytes(data[:begin] + (folder / "m.zip").read_bytes())
    refused(path, "what stands behind the model in it is damaged")


def test_B31_a_file_of_another_model_is_noticed(folder):
    other = model_lib.WordLSTM(30, 6, [5, 4], seed=3)
    serving.save_compressed(other, folder / "other", SYMBOLS, {"a": 1})
    for name in ("saved_model.pb", "variables/variables.data-00000-of-00001"):
        mine, theirs = folder / "saved_model" / name, folder / "other" / name
        data = mine.read_bytes()
        shutil.copy(theirs, mine)
        refused(folder / "saved_model", f"{name} is damaged")
        mine.write_bytes(data)
    shutil.copy(folder / "saved_model" / manifest.FILE, folder / "packed")
    refused(folder / "packed", "no model of format packed: .* saved_model")


@pytest.mark.parametrize("name", FORMATS[:2])
@pytest.mark.parametrize(
    "changes, match",
    [
        ({"sizes": {"lstm_0": 5, "lstm_1": 3}}, "says sizes"),
        ({"sizes": {}}, "says sizes"),
        ({"states": {}}, "says states"),
        ({"states": {"lstm_0_h": [None, 5]}}, "says states"),
        (
            {"vocabulary": "model_card.json"},
            "cannot read vocabulary|none of its files",
        ),
    ],
)
def test_B31_sizes_that_the_model_has_not(folder, name, changes, match):
    """In a manifest that is whole, but wrong."""
    path = folder / name / manifest.FILE
    content = json.loads(path.read_text())
    del content["manifest_sha256"]
    content.update(changes)
    content["manifest_sha256"] = manifest._own_hash(content)
    path.write_text(json.dumps(content))
    refused(folder / name, match)


def test_B31_a_version_to_come_is_said(folder):
    path = folder / "packed" / manifest.FILE
    path.write_text('{"version": 9}')
    refused(folder / "packed", "has version 9; iss_rnns .* reads version 1")


def test_B31_a_tflite_file_with_operators_of_tensorflow_is_refused(tmp_path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32, "token")])
    def step(token):
        text = tf.io.read_file("/etc/hostname")
        return {"logits": token + tf.cast(tf.strings.length(text), tf.float32)}

    module.step = step
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.step)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "m"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    path = tmp_path / "m.tflite"
    path.write_bytes(converter.convert())
    with pytest.warns(UserWarning, match="has no manifest.json"):
        refused(path, "would run the operator Flex.*: not loaded")


def test_B31_what_is_no_compressed_model(tmp_path, folder):
    refused(tmp_path / "nothing", "there is no compressed model at .*nothing")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "is no compressed model; expected the folder")
    assert not export.is_compressed(tmp_path / "empty")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    refused(tmp_path / "run", "is a run; its .* is .*saved_model/compressed")
    (tmp_path / "x.tflite").write_bytes(b"")
    with pytest.warns(UserWarning, match="has no manifest.json"):
        refused(
            tmp_path / "x.tflite", "TensorFlow Lite model .*: it is damaged"
        )
    (folder / "saved_model" / "saved_model.pb").unlink()
    refused(folder / "saved_model", "lacks saved_model.pb")


@pytest.mark.parametrize(
    "path, symbols",
    [("cut/saved_model/compressed", 20), ("pruned/saved_model/packed", None)],
)
def test_B31_models_of_1_0_0_load_with_a_warning(path, symbols):
    with pytest.warns(UserWarning, match="has no manifest.json") as said:
        model = export.load(OLD / path)
    assert len(said) == 1 and "\n" not in str(said[0].message)
    assert said[0].filename == __file__
    assert model.manifest is None
    with np.load(OLD / path.partition("/")[0] / "outputs.npz") as file:
        known = dict(file)
    states = [
        known[f"in/{name}"] if symbols else np.zeros((len(known["tokens"]), n))
        for name, n in zip(model.state_names, model.state_sizes)
    ]
    name = "out/logits" if symbols else "logits"
    logits, _ = model(known["tokens"], [s.astype(np.float32) for s in states])
    np.testing.assert_allclose(logits, known[name], atol=1e-6)
    assert symbols is None or len(model.vocabulary) == symbols


def test_B31_a_vocabulary_may_be_given(made):
    vocabulary = made / "saved_model" / "vocabulary.txt"
    with pytest.warns(UserWarning, match="has no manifest.json"):
        model = export.load(
            OLD / "cut/saved_model/compressed",
            OLD / "cut/saved_model/compressed/vocabulary.txt",
        )
    assert len(model.vocabulary) == 20
    with pytest.warns(UserWarning, match="has no manifest.json"):
        with pytest.raises(errors.UserError, match="30 symbols, the model kn"):
            export.load(OLD / "cut/saved_model/compressed", vocabulary)


def test_B31_tensorflow_alone_loads_what_has_a_manifest(made, tmp_path):
    script = (
        "import sys, tensorflow as tf\n"
        f"path = {str(made)!r}\n"
        "serve = tf.saved_model.load(path + '/saved_model').signatures"
        "['serving_default']\n"
        "z = {f'lstm_{i}_{p}': tf.zeros([2, 5 - i]) for i in (0, 1)"
        " for p in 'hc'}\n"
        "print(serve(tokens=tf.zeros([2, 3], tf.int32), **z)"
        "['logits'].shape)\n"
        "lite = tf.lite.Interpreter(path + '/model.tflite')\n"
        "print(sorted(lite.get_signature_runner().get_input_details()))\n"
        "assert 'iss_rnns' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[0] == "(2, 3, 30)"
    assert "'token'" in result.stdout.splitlines()[1]
    with zipfile.ZipFile(made / "model.tflite") as archive:
        assert set(archive.namelist()) == {"manifest.json", "vocabulary.txt"}


def test_B31_tflite_is_written_whole_or_not_at_all(net, tmp_path, monkeypatch):
    """Killed or out of space in the middle: the old file stays."""
    path = tmp_path / "old.tflite"
    path.write_bytes(b"old")

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(errors.UserError, match="cannot write .*: No space"):
        serving.save_tflite_step(net, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["old.tflite"]


def test_B31_a_packed_folder_is_written_whole_or_not_at_all(
    folder, net, monkeypatch
):
    before = {p: p.read_bytes() for p in parts_of(folder / "packed")}

    def broken(*_):
        raise errors.UserError("cannot write: No space left on device")

    monkeypatch.setattr(manifest, "write", broken)
    with pytest.raises(errors.UserError, match="No space"):
        packed_lib.pack_language_model(net, folder, batch_sizes=())
    assert {p: p.read_bytes() for p in parts_of(folder / "packed")} == before
