"""Words of a text, as the authors' preprocessing sees them.

Three steps: a splitter cuts the text into sentences, the Penn Treebank rules
cut a sentence into tokens, and `split_token` cuts tokens at dashes and quotes.

The Treebank rules are those of `nltk.word_tokenize` in NLTK 3.4.5, on which
the authors' numbers rest. Later versions treat dashes and quotes differently,
so the rules are kept here: the words do not depend on the NLTK installed, and
only the sentence splitter `punkt` needs NLTK at all.
"""

import re
from typing import Callable

from iss_rnns import arguments
from iss_rnns import errors

SPLITTERS = ("punkt", "simple", "none")
_INSTEAD = "or choose --sentence_splitter simple"

# The order matters: later rules see the blanks and quotes of earlier ones.
_TREEBANK: tuple[tuple["re.Pattern", str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Opening quotes; straight double ones become `` for now.
        (r"([«“‘„]|`+)", r" \1 "),
        (r'^"', "``"),
        (r"(``)", r" \1 "),
        (r"([ (\[{<])(?:\"|'')", r"\1 `` "),
        (r"(?i)'(?!re|ve|ll|m|t|s|d)(\w)\b", r"' \1"),
        # Punctuation; a period is cut off at the end of a sentence only.
        (r"([^.])(\.)([])}>\"'»”’ ]*)\s*$", r"\1 \2 \3 "),
        (r"([:,])(\D)", r" \1 \2"),
        (r"([:,])$", r" \1 "),
        (r"\.\.\.", " ... "),
        (r"([;@#$%&])", r" \1 "),
        (r"([^.])(\.)([])}>\"']*)\s*$", r"\1 \2\3 "),
        (r"([?!])", r" \1 "),
        (r"([^'])' ", r"\1 ' "),
        (r"([][(){}<>])", r" \1 "),
        (r"--", " -- "),
        (r"\A|\Z", " "),
        # Closing quotes and clitics.
        (r"([»”’])", r" \1 "),
        (r'"', " '' "),
        (r"(\S)('')", r"\1 \2 "),
        (r"([^' ])('[sS]|'[mM]|'[dD]|') ", r"\1 \2 "),
        (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
    )
)
_CONTRACTION = re.compile(
    r"(?i)\b(?:(can)(not)|(d)('ye)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)"
    r"|(mor)('n)|(wan)(na)(?=\s))\b|(?<= )('t)(is|was)\b"
)
_INNER = re.compile("([-−—–/~\"'“’”‘°])")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])")


def treebank_tokens(sentence: str) -> list[str]:
    """Cuts a sentence into Penn Treebank tokens.

    >>> treebank_tokens('He can\\'t sell it for "$4,500".')
    ['He', 'ca', "n't", 'sell', 'it', 'for', '``', '$', '4,500', "''", '.']
    """
    for pattern, replacement in _TREEBANK:
        sentence = pattern.sub(replacement, sentence)
    return _CONTRACTION.sub(_halves, sentence).split()


def _halves(match: "re.Match") -> str:
    first, second = (half for half in match.groups() if half is not None)
    return f" {first} {second} "


def split_token(token: str) -> list[str]:
    """Cuts a token at dashes, quotes, slashes, tildes and degree signs.

    Every such sign becomes a word. Empty words stay where a sign begins or
    ends the token, as in the authors' code, on whose word positions the
    answers rest.

    >>> split_token("1884-1885"), split_token("'s")
    (['1884', '-', '1885'], ['', "'", 's'])
    """
    return _INNER.split(token)


def plain_quotes(context: str) -> str:
    """Writes double quotes made of two signs as one and a blank.

    The text keeps its length, so character positions stay valid.
    """
    return context.replace("''", '" ').replace("``", '" ')


class Tokenizer:
    """Cuts texts into sentences and words.

    Args:
      splitter: where sentences end: `punkt` is NLTK's trained splitter, as
        the authors have it; `simple` cuts after `.!?` before a blank and
        a capital or digit; `none` takes a text as one sentence, so that
        only its last period is a word of its own.

    Raises:
      UserError: unknown splitter, or NLTK or its data is missing.
    """

    def __init__(self, splitter: str = "punkt"):
        self.splitter = arguments.one_of(
            "the sentence splitter", splitter, SPLITTERS
        )
        self.sentences = _sentences(splitter)

    def words(self, text: str) -> list[str]:
        """All words of a text, one sentence's after the other's.

        >>> Tokenizer("none").words("What's 3/4?")
        ['What', '', "'", 's', '3', '/', '4', '?']
        """
        return [
            word
            for sentence in self.sentences(text)
            for token in treebank_tokens(sentence)
            for word in split_token(token.replace("''", '"').replace("``", '"'))
        ]


def _sentences(splitter: str) -> Callable[[str], list[str]]:
    if splitter == "punkt":
        return _punkt()
    if splitter == "simple":
        return _SENTENCE_END.split
    return lambda text: [text]


def _punkt() -> Callable[[str], list[str]]:
    """NLTK's sentence splitter for English."""
    try:
        from nltk.tokenize import punkt

        return punkt.PunktTokenizer("english").tokenize
    except ImportError as error:
        raise errors.UserError(
            "NLTK, which finds the ends of sentences, is not installed; run "
            f"`pip install nltk` (extra `bidaf`), {_INSTEAD}"
        ) from error
    except AttributeError as error:
        raise errors.UserError(
            "the installed NLTK is older than 3.9 and cannot read punkt_tab; "
            f"run `pip install --upgrade nltk`, {_INSTEAD}"
        ) from error
    except LookupError as error:
        raise errors.UserError(
            "NLTK's resource punkt_tab, which finds the ends of sentences, is "
            "missing; run `python -m nltk.downloader punkt_tab` or set "
            "NLTK_DATA to a folder with tokenizers/punkt_tab/english, "
            f"{_INSTEAD}"
        ) from error


def variants(word: str) -> tuple[str, str, str, str]:
    """The forms under which a word is looked up, in the authors' order."""
    return word, word.capitalize(), word.lower(), word.upper()
