"""Files that come with the programs are found from any folder."""

import pathlib

import pytest

from iss_rnns import errors
from iss_rnns.experiments import program_flags
from iss_rnns.experiments import shipped
from ptb import options as options_lib
from ptb import ptb_word_lm

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fixture_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def flag_file(path, package="ptb"):
    return shipped.find(path, package, "flags", ".flags")


@pytest.mark.parametrize(
    "path", ["ptb/flags/demo.flags", "demo.flags", "demo", "./demo"]
)
def test_a_programs_own_by_its_place_or_its_name(path):
    found = pathlib.Path(flag_file(path))
    assert found == shipped.ROOT / "ptb" / "flags" / "demo.flags"
    assert found.is_file()


def test_another_programs_by_its_place():
    assert flag_file("rhns/flags/demo.flags", "ptb") == str(
        shipped.ROOT / "rhns" / "flags" / "demo.flags"
    )
    assert flag_file("demo", "rhns").endswith("rhns/flags/demo.flags")


@pytest.mark.parametrize(
    "path",
    [
        "no_such",
        "/demo.flags",
        "ptb/flags/no_such.flags",
        "",
        "..",
        "pyproject.toml",
        "tests/flags.txt",
        "../ptb/flags/demo.flags",
    ],
)
def test_what_is_not_there_stays_as_it_was_named(path):
    assert flag_file(path) == path


def test_what_lies_where_the_program_is_started_comes_first(tmp_path):
    for path in ("demo", "ptb/flags/demo.flags"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("--seed=5\n")
        assert flag_file(path) == path


@pytest.mark.parametrize("name", ["ptb/flags/demo.flags", "demo"])
def test_flags_and_the_settings_that_they_name(empty_flags, name):
    ptb_word_lm.define_flags()
    program_flags.parse(["ptb_word_lm", f"--flagfile={name}"], "ptb")
    values = empty_flags.flag_values_dict()
    assert values["hidden_sizes"] == ["200", "200"]
    options = options_lib.Options.from_flags(values)
    assert options.settings.global_decay == 0.0078
    assert options.settings.grouplasso


@pytest.mark.parametrize(
    "name",
    [
        "structure_grouplasso",
        "ptb/settings/structure_grouplasso.json",
        "ptb/structure_grouplasso.json",  # of version 1.0.0
    ],
)
def test_settings_by_their_names(empty_flags, name):
    ptb_word_lm.define_flags()
    program_flags.parse(["ptb_word_lm", f"--config_file={name}"])
    options = options_lib.Options.from_flags(empty_flags.flag_values_dict())
    assert options.settings.grouplasso


def test_a_flag_file_that_is_nowhere_is_named_as_it_was(empty_flags):
    ptb_word_lm.define_flags()
    with pytest.raises(errors.UserError, match="no_such"):
        program_flags.parse(["ptb_word_lm", "--flagfile=no_such"], "ptb")
