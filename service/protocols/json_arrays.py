"""Parses untrusted JSON, with its numbers as arrays.

That takes a third of the time of creating a Python object for each number.
"""

import re
import threading
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
import orjson
import simdjson
from numpy.typing import NDArray
from pydantic_core import from_json

from ..capacity.admission import SMALL_BYTES, Limits
from ..errors import BodyTooLarge, InvalidJSON, RequestError
from .tensors import decode_base64

Shape = tuple[int, ...]

_ALL_BUT_MARKS = bytes(set(range(256)) - set(b'[]{},"'))
_ALL_BUT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRING = re.compile(rb'"[^"]*"?')
_SPACE = b" \t\n\r"
_POINT, _SMALL_E, _LARGE_E, _MINUS, _BACKSLASH = b".eE-\\"  # `in` is twice as fast with integers.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Creating a parser takes as long as parsing a small text; it keeps the memory for its longest text.
_parser = cache(lambda _thread: simdjson.Parser())


def parse_json(text: bytes, limits: Limits) -> Any:
    """Parse JSON in UTF-8, also with NaN, Infinity and -Infinity.

    Raises InvalidJSON, or BodyTooLarge for too many brackets, commas and quotes: these, not bytes,
    determine how long parsing holds the GIL.
    """
    depth, max_marks = limits.max_json_depth, limits.max_json_marks
    marks = text.translate(None, _ALL_BUT_MARKS)
    if len(marks) > max_marks:
        raise BodyTooLarge(f"the JSON has more than {max_marks} brackets, commas and quotes")
    if marks.count(b"[") + marks.count(b"{") > depth and _depth_of(text) > depth:
        raise InvalidJSON(f"the JSON nests deeper than {depth} levels")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass  # Four times as fast as pydantic, but rejects NaN and has terser messages.
    if b"\0" in text[:4]:
        raise InvalidJSON("the JSON is in UTF-16 or UTF-32, it must be in UTF-8")
    try:
        text = text.removeprefix(_BYTE_ORDER_MARK)
        return from_json(text, allow_inf_nan=True, cache_strings=False)
    except ValueError as error:
        raise InvalidJSON(f"the body is not valid JSON: {error}") from error


def _depth_of(text: bytes) -> int:
    without_strings = _STRING.sub(b"", text.replace(rb"\\", b"").replace(b'\\"', b""))
    brackets = np.frombuffer(without_strings.translate(None, _ALL_BUT_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(steps.cumsum().max(initial=0))


def decode_file(item: Any, place: str, error: type[RequestError], hint: str = "") -> bytes:
    """Return the bytes of `{"b64": "…"}` or of a base64 string, or raise `error` for the place."""
    text = item.get("b64") if isinstance(item, dict) and len(item) == 1 else item
    if not isinstance(text, str):
        if isinstance(item, dict) and item.keys() != {"b64"}:
            hint = f", not one with {list(item)}{hint}"
        raise error(f'{place}: an object must be {{"b64": "<image file in base64>"}}{hint}')
    try:
        return decode_base64(text)
    except ValueError as cause:
        raise error(f"{place}: b64 is not valid base64: {cause}") from cause


@cache
def image_shapes(image: Shape) -> tuple[Shape, ...]:
    """Return the accepted shapes of an image of (height, width, 1)."""
    return image[:-1], image, (prod(image),)


def parse_with_numbers(
    text: bytes, path: Sequence[str | int], shapes: Sequence[Shape], limits: Limits
) -> Any:
    """Parse JSON like `parse_json`, but the list at `path` as an array.

    The array is uint64, int64 if a number is negative, or float64 if one has a fraction or
    exponent. It remains a list unless all items have the same one of `shapes`; () is a number.
    """
    *parents, key = path
    rest, lists = _split(text, b'"%b"' % str(key).encode())
    structure = lists.translate(None, _ALL_BUT_STRUCTURE)
    count, item = _find_item(structure, shapes)
    if count:
        # Both parts have the outermost brackets.
        depth = limits.max_json_depth - len(item)
        marks = limits.max_json_marks - len(structure) + len(b"[]")
        try:
            document = parent = parse_json(rest, Limits(max_json_depth=depth, max_json_marks=marks))
            for step in parents:
                parent = parent[step]
            if parent[key] == []:
                parent[key] = _as_array(lists).reshape(count, *item)  # Fails if `[]` is for `[0]`.
                return document
        except (RequestError, LookupError, TypeError, ValueError, RuntimeError):
            pass  # simdjson raises these for invalid JSON, non-numbers and numbers too large.
    return parse_json(text, limits)


def _split(text: bytes, key: bytes) -> tuple[bytes, bytes]:
    """Return the text with an empty list under the quoted key, and the text of the list."""
    nothing = text, b""
    at = text.find(key)
    start = text.find(b"[", at)
    if at < 0 or start < 0 or text[at + len(key) : start].strip(_SPACE) != b":":
        return nothing
    # In an object, a list of numbers ends before the next quote or closing brace.
    quote, brace = text.find(b'"', start), text.find(b"}", start)
    limit = brace if quote < 0 else min(quote, brace)
    end = text.rfind(b"]", start, limit) + 1
    if limit < 0 or end == 0 or text[end:limit].strip(_SPACE) not in (b"", b","):
        return nothing
    rest = text[:start] + b"[]" + text[end:]
    # A duplicate key would override this one. With escapes, the match may be inside a string, or
    # the key may be written differently.
    if rest.find(key, start) >= 0 or _BACKSLASH in rest:
        return nothing
    return rest, text[start:end]


@cache
def _structure(shape: Shape) -> bytes:
    """Return the brackets and commas of nested lists of a shape, with a trailing comma."""
    text = b","
    for size in reversed(shape):
        text = b"[" + (text * size)[:-1] + b"],"
    return text


def _find_item(structure: bytes, shapes: Sequence[Shape]) -> tuple[int, Shape]:
    """Return the number and shape of the items of a list by its brackets and commas, or 0."""
    for shape in shapes:
        item = _structure(shape)
        count = (len(structure) - 1) // len(item)
        if count > 0 and structure == b"[" + (item * count)[:-1] + b"]":
            return count, shape
    return 0, ()


def _as_array(text: bytes) -> NDArray[Any]:
    """Return the numbers of nested lists in one dimension."""
    parser = _parser(threading.get_ident()) if len(text) < SMALL_BYTES else simdjson.Parser()
    lists: Any = parser.parse(text)
    if _POINT in text or _SMALL_E in text or _LARGE_E in text:
        return np.frombuffer(lists.as_buffer(of_type="d"), np.float64)
    if _MINUS in text:
        return np.frombuffer(lists.as_buffer(of_type="i"), np.int64)
    return np.frombuffer(lists.as_buffer(of_type="u"), np.uint64)
