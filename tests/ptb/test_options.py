"""What the language model's flags say together."""

import pathlib

import pytest

import ptb
from ptb import options

PTB = pathlib.Path(ptb.__file__).parent


@pytest.mark.parametrize("path", sorted((PTB / "settings").iterdir()))
def test_settings_are_found_where_1_0_0_had_them(path, tmp_path):
    """Flags of its runs name them there."""
    assert options._place(str(PTB / path.name)) == str(path)
    own = tmp_path / path.name
    assert options._place(str(own)) == str(own), "to be refused by its name"
    (tmp_path / "settings").mkdir()
    for file in (own, tmp_path / "settings" / path.name):
        file.write_text("{}")
    assert options._place(str(own)) == str(own)
    assert options._place(None) is None
