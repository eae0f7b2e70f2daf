"""One exception for a user's mistakes."""

import re


class UserError(Exception):
    """A mistake that the user can mend.

    The message is one line: what is wrong, where, and what would be right.
    Line ends within it, such as of a name that a file gives, are escaped.
    """

    def __init__(self, message: object = ""):
        super().__init__("\\n".join(str(message).splitlines()))


def reason(error: BaseException) -> str:
    """What an error of the system or of a library says, in one line.

    Without the names of operations, which TensorFlow puts into its errors.
    """
    text = getattr(error, "strerror", None) or str(error).strip()
    line = (text.splitlines() or [type(error).__name__])[0]
    return re.sub(r"\{\{.*?\}\} *| *\[Op:.*", "", line)
