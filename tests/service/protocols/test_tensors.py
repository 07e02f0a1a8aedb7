from typing import Any

import numpy as np
import pytest

from service.errors import InvalidTensor
from service.protocols.tensors import BYTES, DTYPES, from_raw, read_values, to_raw


def test_every_datatype_of_the_protocol_is_supported() -> None:
    assert ", ".join(DTYPES) == (
        "BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64"
    )
    assert {dtype.byteorder for dtype in DTYPES.values()} <= {"|", "<", "="}


@pytest.mark.parametrize("datatype", DTYPES)
def test_numeric_tensor_round_trips_through_raw_bytes(datatype: str) -> None:
    values = np.array([[0, 1], [1, 0]], DTYPES[datatype])
    raw = to_raw(values)
    read = from_raw(raw, datatype, [2, 2])
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("elements", [[], [b""], [b"a", b"", b"bcd"]], ids=len)
def test_bytes_tensor_round_trips_through_raw_bytes(elements: list[bytes]) -> None:
    raw = to_raw(np.array(elements, object))
    assert from_raw(raw, BYTES, [len(elements)]).tolist() == elements


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x01\0", "the bytes end inside the length of element 0"),
        (b"\x01\0\0\0a\x01", "the bytes end inside the length of element 1"),
        (b"\x09\0\0\0abc", "element 0 has 3 bytes, its length says 9"),
        (b"\0\0\0\0" * 3, "more elements than the 2 of the shape"),
        (b"\0\0\0\0", "1 elements, the shape has 2"),
    ],
    ids=["length", "second length", "element", "more", "fewer"],
)
def test_malformed_raw_bytes_tensor_is_rejected(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidTensor, match=reason):
        from_raw(raw, BYTES, [2])


@pytest.mark.parametrize(
    ("data", "datatype", "reason"),
    [
        ([1, 300], "UINT8", "out of the range of UINT8"),
        (np.array([1, 300], np.uint64), "UINT8", "out of the range of UINT8"),
        (np.array([1, -1], np.int64), "UINT64", "out of the range of UINT64"),
        (np.array([1, 2**63], np.uint64), "INT64", "out of the range of INT64"),
        (np.array([0.5, 1]), "UINT8", "data has values that are not UINT8"),
        ([True, 1], "UINT8", "data has values that are not UINT8"),
        ([1, 0], "BOOL", "data has values that are not BOOL"),
        ([1, 0], "FP16", "FP16 has only a binary form"),
        ([1, 0], BYTES, "data of BYTES must be strings"),
        (["aGk=", "%"], BYTES, "element 1 of data is not valid base64"),
        ([[1], [2, 3]], "UINT8", "data is ragged: lists of 1 and 2"),
        ([[1], 2], "UINT8", "data mixes lists and values"),
        ([1, 2, 3], "UINT8", r"data of shape \[3\], the tensor has shape \[2, 1\]"),
        ("12", "UINT8", "data must be a list"),
        ([1, 2], "INT", "datatype 'INT' is not one of UINT8"),
    ],
)
def test_json_data_not_matching_datatype_or_shape_is_rejected(
    data: Any, datatype: str, reason: str
) -> None:
    with pytest.raises(InvalidTensor, match=reason):
        read_values(data, datatype, [2, 1])


@pytest.mark.parametrize(
    "data", [[1, 2], [[1], [2]], np.array([1, 2], np.uint64)], ids=["flat", "nested", "array"]
)
def test_json_data_may_be_flat_or_nested(data: Any) -> None:
    read = read_values(data, "FP32", [2, 1])
    assert read.dtype == np.float32
    assert read.tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ([1] * 65, "65 dimensions, but a tensor has at most 64"),
        ([-1], "negative dimension"),
        ([2**63], "a dimension over"),
        ([2**63 - 1, 2**63 - 1, 0], "no tensor can have the shape"),
    ],
    ids=["dimensions", "negative", "large", "overflow"],
)
def test_invalid_shape_is_rejected(shape: list[int], reason: str) -> None:
    for read in (read_values, from_raw):
        with pytest.raises(InvalidTensor, match=reason):
            read([] if read is read_values else b"", "UINT8", shape)  # type: ignore[arg-type]
