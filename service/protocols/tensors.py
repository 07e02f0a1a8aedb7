"""Tensors in JSON and binary form, as the Open Inference Protocol defines them."""

import base64
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidTensor

Values = NDArray[Any]
"""Numbers, or objects of type bytes, in the shape of their tensor with the batch dimension."""

BYTES = "BYTES"

# The protocol is little-endian on every machine.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)},
    **{f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}

NUMBERS = ", ".join(name for name in DTYPES if name != "BOOL")  # What an image may be sent as.

_DATATYPES = {np.dtype(object): BYTES, **{dtype: name for name, dtype in DTYPES.items()}}

# By kind of dtype.
_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}

MAX_DIMENSIONS = 64  # As in NumPy.
MAX_SIZE = 2**63 - 1  # Of a dimension; the protocol counts in 64 bits.
MAX_ELEMENTS = 65536  # Of a BYTES tensor; an element takes as long as a thousand numbers.
_LENGTH_BYTES = 4  # Before each element of a binary BYTES tensor.
_TO_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")


class NamedTensor(NamedTuple):
    """One input or output of a request."""

    name: str
    values: Values

    @property
    def datatype(self) -> str:
        """One of `DTYPES`, or BYTES."""
        return _DATATYPES[self.values.dtype.newbyteorder("<")]


def count_values(datatype: str, shape: Sequence[int]) -> int:
    """Return the number of values of a tensor; raises InvalidTensor if no tensor has this shape."""
    if datatype not in DTYPES and datatype != BYTES:
        raise InvalidTensor(f"datatype {datatype!r} is not one of {NUMBERS}, {BYTES}")
    # First, because the product of all dimensions that fit into a body would take minutes.
    if len(shape) > MAX_DIMENSIONS:
        raise InvalidTensor(f"{len(shape)} dimensions, but a tensor has at most {MAX_DIMENSIONS}")
    if min(shape, default=0) < 0:
        raise InvalidTensor("the shape has a negative dimension")
    if max(shape, default=0) > MAX_SIZE:
        raise InvalidTensor(f"the shape has a dimension over {MAX_SIZE}")
    if prod(size or 1 for size in shape) > MAX_SIZE // 8:  # NumPy counts the bytes in 64 bits.
        raise InvalidTensor(f"no tensor can have the shape {list(shape)}")
    count = prod(shape)
    if datatype == BYTES and count > MAX_ELEMENTS:
        raise InvalidTensor(f"{count} elements, but {BYTES} has at most {MAX_ELEMENTS}")
    return count


def from_raw(raw: bytes | memoryview, datatype: str, shape: Sequence[int]) -> Values:
    """Read a tensor in binary form, without copying numbers, or raise InvalidTensor.

    Numbers are little-endian and row-major; each element of BYTES follows its length.
    """
    count = count_values(datatype, shape)
    if datatype == BYTES:
        return np.array(_elements(memoryview(raw), count), object).reshape(shape)
    expected = count * DTYPES[datatype].itemsize
    if len(raw) != expected:
        raise InvalidTensor(
            f"{len(raw)} bytes, {datatype} of shape {list(shape)} has {expected} bytes"
        )
    return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)


def to_raw(values: Values) -> bytes | memoryview:
    """Return a tensor in binary form, without copying numbers where possible."""
    if values.dtype.hasobject:
        elements = values.reshape(-1).tolist()
        return b"".join(len(each).to_bytes(_LENGTH_BYTES, "little") + each for each in elements)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return values.reshape(-1).view(np.uint8).data


def read_values(data: object, datatype: str, shape: Sequence[int]) -> Values:
    """Read the values of a tensor in any form, or raise InvalidTensor.

    `data` is binary, as of `from_raw`; or a list, flat or nested like the shape; or an array of
    uint64, int64 or float64. Elements of BYTES in a list are bytes, or text in base64.
    """
    if isinstance(data, bytes | memoryview):
        return from_raw(data, datatype, shape)
    count = count_values(datatype, shape)
    if datatype == "FP16":
        others = NUMBERS.replace("FP16, ", "")
        raise InvalidTensor(f"FP16 has only a binary form; send that, or one of {others}")
    flat, nesting, types = flatten(data)
    if nesting != tuple(shape) and nesting != (count,):
        raise InvalidTensor(f"data of shape {list(nesting)}, the tensor has shape {list(shape)}")
    if datatype == BYTES:
        if not types <= {str} and types != {bytes}:
            raise InvalidTensor("data of BYTES must be strings in base64")
        if types == {str}:
            flat = [_decode(element, index) for index, element in enumerate(flat)]
        return np.array(flat, object).reshape(shape)
    return to_numbers(flat, types, datatype).reshape(shape)


def to_numbers(flat: Any, types: set[type], datatype: str) -> Values:
    """Convert the result of `flatten` to a datatype of numbers, or raise InvalidTensor."""
    dtype = DTYPES[datatype]
    if not types <= _JSON_TYPES[dtype.kind]:
        raise InvalidTensor(f"data has values that are not {datatype}")
    try:
        if isinstance(flat, np.ndarray) and dtype.kind in "iu":
            # NumPy checks the range of integers in a list, but not in an array.
            np.array([int(flat.min()), int(flat.max())], dtype)
        with np.errstate(over="ignore"):  # Numbers too large for FP32 become infinite.
            return np.array(flat, dtype)
    except OverflowError as error:
        raise InvalidTensor(f"a number in data is out of the range of {datatype}") from error


def typed_values(values: Sequence[Any], datatype: str) -> object:
    """Return a field of a gRPC message as `read_values` reads it fastest."""
    if not values or datatype in ("BOOL", BYTES):
        return list(values)
    # TensorFlow Serving's field for UINT8 and UINT16 is signed; int64 holds all but UINT64.
    kind = "u" if datatype == "UINT64" else DTYPES[datatype].kind.replace("u", "i")
    return np.fromiter(values, f"{kind}8", len(values))


def flatten(data: object) -> tuple[list[Any] | NDArray[Any], tuple[int, ...], set[type]]:
    """Return values, shape and types of the values of an array or of nested lists.

    Raises InvalidTensor if `data` is no list, or its lists differ in length or depth.
    """
    if isinstance(data, np.ndarray):
        return data.reshape(-1), data.shape, {float if data.dtype.kind == "f" else int}
    if not isinstance(data, list):
        raise InvalidTensor("data must be a list")
    shape = [len(data)]
    # One level at a time, so that no Python code runs per value.
    while list in (types := set(map(type, data))):
        if len(types) > 1:
            raise InvalidTensor("data mixes lists and values")
        lengths = set(map(len, data))
        if len(lengths) > 1:
            raise InvalidTensor(f"data is ragged: lists of {min(lengths)} and {max(lengths)}")
        shape.append(lengths.pop())
        data = list(chain.from_iterable(data))
    return data, tuple(shape), types


def _elements(view: memoryview, count: int) -> list[bytes]:
    elements: list[bytes] = []
    while view and len(elements) < count:
        length, rest = int.from_bytes(view[:_LENGTH_BYTES], "little"), view[_LENGTH_BYTES:]
        if len(view) < _LENGTH_BYTES:
            raise InvalidTensor(f"the bytes end inside the length of element {len(elements)}")
        if len(rest) < length:
            place = f"element {len(elements)}"
            raise InvalidTensor(f"{place} has {len(rest)} bytes, its length says {length}")
        elements.append(bytes(rest[:length]))
        view = rest[length:]
    if view:
        raise InvalidTensor(f"more elements than the {count} of the shape")
    if len(elements) < count:
        raise InvalidTensor(f"{len(elements)} elements, the shape has {count}")
    return elements


def _decode(element: str, index: int) -> bytes:
    try:
        return decode_base64(element)
    except ValueError as error:
        raise InvalidTensor(f"element {index} of data is not valid base64: {error}") from error


def decode_base64(text: str) -> bytes:
    """Decode base64, also URL-safe, in a data URL, with line breaks or without padding.

    Raises ValueError if it is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        pass  # Not in the standard form, which nearly all requests use.
    if text.startswith("data:"):
        header, _, text = text.partition(",")
        if not header.endswith(";base64"):
            raise ValueError("a data URL must be data:…;base64,…")
    elif "://" in text[:8]:
        raise ValueError("URLs are not fetched, send the bytes of the file in base64")
    data = text.encode("ascii").translate(_TO_STANDARD_BASE64, b" \t\r\n\v\f").rstrip(b"=")
    return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
