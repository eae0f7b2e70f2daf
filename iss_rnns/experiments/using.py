"""Modes that use a trained net, of a run or of its export."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Protocol

from iss_rnns import export
from iss_rnns.experiments import flags as flags_lib


class Use(Protocol):
    """What a net is used for: a dataclass of the flags that say it.

    Attributes:
      MODES: those that ask for it.
    """

    MODES: ClassVar[Collection[str]]

    def load(self, path: str) -> Any:
        """What is used, of an exported net."""

    def of_run(self, task: Any) -> Any:
        """The same of the program's task, whose run --restore_path names."""

    def run(self, model: Any) -> None:
        """Uses what one of the two gave, and prints what comes of it."""


def ran(
    values: Mapping[str, Any],
    use_type: type[Use],
    new_task: Callable[[], Any],
) -> bool:
    """Uses a net, if flags ask for it.

    Args:
      values: of all flags, by name.
      use_type: what the program's nets are used for.
      new_task: makes the program's task, with its data: needed where
        --restore_path is none of an exported net.

    Returns:
      Whether they did.

    Raises:
      UserError: on any mistake of the user's.
    """
    if values["mode"] not in use_type.MODES:
        return False
    use = flags_lib.fill(use_type, values)  # What is wrong is told at once.
    path = values["restore_path"]
    use.run(
        use.load(path) if export.is_compressed(path) else use.of_run(new_task())
    )
    return True
