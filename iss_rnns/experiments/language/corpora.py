"""Text for language models: words, characters, batches.

`read_words` and `read_characters` give the ids of the authors' readers,
`embedded` gives real English that needs no network, and `batches` cuts any of
them into the authors' contiguous streams.
"""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import os
import pathlib
import platform
from typing import Optional

import numpy as np

from iss_rnns import arguments
from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments.language import corpora_embedded

END, UNKNOWN = "<eos>", "<unk>"
EMPTY_PATH = (
    "--data_path is empty; give the folder of the texts, or leave "
    "the flag out for the prose that comes with Python"
)
PARTS = ("train", "valid", "test")
_WHAT = "text file"


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three parts, as ids.

    Attributes:
      name: short name, such as `"embedded"` or the folder's name.
      unit: `"word"` or `"character"`: what one id stands for.
      train, valid, test: `[tokens]`, int32.
      symbols: the vocabulary in id order; for characters one string of one
        byte (Latin-1) per class.
      description: one line saying which data this is, with its counts.
      fingerprint: equal for equal texts, wherever they lie.
    """

    name: str
    unit: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    symbols: tuple[str, ...]
    description: str

    @functools.cached_property
    def fingerprint(self) -> str:
        """See the class."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            digest.update(part.tobytes())
        digest.update("\n".join(self.symbols).encode())
        return digest.hexdigest()


def read_words(folder: files.PathLike, drop_unseen: bool = True) -> Corpus:
    """Reads `ptb.{train,valid,test}.txt` of a folder, one sentence per line.

    Ids go by falling count in the training text, then alphabetically. A line
    end is the word `<eos>`. Words of the valid and test text that the
    training text lacks are dropped, as the authors' reader does, or count as
    `<unk>`; their number is in the description.

    Where lines have no blanks around them the authors' reader glues `<eos>`
    to its neighbours; here it stays a word. Penn TreeBank has the blanks.

    Args:
      folder: where the three files are.

    Returns:
      A `Corpus` of words.

    Raises:
      UserError: folder or file missing, empty, unreadable or not UTF-8, or
        a valid or test text without any word of the training text.
    """
    folder = pathlib.Path(folder)
    names = [f"ptb.{part}.txt" for part in PARTS]
    expected = f"expected a folder with {', '.join(names)}"
    if not os.path.isdir(folder):
        what = "is no folder" if os.path.exists(folder) else "does not exist"
        raise errors.UserError(
            f"text folder {files.shown(folder)} {what}; {expected}"
        )
    missing = [name for name in names if not os.path.exists(folder / name)]
    if missing:
        raise errors.UserError(
            f"text folder {files.shown(folder)} has no {', '.join(missing)}; "
            f"{expected}"
        )
    texts = [_read_text(folder / name) for name in names]
    name, shown = files.shown(folder.resolve().name), files.shown(folder)
    words = [_words(text) for text in texts]
    return _word_corpus(name, f"words of {shown}", words, drop_unseen)


def read_text(
    path: files.PathLike, vocab_limit: int = 10_000, min_count: int = 2
) -> Corpus:
    """Reads a text of one's own and splits it.

    Words are what stands between blanks, as it is written; a line is a
    sentence and ends with `<eos>`, empty ones do not count. The first 90 % of
    the words are the training text, 5 % the valid text, the last 5 % the test
    text. Words beyond the vocabulary are `<unk>` in all three.

    Args:
      path: of the file.
      vocab_limit: most words of the vocabulary, `<unk>` and `<eos>` among
        them: the most frequent ones of the training text.
      min_count: how often a word must stand there to be one of them.

    Returns:
      A `Corpus` of words, ids as by `read_words`.

    Raises:
      UserError: file missing, empty, not UTF-8, or too short to split; or
        no word is frequent enough.
    """
    path = pathlib.Path(path)
    lines = [line for line in _read_text(path).split("\n") if line.strip()]
    words = _words("\n".join([*lines, ""]))
    places = [len(words) * n // 20 for n in (18, 19)]
    parts = [words[: places[0]], words[slice(*places)], words[places[1] :]]
    shown = files.shown(path)
    if not all(set(part) - {END} for part in parts):
        raise errors.UserError(
            f"{_WHAT} {shown} has {len(words) - len(lines):,} words; expected "
            "enough to split them 90 : 5 : 5, at least some hundred"
        )
    counts = collections.Counter(parts[0])
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    frequent = [
        word
        for word in ranked
        if counts[word] >= min_count and word not in (END, UNKNOWN)
    ]
    known = {END, *frequent[: max(vocab_limit - 2, 0)]}
    if len(known) == 1:
        raise errors.UserError(
            f"no word stands {min_count:,} times in the training part of "
            f"{_WHAT} {shown}, or a vocabulary of {vocab_limit:,} has no place "
            "for one; give a longer text, fewer times or a larger vocabulary"
        )
    rare = sum(word not in known for part in parts for word in part)
    parts = [
        [word if word in known else UNKNOWN for word in part] for part in parts
    ]
    source = f"words of {shown}"
    if rare:
        source += f" ({rare:,} rare ones are {UNKNOWN})"
    return _word_corpus(files.shown(path.stem), source, parts, more=(UNKNOWN,))


def own_words(options) -> Optional[Corpus]:
    """The words that options name; None: they name none.

    Args:
      options: `options.LanguageOptions`, see its `data_path` and `text`.

    Raises:
      UserError: they name two texts, or it is not right.
    """
    if options.data_path == "":
        raise errors.UserError(EMPTY_PATH)
    if options.text is not None and options.data_path:
        raise errors.UserError(
            f"--text={options.text} and --data_path={options.data_path} "
            "are two texts; give one of them"
        )
    named = options.text or options.data_path
    if named and options.train_words is not None:
        raise errors.UserError(
            f"--train_words={options.train_words} is of the prose that comes "
            f"with Python, and {named} is another text; leave one of them out"
        )
    if options.text is not None:
        return read_text(options.text, options.vocab_limit, options.min_count)
    if options.data_path:
        return read_words(options.data_path, options.drop_unseen)
    return None


def read_characters(
    path: files.PathLike,
    num_test_symbols: int = 5_000_000,
    name: Optional[str] = None,
) -> Corpus:
    """Reads a file such as enwik8 or text8 byte by byte.

    The bytes that occur in the file are its classes, in rising order. The
    last `num_test_symbols` are the test text, as many before them the valid
    text, the rest the training text.

    Args:
      path: the file, or its folder if `name` is given.
      num_test_symbols: length of the valid and of the test text in bytes.
      name: the corpus' name. Defaults to the file's.

    Returns:
      A `Corpus` of characters.

    Raises:
      UserError: file missing, empty or unreadable, or nothing left to
        train on.
    """
    path = pathlib.Path(path)
    if name and path.is_dir():
        path = path / name
    return _character_corpus(
        name or files.shown(path.name),
        f"bytes of {files.shown(path)}",
        _read_bytes(path).removeprefix(files.BYTE_ORDER_MARK),
        num_test_symbols,
    )


def embedded(
    unit: str = "word",
    cache_dir: Optional[files.PathLike] = None,
    train_words: Optional[int] = None,
) -> Corpus:
    """The default text: Python's own documentation, on every machine.

    See `corpora_embedded` for what it is, and for its cache.

    Args:
      unit: `"word"` or `"character"`.
      cache_dir: where to keep it. Defaults to `iss_rnns` in
        `$XDG_CACHE_HOME`, or in `~/.cache`.
      train_words: keep so many words at the beginning of the training text;
        those of the valid and the test text that they lack are `<unk>`. None:
        all.

    Returns:
      A `Corpus` named `"embedded"`.

    Raises:
      UserError: unknown unit, a text of characters cut short, or this Python
        carries no documentation.
    """
    arguments.one_of("the embedded text's unit", unit, ("word", "character"))
    texts = corpora_embedded.load(cache_dir)
    source = (
        "embedded text (documentation inside Python "
        f"{platform.python_version()}), {unit}s"
    )
    if unit == "word":
        train, *others = (_words(texts[part]) for part in PARTS)
        return _word_corpus(
            "embedded",
            source,
            [train[:train_words], *others],
            drop_unseen=False,
            more=(UNKNOWN,),
        )
    if train_words is not None:
        raise errors.UserError(
            "--train_words counts words; leave it out with characters"
        )
    data = texts["characters"].encode()
    return _character_corpus("embedded", source, data, len(data) // 20)


def batches(
    ids: np.ndarray, batch_size: int, num_steps: int, what: str = "text"
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a text into `batch_size` contiguous streams of short stretches.

    Row b of batch n + 1 goes on where row b of batch n ended, so that a
    hidden state can be carried over. What does not fill a batch is left out.

    >>> x, y = batches(np.arange(11, dtype=np.int32), 2, 2)
    >>> x[1].tolist(), y[1].tolist()
    ([[2, 3], [7, 8]], [[3, 4], [8, 9]])

    Args:
      ids: `[tokens]`, int32.
      batch_size: number of streams B.
      num_steps: length T of a stretch.
      what: names the text in errors.

    Returns:
      Inputs and targets (one token later), each `[N, B, T]` int32 with
      N = (tokens // B - 1) // T.

    Raises:
      UserError: a size below 1, or a text too short for one batch.
    """
    ids = np.asarray(ids, np.int32)
    for name, size in ("batch_size", batch_size), ("num_steps", num_steps):
        arguments.integer(name, size, least=1)
    length = len(ids) // batch_size
    count = (length - 1) // num_steps
    if count < 1:
        raise errors.UserError(
            f"batch too large for the {what}: batch_size {batch_size} x "
            f"num_steps {num_steps} needs {batch_size * (num_steps + 1):,} "
            f"tokens, the {what} has {len(ids):,}; "
            + _what_fits(len(ids), batch_size, num_steps)
        )
    streams = ids[: batch_size * length].reshape(batch_size, length)

    def cut(start):
        stretch = streams[:, start : start + count * num_steps]
        stretch = stretch.reshape(batch_size, count, num_steps)
        return np.ascontiguousarray(stretch.transpose(1, 0, 2))

    return cut(0), cut(1)


def _what_fits(tokens: int, batch_size: int, num_steps: int) -> str:
    options = []
    if tokens > num_steps:
        options.append(f"batch_size up to {tokens // (num_steps + 1)}")
    if tokens >= 2 * batch_size:
        options.append(f"num_steps up to {tokens // batch_size - 1}")
    return f"{' or '.join(options) or 'a longer text'} would fit"


def _read_bytes(path: pathlib.Path) -> bytes:
    data = files.read_bytes(path, _WHAT)
    if not data.removeprefix(files.BYTE_ORDER_MARK):
        raise errors.UserError(
            f"{_WHAT} {files.shown(path)} is empty; expected text"
        )
    return data


def _read_text(path: pathlib.Path) -> str:
    return files.decode(_read_bytes(path), path, _WHAT)


def _words(text: str) -> list[str]:
    return text.replace("\n", f" {END} ").split()


def _word_corpus(
    name: str,
    source: str,
    words: Sequence[Sequence[str]],
    drop_unseen: bool = True,
    more: Sequence[str] = (),
) -> Corpus:
    """The vocabulary and the ids of the words of three texts.

    Args:
      name: see `Corpus`.
      source: for its description.
      words: of the three parts.
      drop_unseen: see `read_words`.
      more: words that the vocabulary has though no text has them.
    """
    counts = collections.Counter(words[0])
    counts.update(dict.fromkeys(more, 0))
    symbols = tuple(sorted(counts, key=lambda word: (-counts[word], word)))
    word_to_id = {word: i for i, word in enumerate(symbols)}
    unknown = None if drop_unseen else word_to_id.get(UNKNOWN)
    found = [[word_to_id.get(word, unknown) for word in part] for part in words]
    ids = [
        np.fromiter((i for i in part if i is not None), np.int32)
        for part in found
    ]
    for part, part_words in zip(PARTS, words):
        if not (word_to_id.keys() - {END}) & set(part_words):
            of = "" if part == "train" else " of ptb.train.txt"
            raise errors.UserError(
                f"ptb.{part}.txt has no word{of} ({source}); "
                "expected sentences in words, one per line"
            )
    unseen = sum(word not in word_to_id for part in words for word in part)
    if unseen:
        what = "left out" if unknown is None else f"read as {UNKNOWN}"
        source += f" ({unseen:,} not in the training text {what})"
    return _corpus(name, "word", source, ids, symbols)


def _character_corpus(
    name: str, source: str, data: bytes, num_test_symbols: int
) -> Corpus:
    """The byte classes and the ids of one text."""
    most = (len(data) - 1) // 2
    if not 1 <= num_test_symbols <= most:
        right = (
            f"num_test_symbols between 1 and {most:,}"
            if most
            else "a longer file"
        )
        raise errors.UserError(
            f"num_test_symbols {num_test_symbols:,} does not suit the "
            f"{len(data):,} {source}: the valid and the test text take that "
            f"many each and leave nothing to train on; give {right}"
        )
    classes = bytes(value for value in range(256) if value in data)
    table = bytes.maketrans(classes, bytes(range(len(classes))))
    ids = np.frombuffer(data.translate(table), np.uint8).astype(np.int32)
    parts = np.split(
        ids, [len(ids) - 2 * num_test_symbols, len(ids) - num_test_symbols]
    )
    return _corpus(
        name, "character", source, parts, tuple(classes.decode("latin-1"))
    )


def _corpus(
    name: str, unit: str, source: str, parts: list, symbols: tuple[str, ...]
) -> Corpus:
    sizes = " / ".join(f"{len(part):,}" for part in parts)
    train, valid, test = parts
    return Corpus(
        name,
        unit,
        train,
        valid,
        test,
        symbols=symbols,
        description=(
            f"{source}: {sizes} train / valid / test, "
            f"vocabulary {len(symbols):,}"
        ),
    )
