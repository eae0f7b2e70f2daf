r"""What a model's ids stand for: words, or single characters.

As a file it has a symbol a line, in the order of the ids; line ends, which
characters have among them, are written as `\n` and `\r`.
"""

from collections.abc import Sequence
import functools
from typing import Optional

from iss_rnns import errors
from iss_rnns import files

FILE = "vocabulary.txt"
END, UNKNOWN = "<eos>", "<unk>"

_ESCAPES = {"\n": "\\n", "\r": "\\r"}
_PLAIN = {written: symbol for symbol, written in _ESCAPES.items()}


class Vocabulary:
    r"""Symbols to ids, and back.

    Symbols of one character each make it a vocabulary of characters: of the
    bytes of UTF-8, as the project's reader has them (Latin-1), if all are
    below 256. Any others are words, between blanks; then a line end of a text
    is the word `<eos>`.

    >>> words = Vocabulary(["the", "<eos>", "<unk>", "cat"])
    >>> words.encode("the dog\nthe cat")
    [0, 2, 1, 0, 3]
    >>> words.decode([0, 3, 1, 0, 2])
    'the cat\nthe <unk>'

    Args:
      symbols: in the order of their ids.

    Attributes:
      symbols: likewise.
      ids: of each symbol.
      end: id of a line's end; among characters without one, of a blank; None
        if there is none.
      unknown: id of what has no other, `<unk>`; None if there is none.

    Raises:
      UserError: there is no symbol, or one twice.
    """

    def __init__(self, symbols: Sequence[str]):
        self.symbols = tuple(symbols)
        self.ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if not self.symbols:
            raise errors.UserError(
                "a vocabulary needs symbols, and this one has none"
            )
        if len(self.ids) < len(self.symbols):
            twice = next(
                s for i, s in enumerate(self.symbols) if self.ids[s] != i
            )
            raise errors.UserError(
                f"the vocabulary has {twice!r} twice; a symbol has one id"
            )
        self.end: Optional[int] = (
            self.ids.get("\n", self.ids.get(" "))
            if self.characters
            else self.ids.get(END)
        )
        self.unknown: Optional[int] = self.ids.get(UNKNOWN)

    def __len__(self):
        return len(self.symbols)

    def __repr__(self):
        return f"Vocabulary({len(self):,} {self.unit}s)"

    @functools.cached_property
    def characters(self) -> bool:
        """Whether the symbols are characters, and not words."""
        return all(len(symbol) == 1 for symbol in self.symbols)

    @property
    def _line_end(self) -> str:
        return "\n" if self.characters else END

    @property
    def unit(self) -> str:
        """What a symbol is: `word` or `character`."""
        return "character" if self.characters else "word"

    @functools.cached_property
    def _bytes(self) -> bool:
        return self.characters and max(self.symbols) <= "\xff"

    def split(self, text: str) -> list[str]:
        """A text in symbols, whether the vocabulary has them or not."""
        if self._bytes:
            return list(text.encode("utf-8", "replace").decode("latin-1"))
        if self.characters:
            return list(text)
        return text.replace("\n", f" {END} ").split()

    def missing(self, text: str) -> list[str]:
        """Symbols of a text that the vocabulary lacks, each time they occur.

        A line's end does not count among them.
        """
        return [
            symbol
            for symbol in self.split(text)
            if symbol not in self.ids and symbol != self._line_end
        ]

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        What the vocabulary lacks becomes `<unk>`, or is left out where that
        is lacking, too.
        """
        found = (
            self.end
            if symbol == self._line_end
            else self.ids.get(symbol, self.unknown)
            for symbol in self.split(text)
        )
        return [i for i in found if i is not None]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that are no UTF-8 are shown as \ufffd."""
        symbols = [self.symbols[i] for i in ids]
        if self._bytes:
            return "".join(symbols).encode("latin-1").decode("utf-8", "replace")
        if self.characters:
            return "".join(symbols)
        lines: list[list[str]] = [[]]
        for symbol in symbols:
            if symbol == END:
                lines.append([])
            else:
                lines[-1].append(symbol)
        return "\n".join(map(" ".join, lines))

    def text(self) -> str:
        """As the contents of a file."""
        return "\n".join([*(_ESCAPES.get(s, s) for s in self.symbols), ""])

    @classmethod
    def parse(cls, text: str, where: files.PathLike) -> "Vocabulary":
        """Inverse of `text`.

        Args:
          text: contents of a file.
          where: it lies, for errors.

        Raises:
          UserError: it is no vocabulary.
        """
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        # Only among characters are there line ends.
        if all(len(line) == 1 or line in _PLAIN for line in lines):
            lines = [_PLAIN.get(line, line) for line in lines]
        try:
            return cls(lines)
        except errors.UserError as error:
            raise files.unreadable(where, "vocabulary", str(error)) from None

    @classmethod
    def read(cls, path: files.PathLike) -> "Vocabulary":
        """Reads a file.

        Raises:
          UserError: it cannot be read, or is no vocabulary.
        """
        return cls.parse(files.read_text(path, "vocabulary"), path)
