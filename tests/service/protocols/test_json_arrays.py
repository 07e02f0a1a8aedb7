import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.capacity.admission import Limits
from service.errors import (
    BodyTooLarge,
    InvalidImage,
    InvalidInstances,
    InvalidJSON,
    RequestError,
)
from service.protocols.json_arrays import (
    decode_file,
    image_shapes,
    parse_json,
    parse_with_numbers,
)

SHAPES = image_shapes((2, 3, 1))
LIMITS = Limits(max_json_marks=1000)


def limits(depth: int = 16, marks: int = 10_000_000) -> Limits:
    return Limits(max_json_depth=depth, max_json_marks=marks)


def parsed(text: str, limits: Limits = LIMITS) -> Any:
    return parse_with_numbers(text.encode(), ["data"], SHAPES, limits)


def outcome(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except RequestError as error:
        return type(error), str(error)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("indent", [None, 0, 3])
@pytest.mark.parametrize(
    "around",
    [({}, {}), ({"a": {"b": ["x", 1]}}, {"c": [None]})],
    ids=["alone", "with other members"],
)
def test_image_list_is_parsed_as_an_array_and_the_rest_as_json(
    shape: tuple[int, ...],
    count: int,
    kind: type,
    indent: int | None,
    around: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    values: NDArray[Any] = np.arange(6 * count).astype(kind).reshape(count, *shape)
    before, after = around
    document = {**before, "data": values.tolist(), **after}
    read = parsed(json.dumps(document, indent=indent))
    numbers = read.pop("data")
    assert {**read, "data": values.tolist()} == document
    assert numbers.dtype == (np.uint64 if kind is int else np.float64)
    np.testing.assert_array_equal(numbers, values)


def test_parsed_array_is_not_overwritten_by_the_next_parse() -> None:
    first, second = (parsed(json.dumps({"data": [[n] * 6]}))["data"] for n in (1, 2))
    assert (first == 1).all()
    assert (second == 2).all()


def test_flat_list_of_scalars_is_parsed_as_an_array() -> None:
    read = parse_with_numbers(b'{"data": [1, 2, 3]}', ["data"], [()], LIMITS)
    assert isinstance(read["data"], np.ndarray)
    assert read["data"].tolist() == [1, 2, 3]


def test_only_the_list_at_the_path_is_parsed_as_an_array() -> None:
    path = ("inputs", 0, "data")
    for text, is_array in (
        (b'{"inputs": [{"data": [1, 2]}]}', True),
        (b'{"inputs": [{"data": [1, 2]}, {"name": "b"}]}', True),
        (b'{"inputs": [{"name": "b"}, {"data": [1, 2]}]}', False),
        (b'{"inputs": [{"parameters": {"data": [1, 2]}}]}', False),
        (b'{"inputs": [], "data": [1, 2]}', False),
        (b'{"inputs": "x", "data": [1, 2]}', False),
        (b'[{"data": [1, 2]}]', False),
    ):
        read = parse_with_numbers(text, path, [()], LIMITS)
        if is_array:
            assert isinstance(read["inputs"][0]["data"], np.ndarray)
            read["inputs"][0]["data"] = read["inputs"][0]["data"].tolist()
        assert read == json.loads(text)


@pytest.mark.parametrize(
    ("numbers", "values", "dtype"),
    [
        ("0,255,1,2,3,18446744073709551615", [0, 255, 1, 2, 3, 2**64 - 1], np.uint64),
        ("0,1,2,3,4,-5", [0, 1, 2, 3, 4, -5], np.int64),
        ("0,1e2,2,3,4,0.1", [0, 100, 2, 3, 4, 0.1], np.float64),
        ("-1,1e2,2,3,4,-0.1", [-1, 100, 2, 3, 4, -0.1], np.float64),
    ],
)
def test_array_has_the_expected_values_and_dtype(
    numbers: str, values: list[float], dtype: type
) -> None:
    read = parsed(f'{{"data": [[{numbers}]]}}')["data"]
    assert read.tolist() == [values]
    assert read.dtype == dtype


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '"data"',
        '{"data"',
        '{"data":',
        '{"data":[',
        '{"data":[[1,2,3,4,5,6]',
        '{"data":[[1,2,3,4,5,6]}',
        '{"data":[[1,2,3,4,5,6],]}',
        '{"data":[[1,2,3,4,5,6]],}',
        '{"data":[[1,2,3,4,5,6]]]}',
        '{"data":[[1,2,3,4,5,6]] "a":1}',
        '{"data" [[1,2,3,4,5,6]]}',
        '{"data":[]}',
        '{"data":[[]]}',
        '{"data":[[1,2,3,4,5]]}',
        '{"data":[[1,2,3,4,5,6,7]]}',
        '{"data":[[1,2,3],[4,5,6]]}',
        '{"data":[[[1,2,3],[4,5]]]}',
        '{"data":[[[1,2,3],4,[5,6]]]}',
        '{"data":[[1,2,3,4,5,6],[[1,2,3],[4,5,6]]]}',
        '{"data":[[[[1],[2],[3]],[[4],[],[6]]]]}',
        '{"data":[[1,2,3,4,5,true]]}',
        '{"data":[[1,2,3,4,5,null]]}',
        '{"data":[[1,2,3,4,5,NaN]]}',
        '{"data":[[1,2,3,4,5,"6"]]}',
        '{"data":[[1,2,3,4,5,{}]]}',
        '{"data":[[1,2,3,4,5,06]]}',
        '{"data":[[1,2,3,4,5,]]}',
        '{"data":[[1,2,3,4,5,1e400]]}',
        '{"data":[[1,2,3,4,5,18446744073709551616]]}',
        '{"data":{"data":7}}',
        '{"data":[[1,2,3,4,5,6]],"data":[]}',
        '{"data":[],"data":[[1,2,3,4,5,6]]}',
        '{"a\\"data":[[1,2,3,4,5,6]]}',
        '{"a":"\\\\","data":[[1,2,3,4,5,6]],"d\\u0061ta":[]}',
    ],
)
def test_any_other_document_falls_back_to_the_full_parser(text: str) -> None:
    read = outcome(lambda: parsed(text))
    assert str(read) == str(outcome(lambda: parse_json(text.encode(), LIMITS)))
    assert not isinstance(read, dict) or not isinstance(read.get("data"), np.ndarray)


def test_array_within_the_limits_is_parsed_and_over_them_rejected() -> None:
    text = '{"data": [[[1,2,3],[4,5,6]]]}'
    depth, marks = 4, sum(map(text.count, '{}[],"'))
    assert isinstance(parsed(text, limits(depth, marks))["data"], np.ndarray)
    with pytest.raises(InvalidJSON, match="deeper than 3 levels"):
        parsed(text, limits(depth - 1, marks))
    with pytest.raises(BodyTooLarge, match=f"more than {marks - 1} brackets"):
        parsed(text, limits(depth, marks - 1))


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def random_value(random: np.random.Generator, depth: int) -> Any:
    kind = random.integers(5) if depth else random.integers(2)
    if kind == 0:
        return int(random.integers(255))
    if kind == 1:
        return "".join(random.choice(list('[]{}"\\ab'), random.integers(6)))
    items = [random_value(random, depth - 1) for _ in range(random.integers(4))]
    return items if kind < 4 else {f'"{i}[': item for i, item in enumerate(items)}


def test_json_depth_is_limited() -> None:
    assert depth_of(parse_json(nested(3), limits(3))) == 3
    with pytest.raises(InvalidJSON, match="deeper than 3 levels"):
        parse_json(nested(4), limits(3))


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_very_deep_json_is_rejected_without_recursion(opening: bytes) -> None:
    with pytest.raises(InvalidJSON, match="deeper"):
        parse_json(opening * 1_000_000, limits(16))


@pytest.mark.parametrize("seed", range(200))
def test_brackets_in_strings_do_not_count_as_depth(seed: int) -> None:
    document = random_value(np.random.default_rng(seed), depth=5)
    depth = depth_of(document)
    text = json.dumps(document).encode()
    assert parse_json(text, limits(max(depth, 1))) == document
    if depth > 1:
        with pytest.raises(InvalidJSON):
            parse_json(text, limits(depth - 1))


def test_brackets_in_a_long_string_do_not_count_as_depth() -> None:
    text = b'["' + rb"\"[{\\" * 100_000 + b'"]'
    assert parse_json(text, limits(1)) == json.loads(text)


def test_number_of_brackets_commas_and_quotes_is_limited() -> None:
    assert parse_json(b'["a", {"b": 1}]', limits(marks=9)) == ["a", {"b": 1}]
    with pytest.raises(BodyTooLarge, match="more than 8 brackets, commas and quotes"):
        parse_json(b'["a", {"b": 1}]', limits(marks=8))


def test_nan_and_infinity_are_parsed() -> None:
    nan, infinity = parse_json(b"[NaN, -Infinity]", limits(1))
    assert math.isnan(nan)
    assert infinity == -math.inf


@pytest.mark.parametrize("text", [b"", b"{", b"]", b"[1,]", b"\xff"])
def test_invalid_json_is_rejected_with_line_and_column(text: bytes) -> None:
    with pytest.raises(InvalidJSON, match=r"not valid JSON: .* at line 1 column"):
        parse_json(text, limits(3))


def test_unmatched_closing_brackets_are_invalid_json() -> None:
    with pytest.raises(InvalidJSON, match="not valid JSON"):
        parse_json(b"]" * 50 + b"[" * 50, limits(10))


def test_base64_file_is_decoded() -> None:
    assert decode_file({"b64": "aGk="}, "x", InvalidImage) == b"hi"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, 'x: an object must be {"b64": "<image file in base64>"}!'),
        ({"b64": 7}, 'x: an object must be {"b64": "<image file in base64>"}!'),
        (
            {"b64": "", "a": 1},
            'x: an object must be {"b64": "<image file in base64>"}, '
            "not one with ['b64', 'a']!",
        ),
        ({"b64": "a"}, "x: b64 is not valid base64: "),
        ({"b64": "aGk=ü"}, "x: b64 is not valid base64: "),
    ],
)
def test_invalid_file_object_is_rejected_with_its_location(item: object, message: str) -> None:
    with pytest.raises(InvalidInstances) as caught:
        decode_file(item, "x", InvalidInstances, "!")
    assert str(caught.value).startswith(message)
