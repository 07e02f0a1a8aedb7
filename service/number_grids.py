"""Numbers of a JSON document as one array. Knows nothing of HTTP.

Nearly all of a request in JSON is one nested list of numbers. It is cut out of the text; its
brackets and commas are held against those of the shapes that are expected; and its numbers are
parsed straight into an array, in a third of the time that a Python object each would take. What
remains is a document of a line.

Whatever is not plainly of this kind is left to whoever parses all of it, and says what is wrong.
"""

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any, cast

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.documents import JsonLimits, parse_json
from service.errors import RequestError

Shape = tuple[int, ...]
Numbers = NDArray[np.uint64] | NDArray[np.float64]
"""Float if one of them has a fraction, an exponent or a minus sign."""

_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_SPACE = b" \t\n\r"


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
    for item in shapes:
        count = _count(structure, item)
        if count:
            break
    else:
        return None
    try:
        # The outermost brackets are in both.
        left = JsonLimits(limits.depth - len(item), limits.marks - len(structure) + len(b"[]"))
        document = parse_json(rest, left)
    except RequestError:
        return None
    numbers = _parse(grid)
    if numbers is None or len(numbers) != count * prod(item):  # `[]` and `[0]` look the same.
        return None
    return document, numbers.reshape(count, *item)


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


def _count(structure: bytes, item: Shape) -> int:
    """Return how many items of the shape a list with these brackets and commas has, or 0."""
    one = _structure(item)
    count = (len(structure) - 1) // (len(one) + 1)
    return count if structure == b"[" + b",".join([one] * count) + b"]" else 0


def _parse(grid: bytes) -> Numbers | None:
    """Return the numbers of nested lists in their order, or None if something else is in them."""
    try:
        # A parser keeps room for the longest text it has seen, and a new one costs next to nothing.
        lists = cast(simdjson.Array, simdjson.Parser().parse(grid))
        try:
            return np.frombuffer(lists.as_buffer(of_type="u"), np.uint64)
        except (TypeError, ValueError):
            return np.frombuffer(lists.as_buffer(of_type="d"), np.float64)
    except (TypeError, ValueError, RuntimeError):  # The last for a number of more than 64 bits.
        return None
