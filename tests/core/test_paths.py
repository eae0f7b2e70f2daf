"""Paths and names that cannot be used."""

import re

import pytest

from iss_rnns import errors
from iss_rnns import paths


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("a\nb", r"holds the control character '\\n': 'a\\nb'"),
        ("\x1b[2J", r"holds the control character '\\x1b'"),
        (
            "a\x85b",
            r"holds the control character '\\x85'",
        ),  # ends a line, as some see it
        ("a\u2028b", r"holds the control character '\\u2028'"),
        ("caf\udce9", r"is not UTF-8: 'caf\\udce9'"),
    ],
)
def test_what_breaks_a_line_is_refused(text, wrong):
    with pytest.raises(
        errors.UserError,
        match=f"^--x {wrong}.*; expected printable characters, in UTF-8$",
    ) as caught:
        paths.check_text(text, "--x")
    assert str(caught.value).isprintable()


def test_a_long_text_is_cut_short():
    with pytest.raises(errors.UserError) as caught:
        paths.check_text("a" * 10000 + "\n", "--x")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["", "a b", "caf\u00e9 \u65e5\u672c", "a[1]"])
def test_other_text_is_fine(text):
    paths.check_text(text, "--x")


@pytest.mark.parametrize("path, named", [("r/a[1]/b", "["), ("r\\b", "\\")])
def test_what_tensorflow_takes_for_a_pattern_is_named(path, named):
    with pytest.raises(
        errors.UserError,
        match=f"^TensorFlow cannot read from {re.escape(path)}: it takes "
        f"{re.escape(named)} for a pattern; give a path without",
    ):
        paths.check_for_tensorflow(path)


def test_other_characters_of_patterns_match_themselves():
    paths.check_for_tensorflow("r/a]*?{1,2}b")
