import json
from typing import Any

import numpy as np
import pytest

from service.protocols.json_parsing import JsonLimits
from service.protocols.json_arrays import Numbers, parse_numbers, parse_with_numbers

SHAPES = [(2, 3), (2, 3, 1), (6,)]
LIMITS = JsonLimits(depth=16, marks=1000)


def parsed(text: str, limits: JsonLimits = LIMITS) -> tuple[Any, Numbers] | None:
    return parse_with_numbers(text.encode(), "data", SHAPES, limits)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("indent", [None, 0, 3])
def test_a_list_of_grids_is_read_beside_the_document(
    shape: tuple[int, ...], count: int, kind: type, indent: int | None
) -> None:
    values: Numbers = np.arange(6 * count).astype(kind).reshape(count, *shape)
    document = {"a": {"b": ["x", 1]}, "data": values.tolist(), "c": [None]}
    read = parsed(json.dumps(document, indent=indent))
    assert read is not None
    assert read[0] == {**document, "data": []}
    assert read[1].dtype == (np.uint64 if kind is int else np.float64)
    np.testing.assert_array_equal(read[1], values)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("indent", [None, 0, 3])
def test_a_document_of_nothing_else_is_read(
    shape: tuple[int, ...], count: int, kind: type, indent: int | None
) -> None:
    values: Numbers = np.arange(6 * count).astype(kind).reshape(count, *shape)
    text = json.dumps({"data": values.tolist()}, indent=indent)
    for written in (text, text.replace("data", "d\\u0061ta"), f" {text}\n"):
        read = parse_numbers(written.encode(), "data", SHAPES, LIMITS)
        assert read is not None
        assert read.dtype == (np.uint64 if kind is int else np.float64)
        np.testing.assert_array_equal(read, values)


def test_numbers_by_themselves_are_read() -> None:
    read = parse_with_numbers(b'{"data": [1, 2, 3]}', "data", [()], LIMITS)
    assert read is not None
    assert read[1].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("numbers", "values"),
    [
        ("0,255,1,2,3,18446744073709551615", [0, 255, 1, 2, 3, 2**64 - 1]),
        ("0,1,2,3,4,-5", [0, 1, 2, 3, 4, -5]),
        ("0,1e2,2,3,4,0.1", [0, 100, 2, 3, 4, 0.1]),
    ],
)
def test_numbers_are_what_python_takes_them_for(numbers: str, values: list[float]) -> None:
    read = parsed(f'{{"data": [[{numbers}]]}}')
    assert read is not None
    assert read[1].tolist() == [values]


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
        '\ufeff{"data":[[1,2,3,4,5,6]]}',
    ],
)
def test_whatever_else_it_is_is_left_to_others(text: str) -> None:
    assert parsed(text) is None
    assert parse_numbers(text.encode(), "data", SHAPES, LIMITS) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"data":[[1,2,3,4,5,6]],"a":1}',
        '{"a":1,"data":[[1,2,3,4,5,6]]}',
        '{"other":[[1,2,3,4,5,6]]}',
        '{"data":"[[1,2,3,4,5,6]]"}',
        '{"data":[[1,2,3,4,5,"6"]]}',
        '[["data",2,3,4,5,6]]',
        '{"a":{"data":[[1,2,3,4,5,6]]}}',
    ],
)
def test_a_document_of_something_else_is_left_to_others(text: str) -> None:
    assert parse_numbers(text.encode(), "data", SHAPES, LIMITS) is None


def test_what_costs_more_than_it_may_is_left_to_others() -> None:
    text = '{"data": [[[1,2,3],[4,5,6]]]}'
    depth, marks = 4, sum(map(text.count, '{}[],"'))
    assert parsed(text, JsonLimits(depth, marks)) is not None
    assert parsed(text, JsonLimits(depth - 1, marks)) is None
    assert parsed(text, JsonLimits(depth, marks - 1)) is None
    only = text.encode()
    assert parse_numbers(only, "data", SHAPES, JsonLimits(depth, marks)) is not None
    assert parse_numbers(only, "data", SHAPES, JsonLimits(depth - 1, marks)) is None
    assert parse_numbers(only, "data", SHAPES, JsonLimits(depth, marks - 1)) is None
