import json
import math
from typing import Any

import numpy as np
import pytest

from service.protocols.json_parsing import JsonLimits, parse_json
from service.errors import BodyTooLarge, InvalidJSON


def limits(depth: int = 16, marks: int = 10_000_000) -> JsonLimits:
    return JsonLimits(depth, marks)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def random_document(random: np.random.Generator, depth: int) -> Any:
    kind = random.integers(5) if depth else random.integers(2)
    if kind == 0:
        return int(random.integers(255))
    if kind == 1:
        return "".join(random.choice(list('[]{}"\\ab'), random.integers(6)))
    items = [random_document(random, depth - 1) for _ in range(random.integers(4))]
    return items if kind < 4 else {f'"{i}[': item for i, item in enumerate(items)}


def test_as_deep_as_allowed_and_no_deeper() -> None:
    assert depth_of(parse_json(nested(3), limits(3))) == 3
    with pytest.raises(InvalidJSON, match="deeper than 3 levels"):
        parse_json(nested(4), limits(3))


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_however_deep_it_is_refused_and_not_walked_recursively(opening: bytes) -> None:
    with pytest.raises(InvalidJSON, match="deeper"):
        parse_json(opening * 1_000_000, limits(16))


@pytest.mark.parametrize("seed", range(200))
def test_brackets_in_strings_are_no_depth(seed: int) -> None:
    document = random_document(np.random.default_rng(seed), depth=5)
    depth = depth_of(document)
    text = json.dumps(document).encode()
    assert parse_json(text, limits(max(depth, 1))) == document
    if depth > 1:
        with pytest.raises(InvalidJSON):
            parse_json(text, limits(depth - 1))


def test_brackets_in_a_long_string_are_no_depth_either() -> None:
    text = b'["' + rb"\"[{\\" * 100_000 + b'"]'
    assert parse_json(text, limits(1)) == json.loads(text)


def test_as_many_marks_as_allowed_and_no_more() -> None:
    assert parse_json(b'["a", {"b": 1}]', limits(marks=9)) == ["a", {"b": 1}]
    with pytest.raises(BodyTooLarge, match="more than 8 brackets, commas and quotes"):
        parse_json(b'["a", {"b": 1}]', limits(marks=8))


def test_nan_and_infinity_are_numbers() -> None:
    nan, infinity = parse_json(b"[NaN, -Infinity]", limits(1))
    assert math.isnan(nan)
    assert infinity == -math.inf


@pytest.mark.parametrize("text", [b"", b"{", b"]", b"[1,]", b"\xff"])
def test_what_is_not_json_is_refused_with_the_place(text: bytes) -> None:
    with pytest.raises(InvalidJSON, match=r"not valid JSON: .* at line 1 column"):
        parse_json(text, limits(3))
