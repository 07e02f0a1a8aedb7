"""JSON from untrusted clients, with its numbers as arrays.

Nearly all of a JSON request is one nested list of numbers. Parsed straight into an array, it takes
a third of the time that a Python object for each number would take.
"""

import base64
import re
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray
from pydantic_core import from_json

from service.capacity.admission import Limits
from service.errors import BodyTooLarge, InvalidJSON, RequestError

Shape = tuple[int, ...]
Numbers = NDArray[np.uint64] | NDArray[np.float64]
"""Float if one of them has a fraction, an exponent or a minus sign."""

_ALL_BUT_MARKS = bytes(set(range(256)) - set(b'[]{},"'))
_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRING = re.compile(rb'"[^"]*"?')
_SPACE = b" \t\n\r"


def parse_json(text: bytes, limits: Limits) -> Any:
    """Parse JSON in UTF-8, also with NaN, Infinity and -Infinity.

    Raises:
        BodyTooLarge: It has too many brackets, commas and quotes. They, not its bytes, take the
            time, and no other thread runs meanwhile.
        InvalidJSON: It is not JSON, or nests too deeply.
    """
    marks = text.translate(None, _ALL_BUT_MARKS)
    if len(marks) > limits.max_json_marks:
        raise BodyTooLarge(
            f"the JSON has more than {limits.max_json_marks} brackets, commas and quotes, the limit"
        )
    depth = limits.max_json_depth
    if marks.count(b"[") + marks.count(b"{") > depth and _depth_of(text) > depth:
        raise InvalidJSON(f"the JSON nests deeper than {depth} levels")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass  # Four times as fast, but it rejects NaN, and its messages say less.
    try:
        return from_json(text, allow_inf_nan=True, cache_strings=False)
    except ValueError as error:
        raise InvalidJSON(f"the body is not valid JSON: {error}") from error


def _depth_of(text: bytes) -> int:
    without_strings = _STRING.sub(b"", text.replace(rb"\\", b"").replace(b'\\"', b""))
    brackets = np.frombuffer(without_strings.translate(None, _ALL_BUT_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(steps.cumsum().max(initial=0))


def decode_file(item: Any, place: str, error: type[RequestError], hint: str = "") -> bytes:
    """Return the bytes of `{"b64": "…"}`, or raise the error for its place in the request."""
    if not isinstance(item, dict) or item.keys() != {"b64"} or not isinstance(item["b64"], str):
        form = '{"b64": "<picture file in base64>"}'
        raise error(f"{place}: an object must be {form}{hint}")
    try:
        return base64.b64decode(item["b64"], validate=True)
    except ValueError as cause:
        raise error(f"{place}: b64 is not valid base64: {cause}") from cause


def image_shapes(image: Shape) -> list[Shape]:
    """Return the shapes in which an image of (height, width, 1) may be sent."""
    return [image, image[:-1], (prod(image),)]


def parse_with_numbers(
    text: bytes, key: str, shapes: Sequence[Shape], limits: Limits
) -> tuple[Any, Numbers] | None:
    """Parse JSON in which one key holds a list of equally nested lists of numbers.

    Args:
        text: JSON in UTF-8.
        key: Of any object in it.
        shapes: Those that an item of the list may have; () is a number.
        limits: Of the request.

    Returns:
        What `parse_json` returns, with an empty list under the key, and (n, *shape) numbers, n ≥ 1.
        None if it is of another kind or exceeds a limit; `parse_json` has the right error.
    """
    parts = _split(text, key)
    if parts is None:
        return None
    rest, lists = parts
    structure = lists.translate(None, _ALL_BUT_STRUCTURE)
    found = _find_item(structure, shapes)
    if found is None:
        return None
    count, item = found
    rest_limits = limits._replace(
        max_json_depth=limits.max_json_depth - len(item),
        # The outermost brackets are in both parts.
        max_json_marks=limits.max_json_marks - len(structure) + len(b"[]"),
    )
    try:
        document = parse_json(rest, rest_limits)
        # A parser keeps room for the longest text it has parsed; a new one costs little.
        numbers = _as_array(simdjson.Parser().parse(lists), count, item)
    except (RequestError, TypeError, ValueError, RuntimeError):
        return None  # simdjson raises these for what is not JSON, not a number, or too large.
    return None if numbers is None else (document, numbers)


def _split(text: bytes, key: str) -> tuple[bytes, bytes] | None:
    """Return the text with an empty list under the key, and the list that was there.

    In an object, a list of numbers ends before the next quote or closing brace.
    """
    quoted = b'"%b"' % key.encode()
    at = text.find(quoted)
    start = text.find(b"[", at)
    if at < 0 or start < 0 or text[at + len(quoted) : start].strip(_SPACE) != b":":
        return None
    quote, brace = text.find(b'"', start), text.find(b"}", start)
    limit = brace if quote < 0 else min(quote, brace)
    end = text.rfind(b"]", start, limit) + 1
    if limit < 0 or end == 0 or text[end:limit].strip(_SPACE) not in (b"", b","):
        return None
    before, after = text[:start], text[end:]
    # If a key occurs twice the last one counts. With an escape, what looks like the key may be the
    # end of a string, and a string be the key.
    if quoted in after or b"\\" in before or b"\\" in after:
        return None
    return before + b"[]" + after, text[start:end]


@cache
def _structure(shape: Shape) -> bytes:
    """Return the brackets and commas of nested lists of a shape."""
    text = b""
    for size in reversed(shape):
        text = b"[" + b",".join([text] * size) + b"]"
    return text


def _find_item(structure: bytes, shapes: Sequence[Shape]) -> tuple[int, Shape] | None:
    """Return the number and shape of the items of a list with these brackets and commas."""
    for shape in shapes:
        item = _structure(shape)
        count = (len(structure) - 1) // (len(item) + 1)
        if count and structure == b"[" + ((item + b",") * count)[:-1] + b"]":
            return count, shape
    return None


def _as_array(lists: object, count: int, item: Shape) -> Numbers | None:
    """Return the numbers of nested lists as (count, *item), or None if there are fewer."""
    if not isinstance(lists, simdjson.Array):
        return None
    numbers: Numbers
    try:
        numbers = np.frombuffer(lists.as_buffer(of_type="u"), np.uint64)
    except (TypeError, ValueError):
        numbers = np.frombuffer(lists.as_buffer(of_type="d"), np.float64)
    # `[]` and `[0]` have the same brackets.
    return numbers.reshape(count, *item) if len(numbers) == count * prod(item) else None
