"""What stands on the user's terminal."""

import os

import pytest

from iss_rnns import terminal


def test_nothing_reaches_stderr_inside_whoever_writes_it(capfd):
    os.write(2, b"before ")
    with pytest.raises(ZeroDivisionError), terminal.quiet_stderr():
        os.write(2, b"as C++ does")
        _ = 1 / 0
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"
