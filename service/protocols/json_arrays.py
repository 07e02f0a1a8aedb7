"""Numbers of a JSON document as one array. Knows nothing of HTTP.

Nearly all of a request in JSON is one nested list of numbers. Its brackets and commas are held
against those of the shapes that are expected, and its numbers are parsed straight into an array, in
a third of the time that a Python object each would take. Where other things stand beside it, it is
cut out of the text first; what remains is a document of a line. A parser keeps room for the longest
text it has seen, and a new one costs next to nothing: each text has its own.

Whatever is not plainly of this kind is left to whoever parses all of it, and says what is wrong.
"""

from codecs import BOM_UTF8
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, cast

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.protocols.json_parsing import JsonLimits, parse_json
from service.errors import RequestError

Shape = tuple[int, ...]
Numbers = NDArray[np.uint64] | NDArray[np.float64]
"""Float if one of them has a fraction, an exponent or a minus sign."""

_QUOTES = 2
"""Of a key."""

_UNREADABLE = (TypeError, ValueError, RuntimeError)
"""What simdjson raises for what is no JSON, holds something else, or a number of more bits."""

_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_SPACE = b" \t\n\r"


def parse_numbers(
    text: bytes, key: str, shapes: Sequence[Shape], limits: JsonLimits
) -> Numbers | None:
    """Parse a document that is one key, which holds a list of equally nested lists of numbers.

    Args:
        text: JSON in UTF-8.
        key: Of the object that the document is.
        shapes: Those that an item of the list may have; () is a number.
        limits: What it may cost.

    Returns:
        (n, *shape) numbers, n at least 1. None if it is not of this kind, is no JSON, or costs
        more.
    """
    structure = text.translate(None, _ALL_BUT_STRUCTURE)
    # simdjson skips a byte order mark, which JSON must not have.
    if not structure.startswith(b"{") or structure[-1:] != b"}" or text.startswith(BOM_UTF8):
        return None
    found = _find_item(structure[1:-1], shapes)
    if found is None or len(found[1]) + 2 > limits.depth or len(structure) + _QUOTES > limits.marks:
        return None
    try:
        document = cast(simdjson.Object, simdjson.Parser().parse(text))
        return _as_array(document[key], *found) if list(document) == [key] else None
    except (KeyError, *_UNREADABLE):
        return None


def parse_with_numbers(
    text: bytes, key: str, shapes: Sequence[Shape], limits: JsonLimits
) -> tuple[Any, Numbers] | None:
    """Parse a document in which one key holds a list of equally nested lists of numbers.

    Args:
        text: JSON in UTF-8.
        key: Of some object in it.
        shapes: Those that an item of the list may have; () is a number.
        limits: What it may cost.

    Returns:
        The document, with an empty list under the key, and (n, *shape) numbers, n at least 1. None
        if it is not of this kind, is no JSON, or costs more.
    """
    parts = _cut(text, key)
    if parts is None:
        return None
    rest, grid = parts
    structure = grid.translate(None, _ALL_BUT_STRUCTURE)
    found = _find_item(structure, shapes)
    if found is None:
        return None
    count, item = found
    try:
        # The outermost brackets are in both.
        left = JsonLimits(limits.depth - len(item), limits.marks - len(structure) + len(b"[]"))
        document = parse_json(rest, left)
        numbers = _as_array(simdjson.Parser().parse(grid), count, item)
    except (RequestError, *_UNREADABLE):
        return None
    return None if numbers is None else (document, numbers)


def _cut(text: bytes, key: str) -> tuple[bytes, bytes] | None:
    """Return the text with an empty list under the key, and the list that was there.

    In an object, a list without strings and objects ends before the next quote or closing brace.
    """
    quoted = b'"%b"' % key.encode()
    at = text.find(quoted)
    start = text.find(b"[", at)
    if at < 0 or start < 0 or text[at + len(quoted) : start].strip(_SPACE) != b":":
        return None
    quote, brace = text.find(b'"', start), text.find(b"}", start)
    end = brace if quote < 0 else min(quote, brace)
    if end < 0:
        return None
    grid = text[start:end].rstrip(_SPACE)
    if grid.endswith(b","):
        grid = grid[:-1].rstrip(_SPACE)
    if not grid.endswith(b"]"):
        return None  # It holds picture files, of which nothing is to be copied.
    before, after = text[:start], text[start + len(grid) :]
    rest = before + b"[]" + after
    # Of a key that comes twice the last one counts. With an escape, what looks like the key may be
    # the end of a string, and a string be the key.
    return None if quoted in after or b"\\" in rest else (rest, grid)


@cache
def _structure(shape: Shape) -> bytes:
    """Return the brackets and commas of nested lists of a shape."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text


def _find_item(structure: bytes, shapes: Sequence[Shape]) -> tuple[int, Shape] | None:
    """Return how many items of which shape a list with these brackets and commas has."""
    for shape in shapes:
        item = _structure(shape)
        count = (len(structure) - 1) // (len(item) + 1)
        if count and structure == b"[" + ((item + b",") * count)[:-1] + b"]":
            return count, shape
    return None


def _as_array(lists: object, count: int, item: Shape) -> Numbers | None:
    """Return the numbers of nested lists as (count, *item), or None if there are fewer.

    Raises:
        TypeError, ValueError, RuntimeError: Something else is in them.
    """
    if not isinstance(lists, simdjson.Array):  # A string may have the same brackets.
        return None
    numbers: Numbers
    try:
        numbers = np.frombuffer(lists.as_buffer(of_type="u"), np.uint64)
    except (TypeError, ValueError):
        numbers = np.frombuffer(lists.as_buffer(of_type="d"), np.float64)
    # `[]` and `[0]` have the same brackets.
    return numbers.reshape(count, *item) if len(numbers) == count * prod(item) else None
