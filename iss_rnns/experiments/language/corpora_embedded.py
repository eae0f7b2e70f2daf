"""English prose out of the Python that runs this, in the form of PTB.

Every CPython carries its language reference (`pydoc_data.topics`) and the
docstrings of its standard library. Sentences of running English are taken
from them in a fixed order, each one once; code, tables and markup are left
out. The text depends on the Python version only (and on what a distributor
left out of the standard library).

Taking it out lasts seconds, so the texts are kept in a cache folder, as files
that `corpora.read_words` reads like any other corpus.
"""

import ast
import collections
from collections.abc import Iterator
import contextlib
import os
import pathlib
import platform
import random
import re
import sysconfig
import textwrap
from typing import Optional
import warnings

from iss_rnns import errors
from iss_rnns import files

CACHE_FORMAT = 1  # To be raised with any change of the texts.
PASSAGE_WORDS = 200
MIN_COUNT = 3
MAX_VOCABULARY = 10_000
_FILES = {
    "train": "ptb.train.txt",
    "valid": "ptb.valid.txt",
    "test": "ptb.test.txt",
    "characters": "characters.txt",
}
_SEED = 0
_MIN_SENTENCES = 1000

_SKIPPED_FOLDERS = frozenset(
    (
        "__pycache__",
        "dist-packages",
        "idle_test",
        "site-packages",
        "test",
        "tests",
    )
)
_FUNCTION_WORDS = frozenset(
    "a an and are as at be been by can do does for from has have if in into "
    "is it its may must no not of on or should that the their then there "
    "these this to used was were when which will with you".split()
)

_ASCII = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": "-",
        "\u2014": " - ",
        "\u2026": "...",
        "\u00a0": " ",
    }
)
_BULLET = re.compile(r"(?:[-*+\u2022]|\(?\d+[.)]|:\w+[^:]*:)\s+")
_TABLE_ROW = re.compile(r"[^\s.!?]+(?:\s{2,}|\s+--?\s)")
_MARKUP = (
    (re.compile(r":[a-z:]+:(?=`)"), ""),  # Roles, as in :class:`int`.
    (re.compile(r"`+|\*\*|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)"), ""),
    (re.compile(r"\[\d+\]_?"), ""),  # Footnotes.
    (re.compile(r"(\w)- (?=\w)"), r"\1-"),  # A word cut at the line end.
)
_NOT_PROSE = re.compile(
    r"[={}\\|<>~^@]|::|https?:|--[->]|\*\*|__\w+__ *\.|[#$%]\w|\w\[| # "
    r"|(?:\. ){2}|^print\(|^(?:async|class|def|elif|except|for|from|if|import"
    r"|while|with)\b[^.]*(?::$|: |\bimport\b)"
)
_SENTENCE_END = re.compile(
    r"(?:(?<=[.!?])|(?<=[.!?][)\"']))"
    r"(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)\s+(?=[\"'(]?[A-Z])"
)
_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|re|ve|ll|d|m))\b")
_TOKEN = re.compile(
    r"n't|'(?:s|re|ve|ll|d|m)\b(?!')|[$%&]|\b(?:[a-z]\.){2,}"
    r"|[a-z0-9_]+(?:(?:[-./]|(?<=[0-9]),(?=[0-9]))[a-z0-9_]+)*"
)


def load(cache_dir: Optional[files.PathLike] = None) -> dict[str, str]:
    """Returns the texts of `extract`, out of the cache if they are there.

    The cache is a folder named after the Python version and `CACHE_FORMAT`.
    It is written in one step; a damaged one is made anew; where none can be
    written the texts are extracted each time.

    Args:
      cache_dir: parent of the folder. Defaults to `iss_rnns` in
        `$XDG_CACHE_HOME`, or in `~/.cache`.

    Raises:
      UserError: see `extract`.
    """
    if cache_dir is None:
        cache_dir = os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
            "iss_rnns",
        )
    folder = pathlib.Path(
        cache_dir, f"embedded-{CACHE_FORMAT}-python-{platform.python_version()}"
    )
    try:
        texts = {
            name: (folder / file).read_bytes().decode("ascii")
            for name, file in _FILES.items()
        }
        if all(texts.values()):
            return texts
    except (OSError, UnicodeDecodeError):
        pass  # Not there yet, or damaged.
    texts = extract()
    _keep(texts, folder)
    return texts


def _keep(texts: dict, folder: pathlib.Path) -> None:
    """Writes the texts into the cache in one step, or not at all."""
    # Without a cache the next run extracts again.
    with contextlib.suppress(errors.UserError), files.new_folder(folder) as new:
        for name, file in _FILES.items():
            (new / file).write_bytes(texts[name].encode("ascii"))


def extract() -> dict[str, str]:
    """Makes the texts of the corpus.

    Passages of about `PASSAGE_WORDS` words of one source are shuffled with a
    fixed seed and dealt to the parts, so that the three parts are alike.

    Returns:
      A dict of texts: `train`, `valid` and `test` in the form of PTB (a
      sentence a line, words in lower case between blanks, numbers `N`, rare
      words `<unk>`; about 90, 5 and 5 % of the words), and `characters`,
      the same sentences as they were written, in ASCII.

    Raises:
      UserError: this Python comes without topics and library sources.
    """
    passages = list(_passages())
    if sum(map(len, passages)) < _MIN_SENTENCES:
        raise errors.UserError(
            "this Python has no documentation to learn from: neither "
            f"pydoc_data nor sources in {sysconfig.get_path('stdlib')}; "
            "give a folder with ptb.{train,valid,test}.txt"
        )
    random.Random(_SEED).shuffle(passages)
    parts: dict[str, list] = {"train": [], "valid": [], "test": []}
    for i, passage in enumerate(passages):
        part = {0: "valid", 10: "test"}.get(i % 20, "train")
        parts[part].extend(words for _, words in passage)
    known = _vocabulary(parts["train"])
    texts = {
        part: "".join(_line(words, known) for words in sentences)
        for part, sentences in parts.items()
    }
    texts["characters"] = "".join(
        sentence + "\n" for passage in passages for sentence, _ in passage
    )
    return texts


def _vocabulary(sentences: list) -> set:
    counts = collections.Counter(word for words in sentences for word in words)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    # Two places are for <unk> and <eos>.
    return {
        word
        for word in ranked[: MAX_VOCABULARY - 2]
        if counts[word] >= MIN_COUNT
    }


def _line(words: list, known: set) -> str:
    return f" {' '.join(w if w in known else '<unk>' for w in words)} \n"


def _passages() -> Iterator[list]:
    """Yields lists of (sentence, words): consecutive ones of one source."""
    seen = set()
    for source in _sources():
        passage, size = [], 0
        for text in source:
            for sentence in sentences_of(text):
                words = tokenize(sentence)
                key = tuple(words)
                if len(words) < 3 or key in seen:
                    continue
                seen.add(key)
                passage.append((sentence, words))
                size += len(words)
            if size >= PASSAGE_WORDS:
                yield passage
                passage, size = [], 0
        if passage:
            yield passage


def _sources() -> Iterator[Iterator[str]]:
    """Yields each topic's paragraphs and each module's docstrings."""
    try:
        from pydoc_data import topics
    except ImportError:  # Some distributors ship it apart.
        pass
    else:
        for _, text in sorted(topics.topics.items()):
            yield iter(re.split(r"\n\s*\n", text))
    for folder, folders, names in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
        for name in sorted(names):
            if name.endswith(".py"):
                yield _docstrings(os.path.join(folder, name))


def _docstrings(path: str) -> Iterator[str]:
    """Yields a module's docstrings in the order of the source."""
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stack = [ast.parse(file.read())]
    except (OSError, SyntaxError, ValueError):
        return
    while stack:
        node = stack.pop()
        if isinstance(
            node,
            (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef),
        ):
            yield ast.get_docstring(node) or ""
        for field in "orelse", "body":
            stack.extend(reversed(getattr(node, field, ())))


def sentences_of(text: str) -> Iterator[str]:
    """Yields the sentences of running English in a documentation text."""
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(text)):
        for unit in _units(paragraph.translate(_ASCII)):
            for pattern, replacement in _MARKUP:
                unit = pattern.sub(replacement, unit)
            for sentence in _SENTENCE_END.split(unit):
                sentence = " ".join(sentence.split())
                if _is_prose(sentence):
                    yield sentence


def _units(paragraph: str) -> Iterator[str]:
    """Yields a paragraph's stretches of text: itself, or its list items."""
    unit: list[str] = []
    previous = 0
    for line in paragraph.splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        bullet = _BULLET.match(stripped)
        opens = unit and unit[-1].endswith(":") and indent > previous
        if unit and (
            bullet or opens or indent < previous or _TABLE_ROW.match(stripped)
        ):
            yield " ".join(unit)
            unit = []
        if stripped.startswith((">>>", "$ ", ".. ")):
            break  # What follows up to the blank line is output.
        unit.append(stripped[bullet.end() :] if bullet else stripped)
        previous = indent
    yield " ".join(unit)


def _is_prose(sentence: str) -> bool:
    if not sentence.isascii() or _NOT_PROSE.search(sentence):
        return False
    words = re.findall(r"[a-z]+", sentence.lower())
    plain = re.findall(
        r"(?<!\S)[\"'(]*[A-Za-z][a-z'-]*[\"').,;:!?]*(?!\S)", sentence
    )
    common = sum(word in _FUNCTION_WORDS for word in words)
    return (
        len(words) >= 4
        and common >= 0.15 * len(words)
        and len(plain) >= 0.6 * len(sentence.split())
    )


def tokenize(sentence: str) -> list[str]:
    """Splits a sentence into words as in PTB: `"He's 5."` -> he, 's, N."""
    text = _CLITIC.sub(r" \1", sentence.lower())
    return [
        "N" if re.fullmatch(r"[0-9][\w.,/-]*", word) else word
        for word in _TOKEN.findall(text)
    ]
