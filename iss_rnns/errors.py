"""One exception for whatever the caller can mend.

The library refuses a wrong argument, file or model with `UserError`, whether
a program's user gave it or a programmer: where a value comes from, the place
that checks it cannot know. Since it is a `ValueError`, who expects Keras'
kind of refusal catches it as well. Anything else that is raised is a bug
(but `FloatingPointError`: training broke).

A message is one line, without a full stop: what is wrong, where, and what
would be right. The remedy is told in the library's words ("the penalty's
strength"); a program that has a flag for it names the flag, by
`UserError.argument`.
"""

import re
from typing import Optional


class UserError(ValueError):
    """A mistake that the caller can mend.

    The message is one line: what is wrong, where, and what would be right.
    Line ends within it, such as of a name that a file gives, are escaped.

    Attributes:
      argument: of the library, that another value would mend it of; None if
        none does.
    """

    def __init__(self, message: object = "", argument: Optional[str] = None):
        super().__init__("\\n".join(str(message).splitlines()))
        self.argument = argument


class BrokenWeightsError(UserError, FloatingPointError):
    """Weights are NaN or infinite, so that nothing can be said of them."""


def reason(error: BaseException) -> str:
    """What an error of the system or of a library says, in one line.

    Without the names of operations, which TensorFlow puts into its errors.
    """
    text = getattr(error, "strerror", None) or str(error).strip()
    line = (text.splitlines() or [type(error).__name__])[0]
    return re.sub(r"\{\{.*?\}\} *| *\[Op:.*", "", line)
