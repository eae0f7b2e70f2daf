"""B31: what a manifest notices, of any folder."""

import json

import pytest

from iss_rnns import errors
from iss_rnns.export import manifest

ABOUT = manifest.Manifest(
    "packed", {"lstm_0": 3}, {"lstm_0_h": [None, 3]}, "words.txt"
)


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "weights").write_bytes(bytes(range(100)))
    (tmp_path / "words.txt").write_text("the\ncat\n")
    manifest.write(tmp_path, ABOUT)
    return tmp_path


def refused(folder, match):
    with pytest.raises(errors.UserError, match=match) as caught:
        manifest.check(folder, "packed")
    assert "\n" not in str(caught.value)


def rewrite(folder, **changes):
    """A manifest that says something else of itself, and means it."""
    path = folder / manifest.FILE
    content = json.loads(path.read_text())
    del content["manifest_sha256"]
    content.update(changes)
    text = json.dumps(
        {**content, "manifest_sha256": manifest._own_hash(content)}
    )
    path.write_text(text)


def test_B31_what_was_written_is_read(folder):
    found = manifest.check(folder, "packed")
    assert found.sizes == {"lstm_0": 3}
    assert found.states == {"lstm_0_h": [None, 3]}
    assert found.vocabulary == "words.txt"
    assert found.files.keys() == {"below/weights", "words.txt"}
    assert found.files["below/weights"]["bytes"] == 100
    found.check_states(folder, {"lstm_0_h": 3})


def test_B31_its_layout_does_not_count(folder):
    path = folder / manifest.FILE
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert manifest.check(folder, "packed").sizes == {"lstm_0": 3}


@pytest.mark.parametrize("name", ["below/weights", "words.txt"])
def test_B31_a_flipped_bit_is_noticed(folder, name):
    data = bytearray((folder / name).read_bytes())
    for place in (0, len(data) // 2, len(data) - 1):
        data[place] ^= 1
        (folder / name).write_bytes(data)
        refused(folder, f"{name} is damaged: its SHA-256 is not that of its")
        data[place] ^= 1


def test_B31_a_shorter_file_is_noticed(folder):
    (folder / "below" / "weights").write_bytes(bytes(range(99)))
    refused(folder, "damaged: it has 99 bytes, its manifest.json says 100")


def test_B31_a_missing_file_is_noticed(folder):
    (folder / "words.txt").unlink()
    refused(folder, "lacks words.txt, which its manifest.json names")


def test_B31_a_renamed_file_is_noticed(folder):
    (folder / "words.txt").rename(folder / "words.text")
    refused(folder, "a file words.text that its manifest.json does not name")


def test_B31_an_additional_file_is_noticed(folder):
    (folder / "below" / "more").write_text("")
    refused(folder, "a file below/more that its manifest.json does not name")


def test_B31_each_bit_of_a_manifest_counts(folder):
    """But for those that change the layout only."""
    path = folder / manifest.FILE
    data = path.read_bytes()
    means = json.loads(data)
    noticed = 0
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        try:
            manifest.check(folder, "packed")
        except errors.UserError as error:
            noticed += 1
            assert "\n" not in str(error)
        else:
            assert json.loads(changed) == means
    assert noticed > len(data) / 4


@pytest.mark.parametrize(
    "text, match",
    [
        ("", "cannot read manifest .*manifest.json: it is no JSON"),
        ("{", "it is no JSON"),
        ("[]", "is damaged: it does not say its version"),
        ('{"version": 1}', "is damaged: it was changed"),
        ('{"version": 1, "version": 1}', "it has the key 'version' twice"),
        ("[" * 10000, "it is nested too deeply"),
        ('{"version": 2}', "has version 2; iss_rnns .* reads version 1"),
        ('{"version": "1"}', "has version '1'; iss_rnns .* reads version 1"),
    ],
)
def test_B31_what_is_no_manifest(folder, text, match):
    (folder / manifest.FILE).write_text(text)
    refused(folder, match)


@pytest.mark.parametrize(
    "name, value",
    [
        ("format", "pickle"),
        ("sizes", {"lstm_0": -1}),
        ("sizes", {"lstm_0": True}),
        ("sizes", [3]),
        ("states", {"lstm_0_h": 3}),
        ("states", {"lstm_0_h": ["3"]}),
        ("vocabulary", 1),
        ("library_version", None),
        ("files", {"words.txt": {"bytes": 8}}),
        ("files", None),
    ],
)
def test_B31_fields_are_checked(folder, name, value):
    rewrite(folder, **{name: value})
    refused(folder, f"is damaged: '{name}' is missing or no such thing")


def test_B31_the_vocabulary_is_one_of_the_files(folder):
    rewrite(folder, vocabulary="../../words.txt")
    refused(folder, "its vocabulary is none of its files")


@pytest.mark.parametrize(
    "states, match",
    [
        ({"lstm_0_h": 4}, r"says states .*3.*, the model has .*4"),
        ({}, "says states"),
        ({"lstm_0_h": 3, "lstm_1_h": 2}, "says states"),
    ],
)
def test_B31_sizes_that_the_model_has_not(folder, states, match):
    found = manifest.check(folder, "packed")
    with pytest.raises(errors.UserError, match=match):
        found.check_states(folder, states)


def test_B31_sizes_that_its_states_have_not(folder):
    rewrite(folder, sizes={"lstm_0": 4})
    found = manifest.check(folder, "packed")
    with pytest.raises(errors.UserError, match="says sizes .*4.*has .*3"):
        found.check_states(folder, {"lstm_0_h": 3})


def test_B31_a_manifest_of_another_kind_of_model(folder):
    rewrite(folder, format="tflite")
    refused(folder, "no model of format packed: .* that of format tflite")


def test_B31_a_model_without_one_is_said_once(folder):
    (folder / manifest.FILE).unlink()
    with pytest.warns(UserWarning, match="has no manifest.json") as said:
        assert manifest.check(folder, "packed") is None
    assert len(said) == 1 and said[0].filename == __file__
