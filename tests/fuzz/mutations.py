"""Damage to bytes: what a disk, an editor, a copy or a person does to a file.

Everything depends on the `random.Random` given, so an input can be made again.
"""

from collections.abc import Mapping, Sequence
import io
import json
import random as random_lib
import re
import struct
import zipfile

import numpy as np

# In place of numbers and other values of text files.
NUMBERS = (
    b"0",
    b"-0",
    b"-1",
    b"1",
    b"2",
    b"0.5",
    b"1e39",
    b"-1e39",
    b"1e-46",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"2147483648",
    b"18446744073709551616",
    b"1" + b"0" * 400,
    b"9" * 5000,
    b"0x10",
    b"1_0",
    b"1,5",
    "٣".encode(),
    b"true",
    b"null",
    b'"text"',
    b"[]",
    b"{}",
    b"[[1]]",
)
# What encodings, terminals and other programs leave behind.
FRAGMENTS = (
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xff",
    b"\x00",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\r\n",
    b"\r",
    b"\n",
    b"\x1b[0m",
    b"\x85",
    "\u2028".encode(),
    b'"',
    b",",
    b"/",
    b"..",
    b"%s{0}",
    b"\\",
)
VALUES = (
    None,
    True,
    0,
    -1,
    1,
    2.5,
    10**400,
    2**63,
    1e39,
    float("nan"),
    float("inf"),
    "",
    "text",
    "\ud800",
    "a\nb",
    [],
    {},
    [[]],
    [None],
    {"": None},
)


def damaged(
    data: bytes, random: random_lib.Random, others: Sequence[bytes] = ()
) -> bytes:
    """One to four damages to the bytes of a file.

    Args:
      data: of a valid file; what it is, JSON or an archive, is found out.
      random: decides.
      others: further valid files, to splice in.
    """
    kinds = list(_ANY)
    if data[:2] == b"PK":
        kinds += [_archive] * 12 + [_arrays] * 12
    elif _is_text(data):
        kinds += _TEXT * 2
        if data.lstrip()[:1] in (b"{", b"["):
            kinds += [_json] * len(kinds)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        data = random.choice(kinds)(data, random, [data, *others])
    return data


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _place(data, random):
    return random.randrange(len(data) + 1)


def _span(data, random):
    start = _place(data, random)
    return start, min(len(data), start + int(random.expovariate(1 / 20)) + 1)


def _flip(data, random, others):
    del others
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def _overwrite(data, random, others):
    del others
    start, stop = _span(data, random)
    fill = random.choice((b"\0", b"\xff", b"\x7f", b" ", b"9"))
    return data[:start] + fill * (stop - start) + data[stop:]


def _delete(data, random, others):
    del others
    start, stop = _span(data, random)
    return data[:start] + data[stop:]


def _truncate(data, random, others):
    del others
    return data[: _place(data, random)]


def _repeat(data, random, others):
    del others
    start, stop = _span(data, random)
    count = random.choice((2, 2, 3, 100))
    return data[:start] + data[start:stop] * count + data[stop:]


def _splice(data, random, others):
    other = random.choice(others)
    start, stop = _span(other, random)
    if random.random() < 0.3:
        start, stop = 0, _place(other, random)
    place = _place(data, random)
    rest = place + random.choice((0, stop - start, len(data)))
    return data[:place] + other[start:stop] + data[rest:]


def _fragment(data, random, others):
    del others
    place = random.choice((0, _place(data, random), len(data)))
    return data[:place] + random.choice(FRAGMENTS) + data[place:]


def _integers(data, random, others):
    """Sizes and counts of binary formats, blown up."""
    del others
    data, place = bytearray(data), _place(data, random)
    pack = random.choice(("<I", "<Q", ">I", "<H"))
    value = random.choice((0, 1, 0xFF, 0x7FFF, 0xFFFF))
    if pack != "<H":
        value = random.choice((value, 2**31 - 1, 2**31, 2**32 - 1))
    data[place : place + struct.calcsize(pack)] = struct.pack(pack, value)
    return bytes(data)


def _number(data, random, others):
    del others
    found = list(
        re.finditer(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", data)
    )
    if not found:
        return data
    match = random.choice(found)
    return data[: match.start()] + random.choice(NUMBERS) + data[match.end() :]


def _word(data, random, others):
    """A word or name takes another's place, or goes."""
    found = list(re.finditer(rb"[^\s\",:{}\[\]]+", data))
    if not found:
        return data
    words = re.findall(rb"[^\s\",:{}\[\]]+", random.choice(others))
    match = random.choice(found)
    return (
        data[: match.start()]
        + random.choice((*words, b"", b"\xc3\xa9", b"\xff"))
        + data[match.end() :]
    )


def _lines(data, random, others):
    """Lines change places, come twice, or go."""
    lines = data.splitlines(keepends=True)
    more = random.choice(others).splitlines(keepends=True)
    if not lines or not more:
        return data
    place = random.randrange(len(lines))
    return b"".join(
        [
            *lines[:place],
            *random.choice(
                (
                    [],
                    [random.choice(lines)],
                    [lines[place], random.choice(more)],
                    [lines[place].strip()],
                    [b"\n"],
                    [lines[place] * 50],
                )
            ),
            *lines[place + 1 :],
        ]
    )


def _encoding(data, random, others):
    del others
    text = data.decode(errors="replace")
    coded = random.choice(("utf-16", "utf-16-le", "latin-1", "utf-8-sig"))
    return text.encode(coded, errors="replace")


def _json(data, random, others):
    """Fields that go, come twice, or hold something else."""
    del others
    try:
        content = json.loads(data.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return data
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    if not isinstance(content, (dict, list)):
        return data
    walk(content)
    if not places:
        return data
    node, key = random.choice(places)
    change = random.randrange(6)
    if change == 0:
        del node[key]
    elif change == 1 and isinstance(node, dict):
        node[random.choice(("", "unknown", "a\nb", key + "s"))] = node.pop(key)
    elif change == 2:
        node[key] = [node[key]]
    elif change == 3:
        other, name = random.choice(places)
        node[key] = json.loads(json.dumps(other[name]))
    else:
        node[key] = random.choice(VALUES)
    return json.dumps(content).encode()


def _archive(data, random, others):
    """Members of a zip file damaged, renamed, swapped or gone; sums are right."""
    del others
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = [(name, file.read(name)) for name in file.namelist()]
    except Exception:  # It was damaged before.
        return data
    if not members:
        return data
    place = random.randrange(len(members))
    name, content = members[place]
    change = random.randrange(8)
    if change == 0:
        del members[place]
    elif change == 1:
        members[place] = random.choice(members)[0], content
    elif change == 2:
        members[place] = name, random.choice(members)[1]
    elif change == 3:
        # The header ends within so many bytes.
        members[place] = (
            name,
            damaged(content[:128], random) + content[128:],
        )
    elif change == 4:
        members[place] = (
            name,
            _number(content[:128], random, ()) + content[128:],
        )
    else:
        members[place] = name, damaged(content, random)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members:
            try:
                file.writestr(name, content)
            except (ValueError, UnicodeError):
                pass
    return out.getvalue()


def _arrays(data, random, others):
    """Arrays of other values, shapes and types, rightly written."""
    del others
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # It was damaged before.
        return data
    arrays = {
        name: array
        for name, array in arrays.items()
        if isinstance(array, np.ndarray)
    }
    if not arrays:
        return data
    name = random.choice(list(arrays))
    arrays[name] = _array(arrays[name], random, list(arrays.values()))
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _array(
    array: np.ndarray, random: random_lib.Random, others: Sequence[np.ndarray]
) -> np.ndarray:
    change = random.randrange(9)
    if change == 0:
        kind = random.choice(("f4", "f8", "f2", "i8", "u1", "?", "c8", ">f4"))
        with np.errstate(all="ignore"):
            try:
                return array.astype(kind)
            except (ValueError, TypeError):
                return array
    if change == 1:
        return array[..., np.newaxis]
    if change == 2:
        return array.reshape(-1)
    if change == 3 and array.ndim:
        return array[: random.randrange(len(array) + 1)]
    if change == 4 and array.ndim:
        return np.concatenate([array, array])
    if change == 5:
        return random.choice(others)
    if change == 6:
        return np.zeros((), array.dtype)
    if change == 7:
        return array.T
    if not array.size or array.dtype.kind not in "iuf":
        return array
    array = array.copy()
    values = (0, 1, -1, 3, 255, 2**31 - 1, -(2**31))
    if array.dtype.kind == "f":
        values = (0.0, -1.0, 1e30, np.nan, np.inf)
    with np.errstate(all="ignore"):
        flat = array.reshape(-1)
        flat[random.randrange(array.size)] = np.array(
            random.choice(values)
        ).astype(array.dtype)
    return array


_ANY = (
    _flip,
    _flip,
    _overwrite,
    _delete,
    _truncate,
    _repeat,
    _splice,
    _fragment,
    _integers,
)
_TEXT = (_number, _number, _word, _lines, _encoding, _fragment)


def damaged_files(
    contents: Mapping[str, bytes],
    names: Sequence[str],
    random: random_lib.Random,
) -> dict[str, bytes]:
    """Some valid files, of which one is damaged; rarely it is gone.

    Args:
      contents: of all files, by name.
      names: of those that may be damaged.
      random: decides.
    """
    name = random.choice(names)
    result = dict(contents)
    if random.random() < 0.01:
        del result[name]
    else:
        result[name] = damaged(
            contents[name], random, [contents[other] for other in names]
        )
    return result
