"""Mode answer: what a trained net is used for.

The same as functions: `serving.load` gives an exported net that answers,
`BiDAFTask.answerer` that of a run.
"""

from collections.abc import Collection
import dataclasses
import sys
from typing import ClassVar, Optional

from bidaf import answering
from bidaf import experiment
from bidaf import serving
from iss_rnns import errors
from iss_rnns import files


@dataclasses.dataclass(frozen=True)
class Use:
    """A text and a question; the flags of the same names.

    Raises:
      UserError: one is missing or empty.
    """

    MODES: ClassVar[Collection[str]] = ("answer",)

    context: Optional[str] = None
    question: Optional[str] = None

    def __post_init__(self):
        if not self.context:
            raise errors.UserError(
                "--mode=answer needs --context, a file with a text to read"
            )
        if not (self.question or "").strip():
            raise errors.UserError(
                "--mode=answer needs a --question about the text of --context"
            )
        if not self.text.strip():
            raise errors.UserError(
                f"context {files.shown(self.context)} is empty; expected a text"
            )

    @property
    def text(self) -> str:
        """The text to read."""
        return files.read_text(str(self.context), "context")

    def load(self, path: str) -> answering.Answerer:
        """See `using.Use`."""
        return serving.load(path)

    def of_run(self, task: experiment.BiDAFTask) -> answering.Answerer:
        """See `using.Use`."""
        return task.answerer()

    def run(self, answerer: answering.Answerer) -> None:
        """Answers, and prints it."""
        answer = answerer.answer(self.text, str(self.question))
        if answer.unknown:
            print(
                "words known by their characters only: "
                + ", ".join(answer.unknown),
                file=sys.stderr,
            )
        print(f"answer: {answer.text}")
        print(
            f"character {answer.start:,} of the context, score {answer.score:.4f}"
        )
        if answer.no_answer is not None:
            print(f"probability that there is none: {answer.no_answer:.4f}")
